"""Sequence to sequence with recurrent networks: three decoders that differ in how context enters.

Sutskever's decoder starts from the encoder's last state and never sees it again. Cho's gets the
context in every step. Bahdanau's gets another context in every step, by attention.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from reference.attention import AdditiveAttention
from reference.decoding import Step, greedy, teacher_forced
from reference.embedding import Embedding
from reference.masks import padding_mask
from reference.recurrent import Cell, GRUCell, LSTMCell, State, unroll
from reference.shapes import check_integers, check_lengths, check_pair, check_shapes, check_sizes

__all__ = ["AttentionSeq2Seq", "ChoSeq2Seq", "Seq2Seq"]

SOURCE = "source int64 (B, S>0), lengths? int64 (B,)"


class _Encoder(nn.Module):
    """Embeds source tokens and reads them forward.

    Args:
        source_vocab: the number of source tokens.
        d_embed: width of the embeddings.
        d_hidden: width of the state.
        lstm: whether the cell is an LSTM; otherwise it is a GRU.
    """

    def __init__(self, source_vocab: int, d_embed: int, d_hidden: int, *, lstm: bool) -> None:
        super().__init__()
        check_sizes(source_vocab=source_vocab, d_embed=d_embed, d_hidden=d_hidden)
        self.embedding = Embedding(source_vocab, d_embed)
        self.cell = _cell(d_embed, d_hidden, lstm=lstm)

    def forward(
        self, source: Int64[Tensor, "B S"], lengths: Int64[Tensor, "B"] | None = None
    ) -> tuple[Float[Tensor, "B S d_hidden"], State]:
        """Give the hidden state after each token, (B, S, d_hidden), and the last state."""
        check_shapes(SOURCE, source, lengths)
        check_lengths(lengths, source.shape[1])
        x = self.embedding(source)
        return unroll(self.cell, x, self.cell.initial(len(source)), lengths)


def _cell(d_input: int, d_hidden: int, *, lstm: bool) -> Cell:
    return LSTMCell(d_input, d_hidden) if lstm else GRUCell(d_input, d_hidden)


class Seq2Seq(nn.Module):
    """The plain model: the encoder's last state is the decoder's first, and all that it gets.

        s_0 = h_S,  s_t = cell(y_{t−1}, s_{t−1}),  logits_t = W s_t + b

    Args:
        source_vocab: the number of source tokens.
        target_vocab: V, the number of target tokens.
        d_embed: width of the embeddings.
        d_hidden: width of the states.
        lstm: whether the cells are LSTMs, as in the paper; otherwise they are GRUs.

    Parameters: ``encoder.embedding.weight`` (source_vocab, d_embed), ``embedding.weight``
    (V, d_embed), ``output.weight`` (V, d_hidden), ``output.bias`` (V,), and those of two cells,
    ``encoder.cell`` and ``cell``, both (d_embed, d_hidden).

    Raises:
        TypeError: a number is no integer.
        ValueError: a number below 1.

    Source: Sutskever, Vinyals and Le 2014, section 2.
    """

    def __init__(
        self,
        source_vocab: int,
        target_vocab: int,
        d_embed: int,
        d_hidden: int,
        *,
        lstm: bool = False,
    ) -> None:
        super().__init__()
        check_sizes(target_vocab=target_vocab, d_hidden=d_hidden)
        self.encoder = _Encoder(source_vocab, d_embed, d_hidden, lstm=lstm)
        self.embedding = Embedding(target_vocab, d_embed)
        self.cell = _cell(d_embed, d_hidden, lstm=lstm)
        self.output = nn.Linear(d_hidden, target_vocab)

    def forward(
        self,
        source: Int64[Tensor, "B S"],
        target_in: Int64[Tensor, "B L"],
        lengths: Int64[Tensor, "B"] | None = None,
    ) -> Float[Tensor, "B L target_vocab"]:
        """Give the logits of every next token by teacher forcing.

        Args:
            source: source tokens, (B, S).
            target_in: target tokens shifted right, (B, L): the first is the start token.
            lengths: the number of real source tokens of each sequence, (B,); None means all.

        Returns:
            Logits, (B, L, V); those at t follow from target_in up to t.

        Raises:
            TypeError: tokens or lengths are not int64.
            ValueError: the shapes do not fit, the source or the target is empty, a length is not
                between 1 and S, or a token is outside its vocabulary.
        """
        check_shapes(f"{SOURCE}, target_in int64 (B, L>0)", source, lengths, target_in)
        _, state = self.encode(source, lengths)
        return teacher_forced(self.step, state, target_in)

    def encode(
        self, source: Int64[Tensor, "B S"], lengths: Int64[Tensor, "B"] | None = None
    ) -> tuple[Float[Tensor, "B S d_hidden"], State]:
        """Give the states in reading order, (B, S, d_hidden), and the decoder's first state.

        Raises:
            TypeError: tokens or lengths are not int64.
            ValueError: what forward refuses of a source.
        """
        return self.encoder(source, lengths)

    def step(self, token: Int64[Tensor, "B"], state: State) -> tuple[Float[Tensor, "B V"], State]:
        """Give the logits after one more token, (B, V), and the next state.

        Raises:
            TypeError: the tokens are not int64, or the state is not of this model.
            ValueError: the shapes do not fit, or a token is outside the vocabulary.
        """
        hidden, d_hidden = self.cell.hidden(state), self.output.in_features
        check_shapes("token int64 (B,), state (B, d_hidden)", token, hidden, d_hidden=d_hidden)
        state = self.cell(self.embedding(token), state)
        return self.output(self.cell.hidden(state)), state

    def generate(
        self,
        source: Int64[Tensor, "B S"],
        bos: int,
        max_length: int,
        lengths: Int64[Tensor, "B"] | None = None,
        *,
        end: int | None = None,
    ) -> Int64[Tensor, "B max_length"]:
        """Generate greedily, (B, max_length), without the start token ``bos``.

        After the token ``end``, where one is named, a sequence goes on with nothing else.

        Raises:
            TypeError: tokens or lengths are not int64, or a number is no integer.
            ValueError: what forward refuses, or a negative ``max_length``.
        """
        check_integers(0, bos=bos, max_length=max_length)
        _, state = self.encode(source, lengths)
        return greedy(self.step, state, torch.full_like(source[:, 0], bos), max_length, end=end)


class ChoSeq2Seq(nn.Module):
    """The model whose decoder sees the context in every step.

        c = tanh(V h_S),  s_0 = tanh(V′ c),  s_t = cell([y_{t−1}; c], s_{t−1})
        logits_t = W [s_t; y_{t−1}; c] + b

    Args:
        source_vocab: the number of source tokens.
        target_vocab: V, the number of target tokens.
        d_embed: width of the embeddings.
        d_hidden: width of the states.

    Parameters: as Seq2Seq, but ``cell`` reads d_embed + d_hidden entries and ``output.weight`` is
    (V, d_hidden + d_embed + d_hidden); and ``summary`` and ``start``, V and V′, each
    (d_hidden, d_hidden) with a bias.

    Raises:
        TypeError: a number is no integer.
        ValueError: a number below 1.

    Source: Cho et al. 2014, section 2.2 and its appendix.
    """

    def __init__(self, source_vocab: int, target_vocab: int, d_embed: int, d_hidden: int) -> None:
        super().__init__()
        check_sizes(target_vocab=target_vocab, d_hidden=d_hidden)
        self.encoder = _Encoder(source_vocab, d_embed, d_hidden, lstm=False)
        self.d_hidden = d_hidden
        self.summary = nn.Linear(d_hidden, d_hidden)
        self.start = nn.Linear(d_hidden, d_hidden)
        self.embedding = Embedding(target_vocab, d_embed)
        self.cell = GRUCell(d_embed + d_hidden, d_hidden)
        self.output = nn.Linear(d_hidden + d_embed + d_hidden, target_vocab)

    def forward(
        self,
        source: Int64[Tensor, "B S"],
        target_in: Int64[Tensor, "B L"],
        lengths: Int64[Tensor, "B"] | None = None,
    ) -> Float[Tensor, "B L target_vocab"]:
        """Give the logits of every next token by teacher forcing, (B, L, V).

        Raises:
            TypeError: tokens or lengths are not int64.
            ValueError: the shapes do not fit, the source or the target is empty, a length is not
                between 1 and S, or a token is outside its vocabulary.
        """
        check_shapes(f"{SOURCE}, target_in int64 (B, L>0)", source, lengths, target_in)
        _, state = self.encode(source, lengths)
        return teacher_forced(self.step, state, target_in)

    def encode(
        self, source: Int64[Tensor, "B S"], lengths: Int64[Tensor, "B"] | None = None
    ) -> tuple[Float[Tensor, "B S d_hidden"], State]:
        """Give the states in reading order, and the decoder's first state with the context.

        Raises:
            TypeError: tokens or lengths are not int64.
            ValueError: what forward refuses of a source.
        """
        states, last = self.encoder(source, lengths)
        context = torch.tanh(self.summary(last))
        return states, (torch.tanh(self.start(context)), context)

    def step(self, token: Int64[Tensor, "B"], state: State) -> tuple[Float[Tensor, "B V"], State]:
        """Give the logits after one more token, (B, V), and the next state with the context.

        Raises:
            TypeError: the tokens are not int64, or the state is not of this model.
            ValueError: the shapes do not fit, or a token is outside the vocabulary.
        """
        check_pair(state, "(hidden, context)")
        hidden, context = state
        forms = "token int64 (B,), hidden (B, d_hidden), context (B, d_hidden)"
        check_shapes(forms, token, hidden, context, d_hidden=self.d_hidden)
        token_in = self.embedding(token)
        hidden = self.cell(torch.cat([token_in, context], -1), hidden)
        return self.output(torch.cat([hidden, token_in, context], -1)), (hidden, context)


class AttentionSeq2Seq(nn.Module):
    """The model whose decoder looks back at all states of the encoder, in every step anew.

        α_t = softmax over j of energy · tanh(W s_{t−1} + U h_j),  c_t = Σ_j α_tj h_j
        s_t = cell([y_{t−1}; c_t], s_{t−1}),  logits_t = W_o [s_t; y_{t−1}; c_t] + b

    The encoder reads forward alone, and the decoder starts from a function of its last state; the
    paper's reads both ways and starts from the state that has read backwards.

    Args:
        source_vocab: the number of source tokens.
        target_vocab: V, the number of target tokens.
        d_embed: width of the embeddings.
        d_hidden: width of the states.

    Parameters: as ChoSeq2Seq, without ``summary``, and with an additive ``attention`` whose three
    widths are d_hidden.

    Raises:
        TypeError: a number is no integer.
        ValueError: a number below 1.

    Source: Bahdanau, Cho and Bengio 2015, section 3 and appendix A.
    """

    def __init__(self, source_vocab: int, target_vocab: int, d_embed: int, d_hidden: int) -> None:
        super().__init__()
        check_sizes(target_vocab=target_vocab, d_hidden=d_hidden)
        self.encoder = _Encoder(source_vocab, d_embed, d_hidden, lstm=False)
        self.start = nn.Linear(d_hidden, d_hidden)
        self.attention = AdditiveAttention(d_hidden, d_hidden, d_hidden)
        self.embedding = Embedding(target_vocab, d_embed)
        self.cell = GRUCell(d_embed + d_hidden, d_hidden)
        self.output = nn.Linear(d_hidden + d_embed + d_hidden, target_vocab)

    def forward(
        self,
        source: Int64[Tensor, "B S"],
        target_in: Int64[Tensor, "B L"],
        lengths: Int64[Tensor, "B"] | None = None,
    ) -> Float[Tensor, "B L target_vocab"]:
        """Give the logits of every next token by teacher forcing, (B, L, V).

        Raises:
            TypeError: tokens or lengths are not int64.
            ValueError: the shapes do not fit, the source or the target is empty, a length is not
                between 1 and S, or a token is outside its vocabulary.
        """
        check_shapes(f"{SOURCE}, target_in int64 (B, L>0)", source, lengths, target_in)
        memory, state = self.encode(source, lengths)
        step = self._step_over(memory, source, lengths)
        return teacher_forced(step, state, target_in)

    def encode(
        self, source: Int64[Tensor, "B S"], lengths: Int64[Tensor, "B"] | None = None
    ) -> tuple[Float[Tensor, "B S d_hidden"], State]:
        """Give the memory, which is all states, (B, S, d_hidden), and the decoder's first state.

        Raises:
            TypeError: tokens or lengths are not int64.
            ValueError: what forward refuses of a source.
        """
        states, last = self.encoder(source, lengths)
        return states, torch.tanh(self.start(last))

    def step(
        self,
        token: Int64[Tensor, "B"],
        state: State,
        memory: Float[Tensor, "B S d_hidden"],
        memory_mask: Bool[Tensor, "B S"] | None = None,
    ) -> tuple[Float[Tensor, "B V"], State, Float[Tensor, "B S"]]:
        """Give the logits after one more token, the next state and what was looked at.

        Args:
            token: the newest token of each sequence, (B,).
            state: what the step before gave.
            memory: the encoder's states, (B, S, d_hidden).
            memory_mask: (B, S), True at real tokens.

        Returns:
            Logits (B, V), the state, and the weights (B, S).

        Raises:
            TypeError: the tokens are not int64, the mask is not boolean, or the state or the memory
                is not floating point.
            ValueError: the shapes do not fit, or a token is outside the vocabulary.
        """
        forms = "token int64 (B,), state (B, d_hidden), memory (B, S>0, d_hidden)"
        d_hidden, mask_form = self.start.out_features, "memory_mask? bool (B, S)"
        check_shapes(f"{forms}, {mask_form}", token, state, memory, memory_mask, d_hidden=d_hidden)
        mask = None if memory_mask is None else memory_mask[:, None, :]
        context, weights = self.attention(state[:, None, :], memory, memory, mask)  # (B, 1, …)
        token_in, context = self.embedding(token), context[:, 0]
        state = self.cell(torch.cat([token_in, context], -1), state)
        return self.output(torch.cat([state, token_in, context], -1)), state, weights[:, 0]

    def generate(
        self,
        source: Int64[Tensor, "B S"],
        bos: int,
        max_length: int,
        lengths: Int64[Tensor, "B"] | None = None,
        *,
        end: int | None = None,
    ) -> Int64[Tensor, "B max_length"]:
        """Generate greedily, (B, max_length), without the start token ``bos``.

        After the token ``end``, where one is named, a sequence goes on with nothing else.

        Raises:
            TypeError: tokens or lengths are not int64, or a number is no integer.
            ValueError: what forward refuses, or a negative ``max_length``.
        """
        check_integers(0, bos=bos, max_length=max_length)
        memory, state = self.encode(source, lengths)
        step = self._step_over(memory, source, lengths)
        return greedy(step, state, torch.full_like(source[:, 0], bos), max_length, end=end)

    def _step_over(
        self,
        memory: Float[Tensor, "B S d_hidden"],
        source: Int64[Tensor, "B S"],
        lengths: Int64[Tensor, "B"] | None,
    ) -> Step:
        mask = None if lengths is None else padding_mask(lengths, source.shape[1])

        def step(token: Int64[Tensor, "B"], state: State) -> tuple[Float[Tensor, "B V"], State]:
            logits, state, _ = self.step(token, state, memory, mask)
            return logits, state

        return step
