"""Wrong decoder layers, and decoders that are made of them or put right ones together wrongly."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import reference
from properties.transformer_layers import DECODERS
from reference import Decoder as Right
from reference import DecoderLayer as RightLayer
from reference import MultiHeadAttention, causal_mask
from reference.softmax import masked_softmax
from reference.transformer_layers import residual
from tests.implementations import stacked_weights
from tests.mutants import mutant
from tests.mutants.encoder import (
    HIDDEN,
    SCALE,
    Detached,
    a_billion_below,
    after_the_softmax,
    by_hand,
    early_before_late,
    laws_of_both,
    one_more_below,
    over_an_epsilon,
    stacks_of_wrong_layers,
    ten_thousand_below,
    times_the_mask,
    unscaled,
    zero_over_zero,
)
from tests.mutants.stacks import FiveLayersAtMost, OneLayer, OtherLayers, PlainList, TwoLayersInTurn


class Layer(RightLayer):
    """The right layer, in parts, of which a mistake replaces one."""

    def own_mask(self, x: Tensor, self_mask: Tensor | None) -> Tensor:
        causal = causal_mask(x.shape[1])
        return causal if self_mask is None else causal & self_mask

    def attend(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.self_attention(x, x, x, mask)[0]

    def consult(self, x: Tensor, memory: Tensor, mask: Tensor | None) -> Tensor:
        return self.cross_attention(x, memory, memory, mask)[0]

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        self_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
    ) -> Tensor:
        def attend(x: Tensor) -> Tensor:
            return self.attend(x, self.own_mask(x, self_mask))

        def consult(x: Tensor) -> Tensor:
            return self.consult(x, memory, memory_mask)

        x = residual(x, attend, self.self_attention_norm, pre_norm=False)
        x = residual(x, consult, self.cross_attention_norm, pre_norm=False)
        return residual(x, self.feed_forward, self.feed_forward_norm, pre_norm=False)


# --- The causal mask ----------------------------------------------------------------------------


@mutant(
    "DecoderLayer",
    "the_future_does_not_change_the_past",
    "a_token_depends_on_itself_and_on_all_before_it",
    "gradients_reach_the_past_alone",
    "a_prefix_gets_what_it_gets_in_the_whole",
    "the_self_mask_only_takes_more_away",
    "a_layers_output_depends_on_the_past_and_the_memory",
    "a_token_attends_to_itself_and_to_all_before_it",
)
class WithoutACausalMask(Layer):
    """See the future unless told not to."""

    def own_mask(self, x, self_mask):
        every = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool)
        return every if self_mask is None else self_mask


@mutant(
    "DecoderLayer",
    "the_future_does_not_change_the_past",
    "a_token_depends_on_itself_and_on_all_before_it",
    "gradients_reach_the_past_alone",
    "a_prefix_gets_what_it_gets_in_the_whole",
    "a_layers_output_depends_on_the_past_and_the_memory",
    "a_token_attends_to_itself_and_to_all_before_it",
)
class OneTokenOfTheFuture(Layer):
    """Begin the upper triangle one too late."""

    def own_mask(self, x, self_mask):
        causal = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril(1)
        return causal if self_mask is None else causal & self_mask


@mutant(
    "DecoderLayer",
    "equal_tokens_are_as_one_token_alone",
    "saying_every_token_twice_changes_nothing",
    "a_token_attends_to_itself_and_to_all_before_it",
)
class StrictlyPast(Layer):
    """Hide the diagonal, too, so that the first token has nothing to see."""

    def own_mask(self, x, self_mask):
        causal = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril(-1)
        return causal if self_mask is None else causal & self_mask


@mutant(
    "DecoderLayer",
    "saying_every_token_twice_changes_nothing",
    "a_token_attends_to_itself_and_to_all_before_it",
)
class StrictlyPastButForTheFirst(Layer):
    """Hide the diagonal, and let the first token see itself, lest its row be empty."""

    def own_mask(self, x, self_mask):
        causal = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril(-1)
        causal[0, 0] = True
        return causal if self_mask is None else causal & self_mask


@mutant("DecoderLayer", "the_future_does_not_change_the_past")
class CausalUpToSixteenTokens(Layer):
    """Keep a mask of a fixed size, and let what lies beyond see everything."""

    def own_mask(self, x, self_mask):
        length = x.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool)
        causal[:16, :16] = causal[:16, :16].tril()
        return causal if self_mask is None else causal & self_mask


@mutant("DecoderLayer", "the_future_does_not_change_the_past", "gradients_reach_the_past_alone")
class OneHeadSeesTheFuture(Layer):
    """Mask the first head alone, where there are several."""

    def attend(self, x, mask):
        heads = self.self_attention.n_heads
        mask = (mask[:, None] if mask.dim() == 3 else mask[None, None]).repeat(1, heads, 1, 1)
        mask[:, 1:] = True
        return super().attend(x, mask)


@mutant(
    "DecoderLayer",
    "the_future_does_not_change_the_past",
    "a_token_depends_on_itself_and_on_all_before_it",
)
class CentredOverTheTokens(Layer):
    """Take away a millionth of what all tokens have in common, future ones too."""

    def forward(self, x, memory, self_mask=None, memory_mask=None):
        x = super().forward(x, memory, self_mask, memory_mask)
        return x - 1e-6 * x.mean(1, keepdim=True)


@mutant("DecoderLayer", "gradients_reach_the_past_alone")
class TheFutureLeaksIntoTheGradient(Layer):
    """Give the right output, and a gradient that knows the sum of all tokens."""

    def attend(self, x, mask):
        total = x.sum(1, keepdim=True)
        return super().attend(x, mask) + 1e-3 * (total - total.detach())


@mutant("DecoderLayer", "gradients_reach_the_past_alone", "every_matrix_learns")
class KeysAndValuesAreDetached(Layer):
    """Learn nothing by what was said before."""

    def __init__(self, d_model, n_heads, d_hidden):
        super().__init__(d_model, n_heads, d_hidden)
        self.self_attention.key = Detached(d_model, d_model)
        self.self_attention.value = Detached(d_model, d_model)


@mutant("DecoderLayer", "the_future_does_not_change_the_past")
class MaskAfterTheSoftmax(Layer):
    """Set the weights of the future to zero and leave the others as they were."""

    def attend(self, x, mask):
        return by_hand(self.self_attention, x, x, x, mask, after_the_softmax)


@mutant("DecoderLayer", "the_future_does_not_change_the_past")
class ScoresTimesTheMask(Layer):
    """Set the scores of the future to zero, which is a score like others."""

    def attend(self, x, mask):
        return by_hand(self.self_attention, x, x, x, mask, times_the_mask)


@mutant("DecoderLayer", "a_prefix_gets_what_it_gets_in_the_whole")
class ScoresShrinkWithTheLength(Layer):
    """Scale by the number of all tokens, of which some are to come."""

    def attend(self, x, mask):
        return super().attend(x, mask) * (1 + 1e-6 * x.shape[1])


@mutant(
    "DecoderLayer",
    "the_order_of_the_past_does_not_matter_to_one_layer",
)
class LateTokensWeighMore(Layer):
    """Prefer what was said last by a little, which no position was added for."""

    def attend(self, x, mask):
        def weigh(scores, mask):
            late = torch.arange(scores.shape[-1], dtype=scores.dtype)
            return masked_softmax(scores + 1e-6 * late, mask)

        return by_hand(self.self_attention, x, x, x, mask, weigh)


@mutant("DecoderLayer", "a_token_depends_on_itself_and_on_all_before_it")
class OnlyTheLastThreeTokens(Layer):
    """Forget what was said more than two tokens ago."""

    def own_mask(self, x, self_mask):
        return super().own_mask(x, self_mask).triu(-2)


@mutant("DecoderLayer", "a_future_that_is_no_number_does_not_reach_the_past")
class WhatIsNoNumberCountsAsZero(Layer):
    """Turn NaN into zero, so that nobody learns where it came from."""

    def forward(self, x, memory, self_mask=None, memory_mask=None):
        return super().forward(torch.nan_to_num(x), memory, self_mask, memory_mask)


# --- The two masks that are passed --------------------------------------------------------------


@mutant(
    "DecoderLayer",
    "what_the_self_mask_hides_cannot_reach_a_token",
    "hidden_tokens_might_as_well_not_exist_for_the_decoder",
    "the_self_mask_only_takes_more_away",
)
class SelfMaskIsDiscarded(Layer):
    """Take a mask of its own tokens and forget it."""

    def own_mask(self, x, self_mask):
        return super().own_mask(x, None)


@mutant("DecoderLayer", "the_self_mask_only_takes_more_away", "the_future_does_not_change_the_past")
class SelfMaskReplacesTheCausalOne(Layer):
    """Be causal only where no mask is passed."""

    def own_mask(self, x, self_mask):
        return super().own_mask(x, None) if self_mask is None else self_mask


@mutant("DecoderLayer", "what_the_self_mask_hides_cannot_reach_a_token")
class EitherMaskMayAllow(Layer):
    """Join the two masks by 'or'."""

    def own_mask(self, x, self_mask):
        causal = causal_mask(x.shape[1])
        return causal if self_mask is None else (causal | self_mask) & causal


@mutant(
    "DecoderLayer",
    "what_the_memory_mask_hides_cannot_reach_a_token",
    "hidden_memory_might_as_well_not_exist",
)
class MemoryMaskIsDiscarded(Layer):
    """Take a mask of the memory and forget it."""

    def consult(self, x, memory, mask):
        return super().consult(x, memory, None)


@mutant("DecoderLayer", "what_the_memory_mask_hides_cannot_reach_a_token")
class MemoryMaskIsInverted(Layer):
    """Hide what is to be read."""

    def consult(self, x, memory, mask):
        return super().consult(x, memory, None if mask is None else ~mask)


@mutant("DecoderLayer", "hidden_memory_might_as_well_not_exist")
class MemoryMaskGoesToTheSelfAttention(Layer):
    """Pass the memory's mask to both attentions where no other is passed."""

    def forward(self, x, memory, self_mask=None, memory_mask=None):
        return super().forward(
            x, memory, memory_mask if self_mask is None else self_mask, memory_mask
        )


@mutant("DecoderLayer", "what_the_memory_mask_hides_cannot_reach_a_token")
class MemoryMaskGoesThereWhereItFits(Layer):
    """Pass the memory's mask to the self-attention where both are as long."""

    def forward(self, x, memory, self_mask=None, memory_mask=None):
        if memory_mask is not None and x.shape[1] == memory.shape[1]:
            return super().forward(x, memory, memory_mask, None)
        return super().forward(x, memory, self_mask, memory_mask)


@mutant(
    "DecoderLayer",
    "what_the_memory_mask_hides_cannot_reach_a_token",
    "both_masks_broadcast_to_the_scores",
)
class EveryItemGetsTheFirstMemoryMask(Layer):
    """Take the mask of the first item for all where there are queries of their own."""

    def consult(self, x, memory, mask):
        if mask is not None and mask.dim() == 3 and mask.shape[1] == 1:
            mask = mask[:1]
        return super().consult(x, memory, mask)


@mutant(
    "DecoderLayer", "what_the_memory_mask_hides_cannot_reach_a_token", "items_of_a_batch_do_not_mix"
)
class MemoryMaskIsTiledInTheWrongOrder(Layer):
    """Repeat the items' masks for the heads, and read them as the heads of each item."""

    def consult(self, x, memory, mask):
        if mask is not None and mask.dim() == 3 and len(mask) > 1:
            heads = self.cross_attention.n_heads
            mask = mask.repeat(heads, 1, 1).view(len(mask), heads, *mask.shape[1:])
        return super().consult(x, memory, mask)


@mutant("DecoderLayer", "masks_that_allow_everything_are_no_masks")
class AnEpsilonUnderMaskedWeights(Layer):
    """Normalise masked weights by hand, with something small against an empty row."""

    def consult(self, x, memory, mask):
        return by_hand(self.cross_attention, x, memory, memory, mask, over_an_epsilon)


@mutant("DecoderLayer", "hidden_memory_might_as_well_not_exist")
class MemoryIsMaskedAfterTheSoftmax(Layer):
    """Set the weights of hidden memory to zero and leave the others as they were."""

    def consult(self, x, memory, mask):
        return by_hand(self.cross_attention, x, memory, memory, mask, after_the_softmax)


@mutant("DecoderLayer", "masks_leave_no_nan_in_low_precision")
class HiddenByABillion(Layer):
    """Fill hidden scores with a number that float16 does not have."""

    def attend(self, x, mask):
        return by_hand(self.self_attention, x, x, x, mask, a_billion_below)


@mutant(
    "DecoderLayer",
    "a_token_that_sees_nothing_stays_finite",
    "masks_leave_no_nan_in_low_precision",
)
class NothingToReadIsNan(Layer):
    """Divide zero by zero where no memory may be read."""

    def consult(self, x, memory, mask):
        return by_hand(self.cross_attention, x, memory, memory, mask, zero_over_zero)


# --- The memory ---------------------------------------------------------------------------------


@mutant(
    "DecoderLayer",
    "every_token_consults_all_of_the_memory",
    "gradients_reach_all_of_the_memory",
    "the_order_of_the_memory_does_not_matter",
    "the_memory_twice_is_the_memory_once",
    "a_memory_of_equal_tokens_is_a_memory_of_one",
    "every_matrix_learns",
    "a_layers_output_depends_on_the_past_and_the_memory",
)
class WhatWasConsultedIsNotUsed(Layer):
    """Attend to the memory and throw the result away."""

    def consult(self, x, memory, mask):
        return 0 * x


@mutant(
    "DecoderLayer",
    "every_token_consults_all_of_the_memory",
    "gradients_reach_all_of_the_memory",
    "the_order_of_the_memory_does_not_matter",
    "a_layers_output_depends_on_the_past_and_the_memory",
)
class TheMemoryIsCausal(Layer):
    """Let a token read the memory up to its own place alone."""

    def consult(self, x, memory, mask):
        causal = torch.ones(x.shape[1], memory.shape[1], dtype=torch.bool).tril()
        return super().consult(x, memory, causal if mask is None else mask & causal)


@mutant(
    "DecoderLayer",
    "every_token_consults_all_of_the_memory",
    "queries_come_from_the_decoder_keys_and_values_from_the_memory",
    "a_layers_output_depends_on_the_past_and_the_memory",
    "the_memory_twice_is_the_memory_once",
)
class KeysAndValuesAreTheDecodersOwn(Layer):
    """Attend to itself once more, where the encoder's output belongs."""

    def consult(self, x, memory, mask):
        return self.cross_attention(x, x, x, causal_mask(x.shape[1]))[0]


@mutant(
    "DecoderLayer",
    "queries_come_from_the_decoder_keys_and_values_from_the_memory",
    "with_one_token_of_memory_the_past_still_counts",
)
class TheMemoryAsksToo(Layer):
    """Add what the memory is on average to the queries, and forget who asked."""

    def consult(self, x, memory, mask):
        average = memory.mean(1, keepdim=True).expand(x.shape)
        return self.cross_attention(average, memory, memory, mask)[0] - x


@mutant("DecoderLayer", "the_order_of_the_memory_does_not_matter")
class EarlyMemoryWeighsMore(Layer):
    """Prefer the memory's first tokens by a little."""

    def consult(self, x, memory, mask):
        return by_hand(self.cross_attention, x, memory, memory, mask, early_before_late)


@mutant(
    "DecoderLayer",
    "the_memory_twice_is_the_memory_once",
    "a_memory_of_equal_tokens_is_a_memory_of_one",
)
class TheMemoryAddsUp(Layer):
    """Multiply the average by the length of the memory."""

    def consult(self, x, memory, mask):
        return super().consult(x, memory, mask) * (1 + 1e-6 * memory.shape[1])


@mutant(
    "DecoderLayer",
    "the_memory_twice_is_the_memory_once",
    "a_memory_of_equal_tokens_is_a_memory_of_one",
)
class OneMoreInTheDenominator(Layer):
    """Let a token look away from the memory."""

    def consult(self, x, memory, mask):
        return by_hand(self.cross_attention, x, memory, memory, mask, one_more_below)


@mutant("DecoderLayer", "every_token_consults_all_of_the_memory")
class MemoryAsLongAsTheTarget(Layer):
    """Read no more of the memory than there are tokens."""

    def consult(self, x, memory, mask):
        length = x.shape[1]
        mask = None if mask is None else mask[..., :length]
        return super().consult(x, memory[:, :length], mask)


@mutant("DecoderLayer", "gradients_reach_all_of_the_memory")
class TheMemoryIsDetached(Layer):
    """Let the encoder learn nothing."""

    def consult(self, x, memory, mask):
        return super().consult(x, memory.detach(), mask)


# --- Residuals and weights ----------------------------------------------------------------------


@mutant(
    "DecoderLayer",
    "with_one_token_of_memory_the_past_still_counts",
    "the_equations_as_written_forget_the_words_so_far",
)
class AsTheEquationsAreWritten(Layer):
    """Put the sublayers into one another, and leave the residuals out."""

    def forward(self, x, memory, self_mask=None, memory_mask=None):
        x = self.self_attention_norm(self.attend(x, self.own_mask(x, self_mask)))
        x = self.cross_attention_norm(self.consult(x, memory, memory_mask))
        return self.feed_forward_norm(self.feed_forward(x))


@mutant("DecoderLayer", "with_one_token_of_memory_the_past_still_counts")
class NoResidualAroundTheCrossAttention(Layer):
    """Forget the words so far at one sublayer of three."""

    def forward(self, x, memory, self_mask=None, memory_mask=None):
        x = x + self.attend(x, self.own_mask(x, self_mask))
        x = self.consult(self.self_attention_norm(x), memory, memory_mask)
        x = self.cross_attention_norm(x)
        return self.feed_forward_norm(x + self.feed_forward(x))


@mutant("DecoderLayer", "each_sublayer_has_weights_of_its_own")
class OneAttentionDoesBoth(Layer):
    """Share the weights of self-attention and cross-attention."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.cross_attention = self.self_attention


@mutant("DecoderLayer", "more_heads_are_no_more_weights")
class EveryHeadIsAsWideAsTheModel(Layer):
    """Give each head four square matrices, and average what they say."""

    def __init__(self, d_model, n_heads, d_hidden):
        super().__init__(d_model, n_heads, d_hidden)
        self.heads = nn.ModuleList(MultiHeadAttention(d_model, 1) for _ in range(n_heads))

    def attend(self, x, mask):
        return torch.stack([head(x, x, x, mask)[0] for head in self.heads]).mean(0)


@mutant("DecoderLayer", "the_number_of_heads_matters")
class AlwaysOneHead(Layer):
    """Ignore the number of heads."""

    def __init__(self, d_model, n_heads, d_hidden):
        super().__init__(d_model, 1, d_hidden)


@mutant("DecoderLayer", HIDDEN)
class MaskedScoresAreTenThousandBelowZero(Layer):
    """Take ten thousand for infinity."""

    def attend(self, x, mask):
        return by_hand(self.self_attention, x, x, x, mask, ten_thousand_below)


@mutant("DecoderLayer", SCALE)
class ItsOwnScoresAreNotScaled(Layer):
    """Let the scores of self-attention grow with the width of a head."""

    def attend(self, x, mask):
        attention = self.self_attention
        return by_hand(attention, x, x, x, mask, unscaled(attention))


@mutant("DecoderLayer", SCALE)
class ScoresOfTheMemoryAreNotScaled(Layer):
    """Let the scores of cross-attention grow with the width of a head."""

    def consult(self, x, memory, mask):
        attention = self.cross_attention
        return by_hand(attention, x, memory, memory, mask, unscaled(attention))


@mutant("DecoderLayer", SCALE)
class ValuesOfTheMemoryAreNormalised(Layer):
    """Find by the memory as it is, and say what is normalised."""

    def consult(self, x, memory, mask):
        values = nn.functional.layer_norm(memory, memory.shape[-1:])
        return self.cross_attention(x, memory, values, mask)[0]


# --- Decoders -----------------------------------------------------------------------------------


class Stack(OtherLayers, Right):
    """The right decoder, but for the class of its layers."""

    layer = RightLayer


@mutant(
    "Decoder",
    "every_layer_has_as_many_parameters",
    "each_sublayer_has_weights_of_its_own",
    "a_decoder_has_sixteen_squares_a_layer",
)
class OneLayerIsUsedAgain(OneLayer, Right):
    """Repeat the same layer: ``[layer] * L``."""


@mutant("Decoder", "six_layers_learn_the_weights_of_six")
class EveryOtherLayerIsTheSame(TwoLayersInTurn, stacked_weights.Decoder):
    """Share the weights of every other layer, from the third on."""


@mutant("Decoder", "every_layer_has_as_many_parameters", "a_decoder_has_sixteen_squares_a_layer")
class LayersInAPlainList(PlainList, Right):
    """Keep the layers where PyTorch does not find them."""


@mutant("Decoder", "what_the_memory_mask_hides_cannot_reach_a_token")
class TheMemoryMaskReachesTheFirstLayerAlone(Right):
    """Pass the mask of the memory to the first layer and nothing to the others."""

    def forward(self, x, memory, self_mask=None, memory_mask=None):
        for index, layer in enumerate(self.layers):
            x = layer(x, memory, self_mask, None if index else memory_mask)
        return x


@mutant("Decoder", "what_the_self_mask_hides_cannot_reach_a_token")
class TheSelfMaskReachesTheFirstLayerAlone(Right):
    """Pass the mask of the tokens to the first layer and nothing to the others."""

    def forward(self, x, memory, self_mask=None, memory_mask=None):
        for index, layer in enumerate(self.layers):
            x = layer(x, memory, None if index else self_mask, memory_mask)
        return x


@mutant(
    "Decoder",
    "the_future_does_not_change_the_past",
    "a_stacks_output_depends_on_the_past_and_the_memory",
)
class DeeperLayersSeeTheFuture(Stack):
    """Be causal in the first layer alone."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        width, heads, hidden, depth = sizes
        self.layers = nn.ModuleList(
            WithoutACausalMask(width, heads, hidden) if n else RightLayer(width, heads, hidden)
            for n in range(depth)
        )


@mutant("Decoder", "a_decoder_is_its_layers_one_after_another")
class EachLayerReadsWhatTheLastOneGave(Right):
    """Hand the tokens down as memory, after the first layer, where lengths allow it."""

    def forward(self, x, memory, self_mask=None, memory_mask=None):
        for layer in self.layers:
            x = layer(x, memory, self_mask, memory_mask)
            memory = memory + 1e-6 * x[:, -1:]
        return x


@mutant("Decoder", "a_decoder_is_its_layers_one_after_another")
class LayersRunBackwards(Right):
    """Begin with the last layer."""

    def forward(self, x, memory, self_mask=None, memory_mask=None):
        for layer in reversed(self.layers):
            x = layer(x, memory, self_mask, memory_mask)
        return x


@mutant("Decoder", "every_matrix_learns", "a_decoder_is_its_layers_one_after_another")
class TheLastLayerIsLeftOut(Right):
    """Stop one layer early, where there is more than one."""

    def forward(self, x, memory, self_mask=None, memory_mask=None):
        for layer in self.layers[: max(1, len(self.layers) - 1)]:
            x = layer(x, memory, self_mask, memory_mask)
        return x


@mutant("Decoder", "all_of_six_layers_learn")
class OnlyThreeLayersAreUsed(Right):
    """Make as many layers as there should be, and call three."""

    def forward(self, x, memory, self_mask=None, memory_mask=None):
        for layer in self.layers[:3]:
            x = layer(x, memory, self_mask, memory_mask)
        return x


# --- What a mask that is strictly past leaves ---------------------------------------------------


@mutant(
    "scaled_dot_product_attention",
    "looking_at_the_past_alone_gives_weights_that_sum_to_one",
)
def without_any_key_all_weigh_the_same(query, key, value, mask=None):
    """Give a query that may see nothing an even share of everything."""
    if mask is not None:
        mask = mask | ~mask.any(-1, keepdim=True)
    return reference.scaled_dot_product_attention(query, key, value, mask)


@mutant("MultiHeadAttention", "what_is_read_from_one_token_tells_who_asked")
class TheResidualIsInside(MultiHeadAttention):
    """Add the query to the output, which is the layer's to do."""

    def forward(self, query, key, value, mask=None):
        output, weights = super().forward(query, key, value, mask)
        return output + query, weights


@mutant("Decoder", "every_layer_has_as_many_parameters")
class StopsAtFiveLayers(FiveLayersAtMost, Right):
    """Leave out every layer after the fifth."""


MUTANTS = tuple(stacks_of_wrong_layers(globals(), "Decoder", Stack, laws_of_both(*DECODERS)))
