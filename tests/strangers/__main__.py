"""Measures the suite by wrong versions whose author never saw it; run by ``make strangers``.

Writes ``reports/strangers``: which laws each stranger fails, and what `attest grade` says that it
behaves like. Nothing in it has to come out in one way or another: it is a measurement.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from scipy.stats import binomtest

from attest.ledger import load_ledger
from attest.markup import code, escaped, table
from attest.mistakes import known_mistakes, nearest
from attest.sweeping import carried_out
from tests.mutants import Mutant
from tests.mutants.mistakes import kind_of
from tests.power.held_out import failed_soon
from tests.power.matrix import MANY, Wrong, costs_points, kills
from tests.power.pages import as_csv
from tests.sources import PARTIAL, ROOT
from tests.strangers import Stranger, all_strangers

REPORTS = ROOT / "reports" / "strangers"
# These survived once, and have had an answer: laws or sizes that were made with them in sight.
ANSWERED = frozenset({"DecoderLayer.causal_short", "Seq2Seq.long_source"})
HEADER = "<!-- Written by `make strangers`, which overwrites this file. -->"


def judged(stranger: Stranger, cells: dict[str, Any]) -> dict[str, Any]:
    """Say what kills a stranger, and whether what is said of it is true of it.

    Args:
        stranger: the version.
        cells: where it died, by the names of the laws of its component.
    """
    fails = failed_soon(stranger.component, cells)
    said = nearest(stranger.component, fails, frozenset(cells), known_mistakes())
    true = [sentence for sentence in (stranger.mistake, *stranger.also) if sentence]
    return {
        "component": stranger.component,
        "name": stranger.name,
        "what": stranger.what,
        "doubt": stranger.doubt,
        "soon": bool(fails),
        "caught": costs_points(cells, list(cells)),
        "laws": " ".join(name for name, at in cells.items() if at),
        "said": "" if said is None else said.kind,
        "right": said is not None and said.kind in map(kind_of, true),
        "likely": "" if said is None else said.likely,
        "likely_right": said is not None and said.likely in true,
        "mistake": stranger.mistake,
    }


def page(found: list[dict[str, Any]]) -> str:
    """Write what was found."""
    answered = [one for one in found if f"{one['component']}.{one['name']}" in ANSWERED]
    sure = [one for one in found if not one["doubt"] and one not in answered]
    doubtful = [one for one in found if one["doubt"]]
    caught = [one for one in sure if one["caught"]]
    said = [one for one in found if one["said"]]
    right, likely = sum(one["right"] for one in said), [one for one in said if one["likely"]]
    soon = sum(one["soon"] for one in sure)
    share = binomtest(right, max(len(said), 1)).proportion_ci()
    lines = [
        HEADER,
        "",
        "# What the suite makes of strangers",
        "",
        "Their author was given the contract alone, and had seen no law, no mutant and no sentence "
        "about mistakes. So these figures say what our own mutants cannot: how much is caught of "
        "what nobody had in mind.",
        "",
        f"Of {len(sure)} wrong versions **{len(caught)} are caught**, {soon} of "
        f"them within the first few examples of a law; the others were given up to "
        f"{MANY.examples}. Of {len(doubtful)} more the contract may not forbid what they "
        f"do; {sum(o['caught'] for o in doubtful)} of these are caught. Not counted are "
        f"{len(answered)} that survived once and brought laws or sizes of their own; "
        f"{sum(o['caught'] for o in answered)} are caught now.",
        "",
        f"`attest grade` says of {len(said)} what they behave like. Which sentence is true of a "
        "stranger was settled from its code, by a reader who did not know what is said of it: "
        f"**{right} were right** ({share.low:.1%} to {share.high:.1%} of all, with 95 % "
        f"confidence). Of {len(likely)} it was also said which mistake is most likely; "
        f"{sum(one['likely_right'] for one in likely)} of these were right.",
        "",
    ]
    for title, titles, rows in (
        (
            "Not caught",
            ["stranger", "what is wrong", "doubt"],
            [
                [code(f"{o['component']}.{o['name']}"), escaped(o["what"]), escaped(o["doubt"])]
                for o in found
                if not o["caught"]
            ],
        ),
        (
            "Said and not so",
            ["stranger", "what is wrong", "was said"],
            [
                [code(f"{o['component']}.{o['name']}"), escaped(o["what"]), escaped(o["said"])]
                for o in said
                if not o["right"]
            ],
        ),
    ):
        if rows:
            lines += [f"## {title}", "", *table(titles, rows)]
    return "\n".join(lines).rstrip("\n") + "\n"


def main() -> int:
    """Examine, judge and write."""
    parser = argparse.ArgumentParser(prog="make strangers", description=__doc__)
    parser.add_argument("--out", type=Path, default=REPORTS)
    folder: Path = parser.parse_args().out
    start, strangers = time.perf_counter(), list(all_strangers())
    wrong = [Wrong(Mutant(one.name, one.component, one.target), "stranger") for one in strangers]
    partial = PARTIAL / "strangers.jsonl"
    cells = kills(load_ledger(), wrong, partial)
    found = [judged(one, cells[w.id]["cells"]) for one, w in zip(strangers, wrong, strict=True)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(page(found))
    (folder / "strangers.csv").write_text(as_csv(list(found[0]), [list(o.values()) for o in found]))
    partial.unlink()
    said = sum(bool(one["said"]) for one in found)
    Console().print(
        f"{sum(o['caught'] for o in found)} of {len(found)} strangers are caught; of {said} it is "
        f"said what they behave like, and {sum(o['right'] for o in found)} of these are right; "
        f"{time.perf_counter() - start:.0f} s. See {folder}."
    )
    return 0


if __name__ == "__main__":
    sys.exit(carried_out(main))
