"""What every file checks before it computes: shapes, dtypes and sizes.

A shape is written as in the docstrings, ``"query (..., L, d_k), key (..., S, d_k)"``. A letter
stands for one size wherever it occurs, and dots for the same leading dimensions.
"""

import re
from functools import cache
from typing import Any, NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor

__all__ = [
    "broadcasts",
    "check_integers",
    "check_lengths",
    "check_mask",
    "check_shapes",
    "check_sizes",
]

_FORM = re.compile(r"(\w+)(\??)(?: (int64|bool))? \(([^)]*)\)")


class _Form(NamedTuple):
    """One tensor of a form: ``name? dtype (dimensions)``."""

    name: str
    optional: bool
    dtype: torch.dtype | None
    dots: bool
    letters: tuple[str, ...]


@cache
def _read(forms: str) -> tuple[_Form, ...]:
    read = []
    for name, optional, dtype, dimensions in _FORM.findall(forms):
        letters = [letter.strip() for letter in dimensions.split(",") if letter.strip()]
        dots = letters[:1] == ["..."]
        kind = getattr(torch, dtype) if dtype else None
        read.append(_Form(name, bool(optional), kind, dots, tuple(letters[dots:])))
    return tuple(read)


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
    read = _read(forms)
    known: dict[str, Any] = dict(sizes)
    for form, x in zip(read, tensors, strict=True):
        if x is None and form.optional:
            continue
        _check_dtype(form, x)
        if not _fits(form, x.shape, known):
            where = "".join(f", where {letter} = {size}," for letter, size in sizes.items())
            names = re.sub(r"\), (\w+ ?\w* \([^)]*\))$", r") and \1", forms.replace("?", ""))
            given = ", ".join(str(tuple(getattr(t, "shape", ()))) for t in tensors if t is not None)
            does = "do" if len(read) > 1 else "does"
            raise ValueError(f"{names}{where} {does} not fit: {given}")


def _check_dtype(form: _Form, x: Any) -> None:  # noqa: ANN401 - it checks it
    dtype = getattr(x, "dtype", None)
    if not isinstance(dtype, torch.dtype):
        raise TypeError(f"{form.name} is a tensor, got {type(x).__name__}")
    if not isinstance(x, Tensor):
        return  # what only stands for a tensor, such as one of symbols, stands for any numbers
    if form.dtype is None and not dtype.is_floating_point:
        raise TypeError(f"{form.name} is floating point, got {dtype} of shape {tuple(x.shape)}")
    if form.dtype not in {None, dtype}:
        raise TypeError(f"{form.name} is {form.dtype}, got {dtype} of shape {tuple(x.shape)}")


def _fits(form: _Form, shape: torch.Size, known: dict[str, Any]) -> bool:
    lead = len(shape) - len(form.letters)
    if lead < 0 or (lead and not form.dots):
        return False
    if form.dots and known.setdefault("...", shape[:lead]) != shape[:lead]:
        return False
    for letter, size in zip(form.letters, shape[lead:], strict=True):
        if letter.isdigit():
            fits = size == int(letter)
        else:
            name, filled, _ = letter.partition(">")
            fits = known.setdefault(name, size) == size and not (filled and size == 0)
        if not fits:
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
            f"a {name} of shape {tuple(mask.shape)} does not broadcast to scores of shape "
            f"{tuple(shape)}"
        )


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


def check_integers(least: int, most: int | None = None, /, **values: int) -> None:
    """Refuse what is no integer from ``least`` to ``most``.

    Raises:
        TypeError: a value is no integer.
        ValueError: a value is out of range.
    """
    for name, value in values.items():
        if not isinstance(value, int):
            raise TypeError(f"{name} is an integer, got {value!r}")
        if value < least:
            raise ValueError(f"{name} is at least {least}, got {value}")
        if most is not None and value > most:
            raise ValueError(f"{name} is at most {most}, got {value}")


def check_lengths(lengths: Int64[Tensor, "B"] | None, longest: int) -> None:
    """Refuse lengths of sequences that are empty, or longer than their room.

    Raises:
        ValueError: a length is below 1 or above ``longest``.
    """
    if lengths is not None and bool(((lengths < 1) | (lengths > longest)).any()):
        raise ValueError(f"lengths lie from 1 to {longest}, got {lengths.tolist()}")
