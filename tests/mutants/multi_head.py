"""Wrong multi-head attentions."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from reference import MultiHeadAttention, masked_softmax, softmax
from reference.multi_head_attention import split_heads
from tests.mutants import mutant, steps

COMPONENT = "MultiHeadAttention"


class Steps(MultiHeadAttention):
    """The reference, step by step; a mutant gets one of the steps wrong."""

    def project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Project queries, keys and values, each (B, T, D)."""
        return self.query(query), self.key(key), self.value(value)

    def split(self, x: Tensor) -> Tensor:
        """Cut the width into heads, (B, T, D) to (B, H, T, d_h)."""
        return split_heads(x, self.n_heads)

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        """Score every query against every key in every head, (B, H, L, S)."""
        return query @ key.mT / math.sqrt(query.shape[-1])

    def broadcast(self, mask: Tensor | None, scores: Tensor) -> Tensor | None:
        """Give the mask a dimension for the heads."""
        del scores
        return mask[:, None] if mask is not None and mask.dim() == 3 else mask

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        """Turn scores into weights."""
        return masked_softmax(scores, mask)

    def mix(self, weights: Tensor, value: Tensor) -> Tensor:
        """Take the weighted mean of every head's values, (B, H, L, d_h)."""
        return weights @ value

    def merge(self, heads: Tensor) -> Tensor:
        """Put the heads side by side, (B, L, D)."""
        return heads.transpose(1, 2).flatten(-2)

    def finish(self, merged: Tensor) -> Tensor:
        """Project the merged heads."""
        return self.output(merged)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Give the output and the weights."""
        queries, keys, values = map(self.split, self.project(query, key, value))
        scores = self.score(queries, keys)
        weights = self.weigh(scores, self.broadcast(mask, scores))
        return self.finish(self.merge(self.mix(weights, values))), weights


# --- Construction -------------------------------------------------------------------------------


@mutant(COMPONENT, "heads_that_do_not_divide_the_width_are_refused")
class WidthRoundedDown(Steps):
    """Accept heads that do not divide the width, and let the remainder go unused."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__(d_model, 1)
        self.n_heads = n_heads
        used = max(1, d_model // n_heads) * n_heads
        if used != d_model:
            self.query, self.key, self.value = (nn.Linear(d_model, used) for _ in range(3))
            self.output = nn.Linear(used, d_model)


@mutant(
    COMPONENT,
    "weights_do_not_grow_with_the_heads",
    "a_head_scores_with_no_more_than_its_width",
    "what_a_head_adds_has_the_rank_of_its_width",
    "what_one_head_adds_lies_in_a_subspace_of_its_width",
    "attention_needs_fewer_operations_while_the_sequence_is_short",
)
class HeadsOfFullWidth(Steps):
    """Give every head the whole width, so that the parameters grow with the heads."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__(d_model, n_heads)
        wide = n_heads * d_model
        self.query, self.key, self.value = (nn.Linear(d_model, wide) for _ in range(3))
        self.output = nn.Linear(wide, d_model)


@mutant(
    COMPONENT,
    "a_head_scores_with_no_more_than_its_width",
    "heads_do_not_see_each_other",
    "an_elman_network_always_needs_fewer_operations",
)
class HeadsOfFullWidthWithSharedMatrices(Steps):
    """Let every head score by all columns, and mix its own."""

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        queries, keys, values = self.project(query, key, value)
        every = (len(query), self.n_heads, -1, -1)
        scores = self.score(queries[:, None].expand(every), keys[:, None].expand(every))
        weights = self.weigh(scores, self.broadcast(mask, scores))
        return self.finish(self.merge(self.mix(weights, self.split(values)))), weights


@mutant(
    COMPONENT,
    "weights_do_not_grow_with_the_heads",
    "attention_needs_fewer_operations_while_the_sequence_is_short",
)
class NoOutputProjection(Steps):
    """Give the merged heads as they are, without the last matrix."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__(d_model, n_heads)
        self.output = nn.Identity()


@mutant(
    COMPONENT,
    "every_matrix_that_is_used_learns",
    "the_output_is_the_sum_of_what_each_head_adds",
    "attention_needs_fewer_operations_while_the_sequence_is_short",
)
class OutputProjectionForgotten(Steps):
    """Construct the last matrix, and do not use it."""

    def finish(self, merged: Tensor) -> Tensor:
        return merged


@mutant(COMPONENT, "weights_do_not_grow_with_the_heads")
class OneMatrixForQueriesAndKeys(Steps):
    """Share one parameter between queries and keys."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__(d_model, n_heads)
        self.key = self.query


@mutant(COMPONENT, "every_matrix_that_is_used_learns")
class ParameterThatNothingUses(Steps):
    """Keep a fifth matrix that takes no part."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__(d_model, n_heads)
        self.gate = nn.Linear(d_model, d_model)


class FusedProjection(nn.Module):
    """Right, but with one matrix for three projections, so that only black-box laws apply."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        if d_model % n_heads:
            raise ValueError(d_model, n_heads)
        self.n_heads = n_heads
        self.scale = math.sqrt(d_model / n_heads)
        self.project = nn.Parameter(torch.randn(3 * d_model, d_model))
        self.output = nn.Linear(d_model, d_model, bias=False)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Give the output and the weights."""
        if mask is not None and mask.dim() == 3:
            mask = mask[:, None]
        queries, keys, values = (
            split_heads(functional.linear(x, matrix), self.n_heads)
            for x, matrix in zip((query, key, value), self.project.chunk(3), strict=True)
        )
        weights = masked_softmax(queries @ keys.mT / self.scale, mask)
        return self.output((weights @ values).transpose(1, 2).flatten(-2)), weights


@mutant(COMPONENT, "equal_weights_leave_sums_and_the_scale")
class FusedAndScaledByTheModelsWidth(FusedProjection):
    """Divide by √d_model instead of √d_h, under names of its own."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__(d_model, n_heads)
        self.scale = math.sqrt(d_model)


@mutant(COMPONENT, "masked_keys_get_exactly_zero_weight")
class FusedAndReportedInReverse(FusedProjection):
    """Report the weights of the last head first, under names of its own."""

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        output, weights = super().forward(query, key, value, mask)
        return output, weights.flip(1)


# --- Projections --------------------------------------------------------------------------------


@mutant(
    COMPONENT,
    "the_reference_with_the_same_parameters_agrees",
    "every_matrix_that_is_used_learns",
    "queries_and_keys_are_told_apart",
)
class KeysByTheQueryMatrix(Steps):
    """Project keys with the queries' matrix."""

    def project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.query(query), self.query(key), self.value(value)


@mutant(
    COMPONENT,
    "values_are_mixed_and_never_scored",
    "the_reported_weights_are_those_that_mix_the_values",
    "one_head_cannot_read_two_tokens_apart",
)
class ValuesTakenFromTheKeys(Steps):
    """Project the keys to get values, which self-attention never notices."""

    def project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.query(query), self.key(key), self.value(key) + 0 * value


@mutant(COMPONENT, "values_are_mixed_and_never_scored", "the_context_follows_the_query")
class KeysTakenFromTheValues(Steps):
    """Project the values to get keys, which self-attention never notices."""

    def project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.query(query), self.key(value) + 0 * key, self.value(value)


@mutant(
    COMPONENT,
    "the_reference_with_the_same_parameters_agrees",
    "each_head_is_one_attention_on_its_own_rows",
)
class BiasesIgnored(Steps):
    """Multiply by the matrices and leave the biases out."""

    def project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return (
            functional.linear(query, self.query.weight),
            functional.linear(key, self.key.weight),
            functional.linear(value, self.value.weight),
        )


@mutant(COMPONENT, "the_reference_with_the_same_parameters_agrees", "heads_do_not_see_each_other")
class MatricesTransposed(Steps):
    """Multiply by the matrices' transposes."""

    def project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return (
            functional.linear(query, self.query.weight.mT, self.query.bias),
            functional.linear(key, self.key.weight.mT, self.key.bias),
            functional.linear(value, self.value.weight.mT, self.value.bias),
        )


@mutant(
    COMPONENT,
    "the_order_of_the_keys_makes_no_difference",
    "equal_keys_share_the_weight_equally",
)
class KeysNumberedByPosition(Steps):
    """Add its position to every key."""

    def project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        place = torch.arange(key.shape[-2])[:, None]
        return super().project(query, key + place / 50, value)


@mutant(COMPONENT, "items_of_a_batch_do_not_mix")
class KeysCentredOverTheBatch(Steps):
    """Take the mean over the batch from every key."""

    def project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return super().project(query, key - key.mean(0, keepdim=True), value)


@mutant(COMPONENT, "each_query_is_answered_by_itself")
class QueriesCarriedFromTokenToToken(steps.CarriedQueries, Steps):
    """Add half of each query to the next, one token after another."""


@mutant(COMPONENT, "the_context_follows_the_query")
class QueryIgnored(Steps):
    """Ask the same of every key, whatever the query."""

    def project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return super().project(torch.ones_like(query), key, value)


@mutant(COMPONENT, "every_matrix_that_is_used_learns", "gradients_agree_with_finite_differences")
class KeysDetached(steps.DetachedKeys, Steps):
    """Let no gradient through the keys, so that their matrix never learns."""


@mutant(COMPONENT, "inputs_are_left_unchanged")
class QueryScaledInPlace(Steps):
    """Put the scale into the queries, in the caller's tensor."""

    def project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        projected = super().project(query, key, value)
        query.detach().div_(2.0)
        return projected


@mutant(COMPONENT, "how_a_tensor_is_stored_makes_no_difference")
class StridesAssumed(Steps):
    """Read keys by strides that only a contiguous tensor has."""

    def project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        _, length, width = key.shape
        key = key.as_strided(key.shape, (length * width, width, 1))
        return super().project(query, key, value)


@mutant(COMPONENT, "the_same_call_gives_the_same_result")
class LastKeysRemembered(Steps):
    """Smooth the keys with those of the call before."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__(d_model, n_heads)
        self.before: Tensor | None = None

    def project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        before, self.before = self.before, key.detach()
        if before is not None and before.shape == key.shape:
            key = (key + before.roll(1, -2)) / 2
        return super().project(query, key, value)


@mutant(
    COMPONENT,
    "attention_needs_fewer_operations_while_the_sequence_is_short",
    "an_elman_network_always_needs_fewer_operations",
)
class EveryHeadProjectsEverything(Steps):
    """Give the right result, but project the whole width once for each head."""

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        heads = [
            [self.split(x)[:, h] for x in self.project(query, key, value)]
            for h in range(self.n_heads)
        ]
        queries, keys, values = (torch.stack(parts, 1) for parts in zip(*heads, strict=True))
        scores = self.score(queries, keys)
        weights = self.weigh(scores, self.broadcast(mask, scores))
        return self.finish(self.merge(self.mix(weights, values))), weights


# --- Heads --------------------------------------------------------------------------------------


@mutant(
    COMPONENT,
    "the_order_of_the_keys_makes_no_difference",
    "adding_one_vector_to_every_key_changes_nothing",
    "hidden_keys_might_as_well_not_exist",
)
class SplitWithoutTranspose(Steps):
    """Reshape (B, T, D) to (B, H, T, d_h), which mixes tokens up."""

    def split(self, x: Tensor) -> Tensor:
        return x.reshape(len(x), self.n_heads, x.shape[1], -1)


@mutant(
    COMPONENT,
    "the_output_is_the_sum_of_what_each_head_adds",
    "symbols_add_up_over_the_heads",
    "identity_projections_leave_heads_on_slices",
    "a_head_has_no_gradient_by_another_heads_rows",
    "the_order_of_the_heads_makes_no_difference",
)
class HeadsInterleaved(Steps):
    """Give head h the columns h, h + H, h + 2 H and so on."""

    def split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.n_heads)).movedim(-1, 1)

    def merge(self, heads: Tensor) -> Tensor:
        return heads.movedim(1, -1).flatten(-2)


@mutant(
    COMPONENT,
    "the_output_is_the_sum_of_what_each_head_adds",
    "symbols_add_up_over_the_heads",
    "identity_projections_leave_heads_on_slices",
    "the_order_of_the_heads_makes_no_difference",
)
class MergedInterleaved(Steps):
    """Put the heads' columns in turns, and not side by side."""

    def merge(self, heads: Tensor) -> Tensor:
        return heads.movedim(1, -1).flatten(-2)


@mutant(
    COMPONENT,
    "the_output_is_the_sum_of_what_each_head_adds",
    "symbols_add_up_over_the_heads",
    "identity_projections_leave_heads_on_slices",
    "one_head_cannot_read_two_tokens_apart",
)
class MergedInReverse(Steps):
    """Put the last head first."""

    def merge(self, heads: Tensor) -> Tensor:
        return super().merge(heads.flip(1))


@mutant(
    COMPONENT,
    "the_output_is_the_sum_of_what_each_head_adds",
    "symbols_add_up_over_the_heads",
    "overlapping_heads_compute_something_else",
    "two_heads_can_do_what_one_can",
    "one_head_cannot_read_two_tokens_apart",
    "unequal_output_matrices_give_unequal_derivatives",
)
class HeadsAveraged(Steps):
    """Average the heads' outputs before the projection."""

    def merge(self, heads: Tensor) -> Tensor:
        return super().merge(heads.mean(1, keepdim=True).expand(heads.shape))


@mutant(
    COMPONENT,
    "identity_projections_leave_heads_on_slices",
    "a_head_has_no_gradient_by_another_heads_rows",
)
class FirstHeadOnly(Steps):
    """Use the weights of the first head in all."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        return super().weigh(scores[:, :1].expand(scores.shape), mask)


@mutant(
    COMPONENT,
    "a_head_has_no_gradient_by_another_heads_rows",
    "the_reference_with_the_same_parameters_agrees",
)
class ThirdHeadLikeTheFirst(Steps):
    """Stop at the second head, and repeat the first after it."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        wanted = [h if h < 2 else 0 for h in range(self.n_heads)]
        return super().weigh(scores[:, wanted], mask)


@mutant(
    COMPONENT,
    "heads_do_not_see_each_other",
    "a_head_has_no_gradient_by_another_heads_rows",
    "a_head_may_be_split_into_two_equal_ones",
)
class HeadsTalk(Steps):
    """Mix the heads' scores before the softmax."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        return super().weigh(scores + scores.mean(1, keepdim=True), mask)


@mutant(COMPONENT, "heads_do_not_see_each_other", "a_second_copy_of_a_key_counts_as_ln_two")
class WeightsAveragedOverHeads(Steps):
    """Average the weights over the heads, and mix all heads' values by the average."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        weights = super().weigh(scores, mask)
        return weights.mean(1, keepdim=True).expand(weights.shape)


@mutant(
    COMPONENT,
    "the_reported_weights_are_those_that_mix_the_values",
    "a_second_copy_of_a_key_counts_as_ln_two",
)
class AveragedWeightsReported(Steps):
    """Mix by the right weights, and report their average over the heads."""

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        output, weights = super().forward(query, key, value, mask)
        return output, weights.mean(1, keepdim=True).expand(weights.shape)


@mutant(
    COMPONENT,
    "the_order_of_the_heads_makes_no_difference",
    "a_head_may_be_split_into_two_equal_ones",
    "equal_heads_have_equal_derivatives",
)
class HeadsOfDifferentTemperature(Steps):
    """Divide the scores of head h by h + 1."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        temperature = torch.arange(1, self.n_heads + 1)[:, None, None]
        return super().score(query, key) / temperature


@mutant(
    COMPONENT,
    "equal_keys_share_the_weight_equally",
    "the_order_of_the_heads_makes_no_difference",
    "heads_that_start_equal_come_apart",
)
class HeadsWithSlopes(Steps):
    """Add a bias that falls with the distance, faster in some heads than in others."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        scores = super().score(query, key)
        slopes = 1 / torch.arange(1, self.n_heads + 1)[:, None, None]
        return scores - 0.1 * slopes * steps.distances(scores)


# --- Scores -------------------------------------------------------------------------------------


@mutant(
    COMPONENT,
    "identity_projections_leave_heads_on_slices",
    "a_head_of_width_one_ranks_keys_along_a_line",
)
class ScaledByTheNumberOfHeads(Steps):
    """Divide by √H instead of √d_h."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        return query @ key.mT / math.sqrt(self.n_heads)


@mutant(
    COMPONENT,
    "duplicating_the_memory_changes_nothing",
    "a_second_copy_of_a_key_counts_as_ln_two",
)
class ScoresGrowWithTheLength(steps.GrowingScores, Steps):
    """Multiply the scores by the logarithm of the number of keys."""


@mutant(
    COMPONENT,
    "two_narrow_heads_can_do_what_a_wide_one_can",
    "adding_one_vector_to_every_key_changes_nothing",
    "a_head_of_width_one_ranks_keys_along_a_line",
)
class DistancesInsteadOfDotProducts(Steps):
    """Score by the negative squared distance."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        squares = ((query[..., :, None, :] - key[..., None, :, :]) ** 2).sum(-1)
        return -squares / math.sqrt(query.shape[-1])


@mutant(COMPONENT, "adding_one_vector_to_every_key_changes_nothing")
class CosinesInsteadOfDotProducts(Steps):
    """Normalise queries and keys before comparing them."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        return functional.normalize(query, dim=-1) @ functional.normalize(key, dim=-1).mT


@mutant(
    COMPONENT,
    "the_order_of_the_keys_makes_no_difference",
    "equal_keys_share_the_weight_equally",
)
class BonusForNearKeys(steps.NearKeysPreferred, Steps):
    """Add a bias that falls with the distance of query and key."""


@mutant(
    COMPONENT,
    "the_reference_with_the_same_parameters_agrees",
    "gradients_agree_with_finite_differences",
    "a_head_scores_with_no_more_than_its_width",
)
class SinglePrecisionInside(steps.ScoredInFloat32, Steps):
    """Score in float32 whatever the dtype."""


# --- Weights ------------------------------------------------------------------------------------


@mutant(COMPONENT, "every_row_of_weights_sums_to_one", "each_query_is_answered_by_itself")
class SoftmaxOverQueries(steps.OverTheQueries, Steps):
    """Normalise over the wrong axis."""


@mutant(COMPONENT, "every_row_of_weights_sums_to_one", "heads_do_not_see_each_other")
class SoftmaxOverHeads(Steps):
    """Let heads compete for a key instead of keys for a head."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        weights = softmax(scores, dim=1)
        return weights if mask is None else weights.masked_fill(~mask, 0.0)


@mutant(
    COMPONENT,
    "adding_one_vector_to_every_key_changes_nothing",
    "a_head_scores_with_no_more_than_its_width",
)
class LinearWeights(steps.Linear, Steps):
    """Normalise elu(s) + 1 instead of exponentials."""


@mutant(
    COMPONENT,
    "adding_one_vector_to_every_key_changes_nothing",
    "attention_needs_fewer_operations_while_the_sequence_is_short",
    "an_elman_network_always_needs_fewer_operations",
)
class SumsOfFeaturesInsteadOfAllPairs(Steps):
    """Drop the quadratic term: sum φ(k) vᵀ once, and read it with φ(q)."""

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        queries, keys, values = map(self.split, self.project(query, key, value))
        queries, keys = functional.elu(queries) + 1, functional.elu(keys) + 1
        total = (queries @ keys.sum(-2)[..., None]).clamp_min(1e-300)
        weights = queries @ keys.mT / total
        if mask is None:
            heads = queries @ (keys.mT @ values) / total
        else:
            scores = self.score(queries, keys)
            weights = weights.masked_fill(~self.broadcast(mask, scores), 0.0)
            weights = weights / weights.sum(-1, keepdim=True).clamp_min(1e-300)
            heads = weights @ values
        return self.finish(self.merge(heads)), weights


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


@mutant(
    COMPONENT,
    "the_order_of_the_keys_makes_no_difference",
    "the_reference_with_the_same_parameters_agrees",
)
class WindowOfFiftyKeys(steps.Window, Steps):
    """See no key further away than fifty places."""

    reach = 50


@mutant(COMPONENT, "every_matrix_that_is_used_learns", "gradients_agree_with_finite_differences")
class WeightsDetached(steps.DetachedWeights, Steps):
    """Let no gradient through the weights."""


@mutant(COMPONENT, "the_same_call_gives_the_same_result")
class DropoutAlwaysOn(steps.DroppedWeights, Steps):
    """Drop weights in eval mode too."""


# --- Masks --------------------------------------------------------------------------------------


@mutant(
    COMPONENT,
    "masked_keys_get_exactly_zero_weight",
    "a_mask_that_allows_everything_is_no_mask",
)
class MaskInverted(steps.Inverted, Steps):
    """Read True as forbidden."""


@mutant(
    COMPONENT,
    "hidden_keys_might_as_well_not_exist",
    "future_tokens_do_not_change_past_outputs",
)
class MaskAfterSoftmax(steps.AfterTheSoftmax, Steps):
    """Put masked weights to zero without normalising again."""


@mutant(COMPONENT, "masked_keys_get_exactly_zero_weight", "hidden_keys_might_as_well_not_exist")
class MaskMultipliesScores(steps.TimesTheScores, Steps):
    """Multiply scores by the mask: a masked key scores zero, which is not nothing."""


@mutant(
    COMPONENT,
    "masked_keys_get_exactly_zero_weight",
    "hidden_keys_might_as_well_not_exist",
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
    "the_order_of_the_keys_makes_no_difference",
)
class AlwaysCausal(steps.Causal, Steps):
    """Mask the future whatever the mask says."""


@mutant(COMPONENT, "a_mask_broadcasts_to_the_scores")
class MaskOfTheBatchGivenToHeads(Steps):
    """Let a mask (B, L, S) broadcast as it is where B is H, so that heads get items' masks."""

    def broadcast(self, mask: Tensor | None, scores: Tensor) -> Tensor | None:
        if mask is not None and mask.dim() == 3 and len(mask) in {1, self.n_heads}:
            return mask
        return super().broadcast(mask, scores)


@mutant(COMPONENT, "each_head_is_one_attention_on_its_own_rows")
class MaskOfTheFirstHeadForAll(Steps):
    """Use the first head's mask in all heads."""

    def broadcast(self, mask: Tensor | None, scores: Tensor) -> Tensor | None:
        mask = super().broadcast(mask, scores)
        return mask if mask is None or mask.dim() < 4 else mask[:, :1]


@mutant(
    COMPONENT,
    "masked_keys_get_exactly_zero_weight",
    "each_head_is_one_attention_on_its_own_rows",
)
class MaskOfTheFirstItemForAll(Steps):
    """Use the mask of the first item for the whole batch."""

    def broadcast(self, mask: Tensor | None, scores: Tensor) -> Tensor | None:
        mask = super().broadcast(mask, scores)
        return mask if mask is None or mask.dim() < 4 else mask[:1]


@mutant(COMPONENT, "a_mask_broadcasts_to_the_scores")
class MaskOfTwoDimensionsTakenForPadding(Steps):
    """Read a mask with as many rows as the batch has items as one row an item."""

    def broadcast(self, mask: Tensor | None, scores: Tensor) -> Tensor | None:
        if mask is not None and mask.dim() == 2 and len(mask) == len(scores):
            return mask[:, None, None]
        return super().broadcast(mask, scores)


# --- Values -------------------------------------------------------------------------------------


@mutant(
    COMPONENT,
    "the_order_of_the_keys_makes_no_difference",
    "the_reported_weights_are_those_that_mix_the_values",
)
class LastValueForgotten(steps.LastLeftOut, Steps):
    """Stop summing one value too early."""


@mutant(COMPONENT, "duplicating_the_memory_changes_nothing")
class SumInsteadOfMean(steps.Summed, Steps):
    """Multiply the mean by the number of values."""


@mutant(
    COMPONENT,
    "the_reported_weights_are_those_that_mix_the_values",
    "hidden_keys_might_as_well_not_exist",
    "one_head_cannot_read_two_tokens_apart",
)
class ValuesSkipTheAttention(Steps):
    """Add the mean of all values to what the heads choose."""

    def mix(self, weights: Tensor, value: Tensor) -> Tensor:
        return super().mix(weights, value) + value.mean(-2, keepdim=True)


@mutant(
    COMPONENT,
    "values_are_mixed_and_never_scored",
    "the_output_is_the_sum_of_what_each_head_adds",
    "symbols_add_up_over_the_heads",
)
class OutputThroughTanh(Steps):
    """Put the output through tanh."""

    def finish(self, merged: Tensor) -> Tensor:
        return torch.tanh(super().finish(merged))


@mutant(COMPONENT, "values_are_mixed_and_never_scored", "overlapping_heads_compute_something_else")
class HeadsNormalised(Steps):
    """Normalise the merged heads before the projection."""

    def finish(self, merged: Tensor) -> Tensor:
        return super().finish(functional.normalize(merged, dim=-1))


@mutant(COMPONENT, "the_context_follows_the_query")
class QueryAddedToTheOutput(Steps):
    """Add a residual, which belongs to the layer around."""

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        output, weights = super().forward(query, key, value, mask)
        return query + output, weights


@mutant(COMPONENT, "the_reference_with_the_same_parameters_agrees", "symbols_add_up_over_the_heads")
class OutputBiasInEveryHead(Steps):
    """Project head by head, and add the bias once for each."""

    def finish(self, merged: Tensor) -> Tensor:
        return super().finish(merged) + (self.n_heads - 1) * self.output.bias


# --- Two ways to the same result ----------------------------------------------------------------


@mutant(COMPONENT, "recording_gradients_changes_no_result")
class OneHeadDroppedWhereGradientsAreRecorded(Steps):
    """Drop the last head, as a dropout of heads would."""

    def mix(self, weights: Tensor, value: Tensor) -> Tensor:
        heads = super().mix(weights, value)
        if torch.is_grad_enabled():
            heads = heads * (torch.arange(self.n_heads) < self.n_heads - 1)[:, None, None]
        return heads


@mutant(
    COMPONENT,
    "masked_keys_get_exactly_zero_weight",
    "no_score_is_so_low_that_a_masked_key_is_above_it",
)
class MaskedByMinusAThousand(steps.Filled, Steps):
    """Trust that scores stay below a thousand."""

    constant = -1000.0


# --- Layouts of their own -----------------------------------------------------------------------


@mutant(COMPONENT, "equal_weights_leave_sums_and_the_scale")
class ListsOfHeadsWithoutAScale(nn.Module):
    """Keep projections for each head, and forget the scale."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        if d_model % n_heads:
            raise ValueError(f"{n_heads} heads do not divide a width of {d_model}")
        self.heads = nn.ModuleList(
            nn.ModuleList(nn.Linear(d_model, d_model // n_heads) for _ in range(3))
            for _ in range(n_heads)
        )
        self.output = nn.Linear(d_model, d_model)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Give the output and the weights."""
        found = []
        for index, (ask, offer, give) in enumerate(self.heads):
            own = mask
            if mask is not None and mask.dim() == 4:
                own = mask[:, min(index, mask.shape[1] - 1)]
            weights = masked_softmax(ask(query) @ offer(key).mT, own)
            found.append((weights @ give(value), weights))
        outputs, weights = zip(*found, strict=True)
        return self.output(torch.cat(outputs, -1)), torch.stack(weights, 1)


class StacksOfHeads(nn.Module):
    """Projections stored head by head, (H, D, d_h); a mutant shares what each should have."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        if d_model % n_heads:
            raise ValueError(f"{n_heads} heads do not divide a width of {d_model}")
        size = (n_heads, d_model, d_model // n_heads)
        self.ask, self.offer, self.give = (nn.Parameter(torch.randn(size)) for _ in range(3))
        self.finish = nn.Parameter(torch.randn(size))

    def share(self, name: str, stack: Tensor) -> Tensor:
        """Give a stack of projections."""
        del name
        return stack

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Give the output and the weights."""
        stacks = {n: self.share(n, p) for n, p in self.named_parameters()}
        queries = query[:, None] @ stacks["ask"]
        keys, values = key[:, None] @ stacks["offer"], value[:, None] @ stacks["give"]
        if mask is not None and mask.dim() == 3:
            mask = mask[:, None]
        weights = masked_softmax(queries @ keys.mT / math.sqrt(queries.shape[-1]), mask)
        return (weights @ values @ stacks["finish"].mT).sum(1), weights


@mutant(COMPONENT, "a_head_scores_with_no_more_than_its_width")
class OneKeyProjectionForAllHeads(StacksOfHeads):
    """Let all heads look for the same keys."""

    def share(self, name: str, stack: Tensor) -> Tensor:
        return stack[:1].expand_as(stack) if name == "offer" else stack


@mutant(COMPONENT, "a_head_scores_with_no_more_than_its_width")
class OneQueryProjectionForAllHeads(StacksOfHeads):
    """Let all heads ask the same."""

    def share(self, name: str, stack: Tensor) -> Tensor:
        return stack[:1].expand_as(stack) if name == "ask" else stack


@mutant(COMPONENT, "the_reported_weights_are_those_that_mix_the_values")
class OneValueProjectionForAllHeads(StacksOfHeads):
    """Let all heads read the same of a value."""

    def share(self, name: str, stack: Tensor) -> Tensor:
        return stack[:1].expand_as(stack) if name == "give" else stack


@mutant(COMPONENT, "the_reported_weights_are_those_that_mix_the_values")
class OneOutputProjectionForAllHeads(StacksOfHeads):
    """Let all heads write to the same place."""

    def share(self, name: str, stack: Tensor) -> Tensor:
        return stack[:1].expand_as(stack) if name == "finish" else stack


# --- One tensor under several names -------------------------------------------------------------


@mutant(COMPONENT, "a_mask_that_allows_everything_is_no_mask")
class CausalForOneSequence(Steps):
    """Take attention of a sequence to itself for a decoder's."""

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        if mask is None and query is key:
            mask = torch.ones(key.shape[-2:-1] * 2, dtype=torch.bool).tril()
        return super().forward(query, key, value, mask)


@mutant(
    COMPONENT,
    "the_reference_with_the_same_parameters_agrees",
    "hidden_keys_might_as_well_not_exist",
)
class ValuesByTheKeyMatrixForAMemory(Steps):
    """Project only once where keys and values are the same tensor."""

    def project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        keys = self.key(key)
        return self.query(query), keys, keys if key is value else self.value(value)


# --- Sizes --------------------------------------------------------------------------------------


@mutant(COMPONENT, "every_row_of_weights_sums_to_one")
class WrongForMoreThanEightHeads(Steps):
    """Leave the heads past the eighth without weights."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        weights = super().weigh(scores, mask)
        return weights * (torch.arange(self.n_heads) < 8)[:, None, None]


@mutant(COMPONENT, "heads_that_do_not_divide_the_width_are_refused")
class ManyHeadsAreNotChecked(Steps):
    """Check whether heads divide the width for four of them at most."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__(d_model if n_heads < 5 else d_model // n_heads * n_heads, n_heads)


@mutant(COMPONENT, "the_reference_with_the_same_parameters_agrees")
class AnotherScaleAtSevenHeads(Steps):
    """Score a little more steeply at an odd number of heads past five."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        scores = super().score(query, key)
        return scores * 1.01 if self.n_heads > 5 and self.n_heads % 2 else scores


@mutant(COMPONENT, "the_reference_with_the_same_parameters_agrees")
class AnotherScaleAtTwelveHeads(Steps):
    """Score a little more steeply where there are nine to sixteen heads."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        scores = super().score(query, key)
        return scores * 1.01 if 8 < self.n_heads <= 16 else scores


@mutant(COMPONENT, "heads_that_do_not_divide_the_width_are_refused")
class ManyHeadsOfWidthOneAreRefused(Steps):
    """Refuse more than eight heads of one entry, which divide the width as well as any."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__(d_model, n_heads)
        if d_model == n_heads > 8:
            raise ValueError("heads are too narrow")


@mutant(COMPONENT, "a_mask_broadcasts_to_the_scores")
class MaskOfFourItemsGivenToHeads(Steps):
    """Let a mask (B, L, S) broadcast as it is where there are four items and heads, or more."""

    def broadcast(self, mask: Tensor | None, scores: Tensor) -> Tensor | None:
        if mask is not None and mask.dim() == 3 and len(mask) == self.n_heads > 3:
            return mask
        return super().broadcast(mask, scores)


# --- Defaults that remember ---------------------------------------------------------------------


@mutant(
    COMPONENT,
    "the_order_of_the_keys_makes_no_difference",
    "the_reference_with_the_same_parameters_agrees",
)
class TheMemoryIsKeptForAllOfItsSize(Steps):
    """Keep keys and values by their size in a dictionary that all calls share, and all modules."""

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None = None,
        kept: dict[tuple[torch.Size, torch.dtype], tuple[Tensor, Tensor]] = {},  # noqa: B006 - which is the mistake
    ) -> tuple[Tensor, Tensor]:
        key, value = kept.setdefault((key.shape, key.dtype), (key, value))
        return super().forward(query, key, value, mask)


@mutant(COMPONENT, "a_mask_that_allows_everything_is_no_mask", "each_query_is_answered_by_itself")
class MasksAddUpInADefault(Steps):
    """Hide what any mask of the size has hidden so far, for want of a fresh list."""

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None = None,
        masks: list[Tensor] = [],  # noqa: B006 - which is the mistake
    ) -> tuple[Tensor, Tensor]:
        if mask is None:
            return super().forward(query, key, value)
        masks.append(mask)
        for other in masks:
            if other.shape == mask.shape:
                mask = mask & other
        return super().forward(query, key, value, mask)
