"""Section 5 of the notes: attention first, or the feed-forward network first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from attest.experiments import Arm, Comparison, Control, Experiment, Numbers
from attest.training import Seeds
from properties.sublayer_order import ORD_01, ORD_02

MODULUS = 11

# --- The model ----------------------------------------------------------------------------------


class _Ordered(nn.Module):
    """Sublayers in any order, post-norm, on embedded tokens with learned positions.

    Args:
        reference: the reference's names.
        order: "S" for self-attention and "F" for a feed-forward network, one letter a sublayer.
        vocabulary: the number of tokens.
        length: the number of places.
        width: of the tokens.
        answers: the number of logits of a token.
    """

    def __init__(
        self,
        reference: ModuleType,
        order: str,
        vocabulary: int,
        length: int,
        width: int,
        answers: int,
    ) -> None:
        super().__init__()
        self.order = order
        self.tokens = reference.Embedding(vocabulary, width)
        self.positions = reference.LearnedPositionalEmbedding(length, width)
        self.sublayers = nn.ModuleList(
            reference.MultiHeadAttention(width, 2)
            if letter == "S"
            else reference.FeedForward(width, 4 * width)
            for letter in order
        )
        self.norms = nn.ModuleList(reference.LayerNorm(width) for _ in order)
        self.logits = nn.Linear(width, answers)

    def forward(self, tokens: Tensor) -> Tensor:
        """Give the logits of every token, (B, T, answers)."""
        x = self.tokens(tokens) + self.positions(tokens.shape[1])
        for letter, sublayer, norm in zip(self.order, self.sublayers, self.norms, strict=True):
            x = norm(x + (sublayer(x, x, x)[0] if letter == "S" else sublayer(x)))
        logits: Tensor = self.logits(x)
        return logits


def adding(
    reference: ModuleType, seeds: Seeds, *, order: str, width: int, steps: int, rate: float
) -> Mapping[str, Tensor]:
    """Train on the whole table of sums modulo 11, read off the last of two numbers.

    Returns:
        "loss", the mean over the last tenth of the steps; "accuracy" in the end; "as said", whether
        the sublayers stand in the order that the arm is named after.
    """
    table = torch.cartesian_prod(torch.arange(MODULUS), torch.arange(MODULUS))
    wanted = table.sum(1) % MODULUS

    def loss(model: nn.Module, tokens: Tensor, wanted: Tensor) -> Tensor:
        return nn.functional.cross_entropy(model(tokens)[:, -1], wanted)

    def look(model: nn.Module, tokens: Tensor, wanted: Tensor) -> Tensor:
        return (model(tokens)[:, -1].argmax(-1) == wanted).double().mean()

    stack = seeds.build(lambda: _Ordered(reference, order, MODULUS, 2, width, MODULUS))
    every = [
        whole.to(seeds.device).expand(len(seeds.numbers), *whole.shape) for whole in (table, wanted)
    ]
    losses = stack.fit(
        loss, [whole[:, None].expand(-1, steps, *whole.shape[1:]) for whole in every], rate=rate
    )
    mixes = isinstance(stack.model.sublayers[0], reference.MultiHeadAttention)  # type: ignore[index]
    said = torch.full((len(seeds.numbers),), float(mixes == (order[0] == "S")))
    return {
        "loss": losses[:, -max(1, steps // 10) :].mean(1),
        "accuracy": stack(look, *every),
        "as said": said,
    }


def excluding(
    reference: ModuleType,
    seeds: Seeds,
    *,
    order: str,
    width: int,
    steps: int,
    batch: int,
    rate: float,
) -> Mapping[str, Tensor]:
    """Train on two exclusive ors: of a token's own two bits, and of two tokens' first bits.

    Returns:
        "within" and "across", the accuracies on pairs of tokens, of which there are sixteen.
    """

    def draw(*shape: int) -> Callable[[torch.Generator], Tensor]:
        return lambda generator: torch.randint(4, (*shape, 2), generator=generator)

    def wanted(tokens: Tensor) -> tuple[Tensor, Tensor]:
        high, low = tokens // 2, tokens % 2
        return high ^ low, (high[:, :1] ^ high[:, 1:]).expand_as(high)

    def loss(model: nn.Module, tokens: Tensor) -> Tensor:
        logits = model(tokens).unflatten(-1, (2, 2))
        own, both = wanted(tokens)
        return nn.functional.cross_entropy(
            logits.flatten(0, 2), torch.stack([own, both], -1).flatten()
        )

    def look(model: nn.Module, tokens: Tensor) -> tuple[Tensor, Tensor]:
        said = model(tokens).unflatten(-1, (2, 2)).argmax(-1)
        own, both = wanted(tokens)
        return (said[..., 0] == own).double().mean(), (said[..., 1] == both).double().mean()

    stack = seeds.build(lambda: _Ordered(reference, order, 4, 2, width, 4))
    stack.fit(loss, [seeds.draw(draw(steps, batch))], rate=rate)
    within, across = stack(look, seeds.draw(draw(256), stream=1))
    return {"within": within, "across": across}


# --- Arms and experiments -----------------------------------------------------------------------


def _quantity(arm: Arm, quantity: str) -> Callable[[Numbers], Any]:
    return lambda numbers: numbers[arm.name][quantity]


def _difference(one: Arm, other: Arm, quantity: str) -> Callable[[Numbers], Any]:
    return lambda numbers: numbers[one.name][quantity] - numbers[other.name][quantity]


def _adding(order: str, steps: int) -> Arm:
    # A rate and steps that leave something to be learned, as a pilot showed for both orders taken
    # together, with other seeds than those that decide.
    sizes = {"order": order, "width": 32, "steps": steps, "rate": 3e-4}
    reduced = {"steps": 30, "rate": 3e-3}
    return Arm(f"sums modulo 11, {order}, {steps} steps", adding, sizes, reduced)


SF, FS = _adding("SF", 600), _adding("FS", 600)
SFSF, FSFS = _adding("SFSF", 100), _adding("FSFS", 100)
_ADDING = (
    "All 121 sums of two numbers modulo 11 in every step of Adam, post-norm layers of "
    "width 32 with "
    "two heads, read off the second number; the loss of the last tenth of the steps."
)


def _as_said(*arms: Arm) -> tuple[Control, ...]:
    return tuple(
        Control(f"{arm.name}: in this order", _quantity(arm, "as said"), least=1.0) for arm in arms
    )


ATTENTION_FIRST = Experiment(
    about=ORD_01.part("in training"),
    component="EncoderLayer",
    hypothesis="With one layer, attention first reaches the smaller loss.",
    task=_ADDING + " One layer, 600 steps.",
    arms=(SF, FS),
    comparisons=(Comparison("the loss is smaller", _difference(SF, FS, "loss"), "below"),),
    controls=(
        *_as_said(SF, FS),
        Control(
            "something is learned, and a loss is left to compare",
            _quantity(FS, "loss"),
            least=0.02,
            most=2.0,
            every=False,
        ),
    ),
    expected="median loss .34 and .68, fourteen seeds, p = .024",
    seconds=60,
)

NO_MATTER_IN_A_STACK = Experiment(
    about=ORD_01.part("in a stack"),
    component="Encoder",
    hypothesis="With two layers, the order makes no difference to the share of right sums.",
    task=_ADDING + " Two layers, 100 steps.",
    arms=(SFSF, FSFS),
    comparisons=(
        Comparison(
            "the shares differ by less than .1",
            _difference(SFSF, FSFS, "accuracy"),
            "within",
            0.0,
            0.1,
            opposite="above",
        ),
    ),
    controls=(
        *_as_said(SFSF, FSFS),
        Control("not all is learned", _quantity(SFSF, "accuracy"), most=0.98, every=False),
        Control("something is", _quantity(SFSF, "accuracy"), least=0.3, every=False),
    ),
    expected="with the network first the loss is smaller in seven of eight seeds, .60 and .25",
    seconds=60,
    against=True,
)

_XOR = {"width": 32, "steps": 300, "batch": 64, "rate": 1e-2}
NETWORK_FIRST = Arm(
    "exclusive ors, FS", excluding, {**_XOR, "order": "FS"}, {"steps": 60, "batch": 16}
)
NETWORK_ALONE = Arm(
    "exclusive ors, F", excluding, {**_XOR, "order": "F"}, {"steps": 60, "batch": 16}
)

NETWORK_FIRST_LEARNS = Experiment(
    about=ORD_02,
    component="FeedForward",
    hypothesis="With the feed-forward network first, one layer learns exclusive ors within tokens "
    "and across them.",
    task="Two tokens of two bits each; a post-norm layer of width 32 with two heads, 300 steps of "
    "Adam, 64 pairs a step.",
    arms=(NETWORK_FIRST, NETWORK_ALONE),
    comparisons=(
        Comparison(
            "within tokens more than .95",
            _quantity(NETWORK_FIRST, "within"),
            "above",
            0.95,
            nothing=0.5,
        ),
        Comparison(
            "across tokens more than .95",
            _quantity(NETWORK_FIRST, "across"),
            "above",
            0.95,
            nothing=0.5,
        ),
    ),
    controls=(
        Control(
            "a network alone knows nothing of another token",
            _quantity(NETWORK_ALONE, "across"),
            most=0.65,
        ),
        Control("but its own token well", _quantity(NETWORK_ALONE, "within"), least=0.9),
    ),
    expected="1.00 and 1.00, five of five seeds",
    seconds=20,
    against=True,
)
