"""Masks: which query may look at which key. True allows."""

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

__all__ = ["causal_mask", "padding_mask"]


def causal_mask(length: int) -> Bool[Tensor, "length length"]:
    """Let every position see itself and what came before it.

        mask_ij = (j ≤ i)

    Args:
        length: the number of positions, at least 0.

    Returns:
        A boolean (length, length), True on and below the diagonal.

    Raises:
        ValueError: ``length`` is negative.

    Source: Vaswani et al. 2017, section 3.2.3.
    """
    if length < 0:
        raise ValueError(f"a mask's length is at least 0, got {length}")
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
    if lengths.dtype != torch.int64:
        raise TypeError(f"lengths are int64, got {lengths.dtype}")
    if lengths.dim() != 1:
        raise ValueError(f"lengths have shape (B,), got {tuple(lengths.shape)}")
    if bool(((lengths < 1) | (lengths > max_length)).any()):
        raise ValueError(f"lengths lie from 1 to {max_length}, got {lengths.tolist()}")
    return torch.arange(max_length, device=lengths.device) < lengths[:, None]
