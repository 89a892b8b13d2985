"""Gradients, as laws ask for them."""

from __future__ import annotations

import torch
from torch import Tensor

from attest.checks import Crash

__all__ = ["gradients", "leaf"]


def leaf(value: Tensor) -> Tensor:
    """Give a copy that gradients can be taken by."""
    return value.detach().clone().requires_grad_()


def gradients(output: Tensor, cotangent: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Give the gradient of ``(output * cotangent).sum()`` by each input, in the input's shape.

    An input that the output does not depend on gets zeros, also where the output cannot be
    differentiated: a zero gradient is no evidence by itself, and needs a control beside it.

    Raises:
        Crash: differentiating raised.
    """
    scalar = (output * cotangent).sum()
    if not output.requires_grad:  # so that a counterexample's script differentiates all the same
        scalar = scalar + sum((0 * value).sum() for value in inputs)
    try:
        return torch.autograd.grad(scalar, inputs, retain_graph=True, materialize_grads=True)
    except RuntimeError as error:
        raise Crash("the gradient", error) from None
