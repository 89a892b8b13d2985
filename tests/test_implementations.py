"""Correct implementations in other styles lose nothing."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from attest.contract import CONTRACT
from attest.examination import Settings, examine
from attest.implementations import load_submission
from attest.ledger import load_ledger, load_reference
from reference import Transformer
from tests.mutants import Mutant
from tests.power.matrix import MANY

pytestmark = pytest.mark.styles

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


# Where each free choice of the contract is made, one way and the other: a style, and its code.
FREE_CHOICES = {
    "a bias or none": (("biases_everywhere", "+ self.bias"), ("joint_vocabulary", "bias=False")),
    "the activation": (
        *(("orthogonal_scan", "torch.relu("), ("nested_fast_path", '"gelu"')),
        *(("joint_vocabulary", "silu(gate) * up"), ("stacked_weights", "mish(")),
        *(("mapped_items", "nn.ELU()"), ("vmapped", "torch.tanh(")),
    ),
    "pre-norm or post-norm": (
        ("coroutine_cache", "torch.relu(_normal(x)"),
        ("packed_tokens", "self.norms[-1](x + self.network(x))"),
    ),
    "the recurrent cell": (
        *(("orthogonal_scan", "push + h @ turn"), ("input_feeding", "nn.GRUCell(")),
        ("shrinking_batch", "torch.lerp(torch.tanh(new), cell, keep)"),
    ),
    "initialisation": (
        *(("biases_everywhere", "init=nn.init.zeros_"), ("input_feeding", "init.orthogonal_(")),
        ("in_place", "init.sparse_("),
    ),
    "the embedding scale": (
        ("joint_vocabulary", "self.words[tokens] * width**0.5"),
        ("nested_fast_path", "table(tokens) / table.embedding_dim**0.5"),
    ),
    "interleaved or halved columns": (
        ("nested_fast_path", "torch.stack([angle.sin(), angle.cos()], -1).flatten(1)"),
        ("packed_tokens", "torch.cat([angle.sin(), angle.cos()], 1)"),
    ),
    "the mask constant": (
        ("mapped_items", "-torch.inf"),
        ("stacked_weights", "torch.finfo(scores.dtype).min"),
    ),
    "fused or explicit kernels": (
        ("packed_tokens", "functional.scaled_dot_product_attention("),
        ("loops", "keys @ query / math.sqrt("),
    ),
    "a cache that stores anything": (
        ("coroutine_cache", "speaker.send(token)"),
        ("packed_tokens", "history.tokens"),
    ),
    "how parameters are named": (
        ("flat_vector", "self.vector = nn.Parameter("),
        ("vmapped", "self.theta = nn.ParameterDict("),
    ),
}


@pytest.mark.parametrize("choice", FREE_CHOICES)
def test_a_free_choice_is_made_in_several_ways(choice: str) -> None:
    for style, written in FREE_CHOICES[choice]:
        _, _, code = (FOLDER / f"{style}.py").read_text().partition('"""\n\n')  # no docstring
        assert written in code, style


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
    # Few, as `make stability` tries hundreds of thousands.
    settings, oracle = Settings(examples=5), load_reference()
    own = [prop for prop in LAWS if prop.component == component]
    for prop in own:
        evidence = examine(prop, implementation, settings, oracle)
        assert evidence.well, f"{prop.id}: {evidence.message}\n{evidence.counterexample}"


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0.0005, 0.002, 200, 1000])
def test_no_scale_of_embeddings_is_taken_for_other_positions(scale: float) -> None:
    class Scaled(Transformer):
        def _embed(self, embedding, tokens, first=0):
            scaled = embedding(tokens) * (scale - math.sqrt(embedding.embedding_dim))
            return super()._embed(embedding, tokens, first) + scaled

    name = "words_that_make_up_for_their_positions_are_all_alike"
    (law,) = (law for law in LAWS if law.id == f"Transformer.{name}")
    scaled = Mutant("Scaled", "Transformer", Scaled, (name,)).implementation()
    evidence = examine(law, scaled, Settings(), load_reference())
    assert evidence.well, evidence.message


# Each was accused under one seed of two hundred, by a bound that was wrong.
ACCUSED = (
    (
        *("convolutions", "AdditiveAttention.duplicating_the_memory_changes_nothing"),
        *("float64", 179),
    ),
    (
        *("vmapped", "MultiHeadAttention.a_head_scores_with_no_more_than_its_width"),
        *("float32", 103),
    ),
)


@pytest.mark.slow
@pytest.mark.parametrize(("style", "name", "dtype", "seed"), ACCUSED)
def test_nobody_is_accused_again(style: str, name: str, dtype: str, seed: int) -> None:
    (law,) = (law for law in LAWS if law.id == name)
    settings = replace(MANY, examples=20, dtype=dtype, seed=seed)
    evidence = examine(law, STYLES[style], settings, load_reference())
    assert evidence.well, evidence.message
