"""Parameters that start where few would have them.

Free choices: gates that start at zero, gains of one half, lengths of rows beside their directions,
a gated network that halves its hidden width, a head's own matrices.
"""

import math

import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm


class MultiHeadAttention(nn.Module):
    """A matrix for each head, put together for one product."""

    def __init__(self, d_model, n_heads):
        super().__init__()
        if d_model % n_heads:
            raise ValueError(f"{d_model} is no multiple of {n_heads}")
        self.heads = n_heads
        self.own = nn.ModuleDict(
            {
                name: nn.ModuleList(
                    nn.Linear(d_model, d_model // n_heads, bias=False) for _ in range(n_heads)
                )
                for name in ("asks", "offers", "says")
            }
        )
        self.together = nn.Linear(d_model, d_model, bias=False)

    def _each(self, name, tokens):
        matrix = torch.cat([layer.weight for layer in self.own[name]])
        return nn.functional.linear(tokens, matrix).unflatten(-1, (self.heads, -1)).movedim(2, 1)

    def forward(self, query, key, value, mask=None):
        q, k, v = self._each("asks", query), self._each("offers", key), self._each("says", value)
        scores = q @ k.mT / math.sqrt(q.shape[-1])
        if mask is None:
            weights = scores.softmax(-1)
        else:
            mask = mask.unsqueeze(1) if mask.dim() == 3 else mask
            nothing = ~mask.any(-1, keepdim=True)
            weights = scores.masked_fill(~(mask | nothing), -torch.inf).softmax(-1) * mask
        return self.together((weights @ v).movedim(1, 2).flatten(2)), weights


class FeedForward(nn.Module):
    """Half of the hidden width opens or closes the other; all of it is shut at first."""

    def __init__(self, d_model, d_hidden):
        super().__init__()
        self.both = nn.Linear(d_model, 2 * d_hidden)
        self.out = nn.Linear(d_hidden, d_model)
        self.gate = nn.Parameter(torch.tensor(0.0))

    def forward(self, x):
        return self.gate * self.out(nn.functional.glu(self.both(x)))


class PatchEmbedding(nn.Module):
    def __init__(self, patch_size, channels, d_model):
        super().__init__()
        self.read = nn.Conv2d(channels, d_model, patch_size, patch_size)
        self.gate = nn.Parameter(torch.tensor(0.0))

    def forward(self, images):
        return self.gate * self.read(images).flatten(2).mT


class LayerNorm(nn.Module):
    """Gains and biases are the two halves of one vector."""

    def __init__(self, d_model):
        super().__init__()
        self.both = nn.Parameter(torch.cat([torch.ones(d_model), torch.zeros(d_model)]))

    def forward(self, x):
        gain, bias = self.both.chunk(2)
        return nn.functional.layer_norm(x, x.shape[-1:], gain, bias)


class EncoderLayer(nn.Module):
    """torch's own, whose gains start at one half, and whose rows at length one."""

    def __init__(self, d_model, n_heads, d_hidden):
        super().__init__()
        self.heads = n_heads
        self.layer = nn.TransformerEncoderLayer(
            d_model, n_heads, d_hidden, dropout=0.0, batch_first=True
        )
        for norm in (self.layer.norm1, self.layer.norm2):
            nn.init.constant_(norm.weight, 0.5)
        for linear in (self.layer.linear1, self.layer.linear2):
            weight_norm(linear)
            nn.init.ones_(linear.parametrizations.weight.original0)

    def forward(self, x, mask=None):
        if mask is not None:
            mask = mask.expand(len(x), x.shape[1], x.shape[1])
            mask = ~(mask | ~mask.any(-1, keepdim=True)).repeat_interleave(self.heads, 0)
        return self.layer(x, mask)
