"""Self-attention: the queries, the keys and the values all come from one sequence."""

from jaxtyping import Bool, Float
from torch import Tensor, nn

from reference.attention import scaled_dot_product_attention
from reference.shapes import check_mask, check_shapes, check_sizes

__all__ = ["SelfAttention", "self_attention"]


def self_attention(
    x: Float[Tensor, "*batch L D"],
    query_weight: Float[Tensor, "d_k D"],
    key_weight: Float[Tensor, "d_k D"],
    value_weight: Float[Tensor, "d_v D"],
    mask: Bool[Tensor, "..."] | None = None,
) -> tuple[Float[Tensor, "*batch L d_v"], Float[Tensor, "*batch L L"]]:
    """Let every token ask all tokens of its own sequence.

        Q = X W_Qᵀ,  K = X W_Kᵀ,  V = X W_Vᵀ,  output = softmax(Q Kᵀ / √d_k) V

    Args:
        x: the sequence, (..., L, D).
        query_weight: (d_k, D).
        key_weight: (d_k, D).
        value_weight: (d_v, D).
        mask: boolean, broadcastable to (..., L, L), True where attention is allowed.

    Returns:
        The output (..., L, d_v) and the weights (..., L, L).

    Raises:
        TypeError: the mask is not boolean.
        ValueError: the shapes do not fit.

    Source: Phuong and Hutter 2022, algorithm 4, without biases.
    """
    forms = "x (..., L>0, D), W_Q (d_k, D), W_K (d_k, D), W_V (d_v, D)"
    check_shapes(forms, x, query_weight, key_weight, value_weight)
    check_mask(mask, *x.shape[:-1], x.shape[-2])
    return scaled_dot_product_attention(
        x @ query_weight.mT, x @ key_weight.mT, x @ value_weight.mT, mask
    )


class SelfAttention(nn.Module):
    """Self-attention with one head, three square matrices and no output projection.

    The scale is 1/√d_model, since queries and keys keep the width of the tokens.

    Args:
        d_model: width D of the tokens.

    Parameters: ``query.weight``, ``key.weight`` and ``value.weight``, each (D, D).

    Raises:
        TypeError: the width is no integer.
        ValueError: a width below 1.

    Source: Vaswani et al. 2017, equation 1; Phuong and Hutter 2022, algorithm 4.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        check_sizes(d_model=d_model)
        self.query = nn.Linear(d_model, d_model, bias=False)
        self.key = nn.Linear(d_model, d_model, bias=False)
        self.value = nn.Linear(d_model, d_model, bias=False)

    def forward(
        self, x: Float[Tensor, "B L d_model"], mask: Bool[Tensor, "..."] | None = None
    ) -> tuple[Float[Tensor, "B L d_model"], Float[Tensor, "B L L"]]:
        """Give the output (B, L, D) and the weights (B, L, L).

        Raises:
            TypeError: a dtype is wrong.
            ValueError: the shapes do not fit.
        """
        return self_attention(x, self.query.weight, self.key.weight, self.value.weight, mask)
