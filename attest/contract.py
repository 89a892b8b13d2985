"""The submission contract as typed protocols.

A protocol says how a component is constructed, called and answered. The shapes in its annotations
are what results are checked against, so this file is the one place where they are written down.

Letters: B batch, L query or target length, S key or source length. A name that starts with ``*``
stands for any number of leading dimensions. A mask is boolean, True where attention is allowed,
with at least two dimensions, broadcastable to the dimensions that its annotation names; None allows
everything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import isclass
from keyword import iskeyword
from typing import Annotated, Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int64
from torch import Tensor

from attest.specification import (
    CallSpec,
    ComponentSpec,
    ContractBroken,
    Entries,
    Kept,
    Result,
    State,
    read_protocol,
)

__all__ = [
    "ADDED",
    "CONTRACT",
    "AdditiveAttention",
    "AttentionSeq2Seq",
    "CallSpec",
    "CausalMask",
    "ComponentSpec",
    "ContractBroken",
    "Decoder",
    "DecoderLayer",
    "Encoder",
    "EncoderLayer",
    "FeedForward",
    "LayerNorm",
    "LearnedPositionalEmbedding",
    "MultiHeadAttention",
    "MultiplicativeAttention",
    "PaddingMask",
    "PatchEmbedding",
    "Result",
    "ScaledDotProductAttention",
    "SelfAttention",
    "Seq2Seq",
    "SinusoidalPositionalEncoding",
    "Softmax",
    "Transformer",
    "add_component",
]

Mask = Bool[Tensor, "..."]
Source = Annotated[Int64[Tensor, "B S"], Entries(below="source_vocab")]
Target = Annotated[Int64[Tensor, "B L"], Entries(below="target_vocab")]
Token = Annotated[Int64[Tensor, "B"], Entries(below="target_vocab")]
Start = Annotated[int, Entries(below="target_vocab")]
Lengths = Annotated[Int64[Tensor, "B"], Entries(least=1, most="S")]


@runtime_checkable
class Softmax(Protocol):
    """Normalises scores along one axis."""

    def __call__(self, x: Float[Tensor, "*shape"], dim: int = -1) -> Float[Tensor, "*shape"]: ...


@runtime_checkable
class CausalMask(Protocol):
    """True on and below the diagonal."""

    def __call__(self, length: int) -> Bool[Tensor, "length length"]: ...


@runtime_checkable
class PaddingMask(Protocol):
    """True at real tokens, for sequences padded on the right."""

    def __call__(
        self, lengths: Annotated[Int64[Tensor, "B"], Entries(1, most="max_length")], max_length: int
    ) -> Bool[Tensor, "B max_length"]: ...


@runtime_checkable
class ScaledDotProductAttention(Protocol):
    """Gives output and weights."""

    def __call__(
        self,
        query: Float[Tensor, "*batch L d_k"],
        key: Float[Tensor, "*batch S d_k"],
        value: Float[Tensor, "*batch S d_v"],
        mask: Annotated[Mask, "*batch L S"] | None = None,
    ) -> tuple[Float[Tensor, "*batch L d_v"], Float[Tensor, "*batch L S"]]: ...


@runtime_checkable
class AdditiveAttention(Protocol):
    """A module: softmax(energy · tanh(query + key)); gives output and weights."""

    def __init__(self, d_query: int, d_key: int, d_hidden: int) -> None: ...

    def __call__(
        self,
        query: Float[Tensor, "B L d_query"],
        key: Float[Tensor, "B S d_key"],
        value: Float[Tensor, "B S d_v"],
        mask: Annotated[Mask, "B L S"] | None = None,
    ) -> tuple[Float[Tensor, "B L d_v"], Float[Tensor, "B L S"]]: ...


@runtime_checkable
class MultiplicativeAttention(Protocol):
    """A module: softmax(query · W key), unscaled, W (d_query, d_key); gives output and weights."""

    def __init__(self, d_query: int, d_key: int) -> None: ...

    def __call__(
        self,
        query: Float[Tensor, "B L d_query"],
        key: Float[Tensor, "B S d_key"],
        value: Float[Tensor, "B S d_v"],
        mask: Annotated[Mask, "B L S"] | None = None,
    ) -> tuple[Float[Tensor, "B L d_v"], Float[Tensor, "B L S"]]: ...


@runtime_checkable
class SelfAttention(Protocol):
    """A module with one head, scale 1/√d_model, no output projection; gives output and weights."""

    def __init__(self, d_model: int) -> None: ...

    def __call__(
        self, x: Float[Tensor, "B L d_model"], mask: Annotated[Mask, "B L L"] | None = None
    ) -> tuple[Float[Tensor, "B L d_model"], Float[Tensor, "B L L"]]: ...


@runtime_checkable
class MultiHeadAttention(Protocol):
    """A module; gives output and weights.

    The scale is 1/√(d_model / n_heads). Head h owns block h of the rows of query, key and value
    and of the columns of output. A mask broadcasts to (B, L, S), or has four dimensions and
    broadcasts to (B, H, L, S). A width that the heads do not divide is refused at construction.
    """

    def __init__(self, d_model: int, n_heads: int) -> None: ...

    def __call__(
        self,
        query: Float[Tensor, "B L d_model"],
        key: Float[Tensor, "B S d_model"],
        value: Float[Tensor, "B S d_model"],
        mask: Annotated[Mask, "B n_heads L S"] | None = None,
    ) -> tuple[Float[Tensor, "B L d_model"], Float[Tensor, "B n_heads L S"]]: ...


@runtime_checkable
class SinusoidalPositionalEncoding(Protocol):
    """A function: angle position · 10000^(−2i/d_model), position 0 first.

    Sine and cosine interleaved, sine first, or the half of sines before the half of cosines. An odd
    width works or is refused with a ValueError.
    """

    def __call__(self, length: int, d_model: int) -> Float[Tensor, "length d_model"]: ...


@runtime_checkable
class LayerNorm(Protocol):
    """A module: normalises the last axis; starts at gain 1, bias 0, eps 1e-5 inside the root."""

    def __init__(self, d_model: int) -> None: ...

    def __call__(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]: ...


@runtime_checkable
class FeedForward(Protocol):
    """A module: position-wise and not affine."""

    def __init__(self, d_model: int, d_hidden: int) -> None: ...

    def __call__(self, x: Float[Tensor, "B L d_model"]) -> Float[Tensor, "B L d_model"]: ...


@runtime_checkable
class EncoderLayer(Protocol):
    """A module: self-attention, then feed-forward, a residual around each, pre- or post-norm."""

    def __init__(self, d_model: int, n_heads: int, d_hidden: int) -> None: ...

    def __call__(
        self, x: Float[Tensor, "B S d_model"], mask: Annotated[Mask, "B S S"] | None = None
    ) -> Float[Tensor, "B S d_model"]: ...


@runtime_checkable
class DecoderLayer(Protocol):
    """A module: causal self-attention, cross-attention, feed-forward, a residual around each.

    It is always causal; ``self_mask`` only takes more away.
    """

    def __init__(self, d_model: int, n_heads: int, d_hidden: int) -> None: ...

    def __call__(
        self,
        x: Float[Tensor, "B L d_model"],
        memory: Float[Tensor, "B S d_model"],
        self_mask: Annotated[Mask, "B L L"] | None = None,
        memory_mask: Annotated[Mask, "B L S"] | None = None,
    ) -> Float[Tensor, "B L d_model"]: ...


@runtime_checkable
class Encoder(Protocol):
    """A module: encoder layers on top of each other, each with parameters of its own."""

    def __init__(self, d_model: int, n_heads: int, d_hidden: int, n_layers: int) -> None: ...

    def __call__(
        self, x: Float[Tensor, "B S d_model"], mask: Annotated[Mask, "B S S"] | None = None
    ) -> Float[Tensor, "B S d_model"]: ...


@runtime_checkable
class Decoder(Protocol):
    """A module: decoder layers on top of each other, each with parameters of its own."""

    def __init__(self, d_model: int, n_heads: int, d_hidden: int, n_layers: int) -> None: ...

    def __call__(
        self,
        x: Float[Tensor, "B L d_model"],
        memory: Float[Tensor, "B S d_model"],
        self_mask: Annotated[Mask, "B L L"] | None = None,
        memory_mask: Annotated[Mask, "B L S"] | None = None,
    ) -> Float[Tensor, "B L d_model"]: ...


@runtime_checkable
class LearnedPositionalEmbedding(Protocol):
    """A module: a learned row for each position; a length past ``max_length`` is refused."""

    def __init__(self, max_length: int, d_model: int) -> None: ...

    def __call__(self, length: int) -> Float[Tensor, "length d_model"]: ...


@runtime_checkable
class PatchEmbedding(Protocol):
    """A module: a token for each square patch, in row-major order; patches divide the image."""

    def __init__(self, patch_size: int, channels: int, d_model: int) -> None: ...

    def __call__(
        self, images: Float[Tensor, "B channels height width"]
    ) -> Float[Tensor, "B patches d_model"]: ...


@runtime_checkable
class Transformer(Protocol):
    """A module: sinusoidal positions on both embeddings, encoder, decoder, logits.

    The logits at t follow from ``target_in`` up to t. ``decode``, ``step`` and the plain call
    agree; ``generate`` is greedy, feeds back its own tokens and leaves out ``bos``. A source mask
    is True at real tokens, of which every row has one.
    """

    def __init__(
        self,
        source_vocab: int,
        target_vocab: int,
        d_model: int,
        n_heads: int,
        d_hidden: int,
        n_layers: int,
    ) -> None: ...

    def __call__(
        self,
        source: Source,
        target_in: Target,
        source_mask: Bool[Tensor, "B S"] | None = None,
    ) -> Float[Tensor, "B L target_vocab"]: ...

    def encode(
        self, source: Source, source_mask: Bool[Tensor, "B S"] | None = None
    ) -> Float[Tensor, "B S d_model"]: ...

    def decode(
        self,
        target_in: Target,
        memory: Float[Tensor, "B S d_model"],
        source_mask: Bool[Tensor, "B S"] | None = None,
    ) -> Float[Tensor, "B L target_vocab"]: ...

    def step(
        self,
        token: Token,
        memory: Float[Tensor, "B S d_model"],
        cache: Kept | None = None,
        source_mask: Bool[Tensor, "B S"] | None = None,
    ) -> tuple[Float[Tensor, "B target_vocab"], Kept]: ...

    def generate(
        self,
        source: Source,
        bos: Start,
        max_length: int,
        source_mask: Bool[Tensor, "B S"] | None = None,
    ) -> Int64[Tensor, "B max_length"]: ...


@runtime_checkable
class Seq2Seq(Protocol):
    """A module: a recurrent encoder whose last state starts a recurrent decoder.

    The plain call is teacher-forced. ``states`` are in reading order; ``lengths`` are those of
    sources padded on the right, from 1 to S.
    """

    def __init__(
        self, source_vocab: int, target_vocab: int, d_embed: int, d_hidden: int
    ) -> None: ...

    def __call__(
        self,
        source: Source,
        target_in: Target,
        lengths: Lengths | None = None,
    ) -> Float[Tensor, "B L target_vocab"]: ...

    def encode(
        self, source: Source, lengths: Lengths | None = None
    ) -> tuple[Float[Tensor, "B S d_hidden"], State]: ...

    def step(self, token: Token, state: State) -> tuple[Float[Tensor, "B target_vocab"], State]: ...

    def generate(
        self,
        source: Source,
        bos: Start,
        max_length: int,
        lengths: Lengths | None = None,
    ) -> Int64[Tensor, "B max_length"]: ...


@runtime_checkable
class AttentionSeq2Seq(Protocol):
    """A module: as Seq2Seq, with a decoder that looks back at the encoder's states every time."""

    def __init__(
        self, source_vocab: int, target_vocab: int, d_embed: int, d_hidden: int
    ) -> None: ...

    def __call__(
        self,
        source: Source,
        target_in: Target,
        lengths: Lengths | None = None,
    ) -> Float[Tensor, "B L target_vocab"]: ...

    def encode(
        self, source: Source, lengths: Lengths | None = None
    ) -> tuple[Float[Tensor, "B S d_hidden"], State]: ...

    def step(
        self,
        token: Token,
        state: State,
        memory: Float[Tensor, "B S d_hidden"],
        memory_mask: Bool[Tensor, "B S"] | None = None,
    ) -> tuple[Float[Tensor, "B target_vocab"], State, Float[Tensor, "B S"]]: ...

    def generate(
        self,
        source: Source,
        bos: Start,
        max_length: int,
        lengths: Lengths | None = None,
    ) -> Int64[Tensor, "B max_length"]: ...


CONTRACT: dict[str, ComponentSpec] = {
    spec.name: spec
    for spec in (
        read_protocol("softmax", Softmax, "probabilities"),
        read_protocol("causal_mask", CausalMask, "mask"),
        read_protocol("padding_mask", PaddingMask, "mask"),
        read_protocol(
            "scaled_dot_product_attention", ScaledDotProductAttention, "output", "weights"
        ),
        read_protocol(
            "AdditiveAttention",
            AdditiveAttention,
            "output",
            "weights",
            d_query=2,
            d_key=3,
            d_hidden=5,
        ),
        read_protocol(
            "MultiplicativeAttention",
            MultiplicativeAttention,
            "output",
            "weights",
            d_query=2,
            d_key=3,
        ),
        read_protocol("SelfAttention", SelfAttention, "output", "weights", d_model=5),
        read_protocol(
            "MultiHeadAttention", MultiHeadAttention, "output", "weights", d_model=6, n_heads=3
        ),
        read_protocol("sinusoidal_positional_encoding", SinusoidalPositionalEncoding, "positions"),
        read_protocol("LayerNorm", LayerNorm, "output", d_model=5),
        read_protocol("FeedForward", FeedForward, "output", d_model=5, d_hidden=7),
        read_protocol("EncoderLayer", EncoderLayer, "output", d_model=6, n_heads=3, d_hidden=7),
        read_protocol("DecoderLayer", DecoderLayer, "output", d_model=6, n_heads=3, d_hidden=7),
        read_protocol("Encoder", Encoder, "output", d_model=6, n_heads=3, d_hidden=7, n_layers=2),
        read_protocol("Decoder", Decoder, "output", d_model=6, n_heads=3, d_hidden=7, n_layers=2),
        read_protocol(
            "LearnedPositionalEmbedding",
            LearnedPositionalEmbedding,
            "positions",
            max_length=7,
            d_model=5,
        ),
        read_protocol(
            "PatchEmbedding",
            PatchEmbedding,
            "tokens",
            derived={
                "patches": lambda n: (
                    n["height"] // n["patch_size"] * (n["width"] // n["patch_size"])
                )
            },
            patch_size=2,
            channels=3,
            d_model=5,
        ),
        read_protocol(
            "Transformer",
            Transformer,
            "logits",
            methods={
                "encode": ("memory",),
                "decode": ("logits",),
                "step": ("logits", "cache"),
                "generate": ("tokens",),
            },
            source_vocab=5,
            target_vocab=7,
            d_model=6,
            n_heads=3,
            d_hidden=11,
            n_layers=2,
        ),
        read_protocol(
            "Seq2Seq",
            Seq2Seq,
            "logits",
            methods={
                "encode": ("states", "state"),
                "step": ("logits", "state"),
                "generate": ("tokens",),
            },
            source_vocab=5,
            target_vocab=7,
            d_embed=3,
            d_hidden=4,
        ),
        read_protocol(
            "AttentionSeq2Seq",
            AttentionSeq2Seq,
            "logits",
            methods={
                "encode": ("states", "state"),
                "step": ("logits", "state", "weights"),
                "generate": ("tokens",),
            },
            source_vocab=5,
            target_vocab=7,
            d_embed=3,
            d_hidden=4,
        ),
    )
}
"""Every component by its name in a submission."""

ADDED: dict[str, object] = {}
"""Right implementations of the components that :func:`add_component` added, by name."""


def add_component(
    name: str,
    protocol: type,
    *results: str,
    reference: object,
    methods: Mapping[str, tuple[str, ...]] | None = None,
    derived: Mapping[str, Callable[[Mapping[str, int]], int]] | None = None,
    **example: int,
) -> None:
    """Add a component to the contract, so that laws may speak of it and submissions define it.

    Args:
        name: its name in a submission.
        protocol: declares its constructor, its call and its methods, with shapes.
        results: what its call gives, by the names that reports use.
        reference: a right implementation, a function or a class; laws are tried on it first.
        methods: what each of its methods gives, in the same way.
        derived: how sizes follow from others, by the name of the dimension.
        example: the constructor's integers, no two alike; none for a function.

    Raises:
        ValueError: the name is taken or cannot be one, there is no right implementation, or the
            protocol does not fit the rest.
    """
    if not name.isidentifier() or iskeyword(name):
        raise ValueError(f"{name!r} cannot be a component: a submission defines it by this name")
    if name in CONTRACT and name not in ADDED:
        raise ValueError(f"the contract has a component {name} already; choose another name")
    spec = read_protocol(name, protocol, *results, methods=methods, derived=derived, **example)
    if not callable(reference) or isclass(reference) != spec.is_module:
        wanted = "class: its protocol has a" if spec.is_module else "function: its protocol has no"
        raise ValueError(f"{name}: reference={reference!r} is not a {wanted} constructor")
    if name in ADDED and not _same(spec, CONTRACT[name]):
        other = CONTRACT[name].protocol.__module__
        raise ValueError(f"{name} was added already, by {other}; choose another name")
    CONTRACT[name] = spec
    ADDED[name] = reference


def _same(spec: ComponentSpec, other: ComponentSpec) -> bool:
    """Say whether a component is added again by the same file, perhaps under another name."""
    one, two = spec.protocol, other.protocol
    return (one.__module__, one.__qualname__) == (two.__module__, two.__qualname__) or (
        spec.signature == other.signature
        and spec.example == other.example
        and {m: call.signature for m, call in spec.methods.items()}
        == {m: call.signature for m, call in other.methods.items()}
    )
