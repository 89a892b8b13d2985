"""Components that obey the same laws, by their names in the contract."""

SDPA = "scaled_dot_product_attention"

PLAIN = (SDPA, "AdditiveAttention", "MultiplicativeAttention")
"""Attentions whose values reach the output as they are; multi-head attention projects them."""

CROSS = (*PLAIN, "MultiHeadAttention")
"""Attentions that take queries, keys and values apart."""

EVERY = (*CROSS, "SelfAttention")
"""All attentions."""

STACKS = ("EncoderLayer", "DecoderLayer", "Encoder", "Decoder")
"""Layers with attention and feed-forward networks, and stacks of them."""

MODELS = ("Transformer", "Seq2Seq", "AttentionSeq2Seq")
"""Whole models, from tokens to logits."""
