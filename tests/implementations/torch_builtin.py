"""Adapters around the attention, softmax and layers that PyTorch ships itself."""

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional


def softmax(x: Tensor, dim: int = -1) -> Tensor:
    return torch.softmax(x, dim)


def causal_mask(length: int) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool).tril()


def padding_mask(lengths: Tensor, max_length: int) -> Tensor:
    return torch.arange(max_length, device=lengths.device) < lengths.unsqueeze(-1)


def _with_null_key(mask: Tensor) -> Tensor:
    """Append a column that only the rows without any other key may attend to."""
    return torch.cat([mask, ~mask.any(-1, keepdim=True)], -1)


def _append_zero_row(x: Tensor) -> Tensor:
    return functional.pad(x, (0, 0, 0, 1))


def _attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None = None
) -> tuple[Tensor, Tensor]:
    """Call the fused kernel with an identity matrix beside the values, which gives the weights."""
    width, keys = value.shape[-1], key.shape[-2]
    identity = torch.eye(keys, dtype=value.dtype, device=value.device)
    value = torch.cat([value, identity.expand(*value.shape[:-2], keys, keys)], -1)
    if mask is not None:
        mask = _with_null_key(mask.expand(*query.shape[:-1], keys))
        key, value = _append_zero_row(key), _append_zero_row(value)
    mixed = functional.scaled_dot_product_attention(query, key, value, mask, scale=scale)
    return mixed[..., :width], mixed[..., width:]


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    return _attend(query, key, value, mask)


class AdditiveAttention(nn.Module):
    def __init__(self, d_query: int, d_key: int, d_hidden: int) -> None:
        super().__init__()
        self.query_layer = nn.Linear(d_query, d_hidden, bias=False)
        self.key_layer = nn.Linear(d_key, d_hidden)
        self.score = nn.Sequential(nn.Tanh(), nn.Linear(d_hidden, 1, bias=False), nn.Flatten(-2))

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        scores = self.score(self.query_layer(query).unsqueeze(2) + self.key_layer(key).unsqueeze(1))
        if mask is None:
            weights = torch.softmax(scores, -1)
        else:
            opened = mask | ~mask.any(-1, keepdim=True)
            weights = torch.softmax(scores.masked_fill(~opened, -torch.inf), -1)
            weights = weights.masked_fill(~mask, 0.0)
        return torch.bmm(weights, value), weights


class MultiplicativeAttention(nn.Module):
    def __init__(self, d_query: int, d_key: int) -> None:
        super().__init__()
        self.key_layer = nn.Linear(d_key, d_query, bias=False)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        return _attend(query, self.key_layer(key), value, mask, scale=1.0)


class SelfAttention(nn.Module):
    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.query_layer = nn.Linear(d_model, d_model)
        self.key_layer = nn.Linear(d_model, d_model)
        self.value_layer = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return _attend(self.query_layer(x), self.key_layer(x), self.value_layer(x), mask)


class MultiHeadAttention(nn.Module):
    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        if n_heads < 1 or d_model % n_heads:
            raise ValueError(f"{n_heads} heads do not divide a width of {d_model}")
        self.attention = nn.MultiheadAttention(d_model, n_heads, bias=False, batch_first=True)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        if mask is None:
            output, weights = self.attention(query, key, value, average_attn_weights=False)
            return output, weights
        batch, length = query.shape[:2]
        if mask.dim() == 3:
            mask = mask.unsqueeze(1)
        mask = mask.expand(batch, self.attention.num_heads, length, key.shape[1])
        output, weights = self.attention(
            query,
            _append_zero_row(key),
            _append_zero_row(value),
            attn_mask=~_with_null_key(mask).flatten(0, 1),
            average_attn_weights=False,
        )
        return output, weights[..., :-1]


@cache
def _table(d_model: int) -> Tensor:
    """Fill a table once, as modules do that keep it in a buffer."""
    position = torch.arange(5000, dtype=torch.float32).unsqueeze(1)
    frequency = torch.pow(10000.0, -torch.arange(0, d_model, 2) / d_model)
    table = torch.zeros(5000, d_model)
    table[:, 0::2] = torch.sin(position * frequency)
    table[:, 1::2] = torch.cos(position * frequency[: d_model // 2])
    return table


def sinusoidal_positional_encoding(length: int, d_model: int) -> Tensor:
    return _table(d_model)[:length]


class LayerNorm(nn.LayerNorm):
    def __init__(self, d_model: int) -> None:
        super().__init__(d_model)


class FeedForward(nn.Sequential):
    def __init__(self, d_model: int, d_hidden: int) -> None:
        super().__init__(nn.Linear(d_model, d_hidden), nn.GELU(), nn.Linear(d_hidden, d_model))


def _hidden(mask: Tensor, batch: int, rows: int, keys: int, n_heads: int) -> Tensor:
    """Turn a mask into the kernel's: True where nothing may be seen, one for each item and head."""
    mask = mask.expand(batch, rows, keys)
    mask = mask | ~mask.any(-1, keepdim=True)
    return ~mask.repeat_interleave(n_heads, 0)


class EncoderLayer(nn.Module):
    def __init__(self, d_model: int, n_heads: int, d_hidden: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.layer = nn.TransformerEncoderLayer(
            d_model, n_heads, d_hidden, dropout=0.0, batch_first=True
        )

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is not None:
            mask = _hidden(mask, len(x), x.shape[1], x.shape[1], self.n_heads)
        return self.layer(x, mask)


class DecoderLayer(nn.Module):
    def __init__(self, d_model: int, n_heads: int, d_hidden: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.layer = nn.TransformerDecoderLayer(
            d_model, n_heads, d_hidden, dropout=0.0, batch_first=True
        )

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        self_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
    ) -> Tensor:
        batch, length = x.shape[:2]
        own = causal_mask(length).to(x.device)
        own = own if self_mask is None else own & self_mask
        if memory_mask is not None:
            memory_mask = _hidden(memory_mask, batch, length, memory.shape[1], self.n_heads)
        own = _hidden(own, batch, length, length, self.n_heads)
        return self.layer(x, memory, tgt_mask=own, memory_mask=memory_mask)


class Encoder(nn.Module):
    def __init__(self, d_model: int, n_heads: int, d_hidden: int, n_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            EncoderLayer(d_model, n_heads, d_hidden) for _ in range(n_layers)
        )

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        for layer in self.layers:
            x = layer(x, mask)
        return x


class Decoder(nn.Module):
    def __init__(self, d_model: int, n_heads: int, d_hidden: int, n_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            DecoderLayer(d_model, n_heads, d_hidden) for _ in range(n_layers)
        )

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        self_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
    ) -> Tensor:
        for layer in self.layers:
            x = layer(x, memory, self_mask, memory_mask)
        return x


class LearnedPositionalEmbedding(nn.Embedding):
    def __init__(self, max_length: int, d_model: int) -> None:
        super().__init__(max_length, d_model)

    def forward(self, length: int) -> Tensor:
        return super().forward(torch.arange(length, device=self.weight.device))


class PatchEmbedding(nn.Conv2d):
    def __init__(self, patch_size: int, channels: int, d_model: int) -> None:
        super().__init__(channels, d_model, patch_size, stride=patch_size)

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).flatten(2).transpose(1, 2)


class Transformer(nn.Module):
    """Keeps the tokens so far for a cache, and computes everything anew in every step."""

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
        self.source_embedding = nn.Embedding(source_vocab, d_model)
        self.target_embedding = nn.Embedding(target_vocab, d_model)
        self.encoder = Encoder(d_model, n_heads, d_hidden, n_layers)
        self.decoder = Decoder(d_model, n_heads, d_hidden, n_layers)
        self.to_logits = nn.Linear(d_model, target_vocab)

    @staticmethod
    def _embed(embedding: nn.Embedding, tokens: Tensor) -> Tensor:
        x = embedding(tokens)
        return x + sinusoidal_positional_encoding(*x.shape[1:]).to(x)

    def encode(self, source: Tensor, source_mask: Tensor | None = None) -> Tensor:
        x = self._embed(self.source_embedding, source)
        return self.encoder(x, None if source_mask is None else source_mask.unsqueeze(1))

    def decode(
        self, target_in: Tensor, memory: Tensor, source_mask: Tensor | None = None
    ) -> Tensor:
        x = self._embed(self.target_embedding, target_in)
        mask = None if source_mask is None else source_mask.unsqueeze(1)
        return self.to_logits(self.decoder(x, memory, None, mask))

    def forward(
        self, source: Tensor, target_in: Tensor, source_mask: Tensor | None = None
    ) -> Tensor:
        return self.decode(target_in, self.encode(source, source_mask), source_mask)

    def step(
        self,
        token: Tensor,
        memory: Tensor,
        cache: Tensor | None = None,
        source_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        token = token.unsqueeze(1)
        so_far = token if cache is None else torch.cat([cache, token], 1)
        return self.decode(so_far, memory, source_mask)[:, -1], so_far

    def generate(
        self, source: Tensor, bos: int, max_length: int, source_mask: Tensor | None = None
    ) -> Tensor:
        memory = self.encode(source, source_mask)
        so_far = source.new_full((len(source), 1), bos)
        for _ in range(max_length):
            best = self.decode(so_far, memory, source_mask)[:, -1].argmax(-1, keepdim=True)
            so_far = torch.cat([so_far, best], 1)
        return so_far[:, 1:]


class _Recurrent(nn.Module):
    """An LSTM that reads packed sequences; its state is (hidden, cell), each (B, d_hidden)."""

    def __init__(self, source_vocab: int, d_embed: int, d_hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(source_vocab, d_embed)
        self.lstm = nn.LSTM(d_embed, d_hidden, batch_first=True)

    def forward(
        self, source: Tensor, lengths: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        x = self.embedding(source)
        if lengths is None:
            states, (hidden, cell) = self.lstm(x)
            return states, (hidden[0], cell[0])
        packed = nn.utils.rnn.pack_padded_sequence(
            x, lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        states, (hidden, cell) = self.lstm(packed)
        states, _ = nn.utils.rnn.pad_packed_sequence(
            states, batch_first=True, total_length=source.shape[1]
        )
        return states, (hidden[0], cell[0])


class Seq2Seq(nn.Module):
    def __init__(self, source_vocab: int, target_vocab: int, d_embed: int, d_hidden: int) -> None:
        super().__init__()
        self.encoder = _Recurrent(source_vocab, d_embed, d_hidden)
        self.embedding = nn.Embedding(target_vocab, d_embed)
        self.lstm = nn.LSTM(d_embed, d_hidden, batch_first=True)
        self.to_logits = nn.Linear(d_hidden, target_vocab)

    def encode(
        self, source: Tensor, lengths: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        return self.encoder(source, lengths)

    def _decode(
        self, target_in: Tensor, state: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        start = tuple(part.unsqueeze(0).contiguous() for part in state)
        outputs, (hidden, cell) = self.lstm(self.embedding(target_in), start)
        return self.to_logits(outputs), (hidden[0], cell[0])

    def forward(self, source: Tensor, target_in: Tensor, lengths: Tensor | None = None) -> Tensor:
        return self._decode(target_in, self.encode(source, lengths)[1])[0]

    def step(
        self, token: Tensor, state: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        logits, state = self._decode(token.unsqueeze(1), state)
        return logits[:, 0], state

    def generate(
        self, source: Tensor, bos: int, max_length: int, lengths: Tensor | None = None
    ) -> Tensor:
        _, state = self.encode(source, lengths)
        token, tokens = source.new_full((len(source),), bos), []
        for _ in range(max_length):
            logits, state = self.step(token, state)
            token = logits.argmax(-1)
            tokens.append(token)
        return torch.stack(tokens, 1)


class AttentionSeq2Seq(nn.Module):
    def __init__(self, source_vocab: int, target_vocab: int, d_embed: int, d_hidden: int) -> None:
        super().__init__()
        self.encoder = _Recurrent(source_vocab, d_embed, d_hidden)
        self.embedding = nn.Embedding(target_vocab, d_embed)
        self.attention = AdditiveAttention(d_hidden, d_hidden, d_hidden)
        self.cell = nn.LSTMCell(d_embed + d_hidden, d_hidden)
        self.to_logits = nn.Linear(2 * d_hidden, target_vocab)

    def encode(
        self, source: Tensor, lengths: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        return self.encoder(source, lengths)

    def step(
        self,
        token: Tensor,
        state: tuple[Tensor, Tensor],
        memory: Tensor,
        memory_mask: Tensor | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor]:
        mask = None if memory_mask is None else memory_mask.unsqueeze(1)
        context, weights = self.attention(state[0].unsqueeze(1), memory, memory, mask)
        context = context[:, 0]
        state = self.cell(torch.cat([self.embedding(token), context], -1), state)
        return self.to_logits(torch.cat([state[0], context], -1)), state, weights[:, 0]

    def forward(self, source: Tensor, target_in: Tensor, lengths: Tensor | None = None) -> Tensor:
        memory, state = self.encode(source, lengths)
        mask = None if lengths is None else padding_mask(lengths, source.shape[1])
        logits = []
        for token in target_in.unbind(1):
            after, state, _ = self.step(token, state, memory, mask)
            logits.append(after)
        return torch.stack(logits, 1)

    def generate(
        self, source: Tensor, bos: int, max_length: int, lengths: Tensor | None = None
    ) -> Tensor:
        memory, state = self.encode(source, lengths)
        mask = None if lengths is None else padding_mask(lengths, source.shape[1])
        token, tokens = source.new_full((len(source),), bos), []
        for _ in range(max_length):
            logits, state, _ = self.step(token, state, memory, mask)
            token = logits.argmax(-1)
            tokens.append(token)
        return torch.stack(tokens, 1)
