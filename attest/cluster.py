"""A class on the workers of a Dask scheduler, which may be on many machines.

A worker grades a submission by the command for one, in a process of its own, and sends back what
that has written. Dask gives what a lost worker was at to another; a result is taken once, under the
submission's number, and never unpickled from anything that a submission could have made.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

import attest
from attest.apart import Command, grade_apart
from attest.classroom import Entry, code
from attest.ledger import LedgerError
from attest.sources import read_submission

__all__ = ["graded_on"]

_ADDRESS = re.compile(r"(\w+://)?[^/\s]+:\d+")

WAIT = "30s"
"""How long the scheduler, and a first worker, may take to answer."""


def graded_on(
    scheduler: str, command: Command
) -> Callable[[Sequence[Entry]], Iterator[tuple[int, Any]]]:
    """Give what grades submissions on a scheduler's workers.

    Args:
        scheduler: its address.
        command: how each submission is graded.

    Raises:
        LedgerError: Dask is not installed, or cannot carry what the command asks for.
    """
    try:
        import distributed as untyped  # noqa: PLC0415 - an extra
    except ImportError:
        raise LedgerError("--scheduler needs Dask: pip install 'attest[cluster]'") from None
    distributed: Any = untyped
    if not _ADDRESS.fullmatch(scheduler):  # for which Dask would look for minutes
        raise LedgerError(f"--scheduler {scheduler}: expected an address, as tcp://10.0.0.1:8786")
    if any(word.startswith("--properties") for word in command.arguments):
        raise LedgerError("--scheduler: workers do not have the folders of --properties")

    def grade(found: Sequence[Entry]) -> Iterator[tuple[int, Any]]:
        try:
            client = distributed.Client(scheduler, timeout=WAIT, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise LedgerError(f"--scheduler {scheduler}: {error}") from None
        with client:
            _require_alike(client)
            tasks = {}
            for index, entry in enumerate(found):
                source = read_submission(str(entry.path), alone=entry.alone)
                given = command, source.files, entry.path.name, entry.name
                # A key of its own, so that two that are alike are two.
                key = f"attest-{index}-{entry.name}"
                tasks[client.submit(_grade, *given, key=key)] = index
            try:
                for task in distributed.as_completed(list(tasks), loop=client.loop):
                    try:
                        yield tasks[task], json.loads(task.result())
                    except (RuntimeError, distributed.KilledWorker) as error:
                        yield tasks[task], error
            finally:
                client.cancel(list(tasks))

    return grade


def _grade(command: Command, files: Mapping[str, str], main: str, name: str) -> str:
    """Grade a submission on a worker; give the result as text, which nothing unpickles."""
    return json.dumps(grade_apart(command, files, main, name))


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
