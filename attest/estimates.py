"""Bounds that take calls of the component to find out, and are found out only where they decide."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

__all__ = ["Estimate"]


def _as_a_tensor(operation: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Estimate, *others: Any) -> Any:  # noqa: ANN401 - as a tensor's
        return operation(self.whole(), *map(_found_out, others))

    return method


def _reflected(operation: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Estimate, other: Any) -> Any:  # noqa: ANN401 - as a tensor's
        return operation(other, self.whole())

    return method


class Estimate:
    """A bound of which a smaller one is known at once.

    Scaled and added it stays one. Anything else that is done with it finds it out, so that a law
    may take it for the tensor that it becomes.

    Args:
        least: what it is at least.
        find: finds it out, as a tensor without dimensions.
    """

    def __init__(self, least: float, find: Callable[[], Tensor]) -> None:
        self.least = least
        self._find = find
        self._whole: Tensor | None = None

    def whole(self) -> Tensor:
        """Give the bound itself, found out once."""
        if self._whole is None:
            self._whole = self._find()
        return self._whole

    def __mul__(self, factor: Any) -> Any:  # noqa: ANN401 - as a tensor's
        if isinstance(factor, int | float) and factor >= 0:
            return Estimate(factor * self.least, lambda: factor * self.whole())
        return self.whole() * factor

    __rmul__ = __mul__

    def __add__(self, other: Any) -> Any:  # noqa: ANN401 - as a tensor's
        if isinstance(other, Estimate):
            return Estimate(self.least + other.least, lambda: self.whole() + other.whole())
        if isinstance(other, int | float) and other >= 0:
            return Estimate(self.least + other, lambda: self.whole() + other)
        return self.whole() + other

    __radd__ = __add__

    def __float__(self) -> float:
        return float(self.whole())

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a tensor has
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.whole(), name)

    __sub__, __rsub__ = _as_a_tensor(operator.sub), _reflected(operator.sub)
    __truediv__, __rtruediv__ = _as_a_tensor(operator.truediv), _reflected(operator.truediv)
    __pow__, __rpow__ = _as_a_tensor(operator.pow), _reflected(operator.pow)
    __lt__, __le__ = _as_a_tensor(operator.lt), _as_a_tensor(operator.le)
    __gt__, __ge__ = _as_a_tensor(operator.gt), _as_a_tensor(operator.ge)
    __eq__, __ne__ = _as_a_tensor(operator.eq), _as_a_tensor(operator.ne)
    __hash__ = object.__hash__
    __neg__, __abs__ = _as_a_tensor(operator.neg), _as_a_tensor(operator.abs)
    __getitem__, __bool__ = _as_a_tensor(operator.getitem), _as_a_tensor(bool)
    __len__, __iter__ = _as_a_tensor(len), _as_a_tensor(iter)

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: tuple[type, ...],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the function gives
        """Take part in any function of torch as the tensor that it becomes."""
        del types
        named = {name: _found_out(value) for name, value in (kwargs or {}).items()}
        return func(*(_found_out(value) for value in args), **named)


def _found_out(value: Any) -> Any:  # noqa: ANN401 - whatever a function is given
    if isinstance(value, list | tuple):
        return type(value)(_found_out(inner) for inner in value)
    return value.whole() if isinstance(value, Estimate) else value
