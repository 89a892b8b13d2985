"""Section 5 of the notes, Transformer: patches of an image are tokens like any others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import torch
from torch import Tensor

from attest import symbolic
from attest.checks import above, close, identical, sometimes, sometimes_differs
from attest.claims import Claim, Verdict
from attest.differentiation import gradients, leaf
from attest.laws import law, proof
from attest.strategies import image_inputs
from attest.subject import Subject
from properties.bounds import measured_bound

PATCHES = "PatchEmbedding"

TRF_13 = Claim(
    id="TRF-13",
    section="5 Transformer",
    quote="입력 이미지 patch들",
    statement="An image is read as a sequence of patches, each of which becomes one token.",
    formal="token_{r·C + c} = W · patch(r, c) + b: a convolution of width P and stride P",
    verdict=Verdict.PROVED,
    references=("Dosovitskiy et al. 2021, section 3.1",),
)


def _patch_size(embedding: Subject) -> int:
    assert embedding.setup is not None
    return embedding.setup.arguments["patch_size"]


def _windows(images: Tensor, size: int) -> Iterator[tuple[int, tuple[slice, slice]]]:
    """Give every patch as its token's place in row-major order, and its rows and columns."""
    rows, columns = images.shape[-2] // size, images.shape[-1] // size
    for r, c in product(range(rows), range(columns)):
        window = slice(r * size, (r + 1) * size), slice(c * size, (c + 1) * size)
        yield r * columns + c, window


def _some_windows(images: Tensor, size: int) -> list[tuple[int, tuple[slice, slice]]]:
    """Give the patches at the corners and one in the middle: enough to tell any other order."""
    windows = list(_windows(images, size))
    columns = images.shape[-1] // size
    return [windows[t] for t in sorted({0, columns - 1, len(windows) // 2, len(windows) - 1})]


@law(
    PATCHES,
    inputs=image_inputs(2),
    formula="X′ = X outside of patch (r, c) ⇒ f(X′)_t = f(X)_t, bit by bit, for t ≠ r·C + c",
    claim=TRF_13,
)
def a_patch_changes_the_token_at_its_place(embedding: Subject, images: Tensor) -> None:
    """Rewriting a patch changes one token, counted row by row, and leaves the others as they are.

    So patches neither overlap nor mix, and images need not be square.
    """
    y = embedding(images)
    for place, (rows, columns) in _some_windows(images, _patch_size(embedding)):
        other = images.clone()
        other[..., rows, columns] = 3 - 2 * other[..., rows, columns].flip(-1)
        found = embedding(other)
        rest = torch.arange(y.shape[1]) != place
        identical(found[:, rest], y[:, rest], f"the tokens beside {place}")
        own, before = found[:, place], y[:, place]
        sometimes_differs(own[:, 0], before[:, 0], "the first entry of its own token changes")
        if own.shape[-1] > 1:
            sometimes_differs(own[:, -1], before[:, -1], "the last entry of its own token changes")


def _differ(weights: Tensor, axis: int) -> bool:
    """Say whether each channel, row or column has other weights than the one before."""
    slices = weights.transpose(0, axis).flatten(1)
    other = (slices != slices.roll(1, 0)).any(1)
    return len(slices) == 1 or bool(other.all())


@law(
    PATCHES,
    inputs=image_inputs(),
    formula="∂f_t / ∂X_{c, i, j} ≠ 0 exactly for the pixels of patch t, in every channel",
    claim=TRF_13,
)
def every_pixel_and_channel_reaches_its_own_token_alone(embedding: Subject, images: Tensor) -> None:
    """By gradients: a token is made of all pixels of its patch, in all channels, and no others.

    Channels, rows and columns have weights of their own: none of them are averaged before.
    """
    channels, size = images.shape[1], _patch_size(embedding)
    for place, (rows, columns) in _some_windows(images, size):
        variable = leaf(images)
        y = embedding(variable)
        probe = torch.zeros_like(y)
        probe[:, place] = 1 + torch.arange(y.shape[-1]).to(y)
        (found,) = gradients(y, probe, variable)
        own = found[..., rows, columns].clone()
        outside = found.clone()
        outside[..., rows, columns] = 0
        identical(outside, torch.zeros_like(outside), f"the gradient of token {place} elsewhere")
        above(own.abs(), torch.zeros_like(own), f"the gradient of token {place} by its own pixels")
        told = all(_differ(own[0], axis) for axis in range(3))
        sometimes(told, f"{channels} channels of {size} × {size} pixels are told apart")


@law(
    PATCHES,
    inputs=image_inputs(),
    formula="f(X) + f(X′) = f(X + X′) + f(0)",
    claim=TRF_13,
)
def a_token_is_affine_in_its_patch(embedding: Subject, images: Tensor) -> None:
    """One linear layer, with a bias or none: sums of images become sums of tokens."""
    others = torch.cos(1.0 + torch.arange(images.numel())).view(images.shape).to(images)
    others = others * (1 + images.abs().max())
    terms = [images, others, images + others, torch.zeros_like(images)]
    one, other, both, none = (embedding(x).double() for x in terms)
    limit = len(terms) * measured_bound(embedding, {"images": images.abs() + others.abs()})
    close(one + other, both + none, 2 * limit, "the sum of the tokens")
    sometimes_differs(one, none, "the tokens are not those of a black image", limit)


@law(
    PATCHES,
    inputs=image_inputs(2),
    formula="f(X)_t = f(patch t)",
    claim=TRF_13,
)
def every_patch_is_embedded_alike(embedding: Subject, images: Tensor) -> None:
    """A patch gives the same token wherever it lies, and in an image of its own."""
    y, bound = embedding(images), measured_bound(embedding, {"images": images})
    windows = _windows(images, _patch_size(embedding))
    patches = torch.stack([images[..., rows, columns] for _, (rows, columns) in windows], 1)
    alone = embedding(patches.flatten(0, 1))
    close(alone.view_as(y), y, 2 * bound, "the tokens of patches alone")
    sometimes_differs(y[:, :1], y[:, -1:], "patches have different tokens", 2 * bound)


@proof(
    PATCHES,
    method="symbolic",
    formula="f(X)_{r·C + c, d} = b_d + Σ_{k,i,j} W_{d,k,i,j} X_{k, rP + i, cP + j}",
    claim=TRF_13,
)
def patches_and_a_linear_layer_are_a_convolution(embedding: Callable[..., Any]) -> None:
    """Run on symbols, a token is a sum over one window: the convolution of width and stride P.

    Pixels and weights are any real numbers. The sizes, of which two are not square, stand for all:
    the code cuts the axes and knows no number of them.
    """
    width = 2
    for size, channels, height, columns in ((1, 2, 2, 3), (2, 1, 2, 4), (2, 2, 4, 2)):
        module, parameters = symbolic.symbolic_module(embedding, size, channels, width)
        x = symbolic.symbols("x", 1, channels, height, columns)
        y = module(x)
        kernel = parameters["projection.weight"].entries.reshape(width, channels, size, size)
        bias = parameters["projection.bias"].entries
        tokens = []
        for r, c in product(range(height // size), range(columns // size)):
            window = x.entries[0, :, r * size : (r + 1) * size, c * size : (c + 1) * size]
            tokens.append([bias[d] + (kernel[d] * window).sum() for d in range(width)])
        assert symbolic.equal(y, symbolic.tensor([tokens])), (size, channels, height, columns)


@proof(
    PATCHES,
    method="exhaustive",
    formula="f(X) = conv2d(X, W, b, stride = P), bit by bit on small integers",
    claim=TRF_13,
)
def torchs_own_convolution_gives_the_same_tokens(embedding: Callable[..., Any]) -> None:
    """Sums of small integers are exact, so the library's strided convolution must agree to the bit.

    All patch sizes, channels and shapes up to 3 × 3 patches of 3 × 3 pixels are tried.
    """
    generator = torch.Generator().manual_seed(0)

    def integers(*shape: int) -> Tensor:
        return torch.randint(-4, 5, shape, generator=generator).double()

    for size, channels, rows, columns in product((1, 2, 3), repeat=4):
        module = embedding(size, channels, 2).double()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(integers(*parameter.shape))
            images = integers(2, channels, rows * size, columns * size)
            kernel = module.projection.weight.view(2, channels, size, size)
            expected = torch.nn.functional.conv2d(
                images, kernel, module.projection.bias, stride=size
            )
            found = module(images)
        what = f"patches of {size}, {channels} channels, {rows} × {columns} of them"
        assert torch.equal(found, expected.flatten(2).mT), what


@proof(
    PATCHES,
    "VisionTransformer",
    "Encoder",
    method="structural",
    formula="ViT(X) = W · Encoder([summary; f(X)] + positions)_0 + b, bit by bit",
    claim=TRF_13,
)
def the_vision_transformer_reads_patches_with_the_same_encoder(
    embedding: Callable[..., Any], vision_transformer: Callable[..., Any], encoder: Any
) -> None:
    """The encoder that reads words reads patches: with the same parameters it gives the same.

    Nothing of it is made for images; they are tokens once they are embedded.
    """
    generator = torch.Generator().manual_seed(0)
    for size, channels, rows, columns, layers in ((2, 3, 2, 3, 1), (1, 1, 3, 1, 2)):
        sizes = (4, 2, 5, layers)  # d_model, n_heads, d_hidden, n_layers
        vision = vision_transformer(size, channels, rows * columns, *sizes, 3).double().eval()
        own = embedding(size, channels, 4).double()
        own.load_state_dict(vision.embedding.state_dict())
        text = encoder(*sizes, pre_norm=True).double().eval()
        text.load_state_dict(vision.encoder.state_dict())
        shape = (2, channels, rows * size, columns * size)
        images = torch.randn(shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            summary = vision.summary + torch.zeros(2, 1, 4, dtype=torch.float64)
            tokens = torch.cat([summary, own(images)], 1)
            tokens = tokens + vision.positions(tokens.shape[1])
            expected = vision.output(text(tokens)[:, 0])
            found = vision(images)
            assert torch.equal(found, expected), "the logits"
            changed = images.clone()
            changed[..., -1, -1] += 1
            assert not torch.equal(vision(changed), found), "the last patch is read"
