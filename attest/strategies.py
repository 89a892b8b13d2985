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
    "calls",
    "fill",
    "lengths_and_padding",
    "random_mask",
    "seeds",
    "softmax_inputs",
]

MaskKind = Literal["any", "none", "some", "causal"]
Draw = Callable[[st.SearchStrategy[Any]], Any]

REGIMES = ("integers", "normal", "large", "ties", "sparse", "small", "huge")

LARGEST_ENTRY = 300.0
# The contract promises accuracy while scores stay below 1e5; a margin covers normal tails.
LARGEST_SCORE = 2e4


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
    return all(
        math.gcd(a, b) == 1 and a != b for i, a in enumerate(numbers) for b in numbers[i + 1 :]
    )


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
            heads = ((1, 1), (1, 3), (2, 1), (2, 2), (2, 3), (3, 1), (3, 2), (4, 2), (5, 1))
            apart = [
                Sizes(b, n, s, (h * d, h))
                for b, n, s, (h, d) in product((1, 2, 3), small, small, heads)
                if _coprime((n, s)) and _distinct((n, s, h * d)) and h not in {n, s, b}
            ]
            alike = [
                Sizes(h, n, n, (h * d, h)) for h, d, n in product((1, 2, 3), (1, 2), (1, 2, 3))
            ]
            far = [Sizes(1, 3, 70, (4, 2)), Sizes(2, 70, 70, (6, 3))]
            far += [Sizes(17, 2, 3, (4, 2)), Sizes(1, 4, 5, (64, 8))]
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
            far += [Sizes(17, 2, 3, (2, 3, 4, 5)), Sizes(1, 4, 5, (32, 48, 64, 7))]
        case "MultiplicativeAttention":
            three = [w for w in product((1, 2, 3, 5), (1, 2, 4, 7), (1, 3, 6)) if _distinct(w)]
            apart = [
                Sizes(b, n, s, w)
                for (b, n, s), w in product(product((1, 2, 3), small, small), three)
                if _coprime((n, s)) and (n + s + b) % 3 == sum(w) % 3
            ]
            alike = [Sizes(n, n, n, (n, n, n)) for n in range(1, 6)]
            far = [Sizes(1, 3, 70, (4, 5, 2)), Sizes(2, 70, 70, (3, 3, 3))]
            far += [Sizes(17, 2, 3, (2, 3, 5)), Sizes(1, 4, 5, (48, 64, 7))]
        case "scaled_dot_product_attention":
            apart = [
                Sizes(b, n, s, (d_k, d_v))
                for b, n, s, d_k, d_v in product((1, 2, 3), small, small, small, small)
                if _coprime((n, s, d_k, d_v))
            ]
            alike = [Sizes(n, n, n, (n, n)) for n in range(1, 6)]
            far = [Sizes(1, 3, 70, (4, 5)), Sizes(2, 70, 70, (6, 6)), Sizes(1, 70, 2, (3, 4))]
            far += [Sizes(17, 2, 3, (4, 5)), Sizes(1, 4, 5, (64, 7))]
        case _:
            raise ValueError(f"no sizes are known for {component}")
    return _by_size(apart), _by_size(alike), _by_size(far)


# How often each tier is drawn: of twelve examples six have sizes apart, five alike, one long.
_SHARES = (6, 5, 1)

# Hypothesis draws from a range of up to a few hundred evenly, and favours small numbers in larger
# ones; every table here is kept below that.
_MOST_CHOICES = 240


@cache
def _choices(component: str, keys: int, queries: int) -> tuple[Sizes, ...]:
    """Give the sizes to draw from, smallest first, each tier as often as its share says.

    One table for all tiers, since every separate draw costs time.
    """
    choices: list[Sizes] = []
    for tier, share in zip(_tables(component), _SHARES, strict=True):
        fitting = [s for s in tier if s.keys >= keys and s.queries >= queries]
        wanted = _MOST_CHOICES * share // sum(_SHARES)
        # Every so many-th of a tier that has too many, each several times of one that has too few.
        choices += [fitting[i * len(fitting) // wanted] for i in range(wanted)]
    return _by_size(choices)


def random_mask(generator: torch.Generator, *shape: int) -> Tensor:
    """Draw a boolean mask in which every row allows at least one key."""
    mask = torch.rand(shape, generator=generator) < 0.6
    always = torch.randint(shape[-1], (*shape[:-1], 1), generator=generator)
    return mask.scatter(-1, always, value=True)


def _mask(generator: torch.Generator, kind: int, s: Sizes, component: str) -> Tensor | None:
    """Draw a mask of one kind: none, four shapes that broadcast, padding, causal, one per head."""
    rows = 1 if component == "SelfAttention" and kind == 2 else s.queries
    match kind:
        case 0:
            return None
        case 1:
            return random_mask(generator, rows, s.keys)
        case 2:
            return random_mask(generator, 1, s.keys)
        case 3:
            return random_mask(generator, s.batch, 1, s.keys)
        case 4:
            return random_mask(generator, s.batch, s.queries, s.keys)
        case 5:
            real = torch.randint(1, s.keys + 1, (s.batch, 1, 1), generator=generator)
            return torch.arange(s.keys) < real
        case 6:
            return torch.ones(s.queries, s.keys, dtype=torch.bool).tril()
        case _:
            if component == "MultiHeadAttention":
                return random_mask(generator, s.batch, s.widths[1], s.queries, s.keys)
            return random_mask(generator, 1, s.queries, s.keys)


_MASKS: dict[MaskKind, tuple[int, ...]] = {
    "any": (0, 0, 0, 1, 2, 3, 4, 5, 6, 7),
    "none": (0,),
    "some": (1, 2, 3, 4, 5, 6, 7),
    "causal": (6,),
}


@cache
def attention_inputs(
    component: str,
    mask: MaskKind = "any",
    least_keys: int = 1,
    least_queries: int = 1,
    regimes: tuple[str, ...] = REGIMES,
) -> st.SearchStrategy[dict[str, Any]]:
    """Inputs of one attention: query, key, value and mask, or x and mask; a setup for a module.

    A function's tensors have none, one or two leading dimensions; a module's have one.

    Args:
        component: the contract's name of an attention.
        mask: "any" (none among them), "none", "some" (never none) or "causal". Every row of a
            mask allows at least one key.
        least_keys: the smallest S.
        least_queries: the smallest L.
        regimes: the regimes of values to draw from.

    Shrinks towards one query, no mask and small integers.
    """
    self_attention = component == "SelfAttention"
    function = component == "scaled_dot_product_attention"
    kinds = _MASKS[mask]
    sizes = _choices(component, least_keys, least_queries)
    # Simple cases first: no leading dimensions, no mask, integers.
    leading_dimensions = (0, 1, 2) if function else (1,)
    some_size = st.sampled_from(sizes)
    some_case = st.sampled_from(tuple(product(leading_dimensions, kinds, regimes)))
    some_seed = seeds()

    @st.composite
    def inputs(draw: Draw) -> dict[str, Any]:
        s = draw(some_size)
        leading, kind, regime = draw(some_case)
        seed = draw(some_seed)
        generator = torch.Generator().manual_seed(seed)
        drawn: dict[str, Any] = {}
        if function:
            d_k, d_v = s.widths
            lead = (s.batch, 2)[: leading if kind < 3 else 1]
            largest = min(LARGEST_ENTRY, math.sqrt(4 * LARGEST_SCORE / math.sqrt(d_k)))
            drawn["query"] = fill(generator, regime, *lead, s.queries, d_k, largest=largest)
            drawn["key"] = fill(generator, regime, *lead, s.keys, d_k, largest=largest)
            drawn["value"] = fill(generator, regime, *lead, s.keys, d_v)
            drawn["mask"] = _mask(generator, kind if kind < 7 else 4, s, component)
            return drawn
        if self_attention:
            drawn["x"] = fill(generator, regime, s.batch, s.queries, s.widths[0])
        else:
            d_q, d_k, d_v = _module_widths(component, s.widths)
            drawn["query"] = fill(generator, regime, s.batch, s.queries, d_q)
            drawn["key"] = fill(generator, regime, s.batch, s.keys, d_k)
            drawn["value"] = fill(generator, regime, s.batch, s.keys, d_v)
        if kind == 7 and component != "MultiHeadAttention":
            kind = 4
        drawn["mask"] = _mask(generator, kind, s, component)
        names = _CONSTRUCTORS[component]
        # Large inputs meet small weights, so that scores stay where the contract speaks.
        gain = {"huge": 0.05, "large": 0.5}.get(regime, 1.0)
        drawn["setup"] = Setup(dict(zip(names, s.widths, strict=False)), seed, gain)
        return drawn

    return inputs()


_CONSTRUCTORS = {
    "AdditiveAttention": ("d_query", "d_key", "d_hidden"),
    "MultiplicativeAttention": ("d_query", "d_key"),
    "SelfAttention": ("d_model",),
    "MultiHeadAttention": ("d_model", "n_heads"),
}


def _module_widths(component: str, widths: tuple[int, ...]) -> tuple[int, int, int]:
    if component == "MultiHeadAttention":
        return widths[0], widths[0], widths[0]
    return widths[0], widths[1], widths[-1]


@cache
def softmax_inputs(least: int = 1) -> st.SearchStrategy[dict[str, Any]]:
    """Inputs of a softmax: ``x`` of one to four dimensions, and ``dim``, which may be negative.

    Args:
        least: the smallest size of the axis that is normalised.

    Shrinks towards one dimension and small integers.
    """
    axes = [(rank, dim) for rank in (1, 2, 3, 4) for dim in range(rank)]
    cases = [(n, *axis, sign) for n in range(least, 8) for axis in axes for sign in (0, 1)]
    cases += [(300, rank, dim, sign) for rank, dim in axes[:3] for sign in (0, 1) for _ in range(3)]
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
    sizes += [(batch, 300) for batch in range(1, 7)]
    some_size, some_seed = st.sampled_from(sizes), seeds()

    @st.composite
    def inputs(draw: Draw) -> dict[str, Any]:
        batch, max_length = draw(some_size)
        generator = torch.Generator().manual_seed(draw(some_seed))
        lengths = torch.randint(1, max_length + 1, (batch,), generator=generator)
        return {"lengths": lengths, "max_length": max_length}

    return inputs()


@cache
def calls(component: str, **options: Any) -> st.SearchStrategy[dict[str, Any]]:  # noqa: ANN401
    """Inputs of any component as one dict ``arguments``, for laws that any component obeys.

    Args:
        component: the contract's name.
        options: as for ``attention_inputs``.
    """

    def gathered(drawn: dict[str, Any]) -> dict[str, Any]:
        arguments = {name: value for name, value in drawn.items() if name != "setup"}
        setup = {"setup": drawn["setup"]} if "setup" in drawn else {}
        return {"arguments": arguments, **setup}

    match component:
        case "softmax":
            return softmax_inputs().map(gathered)
        case "causal_mask":
            return st.fixed_dictionaries({"length": st.integers(1, 80)}).map(gathered)
        case "padding_mask":
            return lengths_and_padding().map(gathered)
        case _:
            return attention_inputs(component, **options).map(gathered)
