"""The tape: what a law did comes back as torch code, bit by bit."""

from __future__ import annotations

import math
import re

import pytest
import torch
from torch.nn import functional as F  # noqa: N812 - torch's custom

import reference
from attest.contract import CONTRACT
from attest.differentiation import gradients, leaf
from attest.implementations import LocalImplementation
from attest.subject import Setup, Subject
from attest.tape import Tape, literal


def noise(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def recorded(law, **inputs):
    """Run a law under a tape; give what it gave and the statements that compute it."""
    tape = Tape(recording=True)
    for name, value in inputs.items():
        tape.given(name, value)
    with tape:
        actual = law(**inputs)
    return actual, tape.script({"actual": actual})


def executed(statements, **names):
    namespace = {"torch": torch, **names}
    exec("\n".join(statements), namespace)  # noqa: S102 - the statements are what is tested
    return namespace


def setting(x):
    y = x.clone()
    y[0] = 7.0
    y[:, 1:] = x[:, :-1]
    y[x > 1] = -1.0
    return y


def adding_in_place(x):
    y = x + 1
    y += x
    y *= 2
    y.mul_(3).clamp_(-4, 4)
    return y


def adding_to_several_in_place(x):
    y, z = x + 1, x.exp()
    torch._foreach_add_([y, z[0]], 2.0)
    return y * z


def used_twice(x):
    y = x.exp() + 1
    return y * y.sum() + y


def differentiated(x):
    x = leaf(x)
    return torch.autograd.grad((x.exp() * x).sum(), x)[0]


def differentiated_for_two(x, y):
    x, y = leaf(x), leaf(y)
    by_x, by_y = gradients(torch.softmax(x @ y.mT, -1), torch.ones_like(x @ y.mT), x, y)
    return by_x.sum() + by_y.sum()


ONE = {
    "sums and products": lambda x: (x + 1) * 2 - x / 3 + x * x,
    "numbers on the left": lambda x: 1 - x + 2 / (x * x + 1) + 3 * x + 4 + x,
    "powers": lambda x: x**2 + (x.abs() + 1) ** 0.5 + torch.pow(x, 3),
    "a number to a power": lambda x: 2**x,
    "signs": lambda x: -x + torch.neg(x).abs(),
    "comparisons": lambda x: ((x > 0) & (x <= 1)) | ~(x < 2) | (x >= 3) | (x == 0) | (x != 1),
    "logical functions": lambda x: torch.logical_and(x > 0, torch.isfinite(x)),
    "transposes": lambda x: x.mT @ x + x.transpose(-1, -2).matmul(x) + x.T @ x,
    "shapes": lambda x: x.reshape(-1)[None].expand(2, -1).unsqueeze(1).flatten(1).view(2, 12),
    "indices": lambda x: x[1] + x[-1, :] + x[..., 0, :] + x[0:2][1] + x[None, 2][0] + x[::2][1],
    "index tensors": lambda x: x[torch.tensor([2, 0])] + x[[0, 1]],
    "boolean indices": lambda x: x[x > 0],
    "item assignment": setting,
    "in place": adding_in_place,
    "several in place": adding_to_several_in_place,
    "used twice": used_twice,
    "reductions": lambda x: x.sum(-1, keepdim=True) + x.amax(dim=0) + x.mean() + x.prod(1).max(),
    "a reduction by a tuple": lambda x: x.sum((0, 1)) + x.abs().amax(dim=(0,)).sum(),
    "maximum and index": lambda x: x.max(-1).values + x.max(-1).indices,
    "topk": lambda x: x.topk(2, -1).values.sum(),
    "sorting": lambda x: torch.sort(x, dim=-1, descending=True)[0].cumsum(-1),
    "splitting": lambda x: x.split(2, -1)[1] + torch.chunk(x, 2, dim=1)[0],
    "unbinding": lambda x: torch.stack([row * 2 for row in x.unbind(0)], dim=1),
    "joining": lambda x: torch.cat([x, torch.ones_like(x), x.new_zeros(1, 4)], 0),
    "softmax": lambda x: torch.softmax(x, -1) + x.softmax(dim=0) + F.softmax(x, dim=-1),
    "functional": lambda x: F.linear(x, x) + F.relu(x) @ x.mT,
    "norms": lambda x: torch.linalg.vector_norm(x, dim=-1) + x.norm(),
    "masking": lambda x: x.masked_fill(x > 0, -torch.inf) + torch.where(x > 0, x, 0.0),
    "infinities": lambda x: torch.full_like(x, math.inf) * torch.where(x > 0, 1.0, -1.0),
    "not a number": lambda x: torch.nan_to_num(x * math.nan, nan=3.0),
    "another dtype": lambda x: x.float().to(torch.bfloat16).double() + x.to(dtype=torch.float16),
    "a dtype of its own": lambda x: x.double(),
    "factories": lambda x: torch.arange(4) + torch.ones(3, 4, dtype=torch.int64) + torch.eye(3, 4),
    "triangles": lambda x: torch.ones(x.shape[-1], x.shape[-1], dtype=torch.bool).tril(),
    "gather and scatter": lambda x: x.gather(-1, x.argsort(-1)).scatter(
        -1, x.argmin(-1)[:, None], 0
    ),
    "rolls and flips": lambda x: x.roll(1, -2) + x.flip(0) + torch.roll(x, (1, 2), (0, 1)),
    "a number from a tensor": lambda x: x / float(x.abs().max()) * x.shape[0],
    "einsum": lambda x: torch.einsum("ij,kj->ik", x, x),
    "a gradient": differentiated,
    "a copy": lambda x: x.detach().clone(),
}


@pytest.mark.parametrize("law", ONE.values(), ids=ONE)
def test_the_statements_compute_what_the_law_computed(law):
    x = noise(3, 4)
    before = x.clone()
    actual, statements = recorded(law, x=x)
    found = executed(statements)
    assert found["actual"].dtype == actual.dtype
    assert found["actual"].shape == actual.shape
    assert torch.equal(found["actual"].nan_to_num(99), actual.nan_to_num(99))
    assert torch.equal(x, before)


@pytest.mark.parametrize("law", ONE.values(), ids=ONE)
def test_the_statements_are_code_and_not_the_result_in_digits(law):
    _, statements = recorded(law, x=noise(3, 4))
    own = [line for line in statements if not line.startswith("x = ")]
    assert own
    assert not any(re.search(r"torch\.tensor\(.*\.", line) for line in own)


TWO = {
    "matrix products": lambda x, y: (x @ y.mT) @ y + torch.matmul(x, y.mT) @ x,
    "a softmax of scores": lambda x, y: torch.softmax(x @ y.mT / math.sqrt(4), -1) @ y,
    "gradients by two": differentiated_for_two,
    "one of two": lambda x, y: y + 0,
}


@pytest.mark.parametrize("law", TWO.values(), ids=TWO)
def test_statements_of_two_inputs_compute_what_the_law_computed(law):
    actual, statements = recorded(law, x=noise(3, 4), y=noise(3, 4, seed=1))
    assert torch.equal(executed(statements)["actual"], actual)


def test_an_input_that_is_not_needed_is_not_written():
    _, statements = recorded(TWO["one of two"], x=noise(3, 4), y=noise(3, 4))
    assert not any(statement.startswith("x = ") for statement in statements)


def test_what_does_not_lead_to_the_result_is_not_written():
    def law(x):
        x.exp().sum()
        return x + 1

    _, statements = recorded(law, x=torch.ones(2))
    assert statements == ["x = torch.ones(2, dtype=torch.float32)", "actual = x + 1"]


def test_a_change_in_place_through_a_view_is_written():
    def law(x):
        y = torch.zeros_like(x)
        y.select(0, 0).fill_(1.0)
        return x + y

    actual, statements = recorded(law, x=noise(3))
    assert torch.equal(executed(statements)["actual"], actual)


def test_a_change_in_place_that_cannot_be_written_comes_out_in_digits():
    def law(x):
        return x + torch.empty(3).normal_(generator=torch.Generator().manual_seed(0))

    actual, statements = recorded(law, x=noise(3))
    assert torch.equal(executed(statements)["actual"], actual)


def test_an_operation_that_cannot_be_written_comes_out_in_digits():
    generator = torch.Generator().manual_seed(0)
    actual, statements = recorded(lambda x: x + torch.rand(3, generator=generator), x=noise(3))
    assert torch.equal(executed(statements)["actual"], actual)


def test_indexing_by_nothing_is_written():
    actual, statements = recorded(lambda x: x[()] * 2, x=noise(3))
    assert torch.equal(executed(statements)["actual"], actual)


LITERALS = {
    "numbers": noise(2, 3),
    "float32": noise(2, 3, dtype=torch.float32),
    "float16": noise(2, 3).half(),
    "bfloat16": noise(2, 3).bfloat16(),
    "the smallest": torch.tensor([5e-324, 1e-308, 1.7e308], dtype=torch.float64),
    "infinities and NaN": torch.tensor([math.inf, -math.inf, math.nan, 1.0]),
    "NaN alone": torch.full((2,), math.nan),
    "infinity alone": torch.full((2,), math.inf),
    "zeros": torch.zeros(2, 1, 3, dtype=torch.float16),
    "ones": torch.ones(3),
    "minus ones": -torch.ones(3),
    "zeros below zero": torch.full((2,), -0.0),
    "zeros of both signs": torch.tensor([0.0, -0.0]),
    "a number": torch.tensor(3.5),
    "one number": torch.tensor([[1.0]]),
    "integers": torch.tensor([3, 1, 2]),
    "equal integers": torch.tensor([1, 1]),
    "small integers": torch.tensor([1, 2], dtype=torch.int32),
    "a mask": torch.tensor([[True, False]]),
    "a mask of one value": torch.zeros(2, 2, dtype=torch.bool),
    "nothing": torch.zeros(0, dtype=torch.float64),
    "nothing of some width": torch.zeros(2, 0, 3),
}


@pytest.mark.parametrize("value", LITERALS.values(), ids=LITERALS)
def test_a_literal_comes_back_bit_by_bit(value):
    back = executed([f"back = {literal(value)}"])["back"]
    assert (back.dtype, back.shape) == (value.dtype, value.shape)
    assert torch.equal(back.isnan(), value.isnan())
    assert torch.equal(back.nan_to_num(0.5), value.nan_to_num(0.5))
    assert torch.equal(back.signbit(), value.signbit())


def test_a_tape_that_does_not_record_writes_literals():
    x = torch.ones(2)
    tape = Tape(recording=False)
    tape.given("x", x)
    with tape:
        y = x + 1
    assert tape.script({"actual": y}) == [f"actual = {literal(y)}"]


def test_a_paused_tape_notes_nothing():
    x = torch.ones(2)
    tape = Tape(recording=True)
    tape.given("x", x)
    with tape:
        with tape.paused():
            y = x * 5
        z = y + x
    statements = tape.script({"actual": z})
    assert not any("* 5" in statement for statement in statements)
    assert torch.equal(executed(statements)["actual"], z)


def test_two_wanted_tensors_come_out_under_their_names():
    x = noise(3)
    tape = Tape(recording=True)
    tape.given("x", x)
    with tape:
        y = x * 2
        z = y + 1
    found = executed(tape.script({"actual": z, "expected": y}))
    assert torch.equal(found["actual"], z)
    assert torch.equal(found["expected"], y)


def subject(component, tape, setup=None):
    implementation = LocalImplementation("reference", reference)
    return Subject(implementation, CONTRACT[component], torch.float64, "cpu", setup, tape)


def test_calls_of_a_function_are_written_as_calls_of_the_submission():
    tape = Tape(recording=True)
    x = noise(2, 3)
    tape.given("x", x)
    with tape:
        softmax = subject("softmax", tape)
        first, second = softmax(x), softmax(x + 1, dim=0)
        difference = second - first
    statements = tape.script({"actual": difference})
    assert "probabilities = submission.softmax(x)" in statements
    assert "probabilities_2 = submission.softmax((x + 1), 0)" in statements
    found = executed(statements, submission=reference)
    assert torch.equal(found["actual"], difference)


def test_arguments_by_name_are_written_in_any_order():
    tape = Tape(recording=True)
    x = noise(2, 3)
    tape.given("x", x)
    with tape:
        result = subject("softmax", tape)(dim=0, x=x)
    found = executed(tape.script({"actual": result}), submission=reference)
    assert torch.equal(found["actual"], result)


def test_a_module_is_written_with_its_seed_and_its_weights():
    tape = Tape(recording=True)
    x, setup = noise(1, 3, 4), Setup({"d_model": 4}, seed=5, gain=0.5)
    mask = torch.ones(3, 3, dtype=torch.bool).tril()
    tape.given("x", x)
    tape.given("mask", mask)
    with tape:
        attention = subject("SelfAttention", tape, setup)
        output, weights = attention(x, mask)
        wanted = weights @ x + output
    statements = tape.script({"actual": wanted})
    assert "torch.manual_seed(5)" in statements
    assert "module = submission.SelfAttention(4).to(torch.float64).eval()" in statements
    assert sum("get_parameter" in statement for statement in statements) == 3
    assert torch.equal(executed(statements, submission=reference)["actual"], wanted)


def test_weights_overwritten_between_two_calls_are_written_between_them():
    tape = Tape(recording=True)
    x = noise(1, 3, 2)
    tape.given("x", x)
    with tape:
        attention = subject("SelfAttention", tape, Setup({"d_model": 2}))
        attention.set_parameters({"value.weight": torch.eye(2, dtype=torch.float64)})
        first, _ = attention(x)
        attention.set_parameters({"value.weight": torch.zeros(2, 2, dtype=torch.float64)})
        second, _ = attention(x)
        difference = first - second
    statements = tape.script({"actual": difference})
    found = executed(statements, submission=reference)
    assert torch.equal(found["actual"], difference)
    assert sum("value.weight" in statement for statement in statements) == 2


def test_two_modules_get_two_names():
    tape = Tape(recording=True)
    x = noise(1, 3, 2)
    tape.given("x", x)
    with tape:
        attention = subject("SelfAttention", tape, Setup({"d_model": 2}))
        other = attention.construct(seed=3, d_model=2)
        difference = attention(x)[0] - other(x)[0]
    found = executed(tape.script({"actual": difference}), submission=reference)
    assert torch.equal(found["actual"], difference)
    assert found["module"] is not found["module_2"]


def test_an_input_changed_by_the_component_is_what_it_is_after_the_call():
    tape = Tape(recording=True)
    x = noise(3)

    class Submission:
        @staticmethod
        def softmax(x, dim=-1):
            x -= x.max()
            return torch.softmax(x, dim)

    spec = CONTRACT["softmax"]
    implementation = LocalImplementation("submission", Submission)
    tape.given("x", x)
    with tape:
        softmax = Subject(implementation, spec, torch.float64, "cpu", None, tape)
        softmax(x)
        ((name, before, after),) = softmax.inputs_after_call()
    assert name == "x"
    assert torch.equal(before, x)
    statements = tape.script({"actual": after, "expected": before})
    found = executed(statements, submission=Submission)
    assert torch.equal(found["actual"], after)
    assert torch.equal(found["expected"], before)
    assert not torch.equal(found["actual"], found["expected"])


def test_train_mode_is_written_down_and_left_again():
    tape = Tape(recording=True)
    x, setup = noise(1, 3, 4), Setup({"d_model": 4, "d_hidden": 6}, seed=5)
    tape.given("x", x)

    class Submission:
        class FeedForward(reference.FeedForward):
            def forward(self, x):
                return super().forward(x) * (2 if self.training else 1)

    implementation, spec = LocalImplementation("submission", Submission), CONTRACT["FeedForward"]
    with tape:
        network = Subject(implementation, spec, torch.float64, "cpu", setup, tape)
        with network.training():
            trained = network(x)
        plain = network(x)
    statements = tape.script({"actual": trained, "expected": plain})
    assert statements.index("module.train()") < statements.index("module.eval()")
    found = executed(statements, submission=Submission)
    assert torch.equal(found["actual"], trained)
    assert torch.equal(found["expected"], plain)
