"""Inputs of the layers and of the stacks of layers."""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from attest.contract import CONTRACT
from attest.strategies.attention import MaskKind
from attest.strategies.sizes import Sizes, coprime, distinct, mixed
from attest.strategies.values import LARGEST_ENTRY, REGIMES, Draw, fill, random_mask, seeds
from attest.subject import Setup

__all__ = [
    "feed_forward_inputs",
    "image_inputs",
    "layer_inputs",
    "layer_norm_inputs",
]

# Heads and the width of one.
_HEADS = ((1, 2), (1, 3), (2, 1), (2, 2), (3, 1), (2, 3), (3, 2), (4, 1), (4, 2), (5, 1), (8, 1))

# Weights by regime, so that scores stay below 1e5, where the contract ends.
_GAINS = {"large": 0.5, "huge": 0.4}


@cache
def _tables(component: str) -> tuple[tuple[Sizes, ...], ...]:
    """Give the three tiers of sizes; a decoder alone has queries and keys apart."""
    decodes = component.startswith("Decoder")
    layers: tuple[int | None, ...] = (None,) if component.endswith("Layer") else (1, 2, 3)

    def widths(heads: int, width: int, hidden: int, depth: int | None) -> tuple[int, ...]:
        return (heads * width, heads, hidden) + (() if depth is None else (depth,))

    apart = [
        Sizes(b, n if decodes else s, s, widths(h, d, hidden, depth))
        for (b, n, s), (h, d), hidden, depth in product(
            product((1, 2, 3), range(1, 6) if decodes else (1,), range(1, 7)),
            _HEADS,
            (5, 7),
            layers,
        )
        if (n + 2 * s + h + hidden + (depth or 0)) % 5 == b
        and distinct((s, h * d, hidden))
        and (not decodes or coprime((n, s)))
        and not (depth == 3 and n + s > 6)
    ]
    alike = [
        Sizes(n, n, n, widths(h, d, h * d, depth))
        for n, (h, d), depth in product((1, 2, 3, 4), ((1, 2), (2, 2), (3, 1)), layers)
    ]
    deep = layers[-1]
    far = [Sizes(1, 3 if decodes else 40, 40, widths(2, 2, 5, layers[0]))]
    far += [Sizes(11, 2 if decodes else 3, 3, widths(2, 1, 3, layers[0]))]
    far += [Sizes(1, 3 if decodes else 4, 4, widths(4, 8, 48, layers[0]))]
    far += [Sizes(2, 33, 33 if not decodes else 4, widths(1, 3, 4, layers[0]))]
    far += [Sizes(1, 131, 131 if not decodes else 5, widths(2, 1, 3, layers[0]))]
    far += [Sizes(1, 2 if decodes else 3, 3, widths(2, 2, 6, deep and 2 * deep))]
    return tuple(apart), tuple(alike), tuple(far)


_SELF = {"any": ("none", "none", "NN", "BNN", "1N", "B1N", "padding", "causal"), "none": ("none",)}
_SELF["some"] = _SELF["any"][2:]
_MEMORY = {"any": ("none", "none", "LS", "BLS", "1S", "B1S", "padding"), "none": ("none",)}
_MEMORY["some"] = _MEMORY["any"][2:]


def _mask(generator: torch.Generator, kind: str, batch: int, rows: int, keys: int) -> Tensor | None:
    """Draw a mask of one kind, in which every row allows some key; N, L and S are sizes."""
    match kind:
        case "none":
            return None
        case "causal":
            return torch.ones(rows, keys, dtype=torch.bool).tril()
        case "padding":
            real = torch.randint(1, keys + 1, (batch, 1, 1), generator=generator)
            return torch.arange(keys) < real
        case _:
            shape = [{"B": batch, "1": 1, "L": rows}.get(letter, keys) for letter in kind]
            return random_mask(generator, *shape)


def _visible(generator: torch.Generator, mask: Tensor | None) -> Tensor | None:
    """Allow, in every row of a mask, a token that is not later: the first one, or the row's own."""
    if mask is None:
        return None
    mask = mask.clone()
    if mask.shape[-2] > 1 and bool(torch.randint(2, (), generator=generator)):
        mask.diagonal(dim1=-2, dim2=-1).fill_(value=True)
    else:
        mask[..., 0] = True
    return mask


@cache
def layer_inputs(
    component: str, mask: MaskKind = "any", least: int = 1, regimes: tuple[str, ...] = REGIMES
) -> st.SearchStrategy[dict[str, Any]]:
    """Inputs of a layer or a stack of layers: ``x`` and ``mask``, or a decoder's four; a setup.

    Args:
        component: EncoderLayer, Encoder, DecoderLayer or Decoder.
        mask: "any" (none among them), "none" or "some" (never none). Every row of a mask allows at
            least one key, and of a decoder's ``self_mask`` one that is not later.
        least: the smallest number of tokens, and of tokens of the memory.
        regimes: the regimes of values to draw from.

    Shrinks towards one token, no mask and small integers.
    """
    sizes = mixed(_tables(component), lambda s: s.queries >= least and s.keys >= least)
    decodes = component.startswith("Decoder")
    kinds = product(_SELF[mask], _MEMORY[mask] if decodes else ("none",))
    constructor = CONTRACT[component].constructor or ()
    some_size = st.sampled_from(sizes)
    some_case, some_regime = st.sampled_from(tuple(kinds)), st.sampled_from(regimes)
    some_seed = seeds()

    @st.composite
    def inputs(draw: Draw) -> dict[str, Any]:
        s = draw(some_size)
        (own, other), regime = draw(some_case), draw(some_regime)
        seed = draw(some_seed)
        generator = torch.Generator().manual_seed(seed)
        width = s.widths[0]
        arguments = dict(zip(constructor, s.widths, strict=True))
        setup = Setup(arguments, seed, _GAINS.get(regime, 1.0))
        x = fill(generator, regime, s.batch, s.queries, width, largest=LARGEST_ENTRY)
        mask = _mask(generator, own, s.batch, s.queries, s.queries)
        if not decodes:
            return {"x": x, "mask": mask, "setup": setup}
        return {
            "x": x,
            "memory": fill(generator, regime, s.batch, s.keys, width, largest=LARGEST_ENTRY),
            "self_mask": _visible(generator, mask),
            "memory_mask": _mask(generator, other, s.batch, s.queries, s.keys),
            "setup": setup,
        }

    return inputs()


@cache
def layer_norm_inputs(least: int = 1) -> st.SearchStrategy[dict[str, Any]]:
    """Inputs of a layer normalisation that is as it was made: ``x`` (..., D), and a setup.

    One regime more than elsewhere lies a thousand off zero, where a variance that is computed from
    the mean of squares loses its digits. Most wide tokens have one entry that stands out, and comes
    near √D when it is normalised.

    Args:
        least: the smallest width D.

    Shrinks towards one token and small integers.
    """
    shapes = [
        (*lead, width)
        for width in (*range(least, 9), 12)
        for lead in ((), (1,), (2,), (1, 3), (3, 2), (5, 3), (2, 3, 4))
    ]
    shapes += [(n, n, n) for n in range(max(least, 2), 6)] * 3
    shapes += [(40, 3, 7), (17, 2, 5), (4, 33), (2, 67, 3), (131, 2), (1, 1030, 2)] * 2
    shapes += [(2, 301), (1, 1, 1040), (2, 1, 3, 2, 4)] * 6
    some_shape = st.sampled_from(shapes)
    some_regime = st.sampled_from((*REGIMES, "offset", "offset"))
    some_seed = seeds()

    @st.composite
    def inputs(draw: Draw) -> dict[str, Any]:
        shape, regime, seed = draw(some_shape), draw(some_regime), draw(some_seed)
        generator = torch.Generator().manual_seed(seed)
        offset = 1e3 if regime == "offset" else 0.0
        x = offset + fill(generator, "normal" if offset else regime, *shape)
        if shape[-1] > 100 and seed % 3 < 2:
            x[..., seed % shape[-1]] += 1 + 100 * x.abs().max()
        return {"x": x, "setup": Setup({"d_model": shape[-1]}, seed, matrices={})}

    return inputs()


@cache
def feed_forward_inputs(least: int = 1) -> st.SearchStrategy[dict[str, Any]]:
    """Inputs of a feed-forward network: ``x`` (B, L, D), and a setup.

    Args:
        least: the smallest number of tokens.

    Shrinks towards one token and small integers.
    """
    sizes = [
        (batch, length, width, hidden)
        for batch, length, width, hidden in product(
            (1, 3), range(least, 7), (2, 3, 4, 5), (3, 4, 7, 8)
        )
        if distinct((length, width, hidden))
    ]
    sizes += [(n, n, n, n) for n in range(max(least, 2), 6)] * 15
    sizes += [(1, 40, 3, 5), (17, 3, 4, 8), (2, 4, 48, 64), (1, 67, 2, 3), (2, 131, 3, 2)] * 6
    sizes += [(1, 1030, 2, 3), (130, 2, 3, 4)] * 3
    some_size = st.sampled_from(sorted(sizes, key=sum))
    some_regime, some_seed = st.sampled_from(REGIMES), seeds()

    @st.composite
    def inputs(draw: Draw) -> dict[str, Any]:
        batch, length, width, hidden = draw(some_size)
        regime, seed = draw(some_regime), draw(some_seed)
        generator = torch.Generator().manual_seed(seed)
        setup = Setup({"d_model": width, "d_hidden": hidden}, seed)
        return {"x": fill(generator, regime, batch, length, width), "setup": setup}

    return inputs()


@cache
def image_inputs(least: int = 1) -> st.SearchStrategy[dict[str, Any]]:
    """Inputs of a patch embedding: ``images`` (B, channels, height, width), and a setup.

    Args:
        least: the smallest number of patches.

    Shrinks towards one patch of one pixel.
    """
    sizes = [
        (batch, channels, rows, columns, patch, width)
        for batch, channels, (rows, columns), patch, width in product(
            (1, 2, 3), (1, 2, 3), product((1, 2, 3), (1, 2, 3, 4)), (1, 2, 3), (1, 4, 5)
        )
        if rows * columns >= least and (rows + columns + patch + width + channels) % 3 == batch % 3
    ]
    sizes += [(n, n, n, n, n, n) for n in (2, 3) if n * n >= least] * 8
    sizes += [
        (1, 3, 7, 9, 4, 16),
        (1, 5, 2, 3, 2, 4),
        (9, 1, 2, 3, 2, 3),
        (1, 2, 1, 30, 2, 3),
        (1, 1, 14, 14, 1, 2),
    ] * 6
    sizes += [(2, 1, 2, 2, 16, 3), (1, 3, 3, 4, 8, 5)] * 10
    some_size = st.sampled_from(sorted(sizes, key=sum))
    some_regime, some_seed = st.sampled_from(REGIMES), seeds()

    @st.composite
    def inputs(draw: Draw) -> dict[str, Any]:
        batch, channels, rows, columns, patch, width = draw(some_size)
        regime, seed = draw(some_regime), draw(some_seed)
        generator = torch.Generator().manual_seed(seed)
        images = fill(generator, regime, batch, channels, rows * patch, columns * patch)
        arguments = {"patch_size": patch, "channels": channels, "d_model": width}
        return {"images": images, "setup": Setup(arguments, seed)}

    return inputs()
