"""Wrong Transformers: whole models that mask, place, remember or generate in the wrong way."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

import reference
from reference import Transformer, sinusoidal_positional_encoding
from reference.decoding import greedy
from tests.mutants import mutant

COMPONENT = "Transformer"


def visible(mask: Tensor | None) -> Tensor | None:
    """Give a source mask in the shape of an attention's."""
    return None if mask is None else mask[:, None, :]


class Steps(Transformer):
    """The reference, its embedding with a hook of its own; a mutant gets one of the parts wrong."""

    def place(self, x: Tensor, first: int) -> Tensor:
        """Add positions to embedded tokens (B, T, D), the first of which stands at ``first``."""
        length = first + x.shape[1]
        return x + sinusoidal_positional_encoding(length, x.shape[-1], x.dtype)[first:]

    def _embed(self, embedding: nn.Embedding, tokens: Tensor, first: int = 0) -> Tensor:
        return self.place(embedding(tokens) * math.sqrt(embedding.embedding_dim), first)


# --- Encoder ------------------------------------------------------------------------------------


@mutant(COMPONENT, "padding_of_the_source_cannot_reach_the_logits")
class TheEncoderReadsPadding(Transformer):
    """Leave the source mask to the decoder."""

    def encode(self, source: Tensor, source_mask: Tensor | None = None) -> Tensor:
        return super().encode(source)


@mutant(COMPONENT, "the_encoder_reads_in_both_directions")
class TheEncoderIsCausal(Transformer):
    """Hide the future of the source as well."""

    def encode(self, source: Tensor, source_mask: Tensor | None = None) -> Tensor:
        n = source.shape[1]
        mask = torch.ones(n, n, dtype=torch.bool).tril()
        seen = mask if source_mask is None else mask & source_mask[:, None, :]
        return self.encoder(self._embed(self.source_embedding, source), seen)


@mutant(COMPONENT, "every_layer_has_weights_of_its_own", "every_matrix_that_is_used_learns")
class TheMemoryIsThatOfTheFirstLayer(Transformer):
    """Hand out what the first encoder layer gave; the others run for nothing but a trace."""

    def encode(self, source: Tensor, source_mask: Tensor | None = None) -> Tensor:
        x = self._embed(self.source_embedding, source)
        first = self.encoder.layers[0](x, visible(source_mask))
        rest = self.encoder(x, visible(source_mask))
        return first + 1e-3 * rest.detach()


@mutant(COMPONENT, "every_token_reaches_the_logits", "padding_of_the_memory_is_not_read")
class OnlyTheLastRowOfTheMemoryIsRead(Transformer):
    """Condition the decoder on one vector, as a recurrent one would be."""

    def decode(
        self, target_in: Tensor, memory: Tensor, source_mask: Tensor | None = None
    ) -> Tensor:
        return super().decode(target_in, memory[:, -1:].expand_as(memory), source_mask)

    def encode(self, source: Tensor, source_mask: Tensor | None = None) -> Tensor:
        return self._embed(self.source_embedding, source)


@mutant(COMPONENT, "nothing_is_out_of_reach_in_a_long_sequence")
class TheEncoderHasAWindow(Transformer):
    """Let a token see sixteen tokens to either side."""

    def encode(self, source: Tensor, source_mask: Tensor | None = None) -> Tensor:
        place = torch.arange(source.shape[1])
        near = (place[:, None] - place).abs() <= 16
        seen = near if source_mask is None else near & source_mask[:, None, :]
        return self.encoder(self._embed(self.source_embedding, source), seen)


@mutant(COMPONENT, "padding_of_the_source_cannot_reach_the_logits")
class TheSourceMaskIsUpsideDown(Transformer):
    """Take True for padding, unless that would leave nothing."""

    def encode(self, source: Tensor, source_mask: Tensor | None = None) -> Tensor:
        if source_mask is not None:
            source_mask = torch.where(source_mask.all(-1, keepdim=True), source_mask, ~source_mask)
        return super().encode(source, source_mask)


# --- Decoder ------------------------------------------------------------------------------------


@mutant(
    COMPONENT,
    "later_target_tokens_do_not_change_earlier_logits",
    "a_beginning_gets_the_same_logits_alone",
    "the_logits_depend_on_the_source_and_on_what_was_said",
    "the_loss_compares_each_token_with_what_was_said_before_it",
    "the_probabilities_of_all_sequences_add_up_to_one",
    "nothing_that_follows_takes_part",
    "the_gradient_of_one_pass_is_that_of_all_beginnings",
)
class TheTargetIsNotShifted(Transformer):
    """Say at t what the token at t + 1 leads to: training sees what it is to predict."""

    def decode(
        self, target_in: Tensor, memory: Tensor, source_mask: Tensor | None = None
    ) -> Tensor:
        ahead = torch.cat([target_in[:, 1:], target_in[:, -1:]], 1)
        return super().decode(ahead, memory, source_mask)


def _with_mask(module: Transformer, x: Tensor, memory: Tensor, mask: Tensor, seen: Any) -> Tensor:
    """Run the decoder with a mask of its own in place of the causal one."""
    for layer in module.decoder.layers:
        attended = layer.self_attention(x, x, x, mask)[0]
        x = layer._after_self_attention(layer.self_attention_norm(x + attended), memory, seen)
    return module.output(x)


@mutant(
    COMPONENT,
    "later_target_tokens_do_not_change_earlier_logits",
    "a_beginning_gets_the_same_logits_alone",
    "a_cache_gives_what_recomputing_gives",
    "the_probabilities_of_all_sequences_add_up_to_one",
)
class TheMaskIsOffByOne(Transformer):
    """Let each token see the one after it."""

    def decode(
        self, target_in: Tensor, memory: Tensor, source_mask: Tensor | None = None
    ) -> Tensor:
        n = target_in.shape[1]
        mask = torch.ones(n, n, dtype=torch.bool).tril(1)
        x = self._embed(self.target_embedding, target_in)
        return _with_mask(self, x, memory, mask, visible(source_mask))


@mutant(COMPONENT, "later_target_tokens_do_not_change_earlier_logits")
class ALittleOfTheFutureLeaks(Transformer):
    """Centre the logits over the target: each is moved by all that follow, a little."""

    def decode(
        self, target_in: Tensor, memory: Tensor, source_mask: Tensor | None = None
    ) -> Tensor:
        logits = super().decode(target_in, memory, source_mask)
        return logits - 1e-9 * logits.mean(1, keepdim=True)


@mutant(COMPONENT, "later_target_tokens_do_not_change_earlier_logits")
class TheMaskEndsAtSixteen(Transformer):
    """Build the mask for sixteen tokens, and pad it with what allows everything."""

    def decode(
        self, target_in: Tensor, memory: Tensor, source_mask: Tensor | None = None
    ) -> Tensor:
        n = target_in.shape[1]
        mask = torch.ones(n, n, dtype=torch.bool)
        mask[:16, :16] = mask[:16, :16].tril()
        x = self._embed(self.target_embedding, target_in)
        return _with_mask(self, x, memory, mask, visible(source_mask))


@mutant(COMPONENT, "every_token_reaches_the_logits", "a_cache_gives_what_recomputing_gives")
class EachTokenSeesItselfAlone(Transformer):
    """Mask the past as well as the future."""

    def decode(
        self, target_in: Tensor, memory: Tensor, source_mask: Tensor | None = None
    ) -> Tensor:
        mask = torch.eye(target_in.shape[1], dtype=torch.bool)
        x = self._embed(self.target_embedding, target_in)
        return _with_mask(self, x, memory, mask, visible(source_mask))


@mutant(COMPONENT, "padding_of_the_memory_is_not_read")
class CrossAttentionReadsPadding(Transformer):
    """Forget the source mask in the decoder."""

    def decode(
        self, target_in: Tensor, memory: Tensor, source_mask: Tensor | None = None
    ) -> Tensor:
        return super().decode(target_in, memory)

    def step(
        self, token: Tensor, memory: Tensor, cache: Any = None, source_mask: Any = None
    ) -> Any:
        return super().step(token, memory, cache)


@mutant(COMPONENT, "padding_of_the_memory_is_not_read", "a_cache_gives_what_recomputing_gives")
class TheStepReadsPadding(Transformer):
    """Forget the source mask where there is a cache to think of."""

    def step(
        self, token: Tensor, memory: Tensor, cache: Any = None, source_mask: Any = None
    ) -> Any:
        return super().step(token, memory, cache)


@mutant(COMPONENT, "decoding_the_memory_gives_the_logits_of_the_whole")
class TheWholeForgetsTheMask(Transformer):
    """Pass the source mask to the encoder alone."""

    def forward(
        self, source: Tensor, target_in: Tensor, source_mask: Tensor | None = None
    ) -> Tensor:
        return self.decode(target_in, self.encode(source, source_mask))


@mutant(
    COMPONENT,
    "decoding_the_memory_gives_the_logits_of_the_whole",
    "every_token_reaches_the_logits",
    "padding_of_the_memory_is_not_read",
    "the_logits_depend_on_the_source_and_on_what_was_said",
    "nothing_that_follows_takes_part",
)
class TheMemoryIsBypassed(Transformer):
    """Decode from the target alone: a language model that never reads its source."""

    def decode(
        self, target_in: Tensor, memory: Tensor, source_mask: Tensor | None = None
    ) -> Tensor:
        return super().decode(
            target_in,
            torch.zeros(1, 1, self.output.in_features)
            .to(self.output.weight)
            .expand(target_in.shape[0], 1, -1),
        )

    def step(
        self, token: Tensor, memory: Tensor, cache: Any = None, source_mask: Any = None
    ) -> Any:
        return super().step(token, torch.zeros_like(memory), cache)


@mutant(COMPONENT, "padding_a_source_further_changes_nothing")
class TheMemoryIsScaledByItsLength(Transformer):
    """Divide by the number of tokens, padding among them."""

    def encode(self, source: Tensor, source_mask: Tensor | None = None) -> Tensor:
        return super().encode(source, source_mask) * (1 + 1e-6 * source.shape[1])


@mutant(COMPONENT, "padding_a_source_further_changes_nothing")
class AMaskThatAllowsEverythingHidesTheLastToken(Transformer):
    """Take one off every mask, since a source ends with a token that says so."""

    def forward(
        self, source: Tensor, target_in: Tensor, source_mask: Tensor | None = None
    ) -> Tensor:
        if source_mask is not None and source.shape[1] > 1:
            source_mask = source_mask & source_mask.roll(-1, 1) | (
                torch.arange(source.shape[1]) == 0
            )
        return super().forward(source, target_in, source_mask)


# --- Logits -------------------------------------------------------------------------------------


@mutant(COMPONENT, "logits_are_no_probabilities")
class TheLogitsAreProbabilities(Transformer):
    """End with a softmax, which the loss takes once more."""

    def decode(
        self, target_in: Tensor, memory: Tensor, source_mask: Tensor | None = None
    ) -> Tensor:
        return torch.softmax(super().decode(target_in, memory, source_mask), -1)

    def step(
        self, token: Tensor, memory: Tensor, cache: Any = None, source_mask: Any = None
    ) -> Any:
        logits, cache = super().step(token, memory, cache, source_mask)
        return torch.softmax(logits, -1), cache


@mutant(COMPONENT, "decoding_the_memory_gives_the_logits_of_the_whole")
class OnlyTheWholeEndsWithASoftmax(Transformer):
    """Turn logits into their logarithms of probabilities in one of two places."""

    def forward(
        self, source: Tensor, target_in: Tensor, source_mask: Tensor | None = None
    ) -> Tensor:
        return torch.log_softmax(super().forward(source, target_in, source_mask), -1)


# --- Positions ----------------------------------------------------------------------------------


@mutant(COMPONENT, "the_order_of_the_tokens_matters", "late_positions_are_told_apart_as_well")
class TheSourceHasNoPositions(Transformer):
    """Add positions to the target alone."""

    def encode(self, source: Tensor, source_mask: Tensor | None = None) -> Tensor:
        x = self.source_embedding(source) * math.sqrt(self.source_embedding.embedding_dim)
        return self.encoder(x, visible(source_mask))


@mutant(COMPONENT, "the_order_of_the_tokens_matters", "late_positions_are_told_apart_as_well")
class TheTargetHasNoPositions(Steps):
    """Add positions to the source alone."""

    def _embed(self, embedding: nn.Embedding, tokens: Tensor, first: int = 0) -> Tensor:
        if embedding is self.source_embedding:
            return super()._embed(embedding, tokens, first)
        return embedding(tokens) * math.sqrt(embedding.embedding_dim)


@mutant(COMPONENT, "the_number_of_heads_matters_to_both_halves")
class TheEncoderHasOneHead(Transformer):
    """Ignore the number of heads in the encoder."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        *_, width, _, hidden, layers = sizes
        self.encoder = reference.Encoder(width, 1, hidden, layers)


@mutant(COMPONENT, "the_number_of_heads_matters_to_both_halves")
class TheDecoderHasOneHead(Transformer):
    """Ignore the number of heads in the decoder."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        *_, width, _, hidden, layers = sizes
        self.decoder = reference.Decoder(width, 1, hidden, layers)


class _Loop(Transformer):
    """Generation step by step, with a hook for what each step is handed."""

    def handed(self, t: int, cache: Any, source_mask: Tensor | None) -> tuple[Any, Tensor | None]:
        """Give cache and mask as they are."""
        del t
        return cache, source_mask

    @torch.no_grad()
    def generate(self, source, bos, max_length, source_mask=None):
        memory, token = self.encode(source, source_mask), torch.full_like(source[:, 0], bos)
        cache, said = None, []
        for t in range(max_length):
            cache, mask = self.handed(t, cache, source_mask)
            logits, cache = self.step(token, memory, cache, mask)
            token = logits.argmax(-1)
            said.append(token)
        return torch.stack(said, 1)


@mutant(COMPONENT, "it_generates_what_is_likeliest_after_its_own_tokens")
class LaterStepsOfGenerationReadPadding(_Loop):
    """Mask the source in the first steps alone."""

    def handed(self, t, cache, source_mask):
        return cache, source_mask if t < 4 else None


@mutant(COMPONENT, "it_generates_what_is_likeliest_after_its_own_tokens")
class GenerationStartsAnewAfterSixteenTokens(_Loop):
    """Throw the cache away, once it is full."""

    def handed(self, t, cache, source_mask):
        return None if t % 16 == 0 else cache, source_mask


SINUSOIDS = "words_that_make_up_for_their_positions_are_all_alike"


@mutant(COMPONENT, SINUSOIDS)
class PositionsStartAtOne(Steps):
    """Give the first token the second row of the table, on both sides."""

    def place(self, x, first):
        return super().place(x, first + 1)


@mutant(COMPONENT, SINUSOIDS)
class TheTargetStartsAtOne(Steps):
    """Count the target from one, as if the start token were not there."""

    def _embed(self, embedding, tokens, first=0):
        return super()._embed(embedding, tokens, first + (embedding is self.target_embedding))


@mutant(COMPONENT, SINUSOIDS)
class PositionsComeAgainAfterThirtyThree(Steps):
    """Begin the table anew where it ends."""

    def place(self, x, first):
        rows = torch.arange(first, first + x.shape[1]) % 33
        return x + sinusoidal_positional_encoding(33, x.shape[-1], x.dtype)[rows]


@mutant(COMPONENT, SINUSOIDS)
class PositionsAreLearned(Transformer):
    """Add a table of random numbers, as long as anybody asks for."""

    def _embed(self, embedding, tokens, first=0):
        width = embedding.embedding_dim
        generator = torch.Generator().manual_seed(width)
        table = torch.randn(100, width, generator=generator).to(embedding.weight)
        return embedding(tokens) * math.sqrt(width) + table[first : first + tokens.shape[1]]


@mutant(COMPONENT, SINUSOIDS)
class CosinesComeFirst(Steps):
    """Swap the columns of each pair."""

    def place(self, x, first):
        table = super().place(torch.zeros_like(x), first)
        return x + table.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)


@mutant(COMPONENT, SINUSOIDS)
class EveryEncoderLayerAddsPositions(Steps):
    """Tell the places again before each layer of the encoder."""

    def encode(self, source, source_mask=None):
        x = self._embed(self.source_embedding, source)
        for i, layer in enumerate(self.encoder.layers):
            x = layer(self.place(x, 0) if i else x, visible(source_mask))
        return x


@mutant(COMPONENT, "late_positions_are_told_apart_as_well")
class PositionsEndAtSixteen(Steps):
    """Give all late tokens the last position that there is a row for."""

    def place(self, x: Tensor, first: int) -> Tensor:
        rows = torch.arange(first, first + x.shape[1]).clamp_max(15)
        return x + sinusoidal_positional_encoding(16, x.shape[-1], x.dtype)[rows]


# --- Steps --------------------------------------------------------------------------------------


@mutant(COMPONENT, "a_cache_gives_what_recomputing_gives")
class TheCacheForgetsWhatIsOld(Transformer):
    """Keep the last sixteen tokens, and count positions from there."""

    def step(
        self, token: Tensor, memory: Tensor, cache: Any = None, source_mask: Any = None
    ) -> Any:
        logits, cache = super().step(token, memory, cache, source_mask)
        return logits, [(k[:, -16:], v[:, -16:]) for k, v in cache]


@mutant(COMPONENT, "a_cache_gives_what_recomputing_gives", "the_cache_grows_with_every_token")
class TheCacheDoesNotGrow(Transformer):
    """Keep the newest token's keys and values alone."""

    def step(
        self, token: Tensor, memory: Tensor, cache: Any = None, source_mask: Any = None
    ) -> Any:
        logits, cache = super().step(token, memory, cache, source_mask)
        return logits, [(k[:, -1:], v[:, -1:]) for k, v in cache]


@mutant(COMPONENT, "sequences_may_take_turns")
class TheCacheIsTheModels(Transformer):
    """Remember in the model; a step without a cache begins anew."""

    def step(
        self, token: Tensor, memory: Tensor, cache: Any = None, source_mask: Any = None
    ) -> Any:
        own = getattr(self, "_remembered", None) if cache is not None else None
        logits, self._remembered = super().step(token, memory, own, source_mask)
        return logits, ()


@mutant(COMPONENT, "sequences_may_take_turns")
class TheLatestSequencesMask(Transformer):
    """Remember which tokens are real in the model, from the first step on."""

    def step(
        self, token: Tensor, memory: Tensor, cache: Any = None, source_mask: Any = None
    ) -> Any:
        if cache is None:
            self._real = source_mask
        return super().step(token, memory, cache, self._real)


@mutant(COMPONENT, "sequences_may_take_turns")
class AMemoryIsKnownByItsTensor(Transformer):
    """Keep what was made of a memory as long as the next one is the very same tensor."""

    def step(
        self, token: Tensor, memory: Tensor, cache: Any = None, source_mask: Any = None
    ) -> Any:
        if getattr(self, "_seen", None) is not memory:
            self._seen, self._kept = memory, memory.clone()
        return super().step(token, self._kept, cache, source_mask)


@mutant(COMPONENT, "sequences_may_take_turns")
class ANewSequenceBeginsWithTheOldOne(Transformer):
    """Never forget what an earlier sequence said, where the batch is the same."""

    def step(
        self, token: Tensor, memory: Tensor, cache: Any = None, source_mask: Any = None
    ) -> Any:
        last = getattr(self, "_last", None)
        if cache is None and last is not None and last[0][0].shape[0] == len(token):
            cache = last
        logits, self._last = super().step(token, memory, cache, source_mask)
        return logits, self._last


@mutant(COMPONENT, "a_cache_gives_what_recomputing_gives")
class TheCacheIsThatOfTheFirstItem(Transformer):
    """Let the whole batch look back at its first sequence."""

    def step(
        self, token: Tensor, memory: Tensor, cache: Any = None, source_mask: Any = None
    ) -> Any:
        logits, cache = super().step(token, memory, cache, source_mask)
        return logits, [(k[:1].expand_as(k), v[:1].expand_as(v)) for k, v in cache]


# --- Generation ---------------------------------------------------------------------------------


@mutant(COMPONENT, "it_generates_what_is_likeliest_after_its_own_tokens")
class TheStartTokenIsGenerated(Transformer):
    """Give the start token first, and one token less."""

    def generate(
        self, source: Tensor, bos: int, max_length: int, source_mask: Any = None
    ) -> Tensor:
        tokens = super().generate(source, bos, max_length, source_mask)
        return torch.cat([torch.full_like(tokens[:, :1], bos), tokens[:, :-1]], 1)


@mutant(
    COMPONENT,
    "it_generates_what_is_likeliest_after_its_own_tokens",
    "generation_takes_a_step_for_each_token",
)
class EveryTokenFollowsTheStartToken(Transformer):
    """Feed the start token again and again, instead of what was said."""

    def generate(
        self, source: Tensor, bos: int, max_length: int, source_mask: Any = None
    ) -> Tensor:
        memory, start = self.encode(source, source_mask), torch.full_like(source[:, 0], bos)

        def step(token: Tensor, cache: Any) -> Any:
            return self.step(start, memory, cache, source_mask)

        return greedy(step, None, start, max_length)


@mutant(COMPONENT, "it_generates_what_is_likeliest_after_its_own_tokens")
class TheSecondLikeliestIsChosenLate(Transformer):
    """Avoid what was said most recently, from the fifth token on."""

    def generate(
        self, source: Tensor, bos: int, max_length: int, source_mask: Any = None
    ) -> Tensor:
        memory, said = self.encode(source, source_mask), []
        token, cache = torch.full_like(source[:, 0], bos), None
        for t in range(max_length):
            logits, cache = self.step(token, memory, cache, source_mask)
            if t >= 4:
                logits = logits.scatter(1, token[:, None], -torch.inf)
            token = logits.argmax(-1)
            said.append(token)
        return torch.stack(said, 1)


@mutant(COMPONENT, "it_generates_what_is_likeliest_after_its_own_tokens")
class GenerationReadsPadding(Transformer):
    """Forget the source mask while generating."""

    def generate(
        self, source: Tensor, bos: int, max_length: int, source_mask: Any = None
    ) -> Tensor:
        return super().generate(source, bos, max_length)


@mutant(
    COMPONENT,
    "a_shorter_generation_is_the_beginning_of_a_longer_one",
    "it_generates_what_is_likeliest_after_its_own_tokens",
)
class TheLengthIsPartOfTheStart(Transformer):
    """Begin with another token where much is asked for."""

    def generate(
        self, source: Tensor, bos: int, max_length: int, source_mask: Any = None
    ) -> Tensor:
        start = (bos + max_length // 2) % self.output.out_features
        return super().generate(source, start, max_length, source_mask)


@mutant(
    COMPONENT,
    "every_sequence_is_generated_by_itself",
    "it_generates_what_is_likeliest_after_its_own_tokens",
)
class TheBatchVotes(Transformer):
    """Choose one token for the whole batch, by the sum of its logits."""

    def generate(
        self, source: Tensor, bos: int, max_length: int, source_mask: Any = None
    ) -> Tensor:
        memory = self.encode(source, source_mask)

        def step(token: Tensor, cache: Any) -> Any:
            logits, cache = self.step(token, memory, cache, source_mask)
            return logits.sum(0, keepdim=True).expand_as(logits), cache

        return greedy(step, None, torch.full_like(source[:, 0], bos), max_length)


@mutant(COMPONENT, "generation_takes_a_step_for_each_token")
class GenerationComputesEverythingAgain(Transformer):
    """Decode all that was said for every token, without a step; right, and not what is counted."""

    def generate(
        self, source: Tensor, bos: int, max_length: int, source_mask: Any = None
    ) -> Tensor:
        memory = self.encode(source, source_mask)
        said = source.new_full((len(source), 1), bos)
        for _ in range(max_length):
            best = self.decode(said, memory, source_mask)[:, -1:].argmax(-1)
            said = torch.cat([said, best], 1)
        return said[:, 1:]


# --- Defaults that remember ---------------------------------------------------------------------


@mutant(COMPONENT, "a_cache_gives_what_recomputing_gives", "sequences_may_take_turns")
class EverySequenceStartsFromOneList(Transformer):
    """Gather what was said in a default, which the sequence before has filled."""

    def step(
        self,
        token: Tensor,
        memory: Tensor,
        cache: Any = None,
        source_mask: Any = None,
        start: list[Tensor] = [],  # noqa: B006 - which is the mistake
    ) -> Any:
        said = start if cache is None else cache
        said.append(token)
        return self.decode(torch.stack(said, 1), memory, source_mask)[:, -1], said


@mutant(COMPONENT, "a_cache_gives_what_recomputing_gives", "sequences_may_take_turns")
class StepsKeepAMemoryOfEverySize(Transformer):
    """Keep memories by their size in a default, and answer an earlier source of the size."""

    def step(
        self,
        token: Tensor,
        memory: Tensor,
        cache: Any = None,
        source_mask: Any = None,
        kept: dict[Any, Tensor] = {},  # noqa: B006 - which is the mistake
    ) -> Any:
        memory = kept.setdefault((memory.shape, memory.dtype), memory)
        return super().step(token, memory, cache, source_mask)


# --- Parameters and cost ------------------------------------------------------------------------


@mutant(COMPONENT, "each_sublayer_has_weights_of_its_own")
class OutputsGoThroughTheQueriesMatrix(Transformer):
    """Use the matrix of the queries once more for what the heads of the encoder say."""

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        for layer in self.encoder.layers:
            layer.attention.output = layer.attention.query


@mutant(COMPONENT, "every_layer_has_weights_of_its_own")
class OneLayerIsUsedAgainAndAgain(Transformer):
    """Multiply a list of one layer."""

    def __init__(self, *sizes: int, **options: Any) -> None:
        super().__init__(*sizes, **options)
        n_layers = sizes[5]
        self.encoder.layers = nn.ModuleList([self.encoder.layers[0]] * n_layers)
        self.decoder.layers = nn.ModuleList([self.decoder.layers[0]] * n_layers)


@mutant(COMPONENT, "every_layer_has_weights_of_its_own")
class BothSidesShareTheirFeedForwardNetworks(Transformer):
    """Give a layer of the decoder the network of the encoder's layer beside it."""

    def __init__(self, *sizes: int, **options: Any) -> None:
        super().__init__(*sizes, **options)
        for one, other in zip(self.encoder.layers, self.decoder.layers, strict=True):
            other.feed_forward = one.feed_forward


@mutant(COMPONENT, "every_layer_has_weights_of_its_own")
class FeedForwardNetworksAreShared(Transformer):
    """Give every layer attentions of its own, and all of them one feed-forward network."""

    def __init__(self, *sizes: int, **options: Any) -> None:
        super().__init__(*sizes, **options)
        for stack in (self.encoder, self.decoder):
            for layer in stack.layers:
                layer.feed_forward = stack.layers[0].feed_forward


@mutant(COMPONENT, "every_layer_has_weights_of_its_own")
class LaterLayersAreNotRegistered(Transformer):
    """Keep all layers but the first in a plain list, where no optimiser finds them."""

    def __init__(self, *sizes: int, **options: Any) -> None:
        super().__init__(*sizes, **options)
        for stack in (self.encoder, self.decoder):
            layers = list(stack.layers)
            del stack.layers
            stack.first = layers[0]
            object.__setattr__(stack, "layers", layers)

    def _apply(self, fn: Any, *rest: Any) -> Any:
        for stack in (self.encoder, self.decoder):
            for layer in stack.layers[1:]:
                layer._apply(fn)
        return super()._apply(fn, *rest)


@mutant(COMPONENT, "every_matrix_that_is_used_learns", "gradients_agree_with_finite_differences")
class TheMemoryIsDetached(Transformer):
    """Train the decoder alone."""

    def encode(self, source: Tensor, source_mask: Tensor | None = None) -> Tensor:
        return super().encode(source, source_mask).detach()


@mutant(COMPONENT, "it_generates_what_is_likeliest_after_its_own_tokens")
class AnEarlierSourceOfTheSizeIsAnswered(Transformer):
    """Keep what was to be answered, by its size."""

    def generate(
        self, source: Tensor, bos: int, max_length: int, source_mask: Tensor | None = None
    ) -> Tensor:
        kept = self.__dict__.setdefault("kept", {})
        first = kept.setdefault(source.shape, source)
        return super().generate(first, bos, max_length, source_mask)


@mutant(COMPONENT, "late_positions_are_told_apart_as_well")
class PositionsEndAtTwenty(Transformer):
    """Give all tokens from the twenty-first on one position."""

    def _embed(self, embedding: nn.Module, tokens: Tensor, first: int = 0) -> Tensor:
        x = embedding(tokens) * math.sqrt(embedding.embedding_dim)
        table = reference.sinusoidal_positional_encoding(21, x.shape[-1], x.dtype)
        return x + table[(first + torch.arange(tokens.shape[1])).clamp(max=20)]


@mutant(COMPONENT, "every_matrix_that_is_used_learns")
class TheTargetEmbeddingIsFrozen(Transformer):
    """Look up target tokens outside of autograd."""

    def decode(
        self, target_in: Tensor, memory: Tensor, source_mask: Tensor | None = None
    ) -> Tensor:
        with torch.no_grad():
            x = self._embed(self.target_embedding, target_in)
        return self.output(self.decoder(x, memory, memory_mask=visible(source_mask)))


@mutant(COMPONENT, "known_tokens_are_processed_at_once")
class TrainingTakesOneStepAfterAnother(Transformer):
    """Decode a known target through the cache, token by token."""

    def decode(
        self, target_in: Tensor, memory: Tensor, source_mask: Tensor | None = None
    ) -> Tensor:
        said, cache = [], None
        for t in range(target_in.shape[1]):
            logits, cache = self.step(target_in[:, t], memory, cache, source_mask)
            said.append(logits)
        return torch.stack(said, 1)


@mutant(COMPONENT, "the_same_call_gives_the_same_result")
class DropoutIsLeftOn(Steps):
    """Drop some of what is embedded, in evaluation as well."""

    def place(self, x: Tensor, first: int) -> Tensor:
        return torch.dropout(super().place(x, first), 0.1, train=True)


@mutant(COMPONENT, "recording_gradients_changes_no_result")
class TrainingReadsNoPositions(Steps):
    """Compute otherwise while gradients are recorded."""

    def place(self, x: Tensor, first: int) -> Tensor:
        return x if torch.is_grad_enabled() else super().place(x, first)


@mutant(
    COMPONENT,
    "pre_norm_leaves_one_path_without_weights",
    "post_norm_lets_a_gradient_through_any_depth",
)
class TheNormsAreSwapped(Transformer):
    """Take pre-norm for post-norm."""

    def __init__(self, *sizes: int, pre_norm: bool = False) -> None:
        super().__init__(*sizes, pre_norm=not pre_norm)


# --- The loss -----------------------------------------------------------------------------------


@mutant(
    COMPONENT,
    "the_loss_compares_each_token_with_what_was_said_before_it",
    "the_gradient_of_one_pass_is_that_of_all_beginnings",
    replaces="sequence_loss",
)
def the_loss_shifts_once_more(logits: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Compare what is said at t with token t + 1, though the target was shifted already."""
    if target.shape[1] == 1:
        return reference.sequence_loss(logits, target, mask)
    return reference.sequence_loss(
        logits[:, :-1], target[:, 1:], None if mask is None else mask[:, 1:]
    )


@mutant(
    COMPONENT,
    "the_gradient_of_one_pass_is_that_of_all_beginnings",
    "the_loss_compares_each_token_with_what_was_said_before_it",
    replaces="sequence_loss",
)
def every_sequence_is_averaged_first(
    logits: Tensor, target: Tensor, mask: Tensor | None = None
) -> Tensor:
    """Average over each sequence, and then over the batch."""
    losses = [
        reference.sequence_loss(
            logits[b : b + 1], target[b : b + 1], None if mask is None else mask[b : b + 1]
        )
        for b in range(target.shape[0])
    ]
    return sum(losses[1:], start=losses[0]) / len(losses)


@mutant(
    COMPONENT,
    "the_loss_compares_each_token_with_what_was_said_before_it",
    replaces="sequence_loss",
)
def padding_counts_in_the_mean(
    logits: Tensor, target: Tensor, mask: Tensor | None = None
) -> Tensor:
    """Divide by the number of all tokens, padding among them."""
    loss = reference.sequence_loss(logits, target, mask)
    return loss if mask is None else loss * (mask.sum() / mask.numel())


# --- Beyond the sizes that one tries first ------------------------------------------------------


@mutant(COMPONENT, "positions_do_not_begin_again")
class PositionsComeAgainAfterSixtyFour(Steps):
    """Begin the table anew where it ends."""

    def place(self, x, first):
        rows = torch.arange(first, first + x.shape[1]) % 64
        return x + sinusoidal_positional_encoding(64, x.shape[-1], x.dtype)[rows]


@mutant(COMPONENT, "positions_do_not_begin_again")
class PositionsStayAtSixtyThree(Steps):
    """Give the last row of the table to all that is beyond it."""

    def place(self, x, first):
        rows = torch.arange(first, first + x.shape[1]).clamp(max=63)
        return x + sinusoidal_positional_encoding(64, x.shape[-1], x.dtype)[rows]


@mutant(COMPONENT, "a_long_answer_is_as_likely_to_its_end")
class GenerationForgetsItsBeginning(Transformer):
    """Read the last thirty-two tokens alone, from the first position on."""

    @torch.no_grad()
    def generate(self, source, bos, max_length, source_mask=None):
        memory, said = self.encode(source, source_mask), torch.full_like(source[:, :1], bos)
        for _ in range(max_length):
            logits = self.decode(said[:, -32:], memory, source_mask)
            said = torch.cat([said, logits[:, -1:].argmax(-1)], 1)
        return said[:, 1:]


@mutant(COMPONENT, "every_layer_has_weights_of_its_own")
class TheFifthLayerIsTheFourth(Transformer):
    """Make four layers of a decoder, and use the last one for all that follow."""

    def __init__(self, *sizes: int, pre_norm: bool = False) -> None:
        super().__init__(*sizes, pre_norm=pre_norm)
        layers = self.decoder.layers
        for index in range(4, len(layers)):
            layers[index] = layers[3]
