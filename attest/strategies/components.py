"""Inputs of any component, for laws that any component obeys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from hypothesis import strategies as st

from attest.strategies.attention import attention_inputs
from attest.strategies.functions import (
    learned_positions,
    lengths_and_padding,
    sinusoidal_positions,
    softmax_inputs,
)
from attest.strategies.layers import (
    feed_forward_inputs,
    image_inputs,
    layer_inputs,
    layer_norm_inputs,
)
from attest.strategies.models import token_inputs

__all__ = ["component_inputs"]

Draws = st.SearchStrategy[dict[str, Any]]


def _lengths() -> Draws:
    """Lengths of a causal mask, up to 1,100."""
    return st.sampled_from((*range(1, 81), 130, 300, 1100)).map(lambda n: {"length": n})


_OWN: Mapping[str, Callable[[], Draws]] = {
    "softmax": softmax_inputs,
    "causal_mask": _lengths,
    "padding_mask": lengths_and_padding,
    "sinusoidal_positional_encoding": sinusoidal_positions,
    "LearnedPositionalEmbedding": learned_positions,
    "LayerNorm": layer_norm_inputs,
    "FeedForward": feed_forward_inputs,
    "PatchEmbedding": image_inputs,
}


@cache
def component_inputs(component: str) -> Draws:
    """Inputs of any component: its arguments by name, and a setup for a module.

    Args:
        component: the contract's name.
    """
    if component in _OWN:
        return _OWN[component]()
    if component.startswith(("Encoder", "Decoder")):
        return layer_inputs(component)
    if component.endswith(("Seq2Seq", "Transformer")):
        return token_inputs(component)
    return attention_inputs(component)
