"""Long work in many small tasks: on all cores, with its progress shown, and resumed where it ended.

What a task gives is written down at once. Whoever is interrupted calls the same command again and
loses the tasks in progress alone, unless some source has changed since.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Self

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["PARTIAL", "ROOT", "sweep"]

ROOT = Path(__file__).parents[1]
PARTIAL = ROOT / ".attest"
"""Where what interrupted runs have done is kept."""

SOURCES = ("attest", "properties", "reference", "tests")

# Without a terminal, a line is printed whenever this share of the tasks is done.
SHARE = 0.05

CONSOLE = Console(stderr=True)

_WORK: Callable[[int], Any] | None = None


def _fingerprint(*more: object) -> str:
    """Give what the results depend on: all sources, torch's version, and what else is named."""
    digest = hashlib.sha256(repr((torch.__version__, sys.version_info[:2], *more)).encode())
    for folder in SOURCES:
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(str(path.relative_to(ROOT)).encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def sweep(
    title: str,
    names: Sequence[str],
    work: Callable[[int], Any],
    partial: Path,
    jobs: int | None = None,
) -> dict[str, Any]:
    """Do every task once, in processes that are forked from this one.

    Args:
        title: what is done, for the progress.
        names: the tasks' names, each once.
        work: does one, by its place among the names; gives JSON.
        partial: where results are kept; whoever has published them may remove it.
        jobs: how many processes; by default one for each core.

    Returns:
        The results by name, in the order of the names.

    Raises:
        BrokenProcessPool: a task ended its process.
    """
    found = _resumed(partial, names)
    waiting = [index for index, name in enumerate(names) if name not in found]
    if found:
        CONSOLE.print(f"{title}: {len(found)} of {len(names)} were done before")
    global _WORK  # noqa: PLW0603 - forked processes find it here; it cannot be pickled
    _WORK = work
    with (
        partial.open("a") as kept,
        _Progress(title, len(names), len(found)) as progress,
        ProcessPoolExecutor(jobs or os.cpu_count(), get_context("fork"), _settle) as pool,
    ):
        futures = {pool.submit(_do, index): names[index] for index in waiting}
        try:
            for future in as_completed(futures):
                name = futures[future]
                found[name] = future.result()
                kept.write(json.dumps([name, found[name]]) + "\n")
                kept.flush()
                progress.advance()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return {name: found[name] for name in names}


def _settle() -> None:
    torch.set_num_threads(1)


def _do(index: int) -> Any:
    assert _WORK is not None
    return _WORK(index)


def _resumed(partial: Path, names: Sequence[str]) -> dict[str, Any]:
    """Read what an interrupted run of the same sources has left; start a new file otherwise."""
    mark, known = _fingerprint(*names), set(names)
    found: dict[str, Any] = {}
    lines = partial.read_text().splitlines() if partial.exists() else []
    if lines and lines[0] == mark:
        for line in lines[1:]:
            try:
                name, result = json.loads(line)
            except ValueError:  # the last line, half written
                break
            if name in known:
                found[name] = result
    partial.parent.mkdir(parents=True, exist_ok=True)
    kept = [json.dumps([name, result]) for name, result in found.items()]
    partial.write_text("\n".join([mark, *kept]) + "\n")
    return found


class _Progress:
    """A bar on a terminal, a line now and then elsewhere."""

    def __init__(self, title: str, total: int, done: int) -> None:
        self._title, self._total, self._done = title, total, done
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
        before, self._done = self._done, self._done + 1
        if self._bar is not None:
            self._bar.advance(self._task)
        elif int(self._done / self._total / SHARE) > int(before / self._total / SHARE):
            seconds = time.monotonic() - self._start
            CONSOLE.print(f"{self._title}: {self._done} of {self._total}, {seconds:.0f} s")
