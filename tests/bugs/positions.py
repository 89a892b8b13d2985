"""Positions that were computed, picked or added wrongly."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from reference import sinusoidal_positional_encoding as right
from tests.bugs import bug
from tests.mutants.positional_encoding import SINUSOIDS
from tests.mutants.positional_encoding import _evens as evens
from tests.mutants.positional_encoding import _paired as paired
from tests.mutants.positional_encoding import _places as places
from tests.mutants.positional_encoding import _turned as turned
from tests.mutants.transformer import COMPONENT as TRANSFORMER
from tests.mutants.transformer import Steps

Dtype = torch.dtype | None

# --- Added --------------------------------------------------------------------------------------


@bug(
    20,
    TRANSFORMER,
    "items_of_a_batch_do_not_mix",
    "equal_words_are_told_apart_by_their_places",
    "the_order_of_the_tokens_matters",
)
class PositionsAreThoseOfTheBatch(Steps):
    """Count along the batch, as code for sequences that come first does."""

    def place(self, x: Tensor, first: int) -> Tensor:
        return x + right(x.shape[0], x.shape[-1], x.dtype)[:, None]


@bug(
    21,
    TRANSFORMER,
    "equal_words_are_told_apart_by_their_places",
    "the_order_of_the_tokens_matters",
)
class OneRowOfPositionsForAll(Steps):
    """Take the row of the length where the rows up to it are meant."""

    def place(self, x: Tensor, first: int) -> Tensor:
        row = right(first + x.shape[1] + 1, x.shape[-1], x.dtype)
        return x + row[first + x.shape[1]]


# --- Frequencies --------------------------------------------------------------------------------


@bug(
    22,
    SINUSOIDS,
    "moving_on_is_the_same_rotation_everywhere",
    "all_positions_are_equally_long",
    "it_is_made_of_sines_and_cosines",
)
def column_numbers_for_pair_numbers(length: int, width: int, dtype: Dtype = None) -> Tensor:
    """Step through the columns by two, and take 2i/d of a sine's, and 2(i + 1)/d for its cosine."""
    column = evens(width)
    place = places(length)[:, None]
    sines = torch.sin(place / 10000.0 ** (2 * column / width))
    return paired(sines, torch.cos(place / 10000.0 ** (2 * (column + 1) / width)), dtype)


@bug(
    23,
    SINUSOIDS,
    "it_is_made_of_sines_and_cosines",
    "frequencies_fall_by_a_constant_factor",
    sources=("zju3dv/LoFTR #41",),
)
def logarithm_divided_too_early(length: int, width: int, dtype: Dtype = None) -> Tensor:
    """Write −ln 10000 / d // 2 in the exponent, which is rounded down to a whole number."""
    frequencies = torch.exp(evens(width) * (-math.log(10000.0) / width // 2))
    return turned(places(length)[:, None] * frequencies, dtype)


@bug(23, SINUSOIDS, "it_is_made_of_sines_and_cosines", sources=("codertimo/BERT-pytorch #18",))
def whole_numbers_times_a_fraction(length: int, width: int, dtype: Dtype = None) -> Tensor:
    """Multiply integers by a fraction, of which integers keep −2, −1 or, as a rule, zero."""
    exponents = evens(width).long() * int(-math.log(10000.0) / width)
    return turned(places(length)[:, None] * exponents.double().exp(), dtype)


@bug(24, SINUSOIDS, "an_odd_width_works_or_is_refused")
def odd_widths_break_halfway(length: int, width: int, dtype: Dtype = None) -> Tensor:
    """Assign as many cosines as sines to the odd columns, of which there is one less."""
    angles = places(length)[:, None] * 10000.0 ** (
        -torch.arange(0, width, 2, dtype=torch.float64) / width
    )
    table = torch.zeros(length, width, dtype=dtype)
    table[:, 0::2] = angles.sin()
    table[:, 1::2] = angles.cos()
    return table


# --- Precision ----------------------------------------------------------------------------------


def _in(low: torch.dtype, length: int, width: int, dtype: Dtype) -> Tensor:
    frequencies = (10000.0 ** (-evens(width) / width)).to(low)
    return turned(torch.arange(length).to(low)[:, None] * frequencies, dtype)


_INEXACT = (
    "far_positions_are_as_exact_as_their_angles",
    "it_is_made_of_sines_and_cosines",
    "rounding_the_position_makes_encodings_coincide",
)


@bug(25, SINUSOIDS, *_INEXACT, sources=("EleutherAI/gpt-neox #1003", "NVIDIA/Megatron-LM #535"))
def angles_in_float16(length: int, width: int, dtype: Dtype = None) -> Tensor:
    """Let positions, frequencies and angles follow the dtype of a model in float16."""
    return _in(torch.float16, length, width, dtype)


@bug(
    25,
    SINUSOIDS,
    *_INEXACT,
    sources=("huggingface/transformers #25681", "vllm-project/vllm #54620"),
)
def angles_in_bfloat16(length: int, width: int, dtype: Dtype = None) -> Tensor:
    """Let positions, frequencies and angles follow the dtype of a model in bfloat16."""
    return _in(torch.bfloat16, length, width, dtype)


def _rotated(x: Tensor, positions: Tensor, low: torch.dtype) -> Tensor:
    """Turn pairs by angles that were computed in few digits."""
    angles = positions.to(low)[:, None] * (10000.0 ** (-evens(x.shape[-1]) / x.shape[-1])).to(low)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)


_TURNED = "rotary_positions_turn_by_angles_that_are_rounded_once"


@bug(
    25,
    SINUSOIDS,
    _TURNED,
    sources=("EleutherAI/gpt-neox #1003", "huggingface/transformers #25681"),
    replaces="rotary_positions",
)
def queries_turned_by_angles_of_their_own_dtype(x: Tensor, positions: Tensor) -> Tensor:
    """Let the angles of rotary positions follow the dtype of the queries."""
    return _rotated(x, positions, x.dtype)


@bug(25, SINUSOIDS, _TURNED, sources=("vllm-project/vllm #54620",), replaces="rotary_positions")
def queries_turned_by_angles_in_bfloat16(x: Tensor, positions: Tensor) -> Tensor:
    """Compute the angles in bfloat16, whatever the queries are."""
    return _rotated(x, positions, torch.bfloat16)
