"""What README.md promises is run."""

from __future__ import annotations

import re
from pathlib import Path

from attest.command import WELL, main
from attest.contract import CONTRACT
from attest.ledger import load_ledger

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_the_example_property_loads_and_holds(tmp_path):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (tmp_path / "mine.py").write_text(example)
    name = "a_query_of_zeros_takes_the_plain_mean"
    options = ["--properties", str(tmp_path), "--only", name, "--examples", "20"]
    assert main(["grade", "reference", *options]) == WELL


def test_the_counts_are_those_of_the_ledger():
    ledger = load_ledger()
    (claims, properties) = re.findall(r"(\d+) claims and (\d+) properties", README)[0]
    assert (len(ledger.claims), len(ledger.properties)) == (int(claims), int(properties))


def test_the_table_of_the_contract_names_every_component():
    for name, spec in CONTRACT.items():
        arguments = spec.constructor or spec.parameters
        (row,) = re.findall(rf"^\| `{name}\(([^)]*)\)`", README, re.MULTILINE)
        assert [word.partition("=")[0].strip() for word in row.split(",")] == list(arguments)
