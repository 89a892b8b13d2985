"""Wrong masks."""

from functools import lru_cache

import torch
from torch import Tensor

from reference import causal_mask, padding_mask
from tests.mutants import mutant

# --- Causal -------------------------------------------------------------------------------------


@mutant("causal_mask", "it_is_true_on_and_below_the_diagonal")
def the_upper_triangle(length: int) -> Tensor:
    """Let a position see the future and itself."""
    return causal_mask(length).mT


@mutant("causal_mask", "it_is_true_on_and_below_the_diagonal")
def pairs_see_each_other(length: int) -> Tensor:
    """Be causal from one block of two to the next, and not within."""
    block = torch.arange(length) // 2
    return block[:, None] >= block


@mutant("causal_mask", "it_is_true_on_and_below_the_diagonal")
def nothing_is_hidden_past_a_buffer(length: int) -> Tensor:
    """Mask the first 64 positions, for which the buffer was made, and no others."""
    mask = torch.ones(length, length, dtype=torch.bool)
    mask[:64, :64] = causal_mask(min(length, 64))
    return mask


@mutant("causal_mask", "it_is_true_on_and_below_the_diagonal")
def zeros_and_infinities(length: int) -> Tensor:
    """Give a mask to add to scores, as PyTorch's own generator does."""
    return torch.zeros(length, length).masked_fill(~causal_mask(length), -torch.inf)


@mutant("causal_mask", "a_shorter_mask_is_a_corner_of_a_longer_one")
def the_other_diagonal(length: int) -> Tensor:
    """Count keys from the end."""
    return causal_mask(length).flip(-1)


@mutant("causal_mask", "a_shorter_mask_is_a_corner_of_a_longer_one")
def a_window_as_wide_as_half_the_length(length: int) -> Tensor:
    """Forget what lies further back than half of the sequence."""
    return causal_mask(length).triu(-(length // 2))


@lru_cache
def _future(length: int) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool).triu(1)


@mutant("causal_mask", "a_shorter_mask_is_a_corner_of_a_longer_one")
def a_kept_mask_is_inverted_in_place(length: int) -> Tensor:
    """Invert a cached mask in place, so that every second call is wrong."""
    return _future(length).logical_not_()


@mutant("causal_mask", "the_same_call_gives_the_same_result")
def a_copy_of_a_mask_that_is_inverted_in_place(length: int) -> Tensor:
    """Invert a cached mask in place and give a copy; every second call is wrong."""
    return _future(length).logical_not_().clone()


@mutant("causal_mask", "the_same_call_gives_the_same_result")
def positions_are_dropped_at_random(length: int) -> Tensor:
    """Hide a tenth of the past, in training or not."""
    return causal_mask(length) & (torch.rand(length, length) < 0.9)


# --- Padding ------------------------------------------------------------------------------------


@mutant(
    "padding_mask", "it_is_true_exactly_at_real_tokens", "more_padding_adds_nothing_but_padding"
)
def true_at_padding(lengths: Tensor, max_length: int) -> Tensor:
    """Turn the polarity round."""
    return ~padding_mask(lengths, max_length)


@mutant("padding_mask", "it_is_true_exactly_at_real_tokens")
def one_token_too_many(lengths: Tensor, max_length: int) -> Tensor:
    """Count the first padding as real."""
    return torch.arange(max_length) <= lengths[:, None]


@mutant("padding_mask", "it_is_true_exactly_at_real_tokens")
def one_token_too_few(lengths: Tensor, max_length: int) -> Tensor:
    """Count the last real token as padding."""
    return torch.arange(1, max_length + 1) < lengths[:, None]


@mutant("padding_mask", "more_padding_adds_nothing_but_padding")
def padded_on_the_left(lengths: Tensor, max_length: int) -> Tensor:
    """Put the real tokens last."""
    return padding_mask(lengths, max_length).flip(-1)


@mutant("padding_mask", "more_padding_adds_nothing_but_padding")
def padding_past_the_longest_counts_as_real(lengths: Tensor, max_length: int) -> Tensor:
    """Mask up to the longest sequence, and fill up with what allows."""
    longest = int(lengths.max())
    return torch.nn.functional.pad(
        padding_mask(lengths, longest), (0, max_length - longest), value=True
    )


@mutant("padding_mask", "it_is_true_exactly_at_real_tokens")
def cut_at_the_longest(lengths: Tensor, max_length: int) -> Tensor:
    """Give as many columns as the longest sequence has tokens."""
    return padding_mask(lengths, int(lengths.max()))


@mutant("padding_mask", "it_is_true_exactly_at_real_tokens")
def every_item_is_as_long_as_the_first(lengths: Tensor, max_length: int) -> Tensor:
    """Use one length for the whole batch."""
    return padding_mask(lengths[:1].expand_as(lengths), max_length)


@mutant("padding_mask", "it_is_true_exactly_at_real_tokens")
def sorted_by_length(lengths: Tensor, max_length: int) -> Tensor:
    """Sort the batch, as packing does, and forget to sort it back."""
    return padding_mask(lengths.sort(descending=True).values, max_length)


@mutant("padding_mask", "inputs_are_left_unchanged")
def lengths_are_counted_down_in_place(lengths: Tensor, max_length: int) -> Tensor:
    """Turn the caller's lengths into last positions."""
    lengths -= 1
    return torch.arange(max_length) <= lengths[:, None]


@mutant("padding_mask", "the_same_call_gives_the_same_result")
def tokens_are_dropped_at_random(lengths: Tensor, max_length: int) -> Tensor:
    """Hide a tenth of the tokens, in training or not."""
    return padding_mask(lengths, max_length) & (torch.rand(len(lengths), max_length) < 0.9)


@mutant("padding_mask", "it_is_true_exactly_at_real_tokens")
def lengths_in_eight_bits(lengths: Tensor, max_length: int) -> Tensor:
    """Overflow past 127 tokens."""
    return torch.arange(max_length) < lengths.to(torch.int8)[:, None]


@mutant("causal_mask", "it_is_true_on_and_below_the_diagonal")
def everything_is_seen_past_a_hundred(length: int) -> Tensor:
    """Keep a buffer for a hundred positions, and hide nothing from the others."""
    mask = torch.ones(length, length, dtype=torch.bool).tril()
    mask[100:] = True
    return mask


@mutant("causal_mask", "it_is_true_on_and_below_the_diagonal")
def positions_in_half_precision(length: int) -> Tensor:
    """Compare positions in float16, where 2,049 is 2,048."""
    position = torch.arange(length).half()
    return position[:, None] >= position


@mutant("padding_mask", "it_is_true_exactly_at_real_tokens")
def lengths_in_half_precision(lengths: Tensor, max_length: int) -> Tensor:
    """Compare positions and lengths in float16."""
    return torch.arange(max_length).half() < lengths.half()[:, None]


@mutant("padding_mask", "it_is_true_exactly_at_real_tokens")
def items_past_a_buffer_are_full(lengths: Tensor, max_length: int) -> Tensor:
    """Have room for 32 lengths, and take the tokens of all others to be real."""
    return padding_mask(lengths, max_length) | (torch.arange(len(lengths)) >= 32)[:, None]


@mutant("padding_mask", "it_is_true_exactly_at_real_tokens")
def transposed_where_square(lengths: Tensor, max_length: int) -> Tensor:
    """Take as many sequences as tokens, from seven on, to be given the other way round."""
    mask = padding_mask(lengths, max_length)
    return mask.mT if len(lengths) == max_length > 6 else mask


@mutant("padding_mask", "it_is_true_exactly_at_real_tokens")
def turned_round_where_the_longest_is_full(lengths: Tensor, max_length: int) -> Tensor:
    """Pad long batches on the left where no sequence leaves room."""
    mask = padding_mask(lengths, max_length)
    return mask.flip(-1) if int(lengths.max()) == max_length > 100 else mask


@mutant("padding_mask", "it_is_true_exactly_at_real_tokens")
def items_are_counted_in_eight_bits(lengths: Tensor, max_length: int) -> Tensor:
    """Overflow past 127 items, and read the lengths from the end."""
    item = torch.arange(len(lengths)).to(torch.int8).long()
    return padding_mask(lengths[item], max_length)


@mutant("causal_mask", "it_is_true_on_and_below_the_diagonal")
def a_tile_of_the_middle_is_transposed(length: int) -> Tensor:
    """Build masks of more than eighty positions out of tiles, up to where another kernel begins."""
    mask = causal_mask(length)
    if 80 < length < 130:
        mask[64:, 64:] = causal_mask(length - 64).mT
    return mask
