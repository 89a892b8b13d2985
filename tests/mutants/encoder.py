"""Wrong encoder layers, and encoders that are made of them or put right ones together wrongly."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from properties.transformer_layers import ENCODERS
from reference import Encoder as Right
from reference import EncoderLayer as RightLayer
from reference import LayerNorm, MultiHeadAttention
from reference.multi_head_attention import split_heads
from reference.softmax import masked_softmax
from reference.transformer_layers import residual
from tests.implementations import stacked_weights
from tests.mutants import Mutant, mutant
from tests.mutants.stacks import FiveLayersAtMost, OneLayer, OtherLayers, TwoLayersInTurn

Weigh = Callable[[Tensor, "Tensor | None"], Tensor]


def by_hand(
    attention: MultiHeadAttention,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    weigh: Weigh = masked_softmax,
) -> Tensor:
    """Attend as multi-head attention does, with a place for mistakes: scores to weights."""
    heads = attention.n_heads
    q, k, v = (
        split_heads(project(x), heads)
        for project, x in (
            (attention.query, query),
            (attention.key, key),
            (attention.value, value),
        )
    )
    if mask is not None and mask.dim() == 3:
        mask = mask[:, None]
    weights = weigh(q @ k.mT / math.sqrt(q.shape[-1]), mask)
    result: Tensor = attention.output((weights @ v).transpose(1, 2).flatten(-2))
    return result


def after_the_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Set hidden weights to zero and leave the others as they were."""
    weights = torch.softmax(scores, -1)
    return weights if mask is None else weights * mask


def times_the_mask(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Set hidden scores to zero, which is a score like others."""
    return torch.softmax(scores if mask is None else scores * mask, -1)


def a_billion_below(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Fill hidden scores with a number that float16 does not have."""
    return torch.softmax(scores if mask is None else scores.masked_fill(~mask, -1e9), -1)


def ten_thousand_below(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Fill hidden scores with one that is low, and not the lowest."""
    return torch.softmax(scores if mask is None else scores.masked_fill(~mask, -1e4), -1)


def zero_over_zero(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Fill hidden scores with −∞, though a row may have no other."""
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return torch.softmax(scores, -1)


def over_an_epsilon(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Normalise masked weights by hand, with something small against an empty row."""
    if mask is None:
        return torch.softmax(scores, -1)
    raised = torch.exp(scores - scores.amax(-1, keepdim=True)) * mask
    return raised / (raised.sum(-1, keepdim=True) + 1e-6)


def one_more_below(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Let a share of the weights go nowhere."""
    nowhere = torch.zeros_like(scores[..., :1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return torch.softmax(torch.cat([scores, nowhere], -1), -1)[..., :-1]


def early_before_late(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Prefer the first tokens by a little."""
    late = torch.arange(scores.shape[-1], dtype=scores.dtype)
    return masked_softmax(scores - 1e-6 * late, mask)


class Detached(nn.Linear):
    """A projection that nothing is learned through."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).detach()


class Layer(RightLayer):
    """The right layer, in parts, of which a mistake replaces one."""

    def attend(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return self.attention(x, x, x, mask)[0]

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        def attend(x: Tensor) -> Tensor:
            return self.attend(x, mask)

        x = residual(x, attend, self.attention_norm, pre_norm=False)
        return residual(x, self.feed_forward, self.feed_forward_norm, pre_norm=False)


# --- Masks --------------------------------------------------------------------------------------


@mutant(
    "EncoderLayer",
    "what_a_mask_hides_cannot_reach_a_token",
    "hidden_tokens_might_as_well_not_exist",
    "a_mask_broadcasts_to_the_scores",
)
class MaskIsDiscarded(Layer):
    """Take a mask and forget it."""

    def attend(self, x, mask):
        return super().attend(x, None)


@mutant("EncoderLayer", "what_a_mask_hides_cannot_reach_a_token")
class MaskIsInverted(Layer):
    """Hide what is to be seen."""

    def attend(self, x, mask):
        return super().attend(x, None if mask is None else ~mask)


@mutant(
    "EncoderLayer",
    "what_a_mask_hides_cannot_reach_a_token",
    "hidden_tokens_might_as_well_not_exist",
)
class MaskAfterTheSoftmax(Layer):
    """Set weights to zero and leave the others as they were."""

    def attend(self, x, mask):
        return by_hand(self.attention, x, x, x, mask, after_the_softmax)


@mutant("EncoderLayer", "what_a_mask_hides_cannot_reach_a_token")
class ScoresTimesTheMask(Layer):
    """Set hidden scores to zero, which is a score like others."""

    def attend(self, x, mask):
        return by_hand(self.attention, x, x, x, mask, times_the_mask)


@mutant("EncoderLayer", "what_a_mask_hides_cannot_reach_a_token")
class HiddenByTen(Layer):
    """Lower hidden scores by ten, which leaves some weight."""

    def attend(self, x, mask):
        def weigh(scores, mask):
            return torch.softmax(scores if mask is None else scores - 10 * ~mask, -1)

        return by_hand(self.attention, x, x, x, mask, weigh)


@mutant("EncoderLayer", "masks_leave_no_nan_in_low_precision")
class HiddenByABillion(Layer):
    """Fill hidden scores with a number that float16 does not have."""

    def attend(self, x, mask):
        return by_hand(self.attention, x, x, x, mask, a_billion_below)


@mutant(
    "EncoderLayer",
    "a_token_that_sees_nothing_stays_finite",
    "masks_leave_no_nan_in_low_precision",
)
class NothingToSeeIsNan(Layer):
    """Divide zero by zero where every score is −∞."""

    def attend(self, x, mask):
        return by_hand(self.attention, x, x, x, mask, zero_over_zero)


@mutant("EncoderLayer", "what_a_mask_hides_cannot_reach_a_token", "items_of_a_batch_do_not_mix")
class MaskIsTiledInTheWrongOrder(Layer):
    """Repeat the items' masks for the heads, and read them as the heads of each item."""

    def attend(self, x, mask):
        if mask is not None and mask.dim() == 3 and len(mask) > 1:
            heads = self.attention.n_heads
            mask = mask.repeat(heads, 1, 1).view(len(mask), heads, *mask.shape[1:])
        return super().attend(x, mask)


@mutant("EncoderLayer", "what_a_mask_hides_cannot_reach_a_token", "a_mask_broadcasts_to_the_scores")
class EveryItemGetsTheFirstMask(Layer):
    """Take the mask of the first item for all where there are queries of their own."""

    def attend(self, x, mask):
        if mask is not None and mask.dim() == 3 and mask.shape[1] == 1:
            mask = mask[:1]
        return super().attend(x, mask)


@mutant(
    "EncoderLayer",
    "what_a_mask_hides_cannot_reach_a_token",
    "permuting_the_tokens_permutes_the_output",
)
class OneHeadIsNotMasked(Layer):
    """Mask all heads but the last, where there are several, and let that one see the last token."""

    def attend(self, x, mask):
        heads = self.attention.n_heads
        if mask is not None and heads > 1:
            mask = mask[:, None] if mask.dim() == 3 else mask[None, None]
            mask = mask.repeat(1, heads, 1, 1)
            mask[:, -1, :, -1] = True
        return super().attend(x, mask)


@mutant("EncoderLayer", "a_mask_that_allows_everything_is_no_mask")
class AnEpsilonUnderMaskedWeights(Layer):
    """Normalise masked weights by hand, with something small against an empty row."""

    def attend(self, x, mask):
        return by_hand(self.attention, x, x, x, mask, over_an_epsilon)


@mutant("EncoderLayer", "hidden_tokens_might_as_well_not_exist", "a_mask_broadcasts_to_the_scores")
class AMaskOfOneRowHidesQueries(Layer):
    """Take a row for a column: hide the queries, which then see every key."""

    def attend(self, x, mask):
        if mask is not None and mask.shape[-2] == 1:
            return super().attend(x, None) * mask.mT
        return super().attend(x, mask)


# --- Tokens -------------------------------------------------------------------------------------


@mutant("EncoderLayer", "permuting_the_tokens_permutes_the_output")
class PositionsAreLeftIn(Layer):
    """Prefer early tokens a little."""

    def attend(self, x, mask):
        return by_hand(self.attention, x, x, x, mask, early_before_late)


@mutant(
    "EncoderLayer",
    "permuting_the_tokens_permutes_the_output",
    "every_token_of_the_memory_hears_of_every_input",
)
class CausalWithoutBeingAsked(Layer):
    """Hide what comes after, as a decoder does."""

    def attend(self, x, mask):
        causal = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
        return super().attend(x, causal if mask is None else mask & causal)


@mutant("EncoderLayer", "permuting_the_tokens_permutes_the_output")
class HeadsAreCutWithoutATranspose(Layer):
    """Read (B, T, D) as (B, H, T, d_h)."""

    def attend(self, x, mask):
        own, (batch, length, width) = self.attention, x.shape
        cut = (batch, own.n_heads, length, width // own.n_heads)
        q, k, v = (project(x).reshape(cut) for project in (own.query, own.key, own.value))
        if mask is not None and mask.dim() == 3:
            mask = mask[:, None]
        weights = masked_softmax(q @ k.mT / math.sqrt(cut[-1]), mask)
        return own.output((weights @ v).reshape(x.shape))


@mutant("EncoderLayer", "every_token_of_the_memory_hears_of_every_input")
class ATokenSeesItsNeighboursAlone(Layer):
    """Look one token to each side, whatever the length."""

    def attend(self, x, mask):
        near = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril(1).triu(-1)
        return super().attend(x, near if mask is None else mask & near)


@mutant("EncoderLayer", "the_tokens_twice_are_the_tokens_once")
class AttentionAddsUp(Layer):
    """Multiply the average by the number of tokens, from the ninth of them on."""

    def attend(self, x, mask):
        return super().attend(x, mask) * max(1.0, x.shape[1] / 8)


@mutant("EncoderLayer", "the_tokens_twice_are_the_tokens_once")
class OneMoreInTheDenominator(Layer):
    """Let attention go nowhere."""

    def attend(self, x, mask):
        return by_hand(self.attention, x, x, x, mask, one_more_below)


@mutant(
    "EncoderLayer",
    "what_a_mask_hides_cannot_reach_a_token",
    "hidden_tokens_might_as_well_not_exist",
)
class CentredOverTheTokens(Layer):
    """Take away a millionth of what all tokens have in common, hidden ones too."""

    def forward(self, x, mask=None):
        x = super().forward(x, mask)
        return x - 1e-6 * x.mean(1, keepdim=True)


@mutant(
    "EncoderLayer",
    "what_a_mask_hides_cannot_reach_a_token",
    "hidden_tokens_might_as_well_not_exist",
)
class NormalisedOverTheTokens(Layer):
    """Normalise each channel over all tokens, as a batch normalisation would."""

    def forward(self, x, mask=None):
        x = x + self.attend(x, mask)
        spread = x.var(1, correction=0, keepdim=True) + 1e-5
        x = (x - x.mean(1, keepdim=True)) / spread.sqrt()
        return residual(x, self.feed_forward, self.feed_forward_norm, pre_norm=False)


# --- Weights ------------------------------------------------------------------------------------


@mutant("EncoderLayer", "each_sublayer_has_weights_of_its_own")
class KeysAreQueries(Layer):
    """Project keys by the matrix of the queries."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.attention.key = self.attention.query


@mutant("EncoderLayer", "more_heads_are_no_more_weights")
class EveryHeadIsAsWideAsTheModel(Layer):
    """Give each head four square matrices, and average what they say."""

    def __init__(self, d_model, n_heads, d_hidden):
        super().__init__(d_model, n_heads, d_hidden)
        self.attention = nn.ModuleList(MultiHeadAttention(d_model, 1) for _ in range(n_heads))

    def attend(self, x, mask):
        return torch.stack([head(x, x, x, mask)[0] for head in self.attention]).mean(0)


@mutant("EncoderLayer", "the_number_of_heads_matters")
class AlwaysOneHead(Layer):
    """Ignore the number of heads."""

    def __init__(self, d_model, n_heads, d_hidden):
        super().__init__(d_model, 1, d_hidden)


SCALE = "scores_are_scaled_by_the_width_of_a_head"


def unscaled(attention: MultiHeadAttention) -> Weigh:
    """Give weights of scores that are multiplied by what they were divided by."""
    width = attention.output.weight.shape[0] // attention.n_heads
    return lambda scores, mask: masked_softmax(math.sqrt(width) * scores, mask)


@mutant("EncoderLayer", SCALE)
class ScoresAreNotScaled(Layer):
    """Let the scores grow with the width of a head."""

    def attend(self, x, mask):
        return by_hand(self.attention, x, x, x, mask, unscaled(self.attention))


@mutant("EncoderLayer", SCALE)
class ScoresAreScaledByTheWholeWidth(Layer):
    """Divide by the square root of d_model, however many heads share it."""

    def attend(self, x, mask):
        def weigh(scores, mask):
            return masked_softmax(scores / math.sqrt(self.attention.n_heads), mask)

        return by_hand(self.attention, x, x, x, mask, weigh)


@mutant("EncoderLayer", SCALE)
class TheTokensCountTwiceInTheResidual(Layer):
    """Add the tokens to what attention says of them twice over."""

    def attend(self, x, mask):
        return super().attend(x, mask) + x


HIDDEN = "a_key_stays_hidden_however_low_the_others_score"


@mutant("EncoderLayer", HIDDEN)
class MaskedScoresAreTenThousandBelowZero(Layer):
    """Take ten thousand for infinity."""

    def attend(self, x, mask):
        return by_hand(self.attention, x, x, x, mask, ten_thousand_below)


@mutant("EncoderLayer", SCALE)
class QueriesAreNotNormalised(RightLayer):
    """Normalise, before attention, the tokens that are looked at and not the one that looks."""

    def forward(self, x, mask=None):
        seen = self.attention_norm(x)
        x = x + self.attention(x, seen, seen, mask)[0]
        return residual(x, self.feed_forward, self.feed_forward_norm, pre_norm=True)


@mutant("EncoderLayer", "every_matrix_learns", "gradients_agree_with_finite_differences")
class KeysAreDetached(Layer):
    """Cut the gradient of the keys."""

    def __init__(self, d_model, n_heads, d_hidden):
        super().__init__(d_model, n_heads, d_hidden)
        self.attention.key = Detached(d_model, d_model)


@mutant("EncoderLayer", "every_matrix_learns")
class TheFeedForwardNetworkIsForgotten(Layer):
    """Own a feed-forward network and never ask it."""

    def forward(self, x, mask=None):
        x = residual(x, lambda x: self.attend(x, mask), self.attention_norm, pre_norm=False)
        return self.feed_forward_norm(x)


# --- Encoders -----------------------------------------------------------------------------------


class Stack(OtherLayers, Right):
    """The right encoder, but for the class of its layers."""

    layer = RightLayer


@mutant(
    "Encoder",
    "every_layer_has_as_many_parameters",
    "each_sublayer_has_weights_of_its_own",
    "an_encoder_has_twelve_squares_a_layer",
)
class OneLayerIsUsedAgain(OneLayer, Right):
    """Repeat the same layer: ``[layer] * L``."""


@mutant("Encoder", "six_layers_learn_the_weights_of_six")
class EveryOtherLayerIsTheSame(TwoLayersInTurn, stacked_weights.Encoder):
    """Share the weights of every other layer, from the third on."""


@mutant("Encoder", "every_layer_has_as_many_parameters", "an_encoder_has_twelve_squares_a_layer")
class TwoLayersAtMost(Right):
    """Stop counting at two."""

    def __init__(self, d_model, n_heads, d_hidden, n_layers):
        super().__init__(d_model, n_heads, d_hidden, min(n_layers, 2))


@mutant("Encoder", "all_of_six_layers_learn")
class OnlyThreeLayersAreUsed(Right):
    """Make as many layers as there should be, and call three."""

    def forward(self, x, mask=None):
        for layer in self.layers[:3]:
            x = layer(x, mask)
        return x


@mutant("Encoder", "an_encoder_has_twelve_squares_a_layer")
class WithoutTheFirstNormalisation(Right):
    """Share one normalisation between both sublayers of each layer."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        for layer in self.layers:
            layer.attention_norm = layer.feed_forward_norm


@mutant("Encoder", "what_a_mask_hides_cannot_reach_a_token")
class TheMaskReachesTheFirstLayerAlone(Right):
    """Pass the mask to the first layer and nothing to the others."""

    def forward(self, x, mask=None):
        for index, layer in enumerate(self.layers):
            x = layer(x, None if index else mask)
        return x


@mutant("Encoder", "every_matrix_learns", "an_encoder_is_its_layers_one_after_another")
class TheMemoryIsTheFirstLayers(Right):
    """Give what the first layer gave."""

    def forward(self, x, mask=None):
        return self.layers[0](x, mask)


@mutant("Encoder", "an_encoder_is_its_layers_one_after_another")
class LayersRunBackwards(Right):
    """Begin with the last layer."""

    def forward(self, x, mask=None):
        for layer in reversed(self.layers):
            x = layer(x, mask)
        return x


@mutant("Encoder", "an_encoder_is_its_layers_one_after_another")
class LayersSideBySide(Right):
    """Let every layer read the input, and add up."""

    def forward(self, x, mask=None):
        return torch.stack([layer(x, mask) for layer in self.layers]).mean(0)


@mutant("Encoder", "an_encoder_is_its_layers_one_after_another")
class TheMemoryIsTheLastToken(Right):
    """Give one token for all of them."""

    def forward(self, x, mask=None):
        return super().forward(x, mask)[:, -1:]


@mutant(
    "Encoder",
    "the_memory_says_no_more_than_one_vector_could",
    "an_encoder_is_its_layers_one_after_another",
)
class EveryTokenIsTheAverage(Right):
    """Sum the tokens up indeed, and say the same at every position."""

    def forward(self, x, mask=None):
        x = super().forward(x, mask)
        return x.mean(1, keepdim=True).expand_as(x).contiguous()


class _Twice(Layer):
    def __init__(self, d_model: int, n_heads: int, d_hidden: int) -> None:
        super().__init__(d_model, n_heads, d_hidden)
        self.again = MultiHeadAttention(d_model, n_heads)
        self.again_norm = LayerNorm(d_model)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        def again(x: Tensor) -> Tensor:
            return self.again(x, x, x, mask)[0]

        return residual(super().forward(x, mask), again, self.again_norm, pre_norm=False)


@mutant(
    "Encoder",
    "every_causal_stack_has_two_attentions_a_layer",
    "an_encoder_has_twelve_squares_a_layer",
)
class TwoAttentionsALayer(Stack):
    """Attend once more after the feed-forward network."""

    layer = _Twice


@mutant("Encoder", "every_layer_has_as_many_parameters")
class StopsAtFiveLayers(FiveLayersAtMost, Right):
    """Leave out every layer after the fifth."""


def stacks_of_wrong_layers(
    namespace: dict[str, Any], component: str, stack: type[nn.Module], laws: frozenset[str]
) -> Iterator[Mutant]:
    """Make a stack of each wrong layer, killed by the same laws, where the stack has them."""
    for value in list(namespace.values()):
        for own in getattr(value, "__dict__", {}).get("__mutant__", ()):
            killers = tuple(name for name in own.killers if name in laws)
            if own.component == f"{component}Layer" and killers:
                stacked = type(own.name, (stack,), {"layer": own.target, "__doc__": own.__doc__})
                yield Mutant(own.name, component, stacked, killers)


def laws_of_both(*components: str) -> frozenset[str]:
    """Give the names of the laws that all these components obey."""
    from attest.ledger import load_ledger

    names = [
        {p.function.__name__ for p in load_ledger().laws if p.component == component}
        for component in components
    ]
    return frozenset(set.intersection(*names))


MUTANTS = tuple(stacks_of_wrong_layers(globals(), "Encoder", Stack, laws_of_both(*ENCODERS)))
