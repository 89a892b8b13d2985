"""Section 3 of the notes, Self-Attention: every token asks all tokens of its own sequence."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import combinations, product
from typing import Any

import sympy
import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

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
from attest.counting import Calls, depth
from attest.differentiation import gradients, leaf
from attest.laws import law, proof, refutation
from attest.strategies import attention_inputs, fill, seeds
from attest.subject import Setup, Subject
from attest.tolerances import gamma, log_weight_error, precision, underflow_gap, unit_roundoff
from properties.attention import ATT_04, around_three_tokens
from properties.bounds import (
    AttentionBounds,
    allowed_keys,
    attention_bounds,
    dot_product_scores,
    even_weights,
    largest_input,
    largest_score,
)
from properties.families import SDPA

SELF = "SelfAttention"

SA_01 = Claim(
    id="SA-01",
    section="3 Self-Attention",
    quote="모든 토큰이 서로를 바라보며",
    statement="Every token looks at every other, and each output depends on each input.",
    formal="∂y_i / ∂x_j ≠ 0 for all i, j",
    verdict=Verdict.CONDITIONAL,
    conditions=(
        "no mask, weights that do not underflow, and generic tokens and matrices",
        "positive weights are not enough: the paths through weight and value can cancel, as at "
        "d = 1, W = 1, x = (−1, 0.2785), where 1.2785 solves t / (1 + e^−t) = 1",
    ),
    references=("Vaswani et al. 2017, equation 1",),
)

SA_02 = Claim(
    id="SA-02",
    section="3 Self-Attention",
    quote="RNN처럼 순서대로 처리하지 않아도",
    statement="Nothing is processed one after another: the whole sequence is taken at once.",
    formal="the depth of the computation does not depend on n; an RNN's grows as n",
    verdict=Verdict.PROVED,
    references=("Vaswani et al. 2017, table 1",),
)

SA_03 = Claim(
    id="SA-03",
    section="3 Self-Attention",
    quote="Query, Key, Value 벡터로 변환되어",
    statement="Each token is turned into a query, a key and a value, by itself.",
    formal="q_i = W_Q x_i, k_i = W_K x_i, v_i = W_V x_i, so ∂q_i / ∂x_j = 0 for i ≠ j",
    verdict=Verdict.PROVED,
    references=("Phuong and Hutter 2022, algorithm 4",),
)

SA_04 = Claim(
    id="SA-04",
    section="3 Self-Attention",
    quote="다른 모든 토큰과의 유사도를 계산",
    statement="A token's similarity with all other tokens is computed.",
    formal="s_ij = x_i W_Qᵀ W_K x_jᵀ / √d_k is a similarity, over j ≠ i",
    verdict=Verdict.REFUTED,
    conditions=(
        "j = i takes part",
        "s_ij ≠ s_ji, since W_Q and W_K differ",
        "with W_Q = −W_K a token ranks itself lowest",
    ),
    references=("Vaswani et al. 2017, section 3.2.1",),
)

SA_05 = Claim(
    id="SA-05",
    section="3 Self-Attention",
    quote="중요한 정보는 크게 반영하고",
    statement="What matters more weighs more.",
    formal="s_ij > s_ik ⇔ α_ij > α_ik",
    verdict=Verdict.CONDITIONAL,
    conditions=(
        "of weights, not of contributions: the value under the largest weight may be zero",
        "of real numbers: scores that differ by less than rounding, or lie too far below the "
        "largest, get weights that are the same when rounded",
    ),
    references=("Jain and Wallace 2019", "Kobayashi et al. 2020"),
    parts=(
        ("weight", "The larger score gets the larger weight.", Verdict.PROVED),
        ("rounded", "It does so, too, when weights are rounded.", Verdict.CONDITIONAL),
        ("contribution", "The largest weight makes the largest contribution.", Verdict.REFUTED),
    ),
)

SA_06 = Claim(
    id="SA-06",
    section="3 Self-Attention",
    quote="Value 정보를 weighted sum으로 섞어",
    statement="A token's output mixes the values of its context, and so depends on it.",
    formal="x_i = x′_i in two contexts ⇒ y_i ≠ y′_i in general",
    verdict=Verdict.HOLDS,
    conditions=("there is another token, and the values differ",),
    references=("Phuong and Hutter 2022, algorithm 4",),
)

SA_07 = Claim(
    id="SA-07",
    section="3 Self-Attention",
    quote="long-range dependency를 자연스럽게 포착하고",
    statement="Dependencies over a long range are captured as naturally as those over a short one.",
    formal="path length 1 for every |i − j|; α_ij ≤ e^Δ / (e^Δ + n − 1)",
    verdict=Verdict.CONDITIONAL,
    conditions=(
        "distance is no obstacle, length is: with scores within Δ, one token of n gets a share of "
        "at most e^Δ / (e^Δ + n − 1)",
    ),
    references=("Hahn 2020",),
    parts=(
        ("path length", "One layer connects any two tokens.", Verdict.PROVED),
        ("dilution", "A token's weight does not depend on the length.", Verdict.REFUTED),
        (
            "influence",
            "One token's influence on another falls as one over the length.",
            Verdict.MEASURED,
        ),
    ),
)

SA_08 = Claim(
    id="SA-08",
    section="3 Self-Attention",
    quote="RNN 기반 모델보다 훨씬 빠르고",
    statement="It is much faster than a recurrent model.",
    formal="8 n d² + 4 n² d operations against 4 n d² (Elman), 12 n d² (GRU), 16 n d² (LSTM)",
    verdict=Verdict.CONDITIONAL,
    conditions=(
        "fewer operations than a GRU for n < d, and than an LSTM for n < 2 d",
        "never fewer than an Elman network",
    ),
    references=("Vaswani et al. 2017, section 4 and table 1, which leaves projections out",),
    parts=(
        (
            "operations against GRU and LSTM",
            "It needs fewer than a GRU iff n < d, and than an LSTM iff n < 2 d.",
            Verdict.PROVED,
        ),
        ("operations against Elman", "It needs fewer than an Elman network.", Verdict.REFUTED),
        ("wall time", "How long it takes beside an LSTM, on one machine.", Verdict.MEASURED),
    ),
)

SA_09 = Claim(
    id="SA-09",
    section="3 Self-Attention",
    quote="안정적인 특징 표현을 제공한다",
    statement="It gives stable features: a small change of a token changes little.",
    formal="‖∂y/∂x‖ is bounded",
    verdict=Verdict.REFUTED,
    conditions=("at d = 1, W = 1, x = (0, z) the derivative ∂y_1/∂x_1 is ½ + z²/4, without bound",),
    references=("Kim, Papamakarios and Mnih 2021, theorem 3.1",),
)

SA_10 = Claim(
    id="SA-10",
    section="3 Self-Attention",
    quote="주변 토큰의 정보에는 높은 가중치를 주도록",
    statement="By design, tokens nearby get higher weights.",
    formal="|i − j| < |i − k| ⇒ α_ij > α_ik",
    verdict=Verdict.REFUTED,
    conditions=("α(P X) = P α(X) Pᵀ: without positions, distance cannot matter",),
    references=(
        "Luong, Pham and Manning 2015, section 3.2, for locality by design",
        "Press, Smith and Lewis 2022, for the same",
    ),
)

SA_11 = Claim(
    id="SA-11",
    section="3 Self-Attention",
    quote="위 설명은 틀린 표현이 아니다",
    statement="Calling the result a mixture of the tokens around is not wrong.",
    formal="true where 'around' means the context, false where it means adjacent",
    verdict=Verdict.CONDITIONAL,
    conditions=("'around' is read as the context, which is the whole sequence",),
    parts=(
        ("context", "The output mixes the values of the whole context.", Verdict.HOLDS),
        ("adjacent", "Adjacent tokens get higher weights.", Verdict.REFUTED),
    ),
)

NAMES = ("query", "key", "value")


def _ones(n: int = 1, **others: float) -> dict[str, Tensor]:
    """Give the three matrices of width n: the identity, times a factor where one is given."""
    return {
        f"{name}.weight": torch.eye(n, dtype=torch.float64) * others.get(name, 1.0)
        for name in ("query", "key", "value")
    }


def _tokens(*rows: list[float]) -> Tensor:
    return torch.tensor([list(rows)], dtype=torch.float64)


# --- Definition ---------------------------------------------------------------------------------


def squares(parameters: Mapping[str, Tensor], width: int, count: int) -> str | None:
    """Say whether all matrices are square.

    Rows of a fused one may belong to queries, keys, values and heads in many orders.

    Args:
        parameters: the module's parameters.
        width: D.
        count: how many there are to be.

    Returns:
        None, or what else was found.
    """
    shapes = [tuple(p.shape) for p in parameters.values() if p.dim() >= 2]
    return None if shapes == [(width, width)] * count else f"its matrices have shapes {shapes}"


FACTORS = (1.0, 1.25, 1.5, 1.75)


def identity_projections(parameters: Mapping[str, Tensor], width: int) -> dict[str, Tensor]:
    """Give a multiple of the identity for each square matrix, another for each."""
    squares = [(name, value) for name, value in parameters.items() if value.dim() >= 2]
    return {
        name: factor * torch.eye(width, dtype=value.dtype)
        for factor, (name, value) in zip(FACTORS, squares, strict=False)
    }


def each_matrix_has_one_job(
    count: int,
    found: Tensor,
    scores: Tensor,
    error: Tensor,
    moved: Tensor,
    mixed: Tensor,
    limit: Tensor,
) -> tuple[Tensor, Tensor]:
    """Give what scores and output are to be: two of the matrices scale scores, the rest the output.

    Nobody says which two, so it is those that come nearest.
    """
    total = math.prod(FACTORS[:count])

    def off(factor: float) -> float:
        by_scores = ((found - factor * scores).abs() / error).max()
        by_output = ((moved - total / factor * mixed).abs() / limit).max()
        return float(torch.maximum(by_scores, by_output).nan_to_num(torch.inf))

    pairs = sorted(a * b for a, b in combinations(FACTORS[:count], 2))
    best = min(pairs, key=off)
    return best * scores, total / best * mixed


def weights_in_all(least: int, most: int) -> Callable[[Mapping[str, Tensor]], str | None]:
    """Say whether as many weights are stored as there are to be; biases may be among them."""

    def applies(parameters: Mapping[str, Tensor]) -> str | None:
        matrices = [p for p in parameters.values() if p.dim() >= 2]
        if any(p.shape[-1] == 1 and p.numel() > 1 for p in matrices):
            return "it stores a number for each row, which may be the length of a weight vector"
        count = sum(p.numel() for p in matrices)
        return None if least <= count <= most else f"it stores {count} weights"

    return applies


def second_difference(scores: Tensor) -> Tensor:
    """Subtract from each entry that of the first key, then that of the first query.

    What is added to all keys of a query, and what biases add to all queries, drops out.
    """
    against_key = scores - scores[..., :1]
    return against_key - against_key[..., :1, :]


@law(
    SELF,
    inputs=attention_inputs(SELF, "none", 3),
    formula="with W_Q = a I, W_K = b I, W_V = c I:  α = softmax(a b x xᵀ / √D),  y = c α x",
    applies=lambda parameters: squares(parameters, 5, 3),
)
def identity_projections_leave_plain_attention(
    attention: Subject, x: Tensor, mask: Tensor | None
) -> None:
    """With the three matrices set to the identity, tokens attend to each other as they are.

    Both sides are compared by differences between queries, from which any bias drops out.
    """
    width = x.shape[-1]
    attention.set_parameters(identity_projections(attention.parameters(), width))
    arguments = {"x": x, "mask": mask}
    score = largest_score(attention, arguments)
    assume(4 * score < underflow_gap(x.dtype))
    output, weights = attention(**arguments)
    bounds = attention_bounds(attention, arguments)
    scores = dot_product_scores(x, x, None)
    found = second_difference(weights.double().log())
    error = 8 * log_weight_error(bounds.relative) + gamma(16, precision(x.dtype)) * score
    mixed = weights.double() @ x.double()
    limit = 4 * bounds.output
    moved = (output - output[..., :1, :]).double()
    exact, expected = each_matrix_has_one_job(
        3, found, second_difference(scores), error, moved, mixed - mixed[..., :1, :], limit
    )
    close(found, exact, error, "the log-weights, against first key and query")
    close(moved, expected, limit, "the output, against the first query's")
    sometimes_differs(found, torch.zeros_like(found), "the weights are not all equal", error)


def an_energy_that_can_be_found(parameters: Mapping[str, Tensor]) -> str | None:
    """Say whether there are no more weights than there are to be, and one energy among them."""
    shapes = [tuple(p.shape) for p in parameters.values()]
    counts = sorted(p.numel() for p in parameters.values() if p.dim() >= 2)
    vectors = shapes.count((5,))
    if set(shapes) - {(5,), (1,), (), (1, 5), (5, 1), (5, 2), (2, 5), (5, 3), (3, 5)} <= {
        (5, 5)
    } and (
        counts in ([5, 10, 15], [5, 25])  # an energy among the matrices, and biases
        or (counts in ([10, 15], [25]) and vectors)  # a vector, and perhaps biases
    ):
        return None
    return f"its parameters have shapes {shapes}"


def constant_weights(attention: Subject, constant: float) -> None:
    """Set every weight to one number: then it makes no difference in which order they are kept."""
    attention.set_parameters(
        {
            name: torch.full_like(value, constant)
            for name, value in attention.parameters().items()
            if value.dim() >= 2
        }
    )


@law(
    "MultiplicativeAttention",
    inputs=attention_inputs("MultiplicativeAttention", "none", 3),
    formula="with W = c:  s_ij = c Σq_i Σk_j",
    applies=weights_in_all(6, 6 + 2 * 3),
    dtypes=("float64", "float32"),
)
@law(
    SELF,
    inputs=attention_inputs(SELF, "none", 3),
    formula="with W = c:  s_ij = c² √D Σx_i Σx_j,  y_i = Σ_j α_ij c Σx_j",
    applies=weights_in_all(3 * 25, 3 * 25 + 4 * 5),
    dtypes=("float64", "float32"),
)
@law(
    "MultiHeadAttention",
    inputs=attention_inputs("MultiHeadAttention", "none", 3),
    formula="with W = c:  s_ij = c² √d_h Σq_i Σk_j,  y_i = c² d_h Σ_h Σ_j α^h_ij Σv_j",
    applies=weights_in_all(4 * 36, 4 * 36 + 4 * 6),
    dtypes=("float64", "float32"),
)
def equal_weights_leave_sums_and_the_scale(attention: Subject, arguments: dict[str, Any]) -> None:
    """With all weights the same number, scores and outputs follow from the inputs' sums alone.

    Whatever the layout and the names of the weights. Biases are set to zero; where some may be
    stored among the matrices, both sides are compared by differences between queries and between
    keys, from which biases drop out. With an odd seed scores come near 1e5, the contract's end.
    """
    assert attention.setup is not None
    sizes = attention.setup.arguments
    query, key, value = (arguments.get(name, arguments.get("x")) for name in NAMES)
    assert isinstance(query, Tensor) and isinstance(key, Tensor) and isinstance(value, Tensor)  # noqa: PT018
    own = attention.parameters()
    width = query.shape[-1]
    count = {"d_query": width * key.shape[-1]}.get(
        next(iter(sizes)), (4 if "n_heads" in sizes else 3) * width**2
    )
    bare = sum(p.numel() for p in own.values() if p.dim() >= 2) == count
    attention.set_parameters({n: torch.zeros_like(p) for n, p in own.items() if p.dim() < 2})
    # Scores of about ten at most: large enough to tell, and no weight underflows.
    constant = 3 / (query.shape[-1] * (1 + largest_input(arguments)))
    if "d_model" not in sizes:
        constant *= 3 / (key.shape[-1] * (1 + largest_input(arguments)))
    q, k, v = (x.double().sum(-1) for x in (query, key, value))
    heads = sizes.get("n_heads", 1)
    if bare:
        steep = attention.setup.seed % 2 == 1
        if steep:
            size = float(q.abs().max() * k.abs().max())
            assume(size > 0)
            constant = 9e4 / size
            if "d_model" in sizes:
                constant = math.sqrt(constant / math.sqrt(sizes["d_model"] // heads))
        constant_weights(attention, constant)
        output, weights = attention(**arguments)
        bounds = attention_bounds(attention, arguments)
        _equal_weights(sizes, constant, (q, k, v), output, weights, bounds)
        return
    constant_weights(attention, constant)
    score = largest_score(attention, arguments)
    assume(4 * score < underflow_gap(query.dtype))
    output, weights = attention(**arguments)
    bounds = attention_bounds(attention, arguments)
    factor = constant
    if "d_model" in sizes:
        factor = constant**2 * math.sqrt(sizes["d_model"] // heads)
    scores = factor * q[..., :, None] * k[..., None, :]
    scores = scores[:, None] if "n_heads" in sizes else scores
    found = second_difference(weights.double().log())
    exact = second_difference(scores).expand_as(found)
    error = 8 * log_weight_error(bounds.relative) + gamma(64, precision(query.dtype)) * score
    close(found, exact, error, "the log-weights, against first key and query")
    sometimes_differs(found, torch.zeros_like(found), "the weights are not all equal", error)
    if "d_model" not in sizes:
        return
    mixed = (
        weights.double() @ (constant * v)[..., None]
        if heads == 1 and "x" in arguments
        else (
            constant**2
            * (sizes["d_model"] // heads)
            * (weights.double() @ v[:, None, :, None]).sum(1)
        )
    )
    moved = (output - output[:, :1]).double()
    close(
        moved,
        (mixed - mixed[:, :1]).expand_as(moved),
        4 * bounds.output,
        "the output, against the first query's",
    )


def _equal_weights(
    sizes: Mapping[str, int],
    constant: float,
    sums: tuple[Tensor, Tensor, Tensor],
    output: Tensor,
    weights: Tensor,
    bounds: AttentionBounds,
) -> None:
    """Compare weights and output as they are: nothing but equal weights took part."""
    q, k, v = sums
    heads = sizes.get("n_heads", 1)
    head = sizes.get("d_model", 1) // heads
    factor = constant**2 * math.sqrt(head) if "d_model" in sizes else constant
    exact = torch.softmax(factor * q[..., :, None] * k[..., None, :], -1)
    exact = exact[:, None].expand_as(weights) if "n_heads" in sizes else exact
    close(weights, exact.to(weights.dtype), 2 * bounds.weights, "the weights")
    even = torch.full_like(weights, 1 / weights.shape[-1])
    sometimes_differs(weights, even, "the weights are not all equal", 2 * bounds.weights)
    if "d_model" not in sizes:
        return
    mixed = (exact @ v[..., None] if weights.dim() == 3 else exact[:, 0] @ v[..., None]) * constant
    if "n_heads" in sizes:
        mixed = mixed * constant * sizes["d_model"]
    close(output, mixed.expand_as(output).to(output.dtype), 2 * bounds.output, "the output")


@law(
    "AdditiveAttention",
    inputs=attention_inputs("AdditiveAttention", "any", 3),
    formula="with W = c, energy = e, biases b:  s_ij = d_hidden e tanh(c (Σq_i + Σk_j) + b)",
    applies=an_energy_that_can_be_found,
    dtypes=("float64", "float32"),
)
def equal_weights_leave_tanh_of_sums(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """With all matrices the same number, a score is the tanh of the sum of all inputs.

    Whatever the layout and the names: one matrix for both or two, either way round.
    """
    assert attention.setup is not None
    d_query, d_key, d_hidden = attention.setup.arguments.values()
    assume(min(d_query, d_key, d_hidden) > 1)
    own = attention.parameters()
    reach = 12 if attention.setup.seed % 2 else 2  # as far as tanh bends, or beyond
    constant = reach / ((d_query + d_key) * (0.1 + float(query.abs().max())))
    # Any row as long as the tanh may be the energy; the others are biases, and all are the same.
    rows = [name for name, p in own.items() if p.numel() == d_hidden]
    size = 0.5
    if len(rows) == 1:  # scores of a few, or near 1e5, where the contract ends
        size = 9e4 / d_hidden if attention.setup.seed % 4 == 3 else 3.0
    attention.set_parameters(
        {name: torch.full_like(p, constant) for name, p in own.items() if p.dim() >= 2}
        | {name: torch.full_like(own[name], size) for name in rows}
    )
    arguments = {"query": query, "key": key, "value": value, "mask": mask}
    _, weights = attention(**arguments)
    sums = constant * (query.double().sum(-1)[:, :, None] + key.double().sum(-1)[:, None])
    scores = d_hidden * size * torch.tanh(sums + (len(rows) - 1) * size)
    allowed = allowed_keys(attention, mask, weights)
    exact = torch.softmax(scores.masked_fill(~allowed, -torch.inf), -1)
    bounds = attention_bounds(attention, arguments)
    close(weights, exact.to(weights.dtype), 2 * bounds.weights, "the weights")
    even = even_weights(attention, mask, weights)
    sometimes_differs(weights, even, "the weights are not all equal", 2 * bounds.weights)


# --- SA-01, SA-02, SA-03: what depends on what --------------------------------------------------


@law(
    SELF,
    inputs=attention_inputs(SELF, "none", 3),
    formula="∂y_i / ∂x_j ≠ 0 for all i, j, at generic x",
    claim=SA_01,
)
def every_token_reaches_every_output(attention: Subject, x: Tensor, mask: Tensor | None) -> None:
    """The first output depends on the last token, and every other pair is connected too."""
    assume(4 * largest_score(attention, {"x": x}) < underflow_gap(x.dtype))
    variable = leaf(x[:1])
    output, _ = attention(variable, mask)
    probe = torch.cos(torch.arange(x.shape[-1]).to(x))
    for i in (0, x.shape[-2] // 2, x.shape[-2] - 1):
        (grad,) = gradients(output[0, i], probe, variable)
        reach = grad[0].abs().amax(-1)
        above(reach, torch.zeros_like(reach), f"how much each token moves output {i}")


# The solution of t / (1 + e^−t) = 1, where the two paths of a derivative cancel.
CANCELLING = 1.278464542761074


@st.composite
def cancelling_tokens(draw: Any) -> dict[str, Any]:
    """Two tokens of width one, in half of the cases on the curve where two paths cancel."""
    first = draw(st.sampled_from((-1.0, 1.0, -2.0, 2.0, 0.5, -0.5, 3.0)))
    cancelling = draw(st.booleans())
    second = first - CANCELLING / first if cancelling else draw(st.sampled_from((0.0, 1.0, 5.0)))
    return {
        "x": _tokens([first], [second]),
        "mask": None,
        "setup": Setup({"d_model": 1}, matrices=_ones()),
    }


@refutation(
    SELF,
    claim=SA_01,
    formula="∂y_i / ∂x_j ≠ 0 for all x",
    inputs=cancelling_tokens(),
    pinned={
        "x": _tokens([-1.0], [-1.0 + CANCELLING]),
        "mask": None,
        "setup": Setup({"d_model": 1}, matrices=_ones()),
    },
)
def every_token_always_reaches_every_output(
    attention: Subject, x: Tensor, mask: Tensor | None
) -> None:
    """With all weights positive, the path through the weight cancels the one through the value."""
    variable = leaf(x)
    output, weights = attention(variable, mask)
    above(weights, torch.zeros_like(weights), "the weights")
    (grad,) = gradients(output[0, 0], torch.ones(1).to(x), variable)
    rounding = gamma(40, unit_roundoff(x.dtype)) * (1 + x.abs().amax() ** 2).double()
    above(grad[0, 1].abs().double(), rounding, "how much the second token moves the first output")


LENGTHS = (2, 3, 8, 64)


@proof(
    SELF,
    method="structural",
    formula="depth(n) = depth(2) for n = 2 … 64, while an RNN's depth grows by the same every step",
    claim=SA_02,
)
def the_depth_does_not_depend_on_the_length(attention: Callable[..., Any]) -> None:
    """Follow the longest chain of operations from output to input, at several lengths.

    The chain is a property of the code, not of the numbers: where no loop runs over the tokens it
    is the same for every length. So is the number of operations, which counts detached ones, too.
    """
    module = attention(4)
    cell = nn.RNNCell(4, 4)
    depths, calls, recurrent = [], [], []
    for n in LENGTHS:
        x = torch.zeros(1, n, 4, requires_grad=True)
        with Calls() as counted:
            output, _ = module(x)
        depths.append(depth(output))
        calls.append(counted.number)
        state = torch.zeros(1, 4)
        for t in range(n):
            state = cell(x[:, t], state)
        recurrent.append(depth(state))
    assert len(set(depths)) == 1, f"the depth at lengths 2, 3, 8 and 64 is {depths}"
    assert len(set(calls)) == 1, f"the operations at lengths 2, 3, 8 and 64 number {calls}"
    first, *others = recurrent
    slopes = {(far - first) / (n - 2) for n, far in zip(LENGTHS[1:], others, strict=True)}
    assert len(slopes) == 1, f"an RNN's depth at these lengths is {recurrent}"
    assert slopes.pop() > 0, "an RNN's depth does not grow"


@law(
    SELF,
    inputs=attention_inputs(SELF, "none", 3),
    formula="log α_ij − log α_ik depends on x_i, x_j and x_k alone",
    claim=SA_03,
)
def the_odds_of_two_tokens_ignore_all_others(
    attention: Subject, x: Tensor, mask: Tensor | None
) -> None:
    """Queries and keys are made token by token: a third token cannot touch the odds of two."""
    last = x.clone()
    last[..., -1, :] = 1 - last[..., -1, :]
    both = {"x": torch.cat([x, last]), "mask": mask}
    assume(4 * largest_score(attention, both) < underflow_gap(x.dtype))
    _, weights = attention(x, mask)
    _, changed = attention(last, mask)
    bounds = attention_bounds(attention, both)
    odds = [(w[..., 0, 0].double().log() - w[..., 0, 1].double().log()) for w in (weights, changed)]
    error = 4 * log_weight_error(bounds.relative)
    close(odds[1], odds[0], error, "the log-odds of the first two tokens")
    sometimes_differs(
        changed[..., 0, :2],
        weights[..., 0, :2],
        "the weights themselves change",
        2 * bounds.weights,
    )


@proof(
    SELF,
    method="symbolic",
    formula="α_ij / α_ik = exp(W_Q x_i · W_K (x_j − x_k) / √d), free of every other token",
    claim=SA_03,
)
def symbols_show_projections_token_by_token(attention: Callable[..., Any]) -> None:
    """Run on symbols, at lengths that differ from the width and at one that does not."""
    for n, d in ((3, 2), (2, 2)):
        module, parameters = symbolic.symbolic_module(attention, d)
        x = symbolic.symbols("x", 1, n, d)
        output, weights = module(x)
        q = x.entries[0] @ parameters["query.weight"].entries.T
        k = x.entries[0] @ parameters["key.weight"].entries.T
        odds = [weights.entries[0, 0, j] / weights.entries[0, 0, 0] for j in range(1, n)]
        exact = [sympy.exp((q[0] @ (k[j] - k[0])) / sympy.sqrt(d)) for j in range(1, n)]
        assert symbolic.equal(symbolic.tensor(odds), symbolic.tensor(exact)), (
            f"the odds at length {n} and width {d} are not those of projected tokens"
        )
        v = x.entries[0] @ parameters["value.weight"].entries.T
        mean = symbolic.tensor((weights.entries[0] @ v).tolist())
        assert symbolic.equal(symbolic.tensor(output.entries[0].tolist()), mean), (
            f"the output at length {n} and width {d} does not mix projected tokens"
        )


# --- SA-04, SA-05: similarity and importance ----------------------------------------------------


def _self_inputs(least: int) -> Any:
    return attention_inputs(SELF, "none", least, regimes=("integers", "normal"))


@refutation(
    SELF,
    claim=SA_04,
    formula="α_ii = 0: a token looks at the others",
    inputs=_self_inputs(1),
    pinned={
        "x": _tokens([0.0]),
        "mask": None,
        "setup": Setup({"d_model": 1}, matrices=_ones()),
    },
)
def a_token_does_not_look_at_itself(attention: Subject, x: Tensor, mask: Tensor | None) -> None:
    """A token is among those it looks at; alone, it looks at nothing else."""
    _, weights = attention(x, mask)
    own = weights.diagonal(dim1=-2, dim2=-1)
    identical(own, torch.zeros_like(own), "the weight of each token on itself")


@refutation(
    SELF,
    claim=SA_04,
    formula="s_ij = s_ji, so s_01 − s_02 + s_12 − s_10 + s_20 − s_21 = 0",
    inputs=_self_inputs(3),
    pinned={
        "x": _tokens([0.0, 0.0], [1.0, 0.0], [0.0, 1.0]),
        "mask": None,
        "setup": Setup(
            {"d_model": 2},
            matrices={
                **_ones(2),
                "key.weight": torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64),
            },
        ),
    },
)
def similarity_is_mutual(attention: Subject, x: Tensor, mask: Tensor | None) -> None:
    """A token may look at another that does not look back."""
    assume(4 * largest_score(attention, {"x": x}) < underflow_gap(x.dtype))
    _, weights = attention(x, mask)
    bounds = attention_bounds(attention, {"x": x, "mask": mask})
    around, error = around_three_tokens(weights, bounds.relative)
    close(around, torch.zeros_like(around), error, "the scores' sum around three tokens")


@law(
    SELF,
    inputs=attention_inputs(SELF, "none", 3),
    formula="s_01 − s_02 + s_12 − s_10 + s_20 − s_21 ≠ 0 in general",
    against=SA_04,
)
def a_token_may_look_at_one_that_does_not_look_back(
    attention: Subject, x: Tensor, mask: Tensor | None
) -> None:
    """Queries and keys are made by different matrices, so looking need not be mutual."""
    assume(x.shape[-1] > 1)
    assume(4 * largest_score(attention, {"x": x}) < underflow_gap(x.dtype))
    _, weights = attention(x, mask)
    bounds = attention_bounds(attention, {"x": x, "mask": mask})
    around, error = around_three_tokens(weights, bounds.relative)
    sometimes_differs(around, torch.zeros_like(around), "looking is not mutual", error)


@law(
    SELF,
    inputs=st.sampled_from((1, 2, 3, 5, 8, 24)).map(lambda d: {"d_model": d}),
    formula="3 d² ≤ parameters(d) ≤ 3 d² + 3 d",
)
def there_are_three_square_matrices(attention: Subject, d_model: int) -> None:
    """One matrix each for queries, keys and values, perhaps with a bias, and nothing after them."""
    module = attention.construct(d_model=d_model)
    count = module.parameter_count()
    at_least(count, torch.tensor(3 * d_model**2), 0, "the number of parameters")
    at_most(count, torch.tensor(3 * d_model**2 + 3 * d_model), 0, "the number of parameters")


@refutation(
    SELF,
    claim=SA_04,
    formula="s_ii ≥ s_ij: nothing is more similar to a token than itself",
    inputs=_self_inputs(2),
    pinned={
        "x": _tokens([1.0], [0.0]),
        "mask": None,
        "setup": Setup({"d_model": 1}, matrices=_ones(1, key=-1.0)),
    },
)
def nothing_is_more_similar_to_a_token_than_itself(
    attention: Subject, x: Tensor, mask: Tensor | None
) -> None:
    """With W_Q = −W_K a token ranks itself lowest."""
    _, weights = attention(x, mask)
    bounds = attention_bounds(attention, {"x": x, "mask": mask})
    own = weights.diagonal(dim1=-2, dim2=-1)
    at_most(weights.amax(-1), own, 2 * bounds.weights, "the largest weight of each row")


@law(
    SDPA,
    inputs=attention_inputs(SDPA),
    formula="s_ij > s_ik ⇒ α_ij > α_ik",
    claim=(SA_05.part("weight"), SA_05.part("rounded")),
)
def a_higher_score_gets_a_higher_weight(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """Weights are in the order of the scores, and apart where the scores are."""
    _, weights = attention(query, key, value, mask)
    arguments = {"query": query, "key": key, "value": value, "mask": mask}
    bounds = attention_bounds(attention, arguments)
    allowed = allowed_keys(attention, mask, weights)
    scores = dot_product_scores(query, key, None).masked_fill(~allowed, -torch.inf)
    order = scores.argsort(dim=-1, stable=True)
    ranked, sorted_weights = scores.gather(-1, order), weights.double().gather(-1, order)
    error = bounds.weights.gather(-1, order)
    slack = error[..., 1:] + error[..., :-1]
    at_most(
        sorted_weights[..., :-1], sorted_weights[..., 1:], slack, "the weight of the lower score"
    )
    apart = (ranked[..., 1:] - ranked[..., :-1] > 1) & (sorted_weights[..., 1:] > 4 * slack)
    ratio = torch.where(apart, sorted_weights[..., 1:] / sorted_weights[..., :-1], 2.0)
    above(ratio, torch.ones_like(ratio), "the ratio of two weights")
    sometimes(bool(apart.any()), "two scores are apart")


@proof(
    SDPA,
    method="symbolic",
    formula="α_j − α_k = α_k (exp(s_j − s_k) − 1), which has the sign of s_j − s_k",
    claim=SA_05.part("weight"),
)
def symbols_order_weights_as_scores(attention: Callable[..., Any]) -> None:
    """Run on symbols, the difference of two weights is a positive multiple of e^(s−s′) − 1."""
    query, key = symbolic.symbols("q", 1, 1), symbolic.symbols("k", 3, 1)
    _, weights = attention(query, key, symbolic.symbols("v", 3, 1))
    alpha = weights.entries[0]
    for j, k in ((0, 1), (1, 2), (2, 0)):
        gap = query.entries[0, 0] * (key.entries[j, 0] - key.entries[k, 0])
        exact = alpha[k] * (sympy.exp(gap) - 1)
        assert symbolic.equal(symbolic.tensor([alpha[j] - alpha[k]]), symbolic.tensor([exact])), (
            f"weights {j} and {k} are not ordered as their scores"
        )


@refutation(
    SDPA,
    claim=SA_05.part("rounded"),
    formula="s_j > s_k ⇒ α_j > α_k in floating point",
    inputs=attention_inputs(SDPA, "none", 2, ("huge", "large")),
    pinned={
        "query": torch.ones(1, 1).double(),
        "key": torch.tensor([[1e-20], [0.0]]).double(),
        "value": torch.zeros(2, 1).double(),
        "mask": None,
    },
)
def rounded_weights_tell_all_scores_apart(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """Scores of 10⁻²⁰ and of zero get the same weight, as do scores far below the largest."""
    _, weights = attention(query, key, value, mask)
    scores = dot_product_scores(query, key, mask)
    ranked, order = scores.sort(-1)
    lower, higher = (weights.gather(-1, order)[..., part] for part in (slice(-1), slice(1, None)))
    apart = ranked[..., 1:] > ranked[..., :-1]
    above(torch.where(apart, higher, 1.0), torch.where(apart, lower, 0.0), "the higher weight")


@refutation(
    SDPA,
    claim=SA_05.part("contribution"),
    formula="argmax_j α_j = argmax_j ‖α_j v_j‖",
    inputs=attention_inputs(SDPA, "none", 2),
    pinned={
        "query": torch.ones(1, 1).double(),
        "key": torch.tensor([[1.0], [0.0]]).double(),
        "value": torch.tensor([[0.0], [1.0]]).double(),
        "mask": None,
    },
)
def the_largest_weight_makes_the_largest_contribution(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """A large weight on a small value contributes little."""
    _, weights = attention(query, key, value, mask)
    contribution = weights * value.norm(dim=-1)[..., None, :]
    top = contribution.gather(-1, weights.argmax(-1, keepdim=True))[..., 0]
    at_most(contribution.amax(-1), top, 0.0, "the largest contribution of each row")


# --- SA-06, SA-07: context and distance ---------------------------------------------------------


@law(
    SELF,
    inputs=attention_inputs(SELF, "none"),
    formula="y_0(x_0, context) ≠ y_0(x_0, context′) in general; alone, y_0 has no context",
    claim=(SA_06, SA_11.part("context")),
)
def the_same_token_means_more_in_another_context(
    attention: Subject, x: Tensor, mask: Tensor | None
) -> None:
    """A token's output changes with the tokens around it, and is its own where it is alone."""
    other = torch.cat([x[..., :1, :], 1 - x[..., 1:, :].flip(-1)], -2)
    output, _ = attention(x, mask)
    moved, _ = attention(other, mask)
    bounds = attention_bounds(attention, {"x": x.abs() + other.abs(), "mask": mask})
    first, rounding = output[..., 0, :], 4 * bounds.output
    sometimes_differs(moved[..., 0, :], first, "another context changes the first output", rounding)
    alone, weights = attention(x[..., :1, :])
    one = torch.ones_like(weights)
    close(weights, one, unit_roundoff(x.dtype), "the weight of a token that is alone")
    twice, _ = attention(torch.cat([x[..., :1, :]] * 2, -2))
    close(twice[..., :1, :], alone, 4 * bounds.output, "the output of a token beside itself")


@proof(
    SELF,
    method="structural",
    formula="∂y_i / ∂x_j ≠ 0 for every |i − j| < 64, by one layer whose depth is that of n = 2",
    claim=SA_07.part("path length"),
)
def one_layer_connects_the_ends_of_a_long_sequence(attention: Callable[..., Any]) -> None:
    """The last of 64 tokens reaches the first output by as short a way as its neighbour does."""
    torch.manual_seed(0)
    module = attention(4).double()
    x = torch.randn(1, 64, 4, dtype=torch.float64, requires_grad=True)
    output, _ = module(x)
    (grad,) = torch.autograd.grad(output[0, 0].sum(), x, retain_graph=True)
    silent = [j for j in range(64) if not bool(grad[0, j].abs().max() > 0)]
    assert not silent, f"tokens {silent} do not reach the first output"
    near = torch.randn(1, 2, 4, dtype=torch.float64, requires_grad=True)
    assert depth(output) == depth(module(near)[0]), "the way from the far end is longer"


@law(
    SELF,
    inputs=attention_inputs(SELF, "none"),
    formula="α_ij over [x; x] = ½ α_ij over x",
    against=SA_07.part("dilution"),
)
def a_longer_sequence_leaves_each_token_less(
    attention: Subject, x: Tensor, mask: Tensor | None
) -> None:
    """The more tokens there are, the less can be left for one of them."""
    length = x.shape[-2]
    _, weights = attention(x, mask)
    _, longer = attention(torch.cat([x, x], -2), mask)
    bounds = attention_bounds(attention, {"x": torch.cat([x, x], -2), "mask": mask})
    found = longer[..., :length, :length]
    close(found, weights / 2, 2 * bounds.weights, "the weights among twice as many tokens")
    even = torch.full_like(weights, 1 / length)
    sometimes_differs(weights, even, "some tokens weigh more than others", 2 * bounds.weights)


@law(
    SDPA,
    inputs=attention_inputs(SDPA),
    formula="α_max ≤ 1 / (1 + (n − 1) e^−Δ), Δ the range of the scores",
    against=(ATT_04, SA_07.part("dilution")),
)
def the_range_of_the_scores_limits_the_largest_weight(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """Among n keys whose scores lie within Δ, no key can take everything."""
    _, weights = attention(query, key, value, mask)
    arguments = {"query": query, "key": key, "value": value, "mask": mask}
    allowed = allowed_keys(attention, mask, weights)
    scores = dot_product_scores(query, key, None)
    top = scores.masked_fill(~allowed, -torch.inf).amax(-1)
    bottom = scores.masked_fill(~allowed, torch.inf).amin(-1)
    limit = 1 / (1 + (allowed.sum(-1) - 1) * torch.exp(bottom - top))
    rounding = 2 * attention_bounds(attention, arguments).weights.amax(-1)
    rounding = rounding + 4 * unit_roundoff(weights.dtype)
    at_most(weights.amax(-1), limit, rounding, "the largest weight of each row")
    sometimes_differs(
        weights,
        even_weights(attention, mask, weights),
        "some keys weigh more than others",
        rounding[..., None],
    )


@refutation(
    SELF,
    claim=SA_07.part("dilution"),
    formula="α_00 over n tokens = α_00 over 2 n tokens",
    inputs=_self_inputs(1),
    pinned={
        "x": _tokens([0.0]),
        "mask": None,
        "setup": Setup({"d_model": 1}, matrices=_ones()),
    },
)
def a_longer_sequence_takes_nothing_from_a_token(
    attention: Subject, x: Tensor, mask: Tensor | None
) -> None:
    """Twice as many tokens leave each of them half the weight."""
    _, weights = attention(x, mask)
    _, longer = attention(torch.cat([x, x], -2), mask)
    bounds = attention_bounds(attention, {"x": x, "mask": mask})
    close(
        longer[..., 0, 0], weights[..., 0, 0], 4 * bounds.weights, "the weight of the first token"
    )


# --- SA-08: operations --------------------------------------------------------------------------


class _MatrixProducts(TorchFunctionMode):
    """Counts the additions and multiplications of matrix products.

    FlopCounterMode of torch does so, too, but imports torch's compiler first, which takes longer
    than a third of all arguments together.
    """

    operations = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") in {"linear", "matmul", "__matmul__", "bmm", "mm"}:
            self.operations += 2 * result.numel() * args[0].shape[-1]
        return result


def _operations(run: Callable[[], object]) -> int:
    counted = _MatrixProducts()
    with counted, torch.no_grad():
        run()
    return counted.operations


def _recurrent_operations(cell: nn.Module, n: int) -> int:
    """Count n steps of one of torch's cells, which multiplies by each of its matrices once."""
    return 2 * n * sum(p.numel() for p in cell.parameters() if p.dim() == 2)


# A polynomial of degree two in n and in d is known by its values on three times three points.
GRID = tuple(product((1, 3, 8), (2, 4, 6)))


def _operations_on_the_grid(attention: Callable[..., Any]) -> Iterator[tuple[int, int, int]]:
    """Give n, d and the operations that the component itself carries out."""
    for length, width in GRID:
        module, x = attention(width, 2), torch.zeros(1, length, width)
        yield length, width, _operations(partial(module, x, x, x))


@proof(
    "MultiHeadAttention",
    method="symbolic",
    formula="8 n d² + 4 n² d < 12 n d² iff n < d, and < 16 n d² iff n < 2 d",
    claim=SA_08.part("operations against GRU and LSTM"),
)
def attention_needs_fewer_operations_while_the_sequence_is_short(
    attention: Callable[..., Any],
) -> None:
    """Count the operations of the code at nine sizes, then compare the formulas they follow.

    Nine sizes decide: the operations of matrix products are a polynomial, of degree two at most in
    the length and in the width. Those of a recurrent cell are read off torch's own.
    """
    n, d = sympy.symbols("n d", positive=True)
    formula = 8 * n * d**2 + 4 * n**2 * d
    for length, width, counted in _operations_on_the_grid(attention):
        exact = formula.subs({n: length, d: width})
        assert counted == exact, f"{counted} operations at n={length}, d={width}, not {exact}"
        for cell, per_token in ((nn.GRUCell, 12), (nn.LSTMCell, 16)):
            recurrent = _recurrent_operations(cell(width, width), length)
            assert recurrent == per_token * length * width**2, f"{recurrent} by {cell.__name__}"
    # n and d are positive, and so each difference has the sign of its last factor.
    assert sympy.expand((12 * n * d**2 - formula) - 4 * n * d * (d - n)) == 0
    assert sympy.expand((16 * n * d**2 - formula) - 4 * n * d * (2 * d - n)) == 0


@proof(
    "MultiHeadAttention",
    method="symbolic",
    formula="8 n d² + 4 n² d − 4 n d² = 4 n d (d + n) > 0",
    against=SA_08.part("operations against Elman"),
)
def an_elman_network_always_needs_fewer_operations(attention: Callable[..., Any]) -> None:
    """An Elman network has two matrices for each token, attention four and the scores."""
    n, d = sympy.symbols("n d", positive=True)
    for length, width, counted in _operations_on_the_grid(attention):
        recurrent = _recurrent_operations(nn.RNNCell(width, width), length)
        exact = 4 * length * width * (width + length)
        assert counted - recurrent == exact, f"{counted} operations against {recurrent}"
    assert (4 * n * d * (d + n)).is_positive


# --- SA-09: stability ---------------------------------------------------------------------------


@proof(
    SELF,
    method="symbolic",
    formula="d = 1, W = 1, x = (0, z):  ∂y_1/∂x_1 = ½ + z²/4",
    against=SA_09,
)
def the_derivative_grows_as_the_square_of_a_token(attention: Callable[..., Any]) -> None:
    """Differentiate what symbols give: half by the value, and z²/4 by the score."""
    values = {f"{name}.weight": symbolic.tensor([[1]]) for name in ("query", "key", "value")}
    module, _ = symbolic.symbolic_module(attention, 1, values=values)
    x, z = sympy.symbols("x z", real=True)
    output, _ = module(symbolic.tensor([[[x], [z]]]))
    found = sympy.diff(output.entries[0, 0, 0], x).subs(x, 0)
    exact = symbolic.tensor([sympy.Rational(1, 2) + z**2 / 4])
    assert symbolic.equal(symbolic.tensor([found]), exact), f"the derivative is {found}"


@st.composite
def far_apart_tokens(draw: Any) -> dict[str, Any]:
    """Two tokens of width one, the first small and the second anything up to 300."""
    generator = torch.Generator().manual_seed(draw(seeds()))
    second = float(fill(generator, "huge", 1))
    first = draw(st.sampled_from((0.0, 1e-3, 1e-2)))
    setup = Setup({"d_model": 1}, matrices=_ones())
    return {"x": _tokens([first], [second]), "mask": None, "setup": setup}


@refutation(
    SELF,
    claim=SA_09,
    formula="|∂y_i / ∂x_i| ≤ 10",
    inputs=far_apart_tokens(),
    pinned={
        "x": _tokens([0.0], [7.0]),
        "mask": None,
        "setup": Setup({"d_model": 1}, matrices=_ones()),
    },
)
def a_token_moves_its_output_by_ten_times_at_most(
    attention: Subject, x: Tensor, mask: Tensor | None
) -> None:
    """Whatever the limit, two tokens far enough apart exceed it."""
    variable = leaf(x)
    output, _ = attention(variable, mask)
    (grad,) = gradients(output[0, 0], torch.ones(1).to(x), variable)
    at_most(grad[0, 0].abs(), torch.tensor(10.0).to(x), 0.0, "the derivative of a token's output")


# --- SA-10: neighbours --------------------------------------------------------------------------


@law(
    SELF,
    inputs=attention_inputs(SELF, "none", 3),
    formula="f(P x) = P f(x),  α(P x) = P α(x) Pᵀ for every permutation P",
    against=(SA_10, SA_11.part("adjacent")),
)
def permuting_the_tokens_permutes_everything(
    attention: Subject, x: Tensor, mask: Tensor | None
) -> None:
    """Without positions a sequence is a set: outputs and weights move with the tokens."""
    output, weights = attention(x, mask)
    moved, moved_weights = attention(x.roll(1, -2), mask)
    bounds = attention_bounds(attention, {"x": x, "mask": mask})
    close(moved, output.roll(1, -2), 2 * bounds.output, "the output for rolled tokens")
    expected = weights.roll((1, 1), (-2, -1))
    close(moved_weights, expected, 2 * bounds.weights, "the weights for rolled tokens")
    sometimes_differs(moved, output, "rolling the tokens changes the output", 2 * bounds.output)


@proof(
    SELF,
    method="symbolic",
    formula="α(P x) = P α(x) Pᵀ for symbols x, a swap P and a rotation P, and so for every P",
    against=(SA_10, SA_11.part("adjacent")),
)
def symbols_show_that_position_cannot_matter(attention: Callable[..., Any]) -> None:
    """Swap two tokens of symbols: their weights swap, whatever stood between them.

    And rotate three. Every permutation of three tokens is made of these two.
    """
    module, parameters = symbolic.symbolic_module(attention, 1)
    other, _ = symbolic.symbolic_module(attention, 1, values=parameters)
    x = symbolic.symbols("x", 1, 3, 1)
    _, weights = module(x)
    for order in ((1, 0, 2), (1, 2, 0)):
        _, moved = other(symbolic.tensor([[[x.entries[0, i, 0]] for i in order]]))
        expected = symbolic.tensor([weights.entries[0, i, j] for i in order for j in order])
        found = symbolic.tensor(list(moved.entries.flatten()))
        assert symbolic.equal(found, expected), f"the weights do not move with the tokens {order}"


@refutation(
    SELF,
    claim=(SA_10, SA_11.part("adjacent")),
    formula="α_01 > α_02: the neighbour weighs more than the one behind it",
    inputs=_self_inputs(3),
    pinned={
        "x": _tokens([0.0], [0.0], [0.0]),
        "mask": None,
        "setup": Setup({"d_model": 1}, matrices=_ones()),
    },
)
def a_neighbour_weighs_more_than_a_token_further_off(
    attention: Subject, x: Tensor, mask: Tensor | None
) -> None:
    """Which of two tokens is nearer makes no difference; equal tokens get equal weights."""
    _, weights = attention(x, mask)
    above(weights[..., 0, 1], weights[..., 0, 2], "the weight of the neighbour")


assert math.isclose(CANCELLING / (1 + math.exp(-CANCELLING)), 1.0)
