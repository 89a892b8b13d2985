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
from reference.feed_forward import FeedForward, feed_forward
from reference.layer_norm import LayerNorm, layer_norm
from reference.masks import causal_mask, padding_mask
from reference.multi_head_attention import MultiHeadAttention, multi_head_attention
from reference.positional_encoding import (
    LearnedPositionalEmbedding,
    alibi_bias,
    biased_attention,
    clipped_distances,
    relative_attention,
    rotary_positions,
    sinusoidal_positional_encoding,
)
from reference.self_attention import SelfAttention, self_attention
from reference.softmax import masked_softmax, softmax
from reference.transformer import Decoder, DecoderLayer, Encoder, EncoderLayer, Transformer
from reference.vision import PatchEmbedding, VisionTransformer

__all__ = [
    "AdditiveAttention",
    "Decoder",
    "DecoderLayer",
    "Encoder",
    "EncoderLayer",
    "FeedForward",
    "LayerNorm",
    "LearnedPositionalEmbedding",
    "MultiHeadAttention",
    "MultiplicativeAttention",
    "PatchEmbedding",
    "SelfAttention",
    "Transformer",
    "VisionTransformer",
    "additive_attention",
    "alibi_bias",
    "biased_attention",
    "causal_mask",
    "clipped_distances",
    "feed_forward",
    "layer_norm",
    "masked_softmax",
    "multi_head_attention",
    "multiplicative_attention",
    "padding_mask",
    "relative_attention",
    "rotary_positions",
    "scaled_dot_product_attention",
    "self_attention",
    "sinusoidal_positional_encoding",
    "softmax",
]
