"""Where a job's answers go: one file, or a folder of parts; whole, or as they were before.

A job works in a folder of its own (see `job`). When all parts are there it writes the totals into
that folder's ``_job.json``, which is the moment the job is done; then it moves the answers to their
place and deletes the folder. Each step may be done twice, so a job that is killed among them is
finished by resuming.
"""

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lenet_deploy.batch.job import (
    JOB,
    Job,
    Parts,
    clear,
    key,
    locked,
    put,
    read_job,
    read_json,
    storing,
    write_json,
    writing,
)
from lenet_deploy.batch.outputs import FORMATS, PART_OF_PARQUET, read_metadata, table
from lenet_runtime.artifact.files import sync_folder as sync
from lenet_runtime.errors import InputError, expected_one_of, first_line

SUCCESS = "_SUCCESS"
_SUFFIXES = {".parquet": "parquet", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_PART = re.compile(rf"part-\d{{6,}}\.({'|'.join(FORMATS)})")
# What is no folder's name, though batch cannot write it.
_OTHER_FILES = (".json", ".tsv", ".txt", ".pq", ".arrow", ".feather", ".gz", ".zst", ".xlsx", ".db")


@dataclass(frozen=True)
class Output:
    """An output; `File` and `Folder` say what is where.

    Attributes:
        path: The file or the folder, with no link on the way.
        format: A key of `outputs.FORMATS`.
    """

    path: Path
    format: str

    @property
    def part_format(self) -> str:
        """The kind of the parts."""
        return self.format

    @property
    def work(self) -> Path:
        """The job's working folder."""
        raise NotImplementedError

    @property
    def exists(self) -> bool:
        """Whether anything is in the output's place."""
        raise NotImplementedError

    def finished(self) -> dict[str, Any] | None:
        """The ``job`` and the ``totals`` of an output of ours; None where there is none."""
        raise NotImplementedError

    def join(self, job: Job) -> "contextlib.AbstractContextManager[Join]":
        """What takes the parts one after another while the job runs."""
        raise NotImplementedError

    def place(self, job: Job, document: Mapping[str, Any]) -> None:
        """Move the answers of a job that is done to their place."""
        raise NotImplementedError


class Join:
    """Takes nothing: parts stay as they are."""

    def append(self, part: Path) -> None:
        """Take the next part."""

    def close(self, totals: Mapping[str, int]) -> None:
        """Take no more."""


class _OneFile(Join):
    def __init__(self, draft: Path, own: Any) -> None:
        self._draft, self._own = draft, own

    def append(self, part: Path) -> None:
        with writing(self._draft), storing(self._draft):
            self._own.append(part)

    def close(self, totals: Mapping[str, int]) -> None:
        with writing(self._draft), storing(self._draft):
            self._own.close(totals)
            sync(self._draft)  # before the job is said to be done


class File(Output):
    """One file. What says of CSV and JSON lines whose they are is ``NAME.job.json`` beside them."""

    @property
    def part_format(self) -> str:
        """The kind of the parts."""
        return PART_OF_PARQUET if self.format == "parquet" else self.format

    @property
    def work(self) -> Path:
        """The job's working folder."""
        return self.path.with_name(f".{self.path.name}.job")

    @property
    def exists(self) -> bool:
        """Whether anything is in the output's place, or another's file in that of its note."""
        is_noted = self.format != "parquet" and self._note.exists()
        return self.path.exists() or (is_noted and read_job(self._note) is None)

    @property
    def _note(self) -> Path:
        return self.path.with_name(f"{self.path.name}.job.json")

    def finished(self) -> dict[str, Any] | None:
        """The ``job`` and the ``totals`` of an output of ours; None where there is none."""
        if not self.path.is_file():
            return None
        return read_metadata(self.path) if self.format == "parquet" else read_job(self._note)

    @contextlib.contextmanager
    def join(self, job: Job) -> Iterator[Join]:
        """What takes the parts one after another while the job runs."""
        own = job.parts
        draft = self._draft(job)
        with writing(draft):
            draft.unlink(missing_ok=True)
        with table(self.format, draft, own.document, own.ranks) as file:
            yield _OneFile(draft, file)

    def _draft(self, job: Job) -> Path:
        return job.folder / f"joined.{self.format}"

    def place(self, job: Job, document: Mapping[str, Any]) -> None:
        """Rename the file to its place."""
        draft = self._draft(job)
        if self.format != "parquet":
            write_json(self._note, document)
        if draft.exists():
            put(draft, self.path)


class Folder(Output):
    """A folder of parts, which ``_SUCCESS`` ends: its totals. Files of others in it stay."""

    @property
    def work(self) -> Path:
        """The job's working folder."""
        return self.path / ".job"

    @property
    def exists(self) -> bool:
        """Whether anything is in the output's place."""
        return self.path.exists() and any(path != self.work for path in self.path.iterdir())

    def finished(self) -> dict[str, Any] | None:
        """The ``job`` and the ``totals`` of an output of ours; None where there is none."""
        job, totals = read_json(self.path / JOB), read_json(self.path / SUCCESS)
        return None if job is None or "lenet_deploy" not in job else {"job": job, "totals": totals}

    @contextlib.contextmanager
    def join(self, job: Job) -> Iterator[Join]:
        """Nothing: parts stay as they are."""
        yield Join()

    def place(self, job: Job, document: Mapping[str, Any]) -> None:
        """Move the parts to their place; those of an earlier job go, and ``_SUCCESS`` ends it."""
        totals = document["totals"]
        (self.path / SUCCESS).unlink(missing_ok=True)
        write_json(self.path / JOB, document["job"])
        own = {job.parts.path(number).name for number in range(totals["parts"])}
        for part in job.parts.folder.glob("part-*"):
            part.replace(self.path / part.name)
        for part in self.path.iterdir():
            if _PART.fullmatch(part.name) and part.name not in own:
                part.unlink()
        sync(self.path)
        write_json(self.path / SUCCESS, totals)


def output_of(name: str | os.PathLike[str], to: str | None = None) -> Output:
    """The output that a user named: a file by its suffix, and a folder by any other name.

    Args:
        name: ``labels.parquet``, ``labels.csv`` or ``labels.jsonl``; or a folder, which a slash at
            the end makes of any name.
        to: The kind of the parts of a folder, a key of `outputs.FORMATS`. Default: parquet.

    Raises:
        InputError: The kind is none of ours, or not that of the suffix.
    """
    if to is not None and to not in FORMATS:
        raise InputError(f"to: {expected_one_of(FORMATS, to)}")
    text = os.fspath(name)
    try:
        path = Path(text).resolve()
    except (RuntimeError, ValueError) as error:  # links in a circle, a null byte
        raise InputError(f"output: {first_line(error)}") from error
    if str(path) != str(path).encode(errors="replace").decode():
        raise InputError(f"output: expected a name in UTF-8, found {str(path)!r}")
    suffix = path.suffix.lower()
    if path.is_dir() or (text.endswith("/") and not path.exists()):
        return Folder(path, to or "parquet")
    if suffix in _OTHER_FILES:
        raise InputError(
            f"output: expected a name that ends in {', '.join(_SUFFIXES)}, or a folder, found "
            f"{text!r}; a slash at its end makes it a folder"
        )
    if suffix not in _SUFFIXES:
        if path.exists():
            raise InputError(
                f"output: expected a folder, or a name that ends in {', '.join(_SUFFIXES)}, "
                f"found the file {path}, which is not touched"
            )
        return Folder(path, to or "parquet")
    if to not in (None, _SUFFIXES[suffix]):
        raise InputError(
            f"to: {text!r} is of the kind {_SUFFIXES[suffix]}, not {to}; leave one out"
        )
    return File(path, _SUFFIXES[suffix])


@contextlib.contextmanager
def opened(
    output: Output,
    document: Mapping[str, Any],
    ranks: int,
    *,
    force: bool = False,
    resume: bool = False,
) -> Iterator[tuple[Job | None, dict[str, int] | None]]:
    """The job of an output, if anything is left to do, and its totals once all parts are done.

    Args:
        output: The output.
        document: What the job is, of JSON's types: inputs, options, artifact.
        ranks: Classes that ``top`` ranks.
        force: Replace an earlier output, once this one is whole; an unfinished job's parts go.
        resume: Go on where an earlier job with an equal document stopped, if there is one.

    Raises:
        InputError: There is an output already, or it is not of this job, or not one of ours.
        DeployError: Another process works on it, or the folder cannot be written.
    """
    _admit(output, document, force=force, resume=resume)
    parts = Parts(output.work / key(document), output.part_format, json.dumps(document), ranks)
    with locked(output.work):
        # Again: what there was may have changed until nobody else could change it.
        unfinished = _admit(output, document, force=force, resume=resume)
        job, finished = Job(output.work, parts), output.finished()
        if unfinished and resume:
            if unfinished["totals"] is None:
                job.begin(document)
            yield job, unfinished["totals"]
            return
        with writing(output.work):
            clear(output.work)
        if resume and finished and finished["totals"]:
            yield None, finished["totals"]
            return
        job.begin(document)
        yield job, None


def _admit(
    output: Output, document: Mapping[str, Any], *, force: bool, resume: bool
) -> dict[str, Any] | None:
    """The unfinished job of an output, if there is one; refuses as `opened` says."""
    unfinished, finished = read_job(output.work / JOB), output.finished()
    if output.exists and finished is None and not (unfinished and unfinished["totals"]):
        raise InputError(
            f"{output.path}: expected nothing or an earlier output of batch, found something "
            "else, which is not touched; name another output, or move it away"
        )
    if force or not (unfinished or finished):
        return unfinished
    if not resume:
        what = "is there already" if finished else "an unfinished job is there"
        goes_on = "" if finished else "resume=True to go on, or "
        raise InputError(f"{output.path}: {what}; pass {goes_on}force=True to start anew")
    earlier = (unfinished or finished or {})["job"]
    if differences := _differences(earlier, document):
        raise InputError(
            f"{output.path}: is another job's: {'; '.join(differences)}; name another output, or "
            "pass force=True to start anew"
        )
    return unfinished


def _differences(earlier: Mapping[str, Any], document: Mapping[str, Any]) -> list[str]:
    return [
        "its inputs have other names, sizes or times of change, or are cut otherwise"
        if name == "inputs"
        else f"{name} was {earlier.get(name)!r} and is {document.get(name)!r}"
        for name in {**earlier, **document}
        if earlier.get(name) != document.get(name)
    ]
