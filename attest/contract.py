"""The submission contract as typed protocols, and what the engine reads from them.

A protocol says how a component is constructed, called and answered. The shapes in its annotations
are what results are checked against, so this file is the one place where they are written down.

Letters: B batch, L query length, S key length. A name that starts with ``*`` stands for any number
of leading dimensions. A mask is boolean, True where attention is allowed, with at least two
dimensions, broadcastable to the scores; None allows everything.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol, get_args, get_origin, get_type_hints, runtime_checkable

import torch
from jaxtyping import AbstractArray, Bool, Float, Int64
from torch import Tensor

__all__ = [
    "CONTRACT",
    "AdditiveAttention",
    "CausalMask",
    "ComponentSpec",
    "ContractBroken",
    "MultiHeadAttention",
    "MultiplicativeAttention",
    "PaddingMask",
    "Result",
    "ScaledDotProductAttention",
    "SelfAttention",
    "Softmax",
]

Mask = Bool[Tensor, "..."]


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
        self, lengths: Int64[Tensor, "B"], max_length: int
    ) -> Bool[Tensor, "B max_length"]: ...


@runtime_checkable
class ScaledDotProductAttention(Protocol):
    """Gives output and weights."""

    def __call__(
        self,
        query: Float[Tensor, "*batch L d_k"],
        key: Float[Tensor, "*batch S d_k"],
        value: Float[Tensor, "*batch S d_v"],
        mask: Mask | None = None,
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
        mask: Mask | None = None,
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
        mask: Mask | None = None,
    ) -> tuple[Float[Tensor, "B L d_v"], Float[Tensor, "B L S"]]: ...


@runtime_checkable
class SelfAttention(Protocol):
    """A module with one head, scale 1/√d_model, no output projection; gives output and weights."""

    def __init__(self, d_model: int) -> None: ...

    def __call__(
        self, x: Float[Tensor, "B L d_model"], mask: Mask | None = None
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
        mask: Mask | None = None,
    ) -> tuple[Float[Tensor, "B L d_model"], Float[Tensor, "B n_heads L S"]]: ...


class ContractBroken(Exception):  # noqa: N818 - a report about a submission, not an error of ours
    """A component answered with something that the contract does not allow.

    Attributes:
        check: what the contract asks, as a Python expression about ``answer``.
    """

    def __init__(self, message: str, check: str) -> None:
        super().__init__(message)
        self.check = check


@dataclass(frozen=True)
class Result:
    """One tensor that a call gives back.

    Attributes:
        name: how reports call it, such as ``weights``.
        dims: its dimensions by name, such as ``("*batch", "L", "S")``.
        boolean: whether it is boolean; otherwise it is floating point.
    """

    name: str
    dims: tuple[str, ...]
    boolean: bool

    def expected_shape(self, sizes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
        """Give the shape that these sizes of the named dimensions ask for."""
        return tuple(size for dim in self.dims for size in sizes[dim])

    def __str__(self) -> str:
        dims = ["..." if dim.startswith("*") else dim for dim in self.dims]
        return f"{self.name} ({', '.join(dims)}{',' if len(dims) == 1 else ''})"


@dataclass(frozen=True, eq=False)
class ComponentSpec:
    """What the contract says about one component.

    Attributes:
        name: its name in a submission.
        protocol: the protocol that declares it.
        parameters: the names of its forward arguments, in order.
        dims: the named dimensions of every tensor argument whose shape the contract fixes.
        results: what a call gives, in order.
        constructor: the integers that its constructor takes, in order; None for a function.
        example: such integers, no two alike, at which layouts of parameters can be told apart.
    """

    name: str
    protocol: type
    parameters: tuple[str, ...]
    dims: Mapping[str, tuple[str, ...]]
    results: tuple[Result, ...]
    constructor: tuple[str, ...] | None = None
    example: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_module(self) -> bool:
        """Whether the component is a module with a constructor, not a function."""
        return self.constructor is not None

    @property
    def signature(self) -> str:
        """The call and its results in one line, for messages."""
        return f"{self.name}({', '.join(self.parameters)}) -> {self.gives}"

    @property
    def gives(self) -> str:
        """The results in one line, for messages."""
        return ", ".join(str(result) for result in self.results)

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Name the positional arguments of a call.

        Raises:
            TypeError: more arguments than parameters, an unknown name or a name given twice.
        """
        if len(args) > len(self.parameters):
            raise TypeError(f"{self.signature} was called with {len(args)} arguments")
        arguments = dict(zip(self.parameters, args, strict=False))
        for name, value in kwargs.items():
            if name not in self.parameters or name in arguments:
                raise TypeError(f"{self.signature} was called with a wrong argument {name!r}")
            arguments[name] = value
        return arguments

    def check(
        self, answer: object, arguments: Mapping[str, Any], constructed: Mapping[str, int]
    ) -> tuple[Tensor, ...]:
        """Check an answer's number of tensors, their types, shapes and dtypes.

        Raises:
            ContractBroken: with what came and what the contract expects.
        """
        if len(self.results) == 1:
            tensors: tuple[object, ...] = (answer,)
        elif isinstance(answer, tuple | list):
            tensors = tuple(answer)
        else:
            raise ContractBroken(
                f"returned {_describe(answer)}; expected {self.gives}", "isinstance(answer, tuple)"
            )
        if len(tensors) != len(self.results):
            raise ContractBroken(
                f"returned {len(tensors)} values; expected {self.gives}",
                f"len(answer) == {len(self.results)}",
            )
        given = tuple((n, _size(value)) for n, value in arguments.items())
        shapes = _expected_shapes(self, given, tuple(constructed.items()))
        floating = [
            value.dtype
            for value in arguments.values()
            if isinstance(value, Tensor) and value.is_floating_point()
        ]
        checked: list[Tensor] = []
        for index, (result, tensor, shape) in enumerate(
            zip(self.results, tensors, shapes, strict=True)
        ):
            part = "answer" if len(tensors) == 1 else f"answer[{index}]"
            if not isinstance(tensor, Tensor):
                raise ContractBroken(
                    f"returned {_describe(tensor)}; expected {result}",
                    f"isinstance({part}, torch.Tensor)",
                )
            if tensor.layout != torch.strided or tensor.device.type == "meta":
                kind = "meta" if tensor.device.type == "meta" else str(tensor.layout)
                raise ContractBroken(
                    f"returned {result.name} as a {kind} tensor; expected one that holds numbers",
                    f"{part}.layout == torch.strided and {part}.device.type != 'meta'",
                )
            if tuple(tensor.shape) != shape:
                raise ContractBroken(
                    f"returned {result.name} of shape {tuple(tensor.shape)}; "
                    f"expected {result} = {shape}",
                    f"tuple({part}.shape) == {shape}",
                )
            dtype = torch.bool if result.boolean else floating[0]
            if tensor.dtype != dtype:
                raise ContractBroken(
                    f"returned {result.name} of dtype {tensor.dtype}; expected {dtype}",
                    f"{part}.dtype == {dtype}",
                )
            checked.append(tensor)
        return tuple(checked)


Size = tuple[int, ...] | int | None


def _size(value: object) -> Size:
    return (
        tuple(value.shape) if isinstance(value, Tensor) else value if type(value) is int else None
    )


@lru_cache(maxsize=1024)
def _expected_shapes(
    spec: ComponentSpec,
    given: tuple[tuple[str, Size], ...],
    constructed: tuple[tuple[str, int], ...],
) -> tuple[tuple[int, ...], ...]:
    """Give the shape of each result that these sizes of arguments and constructor ask for."""
    sizes: dict[str, tuple[int, ...]] = {name: (size,) for name, size in constructed}
    for name, size in given:
        if isinstance(size, int):
            sizes[name] = (size,)
        elif size is not None:
            sizes |= _match(spec.dims.get(name, ()), size)
    return tuple(result.expected_shape(sizes) for result in spec.results)


def _match(dims: tuple[str, ...], shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Bind named dimensions to the sizes of a tensor."""
    if not dims:
        return {}
    fixed = [dim for dim in dims if not dim.startswith("*")]
    leading = shape[: len(shape) - len(fixed)]
    sizes = zip(fixed, shape[len(leading) :], strict=True)
    return {dim: leading for dim in dims if dim.startswith("*")} | {d: (n,) for d, n in sizes}


def plain(answer: object) -> object:
    """Give an answer with its tensors as plain ones, which do what torch does and nothing else.

    A subclass may answer comparisons as it likes. One that has no numbers of its own stays, and is
    no tensor for the contract.
    """
    if isinstance(answer, tuple | list):
        inner = [plain(value) for value in answer]
        return inner if isinstance(answer, list) else tuple(inner)
    kind = type(answer)
    if kind is Tensor or not issubclass(kind, Tensor):
        return answer
    if kind.__torch_dispatch__ is not Tensor.__torch_dispatch__:
        return _Wrapper()
    with torch._C.DisableTorchFunctionSubclass():  # noqa: SLF001 - torch documents no other way
        return Tensor.as_subclass(answer, Tensor)  # type: ignore[arg-type]


class _Wrapper:
    """Stands for a tensor subclass that only passes for a tensor."""


def _describe(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def _dims(annotation: Any) -> tuple[str, ...] | None:  # noqa: ANN401
    if isinstance(annotation, type) and issubclass(annotation, AbstractArray):
        dims = str(annotation.dim_str).split()
        return None if "..." in dims else tuple(dims)
    return None


def _spec(name: str, protocol: type, *results: str, **example: int) -> ComponentSpec:
    """Read a component's spec from its protocol."""
    hints = get_type_hints(protocol.__call__)
    returned = hints.pop("return")
    parts = get_args(returned) if get_origin(returned) is tuple else (returned,)
    return ComponentSpec(
        name=name,
        protocol=protocol,
        parameters=tuple(inspect.signature(protocol.__call__).parameters)[1:],
        dims={key: dims for key, hint in hints.items() if (dims := _dims(hint)) is not None},
        results=tuple(
            Result(result, _dims(part) or (), boolean=all("bool" in kind for kind in part.dtypes))
            for result, part in zip(results, parts, strict=True)
        ),
        constructor=tuple(example) if example else None,
        example=example,
    )


CONTRACT: Mapping[str, ComponentSpec] = {
    spec.name: spec
    for spec in (
        _spec("softmax", Softmax, "probabilities"),
        _spec("causal_mask", CausalMask, "mask"),
        _spec("padding_mask", PaddingMask, "mask"),
        _spec("scaled_dot_product_attention", ScaledDotProductAttention, "output", "weights"),
        _spec(
            "AdditiveAttention",
            AdditiveAttention,
            "output",
            "weights",
            d_query=2,
            d_key=3,
            d_hidden=5,
        ),
        _spec(
            "MultiplicativeAttention",
            MultiplicativeAttention,
            "output",
            "weights",
            d_query=2,
            d_key=3,
        ),
        _spec("SelfAttention", SelfAttention, "output", "weights", d_model=5),
        _spec("MultiHeadAttention", MultiHeadAttention, "output", "weights", d_model=6, n_heads=3),
    )
}
"""Every component by its name in a submission."""
