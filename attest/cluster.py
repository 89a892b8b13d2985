"""A class on the workers of a Dask scheduler, which may be on many machines.

A worker grades a submission by the command for one, in a process of its own, and sends back what
that has written. Dask gives what a lost worker was at to another; a result is taken once, under the
submission's number, and never unpickled from anything that a submission could have made.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import attest
from attest.classroom import Entry, code
from attest.ledger import LedgerError
from attest.messages import exception_line

__all__ = ["graded_on"]

# How many workers may be lost under one submission before it is taken to be what ends them.
LOSSES = 5

WAIT = "30s"
"""How long the scheduler, and a first worker, may take to answer."""

Files = Mapping[str, bytes]


def graded_on(
    options: argparse.Namespace,
) -> Callable[[Sequence[Entry]], Iterator[tuple[int, Any]]]:
    """Give what grades submissions on a scheduler's workers.

    Args:
        options: of the command, which each worker is given, too.

    Raises:
        LedgerError: Dask is not installed, or cannot carry what the options ask for.
    """
    try:
        import distributed as untyped  # noqa: PLC0415 - an extra
    except ImportError:
        raise LedgerError("--scheduler needs Dask: pip install 'attest[cluster]'") from None
    distributed: Any = untyped
    if options.properties:
        raise LedgerError("--scheduler: workers do not have the folders of --properties")
    arguments = _arguments(options)
    rubric = None if options.rubric is None else options.rubric.read_bytes()

    def grade(found: Sequence[Entry]) -> Iterator[tuple[int, Any]]:
        try:
            client = distributed.Client(options.scheduler, timeout=WAIT, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise LedgerError(f"--scheduler {options.scheduler}: {error}") from None
        with client:
            _require_alike(client)
            tasks = {}
            for index, entry in enumerate(found):
                given = (_files(entry), entry.path.name, entry.name, rubric, arguments)
                # A key of its own, so that two that are alike are two.
                key = f"attest-{index}-{entry.name}"
                tasks[client.submit(grade_elsewhere, *given, key=key, retries=LOSSES)] = index
            try:
                for task in distributed.as_completed(list(tasks), loop=client.loop):
                    try:
                        result = json.loads(task.result())
                    except (RuntimeError, distributed.KilledWorker) as error:
                        raise LedgerError(f"--scheduler: {exception_line(error)}") from None
                    yield tasks[task], result
            finally:
                client.cancel(list(tasks))

    return grade


def _require_alike(client: Any) -> None:  # noqa: ANN401 - Dask has no types
    """Make sure that all workers would give what this machine does.

    Raises:
        LedgerError: there is no worker, or one has other versions.
    """
    try:
        client.wait_for_workers(1, timeout=WAIT)
    except TimeoutError:
        raise LedgerError(f"--scheduler: it has had no worker for {WAIT}") from None
    for address, known in client.run(versions).items():
        if known != versions():
            raise LedgerError(f"the worker at {address} has {known}, and here is {versions()}")


def versions() -> dict[str, str]:
    """Give what results depend on beside the submission."""
    return {"attest": attest.__version__, "code": code(()), "torch": torch.__version__}


def _arguments(options: argparse.Namespace) -> list[str]:
    """Give the options that a worker's command has, too."""
    named = {
        "--device": options.device,
        "--seed": options.seed,
        "--seconds": options.seconds,
        "--call-seconds": options.call_seconds,
        "--total-seconds": options.total_seconds,
        "--language": options.language,
        "--dtype": options.dtype,
        "--examples": options.examples,
    }
    words = [word for name, value in named.items() if value is not None for word in (name, value)]
    words += [word for name in options.only for word in ("--only", name)]
    words += ["--trusted"] if options.trusted else []
    words += ["--require-sandbox"] if options.require_sandbox else []
    return [str(word) for word in words]


def _files(entry: Entry) -> dict[str, bytes]:
    """Give the files of a submission."""
    paths = [entry.path] if entry.alone else sorted(entry.path.parent.rglob("*.py"))
    return {
        path.relative_to(entry.path.parent).as_posix(): path.read_bytes()
        for path in paths
        if path.is_file() and not path.is_symlink()
    }


def grade_elsewhere(
    files: Files, main: str, name: str, rubric: bytes | None, arguments: Sequence[str]
) -> str:
    """Grade a submission here, on a worker; give its data and its student's report, as JSON.

    Args:
        files: its files by their place.
        main: which of them is graded.
        name: what reports call it.
        rubric: the file of it.
        arguments: of the command.

    Raises:
        RuntimeError: the command wrote nothing; its last line says why.
    """
    with tempfile.TemporaryDirectory(prefix="attest-") as place:
        folder = Path(place)
        for file, content in files.items():
            path = folder / "submission" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        command = ["grade", f"submission/{main}", "--name", name, "--jobs", "1", *arguments]
        command += ["--json", "data.json", "--feedback", "feedback.md"]
        if rubric is not None:
            (folder / "rubric.toml").write_bytes(rubric)
            command += ["--rubric", "rubric.toml"]
        ended = subprocess.run(  # noqa: S603 - our own
            [sys.executable, "-c", _RUN, *command],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
        )
        try:
            data = json.loads((folder / "data.json").read_text(encoding="utf-8"))
            report = (folder / "feedback.md").read_text(encoding="utf-8")
        except OSError:
            said = ended.stderr.decode(errors="replace").strip().splitlines()
            raise RuntimeError(said[-1] if said else f"it ended with {ended.returncode}") from None
    return json.dumps({"data": data, "feedback": report})


# The command, ended with the worker that has started it.
_RUN = """
import signal
from attest.limits import end_with_parent
end_with_parent(signal.SIGTERM)
from attest.command import run
raise SystemExit(run())
"""
