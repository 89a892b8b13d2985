"""Transformers and stacks whose parts are put together wrongly, or are no such parts."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

import reference
from tests.mutants import mutant

WORDS = "no_word_of_the_source_stands_for_padding"
SAID = "no_word_of_the_target_stands_for_padding"
SILENT = "silent_sublayers_let_the_words_through"
INSIDE = "the_encoder_inside_attends_as_attention_does"
CHAIN = "as_many_layers_carry_a_token_as_many_places"
BENDS = "the_network_inside_bends"

PADDING = 0
"""The word that is taken for padding, unasked."""


# --- Words --------------------------------------------------------------------------------------


@mutant("Transformer", WORDS)
class TheFirstWordIsPaddingForTheEncoder(reference.Transformer):
    """Hide the first word of the vocabulary from the encoder, mask or none."""

    def encode(self, source: Tensor, source_mask: Tensor | None = None) -> Tensor:
        given = torch.ones_like(source, dtype=torch.bool) if source_mask is None else source_mask
        real = given & (source != PADDING)
        return super().encode(source, torch.where(real.any(1, keepdim=True), real, given))


@mutant("Transformer", SAID)
class TheFirstWordIsPaddingForTheDecoder(reference.Transformer):
    """Let no later word look at the first word of the vocabulary."""

    def decode(
        self, target_in: Tensor, memory: Tensor, source_mask: Tensor | None = None
    ) -> Tensor:
        x = self._embed(self.target_embedding, target_in)
        itself = torch.eye(x.shape[1], dtype=torch.bool)
        seen = (target_in != PADDING)[:, None, :] | itself
        hidden = None if source_mask is None else source_mask[:, None, :]
        return self.output(self.decoder(x, memory, seen, hidden))


# --- Sublayers ----------------------------------------------------------------------------------


class _WithoutResiduals(reference.EncoderLayer):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.attention_norm(self.attention(x, x, x, mask)[0])
        return self.feed_forward_norm(self.feed_forward(x))


@mutant("Transformer", SILENT)
class NoResidualsInTheEncoder(reference.Transformer):
    """Normalise what sublayers say, and add it to nothing."""

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.encoder.layers = nn.ModuleList(_WithoutResiduals(*sizes[2:5]) for _ in range(sizes[5]))


class _Unscaled(reference.MultiHeadAttention):
    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        return super().forward(query * math.sqrt(query.shape[-1] // self.n_heads), key, value, mask)


class _ScaledByTheWidth(reference.MultiHeadAttention):
    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        return super().forward(query / math.sqrt(self.n_heads), key, value, mask)


class _WithAttention(reference.Transformer):
    attention: type[nn.Module]

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        for layer in self.encoder.layers:
            layer.attention = self.attention(*sizes[2:4])


@mutant("Transformer", INSIDE)
class ScoresInTheEncoderAreNotScaled(_WithAttention):
    """Forget to divide scores by the root of the width of a head."""

    attention = _Unscaled


@mutant("Transformer", INSIDE)
class ScoresInTheEncoderAreScaledByTheModelsWidth(_WithAttention):
    """Divide scores by the root of the width of the model, and not of a head."""

    attention = _ScaledByTheWidth


# --- Layers -------------------------------------------------------------------------------------


@mutant("Encoder", CHAIN)
class EncoderLayersSideBySide(reference.Encoder):
    """Let every layer read the input, and give the mean of what they say."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return torch.stack([layer(x, mask) for layer in self.layers]).mean(0)


@mutant("Decoder", CHAIN)
class DecoderLayersSideBySide(reference.Decoder):
    """Let every layer read the input, and give the mean of what they say."""

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        self_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
    ) -> Tensor:
        return torch.stack(
            [layer(x, memory, self_mask, memory_mask) for layer in self.layers]
        ).mean(0)


# --- The network --------------------------------------------------------------------------------


def _straightened(module: nn.Module, width: int, hidden: int) -> None:
    """Put two matrices without anything between them where a feed-forward network was."""
    for layer in module.modules():
        if hasattr(layer, "feed_forward"):
            layer.feed_forward = nn.Sequential(nn.Linear(width, hidden), nn.Linear(hidden, width))


class _Straight:
    """A component whose feed-forward networks have no activation."""

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        first = 2 if isinstance(self, reference.Transformer) else 0
        _straightened(self, sizes[first], sizes[first + 2])


@mutant("EncoderLayer", BENDS)
class TheEncoderLayersNetworkIsAffine(_Straight, reference.EncoderLayer):
    """Forget the activation between the two matrices."""


@mutant("DecoderLayer", BENDS)
class TheDecoderLayersNetworkIsAffine(_Straight, reference.DecoderLayer):
    """Forget the activation between the two matrices."""


@mutant("Encoder", BENDS)
class TheEncodersNetworksAreAffine(_Straight, reference.Encoder):
    """Forget the activation between the two matrices."""


@mutant("Decoder", BENDS)
class TheDecodersNetworksAreAffine(_Straight, reference.Decoder):
    """Forget the activation between the two matrices."""


@mutant("Transformer", BENDS)
class TheTransformersNetworksAreAffine(_Straight, reference.Transformer):
    """Forget the activation between the two matrices."""
