"""A submission that fails like a known wrong version is told what that one's mistake is."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from attest import mistakes
from attest.evidence import Evidence
from attest.ledger import load_ledger
from attest.mistakes import FIRST, Known, known_mistakes, nearest, nearest_mistake

LAWS = frozenset("abcdefghijklmnopqr")


failing = frozenset


def known(name, mistake, laws):
    return Known(name, mistake, frozenset(laws))


TABLE = (
    *(known(name, "the mask comes too late", "abc") for name in ("a", "b", "c")),
    *(known(name, "the scale is missing", "aef") for name in ("d", "e", "f")),
    *(known(name, "", "agh") for name in ("g", "h", "i")),
    *(known(name, "the keys are swapped", "dh") for name in ("j", "k")),
)


def test_the_same_pattern_is_the_same_mistake():
    assert nearest(failing("abc"), LAWS, TABLE) == "the mask comes too late"
    assert nearest(failing("aef"), LAWS, TABLE) == "the scale is missing"


def test_a_pattern_may_differ_by_a_little():
    versions = [known(name, "it is upside down", "ijklmnopq") for name in ("x", "y", "z")]
    assert nearest(failing("ijklmnop"), LAWS, (*TABLE, *versions)) == "it is upside down"
    assert nearest(failing("ijklm"), LAWS, (*TABLE, *versions)) is None


def test_nothing_is_said_where_nothing_is_near():
    assert nearest(failing("bfh"), LAWS, TABLE) is None


def test_nothing_is_said_where_another_mistake_is_as_near():
    again = known("m", "the keys are swapped", "abc")
    assert nearest(failing("abc"), LAWS, (*TABLE, again)) is None


def test_nothing_is_said_where_the_nearest_has_no_words():
    assert nearest(failing("agh"), LAWS, TABLE) is None


def test_nothing_is_said_where_two_versions_alone_are_near():
    assert nearest(failing("dh"), LAWS, TABLE) is None
    again = known("m", "the keys are swapped", "dh")
    assert nearest(failing("dh"), LAWS, (*TABLE, again)) == "the keys are swapped"


def test_nothing_is_said_of_what_fails_nothing():
    assert nearest(frozenset(), LAWS, TABLE) is None


def test_laws_that_do_not_apply_to_the_submission_do_not_count():
    assert nearest(failing("ae"), frozenset("abe"), TABLE) == "the scale is missing"


def test_nothing_is_known_without_a_table(monkeypatch, tmp_path):
    class Package:
        __file__ = str(tmp_path / "__init__.py")

    monkeypatch.setattr(mistakes, "own_package", lambda _: Package)
    monkeypatch.setattr(mistakes, "known_mistakes", known_mistakes.__wrapped__)
    assert mistakes.known_mistakes() == {}
    row = {
        "name": "one",
        "mistake": "the mask comes too late",
        "fails": [1, 0],
    }
    data = {"components": {"softmax": {"laws": ["a", "b"], "versions": [row]}}}
    (tmp_path / mistakes.TABLE).write_text(json.dumps(data))
    assert mistakes.known_mistakes()["softmax"] == (known("one", "the mask comes too late", "ab"),)


@pytest.fixture
def softmax_laws():
    return [prop for prop in load_ledger().laws if prop.component == "softmax"]


def test_evidence_of_one_component_is_compared_with_its_own_versions(monkeypatch, softmax_laws):
    names = [prop.function.__name__ for prop in softmax_laws[:2]]
    versions = tuple(known(name, "it is upside down", names) for name in ("one", "two", "three"))
    monkeypatch.setattr(mistakes, "known_mistakes", lambda: {"softmax": versions})
    evidence = [
        Evidence(prop, "refuted", message="the output: off by 1")
        if prop.function.__name__ in names
        else Evidence(prop, "holds")
        for prop in softmax_laws
    ]
    assert nearest_mistake(evidence) == "it is upside down"
    late = [replace(e, examples=FIRST) if e.status == "refuted" else e for e in evidence]
    assert nearest_mistake(late) is None
    assert nearest_mistake([Evidence(prop, "holds") for prop in softmax_laws]) is None
    assert nearest_mistake([Evidence(prop, "not_attempted") for prop in softmax_laws]) is None
