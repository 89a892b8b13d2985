"""Tensors of symbols that run through unmodified PyTorch code, so that a result can be proved.

A :class:`SymbolicTensor` answers torch's functions and methods with sympy expressions in a numpy
object array. Operations that only move entries about are carried out by torch itself, on a tensor
of positions. Algebra is sympy's.

A maximum over symbols is not known, and code that subtracts one should not depend on it: it becomes
a fresh symbol, any real number at all. What is then proved holds for every shift.

Entries may bring an algebra of their own: an :class:`Entry` answers the operators and says what its
exponential, its maximum and the like are. :mod:`attest.dependence` traces dependence that way.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from itertools import count
from typing import Any

import numpy as np
import sympy
import torch
from torch import Tensor

__all__ = [
    "Entry",
    "SymbolicTensor",
    "derivative",
    "equal",
    "symbolic_module",
    "symbols",
    "tensor",
]

Operation = Callable[..., Any]

_fresh = count()


class Entry(ABC):
    """An entry with an algebra of its own, beside the operators + − · / ** that it defines."""

    @abstractmethod
    def applied(self, function: str) -> Entry:
        """Give a function of this entry: exp, sqrt, tanh or relu."""

    @abstractmethod
    def looked_up(self, rows: Sequence[Any]) -> Any:
        """Give the entry of a table's column that this one, an unknown index, points at."""

    @abstractmethod
    def larger(self, other: Any) -> Any:
        """Give the larger of this entry and another, or a number."""

    @abstractmethod
    def smaller(self, other: Any) -> Any:
        """Give the smaller of this entry and another, or a number."""


class SymbolicTensor:
    """A tensor of sympy expressions.

    Attributes:
        entries: the expressions, a numpy object array in the tensor's shape.
    """

    dtype = torch.float64
    device = torch.device("cpu")

    def __init__(self, entries: Any) -> None:
        self.entries = np.asarray(entries, dtype=object)

    @property
    def shape(self) -> torch.Size:
        """The sizes of the dimensions."""
        return torch.Size(self.entries.shape)

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self.entries.ndim

    def dim(self) -> int:
        """Give the number of dimensions."""
        return self.entries.ndim

    def size(self, dim: int | None = None) -> Any:
        """Give the sizes, or the size of one dimension."""
        return self.shape if dim is None else self.shape[dim]

    def is_floating_point(self) -> bool:
        """Symbols stand for real numbers."""
        return True

    @classmethod
    def __torch_function__(
        cls,
        func: Operation,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Answer a function of torch.

        Raises:
            TypeError: it is not one that symbols know.
        """
        return _apply(func.__name__, args, kwargs or {})

    def __getattr__(self, name: str) -> Any:
        if name in _ATTRIBUTES:
            return _moved(lambda positions: getattr(positions, name), self)
        if name not in _OPERATIONS and name not in _MOVES:
            raise AttributeError(f"symbols do not know the operation {name!r}")
        return lambda *args, **kwargs: _apply(name, (self, *args), kwargs)

    def __getitem__(self, index: Any) -> Any:
        return _moved(lambda positions: positions[index], self)

    def __add__(self, other: Any) -> SymbolicTensor:
        return _entrywise(lambda a, b: a + b, self, other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> SymbolicTensor:
        return _entrywise(lambda a, b: a - b, self, other)

    def __rsub__(self, other: Any) -> SymbolicTensor:
        return _entrywise(lambda a, b: b - a, self, other)

    def __mul__(self, other: Any) -> SymbolicTensor:
        return _entrywise(lambda a, b: a * b, self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> SymbolicTensor:
        return _entrywise(lambda a, b: a / b, self, other)

    def __rtruediv__(self, other: Any) -> SymbolicTensor:
        return _entrywise(lambda a, b: b / a, self, other)

    def __pow__(self, other: Any) -> SymbolicTensor:
        return _entrywise(lambda a, b: a**b, self, other)

    def __rpow__(self, other: Any) -> SymbolicTensor:
        return _entrywise(lambda a, b: b**a, self, other)

    def __neg__(self) -> SymbolicTensor:
        return SymbolicTensor(-self.entries)

    def __matmul__(self, other: Any) -> SymbolicTensor:
        return SymbolicTensor(np.matmul(self.entries, _lift(other)))

    def __rmatmul__(self, other: Any) -> SymbolicTensor:
        return SymbolicTensor(np.matmul(_lift(other), self.entries))

    def __repr__(self) -> str:
        return f"SymbolicTensor({self.entries.tolist()})"


def symbols(name: str, *shape: int) -> SymbolicTensor:
    """Make a tensor of real symbols, named after their indices: ``q_0_1``."""
    entries = np.empty(shape, dtype=object)
    for index in np.ndindex(*shape):
        entries[index] = sympy.Symbol("_".join([name, *map(str, index)]), real=True)
    return SymbolicTensor(entries)


def tensor(entries: Any) -> SymbolicTensor:
    """Make a tensor of nested lists of expressions and numbers."""
    return SymbolicTensor(np.vectorize(_exact, otypes=[object])(np.asarray(entries, dtype=object)))


def symbolic_module(
    cls: Callable[..., Any],
    *arguments: int,
    values: Mapping[str, SymbolicTensor] | None = None,
    make: Callable[..., SymbolicTensor] = symbols,
) -> tuple[Any, dict[str, SymbolicTensor]]:
    """Construct a module whose parameters are symbols.

    Args:
        cls: the module's class.
        arguments: what its constructor takes.
        values: parameters by name that are to be something else.
        make: makes all others from a name and sizes.

    Returns:
        The module, and its parameters by name; ``query.weight`` is made of ``query_weight_i_j``.
    """
    module = cls(*arguments).eval()
    parameters: dict[str, SymbolicTensor] = {}
    for name, parameter in list(module.named_parameters()):
        given = (values or {}).get(name)
        own = make(name.replace(".", "_"), *parameter.shape) if given is None else given
        parameters[name] = own
        owner = module.get_submodule(name.rpartition(".")[0])
        last = name.rpartition(".")[2]
        del owner._parameters[last]  # noqa: SLF001 - a module takes nothing but a Parameter here
        object.__setattr__(owner, last, own)
    return module, parameters


def equal(left: SymbolicTensor, right: SymbolicTensor) -> bool:
    """Decide whether all entries are equal for all values of their symbols.

    Each exponential of a product is taken for a symbol of its own, which makes the entries ratios
    of polynomials; those are equal when cross-multiplying leaves nothing.

    Raises:
        ValueError: the shapes differ.
    """
    if left.shape != right.shape:
        raise ValueError(f"shapes {tuple(left.shape)} and {tuple(right.shape)} differ")
    pairs = zip(left.entries.flatten(), right.entries.flatten(), strict=True)
    return all(_same(sympy.sympify(a), sympy.sympify(b)) for a, b in pairs)


def _same(left: sympy.Expr, right: sympy.Expr) -> bool:
    known: dict[sympy.Expr, sympy.Symbol] = {}
    (top, bottom), (other_top, other_bottom) = (
        sympy.fraction(sympy.together(_rational(side, known))) for side in (left, right)
    )
    return bool(sympy.expand(top * other_bottom - other_top * bottom) == 0)


def _rational(expression: sympy.Expr, known: dict[sympy.Expr, sympy.Symbol]) -> sympy.Expr:
    """Replace e^(a + b) by a product of symbols, one for e^a and one for e^b."""

    def replaced(exponential: sympy.Expr) -> sympy.Expr:
        product = sympy.Integer(1)
        for term in sympy.Add.make_args(sympy.expand(exponential.args[0])):
            factor, rest = term.as_coeff_Mul()
            symbol = sympy.Symbol(f"exp_{len(known)}", positive=True)
            product *= known.setdefault(rest / factor.q, symbol) ** factor.p
        return product

    found = expression.atoms(sympy.exp)
    return expression.xreplace({exponential: replaced(exponential) for exponential in found})


def derivative(expressions: SymbolicTensor, by: sympy.Symbol) -> SymbolicTensor:
    """Differentiate each entry by a symbol.

    A maximum that was subtracted depends on the symbol too. Where the result does not depend on
    which number it stands for, as it must not, its own derivative drops out.
    """
    return SymbolicTensor(
        np.vectorize(lambda entry: sympy.diff(entry, by), otypes=[object])(expressions.entries)
    )


def _exact(value: Any) -> sympy.Expr:
    """Read a number as what it rounds: a whole number, or the root of one, or one over it."""
    if isinstance(value, sympy.Basic | Entry):
        return value
    number = float(value)
    if not math.isfinite(number):
        return sympy.sympify(number)
    for power in (1, 2, -1, -2):
        whole = number**power if number else 0.0
        if abs(whole) < 1e6 and math.isclose(whole, round(whole), rel_tol=1e-14):
            root = sympy.Integer(round(whole)) ** sympy.Rational(1, power)
            return root if number >= 0 else -abs(root)
    return sympy.Rational(number)


def _lift(value: Any) -> Any:
    if isinstance(value, SymbolicTensor):
        return value.entries
    if isinstance(value, Tensor):
        value = value.detach().numpy()
    return np.vectorize(_exact, otypes=[object])(np.asarray(value, dtype=object))


def _entrywise(operation: Operation, *operands: Any) -> SymbolicTensor:
    return SymbolicTensor(operation(*(_lift(operand) for operand in operands)))


def _mapped(function: Operation) -> Operation:
    return lambda x: SymbolicTensor(np.vectorize(function, otypes=[object])(_lift(x)))


def _moved(move: Operation, x: SymbolicTensor) -> Any:
    """Move entries as torch moves their positions."""
    positions = move(torch.arange(x.entries.size).view(x.shape))
    if isinstance(positions, tuple | list):
        return tuple(_taken(x, p) for p in positions)
    return _taken(x, positions)


def _taken(x: SymbolicTensor, positions: Tensor) -> SymbolicTensor:
    return SymbolicTensor(x.entries.reshape(-1)[positions.numpy()])


def _joined(name: str) -> Operation:
    join = getattr(np, {"cat": "concatenate"}.get(name, name))

    def joined(tensors: Sequence[Any], dim: int = 0) -> SymbolicTensor:
        return SymbolicTensor(join([_lift(t) for t in tensors], axis=dim))

    return joined


def _sum(x: Any, dim: Any = None, keepdim: bool = False) -> SymbolicTensor:  # noqa: FBT001, FBT002
    return SymbolicTensor(np.sum(_lift(x), axis=dim, keepdims=keepdim))


def _function(name: str, symbolic: Operation) -> Operation:
    """Give a function that entries with an algebra of their own answer themselves."""
    return lambda e: e.applied(name) if isinstance(e, Entry) else symbolic(e)


_exp = _function("exp", sympy.exp)


def _brings_its_algebra(x: Any) -> bool:
    return any(isinstance(entry, Entry) for entry in _lift(x).flat)


def _larger(one: Any, other: Any) -> Any:
    if isinstance(one, Entry):
        return one.larger(other)
    return other.larger(one) if isinstance(other, Entry) else sympy.Max(one, other)


def _smaller(one: Any, other: Any) -> Any:
    if isinstance(one, Entry):
        return one.smaller(other)
    return other.smaller(one) if isinstance(other, Entry) else sympy.Min(one, other)


def _amax(x: Any, dim: int, keepdim: bool = False) -> SymbolicTensor:  # noqa: FBT001, FBT002
    if _brings_its_algebra(x):
        largest = np.apply_along_axis(lambda row: reduce(_larger, row), dim, _lift(x))
        return SymbolicTensor(np.expand_dims(largest, dim) if keepdim else largest)
    entries = np.max(np.zeros(_lift(x).shape), axis=dim, keepdims=keepdim)
    names = [sympy.Dummy(f"m{next(_fresh)}", real=True) for _ in range(entries.size)]
    return SymbolicTensor(np.array(names, dtype=object).reshape(entries.shape))


def _softmax(x: Any, dim: int, dtype: Any = None) -> Any:  # noqa: ARG001 - torch's
    if _brings_its_algebra(x):  # there is a maximum to subtract, as in every softmax that is used
        x = x - _amax(x, dim, keepdim=True)
    exponentials = _mapped(_exp)(x)
    return exponentials / _sum(exponentials, dim, keepdim=True)


def _relu(x: sympy.Expr) -> sympy.Expr:
    """Give max(0, x) as (x + |x|) / 2, in which positive factors move out of the absolute value."""
    return (x + sympy.Abs(x)) / 2


def _where(condition: Tensor, yes: Any, no: Any) -> SymbolicTensor:
    return SymbolicTensor(np.where(condition.numpy(), _lift(yes), _lift(no)))


def _masked_fill(x: SymbolicTensor, mask: Tensor, value: Any) -> SymbolicTensor:
    return _where(mask.expand(x.shape), value, x)


def _linear(x: Any, weight: Any, bias: Any = None) -> SymbolicTensor:
    result = SymbolicTensor(np.matmul(_lift(x), np.swapaxes(_lift(weight), -1, -2)))
    return result if bias is None else result + bias


def _logsumexp(x: Any, dim: int, keepdim: bool = False) -> SymbolicTensor:  # noqa: FBT001, FBT002
    return _mapped(_function("log", sympy.log))(_sum(_mapped(_exp)(x), dim, keepdim))  # type: ignore[no-any-return]


def _sigmoid(x: Any) -> SymbolicTensor:
    return _entrywise(lambda e: 1 / (1 + e), _mapped(_exp)(-x))


def _new_zeros(_: Any, *shape: Any, **__: Any) -> SymbolicTensor:
    sizes = shape if shape and isinstance(shape[0], int) else shape[0]
    return SymbolicTensor(np.zeros(tuple(sizes), dtype=int))


def _clamp(x: Any, min: Any = None, max: Any = None) -> SymbolicTensor:  # noqa: A002 - torch's
    result = _lift(x)
    if min is not None:
        result = np.vectorize(lambda e: _larger(e, _exact(min)), otypes=[object])(result)
    if max is not None:
        result = np.vectorize(lambda e: _smaller(e, _exact(max)), otypes=[object])(result)
    return SymbolicTensor(result)


def _embedding(tokens: Any, weight: Any, *_: Any, **__: Any) -> SymbolicTensor:
    """Look up rows of a table; an unknown token may point at any."""
    table = _lift(weight)
    if not isinstance(tokens, SymbolicTensor):
        return SymbolicTensor(table[tokens.numpy()])
    found = np.empty((*tokens.shape, table.shape[1]), dtype=object)
    for index in np.ndindex(*found.shape):
        token: Any = tokens.entries[index[:-1]]
        found[index] = token.looked_up(table[:, index[-1]])
    return SymbolicTensor(found)


_ATTRIBUTES = {"mT", "T", "data"}
_MOVES = {
    "chunk", "clone", "contiguous", "detach", "expand", "flatten", "flip", "gather", "movedim",
    "permute", "repeat", "reshape", "roll", "split", "squeeze", "swapaxes", "transpose", "unbind",
    "unflatten", "unsqueeze", "view",
}  # fmt: skip
_OPERATIONS: dict[str, Operation] = {
    "add": lambda a, b: _entrywise(lambda x, y: x + y, a, b),
    "sub": lambda a, b: _entrywise(lambda x, y: x - y, a, b),
    "mul": lambda a, b: _entrywise(lambda x, y: x * y, a, b),
    "div": lambda a, b: _entrywise(lambda x, y: x / y, a, b),
    "__rsub__": lambda a, b: _entrywise(lambda x, y: y - x, a, b),
    "amax": _amax,
    "cat": _joined("cat"),
    "clamp": _clamp,
    "double": lambda x: x,
    "einsum": lambda equation, *xs: SymbolicTensor(np.einsum(equation, *map(_lift, xs))),
    "embedding": _embedding,
    "exp": _mapped(_exp),
    "linear": _linear,
    "logsumexp": _logsumexp,
    "masked_fill": _masked_fill,
    "matmul": lambda a, b: SymbolicTensor(np.matmul(_lift(a), _lift(b))),
    "mean": lambda x, dim, keepdim=False: _sum(x, dim, keepdim) / x.shape[dim],
    "neg": lambda x: -x,
    "new_zeros": _new_zeros,
    "relu": _mapped(_function("relu", lambda x: _relu(sympy.factor(x)))),
    "sigmoid": _sigmoid,
    "softmax": _softmax,
    # one form for each root
    "sqrt": _mapped(_function("sqrt", lambda x: sympy.sqrt(sympy.expand(x)))),
    "square": lambda x: x * x,
    "stack": _joined("stack"),
    "sum": _sum,
    "tanh": _mapped(_function("tanh", sympy.tanh)),
    "to": lambda x, *_, **__: x,
    "where": _where,
    "zeros_like": lambda x: SymbolicTensor(np.zeros(x.shape, dtype=int)),
}
_OPERATIONS |= {"bmm": _OPERATIONS["matmul"], "true_divide": _OPERATIONS["div"]}
_OPERATIONS |= {f"__{n}__": _OPERATIONS[n] for n in ("add", "sub", "mul", "matmul")}
_OPERATIONS |= {"__truediv__": _OPERATIONS["div"], "__rmatmul__": lambda a, b: b @ a}
_OPERATIONS |= {"cos": _mapped(sympy.cos), "sin": _mapped(sympy.sin)}


def _apply(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if name in _OPERATIONS:
        return _OPERATIONS[name](*args, **kwargs)
    if name in _MOVES:
        source, *rest = args
        return _moved(lambda positions: getattr(positions, name)(*rest, **kwargs), source)
    raise TypeError(f"symbols do not know the operation {name!r}")
