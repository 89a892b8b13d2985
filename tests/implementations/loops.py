"""Explicit loops over batch, heads and queries that pick the allowed keys instead of masking."""

import math
from typing import Protocol

import torch
from torch import Tensor, nn


class Score(Protocol):
    def __call__(self, query: Tensor, keys: Tensor, /) -> Tensor: ...


def _normalise(row: Tensor) -> Tensor:
    if len(row) == 0:
        return row
    wide = row.to(torch.promote_types(row.dtype, torch.float32))
    raised = torch.exp(wide - wide.detach().max())
    return (raised / raised.sum()).to(row.dtype)


def softmax(x: Tensor, dim: int = -1) -> Tensor:
    if x.numel() == 0:
        return x.clone()
    last = x.movedim(dim, -1)
    rows = [_normalise(row) for row in last.reshape(-1, last.shape[-1])]
    return torch.stack(rows).reshape(last.shape).movedim(-1, dim)


def causal_mask(length: int) -> Tensor:
    rows = [[key <= query for key in range(length)] for query in range(length)]
    return torch.tensor(rows, dtype=torch.bool).reshape(length, length)


def padding_mask(lengths: Tensor, max_length: int) -> Tensor:
    rows = [[position < length for position in range(max_length)] for length in lengths.tolist()]
    mask = torch.tensor(rows, dtype=torch.bool, device=lengths.device)
    return mask.reshape(len(lengths), max_length)


def _attend(
    score: Score, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Attend in one item: query (L, d), key (S, d), value (S, d_v), mask (L, S)."""
    outputs, weights = [], []
    everything = torch.arange(len(key), device=key.device)
    for position, asked in enumerate(query):
        allowed = everything if mask is None else everything[mask[position]]
        shares = _normalise(score(asked, key[allowed]))
        outputs.append(shares @ value[allowed])
        weights.append(shares.new_zeros(len(key)).scatter(0, allowed, shares))
    return torch.stack(outputs), torch.stack(weights)


def _attend_each(
    score: Score, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Attend in every item of a batch: query (B, L, d), and so on."""
    if mask is not None:
        mask = mask.expand(*query.shape[:-1], key.shape[-2])
    answers = [
        _attend(score, query[item], key[item], value[item], None if mask is None else mask[item])
        for item in range(len(query))
    ]
    outputs, weights = zip(*answers, strict=True)
    return torch.stack(outputs), torch.stack(weights)


def _scaled_dot(query: Tensor, keys: Tensor) -> Tensor:
    return keys @ query / math.sqrt(len(query))


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    *leading, length, _ = query.shape
    keys, width = value.shape[-2:]
    if mask is not None:
        mask = mask.expand(*leading, length, keys).reshape(-1, length, keys)
    output, weights = _attend_each(
        _scaled_dot,
        query.reshape(-1, *query.shape[-2:]),
        key.reshape(-1, *key.shape[-2:]),
        value.reshape(-1, keys, width),
        mask,
    )
    return output.reshape(*leading, length, width), weights.reshape(*leading, length, keys)


class AdditiveAttention(nn.Module):
    def __init__(self, d_query: int, d_key: int, d_hidden: int) -> None:
        super().__init__()
        self.query = nn.Linear(d_query, d_hidden, bias=False)
        self.key = nn.Linear(d_key, d_hidden, bias=False)
        self.energy = nn.Linear(d_hidden, 1, bias=False)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        def score(asked: Tensor, keys: Tensor) -> Tensor:
            return self.energy(torch.tanh(asked + keys))[:, 0]

        return _attend_each(score, self.query(query), self.key(key), value, mask)


class MultiplicativeAttention(nn.Module):
    def __init__(self, d_query: int, d_key: int) -> None:
        super().__init__()
        self.key = nn.Linear(d_key, d_query, bias=False)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        def score(asked: Tensor, keys: Tensor) -> Tensor:
            return keys @ asked

        return _attend_each(score, query, self.key(key), value, mask)


class SelfAttention(nn.Module):
    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.query = nn.Linear(d_model, d_model, bias=False)
        self.key = nn.Linear(d_model, d_model, bias=False)
        self.value = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return _attend_each(_scaled_dot, self.query(x), self.key(x), self.value(x), mask)


class MultiHeadAttention(nn.Module):
    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        if n_heads < 1 or d_model % n_heads != 0:
            raise ValueError(f"d_model = {d_model} is not a multiple of n_heads = {n_heads}")
        self.n_heads = n_heads
        self.query = nn.Linear(d_model, d_model)
        self.key = nn.Linear(d_model, d_model)
        self.value = nn.Linear(d_model, d_model)
        self.output = nn.Linear(d_model, d_model)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        batch, length = query.shape[:2]
        masks: list[Tensor | None] = [None] * self.n_heads
        if mask is not None:
            mask = mask.unsqueeze(1) if mask.dim() == 3 else mask
            mask = mask.expand(batch, self.n_heads, length, key.shape[1])
            masks = [*mask.unbind(1)]
        heads, weights = [], []
        for head_query, head_key, head_value, head_mask in zip(
            self.query(query).chunk(self.n_heads, -1),
            self.key(key).chunk(self.n_heads, -1),
            self.value(value).chunk(self.n_heads, -1),
            masks,
            strict=True,
        ):
            head = _attend_each(_scaled_dot, head_query, head_key, head_value, head_mask)
            heads.append(head[0])
            weights.append(head[1])
        output = self.output(torch.cat(heads, -1))
        if mask is not None:
            attends = mask.any(-1).any(1)
            output = torch.where(attends.unsqueeze(-1), output, 0.0)
        return output, torch.stack(weights, 1)
