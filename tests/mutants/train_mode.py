"""Modules that are other functions while they are trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import reference
from properties.every_component import MODULES
from tests.mutants import Mutant, mutant

LAW = "train_mode_changes_no_result"


@mutant("FeedForward", LAW)
class DropoutByDefault(reference.FeedForward):
    """Leave out a tenth of the hidden units in training, which nobody has asked for."""

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.inner(x))
        return self.outer(nn.functional.dropout(hidden, 0.1, self.training))


@mutant("FeedForward", LAW)
class BatchNormInside(reference.FeedForward):
    """Normalise hidden units by the batch in training, and by what was remembered in use."""

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.norm = nn.BatchNorm1d(sizes[1])

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.norm(self.inner(x).transpose(1, 2)).transpose(1, 2)
        return self.outer(torch.relu(hidden))


@mutant("SelfAttention", LAW)
class WeightsAreDroppedInTraining(reference.SelfAttention):
    """Hide some tokens at random in training, and scale what is left of the weights."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        _, weights = super().forward(x, mask)
        weights = nn.functional.dropout(weights, 0.2, self.training)
        return weights @ self.value(x), weights


@mutant("EncoderLayer", LAW)
class AddsNoiseInTraining(reference.EncoderLayer):
    """Add a little noise to every token that is trained on."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        noise = 1e-4 * torch.randn_like(x) if self.training else 0.0
        return super().forward(x + noise, mask)


@mutant("Transformer", LAW)
class SmoothsItsLogitsInTraining(reference.Transformer):
    """Smooth the answer, and not the target that it is compared with, while it is trained."""

    def forward(
        self, source: Tensor, target_in: Tensor, source_mask: Tensor | None = None
    ) -> Tensor:
        logits = super().forward(source, target_in, source_mask)
        return 0.9 * logits if self.training else logits


def _twice_in_training(component: str) -> Mutant:
    """Make the first result of a component twice as large in train mode."""
    right = getattr(reference, component)

    class TwiceInTrainMode(right):
        """Give twice the result, as inverted dropout does to what it leaves."""

        def forward(self, *arguments, **named):
            answer = super().forward(*arguments, **named)
            if not self.training:
                return answer
            return (2 * answer[0], *answer[1:]) if isinstance(answer, tuple) else 2 * answer

    return Mutant("TwiceInTrainMode", component, TwiceInTrainMode, (LAW,))


MUTANTS = tuple(_twice_in_training(component) for component in MODULES)
