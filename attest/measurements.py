"""What experiments have measured: one file a claim, read into evidence.

A measurement is made once and committed; verifying reads it. It counts as long as the code that it
was made with is the code that is there.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from attest.evidence import Evidence
from attest.experiments import Experiment
from attest.ledger import LedgerError, own_package

__all__ = [
    "ALPHA",
    "FIRST",
    "FOLDER",
    "SEEDS",
    "Measurement",
    "age",
    "evidence_of",
    "file_of",
    "holm",
    "measured",
    "own_folder",
    "read",
    "summary",
]

Name = TypeVar("Name", bound=Hashable)

ALPHA = 0.05
"""The share of ledgers without any effect in which some comparison would come out nevertheless."""

SEEDS = 12
"""How many seeds decide: twelve pairs reach p = .0005 in an exact two-sided test."""

FIRST = 1000
"""The first of them. Those before served to design the experiments, and decide nothing."""

FOLDER = "measurements"

WRITTEN = {"code", "made", "seeds", "seconds", "controls", "comparisons"}


def own_folder() -> Path:
    """Give the folder with the measurements that belong to this installation."""
    package = Path(str(own_package("properties").__file__)).parent
    checkout = package.parent / "reports" / FOLDER
    return checkout if checkout.is_dir() or (package.parent / ".git").exists() else package / FOLDER


def file_of(folder: Path, claim: str) -> Path:
    """Give the file with a claim's measurements."""
    return folder / f"{claim}.json"


@dataclass(frozen=True)
class Measurement:
    """One experiment's numbers as they were written down.

    Attributes:
        experiment: the experiment.
        data: what the file says of it; None where nothing was measured.
        p: of each comparison, corrected for the number of all.
        family: how many comparisons there are in all.
    """

    experiment: Experiment
    data: Mapping[str, Any] | None
    p: tuple[float, ...]
    family: int

    @property
    def current(self) -> bool:
        """Whether it was made with the code that is there."""
        return self.data is not None and self.data["code"] == self.experiment.code


def _written(folder: Path, experiment: Experiment) -> dict[str, Any] | None:
    path = file_of(folder, experiment.claim.id)
    try:
        everything = json.loads(path.read_text(encoding="utf-8"))
        found = {one["experiment"]: one for one in everything["experiments"]}
        if missing := {key for one in found.values() for key in WRITTEN - set(one)}:
            raise KeyError(*missing)  # noqa: TRY301 - said with what else can be wrong
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise LedgerError(
            f"{path} is no measurement that can be read ({type(error).__name__}: {error}); "
            f"`attest measure --only {experiment.claim.id}` writes it again"
        ) from None
    return found.get(experiment.id)


def read(experiments: Iterable[Experiment], folder: Path) -> list[Measurement]:
    """Read what was measured, and correct for the number of tests.

    Args:
        experiments: all of the ledger, since all of them together are corrected; what was not
            measured yet, or by too few seeds, or with a control that failed, counts as tests that
            showed nothing.
        folder: where the measurements lie.

    Raises:
        LedgerError: a file cannot be read.
    """
    found = [(experiment, _written(folder, experiment)) for experiment in experiments]
    raw = {}
    for experiment, data in found:
        counts = data is not None and _why_pending(experiment, data) is None
        for place in range(len(experiment.comparisons)):
            shown = data["comparisons"][place]["p"] if counts and data is not None else 1.0
            raw[experiment.id, place] = shown
    corrected = holm(raw)
    return [
        Measurement(
            experiment,
            data,
            tuple(corrected[experiment.id, p] for p in range(len(experiment.comparisons))),
            len(raw),
        )
        for experiment, data in found
    ]


def measured(experiments: Iterable[Experiment], folder: Path) -> list[Evidence]:
    """Read what was measured as evidence, in the order of the experiments.

    Raises:
        LedgerError: a file cannot be read.
    """
    return [evidence_of(one) for one in read(experiments, folder)]


def evidence_of(found: Measurement) -> Evidence:
    """Decide by what was measured."""
    return replace(_decided(found), made=None if found.data is None else found.data["made"])


def _decided(found: Measurement) -> Evidence:
    experiment, data = found.experiment, found.data
    command = f"`attest measure --only {experiment.claim.id}`"
    if data is None:
        return Evidence(experiment, "pending", message=f"not measured yet: {command}")
    made = f"measured {data['made']['date']} with torch {data['made']['torch']}"
    seeds, seconds = len(data["seeds"]), data["seconds"]
    if why := _why_pending(experiment, data):
        return Evidence(experiment, "pending", seeds, 0, seconds, f"{made}; {why}")
    tests = data["comparisons"]
    said = f"{made} on {data['made']['device']}, {seeds} seeds"
    if tests:
        said += f", p ≤ {max(found.p):.2g} after Holm's correction over {found.family} tests"
    otherwise, unclear = [], []
    for test, p, comparison in zip(tests, found.p, experiment.comparisons, strict=True):
        if p >= ALPHA:
            unclear.append(_found(test))
        elif test["otherwise"] and comparison.decides:
            otherwise.append(_found(test))
        elif test["otherwise"]:
            unclear.append(f"{_found(test)}, which came out otherwise")
    if otherwise:
        message = f"{said}; it came out otherwise: {'; '.join(otherwise)}"
        return Evidence(experiment, "refuted", seeds, seeds, seconds, message)
    if unclear:
        message = f"{said}; not decided: {'; '.join(unclear)}"
        return Evidence(experiment, "undecided", seeds, seeds, seconds, message)
    said += f": {'; '.join(map(_found, tests))}" if tests else ", reported and not decided"
    return Evidence(experiment, "holds", seeds, seeds, seconds, said)


def _why_pending(experiment: Experiment, data: Mapping[str, Any]) -> str | None:
    """Say why what was written down decides nothing; None where it may."""
    if data["code"] != experiment.code:
        return f"its code has changed since: `attest measure --only {experiment.claim.id}`"
    if len(data["seeds"]) < SEEDS:
        return f"fewer than {SEEDS} seeds decide nothing"
    wrong = [control["sentence"] for control in data["controls"] if not control["well"]]
    if wrong:
        return f"it says nothing, since a control failed: {'; '.join(wrong)}"
    return None


def _found(test: Mapping[str, Any]) -> str:
    """Say what a test is about and what was found, with its interval."""
    low, high = test["interval"]
    return f"{test['sentence']} ({test['estimate']:.3g}, 95 % {low:.3g} to {high:.3g})"


def holm(p: Mapping[Name, float]) -> dict[Name, float]:
    """Correct for the number of tests, so that all of them together err in few cases.

        p′_(i) = max over j ≤ i of (m − j + 1) p_(j), at most 1, for p_(1) ≤ … ≤ p_(m)

    Source: Holm 1979.
    """
    found: dict[Name, float] = {}
    largest = 0.0
    for place, name in enumerate(sorted(p, key=lambda name: p[name])):
        largest = max(largest, min(1.0, (len(p) - place) * p[name]))
        found[name] = largest
    return found


def summary(found: Iterable[Evidence], today: dt.date) -> str:
    """Say of experiments how old they are and what they were made with; "" where there are none."""
    experiments = [one for one in found if one.prop.method == "measured"]
    made = [one.made for one in experiments if one.made is not None]
    if not experiments:
        return ""
    words = f"{len(experiments)} experiment{'s' if len(experiments) > 1 else ''}"
    if made:
        old = age(min(one["date"] for one in made), today)
        which = "measured" if len(experiments) == 1 else "the oldest measured"
        versions = ", ".join(sorted({f"torch {one['torch']} on {one['device']}" for one in made}))
        words += f", {which} {old} with {versions}"
    waiting = sum(one.status == "pending" for one in experiments)
    return words + (f"; {waiting} pending: `attest measure`" if waiting else "") + "."


def age(made: str, today: dt.date) -> str:
    """Say how old a measurement is."""
    days = (today - dt.date.fromisoformat(made)).days
    return {0: "today", 1: "yesterday"}.get(days, f"{days} days ago")
