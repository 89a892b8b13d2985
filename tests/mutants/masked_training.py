"""Mistakes about where a mask is needed, beside those of the masks and the attentions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from reference import (
    Encoder,
    EncoderLayer,
    Transformer,
    masked_softmax,
    scaled_dot_product_attention,
)
from tests.mutants import mutant

SDPA = "scaled_dot_product_attention"


@mutant(
    SDPA,
    "the_newest_token_may_see_everything",
    "a_causal_row_is_the_attention_of_its_beginning",
    replaces="causal_mask",
)
def the_present_is_hidden(length: int) -> Tensor:
    """Let a position see what came before it, and not itself."""
    return torch.ones(length, length, dtype=torch.bool).tril(-1)


@mutant(SDPA, "a_causal_row_is_the_attention_of_its_beginning", replaces="causal_mask")
def one_token_of_the_future_is_seen(length: int) -> Tensor:
    """Move the diagonal up by one."""
    return torch.ones(length, length, dtype=torch.bool).tril(1)


@mutant(SDPA, "the_newest_token_may_see_everything", replaces="causal_mask")
def the_past_ends_at_thirty_two(length: int) -> Tensor:
    """Hide what lies more than thirty-two tokens back."""
    mask = torch.ones(length, length, dtype=torch.bool)
    return mask.tril() & mask.triu(-32)


@mutant(
    SDPA,
    "symbols_show_three_ways_to_mask_a_key",
    "a_causal_row_is_the_attention_of_its_beginning",
)
def weights_zeroed_and_not_normalised_again(
    query: Tensor, key: Tensor, value: Tensor, mask: Any = None
) -> tuple[Tensor, Tensor]:
    """Set masked weights to zero after the softmax, and leave it at that."""
    _, weights = scaled_dot_product_attention(query, key, value)
    if mask is not None:
        weights = torch.where(mask.expand(weights.shape), weights, torch.zeros_like(weights))
    return weights @ value, weights


@mutant(
    SDPA,
    "weights_may_be_set_to_zero_and_normalised_again",
    "weights_are_the_softmax_of_the_scaled_scores",
)
def no_score_is_far_below_another(
    query: Tensor, key: Tensor, value: Tensor, mask: Any = None
) -> tuple[Tensor, Tensor]:
    """Clamp scores to ±50, so that no weight is ever zero."""
    scores = (query @ key.mT / query.shape[-1] ** 0.5).clamp(-50, 50)
    weights = masked_softmax(scores, mask)
    return weights @ value, weights


@mutant("EncoderLayer", "the_last_row_of_one_layer_needs_no_mask")
class TheMaskIsUpsideDown(EncoderLayer):
    """Hide the past, where a mask hides the future."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return super().forward(x, None if mask is None else mask.mT)


@mutant("Encoder", "the_last_row_of_several_layers_needs_no_mask")
class OnlyTheLastLayerSeesTheMask(Encoder):
    """Mask in the last layer alone, whose last row needs no mask."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        for layer in self.layers[:-1]:
            x = layer(x)
        return self.norm(self.layers[-1](x, mask))


@mutant("Transformer", "a_cache_gives_what_recomputing_gives")
class TheSourceMaskIsForgottenAfterEight(Transformer):
    """Let the ninth step and those after it read the padding of the source."""

    def step(
        self, token: Tensor, memory: Tensor, cache: Any = None, source_mask: Any = None
    ) -> Any:
        steps, kept = cache or (0, None)
        shown = source_mask if steps < 8 else None
        logits, kept = super().step(token, memory, kept, shown)
        return logits, (steps + 1, kept)
