"""Gradients, as laws ask for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from attest.checks import Crash

__all__ = ["differentiating", "gradients", "is_wanted", "leaf", "weighted_sum"]

_by: ContextVar[frozenset[int] | None] = ContextVar("_by", default=None)


@contextmanager
def differentiating(by: Iterable[Tensor]) -> Iterator[None]:
    """Let it be known by which tensors gradients are asked for inside.

    A node of the graph that is written in Python is told of all by which there could be any.
    """
    before = _by.set(frozenset(map(id, by)))
    try:
        yield
    finally:
        _by.reset(before)


def is_wanted(value: Tensor) -> bool:
    """Say whether a gradient by this tensor may be asked for, if nothing was computed from it."""
    by = _by.get()
    return by is None or id(value) in by


def leaf(value: Tensor) -> Tensor:
    """Give a copy that gradients can be taken by."""
    return value.detach().clone().requires_grad_()


def weighted_sum(output: Tensor, cotangent: Tensor, *inputs: Tensor) -> Tensor:
    """Give ``(output * cotangent).sum()``, which can be differentiated whatever the output is.

    An output that nothing can be learned from has gradients of zero.
    """
    scalar = (output * cotangent).sum()
    return scalar if scalar.requires_grad else scalar + sum((0 * value).sum() for value in inputs)


def gradients(output: Tensor, cotangent: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Give the gradient of ``(output * cotangent).sum()`` by each input, in the input's shape.

    An input that the output does not depend on gets zeros, also where the output cannot be
    differentiated: a zero gradient is no evidence by itself, and needs a control beside it.

    Raises:
        Crash: differentiating raised.
    """
    scalar = weighted_sum(output, cotangent, *inputs)
    try:
        with differentiating(by=inputs):
            return torch.autograd.grad(scalar, inputs, retain_graph=True, materialize_grads=True)
    except RuntimeError as error:
        raise Crash("the gradient", error) from None
