"""What a result can depend on, for all values at once.

Tensors whose entries are not numbers but sets, the inputs that each depends on, run through
unmodified PyTorch code. A sum or a product depends on what its parts depend on; no subtraction, no
cancellation and no training takes anything away again. Constants that the code itself puts in, such
as the −∞ and the 0 of a mask, stay constants, and so take away what they cover:

    −∞ + s = −∞      exp(−∞) = 0      0 · v = 0      0 / t = 0      max(−∞, s) = s

What this proves is independence. An input outside a result's set has no influence on it, whatever
the inputs and the weights are, as long as they and everything computed from them are finite and
nothing is divided by zero: 0 · ∞ is NaN, and not 0. The same rules hold of floating point numbers,
so that the result is the same bit by bit (up to the sign of a zero) when such an input changes.
Code that branches on a value cannot be traced, and is refused.

What it does not prove is dependence. An input inside the set may still have no influence: x − x
depends on x here. Where a set is claimed to be exactly right, each of its members needs a witness,
such as one gradient that is not zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from attest.symbolic import Entry, SymbolicTensor, symbolic_module

__all__ = ["Traced", "dependence", "reach", "traced", "traced_module", "unknown"]

Input = tuple[Any, ...]
"""The name of an input: its tensor's name, then its index."""

_NOTHING: frozenset[Input] = frozenset()


class Traced(Entry):
    """A number that is unknown but finite, or a constant.

    Attributes:
        inputs: what it may depend on.
        value: the constant that it is; None for an unknown number.
    """

    __slots__ = ("inputs", "value")

    def __init__(self, inputs: frozenset[Input], value: float | None = None) -> None:
        self.inputs = inputs
        self.value = value

    def _with(self, *others: Traced) -> Traced:
        return Traced(self.inputs.union(*(other.inputs for other in others)))

    def __add__(self, other: Any) -> Traced:
        other = _traced(other)
        for one, rest in ((self, other), (other, self)):
            if one.value is not None and rest.value is not None:
                return _constant(one.value + rest.value)
            if one.value == 0:
                return rest
            if one.value is not None and math.isinf(one.value):
                return one
        return self._with(other)

    __radd__ = __add__

    def __neg__(self) -> Traced:
        return self if self.value is None else _constant(-self.value)

    def __sub__(self, other: Any) -> Traced:
        return self + -_traced(other)

    def __rsub__(self, other: Any) -> Traced:
        return _traced(other) + -self

    def __mul__(self, other: Any) -> Traced:
        other = _traced(other)
        for one, rest in ((self, other), (other, self)):
            if one.value is not None and rest.value is not None:
                return _constant(one.value * rest.value)
            if one.value == 0:
                return one
            if one.value is not None and not math.isfinite(one.value):
                raise ValueError(f"{one.value} times an unknown number may be anything")
        return self._with(other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Traced:
        other = _traced(other)
        if other.value is None:
            return self * Traced(other.inputs)
        return self * _constant(1 / other.value)

    def __rtruediv__(self, other: Any) -> Traced:
        return _traced(other) / self

    def __pow__(self, exponent: Any) -> Traced:
        power = _traced(exponent)
        if self.value is not None and power.value is not None:
            return _constant(self.value**power.value)
        return self._with(power)

    def __bool__(self) -> NoReturn:
        raise TypeError("code that branches on a value cannot be traced")

    def _compared(self, other: Any) -> NoReturn:
        raise TypeError(f"code that compares a value with {other!r} cannot be traced")

    __lt__ = __le__ = __gt__ = __ge__ = _compared

    def applied(self, function: str) -> Traced:
        """Give a function of it, which depends on the same."""
        if self.value is None:
            return self
        return _constant(_FUNCTIONS[function](self.value))

    def looked_up(self, rows: Sequence[Any]) -> Traced:
        """Give an unknown row of a column: it depends on the index and on every row."""
        return self._with(*map(_traced, rows))

    def larger(self, other: Any) -> Traced:
        """Give the larger of two: the other where one is −∞."""
        return self._extreme(_traced(other), max, -math.inf)

    def smaller(self, other: Any) -> Traced:
        """Give the smaller of two: the other where one is ∞."""
        return self._extreme(_traced(other), min, math.inf)

    def _extreme(self, other: Traced, choose: Callable[..., float], worst: float) -> Traced:
        if self.value is not None and other.value is not None:
            return _constant(choose(self.value, other.value))
        for one, rest in ((self, other), (other, self)):
            if one.value is not None and math.isinf(one.value):
                return rest if one.value == worst else one
        return self._with(other)

    def __repr__(self) -> str:
        return (
            f"Traced({set(self.inputs) or '{}'}{'' if self.value is None else f' = {self.value}'})"
        )


_FUNCTIONS: dict[str, Callable[[float], float]] = {
    "exp": math.exp,
    "relu": lambda x: max(0.0, x),
    "sqrt": math.sqrt,
    "tanh": math.tanh,
}


def _constant(value: float) -> Traced:
    if math.isnan(value):
        raise ValueError("a constant of the code is NaN")
    return Traced(_NOTHING, value)


def _traced(value: Any) -> Traced:
    return value if isinstance(value, Traced) else _constant(float(value))


def traced(name: str, *shape: int, axes: int | None = None) -> SymbolicTensor:
    """Make a tensor of unknown numbers, each an input, or one to each index of the first axes.

    Args:
        name: the tensor's name; the input at an index is ``(name, *index)``.
        shape: its sizes.
        axes: how many axes tell inputs apart: for tokens (B, L, D), 2 make each token one input,
            whatever its width. By default all.
    """
    entries = np.empty(shape, dtype=object)
    for index in np.ndindex(*shape):
        entries[index] = Traced(frozenset({(name, *index[:axes])}))
    return SymbolicTensor(entries)


def unknown(*shape: int) -> SymbolicTensor:
    """Make a tensor of unknown numbers that nobody asks about, such as weights."""
    entries = np.empty(shape, dtype=object)
    entries.fill(Traced(_NOTHING))
    return SymbolicTensor(entries)


def traced_module(cls: Callable[..., Any], *arguments: int, weights: bool = False) -> Any:
    """Construct a module with unknown weights.

    Args:
        cls: the module's class.
        arguments: what its constructor takes.
        weights: whether each parameter is an input too, named by what ``named_parameters`` calls
            it with underscores for dots, as ``("query_weight",)``.
    """

    def make(name: str, *shape: int) -> SymbolicTensor:
        return traced(name, *shape, axes=0) if weights else unknown(*shape)

    return symbolic_module(cls, *arguments, make=make)[0]


def dependence(result: SymbolicTensor, axes: int | None = None) -> Any:
    """Give what each entry of a result may depend on, as a numpy array of sets of inputs.

    Args:
        result: what the code gave.
        axes: how many of the first axes to keep; entries along the others are put together.
    """
    kept = result.shape if axes is None else result.shape[:axes]
    found = np.empty(kept, dtype=object)
    for index in np.ndindex(*kept):
        inside = np.asarray(result.entries[index], dtype=object).flat
        found[index] = _NOTHING.union(*(e.inputs for e in inside if isinstance(e, Traced)))
    return found


def reach(result: SymbolicTensor, source: SymbolicTensor, axes: int = 2) -> Tensor:
    """Say which token of a result may depend on which token of a source.

    Args:
        result: what the code gave, such as (B, L, D).
        source: what :func:`traced` made of the same axes, such as (B, S, D).
        axes: how many of the first axes of both tell tokens apart.

    Returns:
        Booleans, (B, L, B, S): whether the token at the first index may depend on that at the
        second.
    """
    sets, inputs = dependence(result, axes), dependence(source, axes)
    rows = [[bool(own & inside) for inside in inputs.flat] for own in sets.flat]
    return torch.tensor(rows).view(*sets.shape, *inputs.shape)
