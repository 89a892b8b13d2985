"""Methods, states, caches and tokens: laws about them, and the scripts of their counterexamples."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from attest.checks import close, identical
from attest.examination import Settings, examine
from attest.implementations import load_submission
from attest.laws import ATTRIBUTE, law
from attest.ledger import load_reference
from attest.strategies import token_inputs

FOLDER = Path(__file__).parent / "implementations"
RECURRENT = ("Seq2Seq", "AttentionSeq2Seq")


def stepped(model, target_in, memory, source_mask):
    """Give the logits of one step after another."""
    logits, cache = [], None
    for token in target_in.unbind(1):
        after, cache = model.step(token, memory, cache, source_mask)
        logits.append(after)
    return torch.stack(logits, 1)


@law("Transformer", inputs=token_inputs, formula="step = decode")
def steps_give_the_logits_of_decode(model, source, target_in, source_mask):
    """One token after another gives what all at once give."""
    memory = model.encode(source, source_mask)
    logits = stepped(model, target_in, memory, source_mask)
    close(logits, model.decode(target_in, memory, source_mask), 1e-9, "logits of the steps")


@law("Transformer", inputs=token_inputs, formula="decode ∘ encode = forward")
def encoding_and_decoding_is_the_plain_call(model, source, target_in, source_mask):
    """The plain call is nothing else."""
    memory = model.encode(source, source_mask=source_mask)
    logits = model.decode(target_in, memory, source_mask)
    close(logits, model(source, target_in, source_mask), 1e-9, "logits of decode")


@law("Transformer", inputs=token_inputs, formula="generate = argmax ∘ step")
def the_first_token_has_the_largest_logit(model, source, target_in, source_mask):
    """What is generated first is what the first step says."""
    bos = int(target_in[0, 0])
    tokens = model.generate(source, bos, 2, source_mask)
    memory = model.encode(source, source_mask)
    logits, _ = model.step(torch.full_like(source[:, 0], bos), memory, None, source_mask)
    identical(tokens[:, 0], logits.argmax(-1), "the first token")


@law("Seq2Seq", inputs=token_inputs, formula="step ∘ encode = forward")
def steps_from_the_last_state_are_the_plain_call(model, source, target_in, lengths):
    """The decoder starts where the encoder stopped."""
    _, state = model.encode(source, lengths)
    logits = []
    for token in target_in.unbind(1):
        after, state = model.step(token, state)
        logits.append(after)
    close(torch.stack(logits, 1), model(source, target_in, lengths), 1e-9, "logits of the steps")


@law(*RECURRENT, inputs=token_inputs, formula="the state at the last real token")
def padding_changes_no_state(model, source, target_in, lengths):
    """A source of one real token has the state of that token."""
    del target_in, lengths
    one = torch.ones(len(source), dtype=torch.int64)
    states, _ = model.encode(source[:, :1])
    padded, _ = model.encode(source, one)
    close(padded[:, 0], states[:, 0], 1e-9, "the state at the only token")
    close(padded[:, -1], states[:, 0], 1e-9, "the state after the padding")


@law("AttentionSeq2Seq", inputs=token_inputs, formula="Σ weights = 1")
def padding_gets_no_attention(model, source, target_in, lengths):
    """Nothing is left for what is hidden."""
    states, state = model.encode(source, lengths)
    mask = torch.zeros_like(source, dtype=torch.bool)
    mask[:, 0] = True
    _, _, weights = model.step(target_in[:, 0], state, states, memory_mask=mask)
    close(weights, mask.to(weights.dtype), 1e-9, "weights with one key")


LAWS = {
    prop.id: prop
    for function in (
        steps_give_the_logits_of_decode,
        encoding_and_decoding_is_the_plain_call,
        the_first_token_has_the_largest_logit,
        steps_from_the_last_state_are_the_plain_call,
        padding_changes_no_state,
        padding_gets_no_attention,
    )
    for prop in getattr(function, ATTRIBUTE)
}

GENERATOR = '''

class Transformer(Transformer):
    """Its cache is a generator that is waiting for the next token."""

    def step(self, token, memory, cache=None, source_mask=None):
        if cache is None:
            cache = self._reading(memory, source_mask)
            next(cache)
        return cache.send(token), cache

    def _reading(self, memory, source_mask):
        tokens, logits = [], None
        while True:
            tokens.append((yield logits))
            logits = self.decode(torch.stack(tokens, 1), memory, source_mask)[:, -1]
'''
CLOSURE = '''

class Transformer(Transformer):
    """Its cache is a function that knows the tokens so far."""

    def step(self, token, memory, cache=None, source_mask=None):
        tokens = torch.stack([*(cache() if cache else ()), token], 1)
        return self.decode(tokens, memory, source_mask)[:, -1], lambda: tokens.unbind(1)
'''

# the law, a correct file, what is appended to it, what is right in it and what is wrong
MISTAKES = {
    "a step that forgets where it is": (
        "Transformer.steps_give_the_logits_of_decode",
        "streaming", "", "start = 0 if cache is None else cache.shape[2]", "start = 0",
    ),
    "a step that reads the first token": (
        "Transformer.steps_give_the_logits_of_decode",
        "loops", "", "source_mask)[:, -1], cache", "source_mask)[:, 0], cache",
    ),
    "a generator that reads the first token": (
        "Transformer.steps_give_the_logits_of_decode",
        "loops", GENERATOR, "memory, source_mask)[:, -1]\n", "memory, source_mask)[:, 0]\n",
    ),
    "a closure that reads the first token": (
        "Transformer.steps_give_the_logits_of_decode",
        "loops", CLOSURE, "[:, -1], lambda", "[:, 0], lambda",
    ),
    "a plain call that forgets the mask": (
        "Transformer.encoding_and_decoding_is_the_plain_call",
        "streaming", "",
        "self.decode(target_in, self.encode(source, source_mask), source_mask)",
        "self.decode(target_in, self.encode(source), source_mask)",
    ),
    "a generation that takes the least": (
        "Transformer.the_first_token_has_the_largest_logit",
        "streaming", "", "logits.argmax(1)", "logits.argmin(1)",
    ),
    "a plain call that forgets the lengths": (
        "Seq2Seq.steps_from_the_last_state_are_the_plain_call",
        "streaming", "",
        "_, state = self.encode(source, lengths)\n        logits",
        "_, state = self.encode(source)\n        logits",
    ),
    "an encoder that reads one token too many": (
        "Seq2Seq.padding_changes_no_state",
        "streaming", "", "lengths.gt(t)", "lengths.ge(t)",
    ),
    "attention to padding": (
        "AttentionSeq2Seq.padding_gets_no_attention",
        "streaming", "",
        "self.gaze(state.hidden.unsqueeze(1), memory, memory, mask)",
        "self.gaze(state.hidden.unsqueeze(1), memory, memory, None)",
    ),
}  # fmt: skip


def examined(folder, mistake):
    """Examine a law on a file with a mistake; give the file, its right source and the evidence."""
    identifier, style, more, right, wrong = MISTAKES[mistake]
    source = (FOLDER / f"{style}.py").read_text(encoding="utf-8") + more
    assert right in source
    path = folder / "mine.py"
    # A namedtuple as state is needed as one.
    strict = source.replace("State(*state)", "state")
    path.write_text(strict.replace(right, wrong), encoding="utf-8")
    evidence = examine(
        LAWS[identifier], load_submission(str(path)), Settings(dtype="float64"), load_reference()
    )
    return path, strict, evidence


QUICK = {
    "a step that forgets where it is",
    "a generation that takes the least",
    "a plain call that forgets the lengths",
    "attention to padding",
}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in MISTAKES
    ],
)
def failure(request, tmp_path_factory):
    return examined(tmp_path_factory.mktemp("submission"), request.param)


def run(script, folder):
    """Run a script in a process of its own that finds torch and nothing of ours."""
    path = folder / "counterexample.py"
    path.write_text(script, encoding="utf-8")
    command = [sys.executable, "-P", str(path)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("identifier", LAWS)
def test_the_laws_hold_for_the_reference(identifier):
    evidence = examine(
        LAWS[identifier], load_reference(), Settings(examples=40, dtype="float64"), load_reference()
    )
    assert evidence.status == "holds", evidence.message


@pytest.mark.parametrize("more", [GENERATOR, CLOSURE], ids=["generator", "closure"])
def test_a_cache_may_be_anything(more, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text((FOLDER / "loops.py").read_text(encoding="utf-8") + more, encoding="utf-8")
    law = LAWS["Transformer.steps_give_the_logits_of_decode"]
    evidence = examine(
        law, load_submission(str(path)), Settings(examples=40, dtype="float64"), load_reference()
    )
    assert evidence.status == "holds", evidence.message


def test_a_failure_of_a_model_is_small(failure):
    _, _, evidence = failure
    assert evidence.status == "refuted", evidence.message
    inputs = dict(evidence.counterexample.inputs)
    assert inputs["source"].count(",") <= 1
    assert inputs["target_in"].count(",") <= 2
    integers = inputs[evidence.prop.component].strip("()").split(", ")
    # A width of 4 where less would leave a difference that looks like rounding.
    assert all(int(integer.partition("=")[2]) <= 4 for integer in integers), integers
    tokens = {n for n in inputs["source"] + inputs["target_in"] if n.isdigit()}
    assert tokens <= {"0", "1"}


@pytest.mark.slow
def test_a_script_of_a_model_is_a_program_of_its_own(failure, tmp_path):
    path, right, evidence = failure
    script = evidence.counterexample.script
    assert "attest" not in script
    wrong, failed = path.read_text(encoding="utf-8"), run(script, tmp_path)
    assert failed.returncode == 1
    assert "came out" in failed.stdout
    assert "AssertionError" in failed.stderr
    path.write_text(right, encoding="utf-8")
    passed = run(script, tmp_path)
    path.write_text(wrong, encoding="utf-8")
    assert passed.returncode == 0, passed.stderr


def test_a_script_of_a_model_fails_until_it_is_right(failure):
    path, right, evidence = failure
    script = compile(evidence.counterexample.script, "script.py", "exec")
    with pytest.raises(AssertionError):
        exec(script, {"__name__": "script"})  # noqa: S102 - the script is what is tested
    wrong = path.read_text(encoding="utf-8")
    path.write_text(right, encoding="utf-8")
    exec(script, {"__name__": "script"})  # noqa: S102
    path.write_text(wrong, encoding="utf-8")


ODD = {
    "an answer that is none": ("return self.decode(target_in, self", "self.decode(target_in, self"),
    "an answer in another dtype": (
        "return self.decode(target_in, self.encode(source, source_mask), source_mask)",
        "return self.decode(target_in, self.encode(source, source_mask), source_mask).float()",
    ),
    "a method that raises": ("        scaled =", "        assert tokens is None\n        scaled ="),
    "a method that is missing": ("    def encode(", "    def encoded("),
    "a constructor that takes less": ("        n_layers: int,\n    ) -> None:", "    ) -> None:"),
}


@pytest.mark.parametrize(("right", "wrong"), ODD.values(), ids=ODD)
def test_what_goes_wrong_whatever_the_numbers_is_shown_without_weights(right, wrong, tmp_path):
    before, found, after = (FOLDER / "streaming.py").read_text().partition("class Transformer")
    assert right in after
    path = tmp_path / "mine.py"
    path.write_text(before + found + after.replace(right, wrong, 1), encoding="utf-8")
    law = LAWS["Transformer.encoding_and_decoding_is_the_plain_call"]
    evidence = examine(law, load_submission(str(path)), Settings(dtype="float64"), load_reference())
    assert evidence.status in {"crashed", "refuted"}
    counterexample = evidence.counterexample
    names = [name for name, _ in counterexample.inputs]
    assert names == ["Transformer", "source", "target_in", "source_mask"]
    assert dict(counterexample.inputs)["source"] == "[[0]]"
    assert dict(counterexample.inputs)["source_mask"] == "None"
    assert "get_parameter" not in counterexample.script
    with pytest.raises(BaseException):  # noqa: B017, PT011 - each raises something else
        exec(compile(counterexample.script, "script.py", "exec"), {"__name__": "script"})  # noqa: S102


def test_many_weights_that_hold_one_number_share_a_line_and_a_loop(tmp_path):
    source = (FOLDER / "einsum_heads.py").read_text(encoding="utf-8")
    path = tmp_path / "mine.py"
    path.write_text(
        source
        + "\n\nclass Transformer(Transformer):\n"
        + "    def decode(self, *args):\n        return 1 + super().decode(*args)\n\n"
        + "    def forward(self, source, target_in, source_mask=None):\n"
        + "        memory = self.encode(source, source_mask)\n"
        + "        return super().decode(target_in, memory, source_mask)\n",
        encoding="utf-8",
    )
    law = LAWS["Transformer.encoding_and_decoding_is_the_plain_call"]
    evidence = examine(law, load_submission(str(path)), Settings(dtype="float64"), load_reference())
    counterexample = evidence.counterexample
    together = [name for name, text in counterexample.inputs if text == "0 everywhere"]
    assert [name.endswith("parameters") for name in together] == [True]
    assert len(counterexample.inputs) < 16
    assert counterexample.script.count("get_parameter(name).data.fill_(0.0)") == 1
    with pytest.raises(AssertionError):
        exec(compile(counterexample.script, "script.py", "exec"), {"__name__": "script"})  # noqa: S102
