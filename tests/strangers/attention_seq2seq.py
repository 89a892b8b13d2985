"""Strangers of the recurrent model with attention."""

from __future__ import annotations

from tests.strangers import Edit, Stranger

__all__ = ["STRANGERS"]


STRANGERS: tuple[Stranger, ...] = (
    Stranger(
        "AttentionSeq2Seq",
        "mask_ignored",
        "step ignores memory_mask.",
        edits=(
            Edit("mask = None if memory_mask is None else memory_mask.unsqueeze(1)", "mask = None"),
        ),
        mistake="the mask is ignored",
    ),
    Stranger(
        "AttentionSeq2Seq",
        "mask_inverted",
        "step takes memory_mask as True at padding.",
        edits=(
            Edit(
                "mask = None if memory_mask is None else memory_mask.unsqueeze(1)",
                "mask = None if memory_mask is None else ~memory_mask.unsqueeze(1)",
            ),
        ),
        style=("lstm",),
        mistake="the mask has the other polarity",
    ),
    Stranger(
        "AttentionSeq2Seq",
        "forward_without_mask",
        "forward makes no mask from lengths, so padding is attended to.",
        edits=(
            Edit(
                """
                def forward(self, source, target_in, lengths=None):
                    memory, state = self.encode(source, lengths)
                    mask = None if lengths is None else padding_mask(lengths, source.shape[1])
                """,
                """
                def forward(self, source, target_in, lengths=None):
                    memory, state = self.encode(source, lengths)
                    mask = None
                """,
            ),
        ),
        mistake="padding of the source is read in teacher forcing",
    ),
    Stranger(
        "AttentionSeq2Seq",
        "generate_without_mask",
        "generate makes no mask from lengths.",
        edits=(
            Edit(
                """
                def generate(self, source, bos, max_length, lengths=None):
                    memory, state = self.encode(source, lengths)
                    mask = None if lengths is None else padding_mask(lengths, source.shape[1])
                """,
                """
                def generate(self, source, bos, max_length, lengths=None):
                    memory, state = self.encode(source, lengths)
                    mask = None
                """,
            ),
        ),
        style=("elman",),
        mistake="padding of the source is read in generation",
    ),
    Stranger(
        "AttentionSeq2Seq",
        "mask_after",
        "The mask is applied to the weights after the softmax without normalising again.",
        edits=(
            Edit(
                "weights = _masked(scores, mask)",
                "weights = softmax(scores) * (1 if mask is None else mask)",
                "AdditiveAttention",
            ),
        ),
        mistake="the mask is applied after the softmax",
    ),
    Stranger(
        "AttentionSeq2Seq",
        "context_unused",
        "The context is not used: decoding goes on without the attention.",
        edits=(
            Edit(
                "context, weights = context[:, 0], weights[:, 0]",
                "context, weights = 0 * context[:, 0], weights[:, 0]",
            ),
        ),
        style=("lstm",),
        mistake="the source does not reach the decoder",
        also=("a step is left out, or what it gives is not used",),
    ),
    Stranger(
        "AttentionSeq2Seq",
        "uniform_returned",
        "The weights returned are uniform, unlike those used.",
        edits=(
            Edit(
                "context], -1)), state, weights",
                "context], -1)), state, torch.full_like(weights, 1 / weights.shape[1])",
            ),
        ),
        mistake="the weights that are given back are not the ones that were used",
    ),
    Stranger(
        "AttentionSeq2Seq",
        "raw_scores",
        "The weights returned are logarithms.",
        edits=(
            Edit(
                "context], -1)), state, weights",
                "context], -1)), state, weights.clamp_min(1e-9).log()",
            ),
        ),
        style=("elman",),
        mistake="the weights that are given back are not the ones that were used",
    ),
    Stranger(
        "AttentionSeq2Seq",
        "shifted_memory",
        "The context is read one place beside the weights.",
        edits=(
            Edit(
                "context, weights = self.attention(query, memory, memory, mask)",
                "context, weights = self.attention(query, memory, memory.roll(1, 1), mask)",
            ),
        ),
        mistake="the weights that are given back are not the ones that were used",
        also=("the decoder does not read what it should of the source",),
    ),
    Stranger(
        "AttentionSeq2Seq",
        "batch_axis",
        "The attention is normalised over the batch instead of the source.",
        edits=(
            Edit(
                "weights = _masked(scores, mask)",
                """
                weights = (
                    softmax(scores, 0)
                    if mask is None
                    else softmax(scores.masked_fill(~mask, -1e30), 0).masked_fill(~mask, 0.0)
                )
                """,
                "AdditiveAttention",
            ),
        ),
        mistake="the softmax runs over the batch",
        also=("tokens or items of a batch meet that should be kept apart",),
    ),
    Stranger(
        "AttentionSeq2Seq",
        "memory_detached",
        "The memory is detached.",
        edits=(
            Edit(
                "context, weights = self.attention(query, memory, memory, mask)",
                "context, weights = self.attention(query, memory.detach(), memory.detach(), mask)",
            ),
        ),
        style=("lstm",),
        mistake="the memory is detached, so that the encoder does not learn",
    ),
    Stranger(
        "AttentionSeq2Seq",
        "final_states",
        "Every position of the memory is the final state.",
        edits=(Edit("torch.stack(states, 1)", "torch.stack([states[-1]] * len(states), 1)"),),
        mistake="the memory is one vector for the whole source",
    ),
    Stranger(
        "AttentionSeq2Seq",
        "hard",
        "The attention is hard: all weight on the best position, so it cannot be learned.",
        edits=(
            Edit(
                "context, weights = self.attention(query, memory, memory, mask)",
                """
                _, weights = self.attention(query, memory, memory, mask)
                weights = nn.functional.one_hot(weights.argmax(-1), memory.shape[1]).to(memory)
                context = weights @ memory
                """,
            ),
        ),
        mistake="all but the largest weights are set to zero",
        also=("the scores or the weights are detached",),
    ),
    Stranger(
        "AttentionSeq2Seq",
        "first_positions",
        "Only the first eight source positions are attended to.",
        edits=(
            Edit(
                "context, weights = self.attention(query, memory, memory, mask)",
                """
                near = (torch.arange(memory.shape[1], device=memory.device) < 8)[None, None]
                mask = near if mask is None else mask & near
                context, weights = self.attention(query, memory, memory, mask)
                """,
            ),
        ),
        style=("elman",),
        mistake="what lies beyond a fixed length is left out",
    ),
    Stranger(
        "AttentionSeq2Seq",
        "mean_query",
        "All items of the batch attend with the batch's mean query.",
        edits=(
            Edit(
                "query = self.decoder.read(state).unsqueeze(1)",
                """
                query = (
                    self.decoder.read(state)
                    .mean(0, keepdim=True)
                    .expand(len(state), -1)
                    .unsqueeze(1)
                )
                """,
            ),
        ),
        mistake="a mean or a spread is taken over the batch",
    ),
    Stranger(
        "AttentionSeq2Seq",
        "backward",
        "The encoder reads the source from right to left.",
        edits=(
            Edit("for t in range(source.shape[1]):", "for t in reversed(range(source.shape[1])):"),
            Edit("torch.stack(states, 1)", "torch.stack(states[::-1], 1)"),
        ),
        style=("lstm",),
        mistake="the encoder reads the source from its end",
    ),
    Stranger(
        "AttentionSeq2Seq",
        "states_reversed",
        "The memory is returned in reversed order.",
        edits=(Edit("torch.stack(states, 1)", "torch.stack(states[::-1], 1)"),),
        mistake="arguments, operands or results are in the wrong order",
        also=("tokens or items of a batch meet that should be kept apart",),
    ),
    Stranger(
        "AttentionSeq2Seq",
        "lengths_ignored_in_state",
        "The encoder's state is that after the padding although lengths is given.",
        edits=(
            Edit(
                """
                state = new if lengths is None else torch.where((t < lengths)[:, None], new, state)
                """,
                "state = new",
            ),
        ),
        mistake="the encoder reads padding as if it were real",
    ),
    Stranger(
        "AttentionSeq2Seq",
        "teacher_ahead",
        "Teacher forcing is shifted: step t is fed target_in[t + 1].",
        edits=(
            Edit(
                "out, state, _ = self.step(target_in[:, t], state, memory, mask)",
                """
                out, state, _ = self.step(
                    target_in[:, min(t + 1, target_in.shape[1] - 1)], state, memory, mask
                )
                """,
            ),
        ),
        style=("elman",),
        mistake="the target is not shifted, so that a token is fed that should be predicted",
    ),
    Stranger(
        "AttentionSeq2Seq",
        "teacher_late",
        "Teacher forcing is shifted: step t is fed target_in[t − 1].",
        edits=(
            Edit(
                "out, state, _ = self.step(target_in[:, t], state, memory, mask)",
                "out, state, _ = self.step(target_in[:, max(t - 1, 0)], state, memory, mask)",
            ),
        ),
        mistake="the decoder is fed other tokens than those of the target",
        also=("logits and targets are one token apart",),
    ),
    Stranger(
        "AttentionSeq2Seq",
        "free_running",
        "forward feeds back its own predictions instead of the given target.",
        edits=(
            Edit(
                """
                for t in range(target_in.shape[1]):
                    out, state, _ = self.step(target_in[:, t], state, memory, mask)
                """,
                """
                token = target_in[:, 0]
                for t in range(target_in.shape[1]):
                    out, state, _ = self.step(token, state, memory, mask)
                    token = out.argmax(-1)
                """,
            ),
        ),
        style=("lstm",),
        mistake="training feeds the model's own tokens and not the target",
    ),
    Stranger(
        "AttentionSeq2Seq",
        "encoder_state_ignored",
        "The decoder of forward starts from zeros.",
        edits=(
            Edit(
                "for t in range(target_in.shape[1]):",
                """
                state = torch.zeros_like(state)
                for t in range(target_in.shape[1]):
                """,
            ),
        ),
        mistake="the decoder does not read what it should of the source",
    ),
    Stranger(
        "AttentionSeq2Seq",
        "state_not_carried",
        "The decoder's state is not carried from step to step.",
        edits=(
            Edit(
                "out, state, _ = self.step(target_in[:, t], state, memory, mask)",
                "out, _, _ = self.step(target_in[:, t], state, memory, mask)",
            ),
        ),
        style=("elman",),
        mistake="the state is not carried on from one step to the next",
    ),
    Stranger(
        "AttentionSeq2Seq",
        "generate_with_bos",
        "generate puts bos at the start of its result.",
        edits=(
            Edit(
                """
                token = logits.argmax(-1)
                tokens[:, t] = token
                """,
                """
                tokens[:, t] = token
                token = logits.argmax(-1)
                """,
            ),
        ),
        style=("lstm",),
        mistake="what is generated begins with the start token",
    ),
    Stranger(
        "AttentionSeq2Seq",
        "generate_feeds_bos",
        "generate feeds bos at every step.",
        edits=(
            Edit(
                """
                token = logits.argmax(-1)
                tokens[:, t] = token
                """,
                "tokens[:, t] = logits.argmax(-1)",
            ),
        ),
        mistake="generation feeds the start token every time",
    ),
    Stranger(
        "AttentionSeq2Seq",
        "generate_state_lost",
        "generate starts each step from the encoder's state.",
        edits=(
            Edit(
                "logits, state, _ = self.step(token, state, memory, mask)",
                "logits, _, _ = self.step(token, state, memory, mask)",
            ),
        ),
        mistake="the state is not carried on from one step to the next",
    ),
    Stranger(
        "AttentionSeq2Seq",
        "probabilities",
        "forward gives probabilities instead of logits.",
        edits=(Edit("return torch.stack(logits, 1)", "return softmax(torch.stack(logits, 1))"),),
        mistake="the logits have been through a softmax (or its logarithm)",
    ),
    Stranger(
        "AttentionSeq2Seq",
        "weights_kept_dimension",
        "The weights come as (B, 1, S).",
        edits=(
            Edit("context], -1)), state, weights", "context], -1)), state, weights.unsqueeze(1)"),
        ),
        style=("lstm",),
        mistake="axes are mixed up (transpose, reshape, flatten, unsqueeze, cat)",
    ),
    Stranger(
        "AttentionSeq2Seq",
        "first_memory",
        "All items of the batch attend to the first item's memory.",
        edits=(
            Edit(
                "context, weights = self.attention(query, memory, memory, mask)",
                """
                context, weights = self.attention(
                    query, memory[:1].expand_as(memory), memory[:1].expand_as(memory), mask
                )
                """,
            ),
        ),
        style=("elman",),
        mistake="what belongs to the first item of a batch serves all",
    ),
    Stranger(
        "AttentionSeq2Seq",
        "previous_weights",
        (
            "The context of the first step is kept in the module and used in all later steps of "
            "the same shape."
        ),
        edits=(
            Edit(
                "context, weights = context[:, 0], weights[:, 0]",
                """
                if not torch.is_grad_enabled():
                    context = self.__dict__.setdefault("kept", {}).setdefault(
                        (context.shape, context.dtype), context
                    )
                context, weights = context[:, 0], weights[:, 0]
                """,
            ),
        ),
        mistake="something of an earlier call is kept and used again",
    ),
    Stranger(
        "AttentionSeq2Seq",
        "float32_memory",
        "The attention is computed in float32 even in a float64 model.",
        edits=(
            Edit(
                "context, weights = context[:, 0], weights[:, 0]",
                """
                context, weights = (
                    context.float().to(memory.dtype),
                    weights.float().to(memory.dtype),
                )
                context, weights = context[:, 0], weights[:, 0]
                """,
            ),
        ),
        mistake="a result is computed in float32 half-way",
    ),
    Stranger(
        "AttentionSeq2Seq",
        "mask_first_item",
        "The mask of the first item is used for the whole batch.",
        edits=(
            Edit(
                "mask = None if memory_mask is None else memory_mask.unsqueeze(1)",
                "mask = None if memory_mask is None else memory_mask[:1].unsqueeze(1)",
            ),
        ),
        mistake="every item gets the mask of the first",
        also=("what belongs to the first item of a batch serves all",),
    ),
)
