"""The Open Inference Protocol as a client speaks it: an address, and bytes of requests.

Only what an open loop needs; `lenet_serve` has the protocol itself, and is not imported here, so
that its mistakes are not made twice.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from lenet_runtime.errors import InputError

_PORTS = {"http": 8000, "grpc": 8001}
HEADER_LENGTH = "Inference-Header-Content-Length"


@dataclass(frozen=True)
class Address:
    """Where a server's model is.

    Attributes:
        name: What reports call it.
        scheme: ``http`` or ``grpc``.
        host: Name or number of the host.
        port: Port of the host.
        model: Name of the model.
    """

    name: str
    scheme: str
    host: str
    port: int
    model: str


def parse(text: str) -> Address:
    """Read ``[NAME=]http://HOST[:PORT][/v2/models/MODEL]``, or ``grpc://...``.

    Raises:
        InputError: It is anything else.
    """
    match = re.fullmatch(r"(?:([^=/:]+)=)?((?:http|grpc)://[^?#@\s]+)", text)
    try:
        url = urlsplit(match[2]) if match else urlsplit("")
        host, port = url.hostname, url.port
    except ValueError:
        host = None
    if match is None or not host:
        raise InputError(
            "--url: expected http://HOST:PORT or grpc://HOST:PORT, with /v2/models/NAME where the "
            f"model is not called lenet, and perhaps a name for it in front, as ours=http://..., "
            f"found {text[:200]!r}"
        )
    model = url.path.rstrip("/").rpartition("/")[2] or "lenet"
    place = host if ":" not in host else f"[{host}]"
    port = port or _PORTS[url.scheme]
    return Address(match[1] or f"{url.scheme} {place}:{port}", url.scheme, host, port, model)


@dataclass(frozen=True)
class Input:
    """The model's input.

    Attributes:
        name: Its name.
        shape: Dimensions of one image.
    """

    name: str
    shape: tuple[int, ...]


def choose_input(inputs: list[tuple[str, str, list[int]]], where: str) -> Input:
    """The float32 input of a model's metadata, ``images`` where there are several.

    Args:
        inputs: Name, datatype and shape of each.
        where: Which model, for the error.

    Raises:
        InputError: There is none of known dimensions.
    """
    able = [
        Input(name, tuple(map(int, shape[1:])))
        for name, datatype, shape in inputs
        if datatype == "FP32" and len(shape) == 4 and min(map(int, shape[1:])) > 0
    ]
    for one in sorted(able, key=lambda one: one.name != "images"):
        return one
    raise InputError(f"{where}: expected an FP32 input [N, C, H, W], found {inputs}")


def rest_body(chosen: Input, images: NDArray[np.float32]) -> tuple[dict[str, str], bytes]:
    """Headers and body of a request, the images as a binary tensor, the outputs likewise."""
    raw = np.ascontiguousarray(images, "<f4").tobytes()
    tensor: dict[str, Any] = {
        "name": chosen.name, "shape": images.shape, "datatype": "FP32",
        "parameters": {"binary_data_size": len(raw)},
    }  # fmt: skip
    document = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
    head = json.dumps(document, separators=(",", ":")).encode()
    headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(head))}
    return headers, head + raw


def grpc_request(model: str, chosen: Input, images: NDArray[np.float32]) -> bytes:
    """A ``ModelInferRequest`` in protobuf's wire format, with raw contents."""
    raw = np.ascontiguousarray(images, "<f4").tobytes()
    shape = b"".join(map(_varint, images.shape))
    tensor = _field(1, chosen.name.encode()) + _field(2, b"FP32") + _field(3, shape)
    return _field(1, model.encode()) + _field(5, tensor) + _field(7, raw)


def grpc_metadata_request(model: str) -> bytes:
    """A ``ModelMetadataRequest``."""
    return _field(1, model.encode())


def grpc_inputs(message: bytes) -> list[tuple[str, str, list[int]]]:
    """Name, datatype and shape of each input in a ``ModelMetadataResponse``."""
    inputs = []
    for number, tensor in fields(message):
        if number == 4 and isinstance(tensor, bytes):
            known = list(fields(tensor))
            name, datatype = (
                next((v.decode() for n, v in known if n == k and isinstance(v, bytes)), "")
                for k in (1, 2)
            )
            inputs.append((name, datatype, list(_shape(known))))
    return inputs


def _shape(known: list[tuple[int, bytes | int]]) -> Iterator[int]:
    for number, value in known:
        if number == 3:
            packed = [value] if isinstance(value, int) else _varints(value)
            yield from (v - 2**64 if v >= 2**63 else v for v in packed)


def fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """The fields of a protobuf message: number, and bytes or an integer.

    Raises:
        ValueError: It is none.
    """
    at = 0
    while at < len(message):
        key, at = _read_varint(message, at)
        if key & 7 == 0:
            value, at = _read_varint(message, at)
            yield key >> 3, value
        elif key & 7 == 2:
            length, at = _read_varint(message, at)
            if at + length > len(message):
                raise ValueError("a field is longer than its message")
            yield key >> 3, message[at : at + length]
            at += length
        elif key & 7 in (1, 5):
            at += 8 if key & 7 == 1 else 4
        else:
            raise ValueError(f"unknown wire type {key & 7}")


def _field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _varints(packed: bytes) -> Iterator[int]:
    at = 0
    while at < len(packed):
        value, at = _read_varint(packed, at)
        yield value


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("a number has no end")
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if not data[at - 1] & 128:
            return value, at
