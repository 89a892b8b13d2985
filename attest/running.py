"""Examining many properties, side by side, in processes that may die without taking us along."""

from __future__ import annotations

import contextlib
import gc
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING

import torch

from attest.evidence import Evidence, Status
from attest.examination import Settings, draw_shared, examine, quiet
from attest.implementations import (
    Implementation,
    LocalImplementation,
    SubmissionError,
    load_submission,
)
from attest.laws import Property
from attest.ledger import LedgerError, own_package
from attest.limits import TimeLimit, WorkerError, end_with_parent, limited, strangers_run
from attest.messages import exception_line
from attest.remote import RemoteImplementation
from attest.sandbox import WorkerProcess
from attest.worker import SELDOM

if TYPE_CHECKING:
    from multiprocessing.context import ForkProcess

__all__ = [
    "GRACE",
    "default_jobs",
    "examine_all",
    "in_workers",
    "late",
    "load_safely",
    "require_sound_laws",
    "usable_device",
]

# Examples on which the reference has to obey a law from outside before anybody is graded by it.
SOUND = 20

# How long a worker may overstay a property's time limit before it is ended from outside.
GRACE = 5.0

# From so many properties for each on, what a worker prepares for them pays.
MANY = 20

# What is said instead of evidence where a worker was lost.
LOST = "lost"

Report = Callable[[Evidence], None]


def default_jobs(device: str) -> int:
    """Give the number of processes that suits this machine: one for each core, on a CPU."""
    if not in_workers(device):
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_workers(device: str) -> bool:
    """Say whether properties are examined in worker processes: not on a GPU, which cannot fork."""
    return torch.device(device).type == "cpu" and _can_fork()


def usable_device(device: str) -> None:
    """Make sure that numbers can be computed on a device.

    Raises:
        LedgerError: this machine has no such device.
    """
    try:
        torch.ones(1, device=device).item()
    except (RuntimeError, AssertionError) as error:  # the latter where torch is built without it
        reason = str(error).strip().partition("\n")[0]
        raise LedgerError(f"--device {device}: {reason}") from error


def _can_fork() -> bool:
    return "fork" in multiprocessing.get_all_start_methods() and sys.platform != "darwin"


def examine_all(
    properties: Sequence[Property],
    implementation: Implementation,
    settings: Settings,
    oracle: Implementation | None,
    jobs: int,
    report: Report,
    workers: list[WorkerProcess] | None = None,
) -> list[Evidence]:
    """Examine properties in worker processes; on a GPU, or where nothing can fork, in this one.

    The evidence is the same for any number of jobs. A worker that dies, or does not come back from
    a property, costs that property and is replaced. Whatever is not the oracle itself gets a new
    process for every property, so that nothing it remembers reaches another one.

    Args:
        properties: what to examine.
        implementation: against what.
        settings: how.
        oracle: the reference.
        jobs: how many processes at once.
        report: called with each evidence as it comes, in no particular order.
        workers: what holds a submission that is not in this process, one for each job; one that
            is lost is replaced there.

    Returns:
        The evidence in the order of the properties.
    """
    if not properties:
        return []
    if not in_workers(settings.device):
        found = []
        for prop in properties:
            found.append(examine(prop, implementation, settings, oracle))
            report(found[-1])
        return found
    if workers and len(properties) >= MANY * len(workers):
        _prepare(workers)
    # What is loaded stays; collecting it again and again in every worker costs a twentieth.
    gc.freeze()
    threshold = gc.get_threshold()
    gc.set_threshold(*SELDOM)
    pool = _Pool(properties, implementation, settings, oracle, report, workers or [])
    try:
        return pool.run(max(1, min(len(workers or ()) or jobs, len(properties))))
    finally:
        pool.close()
        gc.set_threshold(*threshold)
        gc.unfreeze()


def _prepare(workers: list[WorkerProcess]) -> None:
    for worker in workers:
        worker.prepare()
    for index, worker in enumerate(workers):
        try:
            worker.ready()
        except WorkerError:
            workers[index] = worker.another()


def require_sound_laws(
    laws: Sequence[Property], reference: Implementation, settings: Settings, jobs: int
) -> None:
    """Make sure that the reference obeys the laws that came from outside.

    What goes wrong in such a law would be charged to whoever is graded by it.

    Args:
        laws: all laws; our own are examined by the tests.
        reference: the reference.
        settings: how submissions are examined.
        jobs: how many processes at once.

    Raises:
        LedgerError: it does not obey one of them; the message says which, and why.
    """
    ours = own_package("properties").__name__
    foreign = [law for law in laws if law.function.__module__.partition(".")[0] != ours]
    few = replace(settings, examples=min(SOUND, settings.examples))
    for evidence in examine_all(foreign, reference, few, reference, jobs, lambda _: None):
        if not evidence.well:
            raise LedgerError(
                f"nobody can be graded by {evidence.prop.id}, which fails on the reference: "
                f"{evidence.message}"
            )


def load_safely(submission: str, seconds: float) -> LocalImplementation:
    """Load a submission, first in a process of its own, which it may end, block or flood.

    Args:
        submission: a file or a module.
        seconds: how long it may take.

    Raises:
        SubmissionError: it does not load; one line says why.
    """
    problem = _problem_of_loading(submission, seconds) if _can_fork() else None
    if problem is not None:
        raise SubmissionError(problem)
    try:
        with quiet(), limited(seconds):
            return load_submission(submission)
    except TimeLimit:
        raise SubmissionError(late(submission, seconds)) from None


def late(submission: str, seconds: float) -> str:
    """Say that a submission took too long to be imported."""
    return f"{submission} was not imported after {seconds:g} seconds"


def _problem_of_loading(submission: str, seconds: float) -> str | None:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)

    def load() -> None:
        _in_a_process_of_its_own()
        with quiet():
            try:
                load_submission(submission)
                answer = ""
            except SubmissionError as error:
                answer = str(error)
            except BaseException as error:  # noqa: BLE001 - such as KeyboardInterrupt
                answer = f"{submission} raised {exception_line(error)} when imported"
        theirs.send_bytes(answer.encode())

    process = context.Process(target=load, daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(seconds):
            return late(submission, seconds)
        return ours.recv_bytes().decode() or None
    except EOFError:
        process.join(GRACE)
        return f"{submission}, when imported: {_end_of(process.exitcode)}"
    finally:
        process.kill()
        process.join()
        ours.close()


class _Waiting:
    """Properties nobody has examined yet; a worker gets those that draw what it has drawn."""

    def __init__(self, properties: Sequence[Property]) -> None:
        self._keys = [id(prop.inputs) for prop in properties]
        self._groups: dict[int, list[int]] = {}
        for index in reversed(range(len(properties))):
            self._groups.setdefault(self._keys[index], []).append(index)

    def __len__(self) -> int:
        return sum(len(group) for group in self._groups.values())

    def take(self, last: int | None) -> int:
        """Take the next property for a worker, whose last one is given, if it has one."""
        key = None if last is None else self._keys[last]
        if key not in self._groups:
            key = max(self._groups, key=lambda k: len(self._groups[k]))
        group = self._groups[key]
        index = group.pop()
        if not group:
            del self._groups[key]
        return index


class _Pool:
    """Forked workers, each with one property at a time."""

    def __init__(
        self,
        properties: Sequence[Property],
        implementation: Implementation,
        settings: Settings,
        oracle: Implementation | None,
        report: Report,
        workers: list[WorkerProcess],
    ) -> None:
        self._properties = properties
        self._implementation = implementation
        self._settings = settings
        self._oracle = oracle
        self._report = report
        self._held_by = workers
        self._spent = 0.0
        self._repeated: set[int] = set()
        self._forgets = implementation is not oracle and not workers
        self._found: dict[int, Evidence] = {}
        self._workers: dict[Connection, tuple[ForkProcess, int, float]] = {}
        self._slots: dict[Connection, int] = {}

    def run(self, jobs: int) -> list[Evidence]:
        waiting = _Waiting(self._properties)
        for slot in range(jobs):
            self._start(waiting.take(None), slot)
        while self._workers:
            ready = wait(list(self._workers), timeout=1.0)
            for connection in ready:
                self._receive(connection, waiting)  # type: ignore[arg-type]
            latest = time.monotonic() - self._settings.seconds - GRACE
            for connection, (_, _, begun) in list(self._workers.items()):
                if begun < latest and connection not in ready:
                    late = f"not finished after {self._settings.seconds:g} seconds"
                    self._lose(connection, waiting, "timeout", late)
        return [self._found[index] for index in range(len(self._properties))]

    def close(self) -> None:
        for connection, (process, _, _) in self._workers.items():
            process.kill()
            process.join()
            connection.close()
        self._workers.clear()

    def _start(self, index: int, slot: int) -> None:
        if self._forgets:  # drawn once, here, where no submission runs
            draw_shared(self._properties[index], self._settings)
        ours, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("fork")
        process = context.Process(target=self._work, args=(theirs, ours, slot), daemon=True)
        process.start()
        theirs.close()
        self._slots[ours] = slot
        self._send(ours, process, index)

    def _send(self, connection: Connection, process: ForkProcess, index: int) -> None:
        self._workers[connection] = (process, index, time.monotonic())
        with contextlib.suppress(OSError):  # a worker that is gone is noticed when we wait for it
            connection.send_bytes(str(index).encode())

    def _receive(self, connection: Connection, waiting: _Waiting) -> None:
        process, index, _ = self._workers[connection]
        try:
            data = json.loads(connection.recv_bytes())
        except (EOFError, OSError, ValueError):
            process.join(GRACE)
            self._lose(connection, waiting, "crashed", _end_of(process.exitcode))
            return
        if data == LOST:
            self._repeat(connection, waiting)
            return
        self._take(index, Evidence.from_record(self._properties[index], data))
        self._give_up(waiting)
        if waiting and not self._forgets:
            self._send(connection, process, waiting.take(index))
            return
        del self._workers[connection]
        connection.close()
        process.join(GRACE)
        process.kill()  # it has told all that it knows, and may be kept from ending
        process.join()
        if waiting:
            self._start(waiting.take(index), self._slots.pop(connection))

    def _lose(
        self, connection: Connection, waiting: _Waiting, status: Status, message: str
    ) -> None:
        process, index, begun = self._workers.pop(connection)
        process.kill()
        process.join()
        connection.close()
        seconds = time.monotonic() - begun
        found = Evidence(self._properties[index], status, message=message, seconds=seconds)
        self._take(index, found)
        self._give_up(waiting)
        slot = self._slots.pop(connection)
        if self._held_by:  # whatever it was doing
            self._held_by[slot] = self._held_by[slot].another()
        if waiting:
            self._start(waiting.take(None), slot)

    def _repeat(self, connection: Connection, waiting: _Waiting) -> None:
        """Examine a property once more whose worker was lost, which may be another one's fault."""
        index = self._workers[connection][1]
        if index in self._repeated:
            self._lose(connection, waiting, "crashed", "the worker that held it was lost twice")
            return
        self._repeated.add(index)
        process, _, _ = self._workers.pop(connection)
        process.join(GRACE)
        process.kill()
        process.join()
        connection.close()
        slot = self._slots.pop(connection)
        self._held_by[slot] = self._held_by[slot].another()
        self._start(index, slot)

    def _take(self, index: int, evidence: Evidence) -> None:
        self._found[index] = evidence
        self._spent += evidence.seconds
        self._report(evidence)

    def _give_up(self, waiting: _Waiting) -> None:
        """Examine nothing more once the time for all properties is over."""
        total = self._settings.total
        while waiting and self._spent > total:
            index = waiting.take(None)
            over = f"not examined: the {total:g} seconds for all properties were over"
            self._take(index, Evidence(self._properties[index], "timeout", message=over))

    def _work(self, connection: Connection, parents_end: Connection, slot: int) -> None:
        """Examine what is asked for until the parent closes its end."""
        # A pipe ends when its last copy is closed, and forking has copied the others' too.
        for inherited in (parents_end, *self._workers):
            inherited.close()
        _in_a_process_of_its_own()
        while True:
            try:
                index = int(connection.recv_bytes())
            except (EOFError, OSError):
                if strangers_run():
                    os._exit(0)
                return
            prop = self._properties[index]
            try:
                if isinstance(self._implementation, RemoteImplementation):
                    self._implementation.attach(self._held_by[slot])
                evidence = examine(prop, self._implementation, self._settings, self._oracle)
            except WorkerError:
                connection.send_bytes(json.dumps(LOST).encode())
                return
            connection.send_bytes(json.dumps(evidence.record()).encode())


def _in_a_process_of_its_own() -> None:
    """Settle a forked process: it answers through its pipe and says nothing."""
    end_with_parent(signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt ends
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)  # the parent's threads are not there after forking
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # what is written past sys.stdout, as by C code and by programs it starts
        os.dup2(nowhere, stream)
    os.close(nowhere)


def _end_of(exitcode: int | None) -> str:
    if exitcode is None or exitcode >= 0:
        return f"it ended the process it ran in, with exit code {exitcode}"
    return f"the process it ran in was ended by {signal.Signals(-exitcode).name}"
