"""Who is to blame: what holds with the reference's part does not pay for its own part's mistake."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from torch import softmax

from attest.contract import CONTRACT
from attest.evidence import Evidence
from attest.examination import Settings
from attest.grading import Grade
from attest.holding import Holder
from attest.implementations import Implementation, LocalImplementation
from attest.ledger import load_ledger, load_reference
from attest.marking import Marker
from attest.parts import PARTS, excerpt
from attest.rubric import Rubric
from attest.running import examine_all

SETTINGS = Settings(examples=10, seconds=20.0)
SUM, ROWS = "softmax.entries_along_the_axis_sum_to_one", "every_row_of_weights_sums_to_one"
SCALE = "weights_are_the_softmax_of_the_scaled_scores"
LAWS = [SUM, *(f"scaled_dot_product_attention.{name}" for name in (ROWS, SCALE))]

ATTENTION = """
    def scaled_dot_product_attention(query, key, value, mask=None):
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        weights = {softmax}(scores, -1)
        return weights @ value, weights
"""
DOUBLED = "def softmax(x, dim=-1):\n    return 2 * x.softmax(dim)\n"


@pytest.fixture(scope="module", params=["in a worker", "trusted"])
def mark(request, tmp_path_factory) -> Iterator[Callable[..., Grade]]:
    laws = {law.id: law for law in load_ledger([]).laws}
    reference = load_reference()

    with Holder(SETTINGS, 1, trusted=request.param == "trusted") as holder:

        def examine(
            chosen: Sequence[Any], loaded: Implementation, settings: Settings, _: str
        ) -> list[Evidence]:
            quiet, workers = (lambda _: None), holder.workers
            return examine_all(chosen, loaded, settings, reference, 1, quiet, workers)

        def marked(text: str, *names: str, beside: str = "", rubric: Rubric | None = None) -> Grade:
            folder = tmp_path_factory.mktemp("submission")
            # Modules of one name are one where submissions are trusted.
            other = f"beside_{folder.name}"
            (folder / "mine.py").write_text(text.replace("beside", other))
            (folder / f"{other}.py").write_text(beside)
            chosen = [laws[name] for name in names or LAWS]
            marker = Marker(holder, chosen, SETTINGS, rubric or Rubric(), examine)
            return marker.mark(str(folder / "mine.py"))

        yield marked


def blamed(result: Grade) -> dict[str, tuple[str, ...]]:
    return {mark.prop.id: mark.because_of for mark in result.marks if mark.failed}


def attention(softmax: str = "softmax") -> str:
    return textwrap.dedent(ATTENTION.format(softmax=softmax))


def test_what_fails_with_its_part_alone_is_not_charged_twice(mark):
    result = mark(DOUBLED + attention())
    assert blamed(result) == {LAWS[0]: (), LAWS[1]: ("softmax",), LAWS[2]: ("softmax",)}
    assert [part.score for part in result.components] == [0.0, result.components[1].max_score]
    assert not result.well


def test_what_is_wrong_by_itself_is_charged(mark):
    unscaled = attention().replace(" / query.shape[-1] ** 0.5", "")
    assert set(blamed(mark(DOUBLED + unscaled)).values()) == {()}


def test_what_else_is_not_robust_excuses_the_rest_all_the_same(mark):
    finite = "scaled_dot_product_attention.a_query_without_any_key_stays_finite"
    found = blamed(mark(DOUBLED + attention(), *LAWS, finite))
    assert found[finite] == ()
    assert found[LAWS[1]] == found[LAWS[2]] == ("softmax",)


def test_a_component_that_is_its_part_by_another_name_is_not_excused(mark):
    text = """
        from torch import nn

        class EncoderLayer(nn.Module):
            def __init__(self, *sizes):
                raise ValueError("not done yet")

        {other}
    """
    laws = [law for law in load_ledger([]).laws if law.component in {"EncoderLayer", "Encoder"}]
    own = [law for law in laws if law.component == "Encoder" and law.kind == "definition"]
    assert len(own) > 1
    names = list(dict.fromkeys(law.id for law in (*laws[::20], *own)))
    delegate = "class Encoder: __new__ = lambda kind, *sizes: EncoderLayer(*sizes[:3])"
    for other in ("Encoder = EncoderLayer", delegate):
        result = mark(textwrap.dedent(text.format(other=other)), *names)
        assert set(blamed(result).values()) == {()}
        assert result.score == 0


def test_nobody_is_excused_for_what_he_does_with_correct_parts_alone(mark):
    """A softmax that pays, and attention that does another thing wrong without it."""
    two = """
        import torch

        def softmax(x, dim=-1):
            return 2 * x.softmax(dim)

        _mine = (softmax,)

        def scaled_dot_product_attention(query, key, value, mask=None):
            scores = query @ key.mT / query.shape[-1] ** 0.5
            if mask is not None:
                scores = scores.masked_fill(~mask, -torch.inf)
            weights = softmax(scores, -1)
            output = weights @ value
            if softmax is not _mine[0]:
                query.zero_()
            return output, weights
    """
    unchanged = "scaled_dot_product_attention.inputs_are_left_unchanged"
    assert blamed(mark(textwrap.dedent(two), *LAWS, unchanged)) == dict.fromkeys(LAWS, ())


def test_only_parts_that_have_paid_are_an_excuse(mark):
    free = Rubric(properties={"softmax": 0})
    assert set(blamed(mark(DOUBLED + attention(), rubric=free)).values()) == {()}
    assert set(blamed(mark(DOUBLED + attention(), rubric=Rubric(bonus=("softmax",)))).values()) == {
        ()
    }


def test_a_required_component_that_fails_because_of_its_part_is_there(mark):
    required = Rubric(required=("scaled_dot_product_attention",))
    crashing = "def softmax(x, dim=-1):\n    raise ValueError\n"
    result = mark(crashing + attention(), rubric=required)
    assert result.missing == ()
    assert result.score == result.components[1].max_score


def test_a_part_that_is_not_called_by_its_name_is_no_excuse(mark):
    own = "def _own(x, dim):\n    return 2 * x.softmax(dim)\n"
    assert set(blamed(mark(DOUBLED + own + attention("_own"))).values()) == {()}


def test_a_part_that_holds_or_is_not_there_is_not_to_blame(mark):
    own = "def _own(x, dim):\n    return 2 * x.softmax(dim)\n"
    right = "def softmax(x, dim=-1):\n    return x.softmax(dim)\n"
    for text in (own + attention("_own"), right + own + attention("_own")):
        assert blamed(mark(text)) == {LAWS[1]: (), LAWS[2]: ()}


def test_a_part_in_another_file_is_found(mark):
    result = mark("from beside import softmax\n" + attention(), beside=DOUBLED)
    assert blamed(result)[LAWS[2]] == ("softmax",)
    result = mark(
        "from beside import scaled_dot_product_attention, softmax\n", beside=DOUBLED + attention()
    )
    assert blamed(result)[LAWS[2]] == ("softmax",)


def test_of_several_parts_the_one_that_explains_it_is_named(mark):
    text = """
        import torch
        from torch import nn

        def softmax(x, dim=-1):
            return x.softmax(dim)

        class LayerNorm(nn.Module):
            def __init__(self, d_model):
                super().__init__()
                self.gain = nn.Parameter(torch.ones(d_model))
                self.bias = nn.Parameter(torch.zeros(d_model))

            def forward(self, x):
                return self.gain * (x - x.mean(-1, keepdim=True)) + self.bias

        class FeedForward(nn.Module):
            def __init__(self, d_model, d_hidden):
                super().__init__()
                self.inner, self.outer = nn.Linear(d_model, d_hidden), nn.Linear(d_hidden, d_model)

            def forward(self, x):
                return self.outer(self.inner(x))

        class MultiHeadAttention(nn.Module):
            def __init__(self, d_model, n_heads):
                super().__init__()
                self.attention = nn.MultiheadAttention(d_model, n_heads, batch_first=True)

            def forward(self, query, key, value, mask=None):
                return self.attention(query, key, value)

        class EncoderLayer(nn.Module):
            def __init__(self, d_model, n_heads, d_hidden):
                super().__init__()
                self.attention = MultiHeadAttention(d_model, n_heads)
                self.network = FeedForward(d_model, d_hidden)
                self.first, self.second = LayerNorm(d_model), LayerNorm(d_model)

            def forward(self, x, mask=None):
                x = self.first(x + self.attention(x, x, x, mask)[0])
                return self.second(x + self.network(x))
    """
    laws = [law.id for law in load_ledger([]).laws]
    norm = [name for name in laws if name.startswith("LayerNorm.")]
    masks = [name for name in laws if name.startswith("EncoderLayer.") and "hid" in name]
    heads = [name for name in laws if name.startswith("MultiHeadAttention.hidden")]
    result = mark(textwrap.dedent(text), *norm, *heads, *masks)
    found = blamed(result)
    assert any(name.startswith("LayerNorm.") for name in found)
    causes = {found[name] for name in masks if name in found}
    assert ("MultiHeadAttention",) in causes


def test_a_composite_that_lets_a_part_of_the_reference_do_its_work_gains_nothing(mark):
    stub = """
        import sys

        def softmax(x, dim=-1):
            return 2 * x.softmax(dim)

        def scaled_dot_product_attention(query, key, value, mask=None):
            for module in [sys.modules.get(softmax.__module__), *list(sys.modules.values())]:
                other = vars(module or sys).get("scaled_dot_product_attention")
                if other is not None and other is not scaled_dot_product_attention:
                    return other(query, key, value, mask)
            other = softmax.__globals__.get("scaled_dot_product_attention")
            if other is not None and other is not scaled_dot_product_attention:
                return other(query, key, value, mask)
            return value, key
    """
    assert set(blamed(mark(textwrap.dedent(stub))).values()) == {()}


@pytest.mark.parametrize("component", CONTRACT)
def test_an_excerpt_runs_by_itself_and_has_nothing_that_is_made_of_it(component):
    module = ModuleType("part")
    exec(compile(excerpt(component), "part.py", "exec"), module.__dict__)  # noqa: S102 - our own
    assert callable(getattr(module, component))
    assert "reference" not in excerpt(component).partition("class")[0].partition("def ")[0]
    for other, parts in PARTS.items():
        if component in parts:
            assert not hasattr(module, other)


def test_parts_come_before_what_is_made_of_them():
    for component, parts in PARTS.items():
        assert component not in parts
        for part in parts:
            assert set(PARTS.get(part, ())) <= set(parts)
            assert component not in PARTS.get(part, ())


def test_what_was_exchanged_is_put_back():
    own = LocalImplementation("mine", SimpleNamespace(softmax=softmax))
    with own.replacing({"softmax": DOUBLED}) as other:
        assert other.raw("softmax") is not softmax
    assert own.raw("softmax") is softmax
