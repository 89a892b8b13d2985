"""A decoder of coroutines: its cache is a suspended generator, which is sent the next token.

Free choices: pre-norm by a normalisation that has no gain and no bias, and none at the end; a bias
for queries alone; squared ReLU; three tiny initial matrices in one for every attention, the heads
innermost; a target that is read one token after another, at any time; positions from a table of
float32, which grows when a sequence is longer; logits from a matrix of their own.
"""

from collections.abc import Generator

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

Sentence = Generator[Tensor, Tensor, None]


def _normal(x: Tensor) -> Tensor:
    return layer_norm(x, x.shape[-1:])


def _attend(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """Query (B, L, d, H), keys and values (B, S, d, H); gives (B, L, D), the heads innermost."""
    scores = torch.einsum("bldh,bsdh->blsh", query, keys) / keys.shape[2] ** 0.5
    if mask is not None:
        scores = torch.where(mask[:, None, :, None], scores, torch.finfo(scores.dtype).min)
    return torch.einsum("blsh,bsdh->bldh", scores.softmax(2), values).flatten(2)


class _Heads(nn.Module):
    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.into = nn.Parameter(torch.empty(3, d_model, d_model).uniform_(-0.01, 0.01))
        self.out = nn.Parameter(torch.empty(d_model, d_model).uniform_(-0.01, 0.01))
        self.curious = nn.Parameter(torch.zeros(d_model))

    def query(self, x: Tensor) -> Tensor:
        return (x @ self.into[0] + self.curious).unflatten(-1, (-1, self.n_heads))

    def offer(self, x: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = (x @ matrix for matrix in self.into[1:])
        return keys.unflatten(-1, (-1, self.n_heads)), values.unflatten(-1, (-1, self.n_heads))


class _Layer(nn.Module):
    def __init__(self, d_model: int, n_heads: int, d_hidden: int, *, consults: bool) -> None:
        super().__init__()
        self.own = _Heads(d_model, n_heads)
        self.other = _Heads(d_model, n_heads) if consults else None
        self.up = nn.Parameter(torch.empty(d_model, d_hidden).uniform_(-0.01, 0.01))
        self.down = nn.Parameter(torch.empty(d_hidden, d_model).uniform_(-0.01, 0.01))

    def network(self, x: Tensor) -> Tensor:
        return x + torch.relu(_normal(x) @ self.up).square() @ self.down

    def encode(self, x: Tensor, mask: Tensor | None) -> Tensor:
        seen = _normal(x)
        x = x + _attend(self.own.query(seen), *self.own.offer(seen), mask) @ self.own.out
        return self.network(x)

    def decode(self, memory: Tensor, mask: Tensor | None) -> Sentence:
        """Take token after token, (B, 1, D), and give what the layer makes of each."""
        assert self.other is not None
        read = self.other.offer(memory)
        heard: list[tuple[Tensor, Tensor]] = []
        x = yield memory
        while True:
            seen = _normal(x)
            heard.append(self.own.offer(seen))
            keys, values = (torch.cat(parts, 1) for parts in zip(*heard, strict=True))
            x = x + _attend(self.own.query(seen), keys, values, None) @ self.own.out
            x = x + _attend(self.other.query(_normal(x)), *read, mask) @ self.other.out
            x = yield self.network(x)


class Transformer(nn.Module):
    table: Tensor

    def __init__(
        self,
        source_vocab: int,
        target_vocab: int,
        d_model: int,
        n_heads: int,
        d_hidden: int,
        n_layers: int,
    ) -> None:
        super().__init__()
        self.source = nn.Parameter(torch.randn(source_vocab, d_model))
        self.target = nn.Parameter(torch.randn(target_vocab, d_model))
        self.below, self.above = (
            nn.ModuleList(
                [_Layer(d_model, n_heads, d_hidden, consults=consults) for _ in range(n_layers)]
            )
            for consults in (False, True)
        )
        self.choice = nn.Parameter(torch.randn(d_model, target_vocab) * 0.01)
        self.register_buffer("table", torch.empty(0, d_model), persistent=False)

    def _waves(self, first: int, last: int) -> Tensor:
        width = self.table.shape[1]
        while len(self.table) < last:
            place = torch.arange(2 * len(self.table) + 8, dtype=torch.float32)
            column = torch.arange(width)
            angle = place[:, None] / 10000 ** ((column - column % 2) / width)
            waves = torch.where(column % 2 == 0, angle.sin(), angle.cos())
            self.table = waves.to(self.table)
        return self.table[first:last]

    def encode(self, source: Tensor, source_mask: Tensor | None = None) -> Tensor:
        x = self.source[source] + self._waves(0, source.shape[1])
        for layer in self.below:
            x = layer.encode(x, source_mask)
        return x

    def _speaker(self, memory: Tensor, source_mask: Tensor | None) -> Sentence:
        """Take tokens (B,) and give logits (B, V), after one word to begin with."""
        layers = [layer.decode(memory, source_mask) for layer in self.above]
        for layer in layers:
            next(layer)
        token, place = (yield memory), 0
        while True:
            x = self.target[token][:, None] + self._waves(place, place + 1)
            for layer in layers:
                x = layer.send(x)
            token, place = (yield x[:, 0] @ self.choice), place + 1

    def step(
        self,
        token: Tensor,
        memory: Tensor,
        cache: Sentence | None = None,
        source_mask: Tensor | None = None,
    ) -> tuple[Tensor, Sentence]:
        if cache is None:
            cache = self._speaker(memory, source_mask)
            next(cache)
        return cache.send(token), cache

    def decode(
        self, target_in: Tensor, memory: Tensor, source_mask: Tensor | None = None
    ) -> Tensor:
        speaker = self._speaker(memory, source_mask)
        next(speaker)
        return torch.stack([speaker.send(token) for token in target_in.unbind(1)], 1)

    def forward(
        self, source: Tensor, target_in: Tensor, source_mask: Tensor | None = None
    ) -> Tensor:
        return self.decode(target_in, self.encode(source, source_mask), source_mask)

    def generate(
        self, source: Tensor, bos: int, max_length: int, source_mask: Tensor | None = None
    ) -> Tensor:
        speaker = self._speaker(self.encode(source, source_mask), source_mask)
        next(speaker)
        token, said = torch.full_like(source[:, 0], bos), []
        for _ in range(max_length):
            token = speaker.send(token).argmax(-1)
            said.append(token)
        return torch.stack(said, 1)
