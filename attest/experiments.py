"""An experiment: a question about training, with the answer's rule written down before looking.

An arm is measured for every seed; a control says whether the arms were what they claim to be; a
comparison is a test of numbers, one for each seed; and all comparisons of the ledger together are
corrected by Holm's method before any of them decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from attest.claims import Claim, Part
from attest.laws import Kind
from attest.provenance import digest

__all__ = [
    "JUDGING",
    "MEASURING",
    "Arm",
    "Comparison",
    "Control",
    "Experiment",
    "Figure",
    "Numbers",
    "Relation",
    "Series",
]

MEASURING = (("attest.measuring", "run_arm"),)
JUDGING = (("attest.statistics", "compare"), ("attest.statistics", "check"))
"""Where the code that measures arms begins, and the code that judges what they gave."""

Relation = Literal["above", "below", "within", "rising", "falling", "likelier"]
Array = NDArray[np.float64]
Numbers = Mapping[str, Mapping[str, Array]]
"""What was measured: by arm, then by quantity, with the seeds as first axis."""


@dataclass(frozen=True)
class Arm:
    """One condition, measured for every seed. Arms of one name are the same and measured once.

    Attributes:
        name: what tables and plots call it.
        measure: takes the reference's names, the seeds, and the sizes by name; gives tensors by
            quantity, each with the seeds as first axis.
        sizes: how large and how long, by name.
        reduced: those sizes that a test of the machinery makes smaller.
    """

    name: str
    measure: Callable[..., Mapping[str, Tensor]]
    sizes: Mapping[str, Any] = field(default_factory=dict)
    reduced: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """One test: numbers, one a seed, and what they are expected to be.

    Attributes:
        sentence: what is expected, in words.
        values: gives the numbers, (seeds,), or (seeds, conditions) for a trend.
        relation: "above" or "below" the number ``than``, by Wilcoxon's signed-rank test; "within"
            ``margin`` of it, by two such tests one-sided; "rising" or "falling" over the
            conditions, by Page's test; "likelier" than with the probability ``than``, by the
            binomial test, for numbers that are 0 or 1.
        than: what the numbers are compared with.
        margin: how far from it is as good as there.
        nothing: what the numbers would be without any effect; beyond it, "above" and "below" have
            come out otherwise, and between it and ``than`` the effect is there and is smaller than
            expected, which decides nothing.
        opposite: on which side of the margin "within" has come out otherwise; where a claim speaks
            of one side, the other is no evidence for it.
        decides: whether the experiment has come out otherwise if this has; one that does not is
            undecided then.
    """

    sentence: str
    values: Callable[[Numbers], Array]
    relation: Relation
    than: float = 0.0
    margin: float = 0.0
    nothing: float = 0.0
    opposite: Literal["either", "above", "below"] = "either"
    decides: bool = True


@dataclass(frozen=True)
class Control:
    """What must be so, or the experiment says nothing.

    Attributes:
        sentence: what must be so, in words.
        values: gives numbers, (seeds,).
        least: the smallest number that will do.
        most: the largest.
        every: whether each seed must comply; otherwise the median has to.
    """

    sentence: str
    values: Callable[[Numbers], Array]
    least: float = -np.inf
    most: float = np.inf
    every: bool = True


@dataclass(frozen=True)
class Series:
    """One line of a figure.

    Attributes:
        label: what the legend calls it.
        x: where its points are.
        values: gives the numbers, (seeds, points).
    """

    label: str
    x: tuple[float, ...]
    values: Callable[[Numbers], Array]


@dataclass(frozen=True)
class Figure:
    """A figure for people: lines with intervals, or matrices in grey.

    Attributes:
        name: of its file.
        title: what it shows.
        x: the label of the horizontal axis.
        y: the label of the vertical axis.
        series: its lines.
        log: the axes that are logarithmic: "", "x", "y" or "xy".
        levels: horizontal lines, by label, such as chance.
        maps: matrices by title, instead of lines: gives (rows, columns) of one seed.
    """

    name: str
    title: str
    x: str
    y: str
    series: tuple[Series, ...] = ()
    log: str = ""
    levels: Mapping[str, float] = field(default_factory=dict)
    maps: Mapping[str, Callable[[Numbers], Array]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Experiment:
    """A question about training, and how its answer is found.

    Attributes:
        about: the claim or the part that it decides.
        component: what it is about, by the contract's name.
        hypothesis: what is expected to come out, in words.
        task: what the models have to do, and how they are trained.
        arms: the conditions.
        comparisons: the tests. All of them must come out; without any, the numbers are reported
            and nothing is decided.
        controls: what must be so beside.
        expected: the effect that is expected, in numbers.
        seconds: the budget on two cores; arms that several experiments share count in each.
        against: whether the hypothesis speaks against what it is about.
        figures: for people.
        origin: the module and the name that it has there; the ledger knows them.
    """

    about: Claim | Part
    component: str
    hypothesis: str
    task: str
    arms: tuple[Arm, ...]
    comparisons: tuple[Comparison, ...]
    controls: tuple[Control, ...]
    expected: str
    seconds: float
    against: bool = False
    figures: tuple[Figure, ...] = ()
    origin: tuple[str, str] = ("", "")

    method: ClassVar[str] = "measured"
    kind: ClassVar[Kind] = "claim"
    grades: ClassVar[bool] = False
    dtypes: ClassVar[tuple[str, ...]] = ()

    @property
    def claim(self) -> Claim:
        """The claim of the notes that it speaks of."""
        return self.about.claim if isinstance(self.about, Part) else self.about

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The same, as a property has it."""
        return (self.claim,)

    @property
    def part(self) -> str | None:
        """The key of the part that it decides; None where it decides the claim."""
        return self.about.key if isinstance(self.about, Part) else None

    @property
    def supports(self) -> tuple[Claim | Part, ...]:
        """What the hypothesis speaks for."""
        return () if self.against else (self.about,)

    @property
    def refutes(self) -> tuple[Claim | Part, ...]:
        """What the hypothesis speaks against."""
        return (self.about,) if self.against else ()

    @property
    def name(self) -> str:
        """What tells it from others."""
        return self.id

    @property
    def sentence(self) -> str:
        """What is expected to come out."""
        return self.hypothesis

    @property
    def explanation(self) -> str:
        """What is done to find out."""
        return self.task

    @property
    def formula(self) -> str:
        """The effect that is expected."""
        return self.expected

    @property
    def code(self) -> str:
        """A fingerprint of the experiment, and of all code that measures and judges it."""
        return digest(self.origin, *MEASURING, *JUDGING)

    @property
    def id(self) -> str:
        """The claim's id and the part's key, such as ``ATT-05 accuracy``."""
        return self.claim.id if self.part is None else f"{self.claim.id} {self.part}"
