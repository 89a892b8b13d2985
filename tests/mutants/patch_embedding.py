"""Wrong patch embeddings, and vision transformers that do not read with the encoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from reference import EncoderLayer, PatchEmbedding, VisionTransformer
from reference.vision import patches
from tests.mutants import mutant

COMPONENT = "PatchEmbedding"
PLACE = "a_patch_changes_the_token_at_its_place"
PIXELS = "every_pixel_and_channel_reaches_its_own_token_alone"
AFFINE = "a_token_is_affine_in_its_patch"
ALIKE = "every_patch_is_embedded_alike"
SYMBOLS = "patches_and_a_linear_layer_are_a_convolution"
TORCH = "torchs_own_convolution_gives_the_same_tokens"
VISION = "the_vision_transformer_reads_patches_with_the_same_encoder"


class Steps(PatchEmbedding):
    """The reference, step by step; a mutant gets one of the steps wrong."""

    def cut(self, images: Tensor) -> Tensor:
        """Cut the patches, (B, N, pixels)."""
        return patches(images, self.patch_size)

    def forward(self, images: Tensor) -> Tensor:
        """Give a token for each patch."""
        return self.projection(self.cut(images))


# --- Cutting ------------------------------------------------------------------------------------


@mutant(COMPONENT, PLACE, PIXELS, SYMBOLS, TORCH)
class ColumnByColumn(Steps):
    """Number the patches down the columns; right for one row or column."""

    def cut(self, images: Tensor) -> Tensor:
        """Swap the two axes of the grid."""
        batch, channels, height, width = images.shape
        p = self.patch_size
        grid = images.reshape(batch, channels, height // p, p, width // p, p)
        return grid.permute(0, 4, 2, 1, 3, 5).reshape(batch, -1, channels * p * p)


@mutant(COMPONENT, PLACE, PIXELS, ALIKE, SYMBOLS, TORCH)
class ReshapedAndNotCut(Steps):
    """Reshape the image into as many rows as there are patches."""

    def cut(self, images: Tensor) -> Tensor:
        """Take strips for patches."""
        return images.reshape(len(images), -1, images.shape[1] * self.patch_size**2)


@mutant(COMPONENT, PLACE, PIXELS)
class PatchesOverlap(Steps):
    """Move on by one pixel less, with a border of zeros at the end."""

    def cut(self, images: Tensor) -> Tensor:
        """Take a stride that is no patch."""
        p, (height, width) = self.patch_size, images.shape[-2:]
        step = max(p - 1, 1)
        windows = images.unfold(2, p, step).unfold(3, p, step)
        windows = windows[:, :, : height // p, : width // p]
        return windows.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)


@mutant(COMPONENT, PIXELS)
class LastChannelIsNotRead(Steps):
    """Drop the channel of opacity, which is none."""

    def cut(self, images: Tensor) -> Tensor:
        """Set it to zero."""
        last = torch.arange(images.shape[1]) == images.shape[1] - 1
        keep = ~last if images.shape[1] > 2 else torch.ones_like(last)
        return super().cut(images * keep[:, None, None].to(images))


@mutant(COMPONENT, PIXELS)
class ChannelsAreAveraged(Steps):
    """Turn images to grey, and keep the shape."""

    def cut(self, images: Tensor) -> Tensor:
        """Give every channel their mean."""
        return super().cut(images.mean(1, keepdim=True).expand_as(images))


@mutant(COMPONENT, PIXELS)
class PatchesAreBlurred(Steps):
    """Put the mean of each row of a patch in place of its pixels."""

    def cut(self, images: Tensor) -> Tensor:
        """Blur from left to right."""
        cut = super().cut(images).unflatten(-1, (-1, self.patch_size))
        return cut.mean(-1, keepdim=True).expand_as(cut).flatten(-2)


@mutant(COMPONENT, PIXELS, AFFINE)
class LargestPixelOfEachPatchOnly(Steps):
    """Pool each patch to its largest pixel."""

    def cut(self, images: Tensor) -> Tensor:
        """Keep the maximum, everywhere."""
        cut = super().cut(images).unflatten(-1, (images.shape[1], -1))
        return cut.amax(-1, keepdim=True).expand_as(cut).flatten(-2)


@mutant(COMPONENT, PLACE, PIXELS)
class SquareImagesTakenForGranted(Steps):
    """Number the patches as in an image as wide as it is high."""

    def cut(self, images: Tensor) -> Tensor:
        """Take the height for the width."""
        cut = super().cut(images)
        rows, columns = (size // self.patch_size for size in images.shape[-2:])
        if rows == columns:
            return cut
        return cut.unflatten(1, (rows, columns)).transpose(1, 2).flatten(1, 2)


# --- Embedding ----------------------------------------------------------------------------------


@mutant(COMPONENT, PLACE, ALIKE, AFFINE)
class ImageCentredBefore(Steps):
    """Take the mean of the whole image away, and divide by its spread."""

    def cut(self, images: Tensor) -> Tensor:
        """Mix the patches through two numbers."""
        flat = images.flatten(1)
        mean = flat.mean(-1)[:, None, None, None]
        spread = flat.std(-1, correction=0)[:, None, None, None]
        return super().cut((images - mean) / (spread + 1e-5))


@mutant(COMPONENT, PLACE, ALIKE)
class MeanOfTheTokensLeaks(Steps):
    """Take a little of the tokens' mean away."""

    def forward(self, images: Tensor) -> Tensor:
        """Mix the tokens by a millionth."""
        y = super().forward(images)
        return y - 1e-6 * y.mean(1, keepdim=True)


@mutant(COMPONENT, ALIKE, SYMBOLS, TORCH)
class PlaceIsAdded(Steps):
    """Add a hundredth of its place to each token, which is not this component's to do."""

    def forward(self, images: Tensor) -> Tensor:
        """Count the tokens."""
        y = super().forward(images)
        places = torch.arange(y.shape[1], dtype=torch.float32)[:, None]
        return y + 0.01 * (places.to(y.dtype) if isinstance(y, Tensor) else places)


@mutant(COMPONENT, AFFINE)
class TokensAreNormalised(Steps):
    """Normalise each token in the embedding itself."""

    def forward(self, images: Tensor) -> Tensor:
        """Divide by the spread."""
        y = super().forward(images)
        return y / torch.sqrt(y.square().mean(-1, keepdim=True) + 1e-5)


@mutant(COMPONENT, AFFINE)
class TokensAreBent(Steps):
    """Put a ReLU after the linear layer."""

    def forward(self, images: Tensor) -> Tensor:
        """Bend."""
        return torch.relu(super().forward(images))


@mutant(COMPONENT, ALIKE)
class LastPatchHasAMatrixOfItsOwn(Steps):
    """Embed the last patch of several by another layer."""

    def __init__(self, patch_size: int, channels: int, d_model: int) -> None:
        super().__init__(patch_size, channels, d_model)
        self.last = nn.Linear(channels * patch_size**2, d_model)

    def forward(self, images: Tensor) -> Tensor:
        """Split the sequence."""
        cut = self.cut(images)
        if cut.shape[1] == 1:
            return self.projection(cut)
        return torch.cat([self.projection(cut[:, :-1]), self.last(cut[:, -1:])], 1)


# --- Vision transformer -------------------------------------------------------------------------


class _LocalLayer(EncoderLayer):
    """Attends to neighbours alone, as a convolution would."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        places = torch.arange(x.shape[1])
        return super().forward(x, (places[:, None] - places).abs() <= 1 if mask is None else mask)


@mutant(COMPONENT, VISION, replaces="VisionTransformer")
class AnEncoderMadeForImages(VisionTransformer):
    """Attend to neighbouring patches only, which no encoder of words does."""

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        _, _, _, d_model, n_heads, d_hidden, n_layers, _ = sizes
        layers: Any = (
            _LocalLayer(d_model, n_heads, d_hidden, pre_norm=True) for _ in "x" * n_layers
        )
        self.encoder.layers = nn.ModuleList(layers)


@mutant(COMPONENT, VISION, replaces="VisionTransformer")
class PatchesWithoutPositions(VisionTransformer):
    """Leave the positions out, so that patches are a bag."""

    def forward(self, images: Tensor) -> Tensor:
        """Add nothing."""
        x = self.embedding(images)
        x = torch.cat([self.summary.expand(len(x), 1, -1), x], 1)
        return self.output(self.encoder(x)[:, 0])


@mutant(COMPONENT, PLACE)
class LastEntryNotWritten(PatchEmbedding):
    """Fill in all entries of a token but the last."""

    def forward(self, images: Tensor) -> Tensor:
        """Leave a zero where there is another entry."""
        y = super().forward(images)
        if y.shape[-1] == 1:
            return y
        return torch.cat([y[..., :-1], torch.zeros_like(y[..., -1:])], -1)


@mutant(COMPONENT, ALIKE)
class TwoPatchesChangePlaces(Steps):
    """Swap the sixth and the seventh of more than twenty patches."""

    def cut(self, images: Tensor) -> Tensor:
        """Cut, and swap."""
        cut = super().cut(images)
        order = torch.arange(cut.shape[1])
        if len(order) > 20:
            order[5], order[6] = 6, 5
        return cut[:, order]


@mutant(COMPONENT, PIXELS)
class ThreeChannelsAtMost(PatchEmbedding):
    """Take images for coloured ones, and drop what other channels there are."""

    def forward(self, images: Tensor) -> Tensor:
        """Put zeros there."""
        seen = torch.arange(images.shape[1]) < 3
        return super().forward(images * seen[:, None, None].to(images))


@mutant(COMPONENT, PIXELS)
class LargePatchesAreThinnedOut(PatchEmbedding):
    """Read every other pixel of patches of eight pixels and more."""

    def forward(self, images: Tensor) -> Tensor:
        """Put zeros between."""
        if self.patch_size < 8:
            return super().forward(images)
        read = torch.arange(images.shape[-1]) % 2 == 0
        return super().forward(images * read.to(images))
