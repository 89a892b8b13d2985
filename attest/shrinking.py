"""Making a counterexample smaller than Hypothesis can.

Hypothesis shrinks what it drew: sizes, regimes and seeds. Another size means other numbers from
the same seed, and a tensor filled from a seed stays full of digits. Here items, queries and keys
are dropped, and entries replaced by zeroes, ones and small integers, while the law goes on failing
in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import Any

import torch
from torch import Tensor

from attest.specification import ComponentSpec

__all__ = ["narrower", "simplify", "slimmer"]

MOST_TRIALS = 250
# Up to so many combinations of a constructor's integers are all tried, the smallest first.
MOST_COMBINATIONS = 64


def narrower(
    spec: ComponentSpec,
    inputs: Mapping[str, Any],
    fails: Callable[[Mapping[str, Any], Mapping[str, Tensor]], bool],
) -> Iterator[Mapping[str, Any]]:
    """Drop items of a batch, queries and keys as long as the law still fails.

    Args:
        spec: names the dimensions of the component's arguments.
        inputs: the law's inputs by name, perhaps inside a dict ``arguments``.
        fails: runs the law on a candidate, with the matrices as they are, and says whether it still
            fails.

    Yields:
        Ever smaller inputs on which it does.
    """
    axes = [(str(axis),) for axis in range(-_rank(spec, _arguments(inputs)), 0)]
    named = (("*batch",), ("B",), ("L",), ("S",), ("L", "S"), ("d_k",), ("d_v",))
    for dims in (*named, *axes):
        lengths = {_length(spec, _arguments(inputs), dim) for dim in dims}
        length = max(lengths) if len(lengths) == 1 else 0  # together where they are the same
        for size, start in [(n, at) for n in range(1, length) for at in sorted({0, length - n})]:
            smaller = dict(_arguments(inputs))
            for dim in dims:
                smaller = _cut(spec, smaller, dim, start, size)
            candidate = {**inputs, "arguments": smaller} if "arguments" in inputs else smaller
            masks = [m for n in spec.masks if isinstance(m := smaller.get(n), Tensor)]
            empty = any(not bool(mask.any(-1).all()) for mask in masks)
            if not empty and fails(candidate, {}):
                inputs = candidate
                yield inputs
                break


def slimmer(
    spec: ComponentSpec, inputs: Mapping[str, Any], sizes: Mapping[str, int]
) -> Iterator[tuple[Mapping[str, Any], dict[str, int]]]:
    """Give inputs for modules with smaller integers, the smallest first.

    Args:
        spec: names the dimensions of the component's arguments.
        inputs: the law's inputs by name, perhaps inside a dict ``arguments``.
        sizes: the constructor's integers by name.

    Yields:
        Inputs that are cut to the integers, and the integers; many a constructor refuses.
    """
    ranges = [range(1, size + 1) for size in sizes.values()]
    if math.prod(sizes.values()) <= MOST_COMBINATIONS:
        smaller = [dict(zip(sizes, numbers, strict=True)) for numbers in product(*ranges)]
    else:
        smaller = [{**sizes, name: n} for name in sizes for n in range(1, sizes[name])]
    for candidate in sorted(smaller, key=lambda c: sum(c.values())):
        if candidate == dict(sizes):
            continue
        cut = _arguments(inputs)
        for name, size in candidate.items():
            cut = _cut(spec, cut, name, 0, size)
        yield ({**inputs, "arguments": cut} if "arguments" in inputs else cut), candidate


def _rank(spec: ComponentSpec, inputs: Mapping[str, Any]) -> int:
    """Give the number of axes of an argument of any shape."""
    ranks = [v.dim() for n, v in inputs.items() if spec.dims.get(n) == ("*shape",)]
    return max(ranks, default=0)


def _arguments(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    inner: Mapping[str, Any] = inputs.get("arguments", inputs)
    return inner


def _axis(spec: ComponentSpec, name: str, value: object, dim: str) -> int | None:
    """Say which axis of an argument has this name, counted from its end."""
    dims = spec.dims.get(name, ())
    if isinstance(value, Tensor) and dims == ("*shape",) and dim.startswith("-"):
        return int(dim)
    if not isinstance(value, Tensor) or dim not in dims:
        return None
    axis = dims.index(dim) - len(dims)  # leading dimensions may be none
    return axis if value.dim() >= -axis else None


def _length(spec: ComponentSpec, inputs: Mapping[str, Any], dim: str) -> int:
    axes = {name: _axis(spec, name, value, dim) for name, value in inputs.items()}
    return max((inputs[n].shape[axis] for n, axis in axes.items() if axis is not None), default=0)


def _cut(
    spec: ComponentSpec, inputs: Mapping[str, Any], dim: str, start: int, size: int
) -> dict[str, Any]:
    """Keep some entries along a named dimension, of the arguments and of their masks."""
    made: dict[int, Tensor] = {}  # one tensor under two names stays one
    smaller = dict(inputs)
    for name, value in inputs.items():
        axis = _axis(spec, name, value, dim)
        if axis is not None:
            if id(value) not in made:
                made[id(value)] = value.narrow(axis, start, size).clone()
            smaller[name] = made[id(value)]
    for name, dims in spec.masks.items():
        mask = smaller.get(name)
        if not isinstance(mask, Tensor):
            continue
        # One that is the same for all heads has no dimension for them.
        aligned = [d for d in dims if d != "n_heads" or mask.dim() == len(dims)][-mask.dim() :]
        for axis, named in enumerate(aligned, start=-len(aligned)):
            if named == dim and mask.shape[axis] > 1:
                mask = mask.narrow(axis, start, size).clone()
        smaller[name] = mask
    return smaller


def simplify(
    inputs: Mapping[str, Any],
    parameters: Mapping[str, Tensor],
    fails: Callable[[Mapping[str, Any], Mapping[str, Tensor]], bool],
) -> None:
    """Replace entries by simpler ones as long as the law still fails.

    Args:
        inputs: the law's inputs by name; dicts inside are entered.
        parameters: the module's weight matrices by name.
        fails: runs the law on a candidate and says whether it still fails; it remembers the last
            candidate that does, which is the result.
    """
    values: dict[tuple[str, ...], Tensor] = dict(_tensors(inputs, ("inputs",)))
    values |= {("parameters", name): value for name, value in parameters.items()}
    trials = 0

    def attempt(path: tuple[str, ...], candidate: Tensor) -> bool:
        nonlocal trials
        if trials >= MOST_TRIALS or torch.equal(candidate, values[path]):
            return False
        trials += 1
        # One tensor under two names stays one.
        same = {other: candidate for other, value in values.items() if value is values[path]}
        changed = {**values, **same}
        matrices = {p[1]: v for p, v in changed.items() if p[0] == "parameters"}
        if fails(_replaced(inputs, changed, ("inputs",)), matrices):
            values.update(same)
            return True
        return False

    for path in list(values):
        for candidate in _whole(values[path]):
            if torch.equal(candidate, values[path]) or attempt(path, candidate):
                break
    for path in list(values):
        if not values[path].is_floating_point():
            continue
        for index in range(min(values[path].numel(), MOST_TRIALS)):
            _simplify_entry(path, index, values, attempt)


def _simplify_entry(
    path: tuple[str, ...],
    index: int,
    values: Mapping[tuple[str, ...], Tensor],
    attempt: Callable[[tuple[str, ...], Tensor], bool],
) -> None:
    entry = float(values[path].flatten()[index])
    rounded = float(round(entry)) if abs(entry) < 1e6 else entry
    for simpler in (0.0, 1.0, rounded, round(entry, 1) + 0.0):
        if simpler == entry:
            return  # nothing that follows is simpler
        if abs(simpler) > abs(entry) + 1:
            continue
        candidate = values[path].clone().contiguous()
        candidate.view(-1)[index] = simpler
        if attempt(path, candidate):
            return


def _whole(value: Tensor) -> Iterator[Tensor]:
    """Give simpler tensors of the same shape, the simplest first."""
    if value.dtype == torch.bool:
        yield torch.ones_like(value)
    elif value.dtype == torch.int64:
        yield torch.zeros_like(value)
        yield torch.ones_like(value)
    elif value.is_floating_point():
        yield torch.zeros_like(value)
        yield torch.ones_like(value)
        if value.dim() >= 2:
            yield torch.eye(*value.shape[-2:], dtype=value.dtype).expand(value.shape).clone()
        yield value.clamp(-9, 9).round() + 0.0  # no negative zeroes
        yield (value * 10).round() / 10 + 0.0


def _tensors(inputs: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[Any, Tensor]]:
    for name, value in inputs.items():
        if isinstance(value, dict):
            yield from _tensors(value, (*path, name))
        elif isinstance(value, Tensor):
            yield (*path, name), value


def _replaced(
    inputs: Mapping[str, Any], changed: Mapping[tuple[str, ...], Tensor], path: tuple[str, ...]
) -> dict[str, Any]:
    return {
        name: _replaced(value, changed, (*path, name))
        if isinstance(value, dict)
        else changed.get((*path, name), value)
        for name, value in inputs.items()
    }
