"""One readable PyTorch implementation of every component, written to be learnt from.

Each file gives the function first and the module that owns its weights after it; every docstring
names the formula, the shapes and the source. Letters: B batch, L query length, S key length,
D ``d_model``, H ``n_heads``.
"""

from reference.attention import (
    AdditiveAttention,
    MultiplicativeAttention,
    additive_attention,
    multiplicative_attention,
    scaled_dot_product_attention,
)
from reference.masks import causal_mask, padding_mask
from reference.multi_head_attention import MultiHeadAttention, multi_head_attention
from reference.self_attention import SelfAttention, self_attention
from reference.softmax import masked_softmax, softmax

__all__ = [
    "AdditiveAttention",
    "MultiHeadAttention",
    "MultiplicativeAttention",
    "SelfAttention",
    "additive_attention",
    "causal_mask",
    "masked_softmax",
    "multi_head_attention",
    "multiplicative_attention",
    "padding_mask",
    "scaled_dot_product_attention",
    "self_attention",
    "softmax",
]
