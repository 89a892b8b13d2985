"""Whether correct code is ever accused: every correct style, by a whole grade and by many seeds.

Each style is examined as ``attest grade`` does it, on all examples of the seed that grades are
given with. 200 more seeds are dealt out over the styles; each examines the components that its
style rewrites, by all of their laws, in float64 and in float32, on a few examples of that seed. Run
by ``make stability``; writes ``reports/stability`` and fails on any alarm. A style of few
components gets more seeds than one of all, since they take less time.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from attest.ledger import load_ledger
from attest.markup import code, table
from attest.report import as_json
from attest.sweeping import carried_out
from attest.verification import environment
from tests.power.matrix import MANY, STYLES, alarms, rewritten
from tests.power.pages import as_csv
from tests.sources import PARTIAL, ROOT

SEEDS = 200
EXAMPLES = 10
DTYPES = ("float64", "float32")
HEADER = "<!-- Written by `make stability`, which overwrites this file. -->"


def dealt(work: dict[str, int], seeds: int = SEEDS) -> list[tuple[int, str]]:
    """Deal seeds out over styles, in inverse proportion to the root of the work of one.

    Between as many seeds for each style and as much work for each: neither do those of one
    component fill the hour, nor does one that rewrites everything.

    Args:
        work: how much one seed of a style is, by its name.
        seeds: how many.

    Returns:
        Seeds with their styles.
    """
    load, given = dict.fromkeys(work, 0.0), []
    for seed in range(1, seeds + 1):  # a grade has seed 0
        style = min(load, key=lambda name: load[name] + math.sqrt(work[name]))
        load[style] += math.sqrt(work[style])
        given.append((seed, style))
    return given


def _page(cases: list[dict[str, Any]]) -> str:
    alarm_count = sum(len(case["alarms"]) for case in cases)
    laws, examples = (sum(case[what] for case in cases) for what in ("laws", "examples"))
    styles = sorted({case["style"] for case in cases})
    lines = [
        HEADER,
        "",
        "# Whether correct code is ever accused",
        "",
        f"{alarm_count} alarms in {laws:,} examinations of correct code, on {examples:,} examples: "
        f"each of {len(styles)} styles by all laws of the components that it rewrites, with the "
        f"{MANY.examples} examples of a grade; and {len({c['seed'] for c in cases}) - 1} more "
        f"seeds dealt out over them, in {' and '.join(DTYPES)}, with {EXAMPLES} examples of a "
        "seed, one in ten a hard one. A law that keeps to dtypes of its own is examined once.",
        "",
    ]
    if not alarm_count:
        lines += [
            "Where none is seen in so many, the rate is below three in them, with 95% confidence: "
            f"below one alarm in {laws // 3:,} examinations, if seeds are as good as independent.",
            "",
        ]
    rows = []
    for style in styles:
        own = [case for case in cases if case["style"] == style]
        rows.append(
            [
                style.replace("_", " "),
                len({case["component"] for case in own}),
                len({case["seed"] for case in own}),
                sum(case["laws"] for case in own),
                sum(case["examples"] for case in own),
                sum(len(case["alarms"]) for case in own),
            ]
        )
    lines += table(["style", "components", "seeds", "examinations", "examples", "alarms"], rows)
    for case in cases:
        for law, said in case["alarms"].items():
            where = f"{case['style']}, seed {case['seed']}, {case['dtype']}"
            lines.append(f"- {code(case['component'] + '.' + law)} ({where}): {code(said)}")
    return "\n".join(lines).rstrip() + "\n"


def main() -> int:
    """Run, write and judge."""
    parser = argparse.ArgumentParser(prog="make stability", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "reports" / "stability")
    folder: Path = parser.parse_args().out
    start, console, ledger = time.perf_counter(), Console(), load_ledger()
    parts = {style: rewritten(style) for style in STYLES}
    few = replace(MANY, examples=EXAMPLES)
    cases = [(style, component, MANY) for style in STYLES for component in parts[style]]
    cases += [
        (style, component, replace(few, seed=seed, dtype=dtype))
        for seed, style in dealt({style: len(own) for style, own in parts.items()})
        for component in parts[style]
        for dtype in DTYPES
    ]
    partial = PARTIAL / "stability.jsonl"
    resumed = partial.exists()
    given = alarms(ledger, cases, "stability", partial)
    found = [
        {"style": style, "component": part, "seed": s.seed, "dtype": s.dtype, **result}
        for (style, part, s), result in zip(cases, given.values(), strict=True)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    titles = ["style", "component", "seed", "dtype", "laws", "examples", "alarms"]
    rows = [[*(case[t] for t in titles[:-1]), " ".join(case["alarms"])] for case in found]
    (folder / "stability.csv").write_text(as_csv(titles, rows))
    (folder / "README.md").write_text(_page(found))
    seconds = time.perf_counter() - start
    made = {"seconds": round(seconds, 1), "resumed": resumed, "cores": os.cpu_count()}
    made |= environment(cases[0][2])
    (folder / "timing.json").write_text(as_json(made))
    for case in found:
        for law, said in case["alarms"].items():
            told = f"✗ {case['style']} seed {case['seed']} {case['dtype']}: {law}: {said}"
            console.print(told, markup=False, soft_wrap=True)
    alarmed = sum(len(case["alarms"]) for case in found)
    examples = sum(case["examples"] for case in found)
    console.print(f"{alarmed} alarms on {examples:,} examples, in {seconds:.0f} s. See {folder}.")
    if not alarmed:
        partial.unlink()
    return 1 if alarmed else 0


if __name__ == "__main__":
    sys.exit(carried_out(main))
