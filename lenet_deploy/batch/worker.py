"""What each worker of any engine does: a part's batches in, a written part out."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa

import lenet_runtime
from lenet_deploy.batch.job import PartDone, Parts
from lenet_deploy.batch.parts import Part
from lenet_deploy.batch.sources import answers, read
from lenet_runtime import Artifact

T = TypeVar("T")
Report = Callable[[int, int], None]
_AHEAD = 8  # batches that wait to be written


@dataclass(frozen=True)
class Settings:
    """What each worker does with a part.

    Attributes:
        artifact: The artifact itself, so that all workers compute with the same bytes, whatever
            becomes of its folder meanwhile.
        top_k: Classes to rank.
        trust: Whether an artifact that runs code may be loaded.
    """

    artifact: Artifact
    top_k: int = 3
    trust: bool = False


class Worker:
    """Answers parts one after another with one session; engines make one for each process.

    Args:
        settings: What to do.
        parts: What writes the parts.
    """

    def __init__(self, settings: Settings, parts: Parts) -> None:
        self._settings, self._parts = settings, parts
        self._session = lenet_runtime.load(settings.artifact, threads=1, trust=settings.trust)

    def __call__(self, part: Part, report: Report = lambda rows, errors: None) -> PartDone:
        """Read, answer and write a part.

        Args:
            part: The part.
            report: Is told, after each batch, of all rows of the part so far, and their errors.

        Raises:
            DeployError: It cannot be read, answered or written; there is no such part then.
        """
        return next(iter(self.each([part], lambda _, rows, errors: report(rows, errors))))

    def each(
        self, parts: Iterable[Part], report: Callable[[Part, int, int], None]
    ) -> Iterator[PartDone]:
        """The same for parts one after another: one is written, the next answered, one read."""
        items = ahead(self._answers(ahead(_items(parts))))
        for part, _ in items:
            batches = _until_none(items)
            yield self._parts.write(part.number, _counted(part, batches, report))

    def _answers(
        self, items: Iterator[tuple[Part, pa.RecordBatch | None]]
    ) -> Iterator[tuple[Part, pa.RecordBatch | None]]:
        """What `_items` yields, with answers in place of what was read."""
        for part, _ in items:
            yield part, None
            for batch in answers(part, _until_none(items), self._session, self._settings.top_k):
                yield part, batch
            yield part, None


def _until_none(
    items: Iterator[tuple[Part, pa.RecordBatch | None]],
) -> Iterator[pa.RecordBatch]:
    return iter(lambda: next(items)[1], None)


def _items(parts: Iterable[Part]) -> Iterator[tuple[Part, pa.RecordBatch | None]]:
    """Each part with None, each of its batches, and None again."""
    for part in parts:
        yield part, None
        for batch in read(part):
            yield part, batch
        yield part, None


def _counted(
    part: Part, batches: Iterable[pa.RecordBatch], report: Callable[[Part, int, int], None]
) -> Iterator[pa.RecordBatch]:
    rows = errors = 0
    for batch in batches:
        yield batch
        rows += len(batch)
        errors += len(batch) - batch.column("error").null_count
        report(part, rows, errors)


def ahead(items: Iterable[T], limit: int = _AHEAD) -> Iterator[T]:
    """The same items, which a thread gets ready while those before are worked on."""
    ready: queue.Queue[tuple[bool, Any]] = queue.Queue(limit)
    is_over = threading.Event()

    def put(item: tuple[bool, Any]) -> None:
        while not is_over.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    def fill() -> None:
        try:
            for item in items:
                put((True, item))
                if is_over.is_set():
                    return
            put((False, None))
        except BaseException as error:
            put((False, error))

    threading.Thread(target=fill, daemon=True).start()
    try:
        while True:
            is_item, value = ready.get()
            if is_item:
                yield value
            elif value is None:
                return
            else:
                raise value
    finally:
        is_over.set()
