"""Wrong self-attentions."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from reference import SelfAttention, masked_softmax, softmax
from tests.mutants import mutant

COMPONENT = "SelfAttention"


class Steps(SelfAttention):
    """The reference, step by step; a mutant gets one of the steps wrong."""

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Make queries, keys and values of the tokens, each (B, L, D)."""
        return self.query(x), self.key(x), self.value(x)

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        """Score every query against every key, (B, L, L)."""
        return query @ key.mT / math.sqrt(query.shape[-1])

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        """Turn scores into weights."""
        return masked_softmax(scores, mask)

    def mix(self, weights: Tensor, value: Tensor) -> Tensor:
        """Take the weighted mean of the values."""
        return weights @ value

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Give the output and the weights."""
        query, key, value = self.project(x)
        weights = self.weigh(self.score(query, key), mask)
        return self.mix(weights, value), weights


def distances(length: int) -> Tensor:
    """Give |i − j|, (L, L)."""
    place = torch.arange(length)
    return (place[:, None] - place).abs()


def causal(scores: Tensor) -> Tensor:
    """Give a causal mask for these scores."""
    return torch.ones(scores.shape[-2:], dtype=torch.bool).tril()


# --- Projections --------------------------------------------------------------------------------


@mutant(COMPONENT)
class KeysByTheQueryMatrix(Steps):
    """Project keys with the queries' matrix."""

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.query(x), self.query(x), self.value(x)


@mutant(COMPONENT)
class ValuesAreTheKeys(Steps):
    """Mix the keys instead of the values."""

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        key = self.key(x)
        return self.query(x), key, key + 0 * self.value(x)


@mutant(COMPONENT)
class ValuesNotProjected(Steps):
    """Mix the tokens themselves."""

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.query(x), self.key(x), x


@mutant(COMPONENT)
class MatricesTransposed(Steps):
    """Multiply by the matrices' transposes."""

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return x @ self.query.weight, x @ self.key.weight, x @ self.value.weight


@mutant(COMPONENT)
class FeatureAxisGuessed(Steps):
    """Take a sequence as long as it is wide for one that comes features first."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if x.shape[-2] == x.shape[-1]:
            output, weights = super().forward(x.mT, mask)
            return output.mT, weights
        return super().forward(x, mask)


@mutant(COMPONENT)
class QueriesCentredOverTheSequence(Steps):
    """Take the mean over all tokens from each query."""

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = super().project(x)
        return query - query.mean(-2, keepdim=True), key, value


@mutant(COMPONENT)
class TokensCentredOverTheBatch(Steps):
    """Take the mean over the batch from each token."""

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return super().project(x - x.mean(0, keepdim=True))


@mutant(COMPONENT)
class TokensNumberedByPosition(Steps):
    """Add its position to each token."""

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        place = torch.arange(x.shape[-2])[:, None]
        return super().project(x + place / 50)


@mutant(COMPONENT)
class QueriesCarriedFromTokenToToken(Steps):
    """Add half of each query to the next, one token after another."""

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = super().project(x)
        rows = [query[:, :1]]
        for i in range(1, query.shape[-2]):
            rows.append(query[:, i : i + 1] + rows[-1] / 2)
        return torch.cat(rows, -2), key, value


@mutant(COMPONENT)
class SequenceMeanRemembered(Steps):
    """Take the running mean of all calls from each token."""

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model)
        self.register_buffer("mean", torch.zeros(d_model))

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean((0, 1))
        return super().project(x - self.mean)


@mutant(COMPONENT)
class KeysDetached(Steps):
    """Let no gradient through the keys, so that their matrix never learns."""

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = super().project(x)
        return query, key.detach(), value


@mutant(COMPONENT)
class TokensScaledInPlace(Steps):
    """Put the scale into the tokens, in the caller's tensor."""

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = super().project(x)
        x.detach().div_(math.sqrt(math.sqrt(x.shape[-1])))
        return query, key, value


@mutant(COMPONENT)
class StridesAssumed(Steps):
    """Read the batch item by item, by strides that only a contiguous tensor has."""

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        batch, length, width = x.shape
        return super().project(x.as_strided(x.shape, (length * width, width, 1)))


@mutant(COMPONENT)
class OneMatrixForQueriesAndKeys(Steps):
    """Share one parameter between queries and keys."""

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model)
        self.key = self.query


@mutant(COMPONENT)
class OneMatrixForAll(Steps):
    """Share one parameter between queries, keys and values."""

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model)
        self.key = self.value = self.query


@mutant(COMPONENT)
class OutputProjectedToo(Steps):
    """Project the output, as only multi-head attention does."""

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model)
        self.output = nn.Linear(d_model, d_model, bias=False)

    def mix(self, weights: Tensor, value: Tensor) -> Tensor:
        return self.output(super().mix(weights, value))


@mutant(COMPONENT)
class ParameterThatNothingUses(Steps):
    """Keep an output projection that takes no part."""

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model)
        self.output = nn.Linear(d_model, d_model, bias=False)


@mutant(COMPONENT)
class UnscaledWithAFusedProjection(nn.Module):
    """Forget the scale, with one matrix for all three projections."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.project = nn.Linear(d_model, 3 * d_model, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        query, key, value = self.project(x).chunk(3, -1)
        weights = masked_softmax(query @ key.mT, mask)
        return weights @ value, weights


# --- Scores -------------------------------------------------------------------------------------


@mutant(COMPONENT)
class ScaleForgotten(Steps):
    """Do not divide by √d."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        return query @ key.mT


@mutant(COMPONENT)
class ScaledByTheWidthItself(Steps):
    """Divide by d instead of √d."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        return query @ key.mT / query.shape[-1]


@mutant(COMPONENT)
class ScaledByTheLength(Steps):
    """Divide by the square root of the wrong axis."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        return query @ key.mT / math.sqrt(query.shape[-2])


@mutant(COMPONENT)
class ScoresGrowWithTheLength(Steps):
    """Multiply the scores by the logarithm of the length."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        return super().score(query, key) * (1 + math.log(key.shape[-2]))


@mutant(COMPONENT)
class DistancesOfQueries(Steps):
    """Score by the negative squared distance, with one matrix for both sides."""

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.query(x), self.query(x), self.value(x)

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        sizes = (query * query).sum(-1)
        squares = sizes[:, :, None] + sizes[:, None, :] - 2 * query @ key.mT
        return -squares / math.sqrt(query.shape[-1])


@mutant(COMPONENT)
class KeysOfLengthOne(Steps):
    """Normalise the keys."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        return super().score(query, functional.normalize(key, dim=-1))


@mutant(COMPONENT)
class BonusForNearTokens(Steps):
    """Add a bias that falls with the distance of two tokens."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        return super().score(query, key) - distances(query.shape[-2]) / 10


@mutant(COMPONENT)
class SinglePrecisionInside(Steps):
    """Score in float32 whatever the dtype."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        return super().score(query.float(), key.float()).to(query.dtype)


# --- Weights ------------------------------------------------------------------------------------


@mutant(COMPONENT)
class SoftmaxOverQueries(Steps):
    """Normalise over the wrong axis."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        return masked_softmax(scores.mT, None if mask is None else mask.mT).mT


@mutant(COMPONENT)
class SigmoidsInsteadOfSoftmax(Steps):
    """Weigh each token by itself, without dealing out one whole."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        weights = torch.sigmoid(scores)
        return weights if mask is None else weights.masked_fill(~mask, 0.0)


@mutant(COMPONENT)
class SoftmaxWithAnExtraOne(Steps):
    """Add one to the denominator, so that a token may choose nothing."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        top = scores.amax(-1, keepdim=True).clamp_min(0.0)
        terms = torch.exp(scores - top)
        if mask is not None:
            terms = terms.masked_fill(~mask, 0.0)
        return terms / (torch.exp(-top) + terms.sum(-1, keepdim=True))


@mutant(COMPONENT)
class LinearWeights(Steps):
    """Normalise elu(s) + 1 instead of exponentials."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        positive = functional.elu(scores) + 1
        if mask is not None:
            positive = positive.masked_fill(~mask, 0.0)
        return positive / positive.sum(-1, keepdim=True).clamp_min(1e-300)


@mutant(COMPONENT)
class OnlyTheBestThreeTokens(Steps):
    """Drop all tokens but the best three."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        weights = masked_softmax(scores, mask)
        kept = weights.topk(min(3, weights.shape[-1]), -1)
        sparse = torch.zeros_like(weights).scatter(-1, kept.indices, kept.values)
        return sparse / sparse.sum(-1, keepdim=True).clamp_min(1e-300)


@mutant(COMPONENT)
class WindowOfNearTokens(Steps):
    """See no token further away than four places."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        near = distances(scores.shape[-1]) <= 4
        return masked_softmax(scores, near if mask is None else near & mask)


@mutant(COMPONENT)
class WindowOfFiftyTokens(Steps):
    """See no token further away than fifty places."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        near = distances(scores.shape[-1]) <= 50
        return masked_softmax(scores, near if mask is None else near & mask)


@mutant(COMPONENT)
class OneTokenAfterAnother(Steps):
    """Give the right result, but sum the exponentials in a loop over the tokens."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        if mask is not None:
            scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min / 2)
        total = scores[..., :1]
        for j in range(1, scores.shape[-1]):
            total = torch.logaddexp(total, scores[..., j : j + 1])
        return torch.exp(scores - total)


@mutant(COMPONENT)
class OwnTokenMaskedOut(Steps):
    """Let a token look at all tokens but itself."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        others = distances(scores.shape[-1]) > 0
        return masked_softmax(scores, others if mask is None else others & mask)


@mutant(COMPONENT)
class OwnTokenOnly(Steps):
    """Let a token look at itself alone, which makes attention a linear layer."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        own = distances(scores.shape[-1]) == 0
        return masked_softmax(scores, own if mask is None else own & mask)


@mutant(COMPONENT)
class WeightsDetached(Steps):
    """Let no gradient through the weights."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        return super().weigh(scores, mask).detach()


@mutant(COMPONENT)
class DropoutAlwaysOn(Steps):
    """Drop weights in eval mode too."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        return functional.dropout(super().weigh(scores, mask), 0.1)


# --- Masks --------------------------------------------------------------------------------------


@mutant(COMPONENT)
class MaskDiscarded(Steps):
    """Compute the masked scores and go on with the others."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        del mask
        return softmax(scores)


@mutant(COMPONENT)
class MaskInverted(Steps):
    """Read True as forbidden."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        return masked_softmax(scores, None if mask is None else ~mask)


@mutant(COMPONENT)
class MaskTransposed(Steps):
    """Swap the mask's queries and keys where it has both."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        if mask is not None and mask.shape[-1] == mask.shape[-2]:
            mask = mask.mT
        return masked_softmax(scores, mask)


@mutant(COMPONENT)
class MaskAfterSoftmax(Steps):
    """Put masked weights to zero without normalising again."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        weights = softmax(scores)
        return weights if mask is None else weights.masked_fill(~mask, 0.0)


@mutant(COMPONENT)
class MaskMultipliesScores(Steps):
    """Multiply scores by the mask: a masked token scores zero, which is not nothing."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        return softmax(scores if mask is None else scores * mask)


@mutant(COMPONENT)
class MaskedByMinusAThousand(Steps):
    """Mask by a constant that large scores get past."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        return softmax(scores if mask is None else scores.masked_fill(~mask, -1e3))


@mutant(COMPONENT)
class MaskShiftedByOne(Steps):
    """Let every query see one more key than the mask allows: the one after."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        if mask is not None:
            mask = mask | functional.pad(mask[..., :-1], (1, 0), value=False)
        return masked_softmax(scores, mask)


@mutant(COMPONENT)
class EmptyRowIsNotANumber(Steps):
    """Divide zero by zero where no token is allowed."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        return softmax(scores if mask is None else scores.masked_fill(~mask, -torch.inf))


@mutant(COMPONENT)
class EmptyRowHasNoGradient(Steps):
    """Put zeros where no token is allowed after the softmax, where the gradient is lost already."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        if mask is None:
            return softmax(scores)
        weights = softmax(scores.masked_fill(~mask, -torch.inf))
        return weights.masked_fill(weights.isnan(), 0.0)


@mutant(COMPONENT)
class NoMaskMeansCausal(Steps):
    """Mask the future where no mask is given."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        return masked_softmax(scores, causal(scores) if mask is None else mask)


@mutant(COMPONENT)
class AlwaysCausal(Steps):
    """Mask the future whatever the mask says."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        return masked_softmax(scores, causal(scores) if mask is None else causal(scores) & mask)


@mutant(COMPONENT)
class MaskOfTwoDimensionsTakenForPadding(Steps):
    """Read a mask with as many rows as the batch has items as one row an item."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        if mask is not None and mask.dim() == 2 and len(mask) == len(scores):
            mask = mask[:, None]
        return masked_softmax(scores, mask)


@mutant(COMPONENT)
class MaskOfTheFirstItemForAll(Steps):
    """Use the mask of the first item for the whole batch."""

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        if mask is not None and mask.dim() == 3:
            mask = mask[0]
        return masked_softmax(scores, mask)


@mutant(COMPONENT)
class FirstMaskRemembered(Steps):
    """Keep the first mask of a shape for all later calls."""

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model)
        self.masks: dict[torch.Size, Tensor] = {}

    def weigh(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        if mask is not None:
            mask = self.masks.setdefault(mask.shape, mask)
        return masked_softmax(scores, mask)


# --- Values -------------------------------------------------------------------------------------


@mutant(COMPONENT)
class SumInsteadOfMean(Steps):
    """Multiply the mean by the number of values."""

    def mix(self, weights: Tensor, value: Tensor) -> Tensor:
        return super().mix(weights, value) * value.shape[-2]


@mutant(COMPONENT)
class TransposedWeightsMix(Steps):
    """Mix by what a token receives instead of what it gives, and report the latter."""

    def mix(self, weights: Tensor, value: Tensor) -> Tensor:
        return super().mix(weights.mT, value)


@mutant(COMPONENT)
class TokenAddedToItsOutput(Steps):
    """Add a residual, which belongs to the layer around."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        output, weights = super().forward(x, mask)
        return x + output, weights


@mutant(COMPONENT)
class MaskedTokensGiveNothing(Steps):
    """Put the output of tokens that no query may look at to zero."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        output, weights = super().forward(x, mask)
        if mask is None:
            return output, weights
        seen = mask.expand(weights.shape).any(-2)
        return output.masked_fill(~seen[..., None], 0.0), weights
