"""Halves of halves: keys, features, positions and masks are cut in two, and the parts are merged.

Free choices: an output projection that starts at zero, orthogonal others, biases on values and
output; −∞ hides a key, and the least number stands for the peak of none; interleaved columns, odd
widths too; a parameter of its own for each position.
"""

import math

import torch
from torch import nn

LEAF = 2


def _wide(x):
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _halves(start, stop):
    middle = (start + stop) // 2
    return (start, middle), (middle, stop)


def _merged(one, other):
    """Merge (peak, total, …) of two parts; what follows the peak is in units of its exponential."""
    peak = torch.maximum(one[0], other[0])
    grow, shrink = (one[0] - peak).exp(), (other[0] - peak).exp()
    return peak, *(a * grow + b * shrink for a, b in zip(one[1:], other[1:], strict=True))


def _peak(scores):
    return scores.detach().amax(-1, keepdim=True).clamp_min(torch.finfo(scores.dtype).min)


def _summed(scores, start, stop):
    if stop - start > 4 * LEAF:
        return _merged(*(_summed(scores, *half) for half in _halves(start, stop)))
    part = scores[..., start:stop]
    peak = _peak(part)
    return peak, (part - peak).exp().sum(-1, keepdim=True)


def softmax(x, dim=-1):
    scores = _wide(x).movedim(dim, -1)
    peak, total = _summed(scores, 0, scores.shape[-1])
    return ((scores - peak).exp() / total).movedim(-1, dim).to(x.dtype)


def causal_mask(length):
    """Make a triangle of two triangles, a square of ones and a square of zeros."""
    if length <= 1:
        return torch.ones(length, length, dtype=torch.bool)
    upper, lower = (causal_mask(stop - start) for start, stop in _halves(0, length))
    mask = torch.block_diag(upper, lower)
    mask[len(upper) :, : len(upper)] = True
    return mask


def _attended(query, key, value, mask, start, stop):
    """Give the peak, the total and the mixture of some keys, and a list of their scores."""
    if stop - start > LEAF:
        (*one, early), (*other, late) = (
            _attended(query, key, value, mask, *half) for half in _halves(start, stop)
        )
        return *_merged(one, other), early + late
    scores = _wide(query @ key[..., start:stop, :].mT) / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = torch.where(mask[..., start:stop], scores, -torch.inf)
    peak = _peak(scores)
    raised = (scores - peak).exp()
    mixture = raised @ _wide(value[..., start:stop, :])
    return peak, raised.sum(-1, keepdim=True), mixture, [scores]


def scaled_dot_product_attention(query, key, value, mask=None):
    keys = key.shape[-2]
    if mask is not None:
        mask = mask.expand(*query.shape[:-1], keys)
    peak, total, mixture, scores = _attended(query, key, value, mask, 0, keys)
    total = total + (total == 0)
    weights = (torch.cat(scores, -1) - peak).exp() / total
    return (mixture / total).to(value.dtype), weights.to(query.dtype)


class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads != 0:
            raise ValueError("an equal share for every head")
        self.n_heads = n_heads
        self.asks = nn.Linear(d_model, d_model, bias=False)
        self.holds = nn.Linear(d_model, d_model, bias=False)
        self.says = nn.Linear(d_model, d_model)
        self.joins = nn.Linear(d_model, d_model)
        for layer in (self.asks, self.holds, self.says):
            nn.init.orthogonal_(layer.weight)
        nn.init.zeros_(self.joins.weight)

    def _some(self, start, stop, query, key, value, mask):
        """Give the outputs and weights of some heads, from their columns."""
        if stop - start > 1:
            parts = [self._some(*half, query, key, value, mask) for half in _halves(start, stop)]
            return tuple(part[0] + part[1] for part in zip(*parts, strict=True))
        if mask is not None and mask.dim() == 4:
            mask = mask[:, start if mask.shape[1] > 1 else 0]
        width = query.shape[-1] // self.n_heads
        own = slice(start * width, stop * width)
        output, weights = scaled_dot_product_attention(
            query[..., own], key[..., own], value[..., own], mask
        )
        return [output], [weights]

    def forward(self, query, key, value, mask=None):
        outputs, weights = self._some(
            0, self.n_heads, self.asks(query), self.holds(key), self.says(value), mask
        )
        return self.joins(torch.cat(outputs, -1)), torch.stack(weights, 1)


def _positions(length, frequencies):
    """Give points on circles as (sines, cosines): the later half is the earlier one, turned."""
    if length == 1:
        return torch.zeros_like(frequencies)[None], torch.ones_like(frequencies)[None]
    half = (length + 1) // 2
    sines, cosines = _positions(half, frequencies)
    turn = half * frequencies
    later_sines = sines * turn.cos() + cosines * turn.sin()
    later_cosines = cosines * turn.cos() - sines * turn.sin()
    return (
        torch.cat([sines, later_sines])[:length],
        torch.cat([cosines, later_cosines])[:length],
    )


def sinusoidal_positional_encoding(length, d_model):
    frequencies = 1e4 ** (torch.arange(0, d_model, 2, dtype=torch.float64) / -d_model)
    pairs = torch.stack(_positions(length, frequencies), -1)
    return pairs.flatten(1)[:, :d_model].float()


class LayerNorm(nn.Module):
    """Mean and squares of two halves of a token give those of the whole."""

    def __init__(self, d_model):
        super().__init__()
        self.louder = nn.Parameter(torch.ones(d_model))
        self.higher = nn.Parameter(torch.zeros(d_model))

    def _moments(self, x, start, stop):
        count = stop - start
        if count <= LEAF or count > 64 * LEAF:
            part = x[..., start:stop]
            mean = part.mean(-1, keepdim=True)
            return mean, (part - mean).square().sum(-1, keepdim=True)
        early, late = _halves(start, stop)
        (mean, squares), (other, others) = (self._moments(x, *half) for half in (early, late))
        share, gap = (late[1] - late[0]) / count, other - mean
        between = gap.square() * share * (early[1] - early[0])
        return mean + gap * share, squares + others + between

    def forward(self, x):
        wide = _wide(x)
        mean, squares = self._moments(wide, 0, x.shape[-1])
        spread = (squares / x.shape[-1] + 1e-5).sqrt()
        return torch.addcmul(self.higher, self.louder, ((wide - mean) / spread).to(x.dtype))


class LearnedPositionalEmbedding(nn.Module):
    """Has two of its kind, each with half of the positions, or one row."""

    def __init__(self, max_length, d_model):
        super().__init__()
        self.max_length = max_length
        if max_length == 1:
            self.row = nn.Parameter(torch.randn(d_model))
        else:
            self.parts = nn.ModuleList(
                type(self)(stop - start, d_model) for start, stop in _halves(0, max_length)
            )

    def rows(self, length):
        if length <= 0:
            return []
        if self.max_length == 1:
            return [self.row]
        early, late = self.parts
        return early.rows(length) + late.rows(length - early.max_length)

    def forward(self, length):
        if length > self.max_length:
            raise ValueError(f"{length} > {self.max_length}")
        return torch.stack(self.rows(length))
