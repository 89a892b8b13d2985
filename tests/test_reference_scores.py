"""Scores, masks, positions, ends and losses: what torch does not have is written out in loops."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - torch's custom

from reference import (
    AdditiveAttention,
    AttentionSeq2Seq,
    DecoderLayer,
    ElmanCell,
    Embedding,
    EncoderLayer,
    GRUCell,
    LSTMCell,
    MultiplicativeAttention,
    Seq2Seq,
    Transformer,
    additive_score,
    alibi_bias,
    beam_search,
    biased_attention,
    causal_mask,
    combined_mask,
    concat_score,
    dot_score,
    general_score,
    greedy,
    padding_mask,
    relative_attention,
    rotary_positions,
    sampled,
    sequence_loss,
)

CELLS = ((ElmanCell, nn.RNNCell), (GRUCell, nn.GRUCell), (LSTMCell, nn.LSTMCell))


@pytest.fixture(autouse=True)
def _in_float64():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def near(one, other):
    assert one.shape == other.shape
    assert float((one - other).detach().abs().max()) < 1e-12


def pairs(score, query, key):
    """Score every pair by itself, (B, L, S)."""
    rows = [[[score(q, k) for k in ks] for q in qs] for qs, ks in zip(query, key, strict=True)]
    return torch.tensor(rows)


# --- Scores ---------------------------------------------------------------------------------------


def test_scores_are_those_of_every_pair():
    query, key, wide = torch.randn(2, 3, 4), torch.randn(2, 5, 4), torch.randn(2, 5, 6)
    near(dot_score(query, key), pairs(torch.dot, query, key))
    weight = torch.randn(4, 6)
    near(general_score(query, wide, weight), pairs(lambda q, k: q @ weight @ k, query, wide))
    matrix, energy = torch.randn(7, 10), torch.randn(7)
    expected = pairs(lambda q, k: energy @ torch.tanh(matrix @ torch.cat([q, k])), query, wide)
    near(concat_score(query, wide, matrix, energy), expected)
    expected = pairs(lambda q, k: torch.ones(4) @ torch.tanh(q + k), query, key)
    near(additive_score(query, key, torch.ones(4)), expected)


def test_concat_is_additive_with_the_matrix_cut_in_two():
    attention = AdditiveAttention(4, 6, 7)
    query, key = torch.randn(2, 3, 4), torch.randn(2, 5, 6)
    weight = torch.cat([attention.query.weight, attention.key.weight], 1)
    scores = concat_score(query, key, weight, attention.energy.weight[0])
    near(torch.softmax(scores, -1), attention(query, key, key)[1])


def test_multiplicative_attention_has_the_general_score():
    attention = MultiplicativeAttention(4, 6)
    query, key = torch.randn(2, 3, 4), torch.randn(2, 5, 6)
    scores = general_score(query, key, attention.key.weight)
    near(torch.softmax(scores, -1), attention(query, key, key)[1])


# --- Masks ----------------------------------------------------------------------------------------


def test_a_combined_mask_allows_what_both_allow():
    real, causal = padding_mask(torch.tensor([4, 2, 1]), 4), causal_mask(4)
    both = combined_mask(real, causal)
    assert both.shape == (3, 4, 4)
    for b, i, j in product(range(3), range(4), range(4)):
        assert both[b, i, j] == (j < (4, 2, 1)[b] and j <= i)
    assert torch.equal(combined_mask(real, both), both)


def test_a_combined_mask_is_torchs_two_masks():
    theirs = nn.TransformerEncoderLayer(6, 3, 7, 0.0, batch_first=True)
    ours = EncoderLayer(6, 3, 7)
    for name, parameter in theirs.named_parameters():
        where = {
            "self_attn.out_proj.weight": ours.attention.output.weight,
            "self_attn.out_proj.bias": ours.attention.output.bias,
            "linear1.weight": ours.feed_forward.inner.weight,
            "linear1.bias": ours.feed_forward.inner.bias,
            "linear2.weight": ours.feed_forward.outer.weight,
            "linear2.bias": ours.feed_forward.outer.bias,
        }.get(name)
        if where is not None:
            where.data.copy_(parameter)
    attention = ours.attention
    for part, weight, bias in zip(
        (attention.query, attention.key, attention.value),
        theirs.self_attn.in_proj_weight.chunk(3),
        theirs.self_attn.in_proj_bias.chunk(3),
        strict=True,
    ):
        part.weight.data.copy_(weight)
        part.bias.data.copy_(bias)
    x, real = torch.randn(2, 4, 6), padding_mask(torch.tensor([4, 2]), 4)
    expected = theirs(x, src_mask=~causal_mask(4), src_key_padding_mask=~real)
    near(ours(x, combined_mask(real, causal_mask(4))), expected)


def test_a_decoder_layer_adds_the_causal_mask_to_its_own():
    layer, memory = DecoderLayer(6, 3, 7), torch.randn(2, 3, 6)
    x, real = torch.randn(2, 4, 6), padding_mask(torch.tensor([4, 2]), 4)
    near(layer(x, memory, real[:, None]), layer(x, memory, combined_mask(real, causal_mask(4))))
    other = torch.where(real[..., None], x, 9.0)
    near(layer(other, memory, real[:, None])[real], layer(x, memory, real[:, None])[real])
    assert not torch.equal(layer(other, memory)[1, 2:], layer(x, memory)[1, 2:])


# --- Cells ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ours", "theirs"), CELLS)
def test_one_step_of_a_cell_is_torchs(ours, theirs):
    cell, expected = ours(3, 4), theirs(3, 4)
    weights = (cell.input.weight, cell.recurrent.weight, cell.input.bias, cell.recurrent.bias)
    for parameter, weight in zip(expected.parameters(), weights, strict=True):
        parameter.data.copy_(weight)
    x, state = torch.randn(2, 3), torch.randn(2, 4)
    given = (state, torch.randn(2, 4)) if ours is LSTMCell else state
    found, right = cell(x, given), expected(x, given)
    for one, other in zip(
        *((p,) if torch.is_tensor(p) else p for p in (found, right)), strict=True
    ):
        near(one, other)


def test_an_embedding_is_a_row_of_its_table():
    embedding = Embedding(5, 3)
    tokens = torch.tensor([[0, 4], [2, 2]])
    assert torch.equal(embedding(tokens), embedding.weight[tokens])
    assert [name for name, _ in embedding.named_parameters()] == ["weight"]


# --- Positions ------------------------------------------------------------------------------------


def test_rotary_positions_turn_every_pair():
    x, positions = torch.randn(2, 3, 6), torch.tensor([0, 7, 1000])
    turned = rotary_positions(x, positions)
    for b, t, i in product(range(2), range(3), range(3)):
        angle = int(positions[t]) * 10000 ** (-2 * i / 6)
        pair = complex(x[b, t, 2 * i], x[b, t, 2 * i + 1]) * complex(
            math.cos(angle), math.sin(angle)
        )
        assert complex(turned[b, t, 2 * i], turned[b, t, 2 * i + 1]) == pytest.approx(
            pair, abs=1e-12
        )


@pytest.mark.parametrize("queries", [1, 3, 5])
def test_alibi_is_a_slope_for_each_head(queries):
    query, key = torch.randn(4, queries, 6), torch.randn(4, 5, 6)
    _, weights = biased_attention(query, key, key, alibi_bias(4, queries, 5))
    for h, i in product(range(4), range(queries)):
        at = 5 - queries + i
        scores = [
            float(query[h, i] @ key[h, j]) / math.sqrt(6) - 2 ** (-2 * (h + 1)) * abs(at - j)
            for j in range(5)
        ]
        near(weights[h, i], torch.softmax(torch.tensor(scores), -1))


@pytest.mark.parametrize("lead", [(), (2, 2)], ids=str)
def test_relative_attention_looks_distances_up(lead):
    query, key, value = (
        torch.randn(*lead, 4, 3),
        torch.randn(*lead, 4, 3),
        torch.randn(*lead, 4, 2),
    )
    keys, values = torch.randn(5, 3), torch.randn(5, 2)
    mask = causal_mask(4)
    output, weights = relative_attention(query, key, value, keys, values, mask)
    q, k, v = (x.reshape(-1, *x.shape[-2:]) for x in (query, key, value))
    for b, i in product(range(len(q)), range(4)):
        places = [max(-2, min(2, j - i)) + 2 for j in range(i + 1)]
        scores = [q[b, i] @ (k[b, j] + keys[p]) / math.sqrt(3) for j, p in enumerate(places)]
        odds = torch.softmax(torch.stack(scores), -1)
        near(weights.reshape(-1, 4, 4)[b, i, : i + 1], odds)
        mixed = sum(odds[j] * (v[b, j] + values[p]) for j, p in enumerate(places))
        near(output.reshape(-1, 4, 2)[b, i], mixed)


# --- The end of a sequence ------------------------------------------------------------------------

END = 2
LOGITS = torch.tensor(
    [  # what follows 0, 1, 2 and 3; after the end another token is the likeliest
        [0.0, 3.0, 1.0, 2.0],
        [0.0, 1.0, 3.0, 2.0],
        [0.0, 3.0, 1.0, 2.0],
        [3.0, 1.0, 0.0, 2.0],
    ]
)
FIRST = torch.tensor([0, 3])


def chain(token, state):
    """Give logits that depend on the last token alone, and count the steps."""
    return LOGITS.double()[token], None if state is None else state + 1


def test_greedy_halts_at_the_end():
    assert greedy(chain, None, FIRST, 5).tolist() == [[1, 2, 1, 2, 1], [0, 1, 2, 1, 2]]
    assert greedy(chain, None, FIRST, 5, end=END).tolist() == [[1, 2, 2, 2, 2], [0, 1, 2, 2, 2]]
    assert greedy(chain, None, FIRST, 1, end=END).tolist() == [[1], [0]]
    calls = []

    def counted(token, state):
        calls.append(token)
        return chain(token, state)

    greedy(counted, None, FIRST, 50, end=END)
    assert len(calls) == 3


def test_samples_halt_at_the_end():
    many = torch.zeros(500).long()
    found = sampled(chain, None, many, 8, torch.Generator().manual_seed(0), end=END)
    after = (found == END).cumsum(1).bool()
    assert bool((found[after] == END).all())
    assert 0 < int(after.sum()) < after.numel()
    free = sampled(chain, None, many, 8, torch.Generator().manual_seed(0))
    assert not bool((free[(free == END).cumsum(1).bool()] == END).all())


def every_sequence(first, length):
    """Score all sequences that are padded by the end once it has come."""
    log_p = torch.log_softmax(LOGITS.double(), -1)
    for tokens in product(range(4), repeat=length):
        total, last, ended = 0.0, first, False
        for token in tokens:
            if ended and token != END:
                break
            total += 0.0 if ended else float(log_p[last, token])
            last, ended = token, ended or token == END
        else:
            yield total, list(tokens)


@pytest.mark.parametrize("length", [1, 2, 4])
def test_an_exhaustive_beam_that_halts_finds_the_best(length):
    found, scores = beam_search(chain, None, FIRST, length, 4**length, end=END)
    for item, first in enumerate(FIRST.tolist()):
        total, tokens = max(every_sequence(first, length))
        assert found[item].tolist() == tokens
        assert float(scores[item]) == pytest.approx(total, abs=1e-12)


def test_a_beam_of_one_that_halts_is_greedy():
    network = Seq2Seq(5, 4, 3, 6)
    network.output.weight.data *= 8
    _, state = network.encode(torch.randint(5, (16, 4)))
    first = torch.zeros(16).long()
    for end in (None, 0, 1, 2, 3):
        expected = greedy(network.step, state, first, 6, end=end)
        assert torch.equal(beam_search(network.step, state, first, 6, 1, end=end)[0], expected)


@pytest.mark.parametrize("model", [Seq2Seq, AttentionSeq2Seq, Transformer])
def test_models_halt_at_the_end(model):
    sizes = (5, 4, 6, 3, 7, 2) if model is Transformer else (5, 4, 3, 6)
    network, source = model(*sizes), torch.randint(5, (8, 4))
    network.output.weight.data *= 8
    free = network.generate(source, 0, 6)
    halted = 0
    for end in range(4):
        found = network.generate(source, 0, 6, end=end)
        over = (free == end).cumsum(1).bool()
        assert torch.equal(found, torch.where(over, end, free))
        halted += int((found != free).sum())
    assert halted > 0


def test_a_beam_carries_a_transformers_cache():
    network, source = Transformer(5, 4, 6, 3, 7, 2), torch.randint(5, (2, 4))
    network.output.weight.data *= 8

    def step(token, state):
        memory, cache = state
        logits, cache = network.step(token, memory, cache)
        return logits, (memory, cache)

    start = (network.encode(source), None)
    found, scores = beam_search(step, start, torch.zeros(2).long(), 3, 4**3)
    every = torch.tensor(list(product(range(4), repeat=3)))
    read = torch.cat([torch.zeros(64, 1).long(), every[:, :-1]], 1)
    for item in range(2):
        logits = network(source[item].expand(64, -1), read)
        total = torch.log_softmax(logits, -1).gather(-1, every[..., None]).sum((1, 2))
        assert torch.equal(found[item], every[total.argmax()])
        near(scores[item], total.max())


# --- The loss -------------------------------------------------------------------------------------


def test_the_loss_is_torchs_that_ignores_an_index():
    logits = torch.randn(2, 3, 4, requires_grad=True)
    target = torch.tensor([[1, -100, 3], [-100, 0, 2]])
    ours = sequence_loss(logits, target, target >= 0)
    theirs = F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=-100)
    near(ours, theirs)
    gradients = [torch.autograd.grad(loss, logits)[0] for loss in (ours, theirs)]
    near(*gradients)


def test_no_gradient_comes_out_of_padding():
    logits = torch.zeros(1, 2, 3)
    logits[0, 1] = torch.inf
    logits.requires_grad_()
    mask = torch.tensor([[True, False]])
    sequence_loss(logits, torch.tensor([[1, 1]]), mask).backward()
    assert logits.grad[0, 1].tolist() == [0, 0, 0]
    assert bool(logits.grad.isfinite().all())
