"""Wrong models with attention; what both models from sequence to sequence do wrong is beside."""

from __future__ import annotations

import torch
from torch import nn

from properties.seq2seq import ATTENDING
from reference import AttentionSeq2Seq as Right
from tests.mutants import mutant

_SHARES = "weights_are_a_distribution_over_real_tokens"
_PADDING = "padding_in_the_memory_is_out_of_reach"
_MEMORY = "the_decoder_sees_every_state_of_the_encoder"
_MEAN = "the_decoder_gets_the_mean_by_its_weights"
_QUERY = "the_weights_depend_on_the_decoders_state"
_REFUTED = "state_and_token_decide_whatever_the_memory_holds"


@mutant(ATTENDING, _SHARES)
class PaddingGetsALittleWeight(Right):
    """Give padding a weight of e⁻²⁰ in place of none."""

    def step(self, token, state, memory, memory_mask=None):
        logits, state, weights = super().step(token, state, memory, memory_mask)
        return logits, state, weights.clamp_min(1e-9)


@mutant(ATTENDING, "the_width_of_the_padding_makes_no_difference")
class TheMaskIsLostWhenForced(Right):
    """Attend to padding in the plain call, and not in a step."""

    def _step_over(self, memory, source, lengths):
        return super()._step_over(memory, source, None)


@mutant(ATTENDING, _PADDING)
class MaskedAfterTheSoftmax(Right):
    """Take padding's weights away after they have taken their share of the sum."""

    def step(self, token, state, memory, memory_mask=None):
        logits, state, weights = super().step(token, state, memory)
        if memory_mask is not None:
            weights = torch.where(memory_mask, weights, 0.0)
        return logits, state, weights


@mutant(ATTENDING, _PADDING)
class TheMaskIsReadAsALength(Right):
    """Count what is allowed, and attend to as many positions from the first on."""

    def step(self, token, state, memory, memory_mask=None):
        if memory_mask is not None:
            memory_mask = torch.arange(memory.shape[1]) < memory_mask.sum(1, keepdim=True)
        return super().step(token, state, memory, memory_mask)


@mutant(ATTENDING, _MEAN)
class WeightsAreShownSharper(Right):
    """Square the weights before they are given out, and not before they are used."""

    def step(self, token, state, memory, memory_mask=None):
        logits, state, weights = super().step(token, state, memory, memory_mask)
        return logits, state, weights**2 / (weights**2).sum(-1, keepdim=True)


@mutant(ATTENDING, _MEAN)
class WeightsAreThoseOfTheNextStep(Right):
    """Give the weights that the new state would have, where the old one's were used."""

    def step(self, token, state, memory, memory_mask=None):
        logits, after, _ = super().step(token, state, memory, memory_mask)
        return logits, after, super().step(token, after, memory, memory_mask)[2]


@mutant(ATTENDING, _SHARES)
class WeightsOfHalf(Right):
    """Give weights that sum to one half."""

    def step(self, token, state, memory, memory_mask=None):
        logits, state, weights = super().step(token, state, memory, memory_mask)
        return logits, state, weights / 2


class _Weighing(Right):
    """Weigh the memory in another way, and do the rest right."""

    def weigh(self, state, memory, memory_mask):
        raise NotImplementedError

    def step(self, token, state, memory, memory_mask=None):
        weights = self.weigh(state, memory, memory_mask)
        context = (weights[..., None] * memory).sum(1)
        token_in = self.embedding(token)
        state = self.cell(torch.cat([token_in, context], -1), state)
        return self.output(torch.cat([state, token_in, context], -1)), state, weights

    def scores(self, query, memory):
        energy = torch.tanh(self.attention.query(query)[:, None] + self.attention.key(memory))
        return self.attention.energy(energy)[..., 0]

    def softmax(self, scores, memory_mask):
        if memory_mask is not None:
            scores = scores.masked_fill(~memory_mask, -torch.inf)
        return torch.softmax(scores, -1)


@mutant(ATTENDING, _MEAN)
class SharesThatDoNotAddUp(_Weighing):
    """Mix the memory by sigmoids, and give out softmaxes."""

    def step(self, token, state, memory, memory_mask=None):
        logits, after, _ = super().step(token, state, memory, memory_mask)
        return logits, after, self.softmax(self.scores(state, memory), memory_mask)

    def weigh(self, state, memory, memory_mask):
        shares = torch.sigmoid(self.scores(state, memory))
        return shares if memory_mask is None else shares * memory_mask


@mutant(ATTENDING, _MEMORY)
class WeightsIgnoreTheEncoder(_Weighing):
    """Score places in the source by the decoder's state alone."""

    def weigh(self, state, memory, memory_mask):
        places = torch.arange(memory.shape[1]).to(memory)[:, None].expand_as(memory[0])
        return self.softmax(self.scores(state, torch.sin(places)[None]), memory_mask)


@mutant(ATTENDING, _QUERY)
class WeightsIgnoreTheDecoder(_Weighing):
    """Score the encoder's states without asking for anything."""

    def weigh(self, state, memory, memory_mask):
        return self.softmax(self.scores(torch.zeros_like(state), memory), memory_mask)


@mutant(ATTENDING, _QUERY, _MEMORY, _SHARES)
class TheMeanForAttention(_Weighing):
    """Weigh all real tokens alike."""

    def weigh(self, state, memory, memory_mask):
        return self.softmax(0 * memory[..., 0], memory_mask)


@mutant(ATTENDING, _MEMORY)
class TheFirstTokenIsLeftOut(_Weighing):
    """Attend to all tokens but the first, where there are two or more."""

    def weigh(self, state, memory, memory_mask):
        real = torch.ones_like(memory[..., 0], dtype=torch.bool)
        real = real if memory_mask is None else memory_mask.clone()
        real[:, 0] = real.sum(1) == 1
        return self.softmax(self.scores(state, memory), real)


@mutant(ATTENDING, _MEMORY)
class EightTokensAreEnough(_Weighing):
    """Attend to the first eight tokens, and so to all of a short source."""

    def weigh(self, state, memory, memory_mask):
        near = torch.arange(memory.shape[1]).expand(memory.shape[:2]) < 8
        near = near if memory_mask is None else near & memory_mask
        return self.softmax(self.scores(state, memory), near)


@mutant(ATTENDING, _MEMORY)
class TheLikeliestPlaceAlone(_Weighing):
    """Take the one state with the highest score, and weigh it by a constant."""

    def weigh(self, state, memory, memory_mask):
        weights = self.softmax(self.scores(state, memory), memory_mask)
        hard = torch.zeros_like(weights).scatter(1, weights.argmax(1, keepdim=True), 1.0)
        last = torch.zeros_like(weights)
        last[:, 0] = 1.0
        return last if memory_mask is None else hard


@mutant(ATTENDING, "items_of_a_batch_do_not_mix", _PADDING)
class SoftmaxOverTheBatch(_Weighing):
    """Normalise over the items of the batch."""

    def weigh(self, state, memory, memory_mask):
        scores = self.scores(state, memory)
        weights = torch.softmax(scores, 0)
        return weights if memory_mask is None else weights * memory_mask


@mutant(ATTENDING, _REFUTED, _MEMORY)
class ADecoderWithoutAMemory(Right):
    """Compute the weights and then look at nothing."""

    def step(self, token, state, memory, memory_mask=None):
        _, _, weights = super().step(token, state, memory, memory_mask)
        logits, state, _ = super().step(token, state, torch.zeros_like(memory), memory_mask)
        return logits, state, weights


@mutant(ATTENDING, "a_step_depends_on_what_it_is_given_alone", _QUERY)
class WeightsComputedOnce(Right):
    """Keep the first weights over a source for all steps over it."""

    def encode(self, source, lengths=None):
        self.__dict__["kept"] = None
        return super().encode(source, lengths)

    def step(self, token, state, memory, memory_mask=None):
        mask = None if memory_mask is None else memory_mask[:, None]
        _, weights = self.attention(state[:, None], memory, memory, mask)
        kept = self.__dict__.get("kept")
        if kept is None or kept.shape != weights[:, 0].shape:
            kept = self.__dict__["kept"] = weights[:, 0].detach()
        context, token_in = (kept[..., None] * memory).sum(1), self.embedding(token)
        state = self.cell(torch.cat([token_in, context], -1), state)
        return self.output(torch.cat([state, token_in, context], -1)), state, kept


@mutant(ATTENDING, "a_step_depends_on_what_it_is_given_alone")
class TheMemoryIsThatOfTheLastSource(Right):
    """Attend to the source that was read last, whatever memory is given."""

    def encode(self, source, lengths=None):
        states, state = super().encode(source, lengths)
        self.__dict__["kept"] = states
        return states, state

    def step(self, token, state, memory, memory_mask=None):
        kept = self.__dict__.get("kept", memory)
        memory = kept if kept.shape == memory.shape else memory
        return super().step(token, state, memory, memory_mask)


@mutant(ATTENDING, "every_matrix_that_is_used_learns")
class WeightsAreDetached(_Weighing):
    """Let nothing be learned through the weights."""

    def weigh(self, state, memory, memory_mask):
        return self.softmax(self.scores(state, memory), memory_mask).detach()


@mutant(ATTENDING, _MEMORY)
class OnlyTheFirstThirtyStatesAreSeen(Right):
    """Let a source be long, and leave the rest of it out."""

    def step(self, token, state, memory, memory_mask=None):
        seen = memory_mask if memory_mask is None else memory_mask[:, :30]
        logits, state, weights = super().step(token, state, memory[:, :30], seen)
        return logits, state, nn.functional.pad(weights, (0, memory.shape[1] - weights.shape[1]))


@mutant(ATTENDING, "every_precision_computes_the_same_function")
class ScoresInHalfPrecision(_Weighing):
    """Score in bfloat16 what is in float32, where it is faster."""

    def weigh(self, state, memory, memory_mask):
        scores = self.scores(state, memory)
        if scores.dtype == torch.float32:
            scores = scores.bfloat16().float()
        return self.softmax(scores, memory_mask)
