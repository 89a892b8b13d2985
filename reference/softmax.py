"""Softmax: scores in, a probability distribution out."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from reference.shapes import check_integers, check_mask, check_shapes

__all__ = ["masked_softmax", "softmax"]


def softmax(x: Float[Tensor, "*shape"], dim: int = -1) -> Float[Tensor, "*shape"]:
    """Turn scores into positive numbers that sum to one along ``dim``.

        softmax(x)_j = exp(x_j) / Σ_l exp(x_l)

    Every score has the largest one subtracted first. That changes nothing in exact arithmetic and
    keeps ``exp`` from overflowing in floating point.

    Args:
        x: scores of any shape, finite.
        dim: the axis that sums to one.

    Returns:
        The weights, in the shape and dtype of ``x``.

    Raises:
        TypeError: ``x`` is not floating point.
        ValueError: ``x`` has no axis ``dim``, or nothing stands along it.

    Source: Bridle 1990; for the shift, Blanchard, Higham and Higham 2021.
    """
    check_shapes("x (...)", x)
    check_integers(-max(x.dim(), 1), max(x.dim(), 1) - 1, dim=dim)
    if x.dim() and x.shape[dim] == 0:
        raise ValueError(f"no scores along axis {dim} of shape {tuple(x.shape)}")
    exponentials = torch.exp(x - x.amax(dim, keepdim=True))
    return exponentials / exponentials.sum(dim, keepdim=True)


def masked_softmax(
    scores: Float[Tensor, "*batch L S"], mask: Bool[Tensor, "..."] | None = None
) -> Float[Tensor, "*batch L S"]:
    """Softmax over the keys that the mask allows; every other key gets exactly zero.

        weights_ij = exp(s_ij) / Σ_{l allowed} exp(s_il)  where j is allowed, else 0

    A score of −∞ takes a key out of the normalisation. A query that may look at no key at all gets
    zero weights: such a row is given finite scores before the softmax and zeros after it, so that
    neither it nor its gradient is ever 0/0.

    Args:
        scores: (..., L, S).
        mask: broadcastable to (..., L, S), True where attention is allowed; None allows everything.

    Returns:
        The weights, (..., L, S).

    Raises:
        TypeError: the mask is not boolean.
        ValueError: the mask has fewer than two dimensions or does not broadcast to the scores; or
            there is no key at all.

    Source: Vaswani et al. 2017, section 3.2.3.
    """
    check_shapes("scores (..., L, S>0)", scores)
    check_mask(mask, *scores.shape)
    if mask is None:
        return softmax(scores)
    answerable = mask.any(-1, keepdim=True)
    blocked = ~mask & answerable
    return softmax(scores.masked_fill(blocked, -torch.inf)).masked_fill(~mask, 0.0)
