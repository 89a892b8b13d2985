"""Explicit loops that pick the allowed keys instead of masking: by query, or by what is allowed."""

import math
from typing import Protocol

import torch
from torch import Tensor, nn


class Score(Protocol):
    def __call__(self, query: Tensor, keys: Tensor, /) -> Tensor: ...


def _normalise(scores: Tensor) -> Tensor:
    """Make scores add up to one along the first dimension."""
    if len(scores) == 0:
        return scores
    wide = scores.to(torch.promote_types(scores.dtype, torch.float32))
    raised = torch.exp(wide - wide.detach().amax(0))
    return (raised / raised.sum(0)).to(scores.dtype)


def softmax(x: Tensor, dim: int = -1) -> Tensor:
    if x.numel() == 0:
        return x.clone()
    last = x.movedim(dim, -1)
    rows = [_normalise(row) for row in last.reshape(-1, last.shape[-1])]
    return torch.stack(rows).reshape(last.shape).movedim(-1, dim)


def causal_mask(length: int) -> Tensor:
    rows = [[key <= query for key in range(length)] for query in range(length)]
    return torch.tensor(rows, dtype=torch.bool).reshape(length, length)


def padding_mask(lengths: Tensor, max_length: int) -> Tensor:
    rows = [[position < length for position in range(max_length)] for length in lengths.tolist()]
    mask = torch.tensor(rows, dtype=torch.bool, device=lengths.device)
    return mask.reshape(len(lengths), max_length)


def _attend(
    score: Score, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Attend in one item: query (L, d), key (S, d), value (S, d_v), mask (L, S)."""
    outputs, weights = [], []
    everything = torch.arange(len(key), device=key.device)
    for position, asked in enumerate(query):
        allowed = everything if mask is None else everything[mask[position]]
        shares = _normalise(score(asked, key[allowed]))
        outputs.append(shares @ value[allowed])
        weights.append(shares.new_zeros(len(key)).scatter(0, allowed, shares))
    return torch.stack(outputs), torch.stack(weights)


def _attend_each(
    score: Score, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Attend in every item of a batch: query (B, L, d), and so on."""
    if mask is not None:
        mask = mask.expand(*query.shape[:-1], key.shape[-2])
    answers = [
        _attend(score, query[item], key[item], value[item], None if mask is None else mask[item])
        for item in range(len(query))
    ]
    outputs, weights = zip(*answers, strict=True)
    return torch.stack(outputs), torch.stack(weights)


def _scaled_dot(query: Tensor, keys: Tensor) -> Tensor:
    return keys @ query / math.sqrt(len(query))


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    *leading, length, _ = query.shape
    keys, width = value.shape[-2:]
    if mask is not None:
        mask = mask.expand(*leading, length, keys).reshape(-1, length, keys)
    output, weights = _attend_each(
        _scaled_dot,
        query.reshape(-1, *query.shape[-2:]),
        key.reshape(-1, *key.shape[-2:]),
        value.reshape(-1, keys, width),
        mask,
    )
    return output.reshape(*leading, length, width), weights.reshape(*leading, length, keys)


class AdditiveAttention(nn.Module):
    def __init__(self, d_query: int, d_key: int, d_hidden: int) -> None:
        super().__init__()
        self.query = nn.Linear(d_query, d_hidden, bias=False)
        self.key = nn.Linear(d_key, d_hidden, bias=False)
        self.energy = nn.Linear(d_hidden, 1, bias=False)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        def score(asked: Tensor, keys: Tensor) -> Tensor:
            return self.energy(torch.tanh(asked + keys))[:, 0]

        return _attend_each(score, self.query(query), self.key(key), value, mask)


class MultiplicativeAttention(nn.Module):
    def __init__(self, d_query: int, d_key: int) -> None:
        super().__init__()
        self.key = nn.Linear(d_key, d_query, bias=False)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        def score(asked: Tensor, keys: Tensor) -> Tensor:
            return keys @ asked

        return _attend_each(score, query, self.key(key), value, mask)


class SelfAttention(nn.Module):
    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.query = nn.Linear(d_model, d_model, bias=False)
        self.key = nn.Linear(d_model, d_model, bias=False)
        self.value = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return _attend_each(_scaled_dot, self.query(x), self.key(x), self.value(x), mask)


def _attend_by_what_is_allowed(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """Attend with those queries together that have the same keys to choose from.

    query (B, L, h, d), key (B, S, h, d), value (B, S, h, d), mask (B, L, S)
    """
    batch, length, keys = mask.shape
    choices, which = mask.reshape(-1, keys).unique(dim=0, return_inverse=True)
    asked = query.flatten(0, 1)
    taken, outputs, weights = [], [], []
    for number, allowed in enumerate(choices):
        chosen = torch.nonzero(which == number)[:, 0]
        item = chosen // length
        scores = torch.einsum("nhd,nshd->snh", asked[chosen], key[item][:, allowed])
        shares = _normalise(scores / math.sqrt(query.shape[-1]))
        outputs.append(torch.einsum("snh,nshv->nhv", shares, value[item][:, allowed]))
        row = shares.new_zeros(keys, *shares.shape[1:])
        weights.append(row.index_copy(0, torch.nonzero(allowed)[:, 0], shares).movedim(0, -1))
        taken.append(chosen)
    order = torch.cat(taken).argsort()
    output, weight = torch.cat(outputs)[order], torch.cat(weights)[order]
    return output.unflatten(0, (batch, length)), weight.unflatten(0, (batch, length))


class MultiHeadAttention(nn.Module):
    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        if n_heads < 1 or d_model % n_heads != 0:
            raise ValueError(f"d_model = {d_model} is not a multiple of n_heads = {n_heads}")
        self.n_heads = n_heads
        self.query = nn.Linear(d_model, d_model)
        self.key = nn.Linear(d_model, d_model)
        self.value = nn.Linear(d_model, d_model)
        self.output = nn.Linear(d_model, d_model)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        batch, length, keys = len(query), query.shape[1], key.shape[1]
        if mask is None:
            mask = torch.ones(1, 1, length, keys, dtype=torch.bool, device=query.device)
        while mask.dim() < 4:
            mask = mask.unsqueeze(-3)
        masks = mask.expand(batch, mask.shape[1], length, keys).unbind(1)
        answers = []
        for *projected, head_mask in zip(  # heads under one mask together
            self.query(query).chunk(len(masks), -1),
            self.key(key).chunk(len(masks), -1),
            self.value(value).chunk(len(masks), -1),
            masks,
            strict=True,
        ):
            heads = (tensor.unflatten(-1, (self.n_heads // len(masks), -1)) for tensor in projected)
            answers.append(_attend_by_what_is_allowed(*heads, head_mask))
        outputs, weights = zip(*answers, strict=True)
        output = self.output(torch.cat(outputs, 2).flatten(2))
        attends = mask.any(-1).any(1).expand(batch, length)
        output = torch.where(attends.unsqueeze(-1), output, 0.0)
        return output, torch.cat(weights, 2).transpose(1, 2)


def sinusoidal_positional_encoding(length: int, d_model: int) -> Tensor:
    table = []
    for position in range(length):
        row = []
        for column in range(d_model):
            angle = position / 10000 ** (2 * (column // 2) / d_model)
            row.append(math.cos(angle) if column % 2 else math.sin(angle))
        table.append(row)
    return torch.tensor(table, dtype=torch.float64).reshape(length, d_model)


class LayerNorm(nn.Module):
    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))

    def forward(self, x: Tensor) -> Tensor:
        tokens = []
        for token in x.reshape(-1, x.shape[-1]):
            wide = token.to(torch.promote_types(token.dtype, torch.float32))
            centred = wide - wide.mean()
            scaled = centred / torch.sqrt((centred * centred).mean() + 1e-5)
            tokens.append(scaled.to(x.dtype) * self.gain + self.bias)
        return torch.stack(tokens).reshape(x.shape)


class FeedForward(nn.Module):
    def __init__(self, d_model: int, d_hidden: int) -> None:
        super().__init__()
        self.inner = nn.Linear(d_model, d_hidden)
        self.outer = nn.Linear(d_hidden, d_model)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack(
            [
                torch.stack([self.outer(torch.relu(self.inner(token))) for token in sentence])
                for sentence in x
            ]
        )


def _network(d_model: int, d_hidden: int) -> nn.Module:
    return nn.Sequential(nn.Linear(d_model, d_hidden), nn.ReLU(), nn.Linear(d_hidden, d_model))


class EncoderLayer(nn.Module):
    def __init__(self, d_model: int, n_heads: int, d_hidden: int) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(d_model, n_heads)
        self.feed_forward = _network(d_model, d_hidden)
        self.norms = nn.ModuleList([nn.LayerNorm(d_model), nn.LayerNorm(d_model)])

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is not None:
            mask = mask.expand(len(x), x.shape[1], x.shape[1])
        x = self.norms[0](x + self.attention(x, x, x, mask)[0])
        return self.norms[1](x + self.feed_forward(x))


class DecoderLayer(nn.Module):
    def __init__(self, d_model: int, n_heads: int, d_hidden: int) -> None:
        super().__init__()
        self.attentions = nn.ModuleList(
            [MultiHeadAttention(d_model, n_heads), MultiHeadAttention(d_model, n_heads)]
        )
        self.feed_forward = _network(d_model, d_hidden)
        self.norms = nn.ModuleList([nn.LayerNorm(d_model) for _ in range(3)])

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        self_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
    ) -> Tensor:
        past = causal_mask(x.shape[1]).to(x.device)
        past = past if self_mask is None else past & self_mask
        x = self.norms[0](x + self.attentions[0](x, x, x, past)[0])
        x = self.norms[1](x + self.attentions[1](x, memory, memory, memory_mask)[0])
        return self.norms[2](x + self.feed_forward(x))


class Encoder(nn.Module):
    def __init__(self, d_model: int, n_heads: int, d_hidden: int, n_layers: int) -> None:
        super().__init__()
        for number in range(n_layers):
            self.add_module(f"layer_{number}", EncoderLayer(d_model, n_heads, d_hidden))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        for layer in self.children():
            x = layer(x, mask)
        return x


class Decoder(nn.Module):
    def __init__(self, d_model: int, n_heads: int, d_hidden: int, n_layers: int) -> None:
        super().__init__()
        for number in range(n_layers):
            self.add_module(f"layer_{number}", DecoderLayer(d_model, n_heads, d_hidden))

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        self_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
    ) -> Tensor:
        for layer in self.children():
            x = layer(x, memory, self_mask, memory_mask)
        return x


class LearnedPositionalEmbedding(nn.Module):
    def __init__(self, max_length: int, d_model: int) -> None:
        super().__init__()
        self.rows = nn.ParameterList(torch.randn(1, d_model) for _ in range(max_length))

    def forward(self, length: int) -> Tensor:
        return torch.cat([self.rows[position] for position in range(length)])


class PatchEmbedding(nn.Module):
    def __init__(self, patch_size: int, channels: int, d_model: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.projection = nn.Linear(patch_size * patch_size * channels, d_model)

    def forward(self, images: Tensor) -> Tensor:
        p = self.patch_size
        tokens = [
            self.projection(images[:, :, y : y + p, x : x + p].permute(0, 2, 3, 1).flatten(1))
            for y in range(0, images.shape[2], p)
            for x in range(0, images.shape[3], p)
        ]
        return torch.stack(tokens, 1)


class Transformer(nn.Module):
    """Its cache is a list of the tokens so far."""

    def __init__(
        self,
        source_vocab: int,
        target_vocab: int,
        d_model: int,
        n_heads: int,
        d_hidden: int,
        n_layers: int,
    ) -> None:
        super().__init__()
        self.source = nn.Embedding(source_vocab, d_model)
        self.target = nn.Embedding(target_vocab, d_model)
        self.encoder = Encoder(d_model, n_heads, d_hidden, n_layers)
        self.decoder = Decoder(d_model, n_heads, d_hidden, n_layers)
        self.output = nn.Linear(d_model, target_vocab, bias=False)

    @staticmethod
    def _embedded(embedding: nn.Embedding, tokens: Tensor) -> Tensor:
        width = embedding.embedding_dim
        positions = sinusoidal_positional_encoding(tokens.shape[1], width)
        words = [
            embedding(tokens[:, t]) * math.sqrt(width) + positions[t].to(embedding.weight)
            for t in range(tokens.shape[1])
        ]
        return torch.stack(words, 1)

    def encode(self, source: Tensor, source_mask: Tensor | None = None) -> Tensor:
        mask = None if source_mask is None else source_mask[:, None]
        return self.encoder(self._embedded(self.source, source), mask)

    def decode(
        self, target_in: Tensor, memory: Tensor, source_mask: Tensor | None = None
    ) -> Tensor:
        mask = None if source_mask is None else source_mask[:, None]
        words = self._embedded(self.target, target_in)
        return self.output(self.decoder(words, memory, None, mask))

    def forward(
        self, source: Tensor, target_in: Tensor, source_mask: Tensor | None = None
    ) -> Tensor:
        return self.decode(target_in, self.encode(source, source_mask), source_mask)

    def step(
        self,
        token: Tensor,
        memory: Tensor,
        cache: list[Tensor] | None = None,
        source_mask: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        cache = [] if cache is None else cache
        cache.append(token)
        return self.decode(torch.stack(cache, 1), memory, source_mask)[:, -1], cache

    def generate(
        self, source: Tensor, bos: int, max_length: int, source_mask: Tensor | None = None
    ) -> Tensor:
        sentences = []
        for item in range(len(source)):
            mask = None if source_mask is None else source_mask[item : item + 1]
            memory = self.encode(source[item : item + 1], mask)
            words = [bos]
            while len(words) <= max_length:
                so_far = torch.tensor([words], device=source.device)
                words.append(int(self.decode(so_far, memory, mask)[0, -1].argmax()))
            sentences.append(words[1:])
        return torch.tensor(sentences, dtype=torch.int64, device=source.device)


class _Elman(nn.Module):
    def __init__(self, d_input: int, d_hidden: int) -> None:
        super().__init__()
        self.token = nn.Linear(d_input, d_hidden, bias=False)
        self.memory = nn.Linear(d_hidden, d_hidden)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        return torch.tanh(self.token(x) + self.memory(state))


class Seq2Seq(nn.Module):
    """An Elman network; reads every source by itself, as far as it is real."""

    def __init__(self, source_vocab: int, target_vocab: int, d_embed: int, d_hidden: int) -> None:
        super().__init__()
        self.d_hidden = d_hidden
        self.source = nn.Embedding(source_vocab, d_embed)
        self.target = nn.Embedding(target_vocab, d_embed)
        self.reader = _Elman(d_embed, d_hidden)
        self.writer = _Elman(d_embed, d_hidden)
        self.output = nn.Linear(d_hidden, target_vocab)

    def encode(self, source: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        sentences, last = [], []
        for item, sentence in enumerate(source):
            state = self.source.weight.new_zeros(1, self.d_hidden)
            states = []
            real = len(sentence) if lengths is None else int(lengths[item])
            for word in sentence[:real]:
                state = self.reader(self.source(word)[None], state)
                states.append(state)
            last.append(state)
            states += [torch.zeros_like(state)] * (len(sentence) - real)
            sentences.append(torch.cat(states))
        return torch.stack(sentences), [torch.cat(last)]

    def step(self, token: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        after = self.writer(self.target(token), state[0])
        return self.output(after), [after]

    def forward(self, source: Tensor, target_in: Tensor, lengths: Tensor | None = None) -> Tensor:
        _, state = self.encode(source, lengths)
        logits = []
        for t in range(target_in.shape[1]):
            after, state = self.step(target_in[:, t], state)
            logits.append(after)
        return torch.stack(logits, 1)

    def generate(
        self, source: Tensor, bos: int, max_length: int, lengths: Tensor | None = None
    ) -> Tensor:
        _, state = self.encode(source, lengths)
        words = [torch.full_like(source[:, 0], bos)]
        for _ in range(max_length):
            logits, state = self.step(words[-1], state)
            words.append(logits.argmax(-1))
        return torch.stack(words[1:], 1)


class AttentionSeq2Seq(Seq2Seq):
    def __init__(self, source_vocab: int, target_vocab: int, d_embed: int, d_hidden: int) -> None:
        super().__init__(source_vocab, target_vocab, d_embed, d_hidden)
        self.attention = MultiplicativeAttention(d_hidden, d_hidden)
        self.writer = _Elman(d_embed + d_hidden, d_hidden)

    def step(
        self,
        token: Tensor,
        state: list[Tensor],
        memory: Tensor,
        memory_mask: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor], Tensor]:
        mask = None if memory_mask is None else memory_mask[:, None]
        context, weights = self.attention(state[0][:, None], memory, memory, mask)
        seen = torch.cat([self.target(token), context[:, 0]], 1)
        after = self.writer(seen, state[0])
        return self.output(after), [after], weights[:, 0]

    def _mask(self, source: Tensor, lengths: Tensor | None) -> Tensor | None:
        return None if lengths is None else padding_mask(lengths, source.shape[1])

    def forward(self, source: Tensor, target_in: Tensor, lengths: Tensor | None = None) -> Tensor:
        memory, state = self.encode(source, lengths)
        logits = []
        for t in range(target_in.shape[1]):
            after, state, _ = self.step(target_in[:, t], state, memory, self._mask(source, lengths))
            logits.append(after)
        return torch.stack(logits, 1)

    def generate(
        self, source: Tensor, bos: int, max_length: int, lengths: Tensor | None = None
    ) -> Tensor:
        memory, state = self.encode(source, lengths)
        words = [torch.full_like(source[:, 0], bos)]
        for _ in range(max_length):
            logits, state, _ = self.step(words[-1], state, memory, self._mask(source, lengths))
            words.append(logits.argmax(-1))
        return torch.stack(words[1:], 1)
