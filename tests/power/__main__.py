"""Examines every wrong version and every correct style; run by ``make power``."""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from attest.contract import CONTRACT
from attest.ledger import Ledger, load_ledger
from attest.mistakes import TABLE
from attest.report import as_json
from attest.sweeping import carried_out
from attest.verification import environment
from tests.bugs import INEXPRESSIBLE, ROWS
from tests.power.held_out import held_out, patterns, table_of_mistakes
from tests.power.matrix import FEW, MANY, SOME, STYLES, Wrong, alarms, all_wrong, kills, rewritten
from tests.power.pages import as_csv, bugs_page, index, picture, properties_page
from tests.sources import PARTIAL, ROOT
from tests.test_generated_mutants import SURVIVORS

# The share of the versions held out whose mistake has to be named, and of those the share that has
# to be right.
SAID = 0.02
RIGHT = 0.95

REPORTS = ROOT / "reports" / "power"


def _data(
    ledger: Ledger, wrong: list[Wrong], found: dict[str, Any], alarmed: list[dict[str, Any]]
) -> dict[str, Any]:
    """Put together what pages show; there is no time in it, and no name of a machine."""
    components: dict[str, Any] = {}
    for name in dict.fromkeys(w.mutant.component for w in wrong):
        own = [w for w in wrong if w.mutant.component == name]
        properties = [p for p in ledger.properties if p.component == name]
        laws = [p.function.__name__ for p in properties if p.grades]
        cells = {w.id: found[w.id]["cells"] for w in own}
        components[name] = {
            "laws": laws,
            "cells": [[cells[w.id].get(law, 0) for law in laws] for w in own],
            "properties": [
                {
                    "name": p.function.__name__,
                    "sentence": p.sentence,
                    "method": p.method,
                    "kills": [w.mutant.name for w in own if cells[w.id].get(p.function.__name__)],
                }
                for p in properties
            ],
        }
    versions = [
        {
            "id": w.id,
            "component": w.mutant.component,
            "kind": w.kind,
            "killers": [law for law, died in found[w.id]["cells"].items() if died],
            "named": list(w.mutant.killers),
            "reason": SURVIVORS.get((w.mutant.component, w.mutant.name), ""),
            "row": w.row,
        }
        for w in wrong
    ]
    return {
        "kinds": ("written", "generated", "bug"),
        "few": FEW.examples,
        "many": MANY.examples,
        "some": SOME.examples,
        "laws": len(ledger.laws),
        "properties": [p.id for p in ledger.properties],
        "components": components,
        "wrong": versions,
        "bugs": [
            {
                "row": row,
                "title": of.title,
                "sources": of.sources,
                "reason": INEXPRESSIBLE.get(row, ""),
                "versions": [version for version in versions if version["row"] == row],
            }
            for row, of in ROWS.items()
        ],
        "alarms": {"examples": SOME.examples, "cases": alarmed},
    }


def _problems(data: dict[str, Any]) -> list[str]:
    """Say what must not be."""
    problems = []
    for version in data["wrong"]:
        spared = set(version["named"]) - set(version["killers"])
        problems += [f"{version['id']} survives {law}, which it names" for law in sorted(spared)]
        if not version["killers"] and not version["reason"]:
            problems.append(f"{version['id']} survives, and no reason is given")
        if version["killers"] and version["reason"]:
            law = version["killers"][0]
            problems.append(f"{version['id']} dies of {law}, and is among the survivors")
    for name, found in data["components"].items():
        problems += [
            f"{name}.{p['name']} kills nothing" for p in found["properties"] if not p["kills"]
        ]
    for case in data["alarms"]["cases"]:
        problems += [
            f"{case['style']}, which is correct, loses {case['component']}.{law}: {said}"
            for law, said in case["alarms"].items()
        ]
    said = [one for one in data["held_out"] if one["said"]]
    right = sum(one["right"] for one in said)
    if right < RIGHT * len(said) or len(said) < SAID * len(data["held_out"]):
        of = len(data["held_out"])
        problems.append(f"of {of} mistakes {len(said)} were named, and {right} of them are right")
    return problems


def _write(
    folder: Path, ledger: Ledger, wrong: list[Wrong], data: dict[str, Any], found: dict[str, Any]
) -> None:
    (folder / "kills").mkdir(parents=True, exist_ok=True)
    for old in (folder / "kills").glob("*.csv"):
        old.unlink()
    for name in data["components"]:
        names = [p.function.__name__ for p in ledger.properties if p.component == name]
        rows = [
            [w.mutant.name, w.kind, *(found[w.id]["cells"].get(n, "") for n in names)]
            for w in wrong
            if w.mutant.component == name
        ]
        text = as_csv(["wrong version", "kind", *names], rows)
        (folder / "kills" / f"{name}.csv").write_text(text)
    (folder / "README.md").write_text(index(data))
    (folder / "properties.md").write_text(properties_page(data))
    (folder / "bugs.md").write_text(bugs_page(data))
    (folder / "matrix.svg").write_text(picture(data["components"]))
    cases = data["alarms"]["cases"]
    titles = ["style", "component", "laws", "examples", "alarms"]
    rows = [[*(case[t] for t in titles[:-1]), " ".join(case["alarms"])] for case in cases]
    (folder / "alarms.csv").write_text(as_csv(titles, rows))


def _timing(found: dict[str, Any], seconds: float) -> dict[str, Any]:
    dies = [f["dies_after"] for f in found.values() if f["dies_after"] is not None]
    return {
        "seconds": round(seconds, 1),
        "cores": os.cpu_count(),
        "processor": platform.processor() or platform.machine(),
        "seconds_until_a_wrong_version_dies": {
            "median": round(statistics.median(dies), 3),
            "nine_of_ten": round(statistics.quantiles(dies, n=10)[-1], 3),
            "largest": max(dies),
        },
        **environment(MANY),
    }


def main() -> int:
    """Run, write and judge."""
    parser = argparse.ArgumentParser(prog="make power", description=__doc__)
    parser.add_argument("--out", type=Path, default=REPORTS)
    parser.add_argument("--only", action="append", metavar="COMPONENT", choices=list(CONTRACT))
    options = parser.parse_args()
    if options.only and options.out == REPORTS:
        parser.error("--only makes a part of the report: say where with --out")
    folder: Path = options.out
    start, console, ledger = time.perf_counter(), Console(), load_ledger()
    chosen = options.only or list(CONTRACT)
    wrong = [w for w in all_wrong() if w.mutant.component in chosen]
    if options.only:
        ledger = ledger.only(options.only)
    part = "-of-some" if options.only else ""
    partial = [PARTIAL / f"{name}{part}.jsonl" for name in ("kills", "alarms")]
    resumed = any(path.exists() for path in partial)
    known = {f"{component}.{name}" for component, name in SURVIVORS}
    found = kills(ledger, wrong, partial[0], known)
    cases = [(s, part, SOME) for s in STYLES for part in rewritten(s) if part in chosen]
    given = alarms(ledger, cases, "correct styles", partial[1])
    alarmed = [
        {"style": style, "component": part, **result}
        for (style, part, _), result in zip(cases, given.values(), strict=True)
    ]
    data = _data(ledger, wrong, found, alarmed)
    known = patterns(wrong, found, ledger)
    if not options.only:
        (ROOT / "properties" / TABLE).write_text(as_json(table_of_mistakes(known, ledger)))
    data["held_out"] = [vars(one) | {"right": one.right} for one in held_out(known)]
    _write(folder, ledger, wrong, data, found)
    timing = _timing(found, time.perf_counter() - start) | {"resumed": resumed}
    (folder / "timing.json").write_text(as_json(timing))
    problems = _problems(data)
    for problem in problems:
        console.print(f"✗ {problem}", markup=False, soft_wrap=True)
    dead = sum(bool(version["killers"]) for version in data["wrong"])
    median = timing["seconds_until_a_wrong_version_dies"]["median"]
    console.print(
        f"{dead} of {len(wrong)} wrong versions die, the median within {median} s; "
        f"{len(problems)} problems; {timing['seconds']:.0f} s. See {folder}."
    )
    if not problems:
        for path in partial:
            path.unlink()
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(carried_out(main))
