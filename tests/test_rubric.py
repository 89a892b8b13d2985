"""What laws are worth: by default, by a rubric, and what a rubric cannot say."""

from __future__ import annotations

import json
import math
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attest.command import main
from attest.contract import CONTRACT
from attest.evidence import Evidence
from attest.examination import Settings
from attest.grading import Grade, grade
from attest.rubric import Rubric, RubricError, read_rubric
from attest.sandbox import trusted
from tests.some_laws import DIAGONAL, LAWS, OVERFLOW, QUERY, ROWS, SHIFT, SUM
from tests.sources import ROOT

FIVE = (SUM, SHIFT, OVERFLOW, DIAGONAL, ROWS)


def points(rubric: Rubric, *names: str) -> list[float]:
    found = rubric.points(LAWS[name] for name in names)
    assert list(found) == list(names)
    return list(found.values())


def graded(
    rubric: Rubric, statuses: dict[str, Any], because_of: dict[str, tuple[str, ...]] | None = None
) -> Grade:
    evidence = [Evidence(LAWS[name], status) for name, status in statuses.items()]
    here = trusted("cpu", why="a test")
    return grade("mine.py", evidence, Settings(), here, rubric, because_of)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("rubrics") / "rubric.toml"


@pytest.fixture
def read(tmp_path):
    def written(text: str) -> Rubric:
        path = tmp_path / "rubric.toml"
        path.write_text(text, encoding="utf-8")
        return read_rubric(path)[0]

    return written


# --- Points ---------------------------------------------------------------------------------------


def test_a_definition_is_worth_three_a_claim_two_and_robustness_one_by_default(read):
    assert points(Rubric(), SUM, ROWS, OVERFLOW) == [3, 2, 1]
    assert read("") == Rubric()


def test_kinds_that_a_rubric_does_not_name_keep_their_points(read):
    rubric = read("[kinds]\nrobustness = 0.5\nclaim = 0\n")
    assert points(rubric, SUM, ROWS, OVERFLOW) == [3, 0, 0.5]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        (SUM, {SUM}),
        ("softmax.*", {SUM, SHIFT, OVERFLOW}),
        ("*sum*to_one", {SUM, ROWS}),
        ("softmax", {SUM, SHIFT, OVERFLOW}),
        ("causal_mask", {DIAGONAL}),
        ("ATT-02", {ROWS}),
        ("ATT-*", {ROWS}),
        ("entries_along_the_axis_sum_to_one", set()),
        ("SOFTMAX", set()),
    ],
)
def test_a_pattern_fits_names_of_laws_components_and_claims(pattern, found, read):
    key = json.dumps(pattern)
    rubric = read(f"bonus = [{key}]\nhidden = [{key}]\n[properties]\n{key} = 7\n")
    laws = {name: LAWS[name] for name in FIVE}
    assert {name for name, worth in rubric.points(laws.values()).items() if worth == 7} == found
    assert {name for name, law in laws.items() if rubric.is_bonus(law)} == found
    assert {name for name, law in laws.items() if rubric.is_hidden(law)} == found


def test_of_several_patterns_that_fit_the_last_one_counts(read):
    both = f'"softmax" = 5\n"{SUM}" = 8\n'
    assert points(read("[properties]\n" + both), SUM, SHIFT) == [8, 5]
    turned = "\n".join(reversed(both.splitlines()))
    assert points(read("[properties]\n" + turned), SUM, SHIFT) == [5, 5]


@pytest.mark.parametrize("there", [(SUM,), (SUM, OVERFLOW), (SUM, SHIFT, OVERFLOW)])
def test_a_component_is_worth_its_total_whatever_applies(there, read):
    rubric = read("[components]\nsoftmax = 10\n")
    *own, other = points(rubric, *there, DIAGONAL)
    assert math.fsum(own) == pytest.approx(10, abs=1e-12)
    assert other == 3
    assert graded(rubric, {**dict.fromkeys(there, "holds"), DIAGONAL: "holds"}).max_score == 13


def test_laws_share_a_total_by_what_they_are_worth(read):
    rubric = read(f'[components]\nsoftmax = 10\n[properties]\n"{SHIFT}" = 6\n')
    assert points(rubric, SUM, SHIFT, OVERFLOW) == [3, 6, 1]


def test_laws_that_are_worth_nothing_share_a_total_alike(read):
    rubric = read("[components]\nsoftmax = 10\n[properties]\nsoftmax = 0\n")
    assert points(rubric, SUM, OVERFLOW) == [5, 5]


def test_what_does_not_apply_costs_nothing_and_leaves_its_points_to_the_others(read):
    rubric = read("out_of = 10\n")
    result = graded(rubric, {SUM: "holds", SHIFT: "not_applicable", DIAGONAL: "refuted"})
    assert [mark.worth for mark in result.marks] == [5, 5]
    assert (result.score, result.max_score) == (5, 10)


@pytest.mark.parametrize("out_of", [1, 10, 33.3, 100, 1000, 12345.67])
@pytest.mark.parametrize("other", ["", "[components]\nsoftmax = 7\nEncoder = 0.1\n"])
def test_all_laws_together_are_worth_exactly_what_they_are_scaled_to(out_of, other, read):
    result = graded(read(f"out_of = {out_of}\n{other}"), dict.fromkeys(LAWS, "holds"))
    assert result.max_score == out_of
    assert result.score == out_of


def test_a_bonus_comes_on_top_of_what_points_are_scaled_to(read):
    rubric = read(f'out_of = 20\nbonus = ["{OVERFLOW}", "ATT-02"]\n')
    result = graded(rubric, dict.fromkeys((SUM, DIAGONAL, OVERFLOW, ROWS, SHIFT), "holds"))
    assert [mark.bonus for mark in result.marks] == [False, True, False, False, True]
    worth = {mark.prop.id: mark.worth for mark in result.marks}
    assert result.max_score == 20
    assert worth[OVERFLOW] == pytest.approx(worth[SUM] / 3)
    assert result.score == pytest.approx(20 + worth[OVERFLOW] + worth[ROWS])
    without = graded(rubric, {SUM: "holds", DIAGONAL: "holds", OVERFLOW: "refuted"})
    assert without.score == without.max_score == 20


def test_a_bonus_is_not_among_the_points_of_its_component(read):
    result = graded(read(f'bonus = ["{OVERFLOW}"]\n'), {SUM: "refuted", OVERFLOW: "holds"})
    assert (result.score, result.max_score) == (1, 3)
    (part,) = result.components
    assert (part.score, part.max_score) == (1, 3)


def test_a_bonus_comes_on_top_of_the_total_of_its_component(read):
    rubric = read(f'bonus = ["{OVERFLOW}"]\n[components]\nsoftmax = 12\n')
    assert points(rubric, SUM, SHIFT, OVERFLOW) == [6, 6, 2]
    assert graded(rubric, dict.fromkeys((SUM, SHIFT, OVERFLOW), "holds")).max_score == 12


def test_laws_that_are_worth_nothing_share_alike_what_all_are_scaled_to(read):
    rubric = read("out_of = 8\n[properties]\n'*' = 0\n")
    assert points(rubric, *FIVE[:4]) == [2, 2, 2, 2]


def test_where_all_is_a_bonus_nothing_is_scaled(read):
    result = graded(read('out_of = 20\nbonus = ["softmax"]\n'), {SUM: "holds", OVERFLOW: "holds"})
    assert (result.score, result.max_score) == (4, 0)


# --- What is graded -------------------------------------------------------------------------------


def test_what_is_not_assigned_is_not_graded(read):
    rubric = read('assigned = ["softmax", "causal_mask"]\n')
    assert [rubric.grades(LAWS[name]) for name in FIVE] == [True, True, True, True, False]
    assert all(Rubric().grades(law) for law in LAWS.values())


@pytest.mark.parametrize("status", ["not_attempted", "crashed", "timeout", "refuted"])
def test_without_a_required_component_only_a_share_counts(status, read):
    rubric = read('required = ["scaled_dot_product_attention", "softmax"]\nkept = 0.25\n')
    result = graded(rubric, {SUM: "holds", DIAGONAL: "holds", ROWS: status, QUERY: status})
    assert result.missing == ("scaled_dot_product_attention",)
    assert (result.score, result.max_score) == (6 / 4, 10)


def test_without_a_required_component_nothing_counts_unless_a_rubric_says_so(read):
    rubric = read('required = ["scaled_dot_product_attention"]\n')
    assert graded(rubric, {SUM: "holds", ROWS: "not_attempted"}).score == 0


@pytest.mark.parametrize("status", ["holds", "undecided"])
def test_a_required_component_of_which_something_works_is_there(status, read):
    rubric = read('required = ["scaled_dot_product_attention"]\n')
    result = graded(rubric, {SUM: "holds", ROWS: status, QUERY: "crashed"})
    assert result.missing == ()
    assert result.score == (5 if status == "holds" else 3)
    assert not result.well


def test_nobody_does_well_who_leaves_out_what_is_required_or_everything(read):
    holds = {SUM: "holds", DIAGONAL: "holds", ROWS: "not_attempted", QUERY: "not_attempted"}
    assert graded(Rubric(), holds).well
    assert not graded(read('required = ["scaled_dot_product_attention"]\n'), holds).well
    assert not graded(Rubric(), dict.fromkeys(holds, "not_attempted")).well


def test_a_required_component_that_fails_because_of_its_part_is_there(read):
    rubric = read('required = ["scaled_dot_product_attention"]\n')
    statuses = {SUM: "refuted", ROWS: "crashed"}
    assert graded(rubric, statuses).missing == ("scaled_dot_product_attention",)
    result = graded(rubric, statuses, {ROWS: ("softmax",)})
    assert result.missing == ()
    assert result.score == 2


@pytest.mark.parametrize("other", [{}, {ROWS: "not_applicable"}])
def test_a_required_component_of_which_nothing_was_examined_is_not_called_missing(other, read):
    result = graded(read('required = ["scaled_dot_product_attention"]\n'), {SUM: "holds", **other})
    assert result.missing == ()
    assert result.score == 3


# --- Reading --------------------------------------------------------------------------------------

WHOLE = """
assigned = ["softmax", "causal_mask"]
required = ["softmax", "softmax"]
kept = 0.5
bonus = ["*.no_finite_*"]
hidden = ["causal_mask"]
out_of = 50
seconds = 120
kinds = {robustness = 0}
[properties]
"softmax.*" = 4
ATT-02 = -0.0
[components]
causal_mask = 10.5
"""


@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_whatever_a_rubric_says_is_read(start, read):
    rubric = read(start + WHOLE)
    assert rubric == Rubric(
        kinds={"definition": 3, "claim": 2, "robustness": 0},
        properties={"softmax.*": 4, "ATT-02": 0},
        components={"causal_mask": 10.5},
        assigned=("softmax", "causal_mask"),
        required=("softmax",),
        kept=0.5,
        bonus=("*.no_finite_*",),
        hidden=("causal_mask",),
        out_of=50,
        seconds=120,
    )
    assert str(rubric.properties["ATT-02"]) == "0.0"
    rubric.require_known(list(LAWS.values()))


def test_the_rubric_that_is_shown_to_everybody_is_one(read):
    shown = re.search("```toml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    rubric = read(shown[1])
    rubric.require_known(list(LAWS.values()))
    assert all(getattr(rubric, one.name) != getattr(Rubric(), one.name) for one in fields(Rubric))


def refused(action, *arguments) -> str:
    with pytest.raises(RubricError) as error:
        action(*arguments)
    said = str(error.value)
    assert said.isprintable()
    assert len(said) < 1000
    return said


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("point = 3", "there is no 'point' in a rubric; there are kinds, properties"),
        ("requried = []", "there is no 'requried' in a rubric; is 'required' meant?"),
        ("kinds = 3", "kinds is a table of points by name"),
        ("properties = []", "properties is a table of points by name"),
        ("kinds.claims = 3", "kinds: there is no 'claims'; is 'claim' meant?"),
        ("kinds.x = 3", "kinds: there is no 'x'; there are definition, claim, robustness"),
        ("kinds.claim = true", "kinds: 'claim' is a number from 0 to 1000000, not True"),
        ("kinds.claim = -1", "kinds: 'claim' is a number from 0 to 1000000, not -1"),
        ("kinds.claim = 1e7", "kinds: 'claim' is a number from 0 to 1000000, not 10000000.0"),
        ("kinds.claim = 1e-9", "kinds: 'claim' is 0 or at least 1e-06, not 1e-09"),
        ("kinds.claim = nan", "kinds: 'claim' is a number from 0 to 1000000, not nan"),
        ("kinds.claim = [1]", "kinds: 'claim' is a number from 0 to 1000000, not [1]"),
        (
            "properties.softmax.entries = 3",
            "properties: 'softmax' has no number; a name with a dot is put in quotation marks",
        ),
        ("components.softmaxx = 3", "components: there is no 'softmaxx'; is 'softmax' meant?"),
        ("components.softmax = '3'", "components: 'softmax' is a number from 0 to 1000000, not"),
        ("assigned = 'softmax'", "assigned is a list of names"),
        ("assigned = [1]", "assigned is a list of names"),
        ("assigned = ['x']", "assigned: there is no 'x'; there are softmax, "),
        ("required = ['soft max']", "required: there is no 'soft max'; is 'softmax' meant?"),
        (
            "assigned = ['softmax']\nrequired = ['causal_mask']",
            "required: causal_mask is not among those assigned",
        ),
        ("kept = 50", "kept is a number from 0 to 1, not 50"),
        ("kept = inf", "kept is a number from 0 to 1, not inf"),
        ("kept = false", "kept is a number from 0 to 1, not False"),
        ("bonus = {}", "bonus is a list of names"),
        ("hidden = true", "hidden is a list of names"),
        ("out_of = 0", "out_of is a number above 0"),
        ("out_of = -inf", "out_of is a number from 0 to 1000000, not -inf"),
        ("seconds = 0.0", "seconds is a number above 0"),
        ("seconds = '1 h'", "seconds is a number from 0 to 1000000, not '1 h'"),
        pytest.param(
            f"seconds = 0x{'f' * 5000}",
            "seconds is a number from 0 to 1000000, not one of thousands of digits",
            id="many hexadecimal digits",
        ),
        ("hidden = ", "is no TOML: Invalid value (at end of document)"),
        ("kept = 1\nkept = 1", "is no TOML: Cannot overwrite a value"),
        pytest.param(f"kept = {'1' * 5000}", "is no TOML: Exceeds the limit", id="many digits"),
        pytest.param(
            f"kept = {'[' * 5000}", "is no TOML: maximum recursion depth", id="many lists"
        ),
    ],
)
def test_a_rubric_that_cannot_be_meant_gives_a_line_that_says_what_to_do(text, says, read):
    said = refused(read, text)
    assert re.sub("^.*rubric.toml(: | (?=is no TOML))", "", said).startswith(says)


def test_a_rubric_that_cannot_be_read_gives_a_line_that_says_why(tmp_path):
    assert refused(read_rubric, tmp_path / "x").endswith("x: No such file or directory")
    assert refused(read_rubric, tmp_path).endswith(": Is a directory")
    (tmp_path / "a\nb.toml").write_bytes(b"kept = 1 # \xff")
    assert "a\\nb.toml is no TOML: 'utf-8' codec" in refused(read_rubric, tmp_path / "a\nb.toml")
    assert "is no TOML" in refused(read_rubric, tmp_path / "a\0b")


@pytest.mark.parametrize("where", ["properties", "bonus", "hidden"])
@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        (SUM[:-1], f"; is '{SUM}' meant?"),
        ("Softmax", "; is 'softmax' meant?"),
        ("sofmax.*", "; is 'softmax' meant?"),
        ("ATT-99", "; is 'ATT-"),
        ("", "; `attest list` shows them all"),
        ("\n\x1b[31m", "; `attest list` shows them all"),
        ("???", "; `attest list` shows them all"),
        pytest.param("x" * 10**5, "; `attest list` shows them all", id="many letters"),
    ],
)
def test_a_pattern_that_fits_nothing_is_named_with_what_may_be_meant(where, pattern, says):
    rubric = Rubric(**{where: {pattern: 1.0} if where == "properties" else ("softmax", pattern)})
    said = refused(rubric.require_known, list(LAWS.values()))
    assert said.startswith(f"{where}: {pattern!r}"[:60])
    assert f"fits no property{says}" in said


# --- Whatever is written --------------------------------------------------------------------------

KEYS = [attribute.name for attribute in fields(Rubric)]

ODD = (
    *(
        "true",
        "false",
        "-1",
        "0",
        "-0.0",
        "2",
        "1_000_001",
        "nan",
        "+inf",
        "-inf",
        "1e400",
        "5e-324",
    ),
    *('""', '"softmax"', '"""a\nb"""', "1979-05-27", "07:32:00", "1979-05-27T07:32:00Z"),
    *("[]", "[1]", '["softmax"]', '["softmax", 1]', '[["softmax"]]', "[[]]", "[{}]", '["a\\nb"]'),
    *("{}", "{a = 1}", "{softmax = 1}", "{softmax = -1}", "{claim = true}", '{"a\\nb" = "c\\nd"}'),
    *('{"" = 1}', "{a.b = 1}", "{softmax = nan}", '{"\\u001b[31m" = {}}', '["\\u0000"]'),
    *(f"0x{'f' * 5000}", "9" * 4000, "9" * 5000, f'"{"x" * 10**5}"', f"[{'[' * 900}", "{", "'"),
    *(f"[{'0,' * 10**4}]", "[" * 400 + "]" * 400, "{a = " * 300 + "1" + "}" * 300, "0o8", "1__0"),
)


def is_a_rubric_or_refused(path: Path) -> None:
    try:
        rubric, _ = read_rubric(path)
    except RubricError as error:
        said = str(error)
        assert said.isprintable()
        assert len(said) < 1000
        _, _, after = said.partition(f"{path}")
        assert after.startswith((" is no TOML: ", ": there is no ")) or after[2:].startswith(
            tuple(KEYS)
        )
        return
    laws = [LAWS[name] for name in FIVE]
    assert all(0 <= worth < math.inf for worth in rubric.points(laws).values())
    result = graded(rubric, dict.fromkeys(FIVE, "holds"))
    assert 0 <= result.score < math.inf
    json.dumps(result.as_data(1.0), allow_nan=False)


@pytest.mark.parametrize("key", [*KEYS, "other", '""', '"a\\nb"'])
def test_odd_values_give_a_rubric_or_a_line(key, place):
    for value in ODD:
        place.write_text(f"{key} = {value}\n", encoding="utf-8")
        is_a_rubric_or_refused(place)


def toml(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case list():
            return f"[{', '.join(map(toml, value))}]"
        case dict():
            return f"{{{', '.join(f'{toml(key)} = {toml(one)}' for key, one in value.items())}}}"
        case _:
            return repr(value)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
NAMES = st.sampled_from([*KEYS, *CONTRACT, "definition", "claim", "robustness", SUM, "*", "ATT-02"])
VALUES = st.recursive(
    st.booleans() | st.integers() | st.floats() | TEXTS | NAMES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | TEXTS, inner, max_size=4),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS) | TEXTS, VALUES, max_size=3))
def test_whatever_values_there_are_it_is_a_rubric_or_a_line(place, data):
    place.write_text("".join(f"{toml(key)} = {toml(one)}\n" for key, one in data.items()))
    is_a_rubric_or_refused(place)


@settings(max_examples=100, deadline=None)
@given(st.binary() | TEXTS.map(str.encode))
def test_whatever_bytes_there_are_it_is_a_rubric_or_a_line(place, data):
    place.write_bytes(data)
    is_a_rubric_or_refused(place)


AMOUNTS = st.sampled_from([0.0, 1e-6, 0.1, 1 / 3, 7.0, 1e6]) | st.floats(1e-6, 1e6)
PATTERNS = st.sampled_from([*FIVE, "softmax", "causal_mask", "ATT-02", "*"])


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(PATTERNS, AMOUNTS, max_size=4),
    st.dictionaries(st.sampled_from(["softmax", "causal_mask"]), AMOUNTS, max_size=2),
    st.lists(PATTERNS.filter(lambda name: name != "*"), max_size=2),
    AMOUNTS.filter(bool),
)
def test_points_are_finite_and_scaled_whatever_laws_are_worth(worths, components, bonus, out_of):
    rubric = Rubric(
        properties=worths, components=components, bonus=tuple(bonus), out_of=round(out_of, 6)
    )
    result = graded(rubric, dict.fromkeys(FIVE, "holds"))
    assert all(math.isfinite(mark.worth) for mark in result.marks)
    counted = [mark for mark in result.marks if not mark.bonus]
    if any(mark.worth for mark in counted):
        assert result.max_score == pytest.approx(rubric.out_of, rel=1e-12, abs=1e-6)
    else:
        assert result.max_score == 0
    assert result.score >= result.max_score


@pytest.mark.parametrize("text", ["bonus = ['softmax']\n", "[properties]\nsoftmax = 0\n"])
def test_a_rubric_by_which_nothing_counts_is_refused(text, tmp_path, capsys):
    (tmp_path / "rubric.toml").write_text(text)
    (tmp_path / "mine.py").write_text("from torch import softmax\ndef softmax(x, dim=-1): pass\n")
    command = ["grade", str(tmp_path / "mine.py"), "--only", "softmax"]
    assert main([*command, "--rubric", str(tmp_path / "rubric.toml")]) == 2
    assert "no law is worth a point" in " ".join(capsys.readouterr().err.split())
