"""Wrong additive attentions."""

import math

import torch
from torch import Tensor, nn

from reference import AdditiveAttention, masked_softmax, softmax
from tests.mutants import mutant, steps

ADDITIVE = "AdditiveAttention"
Mask = Tensor | None
Attended = tuple[Tensor, Tensor]


class _InSteps(AdditiveAttention):
    """The reference in four steps, of which each mutant gets one wrong."""

    def hide(self, query: Tensor, key: Tensor) -> Tensor:
        return torch.tanh(self.query(query)[:, :, None] + self.key(key)[:, None])

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        return self.hide(query, key) @ self.energy.weight[0]

    def weigh(self, scores: Tensor, mask: Mask) -> Tensor:
        return masked_softmax(scores, mask)

    def mix(self, weights: Tensor, value: Tensor) -> Attended:
        return weights @ value, weights

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Mask = None) -> Attended:
        return self.mix(self.weigh(self.score(query, key), mask), value)


# --- Scores -------------------------------------------------------------------------------------


@mutant(
    ADDITIVE,
    "weights_are_the_softmax_of_energy_times_tanh",
    "the_reference_with_the_same_parameters_agrees",
    "large_inputs_saturate_the_scores",
)
class ReluForTanh(_InSteps):
    """Take another nonlinearity."""

    def hide(self, query: Tensor, key: Tensor) -> Tensor:
        return torch.relu(self.query(query)[:, :, None] + self.key(key)[:, None])


@mutant(ADDITIVE, "weights_are_the_softmax_of_energy_times_tanh")
class TanhBeforeTheSum(_InSteps):
    """Squash query and key each by itself, so that the query cancels in the softmax."""

    def hide(self, query: Tensor, key: Tensor) -> Tensor:
        return torch.tanh(self.query(query))[:, :, None] + torch.tanh(self.key(key))[:, None]


@mutant(ADDITIVE, "weights_are_the_softmax_of_energy_times_tanh")
class TanhAfterTheEnergy(_InSteps):
    """Squash the score in place of the hidden layer."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        hidden = self.query(query)[:, :, None] + self.key(key)[:, None]
        return torch.tanh(hidden @ self.energy.weight[0])


@mutant(ADDITIVE, "weights_are_the_softmax_of_energy_times_tanh")
class AProductInPlaceOfTheSum(_InSteps):
    """Multiply query and key inside tanh."""

    def hide(self, query: Tensor, key: Tensor) -> Tensor:
        return torch.tanh(self.query(query)[:, :, None] * self.key(key)[:, None])


@mutant(
    ADDITIVE,
    "weights_are_the_softmax_of_energy_times_tanh",
    "the_reference_with_the_same_parameters_agrees",
)
class ScaledLikeADotProduct(_InSteps):
    """Divide the scores by √d_hidden."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        return super().score(query, key) / math.sqrt(self.energy.in_features)


@mutant(ADDITIVE, "the_context_follows_the_query", "every_matrix_that_is_used_learns")
class TheQueryIsNotUsed(_InSteps):
    """Score keys by themselves, beside a query matrix that does nothing."""

    def hide(self, query: Tensor, key: Tensor) -> Tensor:
        return super().hide(torch.zeros_like(query), key)


@mutant(
    ADDITIVE,
    "weights_are_the_softmax_of_energy_times_tanh",
    "the_reference_with_the_same_parameters_agrees",
)
class EveryQueryIsTheLast(_InSteps):
    """Ask with the decoder's last state at every step."""

    def hide(self, query: Tensor, key: Tensor) -> Tensor:
        return super().hide(query[:, -1:].expand_as(query), key)


@mutant(ADDITIVE, "each_query_is_answered_by_itself")
class QueriesAreCentred(_InSteps):
    """Subtract the mean of all queries from each."""

    def hide(self, query: Tensor, key: Tensor) -> Tensor:
        return super().hide(query - query.mean(1, keepdim=True), key)


@mutant(
    ADDITIVE,
    "hidden_keys_might_as_well_not_exist",
    "a_second_copy_of_a_key_counts_as_ln_two",
    "what_a_mask_hides_cannot_reach_the_output",
)
class KeysAreCentred(_InSteps):
    """Subtract the mean of all keys, hidden ones among them, from each."""

    def hide(self, query: Tensor, key: Tensor) -> Tensor:
        return super().hide(query, key - key.mean(1, keepdim=True))


@mutant(
    ADDITIVE,
    "the_order_of_the_keys_makes_no_difference",
    "equal_keys_share_the_weight_equally",
    "duplicating_the_memory_changes_nothing",
)
class PositionsAreAddedToTheScores(_InSteps):
    """Prefer late keys."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        return super().score(query, key) + 0.1 * torch.arange(key.shape[1]).to(key)


# --- Softmax ------------------------------------------------------------------------------------


@mutant(ADDITIVE, "every_row_of_weights_sums_to_one", "each_query_is_answered_by_itself")
class SoftmaxOverTheQueries(_InSteps):
    """Normalise the wrong axis, without a mask alone."""

    def weigh(self, scores: Tensor, mask: Mask) -> Tensor:
        return softmax(scores, 1) if mask is None else masked_softmax(scores, mask)


@mutant(ADDITIVE, "every_row_of_weights_sums_to_one", "items_of_a_batch_do_not_mix")
class SoftmaxOverTheBatch(_InSteps):
    """Normalise over the items, without a mask alone."""

    def weigh(self, scores: Tensor, mask: Mask) -> Tensor:
        return softmax(scores, 0) if mask is None else masked_softmax(scores, mask)


@mutant(ADDITIVE, "every_row_of_weights_sums_to_one", "the_output_lies_among_the_values")
class SigmoidsAreNotNormalised(_InSteps):
    """Weigh every key by itself."""

    def weigh(self, scores: Tensor, mask: Mask) -> Tensor:
        return torch.sigmoid(scores if mask is None else scores.masked_fill(~mask, -torch.inf))


@mutant(ADDITIVE, "every_row_of_weights_sums_to_one")
class AnEpsilonInTheDenominator(_InSteps):
    """Guard against empty rows with 1e-6 in every row."""

    def weigh(self, scores: Tensor, mask: Mask) -> Tensor:
        raised = torch.exp(scores - scores.amax(-1, keepdim=True))
        raised = raised if mask is None else raised.masked_fill(~mask, 0.0)
        return raised / (raised.sum(-1, keepdim=True) + 1e-6)


@mutant(ADDITIVE, "every_row_of_weights_sums_to_one")
class OneMoreInTheDenominator(_InSteps):
    """Add an invisible key with score zero, which takes its share."""

    def weigh(self, scores: Tensor, mask: Mask) -> Tensor:
        scores = scores if mask is None else scores.masked_fill(~mask, -torch.inf)
        return softmax(nn.functional.pad(scores, (1, 0)))[..., 1:]


@mutant(ADDITIVE, "every_allowed_key_gets_some_weight", "equal_keys_share_the_weight_equally")
class TheBestKeyTakesEverything(_InSteps):
    """Put a hard maximum in place of the soft one."""

    def weigh(self, scores: Tensor, mask: Mask) -> Tensor:
        soft = super().weigh(scores, mask)
        best = nn.functional.one_hot(soft.argmax(-1), soft.shape[-1]).to(soft.dtype)
        return best + soft - soft.detach()


@mutant(
    ADDITIVE,
    "duplicating_the_memory_changes_nothing",
    "a_second_copy_of_a_key_counts_as_ln_two",
    "every_allowed_key_gets_some_weight",
)
class OnlyTheTwoBestKeysCount(_InSteps):
    """Leave out every key but the two with the highest scores."""

    def weigh(self, scores: Tensor, mask: Mask) -> Tensor:
        scores = scores if mask is None else scores.masked_fill(~mask, -torch.inf)
        least = scores.topk(min(2, scores.shape[-1])).values[..., -1:]
        return masked_softmax(scores, scores >= least)


@mutant(ADDITIVE, "duplicating_the_memory_changes_nothing")
class TheTemperatureGrowsWithTheMemory(_InSteps):
    """Divide the scores by the root of the number of keys."""

    def weigh(self, scores: Tensor, mask: Mask) -> Tensor:
        return super().weigh(scores / math.sqrt(scores.shape[-1]), mask)


# --- Mask ---------------------------------------------------------------------------------------


@mutant(
    ADDITIVE, "masked_keys_get_exactly_zero_weight", "what_a_mask_hides_cannot_reach_the_output"
)
class TheMaskIsIgnored(steps.NoMask, _InSteps):
    """Take a mask and throw its result away."""


@mutant(ADDITIVE, "masked_keys_get_exactly_zero_weight", "a_mask_that_allows_everything_is_no_mask")
class TrueMeansBlocked(steps.Inverted, _InSteps):
    """Turn the polarity of the mask round."""


@mutant(
    ADDITIVE,
    "every_row_of_weights_sums_to_one",
    "hidden_keys_might_as_well_not_exist",
    "what_a_mask_hides_cannot_reach_the_output",
)
class TheMaskComesAfterTheSoftmax(steps.AfterTheSoftmax, _InSteps):
    """Zero weights that took part in the sum."""


@mutant(ADDITIVE, "masked_keys_get_exactly_zero_weight", "hidden_keys_might_as_well_not_exist")
class ScoresAreMultipliedByTheMask(steps.TimesTheScores, _InSteps):
    """Give masked keys the score zero."""


@mutant(
    ADDITIVE,
    "masked_keys_get_exactly_zero_weight",
    "what_a_mask_hides_cannot_reach_the_output",
    "no_score_is_so_low_that_a_masked_key_is_above_it",
)
class MinusTenForInfinity(steps.Filled, _InSteps):
    """Make masked keys unlikely and not impossible."""

    constant = -10.0


@mutant(ADDITIVE, "a_mask_broadcasts_to_the_scores", "masked_keys_get_exactly_zero_weight")
class AMaskThatMustBroadcastIsIgnored(_InSteps):
    """Use a mask only where it has the shape of the scores."""

    def weigh(self, scores: Tensor, mask: Mask) -> Tensor:
        fits = mask is not None and mask.shape == scores.shape
        return super().weigh(scores, mask if fits else None)


@mutant(ADDITIVE, "a_mask_broadcasts_to_the_scores")
class EveryQueryGetsTheLastQuerysMask(_InSteps):
    """Reduce a mask of each query to one for all, unless it is given for each item too."""

    def weigh(self, scores: Tensor, mask: Mask) -> Tensor:
        return super().weigh(scores, mask if mask is None or mask.dim() > 2 else mask[-1:])


@mutant(ADDITIVE, "items_of_a_batch_do_not_mix", "masked_keys_get_exactly_zero_weight")
class EveryItemGetsTheFirstItemsMask(steps.FirstItemsMask, _InSteps):
    """Use one mask for the whole batch; right for one item."""


@mutant(ADDITIVE, "a_query_without_any_key_stays_finite")
class AnEmptyRowIsZeroOverZero(steps.Filled, _InSteps):
    """Take the softmax of −∞ alone."""

    constant = -torch.inf


@mutant(ADDITIVE, "a_query_without_any_key_has_finite_gradients")
class OnlyTheGradientOfAnEmptyRowIsNaN(_InSteps):
    """Add −∞ and replace NaN after the softmax, which repairs the forward pass alone."""

    def weigh(self, scores: Tensor, mask: Mask) -> Tensor:
        if mask is not None:
            scores = scores + torch.zeros(mask.shape).masked_fill(~mask, -torch.inf).to(scores)
        return torch.softmax(scores, -1).nan_to_num(0.0)


@mutant(ADDITIVE, "a_mask_that_allows_everything_is_no_mask", "each_query_is_answered_by_itself")
class CausalUnlessThereIsAMask(steps.CausalWithoutAMask, _InSteps):
    """Hide keys that come after the query's position where no mask is given."""


# --- Output -------------------------------------------------------------------------------------


@mutant(
    ADDITIVE,
    "the_output_is_the_weighted_sum_of_the_values",
    "values_share_the_gradient_by_their_weights",
)
class TheLastValueIsLeftOut(_InSteps):
    """Stop the weighted sum one too early."""

    def mix(self, weights: Tensor, value: Tensor) -> Attended:
        return weights[..., :-1] @ value[:, :-1], weights


@mutant(ADDITIVE, "duplicating_the_memory_changes_nothing", "the_output_lies_among_the_values")
class ASumInPlaceOfAMean(_InSteps):
    """Multiply the output by the number of keys."""

    def mix(self, weights: Tensor, value: Tensor) -> Attended:
        return weights @ value * weights.shape[-1], weights


@mutant(ADDITIVE, "the_output_is_affine_in_the_values", "values_are_mixed_and_never_scored")
class TheOutputGoesThroughTanh(_InSteps):
    """Squash the context."""

    def mix(self, weights: Tensor, value: Tensor) -> Attended:
        return torch.tanh(weights @ value), weights


@mutant(ADDITIVE, "values_are_mixed_and_never_scored", "the_output_is_affine_in_the_values")
class LongValuesArePreferred(_InSteps):
    """Multiply each weight by the length of its value."""

    def mix(self, weights: Tensor, value: Tensor) -> Attended:
        weights = weights * (1e-9 + value.norm(dim=-1)[:, None])
        return super().mix(weights / weights.sum(-1, keepdim=True), value)


@mutant(ADDITIVE, "the_output_is_the_weighted_sum_of_the_values")
class DroppedValuesAreScaledUp(_InSteps):
    """Scale the output as dropout does when it drops nothing."""

    def mix(self, weights: Tensor, value: Tensor) -> Attended:
        return weights @ value / 0.9, weights


@mutant(ADDITIVE, "masked_keys_get_exactly_zero_weight", "every_row_of_weights_sums_to_one")
class ScoresAreGivenForWeights(_InSteps):
    """Give the right output, and the scores."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Mask = None) -> Attended:
        return super().forward(query, key, value, mask)[0], self.score(query, key)


# --- Gradients ----------------------------------------------------------------------------------


@mutant(ADDITIVE, "every_matrix_that_is_used_learns", "gradients_agree_with_finite_differences")
class TheEnergyIsDetached(_InSteps):
    """Let no gradient reach the energy."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        return self.hide(query, key) @ self.energy.weight[0].detach()


@mutant(ADDITIVE, "every_matrix_that_is_used_learns", "gradients_agree_with_finite_differences")
class TheKeysAreProjectedWithoutGradient(_InSteps):
    """Cache the projected keys outside the graph."""

    def hide(self, query: Tensor, key: Tensor) -> Tensor:
        with torch.no_grad():
            projected = self.key(key)
        return torch.tanh(self.query(query)[:, :, None] + projected[:, None])


@mutant(ADDITIVE, "gradients_agree_with_finite_differences")
class TheWeightsAreDetached(_InSteps):
    """Let no gradient through the weights."""

    def weigh(self, scores: Tensor, mask: Mask) -> Tensor:
        return super().weigh(scores.detach(), mask)


@mutant(
    ADDITIVE,
    "values_share_the_gradient_by_their_weights",
    "gradients_agree_with_finite_differences",
)
class TheValuesAreDetached(steps.DetachedValues, _InSteps):
    """Let no gradient reach the values."""


@mutant(ADDITIVE, "every_matrix_that_is_used_learns")
class AMatrixThatNothingUses(_InSteps):
    """Own a fourth matrix."""

    def __init__(self, d_query: int, d_key: int, d_hidden: int) -> None:
        super().__init__(d_query, d_key, d_hidden)
        self.value = nn.Linear(d_key, d_hidden, bias=False)


# --- Precision, side effects, sizes -------------------------------------------------------------


@mutant(
    ADDITIVE,
    "the_reference_with_the_same_parameters_agrees",
    "weights_are_the_softmax_of_energy_times_tanh",
)
class TanhInFloat32(_InSteps):
    """Lose half the digits of float64."""

    def hide(self, query: Tensor, key: Tensor) -> Tensor:
        summed = self.query(query)[:, :, None] + self.key(key)[:, None]
        return torch.tanh(summed.float()).to(query.dtype)


@mutant(ADDITIVE, "inputs_are_left_unchanged")
class QueriesAreCentredInPlace(_InSteps):
    """Shift the caller's own queries and shift them back, with a rounding left over."""

    def hide(self, query: Tensor, key: Tensor) -> Tensor:
        query += 1.0
        hidden = super().hide(query - 1.0, key)
        query -= 1.0
        return hidden


@mutant(ADDITIVE, "the_same_call_gives_the_same_result")
class DropoutIsLeftOn(_InSteps):
    """Drop weights at random, in training or not."""

    def mix(self, weights: Tensor, value: Tensor) -> Attended:
        return torch.dropout(weights, 0.1, train=True) @ value, weights


@mutant(ADDITIVE, "the_same_call_gives_the_same_result")
class TheLastWeightsAreRemembered(_InSteps):
    """Add what a key got in the last call, as coverage does, and never forget it."""

    def __init__(self, d_query: int, d_key: int, d_hidden: int) -> None:
        super().__init__(d_query, d_key, d_hidden)
        self.coverage: Tensor | None = None

    def weigh(self, scores: Tensor, mask: Mask) -> Tensor:
        if self.coverage is not None and self.coverage.shape == scores.shape:
            scores = scores - 0.1 * self.coverage
        weights = super().weigh(scores, mask)
        self.coverage = weights.detach()
        return weights


@mutant(
    ADDITIVE, "the_order_of_the_keys_makes_no_difference", "equal_keys_share_the_weight_equally"
)
class ProjectedKeysAreCached(_InSteps):
    """Project the keys of the first call, and use them for every memory of that shape."""

    def __init__(self, d_query: int, d_key: int, d_hidden: int) -> None:
        super().__init__(d_query, d_key, d_hidden)
        self.seen: Tensor | None = None

    def hide(self, query: Tensor, key: Tensor) -> Tensor:
        if self.seen is None or self.seen.shape[:2] != key.shape[:2]:
            self.seen = self.key(key)
        return torch.tanh(self.query(query)[:, :, None] + self.seen[:, None])


@mutant(ADDITIVE, "how_a_tensor_is_stored_makes_no_difference")
class TheStorageIsReadInOrder(_InSteps):
    """Take every key to be contiguous, as a hand-written kernel may."""

    def hide(self, query: Tensor, key: Tensor) -> Tensor:
        strides = torch.empty(key.shape, device="meta").stride()
        return super().hide(query, key.as_strided(key.shape, strides))


@mutant(ADDITIVE, "items_of_a_batch_do_not_mix")
class KeysOfTheFirstItemOnly(_InSteps):
    """Attend to the first item's memory in the whole batch."""

    def hide(self, query: Tensor, key: Tensor) -> Tensor:
        return super().hide(query, key[:1].expand_as(key))


@mutant(ADDITIVE, "the_reference_with_the_same_parameters_agrees")
class QueryAndKeyTradeMatricesWhereTheyFit(_InSteps):
    """Put queries through the keys' matrix where both are of one width."""

    def hide(self, query: Tensor, key: Tensor) -> Tensor:
        if query.shape[-1] != key.shape[-1]:
            return super().hide(query, key)
        return torch.tanh(self.key(query)[:, :, None] + self.query(key)[:, None])


# --- Two ways to the same result ----------------------------------------------------------------


@mutant(ADDITIVE, "recording_gradients_changes_no_result")
class AnotherTanhWhereNothingIsLearned(_InSteps):
    """Approximate tanh unless gradients are recorded."""

    def hide(self, query: Tensor, key: Tensor) -> Tensor:
        x = self.query(query)[:, :, None] + self.key(key)[:, None]
        return torch.tanh(x) if torch.is_grad_enabled() else x / (1 + x.abs())


@mutant(ADDITIVE, "inputs_are_left_unchanged")
class HiddenValuesAreZeroedInPlace(_InSteps):
    """Overwrite the caller's own values wherever no query may look."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Mask = None) -> Attended:
        if mask is not None:
            seen = mask.expand(len(value), -1, -1).any(1) if mask.dim() < 4 else mask
            value *= seen[..., None]
        return super().forward(query, key, value, mask)


@mutant(ADDITIVE, "the_output_is_the_weighted_sum_of_the_values")
class ValuesPast32AreNotSeen(_InSteps):
    """Cut the memory to the length that a buffer was made for."""

    def mix(self, weights: Tensor, value: Tensor) -> Attended:
        return weights[..., :32] @ value[:, :32], weights


@mutant(ADDITIVE, "queries_and_keys_are_told_apart")
class OneProjectionWhereWidthsAgree(_InSteps):
    """Project keys like queries as soon as they are as wide."""

    def hide(self, query: Tensor, key: Tensor) -> Tensor:
        if query.shape[-1] != key.shape[-1]:
            return super().hide(query, key)
        return torch.tanh(self.query(query)[:, :, None] + self.query(key)[:, None])


@mutant(ADDITIVE, "masks_work_in_low_precision")
class HidesWithAConstantBeyondHalfPrecision(steps.Filled, _InSteps):
    """Hide keys by a number that float16 cannot hold."""

    constant = -1e9


@mutant(ADDITIVE, "equal_weights_leave_tanh_of_sums")
class SigmoidOverOneMatrix(nn.Module):
    """Take another bounded nonlinearity, in a layout with one matrix for queries and keys."""

    def __init__(self, d_query: int, d_key: int, d_hidden: int) -> None:
        super().__init__()
        self.joint = nn.Linear(d_query + d_key, d_hidden)
        self.v = nn.Parameter(torch.randn(d_hidden))

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Mask = None) -> Attended:
        shape = (*query.shape[:2], key.shape[1])
        asked = query[:, :, None].expand(*shape, -1)
        offered = key[:, None].expand(*shape, -1)
        hidden = torch.sigmoid(self.joint(torch.cat([asked, offered], -1)))
        weights = masked_softmax(hidden @ self.v, mask)
        return weights @ value, weights


@mutant(ADDITIVE, "a_large_batch_is_many_small_ones")
class TheFirstItemsMaskForMany(_InSteps):
    """Hide the same keys in all items of a batch of more than twelve."""

    def weigh(self, scores: Tensor, mask: Mask) -> Tensor:
        if mask is not None and mask.dim() == 3 and len(mask) > 12:
            mask = mask[:1]
        return super().weigh(scores, mask)
