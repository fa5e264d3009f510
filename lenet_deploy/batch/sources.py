"""What a job reads: inputs cut into parts, each of which any worker can read by itself."""

import glob
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lenet_runtime.errors import InputError

PICTURES = 1024  # in a part: one or two seconds of work
ROWS = 1024  # of pixels in a batch, 0.8 MB
PICTURE_COLUMN = "picture"


@dataclass(frozen=True)
class Part:
    """What one worker reads in one go, and answers in one file.

    Attributes:
        number: Place among the parts, from 0.
        kind: ``pictures`` or ``parquet``.
        paths: Files: many of pictures, one of any other kind.
        start: First row group of the file.
        rows: Rows, or pictures.
        first: Row of the file that is the part's first.
    """

    number: int
    kind: str
    paths: tuple[str, ...]
    rows: int
    start: int = 0
    first: int = 0


def plan(inputs: list[str]) -> list[Part]:
    """The parts of all inputs, in their order.

    Raises:
        InputError: An input names no file, or one that is no input.
    """
    parts: list[Part] = []
    pictures: list[str] = []
    for name in inputs:
        paths = sorted(glob.glob(name, recursive=True)) or [name]  # noqa: PTH207
        for path in paths:
            if not Path(path).is_file():
                raise InputError(f"{path}: no file matches")
            if path.endswith(".parquet"):
                parts += _row_groups(path, len(parts))
            else:
                pictures.append(path)
    for start in range(0, len(pictures), PICTURES):
        chunk = tuple(pictures[start : start + PICTURES])
        parts.append(Part(len(parts), "pictures", chunk, len(chunk)))
    return parts


def _row_groups(path: str, number: int) -> Iterator[Part]:
    metadata = pq.read_metadata(path)
    first = 0
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group).num_rows
        yield Part(number + group, "parquet", (path,), rows, group, first)
        first += rows


def read(part: Part, column: str, keep: list[str]) -> Iterator[pa.RecordBatch]:
    """The batches of a part: ``path``, ``row``, the kept columns, and the pictures or pixels."""
    if part.kind == "pictures":
        for start in range(0, len(part.paths), 64):
            paths = part.paths[start : start + 64]
            files = [Path(path).read_bytes() for path in paths]
            yield pa.record_batch(
                {
                    "path": list(paths),
                    "row": pa.nulls(len(paths), pa.int64()),
                    PICTURE_COLUMN: pa.array(files, pa.binary()),
                }
            )
        return
    row = part.first
    with pq.ParquetFile(part.paths[0]) as file:
        batches = file.iter_batches(ROWS, [part.start], columns=[*keep, column])
        for batch in batches:
            place = pa.record_batch(
                {
                    "path": pa.array([part.paths[0]] * len(batch)),
                    "row": pa.array(range(row, row + len(batch)), pa.int64()),
                }
            )
            row += len(batch)
            yield pa.RecordBatch.from_arrays(
                [*place.columns, *batch.columns],
                schema=pa.schema([*place.schema, *batch.schema]),
            )


def fingerprint(parts: list[Part]) -> str:
    """What a job's inputs are: their names, sizes and times of change."""
    digest = hashlib.sha256()
    last = None
    for part in parts:
        digest.update(repr((part.kind, part.rows, part.start, part.first)).encode())
        for path in part.paths:
            if path != last:
                status = Path(path).stat()
                digest.update(repr((path, status.st_size, status.st_mtime_ns)).encode())
                last = path
    return digest.hexdigest()
