"""Strangers of the patch embedding."""

from __future__ import annotations

from tests.strangers import Edit, Stranger

__all__ = ["STRANGERS"]


STRANGERS: tuple[Stranger, ...] = (
    Stranger(
        "PatchEmbedding",
        "column_major",
        "Patches come in column-major order.",
        edits=(Edit("x = x.permute(0, 2, 4, 1, 3, 5)", "x = x.permute(0, 4, 2, 1, 3, 5)"),),
        mistake="the patches are not numbered row by row",
    ),
    Stranger(
        "PatchEmbedding",
        "no_permute",
        (
            "The image is only reshaped, without a permute, so that patches are not squares of the "
            "image."
        ),
        edits=(Edit("x = x.permute(0, 2, 4, 1, 3, 5)", ""),),
        mistake="the image is reshaped and not cut into patches",
    ),
    Stranger(
        "PatchEmbedding",
        "strips",
        "Patches are horizontal runs of pixels instead of squares.",
        edits=(
            Edit(
                "x = x.permute(0, 2, 4, 1, 3, 5)",
                "x = images.flatten(2).reshape(b, c, (h // p) * (w // p), p * p).transpose(1, 2)",
            ),
        ),
        mistake="the image is reshaped and not cut into patches",
    ),
    Stranger(
        "PatchEmbedding",
        "first_channel",
        "Only the first channel is read.",
        edits=(
            Edit(
                "x = x.reshape(b, (h // p) * (w // p), c * p * p)",
                """
                x = x[:, :, :, :1].expand_as(x)
                x = x.reshape(b, (h // p) * (w // p), c * p * p)
                """,
            ),
        ),
        mistake="pixels or channels are lost before the linear layer",
    ),
    Stranger(
        "PatchEmbedding",
        "mean_pool",
        "Each patch is averaged before it is projected, so its inner structure is lost.",
        edits=(
            Edit(
                "x = x.reshape(b, (h // p) * (w // p), c * p * p)",
                """
                x = x.mean((-2, -1), keepdim=True).expand_as(x)
                x = x.reshape(b, (h // p) * (w // p), c * p * p)
                """,
            ),
        ),
        mistake="pixels or channels are lost before the linear layer",
        doubt="nowhere said that the order of pixels within a patch matters",
    ),
    Stranger(
        "PatchEmbedding",
        "bottom_up",
        "Rows of patches come from the bottom to the top.",
        edits=(
            Edit(
                "x = x.reshape(b, (h // p) * (w // p), c * p * p)",
                """
                x = x.flip(1)
                x = x.reshape(b, (h // p) * (w // p), c * p * p)
                """,
            ),
        ),
        mistake="the patches are not numbered row by row",
    ),
    Stranger(
        "PatchEmbedding",
        "swapped_axes",
        "The image is transposed first, so height and width are exchanged.",
        edits=(
            Edit(
                "x = x.permute(0, 2, 4, 1, 3, 5)",
                """
                x = (
                    images.transpose(2, 3)
                    .reshape(b, c, w // p, p, h // p, p)
                    .permute(0, 2, 4, 1, 3, 5)
                )
                """,
            ),
        ),
        mistake="the patches are not numbered row by row",
    ),
    Stranger(
        "PatchEmbedding",
        "transposed_output",
        "The output of the projection is reshaped from (B, D, patches) instead of transposed.",
        edits=(
            Edit(
                "return self.project(x)",
                """
                x = self.project(x)
                return x.transpose(1, 2).reshape(x.shape)
                """,
            ),
        ),
        mistake="axes are mixed up (transpose, reshape, flatten, unsqueeze, cat)",
    ),
    Stranger(
        "PatchEmbedding",
        "batch_mixed",
        "The batch is folded into the patches in the wrong order, mixing items.",
        edits=(
            Edit(
                "return self.project(x)", "return self.project(x.transpose(0, 1).reshape(x.shape))"
            ),
        ),
        mistake="axes are mixed up (transpose, reshape, flatten, unsqueeze, cat)",
        also=("tokens or items of a batch meet that should be kept apart",),
    ),
    Stranger(
        "PatchEmbedding",
        "batch_normalised",
        "Images are centred with the mean of the batch.",
        edits=(
            Edit(
                "x = images.reshape(b, c, h // p, p, w // p, p)",
                """
                images = images - images.mean()
                x = images.reshape(b, c, h // p, p, w // p, p)
                """,
            ),
        ),
        mistake="a mean or a spread is taken over the batch",
    ),
    Stranger(
        "PatchEmbedding",
        "corner_only",
        "Only the top-left quarter of a patch is read.",
        edits=(
            Edit(
                "x = x.reshape(b, (h // p) * (w // p), c * p * p)",
                """
                q = (p + 1) // 2
                x = nn.functional.pad(x[..., :q, :q], (0, p - q, 0, p - q))
                x = x.reshape(b, (h // p) * (w // p), c * p * p)
                """,
            ),
        ),
        mistake="pixels or channels are lost before the linear layer",
    ),
    Stranger(
        "PatchEmbedding",
        "in_place",
        "The caller's images are rescaled in place.",
        edits=(
            Edit(
                "x = images.reshape(b, c, h // p, p, w // p, p)",
                """
                images.data.sub_(0.5)
                x = images.reshape(b, c, h // p, p, w // p, p)
                """,
            ),
        ),
        mistake="the inputs are overwritten",
    ),
    Stranger(
        "PatchEmbedding",
        "detached",
        "The patches are detached, so the images get no gradient.",
        edits=(Edit("return self.project(x)", "return self.project(x.detach())"),),
        mistake="the gradient is cut on its way (detach)",
    ),
    Stranger(
        "PatchEmbedding",
        "bytes",
        "Pixels are rounded to 256 levels.",
        edits=(Edit("return self.project(x)", "return self.project((x * 255).round() / 255)"),),
        mistake="a result is computed with too few digits half-way",
    ),
    Stranger(
        "PatchEmbedding",
        "overlapping",
        "Each patch is mixed with its right neighbour, as if patches overlapped.",
        edits=(Edit("return self.project(x)", "return self.project((x + x.roll(-1, 1)) / 2)"),),
        mistake="tokens or items of a batch meet that should be kept apart",
    ),
    Stranger(
        "PatchEmbedding",
        "class_token",
        "An extra (class) token is put before the patches.",
        edits=(
            Edit(
                "return self.project(x)",
                """
                x = self.project(x)
                return torch.cat([torch.zeros_like(x[:, :1]), x], 1)
                """,
            ),
        ),
    ),
    Stranger(
        "PatchEmbedding",
        "flattened_map",
        "The output is left as a map (B, rows, columns, D).",
        edits=(
            Edit("return self.project(x)", "return self.project(x).reshape(b, h // p, w // p, -1)"),
        ),
        mistake="axes are not flattened, or the wrong ones",
    ),
    Stranger(
        "PatchEmbedding",
        "square_only",
        (
            "Wide images are read as if they were square: the order of rows and columns is "
            "confused unless height equals width."
        ),
        edits=(
            Edit(
                "x = x.permute(0, 2, 4, 1, 3, 5)",
                "x = x.permute(0, 2, 4, 1, 3, 5) if h == w else x.permute(0, 4, 2, 1, 3, 5)",
            ),
        ),
        mistake="the patches are not numbered row by row",
    ),
    Stranger(
        "PatchEmbedding",
        "many_patches",
        "Past 16 patches the sixteenth is repeated.",
        edits=(
            Edit(
                "return self.project(x)",
                """
                return self.project(x[:, torch.arange(x.shape[1], device=x.device).clamp_max(15)])
                """,
            ),
        ),
        mistake="what lies beyond a fixed length is left out",
    ),
)
