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

    An input that the output does not depend on gets zeros, also where nothing can be
    differentiated: a zero gradient is no evidence by itself, and needs a control beside it.

    Raises:
        Crash: differentiating raised.
    """
    if not output.requires_grad:
        return tuple(torch.zeros_like(value) for value in inputs)
    scalar = (output * cotangent).sum()
    try:
        found = torch.autograd.grad(scalar, inputs, retain_graph=True, allow_unused=True)
    except RuntimeError as error:
        raise Crash("the gradient", error) from None
    return tuple(
        torch.zeros_like(value) if grad is None else grad
        for value, grad in zip(inputs, found, strict=True)
    )
