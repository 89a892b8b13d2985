"""Writing generated files into a folder: all of them or none, and over nothing that is not ours."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

__all__ = ["PublishingError", "check", "publish"]

BEGINNING = 200  # characters in which a file says by whom it was written


class PublishingError(Exception):
    """Files cannot be written; the message says which, and why."""


def check(folder: Path, names: Iterable[str], marks: Iterable[str]) -> None:
    """Make sure, before long work, that files can be written; the folder is made if missing.

    Args:
        folder: where.
        names: the files to be written.
        marks: what our files begin with.

    Raises:
        PublishingError: there is something in the way.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise PublishingError(f"{folder}: this is not a folder") from None
    except OSError as error:
        raise PublishingError(f"{folder}: {error.strerror}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PublishingError(f"{folder}: this cannot be written")
    for name in names:
        path = folder / name
        if path.exists() and not _ours(path, marks):
            raise PublishingError(
                f"{path}: this is in the way, and was not written by this command; move it"
            )


def publish(folder: Path, files: Mapping[str, str], marks: Iterable[str]) -> tuple[int, int]:
    """Write files, and remove those of ours that are no longer among them.

    Whoever interrupts this finds the old files whole, or the new ones.

    Args:
        folder: where; it exists.
        files: texts by file name.
        marks: what our files begin with.

    Returns:
        How many files are new or changed, and how many were removed.

    Raises:
        PublishingError: a file cannot be written.
    """
    marks = tuple(marks)
    check(folder, files, marks)
    try:
        changed = [name for name, text in files.items() if _read(folder / name) != text]
        old = [p for p in sorted(folder.iterdir()) if p.name not in files and _ours(p, marks)]
        with tempfile.TemporaryDirectory(prefix=".new-", dir=folder) as staging:
            for name in changed:
                (Path(staging) / name).write_bytes(files[name].encode())
            with _uninterrupted():
                for name in changed:
                    (Path(staging) / name).replace(folder / name)
                for path in old:
                    path.unlink()
    except OSError as error:
        raise PublishingError(f"{error.filename or folder}: {error.strerror}") from error
    return len(changed), len(old)


def _read(path: Path) -> str | None:
    try:
        return path.read_bytes().decode()
    except (FileNotFoundError, UnicodeDecodeError):
        return None


def _ours(path: Path, marks: Iterable[str]) -> bool:
    if not path.is_file() or path.is_symlink():
        return False
    with path.open("rb") as file:
        beginning = file.read(BEGINNING).decode(errors="replace")
    return beginning.startswith(tuple(marks))


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let an interrupt wait for the few moments in which old and new files stand side by side."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda found, _: waiting.append(found))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for late in waiting:
            signal.raise_signal(late)
