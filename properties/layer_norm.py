"""Layer normalisation, which the notes use and do not mention: what experts demand of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import sympy
import torch
from hypothesis import assume
from torch import Tensor

from attest import symbolic
from attest.checks import close, finite, sometimes, sometimes_differs
from attest.differentiation import gradients, leaf
from attest.laws import law, proof
from attest.strategies import layer_norm_inputs
from attest.subject import Subject
from attest.tolerances import gamma, precision, unit_roundoff
from properties.bounds import LAYER_NORM_EPS, layer_norm_bound

LAYER_NORM = "LayerNorm"


def normalised(x: Tensor, eps: float = LAYER_NORM_EPS) -> Tensor:
    """Give (x − μ) / √(σ² + ε) in float64, from the definition."""
    wide = x.detach().double()
    centred = wide - wide.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()


def _variance(x: Tensor) -> Tensor:
    """Give each token's variance in float64, (..., 1): over D, and not D − 1."""
    return x.detach().double().var(-1, correction=0, keepdim=True)


# --- Definition ---------------------------------------------------------------------------------


@law(
    LAYER_NORM,
    inputs=layer_norm_inputs(),
    formula="y = (x − μ) / √(σ² + ε),  μ = mean(x),  σ² = mean((x − μ)²),  ε = 10⁻⁵",
)
def every_token_is_centred_and_scaled(norm: Subject, x: Tensor) -> None:
    """At the start, with gain 1 and bias 0, a token has its mean taken away and its spread divided.

    The variance divides by D, ε stands inside the root, and a token may lie a thousand off zero.
    """
    close(norm(x), normalised(x), 2 * layer_norm_bound(norm, x), "the normalised tokens")


@law(
    LAYER_NORM,
    inputs=layer_norm_inputs(),
    formula="mean(y) = 0,  mean(y²) = σ² / (σ² + ε)",
)
def tokens_have_mean_zero_and_a_variance_below_one(norm: Subject, x: Tensor) -> None:
    """What comes out has mean zero, and a variance that ε keeps a little below one."""
    y, error = norm(x).double(), layer_norm_bound(norm, x)
    mean, limit = y.mean(-1, keepdim=True), error.amax(-1, keepdim=True)
    close(mean, torch.zeros_like(mean), limit, "the mean of each token")
    variance = _variance(x)
    expected = variance / (variance + LAYER_NORM_EPS)
    limit = (2 * y.abs() * error + error.square()).mean(-1, keepdim=True)
    limit = limit + gamma(x.shape[-1] + 8, precision(x.dtype)) * expected
    close(y.square().mean(-1, keepdim=True), expected, limit, "the variance of each token")
    sometimes_differs(y, torch.zeros_like(y), "the tokens are not zero", error)


# --- Invariances --------------------------------------------------------------------------------


@law(
    LAYER_NORM,
    inputs=layer_norm_inputs(),
    formula="f(x + c 1) = f(x),  a c for each token",
)
def adding_a_constant_to_a_token_changes_nothing(norm: Subject, x: Tensor) -> None:
    """Where a token lies does not matter, only how its entries differ from each other."""
    tokens = x.shape[:-1]
    shift = 1 + torch.arange(math.prod(tokens)).view(*tokens, 1) % 5
    moved = x + shift.to(x)
    # The sum is rounded, which moves an entry of a token by u at most, and y by that over σ_ε.
    rounding = unit_roundoff(x.dtype) * moved.detach().double().norm(dim=-1, keepdim=True)
    limit = layer_norm_bound(norm, x) + layer_norm_bound(norm, moved)
    limit = limit + rounding / (_variance(x) + LAYER_NORM_EPS).sqrt()
    y = norm(x)
    close(norm(moved), y, limit, "the output for shifted tokens")
    grown = x * (1 + torch.arange(x.shape[-1]) % 2).to(x)
    limit = layer_norm_bound(norm, x) + layer_norm_bound(norm, grown)
    sometimes_differs(norm(grown), y, "growing every other entry changes the output", limit)


@law(
    LAYER_NORM,
    inputs=layer_norm_inputs(),
    formula="f(a x) √(σ² + ε/a²) = f(x) √(σ² + ε),  for a > 0",
)
def a_scale_drops_out_but_for_epsilon(norm: Subject, x: Tensor) -> None:
    """Scaling a token by a is dividing ε by a²: nothing to a long token, a lot to a short one."""
    variance, y, error = _variance(x), norm(x), layer_norm_bound(norm, x)
    for factor in (2.0**-6, 2.0**7):  # powers of two: nothing is rounded
        scaled = x * factor
        ratio = ((variance + LAYER_NORM_EPS) / (variance + LAYER_NORM_EPS / factor**2)).sqrt()
        expected = y.double() * ratio
        limit = layer_norm_bound(norm, scaled) + error * ratio
        limit = limit + gamma(8, precision(x.dtype)) * expected.abs()
        found = norm(scaled)
        close(found, expected.to(found.dtype), limit, f"the output for tokens times {factor}")
        sometimes_differs(found, y, f"ε shows in tokens times {factor}", limit + error)


@law(
    LAYER_NORM,
    inputs=layer_norm_inputs(),
    formula="f(x)[t] = f(x[t]),  x (..., D), t all but the last axis",
)
def a_token_is_normalised_by_itself(norm: Subject, x: Tensor) -> None:
    """Whatever stands before the last axis, each token gets what it would get alone."""
    assume(x.dim() >= 2)
    y, error = norm(x), layer_norm_bound(norm, x)
    width = x.shape[-1]
    flat, rows, errors = (tensor.reshape(-1, width) for tensor in (x, y, error))
    close(norm(flat), rows, 2 * errors, "the output for all tokens in one row")
    for t in {0, len(flat) // 2, len(flat) - 1}:
        close(norm(flat[t]), rows[t], 2 * errors[t], f"the output for token {t} alone")
    sometimes_differs(rows[:1], rows[-1:], "tokens have different outputs", 2 * errors[:1])


# --- Gradients ----------------------------------------------------------------------------------


@law(
    LAYER_NORM,
    inputs=layer_norm_inputs(2),
    formula="Jᵀ v = (v − mean(v) − y mean(v y)) / √(σ² + ε)",
)
def the_gradient_leaves_out_the_mean_and_the_token_itself(norm: Subject, x: Tensor) -> None:
    """Mean and spread are computed from the token, too, and the gradient knows it.

    What would shift the token is taken out of the gradient, and but for ε what would stretch it.
    """
    variable = leaf(x)
    y = norm(variable)
    probe = torch.cos(1.0 + torch.arange(x.numel())).view(x.shape).to(x)
    (found,) = gradients(y, probe, variable)
    exact, v = normalised(x), probe.double()
    spread = (_variance(x) + LAYER_NORM_EPS).sqrt()

    def mean(values: Tensor) -> Tensor:
        return values.mean(-1, keepdim=True)

    expected = (v - mean(v) - exact * mean(v * exact)) / spread
    # The output's relative error is the spread's; the three terms are rounded and summed.
    error = layer_norm_bound(norm, x)
    terms = v.abs() + mean(v.abs()) + exact.abs() * mean((v * exact).abs())
    limit = gamma(2 * x.shape[-1] + 16, precision(x.dtype)) * terms
    limit = limit + (error * mean((v * exact).abs()) + exact.abs() * mean(v.abs() * error))
    worst = error.square().amax(-1, keepdim=True)
    relative = 0.55 * (gamma(x.shape[-1] + 4, precision(x.dtype)) + worst)
    limit = 2 * (limit + relative * terms) / spread
    close(found, expected.to(found.dtype), limit, "the gradient")
    sometimes_differs(found, torch.zeros_like(found), "the gradient is not zero", limit)


# --- Gain and bias ------------------------------------------------------------------------------


@law(
    LAYER_NORM,
    inputs=layer_norm_inputs(),
    formula="y_i = g_i x̂_i + b_i",
    oracle=True,
)
def gain_and_bias_act_entry_by_entry(norm: Subject, oracle: Subject, x: Tensor) -> None:
    """Gain and bias are as wide as a token: each entry is scaled and shifted by its own."""
    width = torch.arange(x.shape[-1])
    gain, bias = 3 * torch.cos(2 * width), torch.sin(1 + width)
    values = {"gain": gain.to(x), "bias": bias.to(x)}
    norm.set_parameters(values)
    oracle.set_parameters(values)
    y, limit = norm(x), 2 * layer_norm_bound(norm, x)
    close(y, oracle(x), limit, "the output, against the reference's")
    expected = gain.to(x).double() * normalised(x) + bias.to(x).double()
    close(y, expected.to(y.dtype), limit, "the output")
    sometimes_differs(y, normalised(x).to(y.dtype), "gain and bias are heard", limit)


def a_gain_and_a_bias(parameters: Mapping[str, Tensor]) -> str | None:
    """Say why the law has nothing to say: its parameters are not two vectors, one of them ones.

    What starts at zero is drawn anew where a law does not ask for it as it was.
    """
    vectors = [p for p in parameters.values() if p.numel() == p.shape[-1] > 1]
    ones = sum(bool((p == 1).all()) for p in vectors)
    found = len(parameters) == len(vectors) == 2 and ones == 1
    return None if found else "its parameters are not a vector that starts at one and another"


@law(
    LAYER_NORM,
    inputs=layer_norm_inputs(),
    formula="y_i = g_i x̂_i + b_i, where g is what starts at 1 and b is what starts at 0",
    applies=a_gain_and_a_bias,
)
def what_is_learned_scales_and_shifts_every_entry(norm: Subject, x: Tensor) -> None:
    """Whatever they are called, one vector scales what was normalised, and one is added to it.

    Neither shows before something was learned, so both are overwritten here.
    """
    start, width = norm.parameters(), torch.arange(x.shape[-1])
    gain, bias = (3 * torch.cos(2 * width)).to(x), torch.sin(1 + width).to(x)
    norm.set_parameters(
        {name: (gain if bool(p.any()) else bias).view_as(p) for name, p in start.items()}
    )
    y, limit = norm(x), 2 * layer_norm_bound(norm, x)
    expected = gain.double() * normalised(x) + bias.double()
    close(y, expected.to(y.dtype), limit, "the output")
    sometimes_differs(y, normalised(x).to(y.dtype), "gain and bias are heard", limit)


# --- Precision ----------------------------------------------------------------------------------


@law(
    LAYER_NORM,
    inputs=layer_norm_inputs(),
    formula="|ŷ − y| ≤ 2 E(x, dtype) in float32, bfloat16 and float16",
    dtypes=("float32", "bfloat16", "float16"),
    kind="robustness",
)
def low_precision_rounds_no_further_than_it_must(norm: Subject, x: Tensor) -> None:
    """Rounding is all that may go wrong in lower precision."""
    centred = x.double() - x.double().mean(-1, keepdim=True)
    # float16 ends at 65,504, and squares are summed over the width.
    assume(float(centred.square().sum(-1).max()) < 3e4 or x.dtype != torch.float16)
    assume(float(x.double().abs().sum(-1).max()) < 3e4 or x.dtype != torch.float16)
    y, limit = norm(x), 2 * layer_norm_bound(norm, x)
    finite(y, "the output")
    close(y, normalised(x).to(y.dtype), limit, "the normalised tokens")
    sometimes(
        bool((limit < 0.1).any() and y.abs().max() > 0.5), "some tokens are known to two digits"
    )


# --- Proofs -------------------------------------------------------------------------------------


def _symbolic_norm(norm: Callable[..., Any], width: int, eps: float | None = None) -> Any:
    """Construct the module with gain 1 and bias 0; with another ε, if one is given."""
    values = {"gain": symbolic.tensor([1] * width), "bias": symbolic.tensor([0] * width)}
    module, _ = symbolic.symbolic_module(norm, width, values=values)
    if eps is not None:
        module.eps = eps
    return module


@proof(
    LAYER_NORM,
    method="symbolic",
    formula="Σ y_i = 0,  mean(y²) (σ² + ε) = σ²,  f(x + c 1) = f(x),  y_i(g, b) = g_i x̂_i + b_i",
)
def mean_variance_and_shift_come_out_in_symbols(norm: Callable[..., Any]) -> None:
    """Run on symbols: the mean is zero, the variance σ² / (σ² + ε), and a shift drops out.

    Entries are any real numbers; widths are 2 and 3, and no width enters the formula but as D.
    """
    for width in (2, 3):
        module = _symbolic_norm(norm, width)
        x = symbolic.symbols("x", width)
        y = module(x)
        mean = sum(x.entries) / width
        variance = sum((entry - mean) ** 2 for entry in x.entries) / width
        eps = sympy.Rational(1, 10**5)
        zero = symbolic.tensor([0])
        assert symbolic.equal(symbolic.tensor([sum(y.entries)]), zero), "the mean"
        found = sum(entry**2 for entry in y.entries) / width
        wanted = symbolic.tensor([variance / (variance + eps)])
        assert symbolic.equal(symbolic.tensor([found]), wanted), "the variance"
        shift = sympy.Symbol("c", real=True)
        assert symbolic.equal(module(x + symbolic.tensor([shift] * width)), y), "the shift"
        free, parameters = symbolic.symbolic_module(norm, width)
        expected = y * parameters["gain"] + parameters["bias"]
        assert symbolic.equal(free(x), expected), "gain and bias"


@proof(
    LAYER_NORM,
    method="symbolic",
    formula="ε = 0 ⇒ σ J = I − 11ᵀ/D − x̂x̂ᵀ/D: rank D − 2, kernel span{1, x̂}",
)
def without_epsilon_the_jacobian_projects_two_directions_out(norm: Callable[..., Any]) -> None:
    """Without ε, σ J is a projection: what is left out are the shift and the stretch of the token.

    A projection's rank is its trace, here D − 2; that 1 and x̂ are mapped to zero, and are
    orthogonal, makes them the whole kernel. Entries are symbols, at a width of 3.
    """
    width = 3
    x = symbolic.symbols("x", width)
    y = _symbolic_norm(norm, width, eps=0.0)(x)
    mean = sum(x.entries) / width
    variance = sympy.expand(sum((entry - mean) ** 2 for entry in x.entries) / width)
    spread = sympy.sqrt(variance)
    columns = [symbolic.derivative(y, by).entries for by in x.entries]
    # Known as (I − 11ᵀ/D)/σ − r rᵀ/(D σ³), of which every entry is decided.
    r = [entry - mean for entry in x.entries]
    scaled = [[columns[k][j] * spread for k in range(width)] for j in range(width)]
    projection = [
        [
            sympy.Integer(j == k) - sympy.Rational(1, width) - r[j] * r[k] / (width * variance)
            for k in range(width)
        ]
        for j in range(width)
    ]
    assert symbolic.equal(symbolic.tensor(scaled), symbolic.tensor(projection)), "the Jacobian"
    matrix = sympy.Matrix(projection)
    zeros = symbolic.tensor([0] * width)
    for direction, name in ((sympy.ones(width, 1), "1"), (sympy.Matrix(r), "x̂")):
        mapped = symbolic.tensor(list(matrix * direction))
        assert symbolic.equal(mapped, zeros), f"the Jacobian times {name}"
    twice = symbolic.tensor((matrix * matrix).tolist())
    assert symbolic.equal(twice, symbolic.tensor(projection)), "a projection is its own square"
    trace = symbolic.tensor([matrix.trace()])
    assert symbolic.equal(trace, symbolic.tensor([width - 2])), "the rank"
