"""`run`: a whole job, from what users name to the answers in their place."""

import functools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lenet_deploy import cache
from lenet_deploy.batch import local, sources
from lenet_deploy.batch.job import Job, PartDone, Parts, clear, writing
from lenet_deploy.batch.parts import Part
from lenet_deploy.batch.placing import Output, opened, output_of
from lenet_deploy.batch.tally import Progress, Tally, joining
from lenet_deploy.batch.worker import Report, Settings
from lenet_runtime import Artifact
from lenet_runtime.errors import DeployError, InputError, expected_one_of
from lenet_runtime.version import __version__

Error = tuple[str, int | None, str]


@dataclass(frozen=True)
class Summary:
    """What a job did.

    Attributes:
        output: The file or the folder of the answers.
        artifact_digest: Digest of the artifact, see `lenet_runtime.Artifact`.
        rows: Rows of the output.
        errors: How many of them have an error instead of a label.
        rows_before: Rows that an earlier run had done.
        seconds: Seconds that this run took; `rows` less `rows_before` were done in them.
        first_errors: A few of the errors: path, row of a file of many or None, and text.
    """

    output: Path
    artifact_digest: str
    rows: int
    errors: int
    rows_before: int
    seconds: float
    first_errors: tuple[Error, ...] = ()


class Engine(Protocol):
    """Runs parts; a `local.run` for each name of `ENGINES`."""

    def __call__(
        self,
        parts: Iterable[Part],
        settings: Settings,
        output: Parts,
        *,
        workers: int | None,
        report: Report,
    ) -> Iterator[PartDone]:
        """Write the parts in any order, each once at least; yield each that is done."""


def _local(address: str | None) -> Engine:
    if address is not None:
        raise InputError("address: is of engines of many machines; pass engine='ray', too")
    return local.run


def _ray(address: str | None) -> Engine:
    from lenet_deploy.batch.on_ray import run

    return functools.partial(run, address=address)


# What makes an engine, for the address that the user gave; imports belong inside.
ENGINES: dict[str, Callable[[str | None], Engine]] = {"local": _local, "ray": _ray}


def run(
    inputs: Sequence[str],
    output: str | os.PathLike[str],
    *,
    artifact: str | os.PathLike[str] | None = None,
    column: str | None = None,
    keep: Sequence[str] = (),
    top_k: int = 3,
    to: str | None = None,
    trust: bool = False,
    workers: int | None = None,
    max_errors: int | None = None,
    force: bool = False,
    resume: bool = False,
    engine: str = "local",
    address: str | None = None,
    progress: Callable[[Progress], None] = lambda progress: None,
) -> Summary:
    """Label many pictures exactly once, however often the job is killed and resumed.

    Args:
        inputs: Files, folders, globs and URLs, see `sources.plan`.
        output: ``labels.parquet``, ``.csv`` or ``.jsonl``; or a folder, of a file for each part.
        artifact: An exported folder. Default: the bundled network.
        column: Column of pictures or pixels, of inputs that have columns. Default: the one that
            fits.
        keep: Columns to repeat in the output.
        top_k: Classes to rank.
        to: Kind of the files of a folder: ``parquet`` (the default), ``csv`` or ``jsonl``.
        trust: Whether an artifact that runs code may be loaded.
        workers: Processes. Default: the cores that affinity and the cgroup allow, or the cluster's.
        max_errors: Rows with an error, those of earlier runs too, above which the job stops.
            Default: any number.
        force: Replace an earlier output, once this one is whole.
        resume: Go on where an earlier job stopped; start where there was none.
        engine: A key of `ENGINES`.
        address: Where the engine's cluster is.
        progress: Is told of the progress, a few times a second, by the thread that called.

    Raises:
        InputError: An argument is wrong, the output is there already, or the job is another one.
        DeployError: More errors than `max_errors`, a part ended its workers twice, another process
            works on the output, or the disk is full. What is done is kept: pass ``resume=True``.
    """
    began = time.monotonic()
    if engine not in ENGINES:
        raise InputError(f"engine: {expected_one_of(ENGINES, engine)}")
    if force and resume:
        raise InputError("force: starts anew, and resume=True goes on; pass one of them")
    execute = ENGINES[engine](address)
    place = output_of(output, to)
    parts = sources.plan(inputs, column, keep, functools.partial(_refuse_output_among, place))
    opened_artifact = Artifact.open(artifact or cache.default_artifact())
    settings = Settings(opened_artifact, top_k, trust)
    rows = sum(part.rows for part in parts)
    document = {
        "lenet_deploy": __version__, "artifact": opened_artifact.digest,
        "inputs": sources.fingerprint(parts), "rows": rows,
        "column": column, "keep": list(keep), "top_k": top_k, "format": place.format,
    }  # fmt: skip
    ranks = min(top_k, len(opened_artifact.manifest.labels))
    tally = Tally(rows, max_errors, progress)
    with opened(place, document, ranks, force=force, resume=resume) as (job, earlier):
        totals = earlier
        if totals is None:
            assert job is not None
            left = (part for part in parts if part.number not in tally.done)
            results = functools.partial(
                execute, left, settings, job.parts, workers=workers,
                report=tally.under_way,
            )  # fmt: skip
            totals = _answer(place, job, tally, len(parts), results) | {"parts": len(parts)}
            job.commit({"job": document, "totals": totals})
        if job is not None:
            with writing(place.path):
                place.place(job, {"job": document, "totals": totals})
                clear(job.folder)
    return Summary(
        place.path, opened_artifact.digest, totals["rows"], totals["errors"],
        tally.rows_before if tally.rows else totals["rows"],
        time.monotonic() - began, tuple(tally.first),
    )  # fmt: skip


def _answer(
    place: Output, job: Job, tally: Tally, parts: int, results: Callable[[], Iterator[PartDone]]
) -> dict[str, int]:
    """Have the parts that are left written, and join all; rows and errors."""
    with place.join(job) as join, joining(join, job.parts) as joiner, job.journal() as journal:
        for part in job.done():
            tally.add(part)
            joiner.add(part)
        tally.begin()
        for part in results():
            journal.add(part)
            tally.add(part)
            joiner.add(part)
            tally.under_way(0, 0)
        if len(tally.done) != parts:
            raise DeployError(
                f"{place.path}: the engine did {len(tally.done)} parts of {parts}; go on with "
                "resume=True"
            )
        joiner.wait()
        totals = {"rows": tally.rows, "errors": tally.errors}
        join.close(totals)
    return totals


def _refuse_output_among(place: Output, path: str) -> None:
    """Refuse to read what is to be written."""
    if "://" in path:
        return
    folder, name = os.path.split(path)
    above = _folders_above(folder)
    if place.path in above or (place.path.name == name and place.path.parent == above[0]):
        raise InputError(
            f"output: {place.path} is, or holds, one of the inputs, {path}; name an output that "
            "the inputs' names do not match"
        )


@functools.lru_cache(maxsize=4096)
def _folders_above(folder: str) -> tuple[Path, ...]:
    """A folder and those that it is in, without links; of a million pictures few folders' are."""
    path = Path(folder).resolve()
    return (path, *path.parents)
