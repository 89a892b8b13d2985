"""Masks: which positions may look at which."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import Tensor

from attest.checks import identical
from attest.laws import law
from attest.strategies import lengths_and_padding
from attest.subject import Subject


@law(
    "causal_mask",
    inputs=st.fixed_dictionaries({"length": st.integers(1, 80)}),
    formula="mask_ij = (j ≤ i)",
)
def it_is_true_on_and_below_the_diagonal(causal_mask: Subject, length: int) -> None:
    """A position sees itself and everything before it, and nothing after it."""
    position = torch.arange(length)
    identical(causal_mask(length), position[:, None] >= position, "the mask")


@law(
    "causal_mask",
    inputs=st.fixed_dictionaries({"length": st.integers(2, 80)}),
    formula="mask(n)[:m, :m] = mask(m)",
)
def a_shorter_mask_is_a_corner_of_a_longer_one(causal_mask: Subject, length: int) -> None:
    """What a position may see does not depend on how much comes after it."""
    half = length // 2
    identical(causal_mask(length)[:half, :half], causal_mask(half), "the corner of the mask")


@law("padding_mask", inputs=lengths_and_padding(), formula="mask_bt = (t < lengths_b)")
def it_is_true_exactly_at_real_tokens(
    padding_mask: Subject, lengths: Tensor, max_length: int
) -> None:
    """The first ``length`` positions of each sequence are real, the rest is padding."""
    expected = torch.tensor([[t < n for t in range(max_length)] for n in lengths.tolist()])
    identical(padding_mask(lengths, max_length), expected, "the mask")


@law(
    "padding_mask",
    inputs=lengths_and_padding(),
    formula="mask(lengths, m + k) = [mask(lengths, m), False]",
)
def more_padding_adds_nothing_but_padding(
    padding_mask: Subject, lengths: Tensor, max_length: int
) -> None:
    """Padding further leaves the real tokens where they were."""
    longer = padding_mask(lengths, max_length + 3)
    identical(longer[:, :max_length], padding_mask(lengths, max_length), "the part before")
    identical(longer[:, max_length:], torch.zeros(len(lengths), 3, dtype=torch.bool), "the rest")
