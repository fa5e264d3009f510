"""What is counted while a job runs, and the thread that joins parts in their order."""

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from lenet_deploy.batch.job import SHOWN, PartDone, Parts
from lenet_deploy.batch.placing import Join
from lenet_runtime.errors import DeployError


@dataclass(frozen=True)
class Progress:
    """How far a job is.

    Attributes:
        rows: Rows that are done, those of earlier runs too.
        total: Rows of the job.
        errors: Rows with an error among those done.
        rows_before: Rows that an earlier run had done.
    """

    rows: int
    total: int
    errors: int
    rows_before: int


class Tally:
    """Counts rows and errors.

    Args:
        total: Rows of the job.
        max_errors: Errors above which the job stops; None for any number.
        show: Is told of the progress.

    Attributes:
        rows: Rows of the parts that are done.
        errors: Errors among them.
        rows_before: Rows that an earlier run had done.
        done: Numbers of the parts that are done.
        first: A few of their errors.
    """

    def __init__(
        self, total: int, max_errors: int | None, show: Callable[[Progress], None]
    ) -> None:
        self._total, self._max_errors, self._show = total, max_errors, show
        self.rows = self.errors = self.rows_before = 0
        self.done: set[int] = set()
        self.first: list[tuple[str, int | None, str]] = []

    def add(self, part: PartDone) -> None:
        """Count a part that is done."""
        self.rows += part.rows
        self.errors += part.errors
        self.done.add(part.number)
        self.first += part.first[: SHOWN - len(self.first)]

    def begin(self) -> None:
        """Take what was counted so far for an earlier run's."""
        self.rows_before = self.rows
        self.under_way(0, 0)

    def under_way(self, rows: int, errors: int) -> None:
        """Show how far the job is, with what is done of parts that are not.

        Raises:
            DeployError: There are too many errors.
        """
        rows, errors = self.rows + rows, self.errors + errors
        self._show(Progress(rows, self._total, errors, self.rows_before))
        if self._max_errors is not None and errors > self._max_errors:
            shown = "; ".join(f"{path}: {text}" for path, _, text in self.first[:2])
            raise DeployError(
                f"found {errors} rows with an error, and max_errors={self._max_errors} allows no "
                f"more{f' ({shown})' * bool(shown)}; what is done is kept: go on with a larger "
                "number and resume=True"
            )


@contextlib.contextmanager
def joining(join: Join, parts: Parts) -> Iterator["Joiner"]:
    """A thread that joins parts while others are worked on; errors stop it at the next part."""
    pool = ThreadPoolExecutor(1)
    try:
        yield Joiner(join, parts, pool)
    finally:
        pool.shutdown(cancel_futures=True)


class Joiner:
    """Hands parts to a join in the order of their numbers.

    Args:
        join: Takes them.
        parts: Knows where they are.
        pool: One thread.
    """

    def __init__(self, join: Join, parts: Parts, pool: ThreadPoolExecutor) -> None:
        self._join, self._parts, self._pool = join, parts, pool
        self._early: dict[int, bool] = {}  # parts that came before their turn: are there rows?
        self._next = 0
        self._futures: deque[Future[None]] = deque()

    def add(self, part: PartDone) -> None:
        """Take a part that is done, at any time."""
        self._early[part.number] = bool(part.rows)
        while (has_rows := self._early.pop(self._next, None)) is not None:
            if has_rows:
                path = self._parts.path(self._next)
                self._futures.append(self._pool.submit(self._join.append, path))
            self._next += 1
        while self._futures and self._futures[0].done():
            self._futures.popleft().result()

    def wait(self) -> None:
        """Wait until all parts are joined.

        Raises:
            DeployError: One could not be.
        """
        while self._futures:
            self._futures.popleft().result()
