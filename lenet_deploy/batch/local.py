"""The local engine: a job's parts on processes of this machine."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import lenet_runtime
from lenet_deploy.batch.job import Job
from lenet_deploy.batch.parts import Part
from lenet_deploy.batch.sources import answers


@dataclass(frozen=True)
class Settings:
    """What each worker does with a part.

    Attributes:
        artifact: An exported folder.
        top_k: Classes to rank.
        trust: Whether an artifact that runs code may be loaded.
    """

    artifact: Path
    top_k: int = 3
    trust: bool = False


class Worker:
    """Answers parts one after another with one session; engines make one for each process.

    Args:
        settings: What to do.
        job: Where to write.
    """

    def __init__(self, settings: Settings, job: Job) -> None:
        self._settings, self._job = settings, job
        self._session = lenet_runtime.load(settings.artifact, threads=1, trust=settings.trust)

    def __call__(self, part: Part) -> tuple[int, int, int]:
        """Write a part: its number, its rows, and how many of them are errors."""
        batches = answers(part, self._session, self._settings.top_k)
        return part.number, *self._job.write(part.number, batches)


_worker: Worker | None = None


def _begin(settings: Settings, job: Job) -> None:
    global _worker  # noqa: PLW0603  one of each process
    _worker = Worker(settings, job)


def _run(part: Part) -> tuple[int, int, int]:
    assert _worker is not None
    return _worker(part)


def run(
    parts: Sequence[Part], settings: Settings, job: Job, workers: int
) -> Iterator[tuple[int, int, int]]:
    """Write the parts on processes; yields each one's number, rows and errors as it is done."""
    with ProcessPoolExecutor(
        workers, get_context("spawn"), initializer=_begin, initargs=(settings, job)
    ) as pool:
        for future in as_completed([pool.submit(_run, part) for part in parts]):
            yield future.result()
