"""A graph whose edges are the allowed pairs: scores, shares and messages live on edges alone.

Free choices: what is masked is never computed; segments are summed by ``index_add``; biases on
queries and keys; a matrix (d_key, d_query) that starts as the identity; indices pick the pixels.
"""

import math

import torch
from torch import nn


def causal_mask(length):
    mask = torch.zeros(length, length, dtype=torch.bool)
    mask[tuple(torch.tril_indices(length, length))] = True
    return mask


def padding_mask(lengths, max_length):
    """List all tokens as (sequence, position) and mark them."""
    sequence = torch.repeat_interleave(lengths)
    before = lengths.cumsum(0) - lengths
    position = torch.arange(len(sequence), device=lengths.device) - before[sequence]
    mask = lengths.new_zeros(len(lengths), max_length, dtype=torch.bool)
    return mask.index_put((sequence, position), mask.new_ones(()))


class Edges:
    """Directed edges from keys to queries, sorted by query; nodes of all items are numbered on."""

    def __init__(self, mask, shape, device):
        allowed = torch.ones(shape, dtype=torch.bool, device=device)
        allowed = allowed if mask is None else allowed & mask
        *_, queries, self.keys = self.shape = shape
        self.allowed = allowed.reshape(-1, queries, self.keys)
        item, row, column = self.allowed.nonzero(as_tuple=True)
        self.to, self.origin = item * queries + row, item * self.keys + column
        self.number = self.allowed.shape[0] * queries

    def spread(self, scores):
        """Give each edge its share among those to the same query."""
        peaks = scores.new_full((self.number,), -torch.inf)
        peaks = peaks.scatter_reduce(0, self.to, scores.detach(), "amax")
        raised = torch.exp(scores - peaks[self.to])
        totals = raised.new_zeros(self.number).index_add(0, self.to, raised)
        return raised / totals[self.to]

    def gather(self, shares, values):
        messages = shares.unsqueeze(-1) * values[self.origin]
        output = values.new_zeros(self.number, values.shape[-1])
        return output.index_add(0, self.to, messages)

    def as_matrix(self, shares):
        dense = shares.new_zeros(self.allowed.shape).masked_scatter(self.allowed, shares)
        return dense.view(self.shape)


def _attend(query, key, value, mask, scale):
    """Attend over leading dimensions of any number."""
    edges = Edges(mask, (*query.shape[:-1], key.shape[-2]), query.device)
    wide = torch.promote_types(query.dtype, torch.float32)
    nodes = [x.to(wide).reshape(-1, x.shape[-1]) for x in (query, key, value)]
    scores = scale * torch.linalg.vecdot(nodes[0][edges.to], nodes[1][edges.origin])
    shares = edges.spread(scores)
    output = edges.gather(shares, nodes[2]).view(*query.shape[:-1], value.shape[-1])
    return output.to(value.dtype), edges.as_matrix(shares).to(query.dtype)


def scaled_dot_product_attention(query, key, value, mask=None):
    return _attend(query, key, value, mask, query.shape[-1] ** -0.5)


class MultiplicativeAttention(nn.Module):
    def __init__(self, d_query, d_key):
        super().__init__()
        self.relation = nn.Parameter(torch.eye(d_key, d_query))

    def forward(self, query, key, value, mask=None):
        return _attend(query, key @ self.relation, value, mask, 1.0)


class SelfAttention(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.roles = nn.ModuleDict(
            {
                role: nn.Linear(d_model, d_model, role != "carry")
                for role in ("ask", "offer", "carry")
            }
        )

    def forward(self, x, mask=None):
        query, key, value = (layer(x) for layer in self.roles.values())
        return scaled_dot_product_attention(query, key, value, mask)


class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        if n_heads not in [n for n in range(1, d_model + 1) if d_model % n == 0]:
            raise ValueError(f"{n_heads} is no divisor of {d_model}")
        self.n_heads, self.scale = n_heads, math.sqrt(n_heads / d_model)
        self.edge_to = nn.Linear(d_model, d_model)
        self.edge_from = nn.Linear(d_model, d_model)
        self.message = nn.Linear(d_model, d_model, bias=False)
        self.update = nn.Linear(d_model, d_model, bias=False)

    def forward(self, query, key, value, mask=None):
        def heads(x):
            return torch.stack(x.tensor_split(self.n_heads, -1), 1)

        query, key = heads(self.edge_to(query)), heads(self.edge_from(key))
        value = heads(self.message(value))
        mask = mask[:, None] if mask is not None and mask.dim() == 3 else mask
        output, weights = _attend(query, key, value, mask, self.scale)
        return self.update(torch.cat(output.unbind(1), -1)), weights


class PatchEmbedding(nn.Module):
    def __init__(self, patch_size, channels, d_model):
        super().__init__()
        self.size = patch_size
        self.embed = nn.Linear(channels * patch_size**2, d_model)

    def forward(self, images):
        place = torch.arange(images[0].numel(), device=images.device).view(images.shape[1:])
        rows = [
            place[:, top : top + self.size, left : left + self.size].flatten()
            for top in range(0, images.shape[-2], self.size)
            for left in range(0, images.shape[-1], self.size)
        ]
        return self.embed(
            torch.take_along_dim(images.flatten(1)[:, None], torch.stack(rows)[None], -1)
        )
