"""The Transformer: from tokens to logits, by an encoder and a decoder.

The layers that the two are built of are in transformer_layers.
"""

import math

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from reference.decoding import greedy
from reference.embedding import Embedding
from reference.multi_head_attention import check_heads
from reference.positional_encoding import sinusoidal_positional_encoding
from reference.shapes import check_integers, check_shapes
from reference.transformer_layers import Decoder, Encoder, LayerCache, Tokens

__all__ = ["Transformer"]


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
