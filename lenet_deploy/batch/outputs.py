"""The kinds of files that answers are written to: Parquet, CSV and JSON lines."""

import base64
import contextlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from lenet_deploy.batch.arrow import ANSWER
from lenet_runtime.errors import DeployError, InputError

PART_OF_PARQUET = "arrow"
METADATA, TOTALS = "lenet_deploy", "lenet_deploy_totals"
_ROW_GROUP, _BUFFER_BYTES = 2**17, 2**25  # rows, or bytes, that are written at once
_COLUMNS = pa.schema([("path", pa.string()), ("row", pa.int64()), *ANSWER])
_COPY_BYTES = 2**20


class Table:
    """One file of answers while it is written.

    Args:
        path: The file, which is made or emptied.
        document: What its metadata says of the job, JSON; kinds without metadata leave it out.
        ranks: Classes that ``top`` ranks.
    """

    def __init__(self, path: Path, document: str, ranks: int) -> None:
        self._path, self._document, self._ranks = path, document, ranks

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows; their schema must be that of the rows before."""
        raise NotImplementedError

    def append(self, path: Path) -> None:
        """Add all rows of another file of this kind.

        Raises:
            InputError: Its columns are others.
        """
        raise NotImplementedError

    def close(self, totals: Mapping[str, int] | None = None) -> None:
        """End the file; `totals` go into its metadata, and no totals break it off."""
        raise NotImplementedError


class Parquet(Table):
    """Rows are kept until they fill a row group: small ones make a file large and slow to read."""

    def __init__(self, path: Path, document: str, ranks: int) -> None:
        super().__init__(path, document, ranks)
        self._writer: Any = None
        self._kept: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows."""
        if self._writer is None:
            schema = batch.schema.with_metadata({METADATA: self._document})
            self._writer = pq.ParquetWriter(self._path, schema)
        self._kept.append(batch)
        self._rows += len(batch)
        self._bytes += batch.nbytes
        if self._rows >= _ROW_GROUP or self._bytes >= _BUFFER_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._kept:
            self._writer.write_table(pa.Table.from_batches(self._kept), row_group_size=_ROW_GROUP)
        self._kept, self._rows, self._bytes = [], 0, 0

    def append(self, path: Path) -> None:
        """Add all rows of an `Arrow` file."""
        with pa.OSFile(str(path)) as source, pa.ipc.open_stream(source) as file:
            if self._writer is not None and file.schema != self._writer.schema:
                raise _other_columns(path, self._writer.schema.names, file.schema.names)
            for batch in file:
                self.write(batch)

    def close(self, totals: Mapping[str, int] | None = None) -> None:
        """End the file; one without rows has the columns that every file has."""
        if totals is None:
            with contextlib.suppress(OSError):  # of a disk that is full
                if self._writer is not None:
                    self._writer.close()
            return
        if self._writer is None:
            self.write(pa.RecordBatch.from_pylist([], _COLUMNS))
        self._flush()
        self._writer.add_key_value_metadata({TOTALS: json.dumps(totals)})
        self._writer.close()


class Arrow(Table):
    """What a `Parquet` is joined from, 100 bytes a row: to encode it twice takes longer.

    It is a stream, whose batches may have dictionaries of their own.
    """

    _writer: Any = None

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows."""
        if self._writer is None:
            self._writer = pa.ipc.new_stream(self._path, batch.schema)
        self._writer.write_batch(batch)

    def close(self, totals: Mapping[str, int] | None = None) -> None:
        """End the file."""
        if self._writer is not None:
            with contextlib.nullcontext() if totals is not None else contextlib.suppress(OSError):
                self._writer.close()


class _Text(Table):
    def __init__(self, path: Path, document: str, ranks: int) -> None:
        super().__init__(path, document, ranks)
        self._file = path.open("wb")

    def close(self, totals: Mapping[str, int] | None = None) -> None:
        """End the file."""
        with contextlib.nullcontext() if totals is not None else contextlib.suppress(OSError):
            self._file.close()


class Csv(_Text):
    """With a header; ``top`` becomes ``label_2``, ``probability_2`` and so on; null is empty."""

    _header = b""

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows."""
        flat = _flat(batch, self._ranks)
        header = pa.BufferOutputStream()
        pyarrow.csv.write_csv(flat.schema.empty_table(), header)
        self._begin(header.getvalue().to_pybytes())
        rows = pa.BufferOutputStream()
        pyarrow.csv.write_csv(flat, rows, pyarrow.csv.WriteOptions(include_header=False))
        self._file.write(rows.getvalue())

    def _begin(self, header: bytes, path: Path | None = None) -> None:
        if not self._header:
            self._header = header
            self._file.write(header)
        elif header != self._header:
            names = [text.decode().strip().split(",") for text in (self._header, header)]
            raise _other_columns(path or self._path, *names)

    def append(self, path: Path) -> None:
        """Add all rows of another file."""
        with path.open("rb") as file:
            header = file.readline()
            while header.count(b'"') % 2:  # inside a name
                header += file.readline()
            self._begin(header, path)
            _copy(file, self._file)

    def close(self, totals: Mapping[str, int] | None = None) -> None:
        """End the file; one without rows has the header that every file has."""
        if totals is not None and not self._header:
            self.write(pa.RecordBatch.from_pylist([], _COLUMNS))
        super().close(totals)


class JsonLines(_Text):
    """An object a line; bytes as base64, and NaN as null."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows."""
        lines = [_line(row) for row in batch.to_pylist()]
        self._file.write("".join(lines).encode())

    def append(self, path: Path) -> None:
        """Add all rows of another file."""
        with path.open("rb") as file:
            _copy(file, self._file)


FORMATS: dict[str, Callable[[Path, str, int], Table]] = {
    "parquet": Parquet, "csv": Csv, "jsonl": JsonLines,
}  # fmt: skip


@contextlib.contextmanager
def table(format: str, path: Path, document: str, ranks: int) -> Iterator[Table]:
    """A file of answers, for `Table.close` at the end of the block; else it is broken off."""
    own = (FORMATS | {PART_OF_PARQUET: Arrow})[format](path, document, ranks)
    try:
        yield own
    except BaseException:
        own.close()
        raise


def read_metadata(path: Path) -> dict[str, Any] | None:
    """The ``job`` and the ``totals`` that a Parquet file of ours says; None of any other file."""
    try:
        own = pq.read_metadata(path).metadata or {}
        return {
            "job": json.loads(own[METADATA.encode()]), "totals": json.loads(own[TOTALS.encode()]),
        }  # fmt: skip
    except (pa.ArrowInvalid, OSError, KeyError, ValueError):
        return None


def _other_columns(path: Path, expected: list[str], found: list[str]) -> InputError:
    return InputError(
        f"{path}: expected columns like those of the parts before ({', '.join(expected)}), found "
        f"others or other types ({', '.join(found)}); give inputs of other columns a job of "
        "their own, or keep no columns of theirs"
    )


def _copy(source: Any, target: Any) -> None:
    while data := source.read(_COPY_BYTES):
        target.write(data)


def _flat(batch: pa.RecordBatch, ranks: int) -> pa.Table:
    """The rows with a column for each rank of ``top``, from the second on, in its place."""
    columns: dict[str, Any] = {}
    for name, values in zip(batch.schema.names, batch.columns, strict=True):
        if name == "top":
            for rank in range(1, ranks):
                entry = pc.list_element(values, rank)
                columns[f"label_{rank + 1}"] = pc.struct_field(entry, "label")
                columns[f"probability_{rank + 1}"] = pc.struct_field(entry, "probability")
        elif pa.types.is_nested(values.type):
            raise DeployError(
                f"{name}: a column of {values.type} has no place in CSV; write Parquet"
            )
        else:
            columns[name] = values
    return pa.table(columns)


def _line(row: dict[str, Any]) -> str:
    try:
        return json.dumps(row, default=_plain, allow_nan=False) + "\n"
    except ValueError:
        return json.dumps(_finite(row), default=_plain, allow_nan=False) + "\n"


def _plain(value: object) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(own) for name, own in value.items()}
    if isinstance(value, list):
        return [_finite(own) for own in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
