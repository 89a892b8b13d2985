"""Images as sequences: patches are tokens, and the encoder is the Transformer's own."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from reference.positional_encoding import LearnedPositionalEmbedding
from reference.shapes import check_shapes, check_sizes
from reference.transformer_layers import Encoder

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
        TypeError: the images are not floating point, or the side is no integer.
        ValueError: images that are empty or have no four dimensions, or patches that do not divide
            them.

    Source: Dosovitskiy et al. 2021, section 3.1.
    """
    check_shapes("images (B, channels>0, height>0, width>0)", images)
    check_sizes(patch_size=patch_size)
    batch, channels, height, width = images.shape
    p = patch_size
    if height % p or width % p:
        raise ValueError(f"patches of {p}×{p} do not divide images of shape {tuple(images.shape)}")
    grid = images.reshape(batch, channels, height // p, p, width // p, p)
    patches_of_image = (height // p) * (width // p)
    return grid.permute(0, 2, 4, 1, 3, 5).reshape(batch, patches_of_image, channels * p * p)


class PatchEmbedding(nn.Module):
    """One linear layer that turns each patch into a token.

    Args:
        patch_size: P, the side of a patch in pixels.
        channels: of the images.
        d_model: width D of the tokens.

    Parameters: ``projection.weight`` (D, channels · P · P) and ``projection.bias`` (D,).

    Raises:
        TypeError: a number is no integer.
        ValueError: a number below 1.

    Source: Dosovitskiy et al. 2021, equation 1.
    """

    def __init__(self, patch_size: int, channels: int, d_model: int) -> None:
        super().__init__()
        check_sizes(patch_size=patch_size, channels=channels, d_model=d_model)
        self.patch_size, self.channels = patch_size, channels
        self.projection = nn.Linear(channels * patch_size * patch_size, d_model)

    def forward(
        self, images: Float[Tensor, "B channels height width"]
    ) -> Float[Tensor, "B N d_model"]:
        """Give a token for each patch in row-major order, (B, N, D).

        Raises:
            TypeError: the images are not floating point.
            ValueError: they do not have these channels, or the patches do not divide them.
        """
        check_shapes("images (B, channels, height, width)", images, channels=self.channels)
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

    Parameters, beside those of its parts: ``summary`` (D,), the token that is no patch.

    Raises:
        TypeError: a number is no integer.
        ValueError: a number below 1, or heads that do not divide the width.

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
        check_sizes(n_patches=n_patches, n_classes=n_classes)
        self.n_patches = n_patches
        self.embedding = PatchEmbedding(patch_size, channels, d_model)
        self.summary = nn.Parameter(torch.zeros(d_model))
        self.positions = LearnedPositionalEmbedding(n_patches + 1, d_model)
        self.encoder = Encoder(d_model, n_heads, d_hidden, n_layers, pre_norm=True)
        self.output = nn.Linear(d_model, n_classes)

    def forward(
        self, images: Float[Tensor, "B channels height width"]
    ) -> Float[Tensor, "B n_classes"]:
        """Give the logits of each class, (B, classes), read off the token that is no patch.

        Raises:
            TypeError: the images are not floating point.
            ValueError: images that do not have these channels, that patches do not divide, or that
                have more patches than there are positions.
        """
        check_shapes(
            "images (B, channels, height, width)", images, channels=self.embedding.channels
        )
        n_patches = images.shape[2] * images.shape[3] // self.embedding.patch_size**2
        if n_patches > self.n_patches:
            raise ValueError(
                f"images of shape {tuple(images.shape)} have {n_patches} patches, and there are "
                f"positions for {self.n_patches}"
            )
        x = self.embedding(images)  # (B, N, D)
        x = torch.cat([self.summary.expand(len(x), 1, -1), x], 1)  # (B, 1 + N, D)
        x = self.encoder(x + self.positions(x.shape[1]))
        return self.output(x[:, 0])
