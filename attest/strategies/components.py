"""Inputs of any component, for laws that any component obeys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
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
    """Lengths of a causal mask, up to 2,100: beyond 2,048 float16 skips numbers."""
    lengths = (*range(1, 70), *range(70, 127, 6), 127, 128, 129, 130, 300, 1100, 2100)
    return st.sampled_from(lengths).map(lambda n: {"length": n})


_OWN: Mapping[str, Callable[[], Draws]] = {
    "softmax": softmax_inputs,
    "causal_mask": _lengths,
    "padding_mask": lengths_and_padding,
    "sinusoidal_positional_encoding": sinusoidal_positions,
    "LearnedPositionalEmbedding": learned_positions,
    "LayerNorm": layer_norm_inputs,
    "FeedForward": feed_forward_inputs,
    "PatchEmbedding": image_inputs,
    **{name: partial(layer_inputs, name) for name in ("EncoderLayer", "DecoderLayer")},
    **{name: partial(layer_inputs, name) for name in ("Encoder", "Decoder")},
    **{name: partial(token_inputs, name) for name in ("Transformer", "Seq2Seq")},
    "AttentionSeq2Seq": partial(token_inputs, "AttentionSeq2Seq"),
}


@cache
def component_inputs(component: str) -> Draws:
    """Inputs of any component: its arguments by name, and a setup for a module.

    Args:
        component: the contract's name.

    Raises:
        ValueError: a component that was added to the contract; it needs a strategy of its own.
    """
    own = _OWN.get(component)
    return attention_inputs(component) if own is None else own()
