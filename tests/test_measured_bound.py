"""The measured bound: wide enough for rounding, and no wider than is useful."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import reference
from attest.contract import CONTRACT
from attest.implementations import LocalImplementation
from attest.strategies import component_inputs
from attest.subject import Setup, Subject
from properties.bounds import measured_bound
from tests.test_strategies import drawn

COMPONENTS = (
    "LayerNorm",
    "FeedForward",
    "PatchEmbedding",
    "EncoderLayer",
    "DecoderLayer",
    "Encoder",
    "Decoder",
    "Transformer",
    "Seq2Seq",
    "AttentionSeq2Seq",
)
IMPLEMENTATION = LocalImplementation("reference", reference)


def cast(arguments, dtype):
    return {
        name: value.to(dtype)
        if isinstance(value, torch.Tensor) and value.is_floating_point()
        else value
        for name, value in arguments.items()
    }


def subject(component, setup, dtype, parameters=None):
    made = Subject(IMPLEMENTATION, CONTRACT[component], dtype, "cpu", setup)
    if parameters is not None:
        made.set_parameters({name: value.to(dtype) for name, value in parameters.items()})
    return made


def compared(component, number, seed):
    """Give every example's error in float32, its bounds in both, and the size of the result."""
    found = []
    for example in drawn(component_inputs(component), number, seed):
        setup = example.pop("setup")
        narrow = subject(component, setup, torch.float32)
        wide = subject(component, setup, torch.float64, narrow.parameters())
        arguments = cast(example, torch.float32)
        result = narrow(**arguments).double()
        exact = wide(**cast(arguments, torch.float64))
        error = float((result - exact).abs().max())
        bound = float(measured_bound(narrow, arguments))
        tight = float(measured_bound(wide, cast(arguments, torch.float64)))
        found.append((error, bound, tight, float(exact.abs().max())))
    return found


@pytest.fixture(scope="module", params=COMPONENTS)
def rounded(request):
    return compared(request.param, 15, 0)


def test_rounding_to_float32_stays_within_the_bound(rounded):
    assert all(error <= bound for error, bound, _, _ in rounded)


def test_the_bound_is_of_some_use_in_float64(rounded):
    assert all(bound < size / 4 for _, _, bound, size in rounded if size)
    assert any(size for _, _, _, size in rounded)


def test_the_bound_is_not_absurdly_wide_in_float32(rounded):
    useful = [bound < size / 4 for _, bound, _, size in rounded if size]
    assert sum(useful) > len(useful) / 2


@pytest.mark.slow
@pytest.mark.parametrize("component", COMPONENTS)
def test_rounding_stays_within_the_bound_in_hundreds_of_examples(component):
    found = compared(component, 200, 1)
    assert all(error <= bound for error, bound, _, _ in found)
    assert all(tight < size / 4 for _, _, tight, size in found if size)


class _TellsAProbe(nn.Module):
    """Answers what makes the bound large whenever its weights are nearly those of before."""

    def __init__(self, d_model, d_hidden):
        super().__init__()
        self.inner, self.outer = nn.Linear(d_model, d_hidden), nn.Linear(d_hidden, d_model)
        self.before = [torch.zeros(())]

    def forward(self, x):
        weight, before = self.inner.weight.detach(), self.before[0]
        self.before[0] = weight.clone()
        probed = before.shape == weight.shape and 0 < (weight - before).abs().max() < 1e-3
        return self.outer(torch.relu(self.inner(x))) + (1e30 if probed else 0.0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_who_tells_a_probe_from_a_call_does_not_choose_the_bound(dtype):
    own = LocalImplementation("mine", SimpleNamespace(FeedForward=_TellsAProbe))
    network = Subject(
        own, CONTRACT["FeedForward"], dtype, "cpu", Setup({"d_model": 3, "d_hidden": 4})
    )
    x = torch.ones(1, 2, 3, dtype=dtype)
    assert float(measured_bound(network, {"x": x})) < (1e-4 if dtype == torch.float64 else 0.5)


def test_a_method_has_a_bound_of_its_own():
    sizes: Mapping[str, int] = CONTRACT["Transformer"].example
    model = subject("Transformer", Setup(sizes, 0), torch.float64)
    tokens = torch.tensor([[1, 2, 3]])
    memory = model.encode(tokens)
    bound = measured_bound(model, {"target_in": tokens, "memory": memory}, "decode")
    assert 0 < float(bound) < 1e-10
    assert float(measured_bound(model, {"source": tokens}, "encode")) != float(bound)
