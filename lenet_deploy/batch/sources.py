"""What a job reads: any inputs, cut into parts, and a part's record batches.

    parts = plan(["digits/*.parquet"])
    batches = answers(parts[0], session)

A part is what one worker answers in one file: 1,024 pictures, some row groups of a Parquet file,
some record batches of an Arrow file, rows of NPY and IDX, a range of bytes of CSV. What is
compressed as a whole, `.gz` and NPZ, can only be read from its front, so it is one part.
"""

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import PurePath

import numpy as np
import pyarrow as pa

from lenet_deploy.batch import arrays, delimited, tables
from lenet_deploy.batch.arrow import ANSWER, kept_name, predict_arrow
from lenet_deploy.batch.columns import find_column
from lenet_deploy.batch.files import File, find
from lenet_deploy.batch.parts import BYTES, PICTURES, Part, Piece, reading
from lenet_runtime import Session
from lenet_runtime.errors import InputError
from lenet_runtime.images.files import is_picture

PICTURE_COLUMN = "picture"
PLACE = pa.schema([("path", pa.string()), ("row", pa.int64())])
_PICTURE = pa.struct([("bytes", pa.binary()), ("error", pa.string())])
_NAMED = ("parquet", "arrow", "arrow stream")  # kinds whose columns have names of their own
_OURS = pa.schema([*PLACE, *ANSWER])
_READERS = {
    "parquet": tables.PARQUET, "arrow": tables.ARROW, "arrow stream": tables.STREAM,
    "idx": arrays.IDX, "npy": arrays.NPY, "npz": arrays.NPZ, "csv": delimited.CSV,
}  # fmt: skip
_SUFFIXES = {
    ".parquet": "parquet", ".pq": "parquet", ".arrow": "arrow", ".feather": "arrow",
    ".ipc": "arrow", ".arrows": "arrow stream", ".npy": "npy", ".npz": "npz", ".csv": "csv",
}  # fmt: skip
_MAGICS = {
    b"PAR1": "parquet", b"ARROW1": "arrow", b"\xff\xff\xff\xff": "arrow stream",
    b"\x93NUMPY": "npy", b"PK\x03\x04": "npz", b"\0\0\x08": "idx",
}  # fmt: skip


def plan(inputs: Sequence[str], column: str | None = None, keep: Sequence[str] = ()) -> list[Part]:
    """The parts of all inputs, in the inputs' order; of each input its files are sorted.

    It reads names and what files say of themselves, no pixels, but of CSV, whose lines it counts.
    A file that several inputs name is taken once. Names of pictures stay in memory, some 300 bytes
    each.

    Args:
        inputs: Files, folders (for their own files), globs, or fsspec's URLs of these.
        column: Column of pictures or pixels in files that have named columns. Default: the one
            that can be meant.
        keep: Columns to repeat in the answers, which all files must have.

    Raises:
        InputError: An input names no file; a file is none of the known kinds, empty or damaged; a
            column is missing or is of another type than in the first file.
        BackendUnavailable: A URL needs a package that is missing.
    """
    files = {file.path: file for name in inputs for file in find(name, _is_listed)}
    with ThreadPoolExecutor(8) as pool:  # what is far away is asked at once
        kinds = list(pool.map(_kind, files.values()))
        schemas = pool.map(_schema, files.values(), kinds)
        columns = _columns(files.values(), kinds, schemas, column, tuple(keep))
        pieces = list(pool.map(_pieces, files.values(), kinds, columns))
    parts: list[Part] = []
    judged: set[str] = set()
    for kind, group in itertools.groupby(zip(kinds, files.values(), columns, pieces, strict=True),
                                         key=lambda entry: entry[0]):  # fmt: skip
        if kind == "pictures":
            parts += _of_pictures([file for _, file, _, _ in group])
            continue
        for _, file, name, cuts in group:
            for piece in cuts:
                parts.append(
                    Part(0, kind, (file,), name, tuple(keep), piece.rows, piece.start, piece.stop,
                         piece.first, judge=kind not in judged)
                )  # fmt: skip
                judged.add(kind)
    return [replace(part, number=number) for number, part in enumerate(parts)]


def fingerprint(parts: Iterable[Part]) -> str:
    """What tells these inputs from others: a digest of the parts, and of each file's name, size and
    time of change (or ETag)."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(repr(part).encode(errors="surrogateescape"))
    return digest.hexdigest()


def answers(part: Part, session: Session, top_k: int | None = None) -> Iterator[pa.RecordBatch]:
    """What `predict_arrow` answers to a part: ``path``, ``row``, the kept columns, its own.

    ``row`` is the row in the file, from 0, and null for a picture. A kept column that is named as
    one of these is called ``input_NAME``.

    Raises:
        InputError: As `read`; or the pixels are refused as a whole, see `arrow`.
        DeployError: The engine failed.
    """
    column = kept_name(part.column, _OURS)
    try:
        yield from predict_arrow(read(part), session, column=column, top_k=top_k, judge=part.judge)
    except InputError as error:
        if str(error).startswith(part.files[0].name):
            raise
        raise InputError(f"{part.files[0].name}: {error}") from error


def read(part: Part) -> Iterator[pa.RecordBatch]:
    """The batches of a part: ``path``, ``row``, the kept columns, and the pictures or pixels.

    A picture that is gone, has changed or cannot be opened is null, with the reason in its place.

    Raises:
        InputError: A file of many rows is damaged, gone, or another than when the job was planned.
        BackendUnavailable: As `plan`.
    """
    if part.kind == "pictures":
        yield from _read_pictures(part)
        return
    row = part.first
    names = [*PLACE.names, *(kept_name(name, _OURS) for name in (*part.keep, part.column))]
    for batch in _ahead(_READERS[part.kind].read(part)):
        place = [pa.repeat(part.file.name, len(batch)), pa.array(np.arange(row, row + len(batch)))]
        row += len(batch)
        yield pa.RecordBatch.from_arrays([*place, *batch.columns], names)


def _ahead(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same batches, each read on another thread while the one before it is answered."""
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, batches, None)
        while (batch := following.result()) is not None:
            following = pool.submit(next, batches, None)
            yield batch


def _is_listed(name: str) -> bool:
    """Whether a folder that is an input stands for this file, too."""
    if name.startswith((".", "_")):
        return False
    return PurePath(name).suffix.lower() in (".parquet", ".pq", ".arrow", ".feather") or is_picture(
        name
    )


def _kind(file: File) -> str:
    """The kind of a file: by its name, or by its first bytes."""
    name = file.name.partition("::")[0].lower()
    kind = _SUFFIXES.get(PurePath(name.removesuffix(".gz")).suffix, "")
    if not kind and is_picture(PurePath(name).name):
        return "pictures"
    with reading(file, "a file that can be read"), file.open() as stream:
        start = arrays.unzipped(stream).read(16)
    if kind and not start:
        raise InputError(f"{file.name}: expected {kind}, found an empty file")
    if kind in ("", "arrow"):
        kind = next((k for magic, k in _MAGICS.items() if start.startswith(magic)), kind)
    return kind or "pictures"


def _schema(file: File, kind: str) -> pa.Schema:
    return _READERS[kind].schema(file) if kind in _READERS else pa.schema([])


def _columns(
    files: Iterable[File], kinds: Sequence[str], schemas: Iterable[pa.Schema], column: str | None,
    keep: Sequence[str],
) -> list[str]:  # fmt: skip
    """The column of each file. One name means one type in all files, and kept ones are in each."""
    columns: list[str] = []
    known: dict[str, tuple[pa.DataType, str]] = {}
    for file, kind, schema in zip(files, kinds, schemas, strict=True):
        where = f"{file.name}: "
        name = PICTURE_COLUMN
        if kind != "pictures":
            name = find_column(schema, column if kind in _NAMED else arrays.COLUMN, where)
        for own in [*keep, *([name] if kind in _NAMED else [])]:
            if own not in schema.names:
                there = ", ".join(schema.names) or "none, as of every picture"
                raise InputError(f"{where}expected a column {own!r} to keep, found {there}")
            kind_here = schema.field(own).type
            kind_known, elsewhere = known.setdefault(own, (kind_here, file.name))
            if kind_here != kind_known:
                raise InputError(
                    f"{where}expected {own!r} of {kind_known}, as in {elsewhere}, found {kind_here}"
                )
        if kind in _NAMED:
            column = name
        columns.append(name)
    return columns


def _pieces(file: File, kind: str, column: str) -> list[Piece]:
    return list(_READERS[kind].pieces(file, column)) if kind in _READERS else []


def _of_pictures(files: Sequence[File]) -> Iterator[Part]:
    for start in range(0, len(files), PICTURES):
        chunk = tuple(files[start : start + PICTURES])
        yield Part(0, "pictures", chunk, PICTURE_COLUMN, (), len(chunk))


def _read_pictures(part: Part) -> Iterator[pa.RecordBatch]:
    size, chunk = 0, []
    for file in part.files:
        chunk.append(file)
        size += file.size
        if size > BYTES or len(chunk) == 64 or file is part.files[-1]:
            pictures = [_read_picture(file) for file in chunk]
            place = [[file.name for file in chunk], pa.nulls(len(chunk), pa.int64())]
            yield pa.RecordBatch.from_arrays(
                [*map(pa.array, place), pa.array(pictures, _PICTURE)], [*PLACE.names, part.column]
            )
            size, chunk = 0, []


def _read_picture(file: File) -> dict[str, bytes | str]:
    try:
        with file.open() as stream:
            return {"bytes": stream.read()}
    except InputError as error:
        return {"error": str(error).removeprefix(f"{file.name}: ")}
    except OSError as error:
        return {"error": f"cannot be read ({error.strerror or error})"}
