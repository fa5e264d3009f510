"""CSV of digits: a column for each pixel, and perhaps one of labels."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import chain
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv

from lenet_deploy.batch.arrays import COLUMN, LABEL, unzipped
from lenet_deploy.batch.files import File
from lenet_deploy.batch.parts import Part, Piece, reading
from lenet_deploy.batch.tables import Reader

_BLOCK = 4 * 2**20  # bytes that are parsed at once
_PART = 8 * _BLOCK
_LINE = 4 * _BLOCK  # bytes that a line may have
_KNOWN = 2**20  # bytes at the beginning that say what the columns are


@dataclass(frozen=True)
class _Layout:
    """What the beginning of a CSV file says of the rest.

    Attributes:
        start: Byte of the first row.
        columns: Columns of a row.
        label: Place of the labels' column, or None.
        kind: Type that a number is read as: int32, or float64 where they are written with a point.
        whole: Whether pixels are whole numbers of 0 to 255.
    """

    start: int
    columns: int
    label: int | None
    kind: pa.DataType
    whole: bool


@contextmanager
def _opened(file: File) -> Iterator[tuple[BinaryIO, bool]]:
    """The text, and whether it is gzipped."""
    with reading(file, "CSV"), file.open() as outer, unzipped(outer) as stream:
        yield stream, stream is not outer


def _layout(stream: BinaryIO) -> _Layout:
    """What the columns are, of a stream at its beginning."""
    head = stream.read(_KNOWN)
    end = head.rfind(b"\n") + 1 if len(head) == _KNOWN else len(head)
    start = 3 if head.startswith(b"\xef\xbb\xbf") else 0  # a byte order mark
    first = head[start:].split(b"\n", 1)[0]
    names = [name.strip().strip('"').lower() for name in first.decode().split(",")]
    numbered = names == [str(index) for index in range(len(names))]  # as pandas calls columns
    named = numbered or not _is_number(names[0])
    if named:
        start += len(first) + 1
    columns, label = len(names), None
    if not _is_square(columns):
        if not _is_square(columns - 1):
            raise ValueError(f"expected a column for each pixel, such as 784, found {columns}")
        label = names.index(LABEL) if LABEL in names else 0
    sample = head[start:end]
    if not sample.strip():
        raise ValueError("it has no rows")
    layout = _Layout(start, columns, label, pa.float64(), whole=True)
    pixels = _columns(sample, layout)[-1].flatten().to_numpy(zero_copy_only=False)
    pixels = np.nan_to_num(pixels)  # missing ones
    if (pixels % 1).any():
        if pixels.max() > 1:
            raise ValueError("expected whole numbers of 0 to 255, or fractions of 0 to 1")
        return replace(layout, whole=False)
    return layout if b"." in sample else replace(layout, kind=pa.int32())


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_square(columns: int) -> bool:
    """Whether a square image, of one channel or three, has so many pixels."""
    return columns > 16 and any(
        count * channels == columns and math.isqrt(count) ** 2 == count
        for channels in (1, 3)
        for count in [columns // channels]
    )


def _blocks(stream: BinaryIO, size: int | None) -> Iterator[bytes]:
    """Whole lines, some MiB at a time, of the next bytes of a stream or of all that follow."""
    rest = b""
    while data := stream.read(_BLOCK if size is None else min(_BLOCK, size)):
        size = None if size is None else size - len(data)
        end = data.rfind(b"\n") + 1
        if end:
            yield rest + data[:end]
            rest = b""
        rest += data[end:]
        if len(rest) > _LINE:
            raise ValueError(f"a line of more than {_LINE} bytes")
    if rest.strip():
        yield rest


def _count(block: bytes) -> int:
    """Lines in a block that are not empty."""
    ends = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n"))
    lengths = np.diff(np.append(-1, ends)) - 1
    empty = np.count_nonzero(lengths == 0)
    if b"\r" in block:
        empty += block.count(b"\n\r\n") + block.startswith(b"\r\n")
    return len(ends) - int(empty) + (not block.endswith(b"\n"))


def _columns(block: bytes, layout: _Layout) -> list[pa.Array]:
    """The labels, if there are any, and the pixels of whole lines."""
    names = [str(index) for index in range(layout.columns)]
    kinds = dict.fromkeys(names, layout.kind)
    if layout.label is not None:
        kinds[names[layout.label]] = pa.float64()
    table = pyarrow.csv.read_csv(
        BytesIO(block),
        pyarrow.csv.ReadOptions(use_threads=False, block_size=len(block) + 1, column_names=names),
        convert_options=pyarrow.csv.ConvertOptions(column_types=kinds, null_values=[""]),
    ).combine_chunks()
    columns = [
        column.chunk(0) if column.num_chunks else column.combine_chunks() for column in table
    ]
    labels = [] if layout.label is None else [columns.pop(layout.label).cast(pa.int64())]
    mask = None
    if any(column.null_count for column in columns):
        mask = np.column_stack([column.is_null() for column in columns]).ravel()
        columns = [column.fill_null(0) for column in columns]
    pixels = np.column_stack([column.to_numpy() for column in columns]).ravel()
    return [*labels, pa.FixedSizeListArray.from_arrays(pa.array(pixels, mask=mask), len(columns))]


def _typed(columns: list[pa.Array], layout: _Layout) -> list[pa.Array]:
    if layout.whole and layout.kind == pa.float64():
        pixels = columns[-1]
        numbers = pixels.flatten().cast(pa.int32())  # an error where one has a fraction
        columns[-1] = pa.FixedSizeListArray.from_arrays(numbers, pixels.type.list_size)
    return columns


def _schema(file: File) -> pa.Schema:
    with _opened(file) as (stream, _):
        layout = _layout(stream)
    kind = pa.int32() if layout.whole else pa.float64()
    pixels = pa.list_(kind, layout.columns - (layout.label is not None))
    labels = [] if layout.label is None else [(LABEL, pa.int64())]
    return pa.schema([*labels, (COLUMN, pixels)])


def _pieces(file: File, _: str) -> Iterator[Piece]:
    with _opened(file) as (stream, gzipped):
        stop = start = _layout(stream).start
        stream.seek(start)
        first = rows = 0
        for block in chain(_blocks(stream, None), [b""]):
            stop += len(block)
            rows += _count(block) if block else 0
            # What is gzipped can only be read from its front.
            if rows and (not block or (stop - start >= _PART and not gzipped)):
                yield Piece(rows, start, stop, first)
                start, first, rows = stop, first + rows, 0


def _read(part: Part) -> Iterator[pa.RecordBatch]:
    with _opened(part.file) as (stream, gzipped):
        layout = _layout(stream)
        stream.seek(layout.start if gzipped else part.start)
        for block in _blocks(stream, None if gzipped else part.stop - part.start):
            if block.strip():
                columns = _typed(_columns(block, layout), layout)
                chosen = [*(columns[0] for _ in part.keep), columns[-1]]
                yield pa.RecordBatch.from_arrays(chosen, [*part.keep, COLUMN])


CSV = Reader(_schema, _pieces, _read)
