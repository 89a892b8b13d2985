"""Scores, softmaxes and heads that were computed wrongly."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from reference import masked_softmax, softmax
from tests.bugs import bug
from tests.mutants.additive import ADDITIVE
from tests.mutants.additive import _InSteps as AdditiveSteps
from tests.mutants.dot_product import SDPA, Attended, Mask
from tests.mutants.dot_product import _attend as attend
from tests.mutants.dot_product import _scores as scores_of
from tests.mutants.multi_head import COMPONENT as MULTI_HEAD
from tests.mutants.multi_head import SplitWithoutTranspose, Steps

# --- Scores -------------------------------------------------------------------------------------


@bug(
    14,
    MULTI_HEAD,
    "identity_projections_leave_heads_on_slices",
    "two_heads_can_do_what_one_can",
    "a_head_of_width_one_ranks_keys_along_a_line",
    "equal_weights_leave_sums_and_the_scale",
    "the_reference_with_the_same_parameters_agrees",
    sources=("lucidrains/vit-pytorch #65", "rasbt/LLMs-from-scratch #856"),
)
class ScaledByTheModelsWidth(Steps):
    """Divide by √d_model instead of √d_h."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        return query @ key.mT / math.sqrt(query.shape[-1] * self.n_heads)


@bug(
    14,
    MULTI_HEAD,
    "identity_projections_leave_heads_on_slices",
    "equal_weights_leave_sums_and_the_scale",
    "the_reference_with_the_same_parameters_agrees",
    sources=("esceptico/perceiver-io #9",),
)
class DividedByTheScale(Steps):
    """Keep 1/√d_h for the scale, and divide by it."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        return query @ key.mT / query.shape[-1] ** -0.5


@bug(
    14,
    MULTI_HEAD,
    "identity_projections_leave_heads_on_slices",
    "equal_weights_leave_sums_and_the_scale",
    "the_reference_with_the_same_parameters_agrees",
    sources=("mlc-ai/mlc-llm #3426",),
)
class TheScaleIsLeftAtOne(Steps):
    """Call a kernel whose scale is one unless it is told otherwise."""

    def score(self, query: Tensor, key: Tensor, scale: float = 1.0) -> Tensor:
        return scale * (query @ key.mT)


@bug(
    34,
    ADDITIVE,
    "large_inputs_saturate_the_scores",
    "weights_are_the_softmax_of_energy_times_tanh",
    "equal_weights_leave_tanh_of_sums",
    "the_reference_with_the_same_parameters_agrees",
)
class WithoutTanh(AdditiveSteps):
    """Leave the nonlinearity out."""

    def hide(self, query: Tensor, key: Tensor) -> Tensor:
        return self.query(query)[:, :, None] + self.key(key)[:, None]


# --- Softmax ------------------------------------------------------------------------------------


@bug(
    15,
    SDPA,
    "every_row_of_weights_sums_to_one",
    "weights_are_the_softmax_of_the_scaled_scores",
    sources=("PetrochukM/PyTorch-NLP #2",),
)
def softmax_over_the_batch_and_the_queries(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Fold items and queries into one axis, and normalise over it: one query weighs all by one."""
    scores = scores_of(query, key)
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return attend(softmax(scores.reshape(-1, key.shape[-2]), 0).view(scores.shape), value)


@bug(
    15,
    ADDITIVE,
    "every_row_of_weights_sums_to_one",
    "the_output_lies_among_the_values",
    "weights_are_the_softmax_of_energy_times_tanh",
    sources=("DEEP-PolyU/KEQA_WSDM19 #2",),
)
class SoftmaxOverTheOneEnergy(AdditiveSteps):
    """Normalise over the last axis of (…, S, 1), along which there is one score."""

    def weigh(self, scores: Tensor, mask: Mask) -> Tensor:
        weights = softmax(scores[..., None])[..., 0]
        return weights if mask is None else weights.masked_fill(~mask, 0.0)


@bug(
    15,
    MULTI_HEAD,
    "every_row_of_weights_sums_to_one",
    "heads_do_not_see_each_other",
    sources=("facebookresearch/detr #247",),
)
class SoftmaxOverHeadsAndKeys(Steps):
    """Flatten heads and keys into one axis, so that the heads of a query share a sum of one."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        if mask is not None:
            mask = mask.expand(scores.shape).transpose(1, 2).flatten(2)
        by_query = scores.transpose(1, 2)  # (B, L, H, S)
        weights = masked_softmax(by_query.flatten(2), mask)
        return weights.view(by_query.shape).transpose(1, 2)


@bug(9, MULTI_HEAD, "the_same_call_gives_the_same_result")
class DropoutWhateverTheMode(Steps):
    """Call a function that drops weights, which knows nothing of the module's mode."""

    p = 0.1

    def mix(self, weights: Tensor, value: Tensor) -> Tensor:
        return functional.dropout(weights, self.p) @ value


# --- Heads --------------------------------------------------------------------------------------


@bug(
    16,
    MULTI_HEAD,
    "outputs_follow_their_tokens_to_any_place",
    "identity_projections_leave_heads_on_slices",
    "each_query_is_answered_by_itself",
    "future_tokens_do_not_change_past_outputs",
    sources=("jsbaan/transformer-from-scratch #6",),
)
class MergedWithoutTranspose(Steps):
    """Reshape (B, H, L, d_h) to (B, L, D), which mixes tokens up."""

    def merge(self, heads: Tensor) -> Tensor:
        return heads.reshape(len(heads), heads.shape[2], -1)


@bug(
    16,
    MULTI_HEAD,
    "outputs_follow_their_tokens_to_any_place",
    "each_head_is_one_attention_on_its_own_rows",
    "the_order_of_the_keys_makes_no_difference",
    "each_query_is_answered_by_itself",
    "future_tokens_do_not_change_past_outputs",
    sources=("reczoo/FuxiCTR #30",),
)
class SplitAndMergedWithoutTranspose(MergedWithoutTranspose, SplitWithoutTranspose):
    """Reshape both ways, so that shapes and single tokens are right."""
