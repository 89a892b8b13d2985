"""The Transformer: an encoder and a decoder of attention and feed-forward layers.

Read it from the top: a layer is built of sublayers, a stack of layers, the model of two stacks.
Around every sublayer there is a residual connection and a layer normalisation, in one of two
orders: after the sum, as the paper has it (post-norm), or before the sublayer (pre-norm).
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from reference.decoding import greedy
from reference.embedding import Embedding
from reference.feed_forward import FeedForward
from reference.layer_norm import LayerNorm
from reference.masks import causal_mask
from reference.multi_head_attention import (
    MultiHeadAttention,
    check_heads,
    check_heads_mask,
    multi_head_attention,
)
from reference.positional_encoding import sinusoidal_positional_encoding
from reference.shapes import check_integers, check_shapes, check_sizes

__all__ = [
    "Decoder",
    "DecoderLayer",
    "Encoder",
    "EncoderLayer",
    "Transformer",
    "residual",
]

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


class Transformer(nn.Module):
    """The whole model: embeddings with positions, an encoder, a decoder, and logits at the end.

    Embeddings are multiplied by √D before sinusoidal positions are added; the two vocabularies
    have embeddings of their own.

    Args:
        source_vocab: the number of source tokens.
        target_vocab: V, the number of target tokens.
        d_model: width D, even.
        n_heads: H, a divisor of D.
        d_hidden: width inside the feed-forward networks.
        n_layers: layers of the encoder, and as many of the decoder.
        pre_norm: as for a layer.

    Parameters, beside those of the stacks: ``source_embedding.weight`` (source_vocab, D),
    ``target_embedding.weight`` (V, D), ``output.weight`` (V, D) and ``output.bias`` (V,).

    Raises:
        TypeError: a number is no integer.
        ValueError: a number below 1, an odd width, or one that the heads do not divide.

    Source: Vaswani et al. 2017, sections 3.1, 3.4 and 3.5.
    """

    def __init__(
        self,
        source_vocab: int,
        target_vocab: int,
        d_model: int,
        n_heads: int,
        d_hidden: int,
        n_layers: int,
        *,
        pre_norm: bool = False,
    ) -> None:
        super().__init__()
        check_heads(d_model, n_heads)
        if d_model % 2:
            raise ValueError(f"sinusoidal positions need an even width, got {d_model}")
        self.source_embedding = Embedding(source_vocab, d_model)
        self.target_embedding = Embedding(target_vocab, d_model)
        self.encoder = Encoder(d_model, n_heads, d_hidden, n_layers, pre_norm=pre_norm)
        self.decoder = Decoder(d_model, n_heads, d_hidden, n_layers, pre_norm=pre_norm)
        self.output = nn.Linear(d_model, target_vocab)

    def forward(
        self,
        source: Int64[Tensor, "B S"],
        target_in: Int64[Tensor, "B L"],
        source_mask: Bool[Tensor, "B S"] | None = None,
    ) -> Float[Tensor, "B L target_vocab"]:
        """Give the logits of every next token, all at once, by teacher forcing.

        Args:
            source: source tokens, (B, S).
            target_in: target tokens shifted right, (B, L): the first is the start token.
            source_mask: (B, S), True at real tokens.

        Returns:
            Logits, (B, L, V); those at t follow from target_in up to t.

        Raises:
            TypeError: tokens are not int64, or the mask is not boolean.
            ValueError: the shapes do not fit, the source or the target is empty, or a token is
                outside its vocabulary.
        """
        forms = "source int64 (B, S>0), source_mask? bool (B, S), target_in int64 (B, L>0)"
        check_shapes(forms, source, source_mask, target_in)
        return self.decode(target_in, self.encode(source, source_mask), source_mask)

    def encode(
        self, source: Int64[Tensor, "B S"], source_mask: Bool[Tensor, "B S"] | None = None
    ) -> Float[Tensor, "B S D"]:
        """Give the memory, (B, S, D): the last layer's tokens, all of them.

        Raises:
            TypeError: tokens are not int64, or the mask is not boolean.
            ValueError: the shapes do not fit, the source is empty, or a token is outside the
                vocabulary.
        """
        check_shapes("source int64 (B, S>0), source_mask? bool (B, S)", source, source_mask)
        x = self._embed(self.source_embedding, source)
        return self.encoder(x, _for_every_query(source_mask))

    def decode(
        self,
        target_in: Int64[Tensor, "B L"],
        memory: Float[Tensor, "B S D"],
        source_mask: Bool[Tensor, "B S"] | None = None,
    ) -> Float[Tensor, "B L V"]:
        """Give the logits of every next token, (B, L, V), from a memory.

        Raises:
            TypeError: tokens are not int64, or the mask is not boolean.
            ValueError: the shapes do not fit, the target is empty, or a token is outside the
                vocabulary.
        """
        forms = "target_in int64 (B, L>0), memory (B, S>0, D), source_mask? bool (B, S)"
        check_shapes(forms, target_in, memory, source_mask, D=self.output.in_features)
        x = self._embed(self.target_embedding, target_in)
        x = self.decoder(x, memory, memory_mask=_for_every_query(source_mask))
        return self.output(x)

    def step(
        self,
        token: Int64[Tensor, "B"],
        memory: Float[Tensor, "B S D"],
        cache: list[LayerCache] | None = None,
        source_mask: Bool[Tensor, "B S"] | None = None,
    ) -> tuple[Float[Tensor, "B V"], list[LayerCache]]:
        """Give the logits after one more token, and the cache for the next.

        Args:
            token: the newest token of each sequence, (B,).
            memory: (B, S, D).
            cache: what the step before gave; None at the first token.
            source_mask: (B, S), True at real tokens.

        Returns:
            Logits, (B, V), and the cache.

        Raises:
            TypeError: tokens are not int64, or the mask is not boolean.
            ValueError: the shapes do not fit, or a token is outside the vocabulary.
        """
        forms = "token int64 (B,), memory (B, S>0, D), source_mask? bool (B, S)"
        check_shapes(forms, token, memory, source_mask, D=self.output.in_features)
        past = cache[0][0].shape[1] if cache else 0  # of the first layer's keys
        x = self._embed(self.target_embedding, token[:, None], past)
        x, cache = self.decoder.step(x, memory, cache, _for_every_query(source_mask))
        return self.output(x[:, 0]), cache

    def generate(
        self,
        source: Int64[Tensor, "B S"],
        bos: int,
        max_length: int,
        source_mask: Bool[Tensor, "B S"] | None = None,
        *,
        end: int | None = None,
    ) -> Int64[Tensor, "B max_length"]:
        """Generate greedily: feed back the most likely token, again and again.

        Args:
            source: source tokens, (B, S).
            bos: the start token, which is not part of the result.
            max_length: how many tokens to generate.
            source_mask: (B, S), True at real tokens.
            end: the token that ends a sequence and fills the rest of it; None means that none does.

        Returns:
            The generated tokens, (B, max_length).

        Raises:
            TypeError: tokens are not int64, the mask is not boolean, or a number is no integer.
            ValueError: a negative length, an empty source, shapes that do not fit, or a token
                outside its vocabulary.
        """
        check_integers(0, bos=bos, max_length=max_length)
        memory = self.encode(source, source_mask)

        def step(
            token: Int64[Tensor, "B"], cache: list[LayerCache] | None
        ) -> tuple[Float[Tensor, "B V"], list[LayerCache]]:
            return self.step(token, memory, cache, source_mask)

        return greedy(step, None, torch.full_like(source[:, 0], bos), max_length, end=end)

    def _embed(self, embedding: Embedding, tokens: Int64[Tensor, "B T"], first: int = 0) -> Tokens:
        x = embedding(tokens) * math.sqrt(embedding.embedding_dim)
        positions = sinusoidal_positional_encoding(first + tokens.shape[1], x.shape[-1], x.dtype)
        return x + positions[first:].to(x.device)


def _for_every_query(mask: Bool[Tensor, "B S"] | None) -> Bool[Tensor, "B 1 S"] | None:
    return None if mask is None else mask[:, None, :]
