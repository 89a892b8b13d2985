"""Section 1 and 2 of the notes: learning to copy a sequence, with attention and without."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attest.experiments import Arm, Comparison, Control, Experiment, Figure, Numbers, Series
from attest.training import Seeds, Stack
from properties.attention import ATT_05, ATT_08
from properties.seq2seq import S2S_05, S2S_06, S2S_07
from properties.teacher_forcing import TF_04

SYMBOLS = 10
START = SYMBOLS
"""The start token, which is no symbol."""

CHANCE = 1 / SYMBOLS
TESTED = 256
"""How many sequences a model is tested on, drawn anew; most short ones were seen in training."""

LENGTHS = (4, 8, 16, 32)
WIDTHS = (16, 32, 64, 128)
AROUND = 25
"""So many steps before and after one are its surroundings."""

# --- Models and training ------------------------------------------------------------------------


class Uniform(nn.Module):
    """Attention that weighs all keys alike: it spreads the gradient as widely as can be."""

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Give the mean of the values, and the weights."""
        real = torch.ones_like(key[..., 0]) if mask is None else mask[:, 0].to(key)
        weights = (real / real.sum(-1, keepdim=True))[:, None].expand(-1, query.shape[1], -1)
        return weights @ value, weights


def _model(reference: ModuleType, kind: str, width: int) -> nn.Module:
    build = reference.Seq2Seq if kind == "plain" else reference.AttentionSeq2Seq
    model: nn.Module = build(SYMBOLS, SYMBOLS + 1, width, width)
    if kind == "uniform":
        model.attention = Uniform()
    return model


def _started(source: Tensor) -> Tensor:
    """Give the target shifted right, behind the start token."""
    return torch.cat([torch.full_like(source[:, :1], START), source[:, :-1]], 1)


def _forced(model: nn.Module, source: Tensor) -> Tensor:
    logits = model(source, _started(source))
    return nn.functional.cross_entropy(logits.flatten(0, 1), source.flatten())


def _fed(model: Any, source: Tensor) -> tuple[Tensor, Tensor]:
    """Feed a plain model with its own words; give the logits, and the words that it was fed."""
    _, state = model.encode(source)
    token, logits, fed = torch.full_like(source[:, 0], START), [], []
    for _ in range(source.shape[1]):
        fed.append(token)
        scores, state = model.step(token, state)
        token = scores.argmax(-1)
        logits.append(scores)
    return torch.stack(logits, 1), torch.stack(fed, 1)


def _free(model: nn.Module, source: Tensor) -> Tensor:
    logits, _ = _fed(model, source)
    return nn.functional.cross_entropy(logits.flatten(0, 1), source.flatten())


def _copied(model: Any, source: Tensor) -> Tensor:
    """Give what the model says, fed with its own words, (B, T)."""
    copies: Tensor = model.generate(source, START, source.shape[1])
    return copies


def _sequences(*shape: int) -> Callable[[torch.Generator], Tensor]:
    return lambda generator: torch.randint(SYMBOLS, shape, generator=generator)


def copying(
    reference: ModuleType,
    seeds: Seeds,
    *,
    kind: str,
    length: int,
    width: int,
    steps: int,
    batch: int,
    rate: float,
) -> Mapping[str, Tensor]:
    """Train by teacher forcing, and see what is copied.

    Args:
        reference: the reference's names.
        seeds: whose models and data.
        kind: "plain", "attention" or "uniform".
        length: T, of the sequences.
        width: of embeddings and states.
        steps: of training.
        batch: sequences a step.
        rate: Adam's learning rate.

    Returns:
        "accuracy" and "by position" of greedy copies of sequences drawn anew; "untrained", before
        training; "spikes", the largest norm of a gradient over the median of those around it;
        "unevenness", the largest weight less the smallest; "padding", the share of copies that
        padding leaves alone.
    """
    stack = seeds.build(lambda: _model(reference, kind, width))
    tested = seeds.draw(_sequences(TESTED, length), stream=1)
    untrained = (stack(_copied, tested) == tested).double()
    norms: list[Tensor] = []

    def note(_: int, __: Tensor, gradients: dict[str, Tensor]) -> None:
        squares = [gradient.flatten(1).square().sum(1) for gradient in gradients.values()]
        norms.append(torch.stack(squares).sum(0).sqrt())

    stack.fit(_forced, [seeds.draw(_sequences(steps, batch, length))], rate=rate, after=note)
    right = (stack(_copied, tested) == tested).double()
    norm = torch.stack(norms, 1)
    return {
        "accuracy": right.mean((1, 2)),
        "by position": right.mean(1),
        "untrained": untrained.mean((1, 2)),
        "spikes": _spikes(norm),
        **(_looks(stack, tested[:, :16]) if kind != "plain" else {}),
    }


def _spikes(norm: Tensor) -> Tensor:
    """Give the largest ratio of a gradient's norm to the median of 25 before and after it."""
    around = min(AROUND, norm.shape[1] // 2)
    medians = norm.unfold(1, 2 * around + 1, 1).median(-1).values
    return (norm[:, around : norm.shape[1] - around] / medians).amax(1)


def _looks(stack: Stack, tested: Tensor) -> dict[str, Tensor]:
    """See how uneven the weights are, and whether padding is looked at."""
    uneven, alike = [], []
    for model, source in zip(stack.models(), tested, strict=True):
        memory, state = model.encode(source)
        _, _, weights = model.step(torch.full_like(source[:, 0], START), state, memory)
        uneven.append((weights.amax(-1) - weights.amin(-1)).mean())
        length = source.shape[1]
        padded = torch.cat([source, source.flip(1)], 1)
        lengths = torch.full_like(source[:, 0], length)
        same = model.generate(padded, START, length, lengths) == _copied(model, source)
        alike.append(same.all(1).double().mean())
    return {"unevenness": torch.stack(uneven), "padding": torch.stack(alike)}


def forcing(
    reference: ModuleType,
    seeds: Seeds,
    *,
    forced: bool,
    length: int,
    width: int,
    steps: tuple[int, int],
    batch: int,
    rate: float,
) -> Mapping[str, Tensor]:
    """Train a plain model with the right words for input, or with its own.

    Returns:
        "early" and "late", the accuracy of greedy copies after so many steps; "losses", twelve of
        them, (seeds, 12); "fed otherwise", the share of words that an untrained model is fed and
        that are not the right ones.
    """
    stack = seeds.build(lambda: _model(reference, "plain", width))
    tested = seeds.draw(_sequences(TESTED, length), stream=1)
    found: dict[int, Tensor] = {}

    def note(step: int, _: Tensor, __: dict[str, Tensor]) -> None:
        if step in steps:
            found[step] = (stack(_copied, tested) == tested).double().mean((1, 2))

    def wrong(model: nn.Module, source: Tensor) -> Tensor:
        gold = _started(source)
        fed = gold if forced else _fed(model, source)[1]
        return (fed != gold).double().mean()

    otherwise = stack(wrong, tested)
    data = [seeds.draw(_sequences(steps[1], batch, length))]
    losses = stack.fit(_forced if forced else _free, data, rate=rate, after=note)
    places = torch.linspace(0, steps[1] - 1, 12).long()
    return {
        "early": found[steps[0]],
        "late": found[steps[1]],
        "losses": losses[:, places],
        "fed otherwise": otherwise,
    }


# --- Arms ---------------------------------------------------------------------------------------

_SIZES = {"width": 64, "steps": 500, "batch": 32, "rate": 3e-3}
_REDUCED = {"width": 32, "steps": 60, "batch": 16, "rate": 1e-2, "length": 6}


def _copying(kind: str, length: int, width: int = 64) -> Arm:
    narrow = "" if width == _SIZES["width"] else f", width {width}"
    return Arm(
        f"copying {length} symbols, {kind}{narrow}",
        copying,
        {**_SIZES, "kind": kind, "length": length, "width": width},
        # The shortest has to be learned, or nobody can tell what its controls say.
        {"steps": 350, "rate": 5e-3} if length == LENGTHS[0] else _REDUCED,
    )


PLAIN = {length: _copying("plain", length) for length in LENGTHS}
BY_WIDTH = {width: _copying("plain", 8, width) for width in WIDTHS}
ATTENTION = {length: _copying("attention", length) for length in LENGTHS}
UNIFORM = _copying("uniform", 16)
_TASK = (
    f"Copy T symbols of {SYMBOLS}, drawn anew for every step; GRUs of width 64, 500 steps of Adam "
    f"by teacher forcing, 32 sequences a step. Greedy copies of {TESTED} drawn anew."
)


def _of(arm: Arm, quantity: str = "accuracy") -> Callable[[Numbers], Any]:
    return lambda numbers: numbers[arm.name][quantity]


def _gap(one: Arm, other: Arm, quantity: str = "accuracy") -> Callable[[Numbers], Any]:
    return lambda numbers: numbers[one.name][quantity] - numbers[other.name][quantity]


def _over_lengths(arms: Mapping[int, Arm]) -> Callable[[Numbers], Any]:
    return lambda numbers: np.stack([_of(arm)(numbers) for arm in arms.values()], 1)


_LEARNS = Control("what is short enough is learned", _of(PLAIN[4]), least=0.9, every=False)
_LEARNS_SOME = Control(
    "of 16 symbols some are learned without attention", _of(PLAIN[16]), least=0.2, every=False
)
_LEARNS_WITH_ATTENTION = Control(
    "with attention 16 symbols are learned", _of(ATTENTION[16]), least=0.9, every=False
)
_KNOWS_NOTHING = Control(
    "an untrained model is at chance", _of(PLAIN[4], "untrained"), most=CHANCE + 0.15
)

# --- Experiments --------------------------------------------------------------------------------

SHORT_SEQUENCES = Experiment(
    about=S2S_05.part("learned"),
    component="Seq2Seq",
    hypothesis="A model without attention copies four symbols nearly without mistakes.",
    task=_TASK,
    arms=(PLAIN[4],),
    comparisons=(
        Comparison(
            "more than 90 % of the symbols are right",
            _of(PLAIN[4]),
            "above",
            0.9,
            nothing=CHANCE,
        ),
    ),
    controls=(_KNOWS_NOTHING,),
    expected="accuracy .98 to 1.00",
    seconds=20,
)

LONGER_AND_WORSE = Experiment(
    about=S2S_06.part("in training"),
    component="Seq2Seq",
    hypothesis="Without attention, the longer a sequence the fewer of its symbols are copied.",
    task=_TASK,
    arms=tuple(PLAIN.values()),
    comparisons=(
        Comparison("the accuracy falls over T = 4, 8, 16, 32", _over_lengths(PLAIN), "falling"),
    ),
    controls=(
        _LEARNS,
        Control("of 8 symbols some are learned", _of(PLAIN[8]), least=0.3, every=False),
        _LEARNS_SOME,
        _KNOWS_NOTHING,
    ),
    expected="accuracy .99, .82, .45, .10",
    seconds=150,
    figures=(
        Figure(
            "copying",
            "Copying without attention",
            "length of the sequence",
            "share of symbols copied",
            (Series("without attention", LENGTHS, _over_lengths(PLAIN)),),
            "x",
            {"chance": CHANCE},
        ),
    ),
)


WIDER_STATES = Experiment(
    about=S2S_06.part("by width"),
    component="Seq2Seq",
    hypothesis="Without attention, the wider the state the more of eight symbols are copied.",
    task=_TASK.replace("width 64", "width 16 to 128"),
    arms=(PLAIN[4], *BY_WIDTH.values()),
    comparisons=(
        Comparison(
            "the accuracy rises over widths of 16, 32, 64 and 128",
            _over_lengths(BY_WIDTH),
            "rising",
        ),
    ),
    controls=(
        _LEARNS,
        Control(
            "of any width it learns something",
            lambda numbers: _over_lengths(BY_WIDTH)(numbers).min(1),
            least=0.2,
            every=False,
        ),
        _KNOWS_NOTHING,
    ),
    expected="accuracy .54, .76, .82, .93",
    seconds=150,
    figures=(
        Figure(
            "copying_by_width",
            "Copying eight symbols without attention",
            "width of the state",
            "share of symbols copied",
            (Series("without attention", WIDTHS, _over_lengths(BY_WIDTH)),),
            "x",
            {"chance": CHANCE},
        ),
    ),
)


def _falls_off(arm: Arm) -> Callable[[Numbers], Any]:
    """Give how much better the first quarter of a sequence is copied than the last three."""

    def fall(numbers: Numbers) -> Any:
        by_position = numbers[arm.name]["by position"]
        quarter = by_position.shape[1] // 4
        return by_position[:, :quarter].mean(1) - by_position[:, quarter:].mean(1)

    return fall


UNEVEN_POSITIONS = Experiment(
    about=S2S_07.part("in training"),
    component="Seq2Seq",
    hypothesis="Without attention the beginning of a long sequence is copied better than the rest, "
    "and with attention all of it is copied alike.",
    task=_TASK,
    arms=(PLAIN[4], PLAIN[16], ATTENTION[16]),
    comparisons=(
        Comparison(
            "without attention the first quarter is copied better by more than .1",
            _falls_off(PLAIN[16]),
            "above",
            0.1,
        ),
        Comparison(
            "with attention the difference is less than .05",
            _falls_off(ATTENTION[16]),
            "within",
            0.0,
            0.05,
        ),
    ),
    controls=(
        _LEARNS,
        _LEARNS_WITH_ATTENTION,
        Control("the long sequence is not copied whole", _of(PLAIN[16]), most=0.9, every=False),
    ),
    expected=".69 for the first symbol, .31 to .38 for the last ones; .99 with attention",
    seconds=150,
)

LONG_SEQUENCES_WITH_ATTENTION = Experiment(
    about=ATT_05.part("accuracy"),
    component="AttentionSeq2Seq",
    hypothesis="With attention, far more symbols of long sequences are copied.",
    task=_TASK,
    arms=(*PLAIN.values(), *ATTENTION.values()),
    comparisons=tuple(
        Comparison(
            f"for T = {length} attention is better by more than .3",
            _gap(ATTENTION[length], PLAIN[length]),
            "above",
            0.3,
        )
        for length in (16, 32)
    ),
    controls=(
        _LEARNS,
        _LEARNS_SOME,
        Control("padding changes no copy", _of(ATTENTION[16], "padding"), least=1.0),
        Control("an untrained model is at chance", _of(ATTENTION[16], "untrained"), most=0.25),
    ),
    expected="T = 16: .995 and .455; T = 32: .995 and .10",
    seconds=450,
    figures=(
        Figure(
            "attention_copying",
            "Copying with attention and without",
            "length of the sequence",
            "share of symbols copied",
            (
                Series("with attention", LENGTHS, _over_lengths(ATTENTION)),
                Series("without attention", LENGTHS, _over_lengths(PLAIN)),
            ),
            "x",
            {"chance": CHANCE},
        ),
    ),
)


def _spread(arm: Arm) -> Callable[[Numbers], Any]:
    def spread(numbers: Numbers) -> Any:
        accuracy = _of(arm)(numbers)
        return np.abs(accuracy - np.median(accuracy))

    return spread


STEADIER_WITH_ATTENTION = Experiment(
    about=ATT_05.part("stability"),
    component="AttentionSeq2Seq",
    hypothesis="Runs with attention end closer to each other than runs without.",
    task=_TASK,
    arms=(PLAIN[4], PLAIN[16], ATTENTION[16]),
    comparisons=(
        Comparison(
            "for T = 16 accuracies lie closer to their median with attention",
            lambda numbers: _spread(ATTENTION[16])(numbers) - _spread(PLAIN[16])(numbers),
            "below",
        ),
        Comparison(
            "its gradient stands out less from those around it",
            lambda numbers: (
                np.log10(_of(ATTENTION[16], "spikes")(numbers))
                - np.log10(_of(PLAIN[16], "spikes")(numbers))
            ),
            "below",
            decides=False,
        ),
    ),
    controls=(
        _LEARNS,
        _LEARNS_WITH_ATTENTION,
        Control("padding changes no copy", _of(ATTENTION[16], "padding"), least=1.0),
    ),
    expected="no figure is known: the spread of the accuracy, and the spikes of the gradient",
    seconds=150,
)

NOT_BY_SPREADING = Experiment(
    about=ATT_08.part("in training"),
    component="AttentionSeq2Seq",
    hypothesis="Uniform weights, which spread the gradient most, copy worse than attention does.",
    task=_TASK,
    arms=(PLAIN[4], PLAIN[16], UNIFORM, ATTENTION[16]),
    comparisons=(
        Comparison(
            "for T = 16 attention is better by more than .1",
            _gap(ATTENTION[16], UNIFORM),
            "above",
            0.1,
        ),
    ),
    controls=(
        _LEARNS,
        Control("uniform weights are uniform", _of(UNIFORM, "unevenness"), most=1e-6),
        Control("attention's are not", _of(ATTENTION[16], "unevenness"), least=1e-3),
        Control("with uniform weights something is learned", _of(UNIFORM), least=0.2, every=False),
        Control("an untrained model is at chance", _of(UNIFORM, "untrained"), most=0.25),
    ),
    expected="attention .995, uniform weights .60, none .455",
    seconds=180,
    against=True,
)

_FORCING = {"length": 5, "width": 64, "steps": (300, 600), "batch": 64, "rate": 1e-3}
_FORCING_REDUCED = {"width": 16, "steps": (10, 20), "batch": 16}
FORCED = Arm("forced", forcing, {**_FORCING, "forced": True}, _FORCING_REDUCED)
FREE = Arm("free-running", forcing, {**_FORCING, "forced": False}, _FORCING_REDUCED)
_FORCING_TASK = (
    f"Copy 5 symbols of {SYMBOLS} without attention; GRUs of width 64, 600 steps of Adam, 64 "
    "sequences a step, fed with the right words or with their own. Greedy copies of "
    f"{TESTED} drawn anew."
)


def _unlike(numbers: Numbers) -> Any:
    """Give by how much the losses of the two arms differ, where they differ most."""
    return np.abs(_of(FORCED, "losses")(numbers) - _of(FREE, "losses")(numbers)).max(1)


_FORCING_CONTROLS = (
    Control("the two arms have different losses", _unlike, least=1e-3),
    Control("the free-running arm is fed its own words", _of(FREE, "fed otherwise"), least=0.05),
    Control("it learns", _of(FREE, "late"), least=0.5, every=False),
    Control("so does the other", _of(FORCED, "late"), least=0.5, every=False),
)

FASTER_WHEN_FORCED = Experiment(
    about=TF_04.part("in training"),
    component="Seq2Seq",
    hypothesis="Early in training, a model that is fed the right words copies better.",
    task=_FORCING_TASK,
    arms=(FORCED, FREE),
    comparisons=(
        Comparison("after 300 steps forcing is better", _gap(FORCED, FREE, "early"), "above"),
    ),
    controls=_FORCING_CONTROLS,
    expected=".93 and .89 after 300 steps",
    seconds=60,
)

NOT_BETTER_IN_THE_END = Experiment(
    about=TF_04.part("later"),
    component="Seq2Seq",
    hypothesis="Late in training, a model that is fed its own words copies better.",
    task=_FORCING_TASK,
    arms=(FORCED, FREE),
    comparisons=(
        Comparison("after 600 steps forcing is worse", _gap(FORCED, FREE, "late"), "below"),
    ),
    controls=_FORCING_CONTROLS,
    expected=".963 and .985 after 600 steps",
    seconds=60,
    against=True,
)
