"""Wrong feed-forward networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reference import FeedForward
from tests.mutants import mutant

COMPONENT = "FeedForward"
TOKENS = "changing_a_token_changes_no_other"
GRADIENT = "a_token_has_no_gradient_by_another"
ORDER = "permuting_the_tokens_permutes_the_outputs"
PART = "a_part_of_the_tokens_gives_a_part_of_the_outputs"
SYMBOLS = "an_output_is_an_expression_in_its_own_token"
BENT = "it_is_not_affine"
USED = "every_weight_matrix_is_used"
WIDTH = "outputs_span_no_more_than_the_hidden_width"
HOMOGENEOUS = "without_biases_a_positive_factor_passes_through"


class Steps(FeedForward):
    """The reference, step by step; a mutant gets one of the steps wrong."""

    def bend(self, hidden: Tensor) -> Tensor:
        """Apply the activation."""
        return torch.relu(hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Give the transformed tokens."""
        return self.outer(self.bend(self.inner(x)))


# --- Tokens mix ---------------------------------------------------------------------------------


@mutant(COMPONENT, TOKENS, GRADIENT, ORDER, PART, SYMBOLS)
class HiddenUnitsSeeTheTokenBefore(Steps):
    """Add a little of what the token before has in its hidden units: a convolution of width two."""

    def bend(self, hidden: Tensor) -> Tensor:
        """Shift."""
        before = torch.cat([torch.zeros_like(hidden[:, :1]), hidden[:, :-1]], 1)
        return torch.relu(hidden + 1e-6 * before)


@mutant(COMPONENT, TOKENS, GRADIENT, PART)
class BatchNormOverAllTokens(Steps):
    """Normalise hidden units over items and tokens."""

    def bend(self, hidden: Tensor) -> Tensor:
        """Let every token into the mean."""
        centred = hidden - hidden.mean((0, 1), keepdim=True)
        spread = torch.sqrt(centred.square().mean((0, 1), keepdim=True) + 1e-5)
        return torch.relu(centred / spread)


@mutant(COMPONENT, TOKENS, GRADIENT, ORDER)
class LinearOverTheTokensWhereTheyFit(Steps):
    """Apply the first layer along the tokens where their number is the width."""

    def forward(self, x: Tensor) -> Tensor:
        """Swap the axes where it is not noticed."""
        if x.shape[1] != x.shape[2]:
            return super().forward(x)
        hidden = torch.relu(self.inner(x.mT))  # (B, D, d_hidden)
        return self.outer(hidden).mT


@mutant(COMPONENT, TOKENS, PART)
class MeanOfTokensTakenAwayWithoutGradient(Steps):
    """Centre the tokens, outside the gradient."""

    def forward(self, x: Tensor) -> Tensor:
        """Leave no trace in the Jacobian."""
        return super().forward(x - 1e-6 * x.mean(1, keepdim=True).detach())


@mutant(COMPONENT, GRADIENT, "gradients_agree_with_finite_differences")
class GradientSpreadOverTheTokens(Steps):
    """Share the gradient out to all tokens."""

    def forward(self, x: Tensor) -> Tensor:
        """Give the right output."""
        y = super().forward(x)
        mean = y.mean(1, keepdim=True)
        return y + (mean - mean.detach())


# --- Tokens are not treated alike ---------------------------------------------------------------


@mutant(COMPONENT, ORDER, PART, SYMBOLS)
class LastTokenIsNotBent(Steps):
    """Leave the activation out for the last token."""

    def bend(self, hidden: Tensor) -> Tensor:
        """Cut one too early."""
        return torch.cat([torch.relu(hidden[:, :-1]), hidden[:, -1:]], 1)


@mutant(COMPONENT, ORDER)
class TokensBeyondThirtyTwoPassUnchanged(Steps):
    """Work in a buffer of 32 tokens; wrong past it alone."""

    def forward(self, x: Tensor) -> Tensor:
        """Copy the rest."""
        return torch.cat([super().forward(x[:, :32]), x[:, 32:]], 1)


@mutant(COMPONENT, ORDER, SYMBOLS)
class PlaceAddedToTheHiddenUnits(Steps):
    """Give every place a bias of its own."""

    def bend(self, hidden: Tensor) -> Tensor:
        """Count the tokens."""
        places = torch.arange(hidden.shape[1], dtype=torch.float64)[:, None]
        return torch.relu(hidden + 0.01 * (places if hidden.dtype == torch.float64 else 0 * places))


# --- Layers are missing -------------------------------------------------------------------------


@mutant(COMPONENT, BENT, HOMOGENEOUS)
class NoActivation(Steps):
    """Put one linear layer on the other."""

    def bend(self, hidden: Tensor) -> Tensor:
        """Bend nothing."""
        return hidden


@mutant(COMPONENT, USED, BENT, HOMOGENEOUS)
class OneLayerOfTwo(FeedForward):
    """Own two layers and use one of them."""

    def __init__(self, d_model: int, d_hidden: int) -> None:
        super().__init__(d_model, d_hidden)
        self.direct = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor) -> Tensor:
        """Forget what was constructed."""
        return self.direct(x) + 0 * self.outer(torch.relu(self.inner(x)))


@mutant(COMPONENT, USED)
class FirstLayerIsDetached(Steps):
    """Cut the gradient between the layers."""

    def bend(self, hidden: Tensor) -> Tensor:
        """Learn nothing below."""
        return torch.relu(hidden).detach()


@mutant(COMPONENT, WIDTH)
class HiddenWidthIsFourTimesTheModels(FeedForward):
    """Ignore the hidden width that was asked for."""

    def __init__(self, d_model: int, d_hidden: int) -> None:
        super().__init__(d_model, 4 * d_model)
        del d_hidden


@mutant(COMPONENT, WIDTH)
class HalfOfTheHiddenWidth(FeedForward):
    """Take the width of two halves for that of one."""

    def __init__(self, d_model: int, d_hidden: int) -> None:
        super().__init__(d_model, max(d_hidden // 2, 1))


@mutant(COMPONENT, WIDTH)
class ResidualInside(Steps):
    """Add the tokens themselves, which the layer around does already."""

    def forward(self, x: Tensor) -> Tensor:
        """Add twice."""
        return x + super().forward(x)


@mutant(COMPONENT, HOMOGENEOUS)
class ActivationShifted(Steps):
    """Bend at one and not at zero."""

    def bend(self, hidden: Tensor) -> Tensor:
        """Shift by one."""
        return torch.relu(hidden - 1.0)


@mutant(COMPONENT, TOKENS)
class LastEntryNotWritten(FeedForward):
    """Fill in all entries of a token but the last."""

    def forward(self, x: Tensor) -> Tensor:
        """Leave a zero."""
        y = super().forward(x)
        return torch.cat([y[..., :-1], torch.zeros_like(y[..., -1:])], -1)


@mutant(COMPONENT, GRADIENT)
class LastEntryNotRead(FeedForward):
    """Read all entries of a token but the last."""

    def forward(self, x: Tensor) -> Tensor:
        """Read a zero."""
        return super().forward(torch.cat([x[..., :-1], torch.zeros_like(x[..., -1:])], -1))


@mutant(COMPONENT, "gradients_agree_with_finite_differences")
class BiasDoesNotLearn(FeedForward):
    """Cut the gradient by the second layer's bias."""

    def forward(self, x: Tensor) -> Tensor:
        """Add it detached."""
        return super().forward(x) - self.outer.bias + self.outer.bias.detach()


@mutant(COMPONENT, "what_it_computes_is_in_its_parameters")
class ParameterMadeAtTheFirstCall(FeedForward):
    """Make a scale when it is first needed, after the optimiser was given the others."""

    late: nn.Parameter | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Make it where it is missing."""
        if self.late is None:
            self.late = nn.Parameter(torch.ones_like(x[0, 0]).detach())
        return super().forward(x) * self.late


@mutant(COMPONENT, ORDER, PART)
class WholeBlocksAlone(FeedForward):
    """Take a long sequence in blocks of 64, and forget what is left behind the last."""

    def forward(self, x: Tensor) -> Tensor:
        """Map block after block."""
        y = torch.zeros_like(x)
        for start in range(max(1, x.shape[1] // 64)):
            block = slice(64 * start, 64 * start + 64)
            y[:, block] = super().forward(x[:, block])
        return y
