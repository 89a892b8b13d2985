"""What can be wrong with a step of attention, whichever attention takes it.

A mutant puts one of these before a component that goes step by step: `project`, `score`, `weigh`,
`mix`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from reference import softmax


def causal(scores: Tensor) -> Tensor:
    """Give a causal mask for these scores, (L, S)."""
    return torch.ones(scores.shape[-2:], dtype=torch.bool).tril()


def distances(scores: Tensor) -> Tensor:
    """Give |i − j| for these scores, (L, S)."""
    rows, columns = torch.arange(scores.shape[-2]), torch.arange(scores.shape[-1])
    return (rows[:, None] - columns).abs()


# --- Projections and scores ---------------------------------------------------------------------


class DetachedKeys:
    def project(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = super().project(*inputs)
        return query, key.detach(), value


class CarriedQueries:
    def project(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = super().project(*inputs)
        rows = [query[:, :1]]
        for i in range(1, query.shape[-2]):
            rows.append(query[:, i : i + 1] + rows[-1] / 2)
        return torch.cat(rows, -2), key, value


class GrowingScores:
    def score(self, query: Tensor, key: Tensor) -> Tensor:
        return super().score(query, key) * (1 + math.log(key.shape[-2]))


class NearKeysPreferred:
    def score(self, query: Tensor, key: Tensor) -> Tensor:
        scores = super().score(query, key)
        return scores - 0.1 * distances(scores)


class ScoredInFloat32:
    def score(self, query: Tensor, key: Tensor) -> Tensor:
        return super().score(query.float(), key.float()).to(query.dtype)


# --- Weights ------------------------------------------------------------------------------------


class OverTheQueries:
    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        return super().weigh(scores.mT, None if mask is None else mask.mT).mT


class Linear:
    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        positive = functional.elu(scores) + 1
        if mask is not None:
            positive = positive.masked_fill(~mask, 0.0)
        return positive / positive.sum(-1, keepdim=True).clamp_min(1e-300)


class BestThree:
    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        weights = super().weigh(scores, mask)
        kept = weights.topk(min(3, weights.shape[-1]), -1)
        sparse = torch.zeros_like(weights).scatter(-1, kept.indices, kept.values)
        return sparse / sparse.sum(-1, keepdim=True).clamp_min(1e-300)


class Window:
    """Weights of nothing further away than `reach` places."""

    reach: int

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        near = distances(scores) <= self.reach
        return super().weigh(scores, near if mask is None else near & mask)


class DetachedWeights:
    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        return super().weigh(scores, mask).detach()


class DroppedWeights:
    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        return functional.dropout(super().weigh(scores, mask), 0.1)


# --- Masks --------------------------------------------------------------------------------------


class NoMask:
    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        return softmax(scores)


class Inverted:
    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        return super().weigh(scores, None if mask is None else ~mask)


class AfterTheSoftmax:
    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        weights = softmax(scores)
        return weights if mask is None else weights.masked_fill(~mask, 0.0)


class TimesTheScores:
    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        return softmax(scores if mask is None else scores * mask)


class Filled:
    """Masked scores that are `constant`, whatever others are."""

    constant: float

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        return softmax(scores if mask is None else scores.masked_fill(~mask, self.constant))


class RepairedAfterTheSoftmax:
    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        if mask is None:
            return softmax(scores)
        forbidden = torch.zeros_like(scores).masked_fill(~mask, -torch.inf)
        weights = softmax(scores + forbidden)
        return weights.masked_fill(weights.isnan(), 0.0)


class ShiftedByOne:
    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        if mask is not None:
            mask = mask | functional.pad(mask[..., :-1], (1, 0), value=False)
        return super().weigh(scores, mask)


class CausalWithoutAMask:
    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        return super().weigh(scores, causal(scores) if mask is None else mask)


class Causal:
    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        return super().weigh(scores, causal(scores) if mask is None else causal(scores) & mask)


class OneRowAnItem:
    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        if mask is not None and mask.dim() == 2 and len(mask) == len(scores):
            mask = mask[:, None]
        return super().weigh(scores, mask)


class FirstItemsMask:
    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        return super().weigh(scores, mask if mask is None or mask.dim() < 3 else mask[:1])


# --- Values -------------------------------------------------------------------------------------


class DetachedValues:
    def mix(self, weights: Tensor, value: Tensor) -> Tensor:
        return super().mix(weights, value.detach())


class Summed:
    def mix(self, weights: Tensor, value: Tensor) -> Tensor:
        return super().mix(weights, value) * value.shape[-2]


class LastLeftOut:
    def mix(self, weights: Tensor, value: Tensor) -> Tensor:
        return super().mix(weights[..., :-1], value[..., :-1, :])
