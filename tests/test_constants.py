"""A component that gives a constant passes no law but those that are true of constants."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from attest.examination import Settings, examine
from attest.implementations import LocalImplementation
from attest.ledger import load_ledger, load_reference

# Laws that compare with an explicit number, which a constant may well have.
ALLOWED = {
    "weights_do_not_grow_with_the_heads": "it counts parameters",
    "there_are_three_square_matrices": "it counts parameters",
}


def constant(kind: str) -> LocalImplementation:
    """Give every component of the contract, each with zeros or with even weights for an answer."""

    def answer(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        even = torch.full_like(query[..., :1] * key[..., :1, 0][..., None, :], 1 / key.shape[-2])
        output = torch.zeros_like(query[..., :1] * value[..., :1, :])
        return output, even if kind == "even weights" else 0 * even

    class Attention(nn.Module):
        names: tuple[str, ...] = ()

        def __init__(self, *sizes: int) -> None:
            super().__init__()
            self.sizes = sizes
            self.make(*sizes)

        def forward(
            self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
        ) -> tuple[Tensor, Tensor]:
            return answer(query, key, value)

    class AdditiveAttention(Attention):
        def make(self, d_query: int, d_key: int, d_hidden: int) -> None:
            self.query = nn.Linear(d_query, d_hidden, bias=False)
            self.key = nn.Linear(d_key, d_hidden, bias=False)
            self.energy = nn.Linear(d_hidden, 1, bias=False)

    class MultiplicativeAttention(Attention):
        def make(self, d_query: int, d_key: int) -> None:
            self.key = nn.Linear(d_key, d_query, bias=False)

    class SelfAttention(Attention):
        def make(self, d_model: int) -> None:
            self.query, self.key, self.value = (
                nn.Linear(d_model, d_model, bias=False) for _ in range(3)
            )

        def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
            return answer(x, x, x)

    class MultiHeadAttention(Attention):
        def make(self, d_model: int, n_heads: int) -> None:
            del n_heads
            self.query, self.key, self.value, self.output = (
                nn.Linear(d_model, d_model) for _ in range(4)
            )

        def forward(
            self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
        ) -> tuple[Tensor, Tensor]:
            output, weights = answer(query, key, value)
            heads = self.sizes[1]
            return output, weights[:, None].expand(-1, heads, -1, -1).clone()

    modules = (AdditiveAttention, MultiplicativeAttention, SelfAttention, MultiHeadAttention)
    even = 0.0 if kind == "zeros" else 1.0
    functions = {
        "softmax": lambda x, dim=-1: torch.full_like(x, even / x.shape[dim]),
        "causal_mask": lambda length: torch.full((length, length), bool(even)),
        "padding_mask": lambda lengths, max_length: torch.full(
            (len(lengths), max_length), bool(even)
        ),
        "scaled_dot_product_attention": lambda query, key, value, mask=None: answer(
            query, key, value
        ),
    }
    names = {**functions, **{module.__name__: module for module in modules}}
    return LocalImplementation(kind, SimpleNamespace(**names))


@pytest.mark.parametrize("kind", ["zeros", "even weights"])
def test_a_constant_passes_no_law(kind):
    implementation, reference = constant(kind), load_reference()
    settings = Settings(examples=60, explain=False)
    passed = {
        prop.id
        for prop in load_ledger().laws
        if prop.function.__name__ not in ALLOWED
        and examine(prop, implementation, settings, reference).status == "holds"
    }
    assert sorted(passed) == []
