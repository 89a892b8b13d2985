"""What the power run found, as tables, pages and a picture. It reads the data and nothing else."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from attest.markup import code, escaped, link, plain, table

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
    cost = [w for w in wrong if w["costs"]]
    argued = [w for w in wrong if w["killers"] and not w["costs"]]
    elsewhere = [w for w in argued if w["instead_of"]]
    beneath = [w for w in argued if not w["instead_of"]]
    survive = [w for w in wrong if not w["killers"]]
    crashed = [w for w in wrong if _crashes_alone(w)]
    lines += [
        f"Of {len(wrong)} wrong versions of {len(data['components'])} components, **{len(cost)} "
        "cost a submission points**: a law that grades kills them. "
        f"{len(argued)} refute an argument about the reference and nothing that is graded: "
        f"{len(elsewhere)} take the place of something beside the component, and {len(beneath)} "
        f"that of the component itself. {len(survive)} survive for the reasons below. "
        f"{len(crashed)} die of errors alone.",
        "",
        f"Every law of a component was tried on each of its versions {_with(data['few'])}. "
        "A property that a version names and survives got "
        f"{data['many']}; where a version survived all laws, they got as many, up to the first "
        f"that it died of.{_fewer(data)} {laws} laws grade; {len(data['properties'])} properties "
        "with the arguments about the reference, each of which kills something.",
        "",
        "![The kill matrix](matrix.svg)",
        "",
        "The numbers are in one table a component in the folder `kills`: a row is a wrong "
        "version, a column a property, a number the example at which it died, with a *c* where "
        "that was by an error, *never* that some change never came, 0 that it survived, and "
        "nothing where it was not examined. See also "
        f"{link('every property', 'properties.md')} and what it kills, and "
        f"{link('the bugs', 'bugs.md')} that public projects shipped.",
        "",
    ]
    lines += _by_component(data)
    lines += _section(
        "Components that no law notices",
        "These differ from the reference where the contract leaves a choice, or where no law "
        "looks. An argument about the reference refuses them, and they cost a submission nothing.",
        ["wrong version", "dies of"],
        [[code(w["id"]), _sentences(w["killers"])] for w in beneath],
    )
    lines += _section(
        "Other parts of the reference",
        "These take the place of something beside the component, which stays the reference's own, "
        "so that no submission is graded by them.",
        ["wrong version", "in the place of", "dies of"],
        [[code(w["id"]), code(w["instead_of"]), _sentences(w["killers"])] for w in elsewhere],
    )
    lines += _section(
        "Survivors",
        "These are not wrong, or no law can say so.",
        ["version", "why"],
        [[code(w["id"]), escaped(w["reason"])] for w in survive],
    )
    lines += _section(
        "Free choices that are not examined",
        f"{len(data['left_out'])} more changes of the reference's source are not made, since the "
        "contract leaves what they change free.",
        ["change", "what is free"],
        [[code(f"{o['component']}.{o['name']}"), escaped(o["reason"])] for o in data["left_out"]],
    )
    lines += ["## The nearest mistake", ""]
    lines += _nearest(data)
    lines += ["## False alarms", ""]
    lines += _alarms(data)
    return _page(lines)


def _crashes_alone(version: Data) -> bool:
    """Whether a version dies of errors, and of nothing that came out wrong."""
    return bool(version["killers"]) and set(version["killers"]) == set(version["crashes"])


def _sentences(names: Iterable[str]) -> str:
    return ", ".join(escaped(plain(name)) for name in names)


def _section(
    title: str, text: str, titles: Sequence[str], rows: Sequence[Sequence[str]]
) -> list[str]:
    """Write a heading, a line and a table; nothing where the table has no rows."""
    return [f"## {title}", "", text, "", *table(titles, rows)] if rows else []


def _with(few: Mapping[str, int]) -> str:
    """Say how many examples a law gets, and where fewer."""
    most = max(few.values())
    fewer = [name for name, count in few.items() if count < most]
    if not fewer:
        return f"with {most} examples"
    return f"with {most} examples, and {few[fewer[0]]} of {', '.join(map(code, fewer))}"


def _fewer(data: Data) -> str:
    """Say where examples are fewer."""
    argued = f" Where arguments alone are to notice a version, laws got {data['less']} examples"
    if not data["dear"]:
        return f"{argued}."
    named = ", ".join(map(code, data["dear"]))
    return f"{argued}, and so did those of {named} where a reason is given why it is right."


def _by_component(data: Data) -> list[str]:
    rows = []
    for name, found in data["components"].items():
        own = [w for w in data["wrong"] if w["component"] == name]
        cost = [w for w in own if w["costs"]]
        argued = [w for w in own if w["killers"] and not w["costs"]]
        laws = set(found["laws"])
        counts = sorted(len(laws & set(w["killers"])) for w in cost)
        rows.append(
            [
                code(name),
                *(sum(w["kind"] == kind for w in own) for kind in data["kinds"]),
                len(laws),
                len(cost),
                len(argued),
                len(own) - len(cost) - len(argued),
                sum(map(_crashes_alone, own)),
                counts[len(counts) // 2] if counts else 0,
            ]
        )
    together = [sum(row[i] for row in rows) for i in range(1, len(rows[0]) - 1)]
    titles = [
        "component",
        *data["kinds"],
        "laws",
        "cost points",
        "refute an argument alone",
        "survive",
        "die of errors alone",
        "laws that the median dies of",
    ]
    shown = [[row[0], *(n or "" for n in row[1:])] for row in rows]
    return table(titles, [*shown, ["together", *together, ""]])


def _alarms(data: Data) -> list[str]:
    cases = data["alarms"]["cases"]
    total = sum(len(found["alarms"]) for found in cases)
    laws = sum(found["laws"] for found in cases)
    examples = sum(found["examples"] for found in cases)
    styles = list(dict.fromkeys(found["style"] for found in cases))
    lines = [
        f"{total} in {laws:,} examinations of correct code, on {examples:,} examples: "
        f"{len(styles)} implementations in other styles, each by all laws of the components that "
        f"it rewrites, {_with(data['few'])}, or more where a law waits for a change.",
        "",
    ]
    rows = []
    for style in styles:
        own = [found for found in cases if found["style"] == style]
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


def _nearest(data: Data) -> list[str]:
    told, chosen = data["figures"]["reported"], data["figures"]["chosen on"]
    low, high = told["interval"]
    lines = [
        "`attest grade` says what a component behaves like where it fails the laws that known "
        "wrong versions fail. Each version was held out in turn, with its twins; those of a "
        "component that fail the same laws by the same mistake count as one. Words were chosen "
        "with one half of them in sight, by a hash of the name, and thresholds with both; this is "
        "the other half.",
        "",
        f"Of {told['cases']} something was said of {told['said']}, and of {told['right']} it was "
        f"right ({low:.1%} to {high:.1%} with 95 % confidence). What was said to be most likely, "
        f"of {told['likely']}, was so of {told['likely_right']}. In the half that words were "
        f"chosen by, something was said of {chosen['said']} of {chosen['cases']}, and of "
        f"{chosen['right']} it was right.",
        "",
    ]
    rows = [[code(name), *map(str, found)] for name, found in told["components"].items()]
    lines += table(["component", "held out", "said", "right"], rows)
    rows = [
        [code(one["id"]), escaped(one["mistake"] or "has no words"), escaped(one["said"])]
        for one in data["held_out"]
        if one["said"] and not one["right"]
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
            f"{code(found['id'])} dies of {len(found['killers'])}"
            f"{'' if found['costs'] else ', none of which grades'}: {_sentences(found['named'])}"
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

    The sooner it died, the darker; what died at the first example is black. Versions of what the
    contract does not know have no row.
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
