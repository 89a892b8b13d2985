"""Masks: which query may look at which key. True allows."""

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from reference.shapes import check_integers, check_lengths, check_mask, check_shapes

__all__ = ["causal_mask", "combined_mask", "padding_mask"]


def causal_mask(length: int) -> Bool[Tensor, "length length"]:
    """Let every position see itself and what came before it.

        mask_ij = (j ≤ i)

    Args:
        length: the number of positions, at least 0.

    Returns:
        A boolean (length, length), True on and below the diagonal.

    Raises:
        TypeError: ``length`` is no integer.
        ValueError: ``length`` is negative.

    Source: Vaswani et al. 2017, section 3.2.3.
    """
    check_integers(0, length=length)
    return torch.ones(length, length, dtype=torch.bool).tril()


def padding_mask(lengths: Int64[Tensor, "B"], max_length: int) -> Bool[Tensor, "B max_length"]:
    """Mark the real tokens of sequences that were padded on the right to one length.

        mask_bt = (t < lengths_b)

    Args:
        lengths: the number of real tokens of each sequence, (B,), each from 1 to ``max_length``.
        max_length: the padded length.

    Returns:
        A boolean (B, max_length), True at real tokens.

    Raises:
        TypeError: ``lengths`` is not an int64 tensor.
        ValueError: ``lengths`` is not one-dimensional, or a length is below 1 or above
            ``max_length``.
    """
    check_shapes("lengths int64 (B,)", lengths)
    check_integers(0, max_length=max_length)
    check_lengths(lengths, max_length)
    return torch.arange(max_length, device=lengths.device) < lengths[:, None]


def combined_mask(real: Bool[Tensor, "B S"], allowed: Bool[Tensor, "..."]) -> Bool[Tensor, "B L S"]:
    """Allow a key where it is a real token and may be looked at: both must say so.

        mask_bij = real_bj ∧ allowed_ij

    Args:
        real: a padding mask over the keys, (B, S), True at real tokens.
        allowed: (L, S) or (B, L, S), True where attention is allowed; a causal mask, for one.

    Returns:
        A boolean (B, L, S), True where attention is allowed.

    Raises:
        TypeError: a mask is not boolean.
        ValueError: the shapes do not fit.

    Source: Vaswani et al. 2017, sections 3.1 and 3.2.3, where the decoder needs both.
    """
    check_shapes("real bool (B, S), allowed bool (..., L, S)", real, allowed)
    check_mask(allowed, len(real), *allowed.shape[-2:])
    return real[:, None, :] & allowed
