"""Bugs that public projects shipped are all there, and die of the properties they name."""

from __future__ import annotations

import re

import pytest

from tests.bugs import INEXPRESSIBLE, ROWS, all_bugs
from tests.mutants import DEAD, Mutant
from tests.test_mutants import LEDGER, MUTANTS, each_killer, examined, named_by, names_of

BUGS = tuple(all_bugs())
WRONG = tuple(bug.mutant for bug in BUGS)


@pytest.mark.slow
@each_killer(WRONG)
def test_a_bug_dies_of_the_properties_it_names(mutant: Mutant, killer: str) -> None:
    evidence = examined(mutant, killer)
    assert evidence.status in DEAD, evidence


# What makes a bug last: a property that one thinks of first, and that holds.
MISSED = [
    ("causal_from_the_first_key", "a_causal_row_is_the_attention_of_its_beginning"),
    ("only_the_gradient_of_an_empty_row_is_nan", "a_query_without_any_key_stays_finite"),
    ("MaskedScoresAreThrownAway", "every_row_of_weights_sums_to_one"),
    ("ScaledByTheModelsWidth", "every_row_of_weights_sums_to_one"),
    ("DividedByTheScale", "every_row_of_weights_sums_to_one"),
    ("TheScaleIsLeftAtOne", "every_row_of_weights_sums_to_one"),
    ("MergedWithoutTranspose", "every_row_of_weights_sums_to_one"),
    ("MergedWithoutTranspose", "every_matrix_that_is_used_learns"),
    ("MasksAreTiledWhereHeadsOfAnItemAreNeighbours", "a_mask_that_allows_everything_is_no_mask"),
    ("logarithm_divided_too_early", "moving_on_is_the_same_rotation_everywhere"),
    ("whole_numbers_times_a_fraction", "moving_on_is_the_same_rotation_everywhere"),
    ("UnbiasedVariance", "adding_a_constant_to_a_token_changes_nothing"),
    ("TheLayersInputIsAddedTwiceBeforeTheNorm", "silent_sublayers_hand_the_tokens_on"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "weaker"), MISSED)
def test_a_weaker_property_misses_a_bug(name, weaker):
    (mutant,) = [mutant for mutant in WRONG if mutant.name == name]
    assert examined(mutant, weaker).status == "holds"


def test_the_rows_are_numbered_from_1_to_36():
    assert list(ROWS) == list(range(1, 37))


@pytest.mark.parametrize("row", ROWS)
def test_every_row_is_a_bug_or_has_a_reason(row):
    assert row in INEXPRESSIBLE or any(bug.row == row for bug in BUGS)


def test_every_reason_is_for_a_row_and_says_something():
    assert set(INEXPRESSIBLE) <= set(ROWS)
    ids = {prop.id for prop in LEDGER.properties}
    for reason in INEXPRESSIBLE.values():
        assert len(reason.split()) >= 10
        assert set(re.findall(r"\b[A-Z]\w+\.\w+", reason)) <= ids


@pytest.mark.parametrize("row", ROWS)
def test_a_source_is_a_repository_and_a_number(row):
    for source in ROWS[row].sources:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+ #[1-9]\d*", source), source


@pytest.mark.parametrize("row", sorted({bug.row for bug in BUGS}))
def test_the_bugs_of_a_row_reproduce_all_of_its_reports(row):
    reproduced = {source for bug in BUGS if bug.row == row for source in bug.sources}
    assert reproduced == set(ROWS[row].sources)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: f"{bug.row}-{bug.mutant.name}")
def test_a_bug_says_what_is_wrong_in_a_sentence(bug):
    first = bug.what.strip().splitlines()[0]
    assert first.endswith(".")
    assert bug.mutant.killers


def test_no_bug_names_a_property_that_is_not_there():
    assert sorted(named_by(WRONG) - {p.id for p in LEDGER.properties}) == []


def test_every_bug_has_a_name_of_its_own_and_is_no_mutant():
    names = names_of([*WRONG, *MUTANTS])
    assert len(names) == len(set(names))
