"""Masks that were built, read, applied or passed on wrongly."""

from __future__ import annotations

import torch
from torch import Tensor

from reference import Encoder, Transformer, scaled_dot_product_attention, softmax
from tests.bugs import bug
from tests.mutants.decoder import Layer
from tests.mutants.dot_product import SDPA, Attended, Mask
from tests.mutants.dot_product import _attend as attend
from tests.mutants.dot_product import _hidden as hidden
from tests.mutants.dot_product import _scores as scores_of
from tests.mutants.encoder import Layer as EncoderLayer
from tests.mutants.encoder import by_hand
from tests.mutants.masked_training import weights_zeroed_and_not_normalised_again
from tests.mutants.multi_head import COMPONENT as MULTI_HEAD
from tests.mutants.multi_head import Steps
from tests.mutants.transformer import _with_mask as with_mask
from tests.mutants.transformer import visible

# --- Where queries and keys begin ---------------------------------------------------------------


@bug(1, SDPA, "each_query_is_answered_by_itself", "the_newest_token_may_see_everything")
def causal_from_the_first_key(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Know a causal mask, and let a kernel build it anew from the first query and the first key."""
    size = (query.shape[-2], key.shape[-2])
    every = torch.ones(size, dtype=torch.bool)
    if mask is not None and torch.equal(mask, every.tril(size[1] - size[0])):
        mask = every.tril()
    return scaled_dot_product_attention(query, key, value, mask)


@bug(8, "causal_mask", "it_is_true_on_and_below_the_diagonal")
def the_diagonal_is_blocked(length: int) -> Tensor:
    """Block the upper triangle with its diagonal."""
    return ~torch.ones(length, length, dtype=torch.bool).triu(0)


@bug(8, "causal_mask", "it_is_true_on_and_below_the_diagonal")
def the_next_token_is_seen(length: int) -> Tensor:
    """Block the upper triangle from the second diagonal on."""
    return ~torch.ones(length, length, dtype=torch.bool).triu(2)


@bug(
    8,
    "DecoderLayer",
    "a_token_attends_to_itself_and_to_all_before_it",
    "saying_every_token_twice_changes_nothing",
)
class NoTokenSeesItself(Layer):
    """Take the mask whose diagonal is blocked."""

    def own_mask(self, x, self_mask):
        mask = the_diagonal_is_blocked(x.shape[1])
        return mask if self_mask is None else mask & self_mask


@bug(
    8,
    "DecoderLayer",
    "a_token_depends_on_itself_and_on_all_before_it",
    "a_token_attends_to_itself_and_to_all_before_it",
    "gradients_reach_the_past_alone",
)
class EveryTokenSeesTheNext(Layer):
    """Take the mask whose diagonal is one too far up."""

    def own_mask(self, x, self_mask):
        mask = the_next_token_is_seen(x.shape[1])
        return mask if self_mask is None else mask & self_mask


# --- Queries without any key --------------------------------------------------------------------


@bug(
    2,
    SDPA,
    "a_query_without_any_key_stays_finite",
    sources=(
        "pytorch/pytorch #103749",
        "pytorch/pytorch #103963",
        "pytorch/pytorch #109517",
    ),
)
def an_empty_row_is_zero_over_zero(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Take the softmax of −∞ alone."""
    return attend(softmax(hidden(scores_of(query, key), mask)), value)


@bug(
    2,
    SDPA,
    "a_query_without_any_key_has_finite_gradients",
    sources=("Xilinx/brevitas #1591",),
)
def only_the_gradient_of_an_empty_row_is_nan(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Add −∞ and replace NaN after the softmax, which repairs the forward pass alone."""
    scores = scores_of(query, key)
    if mask is not None:
        scores = scores + torch.zeros(mask.shape).masked_fill(~mask, -torch.inf).to(scores)
    return attend(torch.softmax(scores, -1).nan_to_num(0.0), value)


@bug(
    26,
    MULTI_HEAD,
    "masks_work_in_low_precision",
    sources=("bentrevett/pytorch-seq2seq #191",),
)
class TenBillionInHalfPrecision(Steps):
    """Fill masked scores with −10¹⁰, which float16 does not have."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        return softmax(hidden(scores, mask, -1e10))


@bug(
    26,
    "EncoderLayer",
    "masks_leave_no_nan_in_low_precision",
    sources=("facebookresearch/fairseq #3575",),
)
class AHundredMillionInHalfPrecision(EncoderLayer):
    """Fill a mask of numbers with −10⁸, in the dtype of the tokens, and add it to the scores."""

    def attend(self, x, mask):
        def weigh(scores, mask):
            if mask is None:
                return softmax(scores)
            return softmax(scores + torch.zeros_like(scores).masked_fill(~mask, -1e8))

        return by_hand(self.attention, x, x, x, mask, weigh)


# --- Flags and backends -------------------------------------------------------------------------

_LEAKS = (
    "the_future_does_not_change_the_past",
    "gradients_reach_the_past_alone",
    "a_prefix_gets_what_it_gets_in_the_whole",
    "a_token_depends_on_itself_and_on_all_before_it",
)


@bug(6, "DecoderLayer", *_LEAKS, sources=("pytorch/pytorch #96941",))
class TheFlagEndsInTheLayer(Layer):
    """Be causal by a flag, and pass nothing on but the mask, of which there may be none."""

    def own_mask(self, x, self_mask):
        return self_mask


@bug(6, "DecoderLayer", *_LEAKS, sources=("pytorch/pytorch #99282", "keras-team/keras #23038"))
class TheFlagIsForTheKernelThatIsNotTaken(Layer):
    """Leave causality to a fused kernel's flag, where it alone masks, and give the weights as well.

    The path that has weights to give knows masks, and no flag.
    """

    def own_mask(self, x, self_mask):
        return None if self_mask is None else super().own_mask(x, self_mask)


@bug(
    7,
    "Transformer",
    "later_target_tokens_do_not_change_earlier_logits",
    "a_beginning_gets_the_same_logits_alone",
    "nothing_that_follows_takes_part",
    "a_cache_gives_what_recomputing_gives",
)
class ADynamicMaskTakesTheCausalOnesPlace(Transformer):
    """Leave the causal mask out where nothing is padded, for a kernel that would add its own.

    There is a mask for what each key is worth, so the kernel is passed one, and adds none.
    """

    def decode(
        self, target_in: Tensor, memory: Tensor, source_mask: Tensor | None = None
    ) -> Tensor:
        x = self._embed(self.target_embedding, target_in)
        worth = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool)
        return with_mask(self, x, memory, worth, visible(source_mask))


@bug(
    4,
    "DecoderLayer",
    "recording_gradients_changes_no_result",
    "what_the_memory_mask_hides_cannot_reach_a_token",
    sources=("pytorch/pytorch #106630",),
)
class TheFastPathTakesAMaskForPadding(Layer):
    """Take a faster path where no gradient is recorded, and read every mask as padding there."""

    def consult(self, x, memory, mask):
        if mask is not None and not torch.is_grad_enabled():
            mask = mask[..., :1, :]
        return super().consult(x, memory, mask)


@bug(4, "Encoder", "recording_gradients_changes_no_result")
class TheFastPathGivesZeroesForPadding(Encoder):
    """Skip what is padded where no gradient is recorded, and fill it up with zeroes."""

    def forward(self, x, mask=None):
        x = super().forward(x, mask)
        padded = mask is not None and mask.shape[-2] == 1
        return x * mask.mT if padded and not torch.is_grad_enabled() else x


@bug(
    5,
    "Encoder",
    "what_a_mask_hides_cannot_reach_a_token",
    "a_mask_broadcasts_to_the_scores",
    "hidden_tokens_might_as_well_not_exist",
)
class TheOutputEndsWithTheLongestSequence(Encoder):
    """Pack sequences without their padding, and pad them again to the longest, not to the input."""

    def forward(self, x, mask=None):
        x = super().forward(x, mask)
        packed = mask is not None and mask.shape[-2] == 1
        return x[:, : int(mask.sum(-1).max())] if packed else x


# --- How a mask is read -------------------------------------------------------------------------


@bug(
    10,
    "causal_mask",
    "it_is_true_on_and_below_the_diagonal",
    sources=("rasbt/LLMs-from-scratch #1061",),
)
def true_above_the_diagonal(length: int) -> Tensor:
    """Mark what is blocked, for an attention that takes what is allowed."""
    return torch.ones(length, length, dtype=torch.bool).triu(1)


@bug(
    10,
    SDPA,
    "masked_keys_get_exactly_zero_weight",
    "every_allowed_key_gets_some_weight",
    "a_mask_that_allows_everything_is_no_mask",
    sources=("NVIDIA/TransformerEngine #614", "neuro-galaxy/torch_brain #74"),
)
def true_means_blocked(query: Tensor, key: Tensor, value: Tensor, mask: Mask = None) -> Attended:
    """Turn the polarity of the mask round."""
    mask = None if mask is None else ~mask
    return scaled_dot_product_attention(query, key, value, mask)


@bug(11, SDPA, "every_row_of_weights_sums_to_one", "hidden_keys_might_as_well_not_exist")
def the_mask_comes_after_the_softmax(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Zero weights that took part in the sum."""
    return weights_zeroed_and_not_normalised_again(query, key, value, mask)


@bug(12, SDPA, "masked_keys_get_exactly_zero_weight", "hidden_keys_might_as_well_not_exist")
def scores_are_multiplied_by_the_mask(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Give masked keys the score zero."""
    scores = scores_of(query, key)
    return attend(softmax(scores if mask is None else scores * mask), value)


@bug(
    13,
    MULTI_HEAD,
    "masked_keys_get_exactly_zero_weight",
    "what_a_mask_hides_cannot_reach_the_output",
    "future_tokens_do_not_change_past_outputs",
)
class MaskedScoresAreThrownAway(Steps):
    """Fill a copy of the scores, and go on with the scores."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        if mask is not None:
            scores.masked_fill(~mask, -torch.inf)
        return softmax(scores)


# --- Whose a mask is ----------------------------------------------------------------------------


@bug(
    17,
    MULTI_HEAD,
    "masked_keys_get_exactly_zero_weight",
    "a_mask_broadcasts_to_the_scores",
    "items_of_a_batch_do_not_mix",
    sources=("line/lighthouse #77", "huggingface/candle #3582"),
)
class MasksAreTiledWhereHeadsOfAnItemAreNeighbours(Steps):
    """Fold heads into the batch item by item, and repeat the masks batch by batch."""

    def broadcast(self, mask: Tensor | None, scores: Tensor) -> Tensor | None:
        if mask is None or mask.dim() != 3 or len(mask) == 1:
            return super().broadcast(mask, scores)
        return mask.repeat(self.n_heads, 1, 1).unflatten(0, scores.shape[:2])


@bug(
    17,
    MULTI_HEAD,
    "masked_keys_get_exactly_zero_weight",
    "a_mask_broadcasts_to_the_scores",
    "items_of_a_batch_do_not_mix",
    sources=("lsdefine/attention-is-all-you-need-keras #36",),
)
class MasksAreNeighboursWhereHeadsComeFirst(Steps):
    """Fold heads into the batch head by head, and repeat each mask where it stands."""

    def broadcast(self, mask: Tensor | None, scores: Tensor) -> Tensor | None:
        if mask is None or mask.dim() != 3 or len(mask) == 1:
            return super().broadcast(mask, scores)
        folded = mask.repeat_interleave(self.n_heads, 0)
        return folded.unflatten(0, (self.n_heads, len(mask))).transpose(0, 1)


@bug(
    36,
    "DecoderLayer",
    "what_the_self_mask_hides_cannot_reach_a_token",
    "the_self_mask_only_takes_more_away",
    "both_masks_broadcast_to_the_scores",
)
class TheDecodersMaskReachesTheMemory(Layer):
    """Mask the memory by the decoder's own mask, where there is one."""

    def forward(self, x, memory, self_mask=None, memory_mask=None):
        other = memory_mask if self_mask is None else self_mask
        return super().forward(x, memory, self_mask, other)


@bug(
    36,
    "DecoderLayer",
    "hidden_memory_might_as_well_not_exist",
    "what_the_memory_mask_hides_cannot_reach_a_token",
)
class TheMemoryIsNotMasked(Layer):
    """Mask the memory by the decoder's own mask, of which there may be none."""

    def forward(self, x, memory, self_mask=None, memory_mask=None):
        return super().forward(x, memory, self_mask, self_mask)
