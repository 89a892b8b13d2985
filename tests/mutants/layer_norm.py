"""Wrong layer normalisations."""

from __future__ import annotations

import torch
from torch import Tensor

from reference import LayerNorm, layer_norm
from tests.mutants import mutant

COMPONENT = "LayerNorm"
DEFINITION = "every_token_is_centred_and_scaled"
MOMENTS = "tokens_have_mean_zero_and_a_variance_below_one"
SCALE = "a_scale_drops_out_but_for_epsilon"
SHIFT = "adding_a_constant_to_a_token_changes_nothing"
ALONE = "a_token_is_normalised_by_itself"
SYMBOLS = "mean_variance_and_shift_come_out_in_symbols"
GRADIENT = "the_gradient_leaves_out_the_mean_and_the_token_itself"
JACOBIAN = "without_epsilon_the_jacobian_projects_two_directions_out"
PARAMETERS = "gain_and_bias_act_entry_by_entry"
LEARNED = "what_is_learned_scales_and_shifts_every_entry"
LOW = "low_precision_rounds_no_further_than_it_must"


class Steps(LayerNorm):
    """The reference, step by step; a mutant gets one of the steps wrong."""

    def centre(self, x: Tensor) -> Tensor:
        """Take the mean away."""
        return x - x.mean(-1, keepdim=True)

    def variance(self, x: Tensor, centred: Tensor) -> Tensor:
        """Give σ², (..., 1)."""
        del x
        return centred.square().mean(-1, keepdim=True)

    def spread(self, variance: Tensor) -> Tensor:
        """Give what the token is divided by."""
        return torch.sqrt(variance + self.eps)

    def finish(self, normalised: Tensor) -> Tensor:
        """Apply gain and bias."""
        return self.gain * normalised + self.bias

    def forward(self, x: Tensor) -> Tensor:
        """Give the normalised tokens."""
        centred = self.centre(x)
        return self.finish(centred / self.spread(self.variance(x, centred)))


# --- Variance and ε -----------------------------------------------------------------------------


@mutant(COMPONENT, DEFINITION, MOMENTS, SCALE)
class EpsilonOfAMillionth(Steps):
    """Take 10⁻⁶ for ε."""

    eps = 1e-6


@mutant(COMPONENT, DEFINITION, MOMENTS)
class EpsilonOnlyWhereItIsNeeded(Steps):
    """Take the larger of σ² and ε in place of their sum."""

    def spread(self, variance: Tensor) -> Tensor:
        """Be right at no variance and at a very large one."""
        return torch.sqrt(variance.clamp_min(self.eps))


@mutant(COMPONENT, DEFINITION)
class MeanOfSquaresMinusSquaredMean(Steps):
    """Compute the variance in one pass, which loses its digits far off zero."""

    def variance(self, x: Tensor, centred: Tensor) -> Tensor:
        """Subtract two large numbers."""
        del centred
        squares = x.square().mean(-1, keepdim=True)
        return (squares - x.mean(-1, keepdim=True).square()).clamp_min(0)


@mutant(COMPONENT, DEFINITION, MOMENTS)
class VarianceOfTheFirstThousandEntries(Steps):
    """Sum the squares in one block of 1,000; right for any narrower token."""

    def variance(self, x: Tensor, centred: Tensor) -> Tensor:
        """Leave out the tail."""
        return super().variance(x, centred[..., :1000])


@mutant(COMPONENT, DEFINITION, MOMENTS, SCALE, GRADIENT)
class EpsilonAddedToTorchsDeviation(LayerNorm):
    """Add ε to the standard deviation, which has no NaN for a gradient where torch computes it."""

    def forward(self, x: Tensor) -> Tensor:
        """Give the normalised tokens."""
        deviation = x.std(-1, correction=0, keepdim=True)
        return self.gain * (x - x.mean(-1, keepdim=True)) / (deviation + self.eps) + self.bias


@mutant(COMPONENT, DEFINITION, SCALE)
class MeanAbsoluteDeviation(Steps):
    """Divide by the mean distance from the mean."""

    def spread(self, variance: Tensor) -> Tensor:
        """Take what is no square for a spread."""
        return variance + self.eps

    def variance(self, x: Tensor, centred: Tensor) -> Tensor:
        """Average distances."""
        del x
        return centred.abs().mean(-1, keepdim=True)


# --- Mean ---------------------------------------------------------------------------------------


@mutant(COMPONENT, DEFINITION, MOMENTS, SHIFT, SYMBOLS, JACOBIAN)
class OnlyTheLengthIsDivided(Steps):
    """Leave the mean where it is: root mean square normalisation."""

    def centre(self, x: Tensor) -> Tensor:
        """Take nothing away."""
        return x


@mutant(COMPONENT, DEFINITION, SHIFT)
class CentredAfterScaling(Steps):
    """Divide by the root mean square of the token as it came."""

    def variance(self, x: Tensor, centred: Tensor) -> Tensor:
        """Forget that the token was centred."""
        del centred
        return x.square().mean(-1, keepdim=True)


@mutant(COMPONENT, MOMENTS)
class MeanLeavesOutTheLastEntry(Steps):
    """Stop the mean one too early."""

    def centre(self, x: Tensor) -> Tensor:
        """Take the mean of all but one."""
        return x - x[..., : max(x.shape[-1] - 1, 1)].mean(-1, keepdim=True)


# --- Axes ---------------------------------------------------------------------------------------


@mutant(COMPONENT, DEFINITION, ALONE)
class OverTheLastTwoAxes(Steps):
    """Normalise all tokens of an item together."""

    def forward(self, x: Tensor) -> Tensor:
        """Be right for one token."""
        if x.dim() < 2:
            return super().forward(x)
        centred = x - x.mean((-2, -1), keepdim=True)
        return centred / torch.sqrt(centred.square().mean((-2, -1), keepdim=True) + self.eps)


@mutant(COMPONENT, ALONE)
class OverTheBatch(Steps):
    """Normalise every entry over the items: batch normalisation; one token alone is right."""

    def forward(self, x: Tensor) -> Tensor:
        """Be right for one dimension."""
        if x.dim() < 2:
            return super().forward(x)
        centred = x - x.mean(0, keepdim=True)
        return centred / torch.sqrt(centred.square().mean(0, keepdim=True) + self.eps)


@mutant(COMPONENT, ALONE)
class OverTheSecondAxisOfTheInput(Steps):
    """Take every input for (B, D): wrong for (B, L, D) with L = D alone, where the shapes fit."""

    def forward(self, x: Tensor) -> Tensor:
        """Swap the axes where it is not noticed."""
        if x.dim() == 3 and x.shape[1] == x.shape[2]:
            return super().forward(x.mT).mT
        return super().forward(x)


@mutant(COMPONENT, ALONE)
class SpreadOfTheFirstToken(Steps):
    """Divide every token by the spread of the first; right for one token."""

    def spread(self, variance: Tensor) -> Tensor:
        """Read one row."""
        spread = super().spread(variance)
        return spread.reshape(-1, 1)[0] if spread.dim() > 1 else spread


@mutant(COMPONENT, ALONE)
class FourDimensionsAreTakenForImages(Steps):
    """Normalise the second axis of four, where images have their channels."""

    def forward(self, x: Tensor) -> Tensor:
        """Be right for up to three dimensions."""
        if x.dim() == 4:
            centred = x - x.mean(1, keepdim=True)
            return centred / torch.sqrt(centred.square().mean(1, keepdim=True) + self.eps)
        return super().forward(x)


# --- Gain and bias ------------------------------------------------------------------------------


@mutant(COMPONENT, PARAMETERS, SYMBOLS)
class GainIsNotUsed(Steps):
    """Forget the gain, which shows in no result before something was learned."""

    def finish(self, normalised: Tensor) -> Tensor:
        """Add the bias alone."""
        return normalised + self.bias


@mutant(COMPONENT, PARAMETERS, SYMBOLS)
class BiasBeforeGain(Steps):
    """Scale the bias, too."""

    def finish(self, normalised: Tensor) -> Tensor:
        """Add first."""
        return self.gain * (normalised + self.bias)


@mutant(COMPONENT, PARAMETERS)
class OneGainForAllEntries(Steps):
    """Scale every entry by the mean of the gains."""

    def finish(self, normalised: Tensor) -> Tensor:
        """Average."""
        return self.gain.mean() * normalised + self.bias


class Renamed(Steps):
    """The reference under other names, which no oracle can be given."""

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model)
        self.weight, self.shift = self.gain, self.bias
        del self.gain, self.bias

    def finish(self, normalised: Tensor) -> Tensor:
        """Apply gain and bias."""
        return self.weight * normalised + self.shift


@mutant(COMPONENT, LEARNED)
class GainOfAnotherNameIsNotUsed(Renamed):
    """Forget the gain, whatever it is called."""

    def finish(self, normalised: Tensor) -> Tensor:
        """Add alone."""
        return normalised + self.shift


@mutant(COMPONENT, LEARNED)
class GainBeforeNormalising(Renamed):
    """Scale the token and not what was made of it; at gain 1 there is no difference."""

    def forward(self, x: Tensor) -> Tensor:
        """Multiply too early."""
        centred = self.centre(x * self.weight)
        return centred / self.spread(self.variance(x, centred)) + self.shift


@mutant(COMPONENT, LEARNED)
class GainOfTheFirstEntryForAll(Renamed):
    """Own a vector and read one entry of it."""

    def finish(self, normalised: Tensor) -> Tensor:
        """Broadcast a number."""
        return self.weight[0] * normalised + self.shift


@mutant(COMPONENT, "gradients_agree_with_finite_differences")
class GainNeverLearns(Renamed):
    """Cut the gradient by the gain."""

    def finish(self, normalised: Tensor) -> Tensor:
        """Detach."""
        return self.weight.detach() * normalised + self.shift


@mutant(COMPONENT, DEFINITION, MOMENTS)
class GainStartsAtZero(Steps):
    """Start at gain 0, for a sum with a residual around it."""

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model)
        torch.nn.init.zeros_(self.gain)


# --- Gradients and precision --------------------------------------------------------------------


@mutant(COMPONENT, GRADIENT, "gradients_agree_with_finite_differences")
class SpreadIsDetached(Steps):
    """Take the spread for a constant in the gradient."""

    def spread(self, variance: Tensor) -> Tensor:
        """Cut the gradient."""
        return super().spread(variance).detach()


@mutant(COMPONENT, GRADIENT, "gradients_agree_with_finite_differences")
class MeanIsDetached(Steps):
    """Take the mean for a constant in the gradient."""

    def centre(self, x: Tensor) -> Tensor:
        """Cut the gradient."""
        return x - x.mean(-1, keepdim=True).detach()


@mutant(COMPONENT, LOW)
class ThreeDigitsInFloat32(Steps):
    """Leave an autocast on that lowers the precision of float32."""

    def forward(self, x: Tensor) -> Tensor:
        """Compute in bfloat16 and say nothing."""
        if x.dtype != torch.float32:
            return super().forward(x)
        gain, bias = self.gain.bfloat16(), self.bias.bfloat16()
        return layer_norm(x.bfloat16(), gain, bias, self.eps).to(x.dtype)


@mutant(COMPONENT, LOW)
class EpsilonAsAFloat16(Steps):
    """Divide in float16 by a spread without ε, which rounds to nothing there."""

    def spread(self, variance: Tensor) -> Tensor:
        """Lose ε where the dtype is short."""
        return torch.sqrt(variance) if variance.dtype == torch.float16 else super().spread(variance)


@mutant(COMPONENT, DEFINITION)
class ComputedInFloat32(Steps):
    """Lose half the digits of float64."""

    def forward(self, x: Tensor) -> Tensor:
        """Cast there and back."""
        return layer_norm(x.float(), self.gain.float(), self.bias.float(), self.eps).to(x.dtype)


@mutant(COMPONENT, PARAMETERS, LEARNED)
class GainWithoutItsSign(LayerNorm):
    """Let no gain turn an entry round."""

    def forward(self, x: Tensor) -> Tensor:
        """Take the gain's size."""
        return layer_norm(x, self.gain.abs(), self.bias, self.eps)


@mutant(COMPONENT, DEFINITION)
class ClippedAtTen(LayerNorm):
    """Clip what stands out, which only a wide token can have."""

    def forward(self, x: Tensor) -> Tensor:
        """Clip before gain and bias, which are one and zero."""
        return super().forward(x).clamp(-10, 10)


@mutant(COMPONENT, DEFINITION, PARAMETERS)
class FiveAxesAreLeftAlone(LayerNorm):
    """Know tokens up to three leading dimensions."""

    def forward(self, x: Tensor) -> Tensor:
        """Give the others back."""
        return super().forward(x) if x.dim() < 5 else x
