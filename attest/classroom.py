"""A class: every submission of a folder graded, with a file of results each and a table of all.

What was graded before, by the same code and in the same way, is not graded again: an interrupted
run goes on, and one that a late submission was added to grades that one. Whoever is graded beside a
submission, before it or after it, makes no difference to it.
"""

from __future__ import annotations

import gc
import hashlib
import json
import re
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain, count
from pathlib import Path
from typing import Any

import jinja2

import attest
from attest.apart import Command, grade_apart
from attest.contract import CONTRACT
from attest.evidence import Evidence
from attest.examination import Settings, draw_shared
from attest.feedback import Language, feedback, percent
from attest.formats import table
from attest.grading import Grade
from attest.holding import Holder
from attest.implementations import Implementation, SubmissionError
from attest.laws import Property
from attest.ledger import LedgerError, own_package
from attest.marking import Marker
from attest.messages import exception_line, printable
from attest.report import as_json
from attest.rubric import Rubric
from attest.running import examine_all
from attest.sandbox import WORKER
from attest.sources import read_submission
from attest.sweeping import Shown, each_done, locked
from attest.verification import environment

__all__ = ["Class", "Entry", "code", "entries", "grade_class"]

MAIN = "submission.py"
"""Which file of a folder is the submission where there are several."""

LONGEST_NAME = 200

_SHORTENED = re.compile(r".{0,20}-[0-9a-f]{16}", re.DOTALL)
"""What a name may look like that was too long; whatever looks so is shortened, too."""

PAGE = Path(__file__).with_name("class.html.jinja")


@dataclass(frozen=True)
class Entry:
    """A submission of a class.

    Attributes:
        name: what the table calls it: its file's or folder's name.
        path: the file.
        alone: whether the files beside it are others'.
        problem: why there is nothing to grade.
    """

    name: str
    path: Path
    alone: bool
    problem: str | None = None


@dataclass(frozen=True)
class Class:
    """How a class is graded.

    Attributes:
        laws: what it is graded by.
        settings: how these are examined.
        rubric: what they are worth.
        reference: the reference implementation.
        language: of the students' reports.
        holder: makes what holds submissions, in so many workers.
        command: the same as options of the command for one.
        extended: folders with further properties.
    """

    laws: Sequence[Property]
    settings: Settings
    rubric: Rubric
    reference: Implementation
    language: Language
    holder: Callable[[int], Holder]
    command: Command
    extended: tuple[Path, ...] = ()

    def fingerprint(self, entry: Entry) -> str:
        """Give what a submission's result depends on: its files, our code, and how it is graded."""
        isolation = self.holder(1).isolation
        how = (
            *(sorted(environment(self.settings).items()), self.rubric, self.language),
            *(self.command.arguments, [law.id for law in self.laws], entry.name, entry.problem),
            *(isolation.process, isolation.sandbox, code(self.extended)),
        )
        digested = hashlib.sha256(repr(how).encode())
        if entry.problem is None:
            try:
                files = read_submission(str(entry.path), alone=entry.alone).files
            except SubmissionError as error:
                files = {"": str(error)}
            digested.update(json.dumps(files, sort_keys=True).encode())
        return digested.hexdigest()[:16]


@cache
def code(extended: tuple[Path, ...]) -> str:
    """Give a fingerprint of all of ours, and of folders with further properties."""
    ours = [own_package(name).__file__ for name in ("properties", "reference")]
    folders = [*(Path(str(file)).parent for file in (__file__, *ours)), *extended]
    digested = hashlib.sha256()
    for folder in folders:
        for path in sorted((*folder.rglob("*.py"), *folder.glob("*.json"))):
            digested.update(path.read_bytes())
    return digested.hexdigest()


def entries(folder: Path) -> tuple[list[Entry], list[str]]:
    """Find the submissions of a folder: its Python files, and one in each of its folders.

    Returns:
        The submissions by name, and the names of what is none.

    Raises:
        LedgerError: there is none.
        OSError: the folder cannot be read.
    """
    found, others = list[Entry](), list[str]()
    # Files before folders: a folder that comes later takes no file's name.
    for path in sorted(folder.iterdir(), key=lambda path: (path.is_dir(), path)):
        if path.name.startswith(".") or path.name == "__pycache__":
            continue
        if path.suffix == ".py" and path.is_file():
            found.append(Entry(printable(path.stem), path, alone=True, problem=_link(path)))
        elif path.is_dir():
            found.append(_of_a_folder(path))
        else:
            others.append(printable(path.name))
    if not found:
        raise LedgerError(f"{folder}: there is no submission, neither a .py file nor a folder")
    names = set[str]()
    for index, entry in enumerate(found):
        numbered = (f"{entry.name} ({number})" for number in count(2))
        name = next(name for name in chain([entry.name], numbered) if name not in names)
        names.add(name)
        found[index] = replace(entry, name=name)
    return sorted(found, key=lambda entry: entry.name), others


def _link(path: Path) -> str | None:
    return "it is a link to something else" if path.is_symlink() else None


def _of_a_folder(folder: Path) -> Entry:
    name = printable(folder.name)
    try:
        folder = _innermost(folder)
    except OSError as error:
        return Entry(name, folder, alone=False, problem=f"it cannot be read: {error.strerror}")
    problem = _link(folder)
    files = sorted(path for path in folder.glob("*.py") if path.is_file())
    main = [path for path in files if path.name == MAIN] or files
    if problem is None and len(main) != 1:
        several = f"{len(files)} Python files, and none of them is {MAIN}"
        problem = f"the folder has {several if files else 'no Python file'}"
    path = main[0] if len(main) == 1 else folder
    return Entry(name, path, alone=False, problem=problem or _link(path))


def _innermost(folder: Path) -> Path:
    """Follow folders that are all there is in a folder, as archives are unpacked, up to a link.

    What starts with a dot or two underscores, as systems leave it, does not count.
    """
    while not folder.is_symlink():
        inside = [path for path in folder.iterdir() if not path.name.startswith((".", "__"))]
        if len(inside) != 1 or not inside[0].is_dir():
            break
        folder = inside[0]
    return folder


def grade_class(
    found: Sequence[Entry],
    how: Class,
    out: Path,
    *,
    jobs: int,
    elsewhere: Callable[[Sequence[Entry]], Iterator[tuple[int, Any]]] | None = None,
) -> list[dict[str, Any]]:
    """Grade those that are not graded yet, and write the table of all.

    Args:
        found: the submissions.
        how: how they are graded.
        out: where results are, and are written: the class's table as CSV and HTML, and for each
            submission its data and its student's report.
        jobs: how many submissions at once.
        elsewhere: grades submissions on other machines; gives their places and results.

    Returns:
        The data of all, in their order.

    Raises:
        BusyError: another run writes there.
        BrokenProcessPool: a process was ended; the results so far are there.
        WorkerError: submissions cannot be held.
        OSError: results cannot be written.
    """
    place = out / "submissions"
    place.mkdir(parents=True, exist_ok=True)
    with locked(out / ".lock"):
        prints = {entry.name: how.fingerprint(entry) for entry in found}
        known = {entry.name: _known(place, entry.name, prints[entry.name]) for entry in found}
        waiting = [entry for entry in found if known[entry.name] is None]
        try:
            with Shown("grading", len(found), len(found) - len(waiting)) as shown:
                for index, result in _graded(waiting, how, jobs, elsewhere):
                    name = waiting[index].name
                    # What failed for want of something of ours is tried again by the next run.
                    mark = "" if result["failed"] else prints[name]
                    data = {**result["data"], "fingerprint": mark}
                    _put(_file(place, name, "md"), result["feedback"])
                    _put(_file(place, name, "json"), as_json(data))
                    known[name] = data
                    shown.advance()
        finally:  # of those that are graded, whatever came in between
            graded = [data for data in known.values() if data is not None]
            _put(out / "class.csv", _csv(graded))
            _put(out / "class.html", _page(graded))
    return graded


def _known(place: Path, name: str, print_of_it: str) -> dict[str, Any] | None:
    if not _file(place, name, "md").is_file():
        return None
    try:
        data = json.loads(_file(place, name, "json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) and data.get("fingerprint") == print_of_it else None


def _file(place: Path, name: str, kind: str) -> Path:
    """Give where something of a submission is, whose name may be too long for a file's."""
    if len(name.encode()) > LONGEST_NAME or _SHORTENED.fullmatch(name):
        name = f"{name[:20]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return place / f"{name}.{kind}"


def _put(path: Path, text: str) -> None:
    """Write a file that is there whole or not at all."""
    half = path.with_name(".part")
    half.write_text(text, encoding="utf-8")
    half.replace(path)


def _graded(
    waiting: Sequence[Entry],
    how: Class,
    jobs: int,
    elsewhere: Callable[[Sequence[Entry]], Iterator[tuple[int, Any]]] | None,
) -> Iterator[tuple[int, Any]]:
    station, sound = _Station(how), list[int]()
    for index, entry in enumerate(waiting):
        problem = entry.problem or _unreadable(entry)
        if problem is None:
            sound.append(index)
        else:
            yield index, station.refuse(entry.name, problem)
    if not sound:
        return
    if elsewhere is not None:
        for place, result in elsewhere([waiting[index] for index in sound]):
            name = waiting[sound[place]].name
            failed = isinstance(result, Exception)
            yield sound[place], station.failed(name, result) if failed else _whole(result)
        return
    station.workers = max(1, jobs // len(sound))
    with _drawn(how, several=len(sound) > 1 and station.remote):
        yield from each_done(
            sound, lambda index: station.grade(waiting[index]), min(jobs, len(sound))
        )


def _unreadable(entry: Entry) -> str | None:
    try:
        read_submission(str(entry.path), alone=entry.alone)
    except SubmissionError as error:
        return str(error).replace(str(entry.path), entry.name)
    return None


def _whole(result: Mapping[str, Any]) -> dict[str, Any]:
    return {**result, "failed": False}


@contextmanager
def _drawn(how: Class, *, several: bool) -> Iterator[None]:
    """Draw the examples once that all are examined on; processes that are forked have them."""
    if several:
        laws = [law for law in how.laws if how.rubric.grades(law)]
        with Shown("drawing examples for all", len(laws), 0, share=0.5) as shown:
            for law in laws:
                draw_shared(law, how.settings)
                shown.advance()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


class _Station:
    """What grades one submission after another, in a process of its own.

    Args:
        how: how they are graded.
        workers: how many hold one submission.
    """

    def __init__(self, how: Class, workers: int = 1) -> None:
        self.workers = workers
        self._how = how
        self._holder: Holder | None = None
        self.remote = how.holder(1).isolation.process == WORKER

    def grade(self, entry: Entry) -> dict[str, Any]:
        """Give the result of a submission."""
        try:
            return _whole(self._here(entry) if self.remote else self._apart(entry))
        except Exception as error:  # noqa: BLE001 - nobody else is to suffer from it
            return self.failed(entry.name, error)

    def _apart(self, entry: Entry) -> dict[str, Any]:
        source = read_submission(str(entry.path), alone=entry.alone)
        return grade_apart(self._how.command, source.files, entry.path.name, entry.name)

    def _here(self, entry: Entry) -> dict[str, Any]:
        if self._holder is None:
            self._holder = self._how.holder(self.workers).__enter__()
        start = time.perf_counter()
        marker = self._marker(self._holder)
        result = marker.mark(str(entry.path), name=entry.name, alone=entry.alone)
        return self._result(result, time.perf_counter() - start)

    def refuse(self, name: str, problem: str) -> dict[str, Any]:
        """Give the result of what cannot be graded."""
        result = self._marker(self._how.holder(1)).unloadable(name, problem)
        return _whole(self._result(result, 0.0))

    def failed(self, name: str, error: Exception) -> dict[str, Any]:
        """Give the result of what could not be graded for a reason of ours."""
        problem = f"not graded, by a fault that is not the submission's: {exception_line(error)}"
        return {**self.refuse(name, problem), "failed": True}

    def _result(self, result: Grade, seconds: float) -> dict[str, Any]:
        return {"data": result.as_data(seconds), "feedback": feedback(result, self._how.language)}

    def _marker(self, holder: Holder) -> Marker:
        how = self._how

        def examine(
            laws: Sequence[Property], loaded: Implementation, settings: Settings, _: str
        ) -> list[Evidence]:
            quiet, workers = (lambda _: None), holder.workers
            return examine_all(laws, loaded, settings, how.reference, 1, quiet, workers)

        return Marker(holder, how.laws, how.settings, how.rubric, examine)


COLUMNS = ("submission", "score", "max_score", "percent", "failed", "missing", "problem")


def _rows(graded: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Give what the tables say of each submission; nothing of it depends on the machine."""
    for data in graded:
        failed = [
            row["id"]
            for row in data["properties"]
            if row["status"] not in {"holds", "not_attempted"} and "because_of" not in row
        ]
        yield {
            "submission": data["submission"],
            "report": _file(Path(), data["submission"], "md").name,
            "score": data["score"],
            "max_score": data["max_score"],
            "percent": percent(data["score"], data["max_score"]),
            "failed": len(failed),
            "missing": data["missing"],
            "problem": data["problem"] or "",
            "components": data["components"],
        }


def _csv(graded: Sequence[Mapping[str, Any]]) -> str:
    parts = _parts(graded)
    rows = (
        [
            *(row[name] for name in COLUMNS),
            *(row["components"].get(part, {}).get("score", "") for part in parts),
        ]
        for row in _rows(graded)
    )
    return table((*COLUMNS, *parts), rows)


def _parts(graded: Iterable[Mapping[str, Any]]) -> list[str]:
    there = {name for data in graded for name in data["components"]}
    return [name for name in CONTRACT if name in there]


def _page(graded: Sequence[Mapping[str, Any]]) -> str:
    rows = list(_rows(graded))
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    scores = [row["score"] for row in rows]
    return environment.from_string(PAGE.read_text(encoding="utf-8")).render(
        rows=rows,
        parts=_parts(graded),
        mean=statistics.fmean(scores) if scores else 0,
        median=statistics.median(scores) if scores else 0,
        most=max((row["max_score"] for row in rows), default=0),
        version=attest.__version__,
    )
