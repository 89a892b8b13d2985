"""One table of words for source, target and logits, and key and value buffers that double.

Free choices: pre-norm by the root mean square, with gains that are stored as what they add to one,
and a normalisation at the end; SwiGLU; no bias anywhere; embeddings times √d; positions interleaved
and put down by complex exponentials; fused projections; −∞ for a mask; small initial weights.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, silu


class _Gain(nn.Module):
    """x / √(mean x² + ε) · (1 + g)."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.more = nn.Parameter(torch.zeros(d_model))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * (1 + self.more)


def _projection(d_in: int, d_out: int) -> nn.Linear:
    made = nn.Linear(d_in, d_out, bias=False)
    nn.init.trunc_normal_(made.weight, std=0.05)
    return made


class _Attention(nn.Module):
    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.ask = _projection(d_model, d_model)
        self.offer = _projection(d_model, 2 * d_model)
        self.say = _projection(d_model, d_model)

    def offered(self, x: Tensor) -> Tensor:
        """Keys and values, (2, B, H, S, d)."""
        return self.offer(x).unflatten(-1, (2, self.n_heads, -1)).permute(2, 0, 3, 1, 4)

    def forward(self, x: Tensor, offered: Tensor, mask: Tensor | None) -> Tensor:
        keys, values = offered
        asked = self.ask(x).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
        scores = (asked * asked.shape[-1] ** -0.5) @ keys.mT
        if mask is not None:
            scores = scores.masked_fill(mask.logical_not(), -torch.inf)
        return self.say((scores.softmax(-1) @ values).transpose(1, 2).flatten(2))


class _SwiGLU(nn.Module):
    def __init__(self, d_model: int, d_hidden: int) -> None:
        super().__init__()
        self.gate_and_up = _projection(d_model, 2 * d_hidden)
        self.down = _projection(d_hidden, d_model)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_and_up(x).chunk(2, -1)
        return self.down(silu(gate) * up)


class _Block(nn.Module):
    """One layer of either side; the encoder's consults nothing."""

    def __init__(self, d_model: int, n_heads: int, d_hidden: int, *, consults: bool) -> None:
        super().__init__()
        self.own = _Attention(d_model, n_heads)
        self.other = _Attention(d_model, n_heads) if consults else None
        self.network = _SwiGLU(d_model, d_hidden)
        self.gains = nn.ModuleList([_Gain(d_model) for _ in range(3 if consults else 2)])

    def rest(self, x: Tensor, memory: Tensor | None, mask: Tensor | None) -> Tensor:
        if self.other is not None and memory is not None:
            x = x + self.other(self.gains[1](x), self.other.offered(memory), mask)
        return x + self.network(self.gains[-1](x))


@dataclass(frozen=True)
class _Buffer:
    """Room for a layer's keys and values, (2, B, H, room, d), of which some columns are in use."""

    room: Tensor
    used: int = 0

    def holding(self, column: Tensor) -> "_Buffer":
        room = self.room
        if self.used == room.shape[-2]:
            room = torch.cat([room, torch.zeros_like(column), torch.zeros_like(room)], -2)
        elif torch.is_grad_enabled():
            room = room.clone()  # what was saved for a gradient is not to be overwritten
        room[..., self.used : self.used + 1, :] = column
        return _Buffer(room, self.used + 1)

    @property
    def offered(self) -> Tensor:
        return self.room[..., : self.used, :]


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
        self.target_vocab = target_vocab
        self.words = nn.Parameter(0.02 * torch.randn(max(source_vocab, target_vocab), d_model))
        self.readers, self.writers = (
            nn.ModuleList(
                [_Block(d_model, n_heads, d_hidden, consults=consults) for _ in range(n_layers)]
            )
            for consults in (False, True)
        )
        self.read, self.written = _Gain(d_model), _Gain(d_model)

    def _placed(self, tokens: Tensor, first: int = 0) -> Tensor:
        width = self.words.shape[1]
        place = torch.arange(first, first + tokens.shape[1], dtype=torch.float64)
        rate = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
        turned = torch.exp(1j * place[:, None] * rate)
        waves = torch.view_as_real(turned).flip(-1).flatten(1)[:, :width]
        return self.words[tokens] * width**0.5 + waves.to(self.words)

    def encode(self, source: Tensor, source_mask: Tensor | None = None) -> Tensor:
        mask = None if source_mask is None else source_mask[:, None, None]
        x = self._placed(source)
        for block in self.readers:
            seen = block.gains[0](x)
            x = block.rest(x + block.own(seen, block.own.offered(seen), mask), None, None)
        return self.read(x)

    def decode(
        self, target_in: Tensor, memory: Tensor, source_mask: Tensor | None = None
    ) -> Tensor:
        mask = None if source_mask is None else source_mask[:, None, None]
        x = self._placed(target_in)
        past = torch.ones(2 * target_in.shape[1:], dtype=torch.bool, device=x.device).tril()
        for block in self.writers:
            seen = block.gains[0](x)
            x = block.rest(x + block.own(seen, block.own.offered(seen), past), memory, mask)
        return linear(self.written(x), self.words[: self.target_vocab])

    def forward(
        self, source: Tensor, target_in: Tensor, source_mask: Tensor | None = None
    ) -> Tensor:
        return self.decode(target_in, self.encode(source, source_mask), source_mask)

    def step(
        self,
        token: Tensor,
        memory: Tensor,
        cache: list[_Buffer] | None = None,
        source_mask: Tensor | None = None,
    ) -> tuple[Tensor, list[_Buffer]]:
        mask = None if source_mask is None else source_mask[:, None, None]
        x = self._placed(token[:, None], cache[0].used if cache else 0)
        grown = []
        for number, block in enumerate(self.writers):
            seen = block.gains[0](x)
            column = block.own.offered(seen)
            buffer = (cache[number] if cache else _Buffer(column[..., :0, :])).holding(column)
            grown.append(buffer)
            x = block.rest(x + block.own(seen, buffer.offered, None), memory, mask)
        return linear(self.written(x)[:, 0], self.words[: self.target_vocab]), grown

    def generate(
        self, source: Tensor, bos: int, max_length: int, source_mask: Tensor | None = None
    ) -> Tensor:
        memory, cache = self.encode(source, source_mask), None
        said = [torch.full_like(source[:, 0], bos)]
        for _ in range(max_length):
            logits, cache = self.step(said[-1], memory, cache, source_mask)
            said.append(logits.argmax(-1))
        return torch.stack(said[1:], -1)
