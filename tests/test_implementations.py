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


# Where each free choice of the contract is made, one way and the other: a style, and what shows it.
FREE_CHOICES = {
    "a bias or none": (("in_place", "biases"), ("joint_vocabulary", "no bias anywhere")),
    "the activation": (
        *(("orthogonal_scan", "ReLU"), ("packed_tokens", "GELU"), ("joint_vocabulary", "SwiGLU")),
        *(("stacked_weights", "Mish"), ("mapped_items", "ELU"), ("vmapped", "tanh")),
    ),
    "pre-norm or post-norm": (("stacked_weights", "pre-norm"), ("mapped_items", "post-norm")),
    "the recurrent cell": (
        *(("orthogonal_scan", "Elman"), ("input_feeding", "GRU"), ("shrinking_batch", "LSTM")),
    ),
    "initialisation": (
        *(("biases_everywhere", "orthogonal and zero"), ("unusual_starts", "start at zero")),
        ("joint_vocabulary", "small initial weights"),
    ),
    "the embedding scale": (
        *(("joint_vocabulary", "times √d"), ("nested_fast_path", "divided by √d")),
        ("packed_tokens", "embeddings as they are"),
    ),
    "interleaved or halved columns": (
        *(("divide_and_conquer", "interleaved"), ("packed_tokens", "halves of sines")),
    ),
    "the mask constant": (("mapped_items", "−∞"), ("stacked_weights", "least number")),
    "fused or explicit kernels": (("packed_tokens", "fused"), ("loops", "Explicit")),
    "a cache that stores anything": (
        *(("coroutine_cache", "suspended generator"), ("packed_tokens", "history of tokens")),
        ("joint_vocabulary", "buffers that double"),
    ),
    "how parameters are named": (("flat_vector", "One vector"), ("vmapped", "ParameterDict")),
}


@pytest.mark.parametrize("choice", FREE_CHOICES)
def test_a_free_choice_is_made_in_several_ways(choice: str) -> None:
    for style, words in FREE_CHOICES[choice]:
        first, _, _ = (FOLDER / f"{style}.py").read_text().partition("\n\nimport ")
        assert words in " ".join(first.split()), style


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
