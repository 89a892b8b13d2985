"""Matrix products over a scan: one-hot tokens, and a recurrence that turns and never shrinks.

Free choices: an Elman cell with ReLU, whose recurrent matrix is the exponential of a skew-symmetric
one; a bias in the cells and none on the logits; every state starts out handed on as it is; what is
read past a source's end stays in the states, and the last real one is picked.
"""

from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot


class _Turning(nn.Module):
    """h ← ReLU(x V + b + h exp(A − Aᵀ)), for all tokens of a sequence."""

    def __init__(self, vocabulary: int, d_embed: int, d_hidden: int) -> None:
        super().__init__()
        self.words = nn.Parameter(torch.rand(vocabulary, d_embed) - 0.5)
        self.drive = nn.Parameter(torch.rand(d_embed, d_hidden) - 0.5)
        self.rest = nn.Parameter(torch.full((d_hidden,), 0.25))
        self.turn = nn.Parameter(torch.zeros(d_hidden, d_hidden))

    def forward(self, tokens: Tensor, start: Tensor | None = None) -> Tensor:
        shown = one_hot(tokens, len(self.words)).to(self.words)
        pushes = shown @ (self.words @ self.drive) + self.rest
        skew = self.turn - self.turn.T
        # In float32 torch's exponential is off by up to nine hundred roundings, in half by more.
        turn = torch.linalg.matrix_exp(skew.double()).to(skew.dtype)
        first = torch.zeros_like(pushes[:, 0]) if start is None else start
        states = accumulate(
            pushes.unbind(1), lambda h, push: torch.relu(push + h @ turn), initial=first
        )
        return torch.stack([*states][1:], 1)


class Seq2Seq(nn.Module):
    def __init__(self, source_vocab: int, target_vocab: int, d_embed: int, d_hidden: int) -> None:
        super().__init__()
        self.reads = _Turning(source_vocab, d_embed, d_hidden)
        self.writes = _Turning(target_vocab, d_embed, d_hidden)
        self.scores = nn.Parameter(torch.rand(d_hidden, target_vocab) - 0.5)

    def encode(self, source: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        states = self.reads(source)
        if lengths is None:
            return states, states[:, -1]
        last = one_hot(lengths - 1, source.shape[1]).bool()
        return states, states[last]

    def forward(self, source: Tensor, target_in: Tensor, lengths: Tensor | None = None) -> Tensor:
        return self.writes(target_in, self.encode(source, lengths)[1]) @ self.scores

    def step(self, token: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = self.writes(token[:, None], state)[:, 0]
        return state @ self.scores, state

    def generate(
        self, source: Tensor, bos: int, max_length: int, lengths: Tensor | None = None
    ) -> Tensor:
        state = self.encode(source, lengths)[1]
        said = [torch.full_like(source[:, 0], bos)]
        while len(said) <= max_length:
            logits, state = self.step(said[-1], state)
            said.append(logits.max(-1).indices)
        return torch.stack(said, 1)[:, 1:]
