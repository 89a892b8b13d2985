"""A submission that fails like a known wrong version is told what that one's mistake is."""

from __future__ import annotations

import json

import pytest

from attest import mistakes
from attest.evidence import Evidence
from attest.ledger import load_ledger
from attest.mistakes import Known, known_mistakes, nearest, nearest_mistake

LAWS = frozenset("abcdefgh")


def known(name, mistake, fails):
    return Known(name, mistake, frozenset(fails))


TABLE = (
    known("one", "the mask comes too late", "abc"),
    known("two", "the mask comes too late", "abcd"),
    known("three", "the scale is missing", "aef"),
    known("four", "", "agh"),
)


def test_the_same_pattern_is_the_same_mistake():
    assert nearest(frozenset("abc"), LAWS, TABLE) == "the mask comes too late"
    assert nearest(frozenset("aef"), LAWS, TABLE) == "the scale is missing"


def test_a_pattern_may_differ_by_a_little():
    assert nearest(frozenset("bcd"), LAWS, TABLE) == "the mask comes too late"


def test_nothing_is_said_where_nothing_is_near():
    assert nearest(frozenset("bfh"), LAWS, TABLE) is None


def test_nothing_is_said_where_two_mistakes_are_as_near():
    again = known("five", "the keys are swapped", "abc")
    assert nearest(frozenset("abc"), LAWS, (*TABLE, again)) is None


def test_nothing_is_said_where_the_nearest_has_no_words():
    assert nearest(frozenset("agh"), LAWS, TABLE) is None


def test_nothing_is_said_of_what_fails_nothing():
    assert nearest(frozenset(), LAWS, TABLE) is None


def test_laws_that_do_not_apply_to_the_submission_do_not_count():
    applied = frozenset("abe")
    assert nearest(frozenset("ae"), applied, TABLE) == "the scale is missing"


def test_a_law_that_few_fail_tells_more():
    """All but one fail law a, so that it says little."""
    assert nearest(frozenset("gh"), LAWS, (known("x", "rare", "gh"), *TABLE[:3])) == "rare"
    assert nearest(frozenset("a"), LAWS, TABLE) is None


def test_nothing_is_known_without_a_table(monkeypatch, tmp_path):
    class Package:
        __file__ = str(tmp_path / "__init__.py")

    monkeypatch.setattr(mistakes, "own_package", lambda _: Package)
    monkeypatch.setattr(mistakes, "known_mistakes", known_mistakes.__wrapped__)
    assert mistakes.known_mistakes() == {}
    row = {"name": "one", "mistake": "the mask comes too late", "fails": [1, 0]}
    data = {"components": {"softmax": {"laws": ["a", "b"], "versions": [row]}}}
    (tmp_path / mistakes.TABLE).write_text(json.dumps(data))
    assert mistakes.known_mistakes()["softmax"] == (known("one", "the mask comes too late", "ab"),)


@pytest.fixture
def softmax_laws():
    return [prop for prop in load_ledger().laws if prop.component == "softmax"]


def test_evidence_of_one_component_is_compared_with_its_own_versions(monkeypatch, softmax_laws):
    failing = {prop.function.__name__ for prop in softmax_laws[:2]}
    table = {"softmax": (Known("one", "it is upside down", frozenset(failing)),)}
    monkeypatch.setattr(mistakes, "known_mistakes", lambda: table)
    evidence = [
        Evidence(prop, "refuted" if prop.function.__name__ in failing else "holds")
        for prop in softmax_laws
    ]
    assert nearest_mistake(evidence) == "it is upside down"
    assert nearest_mistake([Evidence(prop, "holds") for prop in softmax_laws]) is None
    assert nearest_mistake([Evidence(prop, "not_attempted") for prop in softmax_laws]) is None
