"""What judge and worker say to each other: JSON for structure, raw bytes for numbers.

A message is one JSON object and the bytes of the tensors in it. Whatever arrives is looked at and
never evaluated: a value is a number, a text, a tensor of checked dtype, shape and size, a tuple or
list of values, the number of something that the other side keeps, or the name of a type that none
of these is. This file needs nothing but torch, since the worker has no more.
"""

from __future__ import annotations

import json
import math
import select
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "Channel",
    "Closed",
    "Flat",
    "Garbled",
    "Named",
    "Odd",
    "Reference",
    "Told",
    "cut",
    "flatten",
    "outline",
]

# What a message may be at most, so that nobody fills the other's memory.
MOST_JSON = 1 << 23
MOST_BYTES = 1 << 26
DEEPEST = 32

AT_ONCE = 1 << 16

# What JSON has without more ado.
_PLAIN = frozenset({bool, float, int, str, type(None)})

_LENGTH = struct.Struct("<I")
_ENCODED = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_DECODED = json.JSONDecoder().decode

_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.bool,
        torch.uint8,
        torch.int8,
        torch.int16,
        torch.int32,
        torch.int64,
        torch.float16,
        torch.bfloat16,
        torch.float32,
        torch.float64,
        torch.complex64,
        torch.complex128,
    )
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
# Arrays of numpy's, which has no bfloat16, are made in half the time that tensors take.
_IN_NUMPY = {name: np.dtype("int16" if name == "bfloat16" else name) for name in _DTYPES}

# As torch's own collective communication does it; bound before a submission runs.
_flatten: Callable[[list[Tensor]], Tensor] = torch._C._nn.flatten_dense_tensors  # noqa: SLF001
_cut: Callable[[Tensor, list[Tensor]], list[Tensor]]
_cut = torch._C._nn.unflatten_dense_tensors  # noqa: SLF001


def flatten(tensors: list[Tensor]) -> Tensor:
    """Give the numbers of tensors of one dtype as one tensor, which shares no memory with them."""
    with torch.no_grad():
        return _flatten(tensors) if len(tensors) > 1 else tensors[0].detach().reshape(-1).clone()


class Closed(Exception):  # noqa: N818 - what happened, not a mistake of ours
    """The other side is gone."""


class Garbled(Exception):  # noqa: N818 - what happened, not a mistake of ours
    """The other side sent what is no message."""


@dataclass(frozen=True)
class Reference:
    """Something that the worker keeps, such as a cache, by its number."""

    number: int


def cut(flat: Tensor, like: list[Tensor]) -> list[Tensor]:
    """Give the numbers of one tensor as tensors of the shapes of others, which are parts of it."""
    with torch.no_grad():
        return list(_cut(flat, like))


@dataclass(frozen=True)
class Odd:
    """Something that is no value of the contract: the name of its type is all that is sent."""

    name: str


@dataclass(frozen=True)
class Flat:
    """Tensors by name, all of one dtype, which go over as one; they arrive as a dict.

    A deep module has hundreds of parameters, and each tensor of its own takes microseconds.
    """

    tensors: dict[str, Tensor]


@dataclass(frozen=True)
class Named:
    """A named tuple, whose type the worker keeps."""

    kind: int
    parts: tuple[Any, ...]


@dataclass(frozen=True)
class Told:
    """A tensor that has no numbers to send: a sparse one, or one on the meta device."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    device: str
    layout: str


def outline(tensor: Tensor) -> Told | None:
    """Give what can be said of a tensor without numbers; None where it has some."""
    known = tensor.dtype in _NAMES and tensor.layout == torch.strided
    if known and tensor.device.type != "meta":
        return None
    return Told(tensor.dtype, tuple(tensor.shape), tensor.device.type, str(tensor.layout))


class Channel:
    """One end of a connection over which whole messages go.

    Args:
        connection: a stream socket.
        waiting: called with ``select.POLLIN`` where there is nothing to read, and with
            ``select.POLLOUT`` where nothing more can be written; returns when it is otherwise.
    """

    def __init__(
        self, connection: socket.socket, waiting: Callable[[int], None] | None = None
    ) -> None:
        self._connection = connection
        self._waiting = waiting
        self._come = bytearray()
        self._new = memoryview(bytearray(AT_ONCE))  # kept: to allot it takes longer than to fill it
        self._flags = 0 if waiting is None else socket.MSG_DONTWAIT

    def send(self, message: dict[str, Any]) -> None:
        """Send a message: a dict whose values are as the module's first lines say.

        Raises:
            Closed: the other side is gone.
            Garbled: the message is larger than one may be.
        """
        packer = _Packer()
        tree = packer.pack(message)
        text = _ENCODED([tree, packer.metas]).encode()
        if len(text) > MOST_JSON:
            raise Garbled(f"a message of {len(text):,} bytes is too large")
        self._write(b"".join([_LENGTH.pack(len(text)), text, *packer.parts]))

    def receive(self) -> dict[str, Any]:
        """Wait for a message.

        Raises:
            Closed: the other side is gone.
            Garbled: what it sent is no message.
        """
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size))
        if length > MOST_JSON:
            raise Garbled("a message is too large")
        try:
            tree, metas = _DECODED(self._read(length).decode())
            sizes = [_bytes(meta) for meta in metas]
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
            raise Garbled("a message cannot be read") from None
        if sum(sizes) > MOST_BYTES:
            raise Garbled("a message has too many numbers")
        data = self._read(sum(sizes)) if sum(sizes) else bytearray()
        try:
            message = _unpack(tree, list(_tensors(metas, sizes, data)), DEEPEST)
        except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RuntimeError):
            raise Garbled("a message cannot be read") from None
        if not isinstance(message, dict):
            raise Garbled("a message is no object")
        return message

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[self._connection.send(view, self._flags) :]
            except BlockingIOError:
                assert self._waiting is not None
                self._waiting(select.POLLOUT)
            except OSError:
                raise Closed from None

    def _read(self, length: int) -> bytearray:
        """Take so many bytes, of which a small message has come with its first ones."""
        while len(self._come) < length:
            if self._waiting is not None:  # an answer takes its time
                self._waiting(select.POLLIN)
            try:
                size = self._connection.recv_into(self._new, 0, self._flags)
            except BlockingIOError:
                continue
            except OSError:
                raise Closed from None
            if not size:
                raise Closed
            self._come += self._new[:size]
        data = self._come[:length]
        del self._come[:length]
        return data


class _Packer:
    """Takes the tensors out of a message; one that stands in it twice is sent once."""

    def __init__(self) -> None:
        self.metas: list[list[Any]] = []
        self.parts: list[Any] = []  # arrays, whose memory is sent
        self.size = 0
        self._known: dict[int, int] = {}
        self._alive: list[Tensor] = []

    def pack(self, value: Any) -> Any:  # noqa: ANN401
        kind, pack = type(value), self.pack
        if kind in _PLAIN:
            return value
        if kind is Tensor:
            return {"t": self._tensor(value)}
        if kind is dict:
            own = value.items()
            return {"d": {name: v if type(v) in _PLAIN else pack(v) for name, v in own}}
        if kind is list:
            return [v if type(v) in _PLAIN else pack(v) for v in value]
        if kind is tuple:
            return {"u": [v if type(v) in _PLAIN else pack(v) for v in value]}
        return self._pack_seldom(value)

    def _pack_seldom(self, value: Any) -> Any:  # noqa: ANN401
        match value:
            case Tensor():
                return {"t": self._tensor(value)}
            case tuple():
                return {"u": [self.pack(inner) for inner in value]}
            case Reference():
                return {"r": value.number}
            case Flat():
                return self._flat(value.tensors)
            case Named():
                return {"n": [value.kind, [self.pack(inner) for inner in value.parts]]}
            case Odd():
                return {"o": value.name}
            case _:
                return self._told(value)

    def _told(self, value: Any) -> dict[str, Any]:  # noqa: ANN401
        if not isinstance(value, Told):
            raise TypeError(f"a {type(value).__name__} cannot be sent")
        dtype = str(value.dtype).removeprefix("torch.")
        return {"m": [dtype, list(value.shape), value.device, value.layout]}

    def _flat(self, tensors: dict[str, Tensor]) -> dict[str, Any]:
        several = list(tensors.values())
        if len({tensor.dtype for tensor in several}) != 1:
            return self.pack(tensors)  # type: ignore[no-any-return]
        whole = self._tensor(flatten(several))
        shapes = [tuple(tensor.shape) for tensor in several]
        graded = [int(tensor.requires_grad) for tensor in several]
        return {"f": [whole, list(tensors), shapes, graded]}

    def _tensor(self, tensor: Tensor) -> int:
        known = self._known.get(id(tensor))
        if known is not None:
            return known
        number = self._known[id(tensor)] = len(self.metas)
        self._alive.append(tensor)
        dtype, plain = tensor.dtype, tensor.detach()
        self.size += plain.nbytes
        if self.size > MOST_BYTES:
            raise Garbled(f"tensors of {self.size:,} bytes are too large")
        shape, stride = list(plain.shape), None
        if not plain.is_contiguous():
            order = _dense(shape, plain.stride())
            if order is None:
                plain = plain.contiguous()
            else:
                stride, plain = list(plain.stride()), plain.permute(order)
        self.metas.append([_NAMES[dtype], shape, stride, int(tensor.requires_grad)])
        if not plain.is_cpu:
            plain = plain.cpu()
        if dtype == torch.bfloat16:  # which numpy has not
            plain = plain.view(torch.int16)
        self.parts.append(plain.numpy())
        return number


def _dense(shape: Sequence[int], stride: Sequence[int]) -> list[int] | None:
    """Give the order of dimensions in which a tensor fills its memory without gaps, if it does."""
    order = sorted(range(len(shape)), key=lambda dim: (stride[dim], shape[dim]), reverse=True)
    expected = 1
    for dim in reversed(order):
        if stride[dim] != expected and shape[dim] != 1:
            return None
        expected *= shape[dim]
    return order


def _bytes(meta: list[Any]) -> int:
    dtype, shape, stride, graded = meta
    _require_shape(shape)
    if stride is not None and (len(stride) != len(shape) or _dense(shape, stride) is None):
        raise ValueError("no stride")
    if graded not in {0, 1}:
        raise ValueError("neither with a gradient nor without")
    return int(math.prod(shape)) * _DTYPES[dtype].itemsize


def _require_shape(shape: Any) -> None:  # noqa: ANN401
    if type(shape) is not list or len(shape) > DEEPEST:
        raise ValueError("no shape")
    for size in shape:
        if type(size) is not int or size < 0:
            raise ValueError("no shape")


def _tensors(metas: list[Any], sizes: list[int], data: bytearray) -> Iterator[Tensor]:
    start = 0
    for (name, shape, stride, graded), size in zip(metas, sizes, strict=True):
        dtype, known = _DTYPES[name], _IN_NUMPY[name]
        if not size:
            tensor = torch.empty(shape, dtype=dtype)
        else:
            aligned = start % known.itemsize == 0
            source, at = (data, start) if aligned else (data[start : start + size], 0)
            steps = None if stride is None else [step * known.itemsize for step in stride]
            tensor = torch.from_numpy(np.ndarray(shape, known, source, at, steps))
            if dtype == torch.bfloat16:
                tensor = tensor.view(dtype)
        start += size
        yield tensor.requires_grad_() if graded else tensor


def _unpack(tree: Any, tensors: list[Tensor], depth: int) -> Any:  # noqa: ANN401
    if type(tree) in _PLAIN:
        return tree
    if depth == 0:
        raise ValueError("nested too deeply")
    depth -= 1
    if type(tree) is list:
        return [v if type(v) in _PLAIN else _unpack(v, tensors, depth) for v in tree]
    ((tag, inner),) = tree.items()
    if tag == "t":
        return tensors[_index(inner)]
    if tag == "d":
        own = inner.items()
        return {name: v if type(v) in _PLAIN else _unpack(v, tensors, depth) for name, v in own}
    if tag == "u":
        return tuple(_unpack(v, tensors, depth) for v in inner)
    if tag == "f":
        return _unflattened(inner, tensors)
    if tag == "n":
        kind, parts = inner
        return Named(_index(kind), tuple(_unpack(v, tensors, depth) for v in parts))
    return _unpack_what_is_only_told(tree)


def _unflattened(tree: Any, tensors: list[Tensor]) -> dict[str, Tensor]:  # noqa: ANN401
    whole, names, shapes, graded = tree
    flat = tensors[_index(whole)]
    if flat.dim() != 1 or flat.requires_grad or not all(type(name) is str for name in names):
        raise ValueError("no tensors")
    for shape in shapes:
        _require_shape(shape)
    inner = torch.int16 if flat.dtype == torch.bfloat16 else flat.dtype
    numbers, start, found = flat.view(inner).numpy(), 0, {}
    for name, shape, grad in zip(names, shapes, graded, strict=True):
        end = start + math.prod(shape)
        # A copy: tensors that share memory would count each other's changes.
        own = torch.from_numpy(numbers[start:end].reshape(shape).copy()).view(flat.dtype)
        found[name] = own.requires_grad_(bool(_index(grad)))
        start = end
    if start != len(numbers):
        raise ValueError("not as many numbers as they have")
    return found


def _unpack_what_is_only_told(tree: dict[str, Any]) -> Reference | Told | Odd:
    if "r" in tree:
        return Reference(_index(tree["r"]))
    if "o" in tree:
        return Odd(str(tree["o"]))
    dtype, shape, device, layout = tree["m"]
    known = getattr(torch, str(dtype), None)
    if not isinstance(known, torch.dtype) or not all(_index(n) < 1 << 31 for n in shape):
        raise ValueError("no such tensor")
    if known in _NAMES and layout == str(torch.strided) and device != "meta":
        raise ValueError("a tensor that has numbers, and none of them")
    return Told(known, tuple(shape), str(device), str(layout))


def _index(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("no number of anything")
    return value
