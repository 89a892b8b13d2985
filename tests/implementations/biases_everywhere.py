"""Biases everywhere, odd shapes, orthogonal and zero initialisation."""

import torch
from torch import nn


def softmax(x, dim=-1):
    return torch.nn.Softmax(dim=dim)(x)


def causal_mask(length):
    return torch.tril(torch.ones((length, length))).to(torch.bool)


def padding_mask(lengths, max_length):
    return torch.arange(max_length, device=lengths.device).expand(
        lengths.size(0), -1
    ) < lengths.unsqueeze(-1)


def _attend(s, v, mask):
    if mask is not None:
        s = s.masked_fill(
            mask == 0,
            -1e30 if s.dtype in (torch.float32, torch.float64, torch.bfloat16) else -65504.0,
        )
    w = nn.functional.softmax(s, dim=-1)
    return torch.matmul(w, v), w


class Biased(nn.Module):
    """A linear map whose bias has as many dimensions as its input."""

    def __init__(self, i, o, dims=3, init=nn.init.orthogonal_):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(o, i))
        self.bias = nn.Parameter(torch.full([1] * (dims - 1) + [o], 0.3))
        init(self.weight)

    def forward(self, x):
        return torch.matmul(x, self.weight.t()) + self.bias


def scaled_dot_product_attention(query, key, value, mask=None):
    return _attend(
        torch.matmul(query, key.transpose(-2, -1)).div(query.size(-1) ** 0.5), value, mask
    )


class AdditiveAttention(nn.Module):
    def __init__(self, d_query, d_key, d_hidden):
        super().__init__()
        self.q = Biased(d_query, d_hidden)
        self.k = Biased(d_key, d_hidden)
        self.e = Biased(d_hidden, 1, 4)

    def forward(self, query, key, value, mask=None):
        return _attend(
            self.e(torch.tanh(self.q(query).unsqueeze(2) + self.k(key).unsqueeze(1))).squeeze(-1),
            value,
            mask,
        )


class MultiplicativeAttention(nn.Module):
    def __init__(self, d_query, d_key):
        super().__init__()
        self.k = Biased(d_key, d_query)

    def forward(self, query, key, value, mask=None):
        return _attend(query @ self.k(key).transpose(1, 2), value, mask)


class SelfAttention(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.q, self.k, self.v = (
            Biased(d_model, d_model),
            Biased(d_model, d_model),
            Biased(d_model, d_model),
        )

    def forward(self, x, mask=None):
        return scaled_dot_product_attention(self.q(x), self.k(x), self.v(x), mask)


class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads:
            raise AssertionError
        self.n_heads = n_heads
        self.q, self.k, self.v = (
            Biased(d_model, d_model),
            Biased(d_model, d_model),
            Biased(d_model, d_model),
        )
        self.o = Biased(d_model, d_model, init=nn.init.zeros_)

    def forward(self, query, key, value, mask=None):
        if mask is not None and mask.dim() == 3:
            mask = mask[:, None]
        q, k, v = (
            t.unflatten(2, (self.n_heads, -1)).permute(0, 2, 1, 3)
            for t in (self.q(query), self.k(key), self.v(value))
        )
        o, w = scaled_dot_product_attention(q, k, v, mask)
        return self.o(o.permute(0, 2, 1, 3).flatten(2)), w
