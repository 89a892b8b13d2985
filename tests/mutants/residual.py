"""Encoder and decoder layers that are wrong in their residuals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from reference import DecoderLayer, Encoder, EncoderLayer, causal_mask
from reference.transformer_layers import residual
from tests.mutants import mutant
from tests.mutants.decoder import Stack as DecoderStack
from tests.mutants.encoder import Stack as EncoderStack

SILENT = "silent_sublayers_hand_the_tokens_on"
PATHS = "gradients_take_every_subset_of_the_sublayers"
THREE = "gradients_take_every_subset_of_the_three_sublayers"
VALUES = "singular_values_stay_between_the_products"
GROWS = "what_sublayers_say_does_not_grow_with_the_tokens"
FIRST = "what_attention_says_is_added_before_anything_else"
FORGETS = "one_layer_without_residuals_forgets_its_prefix"

Sublayer = Callable[[Tensor], Tensor]


class Encode(EncoderLayer):
    """The reference, step by step; a mutant gets one of the residuals wrong."""

    def around_attention(self, x: Tensor, sublayer: Sublayer, norm: Any) -> Tensor:
        """Add the attention's output."""
        return self.around(x, sublayer, norm)

    def around_feed_forward(self, x: Tensor, sublayer: Sublayer, norm: Any) -> Tensor:
        """Add the feed-forward network's output."""
        return self.around(x, sublayer, norm)

    def around(self, x: Tensor, sublayer: Sublayer, norm: Any) -> Tensor:
        """Add what a sublayer says."""
        return residual(x, sublayer, norm, pre_norm=self.pre_norm)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Give the tokens after this layer."""

        def attend(seen: Tensor) -> Tensor:
            return self.attention(seen, seen, seen, mask)[0]

        x = self.around_attention(x, attend, self.attention_norm)
        return self.around_feed_forward(x, self.feed_forward, self.feed_forward_norm)


class PreNormEncode(Encode):
    """The same, pre-norm unless asked."""

    def __init__(self, d_model: int, n_heads: int, d_hidden: int, *, pre_norm: bool = True) -> None:
        super().__init__(d_model, n_heads, d_hidden, pre_norm=pre_norm)


class Decode(DecoderLayer):
    """The reference, step by step; a mutant gets one of the residuals wrong."""

    def around(self, kind: str, x: Tensor, sublayer: Sublayer, norm: Any) -> Tensor:
        """Add what a sublayer says; kind is self, cross or feed."""
        del kind
        return residual(x, sublayer, norm, pre_norm=self.pre_norm)

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        self_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
    ) -> Tensor:
        """Give the tokens after this layer."""
        mask = causal_mask(x.shape[1])
        mask = mask if self_mask is None else mask & self_mask

        def attend(seen: Tensor) -> Tensor:
            return self.self_attention(seen, seen, seen, mask)[0]

        def consult(seen: Tensor) -> Tensor:
            return self.cross_attention(seen, memory, memory, memory_mask)[0]

        x = self.around("self", x, attend, self.self_attention_norm)
        return self.go_on(x, consult)

    def go_on(self, x: Tensor, consult: Sublayer) -> Tensor:
        """Apply the other two sublayers."""
        x = self.around("cross", x, consult, self.cross_attention_norm)
        return self.around("feed", x, self.feed_forward, self.feed_forward_norm)


def _without(x: Tensor, sublayer: Sublayer, norm: Any, *, pre_norm: bool) -> Tensor:
    return sublayer(norm(x)) if pre_norm else norm(sublayer(x))


# --- Missing ------------------------------------------------------------------------------------


@mutant("EncoderLayer", SILENT, PATHS, VALUES)
class NoResidualAroundAttention(Encode):
    """Hand on what attention says, and nothing of what it was told."""

    def around_attention(self, x: Tensor, sublayer: Sublayer, norm: Any) -> Tensor:
        """Add nothing."""
        return _without(x, sublayer, norm, pre_norm=self.pre_norm)


@mutant("EncoderLayer", SILENT, PATHS, VALUES)
class NoResidualAroundTheFeedForwardNetwork(PreNormEncode):
    """Hand on what the feed-forward network says alone."""

    def around_feed_forward(self, x: Tensor, sublayer: Sublayer, norm: Any) -> Tensor:
        """Add nothing."""
        return _without(x, sublayer, norm, pre_norm=self.pre_norm)


@mutant("EncoderLayer", SILENT, PATHS, VALUES)
class NoResiduals(Encode):
    """Write the notes' equations down as they stand."""

    def around(self, x: Tensor, sublayer: Sublayer, norm: Any) -> Tensor:
        """Add nothing."""
        return _without(x, sublayer, norm, pre_norm=self.pre_norm)


@mutant("EncoderLayer", SILENT, PATHS, VALUES)
class ResidualTimesZero(PreNormEncode):
    """Leave a factor of the residual at its first value, zero."""

    def around(self, x: Tensor, sublayer: Sublayer, norm: Any) -> Tensor:
        """Scale the tokens away."""
        return 0 * x + _without(x, sublayer, norm, pre_norm=self.pre_norm)


@mutant("EncoderLayer", SILENT)
class ResidualBeyondTheFirstEightTokensIsLost(Encode):
    """Add in a buffer of eight tokens; wrong past it alone."""

    def around(self, x: Tensor, sublayer: Sublayer, norm: Any) -> Tensor:
        """Cut the residual."""
        if x.shape[1] <= 8:
            return super().around(x, sublayer, norm)
        kept = torch.cat([x[:, :8], torch.zeros_like(x[:, 8:])], 1)
        return norm(kept + sublayer(x))


# --- Wrong branch -------------------------------------------------------------------------------


@mutant("EncoderLayer", SILENT, PATHS, VALUES)
class TokensAddedToThemselves(PreNormEncode):
    """Write x + x, so that attention is computed and not used."""

    def around_attention(self, x: Tensor, sublayer: Sublayer, norm: Any) -> Tensor:
        """Add the wrong thing."""
        del sublayer, norm
        return x + x


@mutant("EncoderLayer", PATHS)
class TokensAddedToThemselvesBeforeTheNorm(Encode):
    """Write x + x in post-norm, where the norm takes the factor of two away again."""

    def around_attention(self, x: Tensor, sublayer: Sublayer, norm: Any) -> Tensor:
        """Add the wrong thing."""
        del sublayer
        return norm(x + x)


@mutant("EncoderLayer", SILENT, PATHS)
class TheSkipIsNormalisedAndNotTheSum(Encode):
    """Put the bracket wrong: LayerNorm(x) + F(x)."""

    def around(self, x: Tensor, sublayer: Sublayer, norm: Any) -> Tensor:
        """Normalise one term."""
        return norm(x) + sublayer(x)


@mutant("EncoderLayer", SILENT, PATHS)
class TheSublayersOutputIsNormalisedAndNotTheSum(Encode):
    """Put the bracket wrong: x + LayerNorm(F(x)), which is neither of the two orders."""

    def around_feed_forward(self, x: Tensor, sublayer: Sublayer, norm: Any) -> Tensor:
        """Normalise the other term."""
        return x + norm(sublayer(x))


@mutant("EncoderLayer", SILENT, PATHS, VALUES)
class ResidualAveraged(PreNormEncode):
    """Take the mean of the two branches, to keep the size."""

    def around(self, x: Tensor, sublayer: Sublayer, norm: Any) -> Tensor:
        """Halve the residual at every sublayer."""
        return (x + sublayer(norm(x))) * 0.5


@mutant("EncoderLayer", SILENT, VALUES, "gradients_agree_with_finite_differences")
class ResidualDetached(PreNormEncode):
    """Give the right output, and no gradient through the residual."""

    def around(self, x: Tensor, sublayer: Sublayer, norm: Any) -> Tensor:
        """Cut the gradient."""
        return x.detach() + sublayer(norm(x))


@mutant("EncoderLayer", FIRST, PATHS, VALUES)
class TheLayersInputIsAddedTwice(PreNormEncode):
    """Add the layer's input around the feed-forward network, and not what attention made of it."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Keep the first residual."""
        seen = self.attention_norm(x)
        after = x + self.attention(seen, seen, seen, mask)[0]
        return x + self.feed_forward(self.feed_forward_norm(after))


# --- Normalisation ------------------------------------------------------------------------------


@mutant("EncoderLayer", GROWS, PATHS)
class NothingIsNormalised(Encode):
    """Add sublayers to tokens and leave the normalisations out."""

    def around(self, x: Tensor, sublayer: Sublayer, norm: Any) -> Tensor:
        """Add, and no more."""
        return x + sublayer(x)


@mutant("EncoderLayer", GROWS, PATHS)
class TheNetworkReadsTokensAsTheyAre(PreNormEncode):
    """Normalise what attention reads alone."""

    def around_feed_forward(self, x: Tensor, sublayer: Sublayer, norm: Any) -> Tensor:
        """Forget the second normalisation."""
        return x + sublayer(x)


@mutant("EncoderLayer", GROWS)
class QueriesAreNormalisedAlone(PreNormEncode):
    """Normalise what asks, and not the tokens that it asks."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Write ``attention(norm(x), x, x)``."""
        x = x + self.attention(self.attention_norm(x), x, x, mask)[0]
        return self.around_feed_forward(x, self.feed_forward, self.feed_forward_norm)


@mutant("DecoderLayer", GROWS, THREE)
class NothingIsNormalisedInTheDecoder(Decode):
    """Add sublayers to tokens and leave the normalisations out."""

    def around(self, kind: str, x: Tensor, sublayer: Sublayer, norm: Any) -> Tensor:
        """Add, and no more."""
        return x + sublayer(x)


# --- Decoder ------------------------------------------------------------------------------------


@mutant("DecoderLayer", SILENT, THREE, FORGETS)
class NoResidualAroundCrossAttention(Decode):
    """Take what the memory says for the token."""

    def around(self, kind: str, x: Tensor, sublayer: Sublayer, norm: Any) -> Tensor:
        """Leave one of three out."""
        if kind == "cross":
            return _without(x, sublayer, norm, pre_norm=self.pre_norm)
        return super().around(kind, x, sublayer, norm)


@mutant("DecoderLayer", SILENT, THREE)
class NoResidualAroundSelfAttention(Decode):
    """Lose the token itself before the memory is asked."""

    def around(self, kind: str, x: Tensor, sublayer: Sublayer, norm: Any) -> Tensor:
        """Leave one of three out."""
        if kind == "self":
            return _without(x, sublayer, norm, pre_norm=self.pre_norm)
        return super().around(kind, x, sublayer, norm)


@mutant("DecoderLayer", FIRST, THREE)
class ResidualsBesideEachOther(Decode):
    """Add all three sublayers to the layer's input: parallel, and one path for each."""

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        self_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
    ) -> Tensor:
        """Ask all three of the same tokens."""
        mask = causal_mask(x.shape[1])
        mask = mask if self_mask is None else mask & self_mask
        own = self.self_attention(x, x, x, mask)[0]
        other = self.cross_attention(x, memory, memory, memory_mask)[0]
        return self.feed_forward_norm(x + own + other + self.feed_forward(x))


# --- Stacks -------------------------------------------------------------------------------------


@mutant("Encoder", GROWS)
class EncoderWithoutNormalisations(EncoderStack):
    """Stack layers without normalisations."""

    layer = NothingIsNormalised


@mutant("Encoder", FIRST)
class EncoderOfLayersWhoseInputIsAddedTwice(EncoderStack):
    """Stack layers whose second residual starts at the first."""

    layer = TheLayersInputIsAddedTwice


@mutant("Decoder", GROWS)
class DecoderWithoutNormalisations(DecoderStack):
    """Stack layers without normalisations."""

    layer = NothingIsNormalisedInTheDecoder


@mutant("Decoder", FIRST)
class DecoderOfResidualsBesideEachOther(DecoderStack):
    """Stack layers whose sublayers are parallel."""

    layer = ResidualsBesideEachOther


@mutant("Encoder", SILENT)
class EncoderWithoutResiduals(EncoderStack):
    """Stack layers without residuals."""

    layer = NoResiduals


@mutant("Encoder", SILENT)
class LastOfSeveralEncoderLayersWithoutResiduals(Encoder):
    """Lose the residuals of the last layer, where there is more than one."""

    def __init__(self, d_model: int, n_heads: int, d_hidden: int, n_layers: int) -> None:
        super().__init__(d_model, n_heads, d_hidden, n_layers)
        if n_layers > 1:
            self.layers[-1] = NoResiduals(d_model, n_heads, d_hidden)


@mutant("Decoder", SILENT)
class DecoderWithoutResidualsAroundTheMemory(DecoderStack):
    """Stack layers that lose the token in cross-attention."""

    layer = NoResidualAroundCrossAttention
