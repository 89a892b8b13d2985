"""Seeds, regimes of values, and masks: what every strategy fills its tensors with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

__all__ = ["LARGEST_ENTRY", "LARGEST_SCORE", "REGIMES", "Draw", "fill", "random_mask", "seeds"]

Draw = Callable[[st.SearchStrategy[Any]], Any]

# Those that shrink to what a person can read come first.
REGIMES = (
    *("integers", "normal", "large", "ties", "sparse", "small", "huge"),
    *("one-hot", "equal", "nearly equal", "tiny", "subnormal"),
)

# The smallest normal numbers of float16, float32 and float64, and of what lies between them.
_TINIEST = (6e-5, 1e-38, 2e-308)

LARGEST_ENTRY = 300.0
# The contract promises accuracy while scores stay below 1e5.
LARGEST_SCORE = 8e4


def seeds() -> st.SearchStrategy[int]:
    """Seeds for a generator, small ones first."""
    return st.integers(0, 2**8 - 1)


def fill(generator: torch.Generator, regime: str, *shape: int, largest: float = 300.0) -> Tensor:
    """Fill a float64 tensor of this shape in one regime of values.

    Args:
        generator: where the randomness comes from.
        regime: one of ``REGIMES``.
        shape: the tensor's shape.
        largest: the size of the largest entry in the regime ``huge``.

    Raises:
        ValueError: an unknown regime.
    """
    if regime not in REGIMES:
        raise ValueError(f"unknown regime {regime!r}; known: {', '.join(REGIMES)}")
    match regime:
        case "integers":
            return torch.randint(-3, 4, shape, generator=generator).double()
        case "huge":
            return largest * (2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1)
        case "one-hot":
            chosen = torch.randint(shape[-1], (*shape[:-1], 1), generator=generator)
            return torch.zeros(shape, dtype=torch.float64).scatter(-1, chosen, 1.0)
    normal = torch.randn(shape, generator=generator, dtype=torch.float64)
    if regime in _SCALES:
        return _SCALES[regime] * normal
    return _spoilt(generator, regime, normal)


_SCALES = {"normal": 1.0, "large": 5.0, "small": 1e-2, "tiny": 1e-12}


def _spoilt(generator: torch.Generator, regime: str, rows: Tensor) -> Tensor:
    """Take from normal entries what makes them all different."""
    match regime:
        case "ties":  # rows repeat
            if rows.dim() > 1 and rows.shape[-2] > 1:
                rows[..., 1::2, :] = rows[..., 0::2, :][..., : rows.shape[-2] // 2, :]
            return rows
        case "sparse":
            return rows * (torch.rand(rows.shape, generator=generator) < 0.3)
        case "equal":
            return _one_row(rows).clone()
        case "nearly equal":
            return _one_row(rows) * (1 + 1e-9 * rows)
    # Subnormal in one precision or another, beside a few ordinary numbers.
    scales = torch.tensor([1.0, *(0.1 * least for least in _TINIEST)], dtype=torch.float64)
    return rows * scales[torch.randint(len(scales), rows.shape, generator=generator)]


def _one_row(rows: Tensor) -> Tensor:
    """Repeat the first row, or a vector's first entry."""
    first = rows[..., :1, :] if rows.dim() > 1 else rows[:1]
    return first.expand_as(rows)


def random_mask(generator: torch.Generator, *shape: int) -> Tensor:
    """Draw a boolean mask in which every row allows at least one key."""
    mask = torch.rand(shape, generator=generator) < 0.6
    always = torch.randint(shape[-1], (*shape[:-1], 1), generator=generator)
    return mask.scatter(-1, always, value=True)
