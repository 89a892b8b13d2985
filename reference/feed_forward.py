"""The position-wise feed-forward network: the same two layers on every token by itself."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

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

    Source: Vaswani et al. 2017, equation 2.
    """
    hidden = torch.relu(x @ inner_weight.mT + inner_bias)  # (..., d_hidden)
    return hidden @ outer_weight.mT + outer_bias


class FeedForward(nn.Module):
    """The feed-forward network that owns its two layers.

    Args:
        d_model: width D of the tokens.
        d_hidden: width between the two layers, usually 4 D.

    Source: Vaswani et al. 2017, section 3.3.
    """

    def __init__(self, d_model: int, d_hidden: int) -> None:
        super().__init__()
        self.inner = nn.Linear(d_model, d_hidden)
        self.outer = nn.Linear(d_hidden, d_model)

    def forward(self, x: Float[Tensor, "B L d_model"]) -> Float[Tensor, "B L d_model"]:
        """Give the transformed tokens, (B, L, D)."""
        inner, outer = self.inner, self.outer
        return feed_forward(x, inner.weight, inner.bias, outer.weight, outer.bias)
