"""A class on Dask's workers: two on loopback, one of which is lost in the middle."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from attest.command import main

pytest.importorskip("distributed")

RIGHT = "def softmax(x, dim=-1):\n    return x.softmax(dim)\n"
WRONG = "def softmax(x, dim=-1):\n    return 2 * x.softmax(dim)\n"
SLOW = "import time\ntime.sleep(1)\n"
ONLY = ["--only", "softmax.entries_along_the_axis_sum_to_one", "--examples", "5"]


@pytest.fixture
def scheduler() -> Iterator[str]:
    with ExitStack() as stack:
        command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1"]
        run = stack.enter_context(_started([*command, "--port", "0", "--no-dashboard"]))
        yield _address(run, r"Scheduler at: +(tcp://\S+)")


@pytest.fixture
def workers(scheduler) -> Iterator[list[subprocess.Popen[str]]]:
    with ExitStack() as stack:
        command = [sys.executable, "-m", "distributed.cli.dask_worker", scheduler]
        command += ["--nthreads", "1", "--no-dashboard", "--no-nanny", "--host", "127.0.0.1"]
        found = [stack.enter_context(_started(command)) for _ in range(2)]
        for run in found:
            _address(run, r"(Registered to: +tcp://\S+)")
        yield found


class _started:  # noqa: N801 - read as a word at its call
    """A process that is ended with what is inside, whatever happens there."""

    def __init__(self, command: list[str]) -> None:
        self._run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    def __enter__(self) -> subprocess.Popen[str]:
        return self._run

    def __exit__(self, *_: object) -> None:
        self._run.kill()
        self._run.communicate()


def _address(run: subprocess.Popen[str], pattern: str) -> str:
    assert run.stderr is not None
    for line in run.stderr:
        found = re.search(pattern, line)
        if found:
            return found[1]
    raise AssertionError(f"{run.args} said nothing of {pattern}")


def results(out: Path) -> dict[str, dict]:
    return {
        path.stem: json.loads(path.read_text()) for path in (out / "submissions").glob("*.json")
    }


def without_times(data: dict) -> dict:
    rows = [{**row, "seconds": 0} for row in data["properties"]]
    return {**data, "seconds": 0, "properties": rows}


@pytest.mark.slow
def test_a_lost_worker_loses_nothing_and_counts_nothing_twice(tmp_path, scheduler, workers):
    folder = tmp_path / "class"
    folder.mkdir()
    texts = {"ann": RIGHT, "bob": SLOW + WRONG, "cyd": SLOW + RIGHT, "dan": "def softmax(:"}
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text)
    here, there = tmp_path / "here", tmp_path / "there"
    command = ["grade", str(folder), *ONLY]
    with subprocess.Popen(
        [sys.executable, "-m", "attest", *command, "--out", str(there), "--scheduler", scheduler]
    ) as run:
        deadline = time.monotonic() + 90
        while len(results(there)) < 1 and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(workers[0].pid, signal.SIGKILL)
        assert run.wait(240) == 0
    assert workers[0].wait(10) == -signal.SIGKILL
    assert main([*command, "--out", str(here)]) == 0
    one, other = results(here), results(there)
    assert one.keys() == other.keys() == texts.keys()
    for name in texts:
        assert without_times(one[name]) == without_times(other[name])
    for table in ("class.csv", "class.html"):
        assert (here / table).read_text() == (there / table).read_text()


def test_a_scheduler_that_is_not_there_is_said(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("attest.cluster.WAIT", "1s")
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "ann.py").write_text(RIGHT)
    command = ["grade", str(tmp_path / "class"), *ONLY, "--out", str(tmp_path / "out")]
    assert main([*command, "--scheduler", "tcp://127.0.0.1:1"]) == 2
    assert "--scheduler tcp://127.0.0.1:1: " in capsys.readouterr().err


@pytest.mark.parametrize("address", ["nonsense", "tcp://127.0.0.1", "tcp://", "a b:1"])
def test_what_is_no_address_is_said(address, tmp_path, capsys):
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "ann.py").write_text(RIGHT)
    command = ["grade", str(tmp_path / "class"), *ONLY, "--out", str(tmp_path / "out")]
    assert main([*command, "--scheduler", address]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"--scheduler {address}: expected an address, as tcp://10.0.0.1:8786" in said


def test_what_workers_do_not_have_is_said(tmp_path, capsys):
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "ann.py").write_text(RIGHT)
    (tmp_path / "laws").mkdir()
    (tmp_path / "laws" / "mine.py").write_text('"""No law yet."""\n')
    command = ["grade", str(tmp_path / "class"), *ONLY, "--out", str(tmp_path / "out")]
    command += ["--scheduler", "tcp://127.0.0.1:1", "--properties", str(tmp_path / "laws")]
    assert main(command) == 2
    assert "workers do not have the folders of --properties" in capsys.readouterr().err
