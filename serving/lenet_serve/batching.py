"""`Batcher`: many callers, one engine; what arrives while it computes is its next batch.

There is no timer and no model of how long a batch takes. A caller that finds the engine idle runs
it by itself, at once; only those that come while it is busy wait, and then go together.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_serve.errors import ServeError, require_time, translated

Images = NDArray[np.float32]
Run = Callable[[Images], Images]


@dataclass(slots=True)
class Logits:
    """What an engine answered to one request.

    Attributes:
        values: The logits of the request's images.
        begun_ns, ended_ns: When the engine began and ended, by `time.perf_counter_ns`.
        batch: See `lenet_serve.protocol.infer.Times`.
    """

    values: Images
    begun_ns: int
    ended_ns: int
    batch: int


@dataclass(slots=True)
class _Waiting:
    images: Images
    deadline: float | None
    future: Future[Any]
    finish: Callable[[Logits], Any]


class Batcher:
    """Runs an engine for many callers; thread-safe.

    Args:
        run: The engine: images ``(N, C, H, W)`` to logits ``(N, K)``, from any thread.
        max_rows: Images in a batch that is put together; 1 for none, and then every caller runs
            the engine by itself.
        name: The thread's name.

    Attributes:
        batches: Whether requests are put together at all.
    """

    def __init__(
        self,
        run: Run,
        max_rows: int = 1,
        name: str = "batcher",
    ) -> None:
        self._run, self._max_rows = run, max_rows
        self.batches = max_rows > 1
        self._engine = threading.Lock()  # held by who runs it, where there are batches
        self._queue: deque[_Waiting] = deque()
        self._arrived = threading.Condition(threading.Lock())
        self._closed = False
        self._thread: threading.Thread | None = None
        self._name = name

    def try_run(self, images: Images, deadline: float | None = None) -> Logits | None:
        """Run the engine here and now; None where others run it, or wait for it.

        Raises:
            ServeError: The deadline has passed.
        """
        if deadline is not None:
            require_time(deadline)
        if not self.batches:
            return self._timed(images)
        if self._queue or not self._engine.acquire(blocking=False):
            return None
        try:  # who comes meanwhile has woken the thread, which waits for the engine
            return self._timed(images)
        finally:
            self._engine.release()

    def submit(
        self, images: Images, deadline: float | None, finish: Callable[[Logits], Any]
    ) -> Future[Any]:
        """Have the engine run with others' images.

        Args:
            images: The images, already checked.
            deadline: The moment of `time.monotonic` after which they are not computed any more.
            finish: Makes the future's result of the logits, in the batcher's thread.

        Returns:
            A future; a cancelled one costs nothing more.
        """
        waiting = _Waiting(images, deadline, Future(), finish)
        with self._arrived:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()
            self._queue.append(waiting)
            self._arrived.notify()
        return waiting.future

    def close(self) -> None:
        """Compute what waits, then end the thread."""
        with self._arrived:
            self._closed = True
            self._arrived.notify()
        if self._thread is not None:
            self._thread.join()

    def _timed(self, images: Images) -> Logits:
        begun = time.perf_counter_ns()
        values = self._run(images)
        return Logits(values, begun, time.perf_counter_ns(), len(images))

    def _work(self) -> None:
        while True:
            with self._arrived:
                self._arrived.wait_for(lambda: self._queue or self._closed)
                if not self._queue:
                    return
            with self._engine:
                batch = self._take()
                if batch:
                    self._compute(batch)

    def _take(self) -> list[_Waiting]:
        """The requests at the front that fit in one batch, without those nobody waits for."""
        batch: list[_Waiting] = []
        rows = 0
        while self._queue:
            waiting = self._queue[0]
            if batch and rows + len(waiting.images) > self._max_rows:
                break
            self._queue.popleft()
            if not waiting.future.set_running_or_notify_cancel():
                continue
            try:
                require_time(waiting.deadline)
            except ServeError as error:
                waiting.future.set_exception(error)
                continue
            batch.append(waiting)
            rows += len(waiting.images)
        return batch

    def _compute(self, batch: list[_Waiting]) -> None:
        try:
            images = [waiting.images for waiting in batch]
            logits = self._timed(images[0] if len(images) == 1 else np.concatenate(images))
        except Exception as error:
            if len(batch) == 1:
                batch[0].future.set_exception(translated(error))
            else:  # one of them may be at fault, and the others are not to suffer for it
                for waiting in batch:
                    self._compute([waiting])
            return
        first = 0
        for waiting in batch:
            end = first + len(waiting.images)
            share = logits.batch if first == 0 else 0
            own = Logits(logits.values[first:end], logits.begun_ns, logits.ended_ns, share)
            first = end
            _settle(waiting, own)


def _settle(waiting: _Waiting, logits: Logits) -> None:
    try:
        result = waiting.finish(logits)
    except Exception as error:
        waiting.future.set_exception(translated(error))
    else:
        waiting.future.set_result(result)
