"""Tests that look right and test nothing: each lets a mutant live that the ledger's law kills.

A trap is a vacuous law, written here as one is tempted to write it. It is examined like any other,
on the reference, which passes, and on a mutant, which passes too; and then the mutant dies of what
the ledger asks instead.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

import reference
from attest.checks import at_least, at_most, close, sometimes_differs
from attest.evidence import Evidence
from attest.examination import Settings, examine
from attest.implementations import LocalImplementation
from attest.laws import ATTRIBUTE, law
from attest.ledger import load_ledger, load_reference
from attest.strategies import attention_inputs
from attest.subject import Subject
from properties.sublayer_order import _exclusive_or_within_a_token as exclusive_or
from tests.mutants.multi_head import HeadsOfDifferentTemperature

SDPA = "scaled_dot_product_attention"
LEDGER = load_ledger()


def with_wrong(component: str, target: Any) -> LocalImplementation:
    """Give the reference with one component replaced."""
    names = {name: getattr(reference, name) for name in reference.__all__}
    return LocalImplementation("wrong", SimpleNamespace(**{**names, component: target}))


def examined(prop: Any, implementation: LocalImplementation) -> Evidence:
    return examine(prop, implementation, Settings(explain=False, dtype="float64"), load_reference())


def falls_into(vacuous: Callable[..., None], component: str, target: Any, *real: str) -> None:
    """Show that the vacuous law lets a mutant live, and that each of the real laws kills it."""
    (prop,) = [p for p in getattr(vacuous, ATTRIBUTE) if p.component == component]
    wrong = with_wrong(component, target)
    assert examined(prop, load_reference()).status == "holds"
    assert examined(prop, wrong).status == "holds"
    for name in real:
        (prop,) = [p for p in LEDGER.properties if p.id == f"{component}.{name}"]
        assert examined(prop, load_reference()).status == "holds"
        assert examined(prop, wrong).status in {"refuted", "crashed"}, name


# --- 2: any softmax sums to one on its own axis ---------------------------------------------------


@law(SDPA, inputs=attention_inputs(SDPA, "none"), formula="Σ α = 1")
def weights_are_normalised(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """Weights are normalised: the total is the number of queries, or of keys."""
    _, weights = attention(query, key, value, mask)
    rows, columns = weights.sum(-1), weights.sum(-2)
    nearer = min((rows, columns), key=lambda sums: float((sums - 1).abs().max()))
    close(nearer, torch.ones_like(nearer), 1e-9, "the sums")


@law(SDPA, inputs=attention_inputs(SDPA, "none"), formula="α ≥ 0, Σ_j α_ij = 1, min v ≤ y ≤ max v")
def weights_are_a_distribution(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """Each row is a distribution, and the output lies among the values."""
    output, weights = attention(query, key, value, mask)
    at_least(weights, torch.zeros_like(weights), 0, "the weights")
    rows = weights.sum(-1)
    close(rows, torch.ones_like(rows), 1e-9, "the sums")
    highest, lowest = value.amax(-2, keepdim=True), value.amin(-2, keepdim=True)
    at_most(output, highest, 1e-9 * highest.abs().max(), "the output")
    at_least(output, lowest, 1e-9 * lowest.abs().max(), "the output")


def over_the_queries(query, key, value, mask=None):
    scores = query @ key.mT / query.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -1e30)
    weights = torch.softmax(scores, -2)
    return weights @ value, weights


def all_keys_alike(query, key, value, mask=None):
    return reference.scaled_dot_product_attention(query * 0, key, value, mask)


def test_a_softmax_over_the_wrong_axis_is_normalised_too():
    falls_into(weights_are_normalised, SDPA, over_the_queries, "every_row_of_weights_sums_to_one")


def test_a_distribution_may_be_one_that_selects_nothing():
    real = "log_odds_of_two_keys_are_their_score_difference"
    falls_into(weights_are_a_distribution, SDPA, all_keys_alike, real)


# --- 6: heads differ before anything is learnt ----------------------------------------------------

MULTI = "MultiHeadAttention"


@law(MULTI, inputs=attention_inputs(MULTI, "none"), formula="α^h ≠ α^h′")
def heads_are_different(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """No two heads look at the same."""
    _, weights = attention(query, key, value, mask)
    first, last = weights[:, 0], weights[:, -1]
    sometimes_differs(first, last, "two heads look elsewhere", 1e-6)


def test_heads_may_differ_without_having_learnt_anything():
    # They do in the reference as it is made, and in heads that are told apart by their number.
    real = "a_head_may_be_split_into_two_equal_ones"
    falls_into(heads_are_different, MULTI, HeadsOfDifferentTemperature, real)


# --- 8: a task that both orders of the sublayers solve, because neither attention is needed -------


class AttentionThatSaysNothing(reference.MultiHeadAttention):
    def forward(self, query, key, value, mask=None):
        output, weights = super().forward(query, key, value, mask)
        return 0 * output, weights


def right_answers(attention: Any, network: Any, *, attention_first: bool) -> float:
    """Give the share of exclusive ors of two bits that come out, with residuals around both."""
    right = 0.0
    for p, q in product((0, 1), repeat=2):
        x = torch.tensor([[[0, 0, 1, 0], [p, q, 0, 0]]], dtype=torch.float64)
        with torch.no_grad():
            if attention_first:
                said = network(x + attention(x, x, x)[0])
            else:
                within = network(x)
                said = within + attention(within, within, within)[0]
        right += float(said[0, 1, 1] == (p ^ q)) / 4
    return right


def test_two_orders_are_equal_on_a_task_that_needs_no_attention():
    network = reference.FeedForward(4, 3).double()
    with torch.no_grad():
        exclusive_or(network)
    silent = AttentionThatSaysNothing(4, 1).double()
    scores = [right_answers(silent, network, attention_first=first) for first in (True, False)]
    assert scores == [1.0, 1.0]
    name = "FeedForward.a_network_before_attention_solves_both_exclusive_ors"
    (prop,) = [p for p in LEDGER.properties if p.id == name]
    assert examined(prop, load_reference()).status == "holds"
    wrong = with_wrong("MultiHeadAttention", AttentionThatSaysNothing)
    assert examined(prop, wrong).status in {"refuted", "crashed"}
