"""What a student reads of a grade, in English or Korean: what holds, what fails, and a hint."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from attest import korean
from attest.evidence import Counterexample, Evidence, Labels
from attest.grading import ComponentGrade, Grade, Mark, readable
from attest.laws import Property
from attest.ledger import own_package

__all__ = [
    "LANGUAGES",
    "TABLE",
    "Language",
    "Said",
    "Words",
    "feedback",
    "hints",
    "percent",
    "points",
    "problem",
    "said",
    "shown",
    "words",
]

Language = Literal["en", "ko"]
LANGUAGES: tuple[Language, ...] = get_args(Language)

TABLE = "feedback.json"
"""Translations and hints, beside the properties."""


@dataclass(frozen=True)
class Words:
    """What a report says around the laws."""

    labels: Labels
    points: str
    statuses: Mapping[str, str]
    holds: str
    hidden: str
    without_hidden: str
    bonus: str
    same: str
    hint: str
    notes: str
    because_of: str
    behaves_like: str
    printed: str
    missing: str
    not_loaded: str
    all_well: str
    component: str
    worth: str
    held: str
    took: str


_ENGLISH = Words(
    labels=Labels(),
    points="{score:g} of {most:g} points ({percent}%)",
    statuses={
        "attempted": "",
        "not_attempted": "not attempted",
        "broken": "nothing of it works",
        "refuted": "does not hold",
        "crashed": "crashed",
        "timeout": "took too long",
        "undecided": "could not be decided",
    },
    holds="Holds",
    hidden="Hidden, named only",
    without_hidden="without what is hidden",
    bonus="bonus, not earned",
    same="The same happens in {count} more",
    hint="Hint",
    notes="The notes",
    because_of="Fails because of {parts}, and loses no points: with a correct one it holds.",
    behaves_like="Behaves like",
    printed="It printed",
    missing="Required, and missing or broken: {names}. {kept:g}% of the points count.",
    not_loaded="It could not be loaded",
    all_well="Everything that was attempted holds.",
    component="component",
    worth="points",
    held="{held} of {seen} laws hold",
    took="In {seconds:.0f} s.",
)
_KOREAN = Words(
    labels=Labels("틀린 곳", "나온 값      ", "나와야 할 값 ", "다시 확인하려면"),
    points="{most:g}점 만점에 {score:g}점 ({percent}%)",
    statuses={
        "attempted": "",
        "not_attempted": "구현하지 않음",
        "broken": "전혀 동작하지 않음",
        "refuted": "성립하지 않음",
        "crashed": "실행 중 오류",
        "timeout": "시간 초과",
        "undecided": "판정할 수 없음",
    },
    holds="성립함",
    hidden="비공개 항목 (이름만 표시)",
    without_hidden="비공개 항목 제외",
    bonus="보너스, 얻지 못함",
    same="같은 일이 다음 {count}개 항목에서도 일어납니다",
    hint="힌트",
    notes="강의 노트",
    because_of="{parts} 때문에 성립하지 않습니다. 올바른 것을 쓰면 성립하므로 감점은 없습니다.",
    behaves_like="이런 실수와 비슷하게 동작합니다",
    printed="출력한 내용",
    missing="필수 항목이 없거나 동작하지 않습니다: {names}. 점수의 {kept:g}%만 인정합니다.",
    not_loaded="파일을 불러올 수 없습니다",
    all_well="시도한 항목이 모두 성립합니다.",
    component="구성 요소",
    worth="점수",
    held="{seen}개 중 {held}개 성립",
    took="{seconds:.0f}초 걸렸습니다.",
)


@dataclass(frozen=True)
class Said:
    """A law in the words of a language; the hint is empty where nobody has written one."""

    sentence: str
    explanation: str
    hint: str = ""


def words(language: Language) -> Words:
    """Give what a report says in a language."""
    return _KOREAN if language == "ko" else _ENGLISH


def said(prop: Property, language: Language) -> Said:
    """Give a law in a language: in English where it has changed since it was translated."""
    english = Said(prop.sentence, prop.explanation)
    module = prop.function.__module__.rpartition(".")[2]
    found = _table().get(f"{module}.{prop.name}", {})
    if found.get("explanation") != _first_paragraph(prop):
        return english
    if language == "ko":
        sentence = found["sentence_ko"].removesuffix(".")  # it stands in lists and in headings
        return Said(sentence, found["explanation_ko"], found["hint_ko"])
    return Said(english.sentence, english.explanation, found["hint"])


def _first_paragraph(prop: Property) -> str:
    return " ".join(prop.explanation.partition("\n\n")[0].split())


@cache
def _table() -> Mapping[str, Any]:
    path = Path(str(own_package("properties").__file__)).parent / TABLE
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def percent(score: float, most: float) -> int:
    """Give points as a percentage, rounded down: 100% is all of them."""
    return int(100 * Fraction(str(score)) / Fraction(str(most))) if most else 0


def points(result: Grade, language: Language) -> str:
    """Say how many points a student has: of hidden properties, points would tell how they went."""
    said_by = words(language)
    score, most = result.open_points
    text = said_by.points.format(score=score, most=most, percent=percent(score, most))
    hides = any(mark.hidden for mark in result.marks)
    return f"{text}, {said_by.without_hidden}" if hides else text


def feedback(result: Grade, language: Language = "en") -> str:
    """Write the student's report, as Markdown.

    Of hidden properties it says the names, of others what holds, and what fails with the smallest
    counterexample, the notes' sentence and a hint.
    """
    said_by = words(language)
    lines = [f"# {_literal(result.submission)}", "", f"**{points(result, language)}**"]
    if result.problem is not None:
        lines += ["", f"{said_by.not_loaded}: {_literal(problem(result, language))}", ""]
        return readable("\n".join(lines))
    if result.missing:
        names, kept = ", ".join(result.missing), 100 * result.rubric.kept
        lines += ["", said_by.missing.format(names=names, kept=kept)]
    hides = any(mark.hidden for mark in result.marks)
    if result.well and not hides and any(part.status == "attempted" for part in result.components):
        lines += ["", said_by.all_well]
    mistakes = result.nearest_mistakes
    for part in result.components:
        lines += ["", *_component(part, mistakes.get(part.name), language)]
    return readable("\n".join([*lines, ""]))


def _component(part: ComponentGrade, mistake: str | None, language: Language) -> Iterable[str]:
    said_by, open_part = words(language), part.open
    status = said_by.statuses[part.status]
    scored = f"{open_part.score:g} / {open_part.max_score:g}"
    yield f"## {part.name}: {scored}{f' ({status})' if status else ''}"
    if part.status == "not_attempted":
        return
    open_marks = open_part.marks
    if mistake is not None:
        own = korean.mistake(mistake) if language == "ko" else mistake
        yield f"\n{said_by.behaves_like}: {own}."
    holding = [mark for mark in open_marks if mark.evidence.status == "holds"]
    if holding:
        sentences = "; ".join(said(mark.prop, language).sentence for mark in holding)
        yield f"\n✓ {said_by.holds} ({len(holding)}): {sentences}."
    failed = sorted((mark for mark in open_marks if mark.failed), key=lambda mark: -mark.worth)
    told: dict[object, list[Mark]] = {}
    for mark in failed:
        told.setdefault(_happened(mark), []).append(mark)
    for first, *others in told.values():
        yield from _failed(first, language, alone=not others)
        if others:
            yield f"\n{said_by.same.format(count=len(others))}:\n"
            for mark in others:
                yield f"- {said(mark.prop, language).sentence}{lost(mark, language)}"
    names = [mark.prop.name for mark in part.marks if mark.hidden]
    if names:
        yield f"\n{said_by.hidden}: {', '.join(names)}."


def _happened(mark: Mark) -> object:
    """Give what is the same for failures of which one tells all: a crash, or a limit of time."""
    evidence = mark.evidence
    alike = evidence.status in {"crashed", "timeout"} and not mark.because_of
    return (evidence.status, evidence.message) if alike else mark.prop.id


def lost(mark: Mark, language: Language) -> str:
    """Say what a failure costs, in brackets; nothing where it costs nothing."""
    if mark.because_of or not mark.worth:
        return ""
    return f" ({words(language).bonus if mark.bonus else f'−{mark.worth:g}'})"


def _failed(mark: Mark, language: Language, *, alone: bool) -> Iterable[str]:
    said_by, evidence = words(language), mark.evidence
    prop, law = mark.prop, said(mark.prop, language)
    yield f"\n### ✗ {law.sentence}{lost(mark, language)}\n"
    yield f"{law.explanation}\n\n    {prop.formula}"
    if prop.claim is not None:
        yield f"\n{said_by.notes}: «{prop.claim.quote}»"
    if mark.because_of:
        yield f"\n{said_by.because_of.format(parts=', '.join(mark.because_of))}"
        return
    found = evidence.counterexample
    if found is not None:
        own = in_language(found, language)
        yield "\n" + _fenced(own.without_script(said_by.labels))
        yield f"\n{said_by.labels.again}:\n\n{_fenced(own.script.rstrip(), 'python')}"
    else:
        yield f"\n{said_by.statuses[evidence.status]}: {_literal(evidence.message or '')}"
    if evidence.printed:
        yield f"\n{said_by.printed}:\n\n{_fenced(evidence.printed)}"
    if law.hint and alone and hints(evidence):
        yield f"\n**{said_by.hint}**: {law.hint}"


def in_language(found: Counterexample, language: Language) -> Counterexample:
    """Give a counterexample in the words of a language."""
    return korean.counterexample(found) if language == "ko" else found


def shown(found: Counterexample, language: Language) -> str:
    """Write out a counterexample in a language."""
    return in_language(found, language).shown(words(language).labels)


def problem(result: Grade, language: Language) -> str:
    """Say in a language why a submission could not be loaded."""
    text = result.problem or ""
    return korean.problem(text) if language == "ko" else text


def hints(evidence: Evidence) -> bool:
    """Whether a hint about the law helps: not where nothing is known of it."""
    return evidence.status != "timeout"


def _fenced(text: str, kind: str = "") -> str:
    """Set text apart by a fence that it cannot end."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{kind}\n{text}\n{fence}"


def _literal(text: str) -> str:
    """Keep a submission's words from being read as Markdown or HTML."""
    for mark in "\\`*_[]<>#|&~$":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())
