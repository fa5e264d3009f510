"""A tensor's ``data`` as JSON: flat, or nested as its shape says. Nothing is cast silently."""

import base64
import binascii
import math
import struct
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_serve.errors import ServeError
from lenet_serve.protocol.infer import DTYPES
from lenet_serve.protocol.raw import BYTES, unknown

# Of `struct`, which takes integers in range for integers and any number in range for floats, and
# packs a list in a third of the time of `array`, and of NumPy.
_CODES = {
    "INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q", "UINT8": "B", "UINT16": "H",
    "UINT32": "I", "UINT64": "Q", "FP32": "f", "FP64": "d",
}  # fmt: skip
_NAMES = {
    bool: "a boolean", int: "an integer", float: "a number", str: "a string", list: "an array",
    dict: "an object", type(None): "null",
}  # fmt: skip


def kind(value: object) -> str:
    """What JSON calls a value of this type, for errors, which never repeat the value."""
    return _NAMES.get(type(value), type(value).__name__)


def from_json(
    data: Any, datatype: str, shape: tuple[int, ...], where: str, *, base64_text: bool, body: bytes
) -> NDArray[Any] | list[bytes]:
    """The elements of this datatype and shape.

    Args:
        data: What JSON's parser made of ``data``.
        datatype: The protocol's name of the type.
        shape: What `raw.check_shape` returned.
        where: What messages begin with.
        base64_text: Whether the strings of ``BYTES`` are base64, else they stand for themselves,
            in UTF-8.
        body: The JSON that the data was parsed from.

    Raises:
        ServeError: An element of another kind or out of range, or another shape.
    """
    if type(data) is not list:
        raise ServeError(f"{where}.data: expected an array, found {kind(data)}")
    if data and type(data[0]) is list:
        data = _flat(data, shape, where)
    count = math.prod(shape)
    if len(data) != count:
        raise ServeError(
            f"{where}.data: expected {count} elements as shape {list(shape)} says, found "
            f"{len(data)}"
        )
    if datatype == BYTES:
        return _bytes(data, where, base64_text=base64_text)
    if datatype not in DTYPES:
        raise unknown(datatype, where)
    return _numbers(data, datatype, where, body).reshape(shape)


def _flat(data: list[Any], shape: tuple[int, ...], where: str) -> list[Any]:
    """The elements of nested arrays, which must be nested as the shape says."""
    right = bool(shape) and len(data) == shape[0]
    for size in shape[1:]:
        right = right and all(type(row) is list and len(row) == size for row in data)
        if not right:
            break
        data = list(chain.from_iterable(data))
    if not right:
        raise ServeError(
            f"{where}.data: expected a flat array or one nested as shape {list(shape)} says, "
            "found another nesting"
        )
    return data


def _numbers(data: list[Any], datatype: str, where: str, body: bytes) -> NDArray[Any]:
    dtype = DTYPES[datatype]
    try:
        if datatype == "BOOL":
            if {*map(type, data)} - {bool}:
                raise TypeError
            return np.array(data, dtype)
        if datatype not in _CODES:
            raise ServeError(f"{where}: {datatype} has no form in JSON; send binary data")
        if datatype == "UINT8":  # bytes do the same, in two thirds of the time
            packed = bytearray(data)
        else:
            packed = bytearray(len(data) * dtype.itemsize)
            struct.pack_into(f"={len(data)}{_CODES[datatype]}", packed, 0, *data)
        numbers = np.frombuffer(packed, dtype)
    except (TypeError, ValueError, OverflowError, struct.error) as error:
        raise _wrong(data, datatype, where) from error
    # Python takes true for 1. Looking at every type costs as much as all else here, so first a
    # look whether there can be any: in digits, floats that are 0 or 1 to the bit are rare.
    if dtype.kind == "f":
        suspect = np.count_nonzero(numbers) != len(numbers) or bool((numbers == 1).any())
    else:
        suspect = b"true" in body or b"false" in body
    if suspect and bool in map(type, data):
        raise _wrong(data, datatype, where)
    return numbers


def _wrong(data: list[Any], datatype: str, where: str) -> ServeError:
    """The error that names the first element that is not of this datatype."""
    dtype = DTYPES[datatype]
    expected: tuple[type, ...] = (int, float) if dtype.kind == "f" else (int,)
    if datatype == "BOOL":
        expected = (bool,)
    for index, value in enumerate(data):
        if type(value) not in expected:
            return ServeError(
                f"{where}.data[{index}]: expected an element of {datatype}, found {kind(value)}"
            )
    return ServeError(f"{where}.data: expected elements of {datatype}, found one out of range")


def _bytes(data: list[Any], where: str, *, base64_text: bool) -> list[bytes]:
    for index, value in enumerate(data):
        if type(value) is not str:
            raise ServeError(f"{where}.data[{index}]: expected a string, found {kind(value)}")
    if not base64_text:
        return [value.encode() for value in data]
    try:
        return [base64.b64decode(value, validate=True) for value in data]
    except (binascii.Error, ValueError) as error:
        raise ServeError(f"{where}.data: expected base64, found other text") from error
