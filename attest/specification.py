"""What the contract says about a component, read from its protocol, and whether answers obey."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import torch
from jaxtyping import AbstractArray
from torch import Tensor

__all__ = [
    "CallSpec",
    "ComponentSpec",
    "ContractBroken",
    "Entries",
    "Kept",
    "Result",
    "State",
    "mapped",
    "plain",
    "read_protocol",
    "tensors_in",
]

Kind = Literal["floating", "boolean", "integer", "state", "kept"]

State = Any
"""A tensor, or a nested tuple of tensors, each with the batch first."""


@dataclass(frozen=True, eq=False)
class Kept:
    """What a component gives only to get it back, unread: anything at all."""

    value: Any


@dataclass(frozen=True)
class Entries:
    """The whole numbers that a tensor may hold, such as tokens, by a size that limits them.

    Attributes:
        least: the smallest.
        below: the name of a size that all are below, such as a vocabulary.
        most: the name of a size that none is above, such as a length.
    """

    least: int = 0
    below: str = ""
    most: str = ""

    def limits(self, sizes: Mapping[str, int]) -> tuple[int, int] | None:
        """Give the smallest and the largest number at these sizes; None where they do not say."""
        size = sizes.get(self.below or self.most)
        return None if size is None else (self.least, size - 1 if self.below else size)


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
    """One of the things that a call gives back.

    Attributes:
        name: how reports call it, such as ``weights``.
        dims: its dimensions by name, such as ``("*batch", "L", "S")``.
        kind: a tensor of floating point numbers, of booleans or of int64; a state, which is a
            tensor or a nested tuple of tensors with the batch first; or anything that is kept.
    """

    name: str
    dims: tuple[str, ...]
    kind: Kind

    def expected_shape(self, sizes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
        """Give the shape that these sizes of the named dimensions ask for."""
        return tuple(size for dim in self.dims for size in sizes[dim])

    def __str__(self) -> str:
        if self.kind in {"state", "kept"}:
            return self.name
        dims = ["..." if dim.startswith("*") else dim for dim in self.dims]
        return f"{self.name} ({', '.join(dims)}{',' if len(dims) == 1 else ''})"


@dataclass(frozen=True, eq=False)
class CallSpec:
    """What the contract says about one call: of a function, of a module or of one of its methods.

    Attributes:
        name: its name in a submission, such as ``softmax`` or ``Transformer.encode``.
        parameters: the names of its arguments, in order.
        dims: the named dimensions of every tensor argument whose shape the contract fixes.
        masks: the named dimensions that a mask broadcasts to.
        entries: what the arguments of whole numbers may hold.
        results: what it gives, in order.
        derived: how sizes follow from others, by the name of the dimension.
    """

    name: str
    parameters: tuple[str, ...]
    dims: Mapping[str, tuple[str, ...]]
    masks: Mapping[str, tuple[str, ...]]
    entries: Mapping[str, Entries]
    results: tuple[Result, ...]
    derived: Mapping[str, Callable[[Mapping[str, int]], int]] = field(default_factory=dict)

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
        self,
        answer: object,
        arguments: Mapping[str, Any],
        constructed: Mapping[str, int],
        dtype: torch.dtype | None = None,
    ) -> tuple[Any, ...]:
        """Check an answer's number of parts, their types, shapes and dtypes.

        Args:
            answer: what the call gave.
            arguments: what it was given, by name.
            constructed: the constructor's integers by name; none for a function.
            dtype: of a module's parameters, which floating results have where no argument is
                floating.

        Returns:
            The parts, with plain tensors in place of subclasses; what is kept is wrapped.

        Raises:
            ContractBroken: with what came and what the contract expects.
        """
        if len(self.results) == 1:
            parts: tuple[object, ...] = (answer,)
        elif isinstance(answer, tuple | list):
            parts = tuple(answer)
        else:
            raise ContractBroken(
                f"returned {_describe(answer)}; expected {self.gives}", "isinstance(answer, tuple)"
            )
        if len(parts) != len(self.results):
            raise ContractBroken(
                f"returned {len(parts)} values; expected {self.gives}",
                f"len(answer) == {len(self.results)}",
            )
        given = tuple((n, _size(value)) for n, value in arguments.items())
        sizes = _sizes(self, given, tuple(constructed.items()))
        floating = [
            tensor.dtype
            for value in arguments.values()
            for _, tensor in tensors_in(value)
            if tensor.is_floating_point()
        ]
        wanted = floating[0] if floating else dtype
        checked: list[Any] = []
        for index, (result, part) in enumerate(zip(self.results, parts, strict=True)):
            where = "answer" if len(parts) == 1 else f"answer[{index}]"
            match result.kind:
                case "kept":
                    checked.append(Kept(part))
                case "state":
                    state = plain(part)
                    _check_state(result, state, where, sizes["B"][0], wanted)
                    checked.append(state)
                case _:
                    tensor = plain(part)
                    _check_tensor(result, tensor, where, result.expected_shape(sizes), wanted)
                    checked.append(tensor)
        return tuple(checked)

    def split(self, arguments: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Give arguments as they are passed: those that the contract orders by position first."""
        positional = []
        for name in self.parameters:
            if name not in arguments:
                break
            positional.append(arguments[name])
        given = self.parameters[: len(positional)]
        return positional, {n: value for n, value in arguments.items() if n not in given}


@dataclass(frozen=True, eq=False)
class ComponentSpec(CallSpec):
    """What the contract says about one component: its call, its constructor and its methods.

    Attributes:
        protocol: the protocol that declares it.
        constructor: the integers that its constructor takes, in order; None for a function.
        example: such integers, no two alike, at which layouts of parameters can be told apart.
        methods: its other calls, by name.
    """

    protocol: type = object
    constructor: tuple[str, ...] | None = None
    example: Mapping[str, int] = field(default_factory=dict)
    methods: Mapping[str, CallSpec] = field(default_factory=dict)

    @property
    def is_module(self) -> bool:
        """Whether the component is a module with a constructor, not a function."""
        return self.constructor is not None

    def calls(self, method: str) -> CallSpec:
        """Give what is said about one of its methods; about the plain call where it is empty."""
        return self.methods[method] if method else self


def tensors_in(value: object, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Give the tensors in a value, which may be a nested tuple, each with its place: ``[0][1]``."""
    if isinstance(value, Tensor):
        yield path, value
    elif isinstance(value, tuple | list):
        for index, inner in enumerate(value):
            yield from tensors_in(inner, f"{path}[{index}]")


def mapped(value: Any, function: Callable[[Tensor], Any]) -> Any:  # noqa: ANN401
    """Give a value with a function applied to every tensor in it; tuples and lists are entered."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, tuple | list):
        return _rebuilt(value, [mapped(inner, function) for inner in value])
    return value


def _rebuilt(like: tuple[Any, ...] | list[Any], inner: list[Any]) -> Any:  # noqa: ANN401
    if isinstance(like, list):
        return inner
    return type(like)(*inner) if hasattr(like, "_fields") else tuple(inner)


Noted = TypeVar("Noted")
Size = tuple[int, ...] | int | None


def _size(value: object) -> Size:
    return (
        tuple(value.shape) if isinstance(value, Tensor) else value if type(value) is int else None
    )


@lru_cache(maxsize=1024)
def _sizes(
    spec: CallSpec,
    given: tuple[tuple[str, Size], ...],
    constructed: tuple[tuple[str, int], ...],
) -> dict[str, tuple[int, ...]]:
    """Give the sizes of the named dimensions, from those of arguments and constructor."""
    sizes: dict[str, tuple[int, ...]] = {name: (size,) for name, size in constructed}
    for name, size in given:
        if isinstance(size, int):
            sizes[name] = (size,)
        elif size is not None:
            sizes |= _match(spec.dims.get(name, ()), size)
    single = {name: size[0] for name, size in sizes.items() if len(size) == 1}
    return sizes | {name: (rule(single),) for name, rule in spec.derived.items()}


def _match(dims: tuple[str, ...], shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Bind named dimensions to the sizes of a tensor."""
    if not dims:
        return {}
    fixed = [dim for dim in dims if not dim.startswith("*")]
    leading = shape[: len(shape) - len(fixed)]
    sizes = zip(fixed, shape[len(leading) :], strict=True)
    return {dim: leading for dim in dims if dim.startswith("*")} | {d: (n,) for d, n in sizes}


def _check_tensor(
    result: Result, tensor: object, where: str, shape: tuple[int, ...], wanted: torch.dtype | None
) -> None:
    if not isinstance(tensor, Tensor):
        raise ContractBroken(
            f"returned {_describe(tensor)}; expected {result}",
            f"isinstance({where}, torch.Tensor)",
        )
    _require_numbers(result.name, tensor, where)
    if tuple(tensor.shape) != shape:
        raise ContractBroken(
            f"returned {result.name} of shape {tuple(tensor.shape)}; expected {result} = {shape}",
            f"tuple({where}.shape) == {shape}",
        )
    exact = {"boolean": torch.bool, "integer": torch.int64}.get(result.kind, wanted)
    _require_dtype(result.name, tensor, where, exact)


def _check_state(
    result: Result, state: object, where: str, batch: int, wanted: torch.dtype | None
) -> None:
    found = list(tensors_in(state))
    if not found or not _only_tensors(state):
        raise ContractBroken(
            f"returned {_describe(state)}; expected {result.name} as a tensor or a nested tuple "
            "of tensors",
            f"isinstance({where}, (torch.Tensor, tuple))",
        )
    for path, tensor in found:
        _require_numbers(result.name, tensor, where + path)
        if tensor.dim() == 0 or tensor.shape[0] != batch:
            raise ContractBroken(
                f"returned {result.name}{path} of shape {tuple(tensor.shape)}; expected the batch "
                f"of {batch} first",
                f"{where}{path}.shape[0] == {batch}",
            )
        if tensor.is_floating_point():
            _require_dtype(result.name + path, tensor, where + path, wanted)


def _only_tensors(state: object) -> bool:
    if isinstance(state, tuple | list):
        return all(_only_tensors(inner) for inner in state)
    return isinstance(state, Tensor)


def _require_numbers(name: str, tensor: Tensor, where: str) -> None:
    if tensor.layout != torch.strided or tensor.device.type == "meta":
        kind = "meta" if tensor.device.type == "meta" else str(tensor.layout)
        raise ContractBroken(
            f"returned {name} as a {kind} tensor; expected one that holds numbers",
            f"{where}.layout == torch.strided and {where}.device.type != 'meta'",
        )


def _require_dtype(name: str, tensor: Tensor, where: str, wanted: torch.dtype | None) -> None:
    if wanted is None and not tensor.is_floating_point():
        raise ContractBroken(
            f"returned {name} of dtype {tensor.dtype}; expected floating point numbers",
            f"{where}.is_floating_point()",
        )
    if wanted is not None and tensor.dtype != wanted:
        raise ContractBroken(
            f"returned {name} of dtype {tensor.dtype}; expected {wanted}",
            f"{where}.dtype == {wanted}",
        )


def plain(answer: object) -> object:
    """Give an answer with its tensors as plain ones, which do what torch does and nothing else.

    A subclass may answer comparisons as it likes. One that has no numbers of its own stays, and is
    no tensor for the contract.
    """
    if isinstance(answer, tuple | list):
        rebuilt: object = _rebuilt(answer, [plain(value) for value in answer])
        return rebuilt
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


def read_protocol(
    name: str,
    protocol: type,
    *results: str,
    methods: Mapping[str, tuple[str, ...]] | None = None,
    derived: Mapping[str, Callable[[Mapping[str, int]], int]] | None = None,
    **example: int,
) -> ComponentSpec:
    """Read a component's spec from its protocol.

    Args:
        name: the component's name in a submission.
        protocol: declares its constructor, its call and its methods.
        results: what its call gives, by the names that reports use.
        methods: the same for each of its methods.
        derived: how sizes follow from others, by the name of the dimension.
        example: the constructor's integers, no two alike.

    Raises:
        ValueError: the protocol leaves something out, or does not fit the rest.
    """
    constructor = _require_constructor(name, protocol, example)
    call = _read_call(name, protocol, "__call__", results)
    spec = ComponentSpec(
        name=name,
        parameters=call.parameters,
        dims=call.dims,
        masks=call.masks,
        entries=call.entries,
        results=call.results,
        derived=derived or {},
        protocol=protocol,
        constructor=constructor,
        example=example,
        methods={
            method: _read_call(f"{name}.{method}", protocol, method, given)
            for method, given in (methods or {}).items()
        },
    )
    for one in (spec, *spec.methods.values()):
        _require_known_sizes(one, {*example, *spec.derived})
    return spec


def _require_constructor(
    name: str, protocol: type, example: Mapping[str, int]
) -> tuple[str, ...] | None:
    """Give the names of the constructor's integers; None for a function, which has none."""
    declared = getattr(protocol, "__init__", None)
    if not inspect.isfunction(declared) or declared.__module__ == "typing":  # which gives all one
        declared = None
    names = () if declared is None else tuple(inspect.signature(declared).parameters)[1:]
    if names != tuple(example):
        given = ", ".join(example) or "none"
        raise ValueError(
            f"{name}: example integers are given for {given}; the constructor of its protocol "
            f"takes {', '.join(names) or 'none'}"
        )
    numbers = list(example.values())
    if any(type(n) is not int or n < 1 for n in numbers) or len({*numbers}) < len(numbers):
        given = ", ".join(f"{key}={number!r}" for key, number in example.items())
        raise ValueError(
            f"{name}: the example integers {given} have to be whole, positive and no two alike, "
            "so that layouts of parameters can be told apart"
        )
    return None if declared is None else names


def _require_known_sizes(spec: CallSpec, known: set[str]) -> None:
    """Make sure that what a call gives has sizes that what it takes says."""
    known = known | {dim for dims in spec.dims.values() for dim in dims} | {*spec.parameters}
    for result in spec.results:
        needed = ("B",) if result.kind == "state" else result.dims
        unknown = [dim for dim in needed if dim not in known]
        if unknown:
            raise ValueError(
                f"{spec.name} gives {result}, and nothing that it takes says what "
                f"{', '.join(unknown)} is; `derived` can"
            )


def _read_call(name: str, protocol: type, method: str, results: tuple[str, ...]) -> CallSpec:
    function = getattr(protocol, method, None)
    if not inspect.isfunction(function):
        raise ValueError(f"{name}: its protocol, {protocol!r}, does not declare {method}")
    parameters = tuple(inspect.signature(function).parameters)[1:]
    hints = get_type_hints(function, include_extras=True)
    bare = [key for key in (*parameters, "return") if key not in hints]
    if bare:
        raise ValueError(f"{name}: its protocol annotates no {' and no '.join(bare)} of {method}")
    returned = hints.pop("return")
    parts = get_args(returned) if get_origin(returned) is tuple else (returned,)
    if isinstance(results, str) or len(results) != len(parts):
        raise ValueError(
            f"{name}: results that its protocol gives: {len(parts)}; names for them: {results!r}. "
            "Name each of them"
        )
    return CallSpec(
        name=name,
        parameters=parameters,
        dims={key: dims for key, hint in hints.items() if (dims := _dims(hint)) is not None},
        masks={
            key: tuple(mask.split()) for key, hint in hints.items() if (mask := _noted(hint, str))
        },
        entries={key: held for key, hint in hints.items() if (held := _noted(hint, Entries))},
        results=tuple(
            Result(result, _dims(part) or (), _kind(part))
            for result, part in zip(results, parts, strict=True)
        ),
    )


def _dims(annotation: Any) -> tuple[str, ...] | None:  # noqa: ANN401
    for candidate in _within(annotation):
        if isinstance(candidate, type) and issubclass(candidate, AbstractArray):
            dims = str(candidate.dim_str).split()
            return None if "..." in dims else tuple(dims)
    return None


def _noted(annotation: Any, kind: type[Noted]) -> Noted | None:  # noqa: ANN401
    """Give what a protocol notes about an argument beside its type."""
    for candidate in _within(annotation):
        if get_origin(candidate) is Annotated and isinstance(candidate.__metadata__[0], kind):
            return candidate.__metadata__[0]
    return None


def _within(annotation: Any) -> Iterator[Any]:  # noqa: ANN401
    """Give an annotation and what it is made of: an optional argument is a union."""
    yield annotation
    if get_origin(annotation) is not None:
        for inner in get_args(annotation):
            yield from _within(inner)


def _kind(annotation: Any) -> Kind:  # noqa: ANN401
    if annotation is Kept:
        return "kept"
    if not (isinstance(annotation, type) and issubclass(annotation, AbstractArray)):
        return "state"
    if all("bool" in dtype for dtype in annotation.dtypes):
        return "boolean"
    return "integer" if all(dtype == "int64" for dtype in annotation.dtypes) else "floating"
