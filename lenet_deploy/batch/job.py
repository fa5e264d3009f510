"""A job's folder: each part is written exactly once, whatever is killed and when.

    out/_job.json             what the job is; a job of something else is refused
    out/part-000000.parquet   the answers of a part: whole, since it was renamed into its place
    out/.part-000000.TOKEN    a part that is being written, or was when its process was killed
    out/_SUCCESS              written last: all parts are there

Names that begin with ``_`` or ``.`` are passed over by Spark, Arrow and all who read such folders.
"""

import contextlib
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lenet_runtime.errors import DeployError, InputError

JOB, SUCCESS = "_job.json", "_SUCCESS"


class Job:
    """One output folder while a process works on it.

    Args:
        folder: The folder.
        metadata: What each part's own metadata says of the job, text by name.
    """

    def __init__(self, folder: Path, metadata: Mapping[str, str]) -> None:
        self.folder, self.metadata = folder, dict(metadata)

    def path(self, number: int) -> Path:
        """Where the answers of a part are, once they are whole."""
        return self.folder / f"part-{number:06}.parquet"

    def write(self, number: int, batches: Iterable[pa.RecordBatch]) -> tuple[int, int]:
        """Write a part, on any process or machine: rows, and how many of them are errors.

        Raises:
            DeployError: The disk is full or cannot be written; there is no such part then.
        """
        path = self.path(number)
        draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        rows = errors = 0
        try:
            with contextlib.ExitStack() as stack:
                writer = None
                for batch in batches:
                    if writer is None:
                        schema = batch.schema.with_metadata(self.metadata)
                        writer = stack.enter_context(pq.ParquetWriter(draft, schema))
                    writer.write_batch(batch)
                    rows += len(batch)
                    errors += len(batch) - batch.column("error").null_count
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            draft.rename(path)
        except OSError as error:
            raise DeployError(
                f"{path}: cannot be written ({error.strerror or error}); make room, then go on "
                "with resume=True"
            ) from error
        finally:
            draft.unlink(missing_ok=True)
        return rows, errors

    def done(self) -> set[int]:
        """Numbers of the parts that are written."""
        return {int(path.stem.partition("-")[2]) for path in self.folder.glob("part-*.parquet")}

    def commit(self, document: Mapping[str, Any]) -> None:
        """Say that all parts are there."""
        _write(self.folder / SUCCESS, document)


@contextlib.contextmanager
def opened(
    folder: Path, document: Mapping[str, Any], *, force: bool = False, resume: bool = False
) -> Iterator[Job]:
    """The job of a folder, which no other process works on meanwhile.

    Args:
        folder: The output.
        document: What the job is: inputs, options, artifact; JSON's types, all of them text.
        force: Delete what an earlier job wrote there.
        resume: Go on where an earlier job with an equal document stopped.

    Raises:
        InputError: There is an output already, or one of another job.
        DeployError: Another process works on it, or the folder cannot be written.
    """
    if folder.exists() and any(folder.iterdir()):
        if not (folder / JOB).is_file():
            raise InputError(f"{folder}: expected a job's folder or nothing, found other files")
        if force:
            shutil.rmtree(folder)
        elif not resume:
            raise InputError(f"{folder}: is there already; pass force=True or resume=True")
        elif json.loads((folder / JOB).read_text()) != document:
            raise InputError(f"{folder}: another job's: inputs, options or artifact have changed")
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DeployError(f"{folder}: another process works on it") from error
        for draft in folder.glob(".part-*"):
            draft.unlink()
        _write(folder / JOB, document)
        yield Job(folder, {"lenet_deploy": json.dumps(document)})
    finally:
        os.close(lock)


def _write(path: Path, document: Mapping[str, Any]) -> None:
    draft = path.with_name(f".{path.name}")
    with draft.open("w") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
