"""Tests of residuals that look right and test nothing: an encoder without any passes them.

That gradients are not zero, and that their norm is not small, is true of six layers without
residuals too: layer normalisation keeps the norm up. What is lost is the difference between tokens.
"""

from __future__ import annotations

from functools import cache
from statistics import median

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from attest.checks import above, at_least
from attest.differentiation import gradients, leaf
from attest.laws import law
from attest.strategies import fill, seeds
from attest.subject import Setup, Subject
from reference import Encoder
from tests.mutants.residual import EncoderWithoutResiduals
from tests.test_traps import falls_into

DEPTHS = (2, 4, 6)
REAL = "silent_sublayers_hand_the_tokens_on"


@st.composite
def deep_encoders(draw):
    """Inputs of an encoder of two to six layers: four tokens of width 8."""
    depth, seed = draw(st.sampled_from(DEPTHS)), draw(seeds())
    x = fill(torch.Generator().manual_seed(seed), "normal", 1, 4, 8)
    sizes = {"d_model": 8, "n_heads": 2, "d_hidden": 16, "n_layers": depth}
    return {"x": x, "mask": None, "setup": Setup(sizes, seed)}


def gradient(encoder: Subject, x: Tensor) -> Tensor:
    variable = leaf(x)
    y = encoder(variable)
    probe = torch.cos(1.0 + torch.arange(y.numel())).view(y.shape).to(y)
    return gradients(y, probe, variable)[0]


@law("Encoder", inputs=deep_encoders(), formula="∂f/∂x ≠ 0")
def gradients_arrive(encoder: Subject, x: Tensor, mask: Tensor | None) -> None:
    """The gradient by every entry of the input is not zero, however deep the encoder."""
    del mask
    found = gradient(encoder, x)
    above(found.abs(), torch.zeros_like(found), "the gradient's size")


@law("Encoder", inputs=deep_encoders(), formula="‖∂f/∂x‖ ≥ 10⁻⁵")
def the_norm_of_the_gradient_survives(encoder: Subject, x: Tensor, mask: Tensor | None) -> None:
    """The gradient does not vanish, however deep the encoder."""
    del mask
    norm = gradient(encoder, x).norm()
    at_least(norm, torch.full_like(norm, 1e-5), 0, "the gradient's norm")


def test_gradients_that_are_not_zero_say_nothing_of_residuals():
    falls_into(gradients_arrive, "Encoder", EncoderWithoutResiduals, REAL)


def test_the_gradients_norm_survives_without_residuals_where_tokens_are_normalised():
    falls_into(the_norm_of_the_gradient_survives, "Encoder", EncoderWithoutResiduals, REAL)


@cache
def gradient_norms(encoder: type[Encoder], depth: int, *, differences: bool) -> float:
    """Give the median norm, over seeds, of the gradient of one token, or of two tokens' difference.

    Matrices are drawn with variance one over their width, as laws draw them.
    """
    norms = []
    for seed in range(7):
        generator = torch.Generator().manual_seed(seed)
        module = encoder(8, 2, 16, depth).double()
        with torch.no_grad():
            for parameter in module.parameters():
                if parameter.dim() == 2:
                    noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                    parameter.copy_(noise / parameter.shape[1] ** 0.5)
        x = torch.randn(1, 4, 8, generator=generator, dtype=torch.float64, requires_grad=True)
        y = module(x)[0]
        told = y[0] - y[1] if differences else y[0]
        (found,) = torch.autograd.grad((told * torch.arange(8).cos()).sum(), x)
        norms.append(float(found.norm()))
    return median(norms)


@pytest.mark.parametrize("depth", DEPTHS)
def test_with_residuals_the_gradient_of_a_difference_is_as_large_as_any(depth):
    of_one, of_two = (gradient_norms(Encoder, depth, differences=d) for d in (False, True))
    assert of_two > of_one / 10


def test_without_residuals_the_gradient_of_a_difference_vanishes_with_depth_and_no_other_does():
    shares = []
    for depth in DEPTHS:
        of_one, of_two = (
            gradient_norms(EncoderWithoutResiduals, depth, differences=d) for d in (False, True)
        )
        assert of_one > 1e-3
        shares.append(of_two / of_one)
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] < 1e-3
