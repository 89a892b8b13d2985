"""Measurements are written, read, dated, corrected and found out of date."""

from __future__ import annotations

import datetime as dt
import json
import os
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

import attest
from attest import provenance
from attest.claims import Claim, Verdict
from attest.command import UNUSABLE, WELL, main
from attest.evidence import Evidence
from attest.examination import Settings
from attest.experiments import Arm, Comparison, Control, Experiment
from attest.figures import draw
from attest.ledger import Ledger, LedgerError, load_ledger
from attest.measurements import age, file_of, measured, own_folder, read, summary
from attest.measuring import (
    AT_A_GPU,
    ArmError,
    judged,
    measure,
    numbers_of,
    processes,
    run_arm,
)
from attest.terminal import verification_report
from attest.verification import verify

CLAIM = Claim("ATT-95", "2 Attention", "하나 둘 셋", "More is more.", "b > a", Verdict.MEASURED)


def level(reference, seeds, *, height):
    numbers = torch.tensor(seeds.numbers, dtype=torch.float64)
    return {"height": height + numbers / 100}


LOW, HIGH = Arm("low", level, {"height": 0.0}), Arm("high", level, {"height": 1.0})


def difference(numbers):
    found = numbers["high"]["height"] - numbers["low"]["height"]
    return found + 1e-9 * np.arange(len(found))


def experiment(*, sign="above", most=np.inf, against=False, claim=CLAIM):
    return Experiment(
        about=claim,
        component="softmax",
        hypothesis="High is higher.",
        task="Look at two heights.",
        arms=(LOW, HIGH),
        comparisons=(Comparison("it is higher", difference, sign),),
        controls=(Control("low is low", lambda numbers: numbers["low"]["height"], most=most),),
        expected="a difference of one",
        seconds=1,
        against=against,
        origin=(__name__, "experiment"),
    )


def result(one, folder):
    measure([one], folder, folder / "partial", jobs=1)
    (evidence,) = measured([one], folder)
    return evidence


def verdict(evidence):
    return verify(Ledger({CLAIM.id: CLAIM}, ()), [evidence], Settings()).claims[0].verdict


def test_what_comes_out_as_expected_decides(tmp_path):
    evidence = result(experiment(), tmp_path)
    assert (evidence.status, evidence.examples) == ("holds", 12)
    assert "after Holm's correction over 1 tests" in evidence.message
    assert verdict(evidence) == Verdict.MEASURED
    data = json.loads(file_of(tmp_path, "ATT-95").read_text())["experiments"][0]
    assert data["seeds"][3] == 1003
    assert data["arms"]["high"]["numbers"]["height"][3] == 11.03
    assert set(data["made"]) >= {"date", "torch", "scipy", "processor", "device"}


def test_what_speaks_against_refutes(tmp_path):
    assert verdict(result(experiment(against=True), tmp_path)) == Verdict.REFUTED


def test_what_comes_out_otherwise_is_said(tmp_path):
    evidence = result(experiment(sign="below"), tmp_path)
    assert evidence.status == "refuted"
    assert "it came out otherwise: it is higher" in evidence.message
    assert verdict(evidence) == Verdict.REFUTED


def test_what_was_to_speak_against_and_came_out_otherwise_speaks_for(tmp_path):
    evidence = result(experiment(sign="below", against=True), tmp_path)
    assert verdict(evidence) == Verdict.MEASURED


def test_a_control_that_fails_leaves_nothing_decided(tmp_path):
    evidence = result(experiment(most=0.05), tmp_path)
    assert evidence.status == "pending"
    assert "a control failed: low is low" in evidence.message
    assert verdict(evidence) == Verdict.PENDING


def test_many_tests_together_need_more_of_each(tmp_path):
    one = experiment()
    measure([one], tmp_path, tmp_path / "partial", jobs=1)
    others = [
        experiment(claim=Claim(f"ATT-{n}", "2 Attention", "q", "s", "f", Verdict.MEASURED))
        for n in range(100, 250)
    ]
    evidence = measured([one, *others], tmp_path)
    assert evidence[0].status == "undecided"
    assert "not decided: it is higher" in evidence[0].message
    assert {found.status for found in evidence[1:]} == {"pending"}


def test_code_that_has_changed_makes_a_claim_pending(tmp_path, monkeypatch):
    one = experiment()
    measure([one], tmp_path, tmp_path / "partial", jobs=1)
    monkeypatch.setattr("attest.experiments.digest", lambda *places: "another")
    (evidence,) = measured([one], tmp_path)
    assert evidence.status == "pending"
    assert "its code has changed since" in evidence.message
    assert verdict(evidence) == Verdict.PENDING


def test_a_claim_is_pending_while_a_part_waits_to_be_measured(tmp_path, monkeypatch):
    claim = Claim(
        "ATT-94",
        "2 Attention",
        "하나 둘 셋",
        "More is more, by design and in training.",
        "b > a",
        Verdict.MEASURED,
        parts=(
            ("by design", "It is by design.", Verdict.PROVED),
            ("in training", "It is in training.", Verdict.MEASURED),
        ),
    )
    one = experiment(claim=claim.part("in training"))
    argued = replace(result(one, tmp_path), prop=Argued(claim.part("by design")))

    def found():
        evidence = [argued, *measured([one], tmp_path)]
        return verify(Ledger({claim.id: claim}, ()), evidence, Settings()).claims[0].verdict

    assert found() == Verdict.MEASURED
    monkeypatch.setattr("attest.experiments.digest", lambda *places: "another")
    assert found() == Verdict.PENDING


class Argued:
    """A proof of a part."""

    method, refutes = "symbolic", ()

    def __init__(self, part):
        self.supports, self.claims = (part,), (part.claim,)


def test_a_comparison_beside_the_question_flips_nothing(tmp_path):
    one = experiment()
    beside = Comparison("it is lower, too", difference, "below", decides=False)
    evidence = result(replace(one, comparisons=(*one.comparisons, beside)), tmp_path)
    assert evidence.status == "undecided"
    assert "which came out otherwise" in evidence.message


def test_an_interrupted_measurement_goes_on_with_the_next_arm(tmp_path):
    ran = []

    def told(reference, seeds, *, height, stop):
        ran.append(height)
        if stop and ran.count(height) == 1:
            raise KeyboardInterrupt
        return level(reference, seeds, height=height)

    arms = tuple(
        Arm(name, told, {"height": height, "stop": stop})
        for name, height, stop in (("low", 0.0, False), ("high", 1.0, True))
    )
    globals()["told"] = told  # the fingerprint of an arm is looked up by its name
    told.__module__, told.__name__ = level.__module__, level.__name__
    one = replace(experiment(), arms=arms)
    with pytest.raises(KeyboardInterrupt):
        measure([one], tmp_path, tmp_path / "partial", jobs=0)
    assert not file_of(tmp_path, "ATT-95").exists()
    measure([one], tmp_path, tmp_path / "partial", jobs=0)
    assert ran == [0.0, 1.0, 1.0]
    assert not (tmp_path / "partial").exists()


def test_what_was_not_measured_is_pending(tmp_path):
    (evidence,) = measured([experiment()], tmp_path)
    assert evidence.status == "pending"
    assert "not measured yet: `attest measure --only ATT-95`" in evidence.message


def test_fewer_than_twelve_seeds_decide_nothing(tmp_path):
    one = experiment()
    measure([one], tmp_path, tmp_path / "partial", seeds=11, jobs=1)
    (evidence,) = measured([one], tmp_path)
    assert (evidence.status, evidence.examples) == ("pending", 11)
    assert evidence.message.endswith("fewer than 12 seeds decide nothing")


def test_a_control_that_failed_helps_no_other_test(tmp_path):
    other = Claim("ATT-96", "2 Attention", "q", "s", "f", Verdict.MEASURED)
    both = [experiment(), experiment(most=0.05, claim=other)]
    measure(both, tmp_path, tmp_path / "partial", jobs=1)
    found, failed = read(both, tmp_path)
    assert failed.p == (1.0,)
    assert found.p[0] == pytest.approx(2 * 2 / 2**12)


def test_a_comparison_without_numbers_is_named(tmp_path):
    one = replace(
        experiment(), comparisons=(Comparison("it is so", lambda _: np.full(12, np.nan), "above"),)
    )
    with pytest.raises(ArmError, match="ATT-95: «it is so» has no number"):
        measure([one], tmp_path, tmp_path / "partial", jobs=1)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    file_of(tmp_path, "ATT-95").write_text("{")
    with pytest.raises(LedgerError, match=r"ATT-95\.json is no measurement that can be read"):
        measured([experiment()], tmp_path)


def test_ages():
    today = dt.date(2026, 3, 1)
    assert age("2026-03-01", today) == "today"
    assert age("2026-02-28", today) == "yesterday"
    assert age("2026-02-01", today) == "28 days ago"


def test_verifying_says_how_old_measurements_are_and_what_they_were_made_with(tmp_path):
    one = experiment()
    missing = measured([one], tmp_path)
    assert summary(missing, dt.date(2026, 3, 1)) == "1 experiment; 1 pending: `attest measure`."
    found = result(one, tmp_path)
    assert found.as_data()["made"]["torch"] == torch.__version__
    made = dt.date.fromisoformat(found.made["date"])
    words = summary([found, *missing], made + dt.timedelta(9))
    assert words == (
        f"2 experiments, the oldest measured 9 days ago with torch {torch.__version__} on cpu; "
        "1 pending: `attest measure`."
    )
    assert summary([], made) == ""
    verification = verify(Ledger({CLAIM.id: CLAIM}, ()), [found], Settings())
    shown = [str(part) for part in verification_report(verification, 1.0)]
    assert any(part.startswith("1 experiment, measured ") for part in shown)


# --- What a result depends on -------------------------------------------------------------------


@pytest.fixture
def module(tmp_path, monkeypatch):
    def write(text):
        folder = tmp_path / f"v{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        (folder / "attest_written_here.py").write_text(text)
        monkeypatch.syspath_prepend(folder)
        provenance._known.cache_clear()
        provenance._parsed.cache_clear()
        return provenance.digest(("attest_written_here", "f"))

    yield write
    provenance._known.cache_clear()
    provenance._parsed.cache_clear()


def test_only_what_can_change_a_result_changes_its_fingerprint(module):
    first = module("def f(x):\n    return g(x)\n\ndef g(x):\n    return x\n\ndef h(): pass\n")
    assert module("# a comment\ndef f( x ):\n  'doc'\n  return g(x)\ndef g(x): return x\n") == first
    assert module("def f(x):\n    return g(x)\n\ndef g(x):\n    return x + 1\n") != first
    assert module("def f(x):\n    return g(x) + 0\n\ndef g(x):\n    return x\n") != first


def test_words_are_no_part_of_an_experiment(module):
    text = "X = Claim({!r})\nf = Experiment(about=X.part('a'), task={!r}, comparisons={})\n"
    first = module(text.format("one", "a", 12))
    assert module(text.format("another", "b", 12)) == first
    assert module(text.format("one", "a", 13)) != first


def test_the_reference_counts_where_it_is_used(module):
    one = module("def f(reference):\n    return reference.LayerNorm(3)\n")
    assert module("def f(reference):\n    return reference.Nothing(3)\n") != one


def test_a_name_that_is_not_there_is_no_fingerprint(module):
    with pytest.raises(KeyError, match="has no f"):
        module("g = 1\n")


# --- What is committed --------------------------------------------------------------------------

LEDGER = load_ledger()


@pytest.mark.parametrize(
    "found", measured(LEDGER.experiments, own_folder()), ids=lambda e: e.prop.id
)
def test_what_is_committed_is_current_and_sound(found: Evidence):
    assert found.status != "pending", found.message
    assert found.examples >= 12
    assert "control failed" not in found.message


WRITTEN = {
    one["experiment"]: one
    for path in sorted(own_folder().glob("*.json"))
    for one in json.loads(path.read_text())["experiments"]
}


@pytest.mark.parametrize("experiment", LEDGER.experiments, ids=lambda e: e.id)
def test_what_is_committed_is_what_the_tests_say_of_the_numbers(experiment, tmp_path):
    numbers = numbers_of(WRITTEN[experiment.id]["arms"])
    again = judged(experiment, numbers)
    for words in ("hypothesis", "task", "expected"):
        assert WRITTEN[experiment.id][words] == getattr(experiment, words)
    for kind in ("comparisons", "controls"):
        for one, written in zip(again[kind], WRITTEN[experiment.id][kind], strict=True):
            assert one.keys() == written.keys()
            for key, value in written.items():
                wanted = list(one[key]) if isinstance(value, list) else one[key]
                assert value == (
                    pytest.approx(wanted) if isinstance(value, float | list) else wanted
                )
    for figure in experiment.figures:
        draw(figure, numbers, tmp_path / "drawn.svg")
        committed = own_folder() / f"{figure.name}.svg"
        assert committed.read_text() == (tmp_path / "drawn.svg").read_text(), committed


def test_arms_that_experiments_share_have_the_same_numbers_in_all():
    found = {}
    for one in WRITTEN.values():
        for name, arm in one["arms"].items():
            assert found.setdefault(name, arm["numbers"]) == arm["numbers"], name


@pytest.mark.parametrize("experiment", LEDGER.experiments, ids=lambda e: e.id)
def test_an_experiment_keeps_to_its_budget(experiment):
    on_two_cores = WRITTEN[experiment.id]["seconds"] / 2
    assert on_two_cores <= experiment.seconds


# --- The command --------------------------------------------------------------------------------


def test_measuring_one_claim(tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    partial = out / ".partial.jsonl"
    partial.write_text(f'{attest.__version__}\n["another arm", {{}}]\n')
    code = main(["measure", "--only", "EQ-02", "--out", str(out), "--jobs", "1"])
    printed = capsys.readouterr().out
    assert code == WELL
    assert "EQ-02 as written" in printed
    names = sorted(path.name for path in out.iterdir())
    assert names == [".partial.jsonl", "EQ-02.json", "README.md"]
    assert partial.read_text() == f'{attest.__version__}\n["another arm", {{}}]\n'


def test_a_claim_is_measured_whole(tmp_path, capsys, monkeypatch):
    asked = []

    def note(experiments, *arguments, **options):
        asked.extend(experiment.id for experiment in experiments)
        raise KeyboardInterrupt

    monkeypatch.setattr("attest.measuring.measure", note)
    main(["measure", "--only", "ORD-01 in a stack", "--out", str(tmp_path)])
    assert asked == ["ORD-01 in training", "ORD-01 in a stack"]
    assert "goes on from here" in capsys.readouterr().err


def test_models_on_a_gpu_are_trained_in_processes_that_share_it(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_initialized", lambda: False)
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    assert processes("cpu", None) is None
    assert processes("cuda:0", None) == AT_A_GPU
    assert processes("cuda", 3) == 3
    assert processes("mps", 3) == 0
    monkeypatch.setattr("torch.cuda.is_initialized", lambda: True)
    assert processes("cuda", 3) == 0


def test_whoever_forks_does_not_use_cuda(tmp_path, monkeypatch):
    """Here, who asks for the GPU's name uses it; a process that has cannot be forked."""
    here, asked = os.getpid(), tmp_path / "asked"

    def name(_):
        assert os.getpid() != here
        asked.write_text("once")
        return "a GPU"

    monkeypatch.setattr("torch.cuda.get_device_name", name)
    here_too = partial(run_arm, device="cpu")
    monkeypatch.setattr("attest.measuring.run_arm", lambda arm, seeds, _: here_too(arm, seeds))
    (path,) = measure([experiment()], tmp_path, tmp_path / "partial", device="cuda", jobs=1)
    made = json.loads(path.read_text())["experiments"][0]["made"]
    assert (made["device"], made["processor"]) == ("cuda", "a GPU")
    assert asked.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--only", "softmax"], "no experiment"),
        (["--only", "nothing"], "nothing"),
        (["--device", "tpu9"], "tpu9"),
        (["--device", "cuda:99"], "cuda:99"),
        (["--seeds", "3"], "fewer than 12 decide nothing"),
    ],
)
def test_a_measurement_that_cannot_be_made(words, said, tmp_path, capsys):
    where = [] if "--seeds" in words else ["--out", str(tmp_path)]
    assert main(["measure", *where, *words]) == UNUSABLE
    printed = capsys.readouterr().err
    assert printed.startswith("attest: ")
    assert said in " ".join(printed.split())
