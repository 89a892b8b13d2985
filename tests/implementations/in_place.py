"""Buffers of its own that are filled in place: ``baddbmm``, ``out=``, strides and trailing ``_``.

Free choices: three dimensions and no more; an additive mask with the dtype's least number; biases
on all four projections; interleaved columns, float32; odd widths are refused.
"""

import math

import torch
from torch import nn


def softmax(x, dim=-1):
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return wide.sub(wide.logsumexp(dim, keepdim=True)).exp_().to(x.dtype)


def causal_mask(length):
    """Slide a window over one row of ones and zeros; each row of the mask is the window."""
    row = torch.zeros(max(2 * length - 1, 0), dtype=torch.bool)
    row[:length].fill_(True)
    return row.as_strided((length, length), (1, 1)).flip(0)


def padding_mask(lengths, max_length):
    mask = torch.empty(len(lengths), max_length, dtype=torch.bool, device=lengths.device)
    return torch.lt(torch.arange(max_length, device=lengths.device), lengths[:, None], out=mask)


def _offsets(mask, shape, dtype):
    """Give what is added to the scores: the least number where a key is hidden."""
    offsets = (
        torch.zeros(shape, dtype=dtype) if mask is None else mask.new_zeros(shape, dtype=dtype)
    )
    if mask is not None:
        offsets.masked_fill_(~mask, torch.finfo(dtype).min)
    return offsets.flatten(0, -3)


def _attend(query, key, value, mask, scale):
    """Attend in tensors of two dimensions or more, flattened to three."""
    leading = query.shape[:-2]
    shape = (*(leading or (1,)), query.shape[-2], key.shape[-2])
    dtype = torch.promote_types(query.dtype, torch.float32)  # half would overflow below its least
    asked, offered, mixed = (x.to(dtype).reshape(-1, *x.shape[-2:]) for x in (query, key, value))
    scores = torch.baddbmm(
        _offsets(mask, shape, dtype).to(query.device), asked, offered.transpose(1, 2), alpha=scale
    )
    weights = softmax(scores)
    output = torch.bmm(weights, mixed).unflatten(0, leading or (1,))
    weights = weights.unflatten(0, leading or (1,))
    if not leading:
        output, weights = output.squeeze(0), weights.squeeze(0)
    return output.to(value.dtype), weights.to(query.dtype)


def scaled_dot_product_attention(query, key, value, mask=None):
    return _attend(query, key, value, mask, 1 / math.sqrt(query.shape[-1]))


class MultiplicativeAttention(nn.Module):
    def __init__(self, d_query, d_key):
        super().__init__()
        self.form = nn.Parameter(torch.empty(d_query, d_key))
        nn.init.sparse_(self.form, 0.5)

    def forward(self, query, key, value, mask=None):
        return _attend(query @ self.form, key, value, mask, 1)


class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        self.n_heads, self.width = n_heads, d_model // n_heads
        if self.width * n_heads != d_model:
            raise ValueError(f"{n_heads} does not divide {d_model}")
        self.matrices, self.offsets = nn.ParameterList(), nn.ParameterList()
        for _ in range(4):
            self.matrices.append(nn.init.xavier_uniform_(torch.empty(d_model, d_model)))
            self.offsets.append(torch.empty(d_model).fill_(0.1))

    def _project(self, number, x):
        flat = x.reshape(-1, x.shape[-1])
        flat = torch.addmm(self.offsets[number], flat, self.matrices[number].t())
        return flat.view(x.shape)

    def _split(self, x):
        """Cut the last axis into heads by strides alone."""
        batch, length, d_model = x.shape
        return x.as_strided(
            (batch, self.n_heads, length, self.width), (length * d_model, self.width, d_model, 1)
        )

    def forward(self, query, key, value, mask=None):
        tensors = [
            self._split(self._project(n, x).contiguous()) for n, x in enumerate((query, key, value))
        ]
        if mask is not None and mask.dim() == 3:
            mask = mask[:, None]
        heads, weights = _attend(*tensors, mask, self.width**-0.5)
        merged = heads.new_empty(query.shape)
        for head in range(self.n_heads):
            merged.narrow(-1, head * self.width, self.width).copy_(heads[:, head])
        return self._project(3, merged), weights


def sinusoidal_positional_encoding(length, d_model):
    if d_model % 2:
        raise ValueError(f"{d_model} columns are not pairs")
    angles, table = torch.empty(length, d_model // 2).double(), torch.empty(length, d_model)
    frequencies = torch.arange(0, d_model, 2).double().mul_(-math.log(1e4) / d_model).exp_()
    torch.outer(torch.arange(length).double(), frequencies, out=angles)
    table[:, 0::2].copy_(angles.sin())
    table[:, 1::2].copy_(angles.cos_())
    return table
