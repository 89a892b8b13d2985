"""The component as a law sees it: methods, gradients, nudges, and parameters left as they were."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import reference
from attest.checks import Crash
from attest.contract import CONTRACT, ContractBroken
from attest.differentiation import leaf
from attest.implementations import LocalImplementation
from attest.specification import Kept, tensors_in
from attest.subject import LARGEST, Setup, Subject
from properties.bounds import measured_bound

SIZES = {
    "source_vocab": 5,
    "target_vocab": 7,
    "d_model": 4,
    "n_heads": 2,
    "d_hidden": 6,
    "n_layers": 1,
}
RECURRENT = {"source_vocab": 5, "target_vocab": 7, "d_embed": 3, "d_hidden": 4}
SOURCE, TARGET = torch.tensor([[1, 2, 0], [4, 3, 2]]), torch.tensor([[0, 6], [5, 1]])


class Namespace:
    def __init__(self, **names):
        self.__dict__.update(names)


def subject(name, target=reference, sizes=None, device="cpu", matrices=None):
    sizes = sizes or (SIZES if name == "Transformer" else RECURRENT)
    implementation = LocalImplementation("mine", target)
    setup = Setup(sizes, seed=3, matrices=matrices)
    return Subject(implementation, CONTRACT[name], torch.float64, device, setup)


def test_methods_are_called_on_the_module_that_is_called():
    model = subject("Transformer")
    memory = model.encode(SOURCE)
    assert memory.shape == (2, 3, 4)
    assert torch.allclose(model.decode(TARGET, memory), model(SOURCE, TARGET))
    assert model.generate(SOURCE, 0, 4).shape == (2, 4)
    assert model.generate(SOURCE, bos=0, max_length=4).dtype == torch.int64


def test_what_is_kept_comes_back_as_it_was_given():
    seen = []

    class Transformer(reference.Transformer):
        def step(self, token, memory, cache=None, source_mask=None):
            seen.append(cache)
            logits, _ = super().step(token, memory, None, source_mask)
            return logits, [memory, len(seen)]

    model = subject("Transformer", Namespace(Transformer=Transformer))
    memory = model.encode(SOURCE)
    _, kept = model.step(TARGET[:, 0], memory)
    model.step(TARGET[:, 1], memory, kept)
    model.step(TARGET[:, 1], memory, cache=kept)
    assert isinstance(kept, Kept)
    assert seen[0] is None
    assert seen[1] is seen[2] is kept.value
    assert [name for name, _, _ in model.inputs_after_call()] == ["token", "memory"]


def test_a_state_is_copied_on_both_ways():
    class Seq2Seq(reference.Seq2Seq):
        def step(self, token, state):
            logits, after = super().step(token, state)
            for _, tensor in tensors_in(state):
                tensor.zero_()
            return logits, after

    model = subject("Seq2Seq", Namespace(Seq2Seq=Seq2Seq))
    _, state = model.encode(SOURCE)
    before = [tensor.clone() for _, tensor in tensors_in(state)]
    model.step(TARGET[:, 0], state)
    assert all(torch.equal(a, b) for a, (_, b) in zip(before, tensors_in(state), strict=True))
    changed = [(name, bool(now.any())) for name, _, now in model.inputs_after_call()]
    assert len(changed) == 1 + len(before)
    assert all(name.startswith("state") and not left for name, left in changed[1:])


@pytest.mark.parametrize("name", ["forward", "steps", "train", "_call_me"])
def test_the_contracts_methods_are_there_and_nothing_else(name):
    with pytest.raises(AttributeError, match="the contract knows no method"):
        getattr(subject("Transformer"), name)


def test_a_function_has_no_methods():
    softmax = Subject(
        LocalImplementation("mine", reference), CONTRACT["softmax"], torch.float64, "cpu"
    )
    with pytest.raises(AttributeError):
        softmax.encode  # noqa: B018


def test_a_method_that_is_missing_is_a_crash_that_names_it():
    class Transformer(nn.Module):
        def __init__(self, *sizes):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2, 2))

    model = subject("Transformer", Namespace(Transformer=Transformer))
    with pytest.raises(Crash, match=r"^Transformer\.step raised AttributeError: .*'step'"):
        model.step(TARGET[:, 0], torch.zeros(2, 3, 4, dtype=torch.float64))


def test_a_method_that_raises_or_answers_wrongly_is_named():
    class Seq2Seq(reference.Seq2Seq):
        def encode(self, source, lengths=None):
            raise KeyError("lengths")

        def step(self, token, state):
            return super().step(token, state)[0]

    model = subject("Seq2Seq", Namespace(Seq2Seq=Seq2Seq))
    with pytest.raises(Crash, match=r"^Seq2Seq\.encode raised KeyError: 'lengths'$"):
        model.encode(SOURCE)
    with pytest.raises(ContractBroken, match=r"^Seq2Seq\.step returned a Tensor; expected logits"):
        model.step(TARGET[:, 0], subject("Seq2Seq").encode(SOURCE)[1])


def test_gradients_are_recorded_while_learning_and_not_elsewhere():
    model = subject("Transformer")
    assert not model(SOURCE, TARGET).requires_grad
    with model.learning():
        logits = model(SOURCE, TARGET)
        with model.learning():
            assert model.encode(SOURCE).requires_grad
        assert model.encode(SOURCE).requires_grad
    assert logits.requires_grad
    assert not model.encode(SOURCE).requires_grad
    with pytest.raises(ZeroDivisionError), model.learning():
        raise ZeroDivisionError
    assert not model.encode(SOURCE).requires_grad
    by_name = model.parameter_gradients(logits.square().sum())
    assert set(by_name) == set(model.parameters())
    assert float(by_name["source_embedding.weight"].abs().max()) > 0


def test_gradients_flow_through_a_state_and_a_memory():
    model = subject("AttentionSeq2Seq")
    states, state = model.encode(SOURCE)
    memory = leaf(states)
    logits, after, weights = model.step(TARGET[:, 0], state, memory)
    assert logits.requires_grad
    assert weights.requires_grad
    assert any(tensor.requires_grad for _, tensor in tensors_in(after))
    (gradient,) = torch.autograd.grad(logits.square().sum(), memory)
    assert float(gradient.abs().max()) > 0


ARGUMENTS = {"source": SOURCE, "target_in": TARGET, "source_mask": None}


def test_a_nudge_moves_the_result_and_leaves_everything_else():
    model = subject("Transformer")
    before, plain = model.parameters(), model(**ARGUMENTS)
    seen = model.inputs_after_call()
    torch.manual_seed(5)
    random = torch.get_rng_state()
    (moved,) = model.nudged(ARGUMENTS, seeds=[1], step=1e-3)
    still = model.again(ARGUMENTS)
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(still, plain)
    assert 1e-6 < float((moved - still).abs().max()) < 1
    after = model.parameters()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert [name for name, _, _ in model.inputs_after_call()] == [name for name, _, _ in seen]
    assert torch.equal(model(**ARGUMENTS), plain)


def test_a_nudge_is_the_same_for_the_same_seed_and_moves_as_far_as_its_step():
    model = subject("Transformer")
    still = model.again(ARGUMENTS)
    near, other = (moved - still for moved in model.nudged(ARGUMENTS, seeds=[1, 2], step=1e-6))
    (far,) = (moved - still for moved in model.nudged(ARGUMENTS, seeds=[1], step=2e-6))
    assert torch.equal(model.nudged(ARGUMENTS, seeds=[1], step=1e-6)[0] - still, near)
    assert torch.allclose(far, 2 * near, rtol=1e-2, atol=1e-9)
    assert not torch.allclose(other, near, rtol=1e-2)


def test_a_nudge_that_raises_leaves_the_parameters():
    class Transformer(reference.Transformer):
        def encode(self, source, source_mask=None):
            raise RuntimeError("no")

    model = subject("Transformer", Namespace(Transformer=Transformer))
    before = model.parameters()
    with pytest.raises(Crash):
        model.nudged({"source": SOURCE}, "encode", seeds=[1], step=0.1)
    assert all(torch.equal(before[name], now) for name, now in model.parameters().items())


def test_a_method_is_nudged_by_its_floating_arguments():
    model = subject("Transformer")
    memory = model.encode(SOURCE)
    arguments = {"target_in": TARGET, "memory": memory}
    assert torch.equal(model.again(arguments, "decode"), model.decode(TARGET, memory))
    (moved,) = model.nudged({**arguments, "target_in": TARGET}, "decode", seeds=[1], step=1e-3)
    assert not torch.equal(moved, model.decode(TARGET, memory))
    model.set_parameters({n: torch.zeros_like(p) for n, p in model.parameters().items()})
    (held,) = model.nudged(arguments, "decode", seeds=[1], step=1e-3)
    assert not held.any()


def counting_norm():
    """Give a LayerNorm, and the list that grows with each of its calls."""
    calls = []

    class LayerNorm(reference.LayerNorm):
        def forward(self, x):
            calls.append(x)
            return super().forward(x)

    return subject("LayerNorm", Namespace(LayerNorm=LayerNorm), {"d_model": 3}), calls


def test_a_result_that_is_overwritten_later_stays_what_it_was():
    norm, _ = counting_norm()
    x = torch.randn(2, 3, dtype=torch.float64)
    result = norm(x)
    kept, before = norm.again({"x": x}), result.clone()
    result.zero_()
    assert torch.equal(kept, before)


def test_a_call_that_was_just_made_is_not_made_again():
    norm, calls = counting_norm()
    x = torch.randn(2, 3, dtype=torch.float64)
    result = norm(x)
    assert torch.equal(norm.again({"x": x}), result)
    assert len(calls) == 1


@pytest.mark.parametrize("what", ["argument", "result", "parameters", "mode", "gradients", "other"])
def test_a_call_is_made_again_where_it_would_be_another_one(what):
    norm, calls = counting_norm()
    x = torch.randn(2, 3, dtype=torch.float64)
    arguments = {"x": x}
    if what == "gradients":
        with norm.learning():
            norm(x)
    else:
        result = norm(x)
    match what:
        case "argument":
            x[0] *= -2
        case "result":
            result.zero_()
        case "parameters":
            norm.set_parameters({name: -value for name, value in norm.parameters().items()})
        case "mode":
            with norm.training():
                pass
        case "other":
            arguments = {"x": -x}
    found = norm.again(arguments)
    assert len(calls) == 2
    assert torch.equal(found, norm(**arguments))


class WithMore(reference.LayerNorm):
    """Has numbers that are used for nothing, and more of them once it was called."""

    def __init__(self, d_model):
        super().__init__(d_model)
        self.more = nn.Parameter(torch.full((3,), 1e11))

    def to(self, *args, **kwargs):
        moved = super().to(*args, **kwargs)
        moved.lower = nn.Parameter(torch.ones(3, dtype=torch.float16))
        return moved

    def forward(self, x):
        with torch.no_grad():
            self.more.fill_(1e13)
        return super().forward(x)


def test_numbers_that_are_used_for_nothing_widen_no_bound():
    own = subject("LayerNorm", reference, {"d_model": 5})
    more = subject("LayerNorm", Namespace(LayerNorm=WithMore), {"d_model": 5})
    x = torch.randn(2, 5, dtype=torch.float64)
    for norm in (own, more):
        norm(x)
        assert norm.largest_parameter() < 20
        assert norm.longest_row() < 20
    bounds = [float(measured_bound(norm, {"x": x})) for norm in (own, more)]
    assert bounds[1] == pytest.approx(bounds[0], rel=0.5)


@pytest.mark.parametrize(
    ("value", "learns", "stays"),
    [
        *((30.0, True, False), (30.0, False, True), (3.0, True, False)),
        *((1.5, True, True), (math.nan, True, True)),
    ],
)
def test_what_learns_and_starts_larger_than_weights_do_is_redrawn(value, learns, stays):
    class LayerNorm(reference.LayerNorm):
        def __init__(self, d_model):
            super().__init__(d_model)
            self.scale = nn.Parameter(torch.full((3,), value), requires_grad=learns)

    for setup in (None, {}):
        norm = subject("LayerNorm", Namespace(LayerNorm=LayerNorm), {"d_model": 5}, matrices=setup)
        found = norm.parameters()["scale"]
        same = torch.allclose(found, torch.full_like(found, value), rtol=0, equal_nan=True)
        assert same is stays
        assert not norm.largest_parameter() > LARGEST


def test_a_matrix_may_start_larger_than_a_vector():
    class LayerNorm(reference.LayerNorm):
        def __init__(self, d_model):
            super().__init__(d_model)
            self.table = nn.Parameter(torch.full((3, 2), 3.0))

    norm = subject("LayerNorm", Namespace(LayerNorm=LayerNorm), {"d_model": 5}, matrices={})
    assert torch.equal(norm.parameters()["table"], torch.full((3, 2), 3.0))


def test_an_answer_that_names_a_tensor_often_has_one_of_it():
    class Seq2Seq(reference.Seq2Seq):
        def encode(self, source, lengths=None):
            states, state = super().encode(source, lengths)
            return states, (state,) * 200

    sizes = CONTRACT["Seq2Seq"].example
    model = subject("Seq2Seq", Namespace(Seq2Seq=Seq2Seq), sizes)
    _, state = model.encode(torch.tensor([[1, 2]]))
    assert len(state) == 200
    assert len({id(tensor) for tensor in state}) == 1


def test_a_single_number_is_left_as_it_is():
    class LayerNorm(reference.LayerNorm):
        def __init__(self, d_model):
            super().__init__(d_model)
            self.hides = nn.Parameter(torch.tensor(-1e9))

    norm = subject("LayerNorm", Namespace(LayerNorm=LayerNorm), {"d_model": 5})
    assert norm.parameters()["hides"] == -1e9


def test_what_a_law_sets_counts_however_large():
    norm = subject("LayerNorm", reference, {"d_model": 5})
    norm.set_parameters({"gain": torch.full((5,), 1e6)})
    assert norm.largest_parameter() == 1e6
    assert norm.longest_row() == 1e6


def test_a_call_with_a_state_is_made_again_since_the_state_may_be_another():
    model = subject("Transformer")
    memory = model.encode(SOURCE)
    _, cache = model.step(TARGET[:, 0], memory)
    arguments = {"token": TARGET[:, 1], "memory": memory, "cache": cache}
    logits, _ = model.step(**arguments)
    for keys, values in cache.value:
        keys.zero_()
        values.zero_()
    assert not torch.equal(model.again(arguments, "step"), logits)


def test_an_answer_of_a_component_that_stays_in_inference_mode_is_an_answer():
    mode = torch.inference_mode()

    class LayerNorm(reference.LayerNorm):
        def forward(self, x):
            mode.__enter__()
            return super().forward(x)

    norm = subject("LayerNorm", Namespace(LayerNorm=LayerNorm), {"d_model": 3})
    x = torch.randn(2, 3, dtype=torch.float64)
    try:
        result = norm(x)
    finally:
        mode.__exit__(None, None, None)
        torch.set_grad_enabled(True)  # which it had found off
    assert torch.equal(result, reference.layer_norm(x, *norm.parameters().values()))


def test_a_module_that_replaces_its_parameters_in_another_mode_has_the_new_ones():
    class LayerNorm(reference.LayerNorm):
        def train(self, mode):
            self.gain = nn.Parameter(self.gain.detach() + 1)
            return super().train(mode)

    norm = subject("LayerNorm", Namespace(LayerNorm=LayerNorm), {"d_model": 3})
    before = norm.parameters()["gain"]
    with norm.training():
        assert torch.equal(norm.parameters()["gain"], before + 1)


def test_a_result_on_another_device_is_refused():
    class LayerNorm(reference.LayerNorm):
        def forward(self, x):
            return super().forward(x).to("meta")

    model = subject("LayerNorm", Namespace(LayerNorm=LayerNorm), {"d_model": 3})
    with pytest.raises(ContractBroken, match="returned output as a meta tensor"):
        model(torch.ones(2, 3, dtype=torch.float64))


def used_again(sizes, seeds, name="LayerNorm"):
    """Give the parameters of a module that serves one example after another."""
    implementation, modules = LocalImplementation("mine", reference), {}
    for seed in seeds:
        setup = Setup(sizes, seed=seed)
        one = Subject(implementation, CONTRACT[name], torch.float64, "cpu", setup, None, modules)
        yield one.parameters()


def test_what_starts_at_zero_is_drawn_for_every_example():
    first, second, again = used_again({"d_model": 5}, (3, 4, 3))
    assert first["bias"].any()
    assert second["bias"].any()
    assert torch.equal(again["bias"], first["bias"])
    assert torch.equal(again["gain"], torch.ones(5).double())


def test_what_follows_from_a_call_is_computed_once_for_a_trusted_component():
    calls = []

    def compute():
        calls.append(1)
        return torch.tensor(2.0)

    implementation = LocalImplementation("mine", reference, trusted=True)
    x = torch.ones(1, 2, 4).double()

    def once(n_heads, x=x, seed=3, dtype=torch.float64):
        setup = Setup({"d_model": 4, "n_heads": n_heads}, seed=seed)
        spec = CONTRACT["MultiHeadAttention"]
        one = Subject(implementation, spec, dtype, "cpu", setup, None, implementation.kept)
        return one.once("a bound", {"query": x, "key": x, "value": x}, "", compute)

    found = once(2)
    found *= 3  # harms nobody
    assert once(2) == 2
    assert len(calls) == 1
    for number, other in enumerate(
        (
            {"n_heads": 4},  # the same numbers in other heads
            {"n_heads": 2, "x": x + 1e-12},
            {"n_heads": 2, "seed": 4},
            {"n_heads": 2, "dtype": torch.float32},
        )
    ):
        once(**other)
        assert len(calls) == 2 + number


def test_what_is_kept_is_limited(monkeypatch):
    monkeypatch.setattr("attest.subject.MOST_KEPT", 5)
    implementation = LocalImplementation("mine", reference, trusted=True)
    spec, setup = CONTRACT["LayerNorm"], Setup({"d_model": 4})
    for number in range(20):
        x = torch.full((1, 4), float(number))
        one = Subject(implementation, spec, torch.float64, "cpu", setup, None, implementation.kept)
        assert one.once("a bound", {"x": x}, "", lambda number=number: number) == number
    assert len(implementation.kept) <= 6


def test_what_follows_from_a_call_is_computed_again_for_a_stranger():
    calls = []
    for _ in range(2):
        subject("Transformer").once(
            "a bound", {"source": SOURCE}, "encode", lambda: calls.append(1)
        )
    assert len(calls) == 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_what_follows_from_a_call_is_kept_on_a_device_too():
    implementation = LocalImplementation("mine", reference, trusted=True)
    spec, setup = CONTRACT["LayerNorm"], Setup({"d_model": 4})
    one = Subject(implementation, spec, torch.float64, "cuda", setup, None, implementation.kept)
    assert one.once("a bound", {"x": torch.ones(1, 4)}, "", lambda: 3) == 3


def test_a_module_is_in_train_mode_inside_alone():
    modes = []

    class FeedForward(reference.FeedForward):
        def forward(self, x):
            modes.append(self.training)
            return super().forward(x)

    sizes, x = {"d_model": 4, "d_hidden": 6}, torch.ones(1, 2, 4, dtype=torch.float64)
    network = subject("FeedForward", Namespace(FeedForward=FeedForward), sizes)
    network(x)

    def interrupted():
        with network.training():
            network(x)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interrupted()
    network(x)
    assert modes == [False, True, False]


def test_a_module_that_cannot_be_trained_is_said_to_crash():
    class FeedForward(reference.FeedForward):
        def train(self, *mode):
            if mode == (True,):
                raise OSError("no")
            return super().train(*mode)

    sizes = {"d_model": 4, "d_hidden": 6}
    network = subject("FeedForward", Namespace(FeedForward=FeedForward), sizes)
    with pytest.raises(Crash, match=r"FeedForward\.train\(True\) raised OSError: no"):
        network.training().__enter__()
