"""The strangers are what they say: edits of a correct base that apply, with sentences we know."""

from __future__ import annotations

from collections import Counter

import pytest

from attest.contract import CONTRACT
from attest.examination import Settings, examine
from attest.ledger import load_ledger, load_reference
from attest.mistakes import Said
from tests.mutants.mistakes import KINDS, MISTAKES, kind_of
from tests.strangers import RENAMED, Edit, Stranger, all_strangers, base_in
from tests.strangers.__main__ import judged, page
from tests.strangers.styles import STYLES

STRANGERS = tuple(all_strangers())
FIRST = {stranger.component: stranger for stranger in reversed(STRANGERS)}
LEDGER = load_ledger()


def test_every_stranger_of_a_component_has_a_name_of_its_own():
    names = Counter((stranger.component, stranger.name) for stranger in STRANGERS)
    assert [name for name, times in names.items() if times > 1] == []


def test_they_come_in_one_order_with_ten_or_more_of_every_component():
    assert tuple(all_strangers()) == STRANGERS
    counted = Counter(stranger.component for stranger in STRANGERS)
    assert list(counted) == [component for component in CONTRACT if component in counted]
    assert {component for component in CONTRACT if counted[component] < 10} == set()


def test_every_edit_has_one_place_and_gives_code_that_no_other_stranger_has():
    written = Counter((stranger.component, stranger.source) for stranger in STRANGERS)
    assert max(written.values()) == 1
    for stranger in STRANGERS:
        compile(stranger.source, f"{stranger.component}.{stranger.name}", "exec")


@pytest.mark.parametrize("component", FIRST)
def test_a_stranger_is_the_reference_with_one_component_in_place(component):
    stranger = FIRST[component]
    implementation = stranger.implementation()
    assert implementation.name == stranger.name
    assert all(map(implementation.defines, CONTRACT))
    assert stranger.target is stranger.target
    assert getattr(implementation._namespace, component) is stranger.target


def test_further_lines_are_indented_as_the_first_one_is_found():
    edit = Edit(
        "b = 2\nc = 3",
        """
        if a:
            b = 3

        """,
    )
    assert edit("def f():\n    a = 1\n    b = 2\n    c = 3\n") == (
        "def f():\n    a = 1\n    if a:\n        b = 3\n"
    )


@pytest.mark.parametrize("code", ["b = 1", "a = 1\na = 1"])
def test_an_edit_without_one_place_is_refused(code):
    with pytest.raises(ValueError, match="times where it should once"):
        Edit("a = 1", "a = 2")(code)


def test_every_sentence_is_known_and_those_beside_it_are_of_other_kinds():
    for stranger in STRANGERS:
        said = [sentence for sentence in (stranger.mistake, *stranger.also) if sentence]
        assert [sentence for sentence in said if sentence not in {*MISTAKES, *KINDS}] == []
        assert len({kind_of(sentence) for sentence in said}) == len(said), stranger.name
        assert stranger.mistake or not stranger.also


def test_nearly_all_make_a_mistake_that_has_a_sentence():
    assert sum(bool(stranger.mistake) for stranger in STRANGERS) >= 0.95 * len(STRANGERS)


def test_every_style_is_chosen_by_a_stranger_and_every_doubt_says_why():
    assert {style for stranger in STRANGERS for style in stranger.style} == set(STYLES)
    assert all(len(stranger.doubt.split()) > 4 for stranger in STRANGERS if stranger.doubt)


CORRECT = [
    ("softmax", (), "it_is_the_normalised_exponential"),
    ("softmax", (), "adding_a_constant_changes_nothing"),
    ("sinusoidal_positional_encoding", (), "it_is_made_of_sines_and_cosines"),
    ("sinusoidal_positional_encoding", ("halved",), "it_is_made_of_sines_and_cosines"),
    ("LayerNorm", (), "every_token_is_centred_and_scaled"),
    ("LayerNorm", (RENAMED,), "a_scale_drops_out_but_for_epsilon"),
    ("MultiHeadAttention", (RENAMED,), "what_a_mask_hides_cannot_reach_the_output"),
    ("FeedForward", ("gelu",), "it_is_not_affine"),
    ("EncoderLayer", (), "permuting_the_tokens_permutes_the_output"),
    ("EncoderLayer", ("post",), "what_a_mask_hides_cannot_reach_a_token"),
    ("Transformer", ("post", "scaled"), "decoding_the_memory_gives_the_logits_of_the_whole"),
    ("Seq2Seq", ("lstm",), "logits_are_not_normalised"),
    ("Seq2Seq", ("elman",), "logits_are_not_normalised"),
]


@pytest.mark.parametrize(("component", "style", "law"), CORRECT)
def test_the_base_is_correct_in_every_style(component, style, law):
    (prop,) = [prop for prop in LEDGER.properties if prop.id == f"{component}.{law}"]
    settings = Settings(examples=5, explain=False)
    evidence = examine(prop, base_in(component, style), settings, load_reference())
    assert evidence.status == "holds", evidence


# --- What is measured -----------------------------------------------------------------------------


def stranger(**fields):
    return Stranger("softmax", "one", "It is wrong.", (), **fields)


def test_a_stranger_is_caught_by_a_law_at_any_example_and_soon_by_the_first_ones():
    assert judged(stranger(), {"a": 0, "b": 0})["caught"] is False
    late = judged(stranger(), {"a": 0, "b": 50})
    assert late["caught"]
    assert not late["soon"]
    assert judged(stranger(), {"a": 3, "b": "never"})["soon"]
    assert judged(stranger(), {"a": "never"})["soon"] is False


def test_what_is_said_is_right_where_it_is_true_of_the_stranger(monkeypatch):
    kind, narrow = "what a mask should hide takes part all the same", "the mask is ignored"
    monkeypatch.setattr("tests.strangers.__main__.nearest", lambda *_: Said(kind, narrow))
    assert judged(stranger(mistake=narrow), {"a": 1})["right"]
    assert judged(stranger(mistake=narrow), {"a": 1})["likely_right"]
    wide = judged(stranger(mistake=kind), {"a": 1})
    assert wide["right"]
    assert not wide["likely_right"]
    assert judged(stranger(mistake="the inputs are overwritten", also=(kind,)), {"a": 1})["right"]
    assert not judged(stranger(mistake="the inputs are overwritten"), {"a": 1})["right"]
    assert not judged(stranger(), {"a": 1})["right"]


def test_the_page_counts_doubtful_strangers_apart():
    caught = judged(stranger(mistake="the mask is ignored"), {"a": 1})
    spared = judged(stranger(doubt="nobody forbids it"), {"a": 0})
    told = caught | {"said": "a kind", "right": True, "likely": "one", "likely_right": False}
    text = page([caught, told, spared])
    assert "Of 2 wrong versions **2 are caught**, 2 of them" in text
    assert "Of 1 more the contract may not forbid what they do; 0 of these are caught" in text
    assert "says of 1 what they behave like" in text
    assert "**1 were right**" in text
    assert "| nobody forbids it |" in text
    assert "Said and not so" not in text
