"""Making a counterexample narrower, and its entries simpler."""

from __future__ import annotations

import pytest
import torch

from attest.contract import CONTRACT
from attest.shrinking import MOST_TRIALS, limits, narrower, simplify, slimmer


def simplified(inputs, parameters, law_fails, between=None):
    """Give the last failing candidate and every candidate that was tried."""
    latest, tried = [(inputs, parameters)], []

    def fails(candidate, matrices):
        tried.append((candidate, matrices))
        if law_fails(candidate, matrices):
            latest.append((candidate, matrices))
            return True
        return False

    simplify(inputs, parameters, fails, between)
    return (*latest[-1], tried)


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_what_does_not_matter_becomes_zero():
    found, _, _ = simplified({"x": noise(2, 3), "y": noise(4)}, {}, lambda *_: True)
    assert not found["x"].any()
    assert not found["y"].any()


def test_an_entry_that_matters_becomes_a_small_integer():
    x = noise(2, 3)
    x[1, 2] = 2.7182
    found, _, _ = simplified({"x": x}, {}, lambda c, _: bool(c["x"][1, 2] > 2))
    expected = torch.zeros(2, 3, dtype=torch.float64)
    expected[1, 2] = 3.0
    assert torch.equal(found["x"], expected)


def test_an_entry_that_matters_in_its_digits_keeps_one():
    found, _, _ = simplified(
        {"x": torch.tensor([0.5772])}, {}, lambda c, _: bool(0.5 < c["x"][0] < 0.7)
    )
    assert torch.equal(found["x"], torch.tensor([0.6]))


def test_a_relation_between_two_tensors_is_kept():
    inputs = {"x": noise(3), "y": noise(3) + 5}
    found, _, _ = simplified(inputs, {}, lambda c, _: bool(c["x"][0] < c["y"][0]))
    assert found["x"][0] < found["y"][0]
    assert all(float(entry) in {-1.0, 0.0, 1.0} for name in "xy" for entry in found[name])


def test_nothing_changes_where_nothing_simpler_fails():
    x = noise(3)
    found, _, tried = simplified({"x": x}, {}, lambda *_: False)
    assert found["x"] is x
    assert tried


def test_the_inputs_themselves_are_left_alone():
    x, w = noise(3), noise(2, 2)
    before = x.clone(), w.clone()
    simplified({"x": x}, {"w": w}, lambda *_: True)
    assert torch.equal(x, before[0])
    assert torch.equal(w, before[1])


def test_a_mask_comes_to_allow_everything():
    mask = torch.tensor([[True, False], [False, True]])
    found, _, _ = simplified({"mask": mask}, {}, lambda *_: True)
    assert bool(found["mask"].all())


def test_a_mask_that_matters_allows_as_much_as_it_can():
    mask = torch.tensor([[True, False], [False, True]])
    found, _, _ = simplified({"mask": mask}, {}, lambda c, _: not bool(c["mask"].all()))
    assert int(found["mask"].sum()) == 3
    kept, _, _ = simplified({"mask": mask}, {}, lambda c, _: torch.equal(c["mask"], mask))
    assert torch.equal(kept["mask"], mask)


def test_integers_none_and_sizes_are_left_alone():
    inputs = {"lengths": torch.tensor([3, 1]), "dim": -1, "mask": None}
    found, _, tried = simplified(inputs, {}, lambda *_: True)
    assert found == inputs
    assert tried == []


def test_tokens_and_lengths_become_the_least_that_they_may_be():
    inputs = {"source": torch.tensor([[4, 2, 3]]), "lengths": torch.tensor([3])}
    between = {"source": (0, 4), "lengths": (1, 3)}
    found, _, tried = simplified(inputs, {}, lambda *_: True, between)
    assert (found["source"].tolist(), found["lengths"].tolist()) == ([[0, 0, 0]], [1])
    for candidate, _ in tried:
        assert set(candidate["source"].flatten().tolist()) <= {0, 1, 2, 3, 4}
        assert 1 <= int(candidate["lengths"]) <= 3


def test_a_token_that_matters_stays_or_becomes_the_second():
    inputs = {"source": torch.tensor([[4, 2, 3]])}
    between = {"source": (0, 4)}
    found, _, _ = simplified(inputs, {}, lambda c, _: bool(c["source"][0, 1] > 0), between)
    assert found["source"].tolist() == [[0, 1, 0]]
    found, _, _ = simplified(inputs, {}, lambda c, _: bool(c["source"][0, 2] == 3), between)
    assert found["source"].tolist() == [[0, 0, 3]]


def test_arguments_inside_a_dict_are_simplified():
    inputs = {"arguments": {"x": noise(3), "mask": None}, "shift": 2.5}
    found, _, _ = simplified(inputs, {}, lambda *_: True)
    assert not found["arguments"]["x"].any()
    assert found["arguments"]["mask"] is None
    assert found["shift"] == 2.5


def test_weights_are_simplified_beside_the_inputs():
    found, matrices, _ = simplified(
        {"x": noise(2)}, {"w": noise(3, 3)}, lambda _, m: bool(m["w"].any())
    )
    assert not found["x"].any()
    assert set(matrices["w"].flatten().tolist()) <= {0.0, 1.0}
    assert matrices["w"].any()


def test_candidates_keep_shape_and_dtype():
    inputs = {"x": noise(2, 3).to(torch.bfloat16), "y": noise(1, 4, 2)}
    _, _, tried = simplified(inputs, {}, lambda c, _: bool(c["x"].sum() > -9))
    for candidate, _ in tried:
        assert candidate["x"].shape == (2, 3)
        assert candidate["x"].dtype == torch.bfloat16
        assert candidate["y"].shape == (1, 4, 2)


def test_the_number_of_trials_is_limited():
    _, _, tried = simplified({"x": noise(1000) + 20}, {}, lambda c, _: bool((c["x"] > 10).all()))
    assert len(tried) <= MOST_TRIALS


def test_infinite_and_missing_numbers_can_be_simplified():
    x = torch.tensor([float("nan"), float("inf"), 1e300, 0.3], dtype=torch.float64)
    found, _, _ = simplified({"x": x}, {}, lambda c, _: not bool(torch.isfinite(c["x"][0])))
    assert torch.isnan(found["x"][0])
    assert found["x"][1:].tolist() == [0.0, 0.0, 0.0]


def test_a_view_with_strides_of_zero_is_simplified_entry_by_entry():
    x = torch.tensor([0.3], dtype=torch.float64).expand(3)
    found, _, _ = simplified({"x": x}, {}, lambda c, _: bool(c["x"][1] > 0.2))
    assert found["x"][1] == 1.0


# --- Narrower ------------------------------------------------------------------------------------

SDPA = CONTRACT["scaled_dot_product_attention"]


def narrowed(spec, inputs, fails):
    for smaller in narrower(spec, inputs, lambda candidate, _: fails(candidate)):
        inputs = smaller
    return inputs


def attention(batch=(), queries=4, keys=5, mask=None):
    return {
        "query": torch.randn(*batch, queries, 2),
        "key": torch.randn(*batch, keys, 2),
        "value": torch.randn(*batch, keys, 3),
        "mask": mask,
    }


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_items_queries_and_keys_are_dropped(batch):
    found = narrowed(SDPA, attention(batch), lambda _: True)
    last = (*batch[:-1], 1) if batch else ()
    assert found["query"].shape == (*last, 1, 1)
    assert found["key"].shape == (*last, 1, 1)
    assert found["value"].shape == (*last, 1, 1)


def test_as_many_are_kept_as_the_failure_needs():
    found = narrowed(SDPA, attention(), lambda inputs: inputs["key"].shape[-2] >= 3)
    assert found["key"].shape[-2] == found["value"].shape[-2] == 3


def test_the_last_are_kept_where_the_first_do_not_fail():
    inputs = attention()
    last = inputs["key"][-1].clone()
    found = narrowed(SDPA, inputs, lambda i: bool((i["key"] == last).all(-1).any()))
    assert torch.equal(found["key"], last[None])


def test_widths_are_cut_where_no_constructor_fixes_them():
    found = narrowed(SDPA, attention(), lambda i: i["value"].shape[-1] >= 2)
    assert (found["key"].shape[-1], found["value"].shape[-1]) == (1, 2)


def test_an_argument_of_any_shape_is_cut_along_every_axis():
    inputs = {"x": torch.randn(3, 2, 5, 4), "dim": 1}
    found = narrowed(CONTRACT["softmax"], inputs, lambda i: i["x"].shape[2] >= 3)
    assert found["x"].shape == (1, 1, 3, 1)


def test_modules_become_slimmer_with_what_they_are_given():
    inputs = {"arguments": {**attention((1,)), "mask": torch.ones(1, 3, 4, 5, dtype=torch.bool)}}
    inputs["arguments"] |= {name: torch.randn(1, 4, 6) for name in ("query", "key", "value")}
    spec = CONTRACT["MultiHeadAttention"]
    found = list(slimmer(spec, inputs, {"d_model": 6, "n_heads": 3}))
    assert [sizes for _, sizes in found][:3] == [
        {"d_model": 1, "n_heads": 1}, {"d_model": 1, "n_heads": 2}, {"d_model": 2, "n_heads": 1}
    ]  # fmt: skip
    assert {"d_model": 6, "n_heads": 3} not in [sizes for _, sizes in found]
    for candidate, sizes in found:
        arguments = candidate["arguments"]
        assert arguments["query"].shape == (1, 4, sizes["d_model"])
        assert arguments["mask"].shape == (1, sizes["n_heads"], 4, 5)


def test_many_integers_are_tried_one_by_one():
    spec = CONTRACT["MultiHeadAttention"]
    inputs = {name: torch.randn(1, 1, 64) for name in ("query", "key", "value")}
    assert len(list(slimmer(spec, inputs, {"d_model": 64, "n_heads": 16}))) == 2 + 63 + 15


def test_a_mask_is_cut_like_what_it_masks_and_leaves_every_query_some_key():
    mask = torch.tensor([[False, False, False, True, True]]).expand(4, 5)
    found = narrowed(SDPA, attention(mask=mask), lambda _: True)
    assert found["mask"].tolist() == [[True]]
    hidden = narrowed(SDPA, attention(mask=mask), lambda i: not bool(i["mask"].all()))
    assert hidden["mask"].shape[-1] <= 3


def test_the_mask_of_one_sequence_is_cut_both_ways():
    inputs = {"x": torch.randn(2, 4, 3), "mask": torch.ones(4, 4, dtype=torch.bool).tril()}
    found = narrowed(CONTRACT["SelfAttention"], {"arguments": inputs}, lambda _: True)
    assert found["arguments"]["x"].shape == (1, 1, 3)
    assert found["arguments"]["mask"].shape == (1, 1)


def test_one_tensor_under_two_names_stays_one():
    inputs = attention(keys=4)
    inputs["key"] = inputs["value"] = inputs["query"]
    found = narrowed(CONTRACT["MultiHeadAttention"], inputs, lambda _: True)
    assert found["key"] is found["value"]
    simplified = []

    def fails(candidate, _):
        simplified.append(candidate)
        return True

    simplify(found, {}, fails)
    assert simplified
    assert all(candidate["key"] is candidate["value"] for candidate in simplified)


# --- Tokens --------------------------------------------------------------------------------------


def tokens(component, batch=3, queries=4, keys=6):
    generator = torch.Generator().manual_seed(0)
    sizes = CONTRACT[component].example
    drawn = {
        "source": torch.randint(sizes["source_vocab"], (batch, keys), generator=generator),
        "target_in": torch.randint(sizes["target_vocab"], (batch, queries), generator=generator),
    }
    lengths = torch.tensor([keys, 2, 5])[:batch]
    if component == "Transformer":
        real = torch.arange(keys) < lengths[:, None]
        return {**drawn, "source_mask": real.flip(-1)}
    return {**drawn, "lengths": lengths}


def assert_within_the_contract(component, inputs, sizes):
    assert inputs["source"].dtype == inputs["target_in"].dtype == torch.int64
    assert inputs["source"].shape[0] == inputs["target_in"].shape[0] >= 1
    for name, vocabulary in (("source", "source_vocab"), ("target_in", "target_vocab")):
        assert inputs[name].numel()
        assert 0 <= int(inputs[name].min()) <= int(inputs[name].max()) < sizes[vocabulary]
    if component == "Transformer":
        assert inputs["source_mask"].shape == inputs["source"].shape
        assert bool(inputs["source_mask"].any(-1).all())
    else:
        assert inputs["lengths"].shape == inputs["source"].shape[:1]
        assert int(inputs["lengths"].min()) >= 1
        assert int(inputs["lengths"].max()) <= inputs["source"].shape[1]


MODELS = pytest.mark.parametrize("component", ["Transformer", "Seq2Seq", "AttentionSeq2Seq"])


@MODELS
def test_tokens_are_dropped_and_lengths_and_masks_follow(component):
    spec, tried = CONTRACT[component], []

    def fails(inputs):
        tried.append(inputs)
        assert_within_the_contract(component, inputs, spec.example)
        return inputs["source"].shape[1] >= 2

    found = narrowed(spec, tokens(component), fails)
    assert found["source"].shape == (1, 2)
    assert found["target_in"].shape == (1, 1)
    assert len(tried) >= 5


@MODELS
def test_tokens_stay_within_smaller_vocabularies(component):
    spec = CONTRACT[component]
    inputs = {"arguments": tokens(component), "bos": 6}
    seen = set()
    for candidate, sizes in slimmer(spec, inputs, spec.example):
        assert_within_the_contract(component, candidate["arguments"], sizes)
        seen |= {name for name, size in sizes.items() if size < spec.example[name]}
    assert seen == set(spec.example)
    assert all(
        set(sizes.values()) == {1} for _, sizes in [next(slimmer(spec, inputs, spec.example))]
    )


def test_the_first_token_of_a_generation_stays_within_its_vocabulary():
    spec = CONTRACT["Seq2Seq"]
    inputs = {**tokens("Seq2Seq"), "bos": 6}
    for candidate, sizes in slimmer(spec, inputs, spec.example):
        assert candidate["bos"] == min(6, sizes["target_vocab"] - 1)


def test_the_memory_of_a_method_is_cut_with_the_source_and_with_the_width():
    spec = CONTRACT["Transformer"]
    inputs = {**tokens("Transformer"), "memory": torch.randn(3, 6, spec.example["d_model"])}
    found = narrowed(spec, inputs, lambda _: True)
    assert found["memory"].shape == (1, 1, spec.example["d_model"])
    for candidate, sizes in slimmer(spec, inputs, spec.example):
        assert candidate["memory"].shape[-1] == sizes["d_model"]


def test_limits_are_those_of_the_contract():
    sizes = CONTRACT["Seq2Seq"].example
    found = limits(CONTRACT["Seq2Seq"], {"arguments": tokens("Seq2Seq")}, sizes)
    assert found["source"] == (0, 4)
    assert found["target_in"] == found["token"] == found["bos"] == (0, 6)
    assert found["lengths"] == (1, 6)
    lengths = {"lengths": torch.tensor([2, 9]), "max_length": 9}
    assert limits(CONTRACT["padding_mask"], lengths, {}) == {"lengths": (1, 9)}
    assert limits(CONTRACT["padding_mask"], {"lengths": torch.tensor([2, 9])}, {}) == {}


def test_an_image_is_cut_in_rows_and_in_columns():
    images = {"images": torch.randn(2, 3, 6, 8)}
    spec = CONTRACT["PatchEmbedding"]
    found = narrowed(spec, images, lambda i: all(n % 2 == 0 for n in i["images"].shape[-2:]))
    assert found["images"].shape == (1, 3, 2, 2)
