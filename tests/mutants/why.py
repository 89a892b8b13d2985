"""Mistakes about what grows with the length, and about what takes any tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from reference import ElmanCell, Encoder, MultiHeadAttention
from tests.mutants import mutant


@mutant(
    "Transformer",
    "two_recurrent_units_know_the_parity_of_any_string",
    replaces="ElmanCell",
)
class TheStateIsHeldBack(ElmanCell):
    """Keep a little of the old state, and so never be exactly right."""

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        return 0.999 * super().forward(x, state) + 0.001 * state


@mutant(
    "Transformer",
    "the_cache_grows_with_every_token",
    replaces="ElmanCell",
)
class TheStateKeepsItsPast(ElmanCell):
    """Put every state behind the ones before it."""

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        newest = super().forward(x, state[:, -self.d_hidden :])
        return torch.cat([state, newest], -1)


@mutant("MultiHeadAttention", "the_scores_number_the_square_of_the_length")
class KeysArePooledInPairs(MultiHeadAttention):
    """Let long sequences attend to every other key."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Any = None) -> Any:
        if key.shape[1] > 8:
            key, value = key[:, ::2], value[:, ::2]
        return super().forward(query, key, value, mask)


@mutant("Encoder", "the_same_layers_take_words_and_patches")
class TheLengthIsBuiltIn(Encoder):
    """Fill short sequences up to a length that is part of the code, and let them be read so."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        n = x.shape[1]
        if mask is not None or n >= 16:
            return super().forward(x, mask)
        filled = torch.cat([x, x.new_zeros(x.shape[0], 16 - n, x.shape[2])], 1)
        return super().forward(filled)[:, :n]


@mutant("Encoder", "the_same_layers_take_words_and_patches")
class ALittleDependsOnTheNumberOfTokens(Encoder):
    """Scale the input by the number of tokens."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return super().forward(x * (1 + 1e-6 * x.shape[1]), mask)
