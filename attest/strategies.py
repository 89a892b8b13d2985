"""Hypothesis strategies for inputs that meet the contract.

A strategy draws a size, a regime of values and a seed, and fills tensors from the seed: that costs
a millisecond where drawing entry by entry costs fifty. All of them shrink towards short sequences
and small integers; the engine shrinks the entries themselves afterwards.

Sizes come in three tiers: pairwise different (a swapped axis cannot pass), coinciding (a shortcut
for equal sizes cannot pass) and, now and then, long. Values come in regimes, from small integers
to entries of 300, with ties and zeros among them. Tensors are float64 on the CPU; the engine casts
them to the dtype and moves them to the device of the run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any, Literal

import torch
from hypothesis import strategies as st
from torch import Tensor

from attest.subject import Setup

__all__ = [
    "MaskKind",
    "Sizes",
    "attention_inputs",
    "component_inputs",
    "fill",
    "lengths_and_padding",
    "random_mask",
    "seeds",
    "softmax_inputs",
]

MaskKind = Literal["any", "none", "some"]
Draw = Callable[[st.SearchStrategy[Any]], Any]

REGIMES = ("integers", "normal", "large", "ties", "sparse", "small", "huge")

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
        case "huge":
            return largest * (2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1)
        case _:
            raise ValueError(f"unknown regime {regime!r}; known: {', '.join(REGIMES)}")


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


def _coprime(numbers: tuple[int, ...]) -> bool:
    return math.lcm(*numbers) == math.prod(numbers) and numbers.count(1) <= 1


def _distinct(numbers: tuple[int, ...]) -> bool:
    return len(set(numbers)) == len(numbers)


def _by_size(sizes: list[Sizes]) -> tuple[Sizes, ...]:
    return tuple(
        sorted(sizes, key=lambda s: (s.queries + s.keys, s.batch, sum(s.widths), s.queries))
    )


@cache
def _tables(component: str) -> tuple[tuple[Sizes, ...], ...]:
    """Give the three tiers of a component's sizes, smallest first."""
    small = range(1, 8)
    match component:
        case "SelfAttention":
            apart = [Sizes(b, n, n, (d,)) for b, n, d in product((1, 2, 3), small, small)]
            apart = [s for s in apart if _coprime((s.queries, s.widths[0]))]
            alike = [Sizes(n, n, n, (n,)) for n in range(1, 6)]
            far = [Sizes(1, 70, 70, (4,)), Sizes(2, 33, 33, (5,))]
            far += [Sizes(19, 3, 3, (4,)), Sizes(2, 5, 5, (64,))]
        case "MultiHeadAttention":
            heads = ((1, 1), (1, 3), (2, 1), (2, 2), (2, 3), (3, 1), (3, 2), (4, 2), (5, 1), (8, 1))
            apart = [
                Sizes(b, n, s, (h * d, h))
                for b, n, s, (h, d) in product((1, 2, 3), small, small, heads)
                if _coprime((n, s)) and _distinct((n, s, h * d)) and h not in {n, s, b}
            ]
            alike = [
                Sizes(h, n, n, (h * d, h)) for h, d, n in product((1, 2, 3), (1, 2), (1, 2, 3))
            ]
            far = [Sizes(1, 3, 70, (4, 2)), Sizes(2, 70, 70, (6, 3))]
            far += [Sizes(17, 2, 3, (4, 2)), Sizes(1, 4, 5, (64, 32)), Sizes(2, 3, 4, (48, 3))]
        case "AdditiveAttention":
            widths = [
                w for w in product((1, 2, 3, 5), (1, 2, 4, 7), (3, 4, 6), (1, 2)) if _distinct(w)
            ]
            apart = [
                Sizes(b, n, s, w)
                for (b, n, s), w in product(product((1, 2, 3), small, small), widths)
                if _coprime((n, s)) and (n + s + b) % 3 == sum(w) % 3
            ]
            alike = [Sizes(n, n, n, (n, n, n, n)) for n in range(1, 6)]
            far = [Sizes(1, 3, 70, (4, 5, 6, 2)), Sizes(2, 40, 40, (3, 3, 3, 3))]
            far += [Sizes(17, 2, 3, (2, 3, 4, 5)), Sizes(1, 4, 5, (32, 48, 64, 40))]
        case "MultiplicativeAttention":
            three = [w for w in product((1, 2, 3, 5), (1, 2, 4, 7), (1, 3, 6)) if _distinct(w)]
            apart = [
                Sizes(b, n, s, w)
                for (b, n, s), w in product(product((1, 2, 3), small, small), three)
                if _coprime((n, s)) and (n + s + b) % 3 == sum(w) % 3
            ]
            alike = [Sizes(n, n, n, (n, n, n)) for n in range(1, 6)]
            far = [Sizes(1, 3, 70, (4, 5, 2)), Sizes(2, 70, 70, (3, 3, 3))]
            far += [Sizes(17, 2, 3, (2, 3, 5)), Sizes(1, 4, 5, (48, 64, 40))]
        case "scaled_dot_product_attention":
            apart = [
                Sizes(b, n, s, (d_k, d_v))
                for b, n, s, d_k, d_v in product((1, 2, 3), small, small, small, small)
                if _coprime((n, s, d_k, d_v))
            ]
            alike = [Sizes(n, n, n, (n, n)) for n in range(1, 6)]
            far = [Sizes(1, 3, 150, (4, 5)), Sizes(2, 70, 70, (6, 6)), Sizes(1, 150, 2, (3, 4))]
            far += [Sizes(17, 2, 3, (4, 5)), Sizes(1, 4, 5, (64, 40))]
        case _:
            raise ValueError(f"no sizes are known for {component}")
    return _by_size(apart), _by_size(alike), _by_size(far)


# How often each tier is drawn: of twelve examples six have sizes apart, four alike, two long.
_SHARES = (6, 4, 2)

# Hypothesis draws from a range of up to a few hundred evenly, and favours small numbers in larger
# ones; every table here is kept below that.
_MOST_CHOICES = 240


@cache
def _choices(component: str, least: int) -> tuple[Sizes, ...]:
    """Give the sizes to draw from, smallest first, each tier as often as its share says.

    One table for all tiers, since every separate draw costs time.
    """
    choices: list[Sizes] = []
    for tier, share in zip(_tables(component), _SHARES, strict=True):
        fitting = [s for s in tier if s.keys >= least and s.queries >= least - 1]
        wanted = _MOST_CHOICES * share // sum(_SHARES)
        # Every so many-th of a tier that has too many, each several times of one that has too few.
        choices += [fitting[i * len(fitting) // wanted] for i in range(wanted)]
    return _by_size(choices)


def random_mask(generator: torch.Generator, *shape: int) -> Tensor:
    """Draw a boolean mask in which every row allows at least one key."""
    mask = torch.rand(shape, generator=generator) < 0.6
    always = torch.randint(shape[-1], (*shape[:-1], 1), generator=generator)
    return mask.scatter(-1, always, value=True)


# Shapes of masks by their letters; G is the head, or the second leading dimension of a function.
_TWO = ("LS", "1S", "L1")
_THREE = ("B1S", "BLS", "1LS", "padding")
_FOUR = ("BGLS", "B11S", "B1LS", "1GLS", "BG1S", "11LS")
# T is the third leading dimension of a function; where it is there, G is the second.
_FIVE = ("TLS", "GTLS", "BGTLS", "B11LS")


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
    more = _FOUR if component == "MultiHeadAttention" and mask != "none" else ()
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
    some_case = st.sampled_from(tuple(product(_cases(component, mask), regimes)))
    some_seed = seeds()

    @st.composite
    def inputs(draw: Draw) -> dict[str, Any]:
        s = draw(some_size)
        (leading, kind), regime = draw(some_case)
        seed = draw(some_seed)
        generator = torch.Generator().manual_seed(seed)
        shapes, group, setup = _shapes(component, s, leading, regime, seed)
        scored = LARGEST_ENTRY
        if setup is None:  # a function's scores are its entries' products alone
            scored = min(scored, math.sqrt(LARGEST_SCORE / math.sqrt(s.widths[0])))
        drawn: dict[str, Any] = {
            name: fill(
                generator, regime, *shape, largest=LARGEST_ENTRY if name == "value" else scored
            )
            for name, shape in shapes.items()
        }
        _unite(drawn, seed)
        drawn["mask"] = _mask(generator, kind, s, group)
        return drawn if setup is None else {**drawn, "setup": setup}

    return inputs()


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
    component: str, s: Sizes, leading: int, regime: str, seed: int
) -> tuple[dict[str, tuple[int, ...]], int, Setup | None]:
    """Give the tensors' shapes, the size that G stands for in a mask's, and a module's setup."""
    names = ("query", "key", "value")
    if component == "scaled_dot_product_attention":
        d_k, d_v = s.widths
        lead = (s.batch, 2, 3)[:leading]
        sizes = ((s.queries, d_k), (s.keys, d_k), (s.keys, d_v))
        return {n: (*lead, *size) for n, size in zip(names, sizes, strict=True)}, 2, None
    gain = _gain(component, regime, s.widths)
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


@cache
def softmax_inputs(least: int = 1) -> st.SearchStrategy[dict[str, Any]]:
    """Inputs of a softmax: ``x`` of one to four dimensions, and ``dim``, which may be negative.

    Args:
        least: the smallest size of the axis that is normalised.

    Shrinks towards one dimension and small integers.
    """
    axes = [(rank, dim) for rank in (1, 2, 3, 4) for dim in range(rank)]
    cases = [(n, *axis, sign) for n in range(least, 8) for axis in axes for sign in (0, 1)]
    cases += [
        (1100, rank, dim, sign) for rank, dim in axes[:3] for sign in (0, 1) for _ in range(3)
    ]
    some_case, some_regime, some_seed = (
        st.sampled_from(cases), st.sampled_from(REGIMES), seeds(),
    )  # fmt: skip

    @st.composite
    def inputs(draw: Draw) -> dict[str, Any]:
        size, rank, dim, negative = draw(some_case)
        shape = list((3, 2, 5, 4)[:rank])
        shape[dim] = size
        regime, seed = draw(some_regime), draw(some_seed)
        x = fill(torch.Generator().manual_seed(seed), regime, *shape)
        return {"x": x, "dim": dim - rank if negative else dim}

    return inputs()


@cache
def lengths_and_padding() -> st.SearchStrategy[dict[str, Any]]:
    """Inputs of a padding mask: ``lengths`` (B,) from 1 to ``max_length``, and ``max_length``.

    Shrinks towards one sequence of one token.
    """
    sizes = [(batch, longest) for longest in range(1, 10) for batch in range(1, 7)]
    sizes += [(batch, 300) for batch in range(1, 7)] + [(17, 5)] * 6
    some_size, some_seed = st.sampled_from(sizes), seeds()

    @st.composite
    def inputs(draw: Draw) -> dict[str, Any]:
        batch, max_length = draw(some_size)
        generator = torch.Generator().manual_seed(draw(some_seed))
        lengths = torch.randint(1, max_length + 1, (batch,), generator=generator)
        return {"lengths": lengths, "max_length": max_length}

    return inputs()


@cache
def component_inputs(component: str) -> st.SearchStrategy[dict[str, Any]]:
    """Inputs of any component, for laws that any component obeys."""
    match component:
        case "softmax":
            return softmax_inputs()
        case "causal_mask":
            return st.sampled_from((*range(1, 81), 130, 300, 1100)).map(lambda n: {"length": n})
        case "padding_mask":
            return lengths_and_padding()
        case _:
            return attention_inputs(component)
