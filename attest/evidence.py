"""Evidence: what examining one property against one implementation gave."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from attest.experiments import Experiment
from attest.laws import Property

__all__ = ["Counterexample", "Evidence", "Labels", "Status"]

Status = Literal[
    "holds",
    "refuted",
    "crashed",
    "timeout",
    "undecided",
    "pending",
    "not_attempted",
    "not_applicable",
]


@dataclass(frozen=True)
class Labels:
    """What the parts of a counterexample are called."""

    wrong: str = "Wrong"
    came: str = "came out      "
    expected: str = "should be     "
    again: str = "To see it again"


@dataclass(frozen=True)
class Counterexample:
    """The smallest inputs found for which a law fails, as data a person can read.

    Attributes:
        component: the component's name.
        sentence: the law's name in words.
        explanation: the law as a student reads it.
        formula: the law as a formula.
        quote: the notes' words, where the law belongs to a sentence of the notes.
        inputs: what was given, as (name, value) in text.
        what: the quantity that is wrong.
        came: what came out.
        expected: what should have.
        difference: by how much, in words.
        script: a Python script that does it again with torch and the submission alone.
        given: the inputs by name as numbers: nested lists, or the shape and the range of a large
            tensor.
        compared: what was compared, as numbers: what "came", a "word" such as "at most",
            what was "expected", and the "difference"; None where nothing was compared.
    """

    component: str
    sentence: str
    explanation: str
    formula: str
    quote: str | None
    inputs: tuple[tuple[str, str], ...]
    what: str
    came: str | None
    expected: str | None
    difference: str | None
    script: str
    given: dict[str, Any] = field(default_factory=dict)
    compared: dict[str, Any] | None = None

    def text(self) -> str:
        """Write it out for a person, the script last."""
        lines = [f"{self.component}: {self.sentence}", f"  {self.explanation}", f"  {self.formula}"]
        if self.quote:
            lines.append(f"  The notes: «{self.quote}»")
        return "\n".join([*lines, "", self.shown()])

    def shown(self, labels: Labels | None = None) -> str:
        """Write out what was given, what came out and what should have, and the script.

        Args:
            labels: what to call these, in another language.
        """
        labels = labels or Labels()
        script = [f"    {line}".rstrip() for line in self.script.splitlines()]
        return "\n".join([self.without_script(labels), "", f"  {labels.again}:", "", *script])

    def without_script(self, labels: Labels) -> str:
        """Write out what was given, what came out and what should have."""
        lines = list[str]()
        width = max((len(name) for name, _ in self.inputs), default=0)
        for name, value in self.inputs:
            lines.append(_hang(f"  {name:<{width}} = ", value))
        lines.append("")
        lines.append(f"  {labels.wrong}: {self.what}")
        if self.came is not None:
            lines.append(_hang(f"  {labels.came}", self.came))
        if self.expected is not None:
            lines.append(_hang(f"  {labels.expected}", self.expected))
        if self.difference is not None:
            lines.append(f"  {self.difference}")
        return "\n".join(lines)


def _hang(label: str, text: str) -> str:
    return label + text.replace("\n", "\n" + " " * len(label))


@dataclass(frozen=True)
class Evidence:
    """What examining one property against one implementation gave.

    Attributes:
        prop: the property, or the experiment.
        status: "holds" when the argument came out, for a refutation too: its counterexample was
            found. "pending" waits for a measurement; "not_applicable" is left out of every result.
        examples: how many examples were tried; of an experiment, how many seeds.
        informative: in how many of them a plausible mistake would have shown. Of anything but the
            reference, in at least so many: once one would have, bounds are found out where they
            decide alone. Where failures alone were looked for, in at most so many.
        seconds: how long it took.
        message: one line for a person; None when all is well.
        counterexample: the smallest one found; for a refutation, the one that refutes.
        ratio: the largest error over its bound; of anything but the reference, a small one may be
            overstated, over a part of its bound.
        tried: how many examples were of each kind, by :mod:`attest.regimes`; an example is of one
            tier of sizes and may have several regimes of values. Empty where nothing was sampled,
            and where the law fails.
        printed: the beginning of what the submission printed meanwhile.
        made: of an experiment, when it was measured, on what and with which versions.
    """

    prop: Property | Experiment
    status: Status
    examples: int = 0
    informative: int = 0
    seconds: float = 0.0
    message: str | None = None
    counterexample: Counterexample | None = None
    ratio: float = 0.0
    tried: dict[str, int] = field(default_factory=dict)
    printed: str = ""
    made: dict[str, Any] | None = None

    @property
    def well(self) -> bool:
        """Whether nothing is wrong."""
        return self.status in {"holds", "not_applicable"}

    @property
    def settled(self) -> bool:
        """Whether nothing is wrong: an experiment may decide otherwise, or nothing, as well."""
        measured = self.prop.method == "measured" and self.status in {"refuted", "undecided"}
        return self.well or measured

    def record(self) -> dict[str, Any]:
        """Give everything but the property as JSON, to carry evidence between processes."""
        data = asdict(replace(self, prop=None))  # type: ignore[arg-type]
        del data["prop"]
        return data

    @staticmethod
    def from_record(prop: Property, data: dict[str, Any]) -> Evidence:
        """Put together what :meth:`record` took apart."""
        found = data["counterexample"]
        if found is not None:
            inputs = tuple((str(name), str(value)) for name, value in found["inputs"])
            found = Counterexample(**{**found, "inputs": inputs})
        return Evidence(prop, **{**data, "counterexample": found})

    def as_data(self) -> dict[str, Any]:
        """Give the evidence in the form that ``attest verify --json`` writes."""
        found = self.prop.method == "counterexample"
        outcome = "counterexample found" if found and self.status == "holds" else self.status
        return {
            "method": self.prop.method,
            "property": self.prop.id,
            "sentence": self.prop.sentence,
            "formula": self.prop.formula,
            "examples": self.examples,
            "informative": self.informative,
            "tried": self.tried,
            "largest_error_over_bound": round(self.ratio, 6),
            "outcome": outcome,
            "seconds": round(self.seconds, 3),
            "message": self.message,
            "made": self.made,
            "counterexample": None if self.counterexample is None else self.counterexample.text(),
        }
