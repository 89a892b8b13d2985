"""What modules learn from: their weights from data, which need no gradient themselves."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from torch import Tensor

import reference
from attest.examination import Settings, examine
from attest.implementations import LocalImplementation
from attest.ledger import load_ledger, load_reference

LAW = "single_precision_learns_what_double_precision_learns"
LAWS = {law.component: law for law in load_ledger().laws if law.name == LAW}


def deaf(component: str) -> type:
    """Make a module whose weights learn only where its first input needs a gradient, too."""
    right = getattr(reference, component)

    def forward(self, x, *rest, **named):
        results = right.forward(self, x, *rest, **named)
        if x.requires_grad:
            return results
        cut = [one.detach() for one in ((results,) if isinstance(results, Tensor) else results)]
        return cut[0] if isinstance(results, Tensor) else tuple(cut)

    return type(component, (right,), {"forward": forward})


@pytest.mark.parametrize(
    "component", ["LayerNorm", "FeedForward", "MultiHeadAttention", "MultiplicativeAttention"]
)
def test_weights_learn_from_inputs_that_need_no_gradient(component):
    mine = LocalImplementation("mine", SimpleNamespace(**{component: deaf(component)}))
    settings = Settings(examples=10, explain=False)
    found = examine(LAWS[component], mine, settings, load_reference())
    assert found.status == "refuted"
    assert examine(LAWS[component], load_reference(), settings, load_reference()).well
