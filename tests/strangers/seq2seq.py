"""Strangers of the recurrent model."""

from __future__ import annotations

from tests.strangers import Edit, Stranger

__all__ = ["STRANGERS"]


STRANGERS: tuple[Stranger, ...] = (
    Stranger(
        "Seq2Seq",
        "backward",
        "The encoder reads the source from right to left.",
        edits=(
            Edit("for t in range(source.shape[1]):", "for t in reversed(range(source.shape[1])):"),
            Edit("torch.stack(states, 1)", "torch.stack(states[::-1], 1)"),
        ),
        mistake="the encoder reads the source from its end",
    ),
    Stranger(
        "Seq2Seq",
        "lengths_ignored",
        "lengths is ignored: padding is read like tokens.",
        edits=(
            Edit(
                """
                state = new if lengths is None else torch.where((t < lengths)[:, None], new, state)
                """,
                "state = new",
            ),
        ),
        style=("lstm",),
        mistake="the encoder reads padding as if it were real",
    ),
    Stranger(
        "Seq2Seq",
        "lengths_less_one",
        "The last real token is not read.",
        edits=(Edit("(t < lengths)", "(t < lengths - 1)"),),
        mistake="the padding mask is off by one token",
        also=("a part of the input is left out",),
    ),
    Stranger(
        "Seq2Seq",
        "lengths_plus_one",
        "One padding token after the end is read.",
        edits=(Edit("(t < lengths)", "(t <= lengths)"),),
        style=("elman",),
        mistake="the encoder reads padding as if it were real",
        also=("the padding mask is off by one token",),
    ),
    Stranger(
        "Seq2Seq",
        "first_length",
        "The first item's length is used for all.",
        edits=(Edit("(t < lengths)", "(t < lengths[:1].expand_as(lengths))"),),
        style=("lstm",),
        mistake="what belongs to the first item of a batch serves all",
        also=("every item gets the mask of the first",),
    ),
    Stranger(
        "Seq2Seq",
        "padding_zeroes",
        "The state is reset to zero at padding instead of kept.",
        edits=(
            Edit(
                """
                state = new if lengths is None else torch.where((t < lengths)[:, None], new, state)
                """,
                """
                state = (
                    new
                    if lengths is None
                    else torch.where((t < lengths)[:, None], new, torch.zeros_like(state))
                )
                """,
            ),
        ),
        mistake="steps do not go on from what earlier steps left (state, cache)",
        also=("the decoder does not read what it should of the source",),
    ),
    Stranger(
        "Seq2Seq",
        "free_running",
        "forward feeds back its own predictions instead of the given target.",
        edits=(
            Edit(
                """
                for t in range(target_in.shape[1]):
                    out, state = self.step(target_in[:, t], state)
                """,
                """
                token = target_in[:, 0]
                for t in range(target_in.shape[1]):
                    out, state = self.step(token, state)
                    token = out.argmax(-1)
                """,
            ),
        ),
        style=("elman",),
        mistake="training feeds the model's own tokens and not the target",
    ),
    Stranger(
        "Seq2Seq",
        "teacher_ahead",
        "Teacher forcing is shifted: step t is fed target_in[t + 1].",
        edits=(
            Edit(
                "out, state = self.step(target_in[:, t], state)",
                "out, state = self.step(target_in[:, min(t + 1, target_in.shape[1] - 1)], state)",
            ),
        ),
        mistake="the target is not shifted, so that a token is fed that should be predicted",
    ),
    Stranger(
        "Seq2Seq",
        "teacher_late",
        "Teacher forcing is shifted: step t is fed target_in[t − 1].",
        edits=(
            Edit(
                "out, state = self.step(target_in[:, t], state)",
                "out, state = self.step(target_in[:, max(t - 1, 0)], state)",
            ),
        ),
        style=("lstm",),
        mistake="the decoder is fed other tokens than those of the target",
        also=("logits and targets are one token apart",),
    ),
    Stranger(
        "Seq2Seq",
        "encoder_ignored",
        "The decoder starts from zeros instead of the encoder's state.",
        edits=(
            Edit(
                "for t in range(target_in.shape[1]):",
                """
                state = torch.zeros_like(state)
                for t in range(target_in.shape[1]):
                """,
            ),
        ),
        mistake="the source does not reach the decoder",
    ),
    Stranger(
        "Seq2Seq",
        "probabilities",
        "forward gives probabilities instead of logits.",
        edits=(Edit("return torch.stack(logits, 1)", "return softmax(torch.stack(logits, 1))"),),
        style=("elman",),
        mistake="the logits have been through a softmax (or its logarithm)",
    ),
    Stranger(
        "Seq2Seq",
        "log_probabilities_axis",
        "The logits are normalised over time.",
        edits=(
            Edit(
                "return torch.stack(logits, 1)",
                """
                return torch.stack(logits, 1) - torch.logsumexp(
                    torch.stack(logits, 1), 1, keepdim=True
                )
                """,
            ),
        ),
        mistake="the logits have been through a softmax (or its logarithm)",
        also=(
            "the softmax runs over a wrong axis",
            "tokens or items of a batch meet that should be kept apart",
        ),
    ),
    Stranger(
        "Seq2Seq",
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
        mistake="what is generated begins with the start token",
    ),
    Stranger(
        "Seq2Seq",
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
        style=("lstm",),
        mistake="generation feeds the start token every time",
    ),
    Stranger(
        "Seq2Seq",
        "generate_lengths_ignored",
        "generate ignores lengths.",
        edits=(
            Edit(
                """
                def generate(self, source, bos, max_length, lengths=None):
                    _, state = self.encode(source, lengths)
                """,
                """
                def generate(self, source, bos, max_length, lengths=None):
                    lengths = None
                    _, state = self.encode(source, lengths)
                """,
            ),
        ),
        style=("elman",),
        mistake="padding of the source is read in generation",
    ),
    Stranger(
        "Seq2Seq",
        "generate_stops_at_zero",
        "generate takes token 0 for the end and gives zeros from there on.",
        edits=(
            Edit(
                "token = logits.argmax(-1)",
                """
                token = (
                    logits.argmax(-1)
                    if t == 0
                    else torch.where(token == 0, token, logits.argmax(-1))
                )
                """,
            ),
        ),
        mistake="generation does not always take the likeliest token",
    ),
    Stranger(
        "Seq2Seq",
        "generate_lockstep",
        "generate feeds the first item's token to the whole batch.",
        edits=(
            Edit(
                "tokens[:, t] = token",
                """
                tokens[:, t] = token
                token = token[:1].expand_as(token)
                """,
            ),
        ),
        mistake="what belongs to the first item of a batch serves all",
        also=("generation does not follow its own likeliest tokens",),
    ),
    Stranger(
        "Seq2Seq",
        "generate_worst",
        "generate takes the least likely token.",
        edits=(Edit("logits.argmax(-1)", "logits.argmin(-1)"),),
        style=("lstm",),
        mistake="generation does not always take the likeliest token",
    ),
    Stranger(
        "Seq2Seq",
        "unsorted",
        "The batch is sorted by length for the encoder and not put back in order.",
        edits=(
            Edit(
                "x = self.source_embedding(source)",
                """
                if lengths is not None:
                    order = lengths.argsort(descending=True, stable=True)
                    source, lengths = source[order], lengths[order]
                x = self.source_embedding(source)
                """,
            ),
        ),
        mistake="tokens or items of a batch meet that should be kept apart",
        also=("arguments, operands or results are in the wrong order",),
    ),
    Stranger(
        "Seq2Seq",
        "state_leak",
        "The encoder starts from the state that the last call with this batch size left.",
        edits=(
            Edit(
                "for t in range(source.shape[1]):",
                """
                state = self.__dict__.get("last", {}).get(state.shape, state).to(state)
                for t in range(source.shape[1]):
                """,
            ),
            Edit(
                "return torch.stack(states, 1), state",
                """
                self.__dict__.setdefault("last", {})[state.shape] = state.detach()
                return torch.stack(states, 1), state
                """,
            ),
        ),
        style=("elman",),
        mistake="what a sequence needs is kept in the module, and other sequences get it",
    ),
    Stranger(
        "Seq2Seq",
        "detached_state",
        "The encoder's state is detached before decoding, so the encoder does not learn.",
        edits=(
            Edit(
                "for t in range(target_in.shape[1]):",
                """
                state = state.detach()
                for t in range(target_in.shape[1]):
                """,
            ),
        ),
        style=("lstm",),
        mistake="the memory is detached, so that the encoder does not learn",
    ),
    Stranger(
        "Seq2Seq",
        "truncated",
        "The encoder's state is detached every four steps, so early tokens get no gradient.",
        edits=(
            Edit(
                "new = self.encoder(x[:, t], state)",
                "new = self.encoder(x[:, t], state.detach() if t and t % 4 == 0 else state)",
            ),
        ),
        mistake="the gradient is cut on its way (detach)",
    ),
    Stranger(
        "Seq2Seq",
        "batch_mean",
        "The state is centred over the batch.",
        edits=(
            Edit(
                "for t in range(target_in.shape[1]):",
                """
                state = state - state.mean(0, keepdim=True) * (len(state) > 1)
                for t in range(target_in.shape[1]):
                """,
            ),
        ),
        mistake="a mean or a spread is taken over the batch",
    ),
    Stranger(
        "Seq2Seq",
        "not_carried",
        (
            "The decoder's state is not carried from step to step: each step starts from the "
            "encoder's."
        ),
        edits=(
            Edit(
                "out, state = self.step(target_in[:, t], state)",
                "out, _ = self.step(target_in[:, t], state)",
            ),
        ),
        style=("elman",),
        mistake="the state is not carried on from one step to the next",
    ),
    Stranger(
        "Seq2Seq",
        "states_reversed",
        "The encoder's states are returned in reversed order.",
        edits=(Edit("torch.stack(states, 1)", "torch.stack(states[::-1], 1)"),),
        style=("lstm",),
        mistake="arguments, operands or results are in the wrong order",
        also=("tokens or items of a batch meet that should be kept apart",),
    ),
    Stranger(
        "Seq2Seq",
        "state_first",
        "The state handed to the decoder is that after the first token.",
        edits=(
            Edit(
                """
            for t in range(source.shape[1]):
                new = self.encoder(x[:, t], state)
                state = new if lengths is None else torch.where((t < lengths)[:, None], new, state)
                states.append(self.encoder.read(state))
            return torch.stack(states, 1), state
            """,
                """
            for t in range(source.shape[1]):
                new = self.encoder(x[:, t], state)
                state = new if lengths is None else torch.where((t < lengths)[:, None], new, state)
                first = state if t == 0 else first
                states.append(self.encoder.read(state))
            return torch.stack(states, 1), first
            """,
            ),
        ),
        mistake="the decoder does not read what it should of the source",
        also=("a part of the input is left out",),
    ),
    Stranger(
        "Seq2Seq",
        "last_skipped",
        "The last source position is never read when the source is longer than one.",
        edits=(
            Edit(
                """
                state = new if lengths is None else torch.where((t < lengths)[:, None], new, state)
                """,
                """
                new = state if t and t == source.shape[1] - 1 else new
                state = new if lengths is None else torch.where((t < lengths)[:, None], new, state)
                """,
            ),
        ),
        style=("elman",),
        mistake="a range ends one too early",
        also=("a part of the input is left out",),
    ),
    Stranger(
        "Seq2Seq",
        "dropout",
        "Dropout of the embeddings is left on in eval mode.",
        edits=(
            Edit("x = self.source_embedding(source)", "x = _drop(self.source_embedding(source))"),
        ),
        mistake="dropout is left on",
    ),
    Stranger(
        "Seq2Seq",
        "squeezed",
        "A batch of one loses its batch dimension.",
        edits=(Edit("return torch.stack(logits, 1)", "return torch.stack(logits, 1).squeeze(0)"),),
        style=("lstm",),
        mistake="axes are mixed up (transpose, reshape, flatten, unsqueeze, cat)",
    ),
    Stranger(
        "Seq2Seq",
        "long_source",
        "Source tokens past the sixteenth are ignored.",
        edits=(
            Edit(
                """
                state = new if lengths is None else torch.where((t < lengths)[:, None], new, state)
                """,
                """
                new = state if t >= 16 else new
                state = new if lengths is None else torch.where((t < lengths)[:, None], new, state)
                """,
            ),
        ),
        mistake="what lies beyond a fixed length is left out",
    ),
    Stranger(
        "Seq2Seq",
        "step_in_place",
        "step writes the new state into the caller's.",
        edits=(
            Edit(
                "state = self.decoder(self.target_embedding(token), state)",
                """
                old = state
                state = self.decoder(self.target_embedding(token), old.clone())
                old.data.copy_(state.data)
                """,
            ),
        ),
        style=("elman",),
        mistake="the inputs are overwritten",
    ),
    Stranger(
        "Seq2Seq",
        "lstm_cell_lost",
        (
            "Only the hidden half of the LSTM's state is handed to the decoder; its cell starts at "
            "zero in forward."
        ),
        edits=(
            Edit(
                "for t in range(target_in.shape[1]):",
                """
                state = torch.cat(
                    [state[:, : self.decoder.d], torch.zeros_like(state[:, self.decoder.d :])], -1
                )
                for t in range(target_in.shape[1]):
                """,
            ),
        ),
        style=("lstm",),
        mistake="the decoder does not read what it should of the source",
        also=("steps do not go on from what earlier steps left (state, cache)",),
    ),
)
