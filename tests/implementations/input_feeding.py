"""Luong's decoder: it steps, looks, and is fed in the next step what it made of what it saw.

Free choices: two layers of torch's GRU on both sides; a state nested as ((lower, upper), fed); the
general score, without a bias; the dtype's least number for a mask; logits from the embedding of the
target, used a second time, and a bias; orthogonal recurrent matrices.
"""

import torch
from torch import Tensor, nn

State = tuple[tuple[Tensor, Tensor], Tensor]


class AttentionSeq2Seq(nn.Module):
    def __init__(self, source_vocab: int, target_vocab: int, d_embed: int, d_hidden: int) -> None:
        super().__init__()
        self.source_words = nn.Embedding(source_vocab, d_embed)
        self.target_words = nn.Embedding(target_vocab, d_embed)
        self.lower_reader = nn.GRU(d_embed, d_hidden, batch_first=True)
        self.upper_reader = nn.GRU(d_hidden, d_hidden, batch_first=True)
        self.lower_writer = nn.GRUCell(d_embed + d_hidden, d_hidden)
        self.upper_writer = nn.GRUCell(d_hidden, d_hidden)
        self.general = nn.Linear(d_hidden, d_hidden, bias=False)
        self.attentional = nn.Linear(2 * d_hidden, d_hidden, bias=False)
        self.to_words = nn.Linear(d_hidden, d_embed, bias=False)
        self.frequency = nn.Parameter(torch.zeros(target_vocab))
        for name, parameter in self.named_parameters():
            if "weight_hh" in name:
                nn.init.orthogonal_(parameter)

    def encode(self, source: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        lower, _ = self.lower_reader(self.source_words(source))
        upper, _ = self.upper_reader(lower)
        if lengths is None:
            lengths = source.new_full((len(source),), source.shape[1])
        items = torch.arange(len(source), device=source.device)
        last = (lower[items, lengths - 1], upper[items, lengths - 1])
        return upper, (last, torch.zeros_like(last[1]))

    def step(
        self, token: Tensor, state: State, memory: Tensor, memory_mask: Tensor | None = None
    ) -> tuple[Tensor, State, Tensor]:
        (lower, upper), fed = state
        lower = self.lower_writer(torch.cat([self.target_words(token), fed], -1), lower)
        upper = self.upper_writer(lower, upper)
        scores = torch.bmm(memory, self.general(upper)[..., None])[..., 0]
        if memory_mask is not None:
            scores = torch.where(memory_mask, scores, torch.finfo(scores.dtype).min)
        weights = torch.softmax(scores, -1)
        context = torch.bmm(weights[:, None], memory)[:, 0]
        fed = torch.tanh(self.attentional(torch.cat([context, upper], -1)))
        logits = self.to_words(fed) @ self.target_words.weight.T + self.frequency
        return logits, ((lower, upper), fed), weights

    def forward(self, source: Tensor, target_in: Tensor, lengths: Tensor | None = None) -> Tensor:
        memory, state = self.encode(source, lengths)
        real = self._real(source, lengths)
        logits = self.frequency.new_empty(*target_in.shape, len(self.frequency))
        for t in range(target_in.shape[1]):
            logits[:, t], state, _ = self.step(target_in[:, t], state, memory, real)
        return logits

    def generate(
        self, source: Tensor, bos: int, max_length: int, lengths: Tensor | None = None
    ) -> Tensor:
        memory, state = self.encode(source, lengths)
        real = self._real(source, lengths)
        said = source.new_empty(len(source), max_length)
        token = torch.full_like(source[:, 0], bos)
        for column in said.unbind(1):
            logits, state, _ = self.step(token, state, memory, real)
            token = column.copy_(logits.argmax(-1))
        return said

    @staticmethod
    def _real(source: Tensor, lengths: Tensor | None) -> Tensor | None:
        if lengths is None:
            return None
        return torch.ones_like(source).cumsum(1) <= lengths[:, None]
