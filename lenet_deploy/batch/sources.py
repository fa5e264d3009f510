"""What a job reads: any inputs, cut into parts, and a part's record batches.

    parts = plan(["digits/*.parquet"])
    batches = answers(parts[0], read(parts[0]), session)

A part is what one worker answers in one file: 512 pictures, some row groups of a Parquet file,
some record batches of an Arrow file, rows of NPY and IDX, a range of bytes of CSV. What is
compressed as a whole, `.gz` and NPZ, can only be read from its front, so it is one part.
"""

import functools
import hashlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import PurePath

import numpy as np
import pyarrow as pa

from lenet_deploy.batch import arrays, delimited, pictures, tables
from lenet_deploy.batch.arrow import ANSWER, kept_name, predict_arrow
from lenet_deploy.batch.columns import find_column
from lenet_deploy.batch.files import File, find
from lenet_deploy.batch.parts import PLACE, Part, reading
from lenet_runtime import Session
from lenet_runtime.errors import InputError
from lenet_runtime.images.files import is_picture

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


def plan(
    inputs: Sequence[str],
    column: str | None = None,
    keep: Sequence[str] = (),
    check: Callable[[str], None] = lambda path: None,
) -> list[Part]:
    """The parts of all inputs, in the inputs' order; of each input its files are sorted.

    It reads names and what files say of themselves, no pixels; but it counts the lines of CSV, and
    the rows of what has no index. A file that several inputs name is taken once. Names of pictures
    stay in memory, some 300 bytes each, and twice that while this runs.

    Args:
        inputs: Files, folders (for their own files), globs, or fsspec's URLs of these.
        column: Column of pictures or pixels in files that have named columns. Default: the one
            that can be meant.
        keep: Columns to repeat in the answers, which all files must have.
        check: Is told the path of each file before any is opened, and may raise.

    Raises:
        InputError: An input names no file; a file is none of the known kinds, empty or damaged; a
            column is missing or is of another type than in the first file.
        BackendUnavailable: A URL needs a package that is missing.
    """
    named: dict[str, File] = {}
    for name in inputs:
        for file in find(name, _is_listed):
            check(file.path)
            named.setdefault(_place(file), file)
    files = named.values()
    others = [file for file in files if not is_picture(_name(file))]
    with ThreadPoolExecutor(8) as pool:  # what is far away is asked at once
        kinds = dict(zip(others, pool.map(_kind, others), strict=True))
        tables = [file for file, kind in kinds.items() if kind != pictures.KIND]
        schemas = pool.map(lambda file: _READERS[kinds[file]].schema(file), tables)
        columns = _columns(kinds, dict(zip(tables, schemas, strict=True)), column, keep)
        cuts = pool.map(lambda f: list(_READERS[kinds[f]].pieces(f, columns[f])), tables)
        pieces = dict(zip(tables, cuts, strict=True))
    if keep and len(tables) < len(files):
        raise InputError(f"keep: pictures have no columns to repeat, found {', '.join(keep)}")
    parts: list[Part] = []
    judged: set[str] = set()
    for kind, group in itertools.groupby(files, lambda file: kinds.get(file, pictures.KIND)):
        if kind == pictures.KIND:
            parts += pictures.parts([*group])
            continue
        for file in group:
            for p in pieces[file]:
                parts.append(
                    Part(0, kind, (file,), columns[file], tuple(keep), p.rows, p.start, p.stop,
                         p.first, judge=kind not in judged)
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


def answers(
    part: Part, batches: Iterable[pa.RecordBatch], session: Session, top_k: int | None = None
) -> Iterator[pa.RecordBatch]:
    """What `predict_arrow` answers to a part: ``path``, ``row``, kept columns, then its own.

    ``row`` is the row in the file, from 0, and null for a picture. A kept column that is named as
    one of these is called ``input_NAME``.

    Args:
        part: The part.
        batches: What `read` reads of it, by way of another thread perhaps.
        session: The session.
        top_k: Classes to rank.

    Raises:
        InputError: As `read`; or the pixels are refused as a whole, see `arrow`.
        DeployError: The engine failed.
    """
    column = kept_name(part.column, _OURS)
    try:
        yield from predict_arrow(batches, session, column=column, top_k=top_k, judge=part.judge)
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
    if part.kind == pictures.KIND:
        yield from pictures.read(part)
        return
    row = part.first
    names = [*PLACE.names, *(kept_name(name, _OURS) for name in (*part.keep, part.column))]
    for batch in _READERS[part.kind].read(part):
        place = [pa.repeat(part.file.text, len(batch)), pa.array(np.arange(row, row + len(batch)))]
        row += len(batch)
        yield pa.RecordBatch.from_arrays([*place, *batch.columns], names)
    if row != part.first + part.rows:  # as of CSV whose lines end in different ways
        raise InputError(
            f"{part.file.name}: expected {part.rows} rows from row {part.first} on, found "
            f"{row - part.first}; let all lines end in the same way"
        )


def _is_listed(name: str) -> bool:
    """Whether a folder that is an input stands for this file, too."""
    if name.startswith((".", "_")):
        return False
    return PurePath(name).suffix.lower() in (".parquet", ".pq", ".arrow", ".feather") or is_picture(
        name
    )


def _place(file: File) -> str:
    """What two names of one file have in common: its own name in a folder without links."""
    folder, name = os.path.split(file.path)
    return file.path if "://" in file.name else os.path.join(_real(folder), name)  # noqa: PTH118


@functools.lru_cache(maxsize=4096)
def _real(folder: str) -> str:
    return os.path.realpath(folder)


def _name(file: File) -> str:
    """The file's own name, in lower case, of a path or a URL."""
    name = file.name.partition("::")[0] if "://" in file.name else file.name
    return PurePath(name).name.lower()


def _kind(file: File) -> str:
    """The kind of a file that no picture is named like: by its name, or by its first bytes."""
    kind = _SUFFIXES.get(PurePath(_name(file).removesuffix(".gz")).suffix, "")
    with reading(file, "a file that can be read"), file.open() as stream:
        start = arrays.unzipped(stream).read(16)
    if kind and not start:
        raise InputError(f"{file.name}: expected {kind}, found an empty file")
    if kind in ("", "arrow"):
        kind = next((k for magic, k in _MAGICS.items() if start.startswith(magic)), kind)
    return kind or pictures.KIND


def _columns(
    kinds: Mapping[File, str], schemas: Mapping[File, pa.Schema], column: str | None,
    keep: Sequence[str],
) -> dict[File, str]:  # fmt: skip
    """The column of each file. One name means one type in all files, and kept ones are in each."""
    columns: dict[File, str] = {}
    known: dict[str, tuple[pa.DataType, str]] = {}
    for file, schema in schemas.items():
        is_named = kinds[file] in _NAMED
        name = find_column(schema, column if is_named else arrays.COLUMN, f"{file.name}: ")
        for own in [*keep, *([name] if is_named else [])]:
            if own not in schema.names:
                raise InputError(
                    f"{file.name}: expected a column {own!r} to keep, found "
                    f"{', '.join(schema.names)}"
                )
            if schema.names.count(own) > 1:
                raise InputError(
                    f"{file.name}: expected one column {own!r}, found {schema.names.count(own)}"
                )
            kind = schema.field(own).type
            first, elsewhere = known.setdefault(own, (kind, file.name))
            if kind != first:
                raise InputError(
                    f"{file.name}: expected {own!r} of {first}, as in {elsewhere}, found {kind}"
                )
        if is_named:
            column = name
        names = [kept_name(own, _OURS) for own in (*keep, name)]
        if len(set(names)) < len(names):
            raise InputError(
                f"keep: expected columns of different names, and not {name!r}, which is read, "
                f"found {', '.join(keep)}"
            )
        columns[file] = name
    return columns
