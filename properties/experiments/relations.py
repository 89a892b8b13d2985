"""Section 4 of the notes: what heads make of two relations that a task asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import combinations, permutations
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attest.experiments import Arm, Comparison, Control, Experiment, Figure, Numbers
from attest.training import Seeds, Stack
from properties.multi_head_attention import MHA_06, MHA_07, MHA_08, MHA_09

SYMBOLS = 8
CHANCE = 1 / SYMBOLS
LENGTH = 16
FAR = 8
"""The largest distance back that is looked at."""

NEAR_LAG, FAR_LAG = 2, 5

# --- The model and its task ---------------------------------------------------------------------


class _Heads(nn.Module):
    """Symbols and positions, multi-head attention, and a classifier for each relation.

    Args:
        reference: the reference's names.
        width: of the tokens.
        n_heads: the number of heads.
        start: how the heads begin: "unequal", "equal" in all four matrices, or "equal inside", in
            all but the output matrix.
        n_relations: how many words are asked for.
    """

    def __init__(
        self, reference: ModuleType, width: int, n_heads: int, start: str, n_relations: int
    ) -> None:
        super().__init__()
        self.symbols = reference.Embedding(SYMBOLS, width)
        table = reference.sinusoidal_positional_encoding(LENGTH, width)
        self.register_buffer("positions", table.float())
        self.attention = reference.MultiHeadAttention(width, n_heads)
        self.answers = nn.Linear(width, n_relations * SYMBOLS)
        if start != "unequal":
            slices = self._slices() if start == "equal" else self._slices()[:3]
            with torch.no_grad():
                for heads in slices:
                    heads.copy_(heads[:1].expand_as(heads).clone())
                for layer in (self.attention.query, self.attention.key, self.attention.value):
                    layer.bias.zero_()

    def _slices(self) -> list[Tensor]:
        """Give views of the four matrices by head, each (n_heads, …)."""
        own, n_heads = self.attention, self.attention.n_heads
        rows = [
            layer.weight.unflatten(0, (n_heads, -1)) for layer in (own.query, own.key, own.value)
        ]
        return [*rows, own.output.weight.unflatten(1, (n_heads, -1)).movedim(1, 0)]

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Give logits, (B, T, relations, symbols), and weights, (B, H, T, T)."""
        x = self.symbols(tokens) + self.positions
        output, weights = self.attention(x, x, x)
        return self.answers(output).unflatten(-1, (-1, SYMBOLS)), weights

    def apart(self) -> Tensor:
        """Give the largest difference between the first head's matrices and another's."""
        return torch.stack([(own - own[:1]).abs().amax() for own in self._slices()]).amax()

    def overlap(self) -> Tensor:
        """Give ‖Q_aᵀ Q_b‖² / d_h for what heads read their values from, the mean over pairs."""
        value = self.attention.value.weight.unflatten(0, (self.attention.n_heads, -1))
        bases = torch.linalg.qr(value.mT).Q  # (H, D, d_h)
        pairs = combinations(range(len(value)), 2)
        return torch.stack(
            [(bases[a].mT @ bases[b]).square().sum() / bases.shape[-1] for a, b in pairs]
        ).mean()


def _mass(weights: Tensor) -> Tensor:
    """Give the mean weight at each distance back, from 1 on, (H, distances)."""
    late = weights[:, :, FAR:]  # (B, H, T − FAR, T)
    rows = torch.arange(FAR, weights.shape[-1], device=weights.device)
    columns = [late[..., range(len(rows)), rows - back] for back in range(1, FAR + 1)]
    return torch.stack(columns, -1).mean((0, 2))


def _wanted(tokens: Tensor, lags: tuple[int, ...]) -> Tensor:
    """Give the symbols that are asked for at the late places, (B, T − FAR, relations)."""
    length = tokens.shape[1]
    return torch.stack([tokens[:, FAR - lag : length - lag] for lag in lags], -1)


def _alike(weights: Tensor) -> Tensor:
    """Give the largest cosine between the attention of two heads."""
    rows = weights[:, :, FAR:].movedim(1, 0).flatten(1)
    rows = rows / rows.norm(dim=1, keepdim=True)
    return torch.stack([rows[a] @ rows[b] for a, b in combinations(range(len(rows)), 2)]).amax()


def relating(
    reference: ModuleType,
    seeds: Seeds,
    *,
    start: str,
    n_heads: int,
    lags: tuple[int, ...],
    width: int,
    steps: int,
    batch: int,
    rate: float,
) -> Mapping[str, Tensor]:
    """Train heads to find the symbols that stand some places back.

    Returns:
        "accuracy" of each relation, (seeds, relations); "mass" at each distance back of each head,
        (seeds, heads, distances), and "mass of others" on other sequences; "by hand", that of
        weights that look back the last lag; "overlap" and "overlap before"; "apart before" and
        "apart after" training, the largest difference between heads; "alike", the largest cosine
        between the attention of two, and "alike to itself", that of one taken twice; "map", the
        weights of the first sequence.
    """

    def loss(model: nn.Module, tokens: Tensor) -> Tensor:
        logits = model(tokens)[0][:, FAR:]
        return nn.functional.cross_entropy(logits.flatten(0, 2), _wanted(tokens, lags).flatten())

    def draw(*shape: int) -> Callable[[torch.Generator], Tensor]:
        return lambda generator: torch.randint(SYMBOLS, (*shape, LENGTH), generator=generator)

    def look(model: nn.Module, tokens: Tensor) -> tuple[Tensor, ...]:
        logits, weights = model(tokens)
        right = logits[:, FAR:].argmax(-1) == _wanted(tokens, lags)
        itself = _alike(weights[:, :1].expand(-1, 2, -1, -1))
        return right.double().mean((0, 1)), _mass(weights), _alike(weights), itself, weights[0]

    stack = seeds.build(lambda: _Heads(reference, width, n_heads, start, len(lags)))
    before = _of_parameters(stack)
    stack.fit(loss, [seeds.draw(draw(steps, batch))], rate=rate)
    after = _of_parameters(stack)
    accuracy, mass, alike, itself, seen = stack(look, seeds.draw(draw(128), stream=1))
    others = stack(look, seeds.draw(draw(128), stream=2))[1]
    ideal = torch.zeros(1, 1, LENGTH, LENGTH)
    for row in range(lags[-1], LENGTH):
        ideal[..., row, row - lags[-1]] = 1
    by_hand = _mass(ideal)[0, lags[-1] - 1].expand(len(seeds.numbers))
    return {
        "accuracy": accuracy,
        "mass": mass,
        "mass of others": others,
        "by hand": by_hand,
        "overlap before": before["overlap"],
        "overlap": after["overlap"],
        "apart before": before["apart"],
        "apart after": after["apart"],
        "alike": alike,
        "alike to itself": itself,
        "map": seen,
    }


def _of_parameters(stack: Stack) -> dict[str, Tensor]:
    models: list[Any] = list(stack.models())
    return {
        "overlap": torch.stack([model.overlap() for model in models]),
        "apart": torch.stack([model.apart() for model in models]),
    }


# --- Arms ---------------------------------------------------------------------------------------

_SIZES = {"width": 32, "steps": 400, "batch": 64, "rate": 1e-2}
_REDUCED = {"steps": 40, "batch": 16}


def _arm(name: str, start: str, n_heads: int, lags: tuple[int, ...], **sizes: float) -> Arm:
    own = {**_SIZES, "start": start, "n_heads": n_heads, "lags": lags, **sizes}
    return Arm(f"relations, {name}", relating, own, {**_REDUCED, **sizes})


_BOTH = (NEAR_LAG, FAR_LAG)
TWO = _arm("two heads", "unequal", 2, _BOTH)
EQUAL = _arm("two heads that start equal", "equal", 2, _BOTH)
INSIDE = _arm("two heads that start equal but for their outputs", "equal inside", 2, _BOTH)
FOUR = _arm("four heads", "unequal", 4, _BOTH)
ONE_RELATION = _arm("two heads, one relation", "unequal", 2, (FAR_LAG,))
UNTRAINED = _arm("two heads, not trained", "unequal", 2, _BOTH, steps=1, rate=0.0)
_TASK = (
    f"Say which of {SYMBOLS} symbols stood {NEAR_LAG} places back, and which {FAR_LAG}; "
    "symbols and "
    "sinusoids of width 32, one layer of attention, a linear classifier for each relation, 400 "
    "steps of Adam, 64 sequences of 16 a step."
)

# --- Experiments --------------------------------------------------------------------------------


def _quantity(arm: Arm, quantity: str) -> Callable[[Numbers], Any]:
    return lambda numbers: numbers[arm.name][quantity]


def _worse(arm: Arm) -> Callable[[Numbers], Any]:
    """Give the accuracy of the relation that is known less well."""
    return lambda numbers: numbers[arm.name]["accuracy"].min(1)


def _better(one: Arm, other: Arm) -> Callable[[Numbers], Any]:
    return lambda numbers: _worse(one)(numbers) - _worse(other)(numbers)


_LEARNS = Control("two heads learn both relations", _worse(TWO), least=0.5, every=False)
_FOUR_LEARN = Control("four heads learn both, too", _worse(FOUR), least=0.9, every=False)

UNEQUAL_STARTS = Experiment(
    about=MHA_06.part("in training"),
    component="MultiHeadAttention",
    hypothesis="Heads that start unequal, if only in their output matrices, learn two relations; "
    "heads that start equal do not.",
    task=_TASK,
    arms=(TWO, EQUAL, INSIDE),
    comparisons=(
        Comparison(
            "unequal heads know the second relation better than equal ones, by more than .3",
            _better(TWO, EQUAL),
            "above",
            0.3,
        ),
        Comparison("so do heads with unequal outputs alone", _better(INSIDE, EQUAL), "above", 0.3),
    ),
    controls=(
        _LEARNS,
        Control("equal heads start equal", _quantity(EQUAL, "apart before"), most=0.0),
        Control("and end equal", _quantity(EQUAL, "apart after"), most=1e-3),
        Control("unequal heads start unequal", _quantity(TWO, "apart before"), least=1e-2),
        Control(
            "equal heads learn one relation",
            lambda numbers: numbers[EQUAL.name]["accuracy"].max(1),
            least=0.9,
            every=False,
        ),
    ),
    expected="second relation 1.00, equal heads .12 to .13",
    seconds=30,
)


def risen(after: Any, before: Any) -> Any:
    """Give by how much something has risen."""
    return after - before


def _rise(arm: Arm) -> Callable[[Numbers], Any]:
    return lambda numbers: risen(numbers[arm.name]["overlap"], numbers[arm.name]["overlap before"])


OVERLAP = Experiment(
    about=MHA_07.part("in training"),
    component="MultiHeadAttention",
    hypothesis="What heads read their values from overlaps more after training than before.",
    task=_TASK + " The overlap is ‖Q_aᵀ Q_b‖² / d_h, of orthonormal bases of the rows of W_V.",
    arms=(TWO, FOUR, UNTRAINED),
    comparisons=(
        Comparison("of two heads", _rise(TWO), "above"),
        Comparison("of four heads", _rise(FOUR), "above"),
    ),
    controls=(
        _LEARNS,
        _FOUR_LEARN,
        Control(
            "before training it is that of random subspaces, d_h / d = 1/2",
            _quantity(TWO, "overlap before"),
            least=0.35,
            most=0.65,
        ),
        Control(
            "and d_h / d = 1/4 with four heads",
            _quantity(FOUR, "overlap before"),
            least=0.15,
            most=0.35,
        ),
        Control(
            "without training it does not rise",
            lambda numbers: np.abs(_rise(UNTRAINED)(numbers)),
            most=1e-6,
        ),
    ),
    expected=".50 to .53 with two heads, .25 to .31 with four",
    seconds=40,
    against=True,
)


def _one_each(arm: Arm) -> Callable[[Numbers], Any]:
    """Give how much more each head weighs its own relation than the other's, the least of both.

    Which relation is whose is decided on some sequences, and weighed on others.
    """

    def each(numbers: Numbers) -> Any:
        chosen, weighed = (
            numbers[arm.name][name][:, :, [lag - 1 for lag in _BOTH]]
            for name in ("mass", "mass of others")
        )
        found = []
        for one, other in zip(chosen, weighed, strict=True):
            straight = one[0, 0] + one[1, 1] >= one[0, 1] + one[1, 0]
            own = other if straight else other[:, ::-1]
            found.append(min(own[0, 0] - own[0, 1], own[1, 1] - own[1, 0]))
        return np.asarray(found)

    return each


def _best_pair(arm: Arm) -> Callable[[Numbers], Any]:
    """Say whether no other two distances are weighed as much by the two heads, one each."""

    def best(numbers: Numbers) -> Any:
        found = []
        for mass in numbers[arm.name]["mass of others"]:
            pairs = {
                pair: max(mass[0, a] + mass[1, b] for a, b in permutations(pair))
                for pair in combinations(range(FAR), 2)
            }
            right = max(pairs, key=lambda pair: pairs[pair]) == tuple(lag - 1 for lag in _BOTH)
            found.append(float(right))
        return np.asarray(found)

    return best


_BY_HAND = Control(
    "weights made by hand have all their mass where they should",
    _quantity(TWO, "by hand"),
    least=0.999,
    most=1.001,
)


def _map(head: int, place: float, numbers: Numbers) -> Any:
    """Give a head's weights at one seed of all, in the order of how much the heads look alike."""
    order = np.argsort(numbers[TWO.name]["alike"], kind="stable")
    return numbers[TWO.name]["map"][order[round(place * (len(order) - 1))], head]


A_HEAD_FOR_EACH = Experiment(
    about=MHA_09.part("one each"),
    component="MultiHeadAttention",
    hypothesis="Two heads that are asked for two relations share them out, one each.",
    task=_TASK,
    arms=(TWO,),
    comparisons=(
        Comparison(
            "each of two heads weighs its relation more than the other's, by more than .2",
            _one_each(TWO),
            "above",
            0.2,
        ),
        Comparison(
            "in more seeds than one of 28 the two heads weigh the right pair of distances most",
            _best_pair(TWO),
            "likelier",
            1 / 28,
        ),
    ),
    controls=(_LEARNS, _BY_HAND),
    expected="mass .52 to .59 on the own lag, at most .01 on the other",
    seconds=40,
    figures=(
        Figure(
            "heads",
            f"What two heads look at, asked for {NEAR_LAG} and {FAR_LAG} places back: two of all "
            "n = 12 seeds, the one where they are as alike as in the median, and the one where "
            "they are most alike; one sequence, without an interval",
            "key",
            "query",
            maps={
                f"head {head + 1}, {which} of all seeds": partial(_map, head, place)
                for which, place in (("median", 0.5), ("worst", 1.0))
                for head in range(2)
            },
        ),
    ),
)


def _heads(numbers: Numbers) -> Any:
    masses = numbers[FOUR.name]["mass"]
    return np.full(len(masses), masses.shape[1])


A_HEAD_TOO_MANY = Experiment(
    about=MHA_09.part("more heads than relations"),
    component="MultiHeadAttention",
    hypothesis="Of four heads that have learned two relations, two look alike, where each of two "
    "heads has a job of its own.",
    task=_TASK,
    arms=(TWO, FOUR),
    comparisons=(
        Comparison(
            "the largest cosine between the attention of two heads is larger by more than .3 with "
            "four heads than with two",
            lambda numbers: numbers[FOUR.name]["alike"] - numbers[TWO.name]["alike"],
            "above",
            0.3,
        ),
    ),
    controls=(
        _LEARNS,
        _FOUR_LEARN,
        Control("there are four heads", _heads, least=4, most=4),
        Control("a head is wholly like itself", _quantity(FOUR, "alike to itself"), least=0.999),
        Control("two heads are less alike", _quantity(TWO, "alike"), most=0.5, every=False),
    ),
    expected="cosine .76 to .97",
    seconds=40,
    against=True,
)


def _farthest(arm: Arm) -> Callable[[Numbers], Any]:
    return lambda numbers: numbers[arm.name]["mass of others"][:, :, FAR_LAG - 1].max(1)


A_HEAD_FOR_A_DISTANCE = Experiment(
    about=MHA_08.part("over a distance"),
    component="MultiHeadAttention",
    hypothesis=f"Some head learns to look {FAR_LAG} places back.",
    task=_TASK,
    arms=(TWO, ONE_RELATION),
    comparisons=(
        Comparison(
            "asked for two, some head gives it more than .3",
            _farthest(TWO),
            "above",
            0.3,
            nothing=1 / LENGTH,
        ),
        Comparison(
            "asked for that alone, too",
            _farthest(ONE_RELATION),
            "above",
            0.3,
            nothing=1 / LENGTH,
        ),
    ),
    controls=(_LEARNS, _BY_HAND),
    expected="a weight of about .56, where an equal share is .06",
    seconds=30,
)
