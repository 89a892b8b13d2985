"""All real tokens of a batch in one long row, that a mask cuts into its sequences again.

Free choices: post-norm, with one more normalisation at the end of neither side; GELU; biases;
matrices and biases that end a sublayer start at zero, and so do the logits; the halves of sines and
of cosines; embeddings as they are; three vocabulary matrices; torch's fused attention; a cache that
holds the history of tokens alone, from which everything is computed anew.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class Packed(NamedTuple):
    """Tokens (N, D), and of each token the number of its sequence and its place in it, (N,)."""

    tokens: Tensor
    sequence: Tensor
    place: Tensor


@dataclass(frozen=True)
class History:
    tokens: tuple[Tensor, ...] = ()


def _silent(d_in: int, d_out: int) -> nn.Linear:
    made = nn.Linear(d_in, d_out)
    nn.init.zeros_(made.weight)
    nn.init.zeros_(made.bias)
    return made


class _Attention(nn.Module):
    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.heads = n_heads
        self.query, self.key = nn.Linear(d_model, d_model), nn.Linear(d_model, d_model)
        self.value, self.output = nn.Linear(d_model, d_model), _silent(d_model, d_model)

    def _split(self, x: Tensor) -> Tensor:
        return x.view(1, len(x), self.heads, -1).transpose(1, 2)

    def forward(self, x: Tensor, other: Tensor, mask: Tensor) -> Tensor:
        mixed = functional.scaled_dot_product_attention(
            self._split(self.query(x)),
            self._split(self.key(other)),
            self._split(self.value(other)),
            attn_mask=mask,
        )
        return self.output(mixed.transpose(1, 2).reshape(x.shape))


class _Layer(nn.Module):
    def __init__(self, d_model: int, n_heads: int, d_hidden: int, attentions: int) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([_Attention(d_model, n_heads) for _ in range(attentions)])
        self.network = nn.Sequential(
            nn.Linear(d_model, d_hidden), nn.GELU(), _silent(d_hidden, d_model)
        )
        self.norms = nn.ModuleList([nn.LayerNorm(d_model) for _ in range(attentions + 1)])

    def forward(self, x: Tensor, own: Tensor, *consulted: tuple[Tensor, Tensor]) -> Tensor:
        attends, *consults = self.attentions
        x = self.norms[0](x + attends(x, x, own))
        for norm, attention, (other, mask) in zip(
            self.norms[1:-1], consults, consulted, strict=True
        ):
            x = norm(x + attention(x, other, mask))
        return self.norms[-1](x + self.network(x))


class Transformer(nn.Module):
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
        self.source = nn.Embedding(source_vocab, d_model)
        self.target = nn.Embedding(target_vocab, d_model)
        self.encoder, self.decoder = (
            nn.ModuleList([_Layer(d_model, n_heads, d_hidden, kinds) for _ in range(n_layers)])
            for kinds in (1, 2)
        )
        self.logits = _silent(d_model, target_vocab)

    @staticmethod
    def _pack(rows: Tensor, real: Tensor | None) -> Packed:
        batch, length = rows.shape[:2]
        if real is None:
            real = torch.ones(batch, length, dtype=torch.bool, device=rows.device)
        sequence, place = real.nonzero(as_tuple=True)
        return Packed(rows[sequence, place], sequence, place)

    @staticmethod
    def _positions(packed: Packed) -> Packed:
        width = packed.tokens.shape[1]
        rate = torch.arange((width + 1) // 2, device=packed.place.device) * (-2 / width)
        angle = packed.place[:, None] * torch.pow(10000.0, rate)
        waves = torch.cat([angle.sin(), angle.cos()], 1)[:, :width].to(packed.tokens)
        return packed._replace(tokens=packed.tokens + waves)

    def encode(self, source: Tensor, source_mask: Tensor | None = None) -> Tensor:
        packed = self._positions(self._pack(self.source(source), source_mask))
        together = packed.sequence[:, None] == packed.sequence
        x = packed.tokens
        for layer in self.encoder:
            x = layer(x, together)
        memory = x.new_zeros(*source.shape, x.shape[1])
        return memory.index_put((packed.sequence, packed.place), x)

    def decode(
        self, target_in: Tensor, memory: Tensor, source_mask: Tensor | None = None
    ) -> Tensor:
        said = self._positions(self._pack(self.target(target_in), None))
        read = self._pack(memory, source_mask)
        own = said.sequence[:, None] == said.sequence
        own = own & (said.place[:, None] >= said.place)
        about = said.sequence[:, None] == read.sequence
        x = said.tokens
        for layer in self.decoder:
            x = layer(x, own, (read.tokens, about))
        return self.logits(x).unflatten(0, target_in.shape)

    def forward(
        self, source: Tensor, target_in: Tensor, source_mask: Tensor | None = None
    ) -> Tensor:
        return self.decode(target_in, self.encode(source, source_mask), source_mask)

    def step(
        self,
        token: Tensor,
        memory: Tensor,
        cache: History | None = None,
        source_mask: Tensor | None = None,
    ) -> tuple[Tensor, History]:
        history = cache or History()
        history = replace(history, tokens=(*history.tokens, token))
        logits = self.decode(torch.stack(history.tokens, 1), memory, source_mask)
        return logits[:, -1], history

    def generate(
        self, source: Tensor, bos: int, max_length: int, source_mask: Tensor | None = None
    ) -> Tensor:
        memory = self.encode(source, source_mask)
        said = source.new_full((len(source), max_length + 1), bos)
        for t in range(max_length):
            said[:, t + 1] = self.decode(said[:, : t + 1], memory, source_mask)[:, t].argmax(-1)
        return said[:, 1:].clone()
