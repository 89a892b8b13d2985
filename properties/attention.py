"""Section 2 of the notes, Attention: a query takes a weighted mean of values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import sympy
import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import Tensor, nn

from attest import symbolic
from attest.checks import (
    above,
    at_least,
    at_most,
    close,
    identical,
    sometimes,
    sometimes_differs,
)
from attest.claims import Claim, Verdict
from attest.differentiation import gradients, leaf, weighted_sum
from attest.laws import law, proof, refutation
from attest.strategies import attention_inputs, fill
from attest.subject import Subject
from attest.tolerances import (
    gamma,
    log_weight_error,
    precision,
    smallest,
    underflow_gap,
    unit_roundoff,
)
from properties.bounds import (
    allowed_keys,
    attention_bounds,
    dot_product_scores,
    even_weights,
    largest_score,
    row_sum_bounds,
)
from properties.families import CROSS, EVERY, PLAIN, SDPA

ATT_01 = Claim(
    id="ATT-01",
    section="2 Attention",
    quote="인코더의 전체 hidden state를 모두 참고",
    statement="Every state of the encoder takes part in the context.",
    formal="c = Σ_j α_j h_j with every α_j > 0",
    verdict=Verdict.CONDITIONAL,
    conditions=(
        "the key is not masked",
        "its score lies no further than 745 (float64), 104 (float32), 92.9 (bfloat16) or 17.3 "
        "(float16) below the largest, less the logarithm of how many keys share the best score: "
        "further down the weight is exactly zero",
    ),
    references=(
        "Bahdanau, Cho and Bengio 2015, equation 5",
        "Luong, Pham and Manning 2015, section 3.1",
    ),
    parts=(
        ("sum", "The context is the sum of all states, each times its weight.", Verdict.HOLDS),
        ("over the reals", "Every weight is positive.", Verdict.PROVED),
        (
            "in floating point",
            "Every weight is positive as long as its score is not too far below the largest.",
            Verdict.CONDITIONAL,
        ),
    ),
)

ATT_02 = Claim(
    id="ATT-02",
    section="2 Attention",
    quote="가중치를 통해 선택하는",
    statement="Attention selects by weights: a distribution whose log-odds are score differences.",
    formal="α ≥ 0, Σ_j α_j = 1, log α_j − log α_k = s_j − s_k, and c lies in the hull of the h_j",
    verdict=Verdict.PROVED,
    references=("Bahdanau, Cho and Bengio 2015, equation 6",),
)

ATT_03 = Claim(
    id="ATT-03",
    section="2 Attention",
    quote="고정된 컨텍스트 백터 의존을 제거하고",
    statement="The decoder no longer depends on one fixed context: it changes with the query.",
    formal="c(q) ≠ c(q′) in general; the memory read is S·d numbers, not d",
    verdict=Verdict.CONDITIONAL,
    conditions=(
        "the keys differ: over equal keys every query gets the same context",
        "attention is all there is: Bahdanau's decoder still starts from a function of one state",
    ),
    references=("Bahdanau, Cho and Bengio 2015, section 3.1 and appendix A.2.2",),
)

ATT_04 = Claim(
    id="ATT-04",
    section="2 Attention",
    quote='"필요한 부분만 집중해서" 정보를 가져오게',
    statement="Attention takes only the part that is needed, and leaves the rest.",
    formal="some allowed key has weight 0",
    verdict=Verdict.REFUTED,
    conditions=("softmax has full support: its largest weight is at most 1/(1 + (n−1) e^−Δ)",),
    references=("Bahdanau, Cho and Bengio 2015",),
)

ATT_05 = Claim(
    id="ATT-05",
    section="2 Attention",
    quote="긴 문장의 의존성 문제를 크게 줄인다",
    statement="Attention makes long sentences easier to learn, and learning them steadier.",
    formal="accuracy on sequences of T tokens falls less with T, with attention than without",
    verdict=Verdict.MEASURED,
    conditions=("steps and width are the same with attention and without it",),
    references=("Bahdanau, Cho and Bengio 2015, figure 2",),
    parts=(
        (
            "accuracy",
            "Long sequences are copied better with attention.",
            Verdict.MEASURED,
        ),
        (
            "stability",
            "Runs from different seeds lie closer together with attention.",
            Verdict.PENDING,
            "measured, and not decided: with attention most of twelve seeds end close together, "
            "and some far from the rest; and the largest gradient stands out from those around it "
            "more than without, twice as much, where less had been expected",
        ),
    ),
)

ATT_06 = Claim(
    id="ATT-06",
    section="2 Attention",
    quote="상황에 따라 동적으로 검색할 수",
    statement="What is retrieved follows the query: the weights move with it.",
    formal="∂α/∂q = (diag α − α αᵀ) K / √d_k, zero only where all allowed keys are equal",
    verdict=Verdict.PROVED,
    conditions=("the keys are not all equal: if they are, the weights do not move at all",),
    references=("Luong, Pham and Manning 2015, equation 7",),
)

ATT_07 = Claim(
    id="ATT-07",
    section="2 Attention",
    quote="가중합을 통해 gradient가 여러 경로로 분산",
    statement="The weighted sum spreads the gradient over the values, and does not multiply it.",
    formal="∂L/∂v_j = α_j g, so Σ_j ∂L/∂v_j = g; the score s_j adds α_j g · (v_j − c)",
    verdict=Verdict.PROVED,
    conditions=("the spread is a partition: over n equal weights each value gets g / n",),
    references=("Vaswani et al. 2017",),
)

ATT_08 = Claim(
    id="ATT-08",
    section="2 Attention",
    quote="매커니즘의 효율이 높은 이유",
    statement="Attention works so well because its weighted sum spreads the gradient.",
    formal="the more evenly ∂L/∂v is spread, the better is what is retrieved",
    verdict=Verdict.REFUTED,
    conditions=(
        "a spread as wide as can be, g/n for each value, comes with weights that follow no query",
        "selecting by query is what is left as a reason: with uniform weights the path is as "
        "short, and of sixteen symbols .26 are copied, as without attention, .29",
        "efficient means that it learns well: its cost grows as n² d",
    ),
    references=("Bahdanau, Cho and Bengio 2015",),
    parts=(
        (
            "spread alone",
            "Where the gradient is spread most evenly, the context still follows the query.",
            Verdict.REFUTED,
        ),
        (
            "in training",
            "Uniform weights, which spread it most, learn to copy as well as attention does.",
            Verdict.REFUTED,
        ),
    ),
)

ATT_09 = Claim(
    id="ATT-09",
    section="2 Attention",
    quote="gradient 경로가 다중화되고",
    statement="Referring to many tokens multiplies the paths of the gradient, unlike in an RNN.",
    formal="paths from j to i over L causal layers: C(i − j + L − 1, L − 1)",
    verdict=Verdict.CONDITIONAL,
    conditions=(
        "against one layer: more layers do give more paths",
        "not against RNNs: a stacked RNN of equal depth has exactly as many; only their lengths "
        "differ, L against i − j + L",
    ),
    references=("Vaswani et al. 2017, table 1",),
    parts=(
        ("count", "Paths over L causal layers number C(i−j+L−1, L−1).", Verdict.PROVED),
        ("unlike RNNs", "A stacked RNN of equal depth has fewer paths.", Verdict.REFUTED),
    ),
)

ATT_10 = Claim(
    id="ATT-10",
    section="2 Attention",
    quote="RNN 대비 훨씬 안정적인 학습을 제공",
    statement="Gradients survive longer sequences with attention than in a recurrent network.",
    formal="log ‖∂output/∂x_1‖ falls less with T, with attention than through T recurrent steps",
    verdict=Verdict.MEASURED,
    conditions=(
        "recurrent matrices are drawn at random: orthogonal ones keep the gradient",
        "attention has instabilities of its own: see SA-09",
    ),
    references=("Pascanu, Mikolov and Bengio 2013, section 2",),
)


def roll_keys(arguments: dict[str, Any]) -> dict[str, Any]:
    """Move every key, its value and its column of the mask one place on."""
    mask = arguments["mask"]
    return {
        "query": arguments["query"],
        "key": arguments["key"].roll(1, -2),
        "value": arguments["value"].roll(1, -2),
        "mask": None if mask is None else mask.roll(1, -1),
    }


def outside_the_gap(scores: Tensor, allowed: Tensor, dtype: torch.dtype) -> Tensor:
    """Say where a weight may underflow, with room for the sum of the others."""
    room = underflow_gap(dtype) - math.log(scores.shape[-1]) - 1
    top = scores.masked_fill(~allowed, -torch.inf).amax(-1, keepdim=True)
    return allowed & (top - scores > room)


# --- What the weights are -----------------------------------------------------------------------

LOW_PRECISION = ("float32", "bfloat16", "float16")


@law(SDPA, inputs=attention_inputs(SDPA), formula="α = softmax(Q Kᵀ / √d_k)")
def weights_are_the_softmax_of_the_scaled_scores(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """A weight is the softmax, over the keys, of the dot products divided by √d_k."""
    _, weights = attention(query, key, value, mask)
    bounds = attention_bounds(attention, {"query": query, "key": key, "value": value, "mask": mask})
    expected = torch.softmax(dot_product_scores(query, key, mask), -1).to(weights.dtype)
    close(weights, expected, 2 * bounds.weights, "the weights")
    uniform = torch.full_like(weights, 1 / weights.shape[-1])
    sometimes_differs(weights, uniform, "the weights are not all equal")


_WIDTHS = (*range(1, 41), 48, 56, 64, 80, 96, 100, 128, 192, 256, 512)


def _of_width(width: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(width)
    sizes = {"query": (1, 2, width), "key": (1, 3, width), "value": (1, 3, 2)}
    return {name: fill(generator, "normal", *size) for name, size in sizes.items()}


@law(
    SDPA,
    inputs=st.sampled_from(_WIDTHS).map(_of_width),
    formula="α = softmax(Q Kᵀ / √d_k) for each d_k from 1 to 40, and for some up to 512",
)
def every_width_is_scaled_by_its_root(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor
) -> None:
    """No width is special: scores are divided by its root, whichever it is."""
    _, weights = attention(query, key, value)
    bounds = attention_bounds(attention, {"query": query, "key": key, "value": value})
    expected = torch.softmax(dot_product_scores(query, key, None), -1).to(weights.dtype)
    close(weights, expected, 2 * bounds.weights, "the weights")


@law(
    SDPA,
    inputs=attention_inputs(SDPA),
    dtypes=LOW_PRECISION,
    formula="|computed − exact| ≤ what rounding explains, in float32, bfloat16 and float16",
    kind="robustness",
)
def low_precision_rounds_no_further_than_it_must(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """In low precision output and weights are as near the exact ones as the format allows."""
    sizes = query.double().abs() @ key.double().abs().mT
    in_range = 3e4 if query.dtype == torch.float16 else 1e5
    assume(float(sizes.max()) < in_range and float(value.abs().max()) < in_range)
    output, weights = attention(query, key, value, mask)
    bounds = attention_bounds(attention, {"query": query, "key": key, "value": value, "mask": mask})
    expected = torch.softmax(dot_product_scores(query, key, mask), -1)
    close(weights, expected.to(weights.dtype), 2 * bounds.weights, "the weights")
    close(output, (expected @ value.double()).to(output.dtype), 2 * bounds.output, "the output")


@law(*EVERY, inputs=attention_inputs, formula="α_ij ≥ 0,  Σ_j α_ij = 1", claim=ATT_02)
def every_row_of_weights_sums_to_one(attention: Subject, arguments: dict[str, Any]) -> None:
    """Each query deals out one whole over the keys; the columns are free."""
    _, weights = attention(**arguments)
    at_least(weights, torch.zeros_like(weights), 0.0, "the weights")
    total = weights.sum(-1)
    error = row_sum_bounds(attention, arguments, weights)
    close(total, torch.ones_like(total), error, "the sum of each row")
    bounds = attention_bounds(attention, arguments)
    even = even_weights(attention, arguments["mask"], weights)
    sometimes_differs(weights, even, "some keys weigh more than others", 2 * bounds.weights)


@law(
    SDPA,
    inputs=attention_inputs(SDPA),
    formula="log α_ij − log α_ik = s_ij − s_ik",
    claim=ATT_02,
)
def log_odds_of_two_keys_are_their_score_difference(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """How much more one key counts than another depends on their two scores alone."""
    _, weights = attention(query, key, value, mask)
    arguments = {"query": query, "key": key, "value": value, "mask": mask}
    bounds = attention_bounds(attention, arguments)
    allowed = allowed_keys(attention, mask, weights)
    scores = dot_product_scores(query, key, None)
    best = scores.masked_fill(~allowed, -torch.inf).argmax(-1, keepdim=True)
    usable = allowed & ~outside_the_gap(scores, allowed, weights.dtype)
    odds = weights.double().log() - weights.double().gather(-1, best).log()
    difference = scores - scores.gather(-1, best)
    error = log_weight_error(bounds.relative)
    rounding = gamma(8, precision(weights.dtype)) * largest_score(attention, arguments)
    limit = 2 * (error + error.gather(-1, best)) + rounding
    zero = torch.zeros_like(odds)
    close(
        torch.where(usable, odds, zero),
        torch.where(usable, difference, zero),
        limit,
        "the log-odds against the best key",
    )


@law(
    SDPA,
    inputs=attention_inputs(SDPA, "any", 2),
    formula="1 − α_max ≤ (n − 1) e^−g, g the gap between the best score and the runner-up",
    claim=ATT_02,
)
def a_clear_winner_leaves_little_to_the_others(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """Selection is soft: the further the best score is ahead, the less the others keep."""
    _, weights = attention(query, key, value, mask)
    allowed = allowed_keys(attention, mask, weights)
    scores = dot_product_scores(query, key, None).masked_fill(~allowed, -torch.inf)
    best = scores.topk(2, -1).values
    gap = best[..., 0] - best[..., 1]  # infinite where one key alone is allowed
    left = (1 - weights.amax(-1)).double()
    others = (allowed.sum(-1) - 1).double()
    bounds = attention_bounds(attention, {"query": query, "key": key, "value": value, "mask": mask})
    rounding = bounds.weights.amax(-1) + bounds.relative.amax(-1) + unit_roundoff(weights.dtype)
    at_most(left, others * torch.exp(-gap), 2 * rounding, "what the best key leaves to the others")
    all_of_it = torch.zeros_like(left)
    sometimes_differs(left, all_of_it, "the best key leaves something to the others", rounding)


@law(
    *EVERY,
    inputs=attention_inputs,
    formula="α_ij > 0 for every allowed key while nothing underflows",
    claim=ATT_01.part("in floating point"),
)
def every_allowed_key_gets_some_weight(attention: Subject, arguments: dict[str, Any]) -> None:
    """No key is left out altogether as long as its score is within reach of the best."""
    tensor = arguments.get("key", arguments.get("x"))
    assert isinstance(tensor, Tensor)
    reach = 2 * largest_score(attention, arguments) + math.log(tensor.shape[-2])
    assume(reach < underflow_gap(tensor.dtype))
    _, weights = attention(**arguments)
    allowed = allowed_keys(attention, arguments["mask"], weights)
    seen = torch.where(allowed, weights, torch.ones_like(weights))
    above(seen, torch.zeros_like(seen), "the weights of allowed keys")
    even = even_weights(attention, arguments["mask"], weights)
    sometimes_differs(weights, even, "some keys weigh more than others", 1e-3)


@proof(
    SDPA,
    method="symbolic",
    formula="α_ij = exp(s_ij) / Σ_l exp(s_il) for symbols s, so α_ij > 0",
    claim=ATT_01.part("over the reals"),
)
def weights_of_symbols_are_positive(attention: Callable[..., Any]) -> None:
    """Run on symbols, each weight is a ratio of exponentials of real numbers."""
    _, weights = attention(*_symbols())
    scores = _symbolic_scores()
    for i in range(2):
        total = sum(sympy.exp(scores[i, j]) for j in range(3))
        for j in range(3):
            ratio = symbolic.tensor([weights.entries[i, j]])
            exact = symbolic.tensor([sympy.exp(scores[i, j]) / total])
            assert symbolic.equal(ratio, exact), f"weight {i}, {j} is {weights.entries[i, j]}"
            assert exact.entries[0].is_positive, f"weight {i}, {j} is not known to be positive"


@refutation(
    SDPA,
    claim=ATT_01.part("in floating point"),
    formula="α_j > 0 whatever the scores",
    inputs=attention_inputs(SDPA, "none", 2, regimes=("huge", "large")),
    pinned={
        "query": torch.ones(1, 1).double(),
        "key": torch.tensor([[0.0], [-746.0]]).double(),
        "value": torch.tensor([[0.0], [1.0]]).double(),
        "mask": None,
    },
)
def every_key_gets_some_weight_whatever_its_score(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """A score far enough below the best underflows: its weight is exactly zero."""
    _, weights = attention(query, key, value, mask)
    above(weights, torch.zeros_like(weights), "the weights")


# How far below the best score a weight is still positive, and how far it is zero, in each format.
VANISHING = {
    torch.float64: (745.0, 745.2),
    torch.float32: (103.9, 104.0),
    torch.bfloat16: (92.5, 93.0),
    torch.float16: (17.25, 17.375),
}


@proof(
    SDPA,
    method="exhaustive",
    formula="half of the smallest number is e^−745.1, e^−104.0, e^−92.9 and e^−17.3",
    claim=ATT_01.part("in floating point"),
)
def a_weight_vanishes_where_half_the_smallest_number_does(attention: Callable[..., Any]) -> None:
    """In each of the four formats, two gaps on either side of where a weight becomes zero.

    Where twenty keys share the best score each weight is divided by twenty, and vanishes sooner.
    """
    for dtype, (positive, zero) in VANISHING.items():
        for best, shift in ((1, 0.0), (20, math.log(20))):
            for gap, seen in ((positive - shift, True), (zero - shift + (best > 1) / 4, False)):
                key = torch.cat([torch.zeros(best, 1), torch.full((1, 1), -gap)]).to(dtype)
                query, value = torch.ones(1, 1).to(dtype), torch.zeros(best + 1, 1).to(dtype)
                weight = float(attention(query, key, value)[1][0, -1])
                assert (weight > 0) == seen, f"at a gap of {gap} among {best + 1} keys in {dtype}"


def _symbols() -> tuple[Any, Any, Any]:
    return (
        symbolic.symbols("q", 2, 2),
        symbolic.symbols("k", 3, 2),
        symbolic.symbols("v", 3, 2),
    )


def _symbolic_scores() -> Any:
    query, key, _ = _symbols()
    return query.entries @ key.entries.T / sympy.sqrt(2)


@proof(
    SDPA,
    method="symbolic",
    formula="Σ_j α_ij = 1,  α_ij / α_ik = exp(s_ij − s_ik),  output = Σ_j α_ij v_j",
    claim=ATT_02,
)
def symbols_give_a_distribution_with_score_differences_as_log_odds(
    attention: Callable[..., Any],
) -> None:
    """Run on symbols, rows sum to one, odds follow scores and the output is the mean of values."""
    query, key, value = _symbols()
    output, weights = attention(query, key, value)
    rows = weights.entries.sum(axis=-1)
    ones = symbolic.tensor([1, 1])
    assert symbolic.equal(symbolic.tensor(list(rows)), ones), "a row does not sum to one"
    scores = _symbolic_scores()
    odds = [weights.entries[i, j] / weights.entries[i, 0] for i in range(2) for j in (1, 2)]
    exact = [sympy.exp(scores[i, j] - scores[i, 0]) for i in range(2) for j in (1, 2)]
    assert symbolic.equal(symbolic.tensor(odds), symbolic.tensor(exact)), "odds are not e^(s−s′)"
    mean = symbolic.tensor((weights.entries @ value.entries).tolist())
    assert symbolic.equal(output, mean), "the output is not the weighted mean of the values"


# --- What the output is -------------------------------------------------------------------------


@law(*PLAIN, inputs=attention_inputs, formula="output_i = Σ_j α_ij v_j", claim=ATT_01.part("sum"))
def the_output_is_the_weighted_sum_of_the_values(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """Every value enters the output with its weight, the last one as well as the first."""
    output, weights = attention(query, key, value, mask)
    arguments = {"query": query, "key": key, "value": value, "mask": mask}
    expected = (weights.double() @ value.double()).to(output.dtype)
    close(output, expected, 2 * attention_bounds(attention, arguments).output, "the output")
    sometimes_differs(output, torch.zeros_like(output), "the output is not zero")


@law(
    *PLAIN,
    inputs=attention_inputs,
    formula="min_j u·v_j ≤ u·output_i ≤ max_j u·v_j over allowed keys;  ‖output_i‖ ≤ max_j ‖v_j‖",
    claim=ATT_02,
)
def the_output_lies_among_the_values(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """In every direction a mean lies between the least and the largest of what it is a mean of.

    Directions are the coordinates and the differences of two of them; nor is it longer than all.
    """
    output, weights = attention(query, key, value, mask)
    arguments = {"query": query, "key": key, "value": value, "mask": mask}
    bound = attention_bounds(attention, arguments).output.expand_as(output)
    allowed = allowed_keys(attention, mask, weights)[..., None]  # (..., L, S, 1)

    def directions(x: Tensor) -> Tensor:
        return torch.cat([x, x - x.roll(1, -1)], -1).double()

    along, found = directions(value), directions(output)
    spread = along[..., None, :, :].expand(*weights.shape, along.shape[-1])
    upper = spread.masked_fill(~allowed, -torch.inf).amax(-2)
    lower = spread.masked_fill(~allowed, torch.inf).amin(-2)
    rounding = 2 * unit_roundoff(value.dtype) * float(value.abs().max())
    limit = torch.cat([bound, bound + bound.roll(1, -1) + rounding], -1)
    at_most(found, upper, limit, "the output")
    at_least(found, lower, limit, "the output")
    longest = value.double().norm(dim=-1)[..., None, :].expand_as(weights)
    longest = longest.masked_fill(~allowed[..., 0], 0.0).amax(-1)
    length = bound.norm(dim=-1) + gamma(value.shape[-1] + 4, unit_roundoff(torch.float64)) * longest
    at_most(output.double().norm(dim=-1), longest, length, "the length of the output")
    sometimes(bool((upper > lower).any()), "the values differ")


@law(
    *PLAIN,
    inputs=attention_inputs,
    formula="f(q, k, 10⁴ v + 3) = 10⁴ f(q, k, v) + 3, with the same weights",
)
def the_output_is_affine_in_the_values(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """Values are averaged and nothing else: stretching and shifting them does so to the output."""
    output, weights = attention(query, key, value, mask)
    other = 1e4 * value + 3
    moved, same = attention(query, key, other, mask)
    arguments = {"query": query, "key": key, "value": other, "mask": mask}
    bounds = attention_bounds(attention, arguments)
    close(same, weights, 2 * bounds.weights, "the weights for other values")
    shift = gamma(4, precision(value.dtype)) * (1e4 * value.abs().amax() + 3)
    close(moved, 1e4 * output + 3, 3 * bounds.output + 2 * shift, "the output for moved values")


@law(
    *CROSS,
    inputs=attention_inputs,
    formula="output(v + w) − output(v) = output(w) − output(0), with the same weights",
)
def values_are_mixed_and_never_scored(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """Other values change the output linearly, and the weights not at all."""
    rolled = value.roll(1, -1) + 1
    output, weights = attention(query, key, value, mask)
    second, same = attention(query, key, rolled, mask)
    both, _ = attention(query, key, value + rolled, mask)
    nothing, _ = attention(query, key, torch.zeros_like(value), mask)
    arguments = {"query": query, "key": key, "value": value + rolled, "mask": mask}
    bounds = attention_bounds(attention, {**arguments, "value": value.abs() + rolled.abs()})
    close(same, weights, 2 * bounds.weights, "the weights for other values")
    total = both.abs() + output.abs() + second.abs() + nothing.abs()
    rounding = gamma(4, unit_roundoff(value.dtype)) * total.double()
    close(both - output, second - nothing, 4 * bounds.output + rounding, "the change of the output")
    sometimes_differs(second, output, "other values change the output", 4 * bounds.output)


# --- Keys ---------------------------------------------------------------------------------------


@law(
    *CROSS,
    inputs=lambda component: attention_inputs(component, "any", 3),
    formula="f(q, P k, P v) = f(q, k, v) for every permutation P",
)
def the_order_of_the_keys_makes_no_difference(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """Keys are a set: moving them about with their values moves weights, and no output."""
    arguments = {"query": query, "key": key, "value": value, "mask": mask}
    output, weights = attention(**arguments)
    moved, moved_weights = attention(**roll_keys(arguments))
    bounds = attention_bounds(attention, arguments)
    close(moved, output, 2 * bounds.output, "the output for rolled keys and values")
    limit = bounds.weights.expand_as(weights).roll(1, -1)
    close(moved_weights, weights.roll(1, -1), 2 * limit, "the weights for rolled keys")
    alone, _ = attention(**{**arguments, "value": value.roll(1, -2)})
    sometimes_differs(
        alone, output, "rolling the values alone changes the output", 2 * bounds.output
    )


@law(
    *EVERY,
    inputs=lambda component: attention_inputs(component, "any", 3),
    formula="k_1 = … = k_n  ⇒  α_ij = 1/n for every query",
    against=ATT_04,
)
def equal_keys_share_the_weight_equally(attention: Subject, arguments: dict[str, Any]) -> None:
    """Where keys cannot be told apart, attention cannot choose, whatever the query."""
    name = "key" if "key" in arguments else "x"
    keys = arguments[name]
    arguments = {**arguments, name: keys[..., :1, :].expand_as(keys).clone()}
    _, weights = attention(**arguments)
    allowed = allowed_keys(attention, arguments["mask"], weights).to(weights.dtype)
    bounds = attention_bounds(attention, arguments)
    close(weights, allowed / allowed.sum(-1, keepdim=True), 2 * bounds.weights, "the weights")
    _, unequal = attention(**{**arguments, name: keys})
    bounds = attention_bounds(attention, {**arguments, name: keys})
    sometimes_differs(unequal, weights, "unequal keys change the weights", 2 * bounds.weights)


@refutation(
    SDPA,
    claim=ATT_04,
    formula="min_j α_j = 0: what is not needed gets nothing",
    inputs=attention_inputs(SDPA, "none", 2),
    pinned={
        "query": torch.zeros(1, 1).double(),
        "key": torch.zeros(2, 1).double(),
        "value": torch.tensor([[0.0], [1.0]]).double(),
        "mask": None,
    },
)
def what_is_not_needed_gets_no_weight(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """The least needed key would get weight zero; softmax gives it some."""
    _, weights = attention(query, key, value, mask)
    least = weights.amin(-1)
    identical(least, torch.zeros_like(least), "the smallest weight of each row")


@law(
    *CROSS,
    inputs=attention_inputs,
    formula="f(q, [k; k], [v; v]) = f(q, k, v), each copy with half the weight",
)
def duplicating_the_memory_changes_nothing(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """Attention takes a mean and not a sum: having everything twice has no effect."""
    arguments = {"query": query, "key": key, "value": value, "mask": mask}
    output, weights = attention(**arguments)
    twice = {
        "query": query,
        "key": torch.cat([key, key], -2),
        "value": torch.cat([value, value], -2),
        "mask": None
        if mask is None
        else torch.cat([mask.expand(*mask.shape[:-1], key.shape[-2])] * 2, -1),
    }
    doubled, halves = attention(**twice)
    bounds, wider = attention_bounds(attention, arguments), attention_bounds(attention, twice)
    close(doubled, output, bounds.output + wider.output, "the output over doubled keys")
    first, second = halves.chunk(2, -1)
    limit = wider.weights.expand_as(halves).chunk(2, -1)[0]
    close(first, second, 2 * limit, "the weights of the two copies")
    rounding = 2 * limit + bounds.weights + 2 * unit_roundoff(weights.dtype)
    close(first + second, weights, rounding, "the weights of the copies together")
    sometimes_differs(
        weights,
        even_weights(attention, mask, weights),
        "some keys weigh more than others",
        rounding,
    )


@law(
    *CROSS,
    inputs=lambda component: attention_inputs(component, "none", 3),
    formula="with key j twice: α′_j = α_j / (1 + α_j) for each copy, as if s_j had grown by ln 2",
)
def a_second_copy_of_a_key_counts_as_ln_two(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """A key that is there twice gets what one key with a score higher by ln 2 would get."""
    arguments = {"query": query, "key": key, "value": value, "mask": mask}
    _, weights = attention(**arguments)
    more = {
        **arguments,
        "key": torch.cat([key, key[..., :1, :]], -2),
        "value": torch.cat([value, value[..., :1, :]], -2),
    }
    _, found = attention(**more)
    total = 1 + weights[..., :1]
    expected = torch.cat([weights, weights[..., :1]], -1) / total
    bounds, wider = attention_bounds(attention, arguments), attention_bounds(attention, more)
    old = bounds.weights.expand_as(weights)
    error = torch.cat([old, old[..., :1]], -1) + old[..., :1] + 4 * unit_roundoff(weights.dtype)
    close(found, expected, wider.weights + 2 * error, "the weights with the first key twice")
    sometimes_differs(
        weights,
        even_weights(attention, mask, weights),
        "some keys weigh more than others",
        2 * old,
    )


@law(
    SDPA,
    "MultiplicativeAttention",
    "MultiHeadAttention",
    inputs=lambda component: attention_inputs(component, "any", 3),
    formula="f(q, k + 1 cᵀ, v) = f(q, k, v)",
)
def adding_one_vector_to_every_key_changes_nothing(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """It adds the same to every score of a query; so a bias on keys can never learn anything."""
    arguments = {"query": query, "key": key, "value": value, "mask": mask}
    output, weights = attention(**arguments)
    shift = torch.arange(1, key.shape[-1] + 1).to(key) / key.shape[-1]
    shifted = {**arguments, "key": key + shift}
    moved, moved_weights = attention(**shifted)
    # Rounding the shifted keys moves scores by no more than computing them does.
    bounds, wider = attention_bounds(attention, arguments), attention_bounds(attention, shifted)
    close(moved, output, bounds.output + 2 * wider.output, "the output for shifted keys")
    close(moved_weights, weights, bounds.weights + 2 * wider.weights, "the weights")
    one = torch.zeros_like(key)
    one[..., 0, :] = 1.0
    _, other = attention(**{**arguments, "key": key + one})
    sometimes_differs(other, weights, "moving one key alone changes the weights", 4 * wider.weights)


@law(
    SDPA,
    inputs=attention_inputs(SDPA),
    formula="f(q A, k A⁻ᵀ, v) = f(q, k, v) for every invertible A",
)
def queries_and_keys_may_trade_a_matrix(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """Only the product of queries and keys counts, not the basis in which they are written.

    The matrix stretches, shears and permutes: it adds each even coordinate of a query to the odd
    one after it, and takes each odd coordinate of a key from the even one before it.
    """
    powers = 2.0 ** torch.arange(-1, query.shape[-1] - 1).clamp_max(6).to(query)
    arguments = {"query": query, "key": key, "value": value, "mask": mask}
    output, weights = attention(**arguments)
    place = torch.arange(query.shape[-1])
    paired = place < query.shape[-1] // 2 * 2
    sheared = torch.where(paired & (place % 2 == 1), query + query.roll(1, -1), query)
    opposed = torch.where(paired & (place % 2 == 0), key - key.roll(-1, -1), key)
    traded = {**arguments, "query": (sheared * powers).flip(-1), "key": (opposed / powers).flip(-1)}
    same, same_weights = attention(**traded)
    # Rounding the sheared entries moves scores by no more than computing them does.
    bounds, wider = attention_bounds(attention, arguments), attention_bounds(attention, traded)
    close(same_weights, weights, bounds.weights + 2 * wider.weights, "the weights in another basis")
    close(same, output, bounds.output + 2 * wider.output, "the output in another basis")
    stretched = {**arguments, "query": query * powers}
    _, other = attention(**stretched)
    wider = attention_bounds(attention, stretched)
    sometimes_differs(
        other,
        weights,
        "changing the basis of the queries alone changes the weights",
        bounds.weights + wider.weights,
    )


# --- Queries ------------------------------------------------------------------------------------


@law(
    *CROSS,
    inputs=lambda component: attention_inputs(component, "any", 3),
    formula="f([q_1; …; q_L], k, v)_i = f(q_i, k, v)",
)
def each_query_is_answered_by_itself(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """Queries may come in any chunks: none of them changes what another gets."""
    arguments = {"query": query, "key": key, "value": value, "mask": mask}
    output, weights = attention(**arguments)
    bounds = attention_bounds(attention, arguments)
    for which, row in (("first", slice(0, 1)), ("last", slice(-1, None))):
        own = None if mask is None else mask if mask.shape[-2] == 1 else mask[..., row, :]
        one, one_weights = attention(query[..., row, :], key, value, own)
        limit = 2 * bounds.output.expand_as(output)[..., row, :]
        close(one, output[..., row, :], limit, f"the output of the {which} query alone")
        limit = 2 * bounds.weights.expand_as(weights)[..., row, :]
        close(one_weights, weights[..., row, :], limit, f"the weights of the {which} query alone")
    sometimes_differs(
        output[..., -1:, :],
        output[..., :1, :],
        "two queries get two outputs",
        2 * bounds.output.expand_as(output)[..., :1, :],
    )


@law(
    *CROSS,
    inputs=lambda component: attention_inputs(component, "any", 3),
    formula="c(q) ≠ c(q′) in general, and c(q) = c(q′) where all keys are equal",
    claim=ATT_03,
)
def the_context_follows_the_query(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """Another query takes another mean, unless there is nothing to choose between."""
    other = query.roll(1, -1) - 1
    arguments = {"query": query, "key": key, "value": value, "mask": mask}
    output, _ = attention(**arguments)
    moved, _ = attention(**{**arguments, "query": other})
    bounds = attention_bounds(attention, {**arguments, "query": query.abs() + other.abs()})
    sometimes_differs(moved, output, "another query gets another context", 2 * bounds.output)
    equal = {**arguments, "key": key[..., :1, :].expand_as(key).clone()}
    first, _ = attention(**equal)
    second, _ = attention(**{**equal, "query": other})
    bounds = attention_bounds(attention, equal)
    wider = attention_bounds(attention, {**equal, "query": other})
    close(second, first, bounds.output + wider.output, "the context over equal keys")


@refutation(
    SDPA,
    claim=ATT_03,
    formula="c(q) ≠ c(q′) whatever the keys",
    inputs=attention_inputs(SDPA, "none").map(
        lambda drawn: {**drawn, "key": drawn["key"][..., :1, :].expand_as(drawn["key"]).clone()}
    ),
    pinned={
        "query": torch.zeros(1, 1).double(),
        "key": torch.ones(2, 1).double(),
        "value": torch.tensor([[0.0], [1.0]]).double(),
        "mask": None,
    },
)
def another_query_always_gets_another_context(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """Over equal keys the context is one fixed vector again, for every query."""
    output, _ = attention(query, key, value, mask)
    moved, _ = attention(query + 1, key, value, mask)
    change = (moved - output).abs().amax()
    rounding = (
        2
        * attention_bounds(
            attention, {"query": query + 1, "key": key, "value": value, "mask": mask}
        ).output.amax()
    )
    above(change.double(), rounding, "the change of the context")


@refutation(
    SDPA,
    claim=ATT_08.part("spread alone"),
    formula="∂L/∂v_j = g/n for every j, and yet c(q) ≠ c(q′)",
    inputs=attention_inputs(SDPA, "none", 2).map(
        lambda drawn: {**drawn, "key": drawn["key"][..., :1, :].expand_as(drawn["key"]).clone()}
    ),
    pinned={
        "query": torch.zeros(1, 1).double(),
        "key": torch.ones(2, 1).double(),
        "value": torch.tensor([[0.0], [1.0]]).double(),
        "mask": None,
    },
)
def the_widest_spread_still_retrieves(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """Over equal keys all values have the same gradient, and no query gets what it asked for.

    The gap between two values' gradients is taken off the change of the context, so that only a
    context that follows the query under an even spread is left above the rounding.
    """
    variable = leaf(value)
    output, _ = attention(query, key, variable, mask)
    (found,) = gradients(output, _waves(output), variable)
    uneven = (found - found[..., :1, :]).abs().amax()
    other = {"query": query + 1, "key": key, "value": value, "mask": mask}
    moved, _ = attention(**other)
    change = (moved - output.detach()).abs().amax()
    rounding = 2 * attention_bounds(attention, other).output.amax()
    above((change - uneven).double(), rounding, "the change of the context")


# --- Gradients ----------------------------------------------------------------------------------


def _waves(like: Tensor) -> Tensor:
    """Give a cotangent without symmetries, in the shape of a result."""
    return torch.cos(torch.arange(1, like.numel() + 1).to(like)).view(like.shape)


@law(
    SDPA,
    inputs=attention_inputs(SDPA),
    formula="∂α_j/∂q = α_j (k_j − Σ_l α_l k_l) / √d_k",
    claim=ATT_06,
)
def the_weights_move_with_the_query(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """A step of the query raises the weight of keys that lie its way more than the mean does."""
    variable = leaf(query)
    arguments = {"query": query, "key": key, "value": value, "mask": mask}
    _, weights = attention(**{**arguments, "query": variable})
    g = _waves(weights)
    (found,) = gradients(weights, g, variable)
    scale = 1 / math.sqrt(query.shape[-1])
    alpha, g, keys = (
        torch.softmax(dot_product_scores(query, key, mask), -1),
        g.double(),
        key.double(),
    )
    moved = alpha * (g - (alpha * g).sum(-1, keepdim=True))
    bound = _score_path_bound(attention, arguments, alpha, g.abs()) @ keys.abs() * scale
    bound = bound + key.shape[-2] * smallest(key.dtype)  # products may underflow
    close(found, (moved @ keys * scale).to(found.dtype), bound, "the gradient by the query")
    sometimes_differs(found, torch.zeros_like(found), "the weights move")


def _score_path_bound(
    attention: Subject, arguments: dict[str, Any], alpha: Tensor, g: Tensor
) -> Tensor:
    """Bound the error of α ∘ (g − Σ α g), through which every gradient by a score passes.

    ``g`` holds the sizes of the weights' cotangents. Each weight that enters is off by its relative
    error, and sums over keys and widths round once a term.
    """
    key = arguments["key"]
    errors = attention_bounds(attention, arguments)
    absolute = errors.weights
    terms = key.shape[-2] + 2 * key.shape[-1] + 2 * arguments["value"].shape[-1] + 12
    u = max(precision(key.dtype), unit_roundoff(key.dtype))
    mean = ((alpha + absolute) * g).sum(-1, keepdim=True)
    inexact = absolute * (g + mean) + alpha * (absolute * g).sum(-1, keepdim=True)
    rounded = gamma(terms, u) * (alpha + absolute) * (g + mean)
    return 2 * (inexact + rounded) + smallest(key.dtype)


@proof(
    SDPA,
    method="symbolic",
    formula="∂α/∂q = (diag α − α αᵀ) K / √d_k, and it is zero where all keys are equal",
    claim=ATT_06,
)
def symbols_give_the_softmax_jacobian_times_the_keys(attention: Callable[..., Any]) -> None:
    """Differentiate the weights that symbols give, and compare with the formula.

    Where keys are equal the derivative is zero. It is so nowhere else: weights are positive, and
    α_j (k_j − Σ_l α_l k_l) is zero for every j only where every key is the mean of all.
    """
    query, key, value = _symbols()
    _, weights = attention(query, key, value)
    alpha = weights.entries[0]
    keys = key.entries
    for c in range(2):
        moved = symbolic.derivative(weights, query.entries[0, c]).entries[0]
        mean = sum(alpha[j] * keys[j, c] for j in range(3))
        exact = [alpha[j] * (keys[j, c] - mean) / sympy.sqrt(2) for j in range(3)]
        assert symbolic.equal(symbolic.tensor(list(moved)), symbolic.tensor(exact)), (
            f"the weights' derivative by query entry {c} is not the formula's"
        )
    first = symbolic.tensor([[keys[0, 0], keys[0, 1]]] * 3)
    _, equal = attention(query, first, value)
    still = symbolic.derivative(equal, query.entries[0, 0])
    zeros = symbolic.tensor([[0] * 3] * 2)
    assert symbolic.equal(still, zeros), "the weights move although all keys are equal"


@law(
    *PLAIN,
    inputs=attention_inputs,
    formula="∂L/∂v_j = Σ_i α_ij g_i, so Σ_j ∂L/∂v_j = Σ_i g_i",
    claim=ATT_07,
)
def values_share_the_gradient_by_their_weights(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """The gradient is dealt out among the values like a cake: shares, and no more cake."""
    variable = leaf(value)
    arguments = {"query": query, "key": key, "value": value, "mask": mask}
    output, weights = attention(**{**arguments, "value": variable})
    g = _waves(output)
    (found,) = gradients(output, g, variable)
    alpha = weights.detach().double()
    sizes = g.double().abs()
    error = 2 * attention_bounds(attention, arguments).weights.expand_as(alpha)
    u = max(precision(value.dtype), unit_roundoff(value.dtype))
    rounding = gamma(g.shape[-2] + 3, u) * (alpha.mT @ sizes)
    limit = error.mT @ sizes + rounding + smallest(value.dtype)
    close(found, (alpha.mT @ g.double()).to(found.dtype), limit, "the gradient by the values")
    total = limit.sum(-2) + gamma(value.shape[-2] + g.shape[-2], u) * sizes.sum(-2)
    close(found.sum(-2), g.sum(-2), total, "the values' gradients together")


@law(
    SDPA,
    inputs=attention_inputs(SDPA),
    formula="∂L/∂s_ij = α_ij g_i · (v_j − output_i);  ∂L/∂q = ∂L/∂s K/√d_k, Σ_j ∂L/∂k_j = 0",
    claim=ATT_07,
)
def the_score_path_compares_a_value_with_the_mean(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """Queries and keys learn from how a value differs from the mean that came out."""
    ask, offer = leaf(query), leaf(key)
    arguments = {"query": query, "key": key, "value": value, "mask": mask}
    output, _ = attention(ask, offer, value, mask)
    g = _waves(output)
    by_query, by_key = gradients(output, g, ask, offer)
    scale = 1 / math.sqrt(query.shape[-1])
    alpha = torch.softmax(dot_product_scores(query, key, mask), -1)
    gained = g.double() @ value.double().mT
    by_score = alpha * (gained - (alpha * gained).sum(-1, keepdim=True))
    sizes = g.double().abs() @ value.double().abs().mT
    error = _score_path_bound(attention, arguments, alpha, sizes)
    queries, keys = query.double(), key.double()
    tiny = smallest(key.dtype)  # what a product loses that underflows
    limit = error @ keys.abs() * scale + key.shape[-2] * tiny
    close(
        by_query, (by_score @ keys * scale).to(by_query.dtype), limit, "the gradient by the query"
    )
    limit = error.mT @ queries.abs() * scale + query.shape[-2] * tiny
    close(
        by_key, (by_score.mT @ queries * scale).to(by_key.dtype), limit, "the gradient by the key"
    )
    total = by_key.sum(-2)
    close(total, torch.zeros_like(total), 2 * limit.sum(-2), "the keys' gradients together")
    sometimes_differs(by_query, torch.zeros_like(by_query), "the query learns")


@proof(
    SDPA,
    method="symbolic",
    formula="∂o/∂v_j = α_j, Σ_j ∂o/∂v_j = 1;  ∂o/∂q = Σ_j α_j (v_j − o) k_j / √d_k",
    claim=ATT_07,
)
def symbols_partition_the_gradient_over_the_values(attention: Callable[..., Any]) -> None:
    """Differentiate the output that symbols give by each value: the shares add up to one.

    By an entry of the query it is what the scores add: each moves the output by its weight, times
    how its value differs from the mean.
    """
    query, key, value = _symbols()
    output, weights = attention(query, key, value)
    shares = [symbolic.derivative(output, value.entries[j, 0]).entries[0, 0] for j in range(3)]
    exact = symbolic.tensor([weights.entries[0, j] for j in range(3)])
    assert symbolic.equal(symbolic.tensor(shares), exact), "a share is not the weight"
    assert symbolic.equal(symbolic.tensor([sum(shares)]), symbolic.tensor([1])), (
        "the shares do not add up to one"
    )
    mean, alpha = output.entries[0, 0], weights.entries[0]
    for c in range(2):
        moved = symbolic.derivative(output, query.entries[0, c]).entries[0, 0]
        terms = [alpha[j] * (value.entries[j, 0] - mean) * key.entries[j, c] for j in range(3)]
        by_scores = symbolic.tensor([sum(terms) / sympy.sqrt(2)])
        assert symbolic.equal(symbolic.tensor([moved]), by_scores), (
            f"the scores do not add α (v − output) k_{c} / √d"
        )


# --- Paths --------------------------------------------------------------------------------------


def _paths(steps: list[Tensor], source: int, target: int) -> int:
    """Count the paths through one layer after another, where a step may go wherever it is True."""
    counts = torch.zeros(steps[0].shape[-1], dtype=torch.int64)
    counts[source] = 1
    for step in steps:
        counts = step.long() @ counts
    return int(counts[target])


def _step(attention: Callable[..., Any], length: int, *, causal: bool = True) -> Tensor:
    """Say which values reach which outputs of attention, from its own Jacobian."""
    generator = torch.Generator().manual_seed(length)
    query, key = torch.randn(2, length, 2, generator=generator, dtype=torch.float64)
    value = torch.zeros(length, 1, dtype=torch.float64, requires_grad=True)
    mask = torch.ones(length, length, dtype=torch.bool).tril() if causal else None
    output, _ = attention(query, key, value, mask)
    rows = [
        torch.autograd.grad(output[i, 0], value, retain_graph=True)[0][:, 0] for i in range(length)
    ]
    return torch.stack(rows) != 0


@proof(
    SDPA,
    method="exhaustive",
    formula="paths from j to i over L causal layers: C(i − j + L − 1, L − 1), for n ≤ 7, L ≤ 4",
    claim=ATT_09.part("count"),
)
def causal_layers_have_binomially_many_paths(attention: Callable[..., Any]) -> None:
    """Count the ways from one token to a later one, layer by layer, in the component's Jacobian.

    That the count is the binomial for every size follows by induction on layers and tokens: the
    paths to i through L + 1 layers are those to i − 1, and those to i through L layers, and that is
    Pascal's rule C(n+k, k) = C(n+k−1, k) + C(n+k−1, k−1), which is checked in symbols.
    """
    for length in range(1, 8):
        step = _step(attention, length)
        for layers in range(1, 5):
            for j in range(length):
                for i in range(length):
                    found = _paths([step] * layers, j, i)
                    exact = math.comb(i - j + layers - 1, layers - 1) if i >= j else 0
                    assert found == exact, (
                        f"{found} paths from {j} to {i} over {layers} layers, not {exact}"
                    )
    n, k = sympy.symbols("n k", integer=True, positive=True)
    pascal = sympy.binomial(n + k, k) - sympy.binomial(n + k - 1, k)
    assert sympy.combsimp(pascal - sympy.binomial(n + k - 1, k - 1)) == 0, "Pascal's rule"


def _recurrent_paths(length: int, layers: int) -> Tensor:
    """Give 2 to the length of each path, summed over all paths, in torch's own stacked RNN.

    Every weight is two and every unit in its linear part, so that the derivative of the top layer's
    state i by the input j multiplies by two along every edge of a path, and adds over paths.
    """
    rnn = nn.RNN(1, 1, layers, nonlinearity="relu", bias=False, batch_first=True).double()
    with torch.no_grad():
        for weight in rnn.parameters():
            weight.fill_(2.0)
    x = torch.ones(1, length, 1, dtype=torch.float64, requires_grad=True)
    states, _ = rnn(x)
    rows = [torch.autograd.grad(states[0, i, 0], x, retain_graph=True)[0] for i in range(length)]
    return torch.stack(rows)[:, 0, :, 0]


@proof(
    SDPA,
    method="exhaustive",
    formula="paths in an L-layer RNN = paths in L causal layers, n ≤ 7, L ≤ 4, but i − j + L long",
    against=ATT_09.part("unlike RNNs"),
)
def a_stacked_rnn_has_exactly_as_many_paths(attention: Callable[..., Any]) -> None:
    """Count both, from every token to every other: the numbers agree, only the lengths differ.

    Those of an RNN are read off its Jacobian, too. It has as many at every size: state i of layer
    L + 1 is reached from its own state i − 1 and from state i of layer L, which is Pascal's rule.
    """
    for length in range(1, 8):
        step = _step(attention, length)
        for layers in range(1, 5):
            recurrent = _recurrent_paths(length, layers)
            for j in range(length):
                for i in range(j, length):
                    found = _paths([step] * layers, j, i) * 2 ** (i - j + layers)
                    assert found == int(recurrent[i, j]), (
                        f"{found} from {j} to {i} over {layers} layers, {recurrent[i, j]} in an RNN"
                    )


@proof(
    SDPA,
    method="exhaustive",
    formula="paths from j to i over L layers without a mask: n^(L − 1), for n ≤ 7, L ≤ 4",
    claim=ATT_09.part("count"),
)
def unmasked_layers_have_a_path_through_every_token(attention: Callable[..., Any]) -> None:
    """Without a mask each layer in between may pass through any token, which multiplies by n."""
    for length in range(1, 8):
        step = _step(attention, length, causal=False)
        for layers in range(1, 5):
            for j in range(length):
                for i in range(length):
                    found = _paths([step] * layers, j, i)
                    exact = length ** (layers - 1)
                    assert found == exact, f"{found} paths over {layers} layers, not {exact}"


# --- Definitions of the modules -----------------------------------------------------------------


def one_matrix(parameters: Mapping[str, Tensor]) -> str | None:
    """Say whether the only parameter is one matrix (d_query, d_key), or its transpose."""
    shapes = [tuple(p.shape) for p in parameters.values()]
    return None if shapes in ([(2, 3)], [(3, 2)]) else f"its parameters have shapes {shapes}"


@law(
    "MultiplicativeAttention",
    inputs=attention_inputs("MultiplicativeAttention"),
    formula="α = softmax(q W kᵀ), unscaled",
    applies=one_matrix,
)
def weights_are_the_softmax_of_query_times_matrix_times_key(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """The score is the query times the one matrix times the key, without a scale.

    It may be stored either way; where both widths are the same, another module tells which.
    """
    ((_, matrix),) = attention.parameters().items()
    shape = tuple(matrix.shape)
    if query.shape[-1] == key.shape[-1]:
        ((_, other),) = attention.construct(d_query=2, d_key=3).parameters().items()
        straight = tuple(other.shape) == (2, 3)
    else:
        straight = shape == (query.shape[-1], key.shape[-1])
    matrix = matrix if straight else matrix.mT
    arguments = {"query": query, "key": key, "value": value, "mask": mask}
    _, weights = attention(**arguments)
    scores = query.double() @ matrix.double() @ key.double().mT
    _compare_weights(attention, arguments, weights, scores)


def two_matrices_and_an_energy(parameters: Mapping[str, Tensor]) -> str | None:
    """Say whether the parameters are two matrices, an energy, and biases."""
    shapes = sorted(tuple(p.shape) for p in parameters.values())
    rest = list(shapes)
    for wanted in ((5, 2), (5, 3)):
        if wanted not in rest:
            return f"its parameters have shapes {shapes}"
        rest.remove(wanted)
    rows = {(5,), (1, 5)}
    found = bool(rows & set(rest)) and set(rest) <= rows | {(1,)}
    return None if found else f"its parameters have shapes {shapes}"


@law(
    "AdditiveAttention",
    inputs=attention_inputs("AdditiveAttention"),
    formula="α = softmax(energy · tanh(W_q q + W_k k))",
    applies=two_matrices_and_an_energy,
)
def weights_are_the_softmax_of_energy_times_tanh(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """The score is a weighted sum of tanh of the projected query plus the projected key.

    Parameters are found by their shapes, whatever their names, where no two agree. Biases of the
    projections add up inside the tanh; one on the energy changes no weight. A vector as long as the
    tanh, or a matrix of one such row, may be the energy or a bias: some reading has to be right.
    """
    assert attention.setup is not None
    d_query, d_key, d_hidden = attention.setup.arguments.values()
    assume(len({d_query, d_key, 1}) == 3 and d_hidden > 1)
    parameters = [p.double() for p in attention.parameters().values()]
    found = {tuple(p.shape): p for p in parameters}
    rows = [p.flatten() for p in parameters if tuple(p.shape) in {(1, d_hidden), (d_hidden,)}]
    arguments = {"query": query, "key": key, "value": value, "mask": mask}
    _, weights = attention(**arguments)
    asked = (query.double() @ found[d_hidden, d_query].mT)[:, :, None]
    offered = (key.double() @ found[d_hidden, d_key].mT)[:, None]
    readings = []
    for index, energy in enumerate(rows):
        biases = rows[:index] + rows[index + 1 :]
        readings.append(torch.tanh(sum(biases, asked + offered)) @ energy)

    def distance(scores: Tensor) -> float:
        return float((_masked_softmax(attention, scores, mask, weights) - weights).abs().max())

    _compare_weights(attention, arguments, weights, min(readings, key=distance))


@law(
    "AdditiveAttention",
    inputs=attention_inputs("AdditiveAttention", "none", 3),
    formula="|s_ij − s_ik| ≤ 2 Σ |energy| for any inputs, since |tanh| ≤ 1",
)
def large_inputs_saturate_the_scores(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """However large the inputs, tanh is at most one, and so scores stay close to each other."""
    assert attention.setup is not None
    reach = 2 * attention.setup.arguments["d_hidden"] * attention.largest_parameter()
    assume(reach < underflow_gap(query.dtype) / 2)
    arguments = {"query": 1000 * query, "key": 1000 * key, "value": value, "mask": mask}
    _, weights = attention(**arguments)
    logs = weights.double().log()
    spread = logs.amax(-1) - logs.amin(-1)
    error = 2 * log_weight_error(attention_bounds(attention, arguments).relative)
    at_most(
        spread,
        torch.tensor(reach, dtype=torch.float64),
        error,
        "the range of the log-weights of a row",
    )
    sometimes_differs(spread, torch.zeros_like(spread), "the weights of a row differ", error)


def _masked_softmax(
    attention: Subject, scores: Tensor, mask: Tensor | None, weights: Tensor
) -> Tensor:
    allowed = allowed_keys(attention, mask, weights)
    return torch.softmax(scores.masked_fill(~allowed, -torch.inf), -1).to(weights.dtype)


def _compare_weights(
    attention: Subject, arguments: dict[str, Any], weights: Tensor, scores: Tensor
) -> None:
    expected = _masked_softmax(attention, scores, arguments["mask"], weights)
    bounds = attention_bounds(attention, arguments)
    close(weights, expected, 2 * bounds.weights, "the weights")
    uniform = torch.full_like(weights, 1 / weights.shape[-1])
    sometimes_differs(weights, uniform, "the weights are not all equal")


@law(
    "AdditiveAttention",
    "MultiplicativeAttention",
    "SelfAttention",
    "MultiHeadAttention",
    inputs=attention_inputs,
    formula="f(x; θ) = reference(x; θ)",
    oracle=True,
)
def the_reference_with_the_same_parameters_agrees(
    attention: Subject, oracle: Subject, arguments: dict[str, Any]
) -> None:
    """With its parameters, which have the reference's names, the reference gives the same."""
    output, weights = attention(**arguments)
    expected, expected_weights = oracle(**arguments)
    bounds = attention_bounds(attention, arguments)
    close(weights, expected_weights, 2 * bounds.weights, "the weights")
    close(output, expected, 2 * bounds.output, "the output")
    sometimes_differs(output, torch.zeros_like(output), "the output is not zero")


def some_matrix(parameters: Mapping[str, Tensor]) -> str | None:
    """Say whether any parameter is a matrix."""
    return None if any(p.dim() >= 2 for p in parameters.values()) else "it stores no matrix"


def _floating(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


@law(
    "AdditiveAttention",
    "MultiplicativeAttention",
    "SelfAttention",
    "MultiHeadAttention",
    inputs=lambda component: attention_inputs(component, "any", 3),
    formula="f depends on W  ⇒  ∂f/∂W ≠ 0",
    applies=some_matrix,
    dtypes=("float64",),
)
def every_matrix_that_is_used_learns(attention: Subject, arguments: dict[str, Any]) -> None:
    """Each weight matrix changes the output and gets a gradient, at least sometimes.

    What has no more entries than the model is wide may be a bias, in whatever shape, and a bias on
    keys rightly changes nothing.
    """
    assert attention.setup is not None
    variables = {n: leaf(v) if _floating(v) else v for n, v in arguments.items()}
    output, weights = attention(**variables)
    leaves = [v for v in variables.values() if _floating(v)]
    scalar = weighted_sum(output, _waves(output), *leaves)
    scalar = scalar + weighted_sum(weights, _waves(weights), *leaves)
    found = attention.parameter_gradients(scalar)
    bounds = attention_bounds(attention, arguments)
    for name, matrix in attention.parameters().items():
        if matrix.dim() < 2:
            continue
        attention.set_parameters({name: matrix.roll(1, -1) + 1})
        moved, _ = attention(**arguments)
        rounding = bounds.output + attention_bounds(attention, arguments).output
        attention.set_parameters({name: matrix})
        if matrix.numel() > max(attention.setup.arguments.values()):
            sometimes_differs(moved, output, f"{name} changes the output", rounding)
        if bool(((moved - output).abs() > rounding).any()):
            slope = found.get(name, torch.zeros_like(matrix))
            sometimes_differs(slope, torch.zeros_like(matrix), f"{name} gets a gradient")


@law(
    "AdditiveAttention",
    "MultiplicativeAttention",
    "MultiHeadAttention",
    inputs=lambda component: attention_inputs(component, "none", 3),
    formula="with q = k = x:  s_01 − s_02 + s_12 − s_10 + s_20 − s_21 ≠ 0 in general",
    applies=some_matrix,
)
def queries_and_keys_are_told_apart(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """Each has weights of its own, so that what one token asks another need not be mutual."""
    assume(query.shape[-1] == key.shape[-1] > 1)
    arguments = {"query": key, "key": key, "value": value, "mask": mask}
    assume(4 * largest_score(attention, arguments) < underflow_gap(key.dtype))
    _, weights = attention(**arguments)
    around, error = around_three_tokens(weights, attention_bounds(attention, arguments).relative)
    sometimes_differs(around, torch.zeros_like(around), "asking is not mutual", error)


def around_three_tokens(weights: Tensor, relative: Tensor) -> tuple[Tensor, Tensor]:
    """Sum the scores around three tokens, one way less the other, and bound the error."""
    w = weights.double().log()
    one_way = w[..., 0, 1] + w[..., 1, 2] + w[..., 2, 0]
    other_way = w[..., 0, 2] + w[..., 1, 0] + w[..., 2, 1]
    return one_way - other_way, 6 * log_weight_error(relative)
