"""Softmax: what experts demand of it without being asked."""

from __future__ import annotations

import math
from typing import Any

import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import Tensor

from attest.checks import above, at_least, at_most, close, finite, sometimes_differs
from attest.differentiation import gradients, leaf
from attest.laws import law
from attest.strategies import fill, seeds, softmax_inputs
from attest.subject import Subject
from attest.tolerances import (
    gamma,
    precision,
    smallest,
    softmax_errors,
    underflow_gap,
    unit_roundoff,
)

LOW_PRECISION = ("float32", "bfloat16", "float16")


def _exact(x: Tensor, dim: int, score_error: Tensor | float = 0.0) -> tuple[Tensor, Tensor]:
    """Give softmax in float64 and a bound on the difference of two computations of it."""
    scores = x.detach().double().movedim(dim, -1)
    error = score_error.movedim(dim, -1) if isinstance(score_error, Tensor) else score_error
    rho = softmax_errors(scores, error, x.dtype)
    exact = torch.softmax(scores, -1)
    bound = 2 * (exact * rho + smallest(x.dtype))
    return exact.movedim(-1, dim), bound.movedim(-1, dim)


@law("softmax", inputs=softmax_inputs(), formula="softmax(x)_j = exp(x_j) / Σ_l exp(x_l)")
def it_is_the_normalised_exponential(softmax: Subject, x: Tensor, dim: int) -> None:
    """Each entry is its exponential, divided by the sum of the exponentials along the axis.

    The last axis is the one that is taken where none is named.
    """
    exact, bound = _exact(x, dim)
    result = softmax(x) if dim == -1 else softmax(x, dim)
    close(result, exact.to(x.dtype), bound, "softmax(x)")


@law("softmax", inputs=softmax_inputs(), formula="softmax(x)_j ≥ 0,  Σ_j softmax(x)_j = 1")
def entries_along_the_axis_sum_to_one(softmax: Subject, x: Tensor, dim: int) -> None:
    """Along the given axis, and not along another, the entries are a distribution."""
    result = softmax(x, dim)
    at_least(result, torch.zeros_like(result), 0.0, "the entries")
    total = result.sum(dim)
    bound = _exact(x, dim)[1].sum(dim) + gamma(x.shape[dim], unit_roundoff(x.dtype))
    close(total, torch.ones_like(total), bound, "the sum along the axis")
    if x.shape[dim] > 1:
        even = torch.full_like(result, 1 / x.shape[dim])
        sometimes_differs(result, even, "entries are unequal")
    if x.dim() > 1:
        other = result.sum((dim + 1) % x.dim())
        sometimes_differs(other, torch.ones_like(other), "another axis does not sum to one", 1e-3)


@law(
    "softmax",
    inputs=st.tuples(softmax_inputs(2), st.sampled_from((1.0, -3.0, 100.0, -1000.0, 1e6))).map(
        lambda drawn: {**drawn[0], "shift": drawn[1]}
    ),
    formula="softmax(x + c) = softmax(x)",
)
def adding_a_constant_changes_nothing(softmax: Subject, x: Tensor, dim: int, shift: float) -> None:
    """Only differences between scores count; adding to one score alone does change the result."""
    result = softmax(x, dim)
    rounding = unit_roundoff(x.dtype) * (x.abs() + abs(shift)).double()
    bound = _exact(x, dim, rounding)[1]
    close(softmax(x + shift, dim), result, 2 * bound, "softmax(x + c)")
    first = torch.arange(x.shape[dim]).view(
        [-1 if d == dim % x.dim() else 1 for d in range(x.dim())]
    )
    raised = torch.where(first == 0, x + 1, x)
    sometimes_differs(softmax(raised, dim), result, "one larger score changes the result")


@law(
    "softmax",
    inputs=softmax_inputs(3),
    formula="softmax(P x) = P softmax(x) for every permutation P",
)
def permuting_the_scores_permutes_the_result(softmax: Subject, x: Tensor, dim: int) -> None:
    """No score has a place of honour: moving the scores around moves the results with them."""
    result = softmax(x, dim)
    moved = softmax(x.roll(1, dim), dim)
    close(moved, result.roll(1, dim), _exact(x.roll(1, dim), dim)[1], "softmax of rolled scores")
    sometimes_differs(moved, result, "rolling the scores changes the result")


@law(
    "softmax",
    inputs=softmax_inputs(),
    formula="J = diag(p) − p pᵀ = Jᵀ,  J 1 = 0,  g · J g ≥ 0,  ‖J g‖ ≤ ½ ‖g‖",
)
def the_jacobian_is_diag_p_minus_p_p_transposed(softmax: Subject, x: Tensor, dim: int) -> None:
    """Raising one score raises its own entry and lowers all others, by p_j (δ_jk − p_k)."""
    variable = leaf(x)
    result = softmax(variable, dim)
    upstream = torch.cos(torch.arange(x.numel()).to(x)).view(x.shape)
    (found,) = gradients(result, upstream, variable)
    p, bound = _exact(x, dim)
    g = upstream.double()
    expected = p * (g - (p * g).sum(dim, keepdim=True))
    # Two relative errors of the weights, and the roundings of one sum, each at most this large.
    sizes = p * (g.abs() + (p * g.abs()).sum(dim, keepdim=True))
    u = max(precision(x.dtype), unit_roundoff(x.dtype))
    slack = gamma(x.shape[dim] + 8, u) * sizes
    spread = bound * (g.abs() + (p * g.abs()).sum(dim, keepdim=True))
    spread = spread + p * (bound * g.abs()).sum(dim, keepdim=True)
    limit = slack + 2 * spread + smallest(x.dtype)
    close(found, expected.to(found.dtype), limit, "the gradient by the scores")
    total = limit.sum(dim) + gamma(x.shape[dim], u) * sizes.sum(dim)
    close(found.sum(dim), torch.zeros_like(found.sum(dim)), total, "its sum along the axis")
    along = (found.double() * g).sum(dim)
    slack = (limit * g.abs()).sum(dim)
    at_least(along, torch.zeros_like(along), slack, "g · J g")
    second = torch.sin(torch.arange(x.numel()).to(x)).view(x.shape)
    (other,) = gradients(result, second, variable)
    crossed = (found.double() * second.double()).sum(dim), (other.double() * g).sum(dim)
    close(*crossed, 4 * limit.sum(dim), "h · J g against g · J h")
    half = upstream.norm(dim=dim) / 2
    at_most(found.norm(dim=dim), half, limit.sum(dim) + 4 * u * half, "its length")
    if x.shape[dim] > 1:
        sometimes_differs(found, torch.zeros_like(found), "the gradient is not zero")


@st.composite
def extreme_scores(draw: Any) -> dict[str, Any]:
    """Scores anywhere in the range of their dtype, the largest and the smallest among them."""
    size = draw(st.sampled_from((*range(2, 10), 300, 1100)))
    reach = draw(st.sampled_from((1e2, 1e4, 3e4, 6.5e4, 1e6, 1e30, 3e38, 1e300)))
    generator = torch.Generator().manual_seed(draw(seeds()))
    x = fill(generator, "huge", 3, size, largest=reach)
    x[0, 0], x[1, -1], x[2] = reach, -reach, reach
    return {"x": x, "dim": -1}


@law(
    "softmax",
    inputs=extreme_scores(),
    dtypes=("float64", *LOW_PRECISION),
    formula="softmax(x) is finite and accurate for every finite x",
    kind="robustness",
)
def no_finite_score_overflows(softmax: Subject, x: Tensor, dim: int) -> None:
    """Scores of ten thousand and more give the right distribution in every precision.

    So they do while gradients are recorded. The gradients are numbers, too, unless the scores are
    so large that their differences are none.
    """
    assume(bool(torch.isfinite(x).all()))
    exact, bound = _exact(x, dim)
    variable = leaf(x)
    for given, what in ((x, "softmax(x)"), (variable, "softmax(x) while gradients are recorded")):
        result = softmax(given, dim)
        finite(result, what)
        close(result, exact.to(x.dtype), bound, what)
    if float(x.abs().max()) > torch.finfo(x.dtype).max / 2:
        return
    (found,) = gradients(result, torch.cos(torch.arange(x.numel()).to(x)).view(x.shape), variable)
    finite(found, "the gradient by the scores")


@law(
    "softmax",
    inputs=softmax_inputs(),
    dtypes=LOW_PRECISION,
    formula="|computed − exact| ≤ what rounding explains, in float32, bfloat16 and float16",
    kind="robustness",
)
def low_precision_rounds_no_further_than_it_must(softmax: Subject, x: Tensor, dim: int) -> None:
    """In low precision the result is as near the exact one as the format allows."""
    exact, bound = _exact(x, dim)
    close(softmax(x, dim), exact.to(x.dtype), bound, "softmax(x)")


@law(
    "softmax",
    inputs=softmax_inputs(),
    formula="softmax(x)_j > 0 while nothing underflows",
)
def every_entry_is_positive_at_moderate_scores(softmax: Subject, x: Tensor, dim: int) -> None:
    """As long as nothing underflows, every entry keeps some weight."""
    gap = float((x.amax(dim) - x.amin(dim)).max())
    assume(gap + math.log(x.shape[dim]) < underflow_gap(x.dtype))
    result = softmax(x, dim)
    above(result, torch.zeros_like(result), "the entries")
    sometimes_differs(result, result.roll(1, dim), "entries are unequal")
