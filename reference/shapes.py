"""What every file checks before it computes: shapes, dtypes and sizes.

A shape is written as in the docstrings, ``"query (..., L, d_k), key (..., S, d_k)"``. A letter
stands for one size wherever it occurs, and dots for the same leading dimensions.
"""

import re
from functools import cache, lru_cache
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

__all__ = [
    "broadcasts",
    "check_integers",
    "check_lengths",
    "check_mask",
    "check_pair",
    "check_shapes",
    "check_sizes",
]

_FORM = re.compile(r"(\w+)(\??)(?: (int64|bool))? \(([^)]*)\)")


def check_shapes(forms: str, *tensors: Any, **sizes: int) -> None:  # noqa: ANN401 - it checks them
    """Refuse tensors that do not have the form they should.

    Args:
        forms: a form for each tensor, ``name (dimensions)``. A tensor is floating point, unless
            its dtype stands after its name: ``name int64 (B, S)``. ``name?`` may be None. A
            dimension ``S>0`` is not empty.
        tensors: what was given.
        sizes: the sizes of letters that are known.

    Raises:
        TypeError: something is no tensor, or its dtype is another.
        ValueError: the shapes do not fit.
    """
    kinds = tuple([x.dtype if isinstance(x, Tensor) else _kind(x) for x in tensors])
    shapes = tuple([getattr(x, "shape", None) for x in tensors])
    _check(forms, kinds, shapes, tuple(sizes.items()))


def _kind(x: Any) -> str | None:  # noqa: ANN401 - it asks what it is
    """Give the type of what is no tensor; None for what stands for one, of numbers of any dtype."""
    stands = isinstance(getattr(x, "dtype", None), torch.dtype)
    return None if stands else type(x).__name__


@lru_cache(maxsize=4096)  # what fitted once is not read again; an error is raised every time
def _check(
    forms: str,
    kinds: tuple[torch.dtype | str | None, ...],
    shapes: tuple[torch.Size | None, ...],
    sizes: tuple[tuple[str, int], ...],
) -> None:
    read = _read(forms)
    known: dict[str, Any] = dict(sizes)
    for (name, optional, wanted, letters), kind, shape in zip(read, kinds, shapes, strict=True):
        if optional and kind == "NoneType":
            continue
        if isinstance(kind, str) or shape is None:
            raise TypeError(f"{name} is a tensor, got {kind}")
        if kind and not (kind.is_floating_point if wanted is None else kind == wanted):
            right = "floating point" if wanted is None else wanted
            raise TypeError(f"{name} is {right}, got {kind} of shape {tuple(shape)}")
        if not _fits(letters, shape, known):
            where = "".join(f", where {letter} = {size}," for letter, size in sizes)
            names = re.sub(r"\), (\w+ ?\w* \([^)]*\))$", r") and \1", forms.replace("?", ""))
            does = "do" if len(read) > 1 else "does"
            given = ", ".join(str(tuple(shape)) for shape in shapes if shape is not None)
            raise ValueError(f"{names}{where} {does} not fit: {given}")


@cache
def _read(forms: str) -> tuple[tuple[str, bool, torch.dtype | None, tuple[str, ...]], ...]:
    """Read forms: a name, whether it may be None, a dtype other than floating point, letters."""
    return tuple(
        (
            name,
            bool(optional),
            getattr(torch, dtype) if dtype else None,
            tuple(letter.strip() for letter in dimensions.split(",") if letter.strip()),
        )
        for name, optional, dtype, dimensions in _FORM.findall(forms)
    )


def _fits(letters: tuple[str, ...], shape: torch.Size, known: dict[str, Any]) -> bool:
    """Say whether a shape has these letters, and note what they stand for."""
    sizes: list[Any] = list(shape)
    if letters[:1] == ("...",):
        lead = len(shape) - len(letters) + 1
        if lead < 0:
            return False
        sizes = [sizes[:lead], *sizes[lead:]]
    if len(sizes) != len(letters):
        return False
    for letter, size in zip(letters, sizes, strict=True):
        name, filled, _ = letter.partition(">")
        wanted = int(name) if name.isdigit() else known.setdefault(name, size)
        if size != wanted or (filled and size == 0):
            return False
    return True


def check_mask(mask: Tensor | None, *shape: int, name: str = "mask") -> None:
    """Refuse a mask that does not say for each query and key whether attention is allowed.

    Args:
        mask: boolean, with at least two dimensions; None allows everything.
        shape: of the scores, (..., L, S).
        name: what the message calls the mask.

    Raises:
        TypeError: the mask is not a boolean tensor.
        ValueError: the mask has fewer than two dimensions or does not broadcast to the scores.
    """
    if mask is None:
        return
    dtype = getattr(mask, "dtype", type(mask).__name__)
    if dtype is not torch.bool:
        raise TypeError(f"a {name} is boolean, True where attention is allowed; got {dtype}")
    if mask.dim() < 2 or not broadcasts(mask.shape, shape):
        raise ValueError(
            f"a {name} of shape {tuple(mask.shape)} does not broadcast to scores of shape {shape}"
        )


@lru_cache(maxsize=4096)
def broadcasts(given: torch.Size, wanted: tuple[int, ...]) -> bool:
    """Say whether a shape can be repeated to another one, without that one growing."""
    pairs = zip(reversed(given), reversed(wanted), strict=False)
    return len(given) <= len(wanted) and all(size in {1, right} for size, right in pairs)


def check_sizes(**sizes: int) -> None:
    """Refuse sizes that are no positive integers.

    Raises:
        TypeError: a size is no integer.
        ValueError: a size is below 1.
    """
    check_integers(1, **sizes)


def check_integers(least: int, largest: int | None = None, /, **values: int) -> None:
    """Refuse what is no integer from ``least`` to ``largest``.

    Raises:
        TypeError: a value is no integer.
        ValueError: a value is out of range.
    """
    for name, value in values.items():
        if not isinstance(value, int):
            raise TypeError(f"{name} is an integer, got {value!r}")
        if value < least:
            raise ValueError(f"{name} is at least {least}, got {value}")
        if largest is not None and value > largest:
            raise ValueError(f"{name} is at most {largest}, got {value}")


def check_pair(state: Any, form: str) -> None:  # noqa: ANN401 - it checks it
    """Refuse a state that is no pair.

    Raises:
        TypeError: the state is something else.
    """
    if not isinstance(state, tuple) or len(state) != 2:
        raise TypeError(f"the state is a pair {form}, got {type(state).__name__}")


def check_lengths(lengths: Int64[Tensor, "B"] | None, longest: int) -> None:
    """Refuse lengths of sequences that are empty, or longer than their room.

    Raises:
        ValueError: a length is below 1 or above ``longest``.
    """
    if lengths is not None and bool(((lengths < 1) | (lengths > longest)).any()):
        raise ValueError(f"lengths lie from 1 to {longest}, got {lengths.tolist()}")
