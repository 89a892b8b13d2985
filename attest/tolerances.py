"""How far rounding alone can move a result: the tolerance model.

Every bound follows from the standard model of floating point, fl(a ∘ b) = (a ∘ b)(1 + δ) with
|δ| ≤ u, and holds for any order of summation. A sum of k products is off by at most
γ_k = k·u / (1 − k·u) times the sum of the products' sizes (Higham 2002, section 3.5); exp and tanh
are taken to be correct within two units roundoff. Bounds are componentwise and hold for the inputs
at hand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = [
    "RowErrors",
    "attention_errors",
    "gamma",
    "layer_norm_errors",
    "likely_gamma",
    "log_weight_error",
    "precision",
    "smallest",
    "softmax_errors",
    "underflow_gap",
    "unit_roundoff",
]


def unit_roundoff(dtype: torch.dtype) -> float:
    """Give u, half the distance from 1 to the next number: 2⁻⁵³ for float64."""
    return float(torch.finfo(dtype).eps) / 2


def precision(dtype: torch.dtype) -> float:
    """Give the unit roundoff in which sums and products in this dtype are accumulated.

    PyTorch accumulates float16 and bfloat16 in float32.
    """
    return unit_roundoff(torch.float64 if dtype == torch.float64 else torch.float32)


def smallest(dtype: torch.dtype) -> float:
    """Give the smallest normal number: what underflow to zero can lose."""
    return float(torch.finfo(dtype).tiny)


def underflow_gap(dtype: torch.dtype) -> float:
    """Give how far below the largest score a score may lie for its weight to stay normal.

    About 708 for float64, 87 for float32 and bfloat16, 9.7 for float16; sums take a little more.
    """
    return -math.log(smallest(dtype))


def gamma(k: float, u: float) -> float:
    """Give γ_k = k·u / (1 − k·u), the relative error of k roundings.

    Raises:
        ValueError: k·u is not below one, where the model says nothing.
    """
    if k * u >= 1:
        raise ValueError(f"{k} roundings of {u:.1e} each: the error model says nothing")
    return k * u / (1 - k * u)


# So many standard deviations: a sum is further off once in 10⁸ times.
_LAMBDA = 6.0


def likely_gamma(k: float, u: float) -> float:
    """Give the relative error of k roundings that are as often up as down, nearly always.

        γ̃_k = exp(λ √k u + k u² / (1 − u)) − 1,  λ = 6

    A single sum of products exceeds it with a probability of at most 2 exp(−λ² (1 − u)² / 2)
    (Higham and Mary 2019, theorem 2.4). It says something in half precision, where γ_k soon has
    nothing to say.
    """
    return math.expm1(_LAMBDA * math.sqrt(k) * u + k * u**2 / (1 - u))


@dataclass(frozen=True)
class RowErrors:
    """Bounds for one attention, componentwise.

    Attributes:
        relative: bounds on the weights' relative errors, (..., L, S).
        weights: bounds on the weights' absolute errors, (..., L, S).
        output: bounds on the output's errors, (..., L, d_v).
    """

    relative: Tensor
    weights: Tensor
    output: Tensor


def softmax_errors(scores: Tensor, score_error: Tensor | float, dtype: torch.dtype) -> Tensor:
    """Bound the relative errors of ``softmax(scores)`` over the last axis.

        η_j = δ_j + 2 u (s_max − s_j + max |s| + max δ)
        1 + ρ_j = e^{η_j} / Σ_l α_l e^{−η_l} · (1 + γ_{n+5})

    The gap is rounded twice, and the size of the scores enters, because exp(log_softmax(x)) and
    exp(x − logsumexp(x)) are correct ways of computing it too.

    Args:
        scores: exact scores in float64, −∞ where masked, (..., n).
        score_error: δ, a bound on the computed scores' absolute errors; broadcasts.
        dtype: the dtype of the computation.

    Returns:
        ρ in the shape of ``scores``; a weight that underflows is off by more, absolutely by the
        dtype's smallest normal number.

    Source: after Blanchard, Higham and Higham 2021.
    """
    u, low = precision(dtype), unit_roundoff(dtype)
    delta = torch.as_tensor(score_error, dtype=torch.float64).expand_as(scores)
    allowed = scores > -torch.inf
    delta = torch.where(allowed, delta, 0.0)
    worst = delta.amax(-1, keepdim=True)
    gap = torch.where(allowed, scores.amax(-1, keepdim=True) - scores, 0.0)
    size = torch.where(allowed, scores.abs(), 0.0).amax(-1, keepdim=True)
    eta = delta + 2 * u * (gap + size + worst)
    if u != low:  # every stored value is rounded once more
        eta = eta + 2 * low * (gap + size + worst + math.log(scores.shape[-1]))
    weights = torch.softmax(scores, -1).nan_to_num()
    lower = (weights * torch.exp(-eta)).sum(-1, keepdim=True).clamp_min(smallest(torch.float64))
    store = 0.0 if u == low else 4 * low
    rho = torch.exp(eta) / lower * (1 + gamma(scores.shape[-1] + 5, u) + store) - 1
    return rho.nan_to_num(nan=0.0, posinf=torch.finfo(torch.float64).max)


def attention_errors(
    scores: Tensor, score_error: Tensor | float, value: Tensor, value_error: Tensor | float = 0.0
) -> RowErrors:
    """Bound the errors of ``softmax(scores) @ value`` and of its weights.

    Args:
        scores: exact scores in float64, −∞ where masked, (..., L, S).
        score_error: a bound on the computed scores' absolute errors; broadcasts.
        value: the values in the dtype of the computation, (..., S, d_v).
        value_error: a bound on the errors of the values themselves; broadcasts.

    Returns:
        Bounds for the weights and for the output.

    Source: after Higham 2002, section 3.5.
    """
    dtype = value.dtype
    u, low = precision(dtype), unit_roundoff(dtype)
    rho = softmax_errors(scores, score_error, dtype)
    alpha = torch.softmax(scores, -1).nan_to_num()
    tiny = smallest(dtype)
    n = scores.shape[-1]
    absolute = alpha * rho + tiny
    sizes = value.detach().double().abs()
    off = torch.as_tensor(value_error, dtype=torch.float64).expand_as(sizes)
    store = 0.0 if u == low else 2 * low
    summed = (gamma(n, u) + store) * ((alpha + absolute) @ (sizes + off))
    output = absolute @ (sizes + off) + alpha @ off + summed + n * tiny * (1 + sizes.amax())
    return RowErrors(rho, absolute, output)


def log_weight_error(relative: Tensor) -> Tensor:
    """Bound the error of a weight's logarithm, taken in float64, from its relative error."""
    below_one = relative.clamp_max(1 - 1e-9)
    return torch.maximum(-torch.log1p(-below_one), torch.log1p(relative)) + 4 * math.ulp(1.0)


def layer_norm_errors(x: Tensor, eps: float = 1e-5) -> Tensor:
    """Bound the errors of ``(x − μ) / √(σ² + ε)`` over the last axis.

        e = γ_{d+1} mean |x|,  t = (e + u (|r| + e)) / σ_ε,  κ = γ_{d+4} + (e / σ_ε)²
        E = t (1 + κ) + |y| (0.55 κ + γ_6),  with r = x − μ and σ_ε = √(σ² + ε)

    The mean is off by e, which shifts every entry and adds e² to the variance; the variance is
    otherwise off by the roundings of its sum. What counts is mean |x| / σ: a token that lies far
    off zero has lost digits before anything is computed.

    Args:
        x: tokens in the dtype of the computation, (..., D).
        eps: ε.

    Returns:
        A bound for every entry, in float64, in the shape of ``x``.

    Source: after Higham 2002, sections 1.9 and 3.5.
    """
    u, low = precision(x.dtype), unit_roundoff(x.dtype)
    stored = 0.0 if u == low else low  # what is stored on the way is rounded once more
    d, wide = x.shape[-1], x.detach().double()
    mean = wide.mean(-1, keepdim=True)
    r = wide - mean
    variance = r.square().mean(-1, keepdim=True) + eps
    spread = variance.sqrt()
    e = gamma(d + 1, u) * wide.abs().mean(-1, keepdim=True) + 2 * stored * mean.abs()
    t = (e + max(u, low) * (r.abs() + e)) / spread
    # Below the smallest normal number roundings are absolute: squares and ε may lie there.
    lost = 4 * smallest(x.dtype) * low / variance
    own = gamma(d + 4, u) + 6 * stored + lost
    kappa = own + (e / spread).square()
    return t * (1 + kappa) + (r / spread).abs() * (0.55 * kappa + gamma(6, u) + 4 * stored)
