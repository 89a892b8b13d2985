"""From evidence to a grade with partial credit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from attest.contract import CONTRACT
from attest.evidence import Evidence
from attest.examination import Settings
from attest.laws import Kind, Property
from attest.mistakes import nearest_mistake
from attest.sandbox import Isolation
from attest.verification import environment

__all__ = ["ComponentGrade", "Grade", "grade", "unloadable"]

POINTS: dict[Kind, float] = {"definition": 3.0, "claim": 2.0, "robustness": 1.0}
"""What a property of each kind is worth."""


@dataclass(frozen=True)
class ComponentGrade:
    """One component's part of the grade.

    Attributes:
        name: the component.
        status: "broken" where it was attempted and nothing of it works.
        evidence: what examining its properties gave.
    """

    name: str
    status: Literal["attempted", "not_attempted", "broken"]
    evidence: tuple[Evidence, ...]

    @property
    def score(self) -> float:
        """The points that it earned."""
        return sum(earned(e) for e in self.evidence)

    @property
    def max_score(self) -> float:
        """The points that it could have earned."""
        return sum(POINTS[e.prop.kind] for e in self.evidence)


@dataclass(frozen=True)
class Grade:
    """A submission's grade.

    Attributes:
        submission: what was examined.
        components: their parts of it.
        settings: how it was examined.
        isolation: how it was kept apart.
        problem: why it could not be loaded.
        left_out: what does not apply to it, and costs nothing.
    """

    submission: str
    components: tuple[ComponentGrade, ...]
    settings: Settings
    isolation: Isolation
    problem: str | None = None
    left_out: tuple[Evidence, ...] = ()

    @property
    def score(self) -> float:
        """The points earned."""
        return sum(component.score for component in self.components)

    @property
    def max_score(self) -> float:
        """The points that a submission of all components could have earned."""
        return sum(component.max_score for component in self.components)

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """The evidence of all components."""
        return tuple(e for component in self.components for e in component.evidence)

    @property
    def nearest_mistakes(self) -> dict[str, str]:
        """What components behave like, by name, where it is clear."""
        found = {
            part.name: nearest_mistake(part.evidence, self.settings) for part in self.components
        }
        return {name: mistake for name, mistake in found.items() if mistake is not None}

    @property
    def well(self) -> bool:
        """Whether nothing that was attempted lost a point."""
        return self.problem is None and all(
            e.status in {"holds", "not_attempted"} for e in self.evidence
        )

    def as_data(self, seconds: float) -> dict[str, Any]:
        """Give the grade in the form that ``attest grade --json`` writes."""
        return {
            "schema": 1,
            "submission": self.submission,
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
            "properties": [_row(e) for e in self.evidence],
            "nearest_mistakes": self.nearest_mistakes,
            "problem": self.problem,
            "environment": environment(self.settings),
            "isolation": self.isolation.as_data(),
        }


def earned(evidence: Evidence) -> float:
    """Give the points that a property earned: all where it holds, none otherwise."""
    return POINTS[evidence.prop.kind] if evidence.status == "holds" else 0.0


def _row(evidence: Evidence) -> dict[str, Any]:
    prop = evidence.prop
    found = evidence.counterexample
    return {
        "id": prop.id,
        "claim": None if prop.claim is None else prop.claim.id,
        "component": prop.component,
        "kind": prop.kind,
        "status": evidence.status,
        "examples": evidence.examples,
        "seconds": round(evidence.seconds, 3),
        "points": earned(evidence),
        "max_points": POINTS[prop.kind],
        "counterexample": None if found is None else found.text(),
        "message": evidence.message,
    }


def grade(
    submission: str, evidence: Iterable[Evidence], settings: Settings, isolation: Isolation
) -> Grade:
    """Add up the evidence of each component.

    A property that does not apply to the submission is left out, with its points.

    Args:
        submission: what was examined, for the report.
        evidence: what examining it gave.
        settings: how it was examined.
        isolation: how it was kept apart.
    """
    evidence = list(evidence)
    found = [e for e in evidence if e.status != "not_applicable"]
    left_out = tuple(e for e in evidence if e.status == "not_applicable")
    components = []
    for name in CONTRACT:
        own = tuple(e for e in found if e.prop.component == name)
        if own:
            components.append(ComponentGrade(name, _status(own), own))
    return Grade(submission, tuple(components), settings, isolation, left_out=left_out)


def _status(evidence: Sequence[Evidence]) -> Literal["attempted", "not_attempted", "broken"]:
    statuses = {e.status for e in evidence}
    if statuses == {"not_attempted"}:
        return "not_attempted"
    return "attempted" if statuses & {"holds", "refuted", "undecided"} else "broken"


def unloadable(
    submission: str,
    laws: Iterable[Property],
    settings: Settings,
    isolation: Isolation,
    problem: str,
) -> Grade:
    """Grade a submission that cannot be loaded: no points, for any component."""
    nothing = [Evidence(prop, "not_attempted", message=problem) for prop in laws]
    parts = grade(submission, nothing, settings, isolation).components
    broken = tuple(ComponentGrade(part.name, "broken", part.evidence) for part in parts)
    return Grade(submission, broken, settings, isolation, problem)
