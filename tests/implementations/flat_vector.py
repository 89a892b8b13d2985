"""One vector holds all that a module learns, and matrices are views of stretches of it.

Free choices: no bias but that of a patch; small weights at the start; a mask multiplies what was
raised, so that no constant hides a key.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Stretch:
    """Where in the vector a matrix lies: a descriptor that gives it in its shape."""

    shape: tuple[int, ...]
    start: int

    def of(self, vector):
        return vector.narrow(0, self.start, math.prod(self.shape)).view(self.shape)


class Flat(nn.Module):
    """Lays out its matrices one after another."""

    def __init__(self, **shapes):
        super().__init__()
        self.layout, end = {}, 0
        for name, shape in shapes.items():
            self.layout[name] = Stretch(shape, end)
            end += math.prod(shape)
        self.vector = nn.Parameter(torch.empty(end))
        with torch.no_grad():
            for name, shape in shapes.items():
                self.view(name).uniform_(-1, 1).mul_(0.5 / math.sqrt(shape[-1]))

    def view(self, name):
        return self.layout[name].of(self.vector)

    def apply_to(self, name, x):
        return x @ self.view(name).mT


def _weigh(scores, mask):
    wide = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if mask is None:
        raised = (wide - wide.detach().amax(-1, keepdim=True)).exp()
        return (raised / raised.sum(-1, keepdim=True)).to(scores.dtype)
    hidden = ~mask.expand_as(wide)
    lowest = torch.finfo(wide.dtype).min
    peak = wide.detach().masked_fill(hidden, lowest).amax(-1, keepdim=True)
    # What is hidden may lie above the peak of what may be seen, and must not overflow.
    raised = torch.where(hidden, 0.0, wide - peak).exp() * ~hidden
    total = raised.sum(-1, keepdim=True)
    return (raised / total.clamp_min(torch.finfo(wide.dtype).tiny)).to(scores.dtype)


def _attend(scores, value, mask):
    weights = _weigh(scores, mask)
    return weights @ value, weights


class AdditiveAttention(Flat):
    def __init__(self, d_query, d_key, d_hidden):
        super().__init__(energy=(d_hidden,), query=(d_hidden, d_query), key=(d_hidden, d_key))

    def forward(self, query, key, value, mask=None):
        asked, offered = self.apply_to("query", query), self.apply_to("key", key)
        scores = (asked[:, :, None] + offered[:, None]).tanh() @ self.view("energy")
        return _attend(scores, value, mask)


class MultiplicativeAttention(Flat):
    def __init__(self, d_query, d_key):
        super().__init__(form=(d_key, d_query))

    def forward(self, query, key, value, mask=None):
        return _attend(self.apply_to("form", query) @ key.mT, value, mask)


class SelfAttention(Flat):
    def __init__(self, d_model):
        super().__init__(**dict.fromkeys(("value", "key", "query"), (d_model, d_model)))

    def forward(self, x, mask=None):
        query, key, value = (self.apply_to(name, x) for name in ("query", "key", "value"))
        return _attend(query @ key.mT * x.shape[-1] ** -0.5, value, mask)


class MultiHeadAttention(Flat):
    def __init__(self, d_model, n_heads):
        if d_model % n_heads:
            raise ValueError("the heads do not share the width")
        names = ("query", "key", "value", "output")
        super().__init__(**dict.fromkeys(names, (d_model, d_model)))
        self.n_heads = n_heads

    def _heads(self, name, x):
        return self.apply_to(name, x).unflatten(-1, (self.n_heads, -1)).movedim(-2, 1)

    def forward(self, query, key, value, mask=None):
        query, key = self._heads("query", query), self._heads("key", key)
        if mask is not None and mask.dim() == 3:
            mask = mask[:, None]
        scores = query @ key.mT * query.shape[-1] ** -0.5
        output, weights = _attend(scores, self._heads("value", value), mask)
        return self.apply_to("output", output.movedim(1, -2).flatten(-2)), weights


class LearnedPositionalEmbedding(Flat):
    def __init__(self, max_length, d_model):
        super().__init__(table=(max_length, d_model))

    def forward(self, length):
        table = self.view("table")
        if not 0 <= length <= len(table):
            raise IndexError(f"{length} positions of {len(table)}")
        return table[:length]


class PatchEmbedding(Flat):
    def __init__(self, patch_size, channels, d_model):
        super().__init__(kernel=(d_model, channels * patch_size**2), offset=(d_model,))
        self.size = patch_size

    def forward(self, images):
        batch, channels, height, width = images.shape
        sides = (height // self.size, self.size, width // self.size, self.size)
        patches = images.reshape(batch, channels, *sides).permute(0, 2, 4, 1, 3, 5)
        return self.apply_to("kernel", patches.flatten(3).flatten(1, 2)) + self.view("offset")
