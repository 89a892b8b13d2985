"""The table of known mistakes, and how often it names the right one of a version held out."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from scipy.stats import binomtest

from attest.contract import CONTRACT
from attest.ledger import Ledger
from attest.mistakes import Known, first_of, nearest
from tests.mutants import Mutant
from tests.mutants.mistakes import KINDS, kind_of, mistake_of
from tests.power.matrix import Wrong

__all__ = [
    "HeldOut",
    "Pattern",
    "failed_soon",
    "figures",
    "held_out",
    "patterns",
    "table_of_mistakes",
]


@dataclass(frozen=True)
class Pattern:
    """A wrong version as the table knows it, and what tells whether another is its twin.

    Attributes:
        known: what the table knows.
        applied: the laws that apply to it.
        operator: the operator that made it, of a generated version.
        said: what its author says of it, of a written one.
    """

    known: Known
    applied: frozenset[str]
    operator: str = ""
    said: str = ""


@dataclass(frozen=True)
class HeldOut:
    """What was said of one wrong version when the table did not know it.

    Attributes:
        id: the version.
        component: its component.
        mistake: what its mistake is; empty where it has no words.
        kind: the wider sentence for that.
        said: the wider sentence that was said; empty where nothing was said.
        likely: the narrower one that was said to be most likely.
        reported: whether it belongs to the half that words were not chosen by.
    """

    id: str
    component: str
    mistake: str
    kind: str
    said: str
    likely: str
    reported: bool

    @property
    def right(self) -> bool:
        """Whether what was said is true of it."""
        return bool(self.said) and self.said == self.kind

    @property
    def likely_right(self) -> bool:
        """Whether what was said to be most likely is its mistake."""
        return bool(self.likely) and self.likely == self.mistake


def patterns(
    wrong: Sequence[Wrong], found: Mapping[str, Any], ledger: Ledger
) -> dict[str, list[Pattern]]:
    """Give by component what each wrong version fails, and which laws applied to it.

    A version that fails nothing is left out.
    """
    laws = {
        name: frozenset(p.name for p in ledger.laws if p.component == name) for name in CONTRACT
    }
    known: dict[str, list[Pattern]] = {name: [] for name in CONTRACT}
    for w in wrong:
        component = w.mutant.component
        cells = {n: d for n, d in found[w.id]["cells"].items() if n in laws[component]}
        fails = failed_soon(component, cells)
        if fails:
            mistake = mistake_of(w.mutant) or ""
            kind = kind_of(mistake) if mistake else ""
            one = Known(component, w.mutant.name, mistake, kind, fails, laws[component])
            known[component].append(Pattern(one, frozenset(cells), *_made(w.mutant)))
    return known


def failed_soon(component: str, cells: Mapping[str, int | str]) -> dict[str, int]:
    """Give the laws that fail within the first examples, as a pattern counts them, and at which."""
    most = first_of(component)
    return {name: at for name, at in cells.items() if isinstance(at, int) and 0 < at <= most}


def _made(mutant: Mutant) -> tuple[str, str]:
    """Give the operator that made a mutant, or what its author says of it; one of them is empty."""
    operator = getattr(mutant, "operator", "")
    own = getattr(mutant.target, "__dict__", {}).get("__doc__")
    said = mutant.target.__doc__ if inspect.isfunction(mutant.target) else own
    return operator, "" if operator else (said or "")


def table_of_mistakes(known: Mapping[str, Sequence[Pattern]], ledger: Ledger) -> dict[str, Any]:
    """Give the table that comes with the properties, as data.

    What a version fails is written as the number of each law, and at which example it failed.
    """
    components = {}
    for name, versions in known.items():
        laws = [p.name for p in ledger.laws if p.component == name]
        components[name] = {
            "laws": laws,
            "versions": [
                {
                    "name": one.known.name,
                    "mistake": one.known.mistake,
                    "fails": " ".join(
                        f"{index}:{one.known.fails[law]}"
                        for index, law in enumerate(laws)
                        if law in one.known.fails
                    ),
                }
                for one in versions
            ],
        }
    return {"written_by": "make power", "schema": 2, "kinds": KINDS, "components": components}


def held_out(known: Mapping[str, Sequence[Pattern]]) -> list[HeldOut]:
    """Hold out each version in turn, and ask the others what it behaves like.

    Its twins are held out with it. Versions of a component that fail the same laws by the same
    mistake count as one.
    """
    everything = [one for versions in known.values() for one in versions]
    results, seen = [], set()
    for one in everything:
        version = one.known
        case = (version.component, frozenset(version.fails), version.mistake)
        if case in seen:
            continue
        seen.add(case)
        others = [other.known for other in everything if not _twins(one, other)]
        said = nearest(version.component, version.fails, one.applied, others)
        name = f"{version.component}.{version.name}"
        results.append(
            HeldOut(
                name,
                version.component,
                version.mistake,
                version.kind,
                "" if said is None else said.kind,
                "" if said is None else said.likely,
                reported=crc32(name.encode()) % 2 == 1,
            )
        )
    return results


def _twins(one: Pattern, other: Pattern) -> bool:
    """Whether two versions are the same code, or as good as.

    They are where one operator made both of one place, of whatever component; where both have the
    same name, or their authors say the same; and where one operator made both of one component and
    they fail the same laws.
    """
    if one.known.place == other.known.place or (one.said and one.said == other.said):
        return True
    alike = (
        one.known.component == other.known.component
        and one.known.fails.keys() == other.known.fails.keys()
    )
    return alike and bool(one.operator) and one.operator == other.operator


def figures(results: Iterable[HeldOut]) -> dict[str, Any]:
    """Count of how many something was said, of how many that was right, and by component.

    The interval holds the share that is right with 95 % confidence (Clopper and Pearson).
    """
    results = list(results)
    said = [one for one in results if one.said]
    right = sum(one.right for one in said)
    interval = binomtest(right, len(said)).proportion_ci() if said else (0.0, 1.0)
    likely = [one for one in said if one.likely]
    cases = Counter(one.component for one in results)
    named = Counter(one.component for one in said)
    rights = Counter(one.component for one in said if one.right)
    return {
        "cases": len(results),
        "said": len(said),
        "right": right,
        "interval": [round(float(end), 3) for end in interval],
        "likely": len(likely),
        "likely_right": sum(one.likely_right for one in likely),
        "components": {name: [n, named[name], rights[name]] for name, n in cases.items()},
    }
