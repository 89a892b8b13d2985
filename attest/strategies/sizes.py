"""The sizes of examples, in three tiers: pairwise different, coinciding, and now and then long."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Sizes", "by_size", "coprime", "distinct", "mixed"]


@dataclass(frozen=True)
class Sizes:
    """The sizes of one example.

    Attributes:
        batch: B.
        queries: L.
        keys: S.
        widths: the component's own widths: d_k and d_v for a function, the constructor's
            integers and d_v for a module.
    """

    batch: int
    queries: int
    keys: int
    widths: tuple[int, ...]


def coprime(numbers: tuple[int, ...]) -> bool:
    """Say whether no two numbers share a divisor, and one at most is 1."""
    return math.lcm(*numbers) == math.prod(numbers) and numbers.count(1) <= 1


def distinct(numbers: tuple[int, ...]) -> bool:
    """Say whether no two numbers are the same."""
    return len(set(numbers)) == len(numbers)


def by_size(sizes: Sequence[Sizes]) -> tuple[Sizes, ...]:
    """Sort sizes, the smallest first."""
    return tuple(
        sorted(sizes, key=lambda s: (s.queries + s.keys, s.batch, sum(s.widths), s.queries))
    )


# How often each tier is drawn: of twelve examples six have sizes apart, four alike, two long.
_SHARES = (6, 4, 2)

# Hypothesis draws from a range of up to a few hundred evenly, and favours small numbers in larger
# ones; every table here is kept below that, and what is independent is drawn by itself.
_MOST_CHOICES = 240


def mixed(
    tiers: Sequence[Sequence[Sizes]], fits: Callable[[Sizes], bool] = lambda _: True
) -> tuple[Sizes, ...]:
    """Give the sizes to draw from, smallest first, each tier as often as its share says.

    One table for all tiers, since every separate draw costs time.
    """
    choices: list[Sizes] = []
    for tier, share in zip(tiers, _SHARES, strict=True):
        fitting = [s for s in by_size(tier) if fits(s)]
        wanted = _MOST_CHOICES * share // sum(_SHARES)
        # Every so many-th of a tier that has too many, each several times of one that has too few.
        choices += [fitting[i * len(fitting) // wanted] for i in range(wanted)]
    return by_size(choices)
