"""Section 6 of the notes, Positional Encoding: where a token stands, added to what it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import torch
from hypothesis import strategies as st
from torch import Tensor

from attest.checks import (
    Crash,
    above,
    at_least,
    close,
    identical,
    refused,
    sometimes,
    sometimes_differs,
)
from attest.claims import Claim, Verdict
from attest.laws import law
from attest.strategies import learned_positions, sinusoidal_positions
from attest.subject import Subject
from attest.tolerances import gamma, unit_roundoff
from properties.bounds import position_bounds

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
    references=("Yun et al. 2020", "Haviv et al. 2022, for causal masks"),
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
            "needs an experiment with training",
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
    verdict=Verdict.PROVED,
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
            Verdict.PENDING,
            "needs an experiment with training",
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
        "rotary positions, ALiBi and clipped relative positions do score by distance alone",
    ),
    references=("Vaswani et al. 2017, section 3.5", "Su et al. 2021"),
    parts=(
        (
            "shifts are rotations",
            "Moving on by k is one rotation, whatever the position.",
            Verdict.PROVED,
        ),
        (
            "scores of words",
            "The score of two encoded words depends on their distance alone.",
            Verdict.REFUTED,
        ),
        (
            "positions in the scores",
            "With rotary, ALiBi or clipped relative positions it does.",
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
    formal="PE_p is defined for every p; PE_p = PE_{p+T} for some T",
    verdict=Verdict.CONDITIONAL,
    conditions=(
        "defined at every position, in the same way",
        "not by period: encodings never come again, and of 256 wavelengths at d = 512 there are "
        "172 beyond 128 tokens",
    ),
    references=("Vaswani et al. 2017, section 3.5", "Press, Smith and Lewis 2022"),
    parts=(
        ("defined", "There is an encoding for every position, made the same way.", Verdict.PROVED),
        ("periodic", "After some period all encodings have been seen.", Verdict.REFUTED),
        (
            "generalises",
            "A model does as well on lengths that it was not trained on.",
            Verdict.PENDING,
            "needs an experiment with training",
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

        20 · 2⁻²⁴ · (1 + angle)

    At an odd width the last frequency has a sine or a cosine and not both.
    """
    angles = _count(length)[:, None] * _frequencies(d_model)
    error = 20 * 2.0**-24 * (1 + angles)
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


LONG = ((2000, 4), (2049, 64), (4097, 2), (5000, 6), (5000, 16))


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


@law(
    SINUSOIDS,
    inputs=st.sampled_from(
        [(n, d) for n in (2, 3, 9) for d in (2, 4, 6, 8, 10, 12, 16, 64, 128, 512)]
    ).map(lambda size: {"length": size[0], "d_model": size[1]}),
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


# --- Learned positions --------------------------------------------------------------------------


def a_table_alone(parameters: Mapping[str, Tensor]) -> str | None:
    """Say why the law has nothing to say: its parameters are not one table of 7 rows of 5."""
    count = sum(p.numel() for p in parameters.values())
    return None if count == 7 * 5 else f"{count} parameters are not a table of 7 rows of 5"


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
        return rows * (table.flatten()[largest] / rows.flatten()[largest])

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
    inputs=st.sampled_from([(n, d) for n in (1, 2, 3, 5, 8, 64, 80) for d in (1, 2, 4)]).map(
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
