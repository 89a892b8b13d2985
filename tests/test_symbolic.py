"""Symbols run through the reference's own code, and wrong code is not proved right."""

from __future__ import annotations

import pytest
import sympy
import torch

import reference
from attest.symbolic import derivative, equal, symbolic_module, symbols, tensor


def qkv():
    return symbols("q", 2, 2), symbols("k", 3, 2), symbols("v", 3, 2)


def row_sums(weights):
    return tensor(list(weights.entries.sum(axis=-1)))


def test_rows_of_symbolic_weights_sum_to_one():
    _, weights = reference.scaled_dot_product_attention(*qkv())
    assert equal(row_sums(weights), tensor([1, 1]))


def test_masked_weights_are_exactly_zero_and_masked_symbols_do_not_appear():
    query, key, value = symbols("q", 3, 2), symbols("k", 3, 2), symbols("v", 3, 2)
    output, weights = reference.scaled_dot_product_attention(
        query, key, value, reference.causal_mask(3)
    )
    assert weights.entries[0, 1] == weights.entries[0, 2] == weights.entries[1, 2] == 0
    hidden = set(value.entries[1:].flatten()) | set(key.entries[1:].flatten())
    assert not output.entries[0, 0].free_symbols & hidden
    assert output.entries[2, 0].free_symbols >= set(value.entries[:, 0])
    assert equal(row_sums(weights), tensor([1, 1, 1]))


def test_softmax_over_the_queries_is_not_proved_to_have_rows_that_sum_to_one():
    query, key, _ = qkv()
    weights = torch.softmax(query @ key.mT, -2)
    assert not equal(row_sums(weights), tensor([1, 1]))


def test_a_mask_after_the_softmax_is_not_proved_right():
    query, key, _ = qkv()
    mask = torch.tensor([[True, False, True], [True, True, True]])
    weights = torch.softmax(query @ key.mT, -1).masked_fill(~mask, 0.0)
    assert not equal(row_sums(weights), tensor([1, 1]))


def test_a_missing_scale_is_noticed_in_the_odds():
    query, key, value = qkv()
    gap = (query.entries @ key.entries.T)[0]
    exact = tensor([sympy.exp((gap[1] - gap[0]) / sympy.sqrt(2))])
    for scaled, expected in ((True, True), (False, False)):
        q = query if scaled else query * 2.0**0.5
        _, weights = reference.scaled_dot_product_attention(q, key, value)
        odds = tensor([weights.entries[0, 1] / weights.entries[0, 0]])
        assert equal(odds, exact) is expected


def test_the_softmax_jacobian_is_diag_p_minus_p_p_transposed():
    x = symbols("x", 3)
    p = reference.softmax(x)
    for k in range(3):
        moved = derivative(p, x.entries[k])
        a, b = p.entries, p.entries[k]
        exact = [a[j] * ((1 if j == k else 0) - b) for j in range(3)]
        assert equal(moved, tensor(exact))
        assert not equal(moved, tensor([-e for e in exact]))


def test_what_depends_on_the_maximum_is_not_proved():
    x = symbols("x", 2)
    shifted = x - x.amax(-1, keepdim=True)
    assert not equal(shifted, tensor([0, x.entries[1] - x.entries[0]]))


def test_a_module_of_symbols_is_the_modules_formula():
    module, parameters = symbolic_module(reference.MultiplicativeAttention, 2, 1)
    query, key, value = symbols("q", 1, 1, 2), symbols("k", 1, 2, 1), symbols("v", 1, 2, 1)
    _, weights = module(query, key, value)
    w = parameters["key.weight"].entries[:, 0]
    gap = (query.entries[0, 0] @ w) * (key.entries[0, 1, 0] - key.entries[0, 0, 0])
    odds = tensor([weights.entries[0, 0, 1] / weights.entries[0, 0, 0]])
    assert equal(odds, tensor([sympy.exp(gap)]))


def test_given_values_take_the_place_of_symbols():
    one = tensor([[1]])
    module, parameters = symbolic_module(
        reference.MultiplicativeAttention, 1, 1, values={"key.weight": one}
    )
    assert parameters["key.weight"] is one
    assert module.key.weight is one


@pytest.mark.parametrize(
    ("number", "exact"),
    [(3.0, 3), (2.0**0.5, sympy.sqrt(2)), (1 / 3**0.5, 1 / sympy.sqrt(3)), (0.25, sympy.S(1) / 4)],
)
def test_a_float_is_read_as_what_it_rounds(number, exact):
    assert tensor([number]).entries[0] == exact


def test_a_relu_lets_positive_factors_out_and_no_others():
    x, a = symbols("x", 2), sympy.Symbol("a", positive=True)
    times = tensor([a, a])
    total = tensor([sum(x.entries)])
    assert equal(torch.relu(total * tensor([a])), torch.relu(total) * tensor([a]))
    assert equal(torch.relu(x * times), torch.relu(x) * times)
    assert not equal(torch.relu(-x), -torch.relu(x))
    assert torch.relu(tensor([-2, 3])).entries.tolist() == [0, 3]


def test_roots_of_equal_sums_are_equal():
    x = symbols("x", 2)
    total, other = torch.square(x).sum(-1), (x * x).sum(-1)
    product = tensor([(x.entries[0] + x.entries[1]) ** 2 - 2 * x.entries[0] * x.entries[1]])
    assert equal(torch.sqrt(tensor([total.entries.item()])), torch.sqrt(product))
    assert equal(torch.sqrt(other) * torch.sqrt(other), total)


def test_moves_are_those_of_torch():
    x = symbols("x", 2, 3)
    real = torch.arange(6).view(2, 3)
    for move in (
        lambda t: t.mT,
        lambda t: t.transpose(0, 1)[1:],
        lambda t: t.flatten().unflatten(0, (3, 2)),
        lambda t: t[..., None].expand(2, 3, 2),
        lambda t: t.chunk(3, 1)[2],
    ):
        moved, expected = move(x), move(real)
        names = [x.entries.flatten()[i] for i in expected.flatten().tolist()]
        assert moved.entries.flatten().tolist() == names
        assert moved.shape == expected.shape


def test_layers_are_formulas_too():
    x, w = symbols("x", 1, 1, 2), symbols("w", 2)
    a, b = x.entries.flatten()
    spread = sympy.sqrt(((a - b) / 2) ** 2 + sympy.Rational(1, 100_000))
    normed = reference.layer_norm(x, w, tensor([0, 0])).entries.flatten()
    for found, exact in zip(normed, ((a - b) / 2, (b - a) / 2), strict=True):
        gain = w.entries[0] if exact == (a - b) / 2 else w.entries[1]
        assert sympy.simplify(found - gain * exact / spread) == 0
    assert torch.relu(x).entries.flatten().tolist() == [(e + sympy.Abs(e)) / 2 for e in (a, b)]
    assert torch.clamp(x, min=0).entries[0, 0, 0] == sympy.Max(0, a)
    assert torch.clamp(x, max=0).entries[0, 0, 0] == sympy.Min(0, a)


def test_rows_of_a_table_are_looked_up():
    table = symbols("e", 3, 2)
    found = torch.nn.functional.embedding(torch.tensor([[2, 0]]), table)
    assert found.entries[0].tolist() == [table.entries[2].tolist(), table.entries[0].tolist()]


def test_an_unknown_operation_is_named():
    with pytest.raises(TypeError, match="fft_fft"):
        torch.fft.fft(symbols("x", 2))


def test_shapes_that_differ_are_an_error_and_no_disproof():
    with pytest.raises(ValueError, match="differ"):
        equal(symbols("x", 2), symbols("x", 3))


def test_a_number_to_the_power_of_symbols_is_exact():
    exponent = symbols("e", 1)
    (power,) = (10000.0 ** (-exponent / 2)).entries
    assert power == sympy.Integer(10000) ** (-exponent.entries[0] / 2)


def test_sines_and_cosines_of_symbols_are_sympys():
    x = symbols("x", 1)
    assert torch.sin(x).entries[0] == sympy.sin(x.entries[0])
    assert x.cos().entries[0] == sympy.cos(x.entries[0])


def test_symbols_go_through_embeddings_gates_and_losses():
    table, x = symbols("e", 3, 2), symbols("x", 2, 2)
    rows = torch.nn.functional.embedding(torch.tensor([[2, 0]]), table)
    assert rows.entries.tolist() == [[list(table.entries[2]), list(table.entries[0])]]
    opened = torch.sigmoid(x) * (1 + torch.exp(-x))
    assert equal(opened, tensor([[1, 1], [1, 1]]))
    total = torch.logsumexp(x, -1)
    assert total.entries[1] == sympy.log(sympy.exp(x.entries[1, 0]) + sympy.exp(x.entries[1, 1]))
    assert x.gather(-1, torch.tensor([[1], [0]])).entries.tolist() == [
        [x.entries[0, 1]],
        [x.entries[1, 0]],
    ]
    assert x.new_zeros(2, 3).entries.tolist() == x.new_zeros((2, 3)).entries.tolist()
    assert x.new_zeros(1).entries.tolist() == [0]
