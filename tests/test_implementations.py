"""Correct implementations in other styles lose nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from attest.contract import CONTRACT
from attest.examination import Settings, examine
from attest.implementations import load_submission
from attest.ledger import load_ledger, load_reference

FOLDER = Path(__file__).parent / "implementations"
STYLES = {path.stem: load_submission(str(path)) for path in sorted(FOLDER.glob("*.py"))}
LAWS = load_ledger().laws
COMPONENTS = sorted({prop.component for prop in LAWS})

# These write the whole contract anew; a style that is about less writes what it is about.
WHOLE = (
    "biases_everywhere",
    "einsum_heads",
    "loops",
    "shortcuts",
    "streaming",
    "torch_builtin",
)


def test_there_are_twenty_styles_at_least():
    assert len(STYLES) >= 20


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_component_is_written_in_five_styles_at_least(component: str) -> None:
    assert sum(style.defines(component) for style in STYLES.values()) >= 5


@pytest.mark.parametrize("style", WHOLE)
def test_a_whole_style_attempts_the_whole_contract(style: str) -> None:
    assert all(STYLES[style].defines(component) for component in COMPONENTS)


@pytest.mark.parametrize("style", sorted(set(STYLES) - set(WHOLE)))
def test_another_style_is_about_a_few_components(style: str) -> None:
    defined = [name for name in CONTRACT if STYLES[style].defines(name)]
    assert 1 <= len(defined) <= 7, defined


@pytest.mark.slow
@pytest.mark.parametrize(
    ("style", "component"),
    [(s, c) for s, style in STYLES.items() for c in COMPONENTS if style.defines(c)],
)
def test_a_correct_style_loses_no_point(style: str, component: str) -> None:
    implementation = STYLES[style]
    settings, oracle = Settings(examples=30), load_reference()
    own = [prop for prop in LAWS if prop.component == component]
    for prop in own:
        evidence = examine(prop, implementation, settings, oracle)
        assert evidence.well, f"{prop.id}: {evidence.message}\n{evidence.counterexample}"
