"""Components that obey the same laws, by their names in the contract."""

SDPA = "scaled_dot_product_attention"

PLAIN = (SDPA, "AdditiveAttention", "MultiplicativeAttention")
"""Attentions whose values reach the output as they are; multi-head attention projects them."""

CROSS = (*PLAIN, "MultiHeadAttention")
"""Attentions that take queries, keys and values apart."""

EVERY = (*CROSS, "SelfAttention")
"""All attentions."""
