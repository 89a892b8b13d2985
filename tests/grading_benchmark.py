"""How long grading takes: one submission, a class by the submission, and what the worker adds.

What the submission itself takes, whoever calls it, is measured as well: no grader is faster.

Run by ``make bench-grading`` on an idle machine; writes ``reports/grading.json``. Workers live in
namespaces of their own, whose time no parent is told, so that what counts is the time of all
processors of the machine. Nothing is asserted: timings are the machine's.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from attest.examination import Settings, examine
from attest.implementations import Component, load_submission
from attest.ledger import load_ledger, load_reference
from attest.sandbox import isolation
from attest.verification import environment
from tests.benchmark import processor

ROOT = Path(__file__).parent.parent
SUBMISSION = ROOT / "tests" / "strangers" / "base.py"
"""Correct, written from the contract alone, and everything of it is there."""

RESULT = ROOT / "reports" / "grading.json"


def busy() -> float:
    """Give the seconds that all processors have worked since the machine was started."""
    user, nice, system = (int(word) for word in Path("/proc/stat").read_text().split()[1:4])
    return (user + nice + system) / os.sysconf("SC_CLK_TCK")


def graded(*words: str) -> dict[str, float]:
    """Run ``attest grade``; give its seconds by the clock and of all processors."""
    start, worked = time.perf_counter(), busy()
    command = [sys.executable, "-m", "attest", "grade", *words]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    clock, processors = time.perf_counter() - start, busy() - worked
    return {"seconds": round(clock, 1), "processor_seconds": round(processors, 1)}


def middle(several: Sequence[dict[str, float]]) -> dict[str, float]:
    """Give the median of what was measured several times."""
    return {name: round(statistics.median(one[name] for one in several), 1) for name in several[0]}


def own_seconds(components: Sequence[str]) -> dict[str, float]:
    """Grade in this process; give how long the submission's own code took, and how often it ran.

    That is the time of its constructors and calls. What it takes to differentiate them is left out.
    """
    torch.set_num_threads(1)
    loaded, reference, ledger = load_submission(str(SUBMISSION)), load_reference(), load_ledger()
    laws = ledger.only(components).laws if components else ledger.laws
    construct = loaded.construct
    spent = {"constructors": 0.0, "calls": 0.0}
    counts = dict.fromkeys(spent, 0)

    def timed(what: str, run: Callable[..., Any]) -> Callable[..., Any]:
        def measured(*positional: Any, **named: Any) -> Any:
            counts[what] += 1
            start = time.process_time()
            try:
                return run(*positional, **named)
            finally:
                spent[what] += time.process_time() - start

        return measured

    def constructed(*arguments: Any) -> Component:
        component = timed("constructors", construct)(*arguments)
        component.call = timed("calls", component.call)
        made: Component = component
        return made

    with patch.object(loaded, "construct", constructed):
        for law in laws:
            examine(law, loaded, Settings(), reference)
    seconds = {f"seconds_in_{what}": round(value, 1) for what, value in spent.items()}
    return {"laws": len(laws), **counts, **seconds}


def class_of(count: int, words: list[str]) -> dict[str, float]:
    """Grade a class of so many copies of the submission."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "class"
        folder.mkdir()
        for number in range(count):
            shutil.copy(SUBMISSION, folder / f"student_{number:03}.py")
        return graded(str(folder), "--out", str(Path(place) / "out"), *words)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", default=[], help="a component; all by default")
    parser.add_argument("--rounds", type=int, default=3, help="of one submission, in turn")
    parser.add_argument("--class-sizes", type=int, nargs=2, default=[2, 6], metavar="N")
    options = parser.parse_args()
    words = [word for name in options.only for word in ("--only", name)]
    few, many = options.class_sizes
    alone, here = list[dict[str, float]](), list[dict[str, float]]()
    for _ in range(options.rounds):  # in turn: a machine is not as fast at any time
        alone.append(graded(str(SUBMISSION), *words))
        here.append(graded(str(SUBMISSION), "--trusted", *words))
    one, trusted = middle(alone), middle(here)
    ten = graded(str(SUBMISSION), "--examples", "10", *words)
    classes = {count: class_of(count, words) for count in (few, many)}
    further = classes[many]["processor_seconds"] - classes[few]["processor_seconds"]
    over = [
        round(100 * (there["processor_seconds"] / own["processor_seconds"] - 1), 1)
        for there, own in zip(alone, here, strict=True)
    ]
    result: dict[str, Any] = {
        "components": options.only or "all",
        "one_submission": one,
        "trusted": trusted,
        "channel_adds_percent": round(statistics.median(over)),
        "channel_adds_percent_by_round": over,
        "ten_examples": ten,
        "own_code_of_the_submission": own_seconds(options.only),
        "classes": classes,
        "processor_seconds_for_each_further": round(further / (many - few), 1),
        "sandbox": isolation().sandbox,
        "cores": len(os.sched_getaffinity(0)),
        "processor": processor(),
        "environment": environment(Settings()),
    }
    text = json.dumps(result, indent=2, ensure_ascii=False) + "\n"
    if not options.only:
        RESULT.write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
