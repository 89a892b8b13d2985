"""Bounds that are found out only where they decide are the same bounds."""

from __future__ import annotations

import copy
import math
from types import SimpleNamespace

import pytest
import torch

import reference
from attest import checks
from attest.checks import NEAR, Observer, Violation, observing
from attest.contract import CONTRACT
from attest.estimates import Estimate
from attest.examination import Settings, examine
from attest.implementations import LocalImplementation
from attest.ledger import load_ledger, load_reference
from attest.subject import Setup, Subject
from attest.tape import Tape
from properties.bounds import measured_bound


def t(*values):
    return torch.tensor(values, dtype=torch.float64)


class Found:
    """An estimate, and how often it was found out."""

    def __init__(self, least=1.0, whole=10.0):
        self.times = 0
        self.whole = whole
        self.estimate = Estimate(least, self._find)

    def _find(self):
        self.times += 1
        return t(self.whole).sum()


@pytest.mark.parametrize(
    ("made", "least", "whole"),
    [
        (lambda e: 2 * e, 2.0, 20.0),
        (lambda e: e * 0.5, 0.5, 5.0),
        (lambda e: e + e, 2.0, 20.0),
        (lambda e: 3 + e, 4.0, 13.0),
        (lambda e: sum([e, 2 * e]), 3.0, 30.0),
    ],
)
def test_scaled_and_added_it_stays_one(made, least, whole):
    found = Found()
    estimate = made(found.estimate)
    assert estimate.least == least
    assert found.times == 0
    assert float(estimate) == whole
    assert float(estimate) == whole
    assert found.times == 1


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (lambda e: -1 * e, t(-10.0).sum()),
        (lambda e: e * t(1.0, 2.0), t(10.0, 20.0)),
        (lambda e: t(1.0, 2.0) * e, t(10.0, 20.0)),
        (lambda e: t(1.0, 2.0) + e, t(11.0, 12.0)),
        (lambda e: e + t(1.0), t(11.0)),
        (lambda e: torch.stack([e, e]), t(10.0, 10.0)),
        (lambda e: t(5.0, 15.0) > e, torch.tensor([False, True])),
        (lambda e: torch.maximum(t(1.0), other=e), t(10.0)),
        (lambda e: e.amax(), t(10.0).sum()),
        (lambda e: e - 1, t(9.0).sum()),
        (lambda e: 1 - e, t(-9.0).sum()),
        (lambda e: -e, t(-10.0).sum()),
        (lambda e: e / 2, t(5.0).sum()),
        (lambda e: 2 / e, t(0.2).sum()),
        (lambda e: e**2, t(100.0).sum()),
        (lambda e: 2**e, t(1024.0).sum()),
        (lambda e: e[None], t(10.0)),
        (lambda e: abs(e - 11), t(1.0).sum()),
        (lambda e: e > 10, torch.tensor(False)),
        (lambda e: e >= 10, torch.tensor(True)),
        (lambda e: e < 10, torch.tensor(False)),
        (lambda e: e == 10, torch.tensor(True)),
        (lambda e: e != 10, torch.tensor(False)),
        (lambda e: e == Found().estimate, torch.tensor(True)),
        (lambda e: float(max(e, 1.0)), torch.tensor(10.0)),
    ],
)
def test_anything_else_finds_it_out(made, expected):
    found = Found()
    assert torch.equal(torch.as_tensor(made(found.estimate)), expected)
    assert found.times == 1


def test_one_that_is_zero_is_false():
    assert not Found(0.0, 0.0).estimate
    assert Found(0.0, 1.0).estimate


def test_it_is_copied():
    assert float(copy.copy(Found().estimate)) == 10.0


def checked(check, *arguments, observer):
    with observing(observer):
        check(*arguments, "it")


@pytest.mark.parametrize(
    ("check", "arguments"),
    [
        (checks.close, (t(1.0), t(1.0 + 0.9 * NEAR))),
        (checks.at_most, (t(1.0), t(0.5))),
        (checks.at_least, (t(0.5), t(1.0))),
    ],
)
def test_what_it_is_at_least_decides_once_some_example_could_have_failed(check, arguments):
    first, later = Found(), Found()
    checked(check, *arguments, first.estimate, observer=Observer())
    checked(check, *arguments, later.estimate, observer=Observer(settled=True))
    assert (first.times, later.times) == (1, 0)


@pytest.mark.parametrize(
    ("check", "arguments"),
    [
        (checks.close, (t(1.0), t(1.0 + 1.1 * NEAR))),
        (checks.close, (t(1.0), t(10.0))),
        (checks.at_most, (t(3.0), t(0.5))),
        (checks.at_least, (t(0.5), t(3.0))),
    ],
)
def test_elsewhere_it_is_found_out(check, arguments):
    found = Found()
    checked(check, *arguments, found.estimate, observer=Observer(settled=True))
    assert found.times == 1


@pytest.mark.parametrize(
    ("check", "arguments"),
    [
        (checks.close, (t(1.0), t(12.0))),
        (checks.close, (t(math.nan), t(1.0))),
        (checks.at_most, (t(12.0), t(1.0))),
        (checks.at_least, (t(math.nan), t(1.0))),
    ],
)
def test_what_does_not_hold_does_not(check, arguments):
    with pytest.raises(Violation):
        checked(check, *arguments, Found().estimate, observer=Observer(settled=True))


def test_without_anybody_who_listens_it_is_found_out():
    found = Found()
    checks.close(t(1.0), t(1.0), found.estimate, "it")
    assert found.times == 1


def test_the_share_of_the_bound_is_at_least_what_it_is():
    observer = Observer(settled=True)
    checked(checks.close, t(1.0), t(1.1), Found().estimate, observer=observer)
    assert observer.ratio == pytest.approx(0.1)
    assert observer.compared


def test_a_change_that_was_seen_needs_no_bound():
    seen, unseen = Found(), Found()
    observer = Observer(settled=True, seen=frozenset({"it moves"}))
    with observing(observer):
        checks.sometimes_differs(t(1.0), t(2.0), "it moves", seen.estimate)
        checks.sometimes_differs(t(1.0), t(30.0), "it jumps", unseen.estimate)
    assert (seen.times, unseen.times) == (0, 1)
    assert observer.witnesses == {"it jumps": True}


SIZES = {"d_model": 4, "n_heads": 2, "d_hidden": 6}
X = torch.randn(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def layer(kind=reference.EncoderLayer, tape=None):
    made = LocalImplementation("mine", SimpleNamespace(EncoderLayer=kind))
    return Subject(made, CONTRACT["EncoderLayer"], torch.float64, "cpu", Setup(SIZES, 1), tape)


def test_a_bound_is_more_than_it_is_at_least():
    bound = measured_bound(layer(), {"x": X})
    assert isinstance(bound, Estimate)
    assert 0 < bound.least < float(bound) < 1e6 * bound.least


class Trained(reference.EncoderLayer):
    """Another function while it is trained."""

    def forward(self, x, mask=None):
        return super().forward(7 * x if self.training else x, mask)


@pytest.mark.parametrize("what", ["parameters", "mode", "arguments"])
def test_it_is_of_the_parameters_and_arguments_at_its_time(what):
    one, x = layer(Trained), X.clone()
    bound = measured_bound(one, {"x": x})
    expected = measured_bound(layer(), {"x": X}).whole()
    match what:
        case "parameters":
            one.set_parameters({n: 100 * p for n, p in one.parameters().items()})
        case "mode":
            one._train(mode=True)
        case "arguments":
            x.mul_(100)
    assert torch.equal(bound.whole(), expected)


def test_where_a_law_is_traced_the_bound_is_there_before_torch_asks_for_it():
    with Tape(recording=True) as tape:
        one = layer(tape=tape)
        bound = measured_bound(one, {"x": X})
        assert bool((one(X) < 1e15 * bound).all())
    assert torch.equal(bound, measured_bound(layer(), {"x": X}).whole())


class Deaf(reference.DecoderLayer):
    """Hears of no token before."""

    def forward(self, x, memory, self_mask=None, memory_mask=None):
        del self_mask
        alone = torch.eye(x.shape[1], dtype=torch.bool)
        return super().forward(x, memory, alone, memory_mask)


def test_a_law_that_compares_with_its_bound_gives_a_counterexample():
    name = "DecoderLayer.with_one_token_of_memory_the_past_still_counts"
    (law,) = (law for law in load_ledger().laws if law.id == name)
    own = LocalImplementation("own", SimpleNamespace(DecoderLayer=Deaf))
    evidence = examine(law, own, Settings(), load_reference())
    assert evidence.status == "refuted", evidence.message
    assert evidence.counterexample is not None


NAME = "FeedForward.permuting_the_tokens_permutes_the_outputs"


def test_how_many_examples_tell_is_counted_in_full_of_the_reference_alone():
    (law,) = (x for x in load_ledger().laws if x.id == NAME)
    own = LocalImplementation("own", SimpleNamespace(FeedForward=reference.FeedForward))
    whole, settings = load_reference(), Settings(examples=20)
    full, least = examine(law, whole, settings, whole), examine(law, own, settings, whole)
    assert (full.status, full.examples) == (least.status, least.examples)
    assert 1 <= least.informative < full.informative <= 20
    assert least.ratio >= full.ratio


def calls_of(law_name, examples, *, patient=True):
    """Count the calls of a law about an encoder's layer, and its examples."""
    calls = []

    class EncoderLayer(reference.EncoderLayer):
        def forward(self, x, mask=None):
            calls.append(x)
            return super().forward(x, mask)

    own = LocalImplementation("own", SimpleNamespace(EncoderLayer=EncoderLayer))
    (law,) = (law for law in load_ledger().laws if law.id == law_name)
    settings = Settings(examples=examples, patient=patient)
    evidence = examine(law, own, settings, load_reference())
    assert evidence.status == "holds"
    return len(calls), evidence


def test_a_law_that_holds_measures_few_bounds():
    few, one = calls_of("EncoderLayer.recording_gradients_changes_no_result", 10)
    many, other = calls_of("EncoderLayer.recording_gradients_changes_no_result", 60)
    further = (many - few) / (other.examples - one.examples)
    assert further < 2.5  # two calls of its own; two probes more where each is measured


def test_a_law_that_is_looked_for_failures_alone_measures_no_bound_that_decides_nothing():
    name = "EncoderLayer.recording_gradients_changes_no_result"
    patient, _ = calls_of(name, 3)
    impatient, evidence = calls_of(name, 3, patient=False)
    assert impatient == 2 * 3  # calls of its own
    assert patient > impatient
    assert evidence.informative == 3
