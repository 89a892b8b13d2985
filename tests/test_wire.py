"""What goes over the channel comes out as it went in, and nothing else gets through."""

from __future__ import annotations

import json
import math
import socket
import struct
import threading
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from attest.wire import Channel, Closed, Garbled, Named, Odd, Reference, Told

DTYPES = (
    torch.bool,
    torch.int64,
    torch.uint8,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.complex64,
)


def sent(message: dict[str, Any]) -> dict[str, Any]:
    one, other = socket.socketpair()
    with one, other:
        sender = threading.Thread(target=Channel(one).send, args=(message,))
        sender.start()
        found = Channel(other).receive()
        sender.join()
    return found


@st.composite
def tensors(draw) -> Tensor:
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    dtype = draw(st.sampled_from(DTYPES))
    seed = draw(st.integers(0, 2**32 - 1))
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(-2, 3, shape, generator=generator).to(torch.float64)
    values = values * draw(st.sampled_from([1.0, 0.1, math.inf, math.nan]))
    tensor = values.to(dtype)
    way = draw(st.sampled_from(["as it is", "permuted", "strided", "expanded", "sliced"]))
    if tensor.dim() and way == "permuted":
        tensor = tensor.permute(*draw(st.permutations(range(tensor.dim()))))
    elif tensor.dim() and way == "strided":
        tensor = tensor[..., ::2]
    elif way == "expanded":
        tensor = tensor.expand(3, *tensor.shape)
    elif tensor.dim() and way == "sliced":
        tensor = tensor[1:]
    if dtype.is_floating_point and draw(st.booleans()):
        tensor = tensor.requires_grad_()
    return tensor


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.text()
    | tensors()
    | st.builds(Reference, st.integers(0, 99))
    | st.builds(Odd, st.text()),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.builds(Named, st.integers(0, 9), st.lists(inner, max_size=3).map(tuple))
        | st.dictionaries(st.text(), inner, max_size=3)
    ),
    max_leaves=8,
)


def same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, Tensor):
        return (
            (one.dtype, one.shape, one.requires_grad)
            == (other.dtype, other.shape, other.requires_grad)
            and torch.equal(one.isnan(), other.isnan())
            and torch.equal(one.nan_to_num(), other.nan_to_num())
        )
    if isinstance(one, Named):
        return one.kind == other.kind and same(one.parts, other.parts)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and same(list(one.values()), list(other.values()))
    return bool(one == other)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.text(), VALUES, max_size=3))
def test_what_is_sent_is_received(message):
    assert same(message, sent(message))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_the_order_in_memory_is_kept(order):
    tensor = torch.arange(24.0).view(2, 3, 4).permute(order)
    found = sent({"x": tensor})["x"]
    assert found.stride() == tensor.stride()
    assert torch.equal(found, tensor)


def test_one_tensor_under_two_names_stays_one():
    tensor = torch.ones(2)
    found = sent({"query": tensor, "key": (tensor, tensor.clone())})
    assert found["query"] is found["key"][0]
    assert found["query"] is not found["key"][1]


def test_tensors_of_one_message_share_no_memory():
    found = sent({"x": torch.zeros(2), "y": torch.zeros(2)})
    found["x"].add_(1)
    assert found["y"].tolist() == [0, 0]


def test_numbers_lie_where_a_processor_reads_them_at_once():
    found = sent({"mask": torch.ones(3, dtype=torch.bool), "x": torch.ones(3, dtype=torch.float64)})
    assert found["x"].data_ptr() % found["x"].itemsize == 0
    assert found["x"].tolist() == [1, 1, 1]


def test_what_has_no_numbers_is_told():
    told = Told(torch.float32, (2, 3), "meta", "torch.strided")
    assert sent({"x": told})["x"] == told


def test_what_cannot_be_sent_is_refused():
    one, other = socket.socketpair()
    with one, other:
        with pytest.raises(TypeError, match="a object cannot be sent"):
            Channel(one).send({"x": object()})
        with pytest.raises(Garbled, match="too large"):
            Channel(one).send({"x": torch.zeros(1).expand(1 << 28)})


def received(data: bytes) -> Any:
    one, other = socket.socketpair()
    with other:
        with one:
            one.sendall(data)
        return Channel(other).receive()


def framed(tree: Any, metas: Any, data: bytes = b"") -> bytes:
    text = json.dumps([tree, metas]).encode()
    return struct.pack("<I", len(text)) + text + data


@given(st.binary(max_size=200))
def test_noise_is_no_message(noise):
    with pytest.raises((Closed, Garbled)):
        received(noise)


FORGED = {
    "no object": framed([], []),
    "a tensor that is not there": framed({"d": {"x": {"t": 0}}}, []),
    "a tensor with another's number": framed(
        {"d": {"x": {"t": -1}}}, [["bool", [], None, 0]], b"0"
    ),
    "a negative size": framed({"d": {}}, [["bool", [-1], None, 0]]),
    "a size that is no integer": framed({"d": {}}, [["bool", [1.0], None, 0]], b"0"),
    "a true size": framed({"d": {}}, [["bool", [True], None, 0]], b"0"),
    "more than memory": framed({"d": {}}, [["float64", [1 << 40], None, 0]]),
    "more than numbers": framed({"d": {}}, [["float64", [1 << 62, 1 << 62], None, 0]]),
    "memory of others": framed({"d": {}}, [["bool", [2], [1 << 20], 0]], b"00"),
    "memory before it": framed({"d": {}}, [["bool", [2], [-1], 0]], b"00"),
    "a stride too few": framed({"d": {}}, [["bool", [1, 1], [1], 0]], b"0"),
    "no dtype": framed({"d": {}}, [["object", [1], None, 0]], b"0"),
    "gradients of integers": framed({"d": {}}, [["int64", [1], None, 1]], b"0" * 8),
    "no list": framed({"d": {}}, 3),
    "two marks": framed({"d": {"x": {"u": [], "d": {}}}}, []),
    "a shape that is a dictionary": framed({"d": {}}, [["bool", {}, None, 0]], b"0"),
    "parameters with too few numbers": framed(
        {"d": {"x": {"f": [0, ["a"], [[2]], [0]]}}}, [["bool", [1], None, 0]], b"0"
    ),
    "parameters with too many numbers": framed(
        {"d": {"x": {"f": [0, ["a"], [[2]], [0]]}}}, [["bool", [3], None, 0]], b"000"
    ),
    "an unknown mark": framed({"d": {"x": {"q": 1}}}, []),
    "a reference to no number": framed({"d": {"x": {"r": "1"}}}, []),
    "a dtype that is something else": framed(
        {"d": {"x": {"m": ["nn", [1], "cpu", "strided"]}}}, []
    ),
    "numbers that are only told": framed(
        {"d": {"x": {"m": ["float32", [4], "cpu", "torch.strided"]}}}, []
    ),
    "a number for a dictionary": framed({"d": 3}, []),
    "a number for a tuple": framed({"d": {"x": {"u": 3}}}, []),
    "too deep": framed({"d": {"x": json.loads("[" * 200 + "]" * 200)}}, []),
    "far too deep": struct.pack("<I", 20_000) + b"[" * 20_000,
    "too long": struct.pack("<I", 1 << 31),
}


@pytest.mark.parametrize("name", FORGED)
def test_what_is_forged_is_garbled(name):
    with pytest.raises(Garbled):
        received(FORGED[name])


def test_whoever_hangs_up_is_gone():
    with pytest.raises(Closed):
        received(framed({"d": {}}, [["float64", [3], None, 0]], b"0" * 8))
