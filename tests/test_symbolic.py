"""The symbolic tensor: what it proves of the reference, what it disproves, and that it is torch."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import sympy
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's custom

from attest.symbolic import (
    SymbolicTensor,
    Undecided,
    derivative,
    equal,
    symbolic_module,
    symbols,
    tensor,
)
from reference import (
    AdditiveAttention,
    MultiHeadAttention,
    MultiplicativeAttention,
    SelfAttention,
    additive_attention,
    causal_mask,
    masked_softmax,
    padding_mask,
    scaled_dot_product_attention,
    softmax,
)

QUERY, KEY, VALUE = symbols("q", 3, 2), symbols("k", 3, 2), symbols("v", 3, 2)
MASKS = pytest.mark.parametrize("mask", [None, causal_mask(3)], ids=["unmasked", "causal"])


def scores(query: Any, key: Any) -> Any:
    return query @ key.mT / math.sqrt(query.shape[-1])


def test_two_copies_of_one_symbol_are_equal_and_two_symbols_are_not() -> None:
    assert equal(symbols("x", 2), symbols("x", 2))
    assert not equal(symbols("x", 2), symbols("y", 2))


@MASKS
def test_the_weights_of_a_query_sum_to_one(mask: Tensor | None) -> None:
    _, weights = scaled_dot_product_attention(QUERY, KEY, VALUE, mask)
    assert equal(weights.sum(-1), 1)


@MASKS
def test_a_softmax_over_the_queries_does_not_sum_to_one_over_the_keys(mask: Tensor | None) -> None:
    weights = scores(QUERY, KEY)
    if mask is not None:
        weights = weights.masked_fill(~mask, -torch.inf)
    assert not equal(torch.softmax(weights, dim=-2).sum(-1), 1)


def test_the_largest_score_cancels_whatever_it_is() -> None:
    weights = softmax(symbols("x", 2))
    x, y = symbols("x", 2).entries
    assert weights.free_symbols() == {x, y}
    first, second = weights.simplified().entries
    assert first == sympy.exp(x) / (sympy.exp(x) + sympy.exp(y))
    assert second == sympy.exp(y) / (sympy.exp(x) + sympy.exp(y))


def test_a_shift_that_is_not_the_same_for_all_scores_does_not_cancel() -> None:
    x = symbols("x", 2, 2)
    exponentials = torch.exp(x - x.amax(0, keepdim=True))
    assert not equal(exponentials / exponentials.sum(-1, keepdim=True), softmax(x))


def test_a_softmax_without_a_shift_is_the_same_function() -> None:
    x = symbols("x", 2, 3)
    exponentials = torch.exp(x)
    assert equal(softmax(x), exponentials / exponentials.sum(-1, keepdim=True))
    assert equal(softmax(x), torch.softmax(x, -1))
    assert equal(softmax(x), F.softmax(x, dim=-1))
    assert equal(softmax(x), nn.Softmax(-1)(x))
    assert equal(softmax(x), x.softmax(-1))
    assert equal(softmax(x, 0), torch.log_softmax(x, 0).exp())


def test_masked_weights_are_exactly_zero_and_the_others_positive() -> None:
    _, weights = scaled_dot_product_attention(QUERY, KEY, VALUE, causal_mask(3))
    future = ~causal_mask(3)
    assert all(weight is sympy.S.Zero for weight in weights[future].tolist())
    assert bool((weights[~future] > 0).all())


def test_masked_outputs_contain_no_symbol_of_the_future() -> None:
    output, _ = scaled_dot_product_attention(QUERY, KEY, VALUE, causal_mask(3))
    for i in range(3):
        now = QUERY.free_symbols(i) | KEY.free_symbols(slice(i + 1)) | VALUE[: i + 1].free_symbols()
        assert output.free_symbols(i) <= now
        assert (
            output.free_symbols((i, 0)) & VALUE.free_symbols() == VALUE[: i + 1, 0].free_symbols()
        )


def test_unmasked_outputs_contain_the_symbols_of_the_future() -> None:
    output, _ = scaled_dot_product_attention(QUERY, KEY, VALUE)
    assert output.free_symbols(0) >= KEY.free_symbols(2) | VALUE.free_symbols(2)


def test_a_mask_that_is_off_by_one_lets_the_future_through() -> None:
    leaking = torch.ones(3, 3, dtype=torch.bool).tril(1)
    output, _ = scaled_dot_product_attention(QUERY, KEY, VALUE, leaking)
    assert output.free_symbols(0) & KEY.free_symbols(1)
    assert not output.free_symbols(0) & KEY.free_symbols(2)


def test_a_query_without_any_key_gets_zeros_and_not_nan() -> None:
    output, weights = scaled_dot_product_attention(
        QUERY[None], KEY[None], VALUE[None], padding_mask(torch.tensor([2]), 3)[:, None]
    )
    assert equal(weights.sum(-1), 1)
    output, weights = scaled_dot_product_attention(
        QUERY, KEY, VALUE, torch.tensor([[True], [False], [True]])
    )
    assert equal(weights.sum(-1), [1, 0, 1])
    assert equal(output[1], 0)
    assert not output.isnan().any()


def test_the_naive_softmax_of_a_query_without_any_key_is_nan_and_equals_nothing() -> None:
    nothing = torch.softmax(symbols("x", 2).masked_fill(torch.tensor([True, True]), -torch.inf), 0)
    assert bool(nothing.isnan().all())
    assert not equal(nothing, nothing)
    assert equal(torch.nan_to_num(nothing), 0)


def test_a_mask_after_the_softmax_that_does_not_renormalise_is_disproved() -> None:
    mask = causal_mask(3)
    wrong = torch.softmax(scores(QUERY, KEY), -1) * mask
    right = masked_softmax(scores(QUERY, KEY), mask)
    assert not equal(wrong.sum(-1), 1)
    assert not equal(wrong, right)
    assert equal(wrong / wrong.sum(-1, keepdim=True), right)


def test_a_large_negative_score_is_not_quite_a_mask() -> None:
    mask = causal_mask(3)
    right = masked_softmax(scores(QUERY, KEY), mask)
    nearly = torch.softmax(scores(QUERY, KEY).masked_fill(~mask, -1e9), -1)
    assert not equal(nearly, right)
    assert equal(nearly.sum(-1), 1)
    added = scores(QUERY, KEY) + torch.zeros(3, 3).masked_fill(~mask, -torch.inf)
    assert equal(torch.softmax(added, -1), right)


@MASKS
def test_the_odds_of_two_keys_are_the_exponential_of_their_scores_difference(
    mask: Tensor | None,
) -> None:
    _, weights = scaled_dot_product_attention(QUERY, KEY, VALUE, mask)
    expected = scores(QUERY, KEY)
    odds = weights[1:, 0] / weights[1:, 1]
    difference = expected[1:, 0] - expected[1:, 1]
    assert equal(odds, torch.exp(difference))
    assert equal(torch.log(odds), difference)
    assert not equal(odds, torch.exp(-difference))


def test_attention_without_the_scale_is_disproved() -> None:
    _, weights = scaled_dot_product_attention(QUERY, KEY, VALUE)
    assert equal(weights, torch.softmax(scores(QUERY, KEY), -1))
    assert equal(weights, torch.softmax(QUERY @ KEY.mT * 2**-0.5, -1))
    assert not equal(weights, torch.softmax(QUERY @ KEY.mT, -1))
    assert not equal(weights, torch.softmax(QUERY @ KEY.mT / 2, -1))


def test_the_jacobian_of_softmax_is_diag_p_minus_p_p_transposed() -> None:
    x = symbols("x", 3)
    p = softmax(x)
    jacobian = derivative(p, x)
    assert equal(jacobian, torch.eye(3) * p - p[:, None] * p)
    assert equal(jacobian.sum(-1), 0)
    assert not equal(jacobian, torch.eye(3) * p + p[:, None] * p)
    assert not equal(jacobian, torch.eye(3) - p[:, None] * p)
    assert equal(derivative(p[0], x.entries[0]), p[0] * (1 - p[0]))


def test_the_gradient_of_attention_by_a_value_is_its_weight() -> None:
    output, weights = scaled_dot_product_attention(QUERY[:2], KEY, VALUE)
    assert equal(derivative(output[:, 0], VALUE[:, 0]), weights)
    assert equal(derivative(output[:, 0], VALUE[:, 1]), 0)
    assert not equal(derivative(output[:, 0], VALUE[:, 0]), weights.flip(0))


def test_nothing_is_differentiated_through_a_maximum() -> None:
    x = symbols("x", 2)
    with pytest.raises(ValueError, match="maximum"):
        derivative(x.amax(0), x)
    with pytest.raises(ValueError, match="NaN"):
        derivative(tensor([math.nan]), x)
    with pytest.raises(TypeError, match="by symbols"):
        derivative(x, x * 2)


def heads_one_by_one(
    module: MultiHeadAttention, parameters: dict[str, SymbolicTensor], query: Any, key: Any
) -> SymbolicTensor:
    total = parameters["output.bias"]
    for h in range(module.n_heads):
        own = slice(h, h + 1)
        head, _ = scaled_dot_product_attention(
            module.query(query)[..., own], module.key(key)[..., own], module.value(key)[..., own]
        )
        total = total + head @ parameters["output.weight"][:, own].mT
    return total


def test_multi_head_attention_is_the_sum_of_what_each_head_adds() -> None:
    module, parameters = symbolic_module(MultiHeadAttention, 2, 2)
    query, key = symbols("x", 1, 2, 2), symbols("y", 1, 2, 2)
    output, weights = module(query, key, key)
    assert equal(output, heads_one_by_one(module, parameters, query, key))
    assert equal(weights.sum(-1), 1)


def test_multi_head_attention_is_not_one_wide_head_nor_heads_with_swapped_outputs() -> None:
    module, parameters = symbolic_module(MultiHeadAttention, 2, 2)
    one_head, _ = symbolic_module(MultiHeadAttention, 2, 1)
    query, key = symbols("x", 1, 2, 2), symbols("y", 1, 2, 2)
    output, _ = module(query, key, key)
    assert not equal(output, one_head(query, key, key)[0])
    swapped = {**parameters, "output.weight": parameters["output.weight"].flip(1)}
    assert not equal(output, heads_one_by_one(module, swapped, query, key))


def test_heads_that_are_put_together_without_a_transpose_are_disproved() -> None:
    def split(x: SymbolicTensor) -> SymbolicTensor:
        return x.unflatten(-1, (2, -1)).transpose(1, 2)

    x = symbols("x", 1, 2, 2)
    identity = {f"{name}.weight": torch.eye(2) for name in ("query", "key", "value", "output")}
    biases = {f"{name}.bias": torch.zeros(2) for name in ("query", "key", "value", "output")}
    module, _ = symbolic_module(MultiHeadAttention, 2, 2, values=identity | biases)
    heads, _ = scaled_dot_product_attention(split(x), split(x), split(x))
    assert equal(module(x, x, x)[0], heads.transpose(1, 2).reshape(1, 2, 2))
    assert not equal(module(x, x, x)[0], heads.reshape(1, 2, 2))


def test_the_order_of_the_keys_makes_no_difference_and_that_of_the_queries_does() -> None:
    output, _ = scaled_dot_product_attention(QUERY, KEY, VALUE)
    order = [2, 0, 1]
    assert equal(scaled_dot_product_attention(QUERY, KEY[order], VALUE[order])[0], output)
    assert not equal(scaled_dot_product_attention(QUERY, KEY[order], VALUE)[0], output)
    assert not equal(scaled_dot_product_attention(QUERY[order], KEY, VALUE)[0], output)
    assert equal(scaled_dot_product_attention(QUERY[order], KEY, VALUE)[0], output[order])


@pytest.mark.parametrize(
    ("cls", "sizes", "copies"),
    [
        (AdditiveAttention, (2, 2, 2), 3),
        (MultiplicativeAttention, (2, 2), 3),
        (MultiHeadAttention, (2, 2), 3),
        (SelfAttention, (2,), 1),
    ],
)
def test_the_weights_of_every_module_sum_to_one_and_ignore_the_future(
    cls: type[nn.Module], sizes: tuple[int, ...], copies: int
) -> None:
    module, parameters = symbolic_module(cls, *sizes)
    x = symbols("x", 1, 2, 2)
    _, free = module(*[x] * copies)
    output, weights = module(*[x] * copies, mask=causal_mask(2)[None])
    assert equal(free.sum(-1), 1)
    assert equal(weights.sum(-1), 1)
    assert not output.free_symbols((0, 0)) & x.free_symbols((0, 1))
    assert output.free_symbols((0, 1)) >= x.free_symbols((0, 1))
    assert set(parameters) == set(dict(cls(*sizes).named_parameters()))
    assert not list(module.parameters())


def test_additive_scores_are_sums_of_hyperbolic_tangents() -> None:
    query, key, energy = symbols("q", 1, 1, 2), symbols("k", 1, 2, 2), symbols("e", 2)
    _, weights = additive_attention(query, key, key, energy)
    score = (torch.tanh(query + key) * energy).sum(-1)
    odds = weights[0, 0, 0] / weights[0, 0, 1]
    assert equal(odds, torch.exp(score[0, 0] - score[0, 1]))
    assert not equal(odds, torch.exp(score[0, 1] - score[0, 0]))
    assert equal(torch.tanh(-query), -torch.tanh(query))


def test_an_attention_to_what_attention_gave_sums_to_one() -> None:
    module, _ = symbolic_module(SelfAttention, 2)
    once, _ = module(symbols("x", 1, 2, 2))
    twice, weights = module(once)
    assert equal(weights.sum(-1), 1)
    assert not equal(once, twice)


def numbers(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-12, 13, shape, generator=generator).double() / 8


def written(x: Any) -> Any:
    """Write to a tensor and to a view of it, in all the ways that torch has."""
    x = x.clone()
    view = x.transpose(0, 1)[0]
    view += 1
    x[1:, :1] = 7
    x[x > 1] *= 2  # a copy is multiplied, and then written back
    x[0].masked_fill_(torch.tensor([True, False, False]), -1)
    x.view(-1)[3:5].mul_(3).sub_(1)
    x.reshape(-1).exp_()
    kept = x.permute(1, 0).contiguous()
    x.zero_()
    x += torch.stack([view, view])[:, :1]
    x /= 2
    return torch.cat([x.flatten(), view, kept.flatten()])


OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "operators": lambda x, y: (2 - x) * y / (3 + y**2) - x / 4 + abs(-y) + (+x) - 2 ** (x * 0),
    "real tensors on the left": lambda x, y: (
        (torch.ones(3) - x) * y / 2 + torch.eye(2, 3) / (1 + x**2)
    ),
    "functions": lambda x, y: (
        x.exp() + torch.tanh(y) + torch.sigmoid(x) + (x * x).sqrt() + torch.log(y.square() + 1)
    ),
    "reciprocals": lambda x, y: (x.square() + 1).rsqrt() + (y.abs() + 1).reciprocal() + x.neg(),
    "matmul of vectors": lambda x, y: x[0] @ y[1],
    "matmul of a matrix and a vector": lambda x, y: torch.stack([x @ y[0], y.mT[:2].T @ x[0, :2]]),
    "matmul of batches": lambda x, y: x[:, None, None] @ y[None, :, :, None],
    "matmul with a real tensor": lambda x, y: numbers(4, 3) @ x.T @ y + numbers(4, 2) @ y,
    "bmm": lambda x, y: torch.bmm(x[None], y.T[None]),
    "einsum": lambda x, y: torch.einsum("ij, kj -> ik", x, y) + torch.einsum("ij->", x),
    "einsum with a batch": lambda x, y: torch.einsum("...i,...i->...", x, y),
    "linear": lambda x, y: F.linear(x, y) + F.linear(x, numbers(2, 3), y[0, :2]),
    "sum": lambda x, y: x.sum() + y.sum(-1, keepdim=True) + x.sum(dim=(0, 1)) + y.sum(1)[:, None],
    "mean": lambda x, y: x.mean() + torch.mean(y, dim=0, keepdim=True),
    "amax": lambda x, y: x.amax(-1, keepdim=True) + torch.amax(y, dim=(0, 1)) + y.max(),
    "max": lambda x, y: x.max(-1, keepdim=True)[0] + torch.max(y, dim=-1).values[:, None],
    "softmax": lambda x, y: torch.softmax(x, 0) + y.softmax(dim=1) + F.log_softmax(x, -1),
    "softmax of infinities": lambda x, y: torch.softmax(
        torch.where(x > 0, y, -torch.inf), -1
    ).nan_to_num(0.5),
    "logsumexp": lambda x, y: torch.logsumexp(x, -1) - y.logsumexp(-1),
    "masked_fill": lambda x, y: x.masked_fill(y > 0, -math.inf).masked_fill(x > 1, math.inf),
    "where": lambda x, y: (
        torch.where(x > y, x, 0.0) + x.where(y > 0, y) + torch.where(x == 0, 1, y)
    ),
    "comparisons": lambda x, y: torch.stack(
        [x > y, x >= 0, numbers(2, 3) < y, x <= y, x == y, x != 0]
    ),
    "comparisons with infinity": lambda x, y: (x.masked_fill(y > 0, -torch.inf) == -torch.inf),
    "triangles": lambda x, y: x.tril() + torch.triu(y, diagonal=1),
    "transposes": lambda x, y: torch.cat([x.T, y.mT, x.transpose(0, 1), y.permute(1, 0), x.t()]),
    "views": lambda x, y: torch.cat(
        [x.view(-1), y.reshape(3, 2).flatten(), x.unflatten(1, (3, 1)).ravel()]
    ),
    "new axes": lambda x, y: (
        x[:, None] + y.unsqueeze(1).squeeze(1)[None] + x[..., None, :, None].squeeze(-1)
    ),
    "expand": lambda x, y: x[:1].expand(2, -1) + y[0].expand_as(x) + numbers(3).expand_as(y),
    "indexing": lambda x, y: x[..., 1:] + y[-1, [0, 2]] + x[torch.tensor([1, 0]), :2],
    "boolean indexing": lambda x, y: torch.cat([x[x > 0], y[y <= 0]]),
    "cat and stack": lambda x, y: torch.cat([torch.stack([x, y]), numbers(1, 2, 3)], dim=0),
    "chunk and split": lambda x, y: torch.cat([*x.chunk(3, -1), *torch.split(y, [1, 2], 1)], dim=1),
    "iteration": lambda x, y: torch.stack([row * len(y) for row in x] + list(y.unbind(0))),
    "repeat": lambda x, y: x.repeat(2, 1) + y.repeat_interleave(2, dim=0) + x.roll(1, 0).tile(2, 1),
    "new tensors": lambda x, y: torch.zeros_like(x) + torch.ones_like(y) + x.new_full((2, 3), 2.0),
    "conversions": lambda x, y: x.to(y).double().type_as(y).detach().contiguous() + y.clone().data,
    "questions": lambda x, y: x * x.size(0) + y.dim() + x.numel() + y.ndim + x.shape[-1],
    "finiteness": lambda x, y: torch.isfinite(x / x) & ~torch.isinf(y) & ~(x - x).isnan(),
    "writing": lambda x, y: written(x) + written(y),
}  # fmt: skip


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS.keys())
def test_on_numbers_it_gives_what_torch_gives(operation: Callable[[Any, Any], Any]) -> None:
    x, y = numbers(2, 3), numbers(2, 3, seed=1)
    expected = operation(x.clone(), y.clone())
    actual = operation(tensor(x), tensor(y))
    if isinstance(actual, SymbolicTensor):
        evaluated = [float(entry) for entry in actual.entries.flat]
        actual = torch.tensor(evaluated, dtype=torch.float64).reshape(actual.shape)
    assert actual.dtype == expected.dtype
    torch.testing.assert_close(actual, expected, equal_nan=True)


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        (lambda x: x.cumsum(-1), "cumsum"),
        (lambda x: torch.cumsum(x, -1), "cumsum"),
        (lambda x: F.layer_norm(x, (3,)), "layer_norm"),
        (lambda x: F.dropout(x, 0.5), "dropout"),
        (lambda x: torch.allclose(x, x), "allclose"),
        (torch.relu, "relu"),
        (lambda x: x.unsqueeze_(0), "unsqueeze_"),
        (lambda x: x.to(torch.int64), "int64"),
        (lambda x: torch.sum(x, 0, out=torch.zeros(3)), "sum"),
        (lambda x: torch.max(x, x), "max"),
        (lambda x: torch.zeros(2, 3).__setitem__(0, x[0]), "__setitem__"),
        (lambda x: torch.zeros(2, 3).add_(x), "add_"),
        (lambda x: torch.arange(3)[x], "__getitem__"),
        (lambda x: x.argmax(-1), "argmax"),
        (lambda x: x.gather(1, x.max(-1, keepdim=True).indices), "gather"),
        (lambda x: x.masked_fill(torch.ones(2, 3), 0.0), "masked_fill"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(
    operation: Callable[[Any], Any], name: str
) -> None:
    with pytest.raises(TypeError, match=name):
        operation(symbols("x", 2, 3))


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: x + torch.zeros(4),
        lambda x: x @ x,
        lambda x: x.view(4),
        lambda x: x.T.view(6),
        lambda x: torch.cat([x, x[0]]),
        lambda x: x.masked_fill(torch.ones(2, dtype=torch.bool), 0.0),
        lambda x: x.sum(2),
        lambda x: x[2],
        lambda x: x[0, 0].amax(1),
        lambda x: x[:0].amax(0),
    ],
)
def test_shapes_that_do_not_fit_raise_what_torch_raises(operation: Callable[[Any], Any]) -> None:
    with pytest.raises((RuntimeError, IndexError)) as expected:
        operation(torch.zeros(2, 3))
    with pytest.raises(expected.type):
        operation(symbols("x", 2, 3))


def test_comparisons_are_answered_only_where_symbols_do_not_matter() -> None:
    x = symbols("x", 2)
    assert (x == symbols("x", 2)).tolist() == [True, True]
    assert (x == -torch.inf).tolist() == [False, False]
    assert (torch.exp(x) > 0).tolist() == [True, True]
    assert bool(tensor(2) > 1)
    assert not tensor(0)
    for undetermined in (
        lambda: x > 0,
        lambda: x == 0,
        lambda: torch.zeros(2) < x,
        lambda: x[0] != 1,
    ):
        with pytest.raises(TypeError, match="undetermined"):
            undetermined()
    with pytest.raises(TypeError, match="undetermined"):
        bool(x[0])


def test_it_says_what_it_is() -> None:
    x = symbols("x", 2, 3)
    assert x.shape == torch.Size([2, 3])
    assert (x.dtype, x.device.type, x.requires_grad) == (torch.float64, "cpu", False)
    assert torch.is_floating_point(x)
    assert not isinstance(x, Tensor)
    assert str(x[0, 0].item()) == "x_0_0"
    assert repr(x[0, :2]) == "SymbolicTensor([x_0_0, x_0_1])"
    assert symbols("scalar").shape == ()
    with pytest.raises(RuntimeError, match="6 entries"):
        x.item()
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = x.nothing_like_it
    assert equal(copy.deepcopy(x), x)


def test_floats_are_read_as_the_numbers_they_round() -> None:
    values = [1 / math.sqrt(2), math.sqrt(2) / 2, 3**-0.5, 0.1, 1 / 3, 1e30, -2.5, 0.1 + 1e-12]
    root = sympy.sqrt(2) / 2
    tenth = sympy.Rational(1, 10)
    third = sympy.Rational(1, 3)
    exact = [root, root, 1 / sympy.sqrt(3), tenth, third, int(1e30), sympy.Rational(-5, 2)]
    assert tensor(values).tolist()[:-1] == exact
    assert not equal(values[-1], tenth)
    assert tensor(torch.tensor(2.0).sqrt()).item() == sympy.sqrt(2)
    assert tensor(sympy.Float(0.5)).item() == sympy.Rational(1, 2)


def test_entries_are_numbers_and_expressions_in_real_symbols() -> None:
    x = symbols("x", 2)
    assert tensor([[x[0], 1], [x.entries[1], x.sum()]]).shape == (2, 2)
    assert tensor(sympy.eye(2)).shape == (2, 2)
    with pytest.raises(ValueError, match="real=True"):
        tensor([sympy.Symbol("z")])
    with pytest.raises(ValueError, match="not a real number"):
        tensor([sympy.I])
    with pytest.raises(ValueError, match="same shape"):
        tensor([[1], [1, 2]])
    with pytest.raises(TypeError, match="str"):
        tensor(["x"])


def test_a_module_may_be_given_values_for_its_parameters() -> None:
    weight = symbols("w", 2, 2)
    module, parameters = symbolic_module(nn.Linear, 2, 2, values={"weight": weight}, bias=True)
    assert equal(module(torch.eye(2)), weight.T + parameters["bias"])
    assert {str(symbol) for symbol in parameters["bias"].free_symbols()} == {"bias_0", "bias_1"}
    with pytest.raises(ValueError, match="shape"):
        symbolic_module(nn.Linear, 2, 3, values={"weight": weight})
    with pytest.raises(ValueError, match="wieght"):
        symbolic_module(nn.Linear, 2, 2, values={"wieght": weight})


def test_parameters_that_two_modules_share_are_shared_symbols() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(2, 2, bias=False)
            self.second = nn.Linear(2, 2, bias=False)
            self.second.weight = self.first.weight
            self.dropout = nn.Dropout(0.5)

        def forward(self, x: Any) -> Any:
            return self.dropout(self.first(x) - self.second(x))

    module, parameters = symbolic_module(Tied)
    assert list(parameters) == ["first.weight"]
    assert equal(module(symbols("x", 1, 2)), 0)


def test_shapes_that_differ_are_an_error_and_not_a_difference() -> None:
    with pytest.raises(ValueError, match="differ"):
        equal(symbols("x", 2), symbols("x", 3))
    with pytest.raises(ValueError, match="differ"):
        equal(symbols("x", 1, 2), symbols("x", 2))


def test_infinities_equal_themselves_and_nan_does_not() -> None:
    x = symbols("x").item()
    assert equal(-torch.inf, -sympy.oo)
    assert not equal(-torch.inf, math.inf)
    assert not equal(x, math.inf)
    assert not equal(math.nan, math.nan)
    with pytest.raises(Undecided, match="infinities"):
        equal(x * sympy.oo, sympy.oo)


X, Y = symbols("x").item(), sympy.Symbol("y", positive=True)
EXP, TOTAL = sympy.exp(X), sympy.exp(X) + sympy.exp(Y)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((X + Y) ** 2, X**2 + 2 * X * Y + Y**2),
        (sympy.exp(X * (X + 1)), sympy.exp(X**2) * EXP),
        (sympy.exp(X / sympy.sqrt(2)) ** 2, sympy.exp(sympy.sqrt(2) * X)),
        ((sympy.sqrt(2) + X) ** 2, 2 + 2 * sympy.sqrt(2) * X + X**2),
        (sympy.sqrt(6) * sympy.Abs(X), sympy.sqrt(2) * sympy.sqrt(3) * sympy.Abs(X)),
        (EXP / TOTAL + sympy.exp(Y) / TOTAL, 1),
        (1 / TOTAL**2 + 1 / TOTAL, (TOTAL + 1) / TOTAL**2),
        (X / TOTAL + 1 / TOTAL**2 + Y, (Y * TOTAL**2 + 1 + X * TOTAL) / TOTAL**2),
        (1 / (EXP / TOTAL) ** 2, (1 + sympy.exp(Y - X)) ** 2),
        ((sympy.exp(2 * X) - 1) / (EXP + 1), EXP - 1),
        (sympy.exp(X + Y / TOTAL), EXP * sympy.exp(Y / TOTAL)),
        (sympy.exp(X * EXP / TOTAL + X * sympy.exp(Y) / TOTAL + Y), sympy.exp(X + Y)),
        (sympy.tanh(EXP / TOTAL + sympy.exp(Y) / TOTAL), sympy.tanh(1)),
        (sympy.tanh(X * (Y - 1)), -sympy.tanh(X - X * Y)),
        (sympy.tanh(X * (X + 1) - X**2 - X), 0),
        (sympy.tanh(EXP * (EXP - Y)), -sympy.tanh(Y * EXP - sympy.exp(2 * X))),
        (sympy.log(Y * EXP / 6), X + sympy.log(Y) - sympy.log(2) - sympy.log(3)),
        (sympy.log(EXP / TOTAL), -sympy.log(1 + sympy.exp(Y - X))),
        (sympy.E ** (X + 1), sympy.E * EXP),
        ((X**2 + 1) ** sympy.Rational(3, 2), (1 + X * X) * sympy.sqrt(1 + X**2) ** 1),
        (sympy.pi * (X + 1) ** 2, sympy.pi * X**2 + sympy.pi * (2 * X + 1)),
    ],
)
def test_identities_are_proved_and_disproved_when_a_trifle_is_added(
    left: Any, right: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(sympy, "simplify")  # what it proves, it proves by itself
    assert equal(left, right)
    assert not equal(left + sympy.Rational(1, 10**20), right)
    assert not equal(left, right + sympy.exp(-100 + X))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((1 + X) ** 20 * (1 + X), (1 + X) ** 21),
        (sympy.sin(X) ** 2 + sympy.cos(X) ** 2, 1),
        (sympy.tanh(X), (sympy.exp(2 * X) - 1) / (sympy.exp(2 * X) + 1)),
        (sympy.sqrt(X**2 + 1) * sympy.sqrt(X**2 + 1), X**2 + 1),
    ],
)
def test_identities_of_other_functions_are_left_to_sympy(left: Any, right: Any) -> None:
    assert equal(left, right)
    assert not equal(left + sympy.Rational(1, 10**20), right)


@pytest.mark.parametrize(
    ("expression", "simple"),
    [
        (EXP / TOTAL + sympy.exp(Y) / TOTAL, sympy.S.One),
        (EXP * sympy.exp(Y) / (EXP * TOTAL), sympy.exp(Y) / TOTAL),
        ((X + Y) ** 2 - X**2 - 2 * X * Y, Y**2),
        (-sympy.oo, -sympy.oo),
        (2 / sympy.sqrt(8) * X, sympy.sqrt(2) * X / 2),
    ],
)
def test_what_cancels_is_gone_when_simplified(expression: Any, simple: Any) -> None:
    assert tensor(expression).simplified().item() == simple


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (sympy.log(Y * sympy.exp(X)), sympy.log(Y) - X),
        (sympy.sqrt(X**2 + 1), X + 1),
        (sympy.exp(sympy.sqrt(2) * X), sympy.exp(sympy.Rational(141421356237, 10**11) * X)),
        (sympy.Abs(X), X + sympy.tanh(X) / 10**9),
        (Y**sympy.pi, Y**3),
        (sympy.exp(-(10**12)), 0),
    ],
)
def test_what_is_nearly_an_identity_is_disproved(left: Any, right: Any) -> None:
    assert not equal(left, right)


def test_what_can_be_neither_proved_nor_disproved_is_undecided() -> None:
    unknown = sympy.Function("f", real=True)(X)
    assert equal(unknown, unknown)
    with pytest.raises(Undecided, match="neither"):
        equal(unknown, 0)
    with pytest.raises(Undecided, match="divides by zero"):
        equal(1 / ((X + 1) ** 2 - X**2 - 2 * X - 1), X)


def test_a_maximum_is_any_number_in_a_proof_and_the_maximum_in_a_disproof() -> None:
    x = symbols("x", 3)
    largest = x.amax(0)
    assert equal(largest, x.max())
    assert largest.free_symbols() == x.free_symbols()
    assert not equal(largest, x[0])
    assert not equal(torch.exp(x - largest), torch.exp(x))
    with pytest.raises(Undecided):  # true of the maximum, not of any number
        equal(sympy.Mul(*(x - largest).tolist()), 0)


def test_maxima_of_numbers_are_numbers() -> None:
    assert equal(tensor([1, -math.inf, math.sqrt(2)]).amax(0), sympy.sqrt(2))
    assert equal(tensor([X, -math.inf]).amax(0), X)
    assert equal(tensor([-math.inf, -math.inf]).amax(0), -math.inf)
    assert equal(tensor([X, math.inf]).amax(0), math.inf)
    assert bool(tensor([X, math.nan]).amax(0).isnan())


def test_a_division_by_zero_is_what_it_is_in_floating_point() -> None:
    zero = torch.zeros(3)
    assert equal((tensor([2, sympy.exp(X), -1]) / zero), [math.inf, math.inf, -math.inf])
    assert bool((tensor([0, math.nan, X - X]) / zero).isnan().all())
    with pytest.raises(TypeError, match="undetermined"):
        tensor([X]) / 0
    assert equal(tensor([0.0]).log(), -math.inf)
    assert bool(tensor([-1.0]).sqrt().isnan().all())
    assert equal(tensor([0.0]).rsqrt(), math.inf)
