"""Sequence-to-sequence models that keep all that they learn in one vector.

Free choices: Elman networks without a bias; small weights at the start; attention by dot products.
"""

import torch

from tests.implementations.flat_vector import Flat, _attend


class Seq2Seq(Flat):
    """An Elman network reads, another writes, from what the first one ended with."""

    def __init__(self, source_vocab, target_vocab, d_embed, d_hidden, **more):
        recurrent = {"keep_reading": (d_hidden, d_hidden), "keep_writing": (d_hidden, d_hidden)}
        super().__init__(
            source=(source_vocab, d_embed),
            read=(d_hidden, d_embed),
            target=(target_vocab, d_embed),
            write=(d_hidden, d_embed),
            say=(target_vocab, d_hidden),
            **recurrent,
            **more,
        )

    def encode(self, source, lengths=None):
        read = self.apply_to("read", self.view("source")[source])
        state, states = torch.zeros_like(read[:, 0]), []
        for t, given in enumerate(read.unbind(1)):
            moved = (given + self.apply_to("keep_reading", state)).tanh()
            goes_on = None if lengths is None else (t < lengths)[:, None]
            state = moved if goes_on is None else torch.where(goes_on, moved, state)
            states.append(state)
        return torch.stack(states, 1), state

    def step(self, token, state):
        given = self.apply_to("write", self.view("target")[token])
        state = (given + self.apply_to("keep_writing", state)).tanh()
        return self.apply_to("say", state), state

    def forward(self, source, target_in, lengths=None):
        _, state = self.encode(source, lengths)
        logits = []
        for token in target_in.unbind(1):
            said, state = self.step(token, state)
            logits.append(said)
        return torch.stack(logits, 1)

    def generate(self, source, bos, max_length, lengths=None):
        _, state = self.encode(source, lengths)
        token, tokens = torch.full_like(source[:, 0], bos), []
        for _ in range(max_length):
            said, state = self.step(token, state)
            token = said.argmax(-1)
            tokens.append(token)
        return torch.stack(tokens, 1)


class AttentionSeq2Seq(Seq2Seq):
    """The same, and the network that writes looks at all states before it moves on."""

    def __init__(self, source_vocab, target_vocab, d_embed, d_hidden):
        super().__init__(
            *(source_vocab, target_vocab, d_embed, d_hidden),
            look=(d_hidden, d_hidden),
            use=(d_hidden, d_hidden),
        )

    def step(self, token, state, memory, memory_mask=None):
        scores = self.apply_to("look", state)[:, None] @ memory.mT
        mask = None if memory_mask is None else memory_mask[:, None]
        seen, weights = _attend(scores, memory, mask)
        given = self.apply_to("write", self.view("target")[token])
        given = given + self.apply_to("use", seen[:, 0])
        state = (given + self.apply_to("keep_writing", state)).tanh()
        return self.apply_to("say", state), state, weights[:, 0]

    def _started(self, source, lengths):
        states, state = self.encode(source, lengths)
        if lengths is None:
            return states, state, None
        places = torch.arange(source.shape[1], device=source.device)
        return states, state, places < lengths[:, None]

    def forward(self, source, target_in, lengths=None):
        states, state, mask = self._started(source, lengths)
        logits = []
        for token in target_in.unbind(1):
            said, state, _ = self.step(token, state, states, mask)
            logits.append(said)
        return torch.stack(logits, 1)

    def generate(self, source, bos, max_length, lengths=None):
        states, state, mask = self._started(source, lengths)
        token, tokens = torch.full_like(source[:, 0], bos), []
        for _ in range(max_length):
            said, state, _ = self.step(token, state, states, mask)
            token = said.argmax(-1)
            tokens.append(token)
        return torch.stack(tokens, 1)
