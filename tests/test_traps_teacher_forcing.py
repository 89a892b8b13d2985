"""Teacher forcing is easily tested in vain: a model that ignores what it is fed passes any test."""

from __future__ import annotations

import pytest
import torch

from attest.examination import Settings, examine
from attest.ledger import load_ledger, load_reference
from properties.teacher_forcing import mistakes, with_one_mistake
from reference import Seq2Seq
from tests.mutants import Mutant

LAWS = {prop.id: prop for prop in load_ledger().laws}
SOURCE, GOLD = torch.tensor([[1, 0, 2, 2]]), torch.tensor([[2, 0, 1, 2]])
LENGTH = SOURCE.shape[1]


def shifted(tokens):
    return torch.cat([torch.zeros_like(tokens[:, :1]), tokens[:, :-1]], 1)


class FeedsGoldWhenGenerating(Seq2Seq):
    """Remembers the target it was last forced on, and feeds that in use, too."""

    def forward(self, source, target_in, lengths=None):
        self.__dict__["gold"] = target_in
        return super().forward(source, target_in, lengths)

    def generate(self, source, bos, max_length, lengths=None):
        gold = self.__dict__.get("gold", torch.full((len(source), max_length), bos))
        if tuple(gold.shape) != (len(source), max_length):
            gold = torch.full((len(source), max_length), bos)
        return super().forward(source, gold, lengths).argmax(-1)


def right_running_sum(cls):
    """A model that is always right: its gold is its own greedy output."""
    module = with_one_mistake(cls, 3, LENGTH, sums=True)
    gold = SOURCE.cumsum(1) % 3
    return module, gold


def test_where_the_model_is_right_both_modes_agree_even_if_gold_is_fed_in_use():
    for cls in (Seq2Seq, FeedsGoldWhenGenerating):
        module, gold = right_running_sum(cls)
        forced = module(SOURCE, shifted(gold)).argmax(-1)
        assert forced.tolist() == module.generate(SOURCE, 0, LENGTH).tolist() == gold.tolist()


def test_where_the_decoder_ignores_the_token_before_both_modes_agree_too():
    for cls in (Seq2Seq, FeedsGoldWhenGenerating):
        module = with_one_mistake(cls, 3, 1, sums=False)
        forced = module(SOURCE, shifted(GOLD)).argmax(-1)
        assert forced.tolist() == module.generate(SOURCE, 0, LENGTH).tolist()


def test_one_mistake_in_a_running_sum_tells_the_modes_apart():
    gold = SOURCE.cumsum(1) % 3
    for cls, spoilt in ((Seq2Seq, LENGTH - 1), (FeedsGoldWhenGenerating, 1)):
        module = with_one_mistake(cls, 3, 1, sums=True)
        module(SOURCE, shifted(gold))
        said, forced = mistakes(module, SOURCE, gold)
        assert forced.tolist() == [1]
        assert said.tolist() == [spoilt]


def test_the_law_notices_gold_in_use_where_the_model_is_wrong():
    law = LAWS["Seq2Seq.generation_feeds_back_its_own_tokens"]
    wrong = Mutant("gold", "Seq2Seq", FeedsGoldWhenGenerating, ()).implementation()
    evidence = examine(law, wrong, Settings(explain=False), load_reference())
    assert evidence.status == "refuted", evidence


class IgnoresWhatItIsFed(Seq2Seq):
    """Says the same whatever the token before was; forced or not makes no difference."""

    def step(self, token, state):
        return super().step(torch.zeros_like(token), state)


@pytest.mark.parametrize(
    "name",
    [
        "Seq2Seq.logits_see_the_tokens_before_and_none_after",
        "Seq2Seq.generation_feeds_back_its_own_tokens",
    ],
)
def test_the_laws_require_that_the_token_before_matters(name: str) -> None:
    wrong = Mutant("deaf", "Seq2Seq", IgnoresWhatItIsFed, ()).implementation()
    evidence = examine(LAWS[name], wrong, Settings(explain=False), load_reference())
    assert evidence.status == "refuted", evidence
    assert "never" in (evidence.message or ""), evidence
