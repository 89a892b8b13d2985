"""Seeds, regimes of values, and masks: what every strategy fills its tensors with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

__all__ = ["LARGEST_ENTRY", "LARGEST_SCORE", "REGIMES", "Draw", "fill", "random_mask", "seeds"]

Draw = Callable[[st.SearchStrategy[Any]], Any]

# Those where most mistakes show stand twice, and are drawn twice as often.
REGIMES = (
    *("integers", "normal", "large", "ties", "sparse", "small", "huge"),
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

    def normal() -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    match regime:
        case "integers":
            return torch.randint(-3, 4, shape, generator=generator).double()
        case "normal":
            return normal()
        case "large":
            return 5 * normal()
        case "ties":  # rows repeat
            rows = normal()
            if len(shape) > 1 and shape[-2] > 1:
                rows[..., 1::2, :] = rows[..., 0::2, :][..., : shape[-2] // 2, :]
            return rows
        case "sparse":
            return normal() * (torch.rand(shape, generator=generator) < 0.3)
        case "small":
            return 1e-2 * normal()
        case "one-hot":
            rows = torch.zeros(shape, dtype=torch.float64)
            chosen = torch.randint(shape[-1], (*shape[:-1], 1), generator=generator)
            return rows.scatter(-1, chosen, 1.0)
        case "equal":
            return _one_row(normal()).clone()
        case "nearly equal":
            rows = normal()
            return _one_row(rows) * (1 + 1e-9 * rows)
        case "tiny":
            return 1e-12 * normal()
        case "subnormal":  # in one precision or another, beside a few ordinary numbers
            scale = torch.tensor([1.0, *(0.1 * least for least in _TINIEST)], dtype=torch.float64)
            return normal() * scale[torch.randint(len(scale), shape, generator=generator)]
        case "huge":
            return largest * (2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1)
        case _:
            raise ValueError(f"unknown regime {regime!r}; known: {', '.join(REGIMES)}")


def _one_row(rows: Tensor) -> Tensor:
    """Repeat the first row, or a vector's first entry."""
    first = rows[..., :1, :] if rows.dim() > 1 else rows[:1]
    return first.expand_as(rows)


def random_mask(generator: torch.Generator, *shape: int) -> Tensor:
    """Draw a boolean mask in which every row allows at least one key."""
    mask = torch.rand(shape, generator=generator) < 0.6
    always = torch.randint(shape[-1], (*shape[:-1], 1), generator=generator)
    return mask.scatter(-1, always, value=True)
