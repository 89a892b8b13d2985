"""Section 6 of the notes: what positions let a model learn, and how far that reaches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attest.experiments import Arm, Comparison, Control, Experiment, Figure, Numbers, Series
from attest.training import Seeds
from properties.positional_encoding import PE_06, PE_09

SYMBOLS = 8
CHANCE = 1 / SYMBOLS
LAG = 3

# --- Schemes ------------------------------------------------------------------------------------


class _Attention(nn.Module):
    """Causal attention with one of the ways to tell positions.

    Args:
        reference: the reference's names.
        width: of the tokens.
        n_heads: the number of heads.
        scheme: "sinusoid", "learned", "rotary", "clipped" or "ALiBi".
    """

    def __init__(self, reference: ModuleType, width: int, n_heads: int, scheme: str) -> None:
        super().__init__()
        self.reference, self.n_heads, self.scheme = reference, n_heads, scheme
        self.projections = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        if scheme == "clipped":
            vectors = torch.randn(2, 2 * 8 + 1, width // n_heads)
            self.distances = nn.Parameter(vectors * (width // n_heads) ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        heads = self.projections(x).unflatten(-1, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = heads.unbind(0)  # (B, H, T, d_h)
        length = x.shape[1]
        mask = self.reference.causal_mask(length).to(x.device)
        if self.scheme == "rotary":
            places = torch.arange(length, device=x.device)
            query, key = (self.reference.rotary_positions(part, places) for part in (query, key))
        if self.scheme == "clipped":
            output, _ = self.reference.relative_attention(query, key, value, *self.distances, mask)
        elif self.scheme == "ALiBi":
            bias = self.reference.alibi_bias(self.n_heads, length, length).to(x.device)
            output, _ = self.reference.biased_attention(query, key, value, bias, mask)
        else:
            output, _ = self.reference.scaled_dot_product_attention(query, key, value, mask)
        return self.output(output.transpose(1, 2).flatten(-2))


class _Model(nn.Module):
    """Symbols, positions, one pre-norm layer, logits.

    Args:
        reference: the reference's names.
        width: of the tokens.
        n_heads: the number of heads.
        scheme: how positions are told.
        longest: how many positions a learned table has.
    """

    table: Tensor | None

    def __init__(
        self, reference: ModuleType, width: int, n_heads: int, scheme: str, longest: int
    ) -> None:
        super().__init__()
        self.symbols = reference.Embedding(SYMBOLS, width)
        if scheme == "sinusoid":
            table = reference.sinusoidal_positional_encoding(longest, width)
            self.register_buffer("table", table.float())
        else:
            learned = nn.Parameter(torch.randn(longest, width))
            self.register_parameter("table", learned if scheme == "learned" else None)
        self.attention = _Attention(reference, width, n_heads, scheme)
        self.feed_forward = reference.FeedForward(width, 2 * width)
        self.norms = nn.ModuleList(reference.LayerNorm(width) for _ in range(3))
        self.logits = nn.Linear(width, SYMBOLS)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.symbols(tokens)
        if self.table is not None:
            x = x + self.table[: tokens.shape[1]]
        x = x + self.attention(self.norms[0](x))
        x = x + self.feed_forward(self.norms[1](x))
        logits: Tensor = self.logits(self.norms[2](x))
        return logits


def looking_back(
    reference: ModuleType,
    seeds: Seeds,
    *,
    scheme: str,
    trained: int,
    tested: int,
    width: int,
    steps: int,
    batch: int,
    rate: float,
) -> Mapping[str, Tensor]:
    """Train to say which symbol stood three places back, and test on longer sequences.

    Returns:
        "seen", the accuracy at the places of training, "twice" and "four times", at places up to so
        many times as far; "another", the accuracy for a symbol that has nothing to do with it;
        "beyond", how far beyond the longest sequence of training the second of these begins.
    """

    def loss(model: nn.Module, tokens: Tensor) -> Tensor:
        logits = model(tokens)[:, LAG:]
        return nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, :-LAG].flatten())

    def draw(*shape: int) -> Callable[[torch.Generator], Tensor]:
        return lambda generator: torch.randint(SYMBOLS, shape, generator=generator)

    def look(model: nn.Module, tokens: Tensor, others: Tensor) -> tuple[Tensor, ...]:
        said = model(tokens).argmax(-1)[:, LAG:]
        right = (said == tokens[:, :-LAG]).double().mean(0)
        by_chance = (said == others[:, :-LAG]).double().mean()
        bins = (right[: near - LAG], right[near - LAG : 2 * near - LAG], right[2 * near - LAG :])
        return (*(part.mean() for part in bins), by_chance)

    near = tested // 4
    stack = seeds.build(lambda: _Model(reference, width, 2, scheme, tested))
    data = seeds.draw(draw(steps, batch, trained))
    stack.fit(loss, [data], rate=rate)
    tokens, others = (seeds.draw(draw(64, tested), stream) for stream in (1, 2))
    seen, twice, four_times, another = stack(look, tokens, others)

    beyond = torch.full((len(seeds.numbers),), float(near - data.shape[-1]))
    return {
        "seen": seen,
        "twice": twice,
        "four times": four_times,
        "another": another,
        "beyond": beyond,
    }


def ordering(
    reference: ModuleType,
    seeds: Seeds,
    *,
    positions: bool,
    length: int,
    width: int,
    steps: int,
    batch: int,
    rate: float,
) -> Mapping[str, Tensor]:
    """Train a pooled classifier to say which of two marks comes first.

    Every sequence is there twice, with the marks in one order and in the other.

    Returns:
        "accuracy" on new pairs; "moved", by how much positions change the tokens.
    """
    first, second = SYMBOLS, SYMBOLS + 1

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.symbols = reference.Embedding(SYMBOLS + 2, width)
            table = reference.sinusoidal_positional_encoding(length, width).float()
            self.register_buffer("table", table * float(positions))
            self.encoder = reference.Encoder(width, 2, 2 * width, 1)
            self.answer = nn.Linear(width, 1)

        def forward(self, tokens: Tensor) -> Tensor:
            x = self.encoder(self.symbols(tokens) + self.table)
            answer: Tensor = self.answer(x.mean(1))[:, 0]
            return answer

    def pairs(*shape: int) -> Callable[[torch.Generator], tuple[Tensor, Tensor]]:
        def draw(generator: torch.Generator) -> tuple[Tensor, Tensor]:
            tokens = torch.randint(SYMBOLS, (*shape, length), generator=generator)
            places = torch.rand((*shape, length), generator=generator).argsort(-1)[..., :2]
            places = places.sort(-1).values
            marks = torch.tensor([first, second]).expand(places.shape)
            both = [tokens.scatter(-1, places, m) for m in (marks, marks.flip(-1))]
            answers = [torch.full(shape, float(one)) for one in (1, 0)]
            return torch.cat(both, -2), torch.cat(answers, -1)

        return draw

    def loss(model: nn.Module, tokens: Tensor, wanted: Tensor) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(model(tokens), wanted)

    def look(model: Any, tokens: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        right = ((model(tokens) > 0) == (wanted > 0.5)).double().mean()
        return right, model.table.abs().amax()

    stack = seeds.build(Classifier)
    stack.fit(loss, seeds.draw(pairs(steps, batch)), rate=rate)
    accuracy, moved = stack(look, *seeds.draw(pairs(256), stream=1))
    return {"accuracy": accuracy, "moved": moved}


# --- Arms and experiments -----------------------------------------------------------------------

_SIZES = {"trained": 32, "tested": 128, "width": 64, "steps": 600, "batch": 32, "rate": 3e-3}
_REDUCED = {"trained": 12, "tested": 48, "width": 16, "steps": 30, "batch": 8}


def _arm(scheme: str) -> Arm:
    return Arm(f"looking back, {scheme}", looking_back, {**_SIZES, "scheme": scheme}, _REDUCED)


SCHEMES = {scheme: _arm(scheme) for scheme in ("sinusoid", "learned", "rotary", "clipped", "ALiBi")}
SINUSOID, ROTARY = SCHEMES["sinusoid"], SCHEMES["rotary"]


def _quantity(arm: Arm, quantity: str) -> Callable[[Numbers], Any]:
    return lambda numbers: numbers[arm.name][quantity]


def _bins(arm: Arm) -> Callable[[Numbers], Any]:
    def bins(numbers: Numbers) -> Any:
        return np.stack([numbers[arm.name][q] for q in ("seen", "twice", "four times")], 1)

    return bins


_TASK = (
    f"Say which of {SYMBOLS} symbols stood {LAG} places back; one causal pre-norm layer of "
    "width 64 "
    "with two heads, 600 steps of Adam on 32 sequences of 32, and 64 sequences of 128 to test."
)
_BEYOND = Control(
    "what is called longer is longer than all of training, of any model",
    lambda numbers: np.min([_quantity(arm, "beyond")(numbers) for arm in SCHEMES.values()], 0),
    least=0,
)

LONGER_THAN_SEEN = Experiment(
    about=PE_09.part("generalises"),
    component="sinusoidal_positional_encoding",
    hypothesis="With sinusoids accuracy falls at places beyond those of training, and with rotary "
    "positions it falls less.",
    task=_TASK,
    arms=tuple(SCHEMES.values()),
    comparisons=(
        Comparison(
            "with sinusoids it falls by more than .3 up to twice as far",
            lambda numbers: numbers[SINUSOID.name]["seen"] - numbers[SINUSOID.name]["twice"],
            "above",
            0.3,
        ),
        Comparison(
            "there, rotary positions are better by more than .3",
            lambda numbers: numbers[ROTARY.name]["twice"] - numbers[SINUSOID.name]["twice"],
            "above",
            0.3,
            decides=False,
        ),
    ),
    controls=(
        _BEYOND,
        Control("sinusoids are learned", _quantity(SINUSOID, "seen"), least=0.99, every=False),
        Control("rotary positions are learned", _quantity(ROTARY, "seen"), least=0.99, every=False),
        Control(
            "of an unrelated symbol nothing is known",
            _quantity(ROTARY, "another"),
            most=CHANCE + 0.05,
        ),
    ),
    expected="up to 32, 64 and 128: sinusoid 1.00, .20, .16; learned 1.00, .16, .15; rotary 1.00, "
    ".98, .78; clipped 1.00, .96, .71; ALiBi .90, .83, .81",
    seconds=300,
    against=True,
    figures=(
        Figure(
            "positions",
            "Places beyond those of training, by how positions are told: what is not near 1 at 1 "
            "has not learned the task",
            "place, as a multiple of the longest of training",
            "share of right answers",
            tuple(Series(scheme, (1.0, 2.0, 4.0), _bins(arm)) for scheme, arm in SCHEMES.items()),
            "x",
            {"chance": CHANCE},
        ),
    ),
)

_ORDER = {"length": 8, "width": 32, "steps": 300, "batch": 32, "rate": 3e-3}
WITH = Arm("order of two marks, sinusoids", ordering, {**_ORDER, "positions": True}, {"steps": 20})
WITHOUT = Arm(
    "order of two marks, no positions", ordering, {**_ORDER, "positions": False}, {"steps": 20}
)

ORDER_IS_LEARNED = Experiment(
    about=PE_06.part("in training"),
    component="Encoder",
    hypothesis="With positions a pooled classifier learns which of two marks comes first, and "
    "without them it is right on half of the pairs.",
    task="Sequences of 8 symbols with two marks, each in both orders; an encoder layer of width "
    "32, "
    "the mean over tokens, a linear classifier, 300 steps of Adam on 32 pairs.",
    arms=(WITH, WITHOUT),
    comparisons=(
        Comparison(
            "with sinusoids more than .75",
            _quantity(WITH, "accuracy"),
            "above",
            0.75,
            nothing=0.5,
        ),
    ),
    controls=(
        Control("sinusoids change the tokens", _quantity(WITH, "moved"), least=0.5),
        Control("without positions nothing does", _quantity(WITHOUT, "moved"), most=0.0),
        Control(
            "then half of the answers are right, but for ties that rounding breaks",
            _quantity(WITHOUT, "accuracy"),
            least=0.48,
            most=0.52,
        ),
    ),
    expected="more than .95 with positions, exactly .5 without",
    seconds=20,
)
