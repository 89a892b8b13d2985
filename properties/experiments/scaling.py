"""Section 7 of the notes: what more data and a wider model are good for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attest.experiments import Arm, Comparison, Control, Experiment, Figure, Numbers, Series
from attest.training import Seeds
from properties.why import WHY_03

SYMBOLS = 8
WINDOW = 32
TESTED = 128
"""New sequences that a model is tested on."""

# --- A language of two letters' memory ----------------------------------------------------------


def _language(generator: torch.Generator) -> Tensor:
    """Draw what follows which two symbols, as logits, (first, second, next)."""
    return 1.5 * torch.randn((SYMBOLS,) * 3, generator=generator)


def _written(language: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Write sequences of a window and one symbol more, (count, WINDOW + 1)."""
    chances = language.softmax(-1)
    symbols = [torch.randint(SYMBOLS, (count,), generator=generator) for _ in range(2)]
    for _ in range(WINDOW - 1):
        chance = chances[symbols[-2], symbols[-1]]
        symbols.append(torch.multinomial(chance, 1, generator=generator)[:, 0])
    return torch.stack(symbols, 1)


def _surprise(language: Tensor, windows: Tensor) -> Tensor:
    """Give the language's own mean −log p of what can be known, in nats."""
    logs = language.log_softmax(-1)
    return -logs[windows[:, :-2], windows[:, 1:-1], windows[:, 2:]].mean()


class _Model(nn.Module):
    """A causal pre-norm encoder with sinusoids, and logits of the next symbol."""

    def __init__(self, reference: ModuleType, width: int) -> None:
        super().__init__()
        self.reference = reference
        self.symbols = reference.Embedding(SYMBOLS, width)
        table = reference.sinusoidal_positional_encoding(WINDOW, width)
        self.register_buffer("table", table.float())
        self.encoder = reference.Encoder(width, 2, 4 * width, 2, pre_norm=True)
        self.logits = nn.Linear(width, SYMBOLS)

    def forward(self, symbols: Tensor) -> Tensor:
        """Give the logits of every next symbol, (B, WINDOW, SYMBOLS)."""
        mask = self.reference.causal_mask(symbols.shape[1]).to(symbols.device)
        logits: Tensor = self.logits(self.encoder(self.symbols(symbols) + self.table, mask))
        return logits


def _new(language: Tensor, trained: Tensor, generator: torch.Generator) -> Tensor:
    """Write sequences to stop by and to test on, which were not there in training."""
    del trained
    return _written(language, 2 * TESTED, generator)


def learning(
    reference: ModuleType,
    seeds: Seeds,
    *,
    tokens: int,
    width: int,
    steps: int,
    batch: int,
    rate: float,
) -> Mapping[str, Tensor]:
    """Train to write a random language, from so many tokens of it.

    What a model knows is its loss on new sequences where that on other new ones is least, as in
    Kaplan et al. 2020: little data is known by heart before long.

    Returns:
        "loss" on new sequences, in nats a symbol, and "unstopped" in the end; "floor", the
        language's own; "excess", the loss less the floor; "known", the share of new sequences that
        were there in training.
    """

    def draw(generator: torch.Generator) -> tuple[Tensor, ...]:
        language = _language(generator)
        trained = _written(language, max(1, tokens // WINDOW), generator)
        stopping, tested = _new(language, trained, generator).chunk(2)
        known = (tested[:, None] == trained[None]).all(-1).any(1).double().mean()
        picked = torch.randint(len(trained), (steps, batch), generator=generator)
        return trained[picked], stopping, tested, _surprise(language, tested), known

    def loss(model: nn.Module, windows: Tensor) -> Tensor:
        logits = model(windows[:, :-1])[:, 1:]
        return nn.functional.cross_entropy(logits.flatten(0, 1), windows[:, 2:].flatten())

    data, stopping, tested, floor, known = seeds.draw(draw)
    stack = seeds.build(lambda: _Model(reference, width))
    losses: list[Tensor] = []

    def note(step: int, _: Tensor, __: dict[str, Tensor]) -> None:
        if step % max(1, steps // 20) == 0:
            losses.append(torch.stack([stack(loss, stopping), stack(loss, tested)]))

    stack.fit(loss, [data], rate=rate, after=note)
    by_stopping, by_testing = torch.stack(losses, -1)  # (seeds, times)
    best = by_stopping.argmin(1, keepdim=True)
    found = by_testing.gather(1, best)[:, 0]
    return {
        "loss": found,
        "unstopped": by_testing[:, -1],
        "floor": floor,
        "excess": found - floor,
        "known": known,
    }


# --- Arms and experiments -----------------------------------------------------------------------

_SIZES = {"steps": 500, "batch": 32, "rate": 3e-3}
_REDUCED = {"steps": 10, "batch": 8}


def _arm(tokens: int, width: int) -> Arm:
    sizes = {**_SIZES, "tokens": tokens, "width": width}
    return Arm(f"{tokens} tokens, width {width}", learning, sizes, _REDUCED)


_TOKENS = (256, 1024, 4096, 16384, 65536)
_WIDTHS = (4, 8, 16, 32)
BY_DATA = {tokens: _arm(tokens, 32) for tokens in _TOKENS}
BY_WIDTH = {width: _arm(65536, width) for width in _WIDTHS}
_TASK = (
    f"Write a random language of {SYMBOLS} symbols in which two decide the next; a causal pre-norm "
    "encoder of two layers with sinusoids, 500 steps of Adam on 32 sequences of 33. The loss is on "
    f"{TESTED} new sequences, at that twentieth of the steps where the loss on {TESTED} others is "
    "least."
)


def _over(arms: Mapping[int, Arm], quantity: str) -> Callable[[Numbers], Any]:
    return lambda numbers: np.stack([numbers[arm.name][quantity] for arm in arms.values()], 1)


def _controls(arms: Mapping[int, Arm]) -> tuple[Control, ...]:
    return (
        Control(
            "no new sequence was there in training",
            lambda numbers: _over(arms, "known")(numbers).max(1),
            most=0.0,
        ),
        Control(
            "every model that has 1,024 tokens or more is better than guessing",
            lambda numbers: np.max(
                [numbers[a.name]["loss"] for a in arms.values() if a.sizes["tokens"] > _TOKENS[0]],
                0,
            ),
            most=float(np.log(SYMBOLS)),
            every=False,
        ),
        Control(
            "nothing is below the entropy of the language",
            lambda numbers: _over(arms, "excess")(numbers).min(1),
            least=0.0,
        ),
    )


def _unstopped(arms: Mapping[int, Arm]) -> Callable[[Numbers], Any]:
    return lambda numbers: _over(arms, "unstopped")(numbers) - _over(arms, "floor")(numbers)


MORE_DATA = Experiment(
    about=WHY_03.part("data"),
    component="Encoder",
    hypothesis="The loss, where training is stopped in time, falls with the amount of data.",
    task=_TASK + " 256 to 65,536 tokens to train on, width 32.",
    arms=tuple(BY_DATA.values()),
    comparisons=(
        Comparison(
            "it falls over 256, 1,024, 4,096, 16,384 and 65,536 tokens",
            _over(BY_DATA, "excess"),
            "falling",
        ),
    ),
    controls=_controls(BY_DATA),
    expected="2.75, 2.42, 2.32, 1.75, 1.62 nats, where the entropy is 1.41",
    seconds=300,
    figures=(
        Figure(
            "data",
            "Loss above the entropy of the language, against data",
            "tokens to train on",
            "nats a symbol above the entropy",
            (
                Series("after 500 steps", _TOKENS, _unstopped(BY_DATA)),
                Series("stopped in time", _TOKENS, _over(BY_DATA, "excess")),
            ),
            "xy",
        ),
    ),
)

WIDER_MODELS = Experiment(
    about=WHY_03.part("model"),
    component="Encoder",
    hypothesis="At 65,536 tokens the loss falls with the width of the model.",
    task=_TASK + " 65,536 tokens to train on, widths 4 to 32.",
    arms=tuple(BY_WIDTH.values()),
    comparisons=(
        Comparison("it falls over widths 4, 8, 16 and 32", _over(BY_WIDTH, "excess"), "falling"),
    ),
    controls=_controls(BY_WIDTH),
    expected="no figure is known; nearer to the entropy with the width",
    seconds=150,
    figures=(
        Figure(
            "width",
            "Loss against width, and the floor under it",
            "width",
            "nats a symbol",
            (
                Series("loss", _WIDTHS, _over(BY_WIDTH, "loss")),
                Series("entropy of the language", _WIDTHS, _over(BY_WIDTH, "floor")),
            ),
            "x",
        ),
    ),
)
