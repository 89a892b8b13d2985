"""Wrong softmaxes."""

import torch
from torch import Tensor

from reference import softmax as right
from tests.mutants import mutant


def _normalised(exponentials: Tensor, dim: int) -> Tensor:
    return exponentials / exponentials.sum(dim, keepdim=True)


# --- Range --------------------------------------------------------------------------------------


@mutant("softmax", "no_finite_score_overflows")
def exponentials_without_a_shift(x: Tensor, dim: int = -1) -> Tensor:
    """Overflow for large scores."""
    return _normalised(torch.exp(x), dim)


@mutant("softmax", "no_finite_score_overflows")
def shifted_by_the_largest_of_all_scores(x: Tensor, dim: int = -1) -> Tensor:
    """Subtract the maximum of the whole tensor, so that low rows are zero over zero."""
    return _normalised(torch.exp(x - x.max()), dim)


@mutant("softmax", "no_finite_score_overflows")
def shifted_by_the_mean(x: Tensor, dim: int = -1) -> Tensor:
    """Subtract the mean, which does not keep the largest score from overflowing."""
    return _normalised(torch.exp(x - x.mean(dim, keepdim=True)), dim)


@mutant("softmax", "no_finite_score_overflows")
def shifted_by_the_largest_of_all_where_many(x: Tensor, dim: int = -1) -> Tensor:
    """Subtract one maximum from a tensor of a thousand scores or more."""
    largest = x.amax(dim, keepdim=True) if x.numel() < 1000 else x.max()
    return _normalised(torch.exp(x - largest), dim)


@mutant("softmax", "no_finite_score_overflows")
def exponentials_without_a_shift_while_learning(x: Tensor, dim: int = -1) -> Tensor:
    """Overflow for large scores, but only where gradients are recorded."""
    return _normalised(torch.exp(x), dim) if x.requires_grad else right(x, dim)


@mutant("softmax", "adding_a_constant_changes_nothing", "no_finite_score_overflows")
def scores_clamped_against_overflow(x: Tensor, dim: int = -1) -> Tensor:
    """Clamp the scores to ±50 in place of a shift."""
    return _normalised(torch.exp(x.clamp(-50, 50)), dim)


# --- Axes ---------------------------------------------------------------------------------------


@mutant("softmax", "entries_along_the_axis_sum_to_one", "it_is_the_normalised_exponential")
def always_over_the_last_axis(x: Tensor, dim: int = -1) -> Tensor:
    """Ignore the axis that was asked for."""
    return right(x, -1)


@mutant("softmax", "entries_along_the_axis_sum_to_one", "it_is_the_normalised_exponential")
def always_over_the_second_axis(x: Tensor, dim: int = -1) -> Tensor:
    """Take the axis that is right for a batch of rows."""
    return right(x, min(1, x.dim() - 1))


@mutant("softmax", "entries_along_the_axis_sum_to_one")
def over_all_entries(x: Tensor, dim: int = -1) -> Tensor:
    """Normalise the whole tensor to one."""
    return right(x.flatten(), 0).view(x.shape)


@mutant("softmax", "entries_along_the_axis_sum_to_one")
def a_negative_axis_is_off_by_one(x: Tensor, dim: int = -1) -> Tensor:
    """Count negative axes from the last but one."""
    return right(x, dim if dim >= 0 else (dim - 1) % x.dim())


@mutant("softmax", "it_is_the_normalised_exponential")
def the_first_axis_where_none_is_named(x: Tensor, dim: int = 0) -> Tensor:
    """Take another axis by default."""
    return right(x, dim)


@mutant("softmax", "it_is_the_normalised_exponential")
def the_last_axis_of_five(x: Tensor, dim: int = -1) -> Tensor:
    """Know the axis up to four dimensions."""
    return right(x, dim if x.dim() < 5 else -1)


# --- Formula ------------------------------------------------------------------------------------


@mutant(
    "softmax", "it_is_the_normalised_exponential", "the_jacobian_is_diag_p_minus_p_p_transposed"
)
def powers_of_two(x: Tensor, dim: int = -1) -> Tensor:
    """Take two for the base."""
    return _normalised(torch.exp2(x - x.amax(dim, keepdim=True)), dim)


@mutant("softmax", "it_is_the_normalised_exponential")
def a_temperature_is_left_in(x: Tensor, dim: int = -1) -> Tensor:
    """Divide the scores by the root of their number."""
    return right(x / x.shape[dim] ** 0.5, dim)


@mutant("softmax", "adding_a_constant_changes_nothing")
def normalised_sigmoids(x: Tensor, dim: int = -1) -> Tensor:
    """Divide sigmoids by their sum."""
    return _normalised(torch.sigmoid(x), dim)


@mutant("softmax", "entries_along_the_axis_sum_to_one")
def logarithms_of_the_weights(x: Tensor, dim: int = -1) -> Tensor:
    """Give log-softmax."""
    return torch.log_softmax(x, dim)


@mutant("softmax", "entries_along_the_axis_sum_to_one", "it_is_the_normalised_exponential")
def an_epsilon_in_the_denominator(x: Tensor, dim: int = -1) -> Tensor:
    """Guard against a division by zero that cannot happen."""
    exponentials = torch.exp(x - x.amax(dim, keepdim=True))
    return exponentials / (exponentials.sum(dim, keepdim=True) + 1e-6)


@mutant("softmax", "entries_along_the_axis_sum_to_one")
def one_more_in_the_denominator(x: Tensor, dim: int = -1) -> Tensor:
    """Let attention go nowhere: the softmax that sums to less than one."""
    shift = x.amax(dim, keepdim=True).clamp_min(0)
    exponentials = torch.exp(x - shift)
    return exponentials / (exponentials.sum(dim, keepdim=True) + torch.exp(-shift))


@mutant("softmax", "permuting_the_scores_permutes_the_result")
def the_sum_leaves_out_the_last_score(x: Tensor, dim: int = -1) -> Tensor:
    """Stop the sum one too early."""
    exponentials = torch.exp(x - x.amax(dim, keepdim=True))
    total = exponentials.narrow(dim, 0, max(x.shape[dim] - 1, 1)).sum(dim, keepdim=True)
    return exponentials / total


@mutant("softmax", "permuting_the_scores_permutes_the_result")
def the_weights_come_back_sorted(x: Tensor, dim: int = -1) -> Tensor:
    """Sort the scores and forget to put the weights back."""
    return right(x.sort(dim, descending=True).values, dim)


@mutant("softmax", "every_entry_is_positive_at_moderate_scores")
def small_weights_are_dropped(x: Tensor, dim: int = -1) -> Tensor:
    """Set weights below a thousandth to zero and normalise the rest again."""
    weights = right(x, dim)
    return _normalised(weights.masked_fill(weights < 1e-3, 0.0), dim)


@mutant("softmax", "entries_along_the_axis_sum_to_one")
def every_block_is_normalised_by_itself(x: Tensor, dim: int = -1) -> Tensor:
    """Work in blocks of 128 and never combine their sums; wrong for long rows alone."""
    return torch.cat([right(block, dim) for block in x.split(128, dim)], dim)


@mutant("softmax", "permuting_the_scores_permutes_the_result")
def blocks_are_not_rescaled(x: Tensor, dim: int = -1) -> Tensor:
    """Stream over blocks of 128, and keep an old block's sum when the maximum grows."""
    blocks = [torch.exp(b - b.amax(dim, keepdim=True)) for b in x.split(128, dim)]
    return _normalised(torch.cat(blocks, dim), dim)


@mutant("softmax", "it_is_the_normalised_exponential")
def only_the_first_item_is_normalised_by_itself(x: Tensor, dim: int = -1) -> Tensor:
    """Divide every item by the sum of the first; right for one item."""
    exponentials = torch.exp(x - x.amax(dim, keepdim=True))
    total = exponentials.sum(dim, keepdim=True)
    return exponentials / (total[:1] if x.dim() > 1 and dim % x.dim() else total)


# --- Gradients ----------------------------------------------------------------------------------


@mutant(
    "softmax",
    "the_jacobian_is_diag_p_minus_p_p_transposed",
    "gradients_agree_with_finite_differences",
)
def the_weights_are_detached(x: Tensor, dim: int = -1) -> Tensor:
    """Cut the gradient."""
    return right(x.detach(), dim)


@mutant(
    "softmax",
    "the_jacobian_is_diag_p_minus_p_p_transposed",
    "gradients_agree_with_finite_differences",
)
def the_denominator_is_detached(x: Tensor, dim: int = -1) -> Tensor:
    """Forget that the sum depends on the scores too."""
    exponentials = torch.exp(x - x.amax(dim, keepdim=True))
    return exponentials / exponentials.sum(dim, keepdim=True).detach()


@mutant("softmax", "gradients_agree_with_finite_differences")
def the_gradient_passes_straight_through(x: Tensor, dim: int = -1) -> Tensor:
    """Give the right weights and the gradient of the identity."""
    return right(x.detach(), dim) + (x - x.detach())


# --- Precision ----------------------------------------------------------------------------------


@mutant("softmax", "it_is_the_normalised_exponential")
def computed_in_float32(x: Tensor, dim: int = -1) -> Tensor:
    """Lose half the digits of float64."""
    return right(x.float(), dim).to(x.dtype)


@mutant("softmax", "low_precision_rounds_no_further_than_it_must")
def computed_in_bfloat16_when_not_in_float64(x: Tensor, dim: int = -1) -> Tensor:
    """Leave an autocast on that lowers the precision of float32 and float16."""
    return right(x, dim) if x.dtype == torch.float64 else right(x.bfloat16(), dim).to(x.dtype)


@mutant("softmax", "it_is_the_normalised_exponential")
def in_half_precision_where_of_middle_size(x: Tensor, dim: int = -1) -> Tensor:
    """Take a kernel for 10 to 256 entries, which computes in float16."""
    if not 10 <= x.shape[dim] <= 256:
        return right(x, dim)
    return right(x.half(), dim).to(x.dtype)


@mutant("softmax", "it_is_the_normalised_exponential")
def in_half_precision_past_two_thousand(x: Tensor, dim: int = -1) -> Tensor:
    """Save memory by float16 where the axis is longer than 2,048 entries."""
    return right(x, dim) if x.shape[dim] <= 2048 else right(x.half(), dim).to(x.dtype)


# --- Side effects -------------------------------------------------------------------------------


@mutant("softmax", "inputs_are_left_unchanged")
def shifted_in_place(x: Tensor, dim: int = -1) -> Tensor:
    """Subtract the maximum from the caller's own tensor."""
    x -= x.amax(dim, keepdim=True).detach()
    return right(x, dim)


@mutant("softmax", "the_same_call_gives_the_same_result")
def dropout_is_left_on(x: Tensor, dim: int = -1) -> Tensor:
    """Drop weights at random, in training or not."""
    return torch.dropout(right(x, dim), 0.1, train=True)


_LAST_LARGEST = [0.0]


@mutant("softmax", "the_same_call_gives_the_same_result")
def shifted_by_the_largest_score_of_the_last_call(x: Tensor, dim: int = -1) -> Tensor:
    """Keep the shift from one call to the next, and update it too late."""
    shift = _LAST_LARGEST[0]
    _LAST_LARGEST[0] = float(x.detach().max())
    return _normalised(torch.exp(x - shift), dim)


@mutant("softmax", "how_a_tensor_is_stored_makes_no_difference")
def the_storage_is_read_in_order(x: Tensor, dim: int = -1) -> Tensor:
    """Take every tensor to be contiguous, as a hand-written kernel may."""
    strides = torch.empty(x.shape, device="meta").stride()
    return right(x.as_strided(x.shape, strides), dim)


@mutant("softmax", "recording_gradients_changes_no_result")
def a_faster_exponential_where_nothing_is_learned(x: Tensor, dim: int = -1) -> Tensor:
    """Compute in float32 unless gradients are recorded."""
    if torch.is_grad_enabled():
        return torch.softmax(x, dim)
    return torch.softmax(x.float(), dim).to(x.dtype)


@mutant("softmax", "no_finite_score_overflows")
def to_the_base_of_two(x: Tensor, dim: int = -1) -> Tensor:
    """Change the base before the largest is subtracted, and overflow near the end of the range."""
    x = x * 1.4426950408889634
    return _normalised(torch.exp2(x - x.amax(dim, keepdim=True)), dim)
