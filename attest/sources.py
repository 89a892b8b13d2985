"""What a submission consists of, read as text and not run."""

from __future__ import annotations

import base64
import importlib.util
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from attest.implementations import SubmissionError, nowhere
from attest.messages import printable
from attest.sandbox import installed
from attest.serving import MOST_COMPILED

__all__ = ["Source", "line_in", "read_submission"]

# What the files of a submission may have together, in bytes.
MOST = 4 << 20
MOST_FILES = 500
MOST_LINES = MOST

_IMPORT = re.compile(r"^[ \t]*(?:from[ \t]+(\w+)|import[ \t]+([^#;\n]+))", re.MULTILINE)


@dataclass(frozen=True)
class Source:
    """The files of a submission.

    Attributes:
        name: what reports call it.
        path: the file it is; None for a module.
        module: the name under which it is imported.
        file: its own file among the files; None where it is found by its name.
        files: what they hold, in base64, by their place.
        compiled: what some of them are compiled to, likewise.
    """

    name: str
    path: Path | None
    module: str
    file: str | None
    files: Mapping[str, str] = field(repr=False)
    compiled: Mapping[str, str] = field(default_factory=dict, repr=False)

    def with_compiled(self, compiled: Mapping[str, str]) -> Source:
        """Give the same with what its files are compiled to.

        Raises:
            ValueError: that is too large, or of other files.
        """
        if not compiled.keys() <= self.files.keys():
            raise ValueError("compiled files of something else")
        if sum(map(len, compiled.values())) > MOST_COMPILED:
            raise ValueError("compiled files that are too large")
        return replace(self, compiled=dict(compiled))

    def failed(self, told: Mapping[str, Any]) -> str:
        """Say in one line why it could not be imported, from what the worker tells."""
        names, line = [str(name) for name in told["names"]], line_in(told)
        if "problem" in told:
            where = "" if line is None else f", line {line}"
            return f"{self.name}{where}: this is not Python: {printable(str(told['problem']))}"
        text = printable(": ".join(filter(None, (names[0], str(told["text"])))))
        missing = re.fullmatch(r"ModuleNotFoundError: No module named '([\w.]+)'", text)
        if self.path is None and missing and f"{self.module}.".startswith(f"{missing[1]}."):
            return nowhere(self.name)
        where = "" if line is None else f" (line {line})"
        return f"{self.name} raised {text} when imported{where}"


def line_in(told: Mapping[str, Any]) -> int | None:
    """Give the line that a worker names, if it may be one."""
    line = told.get("line")
    return line if type(line) is int and 0 < line <= MOST_LINES else None


def read_submission(submission: str, *, alone: bool = False) -> Source:
    """Read a submission: one Python file and what it imports from beside it, or a module.

    Args:
        submission: a path that ends in ``.py``, or a module's dotted name.
        alone: whether a file is read without those beside it, which belong to others.

    Raises:
        SubmissionError: there is no such file or module, or it is too large.
    """
    path = Path(submission)
    if path.suffix == ".py":
        if not path.exists():
            raise SubmissionError(f"{path} does not exist")
        if not path.is_file():
            raise SubmissionError(f"{path} is a folder; a submission is one .py file or a module")
        files: dict[str, bytes] = {}
        here = path.resolve() if not path.is_symlink() or not alone else path.absolute()
        if not _add(files, here, here.parent):
            raise SubmissionError(f"{path} is a link to what is not the submission's own")
        if not alone:
            _add_what_is_imported(here.parent, files)
        return Source(submission, path, f"submission_{path.stem}", here.name, _packed(files))
    return Source(submission, None, submission, None, _packed(_of_a_module(submission)))


def _add(files: dict[str, bytes], path: Path, folder: Path) -> bool:
    """Add a file of a folder; say whether it is one, and the folder's own."""
    try:
        # A link may lead to what is not the submission's own, and a file may have no end.
        if not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
            return False
        with path.open("rb") as file:
            content = file.read(MOST + 1)
    except OSError as error:
        raise SubmissionError(f"{path.name} cannot be read: {error.strerror}") from error
    files[path.relative_to(folder).as_posix()] = content
    if len(files) > MOST_FILES or sum(map(len, files.values())) > MOST:
        raise SubmissionError(
            f"{path.name} and what it imports, or is imported by, are over {MOST >> 20} MiB "
            f"or {MOST_FILES} files"
        )
    return True


def _packed(files: Mapping[str, bytes]) -> dict[str, str]:
    return {place: base64.b64encode(content).decode() for place, content in files.items()}


def _add_what_is_imported(folder: Path, files: dict[str, bytes]) -> None:
    """Add the files and packages of a folder that files of it import."""
    waiting = list(files)
    while waiting:
        text = files[waiting.pop()].decode(errors="replace")
        for name in _imported(text):
            for path in _beside(folder, name):
                place = path.relative_to(folder).as_posix()
                if place not in files and _add(files, path, folder):
                    waiting.append(place)


def _imported(text: str) -> list[str]:
    """Give the first parts of the names that a text seems to import."""
    found = []
    for source, several in _IMPORT.findall(text):
        found += [source] if source else re.findall(r"(?:^|,)[ \t]*(\w+)", several)
    return list(dict.fromkeys(found))


def _beside(folder: Path, name: str) -> Iterable[Path]:
    alone, package = folder / f"{name}.py", folder / name
    try:
        if alone.is_file():
            return [alone]
        if not package.resolve().is_relative_to(folder.resolve()):  # a link, to who knows how much
            return []
        return sorted(islice(package.rglob("*.py"), MOST_FILES + 1))
    except OSError:  # a name that no file can have
        return []


def _of_a_module(name: str) -> dict[str, bytes]:
    """Give the files of a module that is importable here; none where it is installed.

    Only what is the first part of its name is looked for, which imports nothing.
    """
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    found = None
    if all(part.isidentifier() for part in name.split(".")):  # no path, which cannot be imported
        try:
            found = importlib.util.find_spec(name.partition(".")[0])
        except ValueError:  # a module that says that it has no specification
            found = None
    places = list(found.submodule_search_locations or ()) if found is not None else []
    if found is None or (found.origin is None and not places):
        raise SubmissionError(nowhere(name))
    here = Path(places[0] if places else str(found.origin)).resolve()
    if installed(here) or not here.exists():  # or built into Python
        return {}
    files: dict[str, bytes] = {}
    for path in sorted(here.rglob("*.py")) if here.is_dir() else [here]:
        _add(files, path, here.parent)
    _add_what_is_imported(here.parent, files)
    return files
