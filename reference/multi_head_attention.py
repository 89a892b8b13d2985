"""Multi-head attention: several attentions side by side, each in a subspace of its own."""

from jaxtyping import Bool, Float
from torch import Tensor, nn

from reference.attention import scaled_dot_product_attention
from reference.shapes import check_mask, check_shapes, check_sizes

__all__ = [
    "MultiHeadAttention",
    "check_heads",
    "check_heads_mask",
    "multi_head_attention",
    "split_heads",
]


def split_heads(x: Float[Tensor, "B T D"], n_heads: int) -> Float[Tensor, "B n_heads T d_h"]:
    """Cut the width into one slice a head, (B, T, D) to (B, H, T, D / H)."""
    batch, length, width = x.shape
    return x.reshape(batch, length, n_heads, width // n_heads).transpose(1, 2)


def multi_head_attention(
    query: Float[Tensor, "B L D"],
    key: Float[Tensor, "B S D"],
    value: Float[Tensor, "B S D"],
    n_heads: int,
    mask: Bool[Tensor, "..."] | None = None,
) -> tuple[Float[Tensor, "B L D"], Float[Tensor, "B n_heads L S"]]:
    """Split the width into heads, let each attend by itself, and put the results side by side.

        head_h = Attention(Q_h, K_h, V_h),  where head h owns columns h·d_h to (h+1)·d_h
        output = [head_1, …, head_H],       d_h = D / H

    Args:
        query: projected queries, (B, L, D).
        key: projected keys, (B, S, D).
        value: projected values, (B, S, D).
        n_heads: H, a divisor of D.
        mask: boolean, True where attention is allowed: broadcastable to (B, L, S), or
            four-dimensional and broadcastable to (B, H, L, S).

    Returns:
        The heads' outputs side by side, (B, L, D), and the weights, (B, H, L, S).

    Raises:
        TypeError: the mask is not boolean.
        ValueError: the shapes do not fit, there is no key, or the heads do not divide the width.

    Source: Vaswani et al. 2017, section 3.2.2; Phuong and Hutter 2022, algorithm 5.
    """
    check_shapes("query (B, L, D), key (B, S>0, D), value (B, S, D)", query, key, value)
    check_heads(query.shape[-1], n_heads)
    check_heads_mask(mask, query, key, n_heads)
    if mask is not None and mask.dim() == 3:
        mask = mask[:, None]  # (B, 1, L, S): the same for every head
    heads, weights = scaled_dot_product_attention(
        split_heads(query, n_heads), split_heads(key, n_heads), split_heads(value, n_heads), mask
    )
    return heads.transpose(1, 2).flatten(-2), weights  # (B, L, D), (B, H, L, S)


def check_heads(d_model: int, n_heads: int) -> None:
    """Refuse heads that do not divide a width.

    Raises:
        TypeError: a number is no integer.
        ValueError: a number below 1, or a division with a remainder.
    """
    check_sizes(d_model=d_model, n_heads=n_heads)
    if d_model % n_heads:
        raise ValueError(f"{n_heads} heads do not divide a width of {d_model}")


def check_heads_mask(
    mask: Bool[Tensor, "..."] | None,
    query: Float[Tensor, "B L D"],
    key: Float[Tensor, "B S D"],
    n_heads: int,
    name: str = "mask",
) -> None:
    """Refuse a mask that fits neither (B, L, S) nor, with four dimensions, (B, H, L, S).

    Raises:
        TypeError: the mask is not boolean.
        ValueError: the mask does not fit.
    """
    batch, length = query.shape[:2]
    heads = (n_heads,) if getattr(mask, "ndim", 0) == 4 else ()
    check_mask(mask, batch, *heads, length, key.shape[1], name=name)


class MultiHeadAttention(nn.Module):
    """Multi-head attention that owns its four projections, each with a bias.

        MultiHead(Q, K, V) = [head_1, …, head_H] W_Oᵀ + b_O

    Args:
        d_model: width D of queries, keys, values and output.
        n_heads: H, a divisor of ``d_model``; each head is D / H wide.

    Parameters: ``query.weight``, ``key.weight``, ``value.weight`` and ``output.weight``, each
    (D, D), and ``query.bias``, …, ``output.bias``, each (D,).

    Raises:
        TypeError: a number is no integer.
        ValueError: a number below 1, or ``n_heads`` does not divide ``d_model``.

    Source: Vaswani et al. 2017, section 3.2.2.
    """

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        check_heads(d_model, n_heads)
        self.n_heads = n_heads
        self.query = nn.Linear(d_model, d_model)
        self.key = nn.Linear(d_model, d_model)
        self.value = nn.Linear(d_model, d_model)
        self.output = nn.Linear(d_model, d_model)

    def forward(
        self,
        query: Float[Tensor, "B L d_model"],
        key: Float[Tensor, "B S d_model"],
        value: Float[Tensor, "B S d_model"],
        mask: Bool[Tensor, "..."] | None = None,
    ) -> tuple[Float[Tensor, "B L d_model"], Float[Tensor, "B n_heads L S"]]:
        """Give the output (B, L, D) and the weights (B, H, L, S).

        The mask broadcasts to (B, L, S), or with four dimensions to (B, H, L, S).

        Raises:
            TypeError: a dtype is wrong.
            ValueError: the shapes do not fit.
        """
        forms = "query (B, L, d_model), key (B, S>0, d_model), value (B, S, d_model)"
        check_shapes(forms, query, key, value, d_model=self.query.in_features)
        check_heads_mask(mask, query, key, self.n_heads)
        heads, weights = multi_head_attention(
            self.query(query), self.key(key), self.value(value), self.n_heads, mask
        )
        return self.output(heads), weights
