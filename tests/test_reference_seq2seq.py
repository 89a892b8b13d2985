"""Recurrent networks, decoding and the loss: they agree with torch and with what is written out."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - torch's custom

from reference import (
    AttentionSeq2Seq,
    ChoSeq2Seq,
    ElmanCell,
    GRUCell,
    LSTMCell,
    Seq2Seq,
    beam_search,
    greedy,
    sampled,
    sequence_loss,
    teacher_forced,
    unroll,
)

CELLS = ((ElmanCell, nn.RNN), (GRUCell, nn.GRU), (LSTMCell, nn.LSTM))
MODELS = pytest.mark.parametrize("model", [Seq2Seq, ChoSeq2Seq, AttentionSeq2Seq])
SOURCE, LENGTHS = torch.tensor([[1, 2, 3, 4], [4, 3, 0, 0]]), torch.tensor([4, 2])
TARGET = torch.tensor([[0, 1, 2], [0, 3, 1]])


@pytest.fixture(autouse=True)
def _in_float64():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def near(one, other):
    assert one.shape == other.shape
    assert float((one - other).detach().abs().max()) < 1e-12


@pytest.mark.parametrize(("ours", "theirs"), CELLS)
def test_an_unrolled_cell_is_torchs(ours, theirs):
    cell, network = ours(3, 4), theirs(3, 4, batch_first=True)
    weights = (cell.input.weight, cell.recurrent.weight, cell.input.bias, cell.recurrent.bias)
    for parameter, weight in zip(network.parameters(), weights, strict=True):
        parameter.data.copy_(weight)
    x = torch.randn(2, 5, 3)
    states, last = unroll(cell, x, cell.initial(2))
    expected, end = network(x)
    near(states, expected)
    parts = zip(last, end, strict=True) if isinstance(last, tuple) else [(last, end)]
    for part, theirs_part in parts:
        near(part, theirs_part[0])


@pytest.mark.parametrize("cell_type", [cell for cell, _ in CELLS])
def test_padding_changes_no_state(cell_type):
    cell, x = cell_type(3, 4), torch.randn(2, 5, 3)
    states, _ = unroll(cell, x, cell.initial(2), torch.tensor([5, 2]))
    alone, end = unroll(cell, x[1:, :2], cell.initial(1))
    near(states[1:, :2], alone)
    near(states[1, 4], cell.hidden(end)[0])
    other = x.clone()
    other[1, 2:] += 1
    again, _ = unroll(cell, other, cell.initial(2), torch.tensor([5, 2]))
    assert torch.equal(again, states)


def stepwise(model):
    """Give a step over the state alone, and the state it starts from."""
    if isinstance(model, AttentionSeq2Seq):
        memory, state = model.encode(SOURCE, LENGTHS)
        mask = torch.arange(4) < LENGTHS[:, None]

        def step(token, state):
            logits, state, _ = model.step(token, state, memory[: len(token)], mask[: len(token)])
            return logits, state

        return step, state
    return model.step, model.encode(SOURCE, LENGTHS)[1]


@MODELS
def test_teacher_forcing_is_one_step_after_another(model):
    network = model(5, 4, 3, 6)
    step, state = stepwise(network)
    logits = []
    for t in range(3):
        one, state = step(TARGET[:, t], state)
        logits.append(one)
    near(network(SOURCE, TARGET, LENGTHS), torch.stack(logits, 1))


@MODELS
def test_padding_a_source_changes_no_logit(model):
    network = model(5, 4, 3, 6)
    logits = network(SOURCE, TARGET, LENGTHS)
    near(logits[1:], network(SOURCE[1:, :2], TARGET[1:]))
    other = torch.where(torch.arange(4) < LENGTHS[:, None], SOURCE, 2)
    near(network(other, TARGET, LENGTHS), logits)


@MODELS
def test_logits_depend_on_tokens_up_to_their_own_and_on_the_source(model):
    network = model(5, 4, 3, 6)
    logits = network(SOURCE, TARGET)
    changed = TARGET.clone()
    changed[:, 1] = 2
    moved = network(SOURCE, changed)
    assert torch.equal(moved[:, 0], logits[:, 0])
    assert float((moved - logits)[:, 1:].detach().abs().min()) > 0
    assert not torch.equal(network(SOURCE.flip(1), TARGET), logits)


def test_an_lstm_carries_its_cell():
    network = Seq2Seq(5, 4, 3, 6, lstm=True)
    _, (hidden, cell) = network.encode(SOURCE)
    first, _ = network.step(TARGET[:, 0], (hidden, cell))
    other, _ = network.step(TARGET[:, 0], (hidden, cell + 1))
    assert not torch.equal(first, other)


def test_weights_of_the_attention_ignore_padding():
    network = AttentionSeq2Seq(5, 4, 3, 6)
    memory, state = network.encode(SOURCE, LENGTHS)
    _, _, weights = network.step(TARGET[:, 0], state, memory, torch.arange(4) < LENGTHS[:, None])
    near(weights.sum(-1), torch.ones(2))
    assert weights[1, 2:].tolist() == [0, 0]


@pytest.mark.parametrize("model", [Seq2Seq, AttentionSeq2Seq])
def test_generating_feeds_back_the_likeliest_token(model):
    network = model(5, 4, 3, 6)
    found = network.generate(SOURCE, 0, 4, LENGTHS)
    read = torch.cat([torch.zeros(2, 1).long(), found[:, :-1]], 1)
    assert torch.equal(network(SOURCE, read, LENGTHS).argmax(-1), found)


def test_a_beam_of_one_is_greedy_and_a_wide_one_finds_the_best():
    network = Seq2Seq(5, 4, 3, 6)
    network.output.weight.data *= 4
    _, state = network.encode(SOURCE)
    first = torch.zeros(2).long()
    likeliest = greedy(network.step, state, first, 3)
    assert torch.equal(beam_search(network.step, state, first, 3, 1)[0], likeliest)
    found, scores = beam_search(network.step, state, first, 3, 4**3)
    every = torch.tensor(list(product(range(4), repeat=3)))
    for item in range(2):
        read = torch.cat([torch.zeros(64, 1).long(), every[:, :-1]], 1)
        logits = teacher_forced(network.step, state[item : item + 1].expand(64, -1), read)
        total = torch.log_softmax(logits, -1).gather(-1, every[..., None]).sum((1, 2))
        assert torch.equal(found[item], every[total.argmax()])
        near(scores[item], total.max())


def test_samples_follow_the_distribution():
    odds = torch.tensor([0.1, 0.2, 0.7]).log()
    many = torch.zeros(20000).long()
    generator = torch.Generator().manual_seed(0)
    found = sampled(lambda token, s: (odds.expand(len(token), -1), s), None, many, 1, generator)
    share = found.flatten().bincount(minlength=3) / len(many)
    assert float((share - odds.exp()).abs().max()) < 0.02


def test_the_loss_is_the_mean_over_real_tokens():
    logits, target = torch.randn(2, 3, 4), torch.tensor([[1, 2, 3], [0, 3, 1]])
    near(sequence_loss(logits, target), F.cross_entropy(logits.flatten(0, 1), target.flatten()))
    real = torch.tensor([[True] * 3, [True, False, False]])
    expected = F.cross_entropy(logits[real], target[real])
    near(sequence_loss(logits, target, real), expected)
    wild = torch.where(real[..., None], logits, torch.inf)
    near(sequence_loss(wild, target, real), expected)
