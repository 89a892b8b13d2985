"""Experiments are what they claim to be: each one's mistake is caught by its controls."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import pytest
import torch

import reference
from attest.experiments import JUDGING, MEASURING
from attest.ledger import load_ledger
from attest.measurements import ALPHA, FIRST, own_folder
from attest.measurements import SEEDS as TWELVE
from attest.measuring import arms_of, judged, numbers_of, run_arm
from attest.provenance import reached
from properties.experiments import (
    copying,
    depth,
    distance,
    orders,
    positions,
    relations,
    running_sums,
    scaling,
)

EXPERIMENTS = {experiment.id: experiment for experiment in load_ledger().experiments}
SEEDS = (0, 1)
MEASURED_BEFORE = {
    one["experiment"]: one
    for path in sorted(own_folder().glob("*.json"))
    for one in json.loads(path.read_text())["experiments"]
}

# What the specification of the ledger wants measured.
MEASURED = (
    *("S2S-05", "S2S-06", "S2S-07", "TF-03", "TF-04", "ATT-05", "ATT-08", "ATT-10", "SA-07"),
    *("SA-08", "SA-10", "MHA-06", "MHA-07", "MHA-09", "TRF-07", "EQ-02", "ORD-01", "ORD-02"),
    *("RES-01", "RES-02", "PE-06", "PE-09", "WHY-02", "WHY-03"),
)


# --- Mistakes -----------------------------------------------------------------------------------


def with_sizes(arm, **sizes):
    """Run one arm with other sizes."""

    def mistake(experiment, monkeypatch):
        arms = (
            replace(one, sizes={**one.sizes, **sizes}, reduced={**one.reduced, **sizes})
            if one.name == arm.name
            else one
            for one in experiment.arms
        )
        return replace(experiment, arms=tuple(arms))

    return mistake


def with_code(place, name, make):
    """Run all arms with something else in place of a function or method."""

    def mistake(experiment, monkeypatch):
        monkeypatch.setattr(place, name, make(getattr(place, name)))
        return experiment

    return mistake


def forgetful(encode):
    """The state is reset before every token but the last."""

    def encode_the_last(self, source, lengths=None):
        states, _ = encode(self, source, lengths)
        return states, encode(self, source[:, -1:])[1]

    return encode_the_last


class SeesEachState(reference.Seq2Seq):
    """The decoder is handed the encoder's state of the same place."""

    def forward(self, source, target_in, lengths=None):
        states, _ = self.encode(source)
        return self.output(states)

    def generate(self, source, bos, max_length, lengths=None, *, end=None):
        return self(source, None).argmax(-1)


def looking_at_padding(step_over):
    return lambda self, memory, source, lengths: step_over(self, memory, source, None)


def fed_gold(free):
    return copying._forced


def always_forced(said):
    return lambda step, numbers, gold, forced: said(step, numbers, gold, forced=True)


def detached(forward):
    def forward_detached(self, x, mask=None):
        query = self.query(x)
        key, value = self.key(x.detach()), self.value(x.detach())
        return reference.scaled_dot_product_attention(query, key, value, mask)

    return forward_detached


def windowed(forward):
    def forward_in_a_window(self, x, mask=None):
        places = torch.arange(x.shape[1])
        return forward(self, x, (places[:, None] - places).abs() < 3)

    return forward_in_a_window


def with_a_bias_for_neighbours(forward):
    def forward_biased(self, x, mask=None):
        query, key, value = self.query(x), self.key(x), self.value(x)
        bias = reference.alibi_bias(1, x.shape[1], x.shape[1])[0]
        return reference.biased_attention(query, key, value, bias, mask)

    return forward_biased


def reversed_mass(mass):
    return lambda weights: mass(weights.flip(-1))


def without_the_first_residual(forward):
    def forward_without(self, x, loudness=1.0):
        first = self.norms[0](x)
        said = self.sublayers[0](first, first, first)[0]
        return forward(self, loudness * said, loudness)

    return forward_without


def always_in_this_order(init):
    def init_in_this_order(self, reference, order, *sizes):
        init(self, reference, "".join(sorted(order, reverse=True)), *sizes)

    return init_in_this_order


def mixing(forward):
    return lambda self, x: forward(self, x + x.flip(1).roll(1, -1))


def wrong_when_long(two_states):
    def two_states_for_a_while(bits):
        states = two_states(bits)
        return torch.cat([states[:, :40], torch.zeros_like(states[:, 40:])], 1)

    return two_states_for_a_while


def seen_before(new):
    return lambda language, trained, generator: trained.repeat(128, 1)[:128]


MISTAKES = {
    "S2S-05 learned": with_code(copying, "_copied", lambda _: lambda model, source: source),
    "S2S-06 in training": with_code(reference.Seq2Seq, "encode", forgetful),
    "S2S-06 by width": with_code(reference.Seq2Seq, "encode", forgetful),
    "S2S-07 in training": with_code(reference, "Seq2Seq", lambda _: SeesEachState),
    "ATT-05 accuracy": with_code(reference.AttentionSeq2Seq, "_step_over", looking_at_padding),
    "ATT-05 stability": with_code(reference.AttentionSeq2Seq, "_step_over", looking_at_padding),
    "ATT-08 in training": with_sizes(copying.ATTENTION[16], kind="uniform"),
    "ATT-10": with_code(reference.SelfAttention, "forward", detached),
    "TF-03 in training": with_code(running_sums, "_said", always_forced),
    "TF-04 in training": with_code(copying, "_free", fed_gold),
    "TF-04 later": with_code(copying, "_free", fed_gold),
    "SA-07 influence": with_code(reference.Encoder, "forward", windowed),
    "SA-08 wall time": with_code(distance, "_least", lambda _: lambda call, x, repeats: 1.0),
    "SA-10": with_code(reference.SelfAttention, "forward", with_a_bias_for_neighbours),
    "MHA-06 in training": with_sizes(relations.TWO, start="equal"),
    "MHA-07 in training": with_code(relations, "risen", lambda _: lambda after, before: after),
    "MHA-08 over a distance": with_code(relations, "_mass", reversed_mass),
    "MHA-09 one each": with_code(relations, "_mass", reversed_mass),
    "MHA-09 more heads than relations": with_sizes(relations.FOUR, n_heads=2),
    "TRF-07 slopes": with_sizes(depth.PRE_NORM, pre_norm=False),
    "EQ-02 as written": with_sizes(depth.WITH_RESIDUALS, skip=0.0),
    "RES-01 in depth": with_code(depth._Layers, "forward", without_the_first_residual),
    "RES-02 collapse": with_sizes(depth.DEEP, skip=0.0),
    "ORD-01 in training": with_code(orders._Ordered, "__init__", always_in_this_order),
    "ORD-01 in a stack": with_code(orders._Ordered, "__init__", always_in_this_order),
    "ORD-02": with_code(reference.FeedForward, "forward", mixing),
    "PE-06 in training": with_sizes(positions.WITH, positions=False),
    "PE-09 generalises": with_sizes(positions.SINUSOID, trained=48),
    "WHY-02 most stably": with_code(running_sums, "_two_states", wrong_when_long),
    "WHY-03 data": with_code(scaling, "_new", seen_before),
    "WHY-03 model": with_code(scaling, "_new", seen_before),
}
"""Each experiment's own mistake: what could make its numbers say what they do not."""

OTHERS = {
    "PE-09 generalises": with_sizes(positions.ROTARY, trained=48),
}

NOT_TRAINED = {
    ("S2S-06 in training", "copying 32 symbols, plain"): "nothing of 32 symbols is learned",
    ("ATT-05 accuracy", "copying 32 symbols, plain"): "nothing of 32 symbols is learned",
    ("WHY-03 data", "256 tokens, width 32"): "what is learned of 256 tokens helps with no others",
}
"""Arms that say as much without training, by experiment, and why."""


class Recorder:
    """The reference, and which of its names were used."""

    def __init__(self):
        self.used = set()

    def __getattr__(self, name):
        found = getattr(reference, name)
        self.used.add(name)
        return found


@cache
def measured_right(name):
    arm, recorder = arms_of(EXPERIMENTS.values())[name], Recorder()
    recorded = replace(
        arm, measure=lambda _, *seeds, **sizes: arm.measure(recorder, *seeds, **sizes)
    )
    return run_arm(recorded, SEEDS, reduced=True), recorder.used


def controls(experiment, run):
    results = {arm.name: {"numbers": run(arm)} for arm in experiment.arms}
    found = judged(experiment, numbers_of(results))
    assert len(found["comparisons"]) == len(experiment.comparisons)
    return {control["sentence"] for control in found["controls"] if control["well"]}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "mistake"),
    [*MISTAKES.items(), *OTHERS.items()],
    ids=[*MISTAKES, *(f"{name}, another" for name in OTHERS)],
)
def test_the_controls_catch_what_would_deceive(name, mistake, monkeypatch):
    experiment = EXPERIMENTS[name]
    right = controls(experiment, lambda arm: measured_right(arm.name)[0])
    mistaken = mistake(experiment, monkeypatch)

    def run(arm):
        if mistaken is not experiment and arm in experiment.arms:  # another arm's sizes are wrong
            return measured_right(arm.name)[0]
        return run_arm(arm, SEEDS, reduced=True)

    wrong = controls(mistaken, run)
    assert right - wrong, f"{name}: well in both cases: {right}"


@cache
def untrained(arm_name):
    """Measure an arm that is trained for one step at rate zero, with all that is looked at."""
    arm = arms_of(EXPERIMENTS.values())[arm_name]
    steps = (1, 1) if isinstance(arm.sizes["steps"], tuple) else 1
    sizes = {**arm.sizes, "rate": 0.0, "steps": steps}
    return run_arm(replace(arm, sizes=sizes), range(FIRST, FIRST + TWELVE))


def deciding_arms():
    """Give the arms that are trained and that some comparison looks at, by experiment."""
    for experiment in EXPERIMENTS.values():
        for arm in experiment.arms:
            if arm.sizes.get("rate") and looks_at(experiment, arm):
                yield pytest.param(experiment, arm, id=f"{experiment.id}, {arm.name}")


def looks_at(experiment, arm):
    written = MEASURED_BEFORE[experiment.id]["arms"]
    numbers = numbers_of({name: found for name, found in written.items() if name != arm.name})
    try:
        for comparison in experiment.comparisons:
            comparison.values(numbers)
    except KeyError:
        return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize(("experiment", "arm"), [*deciding_arms()])
def test_an_arm_that_was_not_trained_is_noticed(experiment, arm):
    written = MEASURED_BEFORE[experiment.id]["arms"]
    found = judged(experiment, numbers_of({**written, arm.name: {"numbers": untrained(arm.name)}}))
    deceived = all(control["well"] for control in found["controls"]) and not any(
        test["otherwise"] or test["p"] >= ALPHA for test in found["comparisons"]
    )
    assert deceived == ((experiment.id, arm.name) in NOT_TRAINED)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_fingerprint_is_of_all_that_is_trained(name):
    known = {reached_name for _, reached_name in reached(EXPERIMENTS[name].origin)}
    for arm in EXPERIMENTS[name].arms:
        assert measured_right(arm.name)[1] <= known


def test_a_fingerprint_is_of_what_measures_and_judges_too(monkeypatch):
    monkeypatch.setattr("attest.experiments.digest", lambda *places: set(places))
    for experiment in EXPERIMENTS.values():
        assert experiment.code == {experiment.origin, *MEASURING, *JUDGING}


def test_every_experiment_has_its_mistake():
    assert EXPERIMENTS.keys() == MISTAKES.keys()


def test_all_that_should_be_measured_is():
    assert set(MEASURED) <= {experiment.claim.id for experiment in EXPERIMENTS.values()}


def test_arms_of_one_name_are_one_arm():
    arms = arms_of(EXPERIMENTS.values())
    assert len(arms) < sum(len(experiment.arms) for experiment in EXPERIMENTS.values())
    one = replace(next(iter(EXPERIMENTS.values())))
    other = replace(one, arms=(replace(one.arms[0], sizes={}),))
    with pytest.raises(ValueError, match="two arms are named"):
        arms_of([one, other])


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_says_what_it_is_about(name):
    experiment = EXPERIMENTS[name]
    for text in (experiment.hypothesis, experiment.task, experiment.expected):
        assert len(text.split()) >= 4
    assert experiment.controls
    assert experiment.seconds > 0
