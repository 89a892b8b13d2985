"""Sources in the order of their lengths, read by a batch that shrinks as they end.

Free choices: an LSTM with peepholes, whose input gate is what the forget gate leaves; biases, that
of the forget gate at two; the state is (hidden, cell), and padding reads as zeros; with attention,
the decoder looks before it steps, by the bilinear form of one matrix.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

State = tuple[Tensor, Tensor]


class _Peephole(nn.Module):
    """An LSTM whose gates see the cell, and which writes as much as it forgets."""

    def __init__(self, d_input: int, d_hidden: int) -> None:
        super().__init__()
        self.input = nn.Linear(d_input, 3 * d_hidden, bias=False)
        self.hidden = nn.Linear(d_hidden, 3 * d_hidden)
        self.forget_peephole = nn.Parameter(torch.zeros(d_hidden))
        self.output_peephole = nn.Parameter(torch.zeros(d_hidden))
        with torch.no_grad():
            self.hidden.bias[:d_hidden] = 2.0

    def forward(self, x: Tensor, state: State) -> State:
        hidden, cell = state
        forget, new, show = (self.input(x) + self.hidden(hidden)).tensor_split(3, -1)
        keep = torch.sigmoid(forget + self.forget_peephole * cell)
        cell = torch.lerp(torch.tanh(new), cell, keep)
        return torch.sigmoid(show + self.output_peephole * cell) * torch.tanh(cell), cell


class _Reader(nn.Module):
    def __init__(self, source_vocab: int, d_embed: int, d_hidden: int) -> None:
        super().__init__()
        self.d_hidden = d_hidden
        self.embedding = nn.Embedding(source_vocab, d_embed)
        self.cell = _Peephole(d_embed, d_hidden)

    def forward(self, source: Tensor, lengths: Tensor | None) -> tuple[Tensor, State]:
        batch, width = source.shape
        if lengths is None:
            lengths = source.new_full((batch,), width)
        falling, order = lengths.sort(descending=True, stable=True)
        x = self.embedding(source[order])
        state = (x.new_zeros(batch, self.d_hidden), x.new_zeros(batch, self.d_hidden))
        columns: list[Tensor] = []
        ended: list[State] = []  # the shortest source first
        for t in range(int(falling[0])):
            going = int((falling > t).sum())
            if going < len(state[0]):
                ended.insert(0, (state[0][going:], state[1][going:]))
                state = state[0][:going], state[1][:going]
            state = self.cell(x[:going, t], state)
            columns.append(pad(state[0], (0, 0, 0, batch - going)))
        hidden, cell = (torch.cat(parts) for parts in zip(state, *ended, strict=True))
        back = order.argsort()
        states = pad(torch.stack(columns, 1), (0, 0, 0, width - len(columns)))
        return states[back], (hidden[back], cell[back])


class Seq2Seq(nn.Module):
    def __init__(self, source_vocab: int, target_vocab: int, d_embed: int, d_hidden: int) -> None:
        super().__init__()
        self.reader = _Reader(source_vocab, d_embed, d_hidden)
        self.embedding = nn.Embedding(target_vocab, d_embed)
        self.cell = _Peephole(d_embed, d_hidden)
        self.logits = nn.Linear(d_hidden, target_vocab)

    def encode(self, source: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        return self.reader(source, lengths)

    def step(self, token: Tensor, state: State) -> tuple[Tensor, State]:
        state = self.cell(self.embedding(token), state)
        return self.logits(state[0]), state

    def forward(self, source: Tensor, target_in: Tensor, lengths: Tensor | None = None) -> Tensor:
        _, state = self.encode(source, lengths)
        hidden = []
        for x in self.embedding(target_in).unbind(1):
            state = self.cell(x, state)
            hidden.append(state[0])
        return self.logits(torch.stack(hidden, 1))

    def generate(
        self, source: Tensor, bos: int, max_length: int, lengths: Tensor | None = None
    ) -> Tensor:
        _, state = self.encode(source, lengths)
        said = torch.full((len(source), max_length + 1), bos, device=source.device)
        for t in range(max_length):
            logits, state = self.step(said[:, t], state)
            said[:, t + 1] = logits.argmax(-1)
        return said[:, 1:].contiguous()


class AttentionSeq2Seq(nn.Module):
    def __init__(self, source_vocab: int, target_vocab: int, d_embed: int, d_hidden: int) -> None:
        super().__init__()
        self.reader = _Reader(source_vocab, d_embed, d_hidden)
        self.embedding = nn.Embedding(target_vocab, d_embed)
        self.form = nn.Bilinear(d_hidden, d_hidden, 1, bias=False)
        self.cell = _Peephole(d_embed + d_hidden, d_hidden)
        self.logits = nn.Linear(d_hidden, target_vocab)

    def encode(self, source: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        return self.reader(source, lengths)

    def step(
        self, token: Tensor, state: State, memory: Tensor, memory_mask: Tensor | None = None
    ) -> tuple[Tensor, State, Tensor]:
        asking = state[0][:, None].expand(-1, memory.shape[1], -1).contiguous()
        scores = self.form(asking, memory.contiguous())[..., 0]
        if memory_mask is not None:
            # A row without any real token is left open, so that it stays finite.
            seen = memory_mask | ~memory_mask.any(-1, keepdim=True)
            scores = scores.masked_fill(~seen, -torch.inf)
        weights = torch.exp(scores - scores.logsumexp(-1, keepdim=True))
        context = (weights[..., None] * memory).sum(1)
        state = self.cell(torch.cat([context, self.embedding(token)], -1), state)
        return self.logits(state[0]), state, weights

    def _said(
        self, source: Tensor, first: Tensor, more: int, lengths: Tensor | None, given: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Feed the given tokens, or where there are none its own; give the logits and the words."""
        memory, state = self.encode(source, lengths)
        real = None
        if lengths is not None:
            real = torch.arange(source.shape[1], device=source.device) < lengths[:, None]
        token, logits, words = first, [], []
        for t in range(more):
            if given is not None:
                token = given[:, t]
            after, state, _ = self.step(token, state, memory, real)
            token = after.argmax(-1)
            logits.append(after)
            words.append(token)
        return torch.stack(logits, 1), torch.stack(words, 1)

    def forward(self, source: Tensor, target_in: Tensor, lengths: Tensor | None = None) -> Tensor:
        return self._said(source, target_in[:, 0], target_in.shape[1], lengths, target_in)[0]

    def generate(
        self, source: Tensor, bos: int, max_length: int, lengths: Tensor | None = None
    ) -> Tensor:
        first = torch.full_like(source[:, 0], bos)
        return self._said(source, first, max_length, lengths, None)[1]
