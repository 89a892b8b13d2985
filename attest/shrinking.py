"""Making a counterexample smaller than Hypothesis can.

Hypothesis shrinks what it drew: sizes, regimes and seeds. Another size means other numbers from
the same seed, and a tensor filled from a seed stays full of digits. Here items, queries and keys
are dropped, and entries replaced by zeroes, ones and small integers, while the law goes on failing
in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import combinations, product
from typing import Any

import torch
from torch import Tensor

from attest.specification import CallSpec, ComponentSpec

__all__ = ["limits", "narrower", "simplify", "slimmer"]

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
    free = _free_dimensions(spec)
    axes = [(str(axis),) for axis in range(-_rank(spec, _arguments(inputs)), 0)]
    for dims in (*((dim,) for dim in free), *combinations(free, 2), *axes):
        lengths = {_length(spec, _arguments(inputs), dim) for dim in dims}
        length = max(lengths) if len(lengths) == 1 else 0  # together where they are the same
        for size, start in [(n, at) for n in range(1, length) for at in sorted({0, length - n})]:
            smaller = dict(_arguments(inputs))
            for dim in dims:
                smaller = _cut(spec, smaller, dim, start, size)
            smaller = _within_limits(smaller, limits(spec, smaller, {}))
            candidate = {**inputs, "arguments": smaller} if "arguments" in inputs else smaller
            if _every_row_has_a_key(spec, smaller) and fails(candidate, {}):
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
        Inputs that are cut to the integers, and the integers; many a constructor refuses. Where
        there are many, they are all the smallest, or a single one is smaller than before.
    """
    ranges = [range(1, size + 1) for size in sizes.values()]
    if math.prod(sizes.values()) <= MOST_COMBINATIONS:
        smaller = [dict(zip(sizes, numbers, strict=True)) for numbers in product(*ranges)]
        smaller.sort(key=lambda c: sum(c.values()))
    else:
        smaller = [{name: min(size, most) for name, size in sizes.items()} for most in (1, 2)]
        smaller += [{**sizes, name: n} for name in sizes for n in range(1, sizes[name])]
    for candidate in smaller:
        if candidate == dict(sizes):
            continue
        cut = _arguments(inputs)
        for name, size in candidate.items():
            cut = _cut(spec, cut, name, 0, size)
        cut = _within_limits(cut, limits(spec, cut, candidate))
        yield ({**inputs, "arguments": cut} if "arguments" in inputs else cut), candidate


def limits(
    spec: ComponentSpec, inputs: Mapping[str, Any], sizes: Mapping[str, int]
) -> dict[str, tuple[int, int]]:
    """Give the smallest and the largest number that each argument of whole numbers may hold.

    Args:
        spec: says so.
        inputs: the law's inputs by name, perhaps inside a dict ``arguments``.
        sizes: the constructor's integers by name.
    """
    arguments = _arguments(inputs)
    known = {dim: size for dim in _free_dimensions(spec) if (size := _length(spec, arguments, dim))}
    known |= {name: value for name, value in arguments.items() if type(value) is int}
    found = {}
    for call in _calls(spec):
        for name, held in call.entries.items():
            between = held.limits({**known, **sizes})
            if between is not None:
                found[name] = between
    return found


def _within_limits(
    inputs: Mapping[str, Any], between: Mapping[str, tuple[int, int]]
) -> dict[str, Any]:
    fitted = dict(inputs)
    for name, (least, most) in between.items():
        value = fitted.get(name)
        if isinstance(value, Tensor) and value.dtype == torch.int64:
            fitted[name] = value.clamp(least, most)
        elif type(value) is int:
            fitted[name] = min(max(value, least), most)
    return fitted


def _calls(spec: ComponentSpec) -> tuple[CallSpec, ...]:
    return (*spec.methods.values(), spec)  # what the plain call says comes last, and counts


def _dims(spec: ComponentSpec) -> dict[str, tuple[str, ...]]:
    """Give the named dimensions of every tensor that the component or a method of it takes."""
    return {name: dims for call in _calls(spec) for name, dims in call.dims.items()}


def _masks(spec: ComponentSpec) -> dict[str, tuple[str, ...]]:
    return {name: dims for call in _calls(spec) for name, dims in call.masks.items()}


def _free_dimensions(spec: ComponentSpec) -> list[str]:
    """Give the named dimensions that no constructor fixes."""
    named = [dim for call in reversed(_calls(spec)) for dims in call.dims.values() for dim in dims]
    return [dim for dim in dict.fromkeys(named) if dim not in (*spec.example, "*shape")]


def _every_row_has_a_key(spec: ComponentSpec, inputs: Mapping[str, Any]) -> bool:
    named = [inputs.get(name) for name in (*_masks(spec), *_dims(spec))]
    masks = [m for m in named if isinstance(m, Tensor) and m.dtype == torch.bool]
    return all(bool(mask.any(-1).all()) for mask in masks)


def _rank(spec: ComponentSpec, inputs: Mapping[str, Any]) -> int:
    """Give the number of axes of an argument of any shape."""
    dims = _dims(spec)
    ranks = [v.dim() for n, v in inputs.items() if dims.get(n) == ("*shape",)]
    return max(ranks, default=0)


def _arguments(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    inner: Mapping[str, Any] = inputs.get("arguments", inputs)
    return inner


def _axis(spec: ComponentSpec, name: str, value: object, dim: str) -> int | None:
    """Say which axis of an argument has this name, counted from its end."""
    dims = _dims(spec).get(name, ())
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
    for name, dims in _masks(spec).items():
        mask = smaller.get(name)
        if not isinstance(mask, Tensor):
            continue
        # One that is the same for all heads has no dimension for them, which a constructor fixes.
        whole = mask.dim() == len(dims)
        aligned = [d for d in dims if whole or d not in spec.example][-mask.dim() :]
        for axis, named in enumerate(aligned, start=-len(aligned)):
            if named == dim and mask.shape[axis] > 1:
                mask = mask.narrow(axis, start, size).clone()
        smaller[name] = mask
    return smaller


def simplify(
    inputs: Mapping[str, Any],
    parameters: Mapping[str, Tensor],
    fails: Callable[[Mapping[str, Any], Mapping[str, Tensor]], bool],
    between: Mapping[str, tuple[int, int]] | None = None,
) -> None:
    """Replace entries by simpler ones as long as the law still fails.

    Args:
        inputs: the law's inputs by name; dicts inside are entered.
        parameters: the module's weight matrices by name.
        fails: runs the law on a candidate and says whether it still fails; it remembers the last
            candidate that does, which is the result.
        between: the smallest and the largest number that tensors of whole numbers may hold; others
            stay as they are.
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

    def simpler(path: tuple[str, ...], candidates: Iterator[Tensor]) -> None:
        for candidate in candidates:
            if torch.equal(candidate, values[path]) or attempt(path, candidate):
                return

    least = {name: numbers[0] for name, numbers in (between or {}).items()}
    for path in list(values):
        simpler(path, _whole(values[path], least.get(path[-1])))
    for path in list(values):
        for index in range(min(values[path].numel(), MOST_TRIALS)):
            simpler(path, _by_entry(values[path], index, least.get(path[-1])))


def _by_entry(value: Tensor, index: int, least: int | None) -> Iterator[Tensor]:
    """Give tensors with one entry that is simpler, the simplest first, and at last the same."""
    entry = value.flatten()[index].item()
    for simpler in _simpler(entry, least if value.dtype == torch.int64 else None):
        candidate = value.clone().contiguous()
        candidate.view(-1)[index] = simpler
        yield candidate
        if simpler == entry:
            return  # nothing that follows is simpler


def _simpler(entry: float, least: int | None) -> tuple[float, ...]:
    if isinstance(entry, bool):
        return (True,)
    if isinstance(entry, int):
        return () if least is None else tuple(n for n in (least, least + 1) if n <= entry)
    rounded = float(round(entry)) if abs(entry) < 1e6 else entry
    small = (0.0, 1.0, rounded, round(entry, 1) + 0.0)
    return tuple(n for n in small if not abs(n) > abs(entry) + 1)  # whatever is simpler than NaN


def _whole(value: Tensor, least: int | None) -> Iterator[Tensor]:
    """Give simpler tensors of the same shape, the simplest first."""
    if value.dtype == torch.bool:
        yield torch.ones_like(value)
    elif value.dtype == torch.int64:
        if least is not None:
            yield torch.full_like(value, least)
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
