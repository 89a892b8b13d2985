"""Convolutions for whatever is linear, with channels before positions inside.

Free choices: kernels of one for projections, the keys as kernels that are run over the queries,
strided kernels for patches; biases wherever a convolution has them; the dtype's least number hides
a key; ELU in the feed-forward network; a group of channels is what is normalised.
"""

import math

import torch
from torch import nn
from torch.nn.functional import conv1d


def _pointwise(come, go, **options):
    return nn.Conv1d(come, go, 1, **options)


def _attend(scores, value, mask):
    """Attend with scores (B, H, L, S) and channels of values (B, H, d, S); give (B, H, d, L)."""
    if mask is not None:
        scores = scores.masked_fill(mask.logical_not(), torch.finfo(scores.dtype).min)
    weights = nn.functional.softmax(scores, -1)
    return value @ weights.mT, weights


def _correlate(query, key):
    """Give scores (B, H, L, S) of channels (B, H, d, L) and (B, H, d, S): each key is a kernel."""
    groups = query.shape[0] * query.shape[1]
    signal = query.reshape(1, -1, query.shape[-1])
    kernels = key.mT.reshape(-1, key.shape[-2], 1)
    scores = conv1d(signal, kernels, groups=groups)
    return scores.reshape(*query.shape[:2], key.shape[-1], -1).mT


class AdditiveAttention(nn.Module):
    def __init__(self, d_query, d_key, d_hidden):
        super().__init__()
        self.from_query = _pointwise(d_query, d_hidden)
        self.from_key = _pointwise(d_key, d_hidden)
        self.energy = nn.Conv2d(d_hidden, 1, 1)

    def forward(self, query, key, value, mask=None):
        maps = self.from_query(query.mT)[..., None] + self.from_key(key.mT)[..., None, :]
        scores = self.energy(maps.tanh())  # (B, 1, L, S), one map for each hidden unit before
        mask = mask if mask is None or mask.dim() == 2 else mask[:, None]
        output, weights = _attend(scores, value.mT[:, None], mask)
        return output[:, 0].mT, weights[:, 0]


class MultiplicativeAttention(nn.Module):
    def __init__(self, d_query, d_key):
        super().__init__()
        self.turn = _pointwise(d_key, d_query, bias=False)

    def forward(self, query, key, value, mask=None):
        scores = _correlate(query.mT[:, None], self.turn(key.mT)[:, None])
        mask = mask if mask is None or mask.dim() == 2 else mask[:, None]
        output, weights = _attend(scores, value.mT[:, None], mask)
        return output[:, 0].mT, weights[:, 0]


class SelfAttention(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.all_three = _pointwise(d_model, 3 * d_model)

    def forward(self, x, mask=None):
        query, key, value = self.all_three(x.mT).unflatten(1, (3, 1, -1)).unbind(1)
        mask = mask if mask is None or mask.dim() == 2 else mask[:, None]
        output, weights = _attend(_correlate(query, key) / math.sqrt(x.shape[-1]), value, mask)
        return output[:, 0].mT, weights[:, 0]


class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads:
            raise ValueError(f"groups of {d_model} channels cannot be {n_heads}")
        self.n_heads = n_heads
        self.ask, self.offer, self.carry, self.leave = (
            _pointwise(d_model, d_model) for _ in range(4)
        )

    def forward(self, query, key, value, mask=None):
        query, key, value = (
            project(x.mT).unflatten(1, (self.n_heads, -1))
            for project, x in ((self.ask, query), (self.offer, key), (self.carry, value))
        )
        mask = mask[:, None] if mask is not None and mask.dim() == 3 else mask
        scores = _correlate(query, key).div(math.sqrt(query.shape[2]))
        output, weights = _attend(scores, value, mask)
        return self.leave(output.flatten(1, 2)).mT, weights


class LayerNorm(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d_model))
        self.offset = nn.Parameter(torch.zeros(d_model))

    def forward(self, x):
        channels = x.reshape(-1, x.shape[-1])  # one group of channels, at one position
        return torch.group_norm(channels, 1, self.weight, self.offset, 1e-5).reshape(x.shape)


class FeedForward(nn.Sequential):
    def __init__(self, d_model, d_hidden):
        super().__init__(_pointwise(d_model, d_hidden), nn.ELU(), _pointwise(d_hidden, d_model))

    def forward(self, x):
        return super().forward(x.mT).mT


class PatchEmbedding(nn.Conv2d):
    def __init__(self, patch_size, channels, d_model):
        super().__init__(channels, d_model, patch_size, patch_size)

    def forward(self, images):
        return super().forward(images).flatten(2).mT
