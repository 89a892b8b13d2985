"""The nearest mistake: of all wrong versions that are known, the one that fails as this one does.

A table that comes with the properties says which laws each of many wrong versions fails, at which
example, and what its mistake is, in a student's words. A submission's pattern of failed laws is
compared with those of its own component's versions, and with those of other components that obey
many of the same laws, such as another attention. Laws that few versions fail tell more than those
that most fail.

Many mistakes fail alike, so there are two sentences for most: one that says what is wrong, and a
wider one that it shares with others of its kind. The wider one is said where known patterns of that
kind are very near, and every other pattern is clearly farther; it is right nearly always. The
narrower one is added as what is most likely where it stands out among all others. How often both
are right is measured by `make power`, with each wrong version held out in turn. The table knows the
examples of the default settings; of other examples nothing is said.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from attest.contract import CONTRACT
from attest.evidence import Evidence
from attest.examination import Settings
from attest.ledger import own_package

__all__ = ["TABLE", "Known", "Said", "first_of", "known_mistakes", "nearest", "nearest_mistake"]

TABLE = "mistakes.json"

# A law counts as failed within so many examples; those that fail later are the chancy ones. One of
# them is in float32. Where something runs layers or steps, laws take long and are alike.
FIRST, FIRST_OF_MANY_PARTS = 6, 4

# How alike two patterns are, from 0 to 1, is the share of what either fails that both fail. A law
# that they fail at different examples counts for less. Of two components only the laws of both
# count, of which there have to be some, and among them half of what the submission fails.
ELSEWHERE = 0.7
LAWS_IN_COMMON = 20
COVERED = 0.5

# What is said rests on a version with the same pattern, or with nearly the same one where many laws
# fail. All that says otherwise is farther by a margin, and other versions say it too: one, or
# three where hardly any law failed. In its own component patterns of several laws may be nearer to
# others, as long as two versions, or one where very many laws fail, have the same one.
SAME = 0.97
NEARLY, MANY = 0.8, 8
BESIDE = 0.1
FEW = 2
SEVERAL = 5
VERY_MANY = 12

# Whether a wrong version fails one law in so many, and at which example, may be a matter of the
# processor's rounding.
PER_LAW = 25

# What fails nearly everything has an error to show, and no pattern.
MOST = 0.7

_FAILED = {"refuted", "crashed"}


@dataclass(frozen=True)
class Known:
    """A wrong version of a component.

    Attributes:
        component: the component.
        name: its name.
        mistake: what is wrong, in a student's words; empty where nobody has said.
        kind: a wider sentence, which is true of other versions as well; the same one where there
            is none, and empty where nobody has said.
        fails: by the names of the laws that it fails within the first examples, at which example.
        laws: the names of all laws of the component.
    """

    component: str
    name: str
    mistake: str
    kind: str
    fails: Mapping[str, int]
    laws: frozenset[str]

    @property
    def place(self) -> str:
        """What generated versions share that one operator made of one place; else the name."""
        return self.name.partition(":")[0]


@dataclass(frozen=True)
class Said:
    """What is said of a submission.

    Attributes:
        kind: what is nearly certain.
        likely: what is most likely of all that it may be; empty where that is not clear.
    """

    kind: str
    likely: str = ""

    def __str__(self) -> str:
        return f"{self.kind}; most likely {self.likely}" if self.likely else self.kind


@dataclass(frozen=True)
class _Level:
    """Which sentence of a version is meant, and how clear it has to be."""

    of: Callable[[Known], str]
    apart: float
    covered: float
    rounding: bool = False


_KIND = _Level(lambda known: known.kind, apart=0.15, covered=COVERED, rounding=True)
_MISTAKE = _Level(lambda known: known.mistake, apart=0.3, covered=0.8)


@dataclass(frozen=True)
class _Near:
    """A known version beside a pattern: how alike they are, and of how much that could be said."""

    known: Known
    alike: float
    covered: float
    own: bool
    differ: int = 0  # how many laws only one of both fails, or both at different examples


def nearest(
    component: str,
    failed: Mapping[str, int],
    applied: frozenset[str],
    known: Iterable[Known],
) -> Said | None:
    """Say what a pattern of failed laws behaves like, where that is clear.

    Args:
        component: the component.
        failed: by the names of the laws that failed within the first examples, at which example.
        applied: all laws that were examined and apply.
        known: wrong versions, of other components, too.
    """
    if not failed or len(failed) >= MOST * len(applied):
        return None
    ranked = _ranked(component, failed, applied, known)
    kind = _clear(ranked, _KIND, len(failed))
    if kind is None:
        return None
    likely = _clear(ranked, _MISTAKE, len(failed))
    narrower = any(near.known.kind == kind for near in ranked if near.known.mistake == likely)
    return Said(kind, likely if likely and likely != kind and narrower else "")


def _ranked(
    component: str, failed: Mapping[str, int], applied: frozenset[str], known: Iterable[Known]
) -> list[_Near]:
    """Give those versions that can be compared, the most alike first."""
    versions = list(known)
    own = [one for one in versions if one.component == component]
    counts = Counter(law for one in own for law in one.fails)
    weigh = {law: math.log((len(own) + 1) / (counts[law] + 0.5)) for law in applied}

    def weight(laws: Iterable[str]) -> float:
        return math.fsum(weigh[law] for law in laws)  # whatever their order

    total = weight(failed)
    found = []
    for one in versions:
        is_own, common = one.component == component, applied & one.laws
        if not is_own and len(common) < LAWS_IN_COMMON:
            continue
        both = failed.keys() & one.fails.keys() & common
        either = weight((failed.keys() | one.fails.keys()) & common)
        elsewhere = {law for law in both if is_own and failed[law] != one.fails[law]}
        alike = weight(both) - (1 - ELSEWHERE) * weight(elsewhere)
        covered = weight(failed.keys() & common) / total if total else 0.0
        if either and (is_own or covered >= COVERED):
            differ = len((failed.keys() ^ one.fails.keys()) & common) + len(elsewhere)
            share = 1.0 if is_own else covered
            found.append(_Near(one, alike / either, share, is_own, differ))
    return sorted(found, key=lambda near: (-near.alike, not near.own))


def _clear(ranked: Sequence[_Near], level: _Level, failed: int) -> str | None:
    """Give the sentence of the most alike, if it is clear that it is that one."""
    ranked = [near for near in ranked if near.covered >= level.covered]
    if not ranked:
        return None
    top, said = ranked[0].alike, level.of(ranked[0].known)
    if not said or top < (NEARLY if failed >= MANY else SAME):
        return None
    other = max((near.alike for near in ranked if level.of(near.known) != said), default=0.0)

    def versions(near: Iterable[_Near]) -> int:
        return len({one.known.place for one in near if level.of(one.known) == said})

    beside = (near for near in ranked if top - near.alike <= BESIDE)
    if top - other >= level.apart and versions(beside) >= (2 if failed > FEW else 4):
        return said
    few = failed // PER_LAW if level.rounding else 0
    same = [near for near in ranked if near.own and (near.alike >= SAME or 0 < near.differ <= few)]
    agreed = ranked[0].own and all(level.of(near.known) == said for near in same)
    enough = versions(same) >= (2 if failed < VERY_MANY else 1)
    return said if failed >= SEVERAL and agreed and enough else None


@cache
def known_mistakes() -> tuple[Known, ...]:
    """Read the table that comes with the properties; nothing where there is none."""
    path = Path(str(own_package("properties").__file__)).parent / TABLE
    if not path.exists():
        return ()
    table = json.loads(path.read_text())
    wider = {one: kind for kind, sentences in table["kinds"].items() for one in sentences}
    return tuple(
        Known(
            component,
            one["name"],
            one["mistake"],
            wider.get(one["mistake"], one["mistake"]),
            _fails(one["fails"], found["laws"]),
            frozenset(found["laws"]),
        )
        for component, found in table["components"].items()
        for one in found["versions"]
    )


def _fails(written: str, laws: Sequence[str]) -> dict[str, int]:
    """Read which laws a version fails: the number of each, and at which example it failed."""
    pairs = (pair.split(":") for pair in written.split())
    return {laws[int(index)]: int(example) for index, example in pairs}


def first_of(component: str) -> int:
    """Say within how many examples a law of a component has to fail to count."""
    spec = CONTRACT[component]
    many = bool(spec.methods) or "n_layers" in (spec.constructor or ())
    return FIRST_OF_MANY_PARTS if many else FIRST


def nearest_mistake(evidence: Iterable[Evidence], settings: Settings) -> str | None:
    """Give the nearest mistake of one component, from what examining its laws gave.

    Args:
        evidence: what it gave.
        settings: how they were examined; the table knows the first examples of the default ones.
    """
    usual = Settings()
    same = all(
        getattr(settings, name) == getattr(usual, name) for name in ("seed", "dtype", "device")
    )
    if not same or settings.examples < usual.examples:
        return None
    found = [e for e in evidence if e.status not in {"not_applicable", "not_attempted"}]
    components = {e.prop.component for e in found}
    if len(components) != 1:
        return None
    failed = {e.prop.name: e.examples + 1 for e in found if _soon(e)}
    (component,) = components
    said = nearest(component, failed, frozenset(e.prop.name for e in found), known_mistakes())
    return None if said is None else str(said)


def _soon(evidence: Evidence) -> bool:
    return evidence.status in _FAILED and evidence.examples < first_of(evidence.prop.component)
