"""Reports for people at a terminal: the ledger with its verdicts, and a grade."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from attest.claims import Verdict
from attest.evidence import Counterexample, Evidence
from attest.feedback import Language, Said, percent, said, shown, words
from attest.grading import Grade
from attest.ledger import Ledger
from attest.measurements import summary
from attest.verification import PROOFS, ClaimResult, Verification

__all__ = [
    "class_table",
    "grade_report",
    "grade_table",
    "listing",
    "progress",
    "short_verdict_table",
    "show",
    "verdict_table",
    "verification_report",
]

STYLES = {
    Verdict.PROVED: "bold green",
    Verdict.HOLDS: "green",
    Verdict.CONDITIONAL: "yellow",
    Verdict.MEASURED: "cyan",
    Verdict.REFUTED: "magenta",
    Verdict.NO_CONTENT: "dim",
    Verdict.PENDING: "dim",
}
MARKS = {
    "holds": Text("✓", "green"),
    "refuted": Text("✗", "bold red"),
    "crashed": Text("!", "bold red"),
    "timeout": Text("⏱", "bold red"),
    "undecided": Text("?", "bold yellow"),
    "pending": Text("…", "bold yellow"),
    "not_attempted": Text("·", "dim"),
}
# What a student sees the name of, and no more.
HIDDEN = Text("▪", "dim")
# What fails because of a part that has paid for it.
BLAMED = Text("◦", "yellow")
# A terminal of fewer columns has no room for claims in rows.
NARROW = 60
# Parameters that take more characters than this are left out of a line about a counterexample.
SHORT = 20
# Whole counterexamples shown for one component; the others are in --json.
SHOWN = 1

# So many characters of what a submission says stand in a table.
LONGEST_NOTE = 200


def progress(console: Console) -> Progress:
    """Make a progress bar that leaves nothing behind."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def verdict_table(results: Iterable[ClaimResult], explained: Container[str] = ()) -> Group:
    """Show claims with verdicts, section by section.

    Args:
        results: the claims.
        explained: ids of the claims whose reasons are shown, too. Those of a claim that came out
            otherwise than the ledger says always are.
    """
    sections: dict[str, list[ClaimResult]] = {}
    for result in results:
        sections.setdefault(result.claim.section, []).append(result)
    return Group(*(_Section(title, found, explained) for title, found in sections.items()))


@dataclass(frozen=True)
class _Section:
    """The claims of a section: a row each or, where the terminal is narrow, a paragraph each."""

    title: str
    results: list[ClaimResult]
    explained: Container[str]

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        yield Rule(Text(self.title), align="left", style="dim")
        yield from self._narrow() if options.max_width < NARROW else self._wide()
        yield Text()

    def _why(self, result: ClaimResult) -> bool:
        return not result.as_expected or result.claim.id in self.explained

    def _wide(self) -> Iterator[RenderableType]:
        table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 1, 0, 0))
        table.add_column(no_wrap=True, style="bold", width=7)
        table.add_column(no_wrap=True, width=12)
        table.add_column()
        for result in self.results:
            why = self._why(result)
            statement = _reasons(result) if why else Text(result.claim.statement)
            last = result is self.results[-1]
            table.add_row(
                result.claim.id,
                _verdict(result),
                Padding(statement, (0, 0, int(why and not last), 0)),
            )
        yield table

    def _narrow(self) -> Iterator[RenderableType]:
        for result in self.results:
            yield Text.assemble((result.claim.id, "bold"), "  ", _verdict(result))
            text = _reasons(result) if self._why(result) else Text(result.claim.statement)
            yield Padding(text, (0, 0, 0, 2))


def short_verdict_table(results: Iterable[ClaimResult]) -> Table:
    """Show claims with their verdicts, a line or two each."""
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(no_wrap=True)
    table.add_column()
    for result in results:
        table.add_row(result.claim.id, _verdict(result), Text(result.claim.statement))
    return table


def _verdict(result: ClaimResult) -> Text:
    text = Text(result.verdict.replace("_", " "), STYLES[result.verdict])
    if not result.as_expected:
        text.append(f"\n✗ expected\n{result.claim.verdict}", "bold red")
    return text


def _reasons(result: ClaimResult) -> Text:
    claim = result.claim
    text = Text(claim.statement)
    text.append(f"\n«{claim.quote}»", "dim")
    text.append(f"\n{claim.formal}", "dim")
    for part in result.parts:
        text.append("\n  ")
        text.append(part.verdict.replace("_", " "), STYLES[part.verdict])
        text.append(f"  {part.part.statement}")
        if part.part.reason:
            text.append(f" ({part.part.reason})", "dim")
    for condition in claim.conditions:
        text.append("\n  · ", "bold")
        text.append(condition)
    for evidence in result.evidence:
        if evidence.prop.method == "counterexample" and evidence.counterexample is not None:
            text.append("\n  ✗ ", "magenta")
            text.append(_in_one_line(evidence.counterexample))
        elif evidence.prop.method == "measured" and evidence.message is not None:
            text.append("\n  ⊙ ", "cyan")
            text.append(f"{evidence.prop.sentence}: {evidence.message}")
    text.append(f"\n{_tried(result.evidence)}", "dim")
    return text


def _in_one_line(found: Counterexample) -> str:
    """Say what is false, and where."""
    given = ", ".join(
        f"{name}{value}" if value.startswith("(") else f"{name} = {value}"
        for name, value in found.inputs
        if value != "None" and ("." not in name or len(value) < SHORT)
    )
    came = f": {found.what} came out {found.came}, not {found.expected}" if found.came else ""
    return " ".join(f"“{found.sentence}” fails at {given}{came}".split())


def _tried(evidence: Iterable[Evidence]) -> str:
    found = list(evidence)
    counts = {
        "proof": sum(e.prop.method in PROOFS for e in found),
        "counterexample": sum(e.prop.method == "counterexample" for e in found),
        "experiment": sum(e.prop.method == "measured" for e in found),
        "law": sum(e.prop.method == "sampled" for e in found),
    }
    examples = sum(e.examples for e in found if e.prop.method == "sampled")
    words = [f"{n} {word}{'s' if n > 1 else ''}" for word, n in counts.items() if n]
    if examples:
        words[-1] += f" on {examples} examples"
    return ", ".join(words) or "no evidence"


def show(console: Console, report: Iterable[RenderableType]) -> None:
    """Print a report. What is plain text, such as a script, is not wrapped at any width."""
    for part in report:
        if isinstance(part, str):
            console.print(part, soft_wrap=True, highlight=False, markup=False)
        else:
            console.print(part)


def verification_report(
    verification: Verification, seconds: float, explained: Container[str] = ()
) -> list[RenderableType]:
    """Show the whole ledger: claims, what experts demand unasked, and what went wrong.

    Args:
        verification: the verdicts and the evidence.
        seconds: how long it took.
        explained: ids of the claims whose reasons are shown.
    """
    parts: list[RenderableType] = [verdict_table(verification.claims, explained)]
    wrong = [e for e in _everything(verification) if not e.settled]
    unasked = verification.unasked
    if unasked:
        held = sum(e.well for e in unasked)
        part = any(e.prop.claims for e in unasked)
        title = "Part of the evidence for claims, and what" if part else "What"
        parts.append(Rule(f"{title} experts demand unasked", align="left", style="dim"))
        parts.append(
            Text(f"{held} of {len(unasked)} properties hold, on ")
            .append(f"{sum(e.examples for e in unasked)}", "bold")
            .append(" examples.\n")
        )
    parts += _failures(wrong)
    parts.append(_summary(verification, wrong, seconds))
    if measurements := summary(_everything(verification), dt.datetime.now(dt.UTC).date()):
        parts.append(Text(measurements))
    silent = [
        r.claim.id for r in verification.claims if r.as_expected and r.claim.id not in explained
    ]
    if silent:
        parts.append(Text(f"Why: `attest verify -v`, or of one claim `--only {silent[0]}`.", "dim"))
    return parts


def _everything(verification: Verification) -> list[Evidence]:
    found = [e for result in verification.claims for e in result.evidence]
    unique = {e.prop.id: e for e in (*found, *verification.unasked)}
    return list(unique.values())


def _summary(verification: Verification, wrong: list[Evidence], seconds: float) -> Text:
    text = Text()
    for verdict in Verdict:
        count = sum(result.verdict == verdict for result in verification.claims)
        if count:
            text.append(f"{count} {verdict.replace('_', ' ')}", STYLES[verdict]).append("  ")
    surprising = sum(not result.as_expected for result in verification.claims)
    if verification.well:
        text.append("\nEverything came out as the ledger says")
    else:
        text.append(
            f"\n{surprising} claims came out otherwise than the ledger says, "
            f"{len(wrong)} properties failed",
            "bold red",
        )
    settings = verification.settings
    quick = "quick, " if settings.quick else ""
    text.append(
        f", in {seconds:.1f} s: {quick}{settings.examples} examples a property, {settings.dtype}, "
        f"{settings.device}, seed {settings.seed}.",
    )
    return text


def _failures(wrong: list[Evidence]) -> Iterator[RenderableType]:
    for evidence in wrong:
        yield Rule(Text(evidence.prop.id, "bold red"), align="left", style="red")
        if evidence.counterexample is not None:
            yield evidence.counterexample.text() + "\n"
        else:
            yield Text(f"{evidence.status}: {evidence.message}\n")


def grade_table(result: Grade) -> Table:
    """Show components with their points, and a mark for each property."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("component", no_wrap=True)
    table.add_column("points", justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    for component in result.components:
        marks = Text()
        for mark in component.marks:
            known = BLAMED if mark.because_of else MARKS[mark.evidence.status]
            marks.append_text(HIDDEN if mark.hidden else known)
        note = Text(component.status.replace("_", " "), "dim")
        points = f"{component.score:g}/{component.max_score:g}"
        table.add_row(component.name, points, marks if component.status == "attempted" else note)
    return table


def grade_report(result: Grade, seconds: float, language: Language = "en") -> list[RenderableType]:
    """Show a grade: components with their points, then what is wrong, what costs most first."""
    parts: list[RenderableType] = [grade_table(result), Text()]
    for component, mistake in result.nearest_mistakes.items():
        parts.append(
            Text.assemble((component, "bold"), " behaves like: ", (mistake, "bold yellow"))
        )
    if result.nearest_mistakes:
        parts.append(Text())
    parts += _lost(result, language)
    parts += _not_charged(result)
    parts += _remarks(result)
    settings, share = result.settings, percent(result.score, result.max_score)
    sandbox = "" if result.isolation.sandbox is None else f", in {result.isolation.sandbox}"
    parts.append(
        Text.assemble(
            "\n",
            (f"{result.score:g} of {result.max_score:g} points", "bold"),
            f" ({share}%), in {seconds:.1f} s: {settings.examples} examples a property, "
            f"{settings.dtype}, {settings.device}, seed {settings.seed}{sandbox}.",
        )
    )
    return parts


def _lost(result: Grade, language: Language) -> Iterator[RenderableType]:
    """Show what points were lost for, with a counterexample or more for each component."""
    for component in result.components:
        shown = 0
        for mark in sorted(component.marks, key=lambda mark: -mark.worth):
            if not mark.failed or mark.hidden or mark.because_of:
                continue
            evidence, law = mark.evidence, said(mark.prop, language)
            price = "bonus" if mark.bonus else f"−{mark.worth:g}"
            found = evidence.counterexample
            if found is not None and shown < SHOWN:
                shown += 1
                yield Rule(Text(f"{price} points", "bold red"), align="left", style="red")
                yield _told(found, law, language) + "\n"
                continue
            mark_of_it, name = MARKS[evidence.status], (component.name, "bold")
            cost = (f"  {price}", "bold red")
            yield Text.assemble(mark_of_it, " ", name, ": ", law.sentence, cost)
            yield Text(f"    {evidence.message}", "dim")


def _not_charged(result: Grade) -> Iterator[RenderableType]:
    """Show how many laws fail because of parts that have lost points for it."""
    blamed = Counter(
        (mark.prop.component, mark.because_of)
        for mark in result.marks
        if mark.because_of and not mark.hidden
    )
    for (component, causes), count in blamed.items():
        laws = "1 law fails" if count == 1 else f"{count} laws fail"
        because = f": {laws} because of {', '.join(causes)}, and no points are lost twice"
        yield Text.assemble(BLAMED, " ", (component, "bold"), because)


def _remarks(result: Grade) -> Iterator[RenderableType]:
    hidden = [mark.prop.id for mark in result.marks if mark.hidden]
    if hidden:
        yield Text(f"{HIDDEN} hidden: {', '.join(hidden)}", "dim")
    if result.missing:
        kept = f"{100 * result.rubric.kept:g}% of the points count"
        yield Text(f"Required, and missing or broken: {', '.join(result.missing)}; {kept}")
    if not result.max_score:
        for evidence in result.left_out:
            yield Text(f"{evidence.prop.id} does not apply: {evidence.message}")
    apart = result.isolation
    if apart.unprotected:
        why = "In this sandbox" if apart.sandbox else f"Without a sandbox ({apart.problem})"
        could = ", ".join(apart.unprotected)
        yield Text(f"\n{why} a submission could {could}.", "yellow")


def class_table(
    graded: Sequence[Mapping[str, Any]], out: Path, seconds: float
) -> list[RenderableType]:
    """Show a class: a line for each submission, and where its results are."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("submission", overflow="fold")
    table.add_column("points", justify="right", no_wrap=True)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    for data in graded:
        score, most = data["score"], data["max_score"]
        missing = f"missing: {', '.join(data['missing'])}" if data["missing"] else ""
        problem = shorten(data["problem"] or "", LONGEST_NOTE, placeholder=" …")
        note = Text(problem or missing, "bold red" if problem else "yellow")
        table.add_row(
            Text(data["submission"]), f"{score:g}/{most:g}", f"{percent(score, most)}%", note
        )
    count = "1 submission" if len(graded) == 1 else f"{len(graded)} submissions"
    end = f"\n{count} in {seconds:.0f} s: {out / 'class.html'}, {out / 'class.csv'}, and for each "
    return [table, Text(f"{end}its results and its report in {out / 'submissions'}.")]


def _told(found: Counterexample, law: Said, language: Language) -> str:
    """Write out a counterexample with its law in a language, and a hint where there is one."""
    said_by = words(language)
    lines = [f"{found.component}: {law.sentence}", f"  {law.explanation}", f"  {found.formula}"]
    if found.quote:
        lines.append(f"  {said_by.notes}: «{found.quote}»")
    lines += ["", shown(found, language)]
    if law.hint:
        lines += ["", f"  {said_by.hint}: {law.hint}"]
    return "\n".join(lines)


def listing(ledger: Ledger, *, wrapped: bool = True) -> list[RenderableType]:
    """Show claims, properties and experiments by name.

    Args:
        ledger: what is listed.
        wrapped: whether to fit them to the terminal; without, each is one line, for other programs.
    """
    claims = [
        (claim.id, claim.verdict.replace("_", " "), claim.statement)
        for claim in ledger.claims.values()
    ]
    properties = [
        (prop.id, prop.method, " ".join(dict.fromkeys(claim.id for claim in prop.claims)))
        for prop in ledger.properties
    ]
    experiments = [(one.id, one.method, one.hypothesis) for one in ledger.experiments]
    there = [rows for rows in (claims, properties, experiments) if rows]
    return [part for rows in there for part in (_listed(rows, wrapped=wrapped), Text())][:-1]


def _listed(rows: Sequence[tuple[str, str, str]], *, wrapped: bool) -> RenderableType:
    if not wrapped:
        wide = [max(len(row[column]) for row in rows) for column in (0, 1)]
        return "\n".join(f"{a:<{wide[0]}}  {b:<{wide[1]}}  {c}".rstrip() for a, b, c in rows)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", overflow="fold")
    table.add_column(no_wrap=True)
    table.add_column()
    for row in rows:
        table.add_row(*map(Text, row))
    return table
