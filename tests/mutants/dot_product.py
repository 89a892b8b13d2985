"""Wrong scaled dot-product attentions."""

import math

import torch
from torch import Tensor

from reference import masked_softmax, softmax
from reference import scaled_dot_product_attention as right
from tests.mutants import mutant

SDPA = "scaled_dot_product_attention"
Mask = Tensor | None
Attended = tuple[Tensor, Tensor]


def _scores(query: Tensor, key: Tensor) -> Tensor:
    return query @ key.mT / math.sqrt(query.shape[-1])


def _hidden(scores: Tensor, mask: Mask, constant: float = -torch.inf) -> Tensor:
    return scores if mask is None else scores.masked_fill(~mask, constant)


def _attend(weights: Tensor, value: Tensor) -> Attended:
    return weights @ value, weights


def _distances(length: int, keys: int) -> Tensor:
    return (torch.arange(length)[:, None] - torch.arange(keys)).abs()


def _renormalised(weights: Tensor) -> Tensor:
    return weights / weights.sum(-1, keepdim=True)


# --- Scale --------------------------------------------------------------------------------------


@mutant(
    SDPA,
    "weights_are_the_softmax_of_the_scaled_scores",
    "weights_of_symbols_are_positive",
    "symbols_give_the_softmax_jacobian_times_the_keys",
)
def without_a_scale(query: Tensor, key: Tensor, value: Tensor, mask: Mask = None) -> Attended:
    """Forget to divide by √d_k."""
    return _attend(masked_softmax(query @ key.mT, mask), value)


@mutant(
    SDPA,
    "weights_are_the_softmax_of_the_scaled_scores",
    "the_range_of_the_scores_limits_the_largest_weight",
)
def multiplied_by_the_root_of_the_width(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Multiply by √d_k where it divides."""
    return _attend(masked_softmax(query @ key.mT * math.sqrt(query.shape[-1]), mask), value)


@mutant(
    SDPA,
    "log_odds_of_two_keys_are_their_score_difference",
    "symbols_give_a_distribution_with_score_differences_as_log_odds",
    "a_clear_winner_leaves_little_to_the_others",
)
def divided_by_the_width(query: Tensor, key: Tensor, value: Tensor, mask: Mask = None) -> Attended:
    """Divide by d_k and not by its root."""
    return _attend(masked_softmax(query @ key.mT / query.shape[-1], mask), value)


@mutant(
    SDPA,
    "log_odds_of_two_keys_are_their_score_difference",
    "symbols_order_weights_as_scores",
    "duplicating_the_memory_changes_nothing",
)
def divided_by_the_root_of_the_number_of_keys(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Take the size of the wrong axis for the scale."""
    return _attend(masked_softmax(query @ key.mT / math.sqrt(key.shape[-2]), mask), value)


@mutant(SDPA, "weights_are_the_softmax_of_the_scaled_scores")
def divided_by_the_root_of_the_values_width(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Take the width of the values for the scale."""
    return _attend(masked_softmax(query @ key.mT / math.sqrt(value.shape[-1]), mask), value)


@mutant(SDPA, "weights_are_the_softmax_of_the_scaled_scores", "the_weights_move_with_the_query")
def the_scale_is_that_of_width_64(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Divide by eight, as the paper's heads do."""
    return _attend(masked_softmax(query @ key.mT / 8, mask), value)


@mutant(SDPA, "weights_are_the_softmax_of_the_scaled_scores")
def scaled_twice(query: Tensor, key: Tensor, value: Tensor, mask: Mask = None) -> Attended:
    """Scale the queries, and then let attention scale its scores."""
    return right(query / math.sqrt(query.shape[-1]), key, value, mask)


@mutant(SDPA, "the_output_is_the_weighted_sum_of_the_values", "the_output_lies_among_the_values")
def scaled_after_the_softmax(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Divide the weights by √d_k in place of the scores, and give what they were before."""
    weights = masked_softmax(query @ key.mT, mask)
    return weights / math.sqrt(query.shape[-1]) @ value, weights


# --- Scores -------------------------------------------------------------------------------------


@mutant(SDPA, "a_higher_score_gets_a_higher_weight", "a_clear_winner_leaves_little_to_the_others")
def the_sign_of_the_scores_is_turned(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Prefer the keys that fit least."""
    return right(-query, key, value, mask)


@mutant(SDPA, "queries_and_keys_may_trade_a_matrix")
def scored_by_distance(query: Tensor, key: Tensor, value: Tensor, mask: Mask = None) -> Attended:
    """Score by squared distance, which a long key loses."""
    scores = _scores(query, key) - key.square().sum(-1)[..., None, :] / 2 / key.shape[-1] ** 0.5
    return _attend(masked_softmax(scores, mask), value)


@mutant(
    SDPA,
    "queries_and_keys_may_trade_a_matrix",
    "adding_one_vector_to_every_key_changes_nothing",
    "log_odds_of_two_keys_are_their_score_difference",
    "rounded_weights_tell_all_scores_apart",
)
def scored_by_the_cosine(query: Tensor, key: Tensor, value: Tensor, mask: Mask = None) -> Attended:
    """Normalise queries and keys to length one."""
    query, key = (torch.nn.functional.normalize(x, dim=-1) for x in (query, key))
    return right(query, key, value, mask)


@mutant(SDPA, "queries_and_keys_may_trade_a_matrix")
def products_are_saturated(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Put every coordinate's product through tanh, which a stretched basis never shows."""
    products = torch.tanh(query[..., :, None, :] * key[..., None, :, :])
    scores = products.sum(-1) / math.sqrt(query.shape[-1])
    return _attend(masked_softmax(scores, mask), value)


@mutant(SDPA, "the_context_follows_the_query", "the_weights_move_with_the_query")
def the_query_is_not_used(query: Tensor, key: Tensor, value: Tensor, mask: Mask = None) -> Attended:
    """Score keys by themselves, so that every query gets the same context."""
    return right(torch.ones_like(query), key, value, mask)


@mutant(SDPA, "each_query_is_answered_by_itself")
def queries_are_centred(query: Tensor, key: Tensor, value: Tensor, mask: Mask = None) -> Attended:
    """Subtract the mean of all queries from each."""
    return right(query - query.mean(-2, keepdim=True), key, value, mask)


@mutant(SDPA, "future_tokens_do_not_change_past_outputs", "hidden_keys_might_as_well_not_exist")
def keys_are_centred(query: Tensor, key: Tensor, value: Tensor, mask: Mask = None) -> Attended:
    """Divide keys by their spread over all positions, hidden and future ones among them."""
    spread = (key - key.mean(-2, keepdim=True)).square().mean(-2, keepdim=True)
    return right(query, key / (1 + spread).sqrt(), value, mask)


@mutant(SDPA, "the_order_of_the_keys_makes_no_difference", "equal_keys_share_the_weight_equally")
def near_keys_are_preferred(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Leave a bias on the distance between positions in the scores."""
    scores = _scores(query, key) - _distances(query.shape[-2], key.shape[-2]) / 10
    return _attend(masked_softmax(scores, mask), value)


@mutant(
    SDPA,
    "another_query_always_gets_another_context",
    "equal_keys_share_the_weight_equally",
    "the_order_of_the_keys_makes_no_difference",
)
def positions_are_added_to_the_keys(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Number the keys, so that equal keys are told apart after all."""
    return right(query, key + torch.arange(key.shape[-2]).to(key)[:, None], value, mask)


@mutant(SDPA, "values_are_mixed_and_never_scored", "the_output_is_affine_in_the_values")
def long_values_are_preferred(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Multiply each weight by the length of its value."""
    weights = right(query, key, value, mask)[1] * (1e-9 + value.norm(dim=-1)[..., None, :])
    return _attend(_renormalised(weights), value)


# --- Softmax ------------------------------------------------------------------------------------


@mutant(SDPA, "every_row_of_weights_sums_to_one", "each_query_is_answered_by_itself")
def softmax_over_the_queries(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Normalise the wrong axis, without a mask alone."""
    if mask is not None:
        return right(query, key, value, mask)
    return _attend(softmax(_scores(query, key), -2), value)


@mutant(SDPA, "every_row_of_weights_sums_to_one")
def softmax_over_all_pairs(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Normalise queries and keys together."""
    scores = _hidden(_scores(query, key), mask)
    return _attend(softmax(scores.flatten(-2)).view(scores.shape), value)


@mutant(SDPA, "every_row_of_weights_sums_to_one", "the_output_lies_among_the_values")
def sigmoids_are_not_normalised(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Weigh every key by itself."""
    return _attend(torch.sigmoid(_hidden(_scores(query, key), mask)), value)


@mutant(
    SDPA,
    "adding_one_vector_to_every_key_changes_nothing",
    "a_clear_winner_leaves_little_to_the_others",
)
def sigmoids_are_normalised(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Divide sigmoids by their sum."""
    gates = torch.sigmoid(_scores(query, key).clamp(-30, 30))
    gates = gates if mask is None else gates.masked_fill(~mask, 0.0)
    return _attend(gates / gates.sum(-1, keepdim=True).clamp_min(1e-30), value)


@mutant(
    SDPA,
    "log_odds_of_two_keys_are_their_score_difference",
    "symbols_give_a_distribution_with_score_differences_as_log_odds",
    "symbols_order_weights_as_scores",
)
def powers_of_two(query: Tensor, key: Tensor, value: Tensor, mask: Mask = None) -> Attended:
    """Take two for the base and forget to change the scale."""
    return right(query * math.log(2), key, value, mask)


@mutant(SDPA, "every_row_of_weights_sums_to_one")
def an_epsilon_in_the_denominator(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Guard against empty rows with 1e-6 in every row."""
    scores = _hidden(_scores(query, key), mask)
    exponentials = torch.exp(scores - scores.detach().amax(-1, keepdim=True).clamp_min(-1e30))
    return _attend(exponentials / (exponentials.sum(-1, keepdim=True) + 1e-6), value)


@mutant(SDPA, "every_row_of_weights_sums_to_one", "the_output_lies_among_the_values")
def one_more_in_the_denominator(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Add an invisible key with score zero, which takes its share."""
    scores = _hidden(_scores(query, key), mask)
    sink = torch.nn.functional.pad(scores, (1, 0))
    return _attend(softmax(sink)[..., 1:], value)


@mutant(
    SDPA,
    "what_is_not_needed_gets_no_weight",
    "the_largest_weight_makes_the_largest_contribution",
    "the_range_of_the_scores_limits_the_largest_weight",
    "equal_keys_share_the_weight_equally",
)
def the_best_key_takes_everything(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Put a hard maximum in place of the soft one."""
    scores = _hidden(_scores(query, key), mask)
    best = torch.nn.functional.one_hot(scores.argmax(-1), scores.shape[-1])
    return _attend(best.to(scores.dtype), value)


@mutant(SDPA, "a_second_copy_of_a_key_counts_as_ln_two", "duplicating_the_memory_changes_nothing")
def only_the_two_best_keys_count(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Leave out every key but the two with the highest scores."""
    scores = _hidden(_scores(query, key), mask)
    least = scores.topk(min(2, scores.shape[-1])).values[..., -1:]
    return _attend(masked_softmax(scores, scores >= least), value)


@mutant(SDPA, "every_allowed_key_gets_some_weight")
def small_weights_are_dropped(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Set weights below a hundredth to zero and normalise the rest again."""
    _, weights = right(query, key, value, mask)
    return _attend(_renormalised(weights.masked_fill(weights < 0.01, 0.0)), value)


@mutant(
    SDPA,
    "every_key_gets_some_weight_whatever_its_score",
    "a_weight_vanishes_where_half_the_smallest_number_does",
)
def no_weight_is_below_an_epsilon(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Raise every weight to at least 1e-12, for the sake of a later logarithm."""
    _, weights = right(query, key, value, mask)
    return _attend(weights.clamp_min(1e-12), value)


@mutant(SDPA, "a_clear_winner_leaves_little_to_the_others", "masked_keys_get_exactly_zero_weight")
def weights_are_smoothed(query: Tensor, key: Tensor, value: Tensor, mask: Mask = None) -> Attended:
    """Mix a twentieth of the uniform distribution into the weights."""
    _, weights = right(query, key, value, mask)
    return _attend(0.95 * weights + 0.05 / key.shape[-2], value)


# --- Mask ---------------------------------------------------------------------------------------


@mutant(SDPA, "masked_keys_get_exactly_zero_weight", "what_a_mask_hides_cannot_reach_the_output")
def the_mask_is_ignored(query: Tensor, key: Tensor, value: Tensor, mask: Mask = None) -> Attended:
    """Take a mask and throw its result away."""
    return right(query, key, value)


@mutant(SDPA, "masked_keys_get_exactly_zero_weight", "what_a_mask_hides_cannot_reach_the_output")
def ten_is_subtracted_where_masked(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Make masked keys unlikely and not impossible."""
    scores = _scores(query, key)
    return _attend(softmax(scores if mask is None else scores - 10 * ~mask), value)


@mutant(SDPA, "masked_keys_get_exactly_zero_weight")
def a_hundred_is_filled_in_where_masked(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Take −100 for −∞."""
    return _attend(softmax(_hidden(_scores(query, key), mask, -100.0)), value)


@mutant(SDPA, "masked_keys_get_exactly_zero_weight")
def the_smallest_positive_number_is_filled_in(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Take finfo.tiny for finfo.min."""
    scores = _scores(query, key)
    return _attend(softmax(_hidden(scores, mask, torch.finfo(scores.dtype).tiny)), value)


@mutant(SDPA, "a_mask_broadcasts_to_the_scores")
def a_mask_that_must_broadcast_is_ignored(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Use a mask only where it has the shape of the scores."""
    fits = mask is not None and mask.shape == (*query.shape[:-1], key.shape[-2])
    return right(query, key, value, mask if fits else None)


@mutant(SDPA, "masked_keys_get_exactly_zero_weight", "future_tokens_do_not_change_past_outputs")
def every_query_gets_the_last_querys_mask(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Reduce a mask of each query to one for all, unless it is given for each item too."""
    reduced = mask if mask is None or mask.dim() > 2 else mask[-1:]
    return right(query, key, value, reduced)


@mutant(SDPA, "items_of_a_batch_do_not_mix")
def every_item_gets_the_first_items_mask(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Use one mask for the whole batch; right for one item."""
    return right(query, key, value, mask if mask is None or mask.dim() < 3 else mask[:1])


@mutant(SDPA, "items_of_a_batch_do_not_mix")
def masks_are_dealt_out_in_reverse(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Give each item the mask of another."""
    return right(query, key, value, mask if mask is None or mask.dim() < 3 else mask.flip(0))


@mutant(
    SDPA,
    "future_tokens_do_not_change_past_outputs",
    "causal_layers_have_binomially_many_paths",
    "a_stacked_rnn_has_exactly_as_many_paths",
)
def a_square_mask_is_transposed(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Read the mask as keys by queries."""
    square = mask is not None and mask.shape[-1] == mask.shape[-2]
    return right(query, key, value, mask.mT if mask is not None and square else mask)


@mutant(SDPA, "causal_layers_have_binomially_many_paths", "a_stacked_rnn_has_exactly_as_many_paths")
def a_window_of_two_tokens(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Look no further back than one token under a causal mask."""
    if mask is not None and mask.dim() == 2 and torch.equal(mask, torch.ones_like(mask).tril()):
        mask = mask.triu(-1)
    return right(query, key, value, mask)


@mutant(
    SDPA,
    "what_a_mask_hides_cannot_reach_the_output",
    "the_output_is_the_weighted_sum_of_the_values",
)
def hidden_values_are_averaged_in(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Add a little of the mean of all values, hidden ones among them."""
    output, weights = right(query, key, value, mask)
    return 0.99 * output + 0.01 * value.mean(-2, keepdim=True), weights


# --- Output -------------------------------------------------------------------------------------


@mutant(
    SDPA,
    "the_output_is_the_weighted_sum_of_the_values",
    "symbols_partition_the_gradient_over_the_values",
)
def the_last_value_is_left_out(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Stop the weighted sum one too early."""
    _, weights = right(query, key, value, mask)
    return weights[..., :-1] @ value[..., :-1, :], weights


@mutant(SDPA, "the_output_is_the_weighted_sum_of_the_values", "each_query_is_answered_by_itself")
def values_are_divided_among_the_queries(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Divide the output by the number of queries."""
    output, weights = right(query, key, value, mask)
    return output / query.shape[-2], weights


@mutant(SDPA, "duplicating_the_memory_changes_nothing", "the_output_lies_among_the_values")
def a_sum_in_place_of_a_mean(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Multiply the output by the number of keys."""
    output, weights = right(query, key, value, mask)
    return output * key.shape[-2], weights


@mutant(
    SDPA,
    "the_output_lies_among_the_values",
    "the_output_is_the_weighted_sum_of_the_values",
)
def every_coordinate_is_mixed_by_itself(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Choose anew for every coordinate of the values, each time less sharply."""
    scores = _scores(query, key)
    mixed = [
        masked_softmax(scores / (c + 1), mask) @ value[..., c : c + 1]
        for c in range(value.shape[-1])
    ]
    return torch.cat(mixed, -1), masked_softmax(scores, mask)


@mutant(SDPA, "another_query_always_gets_another_context", "the_output_is_affine_in_the_values")
def the_query_is_added_to_the_output(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Put the residual connection inside attention."""
    output, weights = right(query, key, value, mask)
    return output + query.mean(-1, keepdim=True), weights


@mutant(SDPA, "the_output_is_affine_in_the_values", "values_are_mixed_and_never_scored")
def the_output_goes_through_tanh(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Squash the context."""
    output, weights = right(query, key, value, mask)
    return torch.tanh(output), weights


@mutant(SDPA, "the_output_is_the_weighted_sum_of_the_values", "the_context_follows_the_query")
def the_output_ignores_the_weights(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Give the plain mean of the allowed values beside weights that are right."""
    _, weights = right(query, key, value, mask)
    return right(torch.zeros_like(query), key, value, mask)[0], weights


@mutant(SDPA, "weights_are_the_softmax_of_the_scaled_scores")
def weights_from_before_the_scale(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Give the right output, and the weights of unscaled scores."""
    return right(query, key, value, mask)[0], masked_softmax(query @ key.mT, mask)


@mutant(SDPA, "masked_keys_get_exactly_zero_weight")
def weights_from_before_the_mask(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Give the right output, and weights that know nothing of the mask."""
    return right(query, key, value, mask)[0], right(query, key, value)[1]


@mutant(SDPA, "every_row_of_weights_sums_to_one")
def scores_are_given_for_weights(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Give the right output, and the scores."""
    return right(query, key, value, mask)[0], _scores(query, key)


# --- Gradients ----------------------------------------------------------------------------------


@mutant(
    SDPA,
    "the_score_path_compares_a_value_with_the_mean",
    "the_weights_move_with_the_query",
    "gradients_agree_with_finite_differences",
)
def the_weights_are_detached(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Let no gradient through the scores."""
    return right(query.detach(), key.detach(), value, mask)


@mutant(SDPA, "the_weights_move_with_the_query")
def only_the_weights_that_are_given_back_are_detached(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Give back weights that nothing can be learnt from."""
    output, weights = right(query, key, value, mask)
    return output, weights.detach()


@mutant(SDPA, "the_score_path_compares_a_value_with_the_mean")
def the_keys_are_detached(query: Tensor, key: Tensor, value: Tensor, mask: Mask = None) -> Attended:
    """Let no gradient reach the keys."""
    return right(query, key.detach(), value, mask)


@mutant(
    SDPA, "values_share_the_gradient_by_their_weights", "gradients_agree_with_finite_differences"
)
def the_values_are_detached(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Let no gradient reach the values."""
    return right(query, key, value.detach(), mask)


@mutant(SDPA, "values_share_the_gradient_by_their_weights")
def the_gradient_of_the_values_is_averaged(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Give every value the same share of the gradient."""
    even = value.mean(-2, keepdim=True)
    output, weights = right(query, key, value.detach(), mask)
    return output + (even - even.detach()), weights


# --- Precision ----------------------------------------------------------------------------------


@mutant(SDPA, "weights_are_the_softmax_of_the_scaled_scores")
def computed_in_float32(query: Tensor, key: Tensor, value: Tensor, mask: Mask = None) -> Attended:
    """Lose half the digits of float64."""
    output, weights = right(query.float(), key.float(), value.float(), mask)
    return output.to(query.dtype), weights.to(query.dtype)


@mutant(SDPA, "low_precision_rounds_no_further_than_it_must")
def float32_is_computed_in_bfloat16(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Leave an autocast on."""
    if query.dtype != torch.float32:
        return right(query, key, value, mask)
    output, weights = right(query.bfloat16(), key.bfloat16(), value.bfloat16(), mask)
    return output.float(), weights.float()


@mutant(SDPA, "low_precision_rounds_no_further_than_it_must")
def exponentials_without_a_shift(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Overflow for large scores."""
    exponentials = torch.exp(_hidden(_scores(query, key), mask))
    total = exponentials.sum(-1, keepdim=True)
    return _attend(exponentials / total.clamp_min(torch.finfo(total.dtype).tiny), value)


@mutant(SDPA, "masks_work_in_low_precision")
def hidden_by_a_constant_beyond_half_precision(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Hide keys by a number that float16 cannot hold."""
    scores = _scores(query, key)
    return _attend(softmax(scores if mask is None else scores.masked_fill(~mask, -1e9)), value)


# --- Side effects -------------------------------------------------------------------------------


@mutant(SDPA, "inputs_are_left_unchanged")
def the_query_is_scaled_in_place(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Divide the caller's own queries by √d_k."""
    query /= math.sqrt(query.shape[-1])
    return _attend(masked_softmax(query @ key.mT, mask), value)


@mutant(SDPA, "inputs_are_left_unchanged")
def the_mask_is_inverted_in_place(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Turn the caller's own mask round."""
    if mask is None:
        return right(query, key, value)
    return right(query, key, value, ~mask.logical_not_())


@mutant(SDPA, "the_same_call_gives_the_same_result")
def dropout_is_left_on(query: Tensor, key: Tensor, value: Tensor, mask: Mask = None) -> Attended:
    """Drop weights at random, in training or not."""
    _, weights = right(query, key, value, mask)
    return torch.dropout(weights, 0.1, train=True) @ value, weights


_CALLS = [0]


@mutant(SDPA, "the_same_call_gives_the_same_result")
def every_second_call_is_rounded(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Switch to a faster path now and then, which rounds more."""
    _CALLS[0] += 1
    return (computed_in_float32 if _CALLS[0] % 2 else right)(query, key, value, mask)


@mutant(SDPA, "how_a_tensor_is_stored_makes_no_difference")
def the_storage_is_read_in_order(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Take every key to be contiguous, as a hand-written kernel may."""
    strides = torch.empty(key.shape, device="meta").stride()
    return right(query, key.as_strided(key.shape, strides), value, mask)


@mutant(SDPA, "how_a_tensor_is_stored_makes_no_difference")
def keys_that_look_transposed_are_transposed_back(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Guess the layout from strides, and take another path for views."""
    return right(query, key if key.is_contiguous() else key.flip(-1), value, mask)


@mutant(SDPA, "items_of_a_batch_do_not_mix")
def keys_of_the_first_item_only(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Attend to the first item's memory in the whole batch."""
    if key.dim() > 2:
        key = key[:1].expand_as(key)
    return right(query, key, value, mask)


@mutant(SDPA, "items_of_a_batch_do_not_mix")
def scores_are_normalised_over_the_batch(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Divide scores by their spread in the whole batch."""
    scores = _scores(query, key)
    return _attend(masked_softmax(scores / (1 + scores.square().mean()).sqrt(), mask), value)


# --- Defaults that remember ---------------------------------------------------------------------


@mutant(SDPA, "weights_are_the_softmax_of_the_scaled_scores")
def the_first_width_scales_all_that_follow(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Mask = None,
    scales: list[float] = [],  # noqa: B006 - which is the mistake
) -> Attended:
    """Keep the scale in a list that is made once, when the function is."""
    scales.append(math.sqrt(query.shape[-1]))
    return _attend(masked_softmax(query @ key.mT / scales[0], mask), value)


@mutant(SDPA, "masked_keys_get_exactly_zero_weight")
def a_mask_is_kept_for_all_of_its_size(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Mask = None,
    kept: dict[torch.Size, Tensor] = {},  # noqa: B006 - which is the mistake
) -> Attended:
    """Keep masks by their size in a dictionary that all calls share."""
    return right(query, key, value, None if mask is None else kept.setdefault(mask.shape, mask))


# --- Sizes --------------------------------------------------------------------------------------


@mutant(SDPA, "weights_are_the_softmax_of_the_scaled_scores")
def always_causal_for_squares(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Hide the future from as many queries as keys, whether asked to or not."""
    n, m = query.shape[-2], key.shape[-2]
    if mask is None and n == m:
        mask = torch.ones(n, n, dtype=torch.bool).tril()
    return right(query, key, value, mask)


@mutant(
    SDPA,
    "a_mask_that_allows_everything_is_no_mask",
    "each_query_is_answered_by_itself",
    "unmasked_layers_have_a_path_through_every_token",
)
def causal_unless_there_is_a_mask(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Hide keys that come after the query's position where no mask is given."""
    if mask is None:
        mask = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool).tril()
    return right(query, key, value, mask)


@mutant(SDPA, "weights_are_the_softmax_of_the_scaled_scores")
def the_running_sum_is_not_rescaled(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Stream over keys, and keep the sum as it is when a larger score comes."""
    scores = _hidden(_scores(query, key), mask)
    largest = scores.cummax(-1).values.clamp_min(-1e30)
    total = torch.exp(scores - largest).sum(-1, keepdim=True)
    return _attend(torch.exp(scores - largest[..., -1:]) / total.clamp_min(1e-300), value)


# --- Two ways to the same result ----------------------------------------------------------------


@mutant(SDPA, "recording_gradients_changes_no_result")
def the_scale_is_forgotten_where_nothing_is_learned(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Leave the scale out of the faster way, which is taken unless gradients are recorded."""
    scale = 1.0 if torch.is_grad_enabled() else math.sqrt(query.shape[-1])
    return right(query * scale, key, value, mask)


@mutant(SDPA, "weights_are_the_softmax_of_the_scaled_scores")
def keys_past_64_are_not_seen(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Cut the memory to the length that a buffer was made for."""
    keys = torch.arange(key.shape[-2]) < 64
    seen = keys[None] if mask is None else mask & keys
    return right(query, key, value, seen if key.shape[-2] > 64 else mask)


@mutant(SDPA, "masked_keys_get_exactly_zero_weight", "what_a_mask_hides_cannot_reach_the_output")
def ten_thousand_is_filled_in_where_masked(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Take −10⁴ for −∞."""
    return _attend(softmax(_hidden(_scores(query, key), mask, -1e4)), value)


@mutant(SDPA, "masked_keys_get_exactly_zero_weight", "what_a_mask_hides_cannot_reach_the_output")
def what_is_masked_takes_part_in_the_sum(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Add −10⁴ to masked scores, which whatever is large enough gets past."""
    scores = _scores(query, key)
    return _attend(softmax(scores if mask is None else scores - 1e4 * ~mask), value)


@mutant(SDPA, "a_query_without_any_key_stays_finite")
def an_empty_row_switches_the_mask_off(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Drop the whole mask as soon as one query has no key."""
    usable = mask is not None and bool(mask.any(-1).all())
    return right(query, key, value, mask if usable else None)


@mutant(SDPA, "weights_are_the_softmax_of_the_scaled_scores")
def a_third_leading_dimension_is_forgotten(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Give every further dimension what its first item gets."""
    if query.dim() < 5:
        return right(query, key, value, mask)
    output, weights = right(query[:, :, :1], key[:, :, :1], value[:, :, :1], mask)
    sizes = query.shape[:3]
    return output.expand(*sizes, -1, -1).clone(), weights.expand(*sizes, -1, -1).clone()


@mutant(SDPA, "the_widest_spread_still_retrieves")
def queries_pass_by_the_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Add as much of the query to what was retrieved as there is room for."""
    output, weights = right(query, key, value, mask)
    shared = min(query.shape[-1], output.shape[-1])
    added = torch.nn.functional.pad(query[..., :shared], (0, output.shape[-1] - shared))
    return output + added, weights


# --- Now and then -------------------------------------------------------------------------------


class _Clipped(torch.autograd.Function):
    """The identity, whose gradient is clipped at one."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        del ctx
        return x.clone()

    @staticmethod
    def backward(ctx: object, *grads: Tensor) -> Tensor:
        del ctx
        return grads[0].clamp(-1.0, 1.0)


@mutant(SDPA, "gradients_agree_with_finite_differences")
def gradients_are_clipped_at_one(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Clip what comes back from the output, which is the optimiser's affair."""
    output, weights = right(query, key, value, mask)
    clipped: Tensor = _Clipped.apply(output)
    return clipped, weights


@mutant(SDPA, "gradients_agree_with_finite_differences")
def keys_that_are_values_do_not_learn(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Cut the keys' gradient where they are the values' tensor."""
    return right(query, key.detach() if key is value else key, value, mask)


@mutant(SDPA, "the_output_is_affine_in_the_values")
def values_are_clipped_at_a_thousand(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Take large values for mistakes."""
    return right(query, key, value.clamp(-1e3, 1e3), mask)


@mutant(
    SDPA,
    "a_query_without_any_key_stays_finite",
    "a_query_without_any_key_has_finite_gradients",
    "masks_work_in_low_precision",
)
def an_item_of_padding_alone_is_zero_over_zero(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Forget rows without a key in masks that are the same for all queries."""
    if mask is None or mask.shape[-2] > 1:
        return right(query, key, value, mask)
    return _attend(softmax(_hidden(_scores(query, key), mask)), value)


@mutant(SDPA, "a_query_without_any_key_stays_finite")
def a_row_without_a_key_is_zero_over_zero_in_an_item(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Forget rows without a key in masks that differ from item to item."""
    if mask is None or mask.dim() == 2:
        return right(query, key, value, mask)
    return _attend(softmax(_hidden(_scores(query, key), mask)), value)


@mutant(SDPA, "every_width_is_scaled_by_its_root")
def a_rounded_scale_for_a_usual_width(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Write 1/√32 down with four digits."""
    if query.shape[-1] != 32:
        return right(query, key, value, mask)
    return _attend(masked_softmax(query @ key.mT * 0.1768, mask), value)


@mutant(SDPA, "no_score_is_so_low_that_a_masked_key_is_above_it")
def a_small_constant_in_single_precision_alone(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask = None
) -> Attended:
    """Hide keys of float32 tensors by −10⁴, which large scores come close to."""
    if query.dtype != torch.float32 or mask is None:
        return right(query, key, value, mask)
    return _attend(torch.softmax(_hidden(_scores(query, key), mask, -1e4), -1), value)
