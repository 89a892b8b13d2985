"""Where submissions are held while they are examined: in workers, or in this process."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import torch

from attest.contract import CONTRACT
from attest.examination import Settings
from attest.implementations import Implementation, SubmissionError
from attest.ledger import LedgerError
from attest.limits import Ended, TimeLimit, WorkerError
from attest.remote import RemoteImplementation
from attest.running import GRACE, late, load_safely
from attest.sandbox import (
    TOGETHER,
    WORKER,
    Host,
    Isolation,
    Limits,
    WorkerProcess,
    isolation,
    trusted,
)
from attest.sources import read_submission

__all__ = ["Holder"]


class Holder:
    """Holds submissions: by default in workers, in a sandbox where there is one.

    Args:
        settings: how they are examined.
        jobs: how many processes examine.
        trusted: run them with the grader's own rights.
        required: refuse to do so, and to do without a sandbox.
        patience: seconds that one call may take.

    Raises:
        LedgerError: a sandbox is required, and there is none.
    """

    def __init__(
        self,
        settings: Settings,
        jobs: int,
        *,
        trusted: bool = False,
        required: bool = False,
        patience: float = 10.0,
    ) -> None:
        self._settings = settings
        self._patience = patience
        self.isolation = _isolation(settings, asked=trusted)
        if required and self.isolation.sandbox is None:
            raise LedgerError(f"--require-sandbox: {self.isolation.problem}")
        self._remote = self.isolation.process == WORKER
        self._jobs = jobs
        self._required = required
        self.workers: list[WorkerProcess] = []
        self._started = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Start the workers.

        Raises:
            WorkerError: one does not start.
        """
        with contextlib.ExitStack() as started:
            if self._remote:
                hosts = self._hosts(started)
                started.callback(self._hang_up)
                for host in hosts:
                    self._weaker(host.ready())
                    self.workers.append(WorkerProcess(host))
            self._started = started.pop_all()
        return self

    def _hosts(self, started: contextlib.ExitStack) -> list[Host]:
        """Start what workers are forked from; give one for each job, which may be the same one."""

        def start(count: int) -> list[Host]:
            return [
                started.enter_context(contextlib.closing(Host(self.isolation)))
                for _ in range(count)
            ]

        hosts = start(self._jobs if self.isolation.sandbox is None else 1)
        if hosts[0].several:
            return hosts * self._jobs
        return hosts + start(self._jobs - len(hosts))

    def _weaker(self, said: Mapping[str, Any]) -> None:
        """Note what does not work in this sandbox, where it is one.

        Raises:
            LedgerError: it has to.
        """
        could = list(self.isolation.unprotected)
        if said["user"] == 0:
            could += ["act as root"]
        if self.isolation.sandbox is not None and not said["alone"]:
            could += TOGETHER
        if could and self._required:
            raise LedgerError(f"--require-sandbox: here, a submission could {', '.join(could)}")
        self.isolation = replace(self.isolation, unprotected=tuple(dict.fromkeys(could)))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._started.close()

    def _hang_up(self) -> None:
        for worker in self.workers:  # those that are in the place of others, too
            worker.close()

    def load(self, submission: str, *, alone: bool = False) -> Implementation:
        """Load a submission once, to see whether it can be, and what it defines.

        Args:
            submission: a path that ends in ``.py``, or a module's dotted name.
            alone: whether a file is read without those beside it, which belong to others.

        Raises:
            SubmissionError: it cannot be loaded; one line says why.
        """
        seconds = self._settings.seconds
        if not self._remote:
            return load_safely(submission, seconds)
        source = read_submission(submission, alone=alone)
        limits = Limits(seconds=seconds + GRACE)
        held = RemoteImplementation(source, limits, loading=seconds, patience=self._patience)
        try:
            try:
                self._try(held)
            except WorkerError:  # whom an earlier one may have ended
                self.workers[0] = self.workers[0].another()
                self._try(held)
        except WorkerError:
            self.workers[0] = self.workers[0].another()
            raise SubmissionError(f"{submission} ended its worker when imported") from None
        except TimeLimit:
            raise SubmissionError(late(submission, seconds)) from None
        except Ended as end:
            raise SubmissionError(f"{submission}, when imported: {end}") from None
        if not any(held.defines(name) for name in CONTRACT):
            raise SubmissionError(
                f"{submission} defines none of the contract's names: {', '.join(CONTRACT)}"
            )
        return held

    def _try(self, held: RemoteImplementation) -> None:
        held.attach(self.workers[0])
        with held.fresh():
            pass


def _isolation(settings: Settings, *, asked: bool) -> Isolation:
    """Find how submissions can be kept apart on this system and device."""
    device = torch.device(settings.device).type
    if asked:
        return trusted(device, why="--trusted")
    if device != "cpu":
        return trusted(device, why=f"a worker has no {device}")
    if sys.platform != "linux":
        return trusted(device, why="workers need Linux")
    return isolation()
