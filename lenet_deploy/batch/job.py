"""A job's working folder: each part is written once and the answers appear whole, whatever is
killed and when.

    .labels.parquet.job/            beside a file of answers; ``out/.job/`` inside a folder of them
        _job.json                   what the job is, and once all parts are there its totals
        KEY/                        named after what the job is: a process that was left behind by
                                    another job finds no folder to write to
            part-000000.csv         the answers of a part: whole, since it was renamed to this
            .part-000000.TOKEN      a part that is being written, or was when its process died
            done.jsonl              a line for each part: what counts is what is listed here

A part's bytes depend on the job alone, so it does no harm if a part is written twice. The folder is
deleted when the answers are in their place, see `placing`.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from lenet_deploy.batch.outputs import table
from lenet_runtime.artifact.files import sync_folder as sync
from lenet_runtime.errors import DeployError, first_line

JOB, DONE = "_job.json", "done.jsonl"
# What a working folder holds: the job, a draft of it, the joined file, folders of parts.
_OURS = re.compile(r"\.?_job\.json(\.draft)?|joined\.\w+|[0-9a-f]{16}")
SHOWN = 5  # errors of rows that are repeated at the end


@dataclass(frozen=True)
class PartDone:
    """What became of a part.

    Attributes:
        number: The part's number.
        rows: Rows that were written.
        errors: How many of them have an error instead of a label.
        first: The first errors: path, row or None, text.
    """

    number: int
    rows: int
    errors: int
    first: tuple[tuple[str, int | None, str], ...] = ()


@dataclass(frozen=True)
class Parts:
    """Writes parts, on any process or machine that sees the folder.

    Attributes:
        folder: Where they are.
        format: A key of `outputs.FORMATS`, or `outputs.PART_OF_PARQUET`.
        document: What the job is, JSON.
        ranks: Classes that ``top`` ranks.
    """

    folder: Path
    format: str
    document: str
    ranks: int

    def path(self, number: int) -> Path:
        """Where the answers of a part are, once they are whole."""
        return self.folder / f"part-{number:06}.{self.format}"

    def write(self, number: int, batches: Iterable[pa.RecordBatch]) -> PartDone:
        """Write a part; one without rows has no file.

        Raises:
            DeployError: The disk is full or cannot be written; there is no such part then.
        """
        path = self.path(number)
        draft = path.with_name(f".{path.stem}.{secrets.token_hex(8)}")
        rows = errors = 0
        first: list[tuple[str, int | None, str]] = []
        try:
            with writing(path), table(self.format, draft, self.document, self.ranks) as file:
                for batch in _reading(batches):
                    with storing(path):
                        file.write(batch)
                    rows += len(batch)
                    bad = len(batch) - batch.column("error").null_count
                    if bad and len(first) < SHOWN:
                        first += _first_errors(batch)
                    errors += bad
                file.close({"rows": rows, "errors": errors})
                if rows:
                    put(draft, path)
        except _InputLost as error:
            raise error.args[0] from error
        finally:
            draft.unlink(missing_ok=True)
        return PartDone(number, rows, errors, tuple(first[:SHOWN]))


class Job:
    """A working folder that this process alone works in.

    Args:
        folder: The working folder.
        parts: What writes the parts.
    """

    def __init__(self, folder: Path, parts: Parts) -> None:
        self.folder, self.parts = folder, parts

    def begin(self, document: Mapping[str, Any]) -> None:
        """Say what the job is, and make the folder of parts, without drafts."""
        with writing(self.folder):
            self.parts.folder.mkdir(exist_ok=True)
            for draft in self.parts.folder.glob(".part-*"):
                draft.unlink(missing_ok=True)
            write_json(self.folder / JOB, {"job": document, "totals": None})

    def commit(self, document: Mapping[str, Any]) -> None:
        """Say that the job is done: the document has its totals now."""
        with writing(self.folder):
            write_json(self.folder / JOB, document)

    def done(self) -> Iterator[PartDone]:
        """The parts that are done, each once."""
        journal = self.parts.folder / DONE
        if not journal.exists():
            return
        names = {entry.name for entry in os.scandir(self.parts.folder)}
        seen: set[int] = set()
        with journal.open() as file:
            for line in file:
                if not line.endswith("\n"):  # its process died here
                    break
                entry = json.loads(line)
                entry["first"] = tuple(tuple(error) for error in entry["first"])
                part = PartDone(**entry)
                there = not part.rows or self.parts.path(part.number).name in names
                if there and part.number not in seen:
                    seen.add(part.number)
                    yield part

    @contextlib.contextmanager
    def journal(self) -> Iterator["Journal"]:
        """Where the parts that are done are listed."""
        path = self.parts.folder / DONE
        with contextlib.ExitStack() as stack:
            with writing(path):
                file = stack.enter_context(path.open("a+b", buffering=0))
                _cut_torn_line(file)
            yield Journal(path, file)


class Journal:
    """The list of the parts that are done, which outlives a power cut.

    Args:
        path: The list.
        file: It, open for appending, without a buffer.
    """

    def __init__(self, path: Path, file: Any) -> None:
        self._path, self._file = path, file

    def add(self, part: PartDone) -> None:
        """List a part, whose file is there."""
        with writing(self._path):
            line = json.dumps(asdict(part)).encode() + b"\n"
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file.fileno())


def _cut_torn_line(file: Any) -> None:
    """Drop what follows the last line's end, which was being written when its process died."""
    size = file.seek(0, os.SEEK_END)
    start = file.seek(max(0, size - 2**20))  # a line is below 100 KB
    file.truncate(start + file.read().rfind(b"\n") + 1)


class _InputLost(Exception):
    """Carries the system's error about an input past `writing`."""


def _reading(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    try:
        yield from batches
    except OSError as error:
        raise _InputLost(error) from error


def _first_errors(batch: pa.RecordBatch) -> list[tuple[str, int | None, str]]:
    bad = batch.filter(batch.column("error").is_valid()).slice(0, SHOWN)
    names = bad.schema.names
    paths, rows = (
        bad.column(name).to_pylist() if name in names else [None] * len(bad)
        for name in ("path", "row")
    )
    return [
        (str(path), row, str(error))
        for path, row, error in zip(paths, rows, bad.column("error").to_pylist(), strict=True)
    ]


def key(document: Mapping[str, Any]) -> str:
    """The name of the folder of a job's parts."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from a working folder, which is made, and deleted if nothing is in it.

    Raises:
        DeployError: Another process works on it, or it cannot be made.
    """
    while True:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(folder, os.O_RDONLY)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise DeployError(
                    f"{folder}: another process works on this output; wait for it, or end it"
                ) from error
            if not _is_same(lock, folder):  # its owner deleted it meanwhile
                continue
            try:
                yield
            finally:
                with contextlib.suppress(OSError):
                    folder.rmdir()
            return
        finally:
            os.close(lock)


def _is_same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def clear(folder: Path) -> None:
    """Delete what is ours in a working folder; what says which job it is goes last."""
    for path in sorted(folder.iterdir(), key=lambda path: path.name == JOB):
        if not _OURS.fullmatch(path.name):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)  # a process left behind may be writing to it
        else:
            path.unlink()


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object; None where there is no such file, or another one."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def read_job(path: Path) -> dict[str, Any] | None:
    """The ``job`` and the ``totals`` that a file of ours says; None where there is none."""
    document = read_json(path) or {}
    job, totals = document.get("job"), document.get("totals")
    is_ours = isinstance(job, dict) and "lenet_deploy" in job and isinstance(totals, dict | None)
    return document if is_ours else None


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Put a JSON object at `path`: the old file or the new one, also after a power cut."""
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(json.dumps(document, indent=1) + "\n")
    put(draft, path)


@contextlib.contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn errors about values that a kind of file cannot hold into ours.

    Raises:
        DeployError: A kept column has such values, as bytes are to CSV.
    """
    try:
        yield
    except (DeployError, OSError):
        raise
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise DeployError(
            f"{path}: expected columns that this kind of file can hold, found others "
            f"({first_line(error)}); write Parquet, or keep fewer columns"
        ) from error


def put(draft: Path, path: Path) -> None:
    """Rename a file to its place, so that it outlives a power cut."""
    sync(draft)
    draft.replace(path)
    sync(path.parent)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the system's errors into ours.

    Raises:
        DeployError: The disk is full, or cannot be written.
    """
    try:
        yield
    except OSError as error:
        number = re.search(r"\[errno (\d+)\]", str(error))  # pyarrow's have it in the text alone
        reason = os.strerror(int(number[1])) if number else error.strerror or error
        raise DeployError(
            f"{path}: cannot be written ({reason}); make room or let this user write there, then "
            "go on with resume=True"
        ) from error
