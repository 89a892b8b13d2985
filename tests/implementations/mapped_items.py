"""Functions of one head and of one item, mapped over heads and batch; modules only hold weights.

Free choices: post-norm, its gains and shifts in vectors; ELU; biases outside the attentions alone;
the network is a template, called with weights from elsewhere; heads are added up, not put side by
side; −∞ for a mask; small initial weights.
"""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

Weights = Mapping[str, Tensor]


def _within(weights: Weights, part: str) -> dict[str, Tensor]:
    """Give the weights of a part, without its name."""
    return {n.removeprefix(part): w for n, w in weights.items() if n.startswith(part)}


def _head(heads: Weights, x: Tensor, other: Tensor, mask: Tensor) -> Tensor:
    """One head of one item: x (L, D), other (S, D), mask (L, S)."""
    query, key, value = x @ heads["query"], other @ heads["key"], other @ heads["value"]
    scores = query @ key.T / query.shape[1] ** 0.5
    attends = mask.any(-1, keepdim=True)
    scores = torch.where(mask | ~attends, scores, -torch.inf)
    return torch.softmax(scores, -1) @ value @ heads["output"]


def _attention(heads: Weights, x: Tensor, other: Tensor, mask: Tensor) -> Tensor:
    return vmap(_head, in_dims=(0, None, None, None))(heads, x, other, mask).sum(0)


def _normal(norm: Weights, x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    spread = centred.pow(2).mean(-1, keepdim=True).add(1e-5).sqrt()
    return torch.addcmul(norm["shift"], centred / spread, norm["gain"])


def _network(template: nn.Module, weights: Weights, x: Tensor) -> Tensor:
    return functional_call(template, dict(weights), (x,))


def _encode(template: nn.Module, weights: Weights, x: Tensor, mask: Tensor) -> Tensor:
    part = partial(_within, weights)
    x = _normal(part("own_norm_"), x + _attention(part("own_head_"), x, x, mask))
    return _normal(part("network_norm_"), x + _network(template, part("network."), x))


def _decode(
    template: nn.Module, weights: Weights, x: Tensor, memory: Tensor, own: Tensor, other: Tensor
) -> Tensor:
    part = partial(_within, weights)
    x = _normal(part("own_norm_"), x + _attention(part("own_head_"), x, x, own))
    x = _normal(part("other_norm_"), x + _attention(part("other_head_"), x, memory, other))
    return _normal(part("network_norm_"), x + _network(template, part("network."), x))


class _Layer(nn.Module):
    """Holds the weights; those of the network have a colon for the dot in their name."""

    attentions: tuple[str, ...]

    def __init__(self, d_model: int, n_heads: int, d_hidden: int) -> None:
        super().__init__()
        d_head, left = divmod(d_model, n_heads)
        if left:
            raise ValueError(f"{d_model} is no multiple of {n_heads}")
        with torch.device("meta"):
            template = nn.Sequential(
                nn.Linear(d_model, d_hidden), nn.ELU(), nn.Linear(d_hidden, d_model)
            )
        self.template = (template,)  # in a tuple, it is no part of the module
        for name in self.attentions:
            for matrix in ("query", "key", "value"):
                self._add(f"{name}_head_{matrix}", n_heads, d_model, d_head)
            self._add(f"{name}_head_output", n_heads, d_head, d_model)
        for name in (*self.attentions, "network"):
            self.register_parameter(f"{name}_norm_gain", nn.Parameter(torch.ones(d_model)))
            self.register_parameter(f"{name}_norm_shift", nn.Parameter(torch.zeros(d_model)))
        for name, parameter in template.named_parameters():
            self._add("network:" + name.replace(".", ":"), *parameter.shape)

    def _add(self, name: str, *shape: int) -> None:
        self.register_parameter(name, nn.Parameter(0.2 * torch.randn(shape)))

    def weights(self) -> dict[str, Tensor]:
        return {name.replace(":", "."): weight for name, weight in self.named_parameters()}


def _per_item(mask: Tensor | None, x: Tensor, other: Tensor) -> Tensor:
    shape = (*x.shape[:2], other.shape[1])
    if mask is None:
        return torch.ones(shape, dtype=torch.bool, device=x.device)
    return mask.expand(shape)


class EncoderLayer(_Layer):
    attentions = ("own",)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        one = partial(_encode, *self.template, self.weights())
        return vmap(one)(x, _per_item(mask, x, x))


class DecoderLayer(_Layer):
    attentions = ("own", "other")

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        self_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
    ) -> Tensor:
        one = partial(_decode, *self.template, self.weights())
        own = _per_item(self_mask, x, x).tril()
        return vmap(one)(x, memory, own, _per_item(memory_mask, x, memory))
