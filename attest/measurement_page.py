"""What was measured, as a page: every experiment with its design, its tests and its figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attest.markup import code, escaped, link, table
from attest.measurements import ALPHA, FIRST, Measurement, evidence_of

__all__ = ["HEADER", "page"]

HEADER = "<!-- Written by `attest measure`, which overwrites this file. -->"

OUTCOMES = {
    "holds": "as expected",
    "refuted": "**otherwise**",
    "undecided": "**not decided**",
    "pending": "**pending**",
}


def page(measurements: Iterable[Measurement]) -> str:
    """Write the page of all experiments of a ledger."""
    found = list(measurements)
    family = found[0].family if found else 0
    lines = [
        HEADER,
        "",
        "# What was measured",
        "",
        f"{len(found)} experiments with {family} tests between them. All tests are corrected "
        f"together by Holm's method; one that reaches {ALPHA:g} after it is decided. Controls, "
        "margins and tests are part of the code, and a result counts only as long as that code is "
        f"what it was made with. They were settled on the seeds below {FIRST}, of which none "
        "decides.",
        "",
    ]
    rows = []
    for one in found:
        evidence = evidence_of(one)
        outcome = OUTCOMES[evidence.status]
        if evidence.status == "holds" and not one.experiment.comparisons:
            outcome = "reported"
        anchor = "#" + one.experiment.id.lower().replace(" ", "-")
        rows.append(
            [
                link(one.experiment.id, anchor),
                escaped(one.experiment.hypothesis),
                outcome,
                "" if not one.p else f"{max(one.p):.2g}",
            ]
        )
    lines += table(["experiment", "hypothesis", "came out", "largest corrected p"], rows)
    for one in found:
        lines += _experiment(one)
    return "\n".join(lines).rstrip() + "\n"


def _experiment(one: Measurement) -> Sequence[str]:
    experiment, data = one.experiment, one.data
    lines = [f"## {experiment.id}", "", escaped(experiment.hypothesis), ""]
    lines += [
        f"Task: {escaped(experiment.task)}",
        "",
        f"Expected: {escaped(experiment.expected)}",
        "",
    ]
    if data is None:
        return [*lines, "Not measured yet.", ""]
    made = data["made"]
    lines += [
        f"Measured {made['date']} with {len(data['seeds'])} seeds in {data['seconds']:.0f} s of "
        f"one core: torch {made['torch']}, {escaped(made['processor'])}, {code(made['device'])}."
        + ("" if one.current else " **The code has changed since.**"),
        "",
    ]
    if data["comparisons"]:
        rows = [
            [
                escaped(test["sentence"]),
                test["test"],
                f"{test['estimate']:.3g} ({test['interval'][0]:.3g} to {test['interval'][1]:.3g})",
                f"{test['p']:.2g}",
                f"{corrected:.2g}",
            ]
            for test, corrected in zip(data["comparisons"], one.p, strict=True)
        ]
        lines += table(["test", "by", "mean (95 %)", "p", "corrected"], rows)
    rows = [
        [
            escaped(control["sentence"]),
            f"{control['least']:.3g}, {control['median']:.3g}, {control['most']:.3g}",
            "yes" if control["well"] else "**no**",
        ]
        for control in data["controls"]
    ]
    lines += table(["control", "least, median, most", "so"], rows)
    for figure in experiment.figures:
        lines += [f"![{escaped(figure.title)}]({figure.name}.svg)", ""]
    return lines
