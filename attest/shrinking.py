"""Simplifying the entries of a counterexample, once its shapes are as small as they get.

Hypothesis shrinks what it drew: sizes, regimes and seeds. A tensor filled from a seed stays full
of digits. Here its entries are replaced by zeroes, ones and small integers while the law goes on
failing in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["simplify"]

MOST_TRIALS = 250


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
        changed = {**values, path: candidate}
        matrices = {p[1]: v for p, v in changed.items() if p[0] == "parameters"}
        if fails(_replaced(inputs, changed, ("inputs",)), matrices):
            values[path] = candidate
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
    for simpler in (0.0, 1.0, float(round(entry)) if abs(entry) < 1e6 else entry, round(entry, 1)):
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
    elif value.is_floating_point():
        yield torch.zeros_like(value)
        yield torch.ones_like(value)
        if value.dim() >= 2:
            yield torch.eye(*value.shape[-2:], dtype=value.dtype).expand(value.shape).clone()
        yield value.clamp(-9, 9).round()
        yield (value * 10).round() / 10


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
