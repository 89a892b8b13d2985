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
