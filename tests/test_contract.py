"""The contract: specs read from the protocols, and answers checked against them."""

from __future__ import annotations

import inspect
import re
from typing import NamedTuple

import pytest
import torch

import reference
from attest.contract import CONTRACT, ContractBroken
from attest.specification import Kept, mapped, tensors_in

SDPA = "scaled_dot_product_attention"
LAYERS = ("d_model", "n_heads", "d_hidden")
RECURRENT = ("source_vocab", "target_vocab", "d_embed", "d_hidden")
MODULES = {
    "AdditiveAttention": ("d_query", "d_key", "d_hidden"),
    "MultiplicativeAttention": ("d_query", "d_key"),
    "SelfAttention": ("d_model",),
    "MultiHeadAttention": ("d_model", "n_heads"),
    "LayerNorm": ("d_model",),
    "FeedForward": ("d_model", "d_hidden"),
    "EncoderLayer": LAYERS,
    "DecoderLayer": LAYERS,
    "Encoder": (*LAYERS, "n_layers"),
    "Decoder": (*LAYERS, "n_layers"),
    "LearnedPositionalEmbedding": ("max_length", "d_model"),
    "PatchEmbedding": ("patch_size", "channels", "d_model"),
    "Transformer": ("source_vocab", "target_vocab", *LAYERS, "n_layers"),
    "Seq2Seq": RECURRENT,
    "AttentionSeq2Seq": RECURRENT,
}
SIGNATURES = {
    "softmax": "softmax(x, dim) -> probabilities (...,)",
    "causal_mask": "causal_mask(length) -> mask (length, length)",
    "padding_mask": "padding_mask(lengths, max_length) -> mask (B, max_length)",
    SDPA: f"{SDPA}(query, key, value, mask) -> output (..., L, d_v), weights (..., L, S)",
    "AdditiveAttention": "AdditiveAttention(query, key, value, mask)"
    " -> output (B, L, d_v), weights (B, L, S)",
    "MultiplicativeAttention": "MultiplicativeAttention(query, key, value, mask)"
    " -> output (B, L, d_v), weights (B, L, S)",
    "SelfAttention": "SelfAttention(x, mask) -> output (B, L, d_model), weights (B, L, L)",
    "MultiHeadAttention": "MultiHeadAttention(query, key, value, mask)"
    " -> output (B, L, d_model), weights (B, n_heads, L, S)",
    "sinusoidal_positional_encoding": "sinusoidal_positional_encoding(length, d_model)"
    " -> positions (length, d_model)",
    "LayerNorm": "LayerNorm(x) -> output (..., d_model)",
    "FeedForward": "FeedForward(x) -> output (B, L, d_model)",
    "EncoderLayer": "EncoderLayer(x, mask) -> output (B, S, d_model)",
    "DecoderLayer": "DecoderLayer(x, memory, self_mask, memory_mask) -> output (B, L, d_model)",
    "Encoder": "Encoder(x, mask) -> output (B, S, d_model)",
    "Decoder": "Decoder(x, memory, self_mask, memory_mask) -> output (B, L, d_model)",
    "LearnedPositionalEmbedding": "LearnedPositionalEmbedding(length)"
    " -> positions (length, d_model)",
    "PatchEmbedding": "PatchEmbedding(images) -> tokens (B, patches, d_model)",
    "Transformer": "Transformer(source, target_in, source_mask) -> logits (B, L, target_vocab)",
    "Seq2Seq": "Seq2Seq(source, target_in, lengths) -> logits (B, L, target_vocab)",
    "AttentionSeq2Seq": "AttentionSeq2Seq(source, target_in, lengths)"
    " -> logits (B, L, target_vocab)",
}
METHODS = {
    "Transformer": {
        "encode": "(source, source_mask) -> memory (B, S, d_model)",
        "decode": "(target_in, memory, source_mask) -> logits (B, L, target_vocab)",
        "step": "(token, memory, cache, source_mask) -> logits (B, target_vocab), cache",
        "generate": "(source, bos, max_length, source_mask) -> tokens (B, max_length)",
    },
    "Seq2Seq": {
        "encode": "(source, lengths) -> states (B, S, d_hidden), state",
        "step": "(token, state) -> logits (B, target_vocab), state",
        "generate": "(source, bos, max_length, lengths) -> tokens (B, max_length)",
    },
    "AttentionSeq2Seq": {
        "encode": "(source, lengths) -> states (B, S, d_hidden), state",
        "step": "(token, state, memory, memory_mask)"
        " -> logits (B, target_vocab), state, weights (B, S)",
        "generate": "(source, bos, max_length, lengths) -> tokens (B, max_length)",
    },
}
# What is no floating point tensor among the results.
KINDS = {
    "causal_mask": {"mask": "boolean"},
    "padding_mask": {"mask": "boolean"},
    "Transformer.step": {"cache": "kept"},
    "Transformer.generate": {"tokens": "integer"},
    "Seq2Seq.encode": {"state": "state"},
    "Seq2Seq.step": {"state": "state"},
    "Seq2Seq.generate": {"tokens": "integer"},
    "AttentionSeq2Seq.encode": {"state": "state"},
    "AttentionSeq2Seq.step": {"state": "state"},
    "AttentionSeq2Seq.generate": {"tokens": "integer"},
}
EVERY = pytest.mark.parametrize("name", list(CONTRACT))


def zeros(*shape):
    return torch.zeros(shape, dtype=torch.float64)


def attention_arguments(*lead):
    return {
        "query": zeros(*lead, 2, 3),
        "key": zeros(*lead, 5, 3),
        "value": zeros(*lead, 5, 4),
        "mask": None,
    }


def refused(component, answer, arguments, **constructed):
    with pytest.raises(ContractBroken) as caught:
        CONTRACT[component].check(answer, arguments, constructed)
    return str(caught.value)


def test_the_contract_knows_each_component_by_its_own_name():
    assert list(CONTRACT) == list(SIGNATURES)
    assert [spec.name for spec in CONTRACT.values()] == list(SIGNATURES)


@EVERY
def test_the_signature_is_that_of_the_protocol(name):
    assert CONTRACT[name].signature == SIGNATURES[name]


@EVERY
def test_a_constructor_takes_the_protocols_integers_and_a_function_has_none(name):
    assert CONTRACT[name].constructor == MODULES.get(name)
    assert CONTRACT[name].is_module == (name in MODULES)


@EVERY
def test_the_methods_and_their_signatures_are_those_of_the_protocol(name):
    methods = {method: call.signature for method, call in CONTRACT[name].methods.items()}
    wanted = {m: f"{name}.{m}{rest}" for m, rest in METHODS.get(name, {}).items()}
    assert methods == wanted
    assert CONTRACT[name].calls("") is CONTRACT[name]
    assert all(CONTRACT[name].calls(method).signature == wanted[method] for method in wanted)


@EVERY
def test_results_hold_floating_point_numbers_unless_the_contract_says_so(name):
    spec = CONTRACT[name]
    for call in (spec, *spec.methods.values()):
        kinds = {result.name: result.kind for result in call.results}
        assert kinds == dict.fromkeys(kinds, "floating") | KINDS.get(call.name, {})


def names(function):
    return tuple(name for name in inspect.signature(function).parameters if name != "self")


@EVERY
def test_the_reference_takes_the_contracts_arguments_in_their_order(name):
    target, spec = getattr(reference, name), CONTRACT[name]
    calls = [(target.forward if name in MODULES else target, spec.parameters)]
    calls += [(getattr(target, method), call.parameters) for method, call in spec.methods.items()]
    calls += [(target, spec.constructor)] if spec.constructor else []
    for function, wanted in calls:
        assert names(function)[: len(wanted)] == wanted
        parameters = inspect.signature(function).parameters
        more = [parameters[extra] for extra in names(function)[len(wanted) :]]
        assert all(p.default is not inspect.Parameter.empty for p in more)


@EVERY
def test_no_two_integers_of_an_example_are_alike(name):
    example = CONTRACT[name].example
    assert tuple(example) == MODULES.get(name, ())
    assert len(set(example.values())) == len(example)


def test_dimensions_are_those_of_the_annotations_and_a_mask_has_none():
    assert CONTRACT[SDPA].dims == {
        "query": ("*batch", "L", "d_k"),
        "key": ("*batch", "S", "d_k"),
        "value": ("*batch", "S", "d_v"),
    }
    assert CONTRACT["padding_mask"].dims == {"lengths": ("B",)}
    assert CONTRACT["causal_mask"].dims == {}


@pytest.mark.parametrize(
    ("answer", "came"),
    [(None, "None"), ([1.0], "a list"), (0.5, "a float"), ((), "a tuple"), ("x", "a str")],
)
def test_one_result_that_is_no_tensor_is_named_by_its_type(answer, came):
    message = refused("softmax", answer, {"x": zeros(3)})
    assert message == f"returned {came}; expected probabilities (...,)"


@pytest.mark.parametrize(("answer", "came"), [(None, "None"), (zeros(2, 4), "a Tensor")])
def test_one_answer_where_two_are_due_is_named_by_its_type(answer, came):
    message = refused(SDPA, answer, attention_arguments())
    assert message == f"returned {came}; expected output (..., L, d_v), weights (..., L, S)"


@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_wrong_number_of_results_is_counted(number):
    message = refused(SDPA, (zeros(2, 4),) * number, attention_arguments())
    assert message == (
        f"returned {number} values; expected output (..., L, d_v), weights (..., L, S)"
    )


def test_a_missing_result_among_two_is_named():
    message = refused(SDPA, (zeros(2, 4), None), attention_arguments())
    assert message == "returned None; expected weights (..., L, S)"


@pytest.mark.parametrize("shape", [(5, 2), (2,), (1, 2, 5), (2, 5, 1), (), (2, 4)])
def test_a_wrong_shape_is_shown_beside_the_right_one(shape):
    message = refused(SDPA, (zeros(2, 4), zeros(*shape)), attention_arguments())
    assert message == f"returned weights of shape {shape}; expected weights (..., L, S) = (2, 5)"


def test_leading_dimensions_belong_to_the_shape():
    answer = (zeros(2, 4), zeros(2, 5))
    message = refused(SDPA, answer, attention_arguments(7, 6))
    assert message == (
        "returned output of shape (2, 4); expected output (..., L, d_v) = (7, 6, 2, 4)"
    )
    right = (zeros(7, 6, 2, 4), zeros(7, 6, 2, 5))
    assert CONTRACT[SDPA].check(right, attention_arguments(7, 6), {}) == right


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int64, torch.bool])
def test_a_result_in_another_dtype_than_the_inputs_is_refused(dtype):
    message = refused("softmax", torch.zeros(3, dtype=dtype), {"x": zeros(3)})
    assert message == f"returned probabilities of dtype {dtype}; expected torch.float64"


def test_a_result_follows_the_dtype_of_its_input():
    half = torch.zeros(3, dtype=torch.float16)
    assert CONTRACT["softmax"].check(half, {"x": half}, {}) == (half,)


def test_a_mask_of_numbers_is_refused():
    message = refused("causal_mask", torch.ones(3, 3), {"length": 3})
    assert message == "returned mask of dtype torch.float32; expected torch.bool"


def test_integers_among_the_arguments_are_sizes_of_the_result():
    message = refused("causal_mask", torch.ones(4, 4, dtype=torch.bool), {"length": 3})
    assert message == "returned mask of shape (4, 4); expected mask (length, length) = (3, 3)"
    lengths = torch.tensor([1, 2])
    mask = torch.ones(2, 5, dtype=torch.bool)
    assert CONTRACT["padding_mask"].check(mask, {"lengths": lengths, "max_length": 5}, {})
    message = refused("padding_mask", mask, {"lengths": lengths, "max_length": 4})
    assert message == "returned mask of shape (2, 5); expected mask (B, max_length) = (2, 4)"


def test_integers_of_the_constructor_are_sizes_of_the_result():
    x = zeros(1, 3, 8)
    arguments = {"query": x, "key": x, "value": x}
    answer = (zeros(1, 3, 8), zeros(1, 4, 3, 3))
    spec = CONTRACT["MultiHeadAttention"]
    assert spec.check(answer, arguments, {"d_model": 8, "n_heads": 4}) == answer
    message = refused("MultiHeadAttention", answer, arguments, d_model=8, n_heads=2)
    assert message == (
        "returned weights of shape (1, 4, 3, 3); expected weights (B, n_heads, L, S) = (1, 2, 3, 3)"
    )


def test_a_list_of_the_right_tensors_is_as_good_as_a_tuple():
    output, weights = zeros(2, 4), zeros(2, 5)
    checked = CONTRACT[SDPA].check([output, weights], attention_arguments(), {})
    assert checked[0] is output
    assert checked[1] is weights


def test_arguments_are_named_by_their_position():
    assert CONTRACT["softmax"].bind((1, 2), {}) == {"x": 1, "dim": 2}
    assert CONTRACT["softmax"].bind((1,), {"dim": 2}) == {"x": 1, "dim": 2}


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((1, 2, 3), {}, "was called with 3 arguments"),
        ((1,), {"axis": 0}, "was called with a wrong argument 'axis'"),
        ((1,), {"x": 0}, "was called with a wrong argument 'x'"),
    ],
)
def test_a_call_that_does_not_fit_is_refused_with_the_signature(args, kwargs, message):
    whole = f"{SIGNATURES['softmax']} {message}"
    with pytest.raises(TypeError, match=f"^{re.escape(whole)}$"):
        CONTRACT["softmax"].bind(args, kwargs)


# --- Methods, states, caches and tokens ----------------------------------------------------------

SEQ2SEQ, TRANSFORMER = CONTRACT["Seq2Seq"], CONTRACT["Transformer"]
BUILT = {"source_vocab": 5, "target_vocab": 7, "d_embed": 3, "d_hidden": 4}
TOKEN = torch.tensor([1, 2])


class Cell(NamedTuple):
    hidden: torch.Tensor
    cell: torch.Tensor


def encoded(state):
    call, source = SEQ2SEQ.methods["encode"], torch.zeros(2, 6, dtype=torch.int64)
    return call.check((zeros(2, 6, 4), state), {"source": source}, BUILT, torch.float64)[1]


STATES = {
    "a tensor": zeros(2, 4),
    "a tensor of its own shape": zeros(2, 3, 9, 1),
    "a pair": (zeros(2, 4), zeros(2, 4)),
    "a nested tuple": ((zeros(2, 4), (zeros(2, 1),)), zeros(2)),
    "a list": [zeros(2, 4), zeros(2, 4)],
    "a namedtuple": Cell(zeros(2, 4), zeros(2, 4)),
    "one with counts": (zeros(2, 4), torch.tensor([3, 4])),
}


@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_a_state_is_a_tensor_or_a_nested_tuple_of_tensors(state):
    checked = encoded(state)
    assert type(checked) is type(state)
    expected, found = list(tensors_in(state)), list(tensors_in(checked))
    assert [path for path, _ in expected] == [path for path, _ in found]
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(expected, found, strict=True))


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (None, "returned None; expected state as a tensor or a nested tuple of tensors"),
        ((), "returned a tuple; expected state as a tensor or a nested tuple of tensors"),
        ({"h": zeros(2, 4)}, "returned a dict; expected state as a tensor or"),
        ((zeros(2, 4), None), "returned a tuple; expected state as a tensor or a nested tuple"),
        ((zeros(2, 4), 3), "returned a tuple; expected state as a tensor or a nested tuple"),
        (zeros(1, 2, 4), "returned state of shape (1, 2, 4); expected the batch of 2 first"),
        ((zeros(2, 4), zeros(4, 2)), "returned state[1] of shape (4, 2); expected the batch of 2"),
        (zeros(), "returned state of shape (); expected the batch of 2 first"),
        (zeros(2, 4).float(), "returned state of dtype torch.float32; expected torch.float64"),
        (((zeros(2), zeros(2).half()),), "returned state[0][1] of dtype torch.float16; expected"),
        (zeros(2, 4).to("meta"), "returned state as a meta tensor; expected one that holds"),
    ],
)
def test_a_state_that_is_none_is_refused(state, message):
    with pytest.raises(ContractBroken) as caught:
        encoded(state)
    assert str(caught.value).startswith(message)


def test_the_check_of_a_state_fails_on_the_state_alone():
    for state in ((zeros(2, 4), zeros(4, 2)), zeros(2, 4).float(), None):
        with pytest.raises(ContractBroken) as caught:
            encoded(state)
        assert not eval(caught.value.check, {"torch": torch, "answer": (zeros(2, 6, 4), state)})  # noqa: S307
    right = (zeros(2, 6, 4), (zeros(2, 4), zeros(2, 4)))
    assert eval("answer[1][1].shape[0] == 2", {"answer": right})  # noqa: S307


CACHES = [None, 3, [], {}, object(), (n for n in "abc"), lambda: 1, [zeros(2)], torch]


@pytest.mark.parametrize("cache", CACHES, ids=[type(cache).__name__ for cache in CACHES])
def test_what_is_kept_may_be_anything_and_stays_what_it_is(cache):
    arguments = {"token": TOKEN, "memory": zeros(2, 6, 6)}
    built = TRANSFORMER.example
    answer = (zeros(2, 7), cache)
    logits, kept = TRANSFORMER.methods["step"].check(answer, arguments, built, torch.float64)
    assert isinstance(kept, Kept)
    assert kept.value is cache
    assert logits.shape == (2, 7)


def generated(tokens):
    arguments = {"source": torch.zeros(2, 6, dtype=torch.int64), "bos": 0, "max_length": 3}
    return SEQ2SEQ.methods["generate"].check(tokens, arguments, BUILT, torch.float64)


def test_what_is_generated_is_int64():
    tokens = torch.zeros(2, 3, dtype=torch.int64)
    assert generated(tokens)[0] is tokens
    for wrong, message in {
        tokens.float(): "returned tokens of dtype torch.float32; expected torch.int64",
        tokens.int(): "returned tokens of dtype torch.int32; expected torch.int64",
        tokens[:, :2]: "returned tokens of shape (2, 2); expected tokens (B, max_length) = (2, 3)",
        tokens.mT: "returned tokens of shape (3, 2); expected tokens (B, max_length) = (2, 3)",
    }.items():
        with pytest.raises(ContractBroken) as caught:
            generated(wrong)
        assert str(caught.value) == message


def test_where_no_argument_is_floating_the_parameters_give_the_dtype():
    arguments = {"source": torch.zeros(2, 6, dtype=torch.int64), "target_in": TOKEN[:, None]}
    logits = zeros(2, 1, 7)
    assert SEQ2SEQ.check(logits, arguments, BUILT, torch.float64) == (logits,)
    with pytest.raises(ContractBroken, match=r"torch\.float64; expected torch\.float32"):
        SEQ2SEQ.check(logits, arguments, BUILT, torch.float32)


def test_positions_hold_floating_point_numbers_of_any_precision():
    spec = CONTRACT["sinusoidal_positional_encoding"]
    arguments = {"length": 3, "d_model": 4}
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        assert spec.check(torch.zeros(3, 4, dtype=dtype), arguments, {})
    message = refused("sinusoidal_positional_encoding", torch.zeros(3, 4).long(), arguments)
    assert message == "returned positions of dtype torch.int64; expected floating point numbers"


def test_the_number_of_patches_follows_from_the_image():
    spec, images = CONTRACT["PatchEmbedding"], {"images": zeros(2, 3, 6, 8)}
    built = {"patch_size": 2, "channels": 3, "d_model": 5}
    assert spec.check(zeros(2, 12, 5), images, built)
    message = refused("PatchEmbedding", zeros(2, 48, 5), images, **built)
    assert message == (
        "returned tokens of shape (2, 48, 5); expected tokens (B, patches, d_model) = (2, 12, 5)"
    )


def test_arguments_of_methods_are_named_by_their_position():
    step = TRANSFORMER.methods["step"]
    kept = Kept([])
    bound = step.bind((TOKEN, None, kept), {"source_mask": None})
    assert bound == {"token": TOKEN, "memory": None, "cache": kept, "source_mask": None}
    with pytest.raises(TypeError, match=r"^Transformer\.step\(.*wrong argument 'state'$"):
        step.bind((TOKEN,), {"state": None})


def test_tensors_are_found_in_nested_tuples_and_replaced_there():
    value = (zeros(1), [zeros(2), Cell(zeros(3), zeros(4))], 5, None)
    assert [path for path, _ in tensors_in(value)] == ["[0]", "[1][0]", "[1][1][0]", "[1][1][1]"]
    sizes = mapped(value, len)
    assert sizes == (1, [2, Cell(3, 4)], 5, None)
    assert type(sizes[1][1]) is Cell


def test_tokens_lengths_and_starts_say_what_they_may_hold():
    assert SEQ2SEQ.entries["source"].limits({"source_vocab": 5}) == (0, 4)
    assert SEQ2SEQ.entries["lengths"].limits({"S": 6}) == (1, 6)
    assert SEQ2SEQ.entries["lengths"].limits({}) is None
    assert SEQ2SEQ.methods["generate"].entries["bos"].limits({"target_vocab": 7}) == (0, 6)
    assert TRANSFORMER.masks == {}
    assert CONTRACT["DecoderLayer"].masks["self_mask"] == ("B", "L", "L")
    assert CONTRACT["DecoderLayer"].entries == {}
