"""Logarithms of weights and points on circles: shares are e^−log Σ e^(differences).

Free choices: a mask is a logarithm, of one or of zero; softplus, a logarithm too, in a
feed-forward network without biases; a gain that is stored as its logarithm; positions by repeated
squaring of complex numbers, interleaved; a mean that is the spectrum's first coefficient.
"""

import math

import torch
from torch import nn


def _wide(x):
    return x.to(torch.promote_types(x.dtype, torch.float32))


def softmax(x, dim=-1):
    """Give one over the sum of all odds against an entry, by its logarithm."""
    scores = _wide(x).movedim(dim, -1)
    against = scores[..., None, :] - scores[..., :, None]
    return against.logsumexp(-1).neg().exp().to(x.dtype).movedim(-1, dim)


def causal_mask(length):
    return torch.eye(length).log().logcumsumexp(0).exp() > 0.5


def _log_weights(scores, mask):
    """Give logarithms of weights; a row without an allowed key gets those of a free one."""
    if mask is not None:
        free = mask | ~mask.any(-1, keepdim=True)
        scores = scores + free.to(scores.dtype).log()
    return scores.log_softmax(-1)


def _attend(scores, value, mask):
    wide = _wide(scores)
    weights = _log_weights(wide, mask).exp()
    if mask is not None:
        weights = weights * mask
    return (weights @ _wide(value)).to(value.dtype), weights.to(scores.dtype)


def scaled_dot_product_attention(query, key, value, mask=None):
    scale = math.exp(-0.5 * math.log(query.shape[-1]))
    return _attend(query @ key.mT * scale, value, mask)


class MultiplicativeAttention(nn.Module):
    """A bilinear form whose query is told how long it is apart from where it points."""

    def __init__(self, d_query, d_key):
        super().__init__()
        self.form = nn.Parameter(torch.randn(d_key, d_query) / math.sqrt(d_query))

    def forward(self, query, key, value, mask=None):
        length = query.detach().norm(dim=-1, keepdim=True)
        length = length.where(length > 0, 1.0)
        direction = query / length
        return _attend(direction @ (key @ self.form).mT * length, value, mask)


def sinusoidal_positional_encoding(length, d_model):
    """Turn i e^(−iφ) = sin φ + i cos φ by what each bit of a position turns it by."""
    if d_model % 2:
        raise ValueError("sines and cosines come in pairs")
    logarithm = -math.log(1e4) / d_model
    angle = torch.exp(logarithm * torch.arange(0, d_model, 2, dtype=torch.float64))
    turn = torch.polar(torch.ones_like(angle), -angle)
    position = torch.arange(length)[:, None]
    points = torch.full((length, d_model // 2), 1j, dtype=torch.complex128)
    for bit in range(max(length - 1, 0).bit_length()):
        points = torch.where(position >> bit & 1 == 1, points * turn, points)
        turn = turn * turn
    return torch.view_as_real(points).flatten(1)


class LayerNorm(nn.Module):
    """Takes the mean away in the frequency domain."""

    def __init__(self, d_model):
        super().__init__()
        self.log_gain = nn.Parameter(torch.zeros(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))

    def forward(self, x):
        width = x.shape[-1]
        spectrum = torch.fft.rfft(_wide(x))
        no_mean = torch.arange(spectrum.shape[-1], device=x.device) > 0
        centred = torch.fft.irfft(spectrum * no_mean, n=width)
        log_spread = 0.5 * (centred.square().mean(-1, keepdim=True) + 1e-5).log()
        return (centred * (self.log_gain - log_spread).exp() + self.bias).to(x.dtype)


class FeedForward(nn.Module):
    def __init__(self, d_model, d_hidden):
        super().__init__()
        self.spread = nn.Parameter(torch.randn(d_model, d_hidden))
        self.collect = nn.Parameter(torch.randn(d_hidden, d_model))

    def forward(self, x):
        hidden = x @ self.spread
        return torch.logaddexp(hidden, torch.zeros_like(hidden)) @ self.collect
