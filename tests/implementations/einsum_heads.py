"""Einstein summation throughout, with a small bias-free layer for each head and a finite mask."""

import math

import torch
from torch import Tensor, einsum, nn


def softmax(x: Tensor, dim: int = -1) -> Tensor:
    if x.numel() == 0:
        return x.clone()
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    raised = torch.exp(wide - wide.detach().amax(dim, keepdim=True))
    return (raised / raised.sum(dim, keepdim=True)).to(x.dtype)


def causal_mask(length: int) -> Tensor:
    position = torch.arange(length)
    return position[:, None] >= position[None, :]


def padding_mask(lengths: Tensor, max_length: int) -> Tensor:
    position = torch.arange(max_length, device=lengths.device)
    return position[None, :] < lengths[:, None]


def _masked_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return softmax(scores)
    wide = scores.to(torch.promote_types(scores.dtype, torch.float32))
    wide = torch.where(mask, wide, torch.finfo(wide.dtype).min)
    raised = torch.exp(wide - wide.detach().amax(-1, keepdim=True)) * mask
    total = raised.sum(-1, keepdim=True)
    return (raised / (total + (total == 0))).to(scores.dtype)


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    scores = einsum("...ld,...sd->...ls", query, key) / math.sqrt(query.shape[-1])
    weights = _masked_softmax(scores, mask)
    return einsum("...ls,...sv->...lv", weights, value), weights


class AdditiveAttention(nn.Module):
    def __init__(self, d_query: int, d_key: int, d_hidden: int) -> None:
        super().__init__()
        self.from_query = nn.Parameter(torch.randn(d_hidden, d_query) / math.sqrt(d_query))
        self.from_key = nn.Parameter(torch.randn(d_hidden, d_key) / math.sqrt(d_key))
        self.reduce = nn.Parameter(torch.randn(d_hidden) / math.sqrt(d_hidden))

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        asked = einsum("blq,hq->blh", query, self.from_query)
        offered = einsum("bsk,hk->bsh", key, self.from_key)
        features = torch.tanh(asked[:, :, None, :] + offered[:, None, :, :])
        weights = _masked_softmax(einsum("blsh,h->bls", features, self.reduce), mask)
        return einsum("bls,bsv->blv", weights, value), weights


class MultiplicativeAttention(nn.Module):
    def __init__(self, d_query: int, d_key: int) -> None:
        super().__init__()
        self.bilinear = nn.Parameter(torch.randn(d_query, d_key) / math.sqrt(d_key))

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        weights = _masked_softmax(einsum("blq,qk,bsk->bls", query, self.bilinear, key), mask)
        return einsum("bls,bsv->blv", weights, value), weights


class SelfAttention(nn.Module):
    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.w_q = nn.Parameter(torch.randn(d_model, d_model) / math.sqrt(d_model))
        self.w_k = nn.Parameter(torch.randn(d_model, d_model) / math.sqrt(d_model))
        self.w_v = nn.Parameter(torch.randn(d_model, d_model) / math.sqrt(d_model))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        query, key, value = (
            einsum("bld,kd->blk", x, weight) for weight in (self.w_q, self.w_k, self.w_v)
        )
        return scaled_dot_product_attention(query, key, value, mask)


class MultiHeadAttention(nn.Module):
    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        if n_heads < 1 or d_model % n_heads:
            raise ValueError(f"a width of {d_model} cannot be shared by {n_heads} heads")
        width = d_model // n_heads

        def per_head(d_in: int, d_out: int) -> nn.ModuleList:
            return nn.ModuleList(nn.Linear(d_in, d_out, bias=False) for _ in range(n_heads))

        self.ask = per_head(d_model, width)
        self.offer = per_head(d_model, width)
        self.carry = per_head(d_model, width)
        self.merge = per_head(width, d_model)

    @staticmethod
    def _stacked(layers: nn.ModuleList) -> Tensor:
        return torch.stack([layer.weight for layer in layers])

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        if mask is not None and mask.dim() == 3:
            mask = mask[:, None]
        asked = einsum("bld,hkd->bhlk", query, self._stacked(self.ask))
        offered = einsum("bsd,hkd->bhsk", key, self._stacked(self.offer))
        carried = einsum("bsd,hvd->bhsv", value, self._stacked(self.carry))
        heads, weights = scaled_dot_product_attention(asked, offered, carried, mask)
        return einsum("bhlv,hdv->bld", heads, self._stacked(self.merge)), weights
