"""Inputs of the attentions."""

from __future__ import annotations

import math
from functools import cache
from itertools import product
from typing import Any, Literal

import torch
from hypothesis import strategies as st
from torch import Tensor

from attest.strategies.sizes import Sizes, coprime, distinct, mixed
from attest.strategies.values import (
    LARGEST_ENTRY,
    LARGEST_SCORE,
    REGIMES,
    Draw,
    fill,
    random_mask,
    seeds,
)
from attest.subject import Setup

__all__ = ["MaskKind", "attention_inputs"]

MaskKind = Literal["any", "none", "some"]


def _no_axes_alike(*shapes: tuple[int, ...]) -> bool:
    """Say whether no tensor has two axes of one size, so that none can be taken for another."""
    return all(distinct(shape) for shape in shapes)


@cache
def _tables(component: str) -> tuple[tuple[Sizes, ...], ...]:
    """Give the three tiers of a component's sizes."""
    small = range(1, 8)
    match component:
        case "SelfAttention":
            apart = [Sizes(b, n, n, (d,)) for b, n, d in product((1, 2, 3), small, small)]
            apart = [s for s in apart if coprime((s.queries, s.widths[0]))]
            alike = [Sizes(n, n, n, (n,)) for n in range(1, 6)]
            far = [Sizes(1, 70, 70, (4,)), Sizes(2, 33, 33, (5,)), Sizes(1, 140, 140, (2,))]
            far += [Sizes(19, 3, 3, (4,)), Sizes(2, 5, 5, (64,)), Sizes(1, 4, 4, (32,))]
        case "MultiHeadAttention":
            heads = [(1, 1), (1, 3), (2, 1), (2, 2), (2, 3), (3, 1), (3, 2), (4, 2), (5, 1), (8, 1)]
            heads += [(2, 5), (6, 1), (7, 1), (7, 2), (12, 1), (1, 8)]
            apart = [
                Sizes(b, n, s, (h * d, h))
                for b, n, s, (h, d) in product((1, 2, 3), small, small, heads)
                if coprime((n, s)) and distinct((n, s, h * d)) and h not in {n, s, b}
            ]
            alike = [
                Sizes(h, n, n, (h * d, h)) for h, d, n in product((1, 2, 3, 4), (1, 2), (1, 2, 3))
            ]
            far = [Sizes(1, 3, 260, (4, 2)), Sizes(2, 70, 70, (6, 3)), Sizes(1, 140, 3, (4, 2))]
            far += [Sizes(17, 2, 3, (4, 2)), Sizes(1, 4, 5, (64, 32)), Sizes(2, 3, 4, (48, 3))]
            far += [Sizes(1, 3, 4, (36, 12)), Sizes(2, 3, 5, (40, 1)), Sizes(1, 3, 4, (64, 2))]
        case "AdditiveAttention":
            widths = [
                w for w in product((1, 2, 3, 5), (1, 2, 4, 7), (3, 4, 6), (1, 2)) if distinct(w)
            ]
            apart = [
                Sizes(b, n, s, w)
                for (b, n, s), w in product(product((1, 2, 3), small, small), widths)
                if coprime((n, s))
                and _no_axes_alike((b, n, w[0]), (b, s, w[1]), (b, s, w[3]), (b, n, s))
            ][::3]
            alike = [Sizes(n, n, n, (n, n, n, n)) for n in range(1, 6)]
            far = [Sizes(1, 3, 260, (4, 5, 6, 2)), Sizes(2, 40, 40, (3, 3, 3, 3))]
            far += [Sizes(1, 140, 3, (4, 5, 6, 2))]
            far += [Sizes(17, 2, 3, (2, 3, 4, 5)), Sizes(1, 4, 5, (32, 48, 64, 40))]
        case "MultiplicativeAttention":
            three = [w for w in product((1, 2, 3, 5), (1, 2, 4, 7), (1, 3, 6)) if distinct(w)]
            apart = [
                Sizes(b, n, s, w)
                for (b, n, s), w in product(product((1, 2, 3), small, small), three)
                if coprime((n, s))
                and _no_axes_alike((b, n, w[0]), (b, s, w[1]), (b, s, w[2]), (b, n, s))
            ][::3]
            alike = [Sizes(n, n, n, (n, n, n)) for n in range(1, 6)]
            far = [Sizes(1, 3, 260, (4, 5, 2)), Sizes(2, 70, 70, (3, 3, 3))]
            far += [Sizes(1, 140, 3, (4, 5, 2))]
            far += [Sizes(17, 2, 3, (2, 3, 5)), Sizes(1, 4, 5, (48, 64, 40))]
        case "scaled_dot_product_attention":
            apart = [
                Sizes(b, n, s, (d_k, d_v))
                for b, n, s, d_k, d_v in product((1, 2, 3), small, small, small, small)
                if coprime((n, s, d_k, d_v))
            ]
            alike = [Sizes(n, n, n, (n, n)) for n in range(1, 6)]
            far = [Sizes(1, 3, 530, (4, 5)), Sizes(2, 70, 70, (6, 6)), Sizes(1, 300, 2, (3, 4))]
            far += [Sizes(17, 2, 3, (4, 5)), Sizes(1, 4, 5, (64, 40))]
        case _:
            raise ValueError(
                f"no sizes are known for {component}; its laws need a strategy of their own, "
                "which draws their arguments by name"
            )
    return tuple(apart), tuple(alike), tuple(far)


@cache
def _choices(component: str, least: int) -> tuple[Sizes, ...]:
    """Give the sizes to draw from, with so many keys at least, and one query less."""
    return mixed(_tables(component), lambda s: s.keys >= least and s.queries >= least - 1)


# Shapes of masks by their letters; G is the head, or the second leading dimension of a function.
_TWO = ("LS", "1S", "L1")
_THREE = ("B1S", "BLS", "1LS", "padding")
_FOUR = ("BGLS", "B11S", "B1LS", "1GLS", "BG1S", "11LS")
# T is the third leading dimension of a function; where it is there, G is the second.
_FIVE = ("TLS", "GTLS", "BGTLS", "B11LS")

# How many there are of G by the seed, of a function: mostly few, and now and then as many as heads.
_GROUPS = (2, 2, 2, 5, 2, 2, 8)


def _mask(generator: torch.Generator, kind: str, s: Sizes, group: int) -> Tensor | None:
    """Draw a mask of one kind: none, one of the shapes, right padding, or causal."""
    match kind:
        case "none":
            return None
        case "causal":
            return torch.ones(s.queries, s.keys, dtype=torch.bool).tril()
        case "padding":
            real = torch.randint(1, s.keys + 1, (s.batch, 1, 1), generator=generator)
            return torch.arange(s.keys) < real
        case _:
            sizes = {"B": s.batch, "G": group, "T": 3, "L": s.queries, "S": s.keys, "1": 1}
            return random_mask(generator, *(sizes[letter] for letter in kind))


@cache
def _cases(component: str, mask: MaskKind) -> tuple[tuple[int, str], ...]:
    """Give the pairs of leading dimensions and kind of mask, the simplest first."""
    if mask == "none":
        masked: dict[int, tuple[str, ...]] = {0: (), 1: (), 2: (), 3: ()}
    else:
        masked = {0: (*_TWO, "causal"), 1: (*_TWO, *_THREE, "causal")}
        masked |= {2: (*_TWO, "causal", "GLS", *_FOUR), 3: ("LS", "causal", *_FIVE)}
    unmasked = () if mask == "some" else ("none", "none")
    leading = (0, 1, 2, 3) if component == "scaled_dot_product_attention" else (1,)
    # Masks of items stand twice where there are heads, which they may be taken for.
    more = (*_FOUR, "BLS", "B1S") if component == "MultiHeadAttention" and mask != "none" else ()
    return tuple((n, kind) for n in leading for kind in (*unmasked, *masked[n], *more))


@cache
def attention_inputs(
    component: str,
    mask: MaskKind = "any",
    least: int = 1,
    regimes: tuple[str, ...] = REGIMES,
) -> st.SearchStrategy[dict[str, Any]]:
    """Inputs of one attention: query, key, value and mask, or x and mask; a setup for a module.

    A function's tensors have up to three leading dimensions; a module's have one. Sometimes query,
    key and value are one tensor, as in self-attention, or key and value are, as over a memory.

    Args:
        component: the contract's name of an attention.
        mask: "any" (none among them), "none" or "some" (never none). Every row of a mask allows
            at least one key.
        least: the smallest number of keys; of queries, one less.
        regimes: the regimes of values to draw from.

    Shrinks towards one query, no mask and small integers.
    """
    sizes = _choices(component, least)
    some_size = st.sampled_from(sizes)
    some_case, some_regime = st.sampled_from(_cases(component, mask)), st.sampled_from(regimes)
    some_seed = seeds()

    @st.composite
    def inputs(draw: Draw) -> dict[str, Any]:
        s = draw(some_size)
        (leading, kind), regime = draw(some_case), draw(some_regime)
        seed = draw(some_seed)
        generator = torch.Generator().manual_seed(seed)
        near = regime == "huge" and seed % 2 == 1 and regimes == REGIMES
        shapes, group, setup = _shapes(component, s, leading, regime, seed, near=near)
        scored, other = (_NEAR, LARGEST_ENTRY / 2) if near else (LARGEST_ENTRY, LARGEST_ENTRY)
        if setup is None:  # a function's scores are its entries' products alone
            scored = min(scored, math.sqrt(LARGEST_SCORE / math.sqrt(s.widths[0])))
        drawn: dict[str, Any] = {
            name: fill(generator, regime, *shape, largest=scored if name in _SCORED else other)
            for name, shape in shapes.items()
        }
        if not near:
            _unite(drawn, seed)
        drawn["mask"] = _mask(generator, kind, s, group)
        return drawn if setup is None else {**drawn, "setup": setup}

    return inputs()


_SCORED = ("query", "key")

# Where scores are far apart most keys have no weight, and many laws have nothing to say. So every
# other time that entries are huge scores are near: queries and keys are small then, or matrices
# are, where one token is all three. Values are not as huge as others, so that the engine, which
# looks for scores that are far apart, prefers those. Who asks for huge entries gets far scores.
_NEAR = 3.0


def _unite(drawn: dict[str, Any], seed: int) -> None:
    """Pass one tensor under several names now and then, where shapes allow it."""
    if "key" not in drawn or seed % 4 < 2:
        return
    if drawn["key"].shape == drawn["value"].shape:
        drawn["value"] = drawn["key"]
        if seed % 4 == 3 and drawn["query"].shape == drawn["key"].shape:
            drawn["query"] = drawn["key"]


def _gain(component: str, regime: str, widths: tuple[int, ...]) -> float:
    """Choose weights so that scores come near 1e5, where the contract ends, and stay below."""
    if regime == "large":
        return 0.5
    if regime != "huge":
        return 1.0
    match component:
        case "AdditiveAttention":
            return 0.05  # so that tanh does not saturate altogether
        case "MultiplicativeAttention":
            return 0.4 / math.sqrt(widths[0])
        case _:
            return 0.45


def _shapes(
    component: str, s: Sizes, leading: int, regime: str, seed: int, *, near: bool
) -> tuple[dict[str, tuple[int, ...]], int, Setup | None]:
    """Give the tensors' shapes, the size that G stands for in a mask's, and a module's setup."""
    names = ("query", "key", "value")
    if component == "scaled_dot_product_attention":
        d_k, d_v = s.widths
        group = _GROUPS[seed % len(_GROUPS)]
        lead = (s.batch, group, 3)[:leading]
        sizes = ((s.queries, d_k), (s.keys, d_k), (s.keys, d_v))
        return {n: (*lead, *size) for n, size in zip(names, sizes, strict=True)}, group, None
    gain = _gain(component, regime, s.widths)
    if component == "SelfAttention" and near:
        gain = 1 / LARGEST_ENTRY
    setup = Setup(dict(zip(_CONSTRUCTORS[component], s.widths, strict=False)), seed, gain)
    if component == "SelfAttention":
        return {"x": (s.batch, s.queries, s.widths[0])}, 1, setup
    if component == "MultiHeadAttention":
        d_q = d_k = d_v = s.widths[0]
    else:
        d_q, d_k, d_v = s.widths[0], s.widths[1], s.widths[-1]
    sizes = ((s.queries, d_q), (s.keys, d_k), (s.keys, d_v))
    group = s.widths[1] if component == "MultiHeadAttention" else 1
    return {n: (s.batch, *size) for n, size in zip(names, sizes, strict=True)}, group, setup


_CONSTRUCTORS = {
    "AdditiveAttention": ("d_query", "d_key", "d_hidden"),
    "MultiplicativeAttention": ("d_query", "d_key"),
    "SelfAttention": ("d_model",),
    "MultiHeadAttention": ("d_model", "n_heads"),
}
