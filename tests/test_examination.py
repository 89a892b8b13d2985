"""Examining: whatever a submission does becomes evidence, the same every time, and costs no other.

The laws are small ones of this file's own, so that nothing here depends on the ledger.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
import warnings
from types import SimpleNamespace

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.errors import FlakyStrategyDefinition
from torch import nn

import reference
from attest import examination, running
from attest.checks import DoesNotApply, Violation, close, identical, sometimes, sometimes_differs
from attest.claims import Claim, Verdict
from attest.contract import CONTRACT, ContractBroken
from attest.differentiation import gradients, leaf
from attest.evidence import Evidence
from attest.examination import MIXED, VISIBLE, Settings, examine
from attest.implementations import LocalImplementation
from attest.laws import ATTRIBUTE, law, proof, refutation
from attest.ledger import load_ledger, load_reference
from attest.limits import TimeLimit
from attest.running import default_jobs, examine_all
from attest.strategies import (
    attention_inputs,
    component_inputs,
    lengths_and_padding,
    softmax_inputs,
)
from attest.subject import Subject

FEW = Settings(examples=12)
SDPA = "scaled_dot_product_attention"


def prop(function):
    """Give the property that a decorator made of a law."""
    (found,) = getattr(function, ATTRIBUTE)
    return found


def submission(**names):
    return LocalImplementation("submission", SimpleNamespace(**names))


def right(x, dim=-1):
    return torch.softmax(x, dim)


REFERENCE = LocalImplementation("reference", reference)
RIGHT = submission(softmax=right)


def rounding(x):
    return 1e3 * torch.finfo(x.dtype).eps


@prop
@law("softmax", inputs=softmax_inputs(), formula="softmax(x) = softmax(x)")
def it_agrees_with_torch(softmax, x, dim):
    """It is what torch says."""
    close(softmax(x, dim), torch.softmax(x, dim), rounding(x), "softmax(x)")


@prop
@law("causal_mask", inputs=component_inputs, formula="mask_ij = (j ≤ i)")
def it_is_triangular(causal_mask, arguments):
    """It is triangular."""
    n = arguments["length"]
    identical(causal_mask(n), torch.ones(n, n, dtype=torch.bool).tril(), "the mask")


@prop
@law(SDPA, inputs=attention_inputs(SDPA), formula="output = α V")
def the_output_is_a_mixture(attention, query, key, value, mask):
    """The output is the weighted sum of the values."""
    output, weights = attention(query, key, value, mask)
    close(output, weights @ value, rounding(output), "the output")


@prop
@law("SelfAttention", inputs=attention_inputs("SelfAttention"), formula="Σ_j α_ij = 1")
def rows_sum_to_one(attention, x, mask):
    """Rows sum to one."""
    _, weights = attention(x, mask)
    close(weights.sum(-1), torch.ones(x.shape[:-1]), rounding(weights), "the sum of a row")


PROPERTIES = (it_agrees_with_torch, it_is_triangular, the_output_is_a_mixture, rows_sum_to_one)


def timeless(evidence):
    record = evidence.record()
    del record["seconds"]
    return record


# --- What is shown ------------------------------------------------------------------------------


def test_a_counterexample_is_not_made_so_small_that_its_error_looks_like_rounding():
    def growing(x, dim=-1):
        return right(x, dim) * (1 + 1e-5 * x.abs().amax())

    evidence = examine(it_agrees_with_torch, submission(softmax=growing))
    assert evidence.counterexample is not None
    came, expected = (
        torch.tensor(evidence.counterexample.compared[side], dtype=torch.float64)
        for side in ("came", "expected")
    )
    assert float((came - expected).abs().max() / expected.abs().max()) > VISIBLE


# --- What a submission raises -------------------------------------------------------------------


class UnprintableError(Exception):
    def __str__(self):
        raise RuntimeError("no text either")


class UnprintableEndError(BaseException):
    def __str__(self):
        raise SystemExit


def raises(error):
    def softmax(x, dim=-1):
        raise error

    return softmax


def endless(x, dim=-1):
    return endless(x, dim)


def assumes(x, dim=-1):
    hypothesis.assume(False)


def rejects(x, dim=-1):
    hypothesis.reject()


def skips(x, dim=-1):
    pytest.skip("not today")


def exits(x, dim=-1):
    sys.exit("bye")


RAISING = {
    "an exception": (raises(ValueError("no")), "softmax raised ValueError: no"),
    "an exception without text": (raises(ValueError()), "softmax raised ValueError"),
    "an assertion": (raises(AssertionError("no")), "softmax raised AssertionError: no"),
    "two lines": (raises(ValueError("one\ntwo")), "softmax raised ValueError: one"),
    "sys.exit": (exits, "softmax raised SystemExit: bye"),
    "the end of a generator": (raises(GeneratorExit()), "softmax raised GeneratorExit"),
    "the end of an iterator": (raises(StopIteration()), "softmax raised StopIteration"),
    "no memory": (raises(MemoryError()), "softmax raised MemoryError"),
    "recursion": (
        endless,
        "softmax raised RecursionError: maximum recursion depth exceeded",
    ),
    "no text": (raises(UnprintableError()), "softmax raised UnprintableError"),
    "assume": (assumes, "softmax raised UnsatisfiedAssumption"),
    "reject": (rejects, "softmax raised UnsatisfiedAssumption"),
    "skip": (skips, "softmax raised Skipped: not today"),
    "a way out that is for laws": (
        raises(DoesNotApply("please")),
        "softmax raised DoesNotApply: please",
    ),
    "a violation of its own": (
        raises(Violation("mine", "is")),
        "softmax raised Violation: mine",
    ),
    "a group": (
        raises(ExceptionGroup("two", [ValueError("a"), TypeError("b")])),
        "softmax raised ExceptionGroup: two (2 sub-exceptions)",
    ),
}


@pytest.mark.parametrize(("softmax", "message"), RAISING.values(), ids=RAISING)
def test_what_a_submission_raises_is_a_crash_with_its_message(softmax, message):
    evidence = examine(it_agrees_with_torch, submission(softmax=softmax), FEW)
    assert evidence.status == "crashed"
    assert evidence.message.startswith(message)
    assert "\n" not in evidence.message
    assert evidence.counterexample is not None
    assert not evidence.well


def test_an_exception_that_ends_the_process_when_it_is_printed_is_a_crash():
    evidence = examine(it_agrees_with_torch, submission(softmax=raises(UnprintableEndError())), FEW)
    assert evidence.status == "crashed"


def test_an_interrupt_passes_through_and_leaves_nothing_behind():
    before = sys.stdout, signal.getsignal(signal.SIGALRM), torch.get_default_dtype()
    with pytest.raises(KeyboardInterrupt):
        examine(it_agrees_with_torch, submission(softmax=raises(KeyboardInterrupt())), FEW)
    assert (sys.stdout, signal.getsignal(signal.SIGALRM), torch.get_default_dtype()) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_an_interrupt_in_a_constructor_passes_through():
    class SelfAttention(nn.Module):
        def __init__(self, d_model):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        examine(rows_sum_to_one, submission(SelfAttention=SelfAttention), FEW)


def test_a_constructor_that_raises_is_a_crash_with_its_arguments():
    class SelfAttention(nn.Module):
        def __init__(self, d_model):
            raise ValueError("no")

    evidence = examine(rows_sum_to_one, submission(SelfAttention=SelfAttention), FEW)
    assert evidence.status == "crashed"
    assert evidence.message == "SelfAttention(d_model=1) raised ValueError: no"


@pytest.mark.parametrize("other", [object, lambda d_model: None, lambda: None, 3])
def test_a_constructor_that_gives_no_module_is_a_crash(other):
    evidence = examine(rows_sum_to_one, submission(SelfAttention=other), FEW)
    assert evidence.status == "crashed"
    assert evidence.message.startswith("SelfAttention(d_model=1) raised TypeError: ")


@pytest.mark.parametrize("other", [3, "softmax", [], object()])
def test_a_name_that_cannot_be_called_is_a_crash(other):
    evidence = examine(it_agrees_with_torch, submission(softmax=other), FEW)
    assert evidence.status == "crashed"
    assert "is not callable" in evidence.message


def test_a_submission_that_cannot_be_differentiated_is_a_crash():
    class Backward(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            raise ValueError("no way back")

    one = submission(softmax=lambda x, dim=-1: Backward.apply(torch.softmax(x, dim)))
    evidence = examine(it_has_the_gradient_of_torch, one, FEW)
    assert evidence.status == "crashed"
    assert "no way back" in evidence.message


@prop
@law("softmax", inputs=softmax_inputs(), formula="∂softmax")
def it_has_the_gradient_of_torch(softmax, x, dim):
    """Its gradient is what torch says."""
    ours, theirs = leaf(x), leaf(x)
    ones = torch.linspace(0, 1, x.numel()).to(x).view(x.shape)
    (found,) = gradients(softmax(ours, dim), ones, ours)
    (expected,) = gradients(torch.softmax(theirs, dim), ones, theirs)
    close(found, expected, 1e-9, "the gradient")


def test_a_submission_that_fails_to_differentiate_only_once_does_not_hold():
    times = itertools.count(1)

    class Backward(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            if next(times) == 3:
                raise RuntimeError("no way back")
            return grad

    one = submission(softmax=lambda x, dim=-1: Backward.apply(torch.softmax(x, dim)))
    evidence = examine(it_has_the_gradient_of_torch, one, FEW)
    assert evidence.status in {"refuted", "crashed"}


# --- What a submission gives --------------------------------------------------------------------


def gives(change):
    return submission(softmax=lambda x, dim=-1: change(torch.softmax(x, dim)))


EXPECTED = "expected probabilities (...,)"
WRONG = {
    "nothing": (gives(lambda _: None), f"returned None; {EXPECTED}"),
    "a list": (gives(lambda y: y.tolist()), f"returned a list; {EXPECTED}"),
    "a tuple": (gives(lambda y: (y, y)), f"returned a tuple; {EXPECTED}"),
    "an array": (gives(lambda y: y.numpy()), f"returned a ndarray; {EXPECTED}"),
    "another shape": (
        gives(lambda y: y[None]),
        "returned probabilities of shape (1, 1); expected probabilities (...,) = (1,)",
    ),
    "another dtype": (
        gives(lambda y: y.float()),
        "returned probabilities of dtype torch.float32; expected torch.float64",
    ),
    "NaN": (gives(lambda y: y * math.nan), "softmax(x)"),
    "infinity": (gives(lambda y: y * math.inf), "softmax(x)"),
    "too much": (gives(lambda y: y + 1e-6), "softmax(x)"),
    "NaN in one entry": (
        gives(lambda y: torch.where(y == y.max(), math.nan, y)),
        "softmax(x)",
    ),
}


@pytest.mark.parametrize(("implementation", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_answer_is_a_refutation_with_what_is_wrong(implementation, message):
    evidence = examine(it_agrees_with_torch, implementation, FEW)
    assert evidence.status == "refuted"
    assert evidence.message.startswith(message)
    assert evidence.counterexample.what == message
    assert (evidence.counterexample.difference or "") in evidence.message
    assert evidence.counterexample.script
    assert not evidence.well


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda o, w: o, "returned a Tensor; expected output"),
        (lambda o, w: (o,), "returned 1 values; expected output"),
        (lambda o, w: (o, w, w), "returned 3 values; expected output"),
        (lambda o, w: (o, None), "returned None; expected weights"),
        (lambda o, w: (o, w.mT[..., None]), "returned weights of shape"),
        (lambda o, w: (o.half(), w), "returned output of dtype torch.float16"),
    ],
)
def test_wrong_answers_of_attention_are_told_apart(answer, message):
    def attention(query, key, value, mask=None):
        return answer(*reference.scaled_dot_product_attention(query, key, value, mask))

    one = submission(scaled_dot_product_attention=attention)
    evidence = examine(the_output_is_a_mixture, one, FEW)
    assert evidence.status == "refuted"
    assert evidence.message.startswith(message)


@pytest.mark.parametrize(
    ("change", "kind"),
    [(lambda y: y.to("meta"), "meta"), (lambda y: y.to_sparse(), "torch.sparse_coo")],
    ids=["meta", "sparse"],
)
def test_an_answer_without_numbers_in_rows_is_refuted(change, kind):
    evidence = examine(it_agrees_with_torch, gives(change), FEW)
    assert evidence.status == "refuted"
    assert f"as a {kind} tensor" in evidence.message


class Agreeable(torch.Tensor):
    """Answers every comparison as whoever asks would like it."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        result = super().__torch_function__(func, types, args, kwargs or {})
        if func.__name__ in {"le", "__le__", "ge", "__ge__", "isfinite", "equal"}:
            return torch.ones_like(torch.Tensor.as_subclass(result, torch.Tensor))
        return result


def test_a_tensor_that_agrees_with_every_comparison_convinces_nobody():
    wrong = gives(lambda y: (y * 0).as_subclass(Agreeable))
    assert examine(it_agrees_with_torch, wrong, FEW).status == "refuted"
    right_one = gives(lambda y: y.as_subclass(Agreeable))
    assert examine(it_agrees_with_torch, right_one, FEW).status == "holds"


def test_what_a_submission_remembers_or_draws_reaches_no_other_property():
    calls = []

    def tired(x, dim=-1):
        calls.append(x)
        noise = random.random() + float(np.random.rand())  # noqa: NPY002, S311 - as they do
        return torch.softmax(x, dim) * (len(calls) < 20) + 1e-3 * noise

    found = []
    for jobs in (1, 2):
        three, one = [it_agrees_with_torch] * 3, submission(softmax=tired)
        found += examine_all(three, one, FEW, None, jobs, lambda _: None)
    records = [{**evidence.record(), "seconds": 0} for evidence in found]
    assert records[0]["status"] == "refuted"
    assert all(record == records[0] for record in records)


def test_a_right_answer_holds():
    evidence = examine(it_agrees_with_torch, RIGHT, FEW)
    assert evidence.status == "holds"
    assert evidence.well
    assert evidence.examples == 12
    assert 0 < evidence.informative <= 12
    assert 0 <= evidence.ratio < 1
    assert evidence.message is None
    assert evidence.counterexample is None
    assert evidence.seconds > 0


def test_a_submission_that_overwrites_its_input_harms_no_other_law():
    def softmax(x, dim=-1):
        y = torch.softmax(x, dim)
        x.zero_()
        return y

    assert examine(it_agrees_with_torch, submission(softmax=softmax), FEW).status == "holds"


def test_a_missing_name_is_not_attempted():
    for one in (submission(), submission(softmax=None)):
        evidence = examine(it_agrees_with_torch, one, FEW)
        assert evidence.status == "not_attempted"
        assert evidence.message == "softmax is not defined"
        assert evidence.examples == 0


def test_a_namespace_that_raises_for_what_it_lacks_is_evidence():
    class Namespace:
        def __getattr__(self, name):
            raise RuntimeError(f"no {name} here")

    evidence = examine(it_agrees_with_torch, LocalImplementation("odd", Namespace()), FEW)
    assert evidence.status in {"not_attempted", "crashed"}


# --- Time ---------------------------------------------------------------------------------------


def forever(x, dim=-1):
    while True:
        pass


def asleep(x, dim=-1):
    time.sleep(60)


@pytest.mark.parametrize("softmax", [forever, asleep], ids=["awake", "asleep"])
def test_a_loop_without_end_is_a_timeout(softmax):
    start = time.perf_counter()
    evidence = examine(it_agrees_with_torch, submission(softmax=softmax), Settings(seconds=0.3))
    assert evidence.status == "timeout"
    assert evidence.message == "not finished after 0.3 seconds"
    assert time.perf_counter() - start < 2
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.parametrize(("seconds", "status"), [(0.05, "timeout"), (60, "crashed")])
def test_a_limit_that_hypothesis_turns_into_another_error_is_a_timeout(
    seconds, status, monkeypatch
):
    def inconsistent(*_):
        with contextlib.suppress(TimeLimit):
            time.sleep(2 * seconds if seconds < 1 else 0)
        raise FlakyStrategyDefinition("inconsistent data generation")

    monkeypatch.setattr(examination, "_drawn", inconsistent)
    assert examine(it_agrees_with_torch, RIGHT, Settings(seconds=seconds)).status == status


def test_a_loop_without_end_in_a_constructor_is_a_timeout():
    class SelfAttention(nn.Module):
        def __init__(self, d_model):
            forever(None)

    one = submission(SelfAttention=SelfAttention)
    assert examine(rows_sum_to_one, one, Settings(seconds=0.3)).status == "timeout"


def test_a_failure_found_before_time_is_up_counts():
    times = itertools.count()

    def late(x, dim=-1):
        if next(times):
            signal.raise_signal(signal.SIGALRM)
        return x + 9

    evidence = examine(it_agrees_with_torch, submission(softmax=late), Settings(seconds=30))
    assert evidence.status == "refuted"
    assert evidence.message.startswith("softmax(x): off by 9 at ")
    assert evidence.message.endswith(" (not finished after 30 seconds)")


def test_a_crash_found_before_time_is_up_is_a_crash():
    times = itertools.count()

    def late(x, dim=-1):
        if next(times):
            signal.raise_signal(signal.SIGALRM)
        raise ValueError(str(x))

    evidence = examine(it_agrees_with_torch, submission(softmax=late), Settings(seconds=30))
    assert evidence.status == "crashed"
    assert evidence.message.endswith("(not finished after 30 seconds)")


# --- Chance -------------------------------------------------------------------------------------


def test_a_submission_wrong_only_the_first_time_does_not_hold():
    times = itertools.count()
    one = submission(softmax=lambda x, dim=-1: x + 9 if next(times) == 0 else right(x, dim))
    assert examine(it_agrees_with_torch, one, FEW).status == "refuted"


def test_a_submission_that_crashes_only_the_first_time_does_not_hold():
    times = itertools.count()

    def softmax(x, dim=-1):
        if next(times) == 0:
            raise ValueError("once")
        return right(x, dim)

    evidence = examine(it_agrees_with_torch, submission(softmax=softmax), FEW)
    assert evidence.status == "crashed"
    assert evidence.message == "softmax raised ValueError: once"


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_submission_wrong_by_chance_does_not_hold_and_never_raises(share):
    for seed in range(3):
        chance = random.Random(seed)  # noqa: S311 - a coin, not a secret
        one = gives(lambda y, chance=chance: y + (chance.random() < share))
        evidence = examine(it_agrees_with_torch, one, Settings(examples=60, seed=seed))
        assert evidence.status == "refuted"


def test_noise_in_every_answer_is_refuted():
    evidence = examine(it_agrees_with_torch, gives(lambda y: y + torch.rand_like(y)), FEW)
    assert evidence.status == "refuted"
    assert evidence.counterexample is not None


# --- Global state -------------------------------------------------------------------------------


def default_dtype(y):
    torch.set_default_dtype(torch.float16)
    return y


def no_gradients(y):
    torch.set_grad_enabled(False)
    return y


def seeds(y):
    torch.manual_seed(0)
    random.seed(0)
    return y


def filters(y):
    warnings.simplefilter("error")
    return y


def warns(y):
    warnings.warn("beware", stacklevel=1)
    return y


def prints(y):
    print("x" * 100_000)  # noqa: T201 - what is tested
    sys.stderr.write("x" * 100_000)
    return y


def default_device(y):
    torch.set_default_device("meta")
    return y


def alarm(y):
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, 0)
    return y


POISONS = (default_dtype, no_gradients, seeds, filters, warns, prints, default_device, alarm)


@contextlib.contextmanager
def restored():
    """Undo whatever the engine may have left, so that other tests do not suffer from it."""
    state = torch.get_default_dtype(), torch.is_grad_enabled(), signal.getsignal(signal.SIGALRM)
    try:
        yield
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(state[0])
        torch.set_grad_enabled(state[1])
        signal.signal(signal.SIGALRM, state[2])


def test_single_precision_is_no_less_than_its_name_says():
    seen = set()

    def watching(x, dim=-1):
        seen.add((torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32))
        return torch.softmax(x, dim)

    assert torch.backends.cudnn.allow_tf32  # torch's default
    examine(it_agrees_with_torch, submission(softmax=watching), FEW)
    assert seen == {(False, False)}


@pytest.mark.parametrize("poison", POISONS)
def test_what_a_submission_does_to_the_process_does_not_reach_the_next_property(poison, capfd):
    before = timeless(examine(it_has_the_gradient_of_torch, RIGHT, FEW))
    assert before["status"] == "holds"
    with restored():
        examine(it_agrees_with_torch, gives(poison), FEW)
        after = timeless(examine(it_has_the_gradient_of_torch, RIGHT, FEW))
    assert after == before
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("poison", POISONS)
def test_global_state_is_what_it_was_before(poison):
    def state():
        return {
            "dtype": torch.get_default_dtype(),
            "gradients": torch.is_grad_enabled(),
            "device": torch.get_default_device(),
            "numbers": torch.random.get_rng_state().tolist(),
            "tf32": torch.backends.cudnn.allow_tf32,
            "filters": list(warnings.filters),
            "output": (sys.stdout, sys.stderr),
            "alarm": signal.getsignal(signal.SIGALRM),
        }

    with restored(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(12345)
        before = state()
        examine(it_agrees_with_torch, gives(poison), FEW)
        after = state()
    assert after == before


def test_a_run_in_another_default_dtype_finds_the_same():
    expected = timeless(examine(it_agrees_with_torch, gives(lambda y: y * 2), FEW))
    with restored():
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        found = timeless(examine(it_agrees_with_torch, gives(lambda y: y * 2), FEW))
        assert torch.get_default_dtype() == torch.float64
        assert not torch.is_grad_enabled()
    assert found == expected


# --- The same every time ------------------------------------------------------------------------


@pytest.mark.parametrize("softmax", [right, lambda x, dim=-1: x * 1.0, raises(ValueError("no"))])
def test_the_same_seed_finds_the_same_evidence(softmax):
    torch.rand(3)  # whatever happened before
    first = timeless(examine(it_agrees_with_torch, submission(softmax=softmax), FEW))
    random.seed(99)
    torch.manual_seed(99)
    assert timeless(examine(it_agrees_with_torch, submission(softmax=softmax), FEW)) == first


def test_another_seed_tries_other_examples():
    seen = []

    @prop
    @law("softmax", inputs=softmax_inputs(), formula="x")
    def nothing(softmax, x, dim):
        """Nothing."""
        seen[-1].append(x.tolist())

    for seed in (0, 1, 0):
        seen.append([])
        examine(nothing, RIGHT, Settings(examples=20, seed=seed))
    assert seen[0] != seen[1]
    assert seen[0] == seen[2]


def test_evidence_survives_the_way_through_text():
    evidence = examine(it_agrees_with_torch, gives(lambda y: y * 2), FEW)
    back = Evidence.from_record(it_agrees_with_torch, json.loads(json.dumps(evidence.record())))
    assert back == evidence


HALF_WRONG = submission(
    softmax=lambda x, dim=-1: torch.softmax(x, 0),
    causal_mask=lambda length: torch.ones(length, length).triu().bool(),
    scaled_dot_product_attention=reference.scaled_dot_product_attention,
    SelfAttention=reference.SelfAttention,
)


def test_evidence_does_not_depend_on_the_number_of_processes():
    here = [timeless(examine(p, HALF_WRONG, FEW, REFERENCE)) for p in PROPERTIES]
    assert [record["status"] for record in here] == ["refuted", "refuted", "holds", "holds"]
    for jobs in (1, 2):
        reported = []
        found = examine_all(PROPERTIES, HALF_WRONG, FEW, REFERENCE, jobs, reported.append)
        assert [e.prop for e in found] == list(PROPERTIES)
        assert [timeless(e) for e in found] == here
        assert sorted(map(id, reported)) == sorted(map(id, found))


def test_evidence_is_the_same_where_nothing_can_be_forked(monkeypatch):
    reported = []
    apart = examine_all(PROPERTIES, HALF_WRONG, FEW, REFERENCE, 2, lambda _: None)
    monkeypatch.setattr(running, "_can_fork", lambda: False)
    assert default_jobs("cpu") == 1
    here = examine_all(PROPERTIES, HALF_WRONG, FEW, REFERENCE, 2, reported.append)
    assert [timeless(e) for e in here] == [timeless(e) for e in apart]
    assert reported == here


def test_evidence_does_not_depend_on_what_the_reference_was_asked_before():
    laws = [p for p in load_ledger().laws if p.component == "Encoder"]
    names = ("every_matrix_learns", "permuting_the_tokens_permutes_the_output")
    first, second = (next(p for p in laws if p.function.__name__ == name) for name in names)
    alone, warm = load_reference(), load_reference()
    examine(first, warm, Settings(), warm)
    assert warm.kept
    assert timeless(examine(second, warm, Settings(), warm)) == timeless(
        examine(second, alone, Settings(), alone)
    )


def test_nothing_to_examine_gives_nothing():
    assert examine_all([], RIGHT, FEW, REFERENCE, 2, lambda _: None) == []


# --- Processes that die -------------------------------------------------------------------------


def leaves(x, dim=-1):
    os._exit(3)


def kills_itself(x, dim=-1):
    os.kill(os.getpid(), signal.SIGKILL)


DEATHS = [
    (leaves, "it ended the process it ran in, with exit code 3"),
    (kills_itself, "the process it ran in was ended by SIGKILL"),
]


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(("softmax", "message"), DEATHS)
def test_a_process_that_dies_costs_its_own_property_alone(softmax, message, jobs):
    one = submission(softmax=softmax, causal_mask=reference.causal_mask)
    properties = (it_agrees_with_torch, it_is_triangular) * 2
    found = examine_all(properties, one, FEW, None, jobs, lambda _: None)
    assert [e.status for e in found] == ["crashed", "holds"] * 2
    assert {e.message for e in found[::2]} == {message}


def test_a_process_that_does_not_come_back_is_ended_and_costs_its_own_property_alone(monkeypatch):
    def swallows(x, dim=-1):
        while True:
            with contextlib.suppress(BaseException):
                forever(x)

    monkeypatch.setattr(running, "GRACE", 0.3)
    one = submission(softmax=swallows, causal_mask=reference.causal_mask)
    properties = (it_agrees_with_torch, it_is_triangular)
    found = examine_all(properties, one, Settings(20, seconds=0.3), None, 1, lambda _: None)
    assert [e.status for e in found] == ["timeout", "holds"]
    assert found[0].message == "not finished after 0.3 seconds"


def test_a_thread_that_a_submission_leaves_behind_holds_up_no_process():
    def starts(x, dim=-1):
        threading.Thread(target=time.sleep, args=(600,)).start()
        return torch.softmax(x, dim)

    start = time.perf_counter()
    found = examine_all([it_agrees_with_torch], submission(softmax=starts), FEW, None, 1, print)
    assert [e.status for e in found] == ["holds"]
    assert time.perf_counter() - start < 60


def test_a_process_that_has_told_everything_is_ended(monkeypatch):
    monkeypatch.setattr(running, "GRACE", 0.3)
    monkeypatch.setattr(running, "strangers_run", lambda: time.sleep(600))
    found = examine_all([it_is_triangular], HALF_WRONG, FEW, REFERENCE, 1, lambda _: None)
    assert [e.status for e in found] == ["refuted"]
    assert multiprocessing.active_children() == []


def test_no_process_is_left_behind():
    examine_all([it_is_triangular] * 3, HALF_WRONG, FEW, REFERENCE, 2, lambda _: None)
    assert multiprocessing.active_children() == []


def test_an_interrupt_while_waiting_ends_the_processes():
    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        examine_all(PROPERTIES, HALF_WRONG, FEW, REFERENCE, 2, interrupt)
    assert multiprocessing.active_children() == []


# --- What was tried -----------------------------------------------------------------------------


@prop
@law("softmax", inputs=softmax_inputs(2), formula="it moves")
def it_moves(softmax, x, dim):
    """It moves with its input."""
    sometimes_differs(softmax(x + 1, dim), softmax(x, dim), "one more moves it")


@prop
@law("softmax", inputs=softmax_inputs(2), formula="it is large")
def it_is_large(softmax, x, dim):
    """It is large."""
    result = softmax(x, dim)
    sometimes(bool((result > 0.5).any()), "some entry is large: above one half")


def constant(x, dim=-1):
    return torch.zeros_like(x)


@pytest.mark.parametrize(
    ("witness", "sentence"),
    [(it_moves, "one more moves it"), (it_is_large, "some entry is large: above one half")],
)
def test_what_never_happens_refutes(witness, sentence):
    evidence = examine(witness, submission(softmax=constant), FEW)
    assert evidence.status == "refuted"
    assert evidence.counterexample.what == f"never in 100 examples: {sentence}"
    assert examine(witness, submission(softmax=lambda x, dim=-1: x * 1), FEW).status == "holds"


def test_the_message_says_that_it_never_happened():
    evidence = examine(it_moves, submission(softmax=constant), FEW)
    assert evidence.message == "never in 100 examples: one more moves it"


def test_what_happens_in_one_example_of_many_is_enough():
    times = itertools.count()
    one = submission(softmax=lambda x, dim=-1: torch.full_like(x, float(next(times) == 9)))
    assert examine(it_moves, one, FEW).status == "holds"


def test_a_law_that_could_not_have_failed_is_undecided():
    @prop
    @law("softmax", inputs=softmax_inputs(), formula="x")
    def loose(softmax, x, dim):
        """Nothing."""
        close(softmax(x, dim), torch.softmax(x, dim), 1e9, "softmax(x)")

    evidence = examine(loose, RIGHT, FEW)
    assert evidence.status == "undecided"
    assert evidence.message == "no check could have failed"
    assert (evidence.examples, evidence.informative) == (100, 0)
    assert not evidence.well


@pytest.mark.parametrize(("at", "tried"), [(1, 12), (30, 15), (200, 100)])
def test_a_change_that_has_not_come_gets_more_examples_than_asked_for(at, tried):
    times = itertools.count(1)  # two calls an example
    once = submission(softmax=lambda x, dim=-1: torch.full_like(x, float(next(times) == at)))
    evidence = examine(it_moves, once, FEW)
    assert (evidence.status, evidence.examples) == ("holds", tried)


def test_a_law_whose_checks_could_not_have_failed_yet_gets_more_examples_than_asked_for():
    times = itertools.count(1)

    @prop
    @law("softmax", inputs=softmax_inputs(), formula="x")
    def loose(softmax, x, dim):
        """Nothing, at first."""
        bound = 1e9 if next(times) < 15 else 1e-9
        close(softmax(x, dim), torch.softmax(x, dim), bound, "softmax(x)")

    evidence = examine(loose, RIGHT, FEW)
    assert (evidence.status, evidence.examples, evidence.informative) == ("holds", 15, 1)


@pytest.mark.parametrize(
    "inputs",
    [softmax_inputs(), softmax_inputs().filter(lambda _: False), st.nothing()],
    ids=["assumed away", "filtered away", "nothing to draw"],
)
def test_a_law_that_rejects_every_example_is_undecided(inputs):
    @prop
    @law("softmax", inputs=inputs, formula="x")
    def picky(softmax, x, dim):
        """Nothing."""
        hypothesis.assume(False)

    evidence = examine(picky, RIGHT, Settings(examples=2))
    assert evidence.status == "undecided"
    assert evidence.message == "every example was rejected"


@pytest.mark.parametrize("component", ["softmax", "FeedForward"])
@pytest.mark.parametrize("examples", [1, 3])
def test_so_few_examples_accuse_nobody(component, examples):
    for one in load_ledger().laws:
        if one.component == component:
            evidence = examine(one, load_reference(), Settings(examples=examples))
            assert evidence.well, f"{one.id}: {evidence.message}"


def test_rejected_examples_do_not_count():
    @prop
    @law("softmax", inputs=softmax_inputs(), formula="x")
    def picky(softmax, x, dim):
        """Nothing."""
        hypothesis.assume(x.dim() == 1)
        identical(softmax(x, dim), torch.softmax(x, dim), "softmax(x)")

    evidence = examine(picky, RIGHT, FEW)
    assert evidence.status == "holds"
    assert evidence.informative == evidence.examples <= 12


def test_a_mistake_of_the_law_itself_is_not_the_submissions_refutation():
    @prop
    @law("softmax", inputs=softmax_inputs(), formula="x")
    def mistaken(softmax, x, dim):
        """Nothing."""
        close(softmax(x, dim), torch.zeros(9, 9, 9, 9, 9), 1.0, "softmax(x)")

    evidence = examine(mistaken, RIGHT, FEW)
    assert evidence.status == "crashed"
    assert evidence.message.startswith("ValueError: softmax(x): compared shapes")


@pytest.mark.parametrize(
    ("wanted", "own_dtypes", "algebra"),
    [
        (MIXED, {torch.float32, torch.bfloat16}, {torch.float64, torch.float32}),
        ("float64", {torch.float32, torch.bfloat16}, {torch.float64}),
        ("float32", {torch.float32}, {torch.float32}),
        ("bfloat16", {torch.bfloat16}, {torch.float64}),
        ("float16", {torch.float32, torch.bfloat16}, {torch.float64}),
    ],
)
def test_algebra_keeps_to_wide_dtypes_and_rounding_to_its_own(wanted, own_dtypes, algebra):
    seen = {"own": set(), "run": set()}

    @prop
    @law("softmax", inputs=softmax_inputs(), formula="x", dtypes=("float32", "bfloat16"))
    def own(softmax, x, dim):
        """Nothing."""
        seen["own"].add(x.dtype)

    @prop
    @law("softmax", inputs=softmax_inputs(), formula="x")
    def run(softmax, x, dim):
        """Nothing."""
        seen["run"].add(softmax(x, dim).dtype)

    for one in (own, run):
        examine(one, RIGHT, Settings(examples=30, dtype=wanted))
    assert seen == {"own": own_dtypes, "run": algebra}


# --- Refutations, proofs and the oracle ---------------------------------------------------------


def refuted_claim(pinned, inputs):
    claim = Claim("ATT-90", "2", "a few words", "It is so.", "x", Verdict.REFUTED)

    @prop
    @refutation("softmax", claim=claim, formula="max < 0.9", inputs=inputs, pinned=pinned)
    def no_entry_is_large(softmax, x, dim):
        """An entry may be large."""
        close(softmax(x, dim), torch.zeros_like(x), 0.9, "the entries")

    return no_entry_is_large


REFUTES = {"x": torch.tensor([9.0, 0.0], dtype=torch.float64), "dim": 0}
REFUTES_NOTHING = {"x": torch.tensor([0.0, 0.0], dtype=torch.float64), "dim": 0}


def test_a_refutation_holds_where_its_example_and_another_refute():
    evidence = examine(refuted_claim(REFUTES, softmax_inputs(2)), RIGHT, FEW)
    assert evidence.status == "holds"
    assert evidence.counterexample.quote == "a few words"
    assert ("x", "[9, 0]") in evidence.counterexample.inputs


def test_a_refutation_whose_example_refutes_nothing_is_not_well():
    evidence = examine(refuted_claim(REFUTES_NOTHING, softmax_inputs(2)), RIGHT, FEW)
    assert evidence.status == "refuted"
    assert evidence.message == "the pinned counterexample refutes nothing"
    assert not evidence.well


def test_a_refutation_that_rejects_its_example_is_not_well():
    @prop
    @refutation(
        "softmax",
        claim=Claim("ATT-90", "2", "a few words", "It is so.", "x", Verdict.REFUTED),
        formula="max < 0.9",
        inputs=softmax_inputs(2),
        pinned=REFUTES,
    )
    def no_entry_is_large(softmax, x, dim):
        """An entry may be large, but this one is not looked at."""
        assume(float(x.max()) < 9)
        close(softmax(x, dim), torch.zeros_like(x), 0.9, "the entries")

    evidence = examine(no_entry_is_large, RIGHT, FEW)
    assert evidence.status == "refuted"
    assert evidence.message.endswith("the pinned counterexample: it rejects it")


def test_a_refutation_that_finds_no_other_example_is_not_well():
    evidence = examine(refuted_claim(REFUTES, st.just(REFUTES_NOTHING)), RIGHT, FEW)
    assert evidence.status == "refuted"
    assert evidence.message.startswith("the search found no counterexample in ")
    assert not evidence.well


@pytest.mark.parametrize(("asked", "taken"), [(3, 3), (100, 20), (250, 50)])
def test_a_law_takes_its_share_of_the_examples(asked, taken):
    calls = []

    @prop
    @law("softmax", inputs=softmax_inputs(2), formula="Σ p = 1", share=0.2)
    def entries_sum_to_one(softmax, x, dim):
        """They do."""
        calls.append(x)
        total = softmax(x, dim).sum(dim)
        close(total, torch.ones_like(total), 1e-9, "the sum")

    settings = Settings(examples=asked, drawn_for=100, dtype="float64")
    evidence = examine(entries_sum_to_one, RIGHT, settings)
    assert evidence.status == "holds"
    assert evidence.examples == len(calls) == taken


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ValueError, match="share of the examples is above 0 and at most 1"):
        law("softmax", inputs=softmax_inputs(2), formula="x", share=share)


def test_a_submission_that_crashes_refutes_no_claim():
    one = submission(softmax=raises(ValueError("no")))
    evidence = examine(refuted_claim(REFUTES, softmax_inputs(2)), one, FEW)
    assert evidence.status == "crashed"


def proved(argument):
    argument.__doc__ = "It is so."
    return prop(proof("softmax", method="structural", formula="x")(argument))


def test_an_argument_holds_unless_it_fails():
    def fine(softmax):
        assert softmax is right

    def false(softmax):
        raise AssertionError("it is not so")

    def shown(softmax):
        raise Violation("it is not so", "is", torch.tensor([1, 2]))

    def broken(softmax):
        raise ZeroDivisionError("no")

    assert examine(proved(fine), RIGHT).status == "holds"
    evidence = examine(proved(false), RIGHT)
    assert (evidence.status, evidence.message) == ("refuted", "it is not so")
    evidence = examine(proved(shown), RIGHT)
    assert (evidence.status, evidence.message) == ("refuted", "it is not so: [1, 2]")
    evidence = examine(proved(broken), RIGHT)
    assert evidence.status == "crashed"
    assert evidence.message.startswith("ZeroDivisionError: no (test_examination.py:")


def test_an_argument_does_not_apply_to_code_that_is_not_here():
    class Elsewhere:
        name = "elsewhere"
        kept = None

        def defines(self, component):
            return True

    def fine(softmax):
        pass

    assert examine(proved(fine), Elsewhere()).status == "not_applicable"


@prop
@law(
    "MultiplicativeAttention",
    inputs=attention_inputs("MultiplicativeAttention"),
    formula="f = reference",
    oracle=True,
)
def the_reference_agrees(attention, oracle, query, key, value, mask):
    """The reference agrees."""
    both = zip(attention(query, key, value, mask), oracle(query, key, value, mask), strict=True)
    for found, expected in both:
        close(found, expected, 1e-6 * (1 + expected.abs().max()), "the result")


class Renamed(nn.Module):
    def __init__(self, d_query, d_key):
        super().__init__()
        self.matrix = nn.Linear(d_key, d_query, bias=False)

    def forward(self, query, key, value, mask=None):
        return reference.multiplicative_attention(query, self.matrix(key), value, mask)


class Transposed(nn.Module):
    def __init__(self, d_query, d_key):
        super().__init__()
        self.key = nn.Linear(d_query, d_key, bias=False)

    def forward(self, query, key, value, mask=None):
        return reference.multiplicative_attention(self.key(query), key, value, mask)


class Biased(reference.MultiplicativeAttention):
    def __init__(self, d_query, d_key):
        super().__init__(d_query, d_key)
        self.key = nn.Linear(d_key, d_query)


class Scaled(reference.MultiplicativeAttention):
    def forward(self, query, key, value, mask=None):
        return super().forward(query / 2, key, value, mask)


@pytest.mark.parametrize("module", [Renamed, Transposed, Biased])
def test_the_oracle_does_not_apply_where_names_or_shapes_differ(module):
    one = submission(MultiplicativeAttention=module)
    evidence = examine(the_reference_agrees, one, FEW, REFERENCE)
    assert evidence.status == "not_applicable"
    assert evidence.message == "its parameters differ from the reference's in name or shape"
    assert evidence.well


def test_the_oracle_does_not_apply_where_there_is_none():
    evidence = examine(the_reference_agrees, REFERENCE, FEW)
    assert evidence.status == "not_applicable"
    assert evidence.message == "there is no reference to take names from"


def test_the_oracle_judges_where_names_are_the_same():
    assert examine(the_reference_agrees, REFERENCE, FEW, REFERENCE).status == "holds"
    one = submission(MultiplicativeAttention=Scaled)
    evidence = examine(the_reference_agrees, one, FEW, REFERENCE)
    assert evidence.status == "refuted"
    assert evidence.counterexample is not None


# --- Modules ------------------------------------------------------------------------------------


class SlightlyOff(reference.LayerNorm):
    def forward(self, x):
        return 1.0001 * super().forward(x)


class SlightlyOffWithMore(SlightlyOff):
    """Has large numbers that are used for nothing."""

    def __init__(self, d_model):
        super().__init__(d_model)
        self.more = nn.Parameter(torch.full((3,), 1e13))


def test_numbers_that_are_used_for_nothing_hide_no_mistake():
    norms = [one for one in load_ledger().laws if one.component == "LayerNorm"]
    laws = [one for one in norms if one.applies is None and not one.named]
    settings = Settings(examples=10, explain=False)
    plain, more = (
        {one.name for one in laws if not examine(one, submission(LayerNorm=it), settings).well}
        for it in (SlightlyOff, SlightlyOffWithMore)
    )
    assert plain <= more
    assert len(plain) >= 3


class Counting(reference.MultiplicativeAttention):
    """Counts how often it is constructed, and starts with a bias of its own."""

    made = 0

    def __init__(self, d_query, d_key):
        super().__init__(d_query, d_key)
        self.bias = nn.Parameter(torch.full((d_query,), 1.5))
        Counting.made += 1


def watched(function):
    """Examine a law of a function's; give what it returned for each example."""
    seen = []

    @prop
    @law(
        "MultiplicativeAttention",
        inputs=attention_inputs("MultiplicativeAttention"),
        formula="x",
    )
    def it_is_watched(attention, arguments):
        """Nothing."""
        seen.append(function(attention, arguments))
        sometimes(True, "it is watched")

    Counting.made = 0
    counting = submission(MultiplicativeAttention=Counting)
    evidence = examine(it_is_watched, counting, Settings(dtype="float64"))
    assert evidence.status == "holds", evidence
    return seen


def test_examples_of_the_same_sizes_share_a_module():
    def called(attention, arguments):
        attention(**arguments)
        return tuple(attention.setup.arguments.values())

    sizes = watched(called)
    assert len(sizes) == 100
    assert Counting.made == len(set(sizes)) < 100


def test_a_shared_module_starts_every_example_as_it_was_made():
    def spoil(attention, arguments):
        before = attention.parameters()["bias"]
        attention.set_parameters({"bias": before + 1})
        attention(**arguments)
        return before.tolist()

    assert {value for bias in watched(spoil) for value in bias} == {1.5}


def test_matrices_are_redrawn_in_a_shared_module():
    matrices = watched(
        lambda attention, _: attention.parameters()["key.weight"].flatten()[0].item()
    )
    assert len(set(matrices)) > 80  # the hard examples share some seeds


def test_what_a_law_rejects_at_once_constructs_nothing():
    def reject(attention, arguments):
        hypothesis.assume(attention.setup.arguments == {"d_query": 1, "d_key": 1})
        attention(**arguments)

    watched(reject)
    assert Counting.made == 1


def test_a_module_that_a_law_asks_for_is_always_new():
    def construct(attention, _):
        attention.construct(d_query=2, d_key=3)

    assert len(watched(construct)) == Counting.made == 100


def test_examples_of_the_same_sizes_share_a_wider_module_that_is_not_their_own():
    def spoil(attention, arguments):
        wide, own = attention.widened(), attention.parameters()
        same = all(torch.equal(value, own[name]) for name, value in wide.parameters().items())
        wide.set_parameters({"bias": own["bias"] + 1})
        untouched = torch.equal(attention.parameters()["bias"], own["bias"])
        return tuple(attention.setup.arguments.values()), same, untouched

    seen = watched(spoil)
    assert Counting.made == 2 * len({sizes for sizes, _, _ in seen}) < 200
    assert all(same and untouched for _, same, untouched in seen)


def test_the_reference_is_not_compared_with_the_very_module_that_is_examined():
    apart = []

    @prop
    @law(
        "MultiplicativeAttention",
        inputs=attention_inputs("MultiplicativeAttention"),
        formula="x",
        oracle=True,
    )
    def they_are_two(attention, oracle, query, key, value, mask):
        """Nothing."""
        before = attention.parameters()
        oracle.set_parameters({name: value + 1 for name, value in before.items()})
        after = attention.parameters()
        apart.append(all(torch.equal(value, after[name]) for name, value in before.items()))
        sometimes(True, "it is seen")

    own = load_reference()
    assert examine(they_are_two, own, Settings(examples=20), own).status == "holds"
    assert all(apart)
    assert len(apart) == 20


def test_a_counterexample_is_made_of_a_new_module():
    class Forgetful(reference.MultiplicativeAttention):
        """Right in its first call alone."""

        calls = 0

        def forward(self, query, key, value, mask=None):
            self.calls += 1
            output, weights = super().forward(query, key, value, mask)
            return (output if self.calls == 1 else output + 1), weights

    @prop
    @law(
        "MultiplicativeAttention",
        inputs=attention_inputs("MultiplicativeAttention"),
        formula="output = weights · value",
    )
    def the_output_is_a_mean(attention, query, key, value, mask):
        """The output is a mean."""
        attention(query, key, value, mask)
        output, weights = attention(query, key, value, mask)
        close(output, weights @ value, 1e-6 * (1 + value.abs().max()), "the output")

    evidence = examine(the_output_is_a_mean, submission(MultiplicativeAttention=Forgetful))
    assert evidence.status == "refuted"
    assert evidence.counterexample.script.count("module(query, key, value") == 2


def test_what_else_is_loaded_changes_no_example(tmp_path, monkeypatch):
    def inputs(seed):
        seen = []

        @prop
        @law("padding_mask", inputs=lengths_and_padding(), formula="x")
        def it_is_seen(padding_mask, lengths, max_length):
            """Nothing."""
            seen.append((lengths.tolist(), max_length))

        examine(it_is_seen, REFERENCE, Settings(seed=seed, examples=300))
        return seen

    before = inputs(77)
    (tmp_path / "full_of_numbers.py").write_text(
        "NUMBERS = [" + ", ".join(str(n) for n in range(2, 60)) + "]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    __import__("full_of_numbers")
    examination._drawn.cache_clear()
    assert inputs(77) == before


def test_a_folder_that_a_submission_removes_costs_nobody_else(tmp_path, monkeypatch):
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def removes(x, dim=-1):
        if folder.exists():
            folder.rmdir()
        return torch.softmax(x, dim)

    assert examine(it_agrees_with_torch, submission(softmax=removes), FEW).status == "holds"
    assert examine(it_agrees_with_torch, RIGHT, FEW).status == "holds"


@pytest.mark.parametrize(("chances", "status"), [(9, "holds"), (10, "refuted")])
def test_a_change_that_had_few_chances_is_not_missed(chances, status):
    times = itertools.count(1)

    @prop
    @law("softmax", inputs=softmax_inputs(), formula="x")
    def it_moves(softmax, x, dim):
        """It is not zero."""
        if next(times) <= chances:
            sometimes_differs(softmax(x, dim), torch.zeros_like(x), "it is not zero")
        close(x, x, 1e-9, "x")

    one = submission(softmax=constant)
    settings = Settings(examples=3, explain=False)
    assert examine(it_moves, one, settings).status == status


def test_an_answer_on_another_device_than_the_inputs_breaks_the_contract():
    spec = CONTRACT["softmax"]
    subject = Subject(gives(lambda y: torch.ones(y.shape)), spec, torch.float32, "meta")
    with pytest.raises(ContractBroken, match="returned probabilities on cpu; expected it where"):
        subject(torch.ones(3))
