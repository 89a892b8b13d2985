"""The nearest mistake: of all wrong versions that are known, the one that fails as this one does.

A table that comes with the properties says which laws each of many wrong versions fails, and what
its mistake is, in a student's words. A submission's pattern of failed laws is compared with theirs.
Laws that few wrong versions fail tell more than those that most fail. A mistake is named only where
known patterns of it are very near and every pattern of another mistake is clearly farther, which is
right nearly always: `make power` measures how often, with each wrong version held out in turn.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from attest.evidence import Evidence
from attest.ledger import own_package

__all__ = ["FIRST", "TABLE", "Known", "known_mistakes", "nearest", "nearest_mistake"]

TABLE = "mistakes.json"

FIRST = 6
"""A law counts as failed within so many examples; those that fail later are the chancy ones."""

# How alike two patterns are, from 0 to 1, is the share of what either fails that both fail. The
# nearest version has to be this near, every version with another mistake that much farther, and
# two more versions with this mistake beside it. Otherwise what is said would be wrong more often
# than once in twenty.
NEAR = 0.8
APART = 0.3
TOGETHER = 3
BESIDE = 0.15

_FAILED = {"refuted", "crashed"}


@dataclass(frozen=True)
class Known:
    """A wrong version of a component.

    Attributes:
        name: its name.
        mistake: what is wrong, in a student's words; empty where nobody has said.
        fails: the names of the laws that it fails within the first examples.
    """

    name: str
    mistake: str
    fails: frozenset[str]


def nearest(failed: frozenset[str], applied: frozenset[str], known: Sequence[Known]) -> str | None:
    """Give the mistake of the known version that fails like this one, if it is clear which.

    Args:
        failed: the laws that failed within the first examples.
        applied: all laws that were examined and apply.
        known: wrong versions of the same component.

    Returns:
        The mistake, or None where nothing is near enough, or two mistakes are equally near.
    """
    if not failed:
        return None
    counts = Counter(law for one in known for law in one.fails)
    weigh = {law: math.log((len(known) + 1) / (counts[law] + 0.5)) for law in applied}

    def alike(one: Known) -> float:
        theirs = one.fails & applied
        either = sum(weigh[law] for law in theirs | failed)
        return sum(weigh[law] for law in theirs & failed) / either if either else 0.0

    ranked = sorted(((alike(one), one.mistake) for one in known), reverse=True)
    if not ranked:
        return None
    near, mistake = ranked[0]
    second = max((other for other, said in ranked if said != mistake), default=0.0)
    together = sum(said == mistake and near - other <= BESIDE for other, said in ranked)
    clear = near >= NEAR and near - second >= APART and together >= TOGETHER
    return mistake if mistake and clear else None


@cache
def known_mistakes() -> dict[str, tuple[Known, ...]]:
    """Read the table that comes with the properties; by component, nothing where there is none."""
    path = Path(str(own_package("properties").__file__)).parent / TABLE
    if not path.exists():
        return {}
    return {
        name: _known(found) for name, found in json.loads(path.read_text())["components"].items()
    }


def _known(found: dict[str, Any]) -> tuple[Known, ...]:
    laws, versions = found["laws"], found["versions"]
    return tuple(
        Known(one["name"], one["mistake"], frozenset(laws[i] for i in one["fails"]))
        for one in versions
    )


def nearest_mistake(evidence: Iterable[Evidence]) -> str | None:
    """Give the nearest mistake of one component, from what examining its laws gave."""
    found = [e for e in evidence if e.status not in {"not_applicable", "not_attempted"}]
    components = {e.prop.component for e in found}
    if len(components) != 1:
        return None
    failed = frozenset(e.prop.name for e in found if e.status in _FAILED and e.examples < FIRST)
    applied = frozenset(e.prop.name for e in found)
    (component,) = components
    return nearest(failed, applied, known_mistakes().get(component, ()))
