"""The contract: specs read from the protocols, and answers checked against them."""

from __future__ import annotations

import inspect
import re

import pytest
import torch

import reference
from attest.contract import CONTRACT, ContractBroken

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
