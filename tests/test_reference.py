"""The reference: it agrees with torch, says what is wrong, and has the shapes it promises."""

from __future__ import annotations

import contextlib
import importlib
import shutil
import sys
from pathlib import Path

import pytest
import torch
from jaxtyping import install_import_hook
from torch import nn
from torch.nn import functional as F  # noqa: N812 - torch's custom

import reference
from attest.examination import Settings, examine
from attest.implementations import LocalImplementation
from attest.ledger import load_ledger, load_reference
from reference import (
    AdditiveAttention,
    MultiHeadAttention,
    MultiplicativeAttention,
    SelfAttention,
    causal_mask,
    scaled_dot_product_attention,
    softmax,
)

LAWS = load_ledger().laws


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- Agreement with torch -----------------------------------------------------------------------

MASKS = {
    "no mask": None,
    "one row": torch.tensor([[True, False, True, True, False]]),
    "a row for each query": torch.tensor(
        [[1, 0, 0, 0, 1], [0, 1, 1, 1, 1], [1, 1, 1, 1, 1]]
    ).bool(),
    "a row without any key": torch.tensor([[1, 0, 0, 0, 1], [0] * 5, [1] * 5]).bool(),
}
MASKED = pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)


@MASKED
@pytest.mark.parametrize("lead", [(), (2,), (2, 4)], ids=str)
def test_dot_product_attention_agrees_with_that_of_torch(mask, lead):
    query, key, value = noise(*lead, 3, 4), noise(*lead, 5, 4, seed=1), noise(*lead, 5, 2, seed=2)
    output, weights = scaled_dot_product_attention(query, key, value, mask)
    torch.testing.assert_close(output, F.scaled_dot_product_attention(query, key, value, mask))
    torch.testing.assert_close(weights @ value, output)


def test_causal_attention_agrees_with_that_of_torch():
    x = noise(2, 6, 4)
    output, _ = scaled_dot_product_attention(x, x, x, causal_mask(6))
    torch.testing.assert_close(output, F.scaled_dot_product_attention(x, x, x, is_causal=True))


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_softmax_agrees_with_that_of_torch(dim):
    torch.testing.assert_close(softmax(noise(3, 4), dim), torch.softmax(noise(3, 4), dim))


@pytest.mark.parametrize("mask", list(MASKS.values())[:3], ids=list(MASKS)[:3])
@pytest.mark.parametrize(("d_model", "n_heads"), [(6, 1), (6, 2), (6, 3), (6, 6)])
def test_multi_head_attention_agrees_with_that_of_torch(mask, d_model, n_heads):
    torch.manual_seed(0)
    ours = MultiHeadAttention(d_model, n_heads).double()
    theirs = nn.MultiheadAttention(d_model, n_heads, batch_first=True, dtype=torch.float64)
    projections = (ours.query, ours.key, ours.value)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([p.weight for p in projections]))
        theirs.in_proj_bias.copy_(torch.cat([p.bias for p in projections]))
        theirs.out_proj.weight.copy_(ours.output.weight)
        theirs.out_proj.bias.copy_(ours.output.bias)
    query, key, value = noise(2, 3, 6), noise(2, 5, 6, seed=1), noise(2, 5, 6, seed=2)
    blocked = None if mask is None else ~mask.expand(3, 5)
    expected = theirs(query, key, value, attn_mask=blocked, average_attn_weights=False)
    for found, right in zip(ours(query, key, value, mask), expected, strict=True):
        torch.testing.assert_close(found, right)


def test_self_attention_agrees_with_that_of_torch():
    attention = SelfAttention(4).double()
    x = noise(2, 5, 4)
    output, _ = attention(x)
    projected = attention.query(x), attention.key(x), attention.value(x)
    torch.testing.assert_close(output, F.scaled_dot_product_attention(*projected))


def test_multiplicative_attention_agrees_with_that_of_torch_without_its_scale():
    attention = MultiplicativeAttention(3, 4).double()
    query, key, value = noise(2, 3, 3), noise(2, 5, 4), noise(2, 5, 2)
    output, _ = attention(query, key, value)
    expected = F.scaled_dot_product_attention(query, attention.key(key), value, scale=1.0)
    torch.testing.assert_close(output, expected)


def test_additive_attention_is_a_network_on_every_pair():
    attention = AdditiveAttention(3, 4, 6).double()
    query, key, value = noise(1, 2, 3), noise(1, 5, 4), noise(1, 5, 2)
    _, weights = attention(query, key, value)
    hidden = [[attention.query(q) + attention.key(k) for k in key[0]] for q in query[0]]
    scores = [torch.cat([attention.energy(torch.tanh(pair)) for pair in row]) for row in hidden]
    torch.testing.assert_close(weights[0], torch.softmax(torch.stack(scores), -1))


def test_everything_that_is_public_has_a_docstring_and_names_its_source():
    for name in reference.__all__:
        assert getattr(reference, name).__doc__, name


# --- Shapes at run time -------------------------------------------------------------------------


@contextlib.contextmanager
def checked_reference(folder):
    """Import the package ``reference`` from a folder with all its annotations checked at calls."""
    ours = {name: sys.modules.pop(name) for name in list(sys.modules) if _is_ours(name)}
    sys.path.insert(0, str(folder))
    try:
        with install_import_hook("reference", "beartype.beartype"):
            importlib.invalidate_caches()
            yield importlib.import_module("reference")
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if _is_ours(name)]:
            del sys.modules[name]
        sys.modules.update(ours)


def _is_ours(name):
    return name == "reference" or name.startswith("reference.")


def examined(component, folder, laws=LAWS, examples=2):
    """Examine on few examples, each of which checks every shape on its way."""
    with checked_reference(folder) as package:
        implementation = LocalImplementation("checked", package)
        settings = Settings(examples=examples, explain=False, patient=False)
        return [
            examine(law, implementation, settings, LocalImplementation("oracle", package))
            for law in laws
            if law.component == component
        ]


COMPONENTS = sorted({law.component for law in LAWS})
ROOT = Path(reference.__file__).parent.parent


@pytest.mark.slow
@pytest.mark.parametrize("component", COMPONENTS)
def test_every_shape_is_right_at_run_time(component):
    found = examined(component, ROOT)
    assert any(e.examples for e in found)
    assert [e for e in found if e.status in {"crashed", "refuted", "timeout"}] == []


@pytest.mark.slow
def test_every_shape_of_the_models_is_right_at_run_time():
    source, target = torch.tensor([[1, 2, 0], [3, 0, 0]]), torch.tensor([[0, 1], [0, 2]])
    lengths, real = torch.tensor([2, 1]), source > 0
    with checked_reference(ROOT) as package:
        for pre_norm in (False, True):
            model = package.Transformer(4, 5, 6, 3, 7, 2, pre_norm=pre_norm)
            assert model(source, target, real).shape == (2, 2, 5)
            assert model.generate(source, 0, 3, real).shape == (2, 3)
        for name in ("Seq2Seq", "ChoSeq2Seq", "AttentionSeq2Seq"):
            model = getattr(package, name)(4, 5, 6, 7)
            logits = model(source, target, lengths)
            assert package.sequence_loss(logits, target).shape == ()
            if name != "ChoSeq2Seq":
                assert model.generate(source, 0, 3, lengths).shape == (2, 3)
        _, state = package.Seq2Seq(4, 5, 6, 7, lstm=True).encode(source, lengths)
        assert [part.shape for part in state] == [(2, 7), (2, 7)]
        vision = package.VisionTransformer(2, 3, 4, 6, 2, 7, 1, 5)
        assert vision(torch.ones(2, 3, 4, 4)).shape == (2, 5)
        q, k, v = torch.ones(2, 3), torch.ones(4, 3), torch.ones(4, 5)
        package.biased_attention(q, k, v, package.alibi_bias(1, 2, 4)[0])
        package.relative_attention(q, k, v, torch.ones(3, 3), torch.ones(3, 5))
        package.rotary_positions(torch.ones(2, 4), torch.arange(2))
        package.LearnedPositionalEmbedding(4, 2)(3)


def test_the_package_itself_comes_back_after_it_was_imported_with_checks():
    with checked_reference(ROOT) as package:
        assert package is not reference
        assert package.softmax is not reference.softmax
        with pytest.raises(Exception, match="softmax") as caught:
            package.softmax([1.0])
        assert "TypeCheck" in type(caught.value).__name__
    assert sys.modules["reference"] is reference
    assert load_reference().raw("softmax") is reference.softmax


PLANTED = {
    "weights the other way round": (
        "scaled_dot_product_attention",
        "attention.py",
        '    mask: Bool[Tensor, "..."] | None = None,\n'
        ') -> tuple[Float[Tensor, "*batch L d_v"], Float[Tensor, "*batch L S"]]:',
        '    mask: Bool[Tensor, "..."] | None = None,\n'
        ') -> tuple[Float[Tensor, "*batch L d_v"], Float[Tensor, "*batch S L"]]:',
    ),
    "a wrong width inside": (
        "MultiHeadAttention",
        "multi_head_attention.py",
        '-> Float[Tensor, "B n_heads T d_h"]',
        '-> Float[Tensor, "B T n_heads d_h"]',
    ),
    "a wrong dtype": (
        "causal_mask",
        "masks.py",
        'Bool[Tensor, "length length"]',
        'Float[Tensor, "length length"]',
    ),
    "a wrong shape": (
        "padding_mask",
        "masks.py",
        "lengths[:, None]",
        "lengths[:, None, None]",
    ),
}


@pytest.mark.parametrize(("component", "file", "right", "wrong"), PLANTED.values(), ids=PLANTED)
def test_a_wrong_annotation_or_shape_is_noticed(component, file, right, wrong, tmp_path):
    shutil.copytree(ROOT / "reference", tmp_path / "reference")
    path = tmp_path / "reference" / file
    text = path.read_text(encoding="utf-8")
    assert right in text
    text = text.replace("import Bool, Int64", "import Bool, Float, Int64")
    path.write_text(text.replace(right, wrong), encoding="utf-8")
    laws = [law for law in LAWS if law.function.__name__ == "the_same_call_gives_the_same_result"]
    (evidence,) = examined(component, tmp_path, laws, examples=20)
    assert evidence.status == "crashed", evidence
    assert "TypeCheckError" in evidence.message
