"""Images as sequences: patches are tokens, and the encoder is the Transformer's own."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from reference.positional_encoding import LearnedPositionalEmbedding
from reference.transformer import Encoder

__all__ = ["PatchEmbedding", "VisionTransformer", "patches"]


def patches(
    images: Float[Tensor, "B channels height width"], patch_size: int
) -> Float[Tensor, "B N pixels"]:
    """Cut images into square patches, row by row, and flatten each.

    Args:
        images: (B, channels, height, width).
        patch_size: P, the side of a patch in pixels.

    Returns:
        The patches in row-major order, (B, height / P · width / P, channels · P · P).

    Raises:
        ValueError: patches do not divide the image.

    Source: Dosovitskiy et al. 2021, section 3.1.
    """
    batch, channels, height, width = images.shape
    p = patch_size
    if p < 1 or height % p or width % p:
        raise ValueError(f"patches of {p}×{p} do not divide an image of {height}×{width}")
    grid = images.reshape(batch, channels, height // p, p, width // p, p)
    return grid.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * p * p)


class PatchEmbedding(nn.Module):
    """One linear layer that turns each patch into a token.

    Args:
        patch_size: P, the side of a patch in pixels.
        channels: of the images.
        d_model: width D of the tokens.

    Source: Dosovitskiy et al. 2021, equation 1.
    """

    def __init__(self, patch_size: int, channels: int, d_model: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.projection = nn.Linear(channels * patch_size * patch_size, d_model)

    def forward(
        self, images: Float[Tensor, "B channels height width"]
    ) -> Float[Tensor, "B N d_model"]:
        """Give a token for each patch in row-major order, (B, N, D)."""
        return self.projection(patches(images, self.patch_size))


class VisionTransformer(nn.Module):
    """A classifier of images: patches and one more token go through the encoder.

    Args:
        patch_size: P, the side of a patch in pixels.
        channels: of the images.
        n_patches: the largest number of patches of an image.
        d_model: width D of the tokens.
        n_heads: H, a divisor of D.
        d_hidden: width inside the feed-forward networks.
        n_layers: the number of layers.
        n_classes: the number of classes.

    Source: Dosovitskiy et al. 2021, section 3.1.
    """

    def __init__(
        self,
        patch_size: int,
        channels: int,
        n_patches: int,
        d_model: int,
        n_heads: int,
        d_hidden: int,
        n_layers: int,
        n_classes: int,
    ) -> None:
        super().__init__()
        self.embedding = PatchEmbedding(patch_size, channels, d_model)
        self.summary = nn.Parameter(torch.zeros(d_model))
        self.positions = LearnedPositionalEmbedding(n_patches + 1, d_model)
        self.encoder = Encoder(d_model, n_heads, d_hidden, n_layers, pre_norm=True)
        self.output = nn.Linear(d_model, n_classes)

    def forward(
        self, images: Float[Tensor, "B channels height width"]
    ) -> Float[Tensor, "B n_classes"]:
        """Give the logits of each class, (B, classes), read off the token that is no patch."""
        x = self.embedding(images)  # (B, N, D)
        x = torch.cat([self.summary.expand(len(x), 1, -1), x], 1)  # (B, 1 + N, D)
        x = self.encoder(x + self.positions(x.shape[1]))
        return self.output(x[:, 0])
