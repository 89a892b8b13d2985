"""Wrong positions: sinusoidal, learned, and those that models should not have, or should."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from reference import Encoder, LearnedPositionalEmbedding, MultiHeadAttention, SelfAttention
from reference import Transformer as RightTransformer
from reference import alibi_bias as right_alibi
from reference import clipped_distances as right_distances
from reference import rotary_positions as right_rotary
from reference import sinusoidal_positional_encoding as right
from tests.mutants import mutant

SINUSOIDS = "sinusoidal_positional_encoding"
LEARNED = "LearnedPositionalEmbedding"


def _evens(width: int) -> Tensor:
    """Give 0, 2, 4 …, as many as there are pairs; an odd width is refused."""
    if width % 2:
        raise ValueError(f"a width is even, got {width}")
    return torch.arange(0, width, 2, dtype=torch.float64)


def _places(length: int) -> Tensor:
    return torch.arange(length, dtype=torch.float64)


def _paired(sines: Tensor, cosines: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Interleave sines and cosines."""
    return torch.stack([sines, cosines], -1).flatten(-2).to(dtype or torch.get_default_dtype())


def _turned(angles: Tensor, dtype: torch.dtype | None) -> Tensor:
    return _paired(angles.sin(), angles.cos(), dtype)


# --- Sinusoids: frequencies ---------------------------------------------------------------------


@mutant(
    SINUSOIDS,
    "it_is_made_of_sines_and_cosines",
    "frequencies_fall_by_a_constant_factor",
    "symbols_are_encoded_at_every_position",
    "the_product_of_two_positions_is_one_of_their_distance",
)
def exponent_i_over_d(length: int, width: int, dtype: torch.dtype | None = None) -> Tensor:
    """Forget the 2 in 2i/d, so that the slowest wavelength is a hundred."""
    return _turned(_places(length)[:, None] * 10000.0 ** (-_evens(width) / (2 * width)), dtype)


@mutant(
    SINUSOIDS,
    "it_is_made_of_sines_and_cosines",
    "symbols_are_encoded_at_every_position",
    "the_product_first_rises_where_it_is_said_to",
    "most_wavelengths_are_longer_than_a_sequence",
)
def base_of_one_thousand(length: int, width: int, dtype: torch.dtype | None = None) -> Tensor:
    """Leave a zero out of the base."""
    return _turned(_places(length)[:, None] * 1000.0 ** (-_evens(width) / width), dtype)


@mutant(
    SINUSOIDS,
    "frequencies_fall_by_a_constant_factor",
    "the_product_of_two_positions_is_one_of_their_distance",
    "most_wavelengths_are_longer_than_a_sequence",
)
def frequencies_in_equal_steps(length: int, width: int, dtype: torch.dtype | None = None) -> Tensor:
    """Let the frequencies fall linearly from 1 to 1/10000."""
    steps = _evens(width) / max(width - 2, 1)
    return _turned(_places(length)[:, None] * (1 - 0.9999 * steps), dtype)


@mutant(SINUSOIDS, "it_is_made_of_sines_and_cosines", "frequencies_fall_by_a_constant_factor")
def wavelengths_reach_the_base(length: int, width: int, dtype: torch.dtype | None = None) -> Tensor:
    """Divide by the last index, so that the slowest frequency is 1/10000 itself."""
    return _turned(
        _places(length)[:, None] * 10000.0 ** (-_evens(width) / max(width - 2, 1)), dtype
    )


@mutant(SINUSOIDS, "it_is_made_of_sines_and_cosines")
def sines_a_little_too_large(length: int, width: int, dtype: torch.dtype | None = None) -> Tensor:
    """Be off by one in a hundred thousand."""
    return right(length, width, dtype) * (1 + 1e-5)


@mutant(
    SINUSOIDS,
    "moving_on_is_the_same_rotation_everywhere",
    "symbols_move_on_by_rotations",
    "all_positions_are_equally_long",
)
def cosines_one_frequency_further(
    length: int, width: int, dtype: torch.dtype | None = None
) -> Tensor:
    """Compute the frequency anew for each column, 2(i+1)/d at a cosine."""
    place, even = _places(length)[:, None], _evens(width)
    sines = (place * 10000.0 ** (-even / width)).sin()
    return _paired(sines, (place * 10000.0 ** (-(even + 2) / width)).cos(), dtype)


@mutant(SINUSOIDS, "only_a_multiple_of_two_pi_repeats_the_first_pair")
def first_wavelength_a_whole_number(
    length: int, width: int, dtype: torch.dtype | None = None
) -> Tensor:
    """Scale positions by 2π, so that the first pair never moves."""
    return _turned(
        _places(length)[:, None] * 2 * math.pi * 10000.0 ** (-_evens(width) / width), dtype
    )


@mutant(SINUSOIDS, "it_is_made_of_sines_and_cosines", "far_positions_are_as_exact_as_their_angles")
def wide_encodings_of_another_base(
    length: int, width: int, dtype: torch.dtype | None = None
) -> Tensor:
    """Take another base past a width of 12."""
    base = 10000.0 if width <= 12 else 20000.0
    return _turned(_places(length)[:, None] * base ** (-_evens(width) / width), dtype)


@mutant(SINUSOIDS, "frequencies_fall_by_a_constant_factor")
def one_width_of_another_base(length: int, width: int, dtype: torch.dtype | None = None) -> Tensor:
    """Take the base of a model with a long context at the one width that it was copied with."""
    base = 500000.0 if width == 256 else 10000.0
    return _turned(_places(length)[:, None] * base ** (-_evens(width) / width), dtype)


# --- Sinusoids: positions -----------------------------------------------------------------------


@mutant(SINUSOIDS, "far_positions_are_as_exact_as_their_angles")
def far_positions_of_wide_encodings_off_by_one(
    length: int, width: int, dtype: torch.dtype | None = None
) -> Tensor:
    """Count one position twice where tables are built in blocks, past 2,500 at a width of 64."""
    places = _places(length)
    if width >= 64:
        places[2500:] -= 1
    return _turned(places[:, None] * 10000.0 ** (-_evens(width) / width), dtype)


@mutant(
    SINUSOIDS,
    "a_longer_table_begins_with_the_shorter_one",
    "every_table_begins_with_every_shorter_one_bit_by_bit",
    "symbols_are_encoded_at_every_position",
    "it_is_made_of_sines_and_cosines",
)
def positions_as_a_share_of_the_length(
    length: int, width: int, dtype: torch.dtype | None = None
) -> Tensor:
    """Divide by the length, so that every sequence runs from 0 to 1."""
    places = _places(length)[:, None] / max(length, 1)
    return _turned(places * 10000.0 ** (-_evens(width) / width), dtype)


@mutant(SINUSOIDS, "the_first_position_is_zero", "it_is_made_of_sines_and_cosines")
def positions_counted_from_one(length: int, width: int, dtype: torch.dtype | None = None) -> Tensor:
    """Give the first token the encoding of the second."""
    return right(length + 1, width, dtype)[1:]


@mutant(
    SINUSOIDS,
    "no_two_positions_are_encoded_alike",
    "the_first_position_comes_again",
    "only_a_multiple_of_two_pi_repeats_the_first_pair",
)
def one_row_for_all(length: int, width: int, dtype: torch.dtype | None = None) -> Tensor:
    """Pick a row by its index in place of a slice, and broadcast it."""
    return right(length, width, dtype)[-1:].expand(length, width).contiguous()


@mutant(SINUSOIDS, "no_two_positions_are_encoded_alike", "it_is_made_of_sines_and_cosines")
def every_position_twice(length: int, width: int, dtype: torch.dtype | None = None) -> Tensor:
    """Number tokens by pairs."""
    return right(length, width, dtype)[torch.arange(length) // 2]


@mutant(
    SINUSOIDS,
    "far_positions_are_as_exact_as_their_angles",
    "rounding_the_position_makes_encodings_coincide",
)
def table_starts_anew_after_2048(
    length: int, width: int, dtype: torch.dtype | None = None
) -> Tensor:
    """Keep 2,048 positions, and begin again after them."""
    return right(length, width, dtype)[torch.arange(length) % 2048]


@mutant(
    SINUSOIDS,
    "far_positions_are_as_exact_as_their_angles",
    "rounding_the_position_makes_encodings_coincide",
)
def positions_counted_in_float16(
    length: int, width: int, dtype: torch.dtype | None = None
) -> Tensor:
    """Number tokens in float16, which has no odd numbers past 2,048."""
    places = _places(length).half().double()[:, None]
    return _turned(places * 10000.0 ** (-_evens(width) / width), dtype)


@mutant(SINUSOIDS, "rounding_the_encoding_keeps_positions_apart")
def positions_counted_in_the_results_dtype(
    length: int, width: int, dtype: torch.dtype | None = None
) -> Tensor:
    """Number tokens in the dtype that is wanted in the end; right in float32."""
    places = _places(length).to(dtype or torch.float64).double()[:, None]
    return _turned(places * 10000.0 ** (-_evens(width) / width), dtype)


@mutant(SINUSOIDS, "it_is_made_of_sines_and_cosines", "all_positions_are_equally_long")
def computed_in_bfloat16(length: int, width: int, dtype: torch.dtype | None = None) -> Tensor:
    """Leave an autocast on."""
    return right(length, width, torch.bfloat16).to(dtype or torch.get_default_dtype())


@mutant(SINUSOIDS, "angles_are_rounded_no_further_than_they_must")
def frequencies_rounded_to_float32(
    length: int, width: int, dtype: torch.dtype | None = None
) -> Tensor:
    """Round frequencies before the positions are multiplied; good enough for the contract."""
    frequencies = (10000.0 ** (-_evens(width) / width)).float().double()
    return _turned(_places(length)[:, None] * frequencies, dtype)


@mutant(SINUSOIDS, "every_table_begins_with_every_shorter_one_bit_by_bit")
def last_row_computed_apart(length: int, width: int, dtype: torch.dtype | None = None) -> Tensor:
    """Compute what is left over from blocks of four in float32; within the bound of any law."""
    table = right(length, width, torch.float64)
    whole = length - length % 4
    table = torch.cat([table[:whole], table[whole:].float().double() * (1 + 2.0**-22)])
    return table.to(dtype or torch.get_default_dtype())


# --- Sinusoids: columns -------------------------------------------------------------------------


@mutant(
    SINUSOIDS,
    "all_positions_are_equally_long",
    "the_product_of_two_positions_is_one_of_their_distance",
    "symbols_multiply_to_a_function_of_their_distance",
    "symbols_do_not_tell_before_from_after",
    "a_quarter_turn_between_them_tells_before_from_after",
    "the_product_with_the_next_is_not_that_with_the_last",
)
def cosines_alone(length: int, width: int, dtype: torch.dtype | None = None) -> Tensor:
    """Put a cosine where each sine belongs."""
    cosines = (_places(length)[:, None] * 10000.0 ** (-_evens(width) / width)).cos()
    return _paired(cosines, cosines, dtype)


@mutant(SINUSOIDS, "it_is_made_of_sines_and_cosines", "symbols_are_encoded_at_every_position")
def cosine_first(length: int, width: int, dtype: torch.dtype | None = None) -> Tensor:
    """Swap the columns of each pair."""
    angles = _places(length)[:, None] * 10000.0 ** (-_evens(width) / width)
    return _paired(angles.cos(), angles.sin(), dtype)


@mutant(SINUSOIDS, "all_positions_are_equally_long", "it_is_made_of_sines_and_cosines")
def encodings_of_length_one(length: int, width: int, dtype: torch.dtype | None = None) -> Tensor:
    """Normalise every row."""
    return right(length, width, dtype) / math.sqrt(width / 2)


@mutant(
    SINUSOIDS,
    "symbols_multiply_to_a_function_of_their_distance",
    "moving_on_is_the_same_rotation_everywhere",
)
def encodings_fade_with_the_position(
    length: int, width: int, dtype: torch.dtype | None = None
) -> Tensor:
    """Let later positions weigh a little less."""
    angles = _places(length)[:, None] * 10000.0 ** (-_evens(width) / width)
    faded = 1 / (1 + _places(length)[:, None] / 1000)
    return _paired(angles.sin() * faded, angles.cos() * faded, dtype)


@mutant(SINUSOIDS, "a_position_further_off_is_less_alike")
def all_wavelengths_longer_than_the_sequence(
    length: int, width: int, dtype: torch.dtype | None = None
) -> Tensor:
    """Slow every frequency down, so that no pair ever turns once."""
    return _turned(_places(length)[:, None] * 1e-4 * 10000.0 ** (-_evens(width) / width), dtype)


@mutant(
    SINUSOIDS,
    "it_is_made_of_sines_and_cosines",
    "scores_of_words_depend_on_their_distance_alone",
    "added_positions_break_the_symmetry",
    "pooled_outputs_with_positions_tell_all_orders_apart",
)
def zeros(length: int, width: int, dtype: torch.dtype | None = None) -> Tensor:
    """Allocate the table and never fill it."""
    return torch.zeros(length, width, dtype=dtype)


@mutant(SINUSOIDS, "an_odd_width_works_or_is_refused")
def odd_widths_get_other_frequencies(
    length: int, width: int, dtype: torch.dtype | None = None
) -> Tensor:
    """Round an odd width up before the frequencies are computed."""
    return right(length, width + width % 2, dtype)[:, :width]


# --- Positions that enter the scores ------------------------------------------------------------


@mutant(SINUSOIDS, "rotary_scores_depend_on_the_distance_alone", replaces="rotary_positions")
def pairs_stretched_as_they_turn(x: Tensor, positions: Tensor) -> Tensor:
    """Let a later token be longer, so that scores grow along the sequence."""
    return right_rotary(x, positions) * (1 + positions.double()[:, None] / 100)


@mutant(SINUSOIDS, "rotary_scores_depend_on_the_distance_alone", replaces="rotary_positions")
def only_one_of_a_pair_turns(x: Tensor, positions: Tensor) -> Tensor:
    """Leave the odd entries as they were."""
    turned = right_rotary(x, positions)
    return torch.stack([turned[..., 0::2], x[..., 1::2]], -1).flatten(-2)


@mutant(
    SINUSOIDS, "alibi_and_clipped_positions_depend_on_the_distance_alone", replaces="alibi_bias"
)
def bias_by_the_key_alone(n_heads: int, queries: int, keys: int) -> Tensor:
    """Lower a score by where its key stands, whatever the query."""
    return right_alibi(n_heads, queries, keys)[:, -1:].expand(n_heads, queries, keys)


@mutant(
    SINUSOIDS,
    "alibi_and_clipped_positions_depend_on_the_distance_alone",
    replaces="clipped_distances",
)
def distances_from_the_first_key(queries: int, keys: int, most: int) -> Tensor:
    """Align the first query with the first key, where the last belong together."""
    return right_distances(keys, keys, most)[:queries]


# --- Order --------------------------------------------------------------------------------------


@mutant(
    "SelfAttention",
    "outputs_follow_their_tokens_to_any_place",
    "symbols_come_out_in_the_order_they_went_in",
    "pooled_outputs_do_not_know_the_order",
    "a_pooled_classifier_is_right_on_one_of_two_orders",
)
class HiddenIndex(SelfAttention):
    """Add a thousandth of its index to every token."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Give the output and the weights."""
        index = torch.arange(x.shape[-2]).double()[:, None].to(x.dtype)
        return super().forward(x + index / 1000, mask)


@mutant("SelfAttention", "masked_outputs_follow_their_tokens")
class MasksNotApplied(SelfAttention):
    """Take a mask and ignore it."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Give the output and the weights."""
        del mask
        return super().forward(x)


@mutant(
    "MultiHeadAttention",
    "outputs_follow_their_tokens_to_any_place",
    "symbols_come_out_of_all_heads_in_the_order_they_went_in",
)
class LaterKeysSmaller(MultiHeadAttention):
    """Let keys shrink along the sequence, as a decay that was left in."""

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Give the output and the weights."""
        place = torch.arange(key.shape[-2]).double()[:, None].to(key.dtype)
        return super().forward(query, key * (1 - place / 500), value, mask)


@mutant(
    "Encoder",
    "outputs_follow_their_tokens_to_any_place",
    "layers_keep_the_symmetry_of_their_parts",
)
class PositionsInsideTheEncoder(Encoder):
    """Add positions where the model has added them already."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Give the tokens after the last layer."""
        place = torch.arange(x.shape[-2]).to(x)[:, None]
        return super().forward(x + torch.sin(place), mask)


class _Positions(RightTransformer):
    """A Transformer whose positions a mutant gets wrong."""

    def positions(self, x: Tensor, first: int) -> Tensor:
        """Give what is added to the embeddings x (B, T, D), the first of them at ``first``."""
        return right(first + x.shape[1], x.shape[-1], x.dtype)[first:]

    def _embed(self, embedding: nn.Embedding, tokens: Tensor, first: int = 0) -> Tensor:
        x = embedding(tokens) * math.sqrt(embedding.embedding_dim)
        return x + self.positions(x, first)


@mutant("Transformer", "equal_words_are_told_apart_by_their_places")
class WithoutPositions(_Positions):
    """Forget positions altogether."""

    def positions(self, x: Tensor, first: int) -> Tensor:
        """Add nothing."""
        return torch.zeros(x.shape[1:], dtype=x.dtype)


@mutant("Transformer", "equal_words_are_told_apart_by_their_places")
class PositionsForTheSourceAlone(_Positions):
    """Leave the target without positions."""

    def _embed(self, embedding: nn.Embedding, tokens: Tensor, first: int = 0) -> Tensor:
        x = super()._embed(embedding, tokens, first)
        return x if embedding is self.source_embedding else x - self.positions(x, first)


@mutant("Transformer", "equal_words_are_told_apart_by_their_places")
class PositionsByPairs(_Positions):
    """Give two neighbours the same position."""

    def positions(self, x: Tensor, first: int) -> Tensor:
        """Look the right encodings up by half the index."""
        return super().positions(x, first)[torch.arange(x.shape[1]) // 2]


# --- Learned positions --------------------------------------------------------------------------


class _Table(LearnedPositionalEmbedding):
    """The reference; a mutant reads its table wrongly."""

    def forward(self, length: int) -> Tensor:
        """Give the vectors of the first positions, (length, D)."""
        if length > len(self.table):
            raise ValueError(f"there are {len(self.table)} positions, not {length}")
        return self.read(length)

    def read(self, length: int) -> Tensor:
        """Give rows of the table."""
        return self.table[:length]


@mutant(LEARNED, "lengths_past_the_table_are_refused")
class LastRowRepeated(_Table):
    """Clamp positions to the last that was learned."""

    def forward(self, length: int) -> Tensor:
        """Give the vectors of the first positions, (length, D)."""
        return self.table[torch.arange(length).clamp_max(len(self.table) - 1)]


@mutant(LEARNED, "lengths_past_the_table_are_refused")
class TableStartsAnew(_Table):
    """Count positions modulo the length of the table."""

    def forward(self, length: int) -> Tensor:
        """Give the vectors of the first positions, (length, D)."""
        return self.table[torch.arange(length) % len(self.table)]


@mutant(LEARNED, "lengths_past_the_table_are_refused")
class OneRowMoreThanAsked(_Table):
    """Make a row for a start token that nobody counts, and hand it out as a position."""

    def __init__(self, max_length: int, d_model: int) -> None:
        super().__init__(max_length + 1, d_model)


@mutant(LEARNED, "fewer_positions_are_the_first_ones", "rows_are_those_of_the_table")
class LastRowsInPlaceOfTheFirst(_Table):
    """Align a short sequence with the end of the table."""

    def read(self, length: int) -> Tensor:
        """Give rows of the table."""
        return self.table[len(self.table) - length :]


@mutant(LEARNED, "fewer_positions_are_the_first_ones", "rows_are_those_of_the_table")
class RowsStretchedOverTheSequence(_Table):
    """Spread the table evenly over a shorter sequence."""

    def read(self, length: int) -> Tensor:
        """Give rows of the table."""
        longest = len(self.table)
        return self.table[torch.arange(length) * longest // max(length, 1)]


@mutant(LEARNED, "each_position_learns_a_row_of_its_own")
class FirstRowNeverLearns(_Table):
    """Take position 0 for padding, whose gradient is dropped."""

    def read(self, length: int) -> Tensor:
        """Give rows of the table."""
        return torch.cat([self.table[:1].detach(), self.table[1:length]])


@mutant(LEARNED, "each_position_learns_a_row_of_its_own")
class TableDetached(_Table):
    """Read the table's data, past autograd."""

    def read(self, length: int) -> Tensor:
        """Give rows of the table."""
        return self.table.data[:length]


@mutant(LEARNED, "each_position_learns_a_row_of_its_own", "rows_are_those_of_the_table")
class RowsCentredOverTheTable(_Table):
    """Take away the mean of the whole table, so that unused rows learn, too."""

    def read(self, length: int) -> Tensor:
        """Give rows of the table."""
        return self.table[:length] - self.table.mean(0)


@mutant(LEARNED, "each_position_learns_a_row_of_its_own")
class GradientForEveryRow(_Table):
    """Give the right rows, and a little gradient to the others."""

    def read(self, length: int) -> Tensor:
        """Give rows of the table."""
        rest = self.table.sum() * 1e-3
        return self.table[:length] + (rest - rest.detach())


@mutant(LEARNED, "rows_are_those_of_the_table")
class RowsOfLengthOne(_Table):
    """Normalise every row."""

    def read(self, length: int) -> Tensor:
        """Give rows of the table."""
        return nn.functional.normalize(self.table[:length], dim=-1)


@mutant(LEARNED, "rows_are_those_of_the_table", "each_position_learns_a_row_of_its_own")
class LongTablesShareRows(_Table):
    """Hash positions past 64 to earlier ones; right for short tables."""

    def read(self, length: int) -> Tensor:
        """Give rows of the table."""
        return self.table[torch.arange(length) % 64]


@mutant(LEARNED, "rows_are_those_of_the_table")
class InitialTableKept(_Table):
    """Look rows up in a copy made at the first call, whatever was learned since."""

    copy: Tensor | None = None

    def read(self, length: int) -> Tensor:
        """Give rows of the table."""
        if self.copy is None:
            self.copy = self.table.detach().clone()
        return self.copy[:length] + 0 * self.table[:length]


@mutant(LEARNED, "lengths_past_the_table_are_refused")
class LongTablesStartAgain(_Table):
    """Count from the first position again at the end of a table of more than 200."""

    def forward(self, length: int) -> Tensor:
        """Take the remainder."""
        if len(self.table) <= 200:
            return super().forward(length)
        return self.table[torch.arange(length) % len(self.table)]
