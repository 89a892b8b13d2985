"""What `make power` judges: what a version dies of, whether that costs points, what must not be."""

from __future__ import annotations

from copy import deepcopy
from types import SimpleNamespace

import pytest

import reference
from attest.contract import CONTRACT
from attest.evidence import Evidence
from attest.examination import _Examination
from attest.ledger import load_ledger, load_reference
from tests.mutants import Mutant, all_mutants
from tests.mutants.generated import Generated
from tests.power import matrix
from tests.power.__main__ import _cell, _data, _problems, _version
from tests.power.held_out import figures
from tests.power.matrix import (
    DEAR,
    LESS,
    MANY,
    Wrong,
    _examined,
    _said_already,
    as_it_is,
    changed_methods,
    costs_points,
    few,
)
from tests.power.pages import index, picture

# --- What must not be -----------------------------------------------------------------------------


def version(name, *, killers=(), named=(), reason=""):
    return {"id": f"softmax.{name}", "killers": killers, "named": named, "reason": reason}


CLEAN = {
    "wrong": [
        version("a", killers=["law"], named=["law"]),
        version("b", killers=["proof"]),
        version("c", reason="a free choice"),
    ],
    "components": {
        "softmax": {
            "properties": [{"name": "law", "kills": ["a"]}, {"name": "proof", "kills": ["b"]}]
        }
    },
    "alarms": {"cases": [{"style": "loops", "component": "softmax", "alarms": {}}]},
    "figures": {"reported": {"cases": 40, "said": 20, "right": 19}},
}


def changed(change):
    data = deepcopy(CLEAN)
    change(data)
    return _problems(data)


def test_a_clean_table_has_no_problem():
    assert _problems(CLEAN) == []


def test_a_version_that_survives_a_property_it_names_is_a_problem():
    problems = changed(lambda data: data["wrong"][0].update(named=["law", "other"]))
    assert problems == ["softmax.a survives other, which it names"]


def test_a_version_that_survives_needs_a_reason():
    problems = changed(lambda data: data["wrong"][2].update(reason=""))
    assert problems == ["softmax.c survives, and no reason is given"]


@pytest.mark.parametrize("killer", ["law", "proof"])
def test_a_reason_for_what_dies_is_a_problem(killer):
    problems = changed(lambda data: data["wrong"][2].update(killers=[killer]))
    assert problems == [f"softmax.c dies of {killer}, and is among the survivors"]


def test_a_property_that_kills_nothing_is_a_problem():
    problems = changed(lambda data: data["components"]["softmax"]["properties"][1].update(kills=[]))
    assert problems == ["softmax.proof kills nothing"]


def test_a_correct_style_that_loses_a_point_is_a_problem():
    alarm = {"law": "refuted: off by 1"}
    problems = changed(lambda data: data["alarms"]["cases"][0].update(alarms=alarm))
    assert problems == ["loops, which is correct, loses softmax.law: refuted: off by 1"]


def test_naming_wrong_mistakes_is_a_problem():
    problems = changed(lambda data: data["figures"]["reported"].update(right=18))
    assert problems == ["of 40 mistakes 20 were named, and 18 of them are right"]


def test_naming_hardly_any_mistake_is_a_problem():
    problems = changed(lambda data: data["figures"]["reported"].update(cases=240))
    assert problems == ["of 240 mistakes 20 were named, and 19 of them are right"]


# --- What costs points ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "cost"),
    [
        ({"law": 3}, True),
        ({"law": "never"}, True),
        ({"law": 0, "other": 1}, True),
        ({"law": 0, "proof": 2}, False),
        ({"proof": 2}, False),
        ({"law": 0}, False),
        ({}, False),
    ],
)
def test_a_version_costs_points_where_a_law_kills_it(cells, cost):
    assert costs_points(cells, ["law", "other"]) is cost


def wrong(killers=(), replaces=""):
    return Wrong(Mutant("mutant", "softmax", lambda x: x, killers, replaces), "written")


def test_what_takes_another_place_is_told():
    assert wrong().instead_of == ""
    assert wrong(replaces="softmax").instead_of == ""
    assert wrong(replaces="beam_search").instead_of == "beam_search"


def test_a_version_says_what_it_dies_of_and_what_of_that_is_a_crash():
    found = {"cells": {"law": 3, "other": 0, "proof": "never"}, "crashes": {"law": "it raised"}}
    said = _version(wrong(("law",)), found, ["law", "other"])
    assert said["killers"] == ["law", "proof"]
    assert said["crashes"] == ["law"]
    assert said["costs"]
    assert said["named"] == ["law"]
    assert [_cell(found, name) for name in ("law", "other", "proof", "more")] == [
        "3c",
        0,
        "never",
        "",
    ]


# --- How a version is examined --------------------------------------------------------------------


def prop(name, *, grades=True):
    return SimpleNamespace(name=name, id=name, grades=grades)


LAWS = [prop("slow"), prop("quick"), prop("rare"), prop("none")]
PROOF = prop("proof", grades=False)
SECONDS = {"slow": 9.0, "quick": 1.0, "rare": 10.0, "none": 5.0, "proof": 2.0}


@pytest.fixture
def examined(monkeypatch):
    """Examine a version by made-up properties, and say how each was asked."""

    def run(version, late=(), most=MANY, known=None, **statuses):
        asked = []

        def examine(prop, implementation, settings, reference):
            del implementation, reference
            asked.append((prop.name, settings))
            status, message = statuses.get(prop.name, "holds"), None
            if prop.name in late and settings is most:
                status, message = "refuted", late[prop.name]
            if prop.name == "rare" and settings == FEW and status == "holds":
                message = "not seen yet: it changes"
            return Evidence(prop, status, 2, seconds=SECONDS[prop.name], message=message)

        monkeypatch.setattr(matrix, "examine", examine)
        return matrix._examined(version, [*LAWS, PROOF], None, most, known or {}), asked

    return run


FEW = few("softmax")
ONCE = [(law.name, FEW) for law in LAWS]


def test_a_version_that_a_law_kills_is_examined_no_further(examined):
    found, asked = examined(wrong(), quick="refuted")
    assert asked == ONCE
    assert found["cells"] == {"slow": 0, "quick": 3, "rare": 0, "none": 0}
    assert found["crashes"] == {}


def test_a_version_that_only_a_proof_kills_gets_all_examples_of_all_laws(examined):
    found, asked = examined(wrong(("proof",)), proof="refuted")
    assert found["cells"]["proof"] == 3
    assert sorted(asked[len(ONCE) + 1 :]) == sorted((law.name, MANY) for law in LAWS)


def test_laws_are_tried_on_by_what_may_decide_soonest_until_one_kills(examined):
    _, asked = examined(wrong())
    assert [name for name, _ in asked[len(ONCE) :]] == ["rare", "quick", "none", "slow"]
    found, asked = examined(wrong(), late={"quick": "off by 1"})
    assert [name for name, _ in asked[len(ONCE) :]] == ["rare", "quick"]
    assert found["cells"]["quick"] == 3
    found, asked = examined(wrong(), late={"rare": "never in 100 examples: it changes"})
    assert asked[len(ONCE) :] == [("rare", MANY)]
    assert found["cells"]["rare"] == "never"


def test_a_law_that_has_not_decided_comes_early(examined):
    _, asked = examined(wrong(), slow="undecided")
    assert [name for name, _ in asked[len(ONCE) :]] == ["slow", "rare", "quick", "none"]


def test_a_law_that_does_not_apply_has_no_cell_and_is_not_asked_again(examined):
    found, asked = examined(wrong(), none="not_applicable")
    assert "none" not in found["cells"]
    assert [name for name, _ in asked].count("none") == 1


def test_a_crash_is_a_kill_that_is_told_apart(examined):
    found, _ = examined(wrong(), slow="crashed", quick="refuted")
    assert found["cells"]["slow"] == found["cells"]["quick"] == 3
    assert list(found["crashes"]) == ["slow"]


def test_a_property_that_is_named_and_survived_gets_all_examples(examined):
    _, asked = examined(wrong(("slow",)), quick="refuted")
    assert asked == [*ONCE, ("slow", MANY)]


def test_what_takes_another_place_is_examined_by_what_it_names_alone(examined):
    found, asked = examined(wrong(("proof",), "beam_search"), proof="refuted")
    assert asked == [("proof", MANY)]
    assert found["cells"] == {"proof": 3}


def test_what_is_known_is_not_asked_until_all_examples_are(examined):
    known = {"slow": Evidence(LAWS[0], "holds", 6), "none": Evidence(LAWS[3], "not_applicable")}
    found, asked = examined(wrong(), known=known)
    assert [name for name, _ in asked] == ["quick", "rare", "rare", "slow", "quick"]
    assert found["cells"] == {"slow": 0, "quick": 0, "rare": 0}


@pytest.fixture(scope="module")
def plain():
    laws = [law for law in load_ledger().laws if law.component == "Seq2Seq"]
    return laws, {law.id: as_it_is(law) for law in laws}


class Steps(reference.Seq2Seq):
    """Has another step, and what that uses."""

    def step(self, token, state):
        return super().step(self.other(token), state)

    def other(self, token):
        return token.flip(0)


class Larger(reference.Seq2Seq):
    size = 3

    def step(self, token, state):
        return super().step(token, state * self.size)


class Moves(reference.Seq2Seq):
    def train(self, mode):
        return super().train(not mode)


class Shadows(reference.Seq2Seq):
    """Has a method where the reference keeps a module."""

    def output(self, x):
        return x


class Kept(reference.Decoder):
    def forward(self, x, memory, self_mask=None, memory_mask=None):
        return super().forward(x, memory, memory_mask, self_mask)


@pytest.mark.parametrize(
    ("component", "target", "methods"),
    [
        ("Seq2Seq", Steps, {"Seq2Seq.step"}),
        ("Seq2Seq", Larger, {"Seq2Seq.step"}),
        ("Seq2Seq", Moves, set()),
        ("Seq2Seq", Shadows, set()),
        ("Seq2Seq", reference.AttentionSeq2Seq, set()),
        ("Decoder", Kept, {"Decoder.forward"}),
        ("softmax", lambda x, dim: x, set()),
    ],
)
def test_which_methods_a_version_has_of_its_own(component, target, methods):
    assert changed_methods(Mutant("mutant", component, target)) == methods


@pytest.mark.parametrize("method", ["Seq2Seq.step", "Seq2Seq.encode"])
def test_a_law_that_does_not_run_what_is_changed_says_what_it_says_of_the_reference(method, plain):
    laws, said = plain
    changed = next(m for m in all_mutants() if isinstance(m, Generated) and m.method == method)
    known = _said_already(changed, said)
    assert len(known) < len(laws) / 2
    assert bool(known) is (method == "Seq2Seq.step")  # all laws encode
    quick = [law for law in laws if law.id in known]
    version = Wrong(changed, "generated")
    none = {e.prop.name: 0 for e in known.values() if e.status != "not_applicable"}
    assert _examined(version, quick, load_reference(), few("Seq2Seq"), {})["cells"] == none


def test_what_the_reference_itself_dies_of_is_copied_into_no_version(monkeypatch, plain):
    (law, *_), _ = plain
    monkeypatch.setattr(matrix, "examine", lambda *_: Evidence(law, "refuted", message="off by 1"))
    with pytest.raises(RuntimeError, match="of the reference: refuted: off by 1"):
        as_it_is(law)


def test_a_version_of_which_it_is_not_known_what_is_changed_is_asked_everything(plain):
    assert _said_already(Mutant("mutant", "Seq2Seq", Moves), plain[1]) == {}
    outside = next(m for m in all_mutants() if isinstance(m, Generated) and not m.method)
    assert _said_already(outside, plain[1]) == {}


def test_fewer_examples_are_the_first_ones_of_a_grade():
    for component in CONTRACT:
        assert LESS.drawn_for == few(component).drawn_for == MANY.examples
        assert few(component).examples < LESS.examples < MANY.examples
    assert {"Encoder", "Decoder", "Transformer", "Seq2Seq", "AttentionSeq2Seq"} == DEAR
    assert {name for name in CONTRACT if few(name) != few("softmax")} == DEAR


def test_the_fewest_examples_are_in_both_precisions():
    law = next(law for law in load_ledger().laws if not law.dtypes)
    dtypes = _Examination(law, load_reference(), None, MANY).dtypes
    assert set(dtypes[: min(few(name).examples for name in CONTRACT)]) == {"float64", "float32"}


# --- The pages ------------------------------------------------------------------------------------


@pytest.fixture
def data():
    """What a run of three versions of LayerNorm and one of something beside it would give."""
    ledger = load_ledger().only(["LayerNorm"])
    laws = [p.name for p in ledger.properties if p.grades]
    proof = next(p.name for p in ledger.properties if not p.grades)

    def one(name, replaces=""):
        return Wrong(Mutant(name, "LayerNorm", None, (), replaces), "written")

    versions = [one("costs"), one("argued"), one("survives"), one("beside", "greedy")]
    cells = [{laws[0]: 2}, {laws[0]: 0, proof: 1}, {laws[0]: 0}, {proof: 1}]
    found = {
        w.id: {"cells": own, "crashes": {laws[0]: "it raised"} if w is versions[0] else {}}
        for w, own in zip(versions, cells, strict=True)
    }
    told = {**figures([]), "interval": [0, 1]}
    judged = {"held_out": [], "figures": {"reported": told, "chosen on": told}}
    return _data(ledger, versions, found, []) | judged


def test_versions_that_cost_points_are_counted_apart_from_those_that_refute_an_argument(data):
    page = index(data)
    assert "Of 4 wrong versions of 1 components, **1 cost a submission points**" in page
    assert "2 refute an argument about the reference and nothing that is graded" in page
    assert "1 die of errors alone" in page
    heads = ["## Components that no law notices", "## Other parts of the reference", "## Survivors"]
    parts = [page.index(head) for head in heads]
    for name, (start, end) in {
        "argued": parts[:2],
        "beside": parts[1:],
        "survives": (parts[2], len(page)),
    }.items():
        assert f"`LayerNorm.{name}`" in page[start:end]


def test_the_picture_has_no_row_for_what_takes_another_place(data):
    assert len(data["components"]["LayerNorm"]["cells"]) == 3
    assert "3 wrong versions" in picture(data["components"])
