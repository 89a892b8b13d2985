"""Masks: which positions may look at which, and what attention does with them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import Tensor

from attest.checks import close, finite, identical, sometimes, sometimes_differs
from attest.differentiation import gradients, leaf
from attest.laws import law
from attest.strategies import attention_inputs, component_inputs, lengths_and_padding
from attest.subject import Subject
from attest.tolerances import gamma, precision, smallest, unit_roundoff
from properties.bounds import (
    allowed_keys,
    attention_bounds,
    even_weights,
    largest_result,
    largest_score,
    row_sum_bounds,
)
from properties.families import CROSS, EVERY, SDPA

# Values that scores of attention stay within float16 with.
WITHIN_HALF_PRECISION = ("integers", "normal", "ties", "sparse", "small", "large")

# --- The masks themselves -----------------------------------------------------------------------


@law(
    "causal_mask",
    inputs=component_inputs("causal_mask"),
    formula="mask_ij = (j ≤ i)",
)
def it_is_true_on_and_below_the_diagonal(causal_mask: Subject, length: int) -> None:
    """A position sees itself and everything before it, and nothing after it."""
    position = torch.arange(length)
    identical(causal_mask(length), position[:, None] >= position, "the mask")


@law(
    "causal_mask",
    inputs=st.fixed_dictionaries({"length": st.sampled_from((*range(2, 81), 130, 300))}),
    formula="mask(n)[:m, :m] = mask(m)",
)
def a_shorter_mask_is_a_corner_of_a_longer_one(causal_mask: Subject, length: int) -> None:
    """What a position may see does not depend on how much comes after it."""
    half = length // 2
    shorter = causal_mask(half)
    identical(causal_mask(length)[:half, :half], shorter, "the corner of the mask")
    sometimes_differs(shorter, shorter.roll(1, -1), "entries of the mask differ")


@law("padding_mask", inputs=lengths_and_padding(), formula="mask_bt = (t < lengths_b)")
def it_is_true_exactly_at_real_tokens(
    padding_mask: Subject, lengths: Tensor, max_length: int
) -> None:
    """The first ``length`` positions of each sequence are real, the rest is padding."""
    expected = torch.tensor([[t < n for t in range(max_length)] for n in lengths.tolist()])
    identical(padding_mask(lengths, max_length), expected, "the mask")


@law(
    "padding_mask",
    inputs=lengths_and_padding(),
    formula="mask(lengths, m + k) = [mask(lengths, m), False]",
)
def more_padding_adds_nothing_but_padding(
    padding_mask: Subject, lengths: Tensor, max_length: int
) -> None:
    """Padding further leaves the real tokens where they were."""
    longer = padding_mask(lengths, max_length + 3)
    identical(longer[:, :max_length], padding_mask(lengths, max_length), "the part before")
    identical(longer[:, max_length:], torch.zeros(len(lengths), 3, dtype=torch.bool), "the rest")
    sometimes_differs(longer, torch.zeros_like(longer), "there are real tokens")


# --- What masks do to attention -----------------------------------------------------------------


@law(
    *EVERY,
    inputs=lambda component: attention_inputs(component, "some", 2),
    formula="mask_ij = False  ⇒  α_ij = 0",
)
def masked_keys_get_exactly_zero_weight(attention: Subject, arguments: dict[str, Any]) -> None:
    """Masked means out of the distribution: no weight at all, and not merely little."""
    _, weights = attention(**arguments)
    _masked_keys_weigh_nothing(attention, arguments["mask"], weights)
    sometimes(bool((~arguments["mask"]).any()), "something is masked")
    sometimes_differs(weights, torch.zeros_like(weights), "keys in sight get some weight")


@law(
    *EVERY,
    inputs=lambda component: attention_inputs(component, "some", 2, ("huge",)),
    formula="mask_ij = False  ⇒  α_ij = 0 and Σ_j α_ij = 1, for scores that come near 10⁵",
    dtypes=("float32", "float64"),
)
def no_score_is_so_low_that_a_masked_key_is_above_it(
    attention: Subject, arguments: dict[str, Any]
) -> None:
    """Where all keys in sight have scores far below zero, a masked one is lower still."""
    _, weights = attention(**arguments)
    _masked_keys_weigh_nothing(attention, arguments["mask"], weights)
    total = weights.sum(-1)
    error = row_sum_bounds(attention, arguments, weights)
    close(total, torch.ones_like(total), error, "the sum of each row")
    sometimes(bool((~arguments["mask"]).any()), "something is masked")


def _masked_keys_weigh_nothing(attention: Subject, mask: Tensor, weights: Tensor) -> None:
    hidden = weights.masked_fill(allowed_keys(attention, mask, weights), 0.0)
    identical(hidden, torch.zeros_like(hidden), "the weights of masked keys")


@law(
    *EVERY,
    inputs=lambda component: attention_inputs(component, "some", 2),
    formula="mask_ij = False  ⇒  output_i and α_i do not depend on k_j and v_j, bit by bit",
)
def what_a_mask_hides_cannot_reach_the_output(
    attention: Subject, arguments: dict[str, Any]
) -> None:
    """Changing a hidden key and its value changes nothing; changing one in sight does."""
    output, weights = attention(**arguments)
    hidden = ~allowed_keys(attention, arguments["mask"], weights)[..., -1]  # (..., L)
    if weights.dim() == 4 and attention.spec.is_module:
        hidden = hidden.all(1)  # hidden from every head
    own = arguments["x"] if "x" in arguments else arguments["key"]
    changed = _with_tensors(arguments, ("x", "key", "value"), _another_last_row)
    if "value" in arguments and arguments["value"] is not own:
        changed["value"][..., -1, :] += 1000.0
    other_output, other_weights = attention(**changed)
    if "x" in arguments or arguments["query"] is own:
        hidden = hidden.clone()
        hidden[..., -1] = False  # the changed token's own query
    rows = hidden[..., None].expand_as(output)
    identical(
        torch.where(rows, other_output, 0.0), torch.where(rows, output, 0.0), "the output's rows"
    )
    if weights.dim() == 3 or not attention.spec.is_module:
        rows = hidden[..., None].expand_as(weights)
        identical(
            torch.where(rows, other_weights, 0.0), torch.where(rows, weights, 0.0), "the weights"
        )
    sometimes(bool(hidden.any()), "a key is hidden")
    sometimes_differs(other_output, output, "a key in sight changes the output")


def _another_last_row(tensor: Tensor) -> Tensor:
    other = tensor.clone()
    other[..., -1, :] = 1 - other[..., -1, :]
    return other


def _with_tensors(
    arguments: Mapping[str, Any], names: tuple[str, ...], change: Callable[[Tensor], Tensor]
) -> dict[str, Any]:
    """Change some tensors; one under several names stays one.

    Results are the same bit by bit only along the same path, and a fused kernel may take another
    one for self-attention, which it knows by query, key and value being one tensor.
    """
    new = {id(arguments[n]): change(arguments[n]) for n in names if n in arguments}
    return {name: new.get(id(value), value) for name, value in arguments.items()}


@law(
    SDPA,
    "SelfAttention",
    "MultiHeadAttention",
    inputs=lambda component: attention_inputs(component, "none", 3),
    formula="with a causal mask, output_i does not depend on tokens j > i, bit by bit",
)
def future_tokens_do_not_change_past_outputs(attention: Subject, arguments: dict[str, Any]) -> None:
    """Under a causal mask, rewriting the future leaves the past untouched, and only the past."""
    first = next(value for value in arguments.values() if isinstance(value, Tensor))
    length = first.shape[-2]
    kept = (length + 1) // 2
    mask = torch.ones(length, length, dtype=torch.bool).tril()
    names = ("x",) if "x" in arguments else ("query", "key", "value")
    source = {name: arguments[name] for name in names}
    for name, value in source.items():
        if value.shape[-2] != length:  # one sequence attends to itself
            source[name] = _resized(value, length)

    def with_another_future(value: Tensor) -> Tensor:
        return torch.cat([value[..., :kept, :], 2 - value[..., kept:, :].flip(-1)], -2)

    rewritten = _with_tensors(source, names, with_another_future)
    output, weights = attention(**source, mask=mask)
    other, other_weights = attention(**rewritten, mask=mask)
    identical(other[..., :kept, :], output[..., :kept, :], "the outputs before the change")
    identical(other_weights[..., :kept, :], weights[..., :kept, :], "the weights before the change")
    sometimes_differs(other[..., kept:, :], output[..., kept:, :], "later outputs change")


def _resized(value: Tensor, length: int) -> Tensor:
    repeats = -(-length // value.shape[-2])
    cut = torch.cat([value] * repeats, -2)[..., :length, :]
    # A batch of one keeps the strides of what was cut, by which torch may choose another kernel.
    return cut.clone(memory_format=torch.contiguous_format)


@law(
    *EVERY,
    inputs=lambda component: attention_inputs(component, "none", 3),
    formula="f(x, True) = f(x)",
)
def a_mask_that_allows_everything_is_no_mask(attention: Subject, arguments: dict[str, Any]) -> None:
    """Allowing every key is the same as not passing a mask."""
    output, weights = attention(**arguments)
    mask = torch.ones(weights.shape[-2:], dtype=torch.bool)
    same, same_weights = attention(**{**arguments, "mask": mask})
    bounds = attention_bounds(attention, arguments)
    close(same, output, 2 * bounds.output, "the output")
    close(same_weights, weights, 2 * bounds.weights, "the weights")
    _, narrower = attention(**{**arguments, "mask": torch.ones_like(mask).tril()})
    sometimes_differs(
        narrower,
        weights,
        "a mask that forbids something changes the weights",
        2 * bounds.weights,
    )


@law(
    *EVERY,
    inputs=lambda component: attention_inputs(component, "some", 2),
    formula="f(x, mask) = f(x, mask expanded to the scores)",
)
def a_mask_broadcasts_to_the_scores(attention: Subject, arguments: dict[str, Any]) -> None:
    """A dimension of size one, or one that is missing, stands for all queries or items."""
    output, weights = attention(**arguments)
    full = allowed_keys(attention, arguments["mask"], weights).contiguous()
    same, same_weights = attention(**{**arguments, "mask": full})
    bounds = attention_bounds(attention, arguments)
    close(same, output, 2 * bounds.output, "the output with the mask expanded")
    close(same_weights, weights, 2 * bounds.weights, "the weights with the mask expanded")
    _, free = attention(**{**arguments, "mask": None})
    sometimes_differs(free, weights, "without a mask the weights differ", 2 * bounds.weights)


@law(
    *CROSS,
    inputs=lambda component: attention_inputs(component, "none", 3),
    formula="f(q, k, v, mask) = f(q, k[mask], v[mask])",
)
def hidden_keys_might_as_well_not_exist(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """Masking a key and leaving it out of the memory are the same."""
    keep = torch.arange(key.shape[-2]) % 2 == 0
    mask = keep[None, :]
    arguments = {"query": query, "key": key, "value": value, "mask": mask}
    output, weights = attention(**arguments)
    without, fewer = attention(query, key[..., keep, :], value[..., keep, :])
    bounds = attention_bounds(attention, arguments)
    close(output, without, 2 * bounds.output, "the output")
    limit = bounds.weights.expand_as(weights)[..., keep]
    close(weights[..., keep], fewer, 2 * limit, "the weights of the keys that are left")
    seen = {**arguments, "mask": None}
    shown, _ = attention(**seen)
    error = bounds.output + attention_bounds(attention, seen).output
    sometimes_differs(shown, output, "showing the hidden keys changes the output", error)


@law(
    *EVERY,
    inputs=lambda component: attention_inputs(component, "none", 3),
    formula="no allowed key  ⇒  finite output_i and α_i, and the other rows as ever",
    kind="robustness",
)
def a_query_without_any_key_stays_finite(attention: Subject, arguments: dict[str, Any]) -> None:
    """A row that is masked all over gives numbers, not NaN, and disturbs no other row."""
    mask, emptied = _masks_with_and_without_an_empty_row(arguments)
    output, weights = attention(**{**arguments, "mask": emptied})
    finite(output, "the output")
    finite(weights, "the weights")
    for name, before, after in attention.inputs_after_call():
        identical(after, before, f"{name} after the call")
    sometimes_differs(output[..., 1:, :], output[..., :-1, :], "queries get different outputs")
    arguments = {**arguments, "mask": mask}
    bounds = attention_bounds(attention, arguments)
    usual, usual_weights = attention(**arguments)
    answered = allowed_keys(attention, emptied, weights).any(-1, keepdim=True)
    _compare_rows(answered, weights, usual_weights, bounds.weights, "the weights of the other rows")
    if output.dim() < weights.dim():  # no head sees more than another
        answered = answered[:, 0]
    _compare_rows(answered, output, usual, bounds.output, "the output of the other rows")


def _compare_rows(rows: Tensor, found: Tensor, usual: Tensor, bound: Tensor, what: str) -> None:
    """Compare some rows with what they usually are."""
    zero = torch.zeros_like(found)
    close(torch.where(rows, found, zero), torch.where(rows, usual, zero), 2 * bound, what)


@law(
    *EVERY,
    inputs=lambda component: attention_inputs(component, "none", 3),
    formula="mask (L, 1):  mask_i = True  ⇒  attention(…, mask)_i = attention(…)_i",
)
def a_mask_of_one_column_tells_queries_apart_and_not_keys(
    attention: Subject, arguments: dict[str, Any]
) -> None:
    """A mask with one column says of each query whether it may see, and then it sees every key.

    Where there are as many queries as keys it is no mask of one row.
    """
    query = arguments["query" if "query" in arguments else "x"]
    rows = torch.arange(query.shape[-2])[:, None] % 3 != 1
    usual, usual_weights = attention(**arguments)
    output, weights = attention(**{**arguments, "mask": rows})
    bounds = attention_bounds(attention, arguments)
    _compare_rows(rows, weights, usual_weights, bounds.weights, "the weights of the seeing queries")
    _compare_rows(rows, output, usual, bounds.output, "the output of the seeing queries")
    even = even_weights(attention, None, usual_weights)
    sometimes_differs(usual_weights, even, "some keys weigh more than others", 2 * bounds.weights)


@law(
    *EVERY,
    inputs=lambda component: attention_inputs(component, "some", 2, WITHIN_HALF_PRECISION),
    formula="in float32, bfloat16 and float16: mask_ij = False ⇒ α_ij = 0, Σ_j α_ij = 1, no NaN",
    dtypes=("float32", "bfloat16", "float16"),
    kind="robustness",
)
def masks_work_in_low_precision(attention: Subject, arguments: dict[str, Any]) -> None:
    """A constant that hides a key in float64 may overflow in float16, or be of another dtype."""
    score = largest_score(attention, arguments)
    assume(max(score, largest_result(attention, arguments)) < 3e4)  # float16 ends at 65,504
    output, weights = attention(**arguments)
    finite(output, "the output")
    _masked_keys_weigh_nothing(attention, arguments["mask"], weights)
    n, low = weights.shape[-1], unit_roundoff(weights.dtype)
    # exp(x − logsumexp(x)) rounds the scores, their sum and their differences.
    error = math.expm1(min(2 * low * (3 * score + math.log(n) + 4), 700.0))
    error += gamma(n + 5, precision(weights.dtype)) + n * smallest(weights.dtype)
    total = weights.double().sum(-1)
    close(total, torch.ones_like(total), error, "the sum of each row")
    even = even_weights(attention, arguments["mask"], weights)
    sometimes_differs(weights, even, "some keys weigh more than others", 0.05)
    _, emptied = _masks_with_and_without_an_empty_row(arguments)
    output, weights = attention(**{**arguments, "mask": emptied})
    finite(output, "the output with a query without any key")
    finite(weights, "the weights with a query without any key")


@law(
    *EVERY,
    inputs=lambda component: attention_inputs(component, "none", 3),
    formula="no allowed key  ⇒  finite ∂output/∂q, ∂output/∂k and ∂output/∂v",
    kind="robustness",
)
def a_query_without_any_key_has_finite_gradients(
    attention: Subject, arguments: dict[str, Any]
) -> None:
    """Training survives a row that is masked all over: its gradients are numbers, not NaN."""
    _, emptied = _masks_with_and_without_an_empty_row(arguments)
    variables = {n: leaf(v) for n, v in arguments.items() if isinstance(v, Tensor)}
    output, _ = attention(**{**variables, "mask": emptied})
    found = gradients(output, torch.ones_like(output), *variables.values())
    for name, grad in zip(variables, found, strict=True):
        finite(grad, f"the gradient by {name}")
        sometimes_differs(grad, torch.zeros_like(grad), f"the gradient by {name} is not zero")


def _masks_with_and_without_an_empty_row(arguments: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Give a mask that leaves every query some key, and one that leaves some query none.

    It is the first query of all items, everything in the first item, as where a sequence is padding
    alone, or the last query of the last item, in masks of two dimensions and of more.
    """
    query, key = (arguments[n if n in arguments else "x"] for n in ("query", "key"))
    rows, keys = torch.arange(query.shape[-2]), torch.arange(key.shape[-2])
    mask = ((rows[:, None] + keys) % 3 != 1) | (keys == 0)
    items = query.shape[:-2]
    kind = (len(rows) + sum(query.shape)) % 3 if items else 0
    if kind == 0:
        return mask, mask & (rows[:, None] > 0)
    mask = (mask[:1] if kind == 1 else mask).expand(*items, -1, -1).contiguous()
    emptied = mask.clone()
    if kind == 1:
        emptied[0] = False
    else:
        emptied[-1, ..., -1, :] = False
    return mask, emptied
