"""Section 6 of the notes, Positional Encoding: where a token stands, added to what it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import permutations, product
from typing import Any

import numpy as np
import sympy
import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from attest import symbolic
from attest.checks import (
    Crash,
    above,
    at_least,
    at_most,
    close,
    identical,
    refused,
    sometimes,
    sometimes_differs,
)
from attest.claims import Claim, Verdict
from attest.laws import law, proof, refutation
from attest.strategies import (
    attention_inputs,
    fill,
    learned_positions,
    seeds,
    sinusoidal_positions,
)
from attest.subject import Setup, Subject
from attest.tolerances import gamma, unit_roundoff
from properties.bounds import angle_bounds, measured_bound, position_bounds, result_bounds

SINUSOIDS = "sinusoidal_positional_encoding"
LEARNED = "LearnedPositionalEmbedding"

PE_01 = Claim(
    id="PE-01",
    section="6 Positional Encoding",
    quote="토큰 사이의 순서를 알 수 없기 때문에",
    statement="Self-attention does not know in which order its tokens stand.",
    formal="f(P X) = P f(X) for every permutation P",
    verdict=Verdict.CONDITIONAL,
    conditions=(
        "nothing is masked: a causal mask tells the first token from the second",
        "every layer but attention works token by token",
    ),
    references=("Yun et al. 2020, theorems 2 and 3", "Haviv et al. 2022, for causal masks"),
    parts=(
        ("unmasked", "Permuting the tokens permutes the outputs.", Verdict.PROVED),
        (
            "under a causal mask",
            "Permuting the tokens permutes the outputs under a causal mask, too.",
            Verdict.REFUTED,
        ),
        (
            "in training",
            "A causal model without positions learns nothing that depends on order.",
            Verdict.PENDING,
            "not measured: one causal layer knows which symbols came before and not in what order, "
            "and deeper ones were not trained here; Haviv et al. 2022 report language models that "
            "learn order without positions",
        ),
    ),
)

PE_02 = Claim(
    id="PE-02",
    section="6 Positional Encoding",
    quote="Positional Encoding을 입력 벡터에 더해준다",
    statement="An encoding that says where a token stands is added to it.",
    formal="x_p + PE_p, where PE_m = PE_n only for m = n, so that f(P X + PE) ≠ P f(X + PE)",
    verdict=Verdict.CONDITIONAL,
    conditions=(
        "positions are computed in enough precision: numbered in bfloat16 or float16, 4,096 of "
        "them have 769 or 3,073 different encodings; computed in float64 and rounded once, 4,096",
        "the sum x + PE does not tell its two terms apart again",
        "rotary positions and ALiBi add nothing to the tokens",
    ),
    references=("Vaswani et al. 2017, section 3.5",),
    parts=(
        ("told apart", "No two positions have the same encoding.", Verdict.PROVED),
        (
            "order matters",
            "With positions added, permuting the words does not just permute the outputs.",
            Verdict.PROVED,
        ),
        (
            "in low precision",
            "No two of 4,096 positions have the same encoding in low precision.",
            Verdict.CONDITIONAL,
        ),
    ),
)

PE_03 = Claim(
    id="PE-03",
    section="6 Positional Encoding",
    quote="사인/코사인 함수 기반 표현 또는 학습 가능한 임베딩",
    statement="The encoding is made of sines and cosines, or it is a learned table.",
    formal="PE(p, 2i) = sin(p ω_i), PE(p, 2i+1) = cos(p ω_i), ω_i = 10000^(−2i/d); or PE_p = W_p",
    verdict=Verdict.HOLDS,
    conditions=("a learned table ends: positions past it are refused",),
    references=("Vaswani et al. 2017, section 3.5", "Gehring et al. 2017"),
)

PE_04 = Claim(
    id="PE-04",
    section="6 Positional Encoding",
    quote='모델이 "앞뒤 관계", "거리"',
    statement="The encoding helps to tell before from after.",
    formal="PE_i · PE_{i+k} ≠ PE_i · PE_{i−k}",
    verdict=Verdict.CONDITIONAL,
    conditions=(
        "query and key are projected by different matrices: the plain product of two encodings is "
        "even in their distance",
    ),
    references=("Shaw, Uszkoreit and Vaswani 2018",),
    parts=(
        ("plain product", "The product of two encodings tells before from after.", Verdict.REFUTED),
        (
            "projected",
            "With W_Q and W_K between them, the product can tell before from after.",
            Verdict.PROVED,
        ),
    ),
)

PE_05 = Claim(
    id="PE-05",
    section="6 Positional Encoding",
    quote='"거리", "반복 패턴" 등 순서적 정보',
    statement="The encoding shows distances and repeated patterns.",
    formal="PE_i · PE_{i+k} = Σ_m cos ω_m k, ‖PE_i‖² = d/2",
    verdict=Verdict.CONDITIONAL,
    conditions=(
        "the product is a function of the distance, and not a falling one: it first rises from "
        "k = 3, 5, 11 and 43 on, for d = 4, 64, 128 and 512",
        "pairs of columns repeat, along the real line; whole encodings never do",
    ),
    references=("Vaswani et al. 2017, section 3.5",),
    parts=(
        ("distance", "The product of two encodings is a function of distance.", Verdict.PROVED),
        ("nearer is more alike", "The product falls with the distance.", Verdict.REFUTED),
        ("repeated patterns", "An encoding comes again after some period.", Verdict.REFUTED),
    ),
)

PE_06 = Claim(
    id="PE-06",
    section="6 Positional Encoding",
    quote="자연스럽게 시퀀스 구조를 학습할 수 있다",
    statement="Positions are what lets a model without recurrence learn from order.",
    formal="without PE: pool f(P X) = pool f(X), so two labels for X and P X are half wrong",
    verdict=Verdict.MEASURED,
    conditions=("nothing is masked, and the outputs are pooled over the tokens",),
    references=("Yun et al. 2020",),
    parts=(
        (
            "without positions",
            "A pooled classifier is right on exactly half of the pairs (X, P X) with two labels.",
            Verdict.PROVED,
        ),
        (
            "with positions",
            "With positions there is a pooled classifier that tells all orders apart.",
            Verdict.PROVED,
        ),
        (
            "in training",
            "With positions a model learns what depends on order, and without it does not.",
            Verdict.MEASURED,
        ),
    ),
)

PE_07 = Claim(
    id="PE-07",
    section="6 Positional Encoding",
    quote="상대 거리까지 자연스럽게 표현할 수",
    statement="Sinusoids represent relative distances too.",
    formal="PE_{p+k} = M_k PE_p with M_k orthogonal, the same for every p, and M_k M_l = M_{k+l}",
    verdict=Verdict.CONDITIONAL,
    conditions=(
        "in the encoding: scores of encoded words still hold terms of a word and a position, which "
        "do not depend on distance alone",
        "rotary positions, ALiBi and clipped relative positions do score two given words by their "
        "distance alone",
    ),
    references=("Vaswani et al. 2017, section 3.5", "Su et al. 2021, section 3"),
    parts=(
        (
            "shifts are rotations",
            "Moving on by k is one rotation, whatever the position.",
            Verdict.PROVED,
        ),
        (
            "scores of words",
            "With encodings added, two given words score by their distance alone.",
            Verdict.REFUTED,
        ),
        (
            "positions in the scores",
            "With rotary, ALiBi or clipped relative positions, two given words do score by their "
            "distance alone.",
            Verdict.PROVED,
        ),
    ),
)

PE_08 = Claim(
    id="PE-08",
    section="6 Positional Encoding",
    quote="시퀀스 길이가 달라도 패턴을 유지한다",
    statement="Positions are encoded alike in sequences of any length.",
    formal="PE(n)[:m] = PE(m) for m ≤ n",
    verdict=Verdict.PROVED,
    references=("Vaswani et al. 2017, section 3.5",),
)

PE_09 = Claim(
    id="PE-09",
    section="6 Positional Encoding",
    quote="주기 함수라 unseen length에서도 동일한 방식으로",
    statement="Being periodic, the encoding generalises to lengths that were never seen.",
    formal="PE_p is defined for every p; PE_{p+T} = PE_p for some whole T > 0 and every p",
    verdict=Verdict.CONDITIONAL,
    conditions=(
        "defined at every position, in the same way",
        "not by period: encodings never come again, and of 256 wavelengths at d = 512 there are "
        "172 beyond 128 tokens",
        "asked of a model that has learned the lengths it was trained on, to an accuracy of 0.99: "
        "up to twice and four times as far it falls to .42 and .34 with sinusoids, and to .83 and "
        ".44 with rotary positions; with clipped relative ones it stays at 1.00, and ALiBi has "
        "not learned the task at two heads",
    ),
    references=("Vaswani et al. 2017, section 3.5", "Press, Smith and Lewis 2022, section 2"),
    parts=(
        ("defined", "There is an encoding for every position, made the same way.", Verdict.PROVED),
        ("periodic", "After some period all encodings have been seen.", Verdict.REFUTED),
        (
            "generalises",
            "A model does as well on lengths that it was not trained on.",
            Verdict.PENDING,
            "measured, and half of it not decided: with sinusoids the accuracy falls, from 1.00 to "
            ".42 up to twice as far; that with rotary positions it is better there by more than "
            ".3 is not shown, though it is .83",
        ),
    ),
)


def _frequencies(d_model: int) -> Tensor:
    """Give ω_i = 10000^(−2i/d) in float64, one for each sine."""
    return 10000.0 ** (-torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)


def _count(length: int) -> Tensor:
    """Count the positions from zero."""
    return torch.arange(length, dtype=torch.float64)


def _error(table: Tensor) -> Tensor:
    """Bound the error of every entry, by row."""
    return position_bounds(*table.shape)[:, 0]


def _interleaved(sines: Tensor, cosines: Tensor, width: int) -> Tensor:
    return torch.stack([sines, cosines], -1).flatten(1)[:, :width]


def _halves(sines: Tensor, cosines: Tensor, width: int) -> Tensor:
    return torch.cat([sines, cosines], 1)[:, :width]


def _halves_and_one_more(sines: Tensor, cosines: Tensor, width: int) -> Tensor:
    return torch.cat([sines[:, : width // 2], cosines], 1)[:, :width]


def _nearer(table: Tensor, length: int, d_model: int) -> tuple[Tensor, Tensor]:
    """Give what the table should be in the layout that it is nearer to, with its bounds.

    At an odd width the last frequency has a sine or a cosine and not both.
    """
    angles = _count(length)[:, None] * _frequencies(d_model)
    error = angle_bounds(angles)
    layouts = [
        (layout(angles.sin(), angles.cos(), d_model), layout(error, error, d_model))
        for layout in (_interleaved, _halves, _halves_and_one_more)
    ]
    off = [
        float((table.double() - exact)[:, : d_model - d_model % 2].abs().sum())
        for exact, _ in layouts
    ]
    return layouts[off.index(min(off))]


def _pairs(table: Tensor) -> tuple[Tensor, Tensor]:
    """Give the sines and the cosines in float64, each (length, d / 2).

    Position 0 has a zero for every sine and a one for every cosine, which shows the layout.
    """
    wide, half = table.double(), table.shape[1] // 2
    if float(wide[0, 1]) > 0.5:
        return wide[:, 0::2], wide[:, 1::2]
    return wide[:, :half], wide[:, half:]


# --- Sinusoids: definition ----------------------------------------------------------------------


@law(
    SINUSOIDS,
    inputs=sinusoidal_positions(),
    formula="PE(p, ·) = sin(p ω_i), cos(p ω_i),  ω_i = 10000^(−2i/d), in pairs or in halves",
    claim=PE_03,
    kind="definition",
)
def it_is_made_of_sines_and_cosines(positions: Subject, length: int, d_model: int) -> None:
    """Each frequency has a sine and a cosine, side by side or in two halves."""
    table = positions(length, d_model)
    exact, bound = _nearer(table, length, d_model)
    close(table, exact, bound, "the positions")
    sometimes_differs(table, table.roll(1, 0), "positions differ")


LONGEST = 5000
"""As many positions are asked for as a table in a buffer usually has, and no more."""

LONG = ((2000, 4), (4097, 2), (LONGEST, 6), (LONGEST, 16), (LONGEST, 64))


@law(
    SINUSOIDS,
    inputs=st.sampled_from(LONG).map(lambda size: {"length": size[0], "d_model": size[1]}),
    formula="the same at positions up to 5,000",
    claim=(PE_03, PE_09.part("defined")),
    kind="robustness",
)
def far_positions_are_as_exact_as_their_angles(
    positions: Subject, length: int, d_model: int
) -> None:
    """Far out there are still positions, none of them rounded to a neighbour or started anew."""
    table = positions(length, d_model)
    exact, bound = _nearer(table, length, d_model)
    close(table, exact, bound, "the positions")
    sometimes_differs(table, table.roll(1, 0), "positions differ")


@law(
    SINUSOIDS,
    inputs=sinusoidal_positions(),
    formula="PE_0 = (sin 0, cos 0, …): as many zeros as ones",
)
def the_first_position_is_zero(positions: Subject, length: int, d_model: int) -> None:
    """Positions are counted from zero, where every sine is 0 and every cosine is 1."""
    table = positions(length, d_model)
    first = table[0].sort().values
    exact = torch.cat([torch.zeros(d_model // 2), torch.ones(d_model // 2)]).to(first)
    close(first, exact, position_bounds(1, d_model)[0], "the entries of position 0 in order")
    sometimes_differs(table[-1:], table[:1], "later positions differ")


USUAL_WIDTHS = (
    *range(2, 18, 2),
    20,
    24,
    30,
    32,
    48,
    50,
    64,
    80,
    96,
    100,
    128,
    256,
    300,
    512,
    768,
    1024,
)


@law(
    SINUSOIDS,
    inputs=st.sampled_from([(n, d) for d in USUAL_WIDTHS for n in (2, 9)]).map(
        lambda size: {"length": size[0], "d_model": size[1]}
    ),
    formula="ω_0 = 1,  ω_i ω_{i+2} = ω_{i+1}²,  ω_{d/2−1} = 10000^(−(d−2)/d)",
)
def frequencies_fall_by_a_constant_factor(positions: Subject, length: int, d_model: int) -> None:
    """Wavelengths grow geometrically, from 2π almost to 10000 · 2π; read off position 1."""
    table = positions(length, d_model)
    sines, cosines = _pairs(table)
    found = torch.atan2(sines[1], cosines[1])
    error = 2 * _error(table)[1]  # a pair off by √2 of its entries' errors turns by about as much
    close(found[0], torch.ones(()).double(), error, "the first frequency")
    last = _frequencies(d_model)[-1]
    close(found[-1], last, error, "the last frequency")
    close(
        found[:-2] * found[2:],
        found[1:-1].square(),
        4 * error * (1 + error),
        "the products of every other frequency",
    )
    sometimes_differs(found, found[:1].expand_as(found), "frequencies differ", error)


@law(
    SINUSOIDS,
    inputs=sinusoidal_positions(odd=True),
    formula="d odd  ⇒  ValueError, or columns as ever with one cosine less",
    kind="robustness",
)
def an_odd_width_works_or_is_refused(positions: Subject, length: int, d_model: int) -> None:
    """A width without a partner for the last sine is no reason to break halfway."""
    try:
        table = positions(length, d_model)
    except Crash as crash:
        if not isinstance(crash.error, ValueError):
            raise
        even = positions(length, d_model + 1)
        sometimes_differs(even, even.roll(1, 1), "entries differ at the next width")
        return
    exact, bound = _nearer(table, length, d_model)
    # Whether the last column is a sine, a cosine or nothing is not what matters here.
    close(table[:, :-1], exact[:, :-1], bound[:, :-1], "the columns that have a partner")
    finished = torch.isfinite(table[:, -1]).to(table)
    identical(finished, torch.ones_like(finished), "whether the last column is made of numbers")
    sometimes_differs(table, table.roll(1, 0), "positions differ")


# --- Sinusoids: what they show ------------------------------------------------------------------


@law(
    SINUSOIDS,
    inputs=sinusoidal_positions(),
    formula="PE(n)[:m] = PE(m)",
    claim=(PE_08, PE_09.part("defined")),
)
def a_longer_table_begins_with_the_shorter_one(
    positions: Subject, length: int, d_model: int
) -> None:
    """How a position is encoded does not depend on how many come after it."""
    length = min(length, 2 * LONGEST // 3)
    longer = positions(length + length // 2 + 1, d_model)
    shorter = positions(length, d_model)
    close(longer[:length], shorter, 2 * position_bounds(length, d_model), "the first positions")
    sometimes_differs(longer[length:], longer[:-length], "the positions after them differ")


@law(
    SINUSOIDS,
    inputs=sinusoidal_positions(),
    formula="‖PE_p‖² = d/2",
    claim=PE_05.part("distance"),
)
def all_positions_are_equally_long(positions: Subject, length: int, d_model: int) -> None:
    """sin² + cos² = 1 for each frequency: no position outweighs another when it is added."""
    table = positions(length, d_model)
    squares, off = table.double().square().sum(-1), _error(table)
    bound = d_model * off * (math.sqrt(2) + off) + gamma(d_model, 2.0**-53) * d_model
    close(squares, torch.full_like(squares, d_model / 2), bound, "the squared lengths")
    sometimes_differs(table, table.roll(1, 0), "positions differ")


def _products(table: Tensor, first: int, last: int) -> tuple[Tensor, Tensor, Tensor]:
    """Multiply rows with each other; give the products, their bounds and the distances."""
    rows, width = table.double()[first:last], table.shape[1]
    off = math.sqrt(width) * _error(table)[first:last]
    size = math.sqrt(width / 2)
    bound = size * (off[:, None] + off) + off[:, None] * off + gamma(width, 2.0**-53) * width
    place = _count(table.shape[0])[first:last]
    return rows @ rows.mT, bound, place[:, None] - place


@law(
    SINUSOIDS,
    inputs=sinusoidal_positions(),
    formula="PE_p · PE_q = Σ_i cos ω_i (p − q)",
    claim=PE_05.part("distance"),
)
def the_product_of_two_positions_is_one_of_their_distance(
    positions: Subject, length: int, d_model: int
) -> None:
    """Wherever two positions lie, their product tells how far apart they are, and nothing else."""
    table = positions(length, d_model)
    found, bound, distance = _products(table, max(length - 24, 0), length)
    exact = (distance[..., None] * _frequencies(d_model)).cos().sum(-1)
    close(found, exact, bound, "the products of positions")
    sometimes_differs(found, found[:1, :1].expand_as(found), "products differ", bound)


@law(
    SINUSOIDS,
    inputs=sinusoidal_positions(),
    formula="PE_{p+k} = M_k PE_p, with M_k made of PE_k alone",
    claim=PE_07.part("shifts are rotations"),
)
def moving_on_is_the_same_rotation_everywhere(
    positions: Subject, length: int, d_model: int
) -> None:
    """Each pair turns by the angle that position k itself stands at, wherever it starts from."""
    table = positions(length, d_model)
    (sines, cosines), off = _pairs(table), _error(table)[:, None]
    for k in sorted({1, length // 3, length // 2} & set(range(1, length))):
        turned = sines[:-k] * cosines[k] + cosines[:-k] * sines[k]
        across = cosines[:-k] * cosines[k] - sines[:-k] * sines[k]
        # A pair is as long as 1: turning it passes on √2 of an entry's error, and of the angle's.
        passed = math.sqrt(2) * (off[:-k] + off[k]) + 2 * off[:-k] * off[k]
        bound = off[k:] + passed + 4 * unit_roundoff(torch.float64)
        close(turned, sines[k:], bound, f"the sines after {k} more positions")
        close(across, cosines[k:], bound, f"the cosines after {k} more positions")
        sometimes_differs(sines[k:], sines[:-k], "moving on changes the sines")


NEIGHBOUR = 2 * math.sin(0.5)
"""How far apart the first pairs of two neighbours are, at least."""


@law(
    SINUSOIDS,
    inputs=sinusoidal_positions(),
    formula="‖PE_p − PE_{p+1}‖ ≥ 2 sin ½;  PE_p ≠ PE_q for p ≠ q ≤ 100",
    claim=PE_02.part("told apart"),
)
def no_two_positions_are_encoded_alike(positions: Subject, length: int, d_model: int) -> None:
    """Neighbours are far apart at every length, and of the first hundred no two coincide.

    Further out, rounding may bring positions together whose distance is almost a multiple of 2π.
    """
    table = positions(length, d_model)
    wide, off = table.double(), math.sqrt(d_model) * _error(table)
    steps = (wide[1:] - wide[:-1]).norm(dim=-1)
    limit = torch.full_like(steps, NEIGHBOUR)
    at_least(steps, limit, off[1:] + off[:-1], "how far neighbours are apart")
    near = wide[:100]
    apart = (near[:, None] - near).norm(dim=-1)
    apart = apart[~torch.eye(len(near), dtype=torch.bool)]
    above(apart, torch.zeros_like(apart), "how far positions are apart")
    sometimes(length > 2, "there are positions to tell apart")


# --- Sinusoids in symbols -----------------------------------------------------------------------


class _Places(TorchFunctionMode):
    """Count positions by any real numbers, where the code counts them by 0, 1, 2 and so on.

    Only what is counted in floating point is meant; tensors of symbols count their own entries.

    Args:
        places: the numbers or symbols to count by.
        free: whether whatever else is counted, which is frequencies, becomes a symbol each.
    """

    def __init__(self, places: Sequence[Any], *, free: bool) -> None:
        super().__init__()
        self.places, self.free = list(places), free

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Answer a function of torch."""
        result = func(*args, **(kwargs or {}))
        if func.__name__ != "arange" or not result.is_floating_point():
            return result
        if len(result) == len(self.places):
            return symbolic.tensor(self.places)
        return symbolic.symbols("e", len(result)) if self.free else symbolic.tensor(result)


def _at(
    encoding: Callable[..., Any], width: int, *places: Any, free: bool = True
) -> list[list[tuple[Any, Any]]]:
    """Give the pairs of sine and cosine at any places, as the code itself computes them.

    One place more than there are columns, so that nothing else is counted up to the same number.
    """
    padded = [*places, *[0] * (width + 1 - len(places))]
    with _Places(padded, free=free):
        rows = encoding(len(padded), width).entries[: len(places)]
    return [list(zip(row[0::2], row[1::2], strict=True)) for row in rows]


def _zero(expression: Any) -> bool:
    """Decide whether a polynomial of sines and cosines of sums is zero everywhere."""
    apart = sympy.expand(sympy.expand_trig(sympy.expand(expression)))
    squares = {a: 1 - sympy.sin(a.args[0]) ** 2 for a in apart.atoms(sympy.cos)}
    for cosine, square in squares.items():
        apart = sympy.expand(apart.replace(cosine**2, square))
    return bool(apart == 0)


ROUNDING = gamma(1000, unit_roundoff(torch.float64))
"""A relative error in float64 after more roundings than any argument here makes."""


def _differs(expression: Any) -> bool:
    """Decide whether an expression is not zero at one place, to six of its fifteen digits."""
    names = sorted(expression.free_symbols, key=str)
    place = {name: sympy.Rational(2 * i + 3, 7) for i, name in enumerate(names)}
    return bool(abs(expression.evalf(subs=place)) > 1e-6)


def _turn(pairs: list[tuple[Any, Any]]) -> list[Any]:
    """Give M_k, a rotation of each pair, from the encoding of position k alone."""
    return [sympy.Matrix([[cosine, sine], [-sine, cosine]]) for sine, cosine in pairs]


WIDTHS = (2, 4, 6, 8)
"""No width enters the code but as the number of frequencies and their exponents' denominator."""

P, K, L = sympy.symbols("p k l", real=True)


@proof(
    SINUSOIDS,
    method="symbolic",
    formula="PE(p, 2i) = sin(p ω_i), PE(p, 2i+1) = cos(p ω_i), ω_i = 10000^(−2i/d), p any number",
    claim=(PE_09.part("defined"), PE_08),
)
def symbols_are_encoded_at_every_position(encoding: Callable[..., Any]) -> None:
    """The code takes any number for a position, and makes the same of it: no position is the last.

    The frequencies are exact in symbols, so that a wrong exponent or base shows at every width.
    Neither the length nor any other position is in what comes out.
    """
    for width, more in product(WIDTHS, (0, 9)):
        pairs, *_ = _at(encoding, width, P, *[0] * more, free=False)
        for i, (sine, cosine) in enumerate(pairs):
            angle = P * sympy.Integer(10000) ** sympy.Rational(-2 * i, width)
            assert sympy.expand(sine - sympy.sin(angle)) == 0, f"column {2 * i} is {sine}"
            assert sympy.expand(cosine - sympy.cos(angle)) == 0, f"column {2 * i + 1} is {cosine}"


@proof(
    SINUSOIDS,
    method="symbolic",
    formula="PE_{p+k} = M_k PE_p, M_kᵀ M_k = 1, det M_k = 1, M_k M_l = M_{k+l} for real p, k, l",
    claim=PE_07.part("shifts are rotations"),
)
def symbols_move_on_by_rotations(encoding: Callable[..., Any]) -> None:
    """Position, offset and frequencies are symbols: M_k is made of PE_k, and p is not in it."""
    for width in WIDTHS[:3]:
        start, by_k, by_l, there, by_both = _at(encoding, width, P, K, L, P + K, K + L)
        turns = zip(_turn(by_k), _turn(by_l), _turn(by_both), start, there, strict=True)
        for first, second, both, before, after in turns:
            assert P not in first.free_symbols, "the rotation depends on the position"
            moved = first * sympy.Matrix(before) - sympy.Matrix(after)
            assert all(map(_zero, moved)), f"{moved} is left after moving on"
            assert all(map(_zero, first.T * first - sympy.eye(2))), f"{first} is not orthogonal"
            assert _zero(first.det() - 1), f"{first} is no rotation"
            assert all(map(_zero, first * second - both)), "two moves do not make one"


def _product(one: list[tuple[Any, Any]], other: list[tuple[Any, Any]]) -> Any:
    return sum(a * b for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True))


@proof(
    SINUSOIDS,
    method="symbolic",
    formula="PE_p · PE_{p+k} = Σ_i cos(ω_i k), which does not depend on p;  ‖PE_p‖² = d/2",
    claim=PE_05.part("distance"),
)
def symbols_multiply_to_a_function_of_their_distance(encoding: Callable[..., Any]) -> None:
    """For any position, offset and frequencies; the encoding of the offset holds the cosines."""
    for width in WIDTHS[:3]:
        here, there, by_k = _at(encoding, width, P, P + K, K)
        cosines = sum(cosine for _, cosine in by_k)
        assert _zero(_product(here, there) - cosines), "the product is not one of the distance"
        assert _zero(_product(here, here) - sympy.Rational(width, 2)), "the length is not √(d/2)"


@proof(
    SINUSOIDS,
    method="symbolic",
    formula="PE_p · PE_{p+k} = PE_p · PE_{p−k}",
    against=PE_04.part("plain product"),
)
def symbols_do_not_tell_before_from_after(encoding: Callable[..., Any]) -> None:
    """The product is even in the distance: k after and k before are the same to it."""
    for width in WIDTHS[:3]:
        here, after, before = _at(encoding, width, P, P + K, P - K)
        assert _zero(_product(here, after) - _product(here, before)), "the product is not even"
        assert _differs(_product(here, after) - _product(here, here)), "the product is constant"


@proof(
    SINUSOIDS,
    method="symbolic",
    formula="PE_p W_Q W_Kᵀ PE_{p+k} = sin(ω k) for some W, which is odd in k",
    claim=PE_04.part("projected"),
)
def a_quarter_turn_between_them_tells_before_from_after(encoding: Callable[..., Any]) -> None:
    """Let W_Q keep the slowest pair alone, and W_K turn it by a right angle.

    The score is then sin(ω k), which has the sign of k as long as |k| < π/ω, some thirty thousand
    positions at the usual widths.
    """
    for width in WIDTHS:
        here, after, by_k = (pairs[-1] for pairs in _at(encoding, width, P, P + K, K))
        quarter = sympy.Matrix([[0, -1], [1, 0]])
        score = (sympy.Matrix([here]) * quarter * sympy.Matrix(after))[0]
        assert _zero(score - by_k[0]), f"the score is {score}"
        odd = by_k[0] + by_k[0].subs(K, -K)
        assert odd == 0, "the score is not odd"
        assert _differs(by_k[0]), "the score is always zero"
    t, half_turn = sympy.Symbol("t", real=True), sympy.Interval.open(0, sympy.pi)
    rising = sympy.solve_univariate_inequality(sympy.sin(t) > 0, t, False, half_turn)  # noqa: FBT003
    assert rising == half_turn, f"the sine is positive on {rising} alone"


@proof(
    SINUSOIDS,
    method="symbolic",
    formula="PE_m = PE_n ⇒ 2 − 2 cos(m − n) = 0 ⇒ m − n ∈ 2πℤ ⇒ m = n for whole m, n",
    claim=PE_02.part("told apart"),
    against=(PE_05.part("repeated patterns"), PE_09.part("periodic")),
)
def only_a_multiple_of_two_pi_repeats_the_first_pair(encoding: Callable[..., Any]) -> None:
    """The first frequency is 1, so the first pair repeats after 2π alone, and π is irrational.

    A whole number other than 0 is no multiple of 2π, and so no whole encoding ever comes again,
    though each pair by itself does along the real line.
    """
    m, n = sympy.symbols("m n", integer=True)
    for width in WIDTHS:
        one, other = (pairs[0] for pairs in _at(encoding, width, m, n, free=False))
        assert one == (sympy.sin(m), sympy.cos(m)), f"the first pair is {one}"
        gap = sum((a - b) ** 2 for a, b in zip(one, other, strict=True))
        assert _zero(gap - (2 - 2 * sympy.cos(m - n))), "the first pair's distance is another"
        for i in range(width // 2):
            period = 2 * sympy.pi * sympy.Integer(10000) ** sympy.Rational(2 * i, width)
            here, again = (pairs[i] for pairs in _at(encoding, width, P, P + period, free=False))
            same = (sympy.expand(a - b) == 0 for a, b in zip(here, again, strict=True))
            assert all(same), f"pair {i} does not repeat after {period}"
    turns = sympy.Symbol("turns", real=True)
    zeros = sympy.solveset(sympy.cos(turns) - 1, turns, sympy.S.Reals)
    assert zeros.base_sets == (sympy.S.Integers,), f"cos is 1 at {zeros}"
    assert zeros.lamda(m) == 2 * sympy.pi * m, f"cos is 1 at {zeros}"
    whole = sympy.Symbol("whole", integer=True, nonzero=True)
    assert (2 * sympy.pi * whole).is_irrational, "some multiple of 2π may be whole"


# --- Sinusoids counted out ----------------------------------------------------------------------


@proof(
    SINUSOIDS,
    method="exhaustive",
    formula="float64: |PE − exact| ≤ u ((2i/d ln 10000 + 3) p ω + 2);  float32: u |exact| more",
)
def angles_are_rounded_no_further_than_they_must(encoding: Callable[..., Any]) -> None:
    """Against 40 digits: each exponent, power, angle and sine is rounded once, in float64.

    An exponent that is rounded changes its power by ln 10000 as much. Only the last step, which
    stores the result, may be rounded to less.
    """
    places = [*range(17), 100, 999, 1024, 4095, 4999]
    for width in (2, 6, 20):
        wide, single = (encoding(5000, width, t) for t in (torch.float64, torch.float32))
        for i, p in product(range(width // 2), places):
            share = sympy.Rational(2 * i, width)
            angle = p * sympy.Integer(10000) ** -share
            relative = float(share) * math.log(10000) + 3
            bound = 2.0**-53 * (relative * float(angle) + 2)
            for column, exact in enumerate((sympy.sin(angle), sympy.cos(angle)), 2 * i):
                digits = exact.evalf(40)
                off = float(abs(sympy.Float(float(wide[p, column]), 40) - digits))
                assert off <= bound, f"position {p}, column {column}: off by {off}"
                off = float(abs(sympy.Float(float(single[p, column]), 40) - digits))
                assert off <= bound + 2.0**-24 * abs(digits), f"off by {off} in float32"


@proof(
    SINUSOIDS,
    method="exhaustive",
    formula="PE(n)[:m] = PE(m), bit by bit, for n = 100, all m < 100 and all even d ≤ 64",
    claim=PE_08,
)
def every_table_begins_with_every_shorter_one_bit_by_bit(encoding: Callable[..., Any]) -> None:
    """Try all lengths and widths in float64, which all is computed in, and a few in other dtypes.

    That kernels round alike wherever an entry lies is what could be otherwise, and is counted out.
    """
    for width in range(2, 66, 2):
        few = (torch.float32, torch.bfloat16, torch.float16) if width in {2, 6, 64} else ()
        for dtype in (torch.float64, *few):
            longest = encoding(100, width, dtype)
            assert bool((longest[1:] != longest[:-1]).any(-1).all()), "positions coincide"
            for length in range(100):
                table = encoding(length, width, dtype)
                assert torch.equal(table, longest[:length]), f"{length} positions of {width}"


FIRST_RISES = {4: 3, 64: 5, 128: 11, 512: 43}


@proof(
    SINUSOIDS,
    method="exhaustive",
    formula="PE_0 · PE_k falls up to k = 3, 5, 11, 43 and rises after, for d = 4, 64, 128, 512",
    against=PE_05.part("nearer is more alike"),
)
def the_product_first_rises_where_it_is_said_to(encoding: Callable[..., Any]) -> None:
    """A wider encoding falls for longer, and none for long."""
    for width, turning in FIRST_RISES.items():
        table = encoding(64, width, torch.float64)
        products = table @ table[0]
        rises = (products[1:] > products[:-1]).nonzero().flatten()
        assert int(rises[0]) == turning, f"at width {width} it first rises from {int(rises[0])}"


@proof(
    SINUSOIDS,
    method="exhaustive",
    formula="at d = 512, 172 of 256 pairs have not turned once within 128 positions",
    against=PE_09.part("periodic"),
)
def most_wavelengths_are_longer_than_a_sequence(encoding: Callable[..., Any]) -> None:
    """What was seen in training is a part of the first turn, of two in three pairs."""
    table = encoding(129, 512, torch.float64)
    hands = torch.complex(table[:, 1::2], table[:, 0::2])
    turned = (hands[1:] / hands[:-1]).angle().sum(0)  # no pair turns by π between neighbours
    slow = int((turned < 2 * math.pi).sum())
    assert slow == 172, f"{slow} pairs have not turned once"


def _different(rows: Tensor) -> int:
    return len(torch.unique(rows.double(), dim=0))


HALF_PRECISION = {torch.bfloat16: 769, torch.float16: 3073}
"""How many different numbers 0 … 4095 are rounded to."""


@proof(
    SINUSOIDS,
    method="exhaustive",
    formula="4,096 rows computed in float64 and rounded once to bfloat16 or float16 all differ",
    claim=PE_02.part("in low precision"),
)
def rounding_the_encoding_keeps_positions_apart(encoding: Callable[..., Any]) -> None:
    """Eight bits for each number are enough, since there are many numbers."""
    for dtype in HALF_PRECISION:
        table = encoding(4096, 64, dtype)
        assert table.dtype == dtype, f"the encoding is {table.dtype}"
        assert _different(table) == 4096, f"{_different(table)} encodings in {dtype}"


@proof(
    SINUSOIDS,
    method="exhaustive",
    formula="4,096 rows at positions rounded to bfloat16 (float16) are 769 (3,073) different ones",
    against=PE_02.part("in low precision"),
)
def rounding_the_position_makes_encodings_coincide(encoding: Callable[..., Any]) -> None:
    """Numbering tokens in low precision gives many of them their neighbour's number."""
    table = encoding(4097, 64, torch.float64)
    assert _different(table) == 4097, f"{_different(table)} encodings in float64"
    for dtype, count in HALF_PRECISION.items():
        numbers = torch.arange(4096).to(dtype).long()  # 4095 becomes 4096
        found = _different(table[numbers])
        assert found == count, f"{found} encodings of positions in {dtype}"


# --- Sinusoids: what they do not show -----------------------------------------------------------


@refutation(
    SINUSOIDS,
    claim=PE_04.part("plain product"),
    formula="PE_i · PE_{i+k} ≠ PE_i · PE_{i−k}",
    inputs=sinusoidal_positions(),
    pinned={"length": 3, "d_model": 2},
)
def the_product_with_the_next_is_not_that_with_the_last(
    positions: Subject, length: int, d_model: int
) -> None:
    """One position further and one position back look the same to the product."""
    assume(length > 2)
    table = positions(length, d_model)
    found, bound, _ = _products(table, 0, min(length, 24))
    ahead, back = found.diagonal(1)[1:], found.diagonal(-1)[:-1]
    gap = (ahead - back).abs() - 2 * bound.diagonal()[1:-1]
    above(gap.amax(), torch.zeros(()).double(), "how far apart the products are at most")


@refutation(
    SINUSOIDS,
    claim=PE_05.part("nearer is more alike"),
    formula="PE_0 · PE_{k+1} ≤ PE_0 · PE_k",
    inputs=sinusoidal_positions(),
    pinned={"length": 5, "d_model": 4},
)
def a_position_further_off_is_less_alike(positions: Subject, length: int, d_model: int) -> None:
    """The fastest pairs come round again before the slow ones have moved."""
    table = positions(length, d_model)
    found, bound, _ = _products(table, 0, length)
    step = (bound[0, 1:] + bound[0, :-1]) if length > 1 else bound[0, :0]
    at_most(found[0, 1:], found[0, :-1], step, "the product with the position further off")


@refutation(
    SINUSOIDS,
    claim=(PE_05.part("repeated patterns"), PE_09.part("periodic")),
    formula="PE_p = PE_0 for some p > 0",
    inputs=sinusoidal_positions(),
    pinned={"length": 7, "d_model": 2},
)
def the_first_position_comes_again(positions: Subject, length: int, d_model: int) -> None:
    """Position 6 comes near, since 6 is almost 2π; none comes back."""
    assume(length > 1)
    table = positions(length, d_model)
    apart = (table[1:] - table[0]).double().norm(dim=-1)
    bound = 2 * math.sqrt(d_model) * _error(table)[1:]
    at_most((apart - bound).amin(), torch.zeros(()).double(), 0.0, "how near a position comes to 0")


@st.composite
def _two_words(draw: Any) -> dict[str, Any]:
    """Two words of a few widths, and how far both of them move."""
    width, shift = draw(st.sampled_from([(d, k) for d in (2, 4, 6, 8) for k in (1, 2, 5)]))
    generator = torch.Generator().manual_seed(draw(seeds()))
    first, second = fill(generator, "normal", 2, width)
    return {"first": first, "second": second, "shift": shift}


@refutation(
    SINUSOIDS,
    claim=PE_07.part("scores of words"),
    formula="(x + PE_{p+k}) · (y + PE_{q+k}) = (x + PE_p) · (y + PE_q)",
    inputs=_two_words(),
    pinned={
        "first": torch.tensor([1.0, 0.0]).double(),
        "second": torch.tensor([0.0, 0.0]).double(),
        "shift": 1,
    },
)
def scores_of_words_depend_on_their_distance_alone(
    positions: Subject, first: Tensor, second: Tensor, shift: int
) -> None:
    """The terms x · PE_q and PE_p · y move with the words, though their distance stays."""
    table = positions(shift + 2, len(first)).double()
    off = math.sqrt(len(first)) * _error(table)
    one, other = first.double() + table, second.double() + table

    def bound(i: int, j: int) -> Tensor:
        x, y = one[i].norm(), other[j].norm()
        error: Tensor = x * off[j] + y * off[i] + off[i] * off[j]
        total: Tensor = error + gamma(len(first), 2.0**-53) * x * y
        return total

    here, there = one[0] @ other[1], one[shift] @ other[shift + 1]
    close(there, here, bound(0, 1) + bound(shift, shift + 1), "the score after both have moved")


# --- Positions that enter the scores ------------------------------------------------------------


@proof(
    SINUSOIDS,
    "rotary_positions",
    method="symbolic",
    formula="⟨R_m q, R_n k⟩ = ⟨R_{m+s} q, R_{n+s} k⟩ for symbols q, k, m, n, s and frequencies",
    claim=PE_07.part("positions in the scores"),
)
def rotary_scores_depend_on_the_distance_alone(
    encoding: Callable[..., Any], rotary: Callable[..., Any]
) -> None:
    """Turned by their positions, a query and a key score by content and distance.

    Added sinusoids, in the same symbols, do not: terms of a word and a position are left.
    """
    m, n, s = sympy.symbols("m n s", real=True)
    places = [m, n, m + s, n + s]
    for width in (2, 4):
        words = symbolic.symbols("x", 2, width).entries
        query, key = words
        rows = symbolic.tensor([query, key, query, key])
        with _Places([], free=True):
            turned = rotary(rows, symbolic.tensor(places)).entries
        before, after = turned[0] @ turned[1], turned[2] @ turned[3]
        assert _zero(before - after), "the score changes when both have moved"
        assert _differs(before - turned[0] @ turned[3]), "the score does not see the distance"
        plain = [sum(pairs, ()) for pairs in _at(encoding, 4, *places)]
        added = [w + np.array(p[:width]) for w, p in zip([*words, *words], plain, strict=True)]
        assert _differs(added[0] @ added[1] - added[2] @ added[3]), "so do added positions"


@proof(
    SINUSOIDS,
    "rotary_positions",
    method="exhaustive",
    formula="|y − ŷ| ≤ 3 u (1 + u)² (|x_even cos| + |x_odd sin|), of each entry",
)
def rotary_positions_turn_by_angles_that_are_rounded_once(
    _encoding: Callable[..., Any], rotary: Callable[..., Any]
) -> None:
    """Whatever the dtype of a query, it is the sine and the cosine that are rounded to it.

    Of the angle itself half precision would leave nothing after a few hundred tokens. Tried for
    5,000 positions, three widths and four words.
    """
    places = torch.arange(5000)
    for width, dtype in product((2, 6, 64), (torch.float32, torch.bfloat16, torch.float16)):
        u = unit_roundoff(dtype)
        frequencies = 10000.0 ** (-torch.arange(0, width, 2).double() / width)
        angles = places.double()[:, None] * frequencies
        cos, sin = angles.cos(), angles.sin()
        for even, odd in ((1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (1.0, -1.0)):
            x = torch.tensor([even, odd], dtype=dtype).repeat(len(places), width // 2)
            exact = torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1)
            size = torch.stack(
                [
                    abs(even) * cos.abs() + abs(odd) * sin.abs(),
                    abs(even) * sin.abs() + abs(odd) * cos.abs(),
                ],
                -1,
            )
            bound = 3 * u * (1 + u) ** 2 * size + torch.finfo(dtype).tiny
            off = (rotary(x, places).double() - exact.flatten(-2)).abs()
            assert bool((off <= bound.flatten(-2)).all()), f"{dtype}: off by {float(off.max())}"


@proof(
    SINUSOIDS,
    "alibi_bias",
    "clipped_distances",
    method="exhaustive",
    formula="bias_{i+1, j+1} = bias_ij and index_{i+1, j+1} = index_ij, for up to 12 tokens",
    claim=PE_07.part("positions in the scores"),
)
def alibi_and_clipped_positions_depend_on_the_distance_alone(
    encoding: Callable[..., Any], alibi: Callable[..., Any], clipped: Callable[..., Any]
) -> None:
    """Along each diagonal both are constant, bit by bit; the products of sinusoids are so too."""
    for queries, keys in product(range(1, 13), repeat=2):
        if queries > keys:
            continue
        offset = torch.arange(keys) - torch.arange(keys - queries, keys)[:, None]
        tables = [*alibi(4, queries, keys), *(clipped(queries, keys, most) for most in (1, 2, 20))]
        for table in tables:
            assert torch.equal(table[1:, 1:], table[:-1, :-1]), "a distance has two values"
        for bias in tables[:4]:
            far = bias[offset.abs() == offset.abs().max()]
            assert bool((far < 0).all() | (keys == 1)), "what is far is not lowered"
            assert bool((bias[offset == 0] == 0).all()), "a token's own score is lowered"
        for most, index in zip((1, 2, 20), tables[4:], strict=True):
            assert torch.equal(index - most, offset.clamp(-most, most)), "distances are misnumbered"
    table = encoding(12, 8, torch.float64)
    products = table @ table.mT
    off = (products[1:, 1:] - products[:-1, :-1]).abs().amax()
    assert float(off) <= ROUNDING * float(products.amax()), (
        f"products of a distance are {off} apart"
    )


# --- Order, without positions and with them -----------------------------------------------------


def _shuffled(length: int, seed: int) -> Tensor:
    """Draw a permutation that is not undone by doing it twice, of three tokens or more."""
    order = torch.randperm(length, generator=torch.Generator().manual_seed(seed))
    if torch.equal(order[order], torch.arange(length)):
        order = torch.cat([torch.tensor([1, 2, 0]), torch.arange(3, length)])
    return order


REGIMES = ("integers", "normal", "large", "sparse")


def _unmasked(component: str) -> Any:
    """Tokens that attend to themselves, three or more, and no mask."""
    if component != "Encoder":
        return attention_inputs(component, "none", 3, REGIMES)
    shapes = ((1, 3), (2, 3), (1, 5), (3, 4), (1, 12), (1, 20))
    sizes = product(shapes, ((2, 1, 5, 1), (6, 3, 4, 2)))
    cases = [(size, regime, seed) for size in sizes for seed, regime in enumerate(REGIMES)]

    def inputs(case: tuple[Any, str, int]) -> dict[str, Any]:
        ((batch, length), widths), regime, seed = case
        names = ("d_model", "n_heads", "d_hidden", "n_layers")
        setup = Setup(dict(zip(names, widths, strict=True)), seed)
        generator = torch.Generator().manual_seed(seed + length)
        x = fill(generator, regime, batch, length, widths[0])
        return {"x": x, "mask": None, "setup": setup}

    return st.sampled_from(cases).map(inputs)


def _alone(component: Subject, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Give the output for a sequence that attends to itself, and a bound on its error."""
    names = [n for n in component.spec.parameters if n in {"x", "query", "key", "value"}]
    given: dict[str, Any] = dict.fromkeys(names, tokens)
    answer = component(**given)
    output: Tensor = answer[0] if isinstance(answer, tuple) else answer
    return output, result_bounds(component, {**given, "mask": None})[0]


@law(
    "SelfAttention",
    "MultiHeadAttention",
    "Encoder",
    inputs=_unmasked,
    formula="f(P x) = P f(x) for permutations P of at least three tokens with P² ≠ 1",
    claim=PE_01.part("unmasked"),
)
def outputs_follow_their_tokens_to_any_place(component: Subject, arguments: dict[str, Any]) -> None:
    """Without positions a sequence is a set: the outputs are shuffled as the tokens are."""
    tokens = arguments["x"] if "x" in arguments else arguments["query"]
    assume(tokens.shape[-2] >= 3)
    assert component.setup is not None
    order = _shuffled(tokens.shape[-2], component.setup.seed)
    output, bound = _alone(component, tokens)
    moved, _ = _alone(component, tokens[:, order])
    close(moved, output[:, order], 2 * bound, "the outputs of shuffled tokens")
    apart = (output[:, :, None] - output[:, None]).double().norm(dim=-1)
    apart = apart + torch.eye(len(order)) * apart.amax()  # a token need not differ from itself
    far = bool(apart.amin() > 20 * bound.amax())
    sometimes(far, "all outputs differ by far more than the rounding")


@law(
    "SelfAttention",
    inputs=_unmasked("SelfAttention"),
    formula="Σ_i f(P x)_i = Σ_i f(x)_i",
    claim=PE_06.part("without positions"),
)
def pooled_outputs_do_not_know_the_order(
    attention: Subject, x: Tensor, mask: Tensor | None
) -> None:
    """What is pooled over a set is the same for every order of it; other tokens change it."""
    assert attention.setup is not None
    order = _shuffled(x.shape[-2], attention.setup.seed)
    output, _ = attention(x, mask)
    moved, _ = attention(x[:, order], mask)
    bound = result_bounds(attention, {"x": x, "mask": mask})[0].amax() * len(order)
    bound = bound + gamma(len(order), unit_roundoff(x.dtype)) * output.abs().sum(1)
    close(moved.sum(1), output.sum(1), 2 * bound, "the sum over all tokens")
    others, _ = attention(1 - x, mask)
    sometimes_differs(others.sum(1), output.sum(1), "other tokens have another sum", 2 * bound)


GENERATORS = ((1, 0, 2), (1, 2, 0))
"""A swap and a rotation, of which all permutations of three tokens are made."""


def _shuffled_in_symbols(
    attention: Callable[..., Any], sizes: tuple[int, ...], order: tuple[int, ...]
) -> tuple[Any, Any]:
    """Give the outputs for tokens of symbols, and for the same in another order, (L, D) each.

    A maximum that is subtracted is any number; that of a query goes with its query, since it is
    one of the same scores.
    """
    module, parameters = symbolic.symbolic_module(attention, *sizes)
    other, _ = symbolic.symbolic_module(attention, *sizes, values=parameters)
    count, width = len(order), sizes[0]
    x = symbolic.symbols("x", 1, count, width)
    inputs = 1 if attention.__name__.startswith("Self") else 3
    before = module(*[x] * inputs)[0].entries[0]
    shuffled = symbolic.SymbolicTensor(x.entries[:, list(order)])
    after = other(*[shuffled] * inputs)[0].entries[0]

    def maxima(entries: Any) -> list[Any]:
        found = set().union(*(entry.atoms(sympy.Dummy) for entry in entries.flat))
        return sorted(found, key=lambda dummy: int(dummy.name[1:]))

    ours, theirs = maxima(before), maxima(after)
    assert len(ours) == len(theirs), f"{len(ours)} and {len(theirs)} maxima are subtracted"
    ours = [ours[i - i % count + order[i % count]] for i in range(len(ours))]
    same = dict(zip(theirs, ours, strict=True))
    return before, np.vectorize(lambda entry: entry.xreplace(same), otypes=[object])(after)


@proof(
    "SelfAttention",
    method="symbolic",
    formula="f(P x) = P f(x) for symbols x and W, a swap P and a rotation P, and so for every P",
    claim=PE_01.part("unmasked"),
)
def symbols_come_out_in_the_order_they_went_in(attention: Callable[..., Any]) -> None:
    """The outputs for shuffled tokens are the outputs shuffled, as expressions.

    No number of tokens enters the code but as that of the terms of its sums, and a sum does not
    depend on their order.
    """
    for order in GENERATORS:
        before, after = _shuffled_in_symbols(attention, (2,), order)
        assert (before[list(order)] == after).all(), f"the outputs are not shuffled by {order}"
        assert (before[0] != before[1]).all(), "different tokens have the same output"


@proof(
    "MultiHeadAttention",
    method="symbolic",
    formula="f(P x) = P f(x) for symbols x, W and b and two heads, and so for every P",
    claim=PE_01.part("unmasked"),
)
def symbols_come_out_of_all_heads_in_the_order_they_went_in(attention: Callable[..., Any]) -> None:
    """Neither do heads know the order: they are the same sums side by side."""
    for order in GENERATORS:
        before, after = _shuffled_in_symbols(attention, (2, 2), order)
        assert (before[list(order)] == after).all(), f"the outputs are not shuffled by {order}"
        assert (before[0] != before[1]).all(), "different tokens have the same output"


class _Unknown(nn.Module):
    """A module of which no more is known than what it reads.

    Args:
        name: what it is called in expressions.
        part: the module, whose sizes may be asked for.
        mixes: whether it reads all tokens, in whatever order, beside the one that it answers.
    """

    def __init__(self, name: str, part: nn.Module, *, mixes: bool) -> None:
        super().__init__()
        self.name, self.mixes = name, mixes
        self.known = [part]  # in a list, so that its parameters are none of this module's

    def __getattr__(self, name: str) -> Any:
        """Give what the part has of this name, such as its number of heads."""
        return getattr(self.known[0], name)

    def forward(self, x: Any, *others: Any) -> Any:
        """Give an unknown function of each token; an attention gives weights besides."""
        tokens = list(x.entries.flat)
        assert all(other is x for other in others if other is not None), "more is read"
        known = sorted(tokens, key=sympy.default_sort_key) if self.mixes else []
        function = sympy.Function(self.name)
        answer = symbolic.tensor([[[function(token, *known)] for token in tokens]])
        return (answer, None) if self.mixes else answer


@proof(
    "Encoder",
    "MultiHeadAttention",
    "FeedForward",
    "LayerNorm",
    method="structural",
    formula="Encoder(P x) = P Encoder(x), where attention commutes with P and the rest is by token",
    claim=PE_01.part("unmasked"),
)
def layers_keep_the_symmetry_of_their_parts(
    encoder: Callable[..., Any],
    attention: type[nn.Module],
    feed_forward: type[nn.Module],
    layer_norm: type[nn.Module],
) -> None:
    """Take the parts for unknown functions, of a token and a set of tokens or of a token alone.

    Each token is one symbol, which stands for a vector. That multi-head attention is such a
    function is proved above; that the others are is what "position-wise" says.
    """
    for order in GENERATORS:
        outputs = []
        for places in (range(3), order):
            module = encoder(1, 1, 2, 2)
            for name, part in list(module.named_modules()):
                if isinstance(part, (attention, feed_forward, layer_norm)):
                    mixes = isinstance(part, attention)
                    module.set_submodule(name, _Unknown(name.replace(".", "_"), part, mixes=mixes))
            left = [n for n, _ in module.named_parameters()]
            assert not left, f"{left} are parameters of no part"
            tokens = symbolic.symbols("x", 3, 1).entries[list(places)]
            outputs.append(list(module(symbolic.SymbolicTensor(tokens[None])).entries.flat))
        before, after = outputs
        assert [before[i] for i in order] == after, f"the outputs are not shuffled by {order}"
        assert len(set(before)) == len(before), "different tokens have the same output"


@refutation(
    "SelfAttention",
    claim=PE_01.part("under a causal mask"),
    formula="f(P x, causal) = P f(x, causal)",
    inputs=attention_inputs("SelfAttention", "none", 2),
    pinned={
        "x": torch.tensor([[[0.0], [1.0]]]).double(),
        "mask": None,
        "setup": Setup(
            {"d_model": 1},
            matrices={f"{n}.weight": torch.ones(1, 1).double() for n in ("query", "key", "value")},
        ),
    },
)
def masked_outputs_follow_their_tokens(attention: Subject, x: Tensor, mask: Tensor | None) -> None:
    """Under a causal mask the first token sees itself alone, which tells it from the second."""
    length = x.shape[-2]
    mask = torch.ones(length, length, dtype=torch.bool).tril()
    output, _ = attention(x, mask)
    moved, _ = attention(x.roll(1, -2), mask)
    bound = result_bounds(attention, {"x": x, "mask": mask})[0]
    close(moved, output.roll(1, -2), 2 * bound, "the output for rolled tokens")


@proof(
    "SelfAttention",
    method="symbolic",
    formula="Σ_i f(P x)_i = Σ_i f(x)_i in symbols, so that one answer serves two labels",
    claim=PE_06.part("without positions"),
)
def a_pooled_classifier_is_right_on_one_of_two_orders(attention: Callable[..., Any]) -> None:
    """Both orders give one sum, and what is computed of it is one answer for two labels.

    The two labels differ, so whatever the answer is, it is right for one of them: on half of all
    such pairs.
    """
    for order in GENERATORS:
        before, after = _shuffled_in_symbols(attention, (2,), order)
        pooled, again = before.sum(0), after.sum(0)
        assert (pooled == again).all(), f"the sum knows the order {order}"
        assert all(entry.free_symbols for entry in pooled), "the sum is a constant"


def _in_every_order(
    attention: Callable[..., Any], positions: Tensor
) -> list[tuple[list[int], Tensor]]:
    """Give the outputs for four different words in all orders, positions added, (L, D) each."""
    length, width = positions.shape
    torch.manual_seed(0)
    module = attention(width).double()
    words = torch.randn(length, width, dtype=torch.float64)
    orders = [list(order) for order in permutations(range(length))]
    with torch.no_grad():
        return [(order, module((words[order] + positions)[None])[0][0]) for order in orders]


@proof(
    SINUSOIDS,
    "SelfAttention",
    method="exhaustive",
    formula="f(P x + PE) ≠ P f(x + PE) for each of the 23 permutations P ≠ 1 of four words",
    claim=PE_02.part("order matters"),
)
def added_positions_break_the_symmetry(
    encoding: Callable[..., Any], attention: Callable[..., Any]
) -> None:
    """One attention with drawn weights shows it; without positions the same one does not."""
    positions = encoding(4, 4, torch.float64)
    for table, aware in ((positions, True), (torch.zeros_like(positions), False)):
        (_, plain), *others = _in_every_order(attention, table)
        for order, output in others:
            off, rounding = (
                float((output - plain[order]).abs().max()),
                ROUNDING * float(plain.norm()),
            )
            as_said = off > 1000 * rounding if aware else off <= rounding
            assert as_said, f"the outputs in the order {order} are {off} apart"


@proof(
    SINUSOIDS,
    "SelfAttention",
    method="exhaustive",
    formula="Σ_i f(P x + PE)_i is another vector for each of the 24 orders P of four words",
    claim=PE_06.part("with positions"),
)
def pooled_outputs_with_positions_tell_all_orders_apart(
    encoding: Callable[..., Any], attention: Callable[..., Any]
) -> None:
    """One attention with drawn weights is enough for a classifier to look the order up."""
    pooled = torch.stack(
        [output.sum(0) for _, output in _in_every_order(attention, encoding(4, 4, torch.float64))]
    )
    apart = (pooled[:, None] - pooled).norm(dim=-1)
    nearest = float(apart[~torch.eye(len(pooled), dtype=torch.bool)].amin())
    assert nearest > 1000 * ROUNDING * float(pooled.norm()), f"two orders are {nearest} apart"


def _repeated_words() -> st.SearchStrategy[dict[str, Any]]:
    """Give a source and a target that say one word again and again; a few of them are enough."""
    names = ("source_vocab", "target_vocab", "d_model", "n_heads", "d_hidden", "n_layers")
    widths = ((3, 5, 4, 2, 5, 1), (5, 4, 6, 3, 7, 2))
    cases = list(product(((1, 2), (1, 4), (2, 3), (3, 3), (2, 9)), widths, range(2)))

    def inputs(case: tuple[tuple[int, int], tuple[int, ...], int]) -> dict[str, Any]:
        (batch, length), sizes, seed = case
        words = torch.arange(batch)[:, None] % 3
        return {
            "source": words.expand(batch, length).clone(),
            "target_in": words.expand(batch, length + 1).clone(),
            "setup": Setup(dict(zip(names, sizes, strict=True)), seed),
        }

    return st.sampled_from(cases).map(inputs)


@law(
    "Transformer",
    inputs=_repeated_words(),
    formula="source = (w, w, …)  ⇒  memory_i ≠ memory_j;  so too target and logits",
    claim=PE_02.part("order matters"),
)
def equal_words_are_told_apart_by_their_places(
    model: Subject, source: Tensor, target_in: Tensor
) -> None:
    """A sentence of one word again and again has different states only where positions are added.

    In the decoder too: a mean over equal tokens, however many, is the same.
    """
    memory = model.encode(source)
    bound = measured_bound(model, {"source": source}, "encode")
    for i in range(1, min(source.shape[1], 4)):
        apart = (memory[:, i] - memory[:, 0]).abs().amax()
        sometimes(bool(apart > 2 * bound), f"word {i} of the source differs from the first")
    logits = model.decode(target_in, memory)
    bound = measured_bound(model, {"target_in": target_in, "memory": memory}, "decode")
    first = logits[:, :1].expand_as(logits[:, 1:])
    sometimes_differs(logits[:, 1:], first, "the logits after equal words differ", 2 * bound)


# --- Learned positions --------------------------------------------------------------------------


def a_table_alone(parameters: Mapping[str, Tensor]) -> str | None:
    """Say why the law has nothing to say: its parameters are not 7 rows of 5, or one table."""
    counts = [p.numel() for p in parameters.values()]
    return None if counts in ([35], [5] * 7) else "its parameters are not one table of 7 rows of 5"


def _sizes(positions: Subject) -> tuple[int, int]:
    """Give the largest length and the width."""
    assert positions.setup is not None
    sizes = positions.setup.arguments
    return sizes["max_length"], sizes["d_model"]


@law(
    LEARNED,
    inputs=learned_positions(),
    formula="PE_p = c · W_p for a table W of max_length rows",
    claim=PE_03,
    kind="definition",
    applies=a_table_alone,
)
def rows_are_those_of_the_table(positions: Subject, length: int) -> None:
    """Each position gets its row of the table, in order, whatever the table holds.

    The table may be stored in one piece or by rows, upright or lying, and be scaled by a constant.
    """
    longest, width = _sizes(positions)
    flat = torch.cat([p.flatten() for p in positions.parameters().values()])
    table = positions(length)
    upright, lying = flat.view(longest, width)[:length], flat.view(width, longest).mT[:length]

    def scaled(rows: Tensor) -> Tensor:
        largest = rows.abs().argmax()
        factor: Tensor = table.flatten()[largest] / rows.flatten()[largest]
        result: Tensor = rows * factor
        return result

    exact = min((scaled(upright), scaled(lying)), key=lambda rows: float((rows - table).norm()))
    bound = gamma(4, unit_roundoff(table.dtype)) * exact.abs()
    close(table, exact, bound, "the positions")
    sometimes_differs(table, table.roll(1, 0), "positions differ")


@law(
    LEARNED,
    inputs=learned_positions(),
    formula="PE(n)[:m] = PE(m), bit by bit",
)
def fewer_positions_are_the_first_ones(positions: Subject, length: int) -> None:
    """A shorter sequence gets the same vectors as the beginning of a longer one."""
    longest, _ = _sizes(positions)
    table = positions(length)
    identical(positions(longest)[:length], table, "the first positions")
    sometimes_differs(table, table.roll(1, 0), "positions differ")


@law(
    LEARNED,
    inputs=st.sampled_from([(n, d) for n in (1, 2, 3, 5, 8, 80, 300) for d in (1, 2, 4)]).map(
        lambda size: {"max_length": size[0], "d_model": size[1]}
    ),
    formula="PE(n) is refused for n > max_length",
    claim=PE_03,
)
def lengths_past_the_table_are_refused(positions: Subject, max_length: int, d_model: int) -> None:
    """What was never learned is not made up; the last position that was learned still is there."""
    module = positions.construct(max_length=max_length, d_model=d_model)
    module(max_length)
    for length in (max_length + 1, 2 * max_length + 1, 100 * max_length):
        refused(partial(module, length), f"{length} of {max_length} positions")


@law(
    LEARNED,
    inputs=learned_positions(),
    formula="∂PE_p/∂W_q = 0 for q ≠ p: a row of its own for each position, and none for the rest",
    claim=PE_03,
    kind="definition",
)
def each_position_learns_a_row_of_its_own(positions: Subject, length: int) -> None:
    """The gradient reaches exactly the rows that were used, and for each position other entries.

    Anything more than the table, such as a bias, may learn from every position.
    """
    longest, width = _sizes(positions)
    with positions.learning():
        table = positions(length)
    total = int(positions.parameter_count())
    used = []
    wave = torch.cos(torch.arange(width, dtype=torch.float64)).to(table) + 2
    for row in (table[0], table[-1]):
        found = positions.parameter_gradients((row * wave).sum())
        used.append(torch.cat([g.flatten() for g in found.values()] or [torch.zeros(0)]) != 0)
    both = positions.parameter_gradients((table * wave).sum())
    reached = torch.cat([g.flatten() for g in both.values()] or [torch.zeros(0)]) != 0
    own = (used[0] & ~used[1]).sum() if length > 1 else used[0].sum()
    at_least(own, torch.tensor(width), 0, "entries that the first position learns and no other")
    at_least(reached.sum(), torch.tensor(length * width), 0, "entries that learn")
    idle = total - reached.sum()
    at_least(idle, torch.tensor((longest - length) * width), 0, "entries that do not learn")
    sometimes(length < longest, "some positions are not used")
