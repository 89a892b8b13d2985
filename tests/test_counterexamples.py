"""Counterexamples: small enough to read, and scripts that fail as long as the law does."""

from __future__ import annotations

import ast
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

import reference
from attest.checks import close
from attest.counterexamples import render
from attest.differentiation import leaf
from attest.examination import Settings, examine
from attest.implementations import LocalImplementation, load_submission
from attest.laws import ATTRIBUTE, law
from attest.ledger import load_ledger, load_reference
from attest.strategies import attention_inputs, softmax_inputs

PROPERTIES = {prop.id: prop for prop in load_ledger().properties}

ATTENTION = """
import math

import torch


def scaled_dot_product_attention(query, key, value, mask=None):
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    weights = torch.softmax(scores, -1)
    return weights @ value, weights
"""
MODULE = """
import torch
from torch import nn


class MultiplicativeAttention(nn.Module):
    def __init__(self, d_query, d_key):
        super().__init__()
        self.projection = nn.Linear(d_key, d_query, bias=False)

    def forward(self, query, key, value, mask=None):
        scores = query @ self.projection(key).mT
        if mask is not None:
            scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        weights = torch.softmax(scores, -1)
        return weights @ value, weights
"""
SOFTMAX = """
import torch


def softmax(x, dim=-1):
    return torch.softmax(x, dim)
"""
SDPA = "scaled_dot_product_attention"
MASK_BEFORE = """    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    weights = torch.softmax(scores, -1)
"""
MASK_AFTER = """    weights = torch.softmax(scores, -1)
    if mask is not None:
        weights = weights.masked_fill(~mask, 0)
"""

# the law, the right submission, what is right in it and what is wrong
MISTAKES = {
    "missing scale": (
        f"{SDPA}.weights_are_the_softmax_of_the_scaled_scores",
        ATTENTION,
        " / math.sqrt(query.shape[-1])",
        "",
    ),
    "mask after the softmax": (
        f"{SDPA}.every_row_of_weights_sums_to_one",
        ATTENTION,
        MASK_BEFORE,
        MASK_AFTER,
    ),
    "softmax over the queries": (
        f"{SDPA}.every_row_of_weights_sums_to_one",
        ATTENTION,
        "torch.softmax(scores, -1)",
        "torch.softmax(scores, -2)",
    ),
    "softmax over the queries, seen from the scores": (
        f"{SDPA}.weights_are_the_softmax_of_the_scaled_scores",
        ATTENTION,
        "torch.softmax(scores, -1)",
        "torch.softmax(scores, -2)",
    ),
    "a module with a scale too many": (
        "MultiplicativeAttention.weights_are_the_softmax_of_query_times_matrix_times_key",
        MODULE,
        "self.projection(key).mT",
        "self.projection(key).mT / query.shape[-1] ** 0.5",
    ),
    "a module whose values are shifted": (
        "MultiplicativeAttention.the_output_is_the_weighted_sum_of_the_values",
        MODULE,
        "return weights @ value",
        "return weights @ value.roll(1, -2)",
    ),
}


def examined(folder, identifier, source):
    """Examine a submission that is a file of its own."""
    path = folder / "mine.py"
    path.write_text(source, encoding="utf-8")
    prop = PROPERTIES[identifier] if isinstance(identifier, str) else identifier
    return path, examine(prop, load_submission(str(path)), Settings(), load_reference())


def mistaken(source, right, wrong):
    assert right in source
    return source.replace(right, wrong)


def run(script):
    """Run a script here; give what it raised."""
    try:
        exec(compile(script, "script.py", "exec"), {"__name__": "__main__"})  # noqa: S102
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it raised is the answer
        return error
    return None


@pytest.fixture(scope="module", params=MISTAKES.values(), ids=MISTAKES)
def failure(request, tmp_path_factory):
    """Give a wrong submission's file, the right source for it, and the evidence."""
    identifier, source, right, wrong = request.param
    folder = tmp_path_factory.mktemp("submission")
    path, evidence = examined(folder, identifier, mistaken(source, right, wrong))
    return path, source, evidence


def test_lengths_are_at_most_three_and_entries_small_integers(failure):
    _, _, evidence = failure
    assert evidence.status == "refuted"
    inputs = dict(evidence.counterexample.inputs)
    for name in ("query", "key", "value"):
        value = torch.tensor(ast.literal_eval(inputs[name]), dtype=torch.float64)
        assert value.shape[-2] <= 3
        assert torch.equal(value, value.round()), inputs
        assert float(value.abs().max()) <= 9, inputs
    if inputs["mask"] != "None":
        assert torch.tensor(ast.literal_eval(inputs["mask"])).shape[-1] <= 3


def test_a_script_fails_on_the_wrong_submission_and_passes_on_the_right_one(failure, capsys):
    path, source, evidence = failure
    error = run(evidence.counterexample.script)
    assert isinstance(error, AssertionError), error
    assert "came out" in capsys.readouterr().out
    path.write_text(source, encoding="utf-8")
    assert run(evidence.counterexample.script) is None


def test_what_is_done_only_without_gradients_can_be_run_again(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "import torch\n\ndef softmax(x, dim=-1):\n"
        "    if not torch.is_grad_enabled():\n        x.sub_(x.amax(dim, keepdim=True))\n"
        "    return x.softmax(dim)\n"
    )
    name = "softmax.inputs_are_left_unchanged"
    (prop,) = (prop for prop in load_ledger().laws if prop.id == name)
    found = examine(prop, load_submission(str(path)), Settings(examples=10), load_reference())
    assert found.status == "refuted"
    assert found.counterexample is not None
    assert "earlier calls" not in found.counterexample.what
    assert "with torch.no_grad():\n    " in found.counterexample.script


def test_a_law_that_sets_the_reference_has_a_counterexample():
    class LayerNorm(reference.LayerNorm):
        def forward(self, x):
            return (super().forward(x) - self.bias) * self.gain.sign() + self.bias

    law = "LayerNorm.gain_and_bias_act_entry_by_entry"
    (prop,) = (prop for prop in load_ledger().laws if prop.id == law)
    mine = LocalImplementation("mine", SimpleNamespace(LayerNorm=LayerNorm))
    evidence = examine(prop, mine, Settings(examples=20), load_reference())
    assert (evidence.status, evidence.counterexample is None) == ("refuted", False), evidence


@pytest.mark.slow
@pytest.mark.parametrize("mistake", list(MISTAKES)[:3] + list(MISTAKES)[-2:-1])
def test_a_script_is_a_program_of_its_own(mistake, tmp_path):
    identifier, source, right, wrong = MISTAKES[mistake]
    path, evidence = examined(tmp_path, identifier, mistaken(source, right, wrong))
    script = tmp_path / "counterexample.py"
    script.write_text(evidence.counterexample.script, encoding="utf-8")
    command = [sys.executable, str(script)]
    failed = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert "AssertionError" in failed.stderr
    assert "came out" in failed.stdout
    path.write_text(source, encoding="utf-8")
    passed = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    assert passed.returncode == 0, passed.stderr


def test_a_script_needs_nothing_of_ours(tmp_path):
    _, evidence = examined(
        tmp_path, MISTAKES["missing scale"][0], mistaken(*MISTAKES["missing scale"][1:])
    )
    assert "attest" not in evidence.counterexample.script
    assert "properties" not in evidence.counterexample.script
    assert "reference" not in evidence.counterexample.script


OTHERS = {
    "an input changed in place": (
        "softmax.inputs_are_left_unchanged",
        "    return torch.softmax(x, dim)",
        "    x -= x.amax(dim, keepdim=True) + 1\n    return torch.softmax(x, dim)",
        AssertionError,
    ),
    "a crash": (
        "softmax.it_is_the_normalised_exponential",
        "    return torch.softmax(x, dim)",
        "    raise ValueError('no')",
        ValueError,
    ),
    "a shortcut where nothing is learned": (
        "softmax.recording_gradients_changes_no_result",
        "    return torch.softmax(x, dim)",
        "    if torch.is_grad_enabled():\n        return torch.softmax(x, dim)\n"
        "    return torch.softmax(x / 2, dim)",
        AssertionError,
    ),
    "a wrong shape": (
        "softmax.it_is_the_normalised_exponential",
        "    return torch.softmax(x, dim)",
        "    return torch.softmax(x, dim)[None]",
        AssertionError,
    ),
    "no answer": (
        "softmax.it_is_the_normalised_exponential",
        "    return torch.softmax(x, dim)",
        "    torch.softmax(x, dim)",
        AssertionError,
    ),
    "a constant": (
        "softmax.entries_along_the_axis_sum_to_one",
        "    return torch.softmax(x, dim)",
        "    return torch.full_like(x, 1 / x.shape[dim])",
        AssertionError,
    ),
    "a constant, seen after a change in place": (
        "softmax.adding_a_constant_changes_nothing",
        "    return torch.softmax(x, dim)",
        "    return torch.full_like(x, 1 / x.shape[dim])",
        AssertionError,
    ),
    "a wrong gradient": (
        "softmax.the_jacobian_is_diag_p_minus_p_p_transposed",
        "    return torch.softmax(x, dim)",
        "    y = torch.exp(x)\n    return y / y.sum(dim, keepdim=True).detach()",
        AssertionError,
    ),
    "not a number": (
        "softmax.no_finite_score_overflows",
        "    return torch.softmax(x, dim)",
        "    return x.exp() / x.exp().sum(dim, keepdim=True)",
        AssertionError,
    ),
    "low precision": (
        "softmax.low_precision_rounds_no_further_than_it_must",
        "    return torch.softmax(x, dim)",
        "    return torch.softmax(x / 2, dim)",
        AssertionError,
    ),
}
OTHER = pytest.mark.parametrize(
    ("identifier", "right", "wrong", "error"), OTHERS.values(), ids=OTHERS
)


@OTHER
def test_every_kind_of_failure_has_a_script_that_fails_and_then_passes(
    identifier, right, wrong, error, tmp_path
):
    path, evidence = examined(tmp_path, identifier, mistaken(SOFTMAX, right, wrong))
    assert evidence.status == ("crashed" if error is ValueError else "refuted")
    script = evidence.counterexample.script
    assert "submission.softmax(" in script
    assert type(run(script)) is error
    path.write_text(SOFTMAX, encoding="utf-8")
    assert run(script) is None, script


def test_a_crash_in_a_constructor_has_a_script_that_fails_until_it_is_right(tmp_path):
    wrong = mistaken(MODULE, "super().__init__()\n", "super().__init__()\n        1 / 0\n")
    identifier = "MultiplicativeAttention.the_output_is_the_weighted_sum_of_the_values"
    path, evidence = examined(tmp_path, identifier, wrong)
    assert evidence.status == "crashed"
    assert isinstance(run(evidence.counterexample.script), ZeroDivisionError)
    path.write_text(MODULE, encoding="utf-8")
    assert run(evidence.counterexample.script) is None


HEADS = """
import torch
from torch import nn

from reference import MultiHeadAttention as Right


class MultiHeadAttention(Right):
    pass
"""
OTHER_MODULES = {
    "a width that is accepted": (
        "MultiHeadAttention.heads_that_do_not_divide_the_width_are_refused",
        HEADS,
        "    pass",
        "    def __init__(self, d_model, n_heads):\n"
        "        super().__init__(d_model * n_heads, n_heads)",
    ),
    "a matrix too many": (
        "MultiHeadAttention.weights_do_not_grow_with_the_heads",
        HEADS,
        "    pass",
        "    def __init__(self, d_model, n_heads):\n"
        "        super().__init__(d_model, n_heads)\n"
        "        self.more = nn.Linear(d_model, d_model)",
    ),
    "detached weights": (
        "MultiplicativeAttention.gradients_agree_with_finite_differences",
        MODULE,
        "weights = torch.softmax(scores, -1)",
        "weights = torch.softmax(scores, -1).detach()",
    ),
    "a matrix that does not learn": (
        "MultiplicativeAttention.every_matrix_that_is_used_learns",
        MODULE,
        "self.projection(key)",
        "self.projection(key).detach()",
    ),
    "nothing that learns": (
        "MultiplicativeAttention.every_matrix_that_is_used_learns",
        MODULE,
        "        scores = query @ self.projection(key).mT\n",
        "        query, value = query.detach(), value.detach()\n"
        "        scores = query @ self.projection(key).detach().mT\n",
    ),
    "two answers too few": (
        "MultiplicativeAttention.the_output_is_the_weighted_sum_of_the_values",
        MODULE,
        "return weights @ value, weights",
        "return weights @ value",
    ),
    "weights of a wrong shape": (
        "MultiplicativeAttention.the_output_is_the_weighted_sum_of_the_values",
        MODULE,
        "return weights @ value, weights",
        "return weights @ value, weights[0]",
    ),
    "an answer that is no tensor": (
        "MultiplicativeAttention.the_output_is_the_weighted_sum_of_the_values",
        MODULE,
        "return weights @ value, weights",
        "return weights @ value, weights.tolist()",
    ),
    "a wrong dtype": (
        "MultiplicativeAttention.the_output_is_the_weighted_sum_of_the_values",
        MODULE,
        "return weights @ value, weights",
        "return weights @ value, weights.float()",
    ),
}


@pytest.mark.parametrize(
    ("identifier", "source", "right", "wrong"), OTHER_MODULES.values(), ids=OTHER_MODULES
)
def test_a_script_checks_what_no_comparison_of_numbers_does(
    identifier, source, right, wrong, tmp_path
):
    path, evidence = examined(tmp_path, identifier, mistaken(source, right, wrong))
    assert evidence.status == "refuted"
    script = evidence.counterexample.script
    assert isinstance(run(script), AssertionError | SystemExit), script
    path.write_text(source, encoding="utf-8")
    assert run(script) is None, script


def declared(function):
    (prop,) = getattr(function, ATTRIBUTE)
    return prop


@declared
@law("softmax", inputs=softmax_inputs(2), formula="x")
def the_first_entry_is_right(softmax, x, dim):
    """The first entry is held to more than the others are."""
    expected = torch.softmax(x, dim)
    bound = torch.full_like(expected, 10.0)
    bound.view(-1)[0] = 1e-9
    close(softmax(x, dim), expected, bound, "softmax(x)")


def test_a_script_holds_each_entry_to_its_own_bound(tmp_path):
    wrong = mistaken(SOFTMAX, "torch.softmax(x, dim)", "torch.softmax(x, dim) + 1")
    _, evidence = examined(tmp_path, the_first_entry_is_right, wrong)
    assert evidence.status == "refuted"
    assert isinstance(run(evidence.counterexample.script), AssertionError)


@declared
@law("softmax", inputs=softmax_inputs(), formula="x")
def it_can_be_called_by_name(softmax, x, dim):
    """Its arguments have names."""
    close(softmax(dim=dim, x=x), torch.softmax(x, dim), 1e-9, "softmax(x)")


def test_a_script_calls_by_name_what_the_law_calls_by_name(tmp_path):
    wrong = mistaken(SOFTMAX, "torch.softmax(x, dim)", "torch.softmax(x, dim) + 1")
    _, evidence = examined(tmp_path, it_can_be_called_by_name, wrong)
    assert isinstance(run(evidence.counterexample.script), AssertionError)


@declared
@law(
    "MultiplicativeAttention",
    inputs=attention_inputs("MultiplicativeAttention"),
    formula="∂output / ∂W exists",
)
def it_can_be_differentiated(attention, query, key, value, mask):
    """Its weights have a gradient."""
    output, _ = attention(leaf(query), key, value, mask)
    attention.parameter_gradients(output.sum())


def test_a_crash_on_the_way_back_has_a_script_that_fails(tmp_path):
    wrong = mistaken(MODULE, "query @ self.projection(key).mT", "OneWay.apply(query, key, self)")
    wrong += """

class OneWay(torch.autograd.Function):
    @staticmethod
    def forward(ctx, query, key, module):
        return query @ module.projection(key).mT

    @staticmethod
    def backward(ctx, grad):
        raise RuntimeError("no way back")
"""
    wrong = wrong.replace(
        "OneWay.apply(query,", "OneWay.apply(query + self.projection.weight.sum(),"
    )
    _, evidence = examined(tmp_path, it_can_be_differentiated, wrong)
    assert evidence.status == "crashed"
    assert (
        evidence.message
        == "the gradient of MultiplicativeAttention raised RuntimeError: no way back (line 26)"
    )
    assert run(evidence.counterexample.script) is not None


def test_a_counterexample_says_everything_in_text(tmp_path):
    identifier, source, right, wrong = MISTAKES["softmax over the queries"]
    _, evidence = examined(tmp_path, identifier, mistaken(source, right, wrong))
    text = evidence.counterexample.text()
    prop = PROPERTIES[identifier]
    assert text.startswith(f"{SDPA}: every row of weights sums to one\n")
    for part in (prop.explanation, prop.formula, prop.claim.quote, "query", "Wrong: the sum of "):
        assert part in text
    assert "off by" in text
    assert "To see it again:" in text
    for line in evidence.counterexample.script.splitlines():
        assert f"    {line}".rstrip() in text


def test_a_counterexample_shows_what_came_and_what_should_have(tmp_path):
    wrong = mistaken(SOFTMAX, "torch.softmax(x, dim)", "torch.softmax(x, dim) * 3")
    _, evidence = examined(tmp_path, "softmax.it_is_the_normalised_exponential", wrong)
    found = evidence.counterexample
    assert found.inputs == (("x", "[0]"), ("dim", "0"))
    assert (found.came, found.expected) == ("[3]", "[1]")
    assert found.difference.startswith("off by 2 at [0], where rounding explains ")


def test_a_module_is_shown_with_its_sizes_and_its_weights(tmp_path):
    identifier, source, right, wrong = MISTAKES["a module with a scale too many"]
    _, evidence = examined(tmp_path, identifier, mistaken(source, right, wrong))
    inputs = dict(evidence.counterexample.inputs)
    assert inputs["MultiplicativeAttention"].startswith("(d_query=")
    weight = torch.tensor(ast.literal_eval(inputs["projection.weight"]), dtype=torch.float64)
    assert torch.equal(weight, weight.round())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"),
        (None, "None"),
        (torch.tensor(0.5), "0.5"),
        (torch.tensor([1.0, 0.1234567891]), "[1, 0.123457]"),
        (torch.tensor([True, False]), "[True, False]"),
        (torch.tensor([[1, 2], [3, 4]]), "[[1, 2],\n [3, 4]]"),
        (torch.tensor([[1.0, 2.0]]), "[[1, 2]]"),
        (torch.tensor([float("nan"), float("-inf")]), "[nan, -inf]"),
        (torch.zeros(0, 3), "[]"),
        (torch.arange(100.0).view(4, 25), "4×25 numbers, from 0 to 99"),
        (torch.ones(70, 1, dtype=torch.bool), "70×1 truth values, 70 of them True"),
        (torch.tensor([1.0], requires_grad=True), "[1]"),
    ],
)
def test_values_are_written_for_a_person(value, text):
    assert render(value) == text


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("mistake", ["missing scale", "mask after the softmax"])
def test_a_counterexample_is_as_small_whatever_the_seed(mistake, seed, tmp_path):
    identifier, source, right, wrong = MISTAKES[mistake]
    path = tmp_path / "mine.py"
    path.write_text(mistaken(source, right, wrong), encoding="utf-8")
    submission = load_submission(str(path))
    found = examine(PROPERTIES[identifier], submission, Settings(seed=seed), load_reference())
    inputs = dict(found.counterexample.inputs)
    for name in ("query", "key", "value"):
        value = torch.tensor(ast.literal_eval(inputs[name]))
        assert value.dim() == 2
        assert value.shape[-2] <= 3, inputs


def test_a_module_is_shown_with_what_the_law_put_into_it(tmp_path):
    wrong = mistaken(MODULE, "weights = torch", "scores = scores / 2\n        weights = torch")
    identifier = "MultiplicativeAttention.equal_weights_leave_sums_and_the_scale"
    _, evidence = examined(tmp_path, identifier, wrong)
    weight = ast.literal_eval(dict(evidence.counterexample.inputs)["projection.weight"])
    assert len({entry for row in weight for entry in row}) == 1
    assert weight[0][0] != 0


def test_what_fails_only_after_earlier_calls_is_said_to(tmp_path):
    wrong = (
        SOFTMAX
        + """
CALLS = []


def softmax(x, dim=-1):
    CALLS.append(x)
    return torch.softmax(x, dim) * (2 if len(CALLS) == 7 else 1)
"""
    )
    _, evidence = examined(tmp_path, "softmax.it_is_the_normalised_exponential", wrong)
    assert evidence.status == "refuted"
    assert evidence.counterexample.what.endswith("something is remembered from them)")
    assert "only after earlier ones" in evidence.counterexample.script


def test_no_counterexample_is_one_for_the_reference_too(tmp_path):
    wrong = """
from reference import SelfAttention as Right


class SelfAttention(Right):
    def forward(self, x, mask=None):
        output, weights = super().forward(x, mask)
        return output.detach() + 0 * x, weights
"""
    identifier = "SelfAttention.every_token_reaches_every_output"
    path, evidence = examined(tmp_path, identifier, wrong)
    assert evidence.status == "refuted"
    assert isinstance(run(evidence.counterexample.script), AssertionError)
    path.write_text("from reference import SelfAttention\n", encoding="utf-8")
    assert run(evidence.counterexample.script) is None


# --- Scripts that are run before they are shown --------------------------------------------------

KEPT = """
import functools

import torch


@functools.cache
def _future(length):
    return torch.ones(length, length, dtype=torch.bool).triu(1)


def causal_mask(length):
    return _future(length).logical_not_()
"""


def test_answers_are_copied_where_a_later_call_overwrites_them(tmp_path):
    _, evidence = examined(tmp_path, "causal_mask.the_same_call_gives_the_same_result", KEPT)
    assert ".clone()" in evidence.counterexample.script
    assert isinstance(run(evidence.counterexample.script), AssertionError)


def test_what_needs_earlier_calls_has_no_script(tmp_path):
    law = "causal_mask.a_shorter_mask_is_a_corner_of_a_longer_one"
    _, evidence = examined(tmp_path, law, KEPT)
    assert "only after earlier calls" in evidence.counterexample.what


def test_a_function_that_draws_random_numbers_does_so_in_its_script(tmp_path):
    right = "torch.softmax(x, dim)"
    wrong = mistaken(SOFTMAX, right, f"torch.dropout({right}, 0.5, True)")
    _, evidence = examined(tmp_path, "softmax.the_same_call_gives_the_same_result", wrong)
    assert "torch.manual_seed(0)" in evidence.counterexample.script
    assert isinstance(run(evidence.counterexample.script), AssertionError)


def test_it_is_said_where_both_sides_are_answers(tmp_path):
    wrong = mistaken(SOFTMAX, "torch.softmax(x, dim)", "torch.softmax(x.clamp_max(0), dim)")
    found = examined(tmp_path, "softmax.adding_a_constant_changes_nothing", wrong)[1]
    assert found.counterexample.expected.startswith("the same as ")
    law = "softmax.it_is_the_normalised_exponential"
    found = examined(tmp_path, law, wrong)[1]
    assert not found.counterexample.expected.startswith("the same as ")
