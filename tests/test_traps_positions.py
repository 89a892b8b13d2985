"""Traps about order and positions: laws that let a mutant live, beside those that kill it."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from attest.checks import at_most, close, finite, sometimes_differs
from attest.laws import law
from attest.strategies import attention_inputs
from attest.subject import Subject
from properties.bounds import attention_bounds, position_bounds
from properties.transformer import _WORDS, _as_if_at_the_first_place
from reference import SelfAttention, masked_softmax
from tests.mutants.positional_encoding import base_of_one_thousand, table_starts_anew_after_2048
from tests.mutants.self_attention import BonusForNearTokens
from tests.test_traps import LEDGER, examined, falls_into, with_wrong

SELF = "SelfAttention"
SINUSOIDS = "sinusoidal_positional_encoding"
REAL = "outputs_follow_their_tokens_to_any_place"

# --- 3: permutations that show nothing ------------------------------------------------------------


def _moves_along(attention: Subject, x: Tensor, moved: Tensor, expected: Tensor) -> None:
    bound = attention_bounds(attention, {"x": x, "mask": None}).output
    close(moved, expected, 2 * bound, "the outputs of tokens in another order")


@law(SELF, inputs=attention_inputs(SELF, "none", 3), formula="f(P x) = P f(x), P the reversal")
def outputs_are_reversed_with_the_tokens(
    attention: Subject, x: Tensor, mask: Tensor | None
) -> None:
    """Read backwards, a sequence gives the same outputs backwards."""
    output, _ = attention(x, mask)
    moved, _ = attention(x.flip(-2), mask)
    _moves_along(attention, x, moved, output.flip(-2))
    sometimes_differs(moved, output, "reversing changes the output", 1e-9)


@law(SELF, inputs=attention_inputs(SELF, "none", 3), formula="f(P x) = P f(x), P a roll")
def outputs_are_rolled_with_the_tokens(attention: Subject, x: Tensor, mask: Tensor | None) -> None:
    """With the last token first, the last output is first."""
    output, _ = attention(x, mask)
    moved, _ = attention(x.roll(1, -2), mask)
    _moves_along(attention, x, moved, output.roll(1, -2))
    sometimes_differs(moved, output, "rolling changes the output", 1e-9)


@law(SELF, inputs=attention_inputs(SELF, "none", 3), formula="f(P x) = P f(x), P any rotation")
def outputs_of_shuffled_tokens_are_shuffled(
    attention: Subject, x: Tensor, mask: Tensor | None
) -> None:
    """Whatever the outputs are, they go with the tokens."""
    order = [1, 2, 0, *range(3, x.shape[-2])]
    output, _ = attention(x, mask)
    moved, _ = attention(x[:, order], mask)
    _moves_along(attention, x, moved, output[:, order])


class NearAroundTheCircle(SelfAttention):
    """Favour what is near, where the last token is next to the first."""

    def forward(self, x, mask=None):
        length = x.shape[-2]
        place = torch.arange(length)
        apart = (place[:, None] - place).remainder(length)
        near = torch.minimum(apart, length - apart).to(x)
        scores = self.query(x) @ self.key(x).mT / x.shape[-1] ** 0.5 - near
        weights = masked_softmax(scores, mask)
        return weights @ self.value(x), weights


class OneOutputForAll(SelfAttention):
    """Collapse: every token gets the mean of what all tokens get."""

    def forward(self, x, mask=None):
        output, weights = super().forward(x, mask)
        return output.mean(-2, keepdim=True).expand_as(output).contiguous(), weights


def test_a_reversal_keeps_all_distances() -> None:
    falls_into(outputs_are_reversed_with_the_tokens, SELF, BonusForNearTokens, REAL)


def test_a_roll_keeps_all_distances_around_the_circle() -> None:
    falls_into(outputs_are_rolled_with_the_tokens, SELF, NearAroundTheCircle, REAL)


def test_outputs_that_are_all_alike_follow_any_shuffle() -> None:
    falls_into(outputs_of_shuffled_tokens_are_shuffled, SELF, OneOutputForAll, REAL)


def test_permutations_of_one_or_two_tokens_hide_a_symmetric_bias() -> None:
    one_or_two = attention_inputs(SELF, "none").filter(lambda drawn: drawn["x"].shape[-2] <= 2)

    @law(SELF, inputs=one_or_two, formula="f(P x) = P f(x), n ≤ 2")
    def outputs_of_two_are_swapped(attention: Subject, x: Tensor, mask: Tensor | None) -> None:
        """Swap two tokens, and their outputs are swapped."""
        output, _ = attention(x, mask)
        moved, _ = attention(x.flip(-2), mask)
        _moves_along(attention, x, moved, output.flip(-2))

    falls_into(outputs_of_two_are_swapped, SELF, BonusForNearTokens, REAL)


# --- 7: a table that is defined far out need not be one that generalises --------------------------

FAR = st.sampled_from([(3000, 4), (4500, 6)]).map(
    lambda size: {"length": size[0], "d_model": size[1]}
)


@law(SINUSOIDS, inputs=FAR, formula="|PE| ≤ 1, finite, PE(n)[:m] = PE(m)")
def unseen_lengths_have_positions(positions: Subject, length: int, d_model: int) -> None:
    """Far past any training length there are numbers, none of them large, and the first as ever."""
    table = positions(length, d_model)
    finite(table, "the positions")
    at_most(table.abs(), torch.ones_like(table), 1e-6, "their size")
    bound = 2 * position_bounds(64, d_model)
    close(table[:64], positions(64, d_model), bound, "the first positions")
    sometimes_differs(table, table.roll(1, 0), "positions differ")


def test_a_table_that_starts_anew_is_finite_bounded_and_begins_alike() -> None:
    real = "far_positions_are_as_exact_as_their_angles"
    falls_into(unseen_lengths_have_positions, SINUSOIDS, table_starts_anew_after_2048, real)


def test_rotations_do_not_know_the_wavelengths() -> None:
    # Any frequencies turn alike at every position; only the right ones have these wavelengths.
    expected = {
        f"{SINUSOIDS}.moving_on_is_the_same_rotation_everywhere": "holds",
        f"{SINUSOIDS}.it_is_made_of_sines_and_cosines": "refuted",
    }
    wrong = with_wrong(SINUSOIDS, base_of_one_thousand)
    found = {p.id: examined(p, wrong).status for p in LEDGER.properties if p.id in expected}
    assert found == expected


# --- 4: a search that stops in the first hollow --------------------------------------------------


class _WithHollows:
    """A table of words, of which the second cancels its position at a factor beside a hollow."""

    def __init__(self, table: Tensor) -> None:
        self.table = table

    def parameters(self) -> dict[str, Tensor]:
        return {"words": self.table}

    def set_parameters(self, values: dict[str, Tensor]) -> None:
        self.table = values["words"]

    def outputs(self, tokens: Tensor) -> Tensor:
        start = 2 * torch.cos(1.0 + torch.arange(2, dtype=torch.float64))
        exponents = ((self.table[tokens] - start)[..., 0].clamp_min(1e-9)).log2()
        hollow, cancels = 5e-4 + (exponents - 0.42).abs(), 0.02 * (exponents + 0.001).abs()
        apart = torch.where(tokens > 0, torch.minimum(hollow, cancels), 0.0)
        return apart[..., None]


def test_a_model_that_gives_no_number_is_no_obstacle_to_the_search():
    model: Any = _WithHollows(torch.zeros(_WORDS, 2, dtype=torch.float64))
    away = torch.ones(_WORDS, 2, dtype=torch.float64)
    apart, rows, _ = _as_if_at_the_first_place(
        model, lambda tokens: model.outputs(tokens) * torch.nan, "words", away, 1e-9 * away
    )
    assert not apart <= 1
    assert rows.isnan().all()


def test_a_factor_is_looked_for_in_more_than_the_deepest_hollow():
    model: Any = _WithHollows(torch.zeros(_WORDS, 2, dtype=torch.float64))
    away = torch.ones(_WORDS, 2, dtype=torch.float64)
    off = 1e-9 * torch.ones_like(away)
    apart, rows, _ = _as_if_at_the_first_place(model, model.outputs, "words", away, off)
    assert apart <= 1
    assert float(rows.abs().max()) < 1e-6
