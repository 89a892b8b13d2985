"""Sections 2 and 3 of the notes: what reaches how far, at initialisation; and what it costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attest.experiments import Arm, Comparison, Control, Experiment, Figure, Numbers, Series
from attest.training import Seeds
from properties.attention import ATT_10
from properties.self_attention import SA_07, SA_08, SA_10

SMALLEST = 1e-300
"""What stands for zero where logarithms are taken."""

# --- Gradients against distance -----------------------------------------------------------------


class _Reads(nn.Module):
    """A recurrent network that reads a sequence and gives its last state.

    Args:
        reference: the reference's names.
        cell: a recurrent cell's class.
        width: of tokens and states.
        looks_back: whether the last state attends to all of them.
        orthogonal: whether the recurrent matrix is orthogonal, and the biases zero.
    """

    def __init__(
        self, reference: ModuleType, cell: Any, width: int, *, looks_back: bool, orthogonal: bool
    ) -> None:
        super().__init__()
        self.reference, self.looks_back = reference, looks_back
        self.cell = cell(width, width)
        if orthogonal:
            nn.init.orthogonal_(self.cell.recurrent.weight)
            for name, parameter in self.cell.named_parameters():
                if name.endswith("bias"):  # which would drive the states to where tanh is flat
                    nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        states, last = self.reference.unroll(self.cell, x, self.cell.initial(len(x)))
        if not self.looks_back:
            return last
        output, _ = self.reference.scaled_dot_product_attention(last[:, None], states, states)
        return output[:, 0]


class _Attends(nn.Module):
    """One layer of self-attention that gives its last token."""

    def __init__(self, reference: ModuleType, width: int) -> None:
        super().__init__()
        self.attention = reference.SelfAttention(width)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.attention(x)[0][:, -1]
        return output


MODELS: dict[str, Callable[[ModuleType, int], nn.Module]] = {
    "tanh network": lambda r, d: _Reads(r, r.ElmanCell, d, looks_back=False, orthogonal=False),
    "orthogonal tanh network": lambda r, d: _Reads(
        r, r.ElmanCell, d, looks_back=False, orthogonal=True
    ),
    "GRU": lambda r, d: _Reads(r, r.GRUCell, d, looks_back=False, orthogonal=False),
    "GRU with attention": lambda r, d: _Reads(r, r.GRUCell, d, looks_back=True, orthogonal=False),
    "self-attention": _Attends,
}


def reaching_back(
    reference: ModuleType,
    seeds: Seeds,
    *,
    model: str,
    lengths: tuple[int, ...],
    width: int,
    loudness: float,
) -> Mapping[str, Tensor]:
    """Take the gradient of the last output by the first token, at initialisation.

    Returns:
        "gradient", log10 of the Frobenius norm of that Jacobian times random directions,
        (seeds, lengths).
    """
    stack = seeds.build(lambda: MODELS[model](reference, width).double())
    x = seeds.draw(_normal(4, max(lengths), width)) * loudness
    directions = seeds.draw(_normal(8, width), stream=1)
    found = []
    for length in lengths:

        def gradient(model: nn.Module, x: Tensor, directions: Tensor) -> Tensor:
            def said(direction: Tensor) -> Tensor:
                taken = torch.func.grad(lambda x: (model(x) @ direction).sum())(x)
                return taken[:, 0].square().sum()

            return torch.func.vmap(said)(directions).mean().sqrt()

        found.append(stack(gradient, x[:, :, :length], directions).clamp_min(SMALLEST).log10())
    return {"gradient": torch.stack(found, 1)}


def _normal(*shape: int) -> Callable[[torch.Generator], Tensor]:
    return lambda generator: torch.randn(shape, generator=generator, dtype=torch.float64)


_LENGTHS = (4, 8, 16, 32)


def _reaching(model: str, loudness: float = 1.0) -> Arm:
    sizes = {"model": model, "lengths": _LENGTHS, "width": 64, "loudness": loudness}
    return Arm(f"gradient by distance, {model}", reaching_back, sizes, {"width": 16})


ELMAN, GRU = _reaching("tanh network"), _reaching("GRU")
LOOKING_BACK, ATTENDING = _reaching("GRU with attention"), _reaching("self-attention")
ORTHOGONAL = _reaching("orthogonal tanh network", 1e-3)


def _quantity(arm: Arm, quantity: str) -> Callable[[Numbers], Any]:
    return lambda numbers: numbers[arm.name][quantity]


def _lost(arm: Arm) -> Callable[[Numbers], Any]:
    """Give how many powers of ten are lost from the shortest sequence to the longest."""
    return lambda numbers: (
        numbers[arm.name]["gradient"][:, 0] - numbers[arm.name]["gradient"][:, -1]
    )


def _less(one: Arm, other: Arm) -> Callable[[Numbers], Any]:
    return lambda numbers: _lost(other)(numbers) - _lost(one)(numbers)


GRADIENTS_BY_DISTANCE = Experiment(
    about=ATT_10,
    component="SelfAttention",
    hypothesis="From 4 tokens to 32, the gradient by the first loses far less with attention than "
    "through recurrent steps.",
    task="Random tokens of width 64 into models at their usual initialisation, float64: the "
    "gradient of the last output by the first token.",
    arms=(ELMAN, GRU, LOOKING_BACK, ATTENDING, ORTHOGONAL),
    comparisons=(
        Comparison(
            "self-attention loses a hundred times less than a tanh network",
            _less(ATTENDING, ELMAN),
            "above",
            2,
        ),
        Comparison(
            "a GRU loses a hundred times less with attention than without",
            _less(LOOKING_BACK, GRU),
            "above",
            2,
        ),
    ),
    controls=(
        Control(
            "an orthogonal network loses nothing where tanh is linear",
            _lost(ORTHOGONAL),
            least=-0.1,
            most=0.1,
        ),
        Control(
            "there is a gradient through attention",
            lambda numbers: np.minimum(
                numbers[ATTENDING.name]["gradient"].min(1),
                numbers[LOOKING_BACK.name]["gradient"].min(1),
            ),
            least=-6,
        ),
    ),
    expected="log10 from 4 to 32 tokens: tanh −.7 to −10.3, GRU −.7 to −6.6, GRU with attention "
    "−.45 to −1.3, self-attention .07 to −.88",
    seconds=20,
    figures=(
        Figure(
            "gradient_by_distance",
            "The gradient of the last output by the first token, at initialisation",
            "tokens",
            "log10 of the gradient",
            tuple(
                Series(name, _LENGTHS, _quantity(arm, "gradient"))
                for name, arm in (
                    ("self-attention", ATTENDING),
                    ("GRU with attention", LOOKING_BACK),
                    ("orthogonal tanh network, small tokens", ORTHOGONAL),
                    ("GRU", GRU),
                    ("tanh network", ELMAN),
                )
            ),
            "x",
        ),
    ),
)

# --- The influence of one token -----------------------------------------------------------------

_NUMBERS = (8, 16, 32, 64, 128, 256, 512)


def influencing(
    reference: ModuleType, seeds: Seeds, *, lengths: tuple[int, ...], width: int
) -> Mapping[str, Tensor]:
    """Exchange the first token of random ones, and see how far the last output moves.

    Returns:
        "moved", log10 of it in the mean over sequences, (seeds, lengths); "slope", of its logarithm
        against that of the length.
    """
    stack = seeds.build(lambda: reference.Encoder(width, 4, 4 * width, 2).double())
    x = seeds.draw(_normal(16, max(lengths), width))
    other = seeds.draw(_normal(16, 1, width), stream=1)
    moved = []
    for length in lengths:

        def move(model: nn.Module, x: Tensor, other: Tensor) -> Tensor:
            exchanged = torch.cat([other, x[:, 1:]], 1)
            return (model(exchanged)[:, -1] - model(x)[:, -1]).norm(dim=-1).mean()

        moved.append(stack(move, x[:, :, :length], other).clamp_min(SMALLEST).log10())
    values = torch.stack(moved, 1)
    logs = torch.tensor(lengths, dtype=torch.float64, device=values.device).log10()
    centred = logs - logs.mean()
    return {"moved": values, "slope": (values * centred).sum(1) / centred.square().sum()}


INFLUENCE = Arm(
    "influence of one token",
    influencing,
    {"lengths": _NUMBERS, "width": 32},
    {"lengths": _NUMBERS[:4], "width": 16},
)

ONE_TOKEN_OF_MANY = Experiment(
    about=SA_07.part("influence"),
    component="Encoder",
    hypothesis="One token's influence on the last output falls as one over the length.",
    task="Random tokens of width 32 into an encoder of two layers at its usual initialisation, "
    "without positions, float64: the first token is exchanged, and the last output compared.",
    arms=(INFLUENCE,),
    comparisons=(
        Comparison(
            "the slope of logarithms is −1, give or take .1",
            _quantity(INFLUENCE, "slope"),
            "within",
            -1.0,
            0.1,
        ),
    ),
    controls=(
        Control(
            "at any length the first token has some influence",
            lambda numbers: numbers[INFLUENCE.name]["moved"].min(1),
            least=-6,
        ),
    ),
    expected="a slope of −1.00 from 8 to 512 tokens",
    seconds=40,
)

# --- Time ---------------------------------------------------------------------------------------


def timing(
    reference: ModuleType, seeds: Seeds, *, lengths: tuple[int, ...], width: int, repeats: int
) -> Mapping[str, Tensor]:
    """Time multi-head attention and torch's LSTM on one sequence, without gradients.

    Returns:
        "attention" and "LSTM", milliseconds, the least of some calls, (seeds, lengths).
    """
    attention = reference.MultiHeadAttention(width, 4).to(seeds.device)
    lstm = nn.LSTM(width, width, batch_first=True).to(seeds.device)
    found: dict[str, list[list[float]]] = {"attention": [], "LSTM": []}
    for _ in seeds.numbers:
        times: dict[str, list[float]] = {"attention": [], "LSTM": []}
        for length in lengths:
            x = torch.randn(1, length, width, device=seeds.device)
            with torch.no_grad():
                times["attention"].append(_least(partial(attention, x, x, x), x, repeats))
                times["LSTM"].append(_least(partial(lstm, x), x, repeats))
        for name, row in times.items():
            found[name].append(row)
    return {name: torch.tensor(rows, dtype=torch.float64) for name, rows in found.items()}


def _least(call: Callable[[], Any], x: Tensor, repeats: int) -> float:
    best = np.inf
    for _ in range(repeats):
        if x.is_cuda:
            torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        if x.is_cuda:
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return 1000 * best


_TIMED = (128, 512, 2048)
TIMES = Arm(
    "time of attention and of an LSTM",
    timing,
    {"lengths": _TIMED, "width": 64, "repeats": 5},
    {"lengths": (16, 256)},
)

WALL_TIME = Experiment(
    about=SA_08.part("wall time"),
    component="MultiHeadAttention",
    hypothesis="How long attention and an LSTM take, by length: it depends on the machine.",
    task="One sequence of width 64 through the reference's attention with four heads, and through "
    "torch's LSTM, without gradients, one thread; the least of five calls.",
    arms=(TIMES,),
    comparisons=(),
    controls=(
        Control(
            "longer sequences take longer",
            lambda numbers: numbers[TIMES.name]["LSTM"][:, -1] - numbers[TIMES.name]["LSTM"][:, 0],
            least=1e-6,
            every=False,
        ),
    ),
    expected="milliseconds, attention and LSTM: 128 tokens .34 and .38, 512 2.0 and 1.2",
    seconds=20,
    figures=(
        Figure(
            "wall_time",
            "Time for one sequence of width 64, one thread",
            "tokens",
            "milliseconds",
            (
                Series("attention", _TIMED, _quantity(TIMES, "attention")),
                Series("LSTM", _TIMED, _quantity(TIMES, "LSTM")),
            ),
            "xy",
        ),
    ),
)

# --- Neighbours ---------------------------------------------------------------------------------


def neighbouring(
    reference: ModuleType,
    seeds: Seeds,
    *,
    positions: bool,
    projections: str,
    length: int,
    width: int,
    starts: int,
) -> Mapping[str, Tensor]:
    """See what weight a token gives its two neighbours, beside that of any other token but itself.

    Args:
        reference: the reference's names.
        seeds: whose matrices and tokens.
        positions: whether sinusoids are added to the tokens.
        projections: "random" queries and keys, or the "same", or "opposite" to each other.
        length: how many tokens.
        width: of the tokens.
        starts: how many matrices a seed averages over.

    Returns:
        "share", (seeds,); "permuted", the largest difference between the weights of permuted tokens
        and the permuted weights.
    """
    x = seeds.draw(_normal(starts, length, width))
    table = reference.sinusoidal_positional_encoding(length, width).to(x) * float(positions)
    order = torch.randperm(length, generator=torch.Generator().manual_seed(0)).to(x.device)

    def build() -> nn.Module:
        several = nn.ModuleList(reference.SelfAttention(width) for _ in range(starts)).double()
        for attention in list[Any](several):
            if projections != "random":
                with torch.no_grad():
                    attention.query.weight.copy_(torch.eye(width))
                    attention.key.weight.copy_(torch.eye(width))
                    attention.key.weight.mul_(1 if projections == "same" else -1)
        return several

    def look(several: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        shares, permuted = [], []
        for attention, tokens in zip(several, x, strict=True):
            encoded = (tokens + table)[None]
            weights = attention(encoded)[1][0]
            pairs = torch.cat([weights.diagonal(1), weights.diagonal(-1)])
            others = (weights.sum() - weights.diagonal().sum()) / (length * (length - 1))
            shares.append(pairs.mean() / others)
            moved = attention((tokens[order] + table)[None])[1][0]
            permuted.append((moved - weights[order][:, order]).abs().amax())
        return torch.stack(shares).mean(), torch.stack(permuted).amax()

    share, permuted = seeds.build(build)(look, x)
    return {"share": share, "permuted": permuted}


def _neighbours(name: str, *, positions: bool, projections: str = "random") -> Arm:
    sizes = {"positions": positions, "projections": projections}
    return Arm(
        f"weight of neighbours, {name}",
        neighbouring,
        {**sizes, "length": 32, "width": 64, "starts": 32},
        {"starts": 16},
    )


NO_POSITIONS = _neighbours("without positions", positions=False)
RANDOM = _neighbours("sinusoids, random matrices", positions=True)
SAME = _neighbours("sinusoids, queries as keys", positions=True, projections="same")
OPPOSITE = _neighbours("sinusoids, queries against keys", positions=True, projections="opposite")

NEIGHBOURS = Experiment(
    about=SA_10,
    component="SelfAttention",
    hypothesis="At initialisation, neighbours get no more weight than others, with sinusoids or "
    "without.",
    task="32 random tokens of width 64 into self-attention at its usual initialisation, "
    "float64, 32 "
    "draws a seed: the mean weight of a neighbour over that of any other token.",
    arms=(NO_POSITIONS, RANDOM, SAME, OPPOSITE),
    comparisons=(
        Comparison(
            "without positions it is 1, give or take .05",
            _quantity(NO_POSITIONS, "share"),
            "within",
            1.0,
            0.05,
            opposite="above",
        ),
        Comparison(
            "with sinusoids it is 1, give or take .1",
            _quantity(RANDOM, "share"),
            "within",
            1.0,
            0.1,
            opposite="above",
        ),
    ),
    controls=(
        Control(
            "without positions the weights are permuted as the tokens are",
            _quantity(NO_POSITIONS, "permuted"),
            most=1e-12,
        ),
        Control("matrices that favour neighbours are seen to", _quantity(SAME, "share"), least=1.2),
        Control("and those that do the opposite", _quantity(OPPOSITE, "share"), most=0.9),
    ),
    expected="without positions .996, with sinusoids 1.03; queries as keys 2.88, against them .26",
    seconds=20,
    against=True,
)
