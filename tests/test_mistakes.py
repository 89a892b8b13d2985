"""What a mistake is in a student's words is told of mutants that exist, and of each but once."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.bugs import all_bugs
from tests.mutants import all_mutants
from tests.mutants.generated import MUTANTS as GENERATED
from tests.mutants.mistakes import KINDS, MISTAKES, RULES, kind_of, mistake_of, subject

WRONG = (*all_mutants(), *(bug.mutant for bug in all_bugs()))
FULL = {f"{mutant.component}.{mutant.name}" for mutant in WRONG}
COMPONENTS = Counter(mutant.name for mutant in WRONG)
ENTRIES = [entry for mutants in MISTAKES.values() for entry in mutants if isinstance(entry, str)]


def test_every_entry_is_a_mutant_or_a_name_that_several_components_have():
    assert [entry for entry in ENTRIES if "." in entry and entry not in FULL] == []
    assert [entry for entry in ENTRIES if "." not in entry and COMPONENTS[entry] < 2] == []


def test_no_mutant_has_two_sentences():
    named = {entry.rpartition(".")[2] for entry in ENTRIES if "." in entry}
    assert [entry for entry, times in Counter(ENTRIES).items() if times > 1] == []
    assert named & {entry for entry in ENTRIES if "." not in entry} == set()


def test_every_rule_finds_a_generated_mutant():
    described = [subject(mutant) for mutant in GENERATED]
    dead = [rule.pattern for rule, _ in RULES if not any(map(rule.search, described))]
    assert dead == []


def test_no_mutant_is_found_by_two_rules():
    found = Counter(
        described
        for rule, _ in RULES
        for described in map(subject, WRONG)
        if rule.search(described)
    )
    assert [described for described, times in found.items() if times > 1] == []


def test_every_sentence_is_made_by_two_mutants_or_more():
    said = [sentence for sentence in map(mistake_of, WRONG) if sentence is not None]
    made = Counter(said) + Counter(map(kind_of, said))
    assert [sentence for sentence in {*MISTAKES, *KINDS} if made[sentence] < 2] == []


def test_a_wider_sentence_is_that_of_narrower_ones():
    narrower = [sentence for sentences in KINDS.values() for sentence in sentences]
    assert [sentence for sentence in narrower if sentence not in MISTAKES] == []
    assert [sentence for sentence, times in Counter(narrower).items() if times > 1] == []
    assert set(narrower) & set(KINDS) == set()
    assert kind_of("the mask is ignored") == "what a mask should hide takes part all the same"
    assert kind_of("the inputs are overwritten") == "the inputs are overwritten"


@pytest.mark.parametrize("sentence", dict.fromkeys([*MISTAKES, *KINDS]))
def test_a_sentence_completes_another(sentence):
    assert sentence == sentence.lower().strip(" .")
    assert len(sentence.split()) >= 4


@pytest.mark.parametrize("mutants", [WRONG, GENERATED], ids=["all", "generated"])
def test_most_mutants_make_a_mistake_that_has_a_sentence(mutants):
    said = sum(mistake_of(mutant) is not None for mutant in mutants)
    assert said >= 0.85 * len(mutants)
