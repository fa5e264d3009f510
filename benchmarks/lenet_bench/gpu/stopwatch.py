"""Timing a GPU's own work: two events of the driver around it, on whichever stream it is on.

A GPU that waits for its next launch is not computing, so work that is to be timed alone is queued
behind a *hold*: a copy within the GPU that lasts about half a millisecond. While it runs the host
has time to launch everything that is timed, which then runs without gaps. Without the hold, short
kernels would be timed at the rate at which the host launches them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lenet_runtime import cuda

COPY_BYTES = 2**30  # of the copy that measures the memory, far more than any cache
HOLD_US = 500.0
_COPIES, _REPEATS = 4, 5
_MOST_OF_FREE = 16  # a sixteenth of the free memory at most


class Stopwatch:
    """Events of the driver, in the primary context of a GPU; see `opened`.

    Attributes:
        hold_us: How long a hold lasts in microseconds.
        bytes_per_second: Bytes that a large copy within device memory reads and writes in a second;
            the most that any engine can hope for.
        copy_bytes: The size of this copy in bytes.
    """

    def __init__(self, context: cuda.Context, copy_bytes: int = COPY_BYTES) -> None:
        self.copy_bytes = max(2**12, min(copy_bytes, context.free_memory() // _MOST_OF_FREE))
        self._source = context.allocate(self.copy_bytes)
        self._target = context.allocate(self.copy_bytes)
        self._start, self._stop = context.event(), context.event()
        self._hold_bytes, self.hold_us = 0, 0.0
        self.bytes_per_second = self._measure_memory(context.stream())
        hold_bytes = int(HOLD_US * 1e-6 * self.bytes_per_second / 2)
        self._hold_bytes = max(1, min(self.copy_bytes, hold_bytes))
        self.hold_us = 2 * self._hold_bytes / self.bytes_per_second * 1e6

    def _measure_memory(self, stream: cuda.Stream) -> float:
        def copies() -> None:
            for _ in range(_COPIES):
                self._target.copy_from(self._source, self.copy_bytes, stream.handle)

        best = min(self.span_us(copies, stream.handle, hold=False)[0] for _ in range(_REPEATS))
        return 2 * _COPIES * self.copy_bytes / (best * 1e-6)

    def span_us(self, work: Callable[[], None], stream: int, *, hold: bool) -> tuple[float, bool]:
        """Microseconds of what `work` puts on `stream`, and whether all of it was queued in time.

        Args:
            work: A function that launches, and returns without waiting.
            stream: CUDA's handle of the stream; whatever was on it before is done.
            hold: Whether to begin behind a hold.
        """
        if hold:
            self._target.copy_from(self._source, self._hold_bytes, stream)
        self._start.record(stream)
        work()
        in_time = hold and not self._start.happened()
        self._stop.record(stream)
        self._stop.synchronize()
        return self._stop.microseconds_since(self._start), in_time


@contextmanager
def opened(index: int, copy_bytes: int = COPY_BYTES) -> Iterator[Stopwatch]:
    """A stopwatch of the GPU of this number, its context current in this thread.

    Raises:
        BackendUnavailable: There is no such GPU.
        DeviceMemoryError: The GPU has no memory left.
    """
    context = cuda.Context(index)
    try:
        with context:
            yield Stopwatch(context, copy_bytes)
    finally:
        context.close()
