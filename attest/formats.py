"""A grade in the formats that teachers' systems read. Of hidden properties students see a name."""

from __future__ import annotations

import csv
import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from attest.feedback import Language, feedback, hints, points, problem, said, shown, words
from attest.grading import Grade, Mark, readable

__all__ = ["FORMATS", "as_csv", "cell", "gradescope", "junit", "summary"]


def gradescope(result: Grade, seconds: float, language: Language = "en") -> dict[str, Any]:
    """Give what Gradescope's autograders write to results.json.

    A test is a property, with its points, its output and its visibility: students do not see tests
    of hidden properties, and Gradescope shows their names to teachers.

    Source: Gradescope's autograder documentation, "Output format".
    """
    said_by = words(language)
    lines = [points(result, language)]
    if result.problem is not None:
        lines.append(f"{said_by.not_loaded}: {problem(result, language)}")
    if result.missing:
        names, kept = ", ".join(result.missing), 100 * result.rubric.kept
        lines.append(said_by.missing.format(names=names, kept=kept))
    return {
        "score": result.score,
        "execution_time": round(seconds),
        "output": readable("\n".join(lines)),
        "output_format": "text",
        "visibility": "visible",
        "stdout_visibility": "hidden",
        "tests": [
            {
                "name": f"{mark.prop.component}: "
                + (mark.prop.name if mark.hidden else said(mark.prop, language).sentence),
                "score": round(mark.earned, 6),
                "max_score": 0 if mark.bonus else round(mark.worth, 6),
                "status": "passed" if mark.counts else "failed",
                "output": "" if mark.hidden else _output(mark, language),
                "output_format": "text",
                "visibility": "hidden" if mark.hidden else "visible",
                "tags": [mark.prop.kind],
            }
            for mark in result.marks
        ],
    }


def _output(mark: Mark, language: Language) -> str:
    said_by, evidence = words(language), mark.evidence
    law = said(mark.prop, language)
    lines = [law.explanation, mark.prop.formula]
    if mark.failed:
        found = evidence.counterexample
        if mark.because_of:
            lines.append(said_by.because_of.format(parts=", ".join(mark.because_of)))
        elif found is not None:
            lines += ["", shown(found, language)]
        else:
            lines.append(f"{said_by.statuses[evidence.status]}: {evidence.message or ''}")
        if law.hint and hints(evidence) and not mark.because_of:
            lines += ["", f"{said_by.hint}: {law.hint}"]
    elif evidence.status == "not_attempted":
        lines.append(said_by.statuses["not_attempted"])
    return readable("\n".join(lines))


def junit(result: Grade, seconds: float, language: Language = "en") -> str:
    """Give JUnit's XML: a suite for each component, a case for each property.

    A failure is a law that does not hold, an error whatever else went wrong. What is not attempted,
    hidden, or another part's fault is skipped.
    """
    said_by = words(language)
    suites = ET.Element("testsuites", name=readable(result.submission), time=f"{seconds:.3f}")
    for part in result.components:
        took = sum(_seconds(mark) for mark in part.marks)
        suite = ET.SubElement(suites, "testsuite", name=part.name, time=f"{took:.3f}")
        counts = {"tests": len(part.marks), "failures": 0, "errors": 0, "skipped": 0}
        for mark in part.marks:
            evidence = mark.evidence
            case = ET.SubElement(
                suite,
                "testcase",
                classname=part.name,
                name=mark.prop.name,
                time=f"{_seconds(mark):.3f}",
            )
            if not mark.hidden and evidence.status == "holds":
                continue
            if mark.hidden or mark.because_of or evidence.status == "not_attempted":
                parts = ", ".join(mark.because_of)
                why = said_by.because_of.format(parts=parts) if parts else result.problem
                said_of = (
                    said_by.hidden if mark.hidden else why or said_by.statuses["not_attempted"]
                )
                ET.SubElement(case, "skipped", message=readable(said_of))
                counts["skipped"] += 1
                continue
            refuted = evidence.status == "refuted"
            counts["failures" if refuted else "errors"] += 1
            message = readable(evidence.message or evidence.status)
            found = ET.SubElement(case, "failure" if refuted else "error", message=message)
            found.set("type", evidence.status)
            found.text = _output(mark, language)
        for name, count in counts.items():
            suite.set(name, str(count))
    if result.problem is not None:
        suite = ET.SubElement(suites, "testsuite", name="loading", tests="1", errors="1")
        case = ET.SubElement(suite, "testcase", classname="submission", name="loads", time="0")
        ET.SubElement(case, "error", message=readable(result.problem))
    for name in ("tests", "failures", "errors"):
        suites.set(name, str(sum(int(suite.get(name, "0")) for suite in suites)))
    ET.indent(suites)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(suites, "unicode") + "\n"


def _seconds(mark: Mark) -> float:
    """Give how long a property took: of a hidden one, that would say whether time ran out."""
    return 0.0 if mark.hidden else mark.evidence.seconds


COLUMNS = (
    *("id", "component", "kind", "claim", "status", "points", "max_points"),
    *("bonus", "hidden", "because_of", "examples", "seconds", "message"),
)


def as_csv(result: Grade, seconds: float, language: Language = "en") -> str:  # noqa: ARG001 - one form for all formats
    """Give a table with a row for each property, for the teacher: it has the hidden ones, too."""
    rows = result.as_data(seconds)["properties"]
    return table(COLUMNS, ([row.get(name, "") for name in COLUMNS] for row in rows))


def table(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """Write a table as CSV that a spreadsheet opens without taking a cell for a formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(columns)
    writer.writerows([cell(value) for value in row] for row in rows)
    return readable(text.getvalue())


# With the wide forms that a keyboard of East Asia gives.
CALCULATED = frozenset("=+-@＝＋－＠")


def cell(value: Any) -> Any:  # noqa: ANN401 - whatever a cell can hold
    """Give a cell of one line that no spreadsheet calculates."""
    if isinstance(value, list):
        value = ", ".join(value)
    if not isinstance(value, str):
        return value
    value = " ".join(value.splitlines())
    return f"'{value}" if value.lstrip()[:1] in CALCULATED else value


def summary(result: Grade, seconds: float, language: Language = "en") -> str:
    """Give Markdown for a summary of GitHub Actions: the points by component, then the report."""
    said_by = words(language)
    rows = [f"| {said_by.component} | {said_by.worth} | |", "| --- | ---: | --- |"]
    for part in result.components:
        held = sum(mark.evidence.status == "holds" for mark in part.marks if not mark.hidden)
        seen = sum(not mark.hidden for mark in part.marks)
        note = said_by.statuses[part.status] or said_by.held.format(held=held, seen=seen)
        seen_part = part.open
        rows.append(f"| {part.name} | {seen_part.score:g} / {seen_part.max_score:g} | {note} |")
    head, _, rest = feedback(result, language).partition("\n\n")
    total, _, rest = rest.partition("\n\n")
    text = "\n".join(
        [head, "", total, "", *rows, "", said_by.took.format(seconds=seconds), "", rest]
    )
    return _cut(text, MOST_OF_A_SUMMARY)


# A summary of more than a MiB is refused.
MOST_OF_A_SUMMARY = 1_000_000


def _cut(text: str, most: int) -> str:
    whole = text.encode()
    if len(whole) <= most:
        return text
    kept, fence = whole[:most].decode(errors="ignore").rpartition("\n\n")[0], ""
    for line in re.findall("^(`{3,})(?:python)?$", kept, re.MULTILINE):
        if not fence or len(line) >= len(fence):
            fence = "" if fence else line
    return kept + (f"\n{fence}" if fence else "") + "\n\n…\n"


FORMATS: Mapping[str, Callable[[Grade, float, Language], Any]] = {
    "feedback": lambda result, _, language: feedback(result, language),
    "gradescope": gradescope,
    "junit": junit,
    "csv": as_csv,
    "markdown": summary,
}
"""By the option's name, what makes a file's text or data of a grade, its seconds, a language."""
