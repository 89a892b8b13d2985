"""Bahdanau's decoder with his deep output: the larger of each two numbers of a readout.

Free choices: Cho's gated unit, which resets the state before it is multiplied; keys by a
convolution of width one; a start from the mean of what was read; a state in a list; biases in gates
and none elsewhere; −∞ for a mask; the energy starts at zero.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, linear


def _matrix(rows: int, columns: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(rows, columns) / math.sqrt(columns))


class _GatedUnit(nn.Module):
    """h′ = z h + (1 − z) tanh(W x + U (r ∘ h))."""

    def __init__(self, d_input: int, d_hidden: int) -> None:
        super().__init__()
        self.gates = nn.Linear(d_input + d_hidden, 2 * d_hidden)
        self.of_input, self.of_state = _matrix(d_hidden, d_input), _matrix(d_hidden, d_hidden)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        update, reset = self.gates(torch.cat([x, h], -1)).sigmoid().chunk(2, -1)
        new = torch.tanh(linear(x, self.of_input) + linear(reset * h, self.of_state))
        return h + (1 - update) * (new - h)


class AttentionSeq2Seq(nn.Module):
    def __init__(self, source_vocab: int, target_vocab: int, d_embed: int, d_hidden: int) -> None:
        super().__init__()
        self.d_hidden = d_hidden
        self.source_words = _matrix(source_vocab, d_embed)
        self.target_words = _matrix(target_vocab, d_embed)
        self.reader = _GatedUnit(d_embed, d_hidden)
        self.start = _matrix(d_hidden, d_hidden)
        self.asks = _matrix(d_hidden, d_hidden)
        self.offers = nn.Parameter(torch.randn(d_hidden, d_hidden, 1) / math.sqrt(d_hidden))
        self.energy = nn.Parameter(torch.zeros(d_hidden))
        self.writer = _GatedUnit(d_embed + d_hidden, d_hidden)
        self.readout = _matrix(2 * d_hidden, 2 * d_hidden + d_embed)
        self.scores = _matrix(target_vocab, d_hidden)

    def encode(self, source: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        h = self.scores.new_zeros(len(source), self.d_hidden)
        states, total = [], h
        for t, tokens in enumerate(source.T):
            h = self.reader(self.source_words[tokens], h)
            states.append(h)
            total = total + (h if lengths is None else h.where(lengths[:, None] > t, 0.0))
        count = source.shape[1] if lengths is None else lengths[:, None].to(h)
        return torch.stack(states, 1), [torch.tanh(linear(total / count, self.start))]

    def step(
        self,
        token: Tensor,
        state: list[Tensor],
        memory: Tensor,
        memory_mask: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor], Tensor]:
        (h,) = state
        offered = conv1d(memory.mT, self.offers)  # (B, d_hidden, S)
        scores = self.energy @ torch.tanh(linear(h, self.asks)[..., None] + offered)
        if memory_mask is not None:
            nobody = ~memory_mask.any(-1, keepdim=True)
            scores = scores.masked_fill(~(memory_mask | nobody), -torch.inf)
        weights = scores.softmax(-1)
        context = torch.einsum("bs,bsd->bd", weights, memory)
        word = self.target_words[token]
        h = self.writer(torch.cat([word, context], -1), h)
        pairs = linear(torch.cat([h, word, context], -1), self.readout)
        return linear(pairs.unflatten(-1, (-1, 2)).amax(-1), self.scores), [h], weights

    def _mask(self, source: Tensor, lengths: Tensor | None) -> Tensor | None:
        if lengths is None:
            return None
        return torch.arange(source.shape[1], device=source.device).lt(lengths.unsqueeze(1))

    def forward(self, source: Tensor, target_in: Tensor, lengths: Tensor | None = None) -> Tensor:
        memory, state = self.encode(source, lengths)
        mask = self._mask(source, lengths)

        def logits_from(t: int, state: list[Tensor]) -> list[Tensor]:
            if t == target_in.shape[1]:
                return []
            logits, state, _ = self.step(target_in[:, t], state, memory, mask)
            return [logits, *logits_from(t + 1, state)]

        return torch.stack(logits_from(0, state), 1)

    def generate(
        self, source: Tensor, bos: int, max_length: int, lengths: Tensor | None = None
    ) -> Tensor:
        memory, state = self.encode(source, lengths)
        mask = self._mask(source, lengths)
        said = source.new_full((1, len(source)), bos)
        for _ in range(max_length):
            logits, state, _ = self.step(said[-1], state, memory, mask)
            said = torch.cat([said, logits.argmax(-1)[None]])
        return said[1:].T.contiguous()
