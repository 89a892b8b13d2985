"""A quick pass: few examples, and the same verdicts."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from attest.command import QUICK, UNUSABLE, WELL, main
from attest.examination import Settings, examine
from attest.ledger import load_ledger, load_reference


def verified(tmp_path, *options):
    data = tmp_path / "ledger.json"
    assert main(["verify", *options, "--json", str(data)]) == WELL
    return json.loads(data.read_text())


def test_a_quick_pass_says_so_and_tries_few_examples(tmp_path, capsys):
    ledger = verified(tmp_path, "--quick", "--only", "ATT-04")
    assert f"quick, {QUICK} examples a property" in " ".join(capsys.readouterr().out.split())
    assert ledger["environment"]["quick"] is True
    assert ledger["environment"]["examples"] == QUICK
    (claim,) = ledger["claims"]
    assert claim["verdict"] == "refuted"
    laws = [e for e in claim["evidence"] if e["method"] == "sampled"]
    assert [e["examples"] for e in laws] == [QUICK] * len(laws)


def test_another_pass_is_not_called_quick(tmp_path, capsys):
    ledger = verified(tmp_path, "--examples", str(QUICK), "--only", "ATT-04")
    assert "quick" not in capsys.readouterr().out
    assert ledger["environment"]["quick"] is False


@pytest.mark.parametrize("examples", [str(QUICK), "100"])
def test_quick_and_a_number_of_examples_exclude_each_other(examples, capsys):
    assert main(["verify", "--quick", "--examples", examples]) == UNUSABLE
    printed = capsys.readouterr()
    assert f"--quick means --examples {QUICK}; give one of the two" in printed.err
    assert len(printed.err.strip().splitlines()) == 1
    assert printed.out == ""


def test_a_quick_pass_misses_no_change_that_should_be_seen_sometimes():
    """A softmax that gives every entry the same changes nothing, whatever it is given."""
    from types import SimpleNamespace

    from attest.implementations import LocalImplementation

    uniform = SimpleNamespace(softmax=lambda x, dim=-1: torch.full_like(x, 1 / x.shape[dim]))
    names = {
        prop.function.__name__: prop
        for prop in load_ledger().laws
        if prop.component == "softmax" and "permut" in prop.function.__name__
    }
    assert names
    settings = Settings(examples=QUICK, explain=False)
    for prop in names.values():
        found = examine(prop, LocalImplementation("uniform", uniform), settings, load_reference())
        assert found.status == "refuted"
        assert found.examples > QUICK
        hurried = replace(settings, patient=False)
        found = examine(prop, LocalImplementation("uniform", uniform), hurried, load_reference())
        assert found.examples <= QUICK


@pytest.mark.slow
def test_the_whole_ledger_comes_out_as_it_says_in_a_quick_pass(tmp_path):
    data = tmp_path / "ledger.json"
    command = [sys.executable, "-m", "attest", "verify", "--quick", "--json", str(data)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == WELL, run.stdout
    ledger = json.loads(data.read_text())
    assert len(ledger["claims"]) == len(load_ledger().claims)
    for claim in ledger["claims"]:
        assert claim["as_expected"], claim["id"]
        for part in claim.get("parts", [claim]):
            assert part["evidence"] or part["reason"], claim["id"]
