"""Section 5 of the notes, the whole Transformer: that the layers inside are what they should be.

Nobody sees them from outside. But where embeddings are set to zero nothing but positions is left of
the tokens, and where matrices are known so is all that attention makes of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import Tensor

from attest.checks import DoesNotApply, close, sometimes_differs
from attest.differentiation import weighted_sum
from attest.laws import law
from attest.subject import Setup, Subject
from properties.bounds import LAYER_NORM_EPS, measured_bound
from properties.residual import NEARLY_NOTHING, can_be_told_apart, silenced

MODEL = "Transformer"

# --- Words --------------------------------------------------------------------------------------
# » x = self._embed(self.source_embedding, source)

# No two sizes are alike, nor their sums and multiples, so that tables of words can be told.
_SIZES = {"source_vocab": 5, "target_vocab": 7, "d_model": 8, "n_heads": 2, "d_hidden": 11}


def _some_models(*, as_made: bool = False) -> st.SearchStrategy[dict[str, Any]]:
    """Give small models of a layer or two, and some word."""

    def inputs(case: tuple[int, int]) -> dict[str, Any]:
        seed, n_layers = case
        sizes = {**_SIZES, "n_layers": n_layers}
        setup = Setup(sizes, seed, matrices={}) if as_made else Setup(sizes, seed)
        return {"last": seed % 5, "setup": setup}

    return st.sampled_from(tuple(product(range(8), (1, 2)))).map(inputs)


def _vocabulary(model: Subject, name: str) -> int:
    assert model.setup is not None
    return model.setup.arguments[name]


@law(
    MODEL,
    inputs=_some_models(),
    formula="memory_0 of (a, v) ≠ memory_0 of (a, v) where v is hidden, for every word v",
    dtypes=("float64",),
)
def no_word_of_the_source_stands_for_padding(model: Subject, last: int) -> None:
    """What is padding is said by the mask alone, and not by the number of a word."""
    words = torch.arange(_vocabulary(model, "source_vocab"))
    source = torch.stack([torch.full_like(words, last), words], 1)
    hidden = torch.tensor([[True, False]]).expand(len(words), 2)
    seen = model.encode(source)[:, 0]
    alone = model.encode(source, hidden)[:, 0]
    bound = 2 * measured_bound(model, {"source": source}, "encode")
    for word in words[words != last].tolist():  # a source of padding alone may be read
        sometimes_differs(seen[word], alone[word], f"word {word} is read", bound)


def _tables(model: Subject, *vocabularies: str) -> dict[str, Tensor]:
    """Give the parameters with an axis of a vocabulary, or of all of them together."""
    sizes = [_vocabulary(model, name) for name in vocabularies]
    wanted = {*sizes, sum(_vocabulary(model, f"{side}_vocab") for side in ("source", "target"))}
    return {n: p for n, p in model.parameters().items() if p.dim() > 1 and wanted & {*p.shape}}


@law(
    MODEL,
    inputs=_some_models(),
    formula="∂ logits_1(v, b)_c / ∂E_v ≠ 0 for every word v, where b and c are others",
    dtypes=("float64",),
)
def no_word_of_the_target_stands_for_padding(model: Subject, last: int) -> None:
    """A word that was said is looked at by the next one, whatever its number.

    Its own logit is left out, which may be read off the same table.
    """
    vocabulary = _vocabulary(model, "target_vocab")
    tables = [n for n, p in _tables(model, "target_vocab").items() if p.shape[0] == vocabulary]
    if not tables:
        raise DoesNotApply("it has no table with a row for each word of the target")
    memory = model.encode(torch.tensor([[0, 1, 2]]))
    for word in range(vocabulary):
        other = (
            (word + 1 + last) % vocabulary if last != vocabulary - 1 else (word + 1) % vocabulary
        )
        with model.learning():
            logits = model.decode(torch.tensor([[word, other]]), memory)[0, 1]
        others = torch.cat([logits[:word], logits[word + 1 :]])
        found = model.parameter_gradients(weighted_sum(others, torch.cos(others.detach())))
        rows = torch.stack([found[name][word].abs().max() for name in tables])
        sometimes_differs(rows, torch.zeros_like(rows), f"word {word} is looked at")


# --- Sublayers ----------------------------------------------------------------------------------
# » self.encoder(x, …)


@law(
    MODEL,
    inputs=_some_models(as_made=True),
    formula="all F = 0 in the encoder: memory_t still differs for different words",
    dtypes=("float64",),
)
def silent_sublayers_let_the_words_through(model: Subject, last: int) -> None:
    """Where no sublayer of the encoder says anything, the memory still tells words apart.

    A residual that is missing loses them. Whatever has an axis of a vocabulary is left as it is.
    """
    before = model.parameters()
    can_be_told_apart(before)
    tables = _tables(model, "source_vocab", "target_vocab")
    model.set_parameters(silenced({n: p for n, p in before.items() if n not in tables}))
    count = _vocabulary(model, "source_vocab")
    words = torch.arange(count)[:, None].expand(count, 2)
    memory = model.encode(words)
    other = model.encode(words.roll(1 + last % (count - 1), 0))
    sometimes_differs(memory, other, "words are told apart", math.sqrt(NEARLY_NOTHING))


# --- Attention ----------------------------------------------------------------------------------
# » scores = query @ key.mT / math.sqrt(query.shape[-1])

Stream = Callable[[Tensor], Tensor]


def _normalised(x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + LAYER_NORM_EPS).sqrt()


def _attended(x: Tensor, heads: int) -> Tensor:
    """Give what attention says where its matrices are the identity, (L, D)."""
    split = x.view(len(x), heads, -1).transpose(0, 1)
    scores = split @ split.mT / math.sqrt(split.shape[-1])
    return (scores.softmax(-1) @ split).transpose(0, 1).flatten(1)


def _positions(length: int, width: int) -> Iterator[Tensor]:
    """Give the encodings with sines and cosines by turns, and in two halves."""
    exponents = torch.arange(0, width, 2, dtype=torch.float64) / width
    angles = torch.arange(length, dtype=torch.float64)[:, None] * 10000.0**-exponents
    yield torch.stack([angles.sin(), angles.cos()], -1).flatten(1)
    yield torch.cat([angles.sin(), angles.cos()], 1)


def _streams(heads: int, n_layers: int) -> Iterator[Stream]:
    """Give what encoders may make of tokens, with nothing said by their networks."""

    def post(x: Tensor) -> Tensor:
        for _ in range(n_layers):
            x = _normalised(_normalised(x + _attended(x, heads)))
        return x

    def pre(x: Tensor) -> Tensor:
        for _ in range(n_layers):
            x = x + _attended(_normalised(x), heads)
        return x

    yield post
    yield pre
    yield lambda x: _normalised(pre(x))


def _known(model: Subject) -> dict[str, Tensor]:
    """Give every square matrix of attention as the identity, and all else as zero.

    A fused matrix is some square ones on top of each other; whose rows are whose is told for one
    head alone.

    Raises:
        DoesNotApply: the parameters are stored in another way.
    """
    assert model.setup is not None
    sizes = model.setup.arguments
    width = sizes["d_model"]
    values: dict[str, Tensor] = {}
    squares, fused = 0, False
    for name, old in model.parameters().items():
        count = old.shape[0] // width if old.dim() == 2 and old.shape[1] == width else 0
        if count and old.shape[0] == count * width:
            values[name] = torch.eye(width, dtype=torch.float64).repeat(count, 1)
            squares, fused = squares + count, fused or count > 1
        elif not bool((old == 1).all()):
            values[name] = torch.zeros_like(old)
    if squares != 12 * sizes["n_layers"]:
        raise DoesNotApply("its attentions have no four square matrices each")
    assume(sizes["n_heads"] == 1 or not fused)
    return values


def _widths() -> st.SearchStrategy[dict[str, Any]]:
    """Give models of known widths, and how many positions there are."""

    def inputs(case: tuple[tuple[int, int], int, int]) -> dict[str, Any]:
        (width, heads), n_layers, length = case
        sizes = {**_SIZES, "d_model": width, "n_heads": heads, "n_layers": n_layers}
        return {"length": length, "setup": Setup(sizes)}

    widths = ((8, 1), (8, 2), (16, 1), (16, 2), (16, 4), (24, 3))
    return st.sampled_from(tuple(product(widths, (1, 2), (2, 3, 6)))).map(inputs)


@law(
    MODEL,
    inputs=_widths(),
    formula="E = 0, W = I for q, k, v, o, F = 0: layers are x + softmax(x_h x_hᵀ / √d_h) x_h, "
    "normalised or of x normalised, of the positions x = p(0) … p(n − 1)",
    dtypes=("float64",),
)
def the_encoder_inside_attends_as_attention_does(model: Subject, length: int) -> None:
    """With weights that are known, positions alone are made into a memory that is known, too.

    One token alone, whose scores make no difference, shows that parameters are what they are taken
    for, where normalisations stand, and how the columns of positions are ordered.
    """
    assert model.setup is not None
    sizes = model.setup.arguments
    model.set_parameters(_known(model))
    # Positions may be off by what careless float32 gives.
    bound = 1e-4 * length
    found, single = (model.encode(torch.zeros(1, n, dtype=torch.int64))[0] for n in (length, 1))
    streams = list(_streams(sizes["n_heads"], sizes["n_layers"]))
    candidates = [
        stream(table)
        for table in _positions(length, sizes["d_model"])
        for stream in streams
        if bool((stream(table[:1]) - single).abs().max() <= bound)
    ]
    if not candidates:
        raise DoesNotApply("one token alone shows that its parameters mean something else")
    nearest = min(candidates, key=lambda candidate: float((candidate - found).abs().max()))
    close(found, nearest, bound, "the memory of positions alone")
    sometimes_differs(found[1:], found[:-1], "positions differ", bound)
