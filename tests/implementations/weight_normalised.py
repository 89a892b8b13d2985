"""Weights as lengths and directions, by torch's own parametrisation of linear maps.

Free choices: sublayers are normalised before and after, inside the residual; tanh in the network
of a layer; every linear map has a bias; gains of one and no shift; a least number for a mask.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm


def _linear(d_in: int, d_out: int) -> nn.Module:
    return weight_norm(nn.Linear(d_in, d_out))


class FeedForward(nn.Sequential):
    def __init__(self, d_model: int, d_hidden: int) -> None:
        super().__init__(_linear(d_model, d_hidden), nn.Tanh(), _linear(d_hidden, d_model))


class _Attention(nn.Module):
    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.maps = nn.ModuleList([_linear(d_model, d_model) for _ in range(4)])

    def forward(self, x: Tensor, other: Tensor, mask: Tensor | None) -> Tensor:
        query, key, value = (
            linear(tokens).unflatten(-1, (self.n_heads, -1)).movedim(2, 0)
            for linear, tokens in zip(self.maps, (x, other, other), strict=False)
        )  # (H, B, L, d)
        scores = query.matmul(key.mT).div(query.shape[-1] ** 0.5)
        if mask is not None:
            scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        return self.maps[3](scores.softmax(-1).matmul(value).movedim(0, 2).flatten(2))


class _Sublayer(nn.Module):
    """x + norm(f(norm(x)))."""

    def __init__(self, d_model: int, inner: nn.Module) -> None:
        super().__init__()
        self.before = nn.LayerNorm(d_model, bias=False)
        self.after = nn.LayerNorm(d_model, bias=False)
        self.inner = inner

    def forward(self, x: Tensor, *others: Tensor | None) -> Tensor:
        return x + self.after(self.inner(self.before(x), *others))


class _OnItself(_Attention):
    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:  # type: ignore[override]
        return super().forward(x, x, mask)


class EncoderLayer(nn.ModuleDict):
    def __init__(self, d_model: int, n_heads: int, d_hidden: int) -> None:
        super().__init__(
            {
                "own": _Sublayer(d_model, _OnItself(d_model, n_heads)),
                "network": _Sublayer(d_model, FeedForward(d_model, d_hidden)),
            }
        )

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self["network"](self["own"](x, mask))


class DecoderLayer(nn.ModuleDict):
    def __init__(self, d_model: int, n_heads: int, d_hidden: int) -> None:
        super().__init__(
            {
                "own": _Sublayer(d_model, _OnItself(d_model, n_heads)),
                "other": _Sublayer(d_model, _Attention(d_model, n_heads)),
                "network": _Sublayer(d_model, FeedForward(d_model, d_hidden)),
            }
        )

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        self_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
    ) -> Tensor:
        own = x.new_ones(x.shape[1], x.shape[1]).tril() > 0
        own = own if self_mask is None else own.logical_and(self_mask)
        return self["network"](self["other"](self["own"](x, own), memory, memory_mask))
