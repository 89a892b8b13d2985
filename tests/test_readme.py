"""What README.md promises is run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from attest.command import FAILED, WELL, _parser, main
from attest.contract import ADDED, CONTRACT, Softmax, add_component
from attest.ledger import load_ledger

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


WITHOUT_A_SCALE = """
import torch


def scaled_dot_product_attention(query, key, value, mask=None):
    scores = query @ key.mT
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    weights = torch.softmax(scores, -1)
    return weights @ value, weights
"""


@pytest.fixture
def my_laws(tmp_path):
    """The README's examples, as the folder that it asks for."""
    folder = tmp_path / "my_laws"
    folder.mkdir()
    examples = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(examples) == 3
    for number, example in enumerate(examples):
        (folder / f"example_{number}.py").write_text(example)
    yield folder
    ADDED.pop("RMSNorm", None)
    CONTRACT.pop("RMSNorm", None)


def graded(submission, folder, name):
    options = ["--properties", str(folder), "--only", name, "--examples", "20"]
    return main(["grade", str(submission), *options])


def test_the_example_property_holds_and_can_fail(my_laws, tmp_path, capsys):
    name = "a_query_of_zeros_takes_the_plain_mean"
    assert graded("reference", my_laws, name) == WELL
    wrong = tmp_path / "with_a_bias.py"
    wrong.write_text(WITHOUT_A_SCALE.replace("query @ key.mT", "(query + 1) @ key.mT"))
    assert graded(wrong, my_laws, name) == FAILED
    assert "a query of zeros takes the plain mean" in capsys.readouterr().out


def test_the_example_claim_is_refuted(my_laws, capsys):
    assert main(["verify", "--properties", str(my_laws), "--only", "MINE-01"]) == WELL
    printed = capsys.readouterr().out
    assert "refuted" in printed
    assert "1 counterexample" in printed or "1 refuted" in printed


def test_the_example_component_is_graded(my_laws, tmp_path, capsys):
    assert graded("reference", my_laws, "RMSNorm") == FAILED  # which has none
    mine = tmp_path / "my_norms.py"
    text = (
        "import torch\n\n\nclass RMSNorm(torch.nn.Module):\n"
        "    def __init__(self, d_model):\n        super().__init__()\n\n"
        "    def forward(self, x):\n        mean = x.square().mean(-1, keepdim=True)\n"
        "        return x / (mean + 1e-5){}\n"
    )
    mine.write_text(text.format(".sqrt()"))
    assert graded(mine, my_laws, "RMSNorm") == WELL
    mine.write_text(text.format(""))
    assert graded(mine, my_laws, "RMSNorm") == FAILED
    assert "entries have a mean square of one" in capsys.readouterr().out


def test_a_component_of_the_contract_is_not_replaced():
    with pytest.raises(ValueError, match="has a component softmax already"):
        add_component("softmax", Softmax, "probabilities", reference=None)


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
    ((*counts,),) = re.findall(r"(\d+) claims, (\d+) properties and (\d+) experiments", README)
    kinds = (ledger.claims, ledger.properties, ledger.experiments)
    assert [len(kind) for kind in kinds] == [int(count) for count in counts]


def listed(name):
    """Give the arguments that the table of the contract lists for a component or a method."""
    (row,) = re.findall(rf"^\| `{re.escape(name)}\(([^)]*)\)`", README, re.MULTILINE)
    return [word.partition("=")[0].strip() for word in row.split(",")]


@pytest.mark.parametrize("command", ["verify", "grade", "report"])
def test_every_option_is_in_the_table(command):
    assert f"attest {command}" in README
    (commands,) = (a for a in _parser()._actions if a.choices)
    rows = "\n".join(line for line in README.splitlines() if line.startswith("| `--"))
    for action in commands.choices[command]._actions:
        for option in action.option_strings:
            if option.startswith("--") and option != "--help":
                assert f"`{option}" in rows


def test_the_table_of_the_contract_names_every_component():
    for name, spec in CONTRACT.items():
        assert listed(name) == list(spec.constructor or spec.parameters)
        for call in spec.methods.values():
            assert listed(call.name) == list(call.parameters)


def test_the_table_of_the_contract_names_nothing_else():
    calls = [call.name for spec in CONTRACT.values() for call in (spec, *spec.methods.values())]
    assert sorted(re.findall(r"^\| `([\w.]+)\(", README, re.MULTILINE)) == sorted(calls)
