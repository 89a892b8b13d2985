"""A grade in the formats of others: they parse, agree, and tell students nothing that is hidden."""

from __future__ import annotations

import csv
import io
import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from attest.evidence import Counterexample, Evidence
from attest.examination import Settings
from attest.feedback import LANGUAGES, feedback, said, words
from attest.formats import FORMATS, as_csv, cell, gradescope, junit, summary, table
from attest.grading import Grade, grade, unloadable
from attest.report import as_json
from attest.rubric import Rubric
from attest.sandbox import trusted
from tests.some_laws import DIAGONAL, LAWS, ORDER, OVERFLOW, QUERY, ROWS, SHIFT, SUM

HERE = trusted("cpu", why="a test")

MEBI = 1 << 20


def refuted(name: str, what: str = "the sum", **other: Any) -> Evidence:
    law = LAWS[name]
    found = Counterexample(
        law.component, law.sentence, "Why.", "x = y", None, (("x", "[1, 2]"),), what, "2", "1",
        "off by 1", "import torch\nprint('again')\n",
    )  # fmt: skip
    given = {"message": f"{what}: off by 1", "counterexample": found, "seconds": 1.5, **other}
    return Evidence(law, "refuted", 3, **given)


def holds(*names: str) -> list[Evidence]:
    return [Evidence(LAWS[name], "holds", 100, 100, 0.25) for name in names]


def graded(*evidence: Evidence, rubric: Rubric | None = None, name: str = "mine.py") -> Grade:
    blamed = {ROWS: ("softmax",)}
    return grade(name, evidence, Settings(), HERE, rubric, blamed)


SECRET = refuted(ORDER, "S3CRET", seconds=60.0, printed="S3CRET")
MIXED = (
    *holds(SUM),
    refuted(SHIFT),
    Evidence(LAWS[OVERFLOW], "holds", 100),
    SECRET,
    Evidence(LAWS[DIAGONAL], "not_attempted", message="causal_mask is not defined"),
    refuted(ROWS),
    Evidence(LAWS[QUERY], "crashed", 0, message="ValueError: no"),
)
RUBRIC = Rubric(hidden=(ORDER,), bonus=(OVERFLOW,), properties={SHIFT: 1.25})


@pytest.fixture
def mixed() -> Grade:
    return graded(*MIXED, rubric=RUBRIC)


def unloaded(problem: str = "line 1: this is not Python", **other: Any) -> Grade:
    laws = [LAWS[name] for name in (SUM, DIAGONAL)]
    return unloadable("mine.py", laws, Settings(), HERE, problem, **other)


def written(name: str, result: Grade, language: Any = "en") -> str:
    """Give a format as the file that the command writes."""
    text = FORMATS[name](result, 4.0, language)
    return text if isinstance(text, str) else as_json(text)


def rows(text: str) -> list[dict[str, str]]:
    found = list(csv.DictReader(io.StringIO(text, newline="")))
    assert all(None not in row and None not in row.values() for row in found)
    return found


# --- Gradescope -----------------------------------------------------------------------------------


def scoped(result: Grade, language: Any = "en") -> dict[str, dict[str, Any]]:
    found = json.loads(as_json(gradescope(result, 4.2, language)))
    assert len(found["tests"]) == len(result.marks)
    return {mark.prop.id: one for mark, one in zip(result.marks, found["tests"], strict=True)}


def test_gradescope_gets_the_points_and_what_they_are_of(mixed):
    found = gradescope(mixed, 4.2)
    assert found["score"] == 3 + 1 + 2
    assert found["execution_time"] == 4
    assert found["output"] == "6 of 11.25 points (53%), without what is hidden"
    assert (found["visibility"], found["stdout_visibility"]) == ("visible", "hidden")
    tests = scoped(mixed)
    assert {name: (one["score"], one["max_score"]) for name, one in tests.items()} == {
        SUM: (3, 3),
        SHIFT: (0, 1.25),
        OVERFLOW: (1, 0),
        ORDER: (0, 3),
        DIAGONAL: (0, 3),
        ROWS: (2, 2),
        QUERY: (0, 2),
    }
    assert sum(one["score"] for one in tests.values()) == found["score"]
    assert sum(one["max_score"] for one in tests.values()) == mixed.max_score
    assert {name for name, one in tests.items() if one["status"] == "passed"} == {
        SUM,
        OVERFLOW,
        ROWS,
    }
    assert {one["status"] for one in tests.values()} == {"passed", "failed"}
    assert tests[SUM]["name"] == "softmax: entries along the axis sum to one"
    assert tests[ROWS]["tags"] == ["claim"]


def test_a_law_that_holds_passes_though_it_is_worth_nothing():
    result = graded(*holds(SUM), refuted(SHIFT), rubric=Rubric(properties={"*": 0}))
    assert [one["status"] for one in scoped(result).values()] == ["passed", "failed"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_gradescope_shows_a_student_what_went_wrong(language, mixed):
    said_by, tests = words(language), scoped(mixed, language)
    assert all(one["output_format"] == "text" for one in tests.values())
    for name in (SUM, SHIFT, ROWS, QUERY, DIAGONAL):
        found = said(LAWS[name], language)
        assert tests[name]["name"].endswith(f": {found.sentence}")
        assert tests[name]["output"].startswith(f"{found.explanation}\n{LAWS[name].formula}")
        failed = name in {SHIFT, QUERY}
        assert (f"{said_by.hint}: {found.hint}" in tests[name]["output"]) == failed
    assert f"{said_by.labels.wrong}: the sum\n" in tests[SHIFT]["output"]
    assert f"{said_by.statuses['crashed']}: ValueError: no\n" in tests[QUERY]["output"]
    assert said_by.because_of.format(parts="softmax") in tests[ROWS]["output"]
    assert "the sum" not in tests[ROWS]["output"]
    assert tests[DIAGONAL]["output"].endswith(f"\n{said_by.statuses['not_attempted']}")
    bare = graded(Evidence(LAWS[SUM], "crashed"))
    assert "None" not in scoped(bare, language)[SUM]["output"]


def test_gradescope_hides_tests_of_hidden_laws(mixed):
    tests = scoped(mixed)
    assert {name for name, one in tests.items() if one["visibility"] == "hidden"} == {ORDER}
    assert {one["visibility"] for one in tests.values()} == {"hidden", "visible"}
    assert tests[ORDER]["output"] == ""
    assert tests[ORDER]["name"] == f"softmax: {LAWS[ORDER].name}"
    assert "S3CRET" not in as_json(gradescope(mixed, 4.2))


@pytest.mark.parametrize("language", LANGUAGES)
def test_gradescope_is_told_of_what_is_missing_and_of_what_does_not_load(language):
    said_by = words(language)
    rubric = Rubric(required=("causal_mask",), kept=0.5)
    found = gradescope(graded(*MIXED, rubric=rubric), 1.0, language)
    assert found["score"] == 3
    assert said_by.missing.format(names="causal_mask", kept=50) in found["output"].splitlines()
    found = gradescope(unloaded(), 1.0, language)
    assert found["score"] == 0
    assert f"{said_by.not_loaded}: line 1: this is not Python" in found["output"].splitlines()
    assert [(one["score"], one["status"]) for one in found["tests"]] == [(0, "failed")] * 2


# --- JUnit ----------------------------------------------------------------------------------------


def parsed(text: str) -> ET.Element:
    return ET.fromstring(text.encode())  # noqa: S314 - our own


def outcomes(suites: ET.Element) -> dict[str, str]:
    cases = suites.iter("testcase")
    return {
        f"{case.get('classname')}.{case.get('name')}": "".join(one.tag for one in case)
        for case in cases
    }


def counted(suites: ET.Element) -> None:
    """Make sure that all counts are what can be counted."""
    for suite in (suites, *suites):
        cases = list(suite.iter("testcase"))
        assert suite.get("tests") == str(len(cases))
        for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            found = sum(case.find(tag) is not None for case in cases)
            assert suite.get(name, str(found)) == str(found)
        assert {"failures", "errors"} <= set(suite.keys()) or suite.get("name") == "loading"


def test_junit_has_a_suite_a_component_and_a_case_a_law(mixed):
    suites = parsed(junit(mixed, 4.25))
    counted(suites)
    assert (suites.get("name"), suites.get("time")) == ("mine.py", "4.250")
    assert [suite.get("name") for suite in suites] == [part.name for part in mixed.components]
    assert outcomes(suites) == {
        SUM: "",
        SHIFT: "failure",
        OVERFLOW: "",
        ORDER: "skipped",
        DIAGONAL: "skipped",
        ROWS: "skipped",
        QUERY: "error",
    }
    assert (suites.get("tests"), suites.get("failures"), suites.get("errors")) == ("7", "1", "1")


@pytest.mark.parametrize("language", LANGUAGES)
def test_junit_says_what_went_wrong_and_why_the_rest_was_skipped(language, mixed):
    suites, said_by = parsed(junit(mixed, 1.0, language)), words(language)
    (failure,), (error,) = list(suites.iter("failure")), list(suites.iter("error"))
    assert (failure.get("type"), failure.get("message")) == ("refuted", "the sum: off by 1")
    assert f"{said_by.labels.wrong}: the sum\n" in failure.text
    assert said(LAWS[SHIFT], language).hint in failure.text
    assert (error.get("type"), error.get("message")) == ("crashed", "ValueError: no")
    assert sorted(one.get("message") for one in suites.iter("skipped")) == sorted(
        [
            said_by.statuses["not_attempted"],
            said_by.hidden,
            said_by.because_of.format(parts="softmax"),
        ]
    )


def test_junit_has_an_error_for_what_does_not_load():
    suites = parsed(junit(unloaded(rubric=Rubric(hidden=(SUM,))), 1.0))
    counted(suites)
    assert outcomes(suites) == {SUM: "skipped", DIAGONAL: "skipped", "submission.loads": "error"}
    (error,) = suites.iter("error")
    assert error.get("message") == "line 1: this is not Python"


# --- CSV ------------------------------------------------------------------------------------------


def test_csv_has_a_row_for_every_law_the_hidden_ones_too(mixed):
    found = {row["id"]: row for row in rows(as_csv(mixed, 1.0))}
    assert list(found) == [mark.prop.id for mark in mixed.marks]
    assert set(found[SUM]) >= {"component", "kind", "claim", "examples", "seconds"}
    for mark in mixed.marks:
        row = found[mark.prop.id]
        assert float(row["points"]) == mark.earned
        assert float(row["max_points"]) == mark.worth
        assert row["status"] == mark.evidence.status
        assert row["message"] == (mark.evidence.message or "")
        assert bool(row["bonus"]) == (mark.prop.id == OVERFLOW)
        assert bool(row["hidden"]) == (mark.prop.id == ORDER)
        assert row["because_of"] == ("softmax" if mark.prop.id == ROWS else "")
    assert found[ROWS]["claim"] == "ATT-02"
    assert float(found[SHIFT]["seconds"]) == 1.5


FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "=cmd|' /C calc'!A0", "＝1", "＋1", "－1", "＠x")


@pytest.mark.parametrize("before", ["", " ", "\t", "\n", "\r", "\x0b", "\xa0", " \t\r\n"])
@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_is_a_formula(text, before):
    (row,) = rows(as_csv(graded(Evidence(LAWS[SUM], "crashed", message=before + text)), 1.0))
    assert row["message"][0] == ("�" if before == "\x0b" else "'")
    assert row["message"][1:].strip() == text
    assert cell([text]) == f"'{text}"
    assert cell(before + text).startswith("'")


def test_what_is_no_formula_stays_as_it_is():
    for value in (-1.5, -3, 0, None, True, "a=b", "1-1", "", "−1", "'=1", "한국어"):
        assert cell(value) is value
    assert cell(["a", "b"]) == "a, b"
    assert table(["x"], [[-1.5], [-0.25]]) == '"x"\n-1.5\n-0.25\n'


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(st.sampled_from("a=,;\"'\r\n\t\x00\u2028 ") | st.characters(), max_size=9)))
def test_csv_is_read_back_row_by_row_whatever_is_in_it(texts):
    evidence = [
        Evidence(law, "crashed", message=text)
        for law, text in zip(LAWS.values(), texts, strict=False)
    ]
    text = as_csv(graded(*evidence), 1.0)
    found = {row["id"]: row["message"] for row in rows(text)}
    assert len(text.splitlines()) == len(evidence) + 1
    assert sorted(found) == sorted(e.prop.id for e in evidence)
    for e in evidence:
        assert found[e.prop.id].removeprefix("'")[:1] == "" or not re.match(
            r"\s*[=+\-@]", found[e.prop.id]
        )
        words_of = re.sub(r"[^\w]", "", e.message)
        assert words_of.encode(errors="ignore").decode() in re.sub(r"[^\w]", "", found[e.prop.id])


# --- Markdown -------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_summary_has_a_table_of_points_before_the_report(language, mixed):
    said_by, report = words(language), feedback(mixed, language)
    text = summary(mixed, 4.2, language)
    lines = text.splitlines()
    assert lines[:3] == report.splitlines()[:3]
    note = said_by.held.format(held=2, seen=3)
    assert lines[4:9] == [
        f"| {said_by.component} | {said_by.worth} | |",
        "| --- | ---: | --- |",
        f"| softmax | 4 / 4.25 | {note} |",
        f"| causal_mask | 0 / 3 | {said_by.statuses['not_attempted']} |",
        f"| scaled_dot_product_attention | 2 / 4 | {said_by.held.format(held=0, seen=2)} |",
    ]
    assert lines[10] == said_by.took.format(seconds=4.2)
    assert text.endswith(report.partition("\n\n")[2].partition("\n\n")[2])
    kinds = [token.type for token in MarkdownIt("commonmark").enable("table").parse(text)]
    assert kinds.count("table_open") == 1
    assert bool(re.search("[가-힣]", "".join(lines[4:11]))) == (language == "ko")


def test_a_summary_of_what_does_not_load_says_why():
    text = summary(unloaded(), 0.4)
    assert "**0 of 6 points (0%)**" in text
    assert "| softmax | 0 / 3 | nothing of it works |" in text
    assert text.endswith("\n\nIn 0 s.\n\nIt could not be loaded: line 1: this is not Python\n")


@pytest.mark.parametrize(
    "what",
    ["x" * 2 * MEBI, "`" * MEBI, "가나다\n\n```\n\n" * (MEBI // 8)],
    ids=["one line", "backticks", "fences"],
)
def test_a_summary_is_never_longer_than_github_takes(what):
    text = summary(graded(*holds(SUM), refuted(SHIFT, what), refuted(ORDER)), 1.0)
    assert len(text.encode()) < MEBI
    assert "**3 of 9 points (33%)**" in text
    assert "| softmax | 3 / 9 | 1 of 3 laws hold |" in text
    assert text.endswith("\n\n…\n")
    after = MarkdownIt("commonmark").enable("table").parse(f"{text}\n# Another step's\n")
    assert [token.type for token in after][-3:] == ["heading_open", "inline", "heading_close"]
    assert after[-5].content == "…"


def test_a_summary_that_is_short_enough_is_whole():
    text = summary(graded(*holds(SUM), refuted(SHIFT, "x" * 900_000), refuted(ORDER)), 1.0)
    assert "…" not in text
    assert text.count("\n### ✗ ") == 2


# --- All of them ----------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", [name for name in FORMATS if name != "csv"])
@pytest.mark.parametrize("status", ["refuted", "crashed", "timeout", "undecided"])
def test_no_file_of_a_student_tells_how_a_hidden_law_went(status, name, language):
    rubric = Rubric(hidden=(ORDER,))

    def seen(hidden: Evidence) -> Any:
        result = graded(*holds(SUM), refuted(SHIFT), hidden, rubric=rubric)
        text = written(name, result, language)
        assert "S3CRET" not in text
        assert LAWS[ORDER].name in text
        assert said(LAWS[ORDER], language).sentence not in text
        if name != "gradescope":
            return text
        data = json.loads(text)
        del data["score"]  # of which Gradescope shows students nothing while a test is hidden
        data["tests"] = [one for one in data["tests"] if one["visibility"] == "visible"]
        return data

    (well,) = holds(ORDER)
    failed = replace(SECRET, status=status)
    assert seen(failed) == seen(replace(failed, counterexample=None)) == seen(well)


CONTROL = "".join(map(chr, range(32))) + "\x7f\ud800\udfff\ufffe\uffff"


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", FORMATS)
def test_no_message_breaks_a_file(name, language):
    text = f"a{CONTROL}]]><b attr='x'>&amp;\"</b>"
    evidence = [
        refuted(SUM, text, printed=text),
        *(Evidence(LAWS[law], "crashed", message=text) for law in (SHIFT, ORDER)),
    ]
    for result in (
        graded(*evidence, name=text),
        replace(unloaded(text), submission=text),
    ):
        found = written(name, result, language)
        assert found.encode().decode() == found
        assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe]", found)
        match name:
            case "gradescope":
                shown = json.loads(found)
                assert not re.search("[\x00-\x08]", json.dumps(shown, ensure_ascii=False))
                assert "<b attr" in shown["output"] + "".join(t["output"] for t in shown["tests"])
            case "junit":
                suites = parsed(found)
                counted(suites)
                assert "<b attr='x'>&amp;\"</b>" in suites.get("name")
                assert any("<b attr" in one.get("message") for one in suites.iter("error"))
            case "csv":
                assert [row["id"] for row in rows(found)] == [m.prop.id for m in result.marks]
            case _:
                html = MarkdownIt("commonmark").enable("table").render(found)
                assert "<b" not in html.replace("<blockquote", "")
    json.dumps(graded(*evidence, name=text).as_data(1.0), ensure_ascii=False).encode()


AMOUNTS = st.sampled_from([0, 0.1, 1 / 3, 2, 1000])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(["holds", "refuted", "crashed", "timeout", "undecided", "not_attempted"]),
        min_size=7,
        max_size=7,
    ),
    st.dictionaries(st.sampled_from([e.prop.id for e in MIXED]), AMOUNTS),
    st.sampled_from([None, 1, 10, 100]),
    st.sampled_from([(), ("causal_mask",)]),
    st.sets(st.sampled_from([e.prop.id for e in MIXED]), max_size=2),
)
def test_all_formats_agree_on_the_points(statuses, worths, out_of, required, chosen):
    rubric = Rubric(
        properties=worths,
        out_of=out_of,
        required=required,
        kept=0.5,
        bonus=tuple(sorted(chosen)),
        hidden=tuple(sorted(chosen)),
    )
    result = graded(
        *(
            Evidence(one.prop, status, message="no")
            for one, status in zip(MIXED, statuses, strict=True)
        ),
        rubric=rubric,
    )
    share = 0.5 if result.missing else 1.0
    data = result.as_data(1.0)
    assert (data["score"], data["max_score"]) == (result.score, result.max_score)
    for language in LANGUAGES:
        points = words(language).points
        score, most = (f"{number:g}" for number in result.open_points)
        line = re.sub(r" ?\(.*", "", points.format(score=float(score), most=float(most), percent=0))
        scope = gradescope(result, 1.0, language)
        assert scope["score"] == result.score
        assert scope["output"].startswith(line)
        assert feedback(result, language).splitlines()[2].startswith(f"**{line}")
        text = summary(result, 1.0, language)
        assert text.splitlines()[2].startswith(f"**{line}")
        for part in result.components:
            seen = f"{part.open.score:g} / {part.open.max_score:g}"
            assert f"| {part.name} | {seen} |" in text
    tests, table_of = scope["tests"], rows(as_csv(result, 1.0))
    for row, one, found in zip(data["properties"], tests, table_of, strict=True):
        assert row["points"] == one["score"] == float(found["points"])
        assert row["max_points"] == float(found["max_points"])
        assert one["max_score"] == (0 if row.get("bonus") else row["max_points"])
    summed = share * sum(one["score"] for one in tests)
    assert summed == pytest.approx(result.score, abs=1e-4)
    assert sum(one["max_score"] for one in tests) == pytest.approx(result.max_score, abs=1e-4)
