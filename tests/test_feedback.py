"""What a student reads: in two languages, nothing of what is hidden, nothing that was forged."""

from __future__ import annotations

import json
import re
from dataclasses import astuple, replace
from itertools import pairwise
from pathlib import Path
from types import FunctionType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.cells import cell_len

from attest import counterexamples, korean
from attest.evidence import Counterexample, Evidence, Labels
from attest.examination import Settings, examine
from attest.feedback import LANGUAGES, TABLE, feedback, percent, said, words
from attest.grading import Grade, grade, unloadable
from attest.implementations import LocalImplementation
from attest.laws import Property, law
from attest.ledger import load_reference, own_package
from attest.mistakes import known_mistakes, nearest
from attest.rubric import Rubric
from attest.sandbox import trusted
from attest.strategies import softmax_inputs
from tests.some_laws import DIAGONAL, LAWS, OVERFLOW, ROWS, SHIFT, SUM

HERE = trusted("cpu", why="a test")

HANGUL = re.compile("[가-힣]")


def odd(name: str, **other: Any) -> Counterexample:
    given = (("x", "[1, 2]"), ("dim", "-1"))
    found = Counterexample(
        LAWS[name].component, LAWS[name].sentence, "Why.", "x = y", None, given, "the sum", "2",
        "1", "off by 1", "import torch\nprint('again')\n",
    )  # fmt: skip
    return replace(found, **other)


def refuted(name: str, **other: Any) -> Evidence:
    found = {"message": "the sum: off by 1", "counterexample": odd(name), **other}
    return Evidence(LAWS[name], "refuted", 1, **found)


def holds(*names: str) -> list[Evidence]:
    return [Evidence(LAWS[name], "holds", 100, 100) for name in names]


def graded(*evidence: Evidence, rubric: Rubric | None = None, **because_of: Any) -> Grade:
    blamed = {name.replace("__", "."): parts for name, parts in because_of.items()}
    return grade("mine.py", evidence, Settings(), HERE, rubric, blamed)


def structure(report: str) -> list[Token]:
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(report)


def headings(report: str) -> list[str]:
    tokens = structure(report)
    return [b.content for a, b in pairwise(tokens) if a.type == "heading_open"]


# --- The table ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table() -> dict[str, dict[str, str]]:
    path = Path(own_package("properties").__file__).parent / TABLE
    return json.loads(path.read_text(encoding="utf-8"))


def key(prop: Property) -> str:
    return f"{prop.function.__module__.rpartition('.')[2]}.{prop.name}"


def test_every_law_has_an_entry_and_every_entry_a_law(table):
    assert sorted(table) == sorted({key(prop) for prop in LAWS.values()})


def test_no_law_has_changed_since_it_was_translated(table):
    for prop in LAWS.values():
        first = " ".join(prop.explanation.partition("\n\n")[0].split())
        assert table[key(prop)]["explanation"] == first, prop.id
    assert set(map(len, table.values())) == {5}


@pytest.mark.parametrize("name", ["hint", "hint_ko"])
def test_hints_are_short_lines_of_their_own(name, table):
    hints = [entry[name] for entry in table.values()]
    assert len(set(hints)) == len(hints)
    for hint, entry in zip(hints, table.values(), strict=True):
        assert 0 < len(hint) <= 220
        assert hint == " ".join(hint.split())
        assert hint.isprintable()
        assert hint not in {entry["explanation"], entry["explanation_ko"], entry["sentence_ko"]}


def test_korean_is_korean_and_english_is_not(table):
    for name, entry in table.items():
        for field, text in entry.items():
            assert bool(HANGUL.search(text)) == field.endswith("_ko"), (name, field)
            assert "\n" not in text


def changed(prop: Property, explanation: str) -> Property:
    told = prop.function
    copy = FunctionType(told.__code__, told.__globals__, told.__name__, None, told.__closure__)
    copy.__doc__, copy.__module__ = explanation, told.__module__
    return replace(prop, function=copy)


def test_a_law_is_said_in_each_language(table):
    prop = LAWS[SUM]
    entry = table[key(prop)]
    english, korean = said(prop, "en"), said(prop, "ko")
    assert english.sentence == "entries along the axis sum to one"
    assert (english.explanation, english.hint) == (prop.explanation, entry["hint"])
    assert (korean.sentence, korean.explanation, korean.hint) == (
        entry["sentence_ko"].rstrip("."),
        entry["explanation_ko"],
        entry["hint_ko"],
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_law_that_has_changed_is_said_in_english_without_a_hint(language):
    prop = changed(LAWS[SUM], "They sum to two.")
    found = said(prop, language)
    assert (found.sentence, found.explanation) == (prop.sentence, "They sum to two.")
    assert found.hint == ""
    assert "Hint" not in feedback(graded(replace(refuted(SUM), prop=prop)))


def test_a_law_whose_later_paragraphs_have_changed_is_said_as_before():
    prop = changed(LAWS[SUM], f"{LAWS[SUM].explanation}\n\nSee [1].")
    assert said(prop, "ko") == said(LAWS[SUM], "ko")
    assert said(prop, "en").hint == said(LAWS[SUM], "en").hint


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_law_of_somebody_else_is_said_in_its_own_words(language):
    @law("softmax", inputs=softmax_inputs(), formula="x = x")
    def entries_along_the_axis_sum_to_one(softmax, x):
        """Theirs."""

    (prop,) = vars(entries_along_the_axis_sum_to_one)["__attest_properties__"]
    assert (said(prop, language).explanation, said(prop, language).hint) == ("Theirs.", "")


# --- The report -----------------------------------------------------------------------------------

MIXED = (
    *holds(SUM),
    refuted(SHIFT, printed="here I am"),
    Evidence(LAWS[OVERFLOW], "crashed", message="ValueError: no"),
    Evidence(LAWS[DIAGONAL], "not_attempted", message="causal_mask is not defined"),
    refuted(ROWS),
)
BLAMED = {ROWS.replace(".", "__"): ("softmax",)}


@pytest.mark.parametrize(
    ("language", "texts"),
    [
        (
            "en",
            [
                *("5 of 12 points (41%)", "## softmax: 3 / 7\n", "✓ Holds (1): entries along"),
                *("## causal_mask: 0 / 3 (not attempted)", "### ✗ adding a constant", " (−3)\n"),
                *("  Wrong: the sum", "  came out      2", "  should be     1"),
                "To see it again",
                *("It printed:\n\n```\nhere I am\n```", "crashed: ValueError: no", "**Hint**: "),
            ],
        ),
        (
            "ko",
            [
                *("12점 만점에 5점 (41%)", "## softmax: 3 / 7\n", "✓ 성립함 (1): 축을"),
                *("## causal_mask: 0 / 3 (구현하지 않음)", "  틀린 곳: the sum"),
                *("  나온 값      2", "  나와야 할 값 1", "다시 확인하려면"),
                *(
                    "출력한 내용:\n\n```\nhere I am\n```",
                    "실행 중 오류: ValueError: no",
                    "**힌트**: ",
                ),
            ],
        ),
    ],
)
def test_a_report_says_what_holds_what_fails_and_how_to_see_it(language, texts):
    report = feedback(graded(*MIXED, **BLAMED), language)
    for text in texts:
        assert text in report
    for name in (SHIFT, OVERFLOW):
        found = said(LAWS[name], language)
        assert f"### ✗ {found.sentence} (−" in report
        assert f"{found.explanation}\n\n    {LAWS[name].formula}\n" in report
        assert f"**{words(language).hint}**: {found.hint}\n" in report
    assert said(LAWS[SUM], language).sentence in report
    assert "\n```\n  x   = [1, 2]\n  dim = -1\n" in report
    assert "```python\nimport torch\nprint('again')\n```\n" in report
    assert said(LAWS[SUM], language).hint not in report
    assert said(LAWS[DIAGONAL], language).sentence not in report


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_claim_is_said_in_the_words_of_the_notes(language):
    report = feedback(graded(refuted(ROWS)), language)
    assert f"\n{words(language).notes}: «{LAWS[ROWS].claim.quote}»\n" in report
    assert "«" not in feedback(graded(refuted(SHIFT)), language)


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_fails_because_of_a_part_says_so_and_loses_nothing(language):
    report = feedback(graded(refuted(ROWS, printed="loud"), **BLAMED), language)
    found = said(LAWS[ROWS], language)
    assert f"### ✗ {found.sentence}\n" in report
    assert words(language).because_of.format(parts="softmax") in report
    assert "softmax" in words(language).because_of.format(parts="softmax")
    for text in (found.hint, "the sum", "again", "loud", "−"):
        assert text not in report
    assert "2 of 2 points (100%)" in report or "2점 만점에 2점 (100%)" in report


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("status", ["refuted", "crashed", "timeout", "undecided"])
def test_whatever_went_wrong_is_said_without_a_counterexample_too(status, language):
    said_by = words(language)
    report = feedback(graded(Evidence(LAWS[SUM], status, message="no luck")), language)
    assert f"\n{said_by.statuses[status]}: no luck\n" in report
    assert "None" not in feedback(graded(Evidence(LAWS[SUM], status)), language)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_report_is_in_one_language(language):
    said_by = words(language)
    around = [said_by.points, said_by.holds, said_by.hidden, said_by.hint, said_by.notes]
    around += [said_by.missing, said_by.not_loaded, said_by.all_well, *said_by.statuses.values()]
    around += [said_by.because_of, said_by.behaves_like, said_by.printed, *astuple(said_by.labels)]
    assert all(bool(HANGUL.search(text)) == (language == "ko") for text in around if text)


def test_a_counterexample_is_in_korean_but_for_the_laws_own_words():
    doubled = SimpleNamespace(softmax=lambda x, dim=-1: 2 * x.softmax(dim))
    mine = LocalImplementation("mine", doubled)
    law = LAWS["softmax.it_is_the_normalised_exponential"]
    found = examine(law, mine, Settings(examples=5), load_reference())
    report = feedback(graded(found), "ko")
    assert "만큼 다름" in report
    assert "반올림으로 설명되는 크기는" in report
    for english in ("off by", "where rounding", "should be  ", "came out  "):
        assert english not in report.partition("다시 확인하려면")[0]


@pytest.mark.parametrize(
    ("english", "wanted"),
    [
        ("off by 0.1 at [0, 1], where rounding explains 1e-15", "0.1만큼 다름: [0, 1], 반올림으로"),
        ("off by 2, where rounding explains nothing", "2만큼 다름, 반올림으로는 설명되지 않음"),
        ("off by 3 at [2] (5 for 2), where rounding explains 1", "3만큼 다름: [2] (2이어야"),
        ("it is not a finite number", "유한한 수가 아님"),
        ("the difference of 1e-9 is rounding", "1e-9의 차이는 반올림"),
    ],
)
def test_by_how_much_is_said_in_korean(english, wanted):
    own = odd(SUM, difference=english, expected="at most [1,\n         2]", what="x")
    found = korean.counterexample(own)
    assert found.difference is not None
    assert found.difference.startswith(wanted)
    assert not re.search("[a-z]{3}", found.difference)
    assert found.expected == "최대 [1,\n      2]"


@pytest.mark.parametrize(
    ("english", "wanted"),
    [
        ("a.py, line 3: this is not Python: bad", "a.py: Python 문법 오류 (3행): bad"),
        ("a.py: this is not Python: bad", "a.py: Python 문법 오류: bad"),
        ("a.py raised E: x when imported (line 2)", "a.py: import 도중 E: x 발생 (2행)"),
        ("a.py raised E when imported", "a.py: import 도중 E 발생"),
        ("a.py was not imported after 60 seconds", "a.py: 60초 안에 import되지 않음"),
        ("something else", "something else"),
    ],
)
def test_why_something_does_not_load_is_said_in_korean(english, wanted):
    assert korean.problem(english) == wanted


def test_every_way_to_say_what_should_be_has_korean_words():
    words_for_it = {*counterexamples._EXPECTATIONS.values(), counterexamples.AGREEMENT}
    assert words_for_it | {"finite numbers"} == set(korean._HOW)


def test_every_mistake_has_korean_words():
    table = {text for one in known_mistakes() for text in (one.kind, one.mistake) if text}
    told = korean._mistakes()
    assert table <= set(told)
    assert all(HANGUL.search(text) and not text.endswith(".") for text in told.values())
    kind, likely = "the scores have the wrong scale", "the exponentials have base two"
    said_both = korean.mistake(f"{kind}; most likely {likely}")
    assert said_both == f"{told[kind]}. 가장 그럴듯한 것: {told[likely]}"


def test_no_sentence_ends_with_two_full_stops():
    report = feedback(graded(*holds(SUM, OVERFLOW), refuted(SHIFT)), "ko")
    assert not re.search(r"\.[.;)]|\. \(−", report)


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_came_out_stands_above_what_should_have(language):
    labels = words(language).labels
    assert cell_len(labels.came) == cell_len(labels.expected)


def test_what_costs_most_comes_first():
    report = feedback(graded(refuted(OVERFLOW), refuted(SHIFT)))
    assert report.index(LAWS[SHIFT].sentence) < report.index(LAWS[OVERFLOW].sentence)


def test_that_all_holds_is_said_where_all_that_was_attempted_does():
    well = words("en").all_well
    missing = Evidence(LAWS[DIAGONAL], "not_attempted")
    assert well in feedback(graded(*holds(SUM), missing))
    assert well not in feedback(graded(*holds(SUM), refuted(SHIFT)))
    assert well not in feedback(graded(missing))


def test_of_what_was_not_attempted_there_is_a_line_alone():
    missing, rubric = Evidence(LAWS[DIAGONAL], "not_attempted"), Rubric(hidden=("causal_mask",))
    for result, most in ((graded(missing), 3), (graded(missing, rubric=rubric), 0)):
        assert feedback(result).endswith(f"\n\n## causal_mask: 0 / {most} (not attempted)\n")


def test_one_crash_is_told_once_with_all_that_it_costs():
    rubric = Rubric(bonus=(OVERFLOW,))
    crashes = [
        Evidence(LAWS[name], "crashed", message="no mask") for name in (SUM, SHIFT, OVERFLOW)
    ]
    report = feedback(
        graded(*crashes, Evidence(LAWS[DIAGONAL], "timeout", message="late"), rubric=rubric)
    )
    assert report.count("no mask") == 1
    same = report.partition("The same happens in 2 more:\n")[2]
    assert f"- {LAWS[SHIFT].sentence} (−3)\n- {LAWS[OVERFLOW].sentence} (bonus, not earned)" in same
    assert "**Hint**" not in report
    alone = feedback(graded(*holds(SUM), crashes[1]))
    assert "The same happens" not in alone
    assert "**Hint**" in alone


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_required_component_that_is_missing_is_named_with_what_counts(language):
    rubric = Rubric(required=("causal_mask",), kept=0.25)
    missing = Evidence(LAWS[DIAGONAL], "not_attempted")
    report = feedback(graded(*holds(SUM), missing, rubric=rubric), language)
    assert words(language).missing.format(names="causal_mask", kept=25) in report
    assert "0.75" in report.splitlines()[2]
    assert "(12%)" in report.splitlines()[2]


def test_percentages_are_rounded_down_and_nothing_else_is():
    for score in range(1001):
        assert percent(score / 1000, 1.0) == score // 10
        assert percent(score / 1000 * 7, 7.0) in {score // 10, (score - 1) // 10}
    assert percent(999999.999999, 1e6) == 99
    assert percent(1e6, 1e6) == 100
    assert percent(3.3, 3) == 110
    assert percent(0, 0) == percent(1, 0) == 0


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_cannot_be_loaded_has_no_points_and_says_why(language):
    laws = [LAWS[SUM], LAWS[DIAGONAL]]
    result = unloadable("mine.py", laws, Settings(), HERE, "line 1: this is not Python")
    said_by = words(language)
    points = said_by.points.format(score=0, most=6, percent=0)
    assert feedback(result, language) == (
        f"# mine.py\n\n**{points}**\n\n{said_by.not_loaded}: line 1: this is not Python\n"
    )


# --- What is hidden -------------------------------------------------------------------------------

FREE = Rubric(hidden=(SHIFT,))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("status", ["refuted", "crashed", "timeout", "undecided"])
def test_of_a_hidden_law_a_student_sees_the_name_and_nothing_else(status, language):
    secret = refuted(SHIFT, printed="S3CRET", message="S3CRET")
    secret = replace(secret, status=status, counterexample=odd(SHIFT, what="S3CRET"), seconds=9.0)
    kept = [*holds(SUM), refuted(OVERFLOW)]
    report = feedback(graded(*kept, secret, rubric=FREE), language)
    well = feedback(graded(*kept, *holds(SHIFT), rubric=FREE), language)
    assert report == well
    assert f"\n{words(language).hidden}: {LAWS[SHIFT].name}.\n" in report
    assert report.count(LAWS[SHIFT].name) == 1
    assert said(LAWS[SHIFT], language).sentence not in report
    assert "S3CRET" not in report
    blamed = {SHIFT.replace(".", "__"): ("softmax",)}
    assert feedback(graded(*kept, secret, rubric=FREE, **blamed), language) == report


def test_that_all_holds_is_not_said_beside_what_is_hidden():
    for hidden in (refuted(SHIFT), *holds(SHIFT)):
        assert words("en").all_well not in feedback(graded(*holds(SUM), hidden, rubric=FREE))


def likely() -> tuple[str, dict[str, int]]:
    for one in known_mistakes():
        ours = len(one.fails) > 2 and one.laws == {
            prop.name for prop in LAWS.values() if prop.component == one.component
        }
        if ours and nearest(one.component, one.fails, one.laws, known_mistakes()):
            return one.component, dict(one.fails)
    pytest.fail("no known mistake is the nearest to itself")


def test_a_mistake_that_is_known_is_named_and_hidden_laws_do_not_give_it_away():
    component, fails = likely()
    own = [prop for prop in LAWS.values() if prop.component == component]

    def report(hidden: tuple[str, ...], *holding: str) -> str:
        failing = fails.keys() - set(holding)
        evidence = [
            Evidence(prop, "refuted", fails[prop.name] - 1, message="no")
            if prop.name in failing
            else Evidence(prop, "holds", 100)
            for prop in own
        ]
        names = tuple(f"{component}.{name}" for name in hidden)
        return feedback(graded(*evidence, rubric=Rubric(hidden=names, properties={"*": 0})))

    assert "\nBehaves like: " in report(())
    assert "Behaves like" not in report(tuple(fails))
    for name in fails:
        assert report((name,)) == report((name,), name)


# --- What strangers write -------------------------------------------------------------------------

NASTY = (
    *("<script>alert(1)</script>", "<!-- ", "<img src=x onerror=y>", "&lt;b&gt; &amp; &#42;"),
    *("```\n# Well done\n```", "~~~\n~~~", "`` ` ``` ```` ````` `", "[x](javascript:y)", "![x](y)"),
    *("**100 of 100 points**", "__x__ *y* ~~z~~", "# x #", "a\n\n# b", "a\n===", "a\n---", "- a"),
    *("1. a", "> a", "    a", "\ta", "|a|b|\n|-|-|", "\\", "\\\\`", "$x$", "[a]: b", "<a@b.c>"),
    *("a\x0b\n\x0c# b", "a\u2028# b", "a  \nb", "", " "),
)
WRITTEN = st.sampled_from(NASTY) | st.text(
    st.sampled_from("`<>#*_[]()!|&~\\$\n -=+:ab1.한\u2028\t"), max_size=30
)


def nasty_examples(test):
    for text in NASTY:
        test = example(text)(test)
    return test


@nasty_examples
@settings(max_examples=100, deadline=None)
@given(WRITTEN)
def test_a_message_is_text_whatever_is_in_it(text):
    line = " ".join(text.split())
    result = grade(text, [Evidence(LAWS[SUM], "crashed", message=text)], Settings(), HERE, Rubric())
    for report, after in (
        (feedback(result), f"crashed: {line}"),
        (
            feedback(unloadable(text, [LAWS[SUM]], Settings(), HERE, text)),
            f"It could not be loaded: {line}",
        ),
    ):
        tokens = structure(report)
        shown = [token for token in tokens if token.type == "inline"]
        plain = ["".join(one.content for one in token.children) for token in shown]
        assert plain[0] == line
        assert after.strip() in plain
        kinds = {token.type.partition("_")[0] for token in tokens}
        assert kinds <= {"heading", "paragraph", "inline", "code"}
        assert sum(token.type == "heading_open" for token in tokens) in {1, 3}
        inside = {one.type for token in shown for one in token.children}
        assert inside <= {"text", "strong_open", "strong_close"}


@nasty_examples
@settings(max_examples=100, deadline=None)
@given(WRITTEN)
def test_a_counterexample_does_not_end_its_fence(text):
    found = odd(
        SUM,
        inputs=((text, text),),
        what=text,
        came=text,
        expected=text,
        script=text,
        difference=text,
    )
    report = feedback(graded(refuted(SUM, counterexample=found, printed=text or "x")))
    tokens = structure(report)
    shown, script, printed = (token for token in tokens if token.type == "fence")
    control = str.maketrans(dict.fromkeys("\x0b\x0c", "�"))
    assert printed.content == (text or "x").translate(control) + "\n"
    assert shown.content == found.without_script(Labels()).translate(control) + "\n"
    assert script.content.rstrip("\n") == text.rstrip().translate(control)
    kinds = {token.type.partition("_")[0] for token in tokens}
    assert kinds == {"heading", "paragraph", "inline", "code", "fence"}
    assert headings(report) == [
        "mine.py",
        "softmax: 0 / 3",
        "✗ entries along the axis sum to one (−3)",
    ]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_report_can_be_written_whatever_is_in_it(language):
    text = "a\ud800b\x00c\x1b[31md\ufffee"
    found = odd(SUM, what=text)
    evidence = [refuted(SUM, counterexample=found, printed=text)]
    evidence += [Evidence(LAWS[SHIFT], "crashed", message=text)]
    results = (
        grade(text, evidence, Settings(), HERE),
        unloadable(text, [LAWS[SUM]], Settings(), HERE, text),
    )
    for result in results:
        report = feedback(result, language)
        assert report.encode().decode() == report
        assert not re.search("[\x00-\x08\x0b-\x1f\ufffe]", report)
        assert report.count("a�b�c�") >= 2
        json.dumps(result.as_data(1.0), ensure_ascii=False).encode()
