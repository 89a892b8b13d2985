"""Attention: a query looks at keys and takes a weighted mean of their values.

The three forms here differ in how a query and a key are scored, and in nothing else.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from reference.softmax import masked_softmax

__all__ = [
    "AdditiveAttention",
    "MultiplicativeAttention",
    "additive_attention",
    "multiplicative_attention",
    "scaled_dot_product_attention",
]


def scaled_dot_product_attention(
    query: Float[Tensor, "*batch L d_k"],
    key: Float[Tensor, "*batch S d_k"],
    value: Float[Tensor, "*batch S d_v"],
    mask: Bool[Tensor, "..."] | None = None,
) -> tuple[Float[Tensor, "*batch L d_v"], Float[Tensor, "*batch L S"]]:
    """Attend by dot products, scaled so that their variance does not grow with the width.

        Attention(Q, K, V) = softmax(Q Kᵀ / √d_k) V

    Args:
        query: (..., L, d_k).
        key: (..., S, d_k).
        value: (..., S, d_v).
        mask: boolean, broadcastable to (..., L, S), True where attention is allowed.

    Returns:
        The output (..., L, d_v) and the weights (..., L, S); zeros for a query with no allowed key.

    Raises:
        TypeError: the mask is not boolean.
        ValueError: the shapes do not fit.

    Source: Vaswani et al. 2017, equation 1.
    """
    if query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        raise ValueError(
            "query (..., L, d_k), key (..., S, d_k) and value (..., S, d_v) do not fit: "
            f"{tuple(query.shape)}, {tuple(key.shape)}, {tuple(value.shape)}"
        )
    d_k = query.shape[-1]
    scores = query @ key.mT / math.sqrt(d_k)  # (..., L, S)
    weights = masked_softmax(scores, mask)  # (..., L, S)
    return weights @ value, weights


def additive_attention(
    query: Float[Tensor, "B L d_hidden"],
    key: Float[Tensor, "B S d_hidden"],
    value: Float[Tensor, "B S d_v"],
    energy: Float[Tensor, "d_hidden"],
    mask: Bool[Tensor, "..."] | None = None,
) -> tuple[Float[Tensor, "B L d_v"], Float[Tensor, "B L S"]]:
    """Attend by a small network that looks at a query and a key together.

        s_ij = energy · tanh(query_i + key_j)

    Args:
        query: projected queries, (B, L, d_hidden).
        key: projected keys, (B, S, d_hidden).
        value: (B, S, d_v).
        energy: the weights of the last layer, (d_hidden,).
        mask: boolean, broadcastable to (B, L, S), True where attention is allowed.

    Returns:
        The output (B, L, d_v) and the weights (B, L, S).

    Raises:
        TypeError: the mask is not boolean.
        ValueError: the mask does not broadcast to the scores.

    Source: Bahdanau, Cho and Bengio 2015, appendix A.1.2.
    """
    hidden = torch.tanh(query[:, :, None, :] + key[:, None, :, :])  # (B, L, S, d_hidden)
    weights = masked_softmax(hidden @ energy, mask)  # (B, L, S)
    return weights @ value, weights


class AdditiveAttention(nn.Module):
    """Additive attention that owns its three matrices, none with a bias.

        s_ij = energy · tanh(W_query query_i + W_key key_j)

    Args:
        d_query: width of the queries.
        d_key: width of the keys.
        d_hidden: width of the layer in which they meet.

    Source: Bahdanau, Cho and Bengio 2015, appendix A.1.2.
    """

    def __init__(self, d_query: int, d_key: int, d_hidden: int) -> None:
        super().__init__()
        self.query = nn.Linear(d_query, d_hidden, bias=False)
        self.key = nn.Linear(d_key, d_hidden, bias=False)
        self.energy = nn.Linear(d_hidden, 1, bias=False)

    def forward(
        self,
        query: Float[Tensor, "B L d_query"],
        key: Float[Tensor, "B S d_key"],
        value: Float[Tensor, "B S d_v"],
        mask: Bool[Tensor, "..."] | None = None,
    ) -> tuple[Float[Tensor, "B L d_v"], Float[Tensor, "B L S"]]:
        """Give the output (B, L, d_v) and the weights (B, L, S)."""
        energy = self.energy.weight[0]
        return additive_attention(self.query(query), self.key(key), value, energy, mask)


def multiplicative_attention(
    query: Float[Tensor, "B L d_query"],
    key: Float[Tensor, "B S d_query"],
    value: Float[Tensor, "B S d_v"],
    mask: Bool[Tensor, "..."] | None = None,
) -> tuple[Float[Tensor, "B L d_v"], Float[Tensor, "B L S"]]:
    """Attend by plain dot products with keys that were projected to the queries' width.

        s_ij = query_i · key_j

    Args:
        query: (B, L, d_query).
        key: projected keys, (B, S, d_query).
        value: (B, S, d_v).
        mask: boolean, broadcastable to (B, L, S), True where attention is allowed.

    Returns:
        The output (B, L, d_v) and the weights (B, L, S).

    Raises:
        TypeError: the mask is not boolean.
        ValueError: the mask does not broadcast to the scores.

    Source: Luong, Pham and Manning 2015, section 3.1, the score "general".
    """
    weights = masked_softmax(query @ key.mT, mask)  # (B, L, S)
    return weights @ value, weights


class MultiplicativeAttention(nn.Module):
    """Multiplicative attention that owns its matrix W, (d_query, d_key), without a scale.

        s_ij = query_i · W key_j

    Args:
        d_query: width of the queries.
        d_key: width of the keys.

    Source: Luong, Pham and Manning 2015, section 3.1, the score "general".
    """

    def __init__(self, d_query: int, d_key: int) -> None:
        super().__init__()
        self.key = nn.Linear(d_key, d_query, bias=False)

    def forward(
        self,
        query: Float[Tensor, "B L d_query"],
        key: Float[Tensor, "B S d_key"],
        value: Float[Tensor, "B S d_v"],
        mask: Bool[Tensor, "..."] | None = None,
    ) -> tuple[Float[Tensor, "B L d_v"], Float[Tensor, "B L S"]]:
        """Give the output (B, L, d_v) and the weights (B, L, S)."""
        return multiplicative_attention(query, self.key(key), value, mask)
