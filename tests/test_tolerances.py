"""The tolerance model: no correct computation leaves its bounds, and small mistakes do."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812 - torch's custom

import reference
from attest.contract import CONTRACT
from attest.implementations import LocalImplementation
from attest.strategies import REGIMES, fill, random_mask
from attest.subject import Subject
from attest.tolerances import (
    attention_errors,
    gamma,
    layer_norm_errors,
    likely_gamma,
    log_weight_error,
    precision,
    smallest,
    softmax_errors,
    underflow_gap,
    unit_roundoff,
)
from properties.bounds import attention_bounds

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
EACH_DTYPE = pytest.mark.parametrize("dtype", DTYPES, ids=str)
SHAPES = ((1, 1), (2, 3), (5, 2), (4, 7), (1, 33), (2, 70), (3, 300))


def exactly(tensor):
    """Give a tensor's entries in extended precision."""
    return tensor.detach().double().numpy().astype(np.longdouble)


def exact_softmax(scores):
    raised = np.exp(scores - scores.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


def exact_attention(query, key, value, mask):
    query, key, value = exactly(query), exactly(key), exactly(value)
    scores = query @ np.swapaxes(key, -1, -2) / np.sqrt(np.longdouble(query.shape[-1]))
    if mask is not None:
        scores = np.where(mask.numpy(), scores, -np.inf)
    weights = exact_softmax(scores)
    return weights @ value, weights


def share(computed, exact, bound):
    """Give the largest error over its bound; infinite where nothing was computed."""
    error = np.abs(exactly(computed) - exact).astype(np.float64)
    share = error / np.broadcast_to(bound.numpy(), error.shape)
    return float(np.where(np.isnan(share), np.inf, share).max())


def softmax_draws(dtype, draws=4):
    for regime in REGIMES:
        for shape in SHAPES:
            for seed in range(draws):
                generator = torch.Generator().manual_seed(seed)
                yield fill(generator, regime, *shape).to(dtype)


def softmax_bound(x):
    scores = x.double()
    return torch.softmax(scores, -1) * softmax_errors(scores, 0.0, x.dtype) + smallest(x.dtype)


SOFTMAXES = {
    "the reference": lambda x: reference.softmax(x, -1),
    "torch": lambda x: torch.softmax(x, -1),
    "by the logarithm": lambda x: torch.log_softmax(x, -1).exp(),
    "by logsumexp": lambda x: torch.exp(x - torch.logsumexp(x, -1, keepdim=True)),
}


@EACH_DTYPE
@pytest.mark.parametrize("softmax", SOFTMAXES.values(), ids=SOFTMAXES)
def test_no_softmax_leaves_its_bound(softmax, dtype):
    shares = [
        share(softmax(x), exact_softmax(exactly(x)), softmax_bound(x)) for x in softmax_draws(dtype)
    ]
    assert max(shares) < 1
    assert max(shares) > 0.01  # a bound that nothing comes near bounds nothing


def attention_draws(dtype, draws=5):
    for regime in REGIMES:
        for batch, queries, keys, d_k, d_v in (
            (1, 1, 1, 1, 1),
            (2, 3, 5, 4, 2),
            (1, 2, 7, 3, 6),
            (3, 4, 4, 4, 4),
            (1, 3, 70, 16, 5),
            (1, 2, 5, 64, 3),
        ):
            for seed in range(draws):
                generator = torch.Generator().manual_seed(seed)
                largest = min(300.0, math.sqrt(8e4 / math.sqrt(d_k)))
                query = fill(generator, regime, batch, queries, d_k, largest=largest).to(dtype)
                key = fill(generator, regime, batch, keys, d_k, largest=largest).to(dtype)
                value = fill(generator, regime, batch, keys, d_v).to(dtype)
                mask = random_mask(generator, batch, queries, keys) if seed % 2 else None
                sizes = query.double().abs() @ key.double().abs().mT
                if float(sizes.max()) < (3e4 if dtype == torch.float16 else 1e5):
                    yield query, key, value, mask


def bounds_of(query, key, value, mask):
    name = "scaled_dot_product_attention"
    implementation = LocalImplementation("reference", reference)
    subject = Subject(implementation, CONTRACT[name], query.dtype, "cpu")
    return attention_bounds(subject, {"query": query, "key": key, "value": value, "mask": mask})


@EACH_DTYPE
def test_no_attention_leaves_its_bounds(dtype):
    outputs, weights, fused = [], [], []
    for inputs in attention_draws(dtype):
        exact_output, exact_weights = exact_attention(*inputs)
        bounds = bounds_of(*inputs)
        output, computed = reference.scaled_dot_product_attention(*inputs)
        outputs.append(share(output, exact_output, bounds.output))
        weights.append(share(computed, exact_weights, bounds.weights))
        kernel = F.scaled_dot_product_attention(*inputs)
        fused.append(share(kernel, exact_output, bounds.output))
    assert len(outputs) > 120
    assert max(outputs) < 1
    assert max(weights) < 1
    assert max(fused) < 1
    assert min(max(outputs), max(weights)) > 0.01


def with_a_larger_denominator(query, key, value, mask):
    weights = reference.masked_softmax(query @ key.mT / math.sqrt(query.shape[-1]), mask)
    weights = weights / (1 + 1e-6)
    return weights @ value, weights


def with_another_scale(query, key, value, mask):
    weights = reference.masked_softmax(query @ key.mT / math.sqrt(query.shape[-1] + 1), mask)
    return weights @ value, weights


def without_the_last_key(query, key, value, mask):
    allowed = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool)
    allowed[:, -1] = False
    return reference.scaled_dot_product_attention(query, key, value, allowed)


@pytest.mark.parametrize(
    "mistaken", [with_a_larger_denominator, with_another_scale, without_the_last_key]
)
@pytest.mark.parametrize("regime", ["integers", "normal", "large", "ties"])
def test_a_small_mistake_leaves_the_bounds_in_float64(mistaken, regime):
    for seed in range(10):
        generator = torch.Generator().manual_seed(seed)
        query, key, value = (fill(generator, regime, 2, n, 4) for n in (3, 5, 5))
        exact_output, exact_weights = exact_attention(query, key, value, None)
        bounds = bounds_of(query, key, value, None)
        output, weights = mistaken(query, key, value, None)
        assert share(weights, exact_weights, 2 * bounds.weights) > 1
        assert share(output, exact_output, 2 * bounds.output) > 1


def test_a_small_mistake_of_a_softmax_leaves_its_bound_in_float64():
    for regime in ("integers", "normal", "large", "small"):
        x = fill(torch.Generator().manual_seed(0), regime, 4, 7)
        raised = torch.exp(x - x.amax(-1, keepdim=True))
        mistaken = raised / (raised.sum(-1, keepdim=True) + 1e-6)
        assert share(mistaken, exact_softmax(exactly(x)), 2 * softmax_bound(x)) > 1


@pytest.mark.parametrize(
    ("dtype", "u"),
    [
        (torch.float64, 2.0**-53),
        (torch.float32, 2.0**-24),
        (torch.bfloat16, 2.0**-8),
        (torch.float16, 2.0**-11),
    ],
)
def test_the_unit_roundoff_is_half_the_gap_after_one(dtype, u):
    assert unit_roundoff(dtype) == u
    one = torch.ones((), dtype=dtype)
    assert one + 2 * u > one
    assert one + u == one


def test_low_precision_accumulates_in_float32():
    assert [precision(dtype) for dtype in DTYPES] == [2.0**-53, 2.0**-24, 2.0**-24, 2.0**-24]


@EACH_DTYPE
def test_a_score_beyond_the_gap_may_underflow_and_one_within_it_does_not(dtype):
    gap = torch.tensor(underflow_gap(dtype), dtype=torch.float64)
    assert float(torch.exp(-gap * 0.999)) > smallest(dtype) >= float(torch.exp(-gap * 1.001))


def test_the_gaps_are_those_that_the_documentation_names():
    gaps = [round(underflow_gap(dtype), 1) for dtype in DTYPES]
    assert gaps == [708.4, 87.3, 87.3, 9.7]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_long_product_in_half_precision_stays_within_what_is_likely(dtype):
    torch.manual_seed(0)
    u, k = unit_roundoff(dtype), 100
    factors = (0.5 + torch.rand(k, 10_000)).to(dtype)
    factors /= factors.double().prod(0).pow(1 / k).to(dtype)  # products stay near one
    rounded, exact = torch.ones(10_000, dtype=dtype), torch.ones(10_000).double()
    for factor in factors:
        rounded, exact = rounded * factor, exact * factor.double()
    error = float(((rounded.double() - exact) / exact).abs().max())
    assert likely_gamma(k, u) / 10 < error < likely_gamma(k, u)
    assert likely_gamma(k, u) < gamma(k, u)


def test_gamma_is_a_little_more_than_the_sum_of_the_roundings():
    assert gamma(0, 1e-3) == 0
    assert gamma(3, 1e-3) == pytest.approx(0.003 / 0.997)


@pytest.mark.parametrize("k", [1000, 1001, 10**9])
def test_gamma_says_nothing_where_roundings_add_up_to_one(k):
    with pytest.raises(ValueError, match="the error model says nothing"):
        gamma(k, 1e-3)


def test_a_masked_score_has_no_part_in_the_bounds_of_the_others():
    scores = torch.tensor([[1.0, 2.0, 1e9]], dtype=torch.float64)
    mask = torch.tensor([[True, True, False]])
    hidden = softmax_errors(scores.masked_fill(~mask, -torch.inf), 0.0, torch.float32)
    other = softmax_errors(
        torch.tensor([[1.0, 2.0, -torch.inf]], dtype=torch.float64), 0.0, torch.float32
    )
    assert torch.equal(hidden, other)
    assert bool((hidden[:, :2] < 1e-5).all())


def test_a_row_without_any_key_has_finite_bounds():
    scores = torch.full((2, 3), -torch.inf, dtype=torch.float64)
    errors = attention_errors(scores, 0.0, torch.ones(3, 2, dtype=torch.float64))
    for bound in (errors.relative, errors.weights, errors.output):
        assert bool(torch.isfinite(bound).all())


def test_bounds_grow_with_the_error_of_the_scores_and_of_the_values():
    scores = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
    value = torch.ones(3, 2, dtype=torch.float64)
    plain = attention_errors(scores, 0.0, value)
    worse = attention_errors(scores, 1e-3, value)
    assert bool((worse.relative > plain.relative + 1e-3).all())
    assert bool((worse.output > plain.output).all())
    off = attention_errors(scores, 0.0, value, 1e-3)
    assert torch.equal(off.weights, plain.weights)
    assert bool((off.output >= plain.output + 1e-3).all())


def test_an_error_of_the_scores_stays_within_its_bound():
    x = fill(torch.Generator().manual_seed(0), "normal", 50, 6)
    moved = x + 1e-3 * torch.sign(fill(torch.Generator().manual_seed(1), "normal", 50, 6))
    bound = torch.softmax(x, -1) * softmax_errors(x, 1e-3, torch.float64)
    assert 0.1 < share(torch.softmax(moved, -1), exact_softmax(exactly(x)), bound) < 1


@pytest.mark.parametrize("relative", [0.0, 1e-16, 1e-8, 1e-3, 0.5, 0.99])
def test_a_logarithm_is_off_by_no_more_than_its_bound(relative):
    bound = float(log_weight_error(torch.tensor(relative, dtype=torch.float64)))
    for weight in (1.0, 0.3, 1e-200):
        for sign in (1, -1):
            error = math.log(weight * (1 + sign * relative)) - math.log(weight)
            assert abs(error) <= bound + math.ulp(math.log(weight))


def test_a_weight_that_may_be_wrong_altogether_has_a_finite_bound():
    assert math.isfinite(float(log_weight_error(torch.tensor(2.0, dtype=torch.float64))))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_a_layer_norms_error_stays_below_its_bound(dtype, offset):
    generator = torch.Generator().manual_seed(0)
    for width in (1, 2, 5, 48):
        x = (offset + torch.randn(200, width, generator=generator)).to(dtype)
        wide = x.double()
        centred = wide - wide.mean(-1, keepdim=True)
        exact = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        bound = layer_norm_errors(x)
        one, zero = torch.ones(width, dtype=dtype), torch.zeros(width, dtype=dtype)
        for found in (
            reference.layer_norm(x, one, zero),
            torch.nn.functional.layer_norm(x, [width]),
        ):
            assert ((found.double() - exact).abs() <= bound).all()


def test_a_layer_norms_bound_is_far_below_a_variance_in_one_pass_far_off_zero():
    x = 1e3 + torch.randn(50, 16, generator=torch.Generator().manual_seed(0)).double()
    exact = torch.nn.functional.layer_norm(x, [16])
    spread = (x.square().mean(-1, keepdim=True) - x.mean(-1, keepdim=True).square() + 1e-5).sqrt()
    error = ((x - x.mean(-1, keepdim=True)) / spread - exact).abs()
    assert (error > 4 * layer_norm_errors(x)).any()
