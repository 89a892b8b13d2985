"""The Transformer's layers and stacks of them: attention, feed-forward networks and residuals.

Read it from the top: a layer is built of sublayers, a stack of layers. Around every sublayer there
is a residual connection and a layer normalisation, in one of two orders: after the sum, as the
paper has it (post-norm), or before the sublayer (pre-norm).
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from reference.feed_forward import FeedForward
from reference.layer_norm import LayerNorm
from reference.masks import causal_mask
from reference.multi_head_attention import (
    MultiHeadAttention,
    check_heads_mask,
    multi_head_attention,
)
from reference.shapes import check_shapes, check_sizes

__all__ = ["Decoder", "DecoderLayer", "Encoder", "EncoderLayer", "LayerCache", "Tokens", "residual"]

Tokens = Float[Tensor, "B T D"]
Mask = Bool[Tensor, "..."]
LayerCache = tuple[Float[Tensor, "B _ D"], Float[Tensor, "B _ D"]]
"""What one decoder layer keeps between steps: projected keys and values, (B, t, D)."""


def residual(
    x: Tokens, sublayer: Callable[[Tokens], Tokens], norm: LayerNorm, *, pre_norm: bool
) -> Tokens:
    """Add what a sublayer says to what it was told.

        post-norm:  y = LayerNorm(x + sublayer(x))
        pre-norm:   y = x + sublayer(LayerNorm(x))

    Args:
        x: tokens, (B, T, D).
        sublayer: takes and gives (B, T, D).
        norm: the sublayer's own normalisation.
        pre_norm: whether to normalise what the sublayer reads, and not the sum.

    Returns:
        The tokens after the sublayer, (B, T, D).

    Raises:
        TypeError: the tokens are not floating point.
        ValueError: the sublayer changes their shape.

    Source: Vaswani et al. 2017, section 3.1; for pre-norm, Xiong et al. 2020, figure 1.
    """
    check_shapes("x (..., D)", x)
    said = sublayer(norm(x) if pre_norm else x)
    if said.shape != x.shape:
        raise ValueError(f"a sublayer turns {tuple(x.shape)} into {tuple(said.shape)}")
    return x + said if pre_norm else norm(x + said)


class EncoderLayer(nn.Module):
    """Self-attention, then the feed-forward network.

    Args:
        d_model: width D of the tokens.
        n_heads: H, a divisor of D.
        d_hidden: width inside the feed-forward network.
        pre_norm: whether sublayers read normalised tokens; otherwise sums are normalised.

    Raises:
        TypeError: a number is no integer.
        ValueError: a number below 1, or heads that do not divide the width.

    Source: Vaswani et al. 2017, section 3.1.
    """

    def __init__(
        self, d_model: int, n_heads: int, d_hidden: int, *, pre_norm: bool = False
    ) -> None:
        super().__init__()
        self.d_model, self.n_heads, self.pre_norm = d_model, n_heads, pre_norm
        self.attention = MultiHeadAttention(d_model, n_heads)
        self.feed_forward = FeedForward(d_model, d_hidden)
        self.attention_norm = LayerNorm(d_model)
        self.feed_forward_norm = LayerNorm(d_model)

    def forward(
        self, x: Float[Tensor, "B S d_model"], mask: Mask | None = None
    ) -> Float[Tensor, "B S d_model"]:
        """Give the tokens after this layer, (B, S, D); the mask broadcasts to (B, S, S).

        Raises:
            TypeError: the mask is not boolean, or the tokens are not floating point.
            ValueError: the shapes do not fit, or there is no token.
        """
        check_shapes("x (B, S>0, d_model)", x, d_model=self.d_model)
        check_heads_mask(mask, x, x, self.n_heads)

        def attend(x: Tokens) -> Tokens:
            return self.attention(x, x, x, mask)[0]

        x = residual(x, attend, self.attention_norm, pre_norm=self.pre_norm)
        return residual(x, self.feed_forward, self.feed_forward_norm, pre_norm=self.pre_norm)


class DecoderLayer(nn.Module):
    """Causal self-attention, cross-attention over the memory, then the feed-forward network.

    Args:
        d_model: width D of the tokens.
        n_heads: H, a divisor of D.
        d_hidden: width inside the feed-forward network.
        pre_norm: whether sublayers read normalised tokens; otherwise sums are normalised.

    Raises:
        TypeError: a number is no integer.
        ValueError: a number below 1, or heads that do not divide the width.

    Source: Vaswani et al. 2017, section 3.1.
    """

    def __init__(
        self, d_model: int, n_heads: int, d_hidden: int, *, pre_norm: bool = False
    ) -> None:
        super().__init__()
        self.d_model, self.n_heads, self.pre_norm = d_model, n_heads, pre_norm
        self.self_attention = MultiHeadAttention(d_model, n_heads)
        self.cross_attention = MultiHeadAttention(d_model, n_heads)
        self.feed_forward = FeedForward(d_model, d_hidden)
        self.self_attention_norm = LayerNorm(d_model)
        self.cross_attention_norm = LayerNorm(d_model)
        self.feed_forward_norm = LayerNorm(d_model)

    def forward(
        self,
        x: Float[Tensor, "B L d_model"],
        memory: Float[Tensor, "B S d_model"],
        self_mask: Mask | None = None,
        memory_mask: Mask | None = None,
    ) -> Float[Tensor, "B L d_model"]:
        """Give the tokens after this layer.

        Args:
            x: tokens, (B, L, D).
            memory: what the encoder gave, (B, S, D).
            self_mask: broadcastable to (B, L, L); the future is hidden in any case, and this takes
                more away.
            memory_mask: broadcastable to (B, L, S), True where the memory may be read.

        Returns:
            The tokens after this layer, (B, L, D).

        Raises:
            TypeError: a mask is not boolean, or tokens or memory are not floating point.
            ValueError: the shapes do not fit, or there is no token or no memory.
        """
        self._check(x, memory, memory_mask)
        check_heads_mask(self_mask, x, x, self.n_heads, "self_mask")
        mask = causal_mask(x.shape[1]).to(x.device)
        mask = mask if self_mask is None else mask & self_mask

        def attend(x: Tokens) -> Tokens:
            return self.self_attention(x, x, x, mask)[0]

        x = residual(x, attend, self.self_attention_norm, pre_norm=self.pre_norm)
        return self._after_self_attention(x, memory, memory_mask)

    def step(
        self,
        x: Float[Tensor, "B 1 d_model"],
        memory: Float[Tensor, "B S d_model"],
        cache: LayerCache | None = None,
        memory_mask: Mask | None = None,
    ) -> tuple[Float[Tensor, "B 1 d_model"], LayerCache]:
        """Give the newest token after this layer, and what the next step needs.

        Keys and values of earlier tokens are remembered, so that each is projected once. The
        newest token comes last and may see all before it: there is no future to hide.

        Args:
            x: the newest token alone, (B, 1, D).
            memory: what the encoder gave, (B, S, D).
            cache: what the step before gave; None at the first token.
            memory_mask: broadcastable to (B, 1, S).

        Returns:
            The token after this layer, (B, 1, D), and the cache for the next step.

        Raises:
            TypeError: a mask is not boolean, or something else not floating point.
            ValueError: the shapes do not fit, or there is no memory.
        """
        self._check(x, memory, memory_mask)
        keys_and_values = (None, None) if cache is None else cache
        forms = "x (B, 1, D), keys? (B, past, D), values? (B, past, D)"
        check_shapes(forms, x, *keys_and_values)
        grown: list[LayerCache] = []

        def attend(x: Tokens) -> Tokens:
            own = self.self_attention
            keys, values = own.key(x), own.value(x)
            if cache is not None:
                keys = torch.cat([cache[0], keys], 1)
                values = torch.cat([cache[1], values], 1)
            grown.append((keys, values))
            heads, _ = multi_head_attention(own.query(x), keys, values, own.n_heads)
            return own.output(heads)

        x = residual(x, attend, self.self_attention_norm, pre_norm=self.pre_norm)
        return self._after_self_attention(x, memory, memory_mask), grown[0]

    def _check(self, x: Tokens, memory: Float[Tensor, "B S D"], memory_mask: Mask | None) -> None:
        check_shapes(
            "x (B, L>0, d_model), memory (B, S>0, d_model)", x, memory, d_model=self.d_model
        )
        check_heads_mask(memory_mask, x, memory, self.n_heads, "memory_mask")

    def _after_self_attention(
        self, x: Tokens, memory: Float[Tensor, "B S D"], memory_mask: Mask | None
    ) -> Tokens:
        def consult(x: Tokens) -> Tokens:
            return self.cross_attention(x, memory, memory, memory_mask)[0]

        x = residual(x, consult, self.cross_attention_norm, pre_norm=self.pre_norm)
        return residual(x, self.feed_forward, self.feed_forward_norm, pre_norm=self.pre_norm)


class Encoder(nn.Module):
    """Encoder layers on top of each other, each with parameters of its own.

    Pre-norm leaves the sum of all sublayers unnormalised, and so ends with one more normalisation.

    Args:
        d_model: width D of the tokens.
        n_heads: H, a divisor of D.
        d_hidden: width inside the feed-forward networks.
        n_layers: the number of layers.
        pre_norm: as for a layer.

    Raises:
        TypeError: a number is no integer.
        ValueError: a number below 1, or heads that do not divide the width.

    Source: Vaswani et al. 2017, section 3.1.
    """

    def __init__(
        self, d_model: int, n_heads: int, d_hidden: int, n_layers: int, *, pre_norm: bool = False
    ) -> None:
        super().__init__()
        check_sizes(n_layers=n_layers)
        self.layers = nn.ModuleList(
            EncoderLayer(d_model, n_heads, d_hidden, pre_norm=pre_norm) for _ in range(n_layers)
        )
        self.norm = LayerNorm(d_model) if pre_norm else nn.Identity()

    def forward(
        self, x: Float[Tensor, "B S d_model"], mask: Mask | None = None
    ) -> Float[Tensor, "B S d_model"]:
        """Give the last layer's tokens, (B, S, D); the mask broadcasts to (B, S, S).

        Raises:
            TypeError: the mask is not boolean, or the tokens are not floating point.
            ValueError: the shapes do not fit, or there is no token.
        """
        for layer in self.layers:
            x = layer(x, mask)
        return self.norm(x)


class Decoder(nn.Module):
    """Decoder layers on top of each other, all of which consult the same memory.

    Args:
        d_model: width D of the tokens.
        n_heads: H, a divisor of D.
        d_hidden: width inside the feed-forward networks.
        n_layers: the number of layers.
        pre_norm: as for a layer.

    Raises:
        TypeError: a number is no integer.
        ValueError: a number below 1, or heads that do not divide the width.

    Source: Vaswani et al. 2017, section 3.1.
    """

    def __init__(
        self, d_model: int, n_heads: int, d_hidden: int, n_layers: int, *, pre_norm: bool = False
    ) -> None:
        super().__init__()
        check_sizes(n_layers=n_layers)
        self.layers = nn.ModuleList(
            DecoderLayer(d_model, n_heads, d_hidden, pre_norm=pre_norm) for _ in range(n_layers)
        )
        self.norm = LayerNorm(d_model) if pre_norm else nn.Identity()

    def forward(
        self,
        x: Float[Tensor, "B L d_model"],
        memory: Float[Tensor, "B S d_model"],
        self_mask: Mask | None = None,
        memory_mask: Mask | None = None,
    ) -> Float[Tensor, "B L d_model"]:
        """Give the last layer's tokens, (B, L, D); the arguments are those of a layer.

        Raises:
            TypeError: a mask is not boolean, or tokens or memory are not floating point.
            ValueError: the shapes do not fit, or there is no token or no memory.
        """
        for layer in self.layers:
            x = layer(x, memory, self_mask, memory_mask)
        return self.norm(x)

    def step(
        self,
        x: Float[Tensor, "B 1 d_model"],
        memory: Float[Tensor, "B S d_model"],
        caches: list[LayerCache] | None = None,
        memory_mask: Mask | None = None,
    ) -> tuple[Float[Tensor, "B 1 d_model"], list[LayerCache]]:
        """Give the newest token after the last layer, and every layer's cache.

        Raises:
            TypeError: a mask is not boolean, or something else not floating point.
            ValueError: the shapes do not fit, or there are not as many caches as layers.
        """
        if caches is not None and len(caches) != len(self.layers):
            raise ValueError(f"{len(self.layers)} layers need as many caches, got {len(caches)}")
        grown = []
        for index, layer in enumerate(self.layers):
            assert isinstance(layer, DecoderLayer)
            x, cache = layer.step(
                x, memory, caches[index] if caches is not None else None, memory_mask
            )
            grown.append(cache)
        return self.norm(x), grown
