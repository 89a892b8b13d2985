"""What an example is like is read off its tensors, and every law tries examples of all kinds."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from functools import cache

import pytest
import torch
from hypothesis.errors import UnsatisfiedAssumption

from attest import examination
from attest.contract import CONTRACT
from attest.examination import DTYPES, Settings, examine, quiet
from attest.laws import Property
from attest.ledger import load_ledger, load_reference
from attest.regimes import KINDS_OF_EXAMPLES, LONG, TIERS, VALUES, kinds_of_example
from attest.strategies import REGIMES, fill

LAWS = load_ledger().laws
SDPA = CONTRACT["scaled_dot_product_attention"]


def kinds(dtype=torch.float64, constructed=None, spec=SDPA, **inputs):
    return kinds_of_example(inputs, constructed or {}, spec, dtype)


def random(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def attention(queries, keys, d_k, d_v):
    return {"query": random(queries, d_k), "key": random(keys, d_k), "value": random(keys, d_v)}


# --- Tiers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "tier"),
    [
        ((2, 3, 4, 5), "sizes apart"),
        ((3, 3, 4, 5), "sizes alike"),  # the weights are square
        ((2, 3, 2, 5), "sizes alike"),  # the queries are
        ((2, 3, 4, 3), "sizes alike"),  # the values are
        ((LONG, 3, 4, 5), "long"),
        ((2, LONG + 1, 4, 5), "long"),
        ((2, 3, LONG, 5), "long"),
    ],
)
def test_the_tier_of_an_attention_is_that_of_its_tensors(sizes, tier):
    assert kinds(**attention(*sizes))[0] == tier


def test_what_a_component_returns_has_sizes_as_well():
    self_attention = CONTRACT["SelfAttention"]
    assert kinds(spec=self_attention, constructed={"d_model": 3}, x=random(2, 5, 3))[0] == (
        "sizes apart"
    )


def test_numbers_that_are_arguments_are_sizes():
    positions = CONTRACT["sinusoidal_positional_encoding"]
    assert kinds(spec=positions, length=3, d_model=4)[0] == "sizes apart"
    assert kinds(spec=positions, length=4, d_model=4)[0] == "sizes alike"
    assert kinds(spec=positions, length=5000, d_model=4)[0] == "long"


def test_arguments_that_come_in_one_dict_are_looked_into():
    assert kinds(arguments=attention(3, 3, 4, 5)) == kinds(**attention(3, 3, 4, 5))


# --- Values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        ([[1.0, 2.0], [3.0, 4.0]], "ordinary"),
        ([[100.0, 2.0], [3.0, 4.0]], "large"),
        ([[1e-7, 1e-8], [2e-7, 1e-7]], "tiny"),
        ([[1.0, 2.0], [1.0, 2.0]], "equal"),
        ([[1.0, 2.0], [1.0, 2.0 + 1e-9]], "nearly equal"),
        ([[1.0, 2.0], [1.0, 2.0], [3.0, 4.0]], "repeated rows"),
        ([[1.0, 0.0], [0.0, 7.0]], "one-hot"),
        ([[1.0, 0.0, 0.0], [0.0, 3.0, 0.0], [1.0, 2.0, 0.0]], "sparse"),
        ([[1.0, 2e-310], [3.0, 4.0]], "subnormal"),
    ],
)
def test_a_kind_of_values_is_recognised(rows, kind):
    found = kinds(query=torch.tensor(rows, dtype=torch.float64))
    assert found[1:] == (kind,)


def test_values_may_be_of_several_kinds():
    assert kinds(query=torch.tensor([[0.0, 200.0], [0.0, 200.0]]))[1:] == (
        "large",
        "equal",
        "one-hot",
    )


def test_what_is_subnormal_depends_on_the_precision():
    small = torch.tensor([[1.0, 1e-6], [2.0, 3.0]])
    assert "subnormal" not in kinds(query=small, dtype=torch.float32)
    assert "subnormal" in kinds(query=small, dtype=torch.float16)


def test_a_mask_has_no_values():
    assert kinds(mask=torch.ones(3, 4, dtype=torch.bool))[1:] == ("ordinary",)


def test_tokens_may_repeat():
    tokens = CONTRACT["Transformer"]
    assert kinds(spec=tokens, source=torch.tensor([[1, 2, 3]]))[1:] == ("ordinary",)
    assert kinds(spec=tokens, source=torch.tensor([[1, 2, 1]]))[1:] == ("repeated rows",)
    assert kinds(spec=tokens, source=torch.tensor([[2, 2, 2]]))[1:] == ("equal",)


def test_every_kind_has_its_regime():
    """What strategies draw on purpose is recognised as what it is."""
    expected = {
        "huge": "large", "ties": "repeated rows", "sparse": "sparse", "one-hot": "one-hot",
        "equal": "equal", "nearly equal": "nearly equal", "tiny": "tiny",
        "subnormal": "subnormal", "normal": "ordinary",
    }  # fmt: skip
    assert set(expected) <= set(REGIMES)
    assert set(expected.values()) == set(VALUES)
    for regime, kind in expected.items():
        rows = fill(torch.Generator().manual_seed(1), regime, 3, 4)
        assert kind in kinds(query=rows), regime


# --- What laws try ------------------------------------------------------------------------------


def examined(prop: Property) -> examination._Examination:
    return examination._Examination(prop, load_reference(), load_reference(), Settings())


@cache
def shared(inputs, component, dtypes, seed):
    """Give a hundred shared examples: what was drawn, its dtype, and of which kinds it is."""
    found = []
    for index, one in enumerate(examination._drawn(inputs, component, seed, 0, 100)):
        dtype = dtypes[index % len(dtypes)]
        rest = {name: value for name, value in one.inputs.items() if name != "setup"}
        constructed = one.inputs["setup"].arguments if "setup" in one.inputs else {}
        kinds = kinds_of_example(rest, constructed, CONTRACT[component], DTYPES[dtype])
        found.append((one.inputs, dtype, kinds))
    return found


def shared_by(prop: Property, seed: int = 0):
    return shared(prop.inputs, prop.component, examined(prop).dtypes, seed)


def tried(prop: Property, seed: int = 0) -> set[str]:
    """Give the kinds of which a law tries some shared example and does not reject it.

    Examples of which it knows all kinds already are left out: all of them take five times as long.
    """
    if prop.share < 1:
        evidence = examine(prop, load_reference(), Settings(seed=seed), load_reference())
        return set(evidence.tried)
    law, found = examined(prop), set()
    for inputs, dtype, kinds in shared_by(prop, seed):
        if not found.issuperset(kinds):
            with quiet(), suppress(UnsatisfiedAssumption):
                law._try(law.example(inputs, dtype), law.modules)
                found.update(kinds)
    return found


def not_tried(prop: Property) -> set[str]:
    """Give the kinds of which a law tries no example.

    A kind that is not known to be left out may be missing by chance, or come among the examples
    that replace rejected ones; so it is looked for under another seed, and then in all of them.
    """
    known = {*TIERS} if prop.id in TIERS_LEFT_OUT else set()
    known |= {*VALUES} if prop.name in VALUES_LEFT_OUT or not takes_floats(prop) else set()
    missing = KINDS_OF_EXAMPLES.keys() - tried(prop)
    if missing - known:
        missing -= tried(prop, 1) - known
    for seed in (0, 1):
        if missing - known:
            evidence = examine(prop, load_reference(), Settings(seed=seed), load_reference())
            missing -= evidence.tried.keys() - known
    return missing


ONE_SIZE = "there is one size, and nothing that it could be like"
LATE = "it is about what is long, and short sequences have laws beside it"
ALL_STRINGS = "it tries all strings of a length, which are too many of twenty tokens"

VOCABULARY = "each word of a vocabulary is used once, and that is long"
KNOWN = "what comes out is known in advance for a few tokens, and for no others"

SAME = "queries and keys are the same tokens, so that they and their widths are alike"
MANY = "it makes a large batch itself, of which long sequences would take too long"
HIDDEN = "it finds matrices by the hidden width, which is to be like no other"
SENTENCES = "it makes the sentences itself, and its models are as small as will do"

WIDTHS = "it goes through the widths, and any tokens show the scale"
INSIDE = (
    "it is about weights or words, for which a few tokens of ordinary size are as good as others"
)
WIDE = "it counts weights, of which narrow layers have too few to tell an attention from the rest"

LAYERS = ("EncoderLayer", "DecoderLayer", "Encoder", "Decoder")

# The laws that do not try all tiers, with the reason.
TIERS_LEFT_OUT = {
    **{
        f"{name}.no_two_words_are_the_same_word": VOCABULARY
        for name in ("Transformer", "Seq2Seq", "AttentionSeq2Seq")
    },
    **{
        f"{layer}.{law}": KNOWN
        for layer in LAYERS
        for law in (
            "the_network_reads_the_sum_of_all_else",
            "scores_are_scaled_by_the_width_of_a_head",
            "a_key_stays_hidden_however_low_the_others_score",
        )
    },
    **{f"{stack}.six_layers_learn_the_weights_of_six": WIDE for stack in LAYERS[2:]},
    **{
        f"{stack}.as_many_layers_carry_a_token_as_many_places": (
            "it has as many tokens as its layers carry one, and two more"
        )
        for stack in LAYERS[2:]
    },
    **{f"{component}.the_network_inside_bends": HIDDEN for component in (*LAYERS, "Transformer")},
    **{
        f"{attention}.queries_and_keys_are_told_apart": SAME
        for attention in ("AdditiveAttention", "MultiplicativeAttention")
    },
    **{
        f"{law.component}.{law.name}": MANY
        for law in LAWS
        if law.name == "a_large_batch_is_many_small_ones"
        and law.component not in {"Transformer", "Seq2Seq", "AttentionSeq2Seq"}
    },
    **{
        f"Transformer.{law}": SENTENCES
        for law in (
            "no_word_of_the_source_stands_for_padding",
            "no_word_of_the_target_stands_for_padding",
            "silent_sublayers_let_the_words_through",
        )
    },
    "Transformer.each_sublayer_has_weights_of_its_own": WIDE,
    "Transformer.the_number_of_heads_matters_to_both_halves": (
        "it compares parameters of the same shapes, for which one sentence is as good as another"
    ),
    "Transformer.words_that_make_up_for_their_positions_are_all_alike": VOCABULARY,
    "causal_mask.the_same_call_gives_the_same_result": ONE_SIZE,
    "causal_mask.it_is_true_on_and_below_the_diagonal": ONE_SIZE,
    "causal_mask.a_shorter_mask_is_a_corner_of_a_longer_one": ONE_SIZE,
    "SelfAttention.there_are_three_square_matrices": ONE_SIZE,
    "MultiHeadAttention.heads_that_do_not_divide_the_width_are_refused": (
        "as many heads as the width is wide divide it"
    ),
    "sinusoidal_positional_encoding.far_positions_are_as_exact_as_their_angles": LATE,
    **{
        f"{model}.every_token_of_a_long_source_is_read": LATE
        for model in ("Seq2Seq", "AttentionSeq2Seq")
    },
    "Transformer.nothing_is_out_of_reach_in_a_long_sequence": LATE,
    "Transformer.late_positions_are_told_apart_as_well": LATE,
    "Transformer.positions_do_not_begin_again": LATE,
    **{
        f"{model}.a_long_answer_is_as_likely_to_its_end": LATE
        for model in ("Transformer", "Seq2Seq", "AttentionSeq2Seq")
    },
    "scaled_dot_product_attention.every_width_is_scaled_by_its_root": WIDTHS,
    "Transformer.equal_words_are_told_apart_by_their_places": (
        "it is about two places, and late ones have a law of their own"
    ),
    "Seq2Seq.the_probabilities_of_all_strings_sum_to_one": ALL_STRINGS,
    "AttentionSeq2Seq.the_probabilities_of_all_strings_sum_to_one": ALL_STRINGS,
    "Transformer.the_probabilities_of_all_sequences_add_up_to_one": ALL_STRINGS,
    "Transformer.every_layer_has_weights_of_its_own": (
        "it counts the numbers that learn, for which one sentence is as good as another"
    ),
}

DEPENDS = "it asks whether anything changes: what is hidden by size or by rounding cannot"
HALF = "in half precision other entries leave the range in which scores are accurate"
COUNTS = "what it counts or compares is in the parameters, and any tokens show it"
SLOPES = "of what is large, rounding leaves no slope to compare: most weights are zero or one"

# The laws of floating inputs that do not try all regimes of values, by name, with the reason.
VALUES_LEFT_OUT = {
    "outputs_span_no_more_than_the_hidden_width": COUNTS,
    "a_large_batch_is_many_small_ones": "its forty examples are about the size of a batch",
    "a_call_leaves_gradients_switched_on": ("no value makes a difference to what it is about"),
    "masks_work_in_low_precision": HALF,
    "every_precision_computes_the_same_function": HALF,
    "every_width_is_scaled_by_its_root": WIDTHS,
    "no_score_is_so_low_that_a_masked_key_is_above_it": "it is about scores near 1e5",
    "masks_leave_no_nan_in_low_precision": HALF,
    "outputs_follow_their_tokens_to_any_place": "a roll is examined in all regimes beside it",
    "pooled_outputs_do_not_know_the_order": "a roll is examined in all regimes beside it",
    "what_sublayers_say_does_not_grow_with_the_tokens": "it scales the tokens by itself",
    "no_finite_score_overflows": "it is about scores at the end of the range",
    "what_attention_says_is_added_before_anything_else": DEPENDS,
    "every_token_of_the_memory_hears_of_every_input": DEPENDS,
    "a_token_depends_on_itself_and_on_all_before_it": DEPENDS,
    "gradients_reach_the_past_alone": DEPENDS,
    "every_token_consults_all_of_the_memory": DEPENDS,
    "with_one_token_of_memory_the_past_still_counts": DEPENDS,
    "every_matrix_learns": DEPENDS,
    "all_of_six_layers_learn": DEPENDS,
    "six_layers_learn_the_weights_of_six": COUNTS,
    "the_number_of_heads_matters": COUNTS,
    "the_network_reads_the_sum_of_all_else": KNOWN,
    "the_network_inside_bends": INSIDE,
    "as_many_layers_carry_a_token_as_many_places": INSIDE,
    "low_precision_rounds_no_further_than_it_must": HALF,
    "the_same_layers_take_words_and_patches": "its tokens are words and patches",
    "gradients_agree_with_finite_differences": SLOPES,
    "single_precision_learns_what_double_precision_learns": SLOPES,
    "no_step_is_too_small_to_be_felt": SLOPES,
    "identity_projections_leave_plain_attention": (
        "large tokens have scores, as they are, of which the lower ones leave no weight"
    ),
    "silent_sublayers_hand_the_tokens_on": (
        "tiny tokens are nothing beside the ε under the root, and it could not tell the orders"
    ),
}


def takes_floats(prop: Property) -> bool:
    drawn = examination._drawn(prop.inputs, prop.component, 0, 0, 100)
    return any(
        isinstance(value, torch.Tensor) and value.is_floating_point()
        for one in drawn
        for _, value in examination._flat(one.inputs)
    )


@pytest.mark.slow
def test_every_law_tries_all_tiers_of_sizes_and_all_regimes_of_values():
    """One test for both, since it takes a minute to see what each law tries."""
    of_sizes, of_values = set(), set()
    for prop in LAWS:
        missing = not_tried(prop)
        of_sizes |= {prop.id} if missing & TIERS.keys() else set()
        of_values |= {prop.name} if missing & VALUES.keys() and takes_floats(prop) else set()
    assert of_sizes == set(TIERS_LEFT_OUT)
    assert of_values == set(VALUES_LEFT_OUT)


def law_of(component: str) -> Property:
    return next(prop for prop in LAWS if prop.component == component)


def test_the_evidence_says_how_much_was_tried_of_each_kind():
    law = law_of("softmax")
    evidence = examine(law, load_reference(), Settings(), load_reference())
    assert sum(evidence.tried.get(tier, 0) for tier in TIERS) == evidence.examples == 100
    counts = Counter(kind for *_, kinds in shared_by(law) for kind in kinds)
    assert evidence.tried == counts
    assert list(evidence.tried) == [kind for kind in KINDS_OF_EXAMPLES if kind in evidence.tried]
    assert evidence.as_data()["tried"] == evidence.tried


def test_the_last_examples_are_hard():
    """Half of them have larger tokens, half are longer than luck would have them."""
    law = law_of("scaled_dot_product_attention")
    drawn = examination._drawn(law.inputs, law.component, 0, 0, 100)

    def largest(one):
        return max(float(one.inputs[n].norm(dim=-1).max()) for n in ("query", "key", "value"))

    def longest(one):
        return max(max(one.inputs[name].shape) for name in ("query", "key", "value"))

    luck, hard = drawn[:90], drawn[90:]
    assert sum(size > sorted(map(largest, luck))[70] for size in map(largest, hard)) >= 5
    assert sum(size >= sorted(map(longest, luck))[80] for size in map(longest, hard)) >= 4


def test_a_law_has_as_many_examples_as_are_asked_for():
    for law in {prop.component: prop for prop in LAWS}.values():
        drawn = examination._drawn(law.inputs, law.component, 0, 0, 100)
        assert len(drawn) in {100, len({str(one.inputs) for one in drawn})}
