"""``torch.autograd.Function`` with a backward written by hand for whatever is learned through.

Free choices: no biases in attention, biases in the feed-forward network, whose units are
x · sigmoid(1.702 x); a mask selects among exponentials, so that no constant hides a key.
"""

import math

import torch
from torch import nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable


def _wide(x):
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _normalised(scores, dim, allowed=None):
    """Give the shares; zeros where nothing is allowed."""
    if allowed is None:
        raised = (scores - scores.amax(dim, keepdim=True)).exp_()
        return raised / raised.sum(dim, keepdim=True)
    seen = scores.where(allowed, scores.new_full((), -torch.inf))
    peak = seen.amax(dim, keepdim=True)
    peak = peak.where(peak > -torch.inf, 0.0)
    raised = (seen - peak).exp_()
    total = raised.sum(dim, keepdim=True)
    return raised / total.where(total > 0, 1.0)


def _by_scores(shares, upstream, dim):
    """Multiply with the Jacobian of softmax: p (g − Σ p g)."""
    return shares * (upstream - (shares * upstream).sum(dim, keepdim=True))


class _Softmax(Function):
    @staticmethod
    def forward(ctx, x, dim):
        ctx.dim, shares = dim, _normalised(_wide(x), dim)
        ctx.save_for_backward(shares)
        return shares.to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream):
        (shares,) = ctx.saved_tensors
        return _by_scores(shares, _wide(upstream), ctx.dim).to(upstream.dtype), None


def softmax(x, dim=-1):
    return _Softmax.apply(x, dim)


class _Weighed(Function):
    """Mixes values by scores."""

    @staticmethod
    def forward(ctx, scores, value, mask):
        wide, values = _wide(scores), _wide(value)
        allowed = None if mask is None else mask.expand_as(wide)
        shares = _normalised(wide, -1, allowed)
        ctx.save_for_backward(shares, values)
        return (shares @ values).to(value.dtype), shares.to(scores.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, by_output, by_weights):
        shares, values = ctx.saved_tensors
        upstream = _wide(by_output)
        by_shares = upstream @ values.mT + _wide(by_weights)
        by_scores = _by_scores(shares, by_shares, -1)
        return by_scores.to(by_weights.dtype), (shares.mT @ upstream).to(by_output.dtype), None


class _Compared(Function):
    """Scores keys by scaled products."""

    @staticmethod
    def forward(ctx, query, key, scale):
        ctx.scale = scale
        ctx.save_for_backward(query, key)
        return (query @ key.mT).mul_(scale)

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream):
        query, key = ctx.saved_tensors
        scaled = upstream * ctx.scale
        return scaled @ key, scaled.mT @ query, None


class _Projected(Function):
    """Applies one matrix (out, in) to every token."""

    @staticmethod
    def forward(ctx, x, matrix):
        ctx.save_for_backward(x, matrix)
        return x @ matrix.mT

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream):
        x, matrix = ctx.saved_tensors
        return upstream @ matrix, upstream.flatten(0, -2).mT @ x.flatten(0, -2)


class _Saturated(Function):
    """Scores each pair by energy · tanh(query + key)."""

    @staticmethod
    def forward(ctx, query, key, energy):
        bent = (query.unsqueeze(-2) + key.unsqueeze(-3)).tanh_()
        ctx.save_for_backward(bent, energy)
        return bent @ energy

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream):
        bent, energy = ctx.saved_tensors
        by_sum = upstream.unsqueeze(-1) * energy * (1 - bent.square())
        by_energy = upstream.flatten() @ bent.flatten(0, -2)
        return by_sum.sum(-2), by_sum.sum(-3), by_energy


def scaled_dot_product_attention(query, key, value, mask=None):
    scores = _Compared.apply(query, key, 1 / math.sqrt(query.shape[-1]))
    return _Weighed.apply(scores, value, mask)


def _matrix(*shape):
    return nn.Parameter(nn.init.kaiming_uniform_(torch.empty(shape), math.sqrt(5)))


class AdditiveAttention(nn.Module):
    def __init__(self, d_query, d_key, d_hidden):
        super().__init__()
        self.by_query, self.by_key = _matrix(d_hidden, d_query), _matrix(d_hidden, d_key)
        self.by_unit = nn.Parameter(torch.linspace(-1, 1, d_hidden + 1)[1:])

    def forward(self, query, key, value, mask=None):
        query, key = _Projected.apply(query, self.by_query), _Projected.apply(key, self.by_key)
        return _Weighed.apply(_Saturated.apply(query, key, self.by_unit), value, mask)


class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads:
            raise ValueError(f"{d_model} modulo {n_heads} is {d_model % n_heads}")
        self.n_heads = n_heads
        self.a, self.b, self.c, self.d = (_matrix(d_model, d_model) for _ in "abcd")

    def forward(self, query, key, value, mask=None):
        query, key, value = (
            _Projected.apply(x, matrix).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
            for x, matrix in ((query, self.a), (key, self.b), (value, self.c))
        )
        mask = mask.unsqueeze(1) if mask is not None and mask.dim() == 3 else mask
        heads, weights = scaled_dot_product_attention(query, key, value, mask)
        return _Projected.apply(heads.transpose(1, 2).flatten(2), self.d), weights


class _Standardised(Function):
    @staticmethod
    def forward(ctx, x, gain, bias, eps):
        wide = _wide(x)
        centred = wide - wide.mean(-1, keepdim=True)
        precision = centred.square().mean(-1, keepdim=True).add_(eps).rsqrt_()
        result = centred.mul_(precision)
        ctx.save_for_backward(result, precision, gain)
        return (result * gain + bias).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream):
        result, precision, gain = ctx.saved_tensors
        dtype, upstream = upstream.dtype, _wide(upstream)
        inner = upstream * gain
        along = (inner * result).mean(-1, keepdim=True)
        by_x = precision * (inner - inner.mean(-1, keepdim=True) - result * along)
        tokens = tuple(range(upstream.dim() - 1))
        if not tokens:
            return by_x.to(dtype), (upstream * result).to(dtype), upstream.to(dtype), None
        by_gain, by_bias = (upstream * result).sum(tokens), upstream.sum(tokens)
        return by_x.to(dtype), by_gain.to(dtype), by_bias.to(dtype), None


class LayerNorm(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))

    def forward(self, x):
        return _Standardised.apply(x, self.gain, self.bias, 1e-5)


class _Gated(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * torch.sigmoid(1.702 * x)

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream):
        (x,) = ctx.saved_tensors
        open_ = torch.sigmoid(1.702 * x)
        return upstream * open_ * (1 + 1.702 * x * (1 - open_))


class FeedForward(nn.Module):
    def __init__(self, d_model, d_hidden):
        super().__init__()
        self.into, self.out = _matrix(d_hidden, d_model), _matrix(d_model, d_hidden)
        self.into_bias = nn.Parameter(torch.rand(d_hidden))
        self.out_bias = nn.Parameter(torch.rand(d_model))

    def forward(self, x):
        hidden = _Gated.apply(_Projected.apply(x, self.into) + self.into_bias)
        return _Projected.apply(hidden, self.out) + self.out_bias


class _Rows(Function):
    @staticmethod
    def forward(ctx, table, length):
        ctx.unused = len(table) - length
        return table[:length].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream):
        return nn.functional.pad(upstream, (0, 0, 0, ctx.unused)), None


class LearnedPositionalEmbedding(nn.Module):
    def __init__(self, max_length, d_model):
        super().__init__()
        self.places = nn.Parameter(torch.randn(max_length, d_model) * 0.02)

    def forward(self, length):
        if length > len(self.places):
            raise ValueError(f"there are no more than {len(self.places)} places")
        return _Rows.apply(self.places, length)
