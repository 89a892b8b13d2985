"""Wrong models from sequence to sequence, and wrong parts that proofs about them take beside."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import reference
from properties.seq2seq import ATTENDING, PLAIN
from reference import padding_mask
from tests.mutants import Mutant, mutant

MUTANTS: list[Mutant] = []


def mistaken(
    *killers: str, plain: tuple[str, ...] = (), attending: tuple[str, ...] = ()
) -> Callable[[type], type]:
    """Declare what one or both of the models do wrong: a class that goes before theirs.

    Args:
        killers: the properties that notice it in either model.
        plain: further ones that notice it in the plain model.
        attending: further ones that notice it in the model with attention.
    """

    def declare(mistake: type) -> type:
        for component, own in ((PLAIN, plain), (ATTENDING, attending)):
            right = getattr(reference, component)
            wrong = type(mistake.__name__, (mistake, right), {"__doc__": mistake.__doc__})
            named = (*killers, *own)
            if named:
                MUTANTS.append(Mutant(mistake.__name__, component, wrong, named))
        return mistake

    return declare


def only(component: str, *killers: str) -> Callable[[type], type]:
    """Declare what one of the models alone does wrong."""
    named = {"plain": killers} if component == PLAIN else {"attending": killers}
    return mistaken(**named)


def mapped(state: Any, function: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(state, tuple):
        return tuple(mapped(part, function) for part in state)
    return function(state)


# --- How the source is read ---------------------------------------------------------------------


@mistaken("states_do_not_see_later_tokens", plain=("states_are_the_cells_own_in_reading_order",))
class BothDirectionsRead:
    """Read the source backwards, too, and add what was seen."""

    def encode(self, source, lengths=None):
        states, state = super().encode(source, lengths)
        backwards, _ = super().encode(source.flip(1))
        return states + backwards.flip(1), state


@mistaken(
    "states_do_not_see_later_tokens",
    "the_first_token_reaches_every_state",
    plain=(
        "states_are_the_cells_own_in_reading_order",
        "every_earlier_token_moves_a_state",
        "the_summary_is_the_state_after_the_last_real_token",
    ),
)
class TheSourceIsReadBackwards:
    """Read from the end, as Sutskever does, and give states as if it had been from the start."""

    def encode(self, source, lengths=None):
        states, state = super().encode(source.flip(1), lengths)
        return states.flip(1), state


@mistaken("states_do_not_see_later_tokens")
class StatesOneTokenLate:
    """Give with each token the state after the next one."""

    def encode(self, source, lengths=None):
        states, state = super().encode(source, lengths)
        return torch.cat([states[:, 1:], states[:, -1:]], 1), state


@mistaken("states_do_not_see_later_tokens")
class StatesCentredALittleOverTheSource:
    """Take a millionth of the mean over the source away from each state."""

    def encode(self, source, lengths=None):
        states, state = super().encode(source, lengths)
        return states - 1e-6 * states.mean(1, keepdim=True), state


@mistaken("each_source_is_read_as_if_it_were_alone")
class StatesScaledByTheLongestSource:
    """Let the largest length of the batch into all states."""

    def encode(self, source, lengths=None):
        states, state = super().encode(source, lengths)
        longest = source.shape[1] if lengths is None else lengths.max()
        return states * (1 + 1e-6 * longest), state


@mistaken("states_do_not_see_later_tokens")
class TheLastTokenLeaksIntoLongSources:
    """Let the last token into the first state of sources of more than four tokens."""

    def encode(self, source, lengths=None):
        states, state = super().encode(source, lengths)
        if source.shape[1] > 4:
            states = torch.cat([states[:, :1] + 1e-9 * states[:, -1:], states[:, 1:]], 1)
        return states, state


@mistaken(
    "the_first_token_reaches_every_state",
    plain=(
        "states_are_the_cells_own_in_reading_order",
        "every_earlier_token_moves_a_state",
        "the_summary_is_the_state_after_the_last_real_token",
        "more_sources_than_states_collide",
        "one_exact_number_holds_sixty_tokens",
    ),
)
class TheStateIsResetEveryStep:
    """Start from zero at every token, so that a state knows one token alone."""

    def encode(self, source, lengths=None):
        cell, x = self.encoder.cell, self.encoder.embedding(source)
        states = [cell(x[:, t], cell.initial(len(source))) for t in range(source.shape[1])]
        states = torch.stack([cell.hidden(state) for state in states], 1)
        last = source.shape[1] - 1 if lengths is None else lengths - 1
        final = states[torch.arange(len(source)), last]
        return states, torch.tanh(self.start(final)) if hasattr(self, "start") else final


@mistaken("the_first_token_reaches_every_state", plain=("one_exact_number_holds_sixty_tokens",))
class TheFirstTokenIsForgottenAfterFour:
    """Read only the last four tokens before each, so that short sources come out right."""

    def encode(self, source, lengths=None):
        states = []
        for t in range(source.shape[1]):
            window, state = super().encode(source[:, max(0, t - 3) : t + 1])
            states.append(window[:, -1])
        if lengths is not None:
            _, state = super().encode(source, lengths)
        return torch.stack(states, 1), state


@mistaken("every_token_of_a_long_source_is_read")
class NothingIsReadAfterTheSixteenth:
    """Let states stay as they are from the seventeenth token on."""

    def encode(self, source, lengths=None):
        states, state = super().encode(source[:, :16], lengths)
        rest = source.shape[1] - 16
        if rest > 0:
            states = torch.cat([states, states[:, -1:].expand(-1, rest, -1)], 1)
        return states, state


# --- What is left of it at the end --------------------------------------------------------------


@mistaken(
    "what_stands_in_the_padding_makes_no_difference",
    "the_width_of_the_padding_makes_no_difference",
    plain=("the_summary_is_the_state_after_the_last_real_token",),
)
class TheStateAfterThePadding:
    """Read the padding as if it were real."""

    def encode(self, source, lengths=None):
        states, _ = super().encode(source, lengths)
        return states, super().encode(source)[1]


@mistaken("the_width_of_the_padding_makes_no_difference")
class TheStateScaledByThePaddedWidth:
    """Scale the state by the width of the batch, which has nothing to do with a source."""

    def encode(self, source, lengths=None):
        states, state = super().encode(source, lengths)
        return states, mapped(state, lambda part: part / source.shape[1])


@only(PLAIN, "the_summary_has_one_size_for_every_length")
class TheStateHoldsAllStates:
    """Hand every state of the encoder to the decoder."""

    def encode(self, source, lengths=None):
        states, state = super().encode(source, lengths)
        return states, (state, states)

    def step(self, token, state):
        hidden, states = state
        logits, hidden = super().step(token, hidden + states.mean(1))
        return logits, (hidden, states)


@only(
    PLAIN,
    "the_source_reaches_the_first_logits",
    "the_decoder_starts_from_the_last_state",
    "the_summary_is_the_state_after_the_last_real_token",
    "the_summary_has_one_size_for_every_length",
    "the_plain_models_context_is_the_last_state",
    "the_logits_contain_the_source_in_the_last_state_alone",
    "more_sources_than_states_collide",
)
class TheDecoderStartsFromZero:
    """Start the decoder from zeroes, whatever was read."""

    def encode(self, source, lengths=None):
        states, _ = super().encode(source, lengths)
        return states, torch.zeros_like(states[:, 0])


@only(
    PLAIN,
    "the_plain_models_context_is_the_last_state",
    "the_summary_has_one_size_for_every_length",
    "the_width_of_the_padding_makes_no_difference",
)
class TheDecoderStartsFromTheFirstState:
    """Take the state after the first token for the last."""

    def encode(self, source, lengths=None):
        states, _ = super().encode(source, lengths)
        return states, states[:, 0]


@mistaken("the_first_token_reaches_every_state")
class TheReaderStartsAnewAfterTwenty:
    """Read a long source in pieces, and hand nothing from one to the next."""

    def encode(self, source, lengths=None):
        if lengths is not None or source.shape[1] <= 20:
            return super().encode(source, lengths)
        first, _ = super().encode(source[:, :20])
        rest, state = self.encode(source[:, 20:])
        return torch.cat([first, rest], 1), state


@mistaken("the_source_reaches_the_first_logits", "the_first_token_reaches_every_state")
class TheSourceIsNotRead:
    """Read as many tokens as there are, all of them the first of the vocabulary."""

    def encode(self, source, lengths=None):
        return super().encode(torch.zeros_like(source), lengths)


@only(PLAIN, "every_matrix_that_is_used_learns")
class TheContextIsDetached:
    """Cut the encoder off from learning."""

    def encode(self, source, lengths=None):
        states, state = super().encode(source, lengths)
        return states, mapped(state, torch.detach)


@only(ATTENDING, "every_matrix_that_is_used_learns")
class EncoderIsDetached:
    """Cut the encoder off from learning."""

    def encode(self, source, lengths=None):
        states, state = super().encode(source, lengths)
        return states.detach(), mapped(state, torch.detach)


# --- What the decoder makes of it ---------------------------------------------------------------


@mistaken("logits_are_not_normalised")
class LogProbabilitiesForLogits:
    """Take the softmax's logarithm before the loss does."""

    def step(self, *given):
        logits, *rest = super().step(*given)
        return torch.log_softmax(logits, -1), *rest


@mistaken("logits_are_not_normalised")
class ProbabilitiesForLogits:
    """Give what softmax should make of the logits."""

    def step(self, *given):
        logits, *rest = super().step(*given)
        return torch.softmax(logits, -1), *rest


@mistaken(
    "the_first_logits_depend_on_the_state",
    plain=(
        "whoever_gets_the_state_gets_the_output",
        "the_decoder_starts_from_the_last_state",
        "the_next_state_is_the_cells_own",
        "no_step_but_the_first_takes_the_context",
        "the_context_reaches_later_logits_through_the_states",
        "the_influence_of_the_context_is_a_product_of_jacobians",
    ),
    attending=("the_weights_depend_on_the_decoders_state",),
)
class EveryStepStartsFromZero:
    """Begin every step from a state of zeroes."""

    def step(self, token, state, *memory):
        zeroes = state * 0 if not isinstance(state, Tensor) else torch.zeros_like(state)
        return super().step(token, zeroes, *memory)


@only(PLAIN, "the_context_reaches_later_logits_through_the_states")
class TheStateIsDetachedAfterEachStep:
    """Learn from the newest step alone, as truncated backpropagation does at length one."""

    def step(self, token, state):
        logits, state = super().step(token, state)
        return logits, state.detach()


@only(PLAIN, "whoever_gets_the_state_gets_the_output")
class StatesAreMixedOverTheBatch:
    """Weigh the item by its place in the batch."""

    def step(self, token, state):
        place = 1 + 1e-6 * torch.arange(len(token)).to(state)[:, None]
        return super().step(token, state * place)


@only(ATTENDING, "the_memory_is_what_its_tensor_holds")
class AMemoryIsKnownByItsTensor:
    """Keep what was made of a memory as long as the next one is the very same tensor."""

    def step(self, token, state, memory, memory_mask=None):
        if getattr(self, "seen", None) is not memory:
            self.seen, self.kept = memory, memory.clone()
        return super().step(token, state, self.kept, memory_mask)


@mistaken("a_step_leaves_the_state_that_it_is_given")
class AStepOverwritesTheState:
    """Spare the memory of another state, where no gradients need the old one."""

    def step(self, token, state, *memory):
        logits, after, *weights = super().step(token, state, *memory)
        if not torch.is_grad_enabled():
            after = state.copy_(after)
        return logits, after, *weights


@only(PLAIN, "whoever_gets_the_state_gets_the_output")
class TheNextStateIsTheLastOne:
    """Give back the state that came in."""

    def step(self, token, state):
        return super().step(token, state)[0], state


@only(
    PLAIN,
    "a_step_depends_on_what_it_is_given_alone",
    "more_sources_than_states_collide",
    "the_logits_contain_the_source_in_the_last_state_alone",
    "the_next_state_is_the_cells_own",
)
class AHiddenSkipToTheEncoder:
    """Keep the encoder's states in the module, and look at their mean in every step."""

    def encode(self, source, lengths=None):
        states, state = super().encode(source, lengths)
        self.kept = states.mean(1)
        return states, state

    def step(self, token, state):
        kept = getattr(self, "kept", state)
        return super().step(token, state + kept if len(kept.shape) == 2 else state)


@only(
    PLAIN,
    "no_step_but_the_first_takes_the_context",
    "the_influence_of_the_context_is_a_product_of_jacobians",
)
class TheContextIsKeptInTheModule:
    """Keep the first state that a step was given, and add some of it to every later one."""

    def step(self, token, state):
        kept = self.__dict__.setdefault("kept", state)
        if tuple(kept.shape) != tuple(state.shape):
            return super().step(token, state)
        return super().step(token, state + kept * 0.5)


@mistaken("a_step_depends_on_what_it_is_given_alone")
class TheStateLeaksIntoTheNextSequence:
    """Remember what was decoded before, and let a little of it into the next sequence."""

    def step(self, token, state, *memory):
        before = self.__dict__.get("before")
        if before is not None and before.shape == state.shape:
            state = state + 1e-6 * before
        logits, after, *weights = super().step(token, state, *memory)
        self.__dict__["before"] = after.detach()
        return logits, after, *weights


# --- Teacher forcing ----------------------------------------------------------------------------


@mistaken(
    "the_probabilities_of_all_strings_sum_to_one",
    "logits_see_the_tokens_before_and_none_after",
    "forcing_feeds_the_given_tokens_step_by_step",
    plain=("one_mistake_in_a_running_sum_spoils_all_that_follows",),
)
class TheTargetIsNotShifted:
    """Feed the token that the logits are about: the input moved one to the left."""

    def forward(self, source, target_in, lengths=None):
        moved = torch.cat([target_in[:, 1:], target_in[:, :1]], 1)
        return super().forward(source, moved, lengths)


@mistaken(
    "forcing_feeds_the_given_tokens_step_by_step",
    "logits_see_the_tokens_before_and_none_after",
    plain=("one_mistake_in_a_running_sum_spoils_all_that_follows",),
)
class TrainingFeedsItsOwnTokens:
    """Feed the likeliest token in training, too."""

    def forward(self, source, target_in, lengths=None):
        memory, state = self.encode(source, lengths)
        mask = None if lengths is None else padding_mask(lengths, source.shape[1])
        given = (memory, mask) if hasattr(self, "attention") else ()
        token, logits = target_in[:, 0], []
        for _ in range(target_in.shape[1]):
            after, state, *_ = self.step(token, state, *given)
            token = after.argmax(-1)
            logits.append(after)
        return torch.stack(logits, 1)


@mistaken("logits_see_the_tokens_before_and_none_after")
class LaterTokensLeakThroughAMean:
    """Take a billionth of the logits' mean over the target away, which knows the future."""

    def forward(self, *given):
        logits = super().forward(*given)
        return logits - 1e-9 * logits.mean(1, keepdim=True)


@mistaken("logits_see_the_tokens_before_and_none_after")
class TheStateIsKeptForTwoTokens:
    """Forget what was fed more than two tokens ago."""

    def forward(self, source, target_in, lengths=None):
        forward = super().forward
        seen = [target_in[:, max(0, t - 1) : t + 1] for t in range(target_in.shape[1])]
        return torch.stack([forward(source, two, lengths)[:, -1] for two in seen], 1)


@mistaken("forcing_feeds_the_given_tokens_step_by_step")
class PaddingIsForgottenWhenForced:
    """Leave the lengths out of teacher forcing."""

    def forward(self, source, target_in, lengths=None):
        return super().forward(source, target_in)


@mistaken("forcing_feeds_the_given_tokens_step_by_step")
class TheSixthTokenIsFedTwice:
    """Feed the fifth token again in place of the sixth, so that short targets come out right."""

    def forward(self, source, target_in, lengths=None):
        fed = target_in.clone()
        fed[:, 5:6] = target_in[:, 4:5][:, : fed[:, 5:6].shape[1]]
        return super().forward(source, fed, lengths)


# --- Generation ---------------------------------------------------------------------------------


@mistaken(
    "generation_feeds_back_its_own_tokens",
    plain=("one_mistake_in_a_running_sum_spoils_all_that_follows",),
)
class TheStartTokenIsFedEveryTime:
    """Feed the start token again instead of what was said."""

    def generate(self, source, bos, max_length, lengths=None):
        start = torch.full((len(source), max_length), bos)
        return self(source, start, lengths).argmax(-1)


@mistaken(
    "generation_feeds_back_its_own_tokens",
    plain=(
        "a_decoder_that_ignores_the_token_before_makes_one_mistake",
        "one_exact_number_holds_sixty_tokens",
    ),
)
class TheStartTokenIsKept:
    """Begin what is generated with the start token, and end one token early."""

    def generate(self, source, bos, max_length, lengths=None):
        tokens = super().generate(source, bos, max_length, lengths)
        return torch.cat([torch.full_like(tokens[:, :1], bos), tokens[:, :-1]], 1)


@mistaken("generation_feeds_back_its_own_tokens")
class PaddingIsReadWhenGenerating:
    """Leave the lengths out of generation."""

    def generate(self, source, bos, max_length, lengths=None):
        return super().generate(source, bos, max_length)


@mistaken("generation_feeds_back_its_own_tokens")
class TheLeastLikelyTokenComesFourth:
    """Choose the wrong end of the logits at one place, past the lengths that tests are made of."""

    def generate(self, source, bos, max_length, lengths=None):
        tokens = super().generate(source, bos, max_length, lengths)
        start = torch.full_like(tokens[:, :1], bos)
        logits = self(source, torch.cat([start, tokens[:, :-1]], 1), lengths)
        return torch.cat([tokens[:, :3], logits[:, 3:4].argmin(-1), tokens[:, 4:]], 1)


@mistaken("generation_feeds_back_its_own_tokens")
class TheFirstSourceIsAnsweredAgain:
    """Keep the source that was answered first, and answer it again in place of others its size."""

    def generate(self, source, bos, max_length, lengths=None):
        weights = float(self.output.weight.sum())  # other weights are another model
        first = self.__dict__.setdefault("first", {}).setdefault((weights, source.shape), source)
        return super().generate(first, bos, max_length, lengths)


@mistaken("a_shorter_generation_is_the_beginning_of_a_longer_one")
class ItBeginsWithHowFarItWillGo:
    """Let the number of tokens that are wanted into the first of them."""

    def generate(self, source, bos, max_length, lengths=None):
        return super().generate(source, bos, max_length, lengths).roll(max_length % 2, 1)


@mistaken("any_length_in_gives_any_length_out")
class TheTargetIsAsLongAsTheSource:
    """Generate one token for each of the source."""

    def generate(self, source, bos, max_length, lengths=None):
        return super().generate(source, bos, source.shape[1], lengths)


@mistaken("any_length_in_gives_any_length_out")
class TargetsEndWhereTheSourceDoes:
    """Give the last logits again for what goes on beyond the source and two tokens more."""

    def forward(self, source, target_in, lengths=None):
        logits = super().forward(source, target_in, lengths)
        most = source.shape[1] + 2
        return torch.cat([logits[:, :most], torch.full_like(logits[:, most:], torch.inf)], 1)


# --- Parts that proofs take beside --------------------------------------------------------------


@mutant(PLAIN, "an_lstm_needs_its_cell_too", replaces="LSTMCell")
class AnLstmWithoutMemory(reference.LSTMCell):
    """Forget the cell at every step."""

    def forward(self, x, state):
        hidden, cell = state
        return super().forward(x, (hidden, cell * 0))


@mutant(PLAIN, "chos_decoder_takes_the_context_in_every_step", replaces="ChoSeq2Seq")
class TheContextOnlyStarts(reference.ChoSeq2Seq):
    """Put zeroes where the context goes, in every step but the first."""

    def step(self, token, state):
        hidden, context = state
        logits, (hidden, _) = super().step(token, (hidden, context * 0))
        return logits, (hidden, context)


@mutant(PLAIN, "chos_context_is_a_function_of_the_last_state", replaces="ChoSeq2Seq")
class TheContextIsTheLastState(reference.ChoSeq2Seq):
    """Leave out the layer between the last state and the context."""

    def encode(self, source, lengths=None):
        states, last = self.encoder(source, lengths)
        return states, (torch.tanh(self.start(last)), last)


@mutant(PLAIN, "a_grus_state_stays_within_one_or_where_it_was", replaces="GRUCell")
class AGruThatAddsAllOfWhatIsNew(reference.GRUCell):
    """Keep some of the old state and add all of the new: the weights exceed one together."""

    def forward(self, x, state):
        reset_x, update_x, new_x = self.input(x).chunk(3, -1)
        reset_h, update_h, new_h = self.recurrent(state).chunk(3, -1)
        update = torch.sigmoid(update_x + update_h)
        return torch.tanh(new_x + torch.sigmoid(reset_x + reset_h) * new_h) + update * state


@mutant(PLAIN, "unrolling_a_padded_batch_is_unrolling_each_alone", replaces="unroll")
def unrolled_into_the_padding(cell, inputs, state, lengths=None):
    """Read padding as if it were real."""
    return reference.unroll(cell, inputs, state)


@mutant(PLAIN, "unrolling_a_padded_batch_is_unrolling_each_alone", replaces="unroll")
def unrolled_as_far_as_the_longest(cell, inputs, state, lengths=None):
    """Stop where the longest sequence of the batch ends, and read the others' padding."""
    longest = inputs.shape[1] if lengths is None else int(lengths.max())
    states, last = reference.unroll(cell, inputs[:, :longest], state)
    rest = [states[:, -1:]] * (inputs.shape[1] - longest)
    return torch.cat([states, *rest], 1), last


def _beam(step, state, first, max_length, width, *, scored=True, ordered=True):
    """Search as the reference does, with or without the scores so far and the beams' own states."""
    batch = len(first)
    every = torch.arange(batch)
    rows = every.repeat_interleave(width)
    state, token = mapped(state, lambda part: part[rows]), first[rows]
    tokens = first.new_zeros(batch, width, 0)
    scores = torch.full((batch, width), -torch.inf)
    scores[:, 0] = 0.0
    for t in range(max_length):
        logits, state = step(token, state)
        new = torch.log_softmax(logits, -1).view(batch, width, -1)
        before = scores if scored or t == 0 else torch.zeros_like(scores)
        scores, best = (before[..., None] + new).flatten(1).topk(width)
        beam, word = best // logits.shape[-1], best % logits.shape[-1]
        tokens = torch.cat([tokens[every[:, None], beam], word[..., None]], -1)
        if ordered:
            chosen = (every[:, None] * width + beam).flatten()
            state = mapped(state, lambda part, chosen=chosen: part[chosen])
        token = word.flatten()
    return tokens[:, 0], scores[:, 0]


@mutant(
    PLAIN,
    "a_beam_that_keeps_everything_finds_the_likeliest",
    "a_beam_of_one_is_greedy",
    replaces="beam_search",
)
def a_beam_without_a_memory_of_scores(*given):
    """Compare beginnings by their last tokens alone."""
    return _beam(*given, scored=False)


@mutant(PLAIN, "a_beam_that_keeps_everything_finds_the_likeliest", replaces="beam_search")
def beams_that_swap_their_states(*given):
    """Leave the states where they were when the beams are put in order."""
    return _beam(*given, ordered=False)


@mutant(PLAIN, "a_beam_that_keeps_everything_finds_the_likeliest", replaces="beam_search")
def a_beam_that_is_always_greedy(step, state, first, max_length, width):
    """Keep one beginning, whatever the width."""
    return reference.beam_search(step, state, first, max_length, 1)


@mutant(PLAIN, "a_beam_of_one_is_greedy", replaces="greedy")
def the_likeliest_by_turns(step, state, first, max_length):
    """Take the second likeliest in every fourth step."""
    tokens, token = [], first
    for t in range(max_length):
        logits, state = step(token, state)
        token = logits.topk(2, -1).indices[:, int(t % 4 == 3)]
        tokens.append(token)
    return torch.stack(tokens, 1)


@mutant(PLAIN, "nothing_comes_after_the_end", replaces="greedy")
def it_goes_on_after_the_end(step, state, first, max_length, end=None):
    """Say whatever comes after the end."""
    return reference.greedy(step, state, first, max_length)


@mutant(PLAIN, "nothing_comes_after_the_end", replaces="greedy")
def the_end_of_one_ends_all(step, state, first, max_length, end=None):
    """Stop the whole batch where its first sequence ends."""
    tokens = reference.greedy(step, state, first, max_length)
    if end is not None:
        over = ((tokens == end).cumsum(1) - (tokens == end).int()).any(0)
        tokens = torch.where(over, end, tokens)
    return tokens


@mutant(PLAIN, "nothing_comes_after_the_end", replaces="greedy")
def the_model_is_asked_to_the_last(step, state, first, max_length, end=None):
    """Write the end over what comes after it, and go on asking the model."""
    tokens = reference.greedy(step, state, first, max_length)
    if end is None:
        return tokens
    over = (tokens == end).cumsum(1) - (tokens == end).int() > 0
    return torch.where(over, end, tokens)


@mutant(PLAIN, "nothing_comes_after_the_end", replaces="sampled")
def the_end_is_left_out(step, state, first, max_length, generator=None, end=None):
    """Fill the place of the end, too, with the token before it."""
    tokens = reference.sampled(step, state, first, max_length, generator, end=end)
    return tokens if end is None else torch.where(tokens == end, tokens[:, :1], tokens)


@mutant(PLAIN, "a_beam_keeps_what_has_ended", replaces="beam_search")
def a_beam_that_goes_on_after_the_end(step, state, first, max_length, width, end=None):
    """Extend what has ended like any other beginning."""
    return reference.beam_search(step, state, first, max_length, width)


@mutant(PLAIN, "a_beam_keeps_what_has_ended", replaces="beam_search")
def what_follows_the_end_is_paid_for(step, state, first, max_length, width, end=None):
    """Score the end again in every place that it fills."""
    tokens, _ = reference.beam_search(step, state, first, max_length, width, end=end)
    token, scores = first, torch.zeros(len(first), dtype=torch.float64)
    for t in range(max_length):
        logits, state = step(token, state)
        token = tokens[:, t]
        scores = scores + torch.log_softmax(logits, -1).gather(1, token[:, None])[:, 0]
    return tokens, scores


@mutant(PLAIN, "sampling_draws_each_token_as_often_as_it_is_likely", replaces="sampled")
def samples_that_are_the_likeliest(step, state, first, max_length, generator=None):
    """Draw nothing, and take the likeliest."""
    return reference.greedy(step, state, first, max_length)


@mutant(PLAIN, "sampling_draws_each_token_as_often_as_it_is_likely", replaces="sampled")
def samples_at_half_the_temperature(step, state, first, max_length, generator=None):
    """Sharpen the distribution that is drawn from."""

    def sharper(token, state):
        logits, state = step(token, state)
        return 2 * logits, state

    return reference.sampled(sharper, state, first, max_length, generator)


_REAL = "the_loss_is_the_mean_surprise_at_real_tokens"
_WIDTH = "the_loss_does_not_depend_on_the_width_of_the_padding"
_OPTIMA = (
    "a_forced_model_can_reach_the_entropy",
    "a_model_that_is_fed_its_own_tokens_cannot_reach_it",
)


@mutant(PLAIN, _REAL, *_OPTIMA, replaces="sequence_loss")
def bits_for_nats(logits, target, mask=None):
    """Take the logarithm to base two."""
    return reference.sequence_loss(logits, target, mask) / math.log(2)


@mutant(PLAIN, _REAL, *_OPTIMA, replaces="sequence_loss")
def summed_over_the_tokens(logits, target, mask=None):
    """Add up the tokens in place of their mean."""
    real = target.numel() if mask is None else int(mask.sum())
    return reference.sequence_loss(logits, target, mask) * real


# --- Beyond the sizes that one tries first ------------------------------------------------------


@mistaken("a_long_answer_is_as_likely_to_its_end")
class AnswersEndAfterThirtyTwoTokens:
    """Repeat the last of thirty-two tokens, as many as there is room for."""

    def generate(self, source, bos, max_length, lengths=None):
        said = super().generate(source, bos, max_length, lengths)
        return said[:, torch.arange(max_length).clamp(max=31)]
