"""Parquet and Arrow IPC (Feather): files that have named columns."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from lenet_deploy.batch.columns import is_fitting, is_of_pictures
from lenet_deploy.batch.files import File
from lenet_deploy.batch.parts import BYTES, PART, PICTURES, ROWS, Part, Piece, reading

_MANY = 64  # blocks of a file that all become parts


@dataclass(frozen=True)
class Reader:
    """How one kind of file is read.

    Attributes:
        schema: Its columns.
        pieces: Where it is cut, for a column of pictures or pixels.
        read: The kept columns and that column of a part.
    """

    schema: Callable[[File], pa.Schema]
    pieces: Callable[[File, str], Iterator[Piece]]
    read: Callable[[Part], Iterator[pa.RecordBatch]]


def _gather(rows: Sequence[int], least: int) -> Iterator[Piece]:
    """A piece for each block of rows; of more than `_MANY`, for neighbours of at least `least`."""
    start = stop = first = total = 0
    for stop, count in enumerate(rows, 1):
        total += count
        if total >= least or (total and len(rows) <= _MANY):
            yield Piece(total, start, stop, first)
            start, first, total = stop, first + total, 0
    if total:
        yield Piece(total, start, stop, first)


@contextmanager
def _parquet(file: File) -> Iterator[pq.ParquetFile]:
    with (
        reading(file, "Parquet"),
        file.open() as stream,
        pq.ParquetFile(stream, buffer_size=2**20, pre_buffer=False) as table,
    ):
        yield table


def _parquet_schema(file: File) -> pa.Schema:
    with _parquet(file) as table:
        return table.schema_arrow


def _parquet_pieces(file: File, column: str) -> Iterator[Piece]:
    with _parquet(file) as table:
        least = _least(table.schema_arrow, column)
        groups = [table.metadata.row_group(i).num_rows for i in range(table.num_row_groups)]
    yield from _gather(groups, least)


def _parquet_read(part: Part) -> Iterator[pa.RecordBatch]:
    with _parquet(part.file) as table:
        groups = [table.metadata.row_group(i) for i in range(part.start, part.stop)]
        size = sum(group.total_byte_size for group in groups)
        rows = min(ROWS, max(1, BYTES * sum(group.num_rows for group in groups) // max(1, size)))
        names = [*part.keep, part.column]
        for batch in table.iter_batches(rows, [*range(part.start, part.stop)], names, False):
            yield batch.select(names)


def _least(schema: pa.Schema, column: str) -> int:
    return PICTURES if is_of_pictures(schema.field(column).type) else PART


@contextmanager
def _arrow(file: File, columns: list[str] | None = None) -> Iterator[pa.RecordBatchFileReader]:
    with reading(file, "Arrow IPC"), file.open() as stream:
        with pa.ipc.open_file(stream) as reader:
            schema = reader.schema
        chosen = None if columns is None else [schema.get_field_index(name) for name in columns]
        options = pa.ipc.IpcReadOptions(included_fields=chosen, use_threads=False)
        with pa.ipc.open_file(stream, options=options) as reader:
            yield reader


def _arrow_schema(file: File) -> pa.Schema:
    with _arrow(file) as reader:
        return reader.schema


def _arrow_pieces(file: File, column: str) -> Iterator[Piece]:
    schema = _arrow_schema(file)
    least = _least(schema, column)
    # A batch tells its rows once one of its columns is read: a small one, where there is one.
    once = [field for field in schema if schema.names.count(field.name) == 1]
    small = [field.name for field in once if not is_fitting(field.type)]
    with _arrow(file, [*small, column][:1]) as reader:
        rows = [reader.get_batch(i).num_rows for i in range(reader.num_record_batches)]
    yield from _gather(rows, least)


def _arrow_read(part: Part) -> Iterator[pa.RecordBatch]:
    names = [*part.keep, part.column]
    with _arrow(part.file, names) as reader:
        for index in range(part.start, part.stop):
            yield from _slices(reader.get_batch(index).select(names))


def _slices(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Batches of a usual size, in the same memory."""
    rows = min(ROWS, max(1, BYTES * len(batch) // max(1, batch.nbytes)))
    for start in range(0, len(batch), rows):
        yield batch.slice(start, rows)


@contextmanager
def _stream(file: File) -> Iterator[pa.RecordBatchStreamReader]:
    with (
        reading(file, "an Arrow stream"),
        file.open() as stream,
        pa.ipc.open_stream(stream) as reader,
    ):
        yield reader


def _stream_schema(file: File) -> pa.Schema:
    with _stream(file) as reader:
        return reader.schema


def _stream_pieces(file: File, column: str) -> Iterator[Piece]:
    with _stream(file) as reader:
        yield Piece(sum(batch.num_rows for batch in reader))


def _stream_read(part: Part) -> Iterator[pa.RecordBatch]:
    with _stream(part.file) as reader:
        for batch in reader:
            yield from _slices(batch.select([*part.keep, part.column]))


PARQUET = Reader(_parquet_schema, _parquet_pieces, _parquet_read)
ARROW = Reader(_arrow_schema, _arrow_pieces, _arrow_read)
STREAM = Reader(_stream_schema, _stream_pieces, _stream_read)
