"""Attention: a query looks at keys and takes a weighted mean of their values.

They differ in how a query and a key are scored, and in nothing else: additive, dot, general and
concat, where the last three are Luong's names.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from reference.shapes import check_mask, check_shapes, check_sizes
from reference.softmax import masked_softmax

__all__ = [
    "AdditiveAttention",
    "MultiplicativeAttention",
    "additive_attention",
    "additive_score",
    "concat_score",
    "dot_score",
    "general_score",
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
        TypeError: the mask is not boolean, or something else not floating point.
        ValueError: the shapes do not fit, or there is no key.

    Source: Vaswani et al. 2017, equation 1.
    """
    forms = "query (..., L, d_k>0), key (..., S>0, d_k), value (..., S, d_v)"
    check_shapes(forms, query, key, value)
    check_mask(mask, *query.shape[:-1], key.shape[-2])
    d_k = query.shape[-1]
    scores = query @ key.mT / math.sqrt(d_k)  # (..., L, S)
    weights = masked_softmax(scores, mask)  # (..., L, S)
    return weights @ value, weights


def dot_score(query: Float[Tensor, "B L d"], key: Float[Tensor, "B S d"]) -> Float[Tensor, "B L S"]:
    """Score by the dot product, which has no parameters and needs equal widths.

        s_ij = query_i · key_j

    Args:
        query: (B, L, d).
        key: (B, S, d).

    Returns:
        The scores, (B, L, S).

    Raises:
        TypeError: a tensor is not floating point.
        ValueError: the shapes do not fit.

    Source: Luong, Pham and Manning 2015, equation 8, "dot".
    """
    check_shapes("query (B, L, d), key (B, S, d)", query, key)
    return query @ key.mT


def general_score(
    query: Float[Tensor, "B L d_query"],
    key: Float[Tensor, "B S d_key"],
    weight: Float[Tensor, "d_query d_key"],
) -> Float[Tensor, "B L S"]:
    """Score by a dot product with a key that was projected to the query's width.

        s_ij = query_i · W key_j

    Args:
        query: (B, L, d_query).
        key: (B, S, d_key).
        weight: W, (d_query, d_key).

    Returns:
        The scores, (B, L, S).

    Raises:
        TypeError: a tensor is not floating point.
        ValueError: the shapes do not fit.

    Source: Luong, Pham and Manning 2015, equation 8, "general".
    """
    forms = "query (B, L, d_query), key (B, S, d_key), weight (d_query, d_key)"
    check_shapes(forms, query, key, weight)
    return dot_score(query, key @ weight.mT)


def concat_score(
    query: Float[Tensor, "B L d_query"],
    key: Float[Tensor, "B S d_key"],
    weight: Float[Tensor, "d_hidden d_query_and_key"],
    energy: Float[Tensor, "d_hidden"],
) -> Float[Tensor, "B L S"]:
    """Score by a small network that reads a query and a key side by side.

        s_ij = energy · tanh(W [query_i; key_j])

    With W = [W_query, W_key] this is the additive score of W_query query and W_key key.

    Args:
        query: (B, L, d_query).
        key: (B, S, d_key).
        weight: W, (d_hidden, d_query + d_key).
        energy: the weights of the last layer, (d_hidden,).

    Returns:
        The scores, (B, L, S).

    Raises:
        TypeError: a tensor is not floating point.
        ValueError: the shapes do not fit.

    Source: Luong, Pham and Manning 2015, equation 8, "concat".
    """
    forms = "query (B, L, d_query), key (B, S, d_key), weight (d_hidden, both), energy (d_hidden,)"
    both = query.shape[-1] + key.shape[-1]
    check_shapes(forms, query, key, weight, energy, both=both)
    pair_shape = (query.shape[0], query.shape[1], key.shape[1], -1)
    queries = query[:, :, None, :].expand(pair_shape)
    keys = key[:, None, :, :].expand(pair_shape)
    hidden = torch.tanh(torch.cat([queries, keys], -1) @ weight.mT)  # (B, L, S, d_hidden)
    return hidden @ energy


def additive_score(
    query: Float[Tensor, "B L d_hidden"],
    key: Float[Tensor, "B S d_hidden"],
    energy: Float[Tensor, "d_hidden"],
) -> Float[Tensor, "B L S"]:
    """Score by a small network in which a projected query and a projected key meet.

        s_ij = energy · tanh(query_i + key_j)

    Args:
        query: projected queries, (B, L, d_hidden).
        key: projected keys, (B, S, d_hidden).
        energy: the weights of the last layer, (d_hidden,).

    Returns:
        The scores, (B, L, S).

    Raises:
        TypeError: a tensor is not floating point.
        ValueError: the shapes do not fit.

    Source: Bahdanau, Cho and Bengio 2015, appendix A.1.2.
    """
    forms = "query (B, L, d_hidden), key (B, S, d_hidden), energy (d_hidden,)"
    check_shapes(forms, query, key, energy)
    hidden = torch.tanh(query[:, :, None, :] + key[:, None, :, :])  # (B, L, S, d_hidden)
    return hidden @ energy


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
        TypeError: the mask is not boolean, or something else not floating point.
        ValueError: the shapes do not fit, or there is no key.

    Source: Bahdanau, Cho and Bengio 2015, appendix A.1.2.
    """
    forms = "query (B, L, d_hidden), key (B, S>0, d_hidden), value (B, S, d_v), energy (d_hidden,)"
    check_shapes(forms, query, key, value, energy)
    check_mask(mask, *query.shape[:-1], key.shape[-2])
    weights = masked_softmax(additive_score(query, key, energy), mask)  # (B, L, S)
    return weights @ value, weights


class AdditiveAttention(nn.Module):
    """Additive attention that owns its three matrices, none with a bias.

        s_ij = energy · tanh(W_query query_i + W_key key_j)

    Args:
        d_query: width of the queries.
        d_key: width of the keys.
        d_hidden: width of the layer in which they meet.

    Parameters: ``query.weight`` (d_hidden, d_query), ``key.weight`` (d_hidden, d_key) and
    ``energy.weight`` (1, d_hidden).

    Raises:
        TypeError: a width is no integer.
        ValueError: a width below 1.

    Source: Bahdanau, Cho and Bengio 2015, appendix A.1.2.
    """

    def __init__(self, d_query: int, d_key: int, d_hidden: int) -> None:
        super().__init__()
        check_sizes(d_query=d_query, d_key=d_key, d_hidden=d_hidden)
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
        """Give the output (B, L, d_v) and the weights (B, L, S).

        Raises:
            TypeError: a dtype is wrong.
            ValueError: the shapes do not fit, or there is no key.
        """
        forms = "query (B, L, d_query), key (B, S>0, d_key), value (B, S, d_v)"
        d_query, d_key = self.query.in_features, self.key.in_features
        check_shapes(forms, query, key, value, d_query=d_query, d_key=d_key)
        check_mask(mask, *query.shape[:-1], key.shape[-2])
        energy = self.energy.weight[0]
        return additive_attention(self.query(query), self.key(key), value, energy, mask)


def multiplicative_attention(
    query: Float[Tensor, "B L d_query"],
    key: Float[Tensor, "B S d_query"],
    value: Float[Tensor, "B S d_v"],
    mask: Bool[Tensor, "..."] | None = None,
) -> tuple[Float[Tensor, "B L d_v"], Float[Tensor, "B L S"]]:
    """Attend by plain dot products with keys that are as wide as the queries.

        s_ij = query_i · key_j

    Args:
        query: (B, L, d_query).
        key: keys, projected where need be, (B, S, d_query).
        value: (B, S, d_v).
        mask: boolean, broadcastable to (B, L, S), True where attention is allowed.

    Returns:
        The output (B, L, d_v) and the weights (B, L, S).

    Raises:
        TypeError: the mask is not boolean, or something else not floating point.
        ValueError: the shapes do not fit, or there is no key.

    Source: Luong, Pham and Manning 2015, equation 8: the score is "dot" where the keys are given as
    they are, and "general" where they were multiplied by a matrix.
    """
    forms = "query (B, L, d_query), key (B, S>0, d_query), value (B, S, d_v)"
    check_shapes(forms, query, key, value)
    check_mask(mask, *query.shape[:-1], key.shape[-2])
    weights = masked_softmax(dot_score(query, key), mask)  # (B, L, S)
    return weights @ value, weights


class MultiplicativeAttention(nn.Module):
    """Multiplicative attention that owns its matrix W, (d_query, d_key), without a scale.

        s_ij = query_i · W key_j

    Args:
        d_query: width of the queries.
        d_key: width of the keys.

    Parameters: ``key.weight`` (d_query, d_key).

    Raises:
        TypeError: a width is no integer.
        ValueError: a width below 1.

    Source: Luong, Pham and Manning 2015, equation 8, "general".
    """

    def __init__(self, d_query: int, d_key: int) -> None:
        super().__init__()
        check_sizes(d_query=d_query, d_key=d_key)
        self.key = nn.Linear(d_key, d_query, bias=False)

    def forward(
        self,
        query: Float[Tensor, "B L d_query"],
        key: Float[Tensor, "B S d_key"],
        value: Float[Tensor, "B S d_v"],
        mask: Bool[Tensor, "..."] | None = None,
    ) -> tuple[Float[Tensor, "B L d_v"], Float[Tensor, "B L S"]]:
        """Give the output (B, L, d_v) and the weights (B, L, S).

        Raises:
            TypeError: a dtype is wrong.
            ValueError: the shapes do not fit, or there is no key.
        """
        forms = "query (B, L, d_query), key (B, S>0, d_key), value (B, S, d_v)"
        d_query, d_key = self.key.out_features, self.key.in_features
        check_shapes(forms, query, key, value, d_query=d_query, d_key=d_key)
        check_mask(mask, *query.shape[:-1], key.shape[-2])
        return multiplicative_attention(query, self.key(key), value, mask)
