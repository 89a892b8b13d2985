"""Every mutant that is generated from the reference's source dies, or is right for a reason."""

from __future__ import annotations

from collections import Counter
from functools import cache

import pytest

from attest.examination import ENOUGH, SHARED, Settings, examine
from attest.laws import Property
from attest.ledger import load_ledger, load_reference
from properties.families import PLAIN
from tests.mutants import Mutant, all_mutants
from tests.mutants.generated import MUTANTS

SURVIVORS: dict[tuple[str, str], str] = {}
"""Why a mutant is not wrong, or why no law can say so, by its component and name."""

BY_NAME = {(m.component, m.name): m for m in MUTANTS}
KILLED = [m for at, m in BY_NAME.items() if at not in SURVIVORS]
ALIVE = [BY_NAME[at] for at in SURVIVORS if at in BY_NAME]


def _id(mutant: Mutant) -> str:
    return f"{mutant.component}-{mutant.name}"


@cache
def _laws(component: str) -> list[Property]:
    """Give a component's laws, those first that kill most of what is written by hand."""
    killed = Counter(f"{m.component}.{killer}" for m in all_mutants() for killer in m.killers)
    own = [law for law in load_ledger().laws if law.component == component]
    return sorted(own, key=lambda law: -killed[law.id])


def _killer(mutant: Mutant, *examples: int) -> Property | None:
    """Give a law that a mutant dies of, looking at those first that killed others."""
    implementation, laws = mutant.implementation(), _laws(mutant.component)
    for wanted in examples:
        settings = Settings(examples=wanted, explain=False)
        for law in tuple(laws):
            status = examine(law, implementation, settings, load_reference()).status
            if status in {"refuted", "crashed"}:
                laws.remove(law)
                laws.insert(0, law)
                return law
    return None


@pytest.mark.slow
@pytest.mark.parametrize("mutant", KILLED, ids=map(_id, KILLED))
def test_a_changed_source_is_noticed_by_a_law(mutant: Mutant) -> None:
    assert _killer(mutant, ENOUGH, SHARED) is not None


@pytest.mark.slow
@pytest.mark.parametrize("mutant", ALIVE, ids=map(_id, ALIVE))
def test_what_is_not_wrong_survives(mutant: Mutant) -> None:
    assert _killer(mutant, ENOUGH) is None


def test_every_survivor_is_generated() -> None:
    assert sorted(SURVIVORS.keys() - BY_NAME.keys()) == []
