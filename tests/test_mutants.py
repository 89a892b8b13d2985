"""Every property kills a mutant, and every mutant is killed by the properties it names."""

from __future__ import annotations

import pytest

from attest.examination import Settings, examine
from attest.ledger import load_ledger, load_reference
from tests.mutants import Mutant, all_mutants

MUTANTS = tuple(all_mutants())
LEDGER = load_ledger()
CASES = [(m, killer) for m in MUTANTS for killer in m.killers]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mutant", "killer"), CASES, ids=[f"{m.component}-{m.name}-{k}" for m, k in CASES]
)
def test_a_mutant_dies_of_the_properties_it_names(mutant: Mutant, killer: str) -> None:
    (prop,) = [p for p in LEDGER.properties if p.id == f"{mutant.component}.{killer}"]
    evidence = examine(prop, mutant.implementation(), Settings(explain=False), load_reference())
    assert evidence.status in {"refuted", "crashed"}, evidence


def test_every_property_has_a_mutant_that_it_kills() -> None:
    killed = {f"{m.component}.{killer}" for m in MUTANTS for killer in m.killers}
    assert sorted({p.id for p in LEDGER.properties} - killed) == []


def test_no_mutant_names_a_property_that_is_not_there() -> None:
    named = {f"{m.component}.{killer}" for m in MUTANTS for killer in m.killers}
    assert sorted(named - {p.id for p in LEDGER.properties}) == []


def test_every_mutant_has_a_name_of_its_own() -> None:
    names = [(m.component, m.name) for m in MUTANTS]
    assert len(names) == len(set(names))
