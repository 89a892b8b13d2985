"""Counting finds the longest chain of operations, and every call."""

from __future__ import annotations

from itertools import pairwise

import torch

from attest.counting import Calls, depth


def test_the_depth_is_that_of_the_longest_chain():
    x = torch.ones(3, requires_grad=True)
    short = x * 2
    long = ((x + 1) * 3).exp()
    assert depth(short) < depth(long)
    assert depth(short + long) == depth(long) + 1


def test_a_loop_over_the_entries_is_as_deep_as_they_are_many():
    x = torch.ones(8, requires_grad=True)
    total, depths = x[0], []
    for entry in x[1:].unbind():
        total = total + entry
        depths.append(depth(total))
    assert [after - before for before, after in pairwise(depths)] == [1] * 6


def test_what_has_no_gradient_has_no_depth():
    assert depth(torch.ones(3) * 2) == 0


def test_every_call_is_counted_and_answered():
    with Calls() as calls:
        result = torch.exp(torch.ones(2)) + 1
    assert calls.number == 3
    assert torch.equal(result, torch.ones(2).exp() + 1)
