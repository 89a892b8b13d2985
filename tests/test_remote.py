"""A submission in a worker looks to every law like one in this process."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from attest.contract import CONTRACT
from attest.differentiation import gradients, leaf
from attest.examination import Settings, examine
from attest.holding import Holder
from attest.implementations import Component, Implementation, load_submission
from attest.laws import Property
from attest.ledger import load_ledger, load_reference
from attest.limits import Ended
from attest.remote import RemoteImplementation, _end_of, _exception, _Process, _without_numbers
from attest.subject import Setup, Subject
from attest.wire import Told
from tests.sources import ROOT

SETTINGS = Settings(examples=3, seconds=60.0)
MORE = Settings(examples=20, seconds=60.0)
STYLES = ROOT / "tests" / "implementations"

# So many laws of each component, spread over all that there are.
EACH = 5


@pytest.fixture(scope="module")
def holder() -> Iterator[Holder]:
    with Holder(SETTINGS, 1) as one:
        yield one


@pytest.fixture(params=["here", "in a worker"])
def loaded(request, holder, tmp_path) -> Callable[[str], Implementation]:
    """Load a submission's text, in this process or in a worker."""

    def load(text: str) -> Implementation:
        path = tmp_path / "mine.py"
        path.write_text(text)
        return holder.load(str(path)) if request.param != "here" else load_submission(str(path))

    return load


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left_open() -> Iterator[None]:
    """Have what nobody has closed told here, and not in whatever test comes later."""
    yield
    gc.collect()


def some(component: str) -> list[Property]:
    laws = [law for law in load_ledger().laws if law.component == component]
    return laws[:: max(1, len(laws) // EACH)]


@pytest.mark.parametrize("component", CONTRACT)
@pytest.mark.parametrize("style", ["streaming", "torch_builtin"])
def test_the_evidence_is_what_it_would_be_here(holder, style, component):
    path = str(STYLES / f"{style}.py")
    here, there, reference = load_submission(path), holder.load(path), load_reference()
    for law in some(component):
        one, other = (examine(law, it, SETTINGS, reference) for it in (here, there))
        assert (one.status, one.examples, one.message) == (
            other.status,
            other.examples,
            other.message,
        ), law.id
        assert one.tried == other.tried
        assert one.ratio == pytest.approx(other.ratio, rel=1e-3, abs=1e-6), law.id


WRONG = """
import torch
from torch import nn

def softmax(x, dim=-1):
    return torch.softmax(x, 0)

class LayerNorm(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))

    def forward(self, x):
        x -= x.mean(-1, keepdim=True)
        return self.gain.detach() * x / (x.std(-1, keepdim=True) + 1e-5) + self.bias

def scaled_dot_product_attention(query, key, value, mask=None):
    raise RuntimeError("not today")
"""


def test_a_signal_without_a_name_has_its_number():
    assert _end_of(9) == "the process it ran in was ended by SIGKILL"
    assert _end_of(40).endswith("signal 40")


def test_a_huge_tensor_without_numbers_takes_no_memory():
    told = Told(torch.complex64, (1 << 20, 1 << 20), "cpu", "torch.strided")
    assert _without_numbers(told).is_meta


@pytest.mark.parametrize("component", ["softmax", "LayerNorm", "scaled_dot_product_attention"])
def test_a_counterexample_is_what_it_would_be_here(holder, tmp_path, component):
    path = tmp_path / "wrong.py"
    path.write_text(WRONG)
    here, there = load_submission(str(path)), holder.load(str(path))
    reference, wrong = load_reference(), 0
    for law in load_ledger().laws:
        if law.component != component:
            continue
        one, other = (examine(law, it, MORE, reference) for it in (here, there))
        assert (one.status, one.message) == (other.status, other.message), law.id
        assert (one.counterexample is None) == (other.counterexample is None)
        if one.counterexample is not None and other.counterexample is not None:
            wrong += 1
            assert one.counterexample.text() == other.counterexample.text()
    assert wrong >= 3


REPLACES = """
import torch
from torch import nn

class LayerNorm(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(d_model))

    def forward(self, x):
        self.gain = nn.Parameter(self.gain.detach() + 1)
        if x.dim() < 2:
            raise ValueError("a batch of tokens is expected")
        return x * self.gain

    def train(self, mode=True):
        if mode:
            self.gain = nn.Parameter(self.gain.detach() + 1)
            raise ValueError("a batch of tokens is expected")
        return super().train(mode)
"""


def test_parameters_that_a_call_replaces_are_the_new_ones(loaded):
    implementation = loaded(REPLACES)
    with implementation.fresh():
        spec = CONTRACT["LayerNorm"]
        norm = implementation.construct(spec, {"d_model": 3}, torch.float64, "cpu")
        for value in (1.0, 2.0, 3.0):
            (gain,) = norm.parameters().values()
            assert gain.tolist() == [value] * 3
            norm.call({"x": torch.ones(2, 3, dtype=torch.float64)})


@pytest.mark.parametrize("does", ["call", "train"])
def test_parameters_that_are_replaced_are_set_though_it_raises(loaded, does):
    implementation = loaded(REPLACES)
    ones = torch.ones(2, 3, dtype=torch.float64)
    with implementation.fresh():
        spec = CONTRACT["LayerNorm"]
        norm = implementation.construct(spec, {"d_model": 3}, torch.float64, "cpu")
        norm.set_parameters({"gain": torch.full((3,), 3.0, dtype=torch.float64)})
        with pytest.raises(ValueError, match="a batch of tokens"):
            norm.call({"x": ones[0]}) if does == "call" else norm.train(mode=True)
        norm.set_parameters({"gain": torch.full((3,), 6.0, dtype=torch.float64)})
        assert torch.equal(norm.call({"x": ones}), 7 * ones)


GATED = """
import torch

class LayerNorm(torch.nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones(d_model))

    def forward(self, x):
        if self.gain[0] < 0:
            raise ValueError("the gain is negative")
        self.gain.data.add_(STEP)
        return x * self.gain
"""


def moves(*gains: float) -> list[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    x = torch.ones(1, 2, dtype=torch.float64)
    return [({"gain": torch.full((2,), gain, dtype=torch.float64)}, {"x": x}) for gain in gains]


@pytest.fixture
def asked(monkeypatch) -> list[str]:
    """Give what workers are asked."""
    found: list[str] = []
    ask = _Process.ask

    def noted(self: _Process, do: str, **what: object) -> object:
        found.append(do)
        return ask(self, do, **what)

    monkeypatch.setattr(_Process, "ask", noted)
    return found


@pytest.mark.parametrize(("step", "at_once"), [(0, 1), (1, 4)], ids=["kept", "changed"])
def test_calls_with_other_parameters_are_asked_for_at_once(loaded, asked, step, at_once):
    """But one by one where a call changes the parameters; up to the first that raises."""
    implementation = loaded(GATED.replace("STEP", str(step)))
    with implementation.fresh():
        norm = implementation.construct(CONTRACT["LayerNorm"], {"d_model": 2}, torch.float64, "cpu")
        answers = norm.moved(moves(2, 3, 5, -1, 7))
        assert [next(answers).tolist() for _ in range(3)] == [
            [[gain + step] * 2] for gain in (2, 3, 5)
        ]
        with pytest.raises(ValueError, match="the gain is negative"):
            next(answers)
        norm.set_parameters({"gain": torch.full((2,), 11.0, dtype=torch.float64)})
        assert norm.call(moves(0)[0][1]).tolist() == [[11.0 + step] * 2]
        assert norm.parameters()["gain"].tolist() == [11.0 + step] * 2
    remote = isinstance(implementation, RemoteImplementation)
    assert asked.count("moved") == (at_once if remote else 0)


def test_what_has_no_parameters_has_only_other_arguments(loaded):
    implementation = loaded(KNOWS_ITS_INPUT)
    with implementation.fresh():
        norm = implementation.construct(CONTRACT["LayerNorm"], {"d_model": 2}, torch.float64, "cpu")
        given = [({}, {"x": torch.full((1, 2), n, dtype=torch.float64)}) for n in (1.0, 2.0)]
        assert [answer.tolist() for answer in norm.moved(given)] == [[[1, 1]], [[2, 2]]]


def test_what_is_too_large_for_one_message_goes_in_several(holder, tmp_path, monkeypatch, asked):
    path = tmp_path / "mine.py"
    path.write_text(GATED.replace("STEP", "0"))
    there = holder.load(str(path))
    monkeypatch.setattr("attest.remote.MOST_NUMBERS", 4)
    with there.fresh():
        norm = there.construct(CONTRACT["LayerNorm"], {"d_model": 2}, torch.float64, "cpu")
        answers = [answer.tolist() for answer in norm.moved(moves(2, 3, 5))]
    assert answers == [[[gain, gain]] for gain in (2, 3, 5)]
    assert asked.count("moved") == 2


def test_each_of_several_calls_may_take_its_time(holder, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(GATED.replace("STEP", "0 * (__import__('time').sleep(0.6) or 1)"))
    there = holder.load(str(path))
    with there.fresh():
        norm = there.construct(CONTRACT["LayerNorm"], {"d_model": 2}, torch.float64, "cpu")
        norm._process.patience = 1.0
        assert len(list(norm.moved(moves(2, 3)))) == 2


@pytest.mark.parametrize("forged", [[], [{}] * 4, 3, [3], ["raised"], {"answers": 1}])
def test_forged_answers_to_several_calls_end_the_process(holder, tmp_path, monkeypatch, forged):
    path = tmp_path / "mine.py"
    path.write_text(GATED.replace("STEP", "0"))
    there = holder.load(str(path))
    with there.fresh():
        norm = there.construct(CONTRACT["LayerNorm"], {"d_model": 2}, torch.float64, "cpu")
        monkeypatch.setattr(_Process, "_answer", lambda *_: {"answers": forged})
        with pytest.raises(Ended, match="no answer"):
            next(norm.moved(moves(2, 3)))


TURNS = """
import torch

class LayerNorm(torch.nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.count = torch.nn.Parameter(torch.arange(3), requires_grad=False)
        self.table = torch.nn.Parameter(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        self.scale = torch.nn.Parameter(torch.ones(2))

    def forward(self, x):
        DOES
        return x
"""
DOES = {
    "nothing": "pass",
    "turns": "self.table.data = self.table.data.t()",
    "reshapes": "self.table.data = self.table.data.reshape(4)",
    "freezes": "self.table.requires_grad_(False)",
    "counts": "self.count.data.add_(1)",
    "writes": "self.scale.data[1] = 3",
}


@pytest.mark.parametrize("does", DOES)
def test_whatever_a_call_makes_of_its_parameters_is_seen(loaded, does):
    implementation = loaded(TURNS.replace("DOES", DOES[does]))
    with implementation.fresh():
        norm = implementation.construct(CONTRACT["LayerNorm"], {"d_model": 2}, torch.float64, "cpu")
        norm.set_parameters({"table": torch.tensor([[1.0, 5.0], [3.0, 4.0]], dtype=torch.float64)})
        version = norm.version
        norm.call({"x": torch.ones(1, 2, dtype=torch.float64)})
        own = norm.parameters()
        learns, shown = own["table"].requires_grad, {n: p.tolist() for n, p in own.items()}
        changed = norm.version != version
    expected = {"count": [0, 1, 2], "table": [[1, 5], [3, 4]], "scale": [1, 1]}
    after: dict[str, dict[str, Any]] = {
        "turns": {"table": [[1, 3], [5, 4]]},
        "reshapes": {"table": [1, 5, 3, 4]},
        "counts": {"count": [1, 2, 3]},
        "writes": {"scale": [1, 3]},
    }
    assert shown == expected | after.get(does, {})
    assert learns == (does != "freezes")
    if isinstance(implementation, RemoteImplementation):
        assert changed == (does != "nothing")


RAISES = """
def check(x):
    raise ValueError("two axes are expected")

def softmax(x, dim=-1):
    y = x.softmax(dim)
    return check(y)
"""


def test_a_crash_names_the_line_of_the_submission(loaded):
    implementation = loaded(RAISES)
    law = next(law for law in load_ledger().laws if law.component == "softmax")
    evidence = examine(law, implementation, SETTINGS, load_reference())
    assert evidence.status == "crashed"
    assert evidence.message == "softmax raised ValueError: two axes are expected (line 3)"
    assert evidence.counterexample is not None
    assert "(line 3)" in evidence.counterexample.text()


@pytest.mark.parametrize("line", [None, 0, -1, True, 2.0, 1 << 40, "3", "\x1b[2J", [3]])
def test_a_line_that_cannot_be_one_is_not_believed(line):
    told = {"names": ["ValueError"], "text": "no", "line": line}
    assert _exception(told).line is None
    assert _exception({**told, "line": 3}).line == 3


KNOWS_ITS_INPUT = """
from torch import nn

class LayerNorm(nn.Module):
    seen = None

    def __init__(self, d_model):
        super().__init__()

    def forward(self, x):
        known, self.seen = x is self.seen, x
        return x + 100 * known
"""


def test_a_call_hands_over_the_same_tensors_where_it_is_asked_to(loaded):
    implementation = loaded(KNOWS_ITS_INPUT)
    with implementation.fresh():
        setup = Setup({"d_model": 2}, matrices={})
        norm = Subject(implementation, CONTRACT["LayerNorm"], torch.float64, "cpu", setup)
        x = torch.ones(1, 2, dtype=torch.float64)

        def first():
            return float(norm(x)[0, 0])

        assert [first(), first()] == [1.0, 1.0]
        with norm.same_tensors():
            assert [first(), first()] == [1.0, 101.0]
            x.fill_(2.0)
            assert first() == 102.0
            assert float(norm(torch.ones(3, 2, dtype=torch.float64))[0, 0]) == 1.0
        assert [first(), first()] == [2.0, 2.0]
        with norm.same_tensors():
            assert [first(), first()] == [2.0, 102.0]


MEMORY = torch.randn(2, 3, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
TOKEN = torch.tensor([1, 2])


def transformers(holder: Holder) -> Iterator[Component]:
    """Construct the same Transformer here and in the worker."""
    path, spec = str(STYLES / "streaming.py"), CONTRACT["Transformer"]
    sizes = {"source_vocab": 7, "target_vocab": 5, "d_model": 8, "n_heads": 2, "d_hidden": 12}
    for implementation in (load_submission(path), holder.load(path)):
        with implementation.fresh():
            implementation.seed(1)
            yield implementation.construct(spec, {**sizes, "n_layers": 2}, torch.float64, "cpu")


def test_gradients_flow_through_calls_in_the_worker(holder):
    """Through two calls, a cache between them, and parameters of both."""
    found = []
    for model in transformers(holder):
        given = MEMORY.clone().requires_grad_()
        _, cache = model.call({"token": TOKEN, "memory": given}, "step")
        logits, _ = model.call({"token": TOKEN, "memory": given, "cache": cache}, "step")
        own = [p for p in model.parameters().values() if p.requires_grad]
        by = torch.autograd.grad(logits.square().sum(), [given, *own], materialize_grads=True)
        found.append([logits.detach(), *by])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
    assert bool(found[0][1].any())


def test_gradients_flow_through_caches_of_calls_that_are_forgotten(holder):
    found = []
    for model in transformers(holder):
        given, cache = MEMORY.clone().requires_grad_(), None
        for _ in range(4):
            arguments = {"token": TOKEN, "memory": given, "cache": cache}
            logits, cache = model.call(arguments, "step")
        model.call({"token": TOKEN, "memory": MEMORY}, "step")  # with which the rest is forgotten
        found.append(torch.autograd.grad(logits.square().sum(), given)[0])
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-12)


def test_parameters_that_a_call_changes_are_seen_here(holder, tmp_path):
    path = tmp_path / "changing.py"
    path.write_text(
        "import torch\n"
        "class LayerNorm(torch.nn.Module):\n"
        "    def __init__(self, d_model):\n"
        "        super().__init__()\n"
        "        self.gain = torch.nn.Parameter(torch.ones(d_model))\n"
        "    def forward(self, x):\n"
        "        self.gain.data.add_(1)\n"
        "        return x * self.gain\n"
    )
    there = holder.load(str(path))
    with there.fresh():
        norm = there.construct(CONTRACT["LayerNorm"], {"d_model": 2}, torch.float64, "cpu")
        norm.call({"x": torch.ones(1, 2, dtype=torch.float64)})
        assert norm.parameters()["gain"].tolist() == [2, 2]
        norm.set_parameters({"gain": torch.full((2,), 5.0, dtype=torch.float64)})
        answer = norm.call({"x": torch.ones(1, 2, dtype=torch.float64)})
        assert answer.tolist() == [[6, 6]]


def test_arguments_that_a_call_changes_are_seen_here(holder, tmp_path):
    path = tmp_path / "changing.py"
    path.write_text("def softmax(x, dim=-1):\n    return x.sub_(x.max()).softmax(dim)\n")
    there = holder.load(str(path))
    with there.fresh():
        component = there.construct(CONTRACT["softmax"], {}, torch.float64, "cpu")
        given = torch.tensor([1.0, 3.0])
        component.call({"x": given})
        assert given.tolist() == [1, 3]
        assert component.arguments()["x"].tolist() == [-2, 0]


SCALED = """
import torch
from torch import nn


class LayerNorm(nn.Module):
    def __init__(self, d_model, eps=1e-5):
        super().__init__()
        self.gain, self.shift = (nn.Parameter(torch.ones(d_model)) for _ in range(2))

    def forward(self, x):
        return self.gain * x**2 + self.shift
"""


def test_only_the_gradients_that_are_asked_for_go_over(loaded, monkeypatch):
    asked = list[list[Any]]()
    ask = _Process.ask

    def noted(self: _Process, do: str, **what: Any) -> dict[str, Any]:
        if do == "gradients":
            asked.append([which for _, which in what["wanted"]])
        return ask(self, do, **what)

    monkeypatch.setattr(_Process, "ask", noted)
    implementation = loaded(SCALED)
    with implementation.fresh():
        setup = Setup({"d_model": 2}, matrices={})
        norm = Subject(implementation, CONTRACT["LayerNorm"], torch.float64, "cpu", setup)
        x = leaf(torch.tensor([[3.0, 4.0]], dtype=torch.float64))
        ones = torch.ones(1, 2, dtype=torch.float64)
        (by_input,) = gradients(norm(x), ones, x)
        assert by_input.tolist() == [[6.0, 8.0]]
        with norm.learning():
            once = norm(ones)
            twice = norm(once)  # which follows from parameters twice
        found = norm.parameter_gradients(twice.sum())
        assert found["gain"].tolist() == [4.0 + 4.0, 4.0 + 4.0]
        assert found["shift"].tolist() == [1.0 + 4.0, 1.0 + 4.0]
        everything = torch.autograd.grad(norm(x).sum(), [x, *norm._own_parameters().values()])
        assert [grad.tolist() for grad in everything] == [[[6.0, 8.0]], [9.0, 16.0], [1.0, 1.0]]
    if isinstance(implementation, RemoteImplementation):
        assert asked == [[0], [0, "gain", "shift"], ["gain", "shift"], [0, "gain", "shift"]]


def test_a_submission_is_compiled_once_and_not_for_every_property(holder, tmp_path, monkeypatch):
    asked = list[str]()
    ask = _Process.ask

    def noted(self: _Process, do: str, **what: Any) -> dict[str, Any]:
        asked.append(do)
        return ask(self, do, **what)

    monkeypatch.setattr(_Process, "ask", noted)
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path / "elsewhere"))  # here, not there
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "__init__.py").write_text("")
    (tmp_path / "parts" / "one.py").write_text("def right(x, dim):\n    return x.softmax(dim)\n")
    path = tmp_path / "mine.py"
    path.write_text(
        "from parts.one import right\ndef softmax(x, dim=-1):\n    return right(x, dim)\n"
    )
    held = holder.load(str(path))
    assert isinstance(held, RemoteImplementation)
    assert set(held.source.compiled) == {"mine.py", "parts/__init__.py", "parts/one.py"}
    # Nobody compiles what no longer is Python.
    held.source = replace(held.source, files=dict.fromkeys(held.source.files, "KQ=="))
    laws = some("softmax")
    for law in laws:
        found = examine(law, held, SETTINGS, load_reference())
        assert found.well, found.message
    with held.replacing({}) as other:
        other.attach(holder.workers[0])
        assert examine(laws[0], other, SETTINGS, load_reference()).well
    assert asked.count("compile") == 1
    assert asked.count("load") == len(laws) + 2


def test_what_can_be_loaded_and_not_kept_compiled_is_no_less_a_submission(holder, tmp_path):
    path = tmp_path / "mine.py"
    deep = "lambda: " * 1000 + "1"  # too deep for what Python keeps
    path.write_text(f"import sys\ndef softmax(x, dim=-1): return x.softmax(dim)\nf = {deep}\n")
    held = holder.load(str(path))
    assert isinstance(held, RemoteImplementation)
    assert not held.source.compiled
    assert examine(some("softmax")[0], held, SETTINGS, load_reference()).well
