"""Grading one submission: it is loaded, examined, and asked for the causes of what fails."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from attest.evidence import Evidence
from attest.examination import Settings
from attest.grading import Grade, grade, unloadable
from attest.holding import Holder
from attest.implementations import Implementation, SubmissionError
from attest.laws import Property
from attest.parts import to_blame
from attest.rubric import Rubric

__all__ = ["Examine", "Marker"]

Examine = Callable[[Sequence[Property], Implementation, Settings, str], list[Evidence]]
"""Examines laws on an implementation; the text says what for, where progress is shown."""


@dataclass(frozen=True)
class Marker:
    """How submissions are graded, all of them alike.

    Attributes:
        holder: holds them.
        laws: what they are graded by.
        settings: how these are examined.
        rubric: what they are worth.
        examine: examines them.
    """

    holder: Holder
    laws: Sequence[Property]
    settings: Settings
    rubric: Rubric
    examine: Examine

    @property
    def graded(self) -> list[Property]:
        """The laws that count."""
        return [law for law in self.laws if self.rubric.grades(law)]

    def unloadable(self, name: str, problem: str) -> Grade:
        """Grade what there is no file of, or more than one: it gets no points."""
        isolation = self.holder.isolation
        return unloadable(name, self.graded, self.settings, isolation, problem, self.rubric)

    def mark(self, submission: str, *, name: str = "", alone: bool = False) -> Grade:
        """Grade a submission; one that cannot be loaded gets no points, and a line that says why.

        Args:
            submission: a path that ends in ``.py``, or a module's dotted name.
            name: what reports call it, which then speak of its file as of one where their reader
                is; by default this.
            alone: whether a file is read without those beside it, which belong to others.

        Raises:
            WorkerError: there is no worker to hold it.
        """
        elsewhere, name, isolation = bool(name), name or submission, self.holder.isolation
        laws = self.graded
        settings = replace(self.settings, total=self.rubric.seconds or self.settings.total)
        try:
            loaded = self.holder.load(submission, alone=alone)
        except SubmissionError as error:
            problem = _as_called(str(error), submission, name)
            return self.unloadable(name, problem)
        evidence = self.examine(laws, loaded, settings, f"grading {name}")
        left = settings.total - math.fsum(e.seconds for e in evidence)

        def again(of: Sequence[Evidence], other: Implementation) -> list[Evidence]:
            nonlocal left
            if left <= 0:
                return []
            failed = [e.prop for e in of if isinstance(e.prop, Property)]
            brief = replace(settings, explain=False, total=left)
            found = self.examine(failed, other, brief, f"looking for causes in {name}")
            left -= math.fsum(e.seconds for e in found)
            return found

        worth = self.rubric.points(e.prop for e in evidence if isinstance(e.prop, Property))

        def charged(law: Property) -> bool:
            return worth[law.id] > 0 and not self.rubric.is_bonus(law)

        blamed = to_blame(evidence, loaded, again, charged)
        if elsewhere:
            evidence = [_without_folder(e, Path(submission).resolve()) for e in evidence]
        return grade(name, evidence, settings, isolation, self.rubric, blamed)


def _as_called(problem: str, submission: str, name: str) -> str:
    """Say of a name what is said of a path or module, at which the line begins."""
    return name + problem.removeprefix(submission) if problem.startswith(submission) else problem


def _without_folder(evidence: Evidence, path: Path) -> Evidence:
    """Let a counterexample's script look for the submission where it is run."""
    found = evidence.counterexample
    if found is None:
        return evidence
    script = found.script.replace(repr(str(path)), repr(path.name))
    script = script.replace(repr(str(path.parent)), repr("."))
    return replace(evidence, counterexample=replace(found, script=script))
