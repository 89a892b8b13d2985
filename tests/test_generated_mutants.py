"""Every mutant that is generated from the reference's source dies, or is right for a reason."""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import cache

import pytest

from attest.examination import ENOUGH, SHARED, Settings, examine
from attest.laws import Property
from attest.ledger import load_ledger, load_reference
from tests.mutants import DEAD, all_mutants
from tests.mutants.generated import (
    COMPOSITES,
    FREE,
    INSIDE,
    MUTANTS,
    Generated,
    _inner,
    _name,
    left_out,
)
from tests.mutants.survivors import RIGHT_INSIDE, SURVIVORS

BY_NAME = {(m.component, m.name): m for m in MUTANTS}
KILLED = [m for at, m in BY_NAME.items() if at not in SURVIVORS]
ALIVE = [BY_NAME[at] for at in SURVIVORS if at in BY_NAME]


def _id(mutant: Generated) -> str:
    return f"{mutant.component}-{mutant.name}"


# The names of the laws that killed what an operator gave, the latest first.
_LATEST: defaultdict[str, list[str]] = defaultdict(list)


@cache
def _laws(component: str) -> list[Property]:
    """Give a component's laws, those first that kill most of what is written by hand."""
    killed = Counter(f"{m.component}.{killer}" for m in all_mutants() for killer in m.killers)
    own = [law for law in load_ledger().laws if law.component == component]
    return sorted(own, key=lambda law: -killed[law.id])


def _killer(mutant: Generated, *examples: int) -> str | None:
    """Give a law that a mutant dies of, looking at those first that killed others like it."""
    implementation, latest = mutant.implementation(), _LATEST[mutant.operator]
    names = {law.function.__name__: law for law in _laws(mutant.component)}
    order = sorted(names, key=lambda name: latest.index(name) if name in latest else len(latest))
    for wanted in examples:
        settings = Settings(examples=wanted, explain=False)
        for name in order:
            status = examine(names[name], implementation, settings, load_reference()).status
            if status in DEAD:
                latest[:] = [name, *(other for other in latest if other != name)]
                return name
    return None


@pytest.mark.slow
@pytest.mark.parametrize("mutant", KILLED, ids=map(_id, KILLED))
def test_a_changed_source_is_noticed_by_a_law(mutant: Generated) -> None:
    assert _killer(mutant, ENOUGH, SHARED) is not None, f"no law of {mutant.component} notices"


@pytest.mark.slow
@pytest.mark.parametrize("mutant", ALIVE, ids=map(_id, ALIVE))
def test_what_is_said_to_survive_does(mutant: Generated) -> None:
    assert _killer(mutant, ENOUGH) is None


def test_every_survivor_is_generated() -> None:
    assert sorted(SURVIVORS.keys() - BY_NAME.keys()) == []


def test_composites_get_mistakes_of_every_part_one_of_an_operator() -> None:
    parts = {"attention", "feed_forward", "layer_norm", "multi_head_attention", "softmax"}
    for composite in COMPOSITES:
        inside = [(unit, change) for of, unit, change in _inner() if of == composite]
        operators = [change.operator for _, change in inside]
        assert len(operators) == len(set(operators)) <= INSIDE
        assert parts <= {unit.module.removeprefix("reference.") for unit, _ in inside}


def test_what_is_right_in_a_part_is_not_taken_for_wrong_in_a_whole() -> None:
    right = {*RIGHT_INSIDE, *(name for _, name in SURVIVORS)}
    assert not right & {_name(unit, change) for _, unit, change in _inner()}


def test_what_is_left_out_is_made_nowhere() -> None:
    without = {(one.component, one.name) for one in left_out()}
    assert not without & BY_NAME.keys()
    places = {
        (*name.partition(":")[0].split(", "),) for _, name in without if name not in RIGHT_INSIDE
    }
    assert places == set(FREE)


def test_what_is_right_inside_is_a_mistake_where_it_belongs() -> None:
    of_parts = {name for component, name in BY_NAME if component not in COMPOSITES}
    assert RIGHT_INSIDE.keys() <= of_parts
