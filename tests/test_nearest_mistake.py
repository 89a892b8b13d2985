"""A submission that fails like known wrong versions is told what their mistake is."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import reference
from attest import mistakes
from attest.evidence import Evidence
from attest.examination import Settings, examine
from attest.grading import grade
from attest.implementations import LocalImplementation
from attest.ledger import load_ledger, load_reference
from attest.mistakes import Known, Said, first_of, known_mistakes, nearest, nearest_mistake
from attest.sandbox import trusted
from tests.mutants import Mutant
from tests.power.held_out import (
    HeldOut,
    Pattern,
    figures,
    held_out,
    patterns,
    table_of_mistakes,
)
from tests.power.matrix import Wrong, few
from tests.sources import ROOT

# --- Patterns -------------------------------------------------------------------------------------

HERE = trusted("cpu", why="a test")
LAWS = frozenset("abcdefghijklmnopqrstuvwxyz")

MASK, SCALE, AXIS = "the mask comes too late", "the scale is missing", "an axis is swapped"


def fails(laws, example=1):
    return dict.fromkeys(laws, example)


def known(name, kind, laws, mistake="", component="softmax", example=1, every=LAWS):
    return Known(component, name, mistake or kind, kind, fails(laws, example), frozenset(every))


TABLE = (
    *(known(name, MASK, "abc") for name in ("a", "b")),
    *(known(name, SCALE, "aef") for name in ("d", "e")),
    *(known(name, "", "agh") for name in ("g", "h")),
    known("j", AXIS, "dh"),
    *(known(name, "all of it", "vwxyz") for name in ("v", "w")),
)


def said_of(laws, table=TABLE, example=1, applied=LAWS, component="softmax"):
    said = nearest(component, fails(laws, example), applied, table)
    return None if said is None else str(said)


def test_the_same_pattern_is_the_same_mistake():
    assert said_of("abc") == MASK
    assert said_of("aef") == SCALE


def test_another_pattern_is_no_mistake_that_is_known():
    assert said_of("bfh") is None
    assert said_of("ab") is None


def test_a_law_that_fails_at_another_example_is_not_quite_the_same():
    assert said_of("abc", example=2) is None


def test_where_many_laws_fail_some_may_differ():
    many = tuple(known(name, AXIS, "ijklmnopqr") for name in ("x", "y"))
    assert said_of("ijklmnopqr", (*TABLE, *many)) == AXIS
    assert said_of("ijklmnopq", (*TABLE, *many)) == AXIS
    assert said_of("ijklmn", (*TABLE, *many)) is None


def test_nothing_is_said_where_another_mistake_is_as_near():
    assert said_of("abc", (*TABLE, known("m", AXIS, "abc"))) is None


def test_nothing_is_said_where_the_nearest_has_no_words():
    assert said_of("agh") is None


def test_one_version_alone_says_nothing():
    assert said_of("dgh", (*TABLE, known("k", AXIS, "dgh"))) is None
    assert said_of("dgh", (*TABLE, *(known(name, AXIS, "dgh") for name in "kl"))) == AXIS


def test_what_one_operator_made_of_one_place_is_one_version():
    twice = (known("f, swap: x -> y", AXIS, "dkl"), known("f, swap: x -> z", AXIS, "dkl"))
    assert said_of("dkl", (*TABLE, *twice)) is None


@pytest.mark.parametrize("laws", ["k", "kl"])
def test_a_law_or_two_say_something_by_four_versions(laws):
    table = (*TABLE, *(known(name, AXIS, laws) for name in ("k", "l", "m")))
    assert said_of(laws, table) is None
    assert said_of(laws, (*table, known("n", AXIS, laws))) == AXIS


def test_two_of_a_long_pattern_say_something_though_others_are_near():
    near = tuple(known(name, SCALE, "ijklmnopqrs") for name in ("n", "o"))
    two = tuple(known(name, AXIS, "ijklmnopqr") for name in ("x", "y"))
    assert said_of("ijklmnopqr", (*TABLE, *near, *two)) == AXIS
    assert said_of("ijklmnopqr", (*TABLE, *near, *two[:1])) is None


def test_one_of_a_very_long_pattern_is_enough():
    one = known("x", AXIS, "ijklmnopqrst")
    assert said_of("ijklmnopqrst", (*TABLE, one)) == AXIS
    assert said_of("ijklmnopqrst", (*TABLE, one, known("y", SCALE, "ijklmnopqrst"))) is None


# A pattern of many laws, beside which another mistake is as near.
HUNDRED = [f"law {index}" for index in range(100)]


def said_beside_another(failed, others, *, later=0):
    """What is said where two versions fail these laws, and a third mistake is as near as they."""
    every, laws = frozenset(HUNDRED), HUNDRED[:failed]
    table = [known(name, AXIS, laws[others:], every=every) for name in ("x", "y")]
    for one in table:
        one.fails.update(dict.fromkeys(laws[others : others + later], 2))
    table.append(known("z", SCALE, laws[: failed - others - 2], every=every))
    table += [known(f"{index}", "", HUNDRED, every=every) for index in range(10)]
    return said_of(laws, table, applied=every)


@pytest.mark.parametrize(
    ("failed", "others", "said"),
    [(24, 0, AXIS), (24, 1, None), (25, 1, AXIS), (25, 2, None), (50, 2, AXIS), (50, 3, None)],
)
def test_one_law_in_twenty_five_may_differ_by_rounding(failed, others, said):
    assert said_beside_another(failed, others) == said


def test_a_law_that_fails_at_another_example_differs_too():
    assert said_beside_another(50, 1, later=1) == AXIS
    assert said_beside_another(50, 1, later=2) is None


def test_nothing_is_said_of_what_fails_nothing_or_nearly_everything():
    assert said_of("") is None
    assert said_of("vwxyz") == "all of it"
    assert said_of("vwxyz", applied=frozenset("uvwxyz")) is None


def test_laws_that_do_not_apply_to_the_submission_do_not_count():
    table = (*TABLE, *(known(name, SCALE, "aefi") for name in ("k", "l")))
    assert said_of("aei", table, applied=frozenset("aebikl")) == SCALE


def test_nothing_is_known_of_a_component_without_versions():
    assert said_of("abc", ()) is None
    others = [replace(one, component="LayerNorm", laws=frozenset("abcdef")) for one in TABLE]
    assert said_of("abc", others) is None


def test_other_components_speak_where_they_obey_the_same_laws():
    """And nothing is counted of laws that only one of the two has."""
    others = [known(name, AXIS, "dkl", component="LayerNorm", example=5) for name in ("x", "y")]
    assert said_of("dkl", (*TABLE, *others)) == AXIS
    strangers = [replace(one, laws=frozenset("abcdefghijkl")) for one in others]
    assert said_of("dkl", (*TABLE, *strangers)) is None
    most = LAWS - set("uvwxy")
    assert said_of("dkl", (*TABLE, *(replace(one, laws=most) for one in others))) == AXIS
    half = [replace(one, laws=most, fails=fails("d")) for one in others]
    assert said_of("dwxy", (*TABLE, *half)) is None


def test_the_narrower_sentence_is_most_likely_where_it_stands_out():
    late = tuple(known(name, "a mask is wrong", "ijk", MASK) for name in ("x", "y"))
    table = (*TABLE, *late)
    assert nearest("softmax", fails("ijk"), LAWS, table) == Said("a mask is wrong", MASK)
    assert said_of("ijk", table) == f"a mask is wrong; most likely {MASK}"
    other = known("z", "a mask is wrong", "ijk", "the mask is ignored")
    assert said_of("ijk", (*table, other)) == "a mask is wrong"


def test_a_single_sentence_is_said_once():
    assert nearest("softmax", fails("abc"), LAWS, TABLE) == Said(MASK)


# --- The table ------------------------------------------------------------------------------------


def pattern(one, **kwargs):
    return Pattern(one, LAWS, **kwargs)


def table_of(*versions):
    return {"softmax": list(versions)}


def test_the_table_is_read_as_it_was_written(monkeypatch, tmp_path):
    class Package:
        __file__ = str(tmp_path / "__init__.py")

    monkeypatch.setattr(mistakes, "own_package", lambda _: Package)
    monkeypatch.setattr(mistakes, "known_mistakes", known_mistakes.__wrapped__)
    assert mistakes.known_mistakes() == ()
    laws = [prop.name for prop in load_ledger().laws if prop.component == "softmax"]
    mistake = "the softmax runs over the queries"
    versions = [
        Known("softmax", "one", mistake, "the softmax runs over a wrong axis", at, frozenset(laws))
        for at in ({laws[0]: 2, laws[3]: 6}, {laws[1]: 1})
    ]
    versions.append(Known("softmax", "two", "", "", {laws[2]: 3}, frozenset(laws)))
    data = table_of_mistakes(table_of(*map(pattern, versions)), load_ledger())
    (tmp_path / mistakes.TABLE).write_text(json.dumps(data))
    assert mistakes.known_mistakes() == tuple(versions)


def test_the_table_of_this_repository_is_of_its_laws():
    laws = {prop.id for prop in load_ledger().laws}
    assert known_mistakes()
    for one in known_mistakes():
        assert one.fails
        assert {f"{one.component}.{law}" for law in one.laws} <= laws
        assert set(one.fails) <= one.laws
        assert set(one.fails.values()) <= set(range(1, first_of(one.component) + 1))
        assert bool(one.kind) == bool(one.mistake)


@pytest.fixture
def softmax_laws():
    return [prop for prop in load_ledger().laws if prop.component == "softmax"]


def test_a_version_is_known_by_what_it_fails_within_the_first_examples(softmax_laws):
    first, second, third, fourth, *_ = (prop.name for prop in softmax_laws)
    cells = {first: 2, second: first_of("softmax") + 1, third: "never", fourth: 0, "a_proof": 1}
    mutant = Mutant("over_all_entries", "softmax", lambda x: x)
    found = {"softmax.over_all_entries": {"cells": cells}, "softmax.right": {"cells": {first: 0}}}
    wrong = [Wrong(mutant, "written"), Wrong(replace(mutant, name="right"), "written")]
    (one,) = patterns(wrong, found, load_ledger())["softmax"]
    assert one.known.fails == {first: 2}
    assert one.known.kind == "the softmax runs over a wrong axis"
    assert one.applied == {first, second, third, fourth}
    assert (one.operator, one.said) == ("", "")


# --- Versions held out ----------------------------------------------------------------------------


def said_when_held_out(*versions):
    return {one.id.partition(".")[2]: one.said for one in held_out(table_of(*versions))}


def test_a_version_that_is_held_out_is_named_by_others():
    versions = [pattern(one) for one in (known("a", MASK, "ab"), known("b", MASK, "abc"))]
    longer = [pattern(known(name, SCALE, "def")) for name in ("d", "e", "f")]
    assert said_when_held_out(*versions, *longer) == {"a": "", "b": "", "d": SCALE}


def test_twins_are_held_out_together():
    three = [known(name, MASK, "abc") for name in ("a", "b", "c")]
    assert said_when_held_out(*map(pattern, three)) == {"a": MASK}
    assert said_when_held_out(*(pattern(one, said="The mask, late.") for one in three)) == {"a": ""}
    assert said_when_held_out(*(pattern(one, operator="mask") for one in three)) == {"a": ""}
    placed = [known(f"f, swap: {name}", MASK, "abc") for name in "xyz"]
    assert said_when_held_out(*map(pattern, placed)) == {"f, swap: x": ""}


def test_an_operator_makes_no_twins_of_what_fails_otherwise():
    made = [
        *(pattern(known(name, AXIS, "ijklmnopqr"), operator="axis") for name in ("x", "y")),
        *(pattern(known(name, AXIS, "ijklmnopq"), operator="axis") for name in ("s", "t")),
    ]
    assert said_when_held_out(*map(pattern, TABLE), *made)["x"] == AXIS


def test_of_what_is_held_out_shares_and_an_interval_are_given():
    def one(said, kind, likely="", component="softmax"):
        return HeldOut("softmax.a", component, kind, kind, said, likely, reported=True)

    results = [
        *(one(MASK, MASK, MASK) for _ in range(18)),
        one(MASK, SCALE, MASK),
        one("", SCALE, component="LayerNorm"),
    ]
    found = figures(results)
    assert (found["cases"], found["said"], found["right"]) == (20, 19, 18)
    assert (found["likely"], found["likely_right"]) == (19, 18)
    assert found["components"] == {"softmax": [19, 19, 18], "LayerNorm": [1, 0, 0]}
    low, high = found["interval"]
    assert 0.7 < low < 18 / 19 < high < 1
    assert figures([one("", SCALE)])["interval"] == [0, 1]


# --- Evidence -------------------------------------------------------------------------------------


def evidence_of(laws, names, examples=0):
    message = "the output: off by 1"
    return [
        Evidence(prop, "refuted", message=message, examples=examples)
        if prop.name in names
        else Evidence(prop, "holds")
        for prop in laws
    ]


@pytest.fixture
def upside_down(monkeypatch, softmax_laws):
    """Evidence of what fails as three known versions do."""
    names = [prop.name for prop in softmax_laws]
    versions = [
        known(name, "it is upside down", names[:3], every=names) for name in ("one", "two", "three")
    ]
    monkeypatch.setattr(mistakes, "known_mistakes", lambda: tuple(versions))
    return evidence_of(softmax_laws, names[:3])


def test_evidence_of_a_component_is_compared_with_what_is_known(upside_down, softmax_laws):
    usual = Settings()
    assert nearest_mistake(upside_down, usual) == "it is upside down"
    late = [
        replace(e, examples=first_of("softmax")) if e.status == "refuted" else e
        for e in upside_down
    ]
    assert nearest_mistake(late, usual) is None
    assert nearest_mistake(evidence_of(softmax_laws, []), usual) is None
    assert nearest_mistake([Evidence(p, "not_attempted") for p in softmax_laws], usual) is None


@pytest.mark.parametrize(
    "other",
    [{"seed": 1}, {"dtype": "float32"}, {"device": "cuda"}, {"examples": 99}],
    ids=str,
)
def test_nothing_is_said_of_other_examples_than_the_tables(upside_down, other):
    assert nearest_mistake(upside_down, Settings(**other)) is None


def test_more_examples_begin_with_the_same_ones(upside_down):
    more = Settings(examples=500, explain=False, seconds=5)
    assert nearest_mistake(upside_down, more) == "it is upside down"


def test_a_grade_says_what_a_component_behaves_like(upside_down):
    found = grade("mine.py", upside_down, Settings(), HERE)
    assert found.nearest_mistakes == {"softmax": "it is upside down"}
    assert found.as_data(1.0)["nearest_mistakes"] == {"softmax": "it is upside down"}
    assert grade("mine.py", upside_down, Settings(seed=1), HERE).nearest_mistakes == {}


# --- Everyday mistakes, as a student writes them --------------------------------------------------

SDPA = "scaled_dot_product_attention"


def said_of_a_submission(component, target):
    """Examine a component as ``attest grade`` does, and say what it behaves like.

    The first examples are those of a grade, and no others are looked at.
    """
    names = {name: getattr(reference, name) for name in reference.__all__}
    implementation = LocalImplementation("mine", SimpleNamespace(**{**names, component: target}))
    laws = [prop for prop in load_ledger().laws if prop.component == component]
    evidence = [examine(prop, implementation, few(component), load_reference()) for prop in laws]
    return nearest_mistake(evidence, Settings())


def low(scores, mask):
    """Fill in what is practically minus infinity, whatever the precision."""
    return scores.masked_fill(~mask, torch.finfo(scores.dtype).min)


def mask_after_the_softmax(query, key, value, mask=None):
    scores = torch.matmul(query, key.transpose(-2, -1)) / math.sqrt(query.size(-1))
    weights = torch.softmax(scores, dim=-1)
    if mask is not None:
        weights = weights * mask
    return torch.matmul(weights, value), weights


def no_scale(query, key, value, mask=None):
    scores = query @ key.transpose(-2, -1)
    if mask is not None:
        scores = low(scores, mask)
    weights = scores.softmax(dim=-1)
    return weights @ value, weights


def true_means_masked(query, key, value, mask=None):
    scores = query @ key.transpose(-2, -1) / query.size(-1) ** 0.5
    if mask is not None:
        scores = scores.masked_fill(mask, float("-inf"))
    weights = torch.nan_to_num(scores.softmax(dim=-1))
    return weights @ value, weights


def over_the_last_axis(x, dim=-1):
    return nn.functional.softmax(x, dim=-1)


class Heads(nn.Module):
    """Multi-head attention by another layout than the reference's, and under other names."""

    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads != 0:
            raise ValueError("d_model must be divisible by n_heads")
        self.h, self.d_k = n_heads, d_model // n_heads
        self.linears = nn.ModuleList(nn.Linear(d_model, d_model) for _ in range(4))

    def split(self, x):
        return x.view(x.size(0), -1, self.h, self.d_k).transpose(1, 2)

    def merge(self, x):
        return x.transpose(1, 2).contiguous().view(x.size(0), -1, self.h * self.d_k)

    def attend(self, q, k, v, mask):
        scores = torch.einsum("bhld,bhsd->bhls", q, k) / math.sqrt(self.d_k)
        if mask is not None:
            scores = low(scores, mask.unsqueeze(1) if mask.dim() == 3 else mask)
        weights = scores.softmax(-1)
        if mask is not None:
            weights = weights * (mask.unsqueeze(1) if mask.dim() == 3 else mask)
        return weights @ v, weights

    def forward(self, query, key, value, mask=None):
        projected = [f(x) for f, x in zip(self.linears, (query, key, value), strict=False)]
        q, k, v = map(self.split, projected)
        out, weights = self.attend(q, k, v, mask)
        return self.linears[-1](self.merge(out)), weights


class HeadsByViewAlone(Heads):
    def split(self, x):
        return x.reshape(x.size(0), self.h, -1, self.d_k)

    def merge(self, x):
        return x.reshape(x.size(0), -1, self.h * self.d_k)


class HeadsThatForgetTheMask(Heads):
    def attend(self, q, k, v, mask):
        return super().attend(q, k, v, None)


class DividedByTheStandardDeviationPlusEpsilon(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))

    def forward(self, x):
        std = x.std(dim=-1, keepdim=True, unbiased=False)
        return self.gain * (x - x.mean(dim=-1, keepdim=True)) / (std + 1e-5) + self.bias


def positions_from_one(length, d_model):
    if d_model % 2:
        raise ValueError("cannot use sine and cosine with an odd width")
    position = torch.arange(1, length + 1, dtype=torch.float64).unsqueeze(1)
    exponents = torch.arange(0, d_model, 2, dtype=torch.float64) / d_model
    table = torch.zeros(length, d_model, dtype=torch.float64)
    table[:, 0::2] = torch.sin(position / 10000**exponents)
    table[:, 1::2] = torch.cos(position / 10000**exponents)
    return table


class UnbiasedLayerNorm(DividedByTheStandardDeviationPlusEpsilon):
    """Ends in NaN where a token has one entry, which no known version with this mistake does."""

    def forward(self, x):
        std = x.std(dim=-1, keepdim=True)
        return self.gain * (x - x.mean(dim=-1, keepdim=True)) / (std + 1e-5) + self.bias


def softmax_over_the_queries(query, key, value, mask=None):
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.size(-1))
    if mask is not None:
        scores = low(scores, mask)
    weights = scores.softmax(dim=-2)
    return weights @ value, weights


def turned(query, key, value, mask=None):
    output, weights = reference.scaled_dot_product_attention(query, key, value, mask)
    return output.roll(1, dims=-1), weights


def reversed_softmax(x, dim=-1):
    return torch.softmax(x, dim).flip(dim)


class TokensTurned(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.right = reference.LayerNorm(d_model)

    def forward(self, x):
        return self.right(x).roll(1, dims=-1)


class OneHeadShouts(Heads):
    def attend(self, q, k, v, mask):
        out, weights = super().attend(q, k, v, mask)
        return out * torch.linspace(1, 2, self.h, dtype=out.dtype)[:, None, None], weights


EVERYDAY = {
    mask_after_the_softmax: (
        SDPA,
        "what a mask should hide takes part all the same",
        "the mask is applied after the softmax",
    ),
    no_scale: (
        SDPA,
        "the scores have the wrong scale",
        "the scores are not divided by the root of the width",
    ),
    true_means_masked: (
        SDPA,
        "the mask hides others than it should",
        "the mask has the other polarity",
    ),
    softmax_over_the_queries: (SDPA, "the softmax runs over a wrong axis", ""),
    over_the_last_axis: ("softmax", "the softmax runs over a wrong axis", ""),
    HeadsThatForgetTheMask: (
        "MultiHeadAttention",
        "what a mask should hide takes part all the same",
        "the mask is ignored",
    ),
    HeadsByViewAlone: (
        "MultiHeadAttention",
        "axes are mixed up (transpose, reshape, flatten, unsqueeze, cat)",
        "the heads are split or merged without a transpose",
    ),
    DividedByTheStandardDeviationPlusEpsilon: (
        "LayerNorm",
        "the denominator is not the root of variance plus epsilon",
        "",
    ),
    positions_from_one: (
        "sinusoidal_positional_encoding",
        "tokens get no positions or the wrong ones",
        "positions are counted from one and not from zero",
    ),
}


@pytest.mark.parametrize("target", EVERYDAY, ids=lambda target: target.__name__)
def test_everyday_mistakes_are_recognised(target):
    component, kind, likely = EVERYDAY[target]
    said = said_of_a_submission(component, target)
    assert said in {str(Said(kind)), str(Said(kind, likely))}


def test_the_readme_shows_what_is_said():
    said = said_of_a_submission(SDPA, mask_after_the_softmax)
    readme = (ROOT / "README.md").read_text()
    assert f"*{said}*" in " ".join(readme.split())


@pytest.mark.parametrize(
    ("component", "target"),
    [
        (SDPA, turned),
        ("softmax", reversed_softmax),
        ("MultiHeadAttention", OneHeadShouts),
        ("LayerNorm", TokensTurned),
        ("LayerNorm", UnbiasedLayerNorm),
        ("MultiHeadAttention", Heads),
    ],
)
def test_odd_mistakes_get_no_name_and_right_code_gets_none(component, target):
    assert said_of_a_submission(component, target) is None
