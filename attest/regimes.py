"""What an example is like: how its sizes relate, and what its values are.

The evidence for a law says how much was tried of each kind. That is read off the tensors
themselves, whatever strategy has drawn them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from attest.specification import CallSpec, tensors_in

__all__ = ["KINDS_OF_EXAMPLES", "LONG", "TIERS", "VALUES", "kinds_of_example"]

LONG = 20
"""A sequence, a width or a batch of this size, or a larger one, is called long."""

_LARGE = 100.0
_TINY = 1e-6
_NEAR = 1e-6

TIERS = {
    "sizes apart": "no tensor, given or returned, has two axes of one size",
    "sizes alike": "some tensor has two axes of one size",
    "long": f"a sequence, a width or a batch of {LONG} or more",
}
"""The kinds of sizes; an example is of one of them."""

VALUES = {
    "ordinary": "nothing of the following",
    "large": f"some entry of {_LARGE:g} or more",
    "tiny": f"no entry of {_TINY:g} or more",
    "subnormal": "some entry below the smallest normal number of its dtype",
    "equal": "all rows of a tensor are the same, or all tokens",
    "nearly equal": f"they differ by a part in {1 / _NEAR:,.0f} at most",
    "repeated rows": "some neighbours are the same, or some tokens",
    "one-hot": "every row has one entry that is not zero",
    "sparse": "half of the entries, or more, are zero",
}
"""The regimes of values; an example may be of several."""

KINDS_OF_EXAMPLES = TIERS | VALUES
"""What each kind of example is like."""


def kinds_of_example(
    inputs: Mapping[str, Any], constructed: Mapping[str, int], spec: CallSpec, dtype: torch.dtype
) -> tuple[str, ...]:
    """Say of which kinds an example is: one of ``TIERS``, and some of ``VALUES``.

    Args:
        inputs: the law's inputs by name; a dict among them is entered.
        constructed: the constructor's integers by name; none for a function.
        spec: what the contract says about the component: the names of dimensions.
        dtype: what floating inputs are cast to.

    Returns:
        The tier, then the regimes of the values, each once, in the order of ``VALUES``; "ordinary"
        where no tensor is special. Whole numbers are equal, repeated or ordinary; masks do not
        count.
    """
    found: set[str] = set()
    tensors = list(_named(inputs))
    for _, tensor in tensors:
        if tensor.dtype != torch.bool and tensor.numel() > 1:
            found.update(_values(tensor, dtype))
    tier = _tier(tensors, inputs, constructed, spec)
    return (tier, *(kind for kind in VALUES if kind in (found or {"ordinary"})))


def _named(inputs: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    for name, value in inputs.items():
        if isinstance(value, Mapping):
            yield from _named(value)
        else:
            for path, tensor in tensors_in(value):
                yield name + path, tensor


def _tier(
    tensors: list[tuple[str, Tensor]],
    inputs: Mapping[str, Any],
    constructed: Mapping[str, int],
    spec: CallSpec,
) -> str:
    sizes = dict(constructed)
    named = (*spec.parameters, *(getattr(spec, "constructor", None) or ()))
    integers = {**inputs, **inputs.get("arguments", {})}
    sizes |= {name: n for name, n in integers.items() if type(n) is int and name in named}
    shapes = [] if tensors else [tuple(sizes.values())]
    for name, tensor in tensors:
        dims = [dim for dim in spec.dims.get(name, ()) if not dim.startswith("*")]
        sizes.update(zip(dims[::-1], reversed(tensor.shape), strict=False))
        if tensor.dtype != torch.bool:
            shapes.append(tuple(tensor.shape))
    results = (dict.fromkeys(result.dims) for result in spec.results)
    shapes += [tuple(sizes[dim] for dim in dims if dim in sizes) for dims in results]
    counts = {name for name in sizes if name.endswith("vocab") or name.startswith("n_")}
    lengths = [size for name, size in sizes.items() if name not in counts]
    lengths += [size for _, tensor in tensors for size in tensor.shape]
    if max(lengths, default=0) >= LONG:
        return "long"
    alike = any(len(set(shape)) < len(shape) for shape in shapes)
    return "sizes alike" if alike else "sizes apart"


def _values(tensor: Tensor, dtype: torch.dtype) -> Iterator[str]:
    """Say what is special about the values of one tensor."""
    rows = tensor.detach()
    if not rows.is_floating_point():
        same = rows == rows.flatten()[0]
        if bool(same.all()):
            yield "equal"
        elif torch.bincount(rows.flatten()).max() > 1:
            yield "repeated rows"
        return
    rows = rows.to(dtype)
    size, nonzero = rows.abs(), rows != 0
    largest = float(size.max())
    if largest >= _LARGE:
        yield "large"
    if 0 < largest < _TINY:
        yield "tiny"
    if bool((nonzero & (size < torch.finfo(dtype).tiny)).any()):
        yield "subnormal"
    yield from _rows_alike(rows, largest)
    if largest:
        if rows.shape[-1] > 1 and bool((nonzero.sum(-1) == 1).all()):
            yield "one-hot"
        elif 2 * int(nonzero.sum()) <= nonzero.numel():
            yield "sparse"


def _rows_alike(rows: Tensor, largest: float) -> Iterator[str]:
    if rows.dim() < 2:  # an entry is a row
        rows = rows[:, None]
    if rows.shape[-2] < 2:
        return
    apart = (rows[..., 1:, :] - rows[..., :-1, :]).abs().amax(-1)
    if not bool(apart.any()):
        yield "equal"
    elif float(apart.max()) <= _NEAR * largest:
        yield "nearly equal"
    elif not bool(apart.all()):
        yield "repeated rows"
