"""The reference refuses what does not fit, before it computes, and says what was given."""

from __future__ import annotations

import math
import re
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import reference as r

T, F = torch.ones, ValueError
TRUE = torch.ones(2, 3, 5, dtype=torch.bool)
IDS, LENGTHS = torch.tensor([[1, 2, 3, 0], [3, 2, 0, 0]]), torch.tensor([4, 2])
REAL = IDS > 0
Q, K, V = T(2, 3, 6), T(2, 5, 6), T(2, 5, 6)
IMAGES = T(2, 3, 4, 6)

CONSTRUCTORS = {
    r.AdditiveAttention: (6, 6, 4),
    r.AttentionSeq2Seq: (4, 5, 3, 6),
    r.ChoSeq2Seq: (4, 5, 3, 6),
    r.Decoder: (6, 3, 7, 2),
    r.DecoderLayer: (6, 3, 7),
    r.ElmanCell: (3, 6),
    r.Embedding: (4, 6),
    r.Encoder: (6, 3, 7, 2),
    r.EncoderLayer: (6, 3, 7),
    r.FeedForward: (6, 7),
    r.GRUCell: (3, 6),
    r.LSTMCell: (3, 6),
    r.LayerNorm: (6,),
    r.LearnedPositionalEmbedding: (5, 6),
    r.MultiHeadAttention: (6, 3),
    r.MultiplicativeAttention: (6, 6),
    r.PatchEmbedding: (2, 3, 6),
    r.SelfAttention: (6,),
    r.Seq2Seq: (4, 5, 3, 6),
    r.Transformer: (4, 5, 6, 3, 7, 2),
    r.VisionTransformer: (2, 3, 6, 6, 3, 7, 2, 5),
}
MADE = {cls: cls(*sizes) for cls, sizes in CONSTRUCTORS.items()}
MODULES = pytest.mark.parametrize("cls", CONSTRUCTORS, ids=lambda cls: cls.__name__)


# What makes, copies or cuts a tensor computes nothing.
MAKING = {"_to_copy", "detach", "new_zeros", "ones", "repeat", "select", "slice"}


class NoArithmetic(TorchDispatchMode):
    """Fails where floating point numbers are computed."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        floating = isinstance(result, torch.Tensor) and result.is_floating_point()
        assert not floating or name in MAKING, name
        return result


def refused(call, error, *words):
    """Demand an error of exactly this type, with all these words, before any arithmetic."""
    with NoArithmetic(), pytest.raises((ValueError, TypeError)) as caught:
        call()
    assert type(caught.value) is error, repr(caught.value)
    for word in words:
        assert word in str(caught.value), f"{word!r} is not in {caught.value}"


def test_every_module_has_a_row():
    assert set(CONSTRUCTORS) == {
        found
        for name in r.__all__
        if isinstance(found := getattr(r, name), type) and issubclass(found, nn.Module)
    }


@MODULES
@pytest.mark.parametrize("size", [0, -1, 2.0, "2"])
def test_every_size_is_a_positive_integer(cls, size):
    sizes = CONSTRUCTORS[cls]
    for place in range(len(sizes)):
        given = (*sizes[:place], size, *sizes[place + 1 :])
        error, says = (
            (ValueError, "at least 1") if isinstance(size, int) else (TypeError, "integer")
        )
        with pytest.raises(error, match=says) as caught:
            cls(*given)
        assert repr(size) in str(caught.value)


DIVIDED = {
    r.MultiHeadAttention: (6, 4),
    r.EncoderLayer: (6, 4, 7),
    r.DecoderLayer: (6, 4, 7),
    r.Encoder: (6, 4, 7, 1),
    r.Decoder: (6, 4, 7, 1),
    r.Transformer: (4, 5, 6, 4, 7, 1),
    r.VisionTransformer: (2, 3, 6, 6, 4, 7, 1, 5),
}


@pytest.mark.parametrize(
    ("cls", "sizes"), DIVIDED.items(), ids=lambda x: getattr(x, "__name__", "")
)
def test_heads_divide_the_width(cls, sizes):
    with pytest.raises(ValueError, match="4 heads do not divide a width of 6"):
        cls(*sizes)


# --- Attention: one table for all that take queries, keys, values and a mask ---------------------

ATTENTIONS = {
    "scaled_dot_product_attention": r.scaled_dot_product_attention,
    "additive_attention": lambda q, k, v, m=None: r.additive_attention(q, k, v, T(6), m),
    "multiplicative_attention": r.multiplicative_attention,
    "multi_head_attention": lambda q, k, v, m=None: r.multi_head_attention(q, k, v, 3, m),
    "biased_attention": lambda q, k, v, m=None: r.biased_attention(q, k, v, T(3, 5), m),
    "relative_attention": lambda q, k, v, m=None: r.relative_attention(
        q, k, v, T(3, 6), T(3, 6), m
    ),
    "AdditiveAttention": MADE[r.AdditiveAttention],
    "MultiplicativeAttention": MADE[r.MultiplicativeAttention],
    "MultiHeadAttention": MADE[r.MultiHeadAttention],
    "DecoderLayer": lambda q, k, v, m=None: MADE[r.DecoderLayer](q, k if v is V else v, None, m),
    "Decoder": lambda q, k, v, m=None: MADE[r.Decoder](q, k if v is V else v, None, m),
}
SELF = {
    "self_attention": lambda x, m=None: r.self_attention(x, T(4, 6), T(4, 6), T(2, 6), m),
    "SelfAttention": MADE[r.SelfAttention],
    "EncoderLayer": MADE[r.EncoderLayer],
    "Encoder": MADE[r.Encoder],
    "DecoderLayer": lambda x, m=None: MADE[r.DecoderLayer](x, T(2, 2, 6), m),
    "Decoder": lambda x, m=None: MADE[r.Decoder](x, T(2, 2, 6), m),
}
MASKS = {
    "float": (TRUE.float(), TypeError, ("boolean", "torch.float32")),
    "int": (TRUE.long(), TypeError, ("boolean", "torch.int64")),
    "list": ([[True] * 5], TypeError, ("boolean", "list")),
    "one dimension": (TRUE[0, 0], F, ("(5,)", "does not broadcast")),
    "another length": (TRUE[..., :4], F, ("(2, 3, 4)", "does not broadcast")),
    "another batch": (TRUE[:1].repeat(3, 1, 1), F, ("(3, 3, 5)", "does not broadcast")),
    "too many dimensions": (TRUE[None, None], F, ("(1, 1, 2, 3, 5)", "does not broadcast")),
}
FOREIGN = {
    "queries wider than keys": ((T(2, 3, 7), K, V), F, ("(2, 3, 7)", "(2, 5, 6)")),
    "another batch": ((Q, T(3, 5, 6), T(3, 5, 6)), F, ("(2, 3, 6)", "(3, 5, 6)")),
    "no key": ((Q, T(2, 0, 6), T(2, 0, 6)), F, ("(2, 0, 6)",)),
    "integers": ((Q, K.long(), V), TypeError, ("torch.int64", "(2, 5, 6)")),
    "no tensor": ((None, K, V), TypeError, ("query", "NoneType")),
    "no dimension but one": ((T(6), K, V), F, ("(6,)",)),
}


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("case", MASKS)
def test_attention_refuses_masks_that_are_none(attention, case):
    mask, error, words = MASKS[case]
    refused(lambda: ATTENTIONS[attention](Q, K, V, mask), error, *words)


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("case", FOREIGN)
def test_attention_refuses_shapes_that_do_not_fit(attention, case):
    tensors, error, words = FOREIGN[case]
    words = [word.replace("query", "x") if "Dec" in attention else word for word in words]
    refused(lambda: ATTENTIONS[attention](*tensors), error, *words)


@pytest.mark.parametrize("attention", [name for name in ATTENTIONS if "Decoder" not in name])
def test_attention_needs_a_value_for_each_key(attention):
    refused(lambda: ATTENTIONS[attention](Q, K, T(2, 4, 6)), F, "(2, 5, 6)", "(2, 4, 6)")


@pytest.mark.parametrize("attention", SELF)
@pytest.mark.parametrize("case", MASKS)
def test_self_attention_refuses_masks_that_are_none(attention, case):
    mask, error, words = MASKS[case]
    refused(lambda: SELF[attention](T(2, 5, 6), mask), error, *words[1:])


@pytest.mark.parametrize("attention", SELF)
@pytest.mark.parametrize(
    ("x", "error", "word"),
    [
        (T(2, 5, 7), F, "(2, 5, 7)"),
        (T(2, 0, 6), F, "(2, 0, 6)"),
        (T(6), F, "(6,)"),
        (T(2, 5, 6).long(), TypeError, "torch.int64 of shape (2, 5, 6)"),
        ([[1.0] * 6], TypeError, "list"),
    ],
    ids=["width", "empty", "dimensions", "integers", "a list"],
)
def test_self_attention_refuses_tokens_that_are_none(attention, x, error, word):
    refused(lambda: SELF[attention](x), error, word)


# --- Models: one table for all that take tokens ---------------------------------------------------

MODELS = {
    cls.__name__: MADE[cls] for cls in (r.Seq2Seq, r.ChoSeq2Seq, r.AttentionSeq2Seq, r.Transformer)
}
TOKENS = {
    "floats for a source": ((IDS.float(), IDS), TypeError, ("source is torch.int64", "(2, 4)")),
    "floats for a target": ((IDS, IDS.float()), TypeError, ("target_in is torch.int64", "(2, 4)")),
    "one sequence without its batch": ((IDS[0], IDS), F, ("(4,)", "(2, 4)")),
    "another batch": ((IDS, IDS[:1]), F, ("(2, 4)", "(1, 4)")),
    "an empty source": ((IDS[:, :0], IDS), F, ("S>0", "(2, 0)")),
    "an empty target": ((IDS, IDS[:, :0]), F, ("L>0", "(2, 0)")),
    "a list": (([[1, 2]], IDS), TypeError, ("source is a tensor, got list",)),
}
UNKNOWN = {
    "source": ((IDS + 1, IDS), ("from 0 to 3", "1 to 4", "(2, 4)")),
    "negative source": ((IDS - 1, IDS), ("from 0 to 3", "-1 to 2", "(2, 4)")),
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("case", TOKENS)
def test_models_refuse_what_are_no_tokens(model, case):
    tokens, error, words = TOKENS[case]
    refused(lambda: MODELS[model](*tokens), error, *words)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("case", UNKNOWN)
def test_models_refuse_tokens_outside_the_vocabulary(model, case):
    tokens, words = UNKNOWN[case]
    refused(lambda: MODELS[model](*tokens), F, *words)


@pytest.mark.parametrize("model", MODELS)
def test_models_refuse_targets_outside_the_vocabulary(model):
    with pytest.raises(ValueError, match=re.escape("from 0 to 4, got ")):
        MODELS[model](IDS, IDS + 2)


WRONG_LENGTHS = {
    "floats": (LENGTHS.float(), TypeError, ("lengths is torch.int64", "torch.float32")),
    "a matrix": (LENGTHS[:, None], F, ("(2, 1)",)),
    "one too few": (LENGTHS[:1], F, ("(2, 4)", "(1,)")),
    "zero": (torch.tensor([4, 0]), F, ("from 1 to 4", "[4, 0]")),
    "too long": (torch.tensor([5, 1]), F, ("from 1 to 4", "[5, 1]")),
    "a list": ([4, 2], TypeError, ("lengths is a tensor, got list",)),
}


READERS = [
    (name, method)
    for name in ("Seq2Seq", "ChoSeq2Seq", "AttentionSeq2Seq")
    for method in ("forward", "encode", "generate")
    if hasattr(MODELS[name], method)
]


@pytest.mark.parametrize(("model", "method"), READERS)
@pytest.mark.parametrize("case", WRONG_LENGTHS)
def test_recurrent_models_refuse_lengths(model, method, case):
    lengths, error, words = WRONG_LENGTHS[case]
    before = {"forward": (IDS, IDS), "encode": (IDS,), "generate": (IDS, 0, 3)}[method]
    refused(lambda: getattr(MODELS[model], method)(*before, lengths), error, *words)


WRONG_REAL = {
    "floats": (REAL.float(), TypeError, ("source_mask is torch.bool", "torch.float32")),
    "another length": (REAL[:, :3], F, ("(2, 3)", "(2, 4)")),
    "one row": (REAL[0], F, ("(4,)", "(2, 4)")),
}
MEMORY = T(2, 4, 6)


@pytest.mark.parametrize("method", ["forward", "encode", "decode", "step", "generate"])
@pytest.mark.parametrize("case", WRONG_REAL)
def test_a_transformer_refuses_source_masks(method, case):
    mask, error, words = WRONG_REAL[case]
    model = MADE[r.Transformer]
    call = {
        "forward": lambda: model(IDS, IDS, mask),
        "encode": lambda: model.encode(IDS, mask),
        "decode": lambda: model.decode(IDS, MEMORY, mask),
        "step": lambda: model.step(IDS[:, 0], MEMORY, None, mask),
        "generate": lambda: model.generate(IDS, 0, 3, mask),
    }[method]
    if method in {"decode", "step"}:
        words = [word for word in words if word != "(2, 4)"]
    refused(call, error, *words)


@pytest.mark.parametrize("model", [name for name in MODELS if name != "ChoSeq2Seq"])
@pytest.mark.parametrize(
    ("arguments", "error", "word"),
    [
        ((0, -1), F, "max_length is at least 0, got -1"),
        ((0, 2.0), TypeError, "max_length is an integer, got 2.0"),
        ((-1, 2), F, "bos is at least 0, got -1"),
        ((0.0, 2), TypeError, "bos is an integer, got 0.0"),
    ],
)
def test_generating_needs_a_start_and_a_length(model, arguments, error, word):
    refused(lambda: MODELS[model].generate(IDS, *arguments), error, word)


@pytest.mark.parametrize("model", [name for name in MODELS if name != "ChoSeq2Seq"])
def test_generating_needs_tokens_of_the_vocabulary(model):
    with pytest.raises(ValueError, match=re.escape("from 0 to 4, got 5 to 5")):
        MODELS[model].generate(IDS, 5, 2)
    with pytest.raises(ValueError, match="end is at most 4, got 5"):
        MODELS[model].generate(IDS, 0, 2, end=5)


# --- Everything else, a row each ------------------------------------------------------------------

LSTM, GRU, ELMAN = MADE[r.LSTMCell], MADE[r.GRUCell], MADE[r.ElmanCell]
CHO, BAHDANAU, TRANSFORMER = (
    MADE[cls] for cls in (r.ChoSeq2Seq, r.AttentionSeq2Seq, r.Transformer)
)
OF_LSTMS = r.Seq2Seq(4, 5, 3, 6, lstm=True)
FIRST, STATE = IDS[:, 0], T(2, 6)
LOGITS, TARGET = T(2, 4, 5), IDS
X = T(2, 6)


def certain(token, state):
    """Give logits that know nothing, for a vocabulary of 4."""
    return torch.zeros(len(token), 4), state


def wrong(token, state):
    """Give a logit too few."""
    return torch.zeros(len(token) - 1, 4), state


REFUSED = {
    # softmax and masks
    "softmax of integers": (lambda: r.softmax(IDS), TypeError, "torch.int64 of shape (2, 4)"),
    "softmax of a list": (lambda: r.softmax([1.0]), TypeError, "x is a tensor, got list"),
    "softmax along no axis": (lambda: r.softmax(X, 2), F, "dim is at most 1, got 2"),
    "softmax along no negative axis": (lambda: r.softmax(X, -3), F, "dim is at least -2, got -3"),
    "softmax of nothing": (lambda: r.softmax(X[:, :0]), F, "axis -1 of shape (2, 0)"),
    "masked softmax of nothing": (lambda: r.masked_softmax(X[:, :0]), F, "(2, 0)"),
    "masked softmax of a vector": (lambda: r.masked_softmax(X[0]), F, "(6,)"),
    "a mask that would widen the scores": (
        lambda: r.masked_softmax(X[:1], TRUE[0, :2]),
        F,
        "a mask of shape (2, 5) does not broadcast to scores of shape (1, 6)",
    ),
    "a mask of numbers for a softmax": (
        lambda: r.masked_softmax(X, X),
        TypeError,
        "a mask is boolean, True where attention is allowed; got torch.float32",
    ),
    "a causal mask of negative length": (
        lambda: r.causal_mask(-1),
        F,
        "length is at least 0, got -1",
    ),
    "a causal mask of 2.0": (lambda: r.causal_mask(2.0), TypeError, "an integer, got 2.0"),
    "float lengths": (
        lambda: r.padding_mask(LENGTHS.float(), 4),
        TypeError,
        "lengths is torch.int64, got torch.float32 of shape (2,)",
    ),
    "int32 lengths": (lambda: r.padding_mask(LENGTHS.int(), 4), TypeError, "got torch.int32"),
    "lengths in a matrix": (lambda: r.padding_mask(LENGTHS[None], 4), F, "(1, 2)"),
    "lengths of zero": (lambda: r.padding_mask(LENGTHS - 2, 4), F, "from 1 to 4, got [2, 0]"),
    "lengths past the end": (lambda: r.padding_mask(LENGTHS, 3), F, "from 1 to 3, got [4, 2]"),
    "room that is negative": (lambda: r.padding_mask(LENGTHS, -1), F, "at least 0, got -1"),
    "room that is no integer": (
        lambda: r.padding_mask(LENGTHS, 4.0),
        TypeError,
        "integer, got 4.0",
    ),
    "masks of two lengths": (lambda: r.combined_mask(REAL, TRUE[0]), F, "(2, 4), (3, 5)"),
    "masks of two batches": (
        lambda: r.combined_mask(REAL[:1], TRUE[..., :4]),
        F,
        "(2, 3, 4) does not broadcast to scores of shape (1, 3, 4)",
    ),
    "a combined mask of numbers": (
        lambda: r.combined_mask(REAL.long(), TRUE[..., :4]),
        TypeError,
        "real is torch.bool, got torch.int64 of shape (2, 4)",
    ),
    # scores
    "dot of two widths": (lambda: r.dot_score(Q, T(2, 5, 4)), F, "(2, 3, 6), (2, 5, 4)"),
    "general with W turned": (
        lambda: r.general_score(Q, T(2, 5, 4), T(4, 6)),
        F,
        "(2, 3, 6), (2, 5, 4), (4, 6)",
    ),
    "concat with a narrow W": (
        lambda: r.concat_score(Q, K, T(4, 6), T(4)),
        F,
        "both = 12, do not fit: (2, 3, 6), (2, 5, 6), (4, 6), (4,)",
    ),
    "concat with a long energy": (lambda: r.concat_score(Q, K, T(4, 12), T(5)), F, "(5,)"),
    "additive with a long energy": (lambda: r.additive_score(Q, K, T(5)), F, "(5,)"),
    "additive of two widths": (lambda: r.additive_score(Q, T(2, 5, 4), T(6)), F, "(2, 5, 4)"),
    "heads that do not divide": (
        lambda: r.multi_head_attention(Q, K, V, 4),
        F,
        "4 heads do not divide a width of 6",
    ),
    "no heads": (lambda: r.multi_head_attention(Q, K, V, 0), F, "n_heads is at least 1, got 0"),
    "a mask for two heads of three": (
        lambda: MADE[r.MultiHeadAttention](Q, K, V, TRUE[:, None].repeat(1, 2, 1, 1)),
        F,
        "a mask of shape (2, 2, 3, 5) does not broadcast to scores of shape (2, 3, 3, 5)",
    ),
    "matrices for two widths": (
        lambda: r.self_attention(K, T(4, 6), T(3, 6), T(2, 6)),
        F,
        "(2, 5, 6), (4, 6), (3, 6), (2, 6)",
    ),
    # norm and feed-forward
    "a short gain": (lambda: r.layer_norm(X, T(5), T(6)), F, "(2, 6), (5,), (6,)"),
    "a short bias": (lambda: r.layer_norm(X, T(6), T(5)), F, "(2, 6), (6,), (5,)"),
    "a negative eps": (lambda: r.layer_norm(X, T(6), T(6), -1.0), F, "eps is at least 0, got -1.0"),
    "an eps that is none": (lambda: r.layer_norm(X, T(6), T(6), math.nan), F, "got nan"),
    "integers to normalise": (lambda: MADE[r.LayerNorm](IDS), TypeError, "torch.int64"),
    "another width to normalise": (lambda: MADE[r.LayerNorm](T(2, 5)), F, "(2, 5), (6,), (6,)"),
    "another width to widen": (lambda: MADE[r.FeedForward](T(2, 3, 5)), F, "(2, 3, 5), (7, 6)"),
    "integers to widen": (lambda: MADE[r.FeedForward](K.long()), TypeError, "torch.int64"),
    "layers that do not fit": (
        lambda: r.feed_forward(X, T(7, 6), T(7), T(6, 8), T(6)),
        F,
        "(2, 6), (7, 6), (7,), (6, 8), (6,)",
    ),
    # positions
    "an odd width": (lambda: r.sinusoidal_positional_encoding(3, 5), F, "is even, got 5"),
    "no width": (lambda: r.sinusoidal_positional_encoding(3, 0), F, "at least 1, got 0"),
    "a negative number of positions": (
        lambda: r.sinusoidal_positional_encoding(-1, 4),
        F,
        "length is at least 0, got -1",
    ),
    "half a position": (lambda: r.sinusoidal_positional_encoding(0.5, 4), TypeError, "got 0.5"),
    "past the table": (
        lambda: MADE[r.LearnedPositionalEmbedding](6),
        F,
        "length is at most 5, got 6",
    ),
    "before the table": (lambda: MADE[r.LearnedPositionalEmbedding](-1), F, "got -1"),
    "beside the table": (lambda: MADE[r.LearnedPositionalEmbedding](1.0), TypeError, "got 1.0"),
    "an odd width to turn": (lambda: r.rotary_positions(T(2, 5), LENGTHS), F, "even, got 5"),
    "positions that are floats": (
        lambda: r.rotary_positions(X, LENGTHS.float()),
        TypeError,
        "positions is torch.int64, got torch.float32 of shape (2,)",
    ),
    "a position too few": (lambda: r.rotary_positions(X, LENGTHS[:1]), F, "(2, 6), (1,)"),
    "a bias of no head": (lambda: r.alibi_bias(0, 2, 3), F, "n_heads is at least 1, got 0"),
    "a bias for −1 queries": (lambda: r.alibi_bias(1, -1, 3), F, "queries is at least 0, got -1"),
    "a bias for −1 keys": (lambda: r.alibi_bias(1, 2, -1), F, "keys is at least 0, got -1"),
    "a bias of another length": (
        lambda: r.biased_attention(Q, K, V, T(3, 4)),
        F,
        "(3, 4) does not broadcast to scores (2, 3, 5)",
    ),
    "a bias that would widen": (
        lambda: r.biased_attention(Q, K, V, T(4, 2, 3, 5)),
        F,
        "(4, 2, 3, 5)",
    ),
    "a bias of truths": (lambda: r.biased_attention(Q, K, V, TRUE), TypeError, "torch.bool"),
    "a negative clip": (lambda: r.clipped_distances(2, 3, -1), F, "most is at least 0, got -1"),
    "an even number of distances": (
        lambda: r.relative_attention(Q, K, V, T(2, 6), T(2, 6)),
        F,
        "odd number of vectors, got 2",
    ),
    "tables of two lengths": (
        lambda: r.relative_attention(Q, K, V, T(3, 6), T(5, 6)),
        F,
        "(3, 6), (5, 6)",
    ),
    "a narrow table": (lambda: r.relative_attention(Q, K, V, T(3, 4), T(3, 6)), F, "(3, 4)"),
    # recurrent cells
    "an LSTM's state that is no pair": (lambda: LSTM(T(2, 3), STATE), TypeError, "pair", "Tensor"),
    "an LSTM's cell of another batch": (
        lambda: LSTM(T(2, 3), (STATE, T(1, 6))),
        F,
        "(2, 3), (2, 6), (1, 6)",
    ),
    "a wide token for a GRU": (lambda: GRU(T(2, 4), STATE), F, "(2, 4), (2, 6)"),
    "a narrow state for a GRU": (lambda: GRU(T(2, 3), T(2, 5)), F, "d_hidden = 6", "(2, 5)"),
    "integers for an Elman cell": (lambda: ELMAN(IDS[:, :3], STATE), TypeError, "torch.int64"),
    "no state": (lambda: GRU(T(2, 3), None), TypeError, "state is a tensor, got NoneType"),
    "a batch of −1": (lambda: GRU.initial(-1), F, "batch is at least 0, got -1"),
    "nothing to read": (lambda: r.unroll(GRU, T(2, 0, 3), STATE), F, "T>0", "(2, 0, 3)"),
    "a sequence without its batch": (lambda: r.unroll(GRU, T(4, 3), STATE), F, "(4, 3)"),
    "lengths to read past the end": (
        lambda: r.unroll(GRU, T(2, 3, 3), STATE, LENGTHS),
        F,
        "lie from 1 to 3, got [4, 2]",
    ),
    "lengths of another batch": (
        lambda: r.unroll(GRU, T(3, 4, 3), T(3, 6), LENGTHS),
        F,
        "(3, 4, 3), (2,)",
    ),
    # steps of the models
    "float tokens to embed": (
        lambda: MADE[r.Embedding](X),
        TypeError,
        "torch.float32 of shape (2, 6)",
    ),
    "unknown tokens to embed": (lambda: MADE[r.Embedding](IDS + 1), F, "0 to 3, got 1 to 4"),
    "a state for a plain step": (lambda: MADE[r.Seq2Seq].step(FIRST, None), TypeError, "NoneType"),
    "tokens in a matrix for a step": (lambda: MADE[r.Seq2Seq].step(IDS, STATE), F, "(2, 4)"),
    "no state for an LSTM's step": (
        lambda: OF_LSTMS.step(FIRST, None),
        TypeError,
        "pair (hidden, cell), got NoneType",
    ),
    "a state without its context": (lambda: CHO.step(FIRST, STATE), TypeError, "pair", "Tensor"),
    "a context of another batch": (
        lambda: CHO.step(FIRST, (STATE, T(1, 6))),
        F,
        "(2,), (2, 6), (1, 6)",
    ),
    "no memory": (lambda: BAHDANAU.step(FIRST, STATE, MEMORY[:, :0]), F, "S>0", "(2, 0, 6)"),
    "memory of another batch": (
        lambda: BAHDANAU.step(FIRST, STATE, MEMORY[:1]),
        F,
        "(2,), (2, 6), (1, 4, 6)",
    ),
    "memory that is masked by numbers": (
        lambda: BAHDANAU.step(FIRST, STATE, MEMORY, REAL.float()),
        TypeError,
        "memory_mask is torch.bool, got torch.float32 of shape (2, 4)",
    ),
    "narrow memory to decode": (
        lambda: TRANSFORMER.decode(IDS, MEMORY[..., :5]),
        F,
        "(2, 4), (2, 4, 5)",
    ),
    "no memory to decode": (lambda: TRANSFORMER.decode(IDS, MEMORY[:, :0]), F, "(2, 0, 6)"),
    "a matrix to step": (lambda: TRANSFORMER.step(IDS, MEMORY), F, "(2, 4), (2, 4, 6)"),
    "a cache for one layer of two": (
        lambda: MADE[r.Decoder].step(T(2, 1, 6), MEMORY, [(MEMORY, MEMORY)]),
        F,
        "2 layers need as many caches, got 1",
    ),
    "two tokens to step": (
        lambda: MADE[r.DecoderLayer].step(T(2, 2, 6), MEMORY),
        F,
        "x (B, 1, D)",
        "(2, 2, 6)",
    ),
    "a cache of another batch": (
        lambda: MADE[r.DecoderLayer].step(T(2, 1, 6), MEMORY, (MEMORY[:1], MEMORY[:1])),
        F,
        "(2, 1, 6), (1, 4, 6), (1, 4, 6)",
    ),
    # decoding
    "greedy for a negative length": (lambda: r.greedy(certain, None, FIRST, -1), F, "got -1"),
    "sampling for a negative length": (lambda: r.sampled(certain, None, FIRST, -1), F, "got -1"),
    "a beam for a negative length": (
        lambda: r.beam_search(certain, None, FIRST, -1, 1),
        F,
        "max_length is at least 0, got -1",
    ),
    "a beam of none": (
        lambda: r.beam_search(certain, None, FIRST, 1, 0),
        F,
        "width is at least 1, got 0",
    ),
    "a start of floats": (lambda: r.greedy(certain, None, X[:, 0], 2), TypeError, "torch.float32"),
    "a start in a matrix": (lambda: r.beam_search(certain, None, IDS, 2, 1), F, "(2, 4)"),
    "a negative end": (lambda: r.greedy(certain, None, FIRST, 2, end=-1), F, "end is at least 0"),
    "nothing to force": (lambda: r.teacher_forced(certain, None, IDS[:, :0]), F, "(2, 0)"),
    "floats to force": (lambda: r.teacher_forced(certain, None, X), TypeError, "torch.float32"),
    # loss
    "a loss of two shapes": (
        lambda: r.sequence_loss(LOGITS[:1], TARGET),
        F,
        "do not fit: (1, 4, 5), (2, 4)",
    ),
    "a loss over no token": (
        lambda: r.sequence_loss(LOGITS, TARGET, torch.zeros_like(REAL)),
        F,
        "no token of (2, 4) is real",
    ),
    "a loss over no sequence": (lambda: r.sequence_loss(LOGITS[:0], TARGET[:0]), F, "(0, 4)"),
    "a loss masked by numbers": (
        lambda: r.sequence_loss(LOGITS, TARGET, REAL.long()),
        TypeError,
        "mask is torch.bool, got torch.int64 of shape (2, 4)",
    ),
    "a loss of a float target": (
        lambda: r.sequence_loss(LOGITS, T(2, 4)),
        TypeError,
        "torch.float32",
    ),
    "a loss of an unknown target": (
        lambda: r.sequence_loss(LOGITS, TARGET + 2),
        F,
        "from 0 to 4, got 2 to 5",
    ),
    # images
    "patches that do not divide": (
        lambda: MADE[r.PatchEmbedding](T(1, 3, 3, 4)),
        F,
        "2×2 do not divide images of shape (1, 3, 3, 4)",
    ),
    "images of one channel": (lambda: MADE[r.PatchEmbedding](T(1, 1, 4, 4)), F, "(1, 1, 4, 4)"),
    "an image without its batch": (lambda: MADE[r.PatchEmbedding](T(3, 4, 4)), F, "(3, 4, 4)"),
    "an image without pixels": (lambda: MADE[r.PatchEmbedding](T(1, 3, 0, 4)), F, "(1, 3, 0, 4)"),
    "an image of integers": (
        lambda: MADE[r.PatchEmbedding](IMAGES.long()),
        TypeError,
        "torch.int64",
    ),
    "an image for which there are no positions": (
        lambda: MADE[r.VisionTransformer](T(1, 3, 4, 8)),
        F,
        "(1, 3, 4, 8) have 8 patches, and there are positions for 6",
    ),
    "another channel to classify": (
        lambda: MADE[r.VisionTransformer](T(1, 1, 4, 6)),
        F,
        "(1, 1, 4, 6)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case):
    call, error, *words = REFUSED[case]
    refused(call, error, *words)


LATE = {
    "a beam wider than all sequences": (
        lambda: r.beam_search(certain, None, FIRST, 2, 17),
        "a beam of 17 is wider than the 16 sequences of 2 tokens out of 4",
    ),
    "an end outside the vocabulary": (
        lambda: r.sampled(certain, None, FIRST, 2, end=4),
        "end is at most 3, got 4",
    ),
    "a beam's end outside the vocabulary": (
        lambda: r.beam_search(certain, None, FIRST, 2, 2, end=4),
        "end is at most 3, got 4",
    ),
    "a step that loses a sequence": (lambda: r.greedy(wrong, None, FIRST, 2), "(1, 4)"),
    "a forced step that loses a sequence": (
        lambda: r.teacher_forced(wrong, None, IDS),
        "where B = 2, does not fit: (1, 4)",
    ),
}


@pytest.mark.parametrize("case", LATE)
def test_what_only_the_first_logits_tell_is_refused_after_them(case):
    call, says = LATE[case]
    with pytest.raises(ValueError, match=re.escape(says)):
        call()


def test_a_sublayer_keeps_the_shape_of_tokens():
    from reference.transformer_layers import residual

    for pre_norm in (False, True):
        with pytest.raises(ValueError, match=re.escape("(2, 6) into (2, 1)")):
            residual(X, lambda x: x[:, :1], MADE[r.LayerNorm], pre_norm=pre_norm)


# --- What fits although it is little --------------------------------------------------------------

EMPTY = IDS[:0]


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_attention_over_an_empty_batch_is_empty(attention):
    result = ATTENTIONS[attention](Q[:0], K[:0], V[:0], TRUE[:0])
    for part in result if isinstance(result, tuple) else (result,):
        assert part.shape[0] == 0


@pytest.mark.parametrize("model", MODELS)
def test_a_model_takes_an_empty_batch(model):
    network = MODELS[model]
    assert network(EMPTY, EMPTY).shape == (0, 4, 5)
    if model != "ChoSeq2Seq":
        assert network.generate(EMPTY, 0, 3).shape == (0, 3)
        assert network.generate(EMPTY, 0, 3, end=1).shape == (0, 3)


def test_everything_else_takes_an_empty_batch():
    assert r.padding_mask(LENGTHS[:0], 4).shape == (0, 4)
    assert r.combined_mask(REAL[:0], TRUE[0, :, :4]).shape == (0, 3, 4)
    assert r.softmax(X[:0]).shape == (0, 6)
    assert MADE[r.LayerNorm](X[:0]).shape == (0, 6)
    assert MADE[r.FeedForward](K[:0]).shape == (0, 5, 6)
    assert MADE[r.PatchEmbedding](IMAGES[:0]).shape == (0, 6, 6)
    assert MADE[r.VisionTransformer](IMAGES[:0]).shape == (0, 5)
    assert r.sampled(certain, None, FIRST[:0], 2).shape == (0, 2)
    tokens, scores = r.beam_search(certain, None, FIRST[:0], 2, 3)
    assert tokens.shape == (0, 2)
    assert scores.shape == (0,)


def test_a_row_with_no_key_gives_finite_numbers_and_gradients():
    mask = TRUE.clone()
    mask[:, 1] = False
    for name in ("scaled_dot_product_attention", "AdditiveAttention", "MultiHeadAttention"):
        query = Q.clone().requires_grad_()
        output, weights = ATTENTIONS[name](query, K, V, mask)
        output.sum().backward()
        assert bool(output.isfinite().all())
        assert bool(query.grad.isfinite().all())
        assert bool((weights[..., 1, :] == 0).all())


def test_lengths_of_zero_and_one_token_are_enough():
    assert r.causal_mask(0).shape == (0, 0)
    assert r.sinusoidal_positional_encoding(0, 4).shape == (0, 4)
    assert r.greedy(certain, None, FIRST, 0).shape == (2, 0)
    assert TRANSFORMER(IDS[:, :1], IDS[:, :1]).shape == (2, 1, 5)


# --- The checks themselves ------------------------------------------------------------------------


def test_the_message_repeats_the_form_as_a_sentence():
    with pytest.raises(ValueError, match="fit") as caught:
        r.shapes.check_shapes("a (n,), b int64 (n,), c? bool (..., n)", T(2), LENGTHS[:1], None)
    assert str(caught.value) == "a (n,), b int64 (n,) and c bool (..., n) do not fit: (2,), (1,)"
    with pytest.raises(ValueError, match="fit") as caught:
        r.shapes.check_shapes("a (n, 3)", T(2, 4), n=2)
    assert str(caught.value) == "a (n, 3), where n = 2, does not fit: (2, 4)"


def test_every_letter_and_the_dots_bind_once():
    check = r.shapes.check_shapes
    check("a (..., n), b (..., n, m)", T(4, 2), T(4, 2, 3))
    for a, b in pairwise([T(4, 2), T(5, 2, 3), T(4, 1)]):
        with pytest.raises(ValueError, match="do not fit"):
            check("a (..., n), b (..., n, m)", a, b)
