"""The loss of a sequence: how surprised the model is by each token, padding left out."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from reference.shapes import check_shapes

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
        TypeError: logits, target or mask are not floating point, int64 and boolean.
        ValueError: the shapes do not fit, no token is real, or a real one is outside the
            vocabulary. What stands at padding does not matter.

    Source: Sutskever, Vinyals and Le 2014, section 3.2.
    """
    forms = "logits (B, L, V>0), target int64 (B, L), mask? bool (B, L)"
    check_shapes(forms, logits, target, mask)
    real = torch.ones_like(target, dtype=torch.bool) if mask is None else mask
    tokens, vocabulary = target[real], logits.shape[-1]
    if not len(tokens):
        shape = tuple(target.shape)
        raise ValueError(f"no token of {shape} is real, and a mean over none is no number")
    if bool(((tokens < 0) | (tokens >= vocabulary)).any()):
        least, most = int(tokens.min()), int(tokens.max())
        raise ValueError(f"targets lie from 0 to {vocabulary - 1}, got {least} to {most}")
    logits = logits[real]  # (real tokens, V)
    surprise = torch.logsumexp(logits, -1) - logits.gather(-1, tokens[:, None])[:, 0]
    return surprise.sum() / len(tokens)
