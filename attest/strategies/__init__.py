"""Hypothesis strategies for inputs that meet the contract.

A strategy draws a size, a regime of values and a seed, and fills tensors from the seed: that costs
a millisecond where drawing entry by entry costs fifty. All of them shrink towards short sequences
and small integers; the engine shrinks the entries themselves afterwards.

Sizes come in three tiers: pairwise different (a swapped axis cannot pass), coinciding (a shortcut
for equal sizes cannot pass) and, now and then, long. Values come in regimes, from small integers
to entries of 300, with ties and zeros among them. Tensors are float64 on the CPU; the engine casts
them to the dtype and moves them to the device of the run.
"""

from attest.strategies.attention import MaskKind, attention_inputs
from attest.strategies.components import component_inputs
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
from attest.strategies.models import Padding, string_inputs, token_inputs
from attest.strategies.sizes import Sizes
from attest.strategies.values import LARGEST_ENTRY, REGIMES, fill, random_mask, seeds

__all__ = [
    "LARGEST_ENTRY",
    "REGIMES",
    "MaskKind",
    "Padding",
    "Sizes",
    "attention_inputs",
    "component_inputs",
    "feed_forward_inputs",
    "fill",
    "image_inputs",
    "layer_inputs",
    "layer_norm_inputs",
    "learned_positions",
    "lengths_and_padding",
    "random_mask",
    "seeds",
    "sinusoidal_positions",
    "softmax_inputs",
    "string_inputs",
    "token_inputs",
]
