"""Correct implementations in other styles lose nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from attest.examination import Settings, examine
from attest.implementations import load_submission
from attest.ledger import load_ledger, load_reference

FOLDER = Path(__file__).parent / "implementations"
STYLES = sorted(path.stem for path in FOLDER.glob("*.py"))
LAWS = load_ledger().laws


def test_there_are_three_styles_at_least():
    assert len(STYLES) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("component", sorted({prop.component for prop in LAWS}))
@pytest.mark.parametrize("style", STYLES)
def test_a_correct_style_loses_no_point(style: str, component: str) -> None:
    implementation = load_submission(str(FOLDER / f"{style}.py"))
    settings, oracle = Settings(examples=30), load_reference()
    own = [prop for prop in LAWS if prop.component == component]
    for prop in own:
        evidence = examine(prop, implementation, settings, oracle)
        assert evidence.well, f"{prop.id}: {evidence.message}\n{evidence.counterexample}"


@pytest.mark.parametrize("style", STYLES)
def test_a_style_attempts_the_whole_contract(style: str) -> None:
    implementation = load_submission(str(FOLDER / f"{style}.py"))
    assert all(implementation.defines(prop.component) for prop in LAWS)
