"""Wrong multiplicative attentions."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from reference import MultiplicativeAttention, masked_softmax, softmax
from tests.mutants import mutant, steps

COMPONENT = "MultiplicativeAttention"


class Steps(MultiplicativeAttention):
    """The reference, step by step; a mutant gets one of the steps wrong."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        """Score every query against every key, (B, L, S)."""
        return query @ self.key(key).mT

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        """Turn scores into weights."""
        return masked_softmax(scores, mask)

    def mix(self, weights: Tensor, value: Tensor) -> Tensor:
        """Take the weighted mean of the values."""
        return weights @ value

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Give the output and the weights."""
        weights = self.weigh(self.score(query, key), mask)
        return self.mix(weights, value), weights


# --- Scores -------------------------------------------------------------------------------------


@mutant(
    COMPONENT,
    "weights_are_the_softmax_of_query_times_matrix_times_key",
    "the_reference_with_the_same_parameters_agrees",
    "equal_weights_leave_sums_and_the_scale",
)
class ScaledByTheWidth(Steps):
    """Divide the scores by √d, which the score "general" does not."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        return super().score(query, key) / math.sqrt(query.shape[-1])


@mutant(
    COMPONENT,
    "duplicating_the_memory_changes_nothing",
    "a_second_copy_of_a_key_counts_as_ln_two",
)
class ScoresGrowWithTheLength(steps.GrowingScores, Steps):
    """Multiply the scores by the logarithm of the number of keys."""


@mutant(COMPONENT, "adding_one_vector_to_every_key_changes_nothing")
class CosinesInsteadOfDotProducts(Steps):
    """Normalise queries and keys before comparing them."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        return functional.normalize(query, dim=-1) @ functional.normalize(self.key(key), dim=-1).mT


@mutant(COMPONENT, "adding_one_vector_to_every_key_changes_nothing")
class DistancesInsteadOfDotProducts(Steps):
    """Score by the negative squared distance, which depends on how long a key is."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        keys = self.key(key)
        return 2 * query @ keys.mT - keys.square().sum(-1)[:, None, :]


@mutant(COMPONENT, "adding_one_vector_to_every_key_changes_nothing")
class AbsoluteScores(Steps):
    """Take scores without their sign."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        return super().score(query, key).abs()


@mutant(COMPONENT, "weights_are_the_softmax_of_query_times_matrix_times_key")
class MatrixLeftOutWhereWidthsAgree(Steps):
    """Skip the matrix where queries and keys have one width, as the score "dot" does."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        return query @ key.mT if query.shape[-1] == key.shape[-1] else super().score(query, key)


@mutant(COMPONENT, "the_reference_with_the_same_parameters_agrees")
class MatrixTransposedWhereItIsSquare(Steps):
    """Multiply by the matrix's transpose where that fits as well."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        matrix = self.key.weight
        square = matrix.shape[0] == matrix.shape[1]
        return query @ (matrix.mT if square else matrix) @ key.mT


@mutant(
    COMPONENT,
    "the_order_of_the_keys_makes_no_difference",
    "equal_keys_share_the_weight_equally",
)
class BonusForNearKeys(steps.NearKeysPreferred, Steps):
    """Add a bias that falls with the distance of query and key."""


@mutant(
    COMPONENT,
    "the_order_of_the_keys_makes_no_difference",
    "equal_keys_share_the_weight_equally",
)
class KeysNumberedByPosition(Steps):
    """Add its position to every key."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        position = torch.arange(key.shape[-2]).to(key)[:, None]
        return super().score(query, key + 0.01 * position)


@mutant(COMPONENT, "items_of_a_batch_do_not_mix")
class KeysCentredOverTheBatch(Steps):
    """Take the mean over the batch from every key."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        return super().score(query, key - key.mean(0, keepdim=True))


@mutant(COMPONENT, "the_context_follows_the_query")
class QueryIgnored(Steps):
    """Compare keys with a constant, so that every query gets the same fixed context."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        return super().score(torch.ones_like(query), key)


@mutant(COMPONENT, "each_query_is_answered_by_itself")
class QueriesCentred(Steps):
    """Take the mean over all queries from each of them."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        return super().score(query - query.mean(-2, keepdim=True), key)


@mutant(COMPONENT, "every_matrix_that_is_used_learns", "gradients_agree_with_finite_differences")
class KeysDetached(Steps):
    """Let no gradient through the projected keys, so that the matrix never learns."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        return query @ self.key(key).detach().mT


@mutant(COMPONENT, "inputs_are_left_unchanged")
class KeysCentredInPlace(Steps):
    """Take the mean from the caller's keys, which changes no weight, and the caller's keys."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        key.detach().sub_(key.detach().mean(-2, keepdim=True))
        return super().score(query, key)


@mutant(COMPONENT, "how_a_tensor_is_stored_makes_no_difference")
class StridesAssumed(Steps):
    """Transpose the keys by strides that only a contiguous tensor has."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        batch, keys, width = key.shape
        turned = key.as_strided((batch, width, keys), (keys * width, 1, width))
        return query @ self.key.weight @ turned


@mutant(
    COMPONENT,
    "adding_one_vector_to_every_key_changes_nothing",
    "the_reference_with_the_same_parameters_agrees",
    "gradients_agree_with_finite_differences",
)
class SinglePrecisionInside(Steps):
    """Score in float32 whatever the dtype."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        return (query.float() @ self.key(key).float().mT).to(query.dtype)


# --- Weights ------------------------------------------------------------------------------------


@mutant(
    COMPONENT,
    "every_row_of_weights_sums_to_one",
    "the_output_lies_among_the_values",
    "each_query_is_answered_by_itself",
)
class SoftmaxOverQueries(Steps):
    """Normalise over the wrong axis."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        if mask is not None:
            scores = scores.masked_fill(~mask, -1e9)
        return softmax(scores, dim=-2)


@mutant(COMPONENT, "every_row_of_weights_sums_to_one", "each_query_is_answered_by_itself")
class SoftmaxOverAllPairs(Steps):
    """Normalise over keys and queries together."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        allowed = torch.ones_like(scores, dtype=torch.bool) if mask is None else mask
        return masked_softmax(
            scores.flatten(1)[:, None], allowed.expand_as(scores).flatten(1)[:, None]
        ).view(scores.shape)


@mutant(COMPONENT, "every_row_of_weights_sums_to_one", "the_output_is_affine_in_the_values")
class SoftmaxWithAnExtraOne(Steps):
    """Add one to the denominator, so that a query may choose nothing."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        sink = torch.zeros_like(scores[..., :1])
        if mask is not None:
            shape = (*mask.shape[:-2], scores.shape[-2], scores.shape[-1])
            mask = functional.pad(mask.expand(shape), (0, 1), value=True)
        return masked_softmax(torch.cat([scores, sink], -1), mask)[..., :-1]


@mutant(COMPONENT, "adding_one_vector_to_every_key_changes_nothing")
class LinearWeights(steps.Linear, Steps):
    """Normalise elu(s) + 1 instead of exponentials."""


@mutant(COMPONENT, "every_allowed_key_gets_some_weight")
class OnlyTheBestThreeKeys(steps.BestThree, Steps):
    """Drop all keys but the best three."""


@mutant(
    COMPONENT,
    "every_allowed_key_gets_some_weight",
    "the_order_of_the_keys_makes_no_difference",
)
class WindowOfNearKeys(steps.Window, Steps):
    """See no key further away than four places."""

    reach = 4


@mutant(COMPONENT, "each_query_is_answered_by_itself")
class EarlierQueriesCover(Steps):
    """Take from every score what earlier queries gave that key, one query after another."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        covered = torch.zeros_like(scores[:, :1])
        rows = []
        for i in range(scores.shape[-2]):
            row = mask if mask is None or mask.shape[-2] == 1 else mask[..., i : i + 1, :]
            rows.append(masked_softmax(scores[:, i : i + 1] - covered, row))
            covered = covered + rows[-1]
        return torch.cat(rows, -2)


@mutant(COMPONENT, "the_context_follows_the_query", "every_matrix_that_is_used_learns")
class FixedContext(Steps):
    """Always give the last value that is allowed, as a decoder without attention does."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        place = torch.arange(scores.shape[-1]).to(scores).expand_as(scores)
        return masked_softmax(1e4 * place, mask)


@mutant(COMPONENT, "every_matrix_that_is_used_learns", "gradients_agree_with_finite_differences")
class WeightsDetached(steps.DetachedWeights, Steps):
    """Let no gradient through the weights."""


@mutant(COMPONENT, "the_same_call_gives_the_same_result")
class DropoutAlwaysOn(steps.DroppedWeights, Steps):
    """Drop weights in eval mode too."""


@mutant(COMPONENT, "the_same_call_gives_the_same_result")
class ScoresRemembered(Steps):
    """Take from every score what the call before gave that key."""

    def __init__(self, d_query: int, d_key: int) -> None:
        super().__init__(d_query, d_key)
        self.before: Tensor | None = None

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        if self.before is not None and self.before.shape == scores.shape:
            scores = scores - self.before
        weights = super().weigh(scores, mask)
        self.before = weights.detach()
        return weights


@mutant(
    COMPONENT,
    "every_allowed_key_gets_some_weight",
    "the_order_of_the_keys_makes_no_difference",
)
class SecondChunkOfKeysForgotten(Steps):
    """Read the keys in chunks of sixteen, and stop after the first."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        first = torch.arange(scores.shape[-1]) < 16
        return masked_softmax(scores, first[None] if mask is None else first & mask)


# --- Masks --------------------------------------------------------------------------------------


@mutant(
    COMPONENT,
    "masked_keys_get_exactly_zero_weight",
    "what_a_mask_hides_cannot_reach_the_output",
    "hidden_keys_might_as_well_not_exist",
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


@mutant(COMPONENT, "hidden_keys_might_as_well_not_exist")
class MaskAfterSoftmax(steps.AfterTheSoftmax, Steps):
    """Put masked weights to zero without normalising again."""


@mutant(COMPONENT, "masked_keys_get_exactly_zero_weight", "hidden_keys_might_as_well_not_exist")
class MaskMultipliesScores(steps.TimesTheScores, Steps):
    """Multiply scores by the mask: a masked key scores zero, which is not nothing."""


@mutant(COMPONENT, "masked_keys_get_exactly_zero_weight")
class MaskedByMinusThirty(steps.Filled, Steps):
    """Mask by a constant that large scores get past."""

    constant = -30.0


@mutant(
    COMPONENT,
    "masked_keys_get_exactly_zero_weight",
    "hidden_keys_might_as_well_not_exist",
    "no_score_is_so_low_that_a_masked_key_is_above_it",
)
class MaskedByMinusAThousand(steps.Filled, Steps):
    """Mask by a constant that the largest scores get past."""

    constant = -1000.0


@mutant(COMPONENT, "a_query_without_any_key_stays_finite")
class EmptyRowIsNotANumber(steps.Filled, Steps):
    """Divide zero by zero where no key is allowed."""

    constant = -torch.inf


@mutant(COMPONENT, "a_query_without_any_key_has_finite_gradients")
class EmptyRowHasNoGradient(steps.RepairedAfterTheSoftmax, Steps):
    """Put zeros where no key is allowed, but only after a softmax whose gradient is 0/0."""


@mutant(COMPONENT, "a_mask_that_allows_everything_is_no_mask")
class NoMaskMeansCausal(steps.CausalWithoutAMask, Steps):
    """Mask the future where no mask is given."""


@mutant(
    COMPONENT,
    "a_mask_that_allows_everything_is_no_mask",
    "each_query_is_answered_by_itself",
    "the_order_of_the_keys_makes_no_difference",
)
class AlwaysCausal(steps.Causal, Steps):
    """Mask the future whatever the mask says."""


@mutant(COMPONENT, "masked_keys_get_exactly_zero_weight")
class MaskOfTwoDimensionsTakenForPadding(steps.OneRowAnItem, Steps):
    """Read a mask with as many rows as the batch has items as one row an item."""


@mutant(COMPONENT, "a_mask_broadcasts_to_the_scores", "masked_keys_get_exactly_zero_weight")
class FirstRowOfAMaskOfTwoDimensions(Steps):
    """Take a mask of two dimensions for padding, and its first row for all of it."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        if mask is not None and mask.dim() == 2:
            mask = mask[:1]
        return masked_softmax(scores, mask)


@mutant(
    COMPONENT,
    "what_a_mask_hides_cannot_reach_the_output",
    "masked_keys_get_exactly_zero_weight",
)
class MaskOfTheFirstItemForAll(steps.FirstItemsMask, Steps):
    """Use the mask of the first item for the whole batch."""


# --- Values -------------------------------------------------------------------------------------


@mutant(
    COMPONENT,
    "the_output_is_the_weighted_sum_of_the_values",
    "values_share_the_gradient_by_their_weights",
    "the_order_of_the_keys_makes_no_difference",
)
class LastValueForgotten(steps.LastLeftOut, Steps):
    """Stop summing one value too early."""


@mutant(COMPONENT, "the_output_lies_among_the_values", "duplicating_the_memory_changes_nothing")
class SumInsteadOfMean(steps.Summed, Steps):
    """Multiply the mean by the number of values."""


@mutant(COMPONENT, "the_output_is_affine_in_the_values", "values_are_mixed_and_never_scored")
class ContextThroughTanh(Steps):
    """Put the context through tanh, as the layer after it should."""

    def mix(self, weights: Tensor, value: Tensor) -> Tensor:
        return torch.tanh(super().mix(weights, value))


@mutant(
    COMPONENT,
    "values_share_the_gradient_by_their_weights",
    "gradients_agree_with_finite_differences",
)
class ValuesDetached(steps.DetachedValues, Steps):
    """Let no gradient through the values."""


@mutant(COMPONENT, "the_output_is_the_weighted_sum_of_the_values")
class SharpenedWeightsReported(Steps):
    """Mix by the right weights, and report others."""

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        output, weights = super().forward(query, key, value, mask)
        sharper = weights.square()
        return output, sharper / sharper.sum(-1, keepdim=True).clamp_min(1e-300)


@mutant(COMPONENT, "values_are_mixed_and_never_scored", "the_output_is_affine_in_the_values")
class LongValuesCountMore(Steps):
    """Add the length of a value to its key's scores."""

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        scores = self.score(query, key) + 0.1 * value.square().sum(-1)[:, None, :]
        weights = self.weigh(scores, mask)
        return self.mix(weights, value), weights


@mutant(COMPONENT, "inputs_are_left_unchanged")
class HiddenValuesZeroedInPlace(Steps):
    """Overwrite the caller's values where no query may look."""

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        if mask is not None:
            unseen = ~mask.expand(len(key), query.shape[-2], key.shape[-2]).any(-2)
            value.detach().masked_fill_(unseen[..., None], 0.0)
        return super().forward(query, key, value, mask)


@mutant(COMPONENT, "every_matrix_that_is_used_learns")
class ParameterThatNothingUses(Steps):
    """Keep a second matrix that takes no part."""

    def __init__(self, d_query: int, d_key: int) -> None:
        super().__init__(d_query, d_key)
        self.query = nn.Linear(d_query, d_query, bias=False)


# --- Two ways to the same result ----------------------------------------------------------------


@mutant(COMPONENT, "recording_gradients_changes_no_result")
class WeightsSmoothedWhereGradientsAreRecorded(Steps):
    """Give each key a little of the weight, for the sake of training."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        weights = super().weigh(scores, mask)
        if not torch.is_grad_enabled():
            return weights
        return 0.99 * weights + 0.01 * masked_softmax(torch.zeros_like(scores), mask)


# --- Layouts of their own -----------------------------------------------------------------------


@mutant(COMPONENT, "equal_weights_leave_sums_and_the_scale")
class ScaledBilinear(nn.Module):
    """Divide by √d a score that nn.Bilinear computes, with weights of its own layout."""

    def __init__(self, d_query: int, d_key: int) -> None:
        super().__init__()
        self.pair = nn.Bilinear(d_query, d_key, 1)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Give the output and the weights."""
        size = (*query.shape[:2], key.shape[1], -1)
        queries, keys = query[:, :, None].expand(size), key[:, None].expand(size)
        scores = self.pair(queries.contiguous(), keys.contiguous())[..., 0]
        weights = masked_softmax(scores / math.sqrt(query.shape[-1]), mask)
        return weights @ value, weights


@mutant(COMPONENT, "queries_and_keys_are_told_apart")
class MatrixMadeSymmetric(Steps):
    """Average the matrix with its transpose where it is square."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        matrix = self.key.weight
        if matrix.shape[0] == matrix.shape[1]:
            matrix = (matrix + matrix.mT) / 2
        return query @ matrix @ key.mT


@mutant(COMPONENT, "masks_work_in_low_precision")
class HidesWithAConstantBeyondHalfPrecision(steps.Filled, Steps):
    """Hide keys by a number that float16 cannot hold."""

    constant = -1e9
