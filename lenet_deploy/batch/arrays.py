"""IDX, NPY and NPZ: files of one array of images, each also gzipped."""

import gzip
import math
import struct
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa

from lenet_deploy.batch.files import File
from lenet_deploy.batch.parts import PART, ROWS, Part, Piece, reading
from lenet_deploy.batch.tables import Reader
from lenet_runtime.images.files import IMAGE_KEYS, LABEL_KEYS

COLUMN, LABEL = "pixels", "label"


@dataclass(frozen=True)
class _Array:
    """One array in a file, from the place where its numbers begin.

    Attributes:
        stream: Where it is read from.
        dtype: Of its numbers.
        shape: Rows first.
    """

    stream: BinaryIO
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def row(self) -> int:
        """Bytes of a row."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def is_compressed(self) -> bool:
        """Whether it can only be read from its front, and its file's size does not tell its own."""
        return isinstance(self.stream, gzip.GzipFile | zipfile.ZipExtFile)


def unzipped(stream: BinaryIO) -> BinaryIO:
    """The stream, or what is in it if it is gzipped; at its beginning."""
    start = stream.read(2)
    stream.seek(0)
    return cast(BinaryIO, gzip.open(stream)) if start == b"\x1f\x8b" else stream


@contextmanager
def _arrays(file: File, kind: str) -> Iterator[dict[str, _Array]]:
    """The file's arrays by the names of their columns."""
    with reading(file, kind.upper()), ExitStack() as stack:
        outer = stack.enter_context(file.open())
        stream = stack.enter_context(unzipped(outer))
        size = file.size if stream is outer else None
        if kind == "npz":
            yield _npz(stack, stream)
        else:
            yield {COLUMN: (_idx if kind == "idx" else _npy)(stream, size)}


def _idx(stream: BinaryIO, size: int | None) -> _Array:
    start = stream.read(4)
    if start == b"\0\0\x08\x01":
        raise ValueError("these are IDX labels; give the file of images")
    if start[:3] != b"\0\0\x08" or start[3:] not in (b"\3", b"\4"):
        raise ValueError(f"it begins with {start!r}")
    shape = struct.unpack(f">{start[3]}I", stream.read(4 * start[3]))
    return _checked(_Array(stream, np.dtype(np.uint8), shape), size)


def _npy(stream: BinaryIO, size: int | None) -> _Array:
    version = np.lib.format.read_magic(stream)
    header = np.lib.format.read_array_header_1_0
    shape, by_columns, dtype = (
        header if version == (1, 0) else np.lib.format.read_array_header_2_0
    )(stream)
    if by_columns and len(shape) > 1:
        raise ValueError("its numbers are in Fortran's order; save np.ascontiguousarray(images)")
    if dtype.kind not in "buif" or dtype.itemsize > 8:
        raise ValueError(f"expected numbers, found {dtype}")
    return _checked(_Array(stream, dtype, shape), size)


def _npz(stack: ExitStack, stream: BinaryIO) -> dict[str, _Array]:
    archive = stack.enter_context(zipfile.ZipFile(stream))
    members = {name.removesuffix(".npy"): name for name in archive.namelist()}
    arrays = {}
    for column, keys in ((LABEL, LABEL_KEYS), (COLUMN, IMAGE_KEYS)):
        for key in [key for key in keys if key in members][:1]:
            member = stack.enter_context(archive.open(members[key]))
            arrays[column] = _npy(cast(BinaryIO, member), None)
    if COLUMN not in arrays:
        raise ValueError(f"expected an array named images, found {sorted(members)}")
    rows = arrays[COLUMN].shape[0]
    if LABEL in arrays and arrays[LABEL].shape != (rows,):
        raise ValueError(f"expected {rows} labels, found an array {arrays[LABEL].shape}")
    return arrays


def _checked(array: _Array, size: int | None) -> _Array:
    """The array, if its file is as long as its header says."""
    if not array.shape:
        raise ValueError("expected an array of images, found a single number")
    if not array.row:  # Arrow divides by it
        raise ValueError(f"expected images, found an array {array.shape}")
    expected = array.shape[0] * array.row
    if size is not None and expected != (there := size - array.stream.tell()):
        raise ValueError(f"expected {expected} bytes for {array.shape}, found {there}")
    return array


def _type(array: _Array) -> pa.DataType:
    kind = pa.from_numpy_dtype(array.dtype.newbyteorder("="))
    for size in reversed(array.shape[1:]):
        kind = pa.list_(kind, size)
    return kind


def _schema(file: File, kind: str) -> pa.Schema:
    with _arrays(file, kind) as arrays:
        return pa.schema([(name, _type(array)) for name, array in arrays.items()])


def _pieces(file: File, kind: str) -> Iterator[Piece]:
    with _arrays(file, kind) as arrays:
        images = arrays[COLUMN]
        rows = images.shape[0]
        size = max(1, rows if images.is_compressed else PART)
    for start in range(0, rows, size):
        stop = min(rows, start + size)
        yield Piece(stop - start, start, stop, start)


def _read(part: Part) -> Iterator[pa.RecordBatch]:
    with _arrays(part.file, part.kind) as arrays:
        images = arrays[COLUMN]
        if part.start:
            images.stream.seek(part.start * images.row, 1)
        for start in range(part.start, part.stop, ROWS):
            rows = min(ROWS, part.stop - start)
            yield pa.RecordBatch.from_arrays(
                [_rows(arrays[name], rows, start) for name in (*part.keep, COLUMN)],
                [*part.keep, COLUMN],
            )
        if images.is_compressed and images.stream.read(1):  # others' length was known before
            raise ValueError(f"it goes on after {images.shape[0]} rows, its header's number")


def _rows(array: _Array, rows: int, start: int) -> pa.Array:
    """The next rows of an array."""
    data = array.stream.read(rows * array.row)
    if len(data) < rows * array.row:
        end = start + len(data) // max(1, array.row)
        raise ValueError(f"it ends after {end} of {array.shape[0]} rows")
    numbers = np.frombuffer(data, array.dtype)
    values = pa.array(numbers.astype(array.dtype.newbyteorder("="), copy=False))
    kind, kinds = _type(array), []
    while pa.types.is_fixed_size_list(kind):
        kinds.append(kind)
        kind = kind.value_type
    for kind in reversed(kinds):
        values = pa.FixedSizeListArray.from_arrays(values, type=kind)
    return values


def _reader(kind: str) -> Reader:
    return Reader(
        lambda file: _schema(file, kind), lambda file, _: _pieces(file, kind), _read
    )  # fmt: skip


IDX, NPY, NPZ = map(_reader, ("idx", "npy", "npz"))
