"""Long work in many small tasks: on all cores, with its progress shown, and resumed where it ended.

What a task gives is written down at once. Whoever is interrupted calls the same command again and
loses the tasks in progress alone, unless something that the results depend on has changed since.
"""

from __future__ import annotations

import fcntl
import gc
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Self, TypeVar

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from attest.limits import end_with_parent
from attest.worker import SELDOM

__all__ = [
    "ENDED",
    "BrokenProcessPool",
    "BusyError",
    "Shown",
    "apart",
    "carried_out",
    "each_done",
    "forget",
    "locked",
    "sweep",
]

Value = TypeVar("Value")

ENDED = "a process was ended from outside, perhaps for want of memory; the same command goes on"

# Without a terminal, a line is printed whenever this share of the tasks is done.
SHARE = 0.05

CONSOLE = Console(stderr=True)

_WORK: Callable[[int], Any] | None = None


class BusyError(Exception):
    """Another run is at the same work."""


def sweep(
    title: str,
    names: Sequence[str],
    work: Callable[[int], Any],
    partial: Path,
    *,
    mark: str,
    jobs: int | None = None,
) -> dict[str, Any]:
    """Do every task once, in processes that are forked from this one.

    Args:
        title: what is done, for the progress.
        names: the tasks' names, each once.
        work: does one, by its place among the names; gives JSON.
        partial: where results are kept; whoever has published them may remove it.
        mark: what the results depend on, beside their names; another one begins anew.
        jobs: how many processes, by default one for each core; with 0 none is forked.

    Returns:
        The results by name, in the order of the names.

    Raises:
        BusyError: another run keeps its results in the same place.
        BrokenProcessPool: a task ended its process.
    """
    with _kept(partial, mark) as (kept, before):
        found = {name: before[name] for name in names if name in before}
        waiting = [index for index, name in enumerate(names) if name not in found]
        if found:
            CONSOLE.print(f"{title}: {len(found)} of {len(names)} were done before")
        with Shown(title, len(names), len(found)) as progress:
            for index, result in each_done(waiting, work, jobs):
                found[names[index]] = result
                kept.write(json.dumps([names[index], result]) + "\n")
                kept.flush()
                progress.advance()
    return {name: found[name] for name in names}


def forget(partial: Path, names: Iterable[str]) -> None:
    """Leave out results that are kept elsewhere now, and the file where none is left."""
    mark, *lines = partial.read_text(encoding="utf-8").splitlines()
    done = set(names)
    left = [line for line in lines if json.loads(line)[0] not in done]
    if left:
        partial.write_text("\n".join([mark, *left]) + "\n", encoding="utf-8")
    else:
        partial.unlink()


def carried_out(main: Callable[[], int]) -> int:
    """Run a command whose work is swept, and end it with a line where it cannot go on.

    Returns:
        What the command gives; 130 where it was interrupted, and 2 where another run is at it or
        a process was ended.
    """
    try:
        return main()
    except KeyboardInterrupt:
        CONSOLE.print("interrupted; the same command goes on from here")
        return 130
    except BusyError as error:
        CONSOLE.print(str(error), soft_wrap=True)
        return 2
    except BrokenProcessPool:
        CONSOLE.print(ENDED)
        return 2


def each_done(
    waiting: Sequence[int], work: Callable[[int], Any], jobs: int | None
) -> Iterator[tuple[int, Any]]:
    """Do tasks in processes that are forked from this one, and give what they give as they end.

    Args:
        waiting: their numbers.
        work: does one; gives what can be sent from one process to another.
        jobs: how many processes, by default one for each core; with 0 none is forked.

    Raises:
        BrokenProcessPool: a task ended its process.
    """
    if jobs == 0:
        for index in waiting:
            yield index, work(index)
        return
    global _WORK  # noqa: PLW0603 - forked processes find it here; it cannot be pickled
    _WORK = work
    others = set(multiprocessing.active_children())
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(jobs or os.cpu_count(), fork, _settle) as pool:
        futures = {pool.submit(_do, index): index for index in waiting}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in set(multiprocessing.active_children()) - others:
                child.kill()
            raise


def apart(work: Callable[[], Value]) -> Value:
    """Give what something gives, or raises, in a process that is forked from this one.

    Raises:
        BrokenProcessPool: it ended its process.
    """
    ((_, result),) = each_done([0], lambda _: work(), 1)
    found: Value = result
    return found


def _settle() -> None:
    end_with_parent(signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt ends
    torch.set_num_threads(1)
    gc.freeze()  # what is there by now stays
    gc.set_threshold(*SELDOM)


def _do(index: int) -> Any:  # noqa: ANN401
    assert _WORK is not None
    return _WORK(index)


@contextmanager
def _kept(partial: Path, mark: str) -> Iterator[tuple[IO[str], dict[str, Any]]]:
    """Open the file of results for one run alone, and read what earlier ones have left in it."""
    partial.parent.mkdir(parents=True, exist_ok=True)
    with locked(partial) as file:
        file.seek(0)
        lines = file.read().splitlines()
        found: dict[str, Any] = {}
        for line in lines[1:] if lines and lines[0] == mark else ():
            try:
                name, result = json.loads(line)
            except ValueError:  # the last line, half written
                break
            found[name] = result
        file.truncate(0)
        file.write("\n".join([mark, *(json.dumps(pair) for pair in found.items())]) + "\n")
        file.flush()
        yield file, found


@contextmanager
def locked(path: Path) -> Iterator[IO[str]]:
    """Open a file for one run alone.

    Raises:
        BusyError: another run has it.
    """
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(f"another run is at this work, and keeps it in {path}") from None
        try:
            yield file
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # processes that were forked hold the file open, too


class Shown:
    """A bar on a terminal, a line now and then elsewhere.

    Args:
        title: what is done.
        total: how many tasks there are.
        done: how many of them were done before.
        share: of the tasks; a line is printed whenever so many more are done.
    """

    def __init__(self, title: str, total: int, done: int, share: float = SHARE) -> None:
        self._title, self._total, self._done, self._share = title, total, done, share
        self._start = time.monotonic()
        self._bar = (
            Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=CONSOLE,
            )
            if CONSOLE.is_terminal
            else None
        )

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task(self._title, total=self._total, completed=self._done)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self) -> None:
        """Note that one task more is done."""
        before, self._done = self._done, self._done + 1
        if self._bar is not None:
            self._bar.advance(self._task)
        elif int(self._done / self._total / self._share) > int(before / self._total / self._share):
            seconds = time.monotonic() - self._start
            CONSOLE.print(f"{self._title}: {self._done} of {self._total}, {seconds:.0f} s")
