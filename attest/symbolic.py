"""Tensors of symbols: PyTorch code runs on them unchanged, and what comes out can be proved.

A :class:`SymbolicTensor` holds sympy expressions and answers the torch operations that attention is
written in. Running an implementation on it gives the formula which that code computes, in exact
arithmetic and for all inputs of those shapes at once, and :func:`equal` decides whether two such
formulas are the same.

Three conventions make that work:

- The maximum of expressions that contain symbols is a fresh symbol that stands for any real number.
  Code that subtracts it is proved right for every shift, and the symbol cancels.
- A score of -∞ is sympy's -oo, so that what is masked out has a weight of exactly zero.
- A float is read as the simple number it is a rounding of: ``math.sqrt(2)`` is √2, 0.1 is 1/10.
  Any other float stands for itself.

Equality is decided twice. A point at which two expressions differ, evaluated with error bounds,
proves that they are not equal; that they are is proved by writing both as ratios of sums of
products of symbols and exponentials, in which a difference of zero is visible.
"""

from __future__ import annotations

import inspect
import math
import operator
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache, partial
from typing import Any, NamedTuple, NoReturn, TypeVar

import numpy as np
import sympy
import torch
from mpmath.ctx_iv import MPIntervalContext  # type: ignore[import-untyped]
from torch import Tensor, nn

__all__ = [
    "SymbolicTensor",
    "Undecided",
    "derivative",
    "equal",
    "symbolic_module",
    "symbols",
    "tensor",
]

M = TypeVar("M", bound=nn.Module)
# Of sympy expressions, and of Any so that numpy's types do not stand between.
_Entries = np.ndarray[Any, Any]

# Between two floats near a simple fraction there is room for few others: up to this size of
# numerator and denominator, a float is not near one by chance.
_LARGEST_IN_SIMPLE = 4096
_ROUNDINGS = 4
# Points at which to look for a difference, and the precision there.
_POINTS = 4
_BITS = 200
# Raising a sum to a higher power than this would write out more terms than are worth comparing.
_LARGEST_POWER = 12
_LARGEST_DIVISION = 20_000


class Undecided(ArithmeticError):  # noqa: N818 - an outcome, not a mistake
    """Two expressions agree wherever they were evaluated, and yet are not proved equal."""


def _exact(value: Any, eps: float = 2.0**-52) -> sympy.Expr:
    """Read a number or an expression as an exact expression.

    Args:
        value: a Python, numpy or sympy number, or a sympy expression in real symbols.
        eps: the spacing of floats at one, in the dtype that the value was rounded to.

    Raises:
        TypeError: the value is neither.
        ValueError: it is not real, or a symbol in it is not declared real.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool | int):
        return sympy.Integer(int(value))
    if isinstance(value, float):
        return _recognised(value, eps)
    if isinstance(value, Fraction):
        return sympy.Rational(value)
    if not isinstance(value, sympy.Expr):
        raise TypeError(f"not a number or a sympy expression: {type(value).__name__} {value!r}")
    for symbol in value.free_symbols:
        if not symbol.is_extended_real:
            raise ValueError(f"the symbol {symbol} is not real; declare it with real=True")
    if value.is_extended_real is False:
        raise ValueError(f"not a real number: {value}")
    floats = value.atoms(sympy.Float)
    return value.xreplace({number: _recognised(float(number), eps) for number in floats})


@lru_cache(maxsize=4096)
def _recognised(value: float, eps: float) -> sympy.Expr:
    """Give the simple fraction, or root of one, that a float is a rounding of, or the float."""
    if math.isnan(value):
        return sympy.nan
    if math.isinf(value):
        return sympy.oo if value > 0 else -sympy.oo
    exact = Fraction(value)
    limit = min(_LARGEST_IN_SIMPLE, math.isqrt(int(1e-3 / eps)))
    if exact.denominator == 1 or limit < 1:
        return sympy.Rational(exact)
    for power in (1, 2):
        raised = abs(exact) ** power
        simple = raised.limit_denominator(limit)
        near = abs(simple - raised) <= power * _ROUNDINGS * Fraction(eps) * raised
        if near and 0 < simple.numerator <= limit:
            return (1 if value > 0 else -1) * sympy.Rational(simple) ** sympy.Rational(1, power)
    return sympy.Rational(exact)


class _Largest(sympy.Dummy):  # type: ignore[misc]  # sympy is untyped
    """The maximum of some expressions, of which no more is known than that it is real."""

    __slots__ = ("of",)
    of: frozenset[sympy.Expr]


@lru_cache(maxsize=4096)
def _largest_of(entries: frozenset[sympy.Expr]) -> sympy.Expr:
    # Cached, so that code which takes the same maximum twice gets the same number twice.
    shift = _Largest("max", real=True)
    shift.of = entries
    return shift


def _maximum(entries: Sequence[sympy.Expr]) -> sympy.Expr:
    candidates = frozenset(entries) - {-sympy.oo}
    if sympy.nan in candidates:
        return sympy.nan
    if sympy.oo in candidates:
        return sympy.oo
    if not candidates:
        return -sympy.oo
    if len(candidates) == 1:
        return next(iter(candidates))
    if all(entry.is_number for entry in candidates):
        return sympy.Max(*candidates)
    return _largest_of(candidates)


def _divided(dividend: sympy.Expr, divisor: sympy.Expr) -> sympy.Expr:
    if divisor != 0:
        return dividend / divisor
    if dividend.is_zero or dividend is sympy.nan:
        return sympy.nan
    if dividend.is_extended_positive or dividend.is_extended_negative:
        return sympy.oo if dividend.is_extended_positive else -sympy.oo
    raise TypeError(f"div on symbols: {dividend} divided by zero is undetermined")


def _raised(base: sympy.Expr, exponent: sympy.Expr) -> sympy.Expr:
    if base == 0 and exponent.is_negative:
        return sympy.oo
    return _real(base**exponent)


def _logarithm(argument: sympy.Expr) -> sympy.Expr:
    return -sympy.oo if argument == 0 else _real(sympy.log(argument))


def _real(number: sympy.Expr) -> sympy.Expr:
    """Give what floating point gives for a result that is not a real number: NaN."""
    return sympy.nan if number.is_extended_real is False else number


def _decided(relation: Any, left: sympy.Expr, right: sympy.Expr) -> bool:
    if sympy.nan in {left, right}:
        return relation is sympy.Ne
    answer = relation(left, right)
    if answer in {sympy.true, sympy.false}:
        return bool(answer)
    raise TypeError(f"a comparison of undetermined symbols: {answer}")


class _Largests(NamedTuple):
    """What ``max`` along an axis gives: the values, and indices that nobody can know."""

    values: SymbolicTensor
    indices: _Undetermined


class _Undetermined:
    """The indices of a maximum of symbols: may be ignored, not used."""

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):
            raise AttributeError(name)
        raise TypeError(f"{name} on the indices of a maximum of symbols, which are undetermined")

    @classmethod
    def __torch_function__(cls, func: Any, *_: Any, **__: Any) -> NoReturn:
        name = getattr(func, "__name__", func)
        raise TypeError(f"{name} on the indices of a maximum of symbols, which are undetermined")


class SymbolicTensor:
    """A tensor whose entries are sympy expressions; not a ``torch.Tensor``, but it acts like one.

    It works in operators, in methods and in ``torch`` and ``torch.nn.functional`` functions, mixed
    with numbers and real tensors: arithmetic, comparisons, matmul, einsum, linear, exp, tanh, log,
    sqrt, sigmoid, sum, mean, amax, max along an axis, softmax, logsumexp, masked_fill, where, tril,
    triu, cat, stack, and all that only moves entries around: indexing, views, transposes, chunks
    and the like. Views share their entries with what they were taken from, as in torch, so code
    that writes into a tensor means the same. ``item()`` gives the sympy expression.

    Comparisons and ``bool`` work where the answer does not depend on the symbols.

    Any other operation raises a TypeError that names it. A shape that does not fit raises what
    torch raises.

    Args:
        entries: a nested list of numbers and sympy expressions in real symbols, or an array, a
            torch tensor or a symbolic tensor, which is copied.

    Raises:
        TypeError: an entry is neither a number nor an expression.
        ValueError: the list is ragged, or a symbol is not declared real.
    """

    # numpy's numbers and arrays leave the operators to this class.
    __array_ufunc__ = None

    def __init__(self, entries: Any) -> None:
        array = _array(entries)
        # The positions are a torch tensor of the tensor's shape that says where in the storage each
        # entry lies. Torch's own views of the positions are then the views of this tensor.
        self._storage: _Entries = array.reshape(-1)
        self._positions: Tensor = torch.arange(array.size).reshape(array.shape)

    @property
    def entries(self) -> _Entries:
        """A copy of the expressions, as a numpy array of objects in this tensor's shape."""
        entries: _Entries = self._storage[self._positions.reshape(-1).numpy()]
        return entries.reshape(self.shape)

    @property
    def shape(self) -> torch.Size:
        """The shape."""
        return self._positions.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self._positions.ndim

    @property
    def dtype(self) -> torch.dtype:
        """Always float64: what code that asks for a dtype should make its constants in."""
        return torch.float64

    @property
    def device(self) -> torch.device:
        """Always the CPU."""
        return torch.device("cpu")

    @property
    def requires_grad(self) -> bool:
        """Always False: derivatives come from :func:`derivative`."""
        return False

    @property
    def data(self) -> SymbolicTensor:
        """A view of all entries."""
        return _rearranged(self, self._positions.detach())

    @property
    def T(self) -> SymbolicTensor:  # noqa: N802 - torch's name
        """A view with the axes in reverse order."""
        return _rearranged(self, self._positions.permute(*reversed(range(self.ndim))))

    @property
    def mT(self) -> SymbolicTensor:  # noqa: N802 - torch's name
        """A view with the last two axes swapped.

        Raises:
            RuntimeError: there are fewer than two axes.
        """
        return _rearranged(self, self._positions.mT)

    def is_floating_point(self) -> bool:
        """Say True: symbols stand for floating point numbers."""
        return True

    def simplified(self) -> SymbolicTensor:
        """Give the same tensor with every entry as a ratio without what cancels.

        The symbols that stand for maxima are gone where the entry does not depend on them.
        """
        algebra = _Algebra()
        simplify = np.frompyfunc(algebra.simplified, 1, 1)
        return _from_array(simplify(self.entries))

    def free_symbols(self, index: Any = ...) -> set[sympy.Symbol]:
        """Give the symbols that entries still contain when simplified.

        An entry depends on no other symbol. A maximum that does not cancel counts as the symbols
        it is a maximum of.

        Args:
            index: what to look at, as in ``tensor[index]``; by default everything.

        Raises:
            IndexError: there is no such entry.
        """
        found: set[sympy.Symbol] = set()
        for entry in self[index].simplified().entries.flat:
            found |= _symbols_behind(entry)
        return found

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Answer a torch function or a real tensor's method that got a symbolic tensor."""
        return _call(getattr(func, "__name__", str(func)), func, args, dict(kwargs or {}))

    def __getattr__(self, name: str) -> Any:
        method = getattr(Tensor, name, None)
        if name.startswith("_") or not callable(method):
            raise AttributeError(f"a SymbolicTensor has no attribute {name!r}")

        def call(*args: Any, **kwargs: Any) -> Any:
            return _call(name, method, (self, *args), kwargs)

        return call

    def __getitem__(self, index: Any) -> SymbolicTensor:
        return _rearranged(self, self._positions[index])

    def __setitem__(self, index: Any, value: Any) -> None:
        _write(self, value, self._positions[index])

    def __len__(self) -> int:
        return len(self._positions)

    def __iter__(self) -> Iterator[SymbolicTensor]:
        return iter([_rearranged(self, positions) for positions in self._positions])

    def __bool__(self) -> bool:
        return _decided(sympy.Ne, self.item(), sympy.S.Zero)

    def __repr__(self) -> str:
        return f"SymbolicTensor({self.entries.tolist()})"

    __hash__ = object.__hash__

    def __add__(self, other: Any) -> SymbolicTensor:
        return _elementwise(operator.add, self, other)

    def __radd__(self, other: Any) -> SymbolicTensor:
        return _elementwise(operator.add, other, self)

    def __iadd__(self, other: Any) -> SymbolicTensor:  # noqa: PYI034 - Self adds nothing here
        return _write(self, self + other)

    def __sub__(self, other: Any) -> SymbolicTensor:
        return _elementwise(operator.sub, self, other)

    def __rsub__(self, other: Any) -> SymbolicTensor:
        return _elementwise(operator.sub, other, self)

    def __isub__(self, other: Any) -> SymbolicTensor:  # noqa: PYI034
        return _write(self, self - other)

    def __mul__(self, other: Any) -> SymbolicTensor:
        return _elementwise(operator.mul, self, other)

    def __rmul__(self, other: Any) -> SymbolicTensor:
        return _elementwise(operator.mul, other, self)

    def __imul__(self, other: Any) -> SymbolicTensor:  # noqa: PYI034
        return _write(self, self * other)

    def __truediv__(self, other: Any) -> SymbolicTensor:
        return _elementwise(_divided, self, other)

    def __rtruediv__(self, other: Any) -> SymbolicTensor:
        return _elementwise(_divided, other, self)

    def __itruediv__(self, other: Any) -> SymbolicTensor:  # noqa: PYI034
        return _write(self, self / other)

    def __pow__(self, other: Any) -> SymbolicTensor:
        return _elementwise(_raised, self, other)

    def __rpow__(self, other: Any) -> SymbolicTensor:
        return _elementwise(_raised, other, self)

    def __matmul__(self, other: Any) -> SymbolicTensor:
        return _matmul(self, other)

    def __rmatmul__(self, other: Any) -> SymbolicTensor:
        return _matmul(other, self)

    def __neg__(self) -> SymbolicTensor:
        return _elementwise(operator.neg, self)

    def __pos__(self) -> SymbolicTensor:
        return self

    def __abs__(self) -> SymbolicTensor:
        return _elementwise(sympy.Abs, self)

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]  # entrywise, as in torch
        return _compared(sympy.Eq, self, other)

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        return _compared(sympy.Ne, self, other)

    def __lt__(self, other: Any) -> Tensor:
        return _compared(sympy.Lt, self, other)

    def __le__(self, other: Any) -> Tensor:
        return _compared(sympy.Le, self, other)

    def __gt__(self, other: Any) -> Tensor:
        return _compared(sympy.Gt, self, other)

    def __ge__(self, other: Any) -> Tensor:
        return _compared(sympy.Ge, self, other)


def symbols(name: str, *shape: int) -> SymbolicTensor:
    """Give a tensor of this shape whose entries are the real symbols ``name_i_j``, i and j from 0.

    Raises:
        ValueError: a length is negative.
    """
    entries: _Entries = np.empty(shape, dtype=object)
    for index in np.ndindex(*shape):
        entries[index] = sympy.Symbol("_".join([name, *map(str, index)]), real=True)
    return _from_array(entries)


def tensor(entries: Any) -> SymbolicTensor:
    """Make a tensor from a nested list of numbers, sympy expressions and symbolic tensors.

    Args:
        entries: the list, or an array or tensor to copy.

    Raises:
        TypeError: an entry is neither a number nor an expression.
        ValueError: the list is ragged, or a symbol is not declared real.
    """
    return SymbolicTensor(entries)


def symbolic_module(
    cls: Callable[..., M],
    *args: Any,
    values: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> tuple[M, dict[str, SymbolicTensor]]:
    """Construct a module and replace its parameters by tensors of symbols.

    The module is in evaluation mode, where dropout does nothing.

    Args:
        cls: the module's class.
        args: what to construct it with.
        values: parameters that are to have these values, symbolic or real, instead of symbols.
        kwargs: what else to construct it with.

    Returns:
        The module, and its parameters by name. The parameter ``query.weight`` consists of the
        symbols ``query_weight_i_j``.

    Raises:
        ValueError: the module has no parameter of a name in ``values``, or one of another shape.
    """
    module = cls(*args, **kwargs).eval()
    given = dict(values or {})
    parameters: dict[str, SymbolicTensor] = {}
    replaced: dict[nn.Parameter, SymbolicTensor] = {}
    for prefix, owner in module.named_modules():
        for name, parameter in list(owner.named_parameters(recurse=False, remove_duplicate=False)):
            full_name = f"{prefix}.{name}" if prefix else name
            if parameter not in replaced:
                value = given.pop(full_name, None)
                if value is None:
                    value = symbols(full_name.replace(".", "_"), *parameter.shape)
                replaced[parameter] = parameters[full_name] = _lift(value)
                if parameters[full_name].shape != parameter.shape:
                    raise ValueError(
                        f"{full_name} has shape {tuple(parameter.shape)}, "
                        f"not {tuple(parameters[full_name].shape)}"
                    )
            # A module takes only a Parameter under a parameter's name; its __dict__ takes anything.
            delattr(owner, name)
            owner.__dict__[name] = replaced[parameter]
    if given:
        raise ValueError(f"no parameters of these names: {', '.join(given)}")
    return module, parameters


def _array(value: Any) -> _Entries:
    """Give a new array of exact expressions."""
    if isinstance(value, SymbolicTensor):
        return value.entries
    if isinstance(value, sympy.MatrixBase):
        value = value.tolist()
    if isinstance(value, list | tuple) and value:
        return np.stack([_array(part) for part in value])
    eps = 2.0**-52
    if isinstance(value, Tensor):
        eps = torch.finfo(value.dtype).eps if value.dtype.is_floating_point else eps
        value = np.array(value.detach().cpu().tolist(), dtype=object).reshape(value.shape)
    plain: _Entries = np.asarray(value, dtype=object)
    return _objects(np.frompyfunc(partial(_exact, eps=eps), 1, 1)(plain))


def _objects(result: Any) -> _Entries:
    """Give an array also where numpy turned an array without axes into its entry."""
    if isinstance(result, np.ndarray):
        return result
    array: _Entries = np.empty((), dtype=object)
    array[()] = result
    return array


def _from_array(result: Any) -> SymbolicTensor:
    made = SymbolicTensor.__new__(SymbolicTensor)
    array = _objects(result)
    made._storage = array.reshape(-1)  # noqa: SLF001 - a constructor that trusts its entries
    made._positions = torch.arange(array.size).reshape(array.shape)  # noqa: SLF001
    return made


def _lift(value: Any) -> SymbolicTensor:
    return value if isinstance(value, SymbolicTensor) else SymbolicTensor(value)


def _rearranged(source: SymbolicTensor, positions: Tensor) -> SymbolicTensor:
    """Give the entries at these positions of the source's storage, as a view where torch does."""
    storage, old = source._storage, source._positions  # noqa: SLF001
    if positions.untyped_storage().data_ptr() == old.untyped_storage().data_ptr():
        made = SymbolicTensor.__new__(SymbolicTensor)
        made._storage, made._positions = storage, positions  # noqa: SLF001
        return made
    return _from_array(storage[positions.reshape(-1).numpy()].reshape(positions.shape))


def _write(target: SymbolicTensor, value: Any, positions: Tensor | None = None) -> SymbolicTensor:
    """Write into the target's storage, which its views share, at these of its positions or all."""
    places = target._positions if positions is None else positions  # noqa: SLF001
    entries = np.broadcast_to(_lift(value).entries, places.shape)
    target._storage[places.reshape(-1).numpy()] = entries.reshape(-1)  # noqa: SLF001
    return target


def _symbols_behind(expression: sympy.Expr) -> set[sympy.Symbol]:
    found: set[sympy.Symbol] = set()
    for symbol in expression.free_symbols:
        if isinstance(symbol, _Largest):
            found = found.union(*(_symbols_behind(entry) for entry in symbol.of))
        else:
            found.add(symbol)
    return found


def _call(
    name: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Answer the torch operation of this name.

    Args:
        name: the operation's name, with underscores.
        function: torch's own function or method.
        args: its arguments, at least one of them or of those in a list symbolic.
        kwargs: its keyword arguments.

    Raises:
        TypeError: the operation, or one of its options, is not supported.
    """
    for spelling in {"input", "tensors"} & kwargs.keys():
        args = (kwargs.pop(spelling), *args)
    for spelling, ours in (("axis", "dim"), ("keepdims", "keepdim")):
        if spelling in kwargs:
            kwargs[ours] = kwargs.pop(spelling)
    if name in _BY_TORCH:
        return _BY_TORCH[name](function, *args, **kwargs)
    if name in _IN_PLACE or name == "__setitem__":
        if name == "__setitem__" or not isinstance(args[0], SymbolicTensor):
            raise TypeError(f"{name} on symbols: they cannot be written into a real tensor")
        return _write(args[0], _call(name[:-1], function, args, kwargs))
    operation = _OPERATIONS.get(name)
    if operation is None:
        raise TypeError(f"{name} is not supported on symbols")
    try:
        inspect.signature(operation).bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{name} on symbols: {error}") from None
    return operation(*args, **kwargs)


def _asked(function: Callable[..., Any], x: SymbolicTensor, *args: Any, **kwargs: Any) -> Any:
    """Answer a question about a shape or a layout."""
    return function(x._positions, *args, **kwargs)  # noqa: SLF001


def _moved(function: Callable[..., Any], x: Any, *args: Any, **kwargs: Any) -> Any:
    """Move entries around by moving their positions."""
    if not isinstance(x, SymbolicTensor):
        name = function.__name__
        if name in _SHAPED_LIKE:
            return function(x, *(other._positions for other in args))  # noqa: SLF001
        raise TypeError(f"{name} of a real tensor is not supported with symbols as arguments")
    moved = function(x._positions, *args, **kwargs)  # noqa: SLF001
    if isinstance(moved, Tensor):
        return _rearranged(x, moved)
    return tuple(_rearranged(x, part) for part in moved)


def _made_like(function: Callable[..., Any], x: SymbolicTensor, *args: Any, **kwargs: Any) -> Any:
    """Make a new tensor; one of floats is symbolic, so that code may fill it with symbols."""
    made = function(torch.zeros(x.shape, dtype=x.dtype), *args, **kwargs)
    return SymbolicTensor(made) if made.is_floating_point() else made


def _joined(function: Callable[..., Any], tensors: Sequence[Any], *args: Any, **kw: Any) -> Any:
    """Join tensors by joining the positions of their entries in one common storage."""
    operands = [_lift(operand) for operand in tensors]
    storage = [operand.entries.reshape(-1) for operand in operands]
    positions = []
    start = 0
    for operand, entries in zip(operands, storage, strict=True):
        positions.append(torch.arange(start, start + entries.size).reshape(operand.shape))
        start += entries.size
    joined = function(positions, *args, **kw)
    return _from_array(np.concatenate(storage)[joined.reshape(-1).numpy()].reshape(joined.shape))


def _elementwise(function: Callable[..., Any], *operands: Any) -> SymbolicTensor:
    arrays = [_lift(operand).entries for operand in operands]
    _broadcast(*(array.shape for array in arrays))
    return _from_array(np.frompyfunc(function, len(arrays), 1)(*arrays))


def _compared(relation: Any, left: Any, right: Any) -> Tensor:
    answers = _elementwise(partial(_decided, relation), left, right).entries
    return torch.tensor(answers.astype(bool))


def _tested(predicate: Callable[[sympy.Expr], bool], x: SymbolicTensor) -> Tensor:
    return torch.tensor(np.vectorize(predicate, otypes=[bool])(x.entries))


def _matmul(left: Any, right: Any) -> SymbolicTensor:
    a, b = _lift(left).entries, _lift(right).entries
    shape = torch.matmul(_like(a.shape), _like(b.shape)).shape
    a = a[None, :] if a.ndim == 1 else a
    b = b[:, None] if b.ndim == 1 else b
    products = a[..., :, :, None] * b[..., None, :, :]
    return _from_array(_folded(_total, products, (products.ndim - 2,)).reshape(shape))


def _linear(x: Any, weight: Any, bias: Any = None) -> SymbolicTensor:
    product = _matmul(x, _lift(weight).T)
    return product if bias is None else product + bias


def _einsum(equation: str, *operands: Any) -> SymbolicTensor:
    if len(operands) == 1 and isinstance(operands[0], list | tuple):
        operands = tuple(operands[0])
    arrays = [_lift(operand).entries for operand in operands]
    summed: Any = np.einsum(equation.replace(" ", ""), *arrays)
    return SymbolicTensor(summed)


def _broadcast(*shapes: Sequence[int]) -> None:
    """Raise what torch raises if the shapes do not fit; numpy would raise something else."""
    torch.broadcast_shapes(*shapes)  # type: ignore[no-untyped-call]


def _like(shape: Sequence[int]) -> Tensor:
    """Give a real tensor of this shape, of which torch can be asked what shapes come out."""
    # Not on the device "meta", whose first use of some operations imports half of torch.
    return torch.zeros(tuple(shape))


def _total(terms: Sequence[sympy.Expr]) -> sympy.Expr:
    return sympy.Add(*terms)


def _folded(
    fold: Callable[[Sequence[sympy.Expr]], sympy.Expr], array: _Entries, axes: tuple[int, ...]
) -> _Entries:
    """Fold the entries along the axes, which are not negative, into one."""
    kept = [axis for axis in range(array.ndim) if axis not in axes]
    rows = array.transpose(*kept, *axes).reshape(*(array.shape[axis] for axis in kept), -1)
    if array.size == 0:  # where reshape cannot tell what -1 stands for
        length = math.prod(array.shape[axis] for axis in axes)
        rows = array.reshape(*(array.shape[axis] for axis in kept), length)
    folded: _Entries = np.empty(rows.shape[:-1], dtype=object)
    for index in np.ndindex(*folded.shape):
        folded[index] = fold(rows[index].tolist())
    return folded


def _reduced(
    fold: Callable[[Sequence[sympy.Expr]], sympy.Expr],
    probe: Callable[..., Tensor],
    x: SymbolicTensor,
    dim: Any,
    keepdim: bool,  # noqa: FBT001 - torch's order
) -> SymbolicTensor:
    array = _lift(x).entries
    dims = () if dim is None else dim if isinstance(dim, Sequence) else (dim,)
    shape = probe(_like(array.shape), dims, keepdim=keepdim).shape
    axes = tuple(axis % max(array.ndim, 1) for axis in dims) or tuple(range(array.ndim))
    axes = axes if array.ndim else ()
    return _from_array(_folded(fold, array, axes).reshape(shape))


def _sum(x: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> SymbolicTensor:  # noqa: ARG001, FBT001, FBT002
    return _reduced(_total, torch.sum, x, dim, keepdim)


def _mean(x: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> SymbolicTensor:  # noqa: ARG001, FBT001, FBT002
    def mean(row: Sequence[sympy.Expr]) -> sympy.Expr:
        return _divided(_total(row), sympy.Integer(len(row)))

    return _reduced(mean, torch.sum, x, dim, keepdim)


def _amax(x: Any, dim: Any = (), keepdim: bool = False) -> SymbolicTensor:  # noqa: FBT001, FBT002
    return _reduced(_maximum, torch.amax, x, dim, keepdim)


def _max(x: Any, dim: Any = None, keepdim: bool = False) -> SymbolicTensor | _Largests:  # noqa: FBT001, FBT002
    if dim is None:
        return _amax(x)
    if not isinstance(dim, int):
        raise TypeError("max of two tensors is not supported on symbols")
    return _Largests(_amax(x, dim, keepdim), _Undetermined())


def _softmax(
    x: Any,
    dim: int | None = None,
    dtype: Any = None,  # noqa: ARG001 - torch's options
    _stacklevel: int = 3,
) -> SymbolicTensor:
    if dim is None:
        raise TypeError("softmax on symbols needs a dim")
    exponentials = _elementwise(sympy.exp, x)
    total = _elementwise(
        lambda entry: sympy.nan if entry is sympy.oo else entry,
        _sum(exponentials, dim, keepdim=True),
    )
    return exponentials / total


def _logsumexp(x: Any, dim: Any, keepdim: bool = False) -> SymbolicTensor:  # noqa: FBT001, FBT002
    return _elementwise(_logarithm, _sum(_elementwise(sympy.exp, x), dim, keepdim))


def _log_softmax(
    x: Any,
    dim: int | None = None,
    dtype: Any = None,  # noqa: ARG001 - torch's options
    _stacklevel: int = 3,
) -> SymbolicTensor:
    if dim is None:
        raise TypeError("log_softmax on symbols needs a dim")
    return _lift(x) - _logsumexp(x, dim, keepdim=True)


def _chosen(condition: Any, yes: Any, no: Any) -> SymbolicTensor:
    if not isinstance(condition, Tensor) or condition.dtype != torch.bool:
        raise TypeError("where and masked_fill on symbols need a boolean tensor to choose by")
    a, b = _lift(yes).entries, _lift(no).entries
    _broadcast(condition.shape, a.shape, b.shape)
    return _from_array(np.where(condition.cpu().numpy(), a, b))


def _where(condition: Any, yes: Any, no: Any) -> SymbolicTensor:
    if not isinstance(condition, Tensor) or condition.dtype != torch.bool:
        condition, yes = yes, condition  # x.where(condition, y), not torch.where(condition, x, y)
    return _chosen(condition, yes, no)


def _masked_fill(x: Any, mask: Any, value: Any) -> SymbolicTensor:
    return _chosen(mask, value, x)


def _triangle(
    cut: Callable[..., Tensor],
    x: SymbolicTensor,
    diagonal: int = 0,
) -> SymbolicTensor:
    return _chosen(cut(torch.ones(x.shape, dtype=torch.bool), diagonal), x, 0)


def _without_nan(
    x: Any, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> SymbolicTensor:
    limits = torch.finfo(torch.float64)
    replacements = {
        sympy.nan: _exact(nan),
        sympy.oo: _exact(limits.max if posinf is None else posinf),
        -sympy.oo: _exact(limits.min if neginf is None else neginf),
    }
    return _elementwise(lambda entry: replacements.get(entry, entry), x)


def _converted(x: Any, *args: Any, **kwargs: Any) -> Any:
    """Keep symbols as they are: they have no precision to convert to."""
    if not isinstance(x, SymbolicTensor):
        return x.to(torch.float64)
    for target in (*args, *kwargs.values()):
        if isinstance(target, torch.dtype) and not target.is_floating_point:
            raise TypeError(f"to({target}) is not supported on symbols")
    return x


def _dropout(x: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:  # noqa: ARG001, FBT001, FBT002
    if training and p:
        raise TypeError("dropout is not supported on symbols while training")
    return x


def _item(x: SymbolicTensor) -> sympy.Expr:
    if x.entries.size != 1:
        raise RuntimeError(f"a tensor with {x.entries.size} entries has no single one")
    return x.entries.item()


def _replaced(x: SymbolicTensor, value: Any) -> SymbolicTensor:
    return _from_array(np.broadcast_to(_lift(value).entries, x.shape))


_QUERIES = {"size", "dim", "ndimension", "numel", "nelement", "stride", "is_contiguous"}
_SHAPED_LIKE = {"expand_as", "view_as", "reshape_as"}
_MOVES = _SHAPED_LIKE | {
    *("__getitem__", "broadcast_to", "chunk", "clone", "contiguous", "detach", "diagonal"),
    *("expand", "flatten", "flip", "index_select", "movedim", "moveaxis", "narrow", "permute"),
    *("ravel", "repeat", "repeat_interleave", "reshape", "roll", "select", "split", "squeeze"),
    *("swapaxes", "swapdims", "t", "tensor_split", "tile", "transpose", "unbind", "unflatten"),
    *("unsafe_chunk", "unsafe_split", "unsqueeze", "view"),
}
_JOINS = {"cat", "concat", "concatenate", "stack", "hstack", "vstack"}
_MADE_LIKE = {
    *("zeros_like", "ones_like", "full_like", "empty_like"),
    *("new_zeros", "new_ones", "new_full", "new_empty"),
}
_ENTRYWISE: dict[str, Callable[..., Any]] = {
    "abs": sympy.Abs,
    "add": operator.add,
    "cos": sympy.cos,
    "div": _divided,
    "exp": sympy.exp,
    "log": _logarithm,
    "mul": operator.mul,
    "neg": operator.neg,
    "pow": _raised,
    "reciprocal": lambda entry: _divided(sympy.S.One, entry),
    "rsqrt": lambda entry: _raised(entry, -sympy.S.Half),
    "sigmoid": lambda entry: 1 / (1 + sympy.exp(-entry)),
    "sin": sympy.sin,
    "sqrt": lambda entry: _raised(entry, sympy.S.Half),
    "square": lambda entry: entry**2,
    "sub": operator.sub,
    "tanh": sympy.tanh,
    "true_divide": _divided,
    "divide": _divided,
    "multiply": operator.mul,
    "negative": operator.neg,
    "subtract": operator.sub,
}
_RELATIONS = {
    "eq": sympy.Eq,
    "ne": sympy.Ne,
    "lt": sympy.Lt,
    "le": sympy.Le,
    "gt": sympy.Gt,
    "ge": sympy.Ge,
}
_OPERATIONS: dict[str, Callable[..., Any]] = {
    **{name: partial(_elementwise, function) for name, function in _ENTRYWISE.items()},
    **{name: partial(_compared, relation) for name, relation in _RELATIONS.items()},
    **dict.fromkeys(("matmul", "bmm", "mm", "mv", "dot", "__rmatmul__"), _matmul),
    **dict.fromkeys(("to", "type", "type_as", "double", "float", "half", "cpu"), _converted),
    "__rmatmul__": lambda x, other: _matmul(other, x),
    "__rpow__": lambda x, other: _elementwise(_raised, other, x),
    "__rsub__": lambda x, other: _elementwise(operator.sub, other, x),
    "amax": _amax,
    "copy": _replaced,
    "dropout": _dropout,
    "einsum": _einsum,
    "fill": _replaced,
    "is_floating_point": lambda x: True,  # noqa: ARG005
    "isinf": partial(_tested, lambda entry: entry in {sympy.oo, -sympy.oo}),
    "isnan": partial(_tested, lambda entry: entry is sympy.nan),
    "isneginf": partial(_tested, lambda entry: entry == -sympy.oo),
    "isfinite": partial(_tested, lambda entry: entry not in {sympy.oo, -sympy.oo, sympy.nan}),
    "item": _item,
    "linear": _linear,
    "log_softmax": _log_softmax,
    "logsumexp": _logsumexp,
    "masked_fill": _masked_fill,
    "max": _max,
    "mean": _mean,
    "nan_to_num": _without_nan,
    "softmax": _softmax,
    "sum": _sum,
    "tolist": lambda x: x.entries.tolist(),
    "tril": partial(_triangle, torch.tril),
    "triu": partial(_triangle, torch.triu),
    "where": _where,
    "zero": lambda x: _replaced(x, 0),
}
_BY_TORCH: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(_QUERIES, _asked),
    **dict.fromkeys(_MOVES, _moved),
    **dict.fromkeys(_MADE_LIKE, _made_like),
    **dict.fromkeys(_JOINS, _joined),
}
_IN_PLACE = {
    f"{name}_" for name in (*_ENTRYWISE, "copy", "fill", "masked_fill", "tril", "triu", "zero")
}


def derivative(expressions: SymbolicTensor, by: sympy.Symbol | SymbolicTensor) -> SymbolicTensor:
    """Differentiate every entry.

    Args:
        expressions: a tensor of any shape.
        by: a symbol, or a tensor of symbols.

    Returns:
        The derivatives: in the shape of the expressions, followed by the shape of ``by``.

    Raises:
        TypeError: ``by`` holds something other than symbols.
        ValueError: an entry depends on a maximum, or is infinite or NaN.
    """
    variables = _array(by)
    for variable in variables.flat:
        if not isinstance(variable, sympy.Symbol):
            raise TypeError(f"derivatives are taken by symbols, not by {variable}")
    entries = expressions.entries
    if any(entry.atoms(_Largest) for entry in entries.flat):
        entries = expressions.simplified().entries
    for entry in entries.flat:
        if entry.atoms(_Largest) or _infinite(entry):
            raise ValueError(f"a maximum, an infinity or NaN is not differentiated: {entry}")
    return _from_array(np.frompyfunc(sympy.diff, 2, 1).outer(entries, variables))


def equal(left: Any, right: Any) -> bool:
    """Decide whether two tensors are equal, entry by entry, whatever their symbols stand for.

    A maximum counts as any real number where equality is proved, and as the maximum where it is
    disproved. NaN equals nothing. Expressions with a removable singularity equal what they are
    everywhere else.

    Args:
        left: a symbolic tensor, or what :func:`tensor` takes.
        right: the same, of the same shape; a number or an expression is compared to every entry.

    Returns:
        True where equality is proved and False where there is a point that disproves it.

    Raises:
        ValueError: the shapes differ.
        Undecided: neither is found.
    """
    a, b = _array(left), _array(right)
    if a.shape != b.shape and a.ndim and b.ndim:
        raise ValueError(f"shapes {a.shape} and {b.shape} differ, so nothing was compared")
    a, b = np.broadcast_arrays(a, b)
    algebra = _Algebra()
    points = [_Point(seed) for seed in range(_POINTS)]
    unproved = []
    for one, other in dict.fromkeys(zip(a.flat, b.flat, strict=True)):
        # A point first, because the algebra takes long over what is far from equal.
        if _differ_at_infinity(one, other) or points[0].differ(one, other):
            return False
        if one != other and not algebra.equal(one, other):
            unproved.append((one, other))
    if any(point.differ(*pair) for pair in unproved for point in points):
        return False
    for one, other in unproved:
        if sympy.simplify((one - other).rewrite(sympy.exp)) != 0:
            raise Undecided(f"neither equal nor different as far as we see: {one} and {other}")
    return True


def _infinite(expression: sympy.Expr) -> bool:
    return bool(expression.has(sympy.oo, -sympy.oo, sympy.zoo, sympy.nan))


def _differ_at_infinity(left: sympy.Expr, right: sympy.Expr) -> bool:
    """Say whether expressions differ because one of them is infinite or NaN.

    Raises:
        Undecided: an infinity depends on symbols.
    """
    if left.has(sympy.nan) or right.has(sympy.nan):
        return True
    if left == right or not (_infinite(left) or _infinite(right)):
        return False
    if all(side in {sympy.oo, -sympy.oo} or not _infinite(side) for side in (left, right)):
        return True
    raise Undecided(f"infinities that depend on symbols: {left} and {right}")


class _Point:
    """Values for all symbols, at which expressions are evaluated between certain bounds.

    Args:
        seed: which values.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._intervals = MPIntervalContext()
        self._intervals.prec = _BITS
        self._known: dict[sympy.Expr, Any] = {}

    def differ(self, left: sympy.Expr, right: sympy.Expr) -> bool:
        """Say whether two expressions are certainly different here."""
        if left == right:
            return False
        try:
            a, b = self._enclosed(left), self._enclosed(right)
        except (ArithmeticError, NotImplementedError, TypeError, ValueError):
            return False  # not a real number here, or a function without bounds
        return (a < b) is True or (a > b) is True  # None where the intervals overlap

    def _enclosed(self, expression: sympy.Expr) -> Any:
        """Give an interval that contains the expression's value."""
        known = self._known.get(expression)
        if known is None:
            known = self._known[expression] = self._enclosing(expression)
        return known

    def _enclosing(self, expression: sympy.Expr) -> Any:
        intervals = self._intervals
        if isinstance(expression, _Largest):
            entries = [self._enclosed(entry) for entry in expression.of]
            return intervals.mpf([max(x.a for x in entries), max(x.b for x in entries)])
        if expression.is_Symbol:
            return self._enclosed(self._drawn(expression))
        if expression.is_Rational:
            return intervals.mpf(int(expression.p)) / int(expression.q)
        if expression.is_Pow and expression.exp.is_Integer:
            return self._enclosed(expression.base) ** int(expression.exp)
        bounds = _BOUNDS.get(expression.func)
        if bounds is None:
            raise NotImplementedError(expression.func)
        return bounds(intervals, *map(self._enclosed, expression.args))

    def _drawn(self, symbol: sympy.Symbol) -> sympy.Rational:
        generator = random.Random(f"{self._seed} {symbol}")  # noqa: S311 - not for secrets
        number = sympy.Rational(generator.randint(1, 999), 1 if symbol.is_integer else 500)
        negative = symbol.is_negative or (not symbol.is_nonnegative and generator.getrandbits(1))
        return -number if negative else number


_BOUNDS: dict[Any, Callable[..., Any]] = {
    sympy.Add: lambda _, *terms: sum(terms),
    sympy.Mul: lambda _, *factors: math.prod(factors),
    sympy.Pow: lambda intervals, base, power: intervals.exp(power * intervals.log(base)),
    sympy.exp: lambda intervals, x: intervals.exp(x),
    type(sympy.E): lambda intervals: intervals.e,
    type(sympy.pi): lambda intervals: intervals.pi,
    sympy.log: lambda intervals, x: intervals.log(x),
    sympy.tanh: lambda intervals, x: 1 - 2 / (intervals.exp(2 * x) + 1),
    sympy.sin: lambda intervals, x: intervals.sin(x),
    sympy.cos: lambda intervals, x: intervals.cos(x),
    sympy.Abs: lambda _, x: abs(x),
}


# A product is generators with their powers, by ascending generator; a sum is products with their
# coefficients. A factor is a sum as a key. Powers may be negative, and fractions for exponentials.
_Power = int | Fraction  # a Fraction only where it is not whole, which is faster
_Product = tuple[tuple[int, _Power], ...]
_Sum = dict[_Product, Fraction]
_Factor = frozenset[tuple[_Product, Fraction]]

_ONE: _Sum = {(): Fraction(1)}


@dataclass(frozen=True)
class _Ratio:
    """A sum over a product of powers of primitive sums."""

    numerator: _Sum
    denominators: dict[_Factor, int] = field(default_factory=dict)

    @property
    def key(self) -> tuple[_Factor, frozenset[tuple[_Factor, int]]]:
        return frozenset(self.numerator.items()), frozenset(self.denominators.items())


@dataclass(frozen=True)
class _Generator:
    """Something that products are made of.

    Attributes:
        expression: what it stands for; for an exponential, its exponent.
        exponential: whether it is one.
        degree: for a root of a prime, which root.
        prime: for a root of a prime, of which.
    """

    expression: sympy.Expr
    exponential: bool = False
    degree: int = 0
    prime: int = 0

    @property
    def positive(self) -> bool:
        return self.exponential or self.degree > 0 or bool(self.expression.is_positive)


class _Algebra:
    """Writes expressions as ratios of sums of products, in which equals are written the same.

    exp of a sum becomes a product of one generator exp(t) for each product t in that sum, with t's
    coefficient as the power. Exponentials of different polynomials are linearly independent over
    the rational functions, and square roots of different primes over the rational numbers: where
    there is nothing else, a difference is zero if and only if its numerator has no terms. Other
    functions are generators too, told apart by their arguments; identities between them go unseen.
    """

    def __init__(self) -> None:
        self._generators: list[_Generator] = []
        self._places: dict[Any, int] = {}
        self._read: dict[sympy.Expr, _Ratio] = {}

    def equal(self, left: sympy.Expr, right: sympy.Expr) -> bool:
        """Say whether the difference is visibly zero."""
        minus_right = self._product(self.ratio(right), _Ratio({(): Fraction(-1)}))
        return not self._sum([self.ratio(left), minus_right]).numerator

    def simplified(self, expression: sympy.Expr) -> sympy.Expr:
        """Write an expression as one ratio; one with infinities is left alone."""
        if _infinite(expression):
            return expression
        return self._written(self._cancelled(self.ratio(expression)))

    def ratio(self, expression: sympy.Expr) -> _Ratio:
        """Read an expression.

        Raises:
            Undecided: it divides by zero.
        """
        known = self._read.get(expression)
        if known is None:
            known = self._read[expression] = self._reading(expression)
        return known

    def _reading(self, expression: sympy.Expr) -> _Ratio:
        if expression.is_Rational:
            value = Fraction(int(expression.p), int(expression.q))
            return _Ratio({(): value} if value else {})
        if expression.is_Add:
            return self._sum([self.ratio(term) for term in expression.args])
        if expression.is_Mul:
            product = _Ratio(_ONE)
            for factor in expression.args:
                product = self._product(product, self.ratio(factor))
            return product
        if expression.is_Pow:
            return self._power(*expression.args)
        if expression is sympy.E or isinstance(expression, sympy.Function):
            return self._function(expression)
        return self._generator(expression, _Generator(expression))

    def _settled(self, powers: Mapping[int, _Power]) -> tuple[Fraction, _Product]:
        """Give the product, and the rational number that whole powers of roots amount to."""
        number = Fraction(1)
        settled = []
        for place, power in sorted(powers.items()):
            generator = self._generators[place]
            left = power
            if generator.degree:
                whole, left = divmod(power, generator.degree)
                number *= Fraction(generator.prime) ** whole
            if left:
                settled.append((place, left.numerator if left.denominator == 1 else left))
        return number, tuple(settled)

    def _product_of(self, left: _Product, right: _Product) -> tuple[Fraction, _Product]:
        if not left or not right:
            return Fraction(1), left or right
        powers = dict(left)
        for place, power in right:
            powers[place] = powers.get(place, 0) + power
        return self._settled(powers)

    def _times(self, left: _Sum, right: _Sum) -> _Sum:
        result: _Sum = {}
        for one, a in left.items():
            for other, b in right.items():
                number, product = self._product_of(one, other)
                result[product] = result.get(product, Fraction(0)) + a * b * number
        return {product: number for product, number in result.items() if number}

    def _primitive(self, terms: _Sum) -> tuple[_Sum, _Sum]:
        """Split a sum that is not zero into a single term and a sum with no term in common.

        The second has whole coefficients without a common divisor, the first of them positive.
        """
        products = [dict(product) for product in terms]
        least: dict[int, _Power] = {}
        for place in {place for product in products for place in product}:
            least[place] = min(product.get(place, 0) for product in products)
        number = Fraction(
            math.gcd(*(value.numerator for value in terms.values())),
            math.lcm(*(value.denominator for value in terms.values())),
        )
        rest = self._times(terms, self._inverse_term({self._settled(least)[1]: number}))
        if rest[min(rest)] < 0:
            number, rest = -number, {product: -value for product, value in rest.items()}
        return {self._settled(least)[1]: number}, rest

    def _inverse_term(self, term: _Sum) -> _Sum:
        ((product, number),) = term.items()
        extra, inverse = self._settled({place: -power for place, power in product})
        return {inverse: extra / number}

    def _sum(self, ratios: Sequence[_Ratio]) -> _Ratio:
        grouped: dict[frozenset[tuple[_Factor, int]], _Sum] = {}
        for ratio in ratios:
            group = grouped.setdefault(frozenset(ratio.denominators.items()), {})
            for product, number in ratio.numerator.items():
                group[product] = group.get(product, Fraction(0)) + number
        common: dict[_Factor, int] = {}
        for denominators in grouped:
            for factor, power in denominators:
                common[factor] = max(power, common.get(factor, 0))
        total: _Sum = {}
        for denominators, group in grouped.items():
            have = dict(denominators)
            terms = {product: number for product, number in group.items() if number}
            for factor, power in common.items():
                for _ in range(power - have.get(factor, 0)):
                    terms = self._times(terms, dict(factor))
            for product, number in terms.items():
                total[product] = total.get(product, Fraction(0)) + number
        total = {product: number for product, number in total.items() if number}
        return _Ratio(total, common if total else {})

    def _product(self, left: _Ratio, right: _Ratio) -> _Ratio:
        numerator = self._times(left.numerator, right.numerator)
        denominators = dict(left.denominators)
        for factor, power in right.denominators.items():
            denominators[factor] = denominators.get(factor, 0) + power
        return _Ratio(numerator, denominators if numerator else {})

    def _inverse(self, ratio: _Ratio) -> _Ratio:
        if not ratio.numerator:
            raise Undecided("an expression divides by zero")
        term, rest = self._primitive(ratio.numerator)
        numerator = self._inverse_term(term)
        for factor, power in ratio.denominators.items():
            for _ in range(power):
                numerator = self._times(numerator, dict(factor))
        return _Ratio(numerator, {} if rest == _ONE else {frozenset(rest.items()): 1})

    def _cancelled(self, ratio: _Ratio) -> _Ratio:
        """Divide the numerator by the factors below it that divide it."""
        numerator, denominators = ratio.numerator, {}
        for factor, power in ratio.denominators.items():
            left = power
            while left and (quotient := self._quotient(numerator, dict(factor))) is not None:
                numerator, left = quotient, left - 1
            if left:
                denominators[factor] = left
        return _Ratio(numerator, denominators)

    def _quotient(self, dividend: _Sum, divisor: _Sum) -> _Sum | None:
        """Divide if there is no remainder; give None otherwise."""
        if len(dividend) < len(divisor) or len(dividend) * len(divisor) > _LARGEST_DIVISION:
            return None
        unit, remainder = self._primitive(dividend)
        places = sorted({place for product in (*remainder, *divisor) for place, _ in product})

        def order(product: _Product) -> list[_Power]:
            powers = dict(product)
            return [powers.get(place, 0) for place in places]

        leading = max(divisor, key=order)
        inverse = self._inverse_term({leading: divisor[leading]})
        quotient: _Sum = {}
        # Roots reduce, which may keep the leading terms from falling: then give up.
        for _ in range(len(dividend) + len(divisor)):
            if not remainder:
                return self._times(unit, quotient)
            largest = max(remainder, key=order)
            term = self._times({largest: remainder[largest]}, inverse)
            ((product, number),) = term.items()
            if any(power < 0 for _, power in product) or product in quotient:
                return None
            quotient[product] = number
            for key, value in self._times(term, divisor).items():
                remainder[key] = remainder.get(key, Fraction(0)) - value
                if not remainder[key]:
                    del remainder[key]
        return self._times(unit, quotient) if not remainder else None

    def _place(self, key: Any, generator: _Generator) -> int:
        if key not in self._places:
            self._places[key] = len(self._generators)
            self._generators.append(generator)
        return self._places[key]

    def _generator(self, key: Any, generator: _Generator, power: int = 1) -> _Ratio:
        number, product = self._settled({self._place(key, generator): power})
        return _Ratio({product: number})

    def _exponential(self, exponent: Sequence[_Ratio]) -> _Ratio:
        powers: dict[int, _Power] = {}
        # What cancels may leave ratios with the same denominators.
        for part in self._grouped([self._cancelled(part) for part in exponent]):
            below = frozenset(part.denominators.items())
            for product, number in part.numerator.items():
                key = ("exp", product, below)
                if key not in self._places:
                    written = self._written(_Ratio({product: Fraction(1)}, part.denominators))
                    self._place(key, _Generator(written, exponential=True))
                place = self._places[key]
                powers[place] = powers.get(place, 0) + number
        return _Ratio({self._settled(powers)[1]: Fraction(1)})

    def _parts(self, expression: sympy.Expr) -> list[_Ratio]:
        """Read an exponent as a sum of ratios, one for each product of denominators.

        Written as one ratio, exp(a + b/c) would not be seen to be exp(a) times exp(b/c).
        """
        if expression.is_Add:
            parts = [part for term in expression.args for part in self._parts(term)]
        elif expression.is_Mul:
            parts = [_Ratio(_ONE)]
            for factor in expression.args:
                more = self._parts(factor)
                parts = [self._product(part, other) for part in parts for other in more]
        else:
            parts = [self.ratio(expression)]
        return self._grouped(parts)

    def _grouped(self, parts: Sequence[_Ratio]) -> list[_Ratio]:
        """Add up ratios with the same denominators."""
        groups: dict[frozenset[tuple[_Factor, int]], list[_Ratio]] = {}
        for part in parts:
            groups.setdefault(frozenset(part.denominators.items()), []).append(part)
        return [self._sum(group) if len(group) > 1 else group[0] for group in groups.values()]

    def _log(self, argument: _Ratio) -> _Ratio:
        """Take a logarithm apart where all that is in it is positive."""
        argument = self._cancelled(argument)
        sums = [argument.numerator, *map(dict, argument.denominators)]
        if not argument.numerator or not all(map(self._positive, sums)):
            written = sympy.log(self._written(argument))
            return self._generator(("log", argument.key), _Generator(written))
        term, rest = self._primitive(argument.numerator)
        ((product, number),) = term.items()
        parts = [self._log_of_number(number)]
        for place, power in product:
            generator = self._generators[place]
            if generator.exponential:
                inner = self.ratio(generator.expression)
            else:
                inner = self._generator(("log", place), _Generator(sympy.log(generator.expression)))
            parts.append(self._product(inner, _Ratio({(): Fraction(power)})))
        factors = dict(argument.denominators)
        if rest != _ONE:
            above = frozenset(rest.items())
            factors[above] = factors.get(above, 0) - 1
        for factor, times in factors.items():
            written = sympy.log(self._written(_Ratio(dict(factor))))
            logarithm = self._generator(("log", factor), _Generator(written))
            parts.append(self._product(logarithm, _Ratio({(): Fraction(-times)})))
        return self._sum(parts)

    def _log_of_number(self, number: Fraction) -> _Ratio:
        parts = []
        for whole, sign in ((number.numerator, 1), (number.denominator, -1)):
            for prime, power in sympy.factorint(whole).items():
                logarithm = sympy.log(sympy.Integer(prime))
                ratio = self._generator(("log", prime, 0), _Generator(logarithm))
                parts.append(self._product(ratio, _Ratio({(): Fraction(sign * power)})))
        return self._sum(parts)

    def _positive(self, terms: _Sum) -> bool:
        return all(
            number > 0 and all(self._generators[place].positive for place, _ in product)
            for product, number in terms.items()
        )

    def _power(self, base: sympy.Expr, exponent: sympy.Expr) -> _Ratio:
        if base.is_Integer and base.is_positive and exponent.is_Rational:
            powers: dict[int, _Power] = {}
            for prime, times in sympy.factorint(base).items():
                power = exponent * times
                place = self._place(
                    ("root", prime, power.q),
                    _Generator(sympy.root(prime, power.q), degree=int(power.q), prime=int(prime)),
                )
                powers[place] = int(power.p)
            number, product = self._settled(powers)
            return _Ratio({product: number})
        if not exponent.is_Rational:
            return self._opaque(base, exponent)
        inner = self.ratio(base)
        if exponent.is_Integer:
            return self._whole_power(base, inner, int(exponent))
        key = ("power", self._cancelled(inner).key, int(exponent.q))
        root = sympy.Pow(base, sympy.Rational(1, exponent.q))
        return self._generator(key, _Generator(root), int(exponent.p))

    def _whole_power(self, base: sympy.Expr, inner: _Ratio, power: int) -> _Ratio:
        if abs(power) > _LARGEST_POWER and (len(inner.numerator) > 1 or inner.denominators):
            return self._opaque(base, sympy.Integer(power))
        ratio = inner if power > 0 else self._inverse(inner)
        if len(ratio.numerator) == 1 and not ratio.denominators:
            ((product, number),) = ratio.numerator.items()
            extra, raised = self._settled({place: p * abs(power) for place, p in product})
            return _Ratio({raised: extra * number ** abs(power)})
        result = ratio
        for _ in range(abs(power) - 1):
            result = self._product(result, ratio)
        return result

    def _opaque(self, base: sympy.Expr, exponent: sympy.Expr) -> _Ratio:
        expression = sympy.Pow(base, exponent, evaluate=False)
        return self._generator(expression, _Generator(expression))

    def _function(self, expression: sympy.Expr) -> _Ratio:
        if expression is sympy.E:
            return self._exponential([_Ratio(_ONE)])
        if isinstance(expression, sympy.exp):
            return self._exponential(self._parts(expression.args[0]))
        if isinstance(expression, sympy.log):
            return self._log(self.ratio(expression.args[0]))
        arguments = [self._cancelled(self.ratio(argument)) for argument in expression.args]
        sign = Fraction(1)
        if isinstance(expression, sympy.tanh) and arguments[0].numerator:
            (argument,) = arguments
            if argument.numerator[min(argument.numerator)] < 0:  # tanh(-x) = -tanh(x)
                sign = Fraction(-1)
                minus = {product: -number for product, number in argument.numerator.items()}
                arguments = [_Ratio(minus, argument.denominators)]
        key = (expression.func, *(argument.key for argument in arguments))
        written = expression.func(*map(self._written, arguments))
        if written.is_Rational:
            return self.ratio(written)
        generated = self._generator(key, _Generator(written))
        return self._product(generated, _Ratio({(): sign}))

    def _written(self, ratio: _Ratio) -> sympy.Expr:
        above = self._written_sum(ratio.numerator)
        below = [self._written_sum(dict(f)) ** power for f, power in ratio.denominators.items()]
        return above / sympy.Mul(*below)

    def _written_sum(self, terms: _Sum) -> sympy.Expr:
        written = []
        for product, number in terms.items():
            factors, exponents = [sympy.Rational(number)], []
            for place, power in product:
                generator = self._generators[place]
                if generator.exponential:
                    exponents.append(sympy.Rational(power) * generator.expression)
                else:
                    factors.append(generator.expression ** sympy.Rational(power))
            written.append(sympy.Mul(*factors, sympy.exp(sympy.Add(*exponents))))
        return sympy.Add(*written)
