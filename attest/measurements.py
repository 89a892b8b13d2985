"""What experiments have measured: one file a claim, read into evidence.

A measurement is made once and committed; verifying reads it. It counts as long as the code that it
was made with is the code that is there.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attest.evidence import Evidence
from attest.experiments import Experiment
from attest.ledger import LedgerError, own_package

__all__ = ["ALPHA", "FOLDER", "Measurement", "age", "file_of", "holm", "measured", "own_folder"]

ALPHA = 0.05
"""The share of ledgers without any effect in which some comparison would come out nevertheless."""

FOLDER = "measurements"


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
    """

    experiment: Experiment
    data: Mapping[str, Any] | None

    @property
    def current(self) -> bool:
        """Whether it was made with the code that is there."""
        return self.data is not None and self.data["code"] == self.experiment.code


def _read(folder: Path, experiment: Experiment) -> Measurement:
    path = file_of(folder, experiment.claim.id)
    try:
        everything = json.loads(path.read_text(encoding="utf-8"))
        found = {one["experiment"]: one for one in everything["experiments"]}
    except FileNotFoundError:
        return Measurement(experiment, None)
    except (ValueError, KeyError, TypeError) as error:
        raise LedgerError(
            f"{path} is no measurement that can be read ({type(error).__name__}: {error}); "
            f"`attest measure --only {experiment.claim.id}` writes it again"
        ) from None
    return Measurement(experiment, found.get(experiment.id))


def measured(experiments: Iterable[Experiment], folder: Path) -> list[Evidence]:
    """Read what was measured, correct for the number of tests, and decide.

    Args:
        experiments: all of the ledger, since all of them together are corrected.
        folder: where the measurements lie.

    Returns:
        Evidence for each experiment, in their order.

    Raises:
        LedgerError: a file cannot be read.
    """
    found = [_read(folder, experiment) for experiment in experiments]
    raw = {
        f"{one.experiment.id} {place}": test["p"]
        for one in found
        if one.current and one.data is not None
        for place, test in enumerate(one.data["comparisons"])
    }
    missing = sum(len(one.experiment.comparisons) for one in found if not one.current)
    corrected = holm(raw | {f"not measured {i}": 1.0 for i in range(missing)})
    return [_evidence(one, corrected, len(raw) + missing) for one in found]


def _evidence(found: Measurement, corrected: Mapping[str, float], family: int) -> Evidence:
    experiment, data = found.experiment, found.data
    command = f"`attest measure --only {experiment.claim.id}`"
    if data is None:
        return Evidence(experiment, "pending", message=f"not measured yet: {command}")
    made = f"measured {data['made']['date']} with torch {data['made']['torch']}"
    if not found.current:
        message = f"{made}; its code has changed since: {command}"
        return Evidence(experiment, "pending", message=message)
    seeds, seconds = len(data["seeds"]), data["seconds"]
    wrong = [c["sentence"] for c in data["controls"] if not c["well"]]
    if wrong:
        message = f"{made}; a control failed: {'; '.join(wrong)}"
        return Evidence(experiment, "undecided", seeds, 0, seconds, message)
    tests = data["comparisons"]
    p = [corrected[f"{experiment.id} {place}"] for place in range(len(tests))]
    unclear = [t["sentence"] for t, q in zip(tests, p, strict=True) if q >= ALPHA]
    otherwise = [
        t["sentence"] for t, q in zip(tests, p, strict=True) if t["otherwise"] and q < ALPHA
    ]
    said = f"{made} on {data['made']['device']}, {seeds} seeds"
    if tests:
        said += f", p ≤ {max(p):.2g} after Holm's correction over {family} tests"
    if otherwise:
        message = f"{said}; it came out otherwise: {'; '.join(otherwise)}"
        return Evidence(experiment, "refuted", seeds, seeds, seconds, message)
    if unclear:
        message = f"{said}; not decided: {'; '.join(unclear)}"
        return Evidence(experiment, "undecided", seeds, seeds, seconds, message)
    if not tests:
        said += ", reported and not decided"
    return Evidence(experiment, "holds", seeds, seeds, seconds, said)


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Correct for the number of tests, so that all of them together err in few cases.

        p′_(i) = max over j ≤ i of (m − j + 1) p_(j), at most 1, for p_(1) ≤ … ≤ p_(m)

    Source: Holm 1979.
    """
    found, largest = {}, 0.0
    for place, name in enumerate(sorted(p, key=lambda name: p[name])):
        largest = max(largest, min(1.0, (len(p) - place) * p[name]))
        found[name] = largest
    return found


def age(made: str, today: dt.date) -> str:
    """Say how old a measurement is."""
    days = (today - dt.date.fromisoformat(made)).days
    return {0: "today", 1: "yesterday"}.get(days, f"{days} days ago")
