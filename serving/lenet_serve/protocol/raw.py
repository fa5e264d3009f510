"""Tensors as raw little-endian bytes, as REST's binary extension and gRPC send them."""

import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_serve.errors import ServeError
from lenet_serve.protocol.infer import DTYPES, Tensor

BYTES = "BYTES"
_MAX_RANK, _MAX_ELEMENTS = 8, 2**40
_LENGTH = struct.Struct("<I")


def check_shape(shape: Sequence[object], where: str) -> tuple[int, ...]:
    """The shape as a tuple, if it is one.

    Args:
        shape: What the client sent.
        where: What messages begin with.

    Raises:
        ServeError: Too many dimensions, one that is no integer of at least 0, or too many elements.
    """
    if len(shape) > _MAX_RANK:
        raise ServeError(f"{where}.shape: expected at most {_MAX_RANK} dimensions, found more")
    size = 1
    for dimension in shape:
        if type(dimension) is not int or dimension < 0:
            kind = "a negative one" if type(dimension) is int else type(dimension).__name__
            raise ServeError(f"{where}.shape: expected integers of at least 0, found {kind}")
        size *= max(dimension, 1)
    if size > _MAX_ELEMENTS:
        raise ServeError(f"{where}.shape: expected at most {_MAX_ELEMENTS} elements, found more")
    return tuple(shape)  # type: ignore[arg-type]  # integers all of them


def from_raw(
    raw: bytes | memoryview, datatype: str, shape: tuple[int, ...], where: str
) -> NDArray[Any] | list[bytes]:
    """A tensor's data, an aligned and writable copy; a list of its elements for ``BYTES``.

    Args:
        raw: The bytes, all of them.
        datatype: The protocol's name of the type.
        shape: What `check_shape` returned.
        where: What messages begin with.

    Raises:
        ServeError: The datatype is unknown, or the bytes are too many or too few.
    """
    count = math.prod(shape)
    if datatype == BYTES:
        return _elements(bytes(raw), count, where)
    dtype = DTYPES.get(datatype)
    if dtype is None:
        raise unknown(datatype, where)
    if len(raw) != count * dtype.itemsize:
        raise ServeError(
            f"{where}: expected {count * dtype.itemsize} bytes of {datatype} {list(shape)}, found "
            f"{len(raw)}"
        )
    if datatype == "BOOL" and bytes(raw).strip(b"\0\1"):
        raise ServeError(f"{where}: expected bytes 0 and 1 for BOOL, found others")
    if not count:
        return np.empty(shape, dtype)
    return np.ndarray(shape, dtype, bytearray(raw))


def to_raw(tensor: Tensor) -> bytes:
    """A tensor's elements as raw bytes; see `from_raw`."""
    if isinstance(tensor.data, np.ndarray):
        return tensor.data.tobytes()
    elements: Any = tensor.data
    return b"".join([part for e in elements for part in (_LENGTH.pack(len(e)), e)])


def unknown(datatype: object, where: str) -> ServeError:
    """The error of a datatype that the protocol does not have."""
    known = ", ".join([*DTYPES, BYTES])
    return ServeError(f"{where}.datatype: expected one of {known}, found {datatype!r}")


def _elements(raw: bytes, count: int, where: str) -> list[bytes]:
    elements, at = [], 0
    while at < len(raw):
        start = at + _LENGTH.size
        end = start + _LENGTH.unpack_from(raw, at)[0] if start <= len(raw) else start
        if end > len(raw):
            raise ServeError(
                f"{where}: expected BYTES, each element behind its length in four bytes, found an "
                f"element that ends beyond the {len(raw)} bytes"
            )
        elements.append(raw[start:end])
        at = end
    if len(elements) != count:
        raise ServeError(f"{where}: expected {count} BYTES as shape says, found {len(elements)}")
    return elements
