"""Section 4 of the notes, Multi-Head Attention: several attentions side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import sympy
import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import Tensor

from attest import symbolic
from attest.checks import (
    above,
    at_least,
    at_most,
    close,
    finite,
    refused,
    sometimes_differs,
)
from attest.claims import Claim, Verdict
from attest.differentiation import leaf
from attest.laws import law, proof, refutation
from attest.strategies import attention_inputs
from attest.subject import Setup, Subject
from attest.tolerances import gamma, log_weight_error, precision, underflow_gap, unit_roundoff
from properties.bounds import attention_bounds, dot_product_scores, largest_score
from properties.self_attention import (
    each_matrix_has_one_job,
    identity_projections,
    second_difference,
    squares,
)

MULTI = "MultiHeadAttention"

MHA_01 = Claim(
    id="MHA-01",
    section="4 Multi-Head Attention",
    quote="Self-Attention을 여러 개 병렬로 수행하는",
    statement="Several attentions run side by side, none of which sees another.",
    formal="head_h = Attention(X W_Q^h, X W_K^h, X W_V^h), so ∂head_h / ∂W^h′ = 0 for h ≠ h′",
    verdict=Verdict.PROVED,
    references=("Phuong and Hutter 2022, algorithm 5",),
)

MHA_02 = Claim(
    id="MHA-02",
    section="4 Multi-Head Attention",
    quote="서로 다른 의미적 공간(semantic)에서 패턴을",
    statement="Each head works in a semantic subspace.",
    formal="rank(α^h X W_V^h W_O^h) ≤ d_h",
    verdict=Verdict.PROVED,
    references=("Phuong and Hutter 2022, algorithm 5",),
    parts=(
        ("subspace", "What a head adds to the output has rank d_h at most.", Verdict.PROVED),
        (
            "semantic",
            "The subspaces are semantic.",
            Verdict.NO_CONTENT,
            "the notes give no meaning of 'semantic' that could be checked",
        ),
    ),
)

MHA_03 = Claim(
    id="MHA-03",
    section="4 Multi-Head Attention",
    quote="관계를 동시에 고려할 수 있게",
    statement="Several relations can be considered at once, which one head cannot do.",
    formal="with fixed weights, output_i = Σ_h α^h_ij A_h v_j: a map of Kronecker rank ≤ H",
    verdict=Verdict.PROVED,
    conditions=("weights that do not depend on the content; two heads reach it in the hard limit",),
    references=("Vaswani et al. 2017, section 3.2.2",),
)

MHA_04 = Claim(
    id="MHA-04",
    section="4 Multi-Head Attention",
    quote="헤드들의 출력을 결합해 정보를 통합",
    statement="The heads' outputs are combined into one.",
    formal="[head_1, …, head_H] W_O = Σ_h head_h W_O^h",
    verdict=Verdict.PROVED,
    references=("Vaswani et al. 2017, section 3.2.2",),
)

MHA_05 = Claim(
    id="MHA-05",
    section="4 Multi-Head Attention",
    quote="훨씬 풍부한 표현 능력을 갖게",
    statement="Several heads express far more than one.",
    formal="at fixed d_h: functions of one head ⊂ functions of H heads; at fixed d: not so of what "
    "one head attends to",
    verdict=Verdict.CONDITIONAL,
    conditions=(
        "the width of a head is kept: then every function of one head is one of H heads",
        "not where the width of all heads together is kept: a head of width one ranks keys along "
        "a line, so that only those at the two ends can win; this is said of what a head attends "
        "to, and not of what all heads compute together",
    ),
    references=("Bhojanapalli et al. 2020, theorem 1", "Michel, Levy and Neubig 2019"),
    parts=(
        ("at fixed head width", "More heads can do all that fewer can.", Verdict.PROVED),
        (
            "at fixed model width",
            "What one wide head can attend to, one of more and narrower heads can, too.",
            Verdict.REFUTED,
        ),
    ),
)

MHA_06 = Claim(
    id="MHA-06",
    section="4 Multi-Head Attention",
    quote="헤드마다 별도로 둠으로써 자연스럽게",
    statement="Subspaces form by themselves where each head has matrices of its own.",
    formal="W^h ≠ W^h′ after training, for h ≠ h′",
    verdict=Verdict.CONDITIONAL,
    conditions=(
        "the heads start unequal: heads that start equal in all four matrices get equal gradients, "
        "and so stay equal through any number of steps",
        "unequal output matrices alone suffice, at generic values",
    ),
    references=("Vaswani et al. 2017, section 3.2.2",),
    parts=(
        ("from any start", "Heads part from each other, however they start.", Verdict.REFUTED),
        (
            "from unequal outputs",
            "Heads that differ in their output matrices alone get unequal gradients, in general.",
            Verdict.PROVED,
        ),
        (
            "in training",
            "Unequal gradients lead to different subspaces.",
            Verdict.MEASURED,
        ),
    ),
)

MHA_07 = Claim(
    id="MHA-07",
    section="4 Multi-Head Attention",
    quote="서로 겹치지 않는 유용한 특징을 자동으로",
    statement="Heads find features that do not overlap, and keep them apart.",
    formal="a function that is computed by H heads is computed by heads without overlap only",
    verdict=Verdict.REFUTED,
    conditions=(
        "any head may be split into two equal ones with half the output matrix each: the function "
        "and the loss stay, and the overlap is complete",
    ),
    references=("Cordonnier, Loukas and Jaggi 2020",),
    parts=(
        ("by the loss", "The loss tells overlapping heads from others.", Verdict.REFUTED),
        (
            "in training",
            "Training takes the overlap away.",
            Verdict.REFUTED,
        ),
    ),
)

MHA_08 = Claim(
    id="MHA-08",
    section="4 Multi-Head Attention",
    quote="어떤 head는 문장의 syntactic 관계를 잘",
    statement="Some heads follow syntax, some long distances, some pairs of words of one kind.",
    formal="after training, some head weighs the token most that stands in a relation to its own",
    verdict=Verdict.MEASURED,
    conditions=(
        "of these relations one is shown here: a fixed distance, in random symbols and in a task "
        "that asks for it",
        "of syntax and of words nothing is shown: that takes models that were trained on text",
    ),
    references=("Clark et al. 2019", "Voita et al. 2019"),
    parts=(
        (
            "in natural text",
            "Some heads follow syntax and certain pairs of words.",
            Verdict.NO_CONTENT,
            "there is no grammar in made-up sequences, so that no toy result may be called syntax; "
            "the papers report such heads in models trained on text",
        ),
        (
            "over a distance",
            "Some head learns to look a fixed distance back.",
            Verdict.MEASURED,
        ),
    ),
)

MHA_09 = Claim(
    id="MHA-09",
    section="4 Multi-Head Attention",
    quote="기능적 분화(functional specialization)가 자연스럽게 일어난다",
    statement="Each head comes to do a job of its own, by itself.",
    formal="after training, each head weighs a relation most that no other does",
    verdict=Verdict.CONDITIONAL,
    conditions=(
        "there are no more heads than relations: a head too many has nothing of its own to do",
        "positions are told apart well enough for the relations",
        "the loss does not ask for it: see MHA-07",
    ),
    references=("Voita et al. 2019",),
    parts=(
        (
            "one each",
            "Two heads share out two relations, one each.",
            Verdict.MEASURED,
        ),
        (
            "more heads than relations",
            "Of more heads than relations, too, each comes to do a job of its own.",
            Verdict.REFUTED,
        ),
    ),
)

ROWS = ("query.weight", "query.bias", "key.weight", "key.bias", "value.weight", "value.bias")


def _inputs(**options: Any) -> Any:
    return attention_inputs(MULTI, **options)


def _heads(attention: Subject) -> tuple[int, int]:
    """Give the number of heads and the width of one."""
    assert attention.setup is not None
    sizes = attention.setup.arguments
    return sizes["n_heads"], sizes["d_model"] // sizes["n_heads"]


def _block(head: int, width: int) -> slice:
    return slice(head * width, (head + 1) * width)


# --- Definition ---------------------------------------------------------------------------------


@law(
    MULTI,
    inputs=_inputs(mask="none", least=3),
    formula="with W = aI, bI, cI, dI:  α^h = softmax(ab q_h k_hᵀ / √d_h),  y = [cd α^h v_h]_h",
    applies=lambda parameters: squares(parameters, 6, 4),
)
def identity_projections_leave_heads_on_slices(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """With the four matrices set to the identity, head h attends by columns h·d_h to (h+1)·d_h.

    Both sides are compared by differences between queries, from which biases drop out.
    """
    heads, width = _heads(attention)
    attention.set_parameters(identity_projections(attention.parameters(), heads * width))
    arguments = {"query": query, "key": key, "value": value, "mask": mask}
    score = largest_score(attention, arguments)
    assume(4 * score < underflow_gap(query.dtype))
    output, weights = attention(**arguments)
    bounds = attention_bounds(attention, arguments)

    def split(x: Tensor) -> Tensor:
        return x.double().reshape(*x.shape[:-1], heads, width).transpose(1, 2)

    exact = dot_product_scores(split(query), split(key), None)
    found = second_difference(weights.double().log())
    error = 8 * log_weight_error(bounds.relative) + gamma(16, precision(query.dtype)) * score
    mixed = (weights.double() @ split(value)).transpose(1, 2).flatten(-2)
    moved, limit = (output - output[:, :1]).double(), 4 * bounds.output
    scores, expected = each_matrix_has_one_job(
        4, found, second_difference(exact), error, moved, mixed - mixed[:, :1], limit
    )
    close(found, scores, error, "the log-weights, against first key and query")
    close(moved, expected, limit, "the output, against the first query's")
    sometimes_differs(found, torch.zeros_like(found), "the weights are not all equal", error)


@law(
    MULTI,
    inputs=_inputs(),
    formula="head_h = softmax(q_h k_hᵀ / √d_h) v_h,  output = [head_1, …, head_H] W_Oᵀ + b_O",
    claim=MHA_01,
    named=True,
)
def each_head_is_one_attention_on_its_own_rows(
    attention: Subject,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
) -> None:
    """Head by head, with its own rows of the matrices, in a loop: the same as all at once."""
    heads, width = _heads(attention)
    p = {name: value.double() for name, value in attention.parameters().items()}
    arguments = {"query": query, "key": key, "value": value, "mask": mask}
    output, weights = attention(**arguments)
    bounds = attention_bounds(attention, arguments)
    results = []
    for h in range(heads):
        rows = _block(h, width)
        q, k, v = (
            x.double() @ p[f"{name}.weight"][rows].mT + p[f"{name}.bias"][rows]
            for name, x in (("query", query), ("key", key), ("value", value))
        )
        own = mask[:, h] if mask is not None and mask.dim() == 4 and mask.shape[1] > 1 else mask
        own = own[:, 0] if own is not None and own.dim() == 4 else own
        alpha = torch.softmax(dot_product_scores(q, k, own), -1)
        close(weights[:, h], alpha.to(weights.dtype), 2 * bounds.weights, f"weights of head {h}")
        results.append(alpha @ v)
    expected = torch.cat(results, -1) @ p["output.weight"].mT + p["output.bias"]
    close(output, expected.to(output.dtype), 2 * bounds.output, "the output")
    sometimes_differs(weights[:, 0], weights[:, -1], "two heads differ", 2 * bounds.weights)


@law(
    MULTI,
    inputs=st.sampled_from(
        (
            (5, 2),
            (3, 2),
            (4, 3),
            (7, 3),
            (2, 4),
            (1, 2),
            (1, 12),
            (12, 5),
            (8, 6),
            (16, 7),
            (12, 8),
            (64, 12),
        )
    ).map(lambda sizes: {"d_model": sizes[0], "n_heads": sizes[1]}),
    formula="H ∤ D ⇒ an error at construction",
    kind="robustness",
)
def heads_that_do_not_divide_the_width_are_refused(
    attention: Subject, d_model: int, n_heads: int
) -> None:
    """A width that the heads do not divide is refused at once, and one that they do is not."""
    attention.construct(d_model=d_model * n_heads, n_heads=n_heads)
    odd = partial(attention.construct, d_model=d_model, n_heads=n_heads)
    refused(odd, f"a width of {d_model} with {n_heads} heads")


@law(
    MULTI,
    inputs=st.sampled_from(((4, 2), (6, 3), (6, 2), (8, 4), (12, 4), (3, 3), (24, 6))).map(
        lambda sizes: {"d_model": sizes[0], "n_heads": sizes[1]}
    ),
    formula="4 d² ≤ parameters(d, H) ≤ 4 d² + (H + 3) d, where biases are all but 4 d²",
)
def weights_do_not_grow_with_the_heads(attention: Subject, d_model: int, n_heads: int) -> None:
    """Four square matrices in all: more heads are narrower, and cost no more weights."""
    module = attention.construct(d_model=d_model, n_heads=n_heads)
    count = module.parameter_count()
    weights, biases = 4 * d_model**2, (n_heads + 3) * d_model
    at_least(count, torch.tensor(weights), 0, "the number of parameters")
    at_most(count, torch.tensor(weights + biases), 0, "the number of parameters")


# --- MHA-01: side by side -----------------------------------------------------------------------


@law(
    MULTI,
    inputs=_inputs(),
    formula="with W_O = I: α^h and head_h do not change with the rows of head h′ ≠ h",
    claim=MHA_01,
    named=True,
)
def heads_do_not_see_each_other(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """Changing the rows of one head changes that head, and no other's weights or output."""
    heads, width = _heads(attention)
    assume(heads >= 2)
    before = attention.parameters()
    arguments = {"query": query, "key": key, "value": value, "mask": mask}
    attention.set_parameters({"output.weight": torch.eye(heads * width).to(query)})
    output, weights = attention(**arguments)
    changed = {}
    for name in ROWS:
        changed[name] = before[name].clone()
        changed[name][_block(heads - 1, width)] += 1.0
    bounds = attention_bounds(attention, arguments)
    attention.set_parameters(changed)
    moved_output, moved = attention(**arguments)
    wider = attention_bounds(attention, arguments)
    others, columns = slice(0, heads - 1), slice(0, (heads - 1) * width)
    error = bounds.weights + wider.weights
    close(moved[:, others], weights[:, others], error, "the weights of the other heads")
    error = bounds.output + wider.output
    close(moved_output[..., columns], output[..., columns], error, "the other heads' output")
    sometimes_differs(
        moved_output[..., _block(heads - 1, width)],
        output[..., _block(heads - 1, width)],
        "the head's own output changes",
        error,
    )


@proof(
    MULTI,
    method="symbolic",
    formula="α^h and, with W_O = I, head_h are free of the rows of head h′, for H = 3 and d_h = 2",
    claim=MHA_01,
)
def a_head_has_no_gradient_by_another_heads_rows(attention: Callable[..., Any]) -> None:
    """Run on symbols, one head is an expression in its own rows, and in no other head's.

    What does not occur has a derivative of zero, and what is detached does occur. A maximum that is
    subtracted from the scores counts as a number of its own, since it drops out.
    """
    heads, width = 3, 2
    identity = symbolic.tensor(sympy.eye(heads * width).tolist())
    module, parameters = symbolic.symbolic_module(
        attention, heads * width, heads, values={"output.weight": identity}
    )
    x = symbolic.symbols("x", 1, 2, heads * width)
    output, weights = module(x, x, x)
    for h in range(heads):
        seen = {
            "weights": (weights.entries[0, h], ("query", "key")),
            "output": (output.entries[0, :, _block(h, width)], ("query", "key", "value")),
        }
        for what, (result, names) in seen.items():
            used = set().union(*(entry.free_symbols for entry in result.flatten()))
            for name in names:
                for kind, other in product(("weight", "bias"), range(heads)):
                    rows = parameters[f"{name}.{kind}"].entries[_block(other, width)]
                    entered = not used.isdisjoint(rows.flatten())
                    assert entered == (other == h), (
                        f"{what} of head {h}, by the {kind} of {name} of head {other}"
                    )


# --- MHA-02, MHA-03, MHA-04: what a head adds ---------------------------------------------------


def _only_head(head: int, width: int, matrix: Tensor) -> Tensor:
    kept = torch.zeros_like(matrix)
    kept[:, _block(head, width)] = matrix[:, _block(head, width)]
    return kept


@law(
    MULTI,
    inputs=_inputs(),
    formula="f(W_O^h) − b_O = head_h W_O^h, and f(W_O) = Σ_h head_h W_O^h + b_O",
    claim=MHA_04,
    named=True,
)
def the_output_is_the_sum_of_what_each_head_adds(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """Putting heads side by side and projecting is adding up what each of them contributes.

    What a head contributes is its own mean of its own values, through its own columns of W_O. That
    the contributions add up is not enough: so do those of any other cut of W_O.
    """
    heads, width = _heads(attention)
    p = attention.parameters()
    matrix = p["output.weight"]
    arguments = {"query": query, "key": key, "value": value, "mask": mask}
    bounds = attention_bounds(attention, arguments)
    output, weights = attention(**arguments)
    values = value.double() @ p["value.weight"].double().mT + p["value.bias"].double()
    attention.set_parameters({"output.weight": torch.zeros_like(matrix)})
    bias, _ = attention(**arguments)
    total, sizes = bias, bias.abs()
    for h in range(heads):
        attention.set_parameters({"output.weight": _only_head(h, width, matrix)})
        added, _ = attention(**arguments)
        own = _block(h, width)
        exact = weights[:, h].double() @ values[..., own] @ matrix[:, own].double().mT
        rounding = gamma(4, unit_roundoff(output.dtype)) * (added.abs() + bias.abs()).double()
        close((added - bias).double(), exact, 2 * bounds.output + rounding, f"what head {h} adds")
        total = total + (added - bias)
        sizes = sizes + added.abs() + bias.abs()
    rounding = gamma(2 * heads + 2, unit_roundoff(output.dtype)) * sizes.double()
    error = (2 * heads + 2) * bounds.output + rounding
    close(total, output, error, "what the heads add up to")
    sometimes_differs(output, bias, "the heads add something", error)


@proof(
    MULTI,
    method="symbolic",
    formula="[head_1, head_2] W_O = head_1 W_O^1 + head_2 W_O^2, in symbols, for d_h = 2",
    claim=MHA_04,
)
def symbols_add_up_over_the_heads(attention: Callable[..., Any]) -> None:
    """Run on symbols, and add up each head's mean of its values times its own columns of W_O.

    Heads are two wide, since at a width of one it makes no difference whether their columns lie
    side by side or in turns. Sums over more heads, columns and keys have more terms of this kind.
    """
    names = ("query", "key")
    values = {f"{n}.weight": symbolic.tensor(sympy.eye(4).tolist()) for n in names}
    values |= {f"{n}.bias": symbolic.tensor([0] * 4) for n in names}
    module, p = symbolic.symbolic_module(attention, 4, 2, values=values)
    q, k, v = (symbolic.symbols(name, 1, size, 4) for name, size in (("q", 1), ("k", 2), ("v", 2)))
    output, weights = module(q, k, v)
    projected = v.entries[0] @ p["value.weight"].entries.T + p["value.bias"].entries
    matrix, total = p["output.weight"].entries, p["output.bias"].entries
    for h in range(2):
        own = _block(h, 2)
        total = total + weights.entries[0, h, 0] @ projected[:, own] @ matrix[:, own].T
    expected = symbolic.tensor([[total.tolist()]])
    assert symbolic.equal(output, expected), "the heads do not add up to the output"


@proof(
    MULTI,
    method="symbolic",
    formula="H = 2, d_h = 1: T_j = Σ_h α^h_j A_h with det A_h = 0, for T_j the map of value j",
    claim=MHA_02.part("subspace"),
)
def what_a_head_adds_has_the_rank_of_its_width(attention: Callable[..., Any]) -> None:
    """A head of width one adds a matrix of rank one: all that it says passes one number.

    The map from each value to the output is read off by differentiating. From those of two values,
    and the weights of two heads, each head's own map follows, up to a factor; it is singular.
    """
    module, _ = symbolic.symbolic_module(attention, 2, 2)
    q, k, v = (symbolic.symbols(name, 1, size, 2) for name, size in (("q", 1), ("k", 2), ("v", 2)))
    output, weights = module(q, k, v)
    alpha = weights.entries[0, :, 0]  # (head, key)
    maps = [
        [
            [sympy.diff(output.entries[0, 0, a], v.entries[0, j, b]) for b in range(2)]
            for a in (0, 1)
        ]
        for j in range(2)
    ]
    zero = symbolic.tensor([0])
    for h, other in ((0, 1), (1, 0)):
        own = [
            [maps[0][a][b] * alpha[other, 1] - maps[1][a][b] * alpha[other, 0] for b in range(2)]
            for a in range(2)
        ]
        determinant = symbolic.tensor([own[0][0] * own[1][1] - own[0][1] * own[1][0]])
        assert symbolic.equal(determinant, zero), f"the rank of what head {h} adds is above one"
        assert not symbolic.equal(symbolic.tensor([own[0][0]]), zero), f"head {h} adds nothing"


@dataclass(frozen=True)
class _ValueMaps:
    """How each value moves each output, read off by passing one unit value at a time.

    Attributes:
        moves: the maps T_ij from value j to output i, (L, S, D, D), what enters before what leaves.
        weights: the weights of the first item, (H, L, S).
        limit: how far rounding can move all maps together, in the Frobenius norm, and what the
            reported weights, off by their own error, leave over of them.
    """

    moves: Tensor
    weights: Tensor
    limit: Tensor


def _value_maps(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> _ValueMaps:
    heads, width = _heads(attention)
    d, n = heads * width, key.shape[-2]
    assume(n * d <= 60)
    units = torch.eye(n * d).to(value).view(n * d, n, d)
    values = torch.cat([torch.zeros(1, n, d).to(value), units])
    many = len(values)
    one = None if mask is None else mask[:1] if mask.dim() >= 3 else mask
    arguments = {
        "query": query[:1].expand(many, -1, -1).contiguous(),
        "key": key[:1].expand(many, -1, -1).contiguous(),
        "value": values,
        "mask": one,
    }
    output, weights = attention(**arguments)
    bounds = attention_bounds(attention, arguments)
    rows = query.shape[-2]
    moves = (output[1:] - output[:1]).double().view(n, d, rows, d).permute(2, 0, 1, 3)
    entry = 2 * float(bounds.output)
    largest = attention.largest_parameter()
    # The weights that were reported are off by their own error, times the matrices they multiply.
    matrices = heads * d * d * width * largest * largest * float(bounds.weights)
    limit = (
        math.sqrt(moves.numel()) * (entry + matrices)
        + 64 * gamma(n * d, unit_roundoff(torch.float64)) * moves.norm()
    )
    return _ValueMaps(moves, weights[0].double(), limit)


@law(
    MULTI,
    inputs=_inputs(least=2),
    formula="T_ij = Σ_h α^h_ij A_h with rank A_h ≤ d_h, so the singular value d_h + 1 of A_h is 0",
    claim=MHA_02.part("subspace"),
)
def what_one_head_adds_lies_in_a_subspace_of_its_width(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """What one head adds to the output passes d_h numbers, and so has no more dimensions.

    The map from values to outputs is read off, and split among the heads by their weights, where
    these tell the heads apart.
    """
    heads, width = _heads(attention)
    assume(heads >= 2)
    found = _value_maps(attention, query, key, value, mask)
    finite(found.moves, "how the values move the output")
    alpha = found.weights.flatten(1).mT  # (L·S, H)
    smallest = torch.linalg.svdvals(alpha)[-1] if len(alpha) >= heads else torch.zeros(())
    assume(float(smallest) > 1e-2)
    d = heads * width
    own = (torch.linalg.pinv(alpha) @ found.moves.flatten(2).flatten(0, 1)).view(heads, d, d)
    sigma = torch.linalg.svdvals(own)
    error = found.limit / smallest + 64 * unit_roundoff(torch.float64) * sigma.max() / smallest
    beyond = sigma[..., width:]
    at_most(beyond, torch.zeros_like(beyond), error, "the singular values beyond the head's width")
    largest = sigma[..., :width]
    sometimes_differs(largest, torch.zeros_like(largest), "the heads add something", error)


@law(
    MULTI,
    inputs=_inputs(),
    formula="T_i = Σ_h α^h_i ⊗ A_h, for T_i the map from values to output_i",
    claim=MHA_03,
)
def the_reported_weights_are_those_that_mix_the_values(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """As a map of the values, the output is a sum over heads: a weight times a fixed matrix.

    The map is read off by passing one unit value at a time. It has Kronecker rank H at most, and
    is spanned by the weights that were reported.
    """
    heads, width = _heads(attention)
    found = _value_maps(attention, query, key, value, mask)
    d, limit = heads * width, found.limit
    table = found.moves.flatten(2).flatten(0, 1)  # (L·S, D·D)
    alpha = found.weights.flatten(1).mT  # (L·S, H)
    basis = torch.linalg.qr(alpha).Q
    left = table - basis @ (basis.mT @ table)
    at_most(left.norm(), torch.zeros(()).double(), limit, "what the reported weights leave over")
    size = table.norm()
    sometimes_differs(size, torch.zeros_like(size), "the values move the output", limit)
    if heads > 1:  # a projection that heads share leaves no more than one head's width
        maps = table.view(-1, d, d)
        for words, side in (
            ("what enters", maps.transpose(0, 1).flatten(1)),
            ("what leaves", maps.flatten(0, 1)),
        ):
            beyond = torch.linalg.svdvals(side)[width]
            none = torch.zeros_like(beyond)
            sometimes_differs(beyond, none, f"{words} has more dimensions than one head", limit)


@proof(
    MULTI,
    method="symbolic",
    formula="one head: all 2×2 minors of T vanish; the target [v_a; v_b] has a minor of one",
    claim=MHA_03,
)
def one_head_cannot_read_two_tokens_apart(attention: Callable[..., Any]) -> None:
    """One head maps values by α ⊗ A, of rank one; taking each half from another token has rank two.

    Two heads reach it in the hard limit: with large scores, head one copies the first token and
    head two the second.
    """
    module, _ = symbolic.symbolic_module(attention, 2, 1)
    q, k, v = (symbolic.symbols(name, 1, size, 2) for name, size in (("q", 1), ("k", 2), ("v", 2)))
    output = module(q, k, v)[0].entries[0, 0]
    minors = _minors(output, v.entries[0])
    zeros = symbolic.tensor([0] * len(minors))
    assert symbolic.equal(symbolic.tensor(minors), zeros), "one head's map has a rank above one"
    target = [v.entries[0, 0, 0], v.entries[0, 1, 1]]
    assert 1 in _minors(target, v.entries[0]), "the target's map has rank one as well"

    two = attention(2, 2).double()
    with torch.no_grad():
        for name in ("query", "key", "value", "output"):
            getattr(two, name).weight.copy_(torch.eye(2))
            getattr(two, name).bias.zero_()
    query = torch.tensor([[[60.0, -60.0]]], dtype=torch.float64)
    key = torch.tensor([[[1.0, 1.0], [-1.0, -1.0]]], dtype=torch.float64)
    value = torch.tensor([[[3.0, 5.0], [7.0, 11.0]]], dtype=torch.float64)
    found, _ = two(query, key, value)
    expected = torch.tensor([[[3.0, 11.0]]], dtype=torch.float64)
    assert torch.equal(found, expected), f"two heads give {found.tolist()}, not [3, 11]"


def _minors(output: Any, values: Any) -> list[Any]:
    """Give the 2×2 minors of the map from two tokens' values to an output, as token × rest."""
    rows = [
        [sympy.diff(output[a], values[j, b]) for a in range(2) for b in range(2)] for j in range(2)
    ]
    return [
        rows[0][x] * rows[1][y] - rows[0][y] * rows[1][x] for x in range(4) for y in range(x + 1, 4)
    ]


# --- MHA-05: expressive power -------------------------------------------------------------------


@law(
    MULTI,
    inputs=_inputs(mask="none", least=3),
    formula="rank of one head's scores ≤ d_h, so σ_{d_h+1} of log α^h, twice differenced, is 0",
)
def a_head_scores_with_no_more_than_its_width(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """The scores of a head are dot products of d_h numbers, and of no more."""
    _, width = _heads(attention)
    arguments = {"query": query, "key": key, "value": value, "mask": mask}
    assume(4 * largest_score(attention, arguments) < underflow_gap(query.dtype))
    _, weights = attention(**arguments)
    bounds = attention_bounds(attention, arguments)
    scores = second_difference(weights.double().log())
    finite(scores, "the log-weights")
    sigma = torch.linalg.svdvals(scores)
    error = 4 * float(log_weight_error(bounds.relative)) * math.sqrt(scores[0, 0].numel())
    error += 64 * unit_roundoff(torch.float64) * float(sigma.max())
    beyond = sigma[..., width:]
    at_most(beyond, torch.zeros_like(beyond), error, "the singular values beyond the head's width")
    largest = sigma[..., :width]
    sometimes_differs(largest, torch.zeros_like(largest), "the scores are not all equal", error)
    heads = scores.shape[1]
    if query.dtype != torch.float64:
        return  # there, how far heads are apart may be less than what rounding explains
    for words, all_scores in (("keys", scores.flatten(1, 2)), ("queries", scores.mT.flatten(1, 2))):
        if heads > 1 and min(all_scores.shape[-2:]) > width:
            beyond = torch.linalg.svdvals(all_scores)[..., width]
            sometimes_differs(
                beyond, torch.zeros_like(beyond), f"heads project {words} apart", heads * error
            )


@proof(
    MULTI,
    method="symbolic",
    formula="W_O^2 = 0 ⇒ two heads give Attention(q W_Q^1, k W_K^1, v W_V^1) W_O^1",
    claim=MHA_05.part("at fixed head width"),
)
def two_heads_can_do_what_one_can(attention: Callable[..., Any]) -> None:
    """With the second head's columns of W_O at zero, the first head alone is left."""
    _, parameters = symbolic.symbolic_module(attention, 2, 2)
    matrix = parameters["output.weight"].entries
    kept = symbolic.tensor([[matrix[0, 0], 0], [matrix[1, 0], 0]])
    module, _ = symbolic.symbolic_module(
        attention, 2, 2, values={**parameters, "output.weight": kept}
    )
    x = symbolic.symbols("x", 1, 2, 2)
    output = module(x, x, x)[0].entries[0]
    tokens = x.entries[0]
    q, k, v = (
        tokens @ parameters[f"{name}.weight"].entries[0] + parameters[f"{name}.bias"].entries[0]
        for name in ("query", "key", "value")
    )
    bias = parameters["output.bias"].entries
    for i in range(2):
        terms = [sympy.exp(q[i] * k[j]) for j in range(2)]
        head = sum(term * v[j] for j, term in enumerate(terms)) / sum(terms)
        expected = symbolic.tensor([head * matrix[a, 0] + bias[a] for a in range(2)])
        found = symbolic.tensor([output[i, a] for a in range(2)])
        assert symbolic.equal(found, expected), f"output {i} is not the first head's"


def _around(turn: float) -> dict[str, Any]:
    """Give three keys and many queries on a circle, for identity projections of width two."""
    angles = torch.arange(12, dtype=torch.float64) * (math.pi / 6)
    queries = 4 * torch.stack([angles.cos(), angles.sin()], -1)[None]
    corners = turn + torch.arange(3, dtype=torch.float64) * (2 * math.pi / 3)
    keys = torch.stack([corners.cos(), corners.sin()], -1)[None]
    names = ("query", "key", "value", "output")
    identity = torch.eye(2, dtype=torch.float64)
    setup = Setup({"d_model": 2, "n_heads": 2}, matrices={f"{n}.weight": identity for n in names})
    return {"query": queries, "key": keys, "value": keys, "mask": None, "setup": setup}


def _each_key_wins(weights: Tensor) -> Tensor:
    """Say how far each key is ahead of both others, at the query that likes it best, per head."""
    others = torch.stack([weights.roll(1, -1), weights.roll(2, -1)]).amax(0)
    return (weights - others).amax(-2)[0]  # (H, S)


@refutation(
    MULTI,
    claim=MHA_05.part("at fixed model width"),
    formula="where one head of width 2 lets each of 3 keys win, so does one of two of width 1",
    inputs=st.floats(0.05, 1.0).map(_around),
    pinned=_around(0.1),
)
def two_narrow_heads_can_do_what_a_wide_one_can(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """Scores of width one are a_i b_j: the key in the middle wins for no query.

    One head of width two, with the same parameters, lets each of three keys on a circle win.
    """
    wide = attention.construct(d_model=2, n_heads=1)
    wide.set_parameters(attention.parameters())
    _, weights = wide(query, key, value, mask)
    assume(bool((_each_key_wins(weights) > 0).all()))
    _, narrow = attention(query, key, value, mask)
    ahead = _each_key_wins(narrow).amin(-1)  # of the key that is worst off in each head
    best = ahead.amax()
    above(best, torch.zeros_like(best), "how far every key is ahead, in the better of two heads")


@proof(
    MULTI,
    method="symbolic",
    formula="d_h = 1: α_0 / α_1 = e^{a (b_0 − b_1)}, so a key between two others never beats both",
    against=MHA_05.part("at fixed model width"),
)
def a_head_of_width_one_ranks_keys_along_a_line(attention: Callable[..., Any]) -> None:
    """In symbols the log-odds are a_i (b_j − b_k): keys are ordered as b is, or in reverse."""
    module, p = symbolic.symbolic_module(attention, 2, 2)
    q, k, v = (symbolic.symbols(name, 1, size, 2) for name, size in (("q", 1), ("k", 3), ("v", 3)))
    weights = module(q, k, v)[1].entries[0, 0, 0]
    a = q.entries[0, 0] @ p["query.weight"].entries[0] + p["query.bias"].entries[0]
    b = k.entries[0] @ p["key.weight"].entries[0] + p["key.bias"].entries[0]
    found = symbolic.tensor([weights[1] / weights[0], weights[2] / weights[0]])
    exact = symbolic.tensor([sympy.exp(a * (b[1] - b[0])), sympy.exp(a * (b[2] - b[0]))])
    assert symbolic.equal(found, exact), "the odds of a head of width one are not e^{a (b − b′)}"
    # The log-odds of a key in the middle against the other two have opposite signs.
    low, query_entry = sympy.symbols("low a", real=True)
    below, over = sympy.symbols("below over", positive=True)
    middle, high = low + below, low + below + over
    against_low, against_high = query_entry * (middle - low), query_entry * (middle - high)
    product = sympy.expand(against_low * against_high)
    assert product == -below * over * query_entry**2, f"the product of log-odds is {product}"
    assert product.is_nonpositive, "a key in the middle may win"


# --- MHA-06: heads that start equal -------------------------------------------------------------


@refutation(
    MULTI,
    claim=MHA_06.part("from any start"),
    formula="W^1 = W^2 in all four matrices, and yet ∂L/∂W^1 ≠ ∂L/∂W^2",
    inputs=attention_inputs(MULTI, "none", regimes=("integers", "normal")).filter(
        lambda drawn: drawn["setup"].arguments["n_heads"] >= 2
    ),
    pinned={
        "query": torch.ones(1, 1, 2).double(),
        "key": torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]).double(),
        "value": torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]).double(),
        "mask": None,
        "setup": Setup({"d_model": 2, "n_heads": 2}),
    },
)
def heads_that_start_equal_come_apart(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """Equal heads get equal gradients, so that no number of steps makes them unequal."""
    heads, width = _heads(attention)
    before = attention.parameters()
    tied = {n: before[n][:width].repeat(heads, *[1] * (before[n].dim() - 1)) for n in ROWS}
    tied["output.weight"] = before["output.weight"][:, :width].repeat(1, heads)
    attention.set_parameters(tied)
    output, _ = attention(leaf(query), key, value, mask)
    probe = torch.cos(torch.arange(output.numel()).to(output)).view(output.shape)
    found = attention.parameter_gradients((output * probe).sum())
    blocks = [found[name].view(heads, width, -1) for name in ROWS]
    blocks.append(found["output.weight"].mT.reshape(heads, width, -1))
    gap = torch.stack([(block - block[:1]).abs().amax() for block in blocks]).amax()
    largest = torch.stack([block.abs().amax() for block in blocks]).amax()
    rounding = gamma(query.numel() * key.numel() * heads * width, precision(query.dtype)) * largest
    above(gap, rounding, "the difference of two heads' gradients")


@proof(
    MULTI,
    method="symbolic",
    formula="equal W^1, W^2 ⇒ ∂y/∂W^1 = ∂y/∂W^2 in symbols; unequal W_O^1, W_O^2 ⇒ not",
    against=MHA_06.part("from any start"),
)
def equal_heads_have_equal_derivatives(attention: Callable[..., Any]) -> None:
    """By induction: equal heads have equal derivatives, so each step leaves them equal.

    By a generic entry of each of a head's matrices and biases; entries differ in their names alone.
    """
    for name, first, second in _head_derivatives(attention, tied=True):
        assert symbolic.equal(first, second), f"the derivatives by the two heads' {name} differ"


@proof(
    MULTI,
    method="symbolic",
    formula="W^1 = W^2 but W_O^1 ≠ W_O^2 ⇒ ∂y/∂W_V^1 ≠ ∂y/∂W_V^2 in symbols",
    claim=MHA_06.part("from unequal outputs"),
)
def unequal_output_matrices_give_unequal_derivatives(attention: Callable[..., Any]) -> None:
    """Different columns of W_O are enough to push heads that are equal otherwise apart."""
    different = [
        name
        for name, first, second in _head_derivatives(attention, tied=False)
        if not symbolic.equal(first, second)
    ]
    matrices = {"query.weight", "key.weight", "value.weight"}
    assert matrices <= set(different), f"only by {different} do they differ"


def _head_derivatives(
    attention: Callable[..., Any], *, tied: bool
) -> Iterator[tuple[str, symbolic.SymbolicTensor, symbolic.SymbolicTensor]]:
    """Differentiate the first output by parameters of each of two heads whose rows are equal."""
    module, parameters = symbolic.symbolic_module(attention, 2, 2)
    x = symbolic.symbols("x", 1, 2, 2)
    output, _ = module(x, x, x)
    equal: dict[Any, Any] = {}
    for name in ("query", "key", "value"):
        rows, bias = parameters[f"{name}.weight"].entries, parameters[f"{name}.bias"].entries
        equal |= {rows[1, c]: rows[0, c] for c in range(2)} | {bias[1]: bias[0]}
    columns = parameters["output.weight"].entries
    if tied:
        equal |= {columns[r, 1]: columns[r, 0] for r in range(2)}
    first = symbolic.tensor([output.entries[0, 0, 0]])
    pairs = {"output.weight": (columns[0, 0], columns[0, 1])}
    for name in ("query", "key", "value"):
        rows, bias = parameters[f"{name}.weight"].entries, parameters[f"{name}.bias"].entries
        pairs |= {f"{name}.weight": (rows[0, 0], rows[1, 0]), f"{name}.bias": (bias[0], bias[1])}
    for name, pair in pairs.items():
        both = [symbolic.derivative(first, entry).entries[0].xreplace(equal) for entry in pair]
        yield name, symbolic.tensor([both[0]]), symbolic.tensor([both[1]])


# --- MHA-07 and symmetries ----------------------------------------------------------------------


@law(
    MULTI,
    inputs=_inputs(),
    formula="heads in another order, with their rows and columns ⇒ the same output",
    named=True,
)
def the_order_of_the_heads_makes_no_difference(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """Heads are a set: rolling their rows and columns rolls their weights and nothing else."""
    heads, width = _heads(attention)
    assume(heads >= 2 and (mask is None or mask.dim() < 4 or mask.shape[1] == 1))
    before = attention.parameters()
    arguments = {"query": query, "key": key, "value": value, "mask": mask}
    output, weights = attention(**arguments)
    rolled = {name: before[name].roll(width, 0) for name in ROWS}
    attention.set_parameters({**rolled, "output.weight": before["output.weight"].roll(width, 1)})
    same, moved = attention(**arguments)
    bounds = attention_bounds(attention, arguments)
    close(moved, weights.roll(1, 1), 2 * bounds.weights, "the weights of rolled heads")
    close(same, output, 2 * bounds.output, "the output of rolled heads")
    attention.set_parameters({"output.weight": before["output.weight"]})
    other, _ = attention(**arguments)
    sometimes_differs(other, output, "rolling the rows alone changes the output", 2 * bounds.output)


def _twins(before: dict[str, Tensor], width: int, *, split: bool) -> dict[str, Tensor]:
    """Make head two a copy of head one; give each half of W_O, or head one all of it."""
    first, second = _block(0, width), _block(1, width)
    changed = {name: before[name].clone() for name in (*ROWS, "output.weight")}
    if split:
        for name in ROWS:
            changed[name][second] = changed[name][first]
    matrix = changed["output.weight"]
    matrix[:, second] = matrix[:, first] / 2 if split else 0.0
    if split:
        matrix[:, first] = matrix[:, first] / 2
    return changed


@law(
    MULTI,
    inputs=_inputs(),
    formula="(W^1, W^2, W_O = [A, 0]) and (W^1, W^1, W_O = [A/2, A/2]) are one function",
    against=MHA_07.part("by the loss"),
    named=True,
)
def a_head_may_be_split_into_two_equal_ones(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """Two heads that overlap completely do what one does: no loss can tell them apart."""
    heads, width = _heads(attention)
    assume(heads >= 2 and (mask is None or mask.dim() < 4 or mask.shape[1] == 1))
    before = attention.parameters()
    arguments = {"query": query, "key": key, "value": value, "mask": mask}
    attention.set_parameters(_twins(before, width, split=False))
    one, _ = attention(**arguments)
    bounds = attention_bounds(attention, arguments)
    attention.set_parameters(_twins(before, width, split=True))
    two, weights = attention(**arguments)
    close(two, one, 2 * bounds.output, "the output with the head split")
    close(weights[:, 1], weights[:, 0], 2 * bounds.weights, "the weights of the second half")
    sometimes_differs(one, torch.zeros_like(one), "the output is not zero", bounds.output)


@refutation(
    MULTI,
    claim=MHA_07.part("by the loss"),
    formula="heads that overlap completely compute another function than heads that do not",
    inputs=attention_inputs(MULTI, "none", regimes=("integers", "normal")).filter(
        lambda drawn: drawn["setup"].arguments["n_heads"] >= 2
    ),
    pinned={
        "query": torch.zeros(1, 1, 2).double(),
        "key": torch.ones(1, 1, 2).double(),
        "value": torch.ones(1, 1, 2).double(),
        "mask": None,
        "setup": Setup({"d_model": 2, "n_heads": 2}),
    },
)
def overlapping_heads_compute_something_else(
    attention: Subject, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> None:
    """Split a head into two equal ones with half of W_O each: the output is the same."""
    _, width = _heads(attention)
    before = attention.parameters()
    arguments = {"query": query, "key": key, "value": value, "mask": mask}
    attention.set_parameters(_twins(before, width, split=False))
    one, _ = attention(**arguments)
    bounds = attention_bounds(attention, arguments)
    attention.set_parameters(_twins(before, width, split=True))
    two, _ = attention(**arguments)
    change = (two - one).abs().amax().double()
    above(change, 2 * bounds.output, "how much the output changes")
