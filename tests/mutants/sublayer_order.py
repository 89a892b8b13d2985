"""Layers whose sublayers come in another order, and sublayers that do not do their part."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from reference import (
    Decoder,
    DecoderLayer,
    Encoder,
    EncoderLayer,
    FeedForward,
    MultiHeadAttention,
    causal_mask,
)
from reference.transformer_layers import residual
from tests.mutants import Mutant, mutant
from tests.mutants.encoder import stacks_of_wrong_layers
from tests.mutants.residual import Decode
from tests.mutants.stacks import OtherLayers

ENDS = "a_stack_is_the_other_order_between_its_ends"
MORE = "the_other_order_computes_the_same_with_one_layer_more"
EVERY = "every_order_is_the_usual_one_with_silent_sublayers"
LAST = "the_network_reads_the_sum_of_all_else"
FIRST = "what_attention_says_is_added_before_anything_else"
BOTH = "a_network_before_attention_solves_both_exclusive_ors"


class _Layer(EncoderLayer):
    """The reference's parts, for a forward that puts them together in another way."""

    def attend(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Apply attention with its residual."""
        return residual(
            x,
            lambda seen: self.attention(seen, seen, seen, mask)[0],
            self.attention_norm,
            pre_norm=self.pre_norm,
        )

    def think(self, x: Tensor) -> Tensor:
        """Apply the network with its residual."""
        return residual(x, self.feed_forward, self.feed_forward_norm, pre_norm=self.pre_norm)


@mutant("EncoderLayer", FIRST, ENDS, MORE)
class TheNetworkComesFirst(_Layer):
    """Apply the feed-forward network before attention, whatever was asked for."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Swap the sublayers."""
        return self.attend(self.think(x), mask)


@mutant("EncoderLayer", LAST, ENDS, MORE)
class SublayersBesideEachOther(_Layer):
    """Add attention and the network to the same tokens, in parallel."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Ask both of the same tokens."""
        return self.attend(x, mask) + self.think(x) - x


@mutant("EncoderLayer", FIRST)
class SublayersBesideEachOtherBeforeTheNorm(_Layer):
    """Add both to the same tokens in pre-norm, as models that were made for speed do."""

    def __init__(self, d_model: int, n_heads: int, d_hidden: int, *, pre_norm: bool = True) -> None:
        super().__init__(d_model, n_heads, d_hidden, pre_norm=pre_norm)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Ask both of the same tokens."""
        return self.attend(x, mask) + self.think(x) - x


@mutant("DecoderLayer", FIRST)
class CrossAttentionComesFirst(DecoderLayer):
    """Consult the memory before the words so far."""

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        self_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
    ) -> Tensor:
        """Swap the two attentions."""
        mask = causal_mask(x.shape[1])
        mask = mask if self_mask is None else mask & self_mask

        def attend(seen: Tensor) -> Tensor:
            return self.self_attention(seen, seen, seen, mask)[0]

        def consult(seen: Tensor) -> Tensor:
            return self.cross_attention(seen, memory, memory, memory_mask)[0]

        x = residual(x, consult, self.cross_attention_norm, pre_norm=self.pre_norm)
        x = residual(x, attend, self.self_attention_norm, pre_norm=self.pre_norm)
        return residual(x, self.feed_forward, self.feed_forward_norm, pre_norm=self.pre_norm)


@mutant("EncoderLayer", FIRST, ENDS, MORE, EVERY)
class TheNetworkIsAppliedTwice(_Layer):
    """Apply the network before attention and after it."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Sandwich attention."""
        return self.think(self.attend(self.think(x), mask))


@mutant("EncoderLayer", ENDS, MORE, EVERY)
class AttentionLeavesTheResidualOut(_Layer):
    """Lose the tokens in attention, so that a silent one is no identity."""

    def attend(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Add nothing."""
        seen = self.attention_norm(x)
        mixed: Any = self.attention(seen, seen, seen, mask)[0]
        return mixed

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Keep the order."""
        return self.think(self.attend(x, mask))


class _Decoder(Decode):
    """The reference's parts, for sublayers in another order."""

    pre_norm_as_made = False

    def __init__(self, d_model: int, n_heads: int, d_hidden: int) -> None:
        super().__init__(d_model, n_heads, d_hidden, pre_norm=self.pre_norm_as_made)

    def consulted(self, x: Tensor, consult: Callable[[Tensor], Tensor]) -> Tensor:
        """Apply cross-attention with its residual."""
        return residual(x, consult, self.cross_attention_norm, pre_norm=self.pre_norm)

    def think(self, x: Tensor) -> Tensor:
        """Apply the network with its residual."""
        return residual(x, self.feed_forward, self.feed_forward_norm, pre_norm=self.pre_norm)


@mutant("DecoderLayer", LAST)
class TheNetworkStandsBetweenTheAttentions(_Decoder):
    """Consult the memory after the network."""

    def go_on(self, x: Tensor, consult: Callable[[Tensor], Tensor]) -> Tensor:
        """Swap the last two."""
        return self.consulted(self.think(x), consult)


@mutant("DecoderLayer", LAST)
class TheNetworkStandsBetweenTheAttentionsInPreNorm(TheNetworkStandsBetweenTheAttentions):
    """The same, where sublayers read normalised tokens."""

    pre_norm_as_made = True


@mutant("DecoderLayer", LAST)
class TheNetworkDoesNotHearOfTheMemory(_Decoder):
    """Add cross-attention and the network to the same tokens, in parallel."""

    pre_norm_as_made = True

    def go_on(self, x: Tensor, consult: Callable[[Tensor], Tensor]) -> Tensor:
        """Ask both of the same tokens."""
        return self.consulted(x, consult) + self.think(x) - x


@mutant("FeedForward", BOTH)
class TheNetworkIsOneLinearMap(FeedForward):
    """Leave the activation out: attention cannot make up for it."""

    def forward(self, x: Tensor) -> Tensor:
        """Bend nothing."""
        return self.outer(self.inner(x))


@mutant("FeedForward", BOTH, replaces="MultiHeadAttention")
class AttentionIsTheSameForEveryQuery(MultiHeadAttention):
    """Pool the tokens evenly, so that across them nothing but sums is left."""

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Ask nothing."""
        return super().forward(torch.zeros_like(query), key, value, mask)


def _stacks() -> Iterator[Mutant]:
    """Make stacks of the layers whose network is out of its place."""
    for component, right in (("Encoder", Encoder), ("Decoder", Decoder)):
        stack = type("Stack", (OtherLayers, right), {})
        yield from stacks_of_wrong_layers(globals(), component, stack, frozenset({LAST}))


MUTANTS = tuple(_stacks())
