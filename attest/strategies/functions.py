"""Inputs of softmax, of the masks and of the positions."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from hypothesis import strategies as st

from attest.strategies.values import REGIMES, Draw, fill, seeds
from attest.subject import Setup

__all__ = ["learned_positions", "lengths_and_padding", "sinusoidal_positions", "softmax_inputs"]


@cache
def softmax_inputs(least: int = 1) -> st.SearchStrategy[dict[str, Any]]:
    """Inputs of a softmax: ``x`` of one to five dimensions, and ``dim``, which may be negative.

    Args:
        least: the smallest size of the axis that is normalised.

    Shrinks towards one dimension and small integers.
    """
    axes = [(rank, dim) for rank in (1, 2, 3, 4) for dim in range(rank)]
    cases = [(n, *axis, sign) for n in range(least, 8) for axis in axes for sign in (0, 1)]
    cases += [(3, 5, dim, sign) for dim in range(5) for sign in (0, 1)] * 3
    longer = (9, 13, 17, 33, 64, 130, 259, 520, 1100, 1100, 2500, 2500)
    cases += [(n, rank, dim, sign) for rank, dim in axes[:3] for sign in (0, 1) for n in longer]
    some_case, some_regime, some_seed = (
        st.sampled_from(cases), st.sampled_from(REGIMES), seeds(),
    )  # fmt: skip

    @st.composite
    def inputs(draw: Draw) -> dict[str, Any]:
        size, rank, dim, negative = draw(some_case)
        shape = list((3, 2, 5, 4, 2)[:rank])
        shape[dim] = size
        regime, seed = draw(some_regime), draw(some_seed)
        x = fill(torch.Generator().manual_seed(seed), regime, *shape)
        return {"x": x, "dim": dim - rank if negative else dim}

    return inputs()


@cache
def lengths_and_padding() -> st.SearchStrategy[dict[str, Any]]:
    """Inputs of a padding mask: ``lengths`` (B,) from 1 to ``max_length``, and ``max_length``.

    Every other time some sequence is as long as can be.

    Shrinks towards one sequence of one token.
    """
    sizes = [(batch, longest) for longest in range(1, 10) for batch in range(1, 7)]
    sizes += [(batch, 300) for batch in range(1, 7)] + [(17, 5), (70, 4), (131, 3), (9, 9)] * 3
    sizes += [(3, 1100), (2, 2500)] * 3
    some_size, some_seed = st.sampled_from(sizes), seeds()

    @st.composite
    def inputs(draw: Draw) -> dict[str, Any]:
        batch, max_length = draw(some_size)
        seed = draw(some_seed)
        generator = torch.Generator().manual_seed(seed)
        lengths = torch.randint(1, max_length + 1, (batch,), generator=generator)
        if seed % 2:
            lengths[seed % batch] = max_length
        return {"lengths": lengths, "max_length": max_length}

    return inputs()


@cache
def sinusoidal_positions(odd: bool = False) -> st.SearchStrategy[dict[str, Any]]:  # noqa: FBT001, FBT002
    """Inputs of sinusoidal positions: ``length`` from 1 to 5,000, and ``d_model``.

    Args:
        odd: draw odd widths, which may be refused, instead of even ones.

    Shrinks towards one position of the smallest width.
    """
    widths = (1, 3, 5, 7, 9, 33) if odd else (2, 4, 6, 8, 10, 12, 16, 64)
    lengths = (*range(1, 13), 16, 17, 30, 64, 100)
    sizes = [(length, width) for length in lengths for width in widths]
    sizes += [(5000, widths[-2]), (1000, widths[-1]), (300, 128 + odd), (2, 512 + odd)]
    sizes += [(width, width) for width in widths]
    return st.sampled_from(sorted(sizes, key=lambda size: size[0] * size[1])).map(
        lambda size: {"length": size[0], "d_model": size[1]}
    )


@cache
def learned_positions() -> st.SearchStrategy[dict[str, Any]]:
    """Inputs of learned positions: ``length``, up to the longest that the module takes; a setup.

    Shrinks towards one position of width one.
    """
    sizes = [
        (length, longest, width)
        for longest in (*range(1, 8), 12)
        for length in range(1, longest + 1)
        for width in (1, 2, 3, 4, 5)
    ]
    sizes += [(n, n, n) for n in range(1, 7)] * 4
    sizes += [(70, 80, 3), (80, 80, 4), (1, 300, 5), (5, 6, 64)] * 5
    some_size, some_seed = st.sampled_from(sorted(sizes, key=sum)), seeds()

    @st.composite
    def inputs(draw: Draw) -> dict[str, Any]:
        length, longest, width = draw(some_size)
        setup = Setup({"max_length": longest, "d_model": width}, draw(some_seed))
        return {"length": length, "setup": setup}

    return inputs()
