"""Modules of torch that were made for something else: bags of one word, shuffled pixels, bilinears.

Free choices: a bias on the score of a pair, which changes no weight; a fused kernel for the output
beside explicit weights; a gated feed-forward network of twice the hidden width; what is normalised
by its root mean square had its mean taken away.
"""

import math
from collections import OrderedDict

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence


def padding_mask(lengths, max_length):
    rows = [torch.ones(n, dtype=torch.bool, device=lengths.device) for n in lengths.tolist()]
    longest = torch.ones(max_length, dtype=torch.bool, device=lengths.device)
    return pad_sequence([*rows, longest], batch_first=True)[:-1]


class _Shares(nn.Module):
    """Softmin of what keys cost; keys that a row may not have cost the most there is."""

    def __init__(self):
        super().__init__()
        self.shares = nn.Softmin(-1)

    def forward(self, costs, mask):
        if mask is None:
            return self.shares(costs)
        dearest = torch.finfo(costs.dtype).max
        return self.shares(costs.masked_fill(~mask, dearest)).masked_fill(~mask, 0)


class MultiplicativeAttention(nn.Module):
    def __init__(self, d_query, d_key):
        super().__init__()
        self.pair, self.shares = nn.Bilinear(d_query, d_key, 1), _Shares()

    def forward(self, query, key, value, mask=None):
        length, keys = query.shape[1], key.shape[1]
        asked = query.repeat_interleave(keys, 1)
        offered = key.repeat(1, length, 1)
        scores = self.pair(asked, offered).view(-1, length, keys)
        weights = self.shares(-scores, mask)
        return torch.bmm(weights, value), weights


class SelfAttention(nn.Module):
    """The kernel gives the output; nobody else needs the weights."""

    def __init__(self, d_model):
        super().__init__()
        layers = (nn.Linear(d_model, d_model, bias=False) for _ in range(3))
        self.roles = nn.Sequential(OrderedDict(zip(("look", "show", "tell"), layers, strict=True)))
        self.shares = _Shares()

    def forward(self, x, mask=None):
        query, key, value = (layer(x) for layer in self.roles)
        seen = mask
        if mask is not None:
            mask = mask.expand(len(x), x.shape[1], x.shape[1])
            # The kernel is let look everywhere from where nothing is allowed.
            seen = mask | ~mask.any(-1, keepdim=True)
        output = nn.functional.scaled_dot_product_attention(query, key, value, seen)
        costs = torch.baddbmm(
            query.new_zeros(()), query, key.mT, beta=0, alpha=-1 / math.sqrt(x.shape[-1])
        )
        return output, self.shares(costs, mask)


class LayerNorm(nn.RMSNorm):
    def __init__(self, d_model):
        super().__init__(d_model, eps=1e-5)
        self.register_parameter("offset", nn.Parameter(torch.zeros(d_model)))

    def forward(self, x):
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        centred = wide - wide.mean(-1, keepdim=True)
        scaled = nn.functional.rms_norm(centred, self.normalized_shape, eps=self.eps)
        return scaled.to(x.dtype) * self.weight + self.offset


class FeedForward(nn.Sequential):
    def __init__(self, d_model, d_hidden):
        super().__init__(
            nn.Linear(d_model, 2 * d_hidden, bias=False),
            nn.GLU(),
            nn.Linear(d_hidden, d_model),
        )


class LearnedPositionalEmbedding(nn.EmbeddingBag):
    """Each position is a bag that holds its own number."""

    def __init__(self, max_length, d_model):
        super().__init__(max_length, d_model, mode="sum")

    def forward(self, length):
        if length > self.num_embeddings:
            raise ValueError(f"no more than {self.num_embeddings} positions")
        return super().forward(torch.arange(length, device=self.weight.device)[:, None])


class PatchEmbedding(nn.Sequential):
    def __init__(self, patch_size, channels, d_model):
        super().__init__(
            nn.PixelUnshuffle(patch_size),
            nn.Flatten(2),
            nn.Conv1d(channels * patch_size**2, d_model, 1, bias=False),
        )

    def forward(self, images):
        return super().forward(images).transpose(1, 2)
