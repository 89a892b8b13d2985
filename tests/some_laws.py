"""Laws of several components and kinds, by which tests of grades and reports are written."""

from __future__ import annotations

from attest.ledger import load_ledger

LAWS = {law.id: law for law in load_ledger([]).laws}
SUM = "softmax.entries_along_the_axis_sum_to_one"
SHIFT = "softmax.adding_a_constant_changes_nothing"
OVERFLOW = "softmax.no_finite_score_overflows"
ORDER = "softmax.permuting_the_scores_permutes_the_result"
DIAGONAL = "causal_mask.it_is_true_on_and_below_the_diagonal"
ROWS = "scaled_dot_product_attention.every_row_of_weights_sums_to_one"
QUERY = "scaled_dot_product_attention.the_context_follows_the_query"
