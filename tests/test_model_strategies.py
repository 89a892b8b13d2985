"""Inputs of the layers and models: within the contract, and of sizes that tell mistakes apart."""

from __future__ import annotations

import math
from collections import Counter
from functools import cache

import pytest
import torch

import reference
from attest.contract import CONTRACT
from attest.implementations import LocalImplementation
from attest.specification import tensors_in
from attest.strategies import (
    component_inputs,
    layer_inputs,
    token_inputs,
)
from attest.subject import Subject
from tests.test_strategies import drawn, simplest

MODELS = ("Transformer", "Seq2Seq", "AttentionSeq2Seq")
LAYERS = ("EncoderLayer", "Encoder", "DecoderLayer", "Decoder")
EVERY = pytest.mark.parametrize("component", CONTRACT)
OF_MODELS = pytest.mark.parametrize("component", MODELS)
OF_LAYERS = pytest.mark.parametrize("component", LAYERS)


@cache
def examples(component):
    return tuple(drawn(component_inputs(component), 200))


def sizes(component, example):
    """Give the sizes of an example's named dimensions; a name must mean one size everywhere."""
    setup, spec = example.get("setup"), CONTRACT[component]
    found = {} if setup is None else dict(setup.arguments)
    for name, dims in spec.dims.items():
        if example[name] is None:
            continue
        shape = tuple(example[name].shape)
        fixed = [dim for dim in dims if not dim.startswith("*")]
        assert len(shape) >= len(fixed)
        for dim, size in zip(fixed, shape[len(shape) - len(fixed) :], strict=True):
            assert found.setdefault(dim, size) == size, (name, dim)
    integers = {name: value for name, value in example.items() if type(value) is int}
    return found | {name: value for name, value in integers.items() if name != "dim"}


@EVERY
def test_arguments_and_constructors_are_the_contracts(component):
    spec = CONTRACT[component]
    for example in examples(component):
        arguments = {name: value for name, value in example.items() if name != "setup"}
        assert tuple(arguments) == spec.parameters
        constructor = tuple(example["setup"].arguments) if "setup" in example else ()
        assert constructor == (spec.constructor or ())
        assert all(size >= 1 for size in sizes(component, example).values())


@EVERY
def test_whole_numbers_stay_within_their_limits_and_reach_them(component):
    spec, reached = CONTRACT[component], Counter()
    for example in examples(component):
        known = sizes(component, example)
        for name, held in spec.entries.items():
            if example.get(name) is None:
                continue
            least, most = held.limits(known)
            assert example[name].dtype == torch.int64
            assert least <= int(example[name].min())
            assert int(example[name].max()) <= most
            reached[name, "least"] += int(example[name].min()) == least
            reached[name, "most"] += int(example[name].max()) == most
            reached[name, "between"] += bool(
                ((example[name] > least) & (example[name] < most)).any()
            )
    kinds = ("least", "most", "between")
    assert all(reached[name, kind] >= 10 for name in spec.entries for kind in kinds), reached


@EVERY
def test_every_row_of_a_mask_allows_something(component):
    spec, seen = CONTRACT[component], Counter()
    names = [name for name in spec.parameters if "mask" in name]
    for example in examples(component):
        known = sizes(component, example)
        for name in names:
            mask = example[name]
            seen[name, mask is None] += 1
            if mask is None:
                continue
            assert mask.dtype == torch.bool
            assert bool(mask.any(-1).all())
            seen[name, "partial"] += not bool(mask.all())
            if name in spec.masks and not spec.masks[name][0].startswith("*"):
                shape = tuple(known[dim] for dim in spec.masks[name] if dim != "n_heads")
                if mask.dim() <= 3:
                    assert torch.broadcast_shapes(tuple(mask.shape), shape) == shape
    for name in names:
        assert seen[name, True] >= 10, seen
        assert seen[name, False] >= 50, seen
        assert seen[name, "partial"] >= 30, seen


@OF_LAYERS
def test_a_decoders_own_mask_leaves_every_token_one_that_is_not_later(component):
    if not component.startswith("Decoder"):
        return
    masks = [e["self_mask"] for e in examples(component) if e["self_mask"] is not None]
    for example in examples(component):
        if example["self_mask"] is None:
            continue
        length = example["x"].shape[1]
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        assert bool((example["self_mask"] & causal).any(-1).all())
    assert any(not bool(mask.all()) for mask in masks)


@pytest.mark.parametrize("component", [*LAYERS, "Transformer", "MultiHeadAttention"])
def test_heads_divide_widths_and_vary(component):
    seen = Counter()
    for example in examples(component):
        arguments = example["setup"].arguments
        assert arguments["d_model"] % arguments["n_heads"] == 0
        seen[arguments["n_heads"]] += 1
        seen["one wide"] += arguments["d_model"] == arguments["n_heads"]
    assert all(seen[heads] >= 8 for heads in (1, 2, 3)), seen
    assert seen[8] >= 5, seen
    assert seen["one wide"] < 150, seen


@OF_MODELS
def test_lengths_of_models_are_apart_alike_and_now_and_then_long(component):
    seen = Counter()
    for example in examples(component):
        known = sizes(component, example)
        lengths = known["L"], known["S"]
        long = max(lengths) >= 20 or known["B"] >= 11
        seen["long" if max(lengths) >= 20 else "wide" if long else "short"] += 1
        if not long:
            seen["apart"] += math.gcd(*lengths) == 1 and max(lengths) > 1
            seen["alike"] += len({*lengths, known["B"]}) == 1
        seen["many items"] += known["B"] >= 11
        seen["other vocabularies"] += known["source_vocab"] != known["target_vocab"]
        seen["long source"] += known["S"] >= 20
        seen["long target"] += known["L"] >= 20
    assert seen["apart"] >= 50, seen
    assert seen["alike"] >= 30, seen
    assert 4 <= seen["long"] <= 40, seen
    assert seen["many items"] >= 2, seen
    assert seen["long source"] >= 1, seen
    assert seen["long target"] >= 1, seen
    assert seen["other vocabularies"] >= 100, seen


@OF_LAYERS
def test_lengths_of_layers_are_apart_alike_and_now_and_then_long(component):
    seen = Counter()
    for example in examples(component):
        known = sizes(component, example)
        lengths = tuple(known[dim] for dim in ("L", "S") if dim in known)
        seen["long"] += max(lengths) >= 20
        seen["apart from the width"] += known["d_model"] not in lengths and max(lengths) > 1
        seen["alike"] += len({*lengths, known["B"]}) == 1
        seen["apart"] += len(set(lengths)) == len(lengths)
    assert 2 <= seen["long"] <= 40, seen
    assert seen["apart"] >= 60, seen
    assert seen["apart from the width"] >= 60, seen
    assert seen["alike"] >= 40, seen


@pytest.mark.parametrize("component", [*LAYERS, *MODELS])
def test_no_examples_sizes_are_rare(component):
    """Nothing but the long ones: every small length of source and target comes often."""
    keys = Counter()
    for example in drawn(component_inputs(component), 400):  # in 200 luck counts for more
        known = sizes(component, example)
        keys[known.get("S", known.get("L"))] += 1
    assert all(keys[length] >= 8 for length in range(1, 6)), keys


def test_patches_divide_images_and_neither_is_always_square():
    seen = Counter()
    for example in examples("PatchEmbedding"):
        known = sizes("PatchEmbedding", example)
        patch = known["patch_size"]
        assert known["height"] % patch == known["width"] % patch == 0
        seen["square"] += known["height"] == known["width"]
        seen["oblong"] += known["height"] != known["width"]
        seen["one patch"] += known["height"] == known["width"] == patch
        seen["patches of one pixel"] += patch == 1
    assert seen["oblong"] >= 60, seen
    assert seen["square"] >= 20, seen
    assert seen["one patch"] < 60, seen
    assert seen["patches of one pixel"] < 120, seen
    assert {8, 16} <= {e["setup"].arguments["patch_size"] for e in examples("PatchEmbedding")}


@pytest.mark.parametrize(
    "component", [*LAYERS, *MODELS, "PatchEmbedding", "FeedForward", "LayerNorm"]
)
def test_the_reference_takes_every_example(component):
    for example in examples(component)[:60]:
        arguments = {name: value for name, value in example.items() if name != "setup"}
        model = Subject(
            LocalImplementation("reference", reference),
            CONTRACT[component],
            torch.float64,
            "cpu",
            example["setup"],
        )
        answer = model(**arguments)
        assert all(bool(tensor.isfinite().all()) for _, tensor in tensors_in(answer))


@OF_MODELS
def test_models_shrink_to_one_token(component):
    found = simplest(token_inputs(component))
    assert found["source"].shape[1] == found["target_in"].shape[1] == 1
    assert found["source_mask" if component == "Transformer" else "lengths"] is None
    longer = simplest(token_inputs(component), lambda e: e["source"].shape[1] >= 3)
    assert longer["source"].shape[1] <= 4


@OF_LAYERS
def test_layers_shrink_to_one_token_without_a_mask(component):
    found = simplest(layer_inputs(component))
    assert found["x"].shape[1] == 1
    assert all(value is None for name, value in found.items() if "mask" in name)


@OF_MODELS
def test_padding_is_drawn_on_request(component):
    told = "source_mask" if component == "Transformer" else "lengths"
    assert {e[told] for e in drawn(token_inputs(component, "none"), 30)} == {None}
    some = drawn(token_inputs(component, "some", 2), 60)
    assert all(e[told] is not None for e in some)
    assert all(min(e["source"].shape[1], e["target_in"].shape[1]) >= 2 for e in some)


def test_a_source_is_padded_on_the_right_and_elsewhere():
    masks = [e["source_mask"] for e in drawn(token_inputs("Transformer", "some"), 100)]
    right = [bool((mask[:, :-1] | ~mask[:, 1:]).all()) for mask in masks]
    assert 30 <= sum(right) <= 95
