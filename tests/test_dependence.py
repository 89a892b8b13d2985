"""Tracing finds every dependence that is there, and does not find those that a mask takes away."""

from __future__ import annotations

import math

import pytest
import torch

import reference
from attest.dependence import Traced, dependence, reach, traced, traced_module, unknown
from attest.symbolic import SymbolicTensor

EXACT = (0.0, -math.inf, 2.5)


def entry(*names, value=None):
    return Traced(frozenset((name,) for name in names), value)


def constant(value):
    return entry(value=value)


def names(e):
    return {name for (name,) in e.inputs}


@pytest.mark.parametrize(
    "operation",
    [
        lambda a, b: a + b,
        lambda a, b: a - b,
        lambda a, b: a * b,
        lambda a, b: a / b,
        lambda a, b: a**b,
        lambda a, b: a.larger(b),
        lambda a, b: a.smaller(b),
    ],
)
def test_what_is_made_of_two_depends_on_both(operation):
    assert names(operation(entry("a"), entry("b"))) == {"a", "b"}
    assert names(operation(entry("a"), 2.5)) == {"a"}
    assert operation(constant(2.0), constant(3.0)).value is not None


def test_constants_take_away_what_they_cover():
    s = entry("s")
    for covered, value in (
        (s * 0, 0.0),
        (0 * s, 0.0),
        (0 / s, 0.0),
        (s / math.inf, 0.0),
        (s - math.inf, -math.inf),
        (-math.inf - s, -math.inf),
        ((s - math.inf).applied("exp"), 0.0),
        (s.smaller(-math.inf), -math.inf),
    ):
        assert (names(covered), covered.value) == (set(), value)


def test_constants_that_cover_nothing_take_nothing_away():
    s = entry("s")
    for open_ in (s + 0, s * 1, s.larger(-math.inf), s.larger(0.0), s.applied("relu"), s - s):
        assert (names(open_), open_.value) == ({"s"}, None)


def test_an_infinity_times_an_unknown_number_is_refused():
    with pytest.raises(ValueError, match="may be anything"):
        entry("s") * math.inf
    with pytest.raises(ValueError, match="NaN"):
        constant(math.inf) * 0


def test_code_that_branches_on_a_value_is_refused():
    with pytest.raises(TypeError, match="branches"):
        bool(entry("s"))
    with pytest.raises(TypeError, match="compares"):
        assert entry("s") > 0


@pytest.mark.parametrize("implementation", [reference.softmax, torch.softmax])
def test_a_softmax_depends_on_the_whole_row(implementation):
    x = traced("x", 2, 3)
    sets = dependence(implementation(x, -1))
    assert sets[0, 0] == {("x", 0, 0), ("x", 0, 1), ("x", 0, 2)}
    assert sets[1, 2] == {("x", 1, 0), ("x", 1, 1), ("x", 1, 2)}


def test_a_masked_key_and_its_value_are_gone():
    query, key, value = unknown(3, 2), traced("k", 3, 2, axes=1), traced("v", 3, 2, axes=1)
    output, weights = reference.scaled_dot_product_attention(
        query, key, value, reference.causal_mask(3)
    )
    assert weights.entries[0, 1] == weights.entries[1, 2] == 0
    causal = reference.causal_mask(3)
    assert torch.equal(reach(output, key, 1), causal)
    assert torch.equal(reach(output, value, 1), causal)


def test_a_row_without_any_key_depends_on_nothing():
    query, key, value = traced("q", 2, 2), traced("k", 2, 2), traced("v", 2, 2)
    mask = torch.tensor([[False, False], [True, True]])
    output, _ = reference.scaled_dot_product_attention(query, key, value, mask)
    assert dependence(output, 1)[0] == set()
    assert len(dependence(output, 1)[1]) == 2 + 4 + 4


def test_a_mask_after_the_softmax_leaves_the_normaliser_dependent():
    x = traced("x", 1, 3)
    mask = torch.tensor([[True, True, False]])
    late = torch.softmax(x, -1).masked_fill(~mask, 0.0)
    assert ("x", 0, 2) in dependence(late)[0, 0]
    early = reference.masked_softmax(x, mask)
    assert ("x", 0, 2) not in dependence(early)[0, 0]


@pytest.mark.parametrize("large", [-1e9, -1e4])
def test_a_finite_constant_hides_nothing_for_all_values(large):
    x = traced("x", 1, 2)
    mask = torch.tensor([[True, False]])
    weights = torch.softmax(x.masked_fill(~mask, large), -1)
    assert dependence(weights)[0, 1] == {("x", 0, 0)}


def test_layer_norm_and_feed_forward_stay_within_a_token():
    x = traced("x", 2, 3, 4, axes=2)
    for module in (
        traced_module(reference.LayerNorm, 4),
        traced_module(reference.FeedForward, 4, 5),
    ):
        own = torch.eye(6, dtype=torch.bool).view(2, 3, 2, 3)
        assert torch.equal(reach(module(x), x), own)


def test_weights_are_inputs_where_one_asks_for_them():
    module = traced_module(reference.FeedForward, 2, 3, weights=True)
    found = dependence(module(traced("x", 1, 1, 2, axes=2)), 2)[0, 0]
    parameters = {(f"{a}_{b}",) for a in ("inner", "outer") for b in ("weight", "bias")}
    assert found == parameters | {("x", 0, 0)}


def test_a_looked_up_row_depends_on_the_token_and_on_the_table():
    tokens = traced("token", 1, 2)
    table = traced("table", 3, 2, axes=0)
    found = torch.nn.functional.embedding(tokens, table)
    assert found.shape == (1, 2, 2)
    assert dependence(found, 2)[0, 1] == {("token", 0, 1), ("table",)}


def test_the_model_traces_from_token_to_logit():
    model = traced_module(reference.Transformer, 3, 2, 2, 1, 3, 1)
    source, target = traced("source", 1, 2), traced("target", 1, 2)
    logits = model(source, target)
    assert torch.equal(reach(logits, target)[0, :, 0], reference.causal_mask(2))
    assert bool(reach(logits, source).all())


def test_every_traced_dependence_of_attention_is_one_of_the_gradient():
    """Beside the sets of tracing stand gradients: where one is not zero, the set says so."""
    torch.manual_seed(0)
    layer = reference.EncoderLayer(4, 2, 5).double()
    mask = torch.rand(3, 3) < 0.5
    mask[:, 0] = True
    x = torch.randn(1, 3, 4, dtype=torch.float64, requires_grad=True)
    jacobian = torch.autograd.functional.jacobian(lambda x: layer(x, mask), x)
    influences = jacobian.abs().sum((2, 5)) > 0
    tokens = traced("x", 1, 3, 4, axes=2)
    traced_layer = traced_module(reference.EncoderLayer, 4, 2, 5)
    assert torch.equal(reach(traced_layer(tokens, mask), tokens), influences)


def test_a_number_that_no_input_reaches_depends_on_nothing():
    assert dependence(SymbolicTensor([1, 2])).tolist() == [set(), set()]
    assert "x" in repr(traced("x", 1).entries[0])
    assert "0.0" in repr(constant(0.0))
