"""An online softmax that streams over blocks of keys, inside a hierarchy of attention classes."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

BLOCK = 4


def _wide(x: Tensor) -> Tensor:
    """Widen half precision, in which sums over many blocks would lose too much."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class Stream(NamedTuple):
    """What is known after some of the scores; the normaliser is ``exp(peak) * total``."""

    peak: Tensor
    total: Tensor

    @classmethod
    def empty(cls, like: Tensor) -> "Stream":
        lowest = torch.full_like(like, torch.finfo(like.dtype).min, requires_grad=False)
        return cls(lowest, torch.zeros_like(lowest))

    def raised(self, scores: Tensor) -> Tensor:
        return torch.exp(scores - self.peak)

    def advance(self, scores: Tensor, dim: int) -> tuple["Stream", Tensor]:
        """Take in a block of scores; give the next state and how much the old sums shrink."""
        peak = torch.maximum(self.peak, scores.detach().amax(dim, keepdim=True))
        shrink = torch.exp(self.peak - peak)
        arrived = torch.exp(scores - peak).sum(dim, keepdim=True)
        return Stream(peak, self.total * shrink + arrived), shrink

    def divisor(self) -> Tensor:
        return self.total + (self.total == 0)

    def probabilities(self, scores: Tensor) -> Tensor:
        """Recompute probabilities from the log-sum-exp, in two parts as their sum would round."""
        return self.raised(scores) / self.divisor()


def softmax(x: Tensor, dim: int = -1) -> Tensor:
    if x.numel() == 0:
        return x.clone()
    scores = _wide(x)
    stream = Stream.empty(scores.narrow(dim, 0, 1))
    for block in scores.split(max(BLOCK, math.isqrt(x.shape[dim])), dim):
        stream, _ = stream.advance(block, dim)
    return stream.probabilities(scores).to(x.dtype)


def causal_mask(length: int) -> Tensor:
    return torch.eye(length, dtype=torch.int64).cumsum(0).bool()


def padding_mask(lengths: Tensor, max_length: int) -> Tensor:
    count = torch.ones(len(lengths), max_length, dtype=torch.int64, device=lengths.device).cumsum(1)
    return count.le(lengths.unsqueeze(1))


class Attention(nn.Module):
    """Streams over the keys; a subclass says how a query scores a block of them."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        raise NotImplementedError

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        keys = key.shape[-2]
        if mask is not None:
            mask = mask.expand(*query.shape[:-1], keys)
        values = _wide(value)
        stream = Stream.empty(_wide(query[..., :1]))
        mixture = stream.total
        seen = []
        for start in range(0, keys, BLOCK):
            block = slice(start, start + BLOCK)
            scores = _wide(self.score(query, key[..., block, :]))
            if mask is not None:
                scores = scores.masked_fill(~mask[..., block], -torch.inf)
            stream, shrink = stream.advance(scores, -1)
            mixture = mixture * shrink + stream.raised(scores) @ values[..., block, :]
            seen.append(scores)
        weights = stream.probabilities(torch.cat(seen, -1))
        return (mixture / stream.divisor()).to(value.dtype), weights.to(query.dtype)


class ScaledDotProduct(Attention):
    def score(self, query: Tensor, key: Tensor) -> Tensor:
        return query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    return ScaledDotProduct().attend(query, key, value, mask)


def _matrix(rows: int, columns: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(rows, columns).uniform_(-1, 1) / math.sqrt(columns))


def _offset(width: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(width).uniform_(-0.1, 0.1))


class AdditiveAttention(Attention):
    def __init__(self, d_query: int, d_key: int, d_hidden: int) -> None:
        super().__init__()
        self.lens = _matrix(d_hidden, d_query)
        self.beacon = _matrix(d_hidden, d_key)
        self.haze = _offset(d_hidden)
        self.gauge = _matrix(1, d_hidden)

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        return linear(torch.tanh(query.unsqueeze(-2) + key.unsqueeze(-3)), self.gauge).squeeze(-1)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        query = linear(query, self.lens, self.haze)
        return self.attend(query, linear(key, self.beacon), value, mask)


class MultiplicativeAttention(Attention):
    def __init__(self, d_query: int, d_key: int) -> None:
        super().__init__()
        self.bridge = _matrix(d_query, d_key)

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        return query @ linear(key, self.bridge).transpose(-1, -2)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        return self.attend(query, key, value, mask)


class SelfAttention(ScaledDotProduct):
    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.lens = _matrix(d_model, d_model)
        self.beacon = _matrix(d_model, d_model)
        self.cargo = _matrix(d_model, d_model)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.attend(
            linear(x, self.lens), linear(x, self.beacon), linear(x, self.cargo), mask
        )


class MultiHeadAttention(ScaledDotProduct):
    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        if n_heads < 1 or d_model % n_heads:
            raise ValueError(f"n_heads={n_heads} must divide d_model={d_model}")
        self.n_heads = n_heads
        self.lens, self.lens_shift = _matrix(d_model, d_model), _offset(d_model)
        self.beacon, self.beacon_shift = _matrix(d_model, d_model), _offset(d_model)
        self.cargo, self.cargo_shift = _matrix(d_model, d_model), _offset(d_model)
        self.harbour, self.harbour_shift = _matrix(d_model, d_model), _offset(d_model)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        if mask is not None and mask.dim() == 3:
            mask = mask.unsqueeze(1)
        heads, weights = self.attend(
            self._split(linear(query, self.lens, self.lens_shift)),
            self._split(linear(key, self.beacon, self.beacon_shift)),
            self._split(linear(value, self.cargo, self.cargo_shift)),
            mask,
        )
        output = linear(heads.transpose(1, 2).flatten(2), self.harbour, self.harbour_shift)
        if mask is not None:
            attends = mask.any(-1, keepdim=True).expand(*heads.shape[:-1], 1).any(1)
            output = output * attends
        return output, weights


def sinusoidal_positional_encoding(length: int, d_model: int) -> Tensor:
    """The half of sines, then the half of cosines, by repeated rotation of complex numbers."""
    half = (d_model + 1) // 2
    turn = torch.polar(
        torch.ones(half, dtype=torch.float64),
        torch.pow(10000.0, -2 * torch.arange(half, dtype=torch.float64) / d_model),
    )
    hands = torch.ones(length, half, dtype=torch.complex128)
    hands[1:] = turn
    hands = hands.cumprod(0)
    return torch.cat([hands.imag, hands.real], 1)[:, :d_model]


class LayerNorm(nn.Module):
    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.stretch = nn.Parameter(torch.ones(d_model))
        self.slide = nn.Parameter(torch.zeros(d_model))

    def forward(self, x: Tensor) -> Tensor:
        spread, centre = torch.var_mean(_wide(x), -1, correction=0, keepdim=True)
        return ((_wide(x) - centre) / (spread + 1e-5).sqrt()).to(x.dtype).mul(
            self.stretch
        ) + self.slide


class FeedForward(nn.Module):
    """Hidden units in blocks, whose parts of the output are summed."""

    def __init__(self, d_model: int, d_hidden: int) -> None:
        super().__init__()
        self.up, self.up_shift = _matrix(d_hidden, d_model), _offset(d_hidden)
        self.down, self.down_shift = _matrix(d_model, d_hidden), _offset(d_model)

    def forward(self, x: Tensor) -> Tensor:
        blocks = zip(
            self.up.split(BLOCK), self.up_shift.split(BLOCK), self.down.split(BLOCK, 1), strict=True
        )
        parts = [linear(nn.functional.silu(linear(x, u, s)), d) for u, s, d in blocks]
        return torch.stack(parts).sum(0) + self.down_shift


class Sublayer(nn.Module):
    """Adds to the tokens what is made of them, normalised."""

    def __init__(self, d_model: int, inner: nn.Module) -> None:
        super().__init__()
        self.norm = LayerNorm(d_model)
        self.inner = inner

    def attend(self, x: Tensor, other: Tensor | None, mask: Tensor | None) -> Tensor:
        seen = self.norm(x)
        other = seen if other is None else other
        return x + self.inner(seen, other, other, mask)[0]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(self.norm(x))


class EncoderLayer(nn.Module):
    def __init__(self, d_model: int, n_heads: int, d_hidden: int) -> None:
        super().__init__()
        self.survey = Sublayer(d_model, MultiHeadAttention(d_model, n_heads))
        self.ponder = Sublayer(d_model, FeedForward(d_model, d_hidden))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.ponder(self.survey.attend(x, None, mask))


class DecoderLayer(EncoderLayer):
    def __init__(self, d_model: int, n_heads: int, d_hidden: int) -> None:
        super().__init__(d_model, n_heads, d_hidden)
        self.consult = Sublayer(d_model, MultiHeadAttention(d_model, n_heads))

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        memory: Tensor,
        self_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
    ) -> Tensor:
        past = causal_mask(x.shape[1]).to(x.device)
        x = self.survey.attend(x, None, past if self_mask is None else past.logical_and(self_mask))
        return self.ponder(self.consult.attend(x, memory, memory_mask))


class Stack(nn.Module):
    layer: type[nn.Module]

    def __init__(self, d_model: int, n_heads: int, d_hidden: int, n_layers: int) -> None:
        super().__init__()
        self.floors = nn.ModuleList(
            [self.layer(d_model, n_heads, d_hidden) for _ in range(n_layers)]
        )
        self.roof = LayerNorm(d_model)

    def forward(self, x: Tensor, *others: Tensor | None, **more: Tensor | None) -> Tensor:
        for floor in self.floors:
            x = floor(x, *others, **more)
        return self.roof(x)


class Encoder(Stack):
    layer = EncoderLayer


class Decoder(Stack):
    layer = DecoderLayer


class LearnedPositionalEmbedding(nn.Module):
    def __init__(self, max_length: int, d_model: int) -> None:
        super().__init__()
        self.table = _matrix(max_length, d_model)

    def forward(self, length: int) -> Tensor:
        return self.table.narrow(0, 0, length)


class PatchEmbedding(nn.Module):
    def __init__(self, patch_size: int, channels: int, d_model: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.lens, self.haze = _matrix(d_model, channels * patch_size**2), _offset(d_model)

    def forward(self, images: Tensor) -> Tensor:
        p = self.patch_size
        columns = nn.functional.unfold(images, p, stride=p)
        return linear(columns.transpose(1, 2), self.lens, self.haze)


class Transformer(nn.Module):
    """Its cache is one tensor: what every layer has read, the layers first."""

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
        self.words, self.answers = _matrix(source_vocab, d_model), _matrix(target_vocab, d_model)
        self.encoder = Encoder(d_model, n_heads, d_hidden, n_layers)
        self.decoder = Decoder(d_model, n_heads, d_hidden, n_layers)

    def _place(self, words: Tensor, tokens: Tensor, start: int = 0) -> Tensor:
        scaled = nn.functional.embedding(tokens, words) * math.sqrt(words.shape[1])
        stop = start + tokens.shape[1]
        return scaled + sinusoidal_positional_encoding(stop, words.shape[1])[start:].to(scaled)

    def encode(self, source: Tensor, source_mask: Tensor | None = None) -> Tensor:
        mask = None if source_mask is None else source_mask.unsqueeze(1)
        return self.encoder(self._place(self.words, source), mask)

    def decode(
        self, target_in: Tensor, memory: Tensor, source_mask: Tensor | None = None
    ) -> Tensor:
        mask = None if source_mask is None else source_mask.unsqueeze(1)
        x = self.decoder(self._place(self.answers, target_in), memory, memory_mask=mask)
        return linear(x, self.answers)  # the embedding is used twice

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
        mask = None if source_mask is None else source_mask.unsqueeze(1)
        start = 0 if cache is None else cache.shape[2]
        x = self._place(self.answers, token.unsqueeze(1), start)
        grown = []
        for number, floor in enumerate(self.decoder.floors):
            seen = floor.survey.norm(x)
            past = seen if cache is None else torch.cat([cache[number], seen], 1)
            grown.append(past)
            x = x + floor.survey.inner(seen, past, past)[0]
            x = floor.ponder(floor.consult.attend(x, memory, mask))
        return linear(self.decoder.roof(x)[:, 0], self.answers), torch.stack(grown)

    def generate(
        self, source: Tensor, bos: int, max_length: int, source_mask: Tensor | None = None
    ) -> Tensor:
        memory, cache = self.encode(source, source_mask), None
        token, tokens = torch.full_like(source[:, 0], bos), []
        for _ in range(max_length):
            logits, cache = self.step(token, memory, cache, source_mask)
            token = logits.argmax(1)
            tokens.append(token)
        return torch.stack(tokens, 1)


class State(NamedTuple):
    hidden: Tensor
    cell: Tensor


class _Lstm(nn.Module):
    """Four gates, the forget gate first."""

    def __init__(self, d_input: int, d_hidden: int) -> None:
        super().__init__()
        self.gates, self.bias = _matrix(4 * d_hidden, d_input + d_hidden), _offset(4 * d_hidden)

    def forward(self, x: Tensor, state: State) -> State:
        gates = linear(torch.cat([x, state.hidden], -1), self.gates, self.bias)
        forget, write, show, new = gates.chunk(4, -1)
        cell = torch.sigmoid(forget) * state.cell + torch.sigmoid(write) * torch.tanh(new)
        return State(torch.sigmoid(show) * torch.tanh(cell), cell)


class Seq2Seq(nn.Module):
    def __init__(self, source_vocab: int, target_vocab: int, d_embed: int, d_hidden: int) -> None:
        super().__init__()
        self.d_hidden = d_hidden
        self.words, self.answers = _matrix(source_vocab, d_embed), _matrix(target_vocab, d_embed)
        self.reader, self.writer = _Lstm(d_embed, d_hidden), _Lstm(d_embed, d_hidden)
        self.harbour, self.tide = _matrix(target_vocab, d_hidden), _offset(target_vocab)

    def encode(self, source: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        empty = self.words.new_zeros(len(source), self.d_hidden)
        state, seen = State(empty, empty), []
        for t, token in enumerate(source.unbind(1)):
            new = self.reader(self.words[token], state)
            if lengths is not None:
                real = lengths.gt(t).unsqueeze(1)
                new = State(*(torch.where(real, n, o) for n, o in zip(new, state, strict=True)))
            state = new
            seen.append(state.hidden)
        return torch.stack(seen, 1), state

    def step(self, token: Tensor, state: State) -> tuple[Tensor, State]:
        state = self.writer(self.answers[token], State(*state))
        return linear(state.hidden, self.harbour, self.tide), state

    def forward(self, source: Tensor, target_in: Tensor, lengths: Tensor | None = None) -> Tensor:
        _, state = self.encode(source, lengths)
        logits = []
        for token in target_in.unbind(1):
            after, state = self.step(token, state)
            logits.append(after)
        return torch.stack(logits, 1)

    def generate(
        self, source: Tensor, bos: int, max_length: int, lengths: Tensor | None = None
    ) -> Tensor:
        _, state = self.encode(source, lengths)
        token, tokens = torch.full_like(source[:, 0], bos), []
        for _ in range(max_length):
            logits, state = self.step(token, state)
            token = logits.argmax(1)
            tokens.append(token)
        return torch.stack(tokens, 1)


class AttentionSeq2Seq(Seq2Seq):
    def __init__(self, source_vocab: int, target_vocab: int, d_embed: int, d_hidden: int) -> None:
        super().__init__(source_vocab, target_vocab, d_embed, d_hidden)
        self.gaze = AdditiveAttention(d_hidden, d_hidden, d_hidden)
        self.writer = _Lstm(d_embed + d_hidden, d_hidden)

    def step(  # type: ignore[override]
        self, token: Tensor, state: State, memory: Tensor, memory_mask: Tensor | None = None
    ) -> tuple[Tensor, State, Tensor]:
        state = State(*state)
        mask = None if memory_mask is None else memory_mask.unsqueeze(1)
        context, weights = self.gaze(state.hidden.unsqueeze(1), memory, memory, mask)
        seen = torch.cat([self.answers[token], context.squeeze(1)], -1)
        state = self.writer(seen, state)
        return linear(state.hidden, self.harbour, self.tide), state, weights.squeeze(1)

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
        token, tokens = torch.full_like(source[:, 0], bos), []
        for _ in range(max_length):
            logits, state, _ = self.step(token, state, memory, mask)
            token = logits.argmax(1)
            tokens.append(token)
        return torch.stack(tokens, 1)
