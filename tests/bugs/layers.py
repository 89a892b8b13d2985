"""Layers and stacks that normalise, add or own their parts wrongly."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from reference import Encoder
from tests.bugs import bug
from tests.mutants.layer_norm import (
    DEFINITION,
    JACOBIAN,
    MOMENTS,
    SCALE,
    SYMBOLS,
)
from tests.mutants.layer_norm import Steps as LayerNormSteps
from tests.mutants.residual import (
    FIRST,
    PATHS,
    SILENT,
    VALUES,
    Encode,
    PreNormEncode,
    Sublayer,
)
from tests.mutants.stacks import PlainList

# --- Layer normalisation ------------------------------------------------------------------------


@bug(
    27,
    "LayerNorm",
    DEFINITION,
    MOMENTS,
    SYMBOLS,
    JACOBIAN,
    sources=("hyunwoongko/transformer #7", "harvardnlp/annotated-transformer #122"),
)
class UnbiasedVariance(LayerNormSteps):
    """Divide the squares by D − 1, as torch.var does unless told otherwise."""

    def variance(self, x: Tensor, centred: Tensor) -> Tensor:
        """Be the estimate of a population's variance."""
        del x
        return centred.square().sum(-1, keepdim=True) / max(centred.shape[-1] - 1, 1)


@bug(
    27,
    "LayerNorm",
    DEFINITION,
    MOMENTS,
    SCALE,
    SYMBOLS,
    sources=("hyunwoongko/transformer #7", "hkproj/pytorch-transformer #31"),
)
class EpsilonOutsideTheRoot(LayerNormSteps):
    """Add ε to the standard deviation."""

    def spread(self, variance: Tensor) -> Tensor:
        """Have no gradient where all entries are equal, either."""
        return torch.sqrt(variance) + self.eps


# --- Residuals ----------------------------------------------------------------------------------


@bug(28, "EncoderLayer", SILENT, PATHS, VALUES, sources=("kyegomez/BitNet #32",))
class WhatAttentionSaidIsAddedToItself(PreNormEncode):
    """Overwrite x by what attention says, and then write x + x."""

    def around_attention(self, x: Tensor, sublayer: Sublayer, norm: Any) -> Tensor:
        """Lose the tokens."""
        x = sublayer(norm(x))
        return x + x


@bug(28, "EncoderLayer", FIRST, PATHS, sources=("strutive07/transformer-tensorflow2.0 #14",))
class TheLayersInputIsAddedTwiceBeforeTheNorm(Encode):
    """Add the layer's input around the feed-forward network, and not what attention made of it."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Keep the first residual."""
        after = self.attention_norm(x + self.attention(x, x, x, mask)[0])
        return self.feed_forward_norm(x + self.feed_forward(after))


@bug(
    28,
    "EncoderLayer",
    SILENT,
    PATHS,
    VALUES,
    sources=("Howuhh/faster-trajectory-transformer #3",),
)
class NormalisedTokensAreAdded(PreNormEncode):
    """Overwrite x with its normalisation before both branches: it starts the residual, too."""

    def around(self, x: Tensor, sublayer: Sublayer, norm: Any) -> Tensor:
        """Normalise the residual."""
        seen = norm(x)
        return seen + sublayer(seen)


# --- Parameters ---------------------------------------------------------------------------------


@bug(
    30,
    "Encoder",
    "every_layer_has_as_many_parameters",
    "an_encoder_has_twelve_squares_a_layer",
    sources=("maruya24/pytorch_robotics_transformer #3",),
)
class LayersInAPlainList(PlainList, Encoder):
    """Keep the layers where PyTorch does not find them."""


@bug(
    30,
    "Encoder",
    "an_encoder_has_twelve_squares_a_layer",
    "each_sublayer_has_weights_of_its_own",
    sources=("habla-liaa/encodecmae #3",),
)
class OneFeedForwardNetworkForAllLayers(Encoder):
    """Construct the feed-forward network once, and hand it to every layer."""

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        for layer in self.layers:
            layer.feed_forward = self.layers[0].feed_forward
