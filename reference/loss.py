"""The loss of a sequence: how surprised the model is by each token, padding left out."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

__all__ = ["sequence_loss"]


def sequence_loss(
    logits: Float[Tensor, "B L V"],
    target: Int64[Tensor, "B L"],
    mask: Bool[Tensor, "B L"] | None = None,
) -> Float[Tensor, ""]:
    """Average −log p over the real tokens of all sequences.

        loss = Σ_bt mask_bt (logΣ_v exp z_btv − z_bt,y_bt) / Σ_bt mask_bt

    Args:
        logits: z, (B, L, V); those at t are about target t.
        target: the tokens that should come, (B, L): not shifted, and without the start token.
        mask: (B, L), True at real tokens; None means all.

    Returns:
        The mean over real tokens, in nats, as a tensor without dimensions.

    Raises:
        TypeError: the mask is not boolean.
        ValueError: the shapes do not fit, or no token is real.

    Source: Sutskever, Vinyals and Le 2014, section 3.2.
    """
    if logits.shape[:-1] != target.shape or (mask is not None and mask.shape != target.shape):
        shapes = [tuple(t.shape) for t in (logits, target, mask) if t is not None]
        raise ValueError(f"logits (B, L, V), target (B, L) and mask (B, L) do not fit: {shapes}")
    if mask is not None and mask.dtype != torch.bool:
        raise TypeError(f"a mask is boolean, True at real tokens; got {mask.dtype}")
    real = torch.ones_like(target, dtype=torch.bool) if mask is None else mask
    if not bool(real.any()):
        raise ValueError("no token is real, and a mean over none is no number")
    of_target = logits.gather(-1, target[..., None])[..., 0]
    surprise = torch.logsumexp(logits, -1) - of_target  # (B, L)
    return torch.where(real, surprise, 0.0).sum() / real.sum()
