"""How far rounding can move each component's results.

The formulas are those of :mod:`attest.tolerances`; here they meet what the contract says of each
component. A law that compares two computations allows twice the bound of one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attest.specification import mapped, tensors_in
from attest.subject import Subject
from attest.tolerances import (
    attention_errors,
    gamma,
    layer_norm_errors,
    likely_gamma,
    precision,
    smallest,
    softmax_errors,
    unit_roundoff,
)
from properties.families import EVERY

__all__ = [
    "LAYER_NORM_EPS",
    "AttentionBounds",
    "allowed_keys",
    "angle_bounds",
    "attention_bounds",
    "dot_product_scores",
    "even_weights",
    "largest_input",
    "largest_result",
    "largest_score",
    "layer_norm_bound",
    "likely_bound",
    "measured_bound",
    "position_bounds",
    "result_bounds",
    "row_sum_bounds",
]


LAYER_NORM_EPS = 1e-5
"""What the contract adds to the variance, inside the root."""


@dataclass(frozen=True)
class AttentionBounds:
    """Bounds on one attention's results.

    Attributes:
        output: on the output's errors; broadcasts to it.
        weights: on the weights' errors; broadcasts to them.
        relative: on the weights' relative errors, for weights that do not underflow.
    """

    output: Tensor
    weights: Tensor
    relative: Tensor


def allowed_keys(attention: Subject, mask: Tensor | None, weights: Tensor) -> Tensor:
    """Expand a mask to the shape of the weights; None allows everything.

    A module's mask (B, L, S) means every head; a function's is aligned at the right.
    """
    if mask is None:
        return torch.ones_like(weights, dtype=torch.bool)
    if attention.spec.is_module and weights.dim() == 4 and mask.dim() == 3:
        mask = mask[:, None]
    return mask.expand_as(weights)


def even_weights(attention: Subject, mask: Tensor | None, weights: Tensor) -> Tensor:
    """Give the weights that would tell no allowed key from another."""
    allowed = allowed_keys(attention, mask, weights).to(weights.dtype)
    return allowed / allowed.sum(-1, keepdim=True)


def dot_product_scores(query: Tensor, key: Tensor, mask: Tensor | None) -> Tensor:
    """Give the scaled scores in float64, −∞ where masked, (..., L, S)."""
    scores = query.detach().double() @ key.detach().double().mT / math.sqrt(query.shape[-1])
    return scores if mask is None else scores.masked_fill(~mask.expand_as(scores), -torch.inf)


def largest_input(arguments: Mapping[str, Any]) -> float:
    """Give the largest entry of any floating input."""
    sizes = [
        float(value.detach().abs().max())
        for value in arguments.values()
        if isinstance(value, Tensor) and value.is_floating_point() and value.numel()
    ]
    return max(sizes, default=0.0)


def largest_score(attention: Subject, arguments: Mapping[str, Any]) -> float:
    """Bound the size of any score.

    Nobody sees how a module stores its weights. A projection to n features is at most
    √n · r · (‖x‖ + 1) long, where r is the longest row, and the last term is for a bias.
    """
    name = attention.spec.name
    tensors = (arguments.get(n, arguments.get("x")) for n in ("query", "key"))
    asked, offered = (float(t.detach().double().norm(dim=-1).max()) for t in tensors)
    if name == "scaled_dot_product_attention":
        return asked * offered / math.sqrt(arguments["query"].shape[-1])
    assert attention.setup is not None
    sizes = attention.setup.arguments
    if name == "AdditiveAttention":
        return (sizes["d_hidden"] + 1) * attention.largest_parameter()
    row = attention.longest_row()
    if name == "MultiplicativeAttention":
        width = min(sizes["d_query"], sizes["d_key"])
        return math.sqrt(width) * row * (asked + 1) * (offered + 1)
    head = sizes["d_model"] // sizes.get("n_heads", 1)
    return math.sqrt(head) * row * (asked + 1) * row * (offered + 1)


def largest_result(attention: Subject, arguments: Mapping[str, Any]) -> float:
    """Bound the size of anything but scores that an attention computes on its way."""
    size = largest_input(arguments)
    if attention.setup is None:
        return size
    width = max(attention.setup.arguments.values())
    row = math.sqrt(width) * attention.longest_row()
    return max(size, 1.0) * max(row + 1, 1.0) ** 2


def attention_bounds(attention: Subject, arguments: Mapping[str, Any]) -> AttentionBounds:
    """Bound the errors of one attention on these arguments."""
    if attention.spec.name == "scaled_dot_product_attention":
        return _dot_product_bounds(**arguments)
    return _module_bounds(attention, arguments)


def row_sum_bounds(attention: Subject, arguments: Mapping[str, Any], weights: Tensor) -> Tensor:
    """Bound the errors of the sums of an attention's weights over the keys, (..., L)."""
    errors = attention_bounds(attention, arguments).weights.expand_as(weights).sum(-1)
    return errors + gamma(weights.shape[-1], unit_roundoff(weights.dtype))


def _dot_product_bounds(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
) -> AttentionBounds:
    scores = dot_product_scores(query, key, mask)
    sizes = query.detach().double().abs() @ key.detach().double().abs().mT
    sizes = sizes / math.sqrt(query.shape[-1])
    dtype = query.dtype
    u, low = precision(dtype), unit_roundoff(dtype)
    delta = gamma(query.shape[-1] + 2, u) * sizes
    if u != low:
        delta = delta + 3 * low * sizes
    errors = attention_errors(scores, delta, value)
    return AttentionBounds(errors.output, errors.weights, errors.relative)


def _module_bounds(attention: Subject, arguments: Mapping[str, Any]) -> AttentionBounds:
    """Bound by sizes alone, since nobody sees how a module stores its weights.

    With x the largest input, w the largest parameter and d the width of a projection, a projected
    entry is at most r = d·w·x + w, where the last term is for a bias.
    """
    assert attention.setup is not None
    sizes = attention.setup.arguments
    x, w = largest_input(arguments), attention.largest_parameter()
    tensors = [a for a in arguments.values() if isinstance(a, Tensor) and a.is_floating_point()]
    dtype = tensors[0].dtype
    u, low = precision(dtype), unit_roundoff(dtype)
    n = tensors[1].shape[-2] if len(tensors) > 1 else tensors[0].shape[-2]
    value, value_error = x, 0.0

    def projected(width: int, size: float, error: float = 0.0) -> tuple[float, float]:
        result = width * w * size + w
        return result, gamma(width + 2, u) * result + (low if low != u else 0) * result + (
            width * w * error
        )

    match attention.spec.name:
        case "AdditiveAttention":
            hidden = sizes["d_hidden"]
            one, error = projected(max(sizes["d_query"], sizes["d_key"]), x)
            error = 2 * error + gamma(2, u) * 2 * one + 4 * max(u, low)
            score, score_error = projected(hidden, 1.0, error)
        case "MultiplicativeAttention":
            one, error = projected(sizes["d_key"], x)
            other, other_error = projected(sizes["d_query"], x)
            size, error = max(one, other), max(error, other_error)
            width = max(sizes["d_query"], sizes["d_key"])
            score = width * x * size
            score_error = width * x * error + gamma(width + 2, u) * score
        case _:
            width = sizes["d_model"]
            head = width // sizes.get("n_heads", 1)
            value, value_error = projected(width, x)
            score = math.sqrt(head) * value * value
            score_error = math.sqrt(head) * (2 * value * value_error + value_error**2)
            score_error += gamma(head + 4, u) * score
    if low != u:
        score_error += 3 * low * score
    eta = score_error + (max(u, low)) * (2 * score + 2 * score_error)
    rho = math.expm1(min(2 * eta, 700.0)) + 2 * gamma(n + 5, u) + (6 * low if low != u else 0)
    output = rho * (value + value_error) + value_error + 2 * gamma(n, u) * value
    output += (3 * low if low != u else 0) * value
    if attention.spec.name == "MultiHeadAttention":
        output = projected(sizes["d_model"], value, output)[1]
    tiny = smallest(dtype)
    return AttentionBounds(
        torch.tensor(output + n * tiny * (1 + value), dtype=torch.float64),
        torch.tensor(rho + tiny, dtype=torch.float64),
        torch.tensor(rho, dtype=torch.float64),
    )


def result_bounds(subject: Subject, arguments: Mapping[str, Any]) -> tuple[Tensor, ...]:
    """Bound the errors of each result of any component; masks are exact."""
    match subject.spec.name:
        case "softmax":
            x, dim = arguments["x"], arguments["dim"]
            wide = x.detach().double().movedim(dim, -1)
            rho = softmax_errors(wide, 0.0, x.dtype)
            bound = torch.softmax(wide, -1) * rho + smallest(x.dtype)
            return (bound.movedim(-1, dim),)
        case "causal_mask" | "padding_mask" | "LearnedPositionalEmbedding":
            return (torch.zeros(()).double(),)
        case "sinusoidal_positional_encoding":
            return (position_bounds(**arguments),)
        case "LayerNorm":
            return (layer_norm_bound(subject, arguments["x"]),)
        case name if name in EVERY:
            bounds = attention_bounds(subject, arguments)
            return bounds.output, bounds.weights
        case _:
            return (measured_bound(subject, arguments),)


def layer_norm_bound(norm: Subject, x: Tensor) -> Tensor:
    """Bound the errors of a layer normalisation, in the shape of ``x``.

        E_w = w E + γ_2 (w |y| + w),  w the largest parameter and 1 at least

    E bounds the error of the normalised token y; a gain and a bias of any layout are at most w.
    """
    w = max(1.0, norm.largest_parameter())
    wide = x.detach().double()
    y = (wide - wide.mean(-1, keepdim=True)) / (
        wide.var(-1, correction=0, keepdim=True) + LAYER_NORM_EPS
    ).sqrt()
    u = max(precision(x.dtype), unit_roundoff(x.dtype))
    return w * layer_norm_errors(x, LAYER_NORM_EPS) + gamma(2, u) * w * (y.abs() + 1)


def angle_bounds(angles: Tensor) -> Tensor:
    """Bound the errors of the sines and cosines of these angles: what careless float32 gives.

    20 · 2⁻²⁴ · (1 + angle)
    """
    return 20 * 2.0**-24 * (1 + angles)


def position_bounds(length: int, d_model: int) -> Tensor:
    """Bound the errors of sinusoidal positions by row, in any layout of columns, (length, 1).

    The largest angle in a row is the position itself.
    """
    del d_model
    return angle_bounds(torch.arange(length, dtype=torch.float64)[:, None])


def measured_bound(subject: Subject, arguments: Mapping[str, Any], method: str = "") -> Tensor:
    """Bound the error of a component of several layers, by how far it moves when it is nudged.

        E = γ_k · (max over probes of max |f(θ (1 + ε ξ)) − f(θ)| / ε + max |f(θ)|),  ε = √u

    Rounding a product of matrices is a relative change of one of them by γ_k (Higham 2002, section
    3.5), and what a layer does to an earlier error is its derivative. A formula over all layers
    would have to assume the worst of each; so the derivative is measured: every parameter and every
    floating input θ is changed by a relative ε, up or down at random (ξ = ±1), twice. The errors of
    many roundings cancel as those of the probes do; k counts the longest sum, the layers and some
    room for the roundings within a layer.

    What rounding does, and no change of θ, is to leave the place where exact results lie. Once it
    is normalised, a token of two entries is (1, −1) or (−1, 1), and its slope next to nothing; but
    the error of its mean, which is in proportion to the entries, is divided by √(σ² + eps). So for
    a width of two γ_k · max(1, max |θ|, max |f(θ)|) / √eps is added, over the inputs θ. For a width
    of three there is one direction left, which a probe may miss; two more are made.

    Args:
        subject: the component, with the parameters that the law has set.
        arguments: the inputs of the call by name.
        method: one of its methods; the plain call where it is empty.

    Returns:
        A bound for all entries of the call's first result, as a tensor without dimensions. It is
        measured only where γ_k · max |f(θ)|, which it is at least, does not decide. A probe counts
        for no more than a few times max(1, max |θ|, max |f(θ)|), or whoever tells a probe from
        another call could choose the bound.
    """
    tensors = [tensor for value in arguments.values() for _, tensor in tensors_in(value)]
    dtypes = {tensor.dtype for tensor in tensors} | {subject.dtype}
    u = max(unit_roundoff(dtype) for dtype in dtypes if dtype.is_floating_point)
    still = subject.again(arguments, method)
    size, left = float(still.abs().max()), 0.0
    sizes = subject.setup.arguments if subject.setup is not None else {}
    normalises = "n_heads" in sizes or subject.spec.name == "LayerNorm"
    width = sizes.get("d_model") if normalises else None
    if width == 2:
        left = max(1.0, largest_input(arguments), size) / math.sqrt(LAYER_NORM_EPS)
    rounded = gamma(_roundings(subject, tensors), u)
    most = _LARGEST_MOVE * max(1.0, largest_input(arguments), size)
    # Copies: a law may overwrite its own before the bound is wanted.
    given = {name: mapped(value, lambda t: t.detach().clone()) for name, value in arguments.items()}

    def measure() -> Tensor:
        step, slope = math.sqrt(u), 0.0
        probes = (1, 2, 3, 4) if width == 3 else (1, 2)
        for moved in subject.nudged(given, method, seeds=probes, step=step):
            slope = max(slope, min(_largest_move(moved, still), most) / step)
        return torch.tensor(rounded * (slope + left + size), dtype=torch.float64)

    def find() -> Tensor:
        return subject.once("measured bound", given, method, measure)

    return subject.later(rounded * (left + size), find)


def likely_bound(wide: Subject, arguments: Mapping[str, Any], u: float) -> Tensor:
    """Bound by how far the first result is off in a precision of unit roundoff u, nearly always.

        E = γ̃_k · (max over probes of max |f(θ (1 + u ξ)) − f(θ)| / u + max |f(θ)|)

    As :func:`measured_bound`, with the error that roundings nearly never exceed instead of the one
    that they never do, and probes as far away as one rounding goes.

    Args:
        wide: the component in float64.
        arguments: the inputs of the call by name.
        u: the unit roundoff.

    Returns:
        A bound for all entries, as a tensor without dimensions.
    """
    still, slope = wide.again(arguments), 0.0
    size = float(still.abs().max())
    most = _LARGEST_MOVE * max(1.0, largest_input(arguments), size)
    for moved in wide.nudged(arguments, seeds=(1, 2, 3), step=u):
        slope = max(slope, min(_largest_move(moved, still), most) / u)
    k = _roundings(wide, [value for value in arguments.values() if isinstance(value, Tensor)])
    return torch.tensor(likely_gamma(k, u) * (slope + size), dtype=torch.float64)


# No rounding is what moves a result by more than so many times its size, or that of its inputs.
_LARGEST_MOVE = 16.0


def _largest_move(moved: Tensor, still: Tensor) -> float:
    return float((moved - still).abs().nan_to_num(0.0).max())


# Roundings within a sublayer beside its sums: a softmax or a normalisation, a residual, a bias.
_WITHIN = 16


def _roundings(subject: Subject, tensors: Iterable[Tensor]) -> int:
    """Count the roundings on the way through: the longest sum, and those within each sublayer."""
    sizes = subject.setup.arguments if subject.setup is not None else {}
    longest = max([*sizes.values(), *(size for t in tensors for size in t.shape)], default=1)
    return (3 * sizes.get("n_layers", 1) + 1) * (longest + _WITHIN)
