"""Models that remember, attend or are trained wrongly."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import reference
from properties.seq2seq import ATTENDING, PLAIN
from reference import AttentionSeq2Seq, Seq2Seq, Transformer
from tests.bugs import bug
from tests.mutants.attention_seq2seq import _Weighing as Weighing
from tests.mutants.transformer import COMPONENT as TRANSFORMER
from tests.mutants.transformer import Steps, visible

# --- Caches -------------------------------------------------------------------------------------


@bug(1, TRANSFORMER, "a_cache_gives_what_recomputing_gives")
class TheCausalMaskIsAlignedWithTheFirstKey(Transformer):
    """Take the newest token for the first one, which sees nothing but the first key."""

    def step(
        self, token: Tensor, memory: Tensor, cache: Any = None, source_mask: Any = None
    ) -> Any:
        usual, grown = super().step(token, memory, cache, source_mask)
        if cache is None:
            return usual, grown
        first = [(k[:, :1], v[:, :1]) for k, v in cache]
        x = self._embed(self.target_embedding, token[:, None], cache[0][0].shape[1])
        for layer, (keys, values) in zip(self.decoder.layers, first, strict=True):
            own = layer.self_attention
            heads, _ = reference.multi_head_attention(own.query(x), keys, values, own.n_heads)
            x = layer.self_attention_norm(x + own.output(heads))
            x = layer._after_self_attention(x, memory, visible(source_mask))
        return self.output(x[:, 0]), grown


@bug(
    18,
    TRANSFORMER,
    "a_cache_gives_what_recomputing_gives",
    "sequences_may_take_turns",
    sources=("lucidrains/x-transformers #219",),
)
class TheCachedPositionStartsAgain(Steps):
    """Place every token of a cached sequence at zero."""

    def place(self, x: Tensor, first: int) -> Tensor:
        return super().place(x, 0)


@bug(
    18,
    TRANSFORMER,
    "a_cache_gives_what_recomputing_gives",
    sources=("lucidrains/native-sparse-attention-pytorch #20",),
)
class TheCacheIsCompressedInBlocks(Transformer):
    """Keep the mean of every four keys and values that are complete, in the cache alone."""

    def step(
        self, token: Tensor, memory: Tensor, cache: Any = None, source_mask: Any = None
    ) -> Any:
        logits, cache = super().step(token, memory, cache, source_mask)
        return logits, [(self.compressed(k), self.compressed(v)) for k, v in cache]

    def compressed(self, kept: Tensor) -> Tensor:
        """Average whole blocks, and keep their length, from which the position is read."""
        whole = kept.shape[1] // 4 * 4
        blocks = kept[:, :whole].unflatten(1, (-1, 4))
        return torch.cat(
            [blocks.mean(2, keepdim=True).expand_as(blocks).flatten(1, 2), kept[:, whole:]], 1
        )


# --- Teacher forcing ----------------------------------------------------------------------------


@bug(
    31,
    PLAIN,
    "logits_see_the_tokens_before_and_none_after",
    "forcing_feeds_the_given_tokens_step_by_step",
)
class LogitsAreFilledInFromTheSecondOn(Seq2Seq):
    """Allocate logits for every token, begin at the second, and leave zeroes in the first place."""

    def forward(self, source, target_in, lengths=None):
        logits = super().forward(source, target_in, lengths)
        return torch.cat([torch.zeros_like(logits[:, :1]), logits[:, :-1]], 1)


@bug(
    31,
    PLAIN,
    "any_length_in_gives_any_length_out",
    "forcing_feeds_the_given_tokens_step_by_step",
)
class TheLastTokenIsFedAndAnswered(Seq2Seq):
    """Go on for as many steps as the target is long with both of its ends: one too many."""

    def forward(self, source, target_in, lengths=None):
        end = target_in[:, -1:]
        return super().forward(source, torch.cat([target_in, end], 1), lengths)


@bug(
    31,
    PLAIN,
    "logits_see_the_tokens_before_and_none_after",
    "the_probabilities_of_all_strings_sum_to_one",
    "forcing_feeds_the_given_tokens_step_by_step",
)
class TheTargetIsFedUnshifted(Seq2Seq):
    """Feed at t the token that the logits at t are compared with."""

    def forward(self, source, target_in, lengths=None):
        target = torch.cat([target_in[:, 1:], target_in[:, -1:]], 1)
        return super().forward(source, target, lengths)


# --- Attention in models with a state -----------------------------------------------------------


@bug(32, ATTENDING, "the_decoder_sees_every_state_of_the_encoder")
class PlacesAreScoredByTheDecoderAlone(Weighing):
    """Score as many places as a source may have, by a layer that reads the decoder alone."""

    longest = 1000

    def __init__(self, source_vocab: int, target_vocab: int, d_embed: int, d_hidden: int) -> None:
        super().__init__(source_vocab, target_vocab, d_embed, d_hidden)
        self.places = nn.Linear(d_hidden, self.longest)

    def weigh(self, state, memory, memory_mask):
        return self.softmax(self.places(state)[:, : memory.shape[1]], memory_mask)


@bug(
    33,
    ATTENDING,
    "the_width_of_the_padding_makes_no_difference",
    "weights_are_a_distribution_over_real_tokens",
    "padding_in_the_memory_is_out_of_reach",
)
class PaddingIsAttendedTo(AttentionSeq2Seq):
    """Leave the mask out."""

    def step(self, token, state, memory, memory_mask=None):
        return super().step(token, state, memory)


# --- The loss -----------------------------------------------------------------------------------

_LOSS = (
    "the_loss_does_not_depend_on_the_width_of_the_padding",
    "the_loss_is_the_mean_surprise_at_real_tokens",
)


@bug(35, PLAIN, *_LOSS, sources=("voidism/DiffCSE #25",), replaces="sequence_loss")
def padding_in_the_loss(logits, target, mask=None):
    """Count padding like any token."""
    return reference.sequence_loss(logits, target)


@bug(35, PLAIN, *_LOSS, sources=("d2l-ai/d2l-en #2707",), replaces="sequence_loss")
def divided_by_all_tokens(logits, target, mask=None):
    """Leave padding out of the sum, and count it in the mean."""
    real = target.numel() if mask is None else int(mask.sum())
    return reference.sequence_loss(logits, target, mask) * real / target.numel()
