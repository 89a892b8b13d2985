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
from tests.mutants.generated import left_out
from tests.mutants.survivors import SURVIVORS
from tests.power.held_out import figures, held_out, patterns, table_of_mistakes
from tests.power.matrix import (
    DEAR,
    LESS,
    MANY,
    STYLES,
    Wrong,
    alarms,
    all_wrong,
    costs_points,
    few,
    kills,
    rewritten,
)
from tests.power.pages import as_csv, bugs_page, index, picture, properties_page
from tests.sources import PARTIAL, ROOT

# Of the half of the versions held out that words were not chosen by: of what share something has to
# be said, and of those the share that has to be right.
SAID = 0.1
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
        laws = [p.name for p in properties if p.grades]
        cells = {w.id: found[w.id]["cells"] for w in own}
        components[name] = {
            "laws": laws,
            "cells": [[cells[w.id].get(n, 0) for n in laws] for w in own if not w.instead_of],
            "properties": [
                {
                    "name": p.name,
                    "sentence": p.sentence,
                    "method": p.method,
                    "kills": [w.mutant.name for w in own if cells[w.id].get(p.name)],
                }
                for p in properties
            ],
        }
    versions = [_version(w, found[w.id], components[w.mutant.component]["laws"]) for w in wrong]
    return {
        "kinds": ("written", "generated", "bug"),
        "few": {name: few(name).examples for name in components},
        "many": MANY.examples,
        "less": LESS.examples,
        "dear": [name for name in components if name in DEAR],
        "laws": len(ledger.laws),
        "properties": [p.id for p in ledger.properties],
        "components": components,
        "wrong": versions,
        "left_out": [vars(one) for one in left_out() if one.component in components],
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
        "alarms": {"cases": alarmed},
    }


def _version(wrong: Wrong, found: dict[str, Any], laws: list[str]) -> dict[str, Any]:
    """Say of one version what it dies of, and whether that costs a submission points."""
    mutant, cells = wrong.mutant, found["cells"]
    killers = [name for name, died in cells.items() if died]
    return {
        "id": wrong.id,
        "component": mutant.component,
        "kind": wrong.kind,
        "instead_of": wrong.instead_of,
        "killers": killers,
        "costs": costs_points(cells, laws),
        "crashes": [name for name in killers if name in found["crashes"]],
        "named": list(mutant.killers),
        "reason": SURVIVORS.get((mutant.component, mutant.name), ""),
        "row": wrong.row,
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
    told = data["figures"]["reported"]
    cases, said, right = told["cases"], told["said"], told["right"]
    if right < RIGHT * said or said < SAID * cases:
        problems.append(f"of {cases} mistakes {said} were named, and {right} of them are right")
    return problems


def _write(
    folder: Path, ledger: Ledger, wrong: list[Wrong], data: dict[str, Any], found: dict[str, Any]
) -> None:
    (folder / "kills").mkdir(parents=True, exist_ok=True)
    for old in (folder / "kills").glob("*.csv"):
        old.unlink()
    for name in data["components"]:
        names = [p.name for p in ledger.properties if p.component == name]
        rows = [
            [w.mutant.name, w.kind, *(_cell(found[w.id], n) for n in names)]
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


def _cell(found: dict[str, Any], name: str) -> int | str:
    """Write when a version died of a property, with a "c" where that was by an error."""
    died: int | str = found["cells"].get(name, "")
    return f"{died}c" if name in found["crashes"] else died


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
    cases = [
        (style, part, few(part, patient=True))
        for style in STYLES
        for part in rewritten(style)
        if part in chosen
    ]
    given = alarms(ledger, cases, "correct styles", partial[1])
    alarmed = [
        {"style": style, "component": part, **result}
        for (style, part, _), result in zip(cases, given.values(), strict=True)
    ]
    data = _data(ledger, wrong, found, alarmed)
    known = patterns(wrong, found, ledger)
    if not options.only:
        (ROOT / "properties" / TABLE).write_text(as_json(table_of_mistakes(known, ledger)))
    results = held_out(known)
    data["held_out"] = [vars(one) | {"right": one.right} for one in results]
    data["figures"] = {
        "chosen on": figures(one for one in results if not one.reported),
        "reported": figures(one for one in results if one.reported),
    }
    _write(folder, ledger, wrong, data, found)
    timing = _timing(found, time.perf_counter() - start) | {"resumed": resumed}
    (folder / "timing.json").write_text(as_json(timing))
    problems = _problems(data)
    for problem in problems:
        console.print(f"✗ {problem}", markup=False, soft_wrap=True)
    cost = sum(version["costs"] for version in data["wrong"])
    argued = sum(bool(version["killers"]) for version in data["wrong"]) - cost
    median = timing["seconds_until_a_wrong_version_dies"]["median"]
    console.print(
        f"{cost} of {len(wrong)} wrong versions cost points, {argued} die of arguments alone, the "
        f"median within {median} s; {len(problems)} problems; {timing['seconds']:.0f} s. "
        f"See {folder}."
    )
    if not problems:
        for path in partial:
            path.unlink()
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(carried_out(main))
