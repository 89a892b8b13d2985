"""What README.md promises is run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from attest.command import FAILED, WELL, main
from attest.contract import CONTRACT
from attest.ledger import load_ledger

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_the_example_property_loads_and_holds(tmp_path):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (tmp_path / "mine.py").write_text(example)
    name = "a_query_of_zeros_takes_the_plain_mean"
    options = ["--properties", str(tmp_path), "--only", name, "--examples", "20"]
    assert main(["grade", "reference", *options]) == WELL


WITHOUT_A_SCALE = """
import torch


def scaled_dot_product_attention(query, key, value, mask=None):
    scores = query @ key.mT
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    weights = torch.softmax(scores, -1)
    return weights @ value, weights
"""


def shown(text):
    return [line.rstrip() for line in text.splitlines() if line.strip()]


@pytest.mark.slow
@pytest.mark.parametrize("claim", ["ATT-04", "SA-05"])
def test_the_claims_shown_are_printed_like_that(claim, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    (sample,) = re.findall(rf"^{claim} .*?(?=\n\n|\n```)", README, re.MULTILINE | re.DOTALL)
    assert main(["verify", "--only", claim]) == WELL
    printed = shown(capsys.readouterr().out)
    start = printed.index(sample.partition("\n")[0])
    assert shown(sample) == printed[start : start + len(shown(sample))]


@pytest.mark.slow
def test_the_counterexample_shown_is_printed_like_that(tmp_path, capsys):
    (sample,) = re.findall(r"```\n(scaled_dot_product_attention: .*?)```", README, re.DOTALL)
    submission = tmp_path / "my_attention.py"
    submission.write_text(WITHOUT_A_SCALE)
    law = "scaled_dot_product_attention.weights_are_the_softmax_of_the_scaled_scores"
    assert main(["grade", str(submission), "--only", law]) == FAILED
    printed = shown(capsys.readouterr().out)
    start = printed.index(shown(sample)[0])
    assert shown(sample) == printed[start : start + len(shown(sample))]


def test_the_counts_are_those_of_the_ledger():
    ledger = load_ledger()
    (claims, properties) = re.findall(r"(\d+) claims and (\d+) properties", README)[0]
    assert (len(ledger.claims), len(ledger.properties)) == (int(claims), int(properties))


def test_the_table_of_the_contract_names_every_component():
    for name, spec in CONTRACT.items():
        arguments = spec.constructor or spec.parameters
        (row,) = re.findall(rf"^\| `{name}\(([^)]*)\)`", README, re.MULTILINE)
        assert [word.partition("=")[0].strip() for word in row.split(",")] == list(arguments)
