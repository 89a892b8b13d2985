"""Grading one submission by the command, in a process of its own that ends with it.

So is a class graded on other machines, and where submissions run in the grader's own process: what
one of them leaves there is gone before the next one comes.
"""

from __future__ import annotations

import argparse
import base64
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Command", "grade_apart"]

# The command, ended with the process that has started it.
_RUN = """
import signal
from attest.limits import end_with_parent
end_with_parent(signal.SIGTERM)
from attest.command import run
raise SystemExit(run())
"""


@dataclass(frozen=True)
class Command:
    """What the command is given for every submission alike.

    Attributes:
        arguments: its options.
        rubric: the content of its rubric; None without one.
    """

    arguments: tuple[str, ...]
    rubric: bytes | None

    @staticmethod
    def of(options: argparse.Namespace, rubric: bytes | None) -> Command:
        """Give the command for one submission that is as one for a class."""
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
        words = [f"{name}={value}" for name, value in named.items() if value is not None]
        words += [f"--only={name}" for name in options.only]
        words += [f"--properties={folder.resolve()}" for folder in options.properties]
        words += ["--trusted"] if options.trusted else []
        words += ["--require-sandbox"] if options.require_sandbox else []
        return Command(tuple(words), rubric)


def grade_apart(command: Command, files: Mapping[str, str], main: str, name: str) -> dict[str, Any]:
    """Grade a submission; give its data and its student's report.

    Args:
        command: how.
        files: its files in base64, by their place.
        main: which of them is graded.
        name: what reports call it.

    Raises:
        RuntimeError: the command wrote nothing; its last line says why.
    """
    with tempfile.TemporaryDirectory(prefix="attest-") as place:
        folder = Path(place)
        for file, content in files.items():
            path = folder / "submission" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(base64.b64decode(content))
        words = ["grade", f"submission/{main}", f"--name={name}", "--jobs=1", *command.arguments]
        words += ["--json=data.json", "--feedback=feedback.md"]
        if command.rubric is not None:
            (folder / "rubric.toml").write_bytes(command.rubric)
            words.append("--rubric=rubric.toml")
        ended = subprocess.run(  # noqa: S603 - our own
            [sys.executable, "-c", _RUN, *words],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
        )
        try:
            data = json.loads((folder / "data.json").read_text(encoding="utf-8"))
            report = (folder / "feedback.md").read_text(encoding="utf-8")
        except (OSError, ValueError):
            said = ended.stderr.decode(errors="replace").strip().splitlines()
            raise RuntimeError(said[-1] if said else f"it ended with {ended.returncode}") from None
    return {"data": data, "feedback": report}
