"""Tests of causality that look right and test nothing, and what the laws say in their place.

Each trap is written down as the check that one would write first. It passes an implementation that
is wrong; the law dies of it.
"""

from __future__ import annotations

import pytest
import torch

from attest.examination import Settings, examine
from attest.ledger import load_ledger, load_reference
from reference import DecoderLayer
from tests.mutants import Mutant
from tests.mutants.decoder import (
    Layer,
    OneTokenOfTheFuture,
    OnlyTheLastThreeTokens,
    StrictlyPast,
    StrictlyPastButForTheFirst,
    WithoutACausalMask,
)

pytestmark = pytest.mark.slow

FUTURE = "the_future_does_not_change_the_past"
PAST = "a_token_depends_on_itself_and_on_all_before_it"
EQUALS = "equal_tokens_are_as_one_token_alone"
TWICE = "saying_every_token_twice_changes_nothing"


class IgnoresItsInput(Layer):
    """Give the same whatever one says."""

    def forward(self, x, memory, self_mask=None, memory_mask=None):
        return super().forward(0 * x, 0 * memory, None, None)


class FollowsTheMemoryAlone(Layer):
    """Give what the memory says, and nothing of the words so far."""

    def forward(self, x, memory, self_mask=None, memory_mask=None):
        return super().forward(0 * x, memory, self_mask, memory_mask)


def dies_of(layer, name):
    prop = next(p for p in load_ledger().laws if p.id == f"DecoderLayer.{name}")
    mutant = Mutant(layer.__name__, "DecoderLayer", layer, (name,))
    return not examine(
        prop, mutant.implementation(), Settings(examples=25, explain=False), load_reference()
    ).well


def made(layer):
    torch.manual_seed(0)
    return layer(8, 2, 16).double(), *torch.randn(2, 1, 6, 8, dtype=torch.float64)


def prefix_stays(layer, kept, step):
    """The check that one would write first: nudge what comes later, and look at the past."""
    module, x, memory = made(layer)
    nudged = x.clone()
    nudged[:, kept:] += step
    with torch.no_grad():
        before, after = module(x, memory), module(nudged, memory)
    return torch.allclose(before[:, :kept], after[:, :kept])


def test_the_right_layer_passes_everything():
    assert prefix_stays(DecoderLayer, 3, 1.0)
    assert not any(dies_of(DecoderLayer, name) for name in (FUTURE, PAST, EQUALS, TWICE))


def test_a_tiny_change_of_the_future_is_not_seen_within_a_tolerance():
    assert prefix_stays(WithoutACausalMask, 3, 1e-9)
    assert not prefix_stays(WithoutACausalMask, 3, 1.0)
    assert dies_of(WithoutACausalMask, FUTURE)


@pytest.mark.parametrize("layer", [IgnoresItsInput, FollowsTheMemoryAlone])
def test_what_does_not_listen_cannot_be_disturbed(layer):
    assert prefix_stays(layer, 3, 1.0)
    assert dies_of(layer, FUTURE)
    assert dies_of(layer, PAST)


def test_one_token_too_many_is_not_seen_from_further_back():
    module, x, memory = made(OneTokenOfTheFuture)
    rewritten = x.clone()
    rewritten[:, 4:] += 1.0
    with torch.no_grad():
        before, after = module(x, memory), module(rewritten, memory)
    assert torch.equal(before[:, :3], after[:, :3])  # token 3 sees token 4, token 2 does not
    assert dies_of(OneTokenOfTheFuture, FUTURE)


@pytest.mark.parametrize("layer", [StrictlyPast, StrictlyPastButForTheFirst])
def test_one_token_too_few_leaks_nothing(layer):
    assert prefix_stays(layer, 3, 1.0)
    assert not dies_of(layer, FUTURE)
    assert not dies_of(layer, PAST)  # the residual carries a token's own place
    assert dies_of(layer, TWICE)


def test_the_first_token_alone_has_itself():
    assert dies_of(StrictlyPast, EQUALS)
    assert not dies_of(StrictlyPastButForTheFirst, EQUALS)  # that is why tokens are said twice


def test_a_window_leaks_nothing_and_forgets():
    assert prefix_stays(OnlyTheLastThreeTokens, 3, 1.0)
    assert not dies_of(OnlyTheLastThreeTokens, FUTURE)
    assert dies_of(OnlyTheLastThreeTokens, PAST)


def test_no_gradient_is_no_evidence():
    """A layer whose output is a constant has no gradient by the future, and none by the past."""
    module, x, memory = made(IgnoresItsInput)
    x.requires_grad_()
    module(x, memory)[0, 2].sum().backward()
    assert not x.grad.any()
    assert dies_of(IgnoresItsInput, "gradients_reach_the_past_alone")
