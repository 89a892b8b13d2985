"""Section 5 of the notes: what depth does to tokens and gradients, at initialisation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attest.experiments import Arm, Comparison, Control, Experiment, Figure, Numbers, Series
from attest.training import Seeds
from properties.residual import RES_01, RES_02
from properties.transformer import TRF_07
from properties.transformer_layers import EQ_02

SMALLEST = 1e-300
"""What stands for zero where logarithms are taken."""

# --- Layers with residuals and without ----------------------------------------------------------


def _unit_gain(model: nn.Module) -> None:
    """Redraw every matrix with variance 1 / fan-in, and set the biases to zero."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, parameter.shape[1] ** -0.5)
            else:
                parameter.copy_(parameter.eq(1))  # gains stay at one


class _Layers(nn.Module):
    """Attention and a feed-forward network in turn, each with a residual or without.

    Args:
        reference: the reference's names.
        width: of the tokens.
        n_layers: the number of layers.
        skip: what the input of a sublayer is multiplied by before its output is added.
        pre_norm: whether sublayers read normalised tokens; otherwise sums are normalised.
    """

    def __init__(
        self, reference: ModuleType, width: int, n_layers: int, *, skip: float, pre_norm: bool
    ) -> None:
        super().__init__()
        self.skip, self.pre_norm = skip, pre_norm
        self.sublayers = nn.ModuleList()
        for _ in range(n_layers):
            self.sublayers.append(reference.MultiHeadAttention(width, 4))
            self.sublayers.append(reference.FeedForward(width, 4 * width))
        self.norms = nn.ModuleList(reference.LayerNorm(width) for _ in self.sublayers)
        _unit_gain(self)

    def forward(self, x: Tensor, loudness: float = 1.0) -> Tensor:
        """Give the tokens after the last layer, where sublayers speak with some loudness."""
        for place, (sublayer, norm) in enumerate(zip(self.sublayers, self.norms, strict=True)):
            read = norm(x) if self.pre_norm else x
            said = sublayer(read) if place % 2 else sublayer(read, read, read)[0]
            x = self.skip * x + loudness * said
            x = x if self.pre_norm else norm(x)
        return x


def _layers(
    reference: ModuleType, width: int, n_layers: int, *, skip: float, pre_norm: bool
) -> nn.Module:
    return _Layers(reference, width, n_layers, skip=skip, pre_norm=pre_norm).double()


def _tokens(*shape: int) -> Callable[[torch.Generator], Tensor]:
    return lambda generator: torch.randn(shape, generator=generator, dtype=torch.float64)


def _apart(x: Tensor) -> Tensor:
    """Give how far tokens are from their mean, beside how long they are, (batch,)."""
    apart = (x - x.mean(1, keepdim=True)).flatten(1).norm(dim=1)
    return apart / x.flatten(1).norm(dim=1)


def collapsing(
    reference: ModuleType, seeds: Seeds, *, skip: float, depths: tuple[int, ...], width: int
) -> Mapping[str, Tensor]:
    """See how alike the tokens become in models of so many layers, with post-norm.

    Returns:
        "apart", log10 of how far the tokens are apart after so many layers, beside how far they
        were at first; (seeds, depths).
    """
    x = seeds.draw(_tokens(8, 16, width))
    found = []
    for depth in depths:
        build = partial(_layers, reference, width, depth, skip=skip, pre_norm=False)
        stack = seeds.build(build)
        after = stack(lambda model, x: (_apart(model(x)) / _apart(x)).mean(), x)
        found.append(after.clamp_min(SMALLEST).log10())
    return {"apart": torch.stack(found, 1)}


def differentiating(
    reference: ModuleType, seeds: Seeds, *, skip: float, depths: tuple[int, ...], width: int
) -> Mapping[str, Tensor]:
    """Take gradients through layers with pre-norm.

    Returns:
        Each (seeds, depths): "of a difference", log10 of the gradient of the difference between two
        tokens by the input; "of a token", the same of one token; "silent", the largest change of
        the tokens where all sublayers are silent.
    """
    x = seeds.draw(_tokens(1, 16, width))
    direction = seeds.draw(_tokens(width), stream=1)
    found: dict[str, list[Tensor]] = {"of a difference": [], "of a token": [], "silent": []}
    for depth in depths:
        stack = seeds.build(partial(_layers, reference, width, depth, skip=skip, pre_norm=True))

        def gradients(model: nn.Module, x: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
            def difference(x: Tensor) -> Tensor:
                said = model(x)[0]
                return (said[0] - said[1]) @ direction

            def token(x: Tensor) -> Tensor:
                return model(x)[0, 0] @ direction

            return torch.func.grad(difference)(x).norm(), torch.func.grad(token)(x).norm()

        of_difference, of_token = stack(gradients, x, direction)
        silent = stack(lambda model, x: (model(x, 0.0) - x).abs().amax(), x)
        found["of a difference"].append(of_difference.clamp_min(SMALLEST).log10())
        found["of a token"].append(of_token.clamp_min(SMALLEST).log10())
        found["silent"].append(silent)
    return {name: torch.stack(values, 1) for name, values in found.items()}


def scaling_depth(
    reference: ModuleType, seeds: Seeds, *, pre_norm: bool, depths: tuple[int, ...], width: int
) -> Mapping[str, Tensor]:
    """Take the gradient of a loss by the last layer of an encoder, at initialisation.

    Returns:
        "slope", of log gradient against log depth, (seeds,); "gradient", its norm, and "stream",
        the root mean square of the tokens before anything after the last layer, (seeds, depths).
    """
    x, wanted = seeds.draw(
        lambda generator: (
            torch.randn((8, 16, width), generator=generator, dtype=torch.float64),
            torch.randint(width, (8, 16), generator=generator),
        )
    )
    gradient, stream = [], []
    for depth in depths:

        def build(depth: int = depth) -> nn.Module:
            encoder = reference.Encoder(width, 4, 4 * width, depth, pre_norm=pre_norm)
            _unit_gain(encoder)
            model: nn.Module = encoder.double()
            return model

        def loss(model: Any, x: Tensor, wanted: Tensor) -> Tensor:
            return nn.functional.cross_entropy(model(x).flatten(0, 1), wanted.flatten())

        def size(model: Any, x: Tensor) -> Tensor:
            for layer in model.layers:
                x = layer(x)
            return x.square().mean().sqrt()

        stack = seeds.build(build)
        taken = stack.gradients(loss, x, wanted)
        gradient.append(
            taken[f"layers.{depth - 1}.feed_forward.outer.weight"].flatten(1).norm(dim=1)
        )
        stream.append(stack(size, x))
    norms = torch.stack(gradient, 1)
    logs = torch.tensor(depths, dtype=torch.float64, device=norms.device).log()
    centred = logs - logs.mean()
    slope = (norms.log() * centred).sum(1) / centred.square().sum()
    return {"slope": slope, "gradient": norms, "stream": torch.stack(stream, 1)}


# --- Arms and experiments -----------------------------------------------------------------------


def _at(arm: Arm, quantity: str, place: int) -> Callable[[Numbers], Any]:
    return lambda numbers: numbers[arm.name][quantity][:, place]


def _change(arm: Arm, quantity: str) -> Callable[[Numbers], Any]:
    """Give how much more there is at the last depth than at the first."""
    return lambda numbers: _at(arm, quantity, -1)(numbers) - _at(arm, quantity, 0)(numbers)


def _all(arm: Arm, quantity: str) -> Callable[[Numbers], Any]:
    return lambda numbers: numbers[arm.name][quantity]


_FEW, _DEEP = (1, 2, 3, 4), (4, 6, 12, 24)
_SIZES = {"width": 64}
_SMALL = {"width": 16}


def _collapse(name: str, skip: float, depths: tuple[int, ...]) -> Arm:
    return Arm(name, collapsing, {**_SIZES, "skip": skip, "depths": depths}, _SMALL)


AS_WRITTEN = _collapse("collapse as written, without residuals", 0.0, _FEW)
WITH_RESIDUALS = _collapse("collapse with residuals", 1.0, _FEW)
DEEP = _collapse("collapse with residuals, deep", 1.0, _DEEP)
DEEP_WITHOUT = _collapse("collapse without residuals, deep", 0.0, _DEEP[:1])
_COLLAPSE_TASK = (
    "16 random tokens of width 64 through layers of attention and a feed-forward network, "
    "post-norm, "
    "at initialisation with variance 1 / fan-in, float64: how far tokens are from their mean."
)

AS_THE_EQUATIONS_SAY = Experiment(
    about=EQ_02.part("as written"),
    component="EncoderLayer",
    hypothesis="Without residuals tokens become alike with every layer.",
    task=_COLLAPSE_TASK,
    arms=(AS_WRITTEN, WITH_RESIDUALS),
    comparisons=(
        Comparison(
            "how far they are apart falls over 1, 2, 3, 4 layers",
            _all(AS_WRITTEN, "apart"),
            "falling",
        ),
        Comparison(
            "after four layers less than a hundredth is left",
            _at(AS_WRITTEN, "apart", 3),
            "below",
            -2,
        ),
    ),
    controls=(
        Control(
            "with residuals more than a tenth is left", _at(WITH_RESIDUALS, "apart", 3), least=-1
        ),
    ),
    expected="ratios .65, .13, 1.5e-3, 3.6e-9 after 1, 2, 3, 4 layers",
    seconds=10,
)

COLLAPSE_IS_SLOWED = Experiment(
    about=RES_02.part("collapse"),
    component="EncoderLayer",
    hypothesis="With residuals, too, tokens become alike with depth, but much later.",
    task=_COLLAPSE_TASK,
    arms=(DEEP, DEEP_WITHOUT),
    comparisons=(
        Comparison(
            "with residuals it falls over 4, 6, 12, 24 layers", _all(DEEP, "apart"), "falling"
        ),
        Comparison(
            "after four layers a hundred times more is left than without",
            lambda numbers: _at(DEEP, "apart", 0)(numbers) - _at(DEEP_WITHOUT, "apart", 0)(numbers),
            "above",
            2,
        ),
    ),
    controls=(
        Control("with residuals tokens differ after four layers", _at(DEEP, "apart", 0), least=-2),
    ),
    expected="ratios .25, .03, 5e-4 after 6, 12, 24 layers",
    seconds=20,
    against=True,
)

# Without residuals, what is left after more layers is rounding.
_LEVELS = (1, 2, 3, 4)
SKIPPED = Arm(
    "gradients with residuals",
    differentiating,
    {**_SIZES, "skip": 1.0, "depths": _LEVELS},
    _SMALL,
)
UNSKIPPED = Arm(
    "gradients without residuals",
    differentiating,
    {**_SIZES, "skip": 0.0, "depths": _LEVELS},
    _SMALL,
)

GRADIENTS_OF_DIFFERENCES = Experiment(
    about=RES_01.part("in depth"),
    component="EncoderLayer",
    hypothesis="Without residuals the gradient of the difference between two tokens vanishes with "
    "depth, and with them it does not; that of a single token does not tell.",
    task="16 random tokens of width 64 through layers of attention and a feed-forward network, "
    "pre-norm, at initialisation with variance 1 / fan-in, float64: the gradient by the tokens.",
    arms=(SKIPPED, UNSKIPPED),
    comparisons=(
        Comparison(
            "without residuals it falls over 1, 2, 3, 4 layers",
            _all(UNSKIPPED, "of a difference"),
            "falling",
        ),
        Comparison(
            "after four layers it is a thousand times larger with residuals",
            lambda numbers: (
                _at(SKIPPED, "of a difference", 3)(numbers)
                - _at(UNSKIPPED, "of a difference", 3)(numbers)
            ),
            "above",
            3,
        ),
        Comparison(
            "with residuals more than half of it is left after four layers",
            _change(SKIPPED, "of a difference"),
            "above",
            float(np.log10(0.5)),
            nothing=-3,
        ),
        Comparison(
            "without residuals more than a hundredth is left of the gradient of one token",
            _change(UNSKIPPED, "of a token"),
            "above",
            -2,
            nothing=-3,
            decides=False,
        ),
    ),
    controls=(
        Control(
            "where sublayers are silent, residuals carry tokens unchanged",
            lambda numbers: _all(SKIPPED, "silent")(numbers).max(1),
            most=0.0,
        ),
        Control(
            "without residuals nothing is carried",
            lambda numbers: _all(UNSKIPPED, "silent")(numbers).min(1),
            least=0.1,
        ),
    ),
    expected="without: 29 to 3e-7 after 4 layers and 1e-14 after 6; with: 42 to 95 after 24",
    seconds=20,
    figures=(
        Figure(
            "residual_gradients",
            "The gradient of a difference between two tokens, and of one token",
            "layers",
            "log10 of its norm",
            (
                Series("with residuals", _LEVELS, _all(SKIPPED, "of a difference")),
                Series("without residuals", _LEVELS, _all(UNSKIPPED, "of a difference")),
                Series("without residuals, one token", _LEVELS, _all(UNSKIPPED, "of a token")),
            ),
        ),
    ),
)

_DEPTHS = (1, 2, 4, 8, 16, 32)
PRE_NORM = Arm(
    "depth with pre-norm",
    scaling_depth,
    {**_SIZES, "pre_norm": True, "depths": _DEPTHS},
    {"width": 16, "depths": _DEPTHS[:5]},
)
POST_NORM = Arm(
    "depth with post-norm",
    scaling_depth,
    {**_SIZES, "pre_norm": False, "depths": _DEPTHS},
    {"width": 16, "depths": _DEPTHS[:5]},
)


def _growth(arm: Arm) -> Callable[[Numbers], Any]:
    return lambda numbers: np.asarray(
        numbers[arm.name]["stream"][:, -1] / numbers[arm.name]["stream"][:, 0]
    )


def _slope(arm: Arm) -> Callable[[Numbers], Any]:
    return lambda numbers: numbers[arm.name]["slope"]


GRADIENTS_BY_DEPTH = Experiment(
    about=TRF_07.part("slopes"),
    component="Encoder",
    hypothesis="With pre-norm the last layer's gradient falls with the depth as L^(−1/2), and with "
    "post-norm it does not.",
    task="An encoder of width 64 and 1 to 32 layers at initialisation with variance 1 / fan-in, "
    "float64: the norm of the gradient of a cross-entropy by the last matrix of the last layer.",
    arms=(PRE_NORM, POST_NORM),
    comparisons=(
        Comparison(
            "with pre-norm the slope of logarithms is −1/2, give or take .15",
            _slope(PRE_NORM),
            "within",
            -0.5,
            0.15,
        ),
        Comparison(
            "with post-norm it is larger by more than .25",
            lambda numbers: _slope(POST_NORM)(numbers) - _slope(PRE_NORM)(numbers),
            "above",
            0.25,
        ),
        Comparison(
            "with post-norm it is above −.1", _slope(POST_NORM), "above", -0.1, nothing=-0.5
        ),
    ),
    controls=(
        Control("with pre-norm the sums grow with the depth", _growth(PRE_NORM), least=1.5),
        Control("with post-norm they do not", _growth(POST_NORM), least=0.9, most=1.1),
    ),
    expected="post-norm 1.14 to 1.43, pre-norm 1.14 to .27, from 1 to 32 layers",
    seconds=30,
    figures=(
        Figure(
            "depth",
            "The last layer's gradient against depth, at initialisation",
            "layers",
            "norm of the gradient",
            (
                Series("post-norm", _DEPTHS, _all(POST_NORM, "gradient")),
                Series("pre-norm", _DEPTHS, _all(PRE_NORM, "gradient")),
            ),
            "xy",
        ),
    ),
)
