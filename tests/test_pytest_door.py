"""The pytest door, run as a newcomer runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
WRONG = """
import torch

def softmax(x, dim=-1):
    e = torch.exp(x)
    return e / e.sum(-1, keepdim=True)
"""


def run(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_plain_pytest_on_one_claim_ends_with_its_verdict():
    result = run("tests/test_properties.py", "-k", "key_gets_some_weight", "--examples", "10")
    assert result.returncode == 0, result.stdout
    assert "verdicts" in result.stdout
    assert "ATT-01" in result.stdout


@pytest.mark.slow
def test_an_implementation_is_examined_by_ids_that_k_selects(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(WRONG)
    result = run("--implementation", str(path), "-k", "softmax-entries_along", "--examples", "30")
    assert result.returncode == 1, result.stdout
    assert "test_property[softmax-entries_along_the_axis_sum_to_one]" in result.stdout
    assert "came out" in result.stdout
    assert "1 failed" in result.stdout


@pytest.mark.slow
def test_the_door_collects_nothing_but_properties_for_an_implementation(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(WRONG)
    result = run("--implementation", str(path), "--collect-only", "-q")
    lines = [line for line in result.stdout.splitlines() if "::" in line]
    assert lines
    assert all("test_property[" in line for line in lines)


@pytest.mark.slow
def test_a_submission_that_ends_its_process_does_not_end_ours(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("import os\nprint('loud')\ndef softmax(x, dim=-1): os._exit(0)\n")
    result = run("--implementation", str(path), "-k", "softmax-entries_along", "--examples", "5")
    assert result.returncode == 1, result.stdout
    assert "it ended the process it ran in" in result.stdout
    assert "loud" not in result.stdout
    path.write_text("import os\nos._exit(0)\n")
    assert run("--implementation", str(path)).returncode == 2


@pytest.mark.slow
def test_an_implementation_that_does_not_exist_gives_one_line_and_two(tmp_path):
    result = run("--implementation", str(tmp_path / "nothing.py"))
    assert result.returncode == 2
    assert "does not exist" in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr
