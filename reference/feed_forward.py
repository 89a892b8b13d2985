"""The position-wise feed-forward network: the same two layers on every token by itself."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from reference.shapes import check_shapes, check_sizes

__all__ = ["FeedForward", "feed_forward"]


def feed_forward(
    x: Float[Tensor, "*tokens D"],
    inner_weight: Float[Tensor, "d_hidden D"],
    inner_bias: Float[Tensor, "d_hidden"],
    outer_weight: Float[Tensor, "D d_hidden"],
    outer_bias: Float[Tensor, "D"],
) -> Float[Tensor, "*tokens D"]:
    """Widen a token, keep what is positive, and narrow it again.

        FFN(x) = max(0, x W_1ᵀ + b_1) W_2ᵀ + b_2

    Args:
        x: tokens, (..., D).
        inner_weight: W_1, (d_hidden, D).
        inner_bias: b_1, (d_hidden,).
        outer_weight: W_2, (D, d_hidden).
        outer_bias: b_2, (D,).

    Returns:
        The transformed tokens, (..., D).

    Raises:
        TypeError: a tensor is not floating point.
        ValueError: the shapes do not fit.

    Source: Vaswani et al. 2017, equation 2.
    """
    forms = "x (..., D), W_1 (d_hidden, D), b_1 (d_hidden,), W_2 (D, d_hidden), b_2 (D,)"
    check_shapes(forms, x, inner_weight, inner_bias, outer_weight, outer_bias)
    hidden = torch.relu(x @ inner_weight.mT + inner_bias)  # (..., d_hidden)
    return hidden @ outer_weight.mT + outer_bias


class FeedForward(nn.Module):
    """The feed-forward network that owns its two layers.

    Args:
        d_model: width D of the tokens.
        d_hidden: width between the two layers, usually 4 D.

    Parameters: ``inner.weight`` (d_hidden, D), ``inner.bias`` (d_hidden,), ``outer.weight``
    (D, d_hidden), ``outer.bias`` (D,).

    Raises:
        TypeError: a width is no integer.
        ValueError: a width below 1.

    Source: Vaswani et al. 2017, section 3.3.
    """

    def __init__(self, d_model: int, d_hidden: int) -> None:
        super().__init__()
        check_sizes(d_model=d_model, d_hidden=d_hidden)
        self.inner = nn.Linear(d_model, d_hidden)
        self.outer = nn.Linear(d_hidden, d_model)

    def forward(self, x: Float[Tensor, "B L d_model"]) -> Float[Tensor, "B L d_model"]:
        """Give the transformed tokens, (B, L, D)."""
        inner, outer = self.inner, self.outer
        return feed_forward(x, inner.weight, inner.bias, outer.weight, outer.bias)
