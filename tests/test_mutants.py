"""Every property kills a mutant, and every mutant is killed by the properties it names."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from attest.evidence import Evidence
from attest.examination import Settings, examine
from attest.ledger import load_ledger, load_reference
from tests.bugs import all_bugs
from tests.mutants import DEAD, Mutant, all_mutants

MUTANTS = tuple(all_mutants())
LEDGER = load_ledger()


def each_killer(mutants: Iterable[Mutant]) -> pytest.MarkDecorator:
    """Parametrise a test with every mutant and each of the properties that it names."""
    cases = [(m, killer) for m in mutants for killer in m.killers]
    ids = [f"{m.component}-{m.name}-{k}" for m, k in cases]
    return pytest.mark.parametrize(("mutant", "killer"), cases, ids=ids)


def examined(mutant: Mutant, law: str) -> Evidence:
    """Examine the mutant by a property of its component."""
    (prop,) = [p for p in LEDGER.properties if p.id == f"{mutant.component}.{law}"]
    return examine(prop, mutant.implementation(), Settings(explain=False), load_reference())


def named_by(mutants: Iterable[Mutant]) -> set[str]:
    """Give the ids of the properties that mutants name."""
    return {f"{m.component}.{killer}" for m in mutants for killer in m.killers}


def names_of(mutants: Iterable[Mutant]) -> list[tuple[str, str]]:
    """Give what tells mutants apart."""
    return [(m.component, m.name) for m in mutants]


@pytest.mark.slow
@each_killer(MUTANTS)
def test_a_mutant_dies_of_the_properties_it_names(mutant: Mutant, killer: str) -> None:
    evidence = examined(mutant, killer)
    assert evidence.status in DEAD, evidence


def test_every_property_has_a_mutant_that_it_kills() -> None:
    """A bug that somebody made in earnest is a mutant, too."""
    killed = named_by([*MUTANTS, *(bug.mutant for bug in all_bugs())])
    assert sorted({p.id for p in LEDGER.properties} - killed) == []


def test_no_mutant_names_a_property_that_is_not_there() -> None:
    assert sorted(named_by(MUTANTS) - {p.id for p in LEDGER.properties}) == []


def test_every_mutant_has_a_name_of_its_own() -> None:
    names = names_of(MUTANTS)
    assert len(names) == len(set(names))
