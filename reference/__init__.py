"""One readable PyTorch implementation of every component, written to be learnt from.

Each file gives the function first and the module that owns its weights after it; every docstring
names the formula, the shapes and the source. Letters: B batch, L query length, S key length,
D ``d_model``, H ``n_heads``.
"""

from reference.attention import (
    AdditiveAttention,
    MultiplicativeAttention,
    additive_attention,
    additive_score,
    concat_score,
    dot_score,
    general_score,
    multiplicative_attention,
    scaled_dot_product_attention,
)
from reference.decoding import beam_search, greedy, sampled, teacher_forced
from reference.embedding import Embedding
from reference.feed_forward import FeedForward, feed_forward
from reference.layer_norm import LayerNorm, layer_norm
from reference.loss import sequence_loss
from reference.masks import causal_mask, combined_mask, padding_mask
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
from reference.recurrent import ElmanCell, GRUCell, LSTMCell, unroll
from reference.self_attention import SelfAttention, self_attention
from reference.seq2seq import AttentionSeq2Seq, ChoSeq2Seq, Seq2Seq
from reference.softmax import masked_softmax, softmax
from reference.transformer import Transformer
from reference.transformer_layers import Decoder, DecoderLayer, Encoder, EncoderLayer
from reference.vision import PatchEmbedding, VisionTransformer

__all__ = [
    "AdditiveAttention",
    "AttentionSeq2Seq",
    "ChoSeq2Seq",
    "Decoder",
    "DecoderLayer",
    "ElmanCell",
    "Embedding",
    "Encoder",
    "EncoderLayer",
    "FeedForward",
    "GRUCell",
    "LSTMCell",
    "LayerNorm",
    "LearnedPositionalEmbedding",
    "MultiHeadAttention",
    "MultiplicativeAttention",
    "PatchEmbedding",
    "SelfAttention",
    "Seq2Seq",
    "Transformer",
    "VisionTransformer",
    "additive_attention",
    "additive_score",
    "alibi_bias",
    "beam_search",
    "biased_attention",
    "causal_mask",
    "clipped_distances",
    "combined_mask",
    "concat_score",
    "dot_score",
    "feed_forward",
    "general_score",
    "greedy",
    "layer_norm",
    "masked_softmax",
    "multi_head_attention",
    "multiplicative_attention",
    "padding_mask",
    "relative_attention",
    "rotary_positions",
    "sampled",
    "scaled_dot_product_attention",
    "self_attention",
    "sequence_loss",
    "sinusoidal_positional_encoding",
    "softmax",
    "teacher_forced",
    "unroll",
]
