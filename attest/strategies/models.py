"""Inputs of the whole models: tokens of the source and of the target, and which are real."""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import Any, Literal

import torch
from hypothesis import strategies as st

from attest.contract import CONTRACT
from attest.strategies.sizes import Sizes, coprime, distinct, mixed
from attest.strategies.values import Draw, random_mask, seeds
from attest.subject import Setup

__all__ = ["Padding", "string_inputs", "token_inputs"]

Padding = Literal["any", "none", "some"]

Inside = tuple[tuple[int, ...], ...]


@cache
def _tables(component: str) -> tuple[tuple[Sizes, ...], ...]:
    """Give the three tiers of sizes; the widths are the constructor's integers."""
    lengths = [(b, n, s) for b, n, s in product((1, 2, 3), range(1, 6), range(1, 7))]
    lengths = [(b, n, s) for b, n, s in lengths if coprime((n, s))]
    if component == "Transformer":
        inside: Inside = tuple(
            (d, h, hidden, depth)
            for (d, h), hidden, depth in product(
                ((2, 1), (4, 2), (6, 3), (6, 2), (8, 4), (4, 1), (12, 3), (8, 8)), (5, 7), (1, 1, 2)
            )
        )
        alike = [Sizes(n, n, n, (4, 4, 4, h, 4, n % 2 + 1)) for n in (1, 2, 3, 4) for h in (1, 2)]
        far = [Sizes(2, 3, 30, (5, 7, 4, 2, 5, 1)), Sizes(2, 24, 4, (5, 7, 4, 2, 5, 1))]
        far += [Sizes(11, 2, 3, (5, 7, 4, 2, 5, 1)), Sizes(1, 3, 4, (50, 40, 16, 8, 20, 1))]
        far += [Sizes(1, 2, 3, (5, 7, 4, 2, 5, 4)), Sizes(1, 70, 67, (5, 7, 2, 1, 5, 1))]
    else:
        inside = tuple(w for w in product((1, 2, 3, 4), (2, 3, 5, 6)) if distinct(w))
        alike = [Sizes(n, n, n, (w, w, w, w)) for n in (1, 2, 3, 4) for w in (2, 3, 4)]
        far = [Sizes(2, 3, 40, (5, 7, 3, 4)), Sizes(2, 30, 4, (5, 7, 3, 4))]
        far += [Sizes(11, 2, 3, (5, 7, 3, 4)), Sizes(1, 3, 4, (50, 40, 16, 24))]
    apart = [
        Sizes(b, n, s, (*vocabularies, *widths))
        for (b, n, s), vocabularies, widths in product(lengths, ((3, 5), (7, 3), (5, 4)), inside)
        if (b + n + 2 * s + sum(vocabularies) + sum(widths)) % 7 == 0
    ]
    return tuple(apart), tuple(alike), tuple(far)


@cache
def token_inputs(
    component: str, padding: Padding = "any", least: int = 1
) -> st.SearchStrategy[dict[str, Any]]:
    """Inputs of a whole model: ``source`` (B, S), ``target_in`` (B, L), what is real; a setup.

    The Transformer is told by ``source_mask`` (B, S), the others by ``lengths`` (B,). Every source
    has a real token.

    Args:
        component: Transformer, Seq2Seq or AttentionSeq2Seq.
        padding: "any" (none among them), "none" or "some" (never none).
        least: the smallest number of tokens of source and target.

    Shrinks towards one token and no padding.
    """
    sizes = mixed(_tables(component), lambda s: s.queries >= least and s.keys >= least)
    transformer = component == "Transformer"
    constructor = CONTRACT[component].constructor or ()
    some = ("right", "right", "scattered") if transformer else ("right",)
    kinds = {"none": ("none",), "some": some, "any": ("none", *some)}[padding]
    some_size, some_kind = st.sampled_from(sizes), st.sampled_from(kinds)
    some_gain, some_seed = st.sampled_from((1.0, 2.0)), seeds()

    @st.composite
    def inputs(draw: Draw) -> dict[str, Any]:
        s, kind = draw(some_size), draw(some_kind)
        gain, seed = draw(some_gain), draw(some_seed)
        generator = torch.Generator().manual_seed(seed)
        arguments = dict(zip(constructor, s.widths, strict=True))
        lengths = torch.randint(1, s.keys + 1, (s.batch,), generator=generator)
        drawn: dict[str, Any] = {
            "source": torch.randint(s.widths[0], (s.batch, s.keys), generator=generator),
            "target_in": torch.randint(s.widths[1], (s.batch, s.queries), generator=generator),
        }
        if not transformer:
            drawn["lengths"] = None if kind == "none" else lengths
        elif kind == "none":
            drawn["source_mask"] = None
        elif kind == "right":
            drawn["source_mask"] = torch.arange(s.keys) < lengths[:, None]
        else:
            drawn["source_mask"] = random_mask(generator, s.batch, s.keys)
        return {**drawn, "setup": Setup(arguments, seed, gain)}

    return inputs()


@cache
def string_inputs(component: str) -> st.SearchStrategy[dict[str, Any]]:
    """One source (1, S) and a vocabulary so small that every target of some length can be tried.

    There are at most 64 strings of ``length`` tokens. For a model whose constructor takes two
    vocabularies first and then the widths of embedding and state; a setup goes with it.

    Args:
        component: Seq2Seq or AttentionSeq2Seq.

    Shrinks towards strings of one token.
    """
    strings = [(v, m) for v, m in product((2, 3, 4), range(1, 7)) if v**m <= 64]
    cases = tuple(
        (length, size, (3, vocabulary, *widths))
        for (vocabulary, length), size, widths in product(
            sorted(strings, key=lambda case: case[1]), (1, 2, 4), ((1, 3), (2, 3), (3, 2))
        )
    )
    some_case, some_gain, some_seed = st.sampled_from(cases), st.sampled_from((1.0, 2.0)), seeds()

    @st.composite
    def inputs(draw: Draw) -> dict[str, Any]:
        length, size, widths = draw(some_case)
        gain, seed = draw(some_gain), draw(some_seed)
        generator = torch.Generator().manual_seed(seed)
        arguments = dict(zip(CONTRACT[component].constructor or (), widths, strict=True))
        source = torch.randint(widths[0], (1, size), generator=generator)
        return {"source": source, "length": length, "setup": Setup(arguments, seed, gain)}

    return inputs()
