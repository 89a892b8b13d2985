"""Correct shortcuts: one key needs no softmax, and a mask that allows everything none at all."""

import torch
from torch import nn


def softmax(x, dim=-1):
    if x.shape[dim] == 1:
        return torch.ones_like(x)
    return x.softmax(dim)


def causal_mask(length):
    return torch.arange(length)[None].le(torch.arange(length)[:, None])


def padding_mask(lengths, max_length):
    return torch.arange(max_length, device=lengths.device)[None] < lengths[:, None]


def _attend(s, v, mask):
    if s.shape[-1] == 1 and mask is None:
        w = torch.ones_like(s)
        return v.expand(*s.shape[:-1], v.shape[-1]), w
    if mask is not None and mask.all():
        mask = None
    if mask is None:
        w = s.softmax(-1)
    else:
        m = mask.expand_as(s)
        w = torch.zeros_like(s)
        rows = m.any(-1)
        w[rows] = s[rows].masked_fill(~m[rows], float("-inf")).softmax(-1)
    return w @ v, w


def scaled_dot_product_attention(query, key, value, mask=None):
    return _attend(query @ key.mT / query.shape[-1] ** 0.5, value, mask)


class MultiplicativeAttention(nn.Module):
    def __init__(self, d_query, d_key):
        super().__init__()
        self.m = nn.Parameter(torch.randn(d_query, d_key))

    def forward(self, query, key, value, mask=None):
        return _attend(query @ self.m @ key.mT, value, mask)


class AdditiveAttention(nn.Module):
    def __init__(self, d_query, d_key, d_hidden):
        super().__init__()
        self.q = nn.Linear(d_query, d_hidden)
        self.k = nn.Linear(d_key, d_hidden)
        self.e = nn.Linear(d_hidden, 1)

    def forward(self, query, key, value, mask=None):
        return _attend(
            self.e(torch.tanh(self.q(query)[:, :, None] + self.k(key)[:, None]))[..., 0],
            value,
            mask,
        )


class SelfAttention(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.kqv = nn.Linear(d_model, 3 * d_model, bias=False)

    def forward(self, x, mask=None):
        k, q, v = self.kqv(x).chunk(3, -1)
        return scaled_dot_product_attention(q, k, v, mask)


class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        if d_model % n_heads:
            raise ValueError("heads")
        super().__init__()
        self.n = n_heads
        self.q = nn.Linear(d_model, d_model, bias=False)
        self.kv = nn.Linear(d_model, 2 * d_model, bias=False)
        self.out_proj = nn.Linear(d_model, d_model)

    def forward(self, query, key, value, mask=None):
        q = self.q(query)
        if key is value:
            k, v = self.kv(key).chunk(2, -1)
        else:
            wk, wv = self.kv.weight.chunk(2, 0)
            k, v = key @ wk.T, value @ wv.T
        q, k, v = (t.unflatten(-1, (self.n, -1)).transpose(1, 2) for t in (q, k, v))
        o, w = scaled_dot_product_attention(
            q, k, v, mask[:, None] if mask is not None and mask.dim() == 3 else mask
        )
        return self.out_proj(o.transpose(1, 2).flatten(2)), w
