"""Layer normalisation: every token is centred and scaled by its own mean and spread."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from reference.shapes import check_shapes, check_sizes

__all__ = ["LayerNorm", "layer_norm"]


def layer_norm(
    x: Float[Tensor, "*tokens D"],
    gain: Float[Tensor, "D"],
    bias: Float[Tensor, "D"],
    eps: float = 1e-5,
) -> Float[Tensor, "*tokens D"]:
    """Normalise each token over its own width; no token sees another.

        y = gain · (x − μ) / √(σ² + ε) + bias,  μ = mean(x),  σ² = mean((x − μ)²)

    The variance divides by D and not by D − 1, and ε stands inside the root.

    Args:
        x: tokens, (..., D).
        gain: (D,).
        bias: (D,).
        eps: ε, which keeps a token of equal entries from 0/0; with 0 such a token gives NaN.

    Returns:
        The normalised tokens, (..., D).

    Raises:
        TypeError: a tensor is not floating point.
        ValueError: gain or bias is not as wide as the tokens, or ε is negative.

    Source: Ba, Kiros and Hinton 2016, equation 3, there without ε.
    """
    check_shapes("x (..., D>0), gain (D,), bias (D,)", x, gain, bias)
    if not eps >= 0:
        raise ValueError(f"eps is at least 0, got {eps}")
    centred = x - x.mean(-1, keepdim=True)
    variance = centred.square().mean(-1, keepdim=True)
    return gain * centred / torch.sqrt(variance + eps) + bias


class LayerNorm(nn.Module):
    """Layer normalisation that owns its gain, which starts at 1, and its bias, which starts at 0.

    Args:
        d_model: width D of the tokens.

    Parameters: ``gain`` (D,) and ``bias`` (D,).

    Raises:
        TypeError: the width is no integer.
        ValueError: a width below 1.

    Source: Ba, Kiros and Hinton 2016.
    """

    eps = 1e-5

    def __init__(self, d_model: int) -> None:
        super().__init__()
        check_sizes(d_model=d_model)
        self.gain = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))

    def forward(self, x: Float[Tensor, "*tokens d_model"]) -> Float[Tensor, "*tokens d_model"]:
        """Give the normalised tokens, (..., D)."""
        return layer_norm(x, self.gain, self.bias, self.eps)
