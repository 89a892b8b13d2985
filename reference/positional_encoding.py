"""Positions: what tells a token where it stands.

Sinusoidal and learned positions are added to the tokens. Rotary positions turn queries and keys,
ALiBi and clipped relative positions enter the scores: these three see distances alone.
"""

import math

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from reference.shapes import (
    broadcasts,
    check_integers,
    check_mask,
    check_shapes,
    check_sizes,
)
from reference.softmax import masked_softmax

__all__ = [
    "LearnedPositionalEmbedding",
    "alibi_bias",
    "biased_attention",
    "clipped_distances",
    "relative_attention",
    "rotary_positions",
    "sinusoidal_positional_encoding",
]


def _frequencies(width: int) -> Float[Tensor, "half"]:
    """Give ω_i = 10000^(−2i/width) in float64, (width / 2,)."""
    return 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)


def _check_pairs(width: int) -> None:
    check_sizes(width=width)
    if width % 2:
        raise ValueError(f"sines and cosines come in pairs: a width is even, got {width}")


def sinusoidal_positional_encoding(
    length: int, d_model: int, dtype: torch.dtype | None = None
) -> Float[Tensor, "length d_model"]:
    """Encode each position by sines and cosines of geometrically falling frequencies.

        PE(pos, 2i) = sin(pos · ω_i),  PE(pos, 2i+1) = cos(pos · ω_i),  ω_i = 10000^(−2i/d_model)

    Angles are computed in float64 and rounded once, at the end: a position of some thousands times
    a rounded frequency is an angle that is off by more than the encodings of neighbours differ.

    Args:
        length: the number of positions, at least 0; the first is 0.
        d_model: the width, even.
        dtype: of the result; by default torch's default.

    Returns:
        The encodings, (length, d_model), sines and cosines interleaved.

    Raises:
        TypeError: the length or the width is no integer.
        ValueError: a negative length, or a width that is odd or not positive.

    Source: Vaswani et al. 2017, section 3.5.
    """
    check_integers(0, length=length)
    _check_pairs(d_model)
    positions = torch.arange(length, dtype=torch.float64)
    angles = positions[:, None] * _frequencies(d_model)  # (length, d_model / 2)
    pairs = torch.stack([angles.sin(), angles.cos()], -1)  # (length, d_model / 2, 2)
    return pairs.flatten(-2).to(dtype or torch.get_default_dtype())


class LearnedPositionalEmbedding(nn.Module):
    """A table with one learned vector for each position up to a largest one.

    Args:
        max_length: the number of positions.
        d_model: the width D.

    Parameters: ``table`` (max_length, D).

    Raises:
        TypeError: a number is no integer.
        ValueError: a number below 1.

    Source: Gehring et al. 2017; compared with sinusoids in Vaswani et al. 2017, section 3.5.
    """

    def __init__(self, max_length: int, d_model: int) -> None:
        super().__init__()
        check_sizes(max_length=max_length, d_model=d_model)
        self.table = nn.Parameter(torch.randn(max_length, d_model) / math.sqrt(d_model))

    def forward(self, length: int) -> Float[Tensor, "length d_model"]:
        """Give the vectors of the first positions, (length, D).

        Raises:
            TypeError: the length is no integer.
            ValueError: a negative length, or one past the end of the table.
        """
        check_integers(0, len(self.table), length=length)
        return self.table[:length]


def rotary_positions(
    x: Float[Tensor, "*batch T d"], positions: Int64[Tensor, "T"]
) -> Float[Tensor, "*batch T d"]:
    """Turn each pair of a query's or key's entries by an angle that grows with its position.

        (x_2i, x_2i+1) ↦ R(pos · ω_i) (x_2i, x_2i+1),  so that ⟨R_m q, R_n k⟩ = ⟨q, R_{n−m} k⟩

    Args:
        x: queries or keys, (..., T, d), with an even width.
        positions: where each of them stands, (T,).

    Returns:
        The turned queries or keys, (..., T, d).

    Raises:
        TypeError: the positions are not int64, or ``x`` is not floating point.
        ValueError: an odd width, or not one position for each query or key.

    Source: Su et al. 2021, section 3.2.
    """
    check_shapes("x (..., T, d), positions int64 (T,)", x, positions)
    _check_pairs(x.shape[-1])
    angles = positions.double()[:, None] * _frequencies(x.shape[-1]).to(x.device)  # (T, d / 2)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)


def alibi_bias(n_heads: int, queries: int, keys: int) -> Float[Tensor, "n_heads queries keys"]:
    """Lower each score in proportion to the distance, by a slope of each head's own.

        bias_hij = −m_h |i − j|,  m_h = 2^(−8 h / H) for h = 1 … H

    Args:
        n_heads: H.
        queries: the number of queries; the last stands beside the last key.
        keys: the number of keys.

    Returns:
        What to add to the scores, (H, queries, keys).

    Raises:
        TypeError: a number is no integer.
        ValueError: no head, or a negative number of queries or keys.

    Source: Press, Smith and Lewis 2022, section 3, there for keys of the past alone.
    """
    check_sizes(n_heads=n_heads)
    check_integers(0, queries=queries, keys=keys)
    slopes = 2.0 ** (-8.0 * torch.arange(1, n_heads + 1, dtype=torch.float64) / n_heads)
    asked = torch.arange(keys - queries, keys)
    distance = (asked[:, None] - torch.arange(keys)).abs()
    return -slopes[:, None, None] * distance


def biased_attention(
    query: Float[Tensor, "*batch L d_k"],
    key: Float[Tensor, "*batch S d_k"],
    value: Float[Tensor, "*batch S d_v"],
    bias: Float[Tensor, "..."],
    mask: Bool[Tensor, "..."] | None = None,
) -> tuple[Float[Tensor, "*batch L d_v"], Float[Tensor, "*batch L S"]]:
    """Attend by scaled dot products to which a bias is added.

        α = softmax(Q Kᵀ / √d_k + bias),  output = α V

    Args:
        query: (..., L, d_k).
        key: (..., S, d_k).
        value: (..., S, d_v).
        bias: broadcastable to (..., L, S).
        mask: boolean, broadcastable to (..., L, S), True where attention is allowed.

    Returns:
        The output (..., L, d_v) and the weights (..., L, S).

    Raises:
        TypeError: the mask is not boolean, or something else not floating point.
        ValueError: the shapes do not fit, or there is no key.

    Source: Press, Smith and Lewis 2022, section 3.
    """
    forms = "query (..., L, d_k>0), key (..., S>0, d_k), value (..., S, d_v)"
    check_shapes(forms, query, key, value)
    check_shapes("bias (...)", bias)
    shape = (*query.shape[:-1], key.shape[-2])
    check_mask(mask, *shape)
    if not broadcasts(bias.shape, shape):
        raise ValueError(f"a bias {tuple(bias.shape)} does not broadcast to scores {shape}")
    scores = query @ key.mT / math.sqrt(query.shape[-1]) + bias.to(query)
    weights = masked_softmax(scores, mask)
    return weights @ value, weights


def clipped_distances(queries: int, keys: int, most: int) -> Int64[Tensor, "queries keys"]:
    """Number the distance from each query to each key, where all that is far is one distance.

        index_ij = clip(j − i, −most, most) + most

    Args:
        queries: the number of queries; the last stands beside the last key.
        keys: the number of keys.
        most: the largest distance that is told from those beyond.

    Returns:
        Indices from 0 to 2 · most, (queries, keys).

    Raises:
        TypeError: a number is no integer.
        ValueError: a negative number.

    Source: Shaw, Uszkoreit and Vaswani 2018, section 3.2.
    """
    check_integers(0, queries=queries, keys=keys, most=most)
    asked = torch.arange(keys - queries, keys)
    return (torch.arange(keys) - asked[:, None]).clamp(-most, most) + most


def relative_attention(
    query: Float[Tensor, "*batch L d_k"],
    key: Float[Tensor, "*batch S d_k"],
    value: Float[Tensor, "*batch S d_v"],
    key_distances: Float[Tensor, "distances d_k"],
    value_distances: Float[Tensor, "distances d_v"],
    mask: Bool[Tensor, "..."] | None = None,
) -> tuple[Float[Tensor, "*batch L d_v"], Float[Tensor, "*batch L S"]]:
    """Attend to keys and values to which a vector for their distance is added.

        s_ij = q_i · (k_j + a^K_{j−i}) / √d_k,  output_i = Σ_j α_ij (v_j + a^V_{j−i})

    Args:
        query: (..., L, d_k).
        key: (..., S, d_k).
        value: (..., S, d_v).
        key_distances: a vector for each clipped distance, (2 · most + 1, d_k).
        value_distances: the same for values, (2 · most + 1, d_v).
        mask: boolean, broadcastable to (..., L, S), True where attention is allowed.

    Returns:
        The output (..., L, d_v) and the weights (..., L, S).

    Raises:
        TypeError: the mask is not boolean, or something else not floating point.
        ValueError: an even number of distances, or shapes that do not fit.

    Source: Shaw, Uszkoreit and Vaswani 2018, equations 3 and 4.
    """
    forms = (
        "query (..., L, d_k>0), key (..., S>0, d_k), value (..., S, d_v)",
        "key_distances (distances, d_k), value_distances (distances, d_v)",
    )
    check_shapes(forms[0], query, key, value)
    d_k, d_v = query.shape[-1], value.shape[-1]
    check_shapes(forms[1], key_distances, value_distances, d_k=d_k, d_v=d_v)
    check_mask(mask, *query.shape[:-1], key.shape[-2])
    distances = len(key_distances)
    if distances % 2 == 0:
        raise ValueError(f"distances −most … most are an odd number of vectors, got {distances}")
    index = clipped_distances(query.shape[-2], key.shape[-2], distances // 2).to(query.device)
    near = torch.einsum("...id,ijd->...ij", query, key_distances[index])
    weights = masked_softmax((query @ key.mT + near) / math.sqrt(query.shape[-1]), mask)
    mixed = torch.einsum("...ij,ijd->...id", weights, value_distances[index])
    return weights @ value + mixed, weights
