"""The table of known mistakes, and how often it names the right one of a version held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from attest.contract import CONTRACT
from attest.ledger import Ledger
from attest.mistakes import FIRST, Known, nearest
from tests.mutants.mistakes import mistake_of
from tests.power.matrix import Wrong

__all__ = ["HeldOut", "held_out", "patterns", "table_of_mistakes"]


@dataclass(frozen=True)
class HeldOut:
    """What was said of one wrong version when the table did not know it.

    Attributes:
        id: the version.
        mistake: what its mistake is; empty where it has no words.
        said: what it was said to behave like; empty where nothing was said.
    """

    id: str
    mistake: str
    said: str

    @property
    def right(self) -> bool:
        """Whether what was said is its mistake."""
        return bool(self.said) and self.said == self.mistake


def patterns(
    wrong: Sequence[Wrong], found: Mapping[str, Any], ledger: Ledger
) -> dict[str, list[tuple[Known, frozenset[str]]]]:
    """Give by component what each wrong version fails, and which laws applied to it.

    A version that fails nothing is left out.
    """
    laws = {prop.id for prop in ledger.laws}
    known: dict[str, list[tuple[Known, frozenset[str]]]] = {name: [] for name in CONTRACT}
    for w in wrong:
        component = w.mutant.component
        cells = {n: d for n, d in found[w.id]["cells"].items() if f"{component}.{n}" in laws}
        fails = frozenset(n for n, died in cells.items() if died != "never" and 0 < died <= FIRST)
        if fails:
            one = Known(w.mutant.name, mistake_of(w.mutant) or "", fails)
            known[component].append((one, frozenset(cells)))
    return known


def table_of_mistakes(
    known: Mapping[str, Sequence[tuple[Known, frozenset[str]]]], ledger: Ledger
) -> dict[str, Any]:
    """Give the table that comes with the properties, as data."""
    components = {}
    for name, versions in known.items():
        laws = [p.function.__name__ for p in ledger.laws if p.component == name]
        components[name] = {
            "laws": laws,
            "versions": [
                {
                    "name": one.name,
                    "mistake": one.mistake,
                    "fails": [i for i, law in enumerate(laws) if law in one.fails],
                }
                for one, _ in versions
            ],
        }
    return {"written_by": "make power", "schema": 1, "components": components}


def held_out(
    known: Mapping[str, Sequence[tuple[Known, frozenset[str]]]],
) -> list[HeldOut]:
    """Hold out each version in turn, and ask the others what it behaves like.

    With a generated version all are held out that one operator made of one place.
    """
    results = []
    for component, versions in known.items():
        for one, applied in versions:
            place = one.name.partition(":")[0]
            others = [other for other, _ in versions if other.name.partition(":")[0] != place]
            said = nearest(one.fails, applied, others) or ""
            results.append(HeldOut(f"{component}.{one.name}", one.mistake, said))
    return results
