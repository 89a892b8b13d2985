"""What the power run found, as tables, pages and a picture. It reads the data and nothing else."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from attest.markup import code, escaped, link, table

__all__ = ["as_csv", "bugs_page", "index", "picture", "properties_page"]

Data = Mapping[str, Any]

HEADER = "<!-- Written by `make power`, which overwrites this file. -->"
# The same data give the same bytes.
mpl.rcParams["svg.hashsalt"] = "attest"


def as_csv(titles: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Write a table as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(titles)
    writer.writerows(rows)
    return text.getvalue()


def index(data: Data) -> str:
    """Write the page that a reader comes to first."""
    lines = ["# What the suite catches, and what it leaves alone", ""]
    wrong, laws = data["wrong"], data["laws"]
    dead = [w for w in wrong if w["killers"]]
    lines += [
        f"{len(wrong)} wrong versions of {len(data['components'])} components were examined by "
        f"every law of their component, with {data['few']} examples a law; where a version "
        f"survives a property that it names, or all laws, with {data['many']}, or with "
        f"{data['some']} where a reason is known why it is right. "
        f"{len(dead)} of them die, and {len(wrong) - len(dead)} survive for the reasons below. "
        f"{laws} laws grade; {len(data['properties'])} properties with the arguments about the "
        "reference, each of which kills something.",
        "",
        "![The kill matrix](matrix.svg)",
        "",
        "The numbers are in one table a component in the folder `kills`: a row is a wrong "
        "version, a column a property, a number the example at which it died, *never* that some "
        "change never came, 0 that it survived, and nothing where it was not examined. See also "
        f"{link('every property', 'properties.md')} and what it kills, and "
        f"{link('the bugs', 'bugs.md')} that public projects shipped.",
        "",
    ]
    rows = []
    for name, found in data["components"].items():
        own = [w for w in wrong if w["component"] == name]
        kinds = [sum(w["kind"] == kind for w in own) for kind in data["kinds"]]
        counts = sorted(sum(map(bool, row)) for row in found["cells"])
        survive = sum(not w["killers"] for w in own)
        middle = counts[len(counts) // 2]
        rows.append([code(name), *kinds, len(found["laws"]), middle, survive or ""])
    total = [sum(row[i] for row in rows) for i in range(1, 5)]
    rows.append(["together", *total, "", sum(row[-1] or 0 for row in rows) or ""])
    kinds = list(data["kinds"])
    lines += table(["component", *kinds, "laws", "laws that the median dies of", "survive"], rows)
    lines += ["## Survivors", ""]
    survivors = [[code(w["id"]), escaped(w["reason"])] for w in wrong if not w["killers"]]
    lines += table(["wrong version", "why no law notices"], survivors)
    lines += ["## The nearest mistake", ""]
    lines += _nearest(data["held_out"])
    lines += ["## False alarms", ""]
    lines += _alarms(data["alarms"])
    return _page(lines)


def _alarms(alarms: Data) -> list[str]:
    total = sum(len(found["alarms"]) for found in alarms["cases"])
    laws = sum(found["laws"] for found in alarms["cases"])
    examples = sum(found["examples"] for found in alarms["cases"])
    styles = list(dict.fromkeys(found["style"] for found in alarms["cases"]))
    lines = [
        f"{total} in {laws:,} examinations of correct code, on {examples:,} examples: "
        f"{len(styles)} implementations in other styles, each by all laws of the components that "
        f"it rewrites, with {alarms['examples']} examples a law.",
        "",
    ]
    rows = []
    for style in styles:
        own = [found for found in alarms["cases"] if found["style"] == style]
        failed = [f"{f['component']}.{law}" for f in own for law in f["alarms"]]
        rows.append(
            [
                escaped(style),
                len(own),
                sum(found["laws"] for found in own),
                sum(found["examples"] for found in own),
                ", ".join(map(code, failed)) or "none",
            ]
        )
    return lines + table(["style", "components", "laws", "examples", "alarms"], rows)


def _nearest(held_out: Sequence[Data]) -> list[str]:
    said = [one for one in held_out if one["said"]]
    wrong = [one for one in said if not one["right"]]
    words = sum(bool(one["mistake"]) for one in held_out)
    share = f", {1 - len(wrong) / len(said):.1%}" if said else ""
    lines = [
        "`attest grade` says what a component behaves like where it fails the laws that a known "
        f"wrong version fails. Each of the {len(held_out)} wrong versions was held out in turn and "
        f"compared with the others; {words} have a mistake with words. Of {len(said)} something "
        "was said, and of "
        f"{len(said) - len(wrong)} it was right{share}. Of the others nothing was said.",
        "",
    ]
    rows = [
        [code(one["id"]), escaped(one["mistake"] or "has no words"), escaped(one["said"])]
        for one in wrong
    ]
    return lines + (table(["held out", "its mistake", "was said"], rows) if rows else [])


def properties_page(data: Data) -> str:
    """Write what each property kills."""
    lines = ["# What each property kills", "", f"{link('Back', 'README.md')}.", ""]
    shown = 6
    for name, found in data["components"].items():
        lines += [f"## {name}", ""]
        rows = []
        for prop in found["properties"]:
            names = prop["kills"]
            more = f" and {len(names) - shown} more" if len(names) > shown else ""
            rows.append(
                [
                    escaped(prop["sentence"]),
                    prop["method"],
                    len(names),
                    ", ".join(map(code, names[:shown])) + more,
                ]
            )
        lines += table(["property", "method", "kills", "such as"], rows)
    return _page(lines)


def bugs_page(data: Data) -> str:
    """Write the bugs of public projects, and what kills them."""
    lines = [
        "# Bugs that public projects shipped",
        "",
        f"{link('Back', 'README.md')}. Each was written anew, from its description, as a small "
        "wrong implementation of the contract.",
        "",
    ]
    rows = []
    for row in data["bugs"]:
        made = [
            f"{code(found['id'])} dies of {len(found['killers'])}: "
            f"{', '.join(escaped(k.replace('_', ' ')) for k in found['named'])}"
            for found in row["versions"]
        ]
        reason = [escaped(row["reason"])] if row["reason"] else []
        sources = "<br>".join(map(escaped, row["sources"]))
        rows.append([row["row"], escaped(row["title"]), sources, "<br>".join([*made, *reason])])
    lines += table(["", "bug", "reports", "what kills it, or why the contract has no room"], rows)
    return _page(lines)


def _page(lines: Iterable[str]) -> str:
    text = "\n".join(lines).rstrip()
    return f"{HEADER}\n\n{text}\n"


def picture(components: Data) -> str:
    """Draw the kill matrix as SVG: a panel a component, a row a wrong version, a column a law.

    The sooner it died, the darker; what died at the first example is black.
    """
    columns = 4
    figure = Figure(figsize=(16, 4 * -(-len(components) // columns)), layout="constrained")
    axes = figure.subplots(-(-len(components) // columns), columns).flat
    for axis, (name, found) in zip(axes, components.items(), strict=False):
        late = {"never": 100}
        cells = np.array([[late.get(c, c) for c in row] for row in found["cells"]], dtype=float)
        shade = np.where(cells > 0, 1 - 0.3 * np.log10(np.maximum(cells, 1)), 0.0)
        shade = shade[:, np.argsort(-(cells > 0).sum(0), kind="stable")]
        shade = shade[np.lexsort(shade.T[::-1])[::-1]]
        axis.imshow(shade, cmap="Greys", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        axis.set_title(name, fontsize=11)
        axis.set_xlabel(f"{cells.shape[1]} laws", fontsize=9)
        axis.set_ylabel(f"{cells.shape[0]} wrong versions", fontsize=9)
        axis.set_xticks([])
        axis.set_yticks([])
    for axis in list(axes):
        axis.set_axis_off()
    figure.suptitle(
        "Which law kills which wrong version: black at the first example, grey later, white never",
        fontsize=14,
    )
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None}, dpi=150)
    return text.getvalue()
