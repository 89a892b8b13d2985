"""Adapters around the attention, softmax and layers that PyTorch ships itself."""

import torch
from torch import Tensor, nn
from torch.nn import functional


def softmax(x: Tensor, dim: int = -1) -> Tensor:
    return torch.softmax(x, dim)


def causal_mask(length: int) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool).tril()


def padding_mask(lengths: Tensor, max_length: int) -> Tensor:
    return torch.arange(max_length, device=lengths.device) < lengths.unsqueeze(-1)


def _with_null_key(mask: Tensor) -> Tensor:
    """Append a column that only the rows without any other key may attend to."""
    return torch.cat([mask, ~mask.any(-1, keepdim=True)], -1)


def _append_zero_row(x: Tensor) -> Tensor:
    return functional.pad(x, (0, 0, 0, 1))


def _attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None = None
) -> tuple[Tensor, Tensor]:
    """Call the fused kernel with an identity matrix beside the values, which gives the weights."""
    width, keys = value.shape[-1], key.shape[-2]
    identity = torch.eye(keys, dtype=value.dtype, device=value.device)
    value = torch.cat([value, identity.expand(*value.shape[:-2], keys, keys)], -1)
    if mask is not None:
        mask = _with_null_key(mask.expand(*query.shape[:-1], keys))
        key, value = _append_zero_row(key), _append_zero_row(value)
    mixed = functional.scaled_dot_product_attention(query, key, value, mask, scale=scale)
    return mixed[..., :width], mixed[..., width:]


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    return _attend(query, key, value, mask)


class AdditiveAttention(nn.Module):
    def __init__(self, d_query: int, d_key: int, d_hidden: int) -> None:
        super().__init__()
        self.query_layer = nn.Linear(d_query, d_hidden, bias=False)
        self.key_layer = nn.Linear(d_key, d_hidden)
        self.score = nn.Sequential(nn.Tanh(), nn.Linear(d_hidden, 1, bias=False), nn.Flatten(-2))

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        scores = self.score(self.query_layer(query).unsqueeze(2) + self.key_layer(key).unsqueeze(1))
        if mask is None:
            weights = torch.softmax(scores, -1)
        else:
            opened = mask | ~mask.any(-1, keepdim=True)
            weights = torch.softmax(scores.masked_fill(~opened, -torch.inf), -1)
            weights = weights.masked_fill(~mask, 0.0)
        return torch.bmm(weights, value), weights


class MultiplicativeAttention(nn.Module):
    def __init__(self, d_query: int, d_key: int) -> None:
        super().__init__()
        self.key_layer = nn.Linear(d_key, d_query, bias=False)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        return _attend(query, self.key_layer(key), value, mask, scale=1.0)


class SelfAttention(nn.Module):
    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.query_layer = nn.Linear(d_model, d_model)
        self.key_layer = nn.Linear(d_model, d_model)
        self.value_layer = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return _attend(self.query_layer(x), self.key_layer(x), self.value_layer(x), mask)


class MultiHeadAttention(nn.Module):
    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        if n_heads < 1 or d_model % n_heads:
            raise ValueError(f"{n_heads} heads do not divide a width of {d_model}")
        self.attention = nn.MultiheadAttention(d_model, n_heads, bias=False, batch_first=True)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        if mask is None:
            output, weights = self.attention(query, key, value, average_attn_weights=False)
            return output, weights
        batch, length = query.shape[:2]
        if mask.dim() == 3:
            mask = mask.unsqueeze(1)
        mask = mask.expand(batch, self.attention.num_heads, length, key.shape[1])
        output, weights = self.attention(
            query,
            _append_zero_row(key),
            _append_zero_row(value),
            attn_mask=~_with_null_key(mask).flatten(0, 1),
            average_attn_weights=False,
        )
        return output, weights[..., :-1]
