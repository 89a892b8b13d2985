"""The strategies: what they draw meets the contract and covers what it should."""

from __future__ import annotations

import math
from collections import Counter
from functools import cache

import hypothesis
import pytest
import torch
from hypothesis import Phase
from torch import nn

import reference
from attest.contract import CONTRACT
from attest.examination import PHASES, _configured
from attest.implementations import LocalImplementation
from attest.strategies import (
    LARGEST_ENTRY,
    REGIMES,
    attention_inputs,
    component_inputs,
    fill,
    lengths_and_padding,
    random_mask,
    softmax_inputs,
)
from attest.subject import Setup, Subject

SDPA = "scaled_dot_product_attention"
ATTENTIONS = (
    SDPA,
    "AdditiveAttention",
    "MultiplicativeAttention",
    "SelfAttention",
    "MultiHeadAttention",
)
EVERY = pytest.mark.parametrize("component", ATTENTIONS)


def drawn(strategy, number=150, seed=0):
    """Draw this many examples in the way the engine does."""
    found = []

    def collect(example):
        found.append(example)

    _configured(hypothesis.given(example=strategy)(collect), seed, number, (Phase.generate,))()
    return found


@cache
def examples(component):
    """Give examples of an attention's inputs, drawn once for all tests."""
    return tuple(drawn(attention_inputs(component), 200))


def simplest(strategy, wanted=lambda _: True):
    """Give the last example that Hypothesis comes to, shrinking those that are wanted."""
    found = []

    def search(example):
        if wanted(example):
            found.append(example)
            raise AssertionError

    run = _configured(hypothesis.given(example=strategy)(search), 0, 300, PHASES)
    with pytest.raises(AssertionError):
        run()
    return found[-1]


def sizes(example):
    """Give B (or None), L, S and the widths of an attention's inputs."""
    if "x" in example:
        batch, length, width = example["x"].shape
        return batch, length, length, (width,)
    query, key, value = (example[name] for name in ("query", "key", "value"))
    batch = query.shape[0] if query.dim() > 2 else None
    widths = (query.shape[-1], key.shape[-1], value.shape[-1])
    return batch, query.shape[-2], key.shape[-2], widths


def scores_shape(example, component):
    batch, queries, keys, _ = sizes(example)
    if component == "MultiHeadAttention" and example["mask"].dim() == 4:
        return batch, example["setup"].arguments["n_heads"], queries, keys
    if component == SDPA:
        return (*example["query"].shape[:-1], keys)
    return batch, queries, keys


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, other[name])
        else:
            assert value == other[name]


def tier(example, component):
    """Say whether an example's sizes are long, alike or apart."""
    batch, queries, keys, widths = sizes(example)
    if max(batch or 0, queries, keys, *widths) >= 17:
        return "long"
    heads = (example["setup"].arguments["n_heads"],) if component == "MultiHeadAttention" else ()
    alike = (batch, *heads) if heads else (queries, *widths)
    return "alike" if queries == keys and len(set(alike)) == 1 else "apart"


@EVERY
def test_of_twelve_examples_six_have_sizes_apart_five_alike_and_one_is_long(component):
    tiers = Counter(tier(example, component) for example in examples(component))
    assert 60 <= tiers["apart"] <= 140, tiers
    assert 50 <= tiers["alike"] <= 120, tiers
    assert 6 <= tiers["long"] <= 40, tiers


@EVERY
def test_no_two_axes_of_sizes_apart_can_be_swapped(component):
    apart = [example for example in examples(component) if tier(example, component) == "apart"]
    assert len(apart) > 20
    for example in apart:
        _, queries, keys, widths = sizes(example)
        match component:
            case "scaled_dot_product_attention":
                different = (queries, keys, *widths[1:])
            case "SelfAttention":
                different = (queries, *widths)
            case "MultiHeadAttention":
                different = (queries, keys, widths[0])
            case _:
                assert math.gcd(queries, keys) == 1
                different = widths
        assert len(set(different)) == len(different), example


@EVERY
def test_small_and_middle_sizes_are_all_drawn(component):
    lengths = Counter(sizes(example)[2] for example in examples(component))
    assert all(lengths[length] >= 3 for length in range(1, 6)), lengths
    assert max(lengths.values()) < 100, lengths


@EVERY
def test_the_contract_of_arguments_is_respected(component):
    spec = CONTRACT[component]
    for example in examples(component):
        arguments = {name: value for name, value in example.items() if name != "setup"}
        assert spec.bind((), arguments) == arguments
        named: dict[str, int] = dict(example["setup"].arguments) if "setup" in example else {}
        assert tuple(named) == (spec.constructor or ())
        for name, dims in spec.dims.items():
            tensor = arguments[name]
            assert tensor.dtype == torch.float64
            assert bool(tensor.isfinite().all())
            assert float(tensor.abs().max()) <= LARGEST_ENTRY
            fixed = [dim for dim in dims if not dim.startswith("*")]
            for dim, size in zip(fixed[::-1], reversed(tensor.shape), strict=False):
                assert named.setdefault(dim, size) == size


@EVERY
def test_masks_broadcast_to_the_scores_and_leave_every_query_a_key(component):
    kinds = Counter()
    for example in examples(component):
        mask = example["mask"]
        if mask is None:
            kinds["none"] += 1
            continue
        shape = scores_shape(example, component)
        assert mask.dtype == torch.bool
        assert 2 <= mask.dim() <= len(shape)
        assert torch.broadcast_shapes(mask.shape, shape) == shape
        assert bool(mask.any(-1).all())
        kinds["full" if bool(mask.all()) else "partial"] += 1
        if mask.shape[-2] == 1 and shape[-2] > 1:
            kinds["one row for all queries"] += 1
        if mask.dim() == 3 and mask.shape[0] > 1:
            kinds["one for each item"] += 1
        if mask.dim() == 2:
            kinds["two dimensions"] += 1
    assert 20 <= kinds["none"] <= 100, kinds
    expected = ("partial", "one row for all queries", "one for each item", "two dimensions")
    assert all(kinds[kind] >= 10 for kind in expected), kinds


@EVERY
def test_masks_of_one_kind_are_drawn_on_request(component):
    assert {e["mask"] for e in drawn(attention_inputs(component, "none"), 30)} == {None}
    assert all(e["mask"] is not None for e in drawn(attention_inputs(component, "some"), 30))


def test_a_mask_of_its_own_for_each_head_is_drawn():
    found = drawn(attention_inputs("MultiHeadAttention", "some"), 140)
    shapes = [e["mask"].shape for e in found if e["mask"].dim() == 4]
    assert sum(shape[1] > 1 for shape in shapes) >= 5


@EVERY
def test_no_fewer_keys_and_queries_than_asked_for(component):
    found = drawn(attention_inputs(component, least=3), 50)
    lengths = [sizes(example)[1:3] for example in found]
    assert min(keys for _, keys in lengths) == 3
    assert min(queries for queries, _ in lengths) == (3 if component == "SelfAttention" else 2)


def test_a_function_gets_up_to_three_leading_dimensions():
    ranks = Counter(e["query"].dim() for e in examples(SDPA))
    assert set(ranks) == {2, 3, 4, 5}
    assert min(ranks.values()) >= 10, ranks


def test_the_second_leading_dimension_is_as_large_as_heads_are_many():
    sizes = Counter(e["query"].shape[1] for e in examples(SDPA) if e["query"].dim() > 3)
    assert set(sizes) == {2, 5, 8}
    assert sizes[8] >= 5, sizes
    assert sizes[2] >= sizes.total() // 2, sizes


@pytest.mark.parametrize("component", [SDPA, "MultiHeadAttention"])
def test_query_key_and_value_are_one_tensor_now_and_then(component):
    kinds = Counter(
        (e["query"] is e["key"], e["key"] is e["value"])
        for e in drawn(attention_inputs(component), 200)
    )
    assert set(kinds) == {(False, False), (False, True), (True, True)}
    assert min(kinds.values()) >= 5, kinds


def test_dot_products_stay_where_the_contract_promises_accuracy():
    for example in drawn(attention_inputs(SDPA, regimes=("huge", "large")), 100):
        query, key = example["query"], example["key"]
        scores = query.abs() @ key.abs().mT / math.sqrt(query.shape[-1])
        assert float(scores.max()) < 1e5


def scores_are_near(example):
    if "x" in example:
        return example["setup"].gain < 0.01
    return max(float(example[name].abs().max()) for name in ("query", "key")) <= 3


@EVERY
def test_scores_are_near_each_other_now_and_then_though_entries_are_huge(component):
    name = "x" if component == "SelfAttention" else "value"
    huge = [e for e in examples(component) if float(e[name].abs().max()) > 100]
    near = sum(map(scores_are_near, huge))
    assert min(near, len(huge) - near) >= 3, (near, len(huge))


@EVERY
def test_who_asks_for_huge_entries_gets_scores_that_are_far_apart(component):
    huge = drawn(attention_inputs(component, regimes=("huge",)), 30)
    assert not any(map(scores_are_near, huge))


@EVERY
def test_entries_reach_from_zero_to_hundreds(component):
    name = "x" if component == "SelfAttention" else "value"
    largest = [float(example[name].abs().max()) for example in examples(component)]
    assert min(largest) < 0.1
    assert max(largest) > 200


@EVERY
def test_small_integers_are_one_regime_of_seven(component):
    name = "x" if component == "SelfAttention" else "value"
    values = [example[name] for example in examples(component)]
    integers = [v for v in values if torch.equal(v, v.round()) and float(v.abs().max()) <= 3]
    assert 5 <= len(integers) <= 80


@EVERY
def test_only_the_regimes_asked_for_are_drawn(component):
    for example in drawn(attention_inputs(component, regimes=("integers",)), 60):
        tensors = [v for n, v in example.items() if n in {"x", "query", "key", "value"}]
        assert all(torch.equal(t, t.round()) and float(t.abs().max()) <= 3 for t in tensors)


@EVERY
def test_the_same_seed_draws_the_same_inputs(component):
    first, second = (drawn(attention_inputs(component), 30) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert_same(one, other)


@EVERY
def test_another_seed_draws_other_inputs(component):
    name = "x" if component == "SelfAttention" else "value"
    first, second = (drawn(attention_inputs(component), 30, seed) for seed in (0, 1))
    equal = [torch.equal(a[name], b[name]) for a, b in zip(first, second, strict=True)]
    assert sum(equal) < 10


@pytest.mark.parametrize("component", [SDPA, "MultiHeadAttention"])
def test_the_simplest_example_is_one_query_of_integers_without_mask(component):
    example = simplest(attention_inputs(component))
    _, queries, keys, _ = sizes(example)
    assert (queries, keys) == (1, 1)
    assert example["mask"] is None
    tensors = [v for v in example.values() if isinstance(v, torch.Tensor)]
    assert all(torch.equal(t, t.round()) for t in tensors)


def test_the_simplest_example_with_a_property_is_short():
    example = simplest(attention_inputs(SDPA), lambda e: e["key"].shape[-2] >= 3)
    _, queries, keys, _ = sizes(example)
    assert queries <= 3 <= keys <= 4


# --- Values -------------------------------------------------------------------------------------


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("regime", REGIMES)
def test_a_seed_fills_a_tensor_in_one_way(regime):
    one, again, other = (fill(generator(seed), regime, 4, 5) for seed in (3, 3, 4))
    assert one.shape == (4, 5)
    assert one.dtype == torch.float64
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_each_regime_has_its_values():
    values = {regime: fill(generator(), regime, 40, 50) for regime in REGIMES}
    assert set(values["integers"].flatten().tolist()) == {-3, -2, -1, 0, 1, 2, 3}
    assert float(values["normal"].std()) == pytest.approx(1, abs=0.1)
    assert float(values["large"].std()) == pytest.approx(5, abs=0.5)
    assert float(values["small"].std()) == pytest.approx(0.01, abs=0.001)
    assert 0.6 < float((values["sparse"] == 0).double().mean()) < 0.8
    assert torch.equal(values["ties"][1::2], values["ties"][::2])
    assert len(values["ties"].unique(dim=0)) == 20
    assert 290 < float(values["huge"].abs().max()) <= 300


@pytest.mark.parametrize("rows", [1, 2, 3, 7])
def test_ties_are_between_neighbouring_rows(rows):
    value = fill(generator(), "ties", rows, 3)
    for row in range(1, rows, 2):
        assert torch.equal(value[row], value[row - 1])
    assert rows < 3 or not torch.equal(value[2], value[1])


def test_the_largest_entry_can_be_lowered():
    assert float(fill(generator(), "huge", 100, largest=2.0).abs().max()) <= 2


def test_an_unknown_regime_is_refused_by_name():
    with pytest.raises(ValueError, match="unknown regime 'odd'; known: integers, normal"):
        fill(generator(), "odd", 2)


@pytest.mark.parametrize("shape", [(1,), (5, 1), (7, 2), (3, 4, 6), (2, 3, 4, 70)])
def test_every_row_of_a_random_mask_has_a_key(shape):
    for seed in range(50):
        mask = random_mask(generator(seed), *shape)
        assert mask.shape == shape
        assert mask.dtype == torch.bool
        assert bool(mask.any(-1).all())


def test_a_random_mask_hides_something():
    masks = torch.stack([random_mask(generator(seed), 4, 5) for seed in range(50)])
    assert 0.3 < float((~masks).double().mean()) < 0.5
    assert bool(masks.any(0).all())
    assert bool((~masks).any(0).all())


# --- Softmax, masks and calls -------------------------------------------------------------------


def test_a_softmax_is_asked_for_axes_of_every_rank_by_either_sign():
    found = drawn(softmax_inputs(), 250)
    cases = {(e["x"].dim(), e["dim"]) for e in found}
    assert {(rank, dim < 0) for rank, dim in cases} == {
        (rank, negative) for rank in range(1, 6) for negative in (True, False)
    }
    assert len(cases) >= 15
    along = {e["x"].shape[e["dim"]] for e in found}
    assert along >= {*range(1, 8), 1100, 2500}
    assert {e["x"].dtype for e in found} == {torch.float64}


def test_a_softmax_of_three_entries_at_least_can_be_asked_for():
    along = {e["x"].shape[e["dim"]] for e in drawn(softmax_inputs(3), 100)}
    assert min(along) == 3


def test_lengths_reach_from_one_token_to_the_whole_sequence():
    found = drawn(lengths_and_padding(), 200)
    for example in found:
        assert example["lengths"].dtype == torch.int64
        assert example["lengths"].dim() == 1
        assert int(example["lengths"].min()) >= 1
        assert int(example["lengths"].max()) <= example["max_length"]
    assert any(int(e["lengths"].max()) == e["max_length"] > 1 for e in found)
    assert any(int(e["lengths"].min()) == 1 < e["max_length"] for e in found)
    assert max(e["max_length"] for e in found) == 2500
    assert {70, 131} <= {len(e["lengths"]) for e in found}


def test_causal_masks_are_as_long_as_buffers_and_bytes_and_longer():
    lengths = {e["length"] for e in drawn(component_inputs("causal_mask"), 90)}
    assert lengths >= {*range(1, 70), 127, 128, 129, 300, 2100}
    assert len([length for length in lengths if 80 < length < 130]) >= 10


@pytest.mark.parametrize("component", list(CONTRACT))
def test_every_component_can_be_called_with_what_is_drawn_for_it(component):
    implementation = LocalImplementation("reference", reference)
    for example in drawn(component_inputs(component), 30):
        setup = example.pop("setup", None)
        subject = Subject(implementation, CONTRACT[component], torch.float64, "cpu", setup)
        subject(**example)  # checks the answer against the contract


# --- Parameters ---------------------------------------------------------------------------------


class Zeroed(nn.Module):
    """A module that starts with weights of zero and a bias of one."""

    def __init__(self, d_model):
        super().__init__()
        self.projection = nn.Linear(d_model, d_model)
        nn.init.zeros_(self.projection.weight)
        nn.init.ones_(self.projection.bias)


class ZeroedVector(nn.Module):
    """A module whose one row of weights is stored as a vector, and starts at zero."""

    def __init__(self, d_model):
        super().__init__()
        self.energy = nn.Parameter(torch.zeros(d_model))
        self.bias = nn.Parameter(torch.ones(d_model))


class Submission:
    SelfAttention = Zeroed


def constructed(setup):
    implementation = LocalImplementation("zeroed", Submission)
    return Subject(implementation, CONTRACT["SelfAttention"], torch.float64, "cpu", setup)


def test_weights_of_zero_are_redrawn_and_biases_stay():
    parameters = constructed(Setup({"d_model": 3}, seed=1)).parameters()
    assert bool((parameters["projection.weight"] != 0).all())
    assert torch.equal(parameters["projection.bias"], torch.ones(3, dtype=torch.float64))


def test_a_vector_of_zeroes_is_redrawn_and_another_stays(monkeypatch):
    monkeypatch.setattr(Submission, "SelfAttention", ZeroedVector)
    parameters = constructed(Setup({"d_model": 3}, seed=1)).parameters()
    assert bool((parameters["energy"] != 0).all())
    assert torch.equal(parameters["bias"], torch.ones(3, dtype=torch.float64))


def test_weights_are_redrawn_from_the_seed_and_the_gain():
    one, again, other = (
        constructed(Setup({"d_model": 3}, seed=seed)).parameters()["projection.weight"]
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    small = constructed(Setup({"d_model": 3}, seed=1, gain=0.5)).parameters()
    assert torch.equal(small["projection.weight"], one / 2)


def test_redrawn_weights_keep_the_size_of_what_they_project():
    weight = constructed(Setup({"d_model": 100}, seed=1)).parameters()["projection.weight"]
    assert float(weight.std()) == pytest.approx(0.1, rel=0.05)


def test_given_weights_are_taken_as_they_are():
    weight = torch.eye(2, dtype=torch.float64)
    setup = Setup({"d_model": 2}, matrices={"projection.weight": weight})
    assert torch.equal(constructed(setup).parameters()["projection.weight"], weight)


@pytest.mark.parametrize("component", ATTENTIONS[1:])
def test_examples_of_a_module_have_weights_of_many_seeds(component):
    setups = [example["setup"] for example in examples(component)]
    assert len({setup.seed for setup in setups}) > 30
    assert len({setup.gain for setup in setups}) >= 3
