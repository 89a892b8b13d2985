"""From evidence to a grade with partial credit."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from attest.contract import CONTRACT
from attest.evidence import Evidence
from attest.examination import Settings
from attest.laws import Property
from attest.mistakes import nearest_mistake
from attest.rubric import Rubric
from attest.sandbox import Isolation
from attest.verification import environment

__all__ = ["ComponentGrade", "Grade", "Mark", "grade", "readable", "unloadable"]

# Points are given with so many decimals.
DECIMALS = 6

# What XML 1.0 has no way to write, half a surrogate pair among it, which no file takes.
_UNREADABLE = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Mark:
    """What a property earned.

    Attributes:
        evidence: what examining it gave.
        worth: the points that it could earn.
        because_of: the parts that are to blame where it fails: with correct ones in their place it
            holds, and their own properties have lost points for it already.
        bonus: whether its points come on top.
        hidden: whether a student sees its name alone.
    """

    evidence: Evidence
    worth: float
    because_of: tuple[str, ...] = ()
    bonus: bool = False
    hidden: bool = False

    @property
    def prop(self) -> Property:
        """The property."""
        assert isinstance(self.evidence.prop, Property)
        return self.evidence.prop

    @property
    def counts(self) -> bool:
        """Whether it gets its points."""
        return self.evidence.status == "holds" or bool(self.because_of)

    @property
    def earned(self) -> float:
        """Its points: all of them, or none."""
        return self.worth if self.counts else 0.0

    @property
    def failed(self) -> bool:
        """Whether it was attempted and does not hold, whoever is to blame."""
        return self.evidence.status not in {"holds", "not_attempted"}


@dataclass(frozen=True)
class ComponentGrade:
    """One component's part of the grade.

    Attributes:
        name: the component.
        status: "broken" where it was attempted and nothing of it works.
        marks: what its properties earned.
    """

    name: str
    status: Literal["attempted", "not_attempted", "broken"]
    marks: tuple[Mark, ...]

    @property
    def works(self) -> bool:
        """Whether some law holds of it, or would with correct parts, or may."""
        return any(mark.counts or mark.evidence.status == "undecided" for mark in self.marks)

    @property
    def score(self) -> float:
        """The points that it earned."""
        return _sum(mark.earned for mark in self.marks)

    @property
    def max_score(self) -> float:
        """The points that it could have earned, without a bonus."""
        return _sum(mark.worth for mark in self.marks if not mark.bonus)

    @property
    def open(self) -> ComponentGrade:
        """The same without what is hidden, of which points would tell how it went."""
        return replace(self, marks=tuple(mark for mark in self.marks if not mark.hidden))


@dataclass(frozen=True)
class Grade:
    """A submission's grade.

    Attributes:
        submission: what was examined.
        components: their parts of it.
        settings: how it was examined.
        isolation: how it was kept apart.
        rubric: what properties are worth.
        problem: why it could not be loaded.
        left_out: what does not apply to it, and costs nothing.
    """

    submission: str
    components: tuple[ComponentGrade, ...]
    settings: Settings
    isolation: Isolation
    rubric: Rubric
    problem: str | None = None
    left_out: tuple[Evidence, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """The required components that are not there, or of which nothing works: no law holds.

        One of which nothing was examined, or nothing applies, is not among them.
        """
        works = {part.name: part.works for part in self.components}
        return tuple(name for name in self.rubric.required if not works.get(name, True))

    @property
    def score(self) -> float:
        """The points earned."""
        share = self.rubric.kept if self.missing else 1.0
        return round(share * math.fsum(mark.earned for mark in self.marks), DECIMALS)

    @property
    def max_score(self) -> float:
        """The points that a submission of all components could have earned, without a bonus."""
        return _sum(mark.worth for mark in self.marks if not mark.bonus)

    @property
    def open_points(self) -> tuple[float, float]:
        """The points earned, and those that could have been, without what is hidden."""
        parts = [part.open for part in self.components]
        share = self.rubric.kept if self.missing else 1.0
        return _sum(share * part.score for part in parts), _sum(part.max_score for part in parts)

    @property
    def marks(self) -> tuple[Mark, ...]:
        """What the properties of all components earned."""
        return tuple(mark for component in self.components for mark in component.marks)

    @property
    def nearest_mistakes(self) -> dict[str, str]:
        """What components behave like, by name, where that is clear from what is not hidden."""
        seen = {
            part.name: [mark.evidence for mark in part.marks if not mark.hidden]
            for part in self.components
        }
        found = {name: nearest_mistake(own, self.settings) for name, own in seen.items()}
        return {name: mistake for name, mistake in found.items() if mistake is not None}

    @property
    def well(self) -> bool:
        """Whether something was attempted, and nothing is wrong or missing that should be there."""
        statuses = {part.status for part in self.components}
        lost = any(mark.failed and not mark.because_of for mark in self.marks)
        return (
            self.problem is None and statuses != {"not_attempted"} and not lost and not self.missing
        )

    def as_data(self, seconds: float) -> dict[str, Any]:
        """Give the grade in the form that ``attest grade --json`` writes."""
        return {
            "schema": 1,
            "submission": readable(self.submission),
            "score": self.score,
            "max_score": self.max_score,
            "seconds": round(seconds, 3),
            "components": {
                component.name: {
                    "status": component.status,
                    "score": component.score,
                    "max_score": component.max_score,
                }
                for component in self.components
            },
            "properties": [_row(mark) for mark in self.marks],
            "nearest_mistakes": self.nearest_mistakes,
            "missing": list(self.missing),
            "problem": None if self.problem is None else readable(self.problem),
            "environment": environment(self.settings),
            "isolation": self.isolation.as_data(),
        }


def readable(text: str) -> str:
    """Replace what a submission may say and what not every file can hold."""
    return _UNREADABLE.sub("�", text)


def _sum(points: Iterable[float]) -> float:
    return round(math.fsum(points), DECIMALS)


def _row(mark: Mark) -> dict[str, Any]:
    evidence, prop = mark.evidence, mark.prop
    found = evidence.counterexample
    row = {
        "id": prop.id,
        "claim": None if prop.claim is None else prop.claim.id,
        "component": prop.component,
        "kind": prop.kind,
        "status": evidence.status,
        "examples": evidence.examples,
        "seconds": round(evidence.seconds, 3),
        "points": round(mark.earned, DECIMALS),
        "max_points": round(mark.worth, DECIMALS),
        "counterexample": None if found is None else readable(found.text()),
        "message": None if evidence.message is None else readable(evidence.message),
    }
    rare = {
        "because_of": list(mark.because_of),
        "bonus": mark.bonus,
        "hidden": mark.hidden,
        "printed": readable(evidence.printed),
    }
    return row | {name: value for name, value in rare.items() if value}


def grade(
    submission: str,
    evidence: Iterable[Evidence],
    settings: Settings,
    isolation: Isolation,
    rubric: Rubric | None = None,
    because_of: Mapping[str, tuple[str, ...]] | None = None,
) -> Grade:
    """Add up the evidence of each component.

    A property that does not apply to the submission is left out, with its points.

    Args:
        submission: what was examined, for the report.
        evidence: what examining it gave.
        settings: how it was examined.
        isolation: how it was kept apart.
        rubric: what properties are worth; by default, what a rubric says by default.
        because_of: by id, the parts that failures are to be blamed on.
    """
    rubric, blamed = rubric or Rubric(), because_of or {}
    evidence = list(evidence)
    found = [e for e in evidence if e.status != "not_applicable"]
    left_out = tuple(e for e in evidence if e.status == "not_applicable")
    laws = [e.prop for e in found if isinstance(e.prop, Property)]
    worth = rubric.points(laws)
    components = []
    for name in CONTRACT:
        own = [e for e in found if e.prop.component == name]
        marks = tuple(
            Mark(
                e,
                worth[law.id],
                blamed.get(law.id, ()),
                bonus=rubric.is_bonus(law),
                hidden=rubric.is_hidden(law),
            )
            for law, e in zip(laws, found, strict=True)
            if law.component == name
        )
        if own:
            components.append(ComponentGrade(name, _status(marks), marks))
    return Grade(submission, tuple(components), settings, isolation, rubric, left_out=left_out)


def _status(marks: Sequence[Mark]) -> Literal["attempted", "not_attempted", "broken"]:
    statuses = {mark.evidence.status for mark in marks}
    if statuses == {"not_attempted"}:
        return "not_attempted"
    works = statuses & {"holds", "refuted", "undecided"} or any(mark.because_of for mark in marks)
    return "attempted" if works else "broken"


def unloadable(
    submission: str,
    laws: Iterable[Property],
    settings: Settings,
    isolation: Isolation,
    problem: str,
    rubric: Rubric | None = None,
) -> Grade:
    """Grade a submission that cannot be loaded: no points, for any component."""
    nothing = [Evidence(prop, "not_attempted", message=problem) for prop in laws]
    whole = grade(submission, nothing, settings, isolation, rubric)
    broken = tuple(ComponentGrade(part.name, "broken", part.marks) for part in whole.components)
    return replace(whole, components=broken, problem=problem)
