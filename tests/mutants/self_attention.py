"""Wrong self-attentions."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from reference import SelfAttention, masked_softmax
from tests.mutants import mutant, steps

COMPONENT = "SelfAttention"


class Steps(SelfAttention):
    """The reference, step by step; a mutant gets one of the steps wrong."""

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Make queries, keys and values of the tokens, each (B, L, D)."""
        return self.query(x), self.key(x), self.value(x)

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        """Score every query against every key, (B, L, L)."""
        return query @ key.mT / math.sqrt(query.shape[-1])

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        """Turn scores into weights."""
        return masked_softmax(scores, mask)

    def mix(self, weights: Tensor, value: Tensor) -> Tensor:
        """Take the weighted mean of the values."""
        return weights @ value

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Give the output and the weights."""
        query, key, value = self.project(x)
        weights = self.weigh(self.score(query, key), mask)
        return self.mix(weights, value), weights


# --- Projections --------------------------------------------------------------------------------


@mutant(
    COMPONENT,
    "similarity_is_mutual",
    "every_matrix_that_is_used_learns",
    "a_token_may_look_at_one_that_does_not_look_back",
)
class KeysByTheQueryMatrix(Steps):
    """Project keys with the queries' matrix."""

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.query(x), self.query(x), self.value(x)


@mutant(
    COMPONENT,
    "the_reference_with_the_same_parameters_agrees",
    "every_matrix_that_is_used_learns",
)
class ValuesAreTheKeys(Steps):
    """Mix the keys instead of the values."""

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        key = self.key(x)
        return self.query(x), key, key + 0 * self.value(x)


@mutant(COMPONENT, "symbols_show_projections_token_by_token", "every_matrix_that_is_used_learns")
class ValuesNotProjected(Steps):
    """Mix the tokens themselves."""

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.query(x), self.key(x), x


@mutant(
    COMPONENT,
    "the_reference_with_the_same_parameters_agrees",
    "symbols_show_projections_token_by_token",
)
class MatricesTransposed(Steps):
    """Multiply by the matrices' transposes."""

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return x @ self.query.weight, x @ self.key.weight, x @ self.value.weight


@mutant(
    COMPONENT,
    "future_tokens_do_not_change_past_outputs",
    "permuting_the_tokens_permutes_everything",
    "symbols_show_projections_token_by_token",
)
class FeatureAxisGuessed(Steps):
    """Take a sequence as long as it is wide for one that comes features first."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if x.shape[-2] == x.shape[-1]:
            output, weights = super().forward(x.mT, mask)
            return output.mT, weights
        return super().forward(x, mask)


@mutant(
    COMPONENT,
    "the_odds_of_two_tokens_ignore_all_others",
    "future_tokens_do_not_change_past_outputs",
)
class QueriesCentredOverTheSequence(Steps):
    """Take the mean over all tokens from each query."""

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = super().project(x)
        return query - query.mean(-2, keepdim=True), key, value


@mutant(COMPONENT, "items_of_a_batch_do_not_mix")
class TokensCentredOverTheBatch(Steps):
    """Take the mean over the batch from each token."""

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return super().project(x - x.mean(0, keepdim=True))


@mutant(
    COMPONENT,
    "permuting_the_tokens_permutes_everything",
    "symbols_show_that_position_cannot_matter",
)
class TokensNumberedByPosition(Steps):
    """Add its position to each token."""

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        place = torch.arange(x.shape[-2])[:, None]
        return super().project(x + place / 50)


@mutant(
    COMPONENT,
    "the_depth_does_not_depend_on_the_length",
    "permuting_the_tokens_permutes_everything",
)
class QueriesCarriedFromTokenToToken(steps.CarriedQueries, Steps):
    """Add half of each query to the next, one token after another."""


@mutant(COMPONENT, "the_same_call_gives_the_same_result")
class SequenceMeanRemembered(Steps):
    """Take the running mean of all calls from each token."""

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model)
        self.register_buffer("mean", torch.zeros(d_model))

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean((0, 1))
        return super().project(x - self.mean)


@mutant(COMPONENT, "every_matrix_that_is_used_learns", "gradients_agree_with_finite_differences")
class KeysDetached(steps.DetachedKeys, Steps):
    """Let no gradient through the keys, so that their matrix never learns."""


@mutant(COMPONENT, "inputs_are_left_unchanged")
class TokensScaledInPlace(Steps):
    """Put the scale into the tokens, in the caller's tensor."""

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = super().project(x)
        x.detach().div_(math.sqrt(math.sqrt(x.shape[-1])))
        return query, key, value


@mutant(COMPONENT, "how_a_tensor_is_stored_makes_no_difference")
class StridesAssumed(Steps):
    """Read the batch item by item, by strides that only a contiguous tensor has."""

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        _, length, width = x.shape
        return super().project(x.as_strided(x.shape, (length * width, width, 1)))


@mutant(COMPONENT, "symbols_show_projections_token_by_token", "there_are_three_square_matrices")
class OutputProjectedToo(Steps):
    """Project the output, as only multi-head attention does."""

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model)
        self.output = nn.Linear(d_model, d_model, bias=False)

    def mix(self, weights: Tensor, value: Tensor) -> Tensor:
        return self.output(super().mix(weights, value))


@mutant(COMPONENT, "every_matrix_that_is_used_learns")
class ParameterThatNothingUses(Steps):
    """Keep an output projection that takes no part."""

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model)
        self.output = nn.Linear(d_model, d_model, bias=False)


@mutant(COMPONENT, "equal_weights_leave_sums_and_the_scale")
class UnscaledWithAFusedProjection(nn.Module):
    """Forget the scale, with one matrix for all three projections."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.project = nn.Linear(d_model, 3 * d_model, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        query, key, value = self.project(x).chunk(3, -1)
        weights = masked_softmax(query @ key.mT, mask)
        return weights @ value, weights


# --- Scores -------------------------------------------------------------------------------------


@mutant(
    COMPONENT,
    "identity_projections_leave_plain_attention",
    "the_reference_with_the_same_parameters_agrees",
    "equal_weights_leave_sums_and_the_scale",
)
class ScaleForgotten(Steps):
    """Do not divide by √d."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        return query @ key.mT


@mutant(
    COMPONENT,
    "identity_projections_leave_plain_attention",
    "the_reference_with_the_same_parameters_agrees",
)
class ScaledByTheWidthItself(Steps):
    """Divide by d instead of √d."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        return query @ key.mT / query.shape[-1]


@mutant(
    COMPONENT,
    "a_longer_sequence_leaves_each_token_less",
    "identity_projections_leave_plain_attention",
)
class ScaledByTheLength(Steps):
    """Divide by the square root of the wrong axis."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        return query @ key.mT / math.sqrt(query.shape[-2])


@mutant(
    COMPONENT,
    "a_longer_sequence_leaves_each_token_less",
    "identity_projections_leave_plain_attention",
)
class ScoresGrowWithTheLength(steps.GrowingScores, Steps):
    """Multiply the scores by the logarithm of the length."""


@mutant(
    COMPONENT,
    "nothing_is_more_similar_to_a_token_than_itself",
    "the_derivative_grows_as_the_square_of_a_token",
    "a_token_moves_its_output_by_ten_times_at_most",
)
class DistancesOfQueries(KeysByTheQueryMatrix):
    """Score by the negative squared distance, with one matrix for both sides."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        sizes = (query * query).sum(-1)
        squares = sizes[:, :, None] + sizes[:, None, :] - 2 * query @ key.mT
        return -squares / math.sqrt(query.shape[-1])


@mutant(
    COMPONENT,
    "identity_projections_leave_plain_attention",
    "a_token_moves_its_output_by_ten_times_at_most",
)
class KeysOfLengthOne(Steps):
    """Normalise the keys."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        return super().score(query, functional.normalize(key, dim=-1))


@mutant(
    COMPONENT,
    "a_neighbour_weighs_more_than_a_token_further_off",
    "equal_keys_share_the_weight_equally",
    "permuting_the_tokens_permutes_everything",
)
class BonusForNearTokens(Steps):
    """Add a bias that falls with the distance of two tokens."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        scores = super().score(query, key)
        return scores - steps.distances(scores) / 10


@mutant(
    COMPONENT,
    "the_reference_with_the_same_parameters_agrees",
    "gradients_agree_with_finite_differences",
)
class SinglePrecisionInside(steps.ScoredInFloat32, Steps):
    """Score in float32 whatever the dtype."""


# --- Weights ------------------------------------------------------------------------------------


@mutant(COMPONENT, "every_row_of_weights_sums_to_one", "the_odds_of_two_tokens_ignore_all_others")
class SoftmaxOverQueries(steps.OverTheQueries, Steps):
    """Normalise over the wrong axis."""


@mutant(
    COMPONENT,
    "every_row_of_weights_sums_to_one",
    "a_longer_sequence_takes_nothing_from_a_token",
)
class SigmoidsInsteadOfSoftmax(Steps):
    """Weigh each token by itself, without dealing out one whole."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        weights = torch.sigmoid(scores)
        return weights if mask is None else weights.masked_fill(~mask, 0.0)


@mutant(
    COMPONENT,
    "every_row_of_weights_sums_to_one",
    "the_same_token_means_more_in_another_context",
)
class SoftmaxWithAnExtraOne(Steps):
    """Add one to the denominator, so that a token may choose nothing."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        top = scores.amax(-1, keepdim=True).clamp_min(0.0)
        terms = torch.exp(scores - top)
        if mask is not None:
            terms = terms.masked_fill(~mask, 0.0)
        return terms / (torch.exp(-top) + terms.sum(-1, keepdim=True))


@mutant(COMPONENT, "identity_projections_leave_plain_attention")
class LinearWeights(steps.Linear, Steps):
    """Normalise elu(s) + 1 instead of exponentials."""


@mutant(COMPONENT, "every_allowed_key_gets_some_weight")
class OnlyTheBestThreeTokens(steps.BestThree, Steps):
    """Drop all tokens but the best three."""


@mutant(
    COMPONENT,
    "every_allowed_key_gets_some_weight",
    "one_layer_connects_the_ends_of_a_long_sequence",
)
class WindowOfNearTokens(steps.Window, Steps):
    """See no token further away than four places."""

    reach = 4


@mutant(COMPONENT, "one_layer_connects_the_ends_of_a_long_sequence")
class WindowOfFiftyTokens(steps.Window, Steps):
    """See no token further away than fifty places."""

    reach = 50


@mutant(
    COMPONENT,
    "the_depth_does_not_depend_on_the_length",
    "one_layer_connects_the_ends_of_a_long_sequence",
)
class OneTokenAfterAnother(Steps):
    """Give the right result, but sum the exponentials in a loop over the tokens."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        if mask is not None:
            scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min / 2)
        total = scores[..., :1]
        for j in range(1, scores.shape[-1]):
            total = torch.logaddexp(total, scores[..., j : j + 1])
        return torch.exp(scores - total)


@mutant(COMPONENT, "a_token_does_not_look_at_itself", "every_allowed_key_gets_some_weight")
class OwnTokenMaskedOut(Steps):
    """Let a token look at all tokens but itself."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        others = steps.distances(scores) > 0
        return masked_softmax(scores, others if mask is None else others & mask)


@mutant(
    COMPONENT,
    "the_same_token_means_more_in_another_context",
    "one_layer_connects_the_ends_of_a_long_sequence",
)
class OwnTokenOnly(steps.Window, Steps):
    """Let a token look at itself alone, which makes attention a linear layer."""

    reach = 0


@mutant(
    COMPONENT,
    "every_token_always_reaches_every_output",
    "gradients_agree_with_finite_differences",
)
class WeightsDetached(steps.DetachedWeights, Steps):
    """Let no gradient through the weights."""


@mutant(COMPONENT, "the_same_call_gives_the_same_result")
class DropoutAlwaysOn(steps.DroppedWeights, Steps):
    """Drop weights in eval mode too."""


# --- Masks --------------------------------------------------------------------------------------


@mutant(
    COMPONENT,
    "masked_keys_get_exactly_zero_weight",
    "what_a_mask_hides_cannot_reach_the_output",
    "future_tokens_do_not_change_past_outputs",
)
class MaskDiscarded(steps.NoMask, Steps):
    """Compute the masked scores and go on with the others."""


@mutant(
    COMPONENT,
    "masked_keys_get_exactly_zero_weight",
    "a_mask_that_allows_everything_is_no_mask",
)
class MaskInverted(steps.Inverted, Steps):
    """Read True as forbidden."""


@mutant(
    COMPONENT,
    "masked_keys_get_exactly_zero_weight",
    "future_tokens_do_not_change_past_outputs",
    "a_mask_broadcasts_to_the_scores",
)
class MaskTransposed(Steps):
    """Swap the mask's queries and keys where it has both."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        if mask is not None and mask.shape[-1] == mask.shape[-2]:
            mask = mask.mT
        return masked_softmax(scores, mask)


@mutant(
    COMPONENT,
    "what_a_mask_hides_cannot_reach_the_output",
    "future_tokens_do_not_change_past_outputs",
)
class MaskAfterSoftmax(steps.AfterTheSoftmax, Steps):
    """Put masked weights to zero without normalising again."""


@mutant(
    COMPONENT,
    "masked_keys_get_exactly_zero_weight",
    "future_tokens_do_not_change_past_outputs",
)
class MaskMultipliesScores(steps.TimesTheScores, Steps):
    """Multiply scores by the mask: a masked token scores zero, which is not nothing."""


@mutant(
    COMPONENT,
    "masked_keys_get_exactly_zero_weight",
    "future_tokens_do_not_change_past_outputs",
)
class MaskShiftedByOne(steps.ShiftedByOne, Steps):
    """Let every query see one more key than the mask allows: the one after."""


@mutant(
    COMPONENT,
    "masked_keys_get_exactly_zero_weight",
    "what_a_mask_hides_cannot_reach_the_output",
)
class MaskedByMinusThirty(steps.Filled, Steps):
    """Mask by a constant that large scores get past."""

    constant = -30.0


@mutant(COMPONENT, "a_query_without_any_key_stays_finite")
class EmptyRowIsNotANumber(steps.Filled, Steps):
    """Divide zero by zero where no token is allowed."""

    constant = -torch.inf


@mutant(COMPONENT, "a_query_without_any_key_has_finite_gradients")
class EmptyRowHasNoGradient(steps.RepairedAfterTheSoftmax, Steps):
    """Put zeros where no token is allowed, but only after a softmax whose gradient is 0/0."""


@mutant(COMPONENT, "a_mask_that_allows_everything_is_no_mask")
class NoMaskMeansCausal(steps.CausalWithoutAMask, Steps):
    """Mask the future where no mask is given."""


@mutant(
    COMPONENT,
    "permuting_the_tokens_permutes_everything",
    "one_layer_connects_the_ends_of_a_long_sequence",
)
class AlwaysCausal(steps.Causal, Steps):
    """Mask the future whatever the mask says."""


@mutant(COMPONENT, "a_mask_broadcasts_to_the_scores")
class MaskOfTwoDimensionsTakenForPadding(steps.OneRowAnItem, Steps):
    """Read a mask with as many rows as the batch has items as one row an item."""


@mutant(COMPONENT, "what_a_mask_hides_cannot_reach_the_output")
class MaskOfTheFirstItemForAll(steps.FirstItemsMask, Steps):
    """Use the mask of the first item for the whole batch."""


@mutant(COMPONENT, "a_mask_that_allows_everything_is_no_mask")
class FirstMaskRemembered(Steps):
    """Keep the first mask of a shape for all later calls."""

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model)
        self.masks: dict[torch.Size, Tensor] = {}

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        if mask is not None:
            mask = self.masks.setdefault(mask.shape, mask)
        return masked_softmax(scores, mask)


# --- Values -------------------------------------------------------------------------------------


@mutant(
    COMPONENT,
    "identity_projections_leave_plain_attention",
    "the_same_token_means_more_in_another_context",
)
class SumInsteadOfMean(steps.Summed, Steps):
    """Multiply the mean by the number of values."""


@mutant(
    COMPONENT,
    "every_token_reaches_every_output",
    "one_layer_connects_the_ends_of_a_long_sequence",
)
class NeighboursMixed(Steps):
    """Report weights for all tokens, and mix the values of adjacent ones alone."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        query, key, value = self.project(x)
        scores = self.score(query, key)
        near = steps.distances(scores) <= 1
        used = self.weigh(scores, near if mask is None else near & mask)
        return self.mix(used, value), self.weigh(scores, mask)


@mutant(
    COMPONENT,
    "future_tokens_do_not_change_past_outputs",
    "identity_projections_leave_plain_attention",
)
class TransposedWeightsMix(Steps):
    """Mix by what a token receives instead of what it gives, and report the latter."""

    def mix(self, weights: Tensor, value: Tensor) -> Tensor:
        return super().mix(weights.mT, value)


@mutant(
    COMPONENT,
    "identity_projections_leave_plain_attention",
    "the_reference_with_the_same_parameters_agrees",
)
class TokenAddedToItsOutput(Steps):
    """Add a residual, which belongs to the layer around."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        output, weights = super().forward(x, mask)
        return x + output, weights


@mutant(COMPONENT, "the_reference_with_the_same_parameters_agrees")
class MaskedTokensGiveNothing(Steps):
    """Put the output of tokens that no query may look at to zero."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        output, weights = super().forward(x, mask)
        if mask is None:
            return output, weights
        seen = mask.expand(weights.shape).any(-2)
        return output.masked_fill(~seen[..., None], 0.0), weights


# --- Two ways to the same result ----------------------------------------------------------------


@mutant(COMPONENT, "recording_gradients_changes_no_result")
class MaskForgottenWhereNothingIsLearned(Steps):
    """Leave the mask out of the faster way, which is taken unless gradients are recorded."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        return masked_softmax(scores, mask if torch.is_grad_enabled() else None)


@mutant(
    COMPONENT,
    "masked_keys_get_exactly_zero_weight",
    "no_score_is_so_low_that_a_masked_key_is_above_it",
)
class MaskedByMinusAThousand(steps.Filled, Steps):
    """Trust that scores stay below a thousand."""

    constant = -1000.0


@mutant(COMPONENT, "masks_work_in_low_precision")
class HidesWithAConstantBeyondHalfPrecision(steps.Filled, Steps):
    """Hide keys by a number that float16 cannot hold."""

    constant = -1e9
