"""A pure function of one query, token or row, and ``torch.func.vmap`` over everything else.

Free choices: parameters in a ``ParameterDict``, a row of each matrix for each head, (H, d, D), and
(H, D, d) for the output; biases of two dimensions on queries, keys and values, none on the output;
−∞ hides a key; tanh in the feed-forward network; a gain that is stored as what it adds to one.
"""

import math

import torch
from torch import nn
from torch.func import vmap


def _over(function, levels, in_dims=0):
    """Map a function over so many leading dimensions."""
    for _ in range(levels):
        function = vmap(function, in_dims)
    return function


def _shares(row):
    raised = (row - row.detach().amax()).exp()
    return raised / raised.sum()


def softmax(x, dim=-1):
    return _over(_shares, x.dim() - 1)(x.movedim(dim, -1)).movedim(-1, dim)


def _mix(scores, values, allowed):
    """Answer one query: scores (S,), values (S, d_v), allowed (S,)."""
    scores = torch.where(allowed, scores, -torch.inf)
    peak = torch.where(allowed.any(), scores.detach().amax(), 0.0)
    raised = (scores - peak).exp()
    total = raised.sum()
    weights = raised / torch.where(total == 0, 1.0, total)
    return weights @ values, weights


def _dot_product(query, keys, values, allowed):
    return _mix(keys @ query / math.sqrt(len(query)), values, allowed)


def _all_queries(answer):
    return vmap(answer, (0, None, None, 0))


def scaled_dot_product_attention(query, key, value, mask=None):
    shape = (*query.shape[:-1], key.shape[-2])
    mask = query.new_ones(shape, dtype=torch.bool) if mask is None else mask.expand(shape)
    answer = _over(_all_queries(_dot_product), query.dim() - 2)
    return answer(query, key, value, mask)


class _Mapped(nn.Module):
    def __init__(self, **shapes):
        super().__init__()
        self.theta = nn.ParameterDict(
            {
                name: torch.randn(shape) / math.sqrt(shape[-1])
                if len(shape) > 1
                else torch.zeros(shape)
                for name, shape in shapes.items()
            }
        )


class AdditiveAttention(_Mapped):
    def __init__(self, d_query, d_key, d_hidden):
        super().__init__(w=(d_hidden, d_query), u=(d_hidden, d_key), v=(1, d_hidden), b=(d_hidden,))

    def forward(self, query, key, value, mask=None):
        p = self.theta

        def score(asked, offered):
            return (p["v"] @ torch.tanh(p["w"] @ asked + p["u"] @ offered + p["b"])).squeeze(0)

        def answer(asked, keys, values, allowed):
            return _mix(vmap(score, (None, 0))(asked, keys), values, allowed)

        shape = (*query.shape[:2], key.shape[1])
        mask = query.new_ones(shape, dtype=torch.bool) if mask is None else mask.expand(shape)
        return vmap(_all_queries(answer))(query, key, value, mask)


class SelfAttention(_Mapped):
    def __init__(self, d_model):
        super().__init__(**dict.fromkeys("qkv", (d_model, d_model)))

    def forward(self, x, mask=None):
        def project(token):
            return tuple(self.theta[name] @ token for name in "qkv")

        return scaled_dot_product_attention(*_over(project, 2)(x), mask)


class MultiHeadAttention(_Mapped):
    def __init__(self, d_model, n_heads):
        width, left = divmod(d_model, n_heads)
        if left:
            raise ValueError(f"{d_model} / {n_heads} leaves {left}")
        super().__init__(
            **dict.fromkeys("qkv", (n_heads, width, d_model)),
            **{f"{name}0": (n_heads, width) for name in "qkv"},
            o=(n_heads, d_model, width),
        )

    def forward(self, query, key, value, mask=None):
        p = self.theta
        if mask is None:
            mask = query.new_ones((), dtype=torch.bool)
        elif mask.dim() == 3:
            mask = mask.unsqueeze(1)
        mask = mask.expand(len(query), len(p["q"]), query.shape[1], key.shape[1])

        def project(tokens, matrix, bias):
            return vmap(lambda token: matrix @ token + bias)(tokens)

        def head(q, k, v, allowed, wq, wk, wv, bq, bk, bv, wo):
            mixed, weights = _all_queries(_dot_product)(
                project(q, wq, bq), project(k, wk, bk), project(v, wv, bv), allowed
            )
            return vmap(lambda row: wo @ row)(mixed), weights

        parameters = [p[name] for name in ("q", "k", "v", "q0", "k0", "v0", "o")]
        heads = vmap(head, (None, None, None, *[0] * 8))
        items = vmap(heads, (0, 0, 0, 0, *[None] * 7))
        added, weights = items(query, key, value, mask, *parameters)
        return added.sum(1), weights


class LayerNorm(_Mapped):
    def __init__(self, d_model):
        super().__init__(above_one=(d_model,), bias=(d_model,))

    def forward(self, x):
        def token(row):
            wide = row.to(torch.promote_types(row.dtype, torch.float32))
            centred = wide - wide.mean()
            scaled = centred * torch.rsqrt(centred.dot(centred) / len(row) + 1e-5)
            return scaled.to(row.dtype) * (1 + self.theta["above_one"]) + self.theta["bias"]

        return _over(token, x.dim() - 1)(x)


class FeedForward(_Mapped):
    def __init__(self, d_model, d_hidden):
        super().__init__(up=(d_hidden, d_model), down=(d_hidden, d_model), up0=(d_hidden,))

    def forward(self, x):
        def unit(coming, offset, going, token):
            return torch.tanh(coming @ token + offset) * going

        def network(token):
            p = self.theta
            return vmap(unit, (0, 0, 0, None))(p["up"], p["up0"], p["down"], token).sum(0)

        return _over(network, 2)(x)
