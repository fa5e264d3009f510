"""How much may be under way at a time, and when all of it has ended."""

import threading

from lenet_serve.errors import Code, ServeError
from lenet_serve.limits import Limits


class Admission:
    """Counts the requests to one model that wait or are computed; thread-safe.

    Args:
        limits: `Limits.queued_rows` and `Limits.queued_bytes`. A request that is alone is always
            admitted.

    Attributes:
        requests, rows, size: Requests under way, their images and their bytes.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._ended = threading.Condition(self._lock)
        self._closed = False
        self.requests = self.rows = self.size = 0

    def enter(self, rows: int, size: int) -> bool:
        """Admit a request, which ends with `leave`; False once nothing is admitted any more.

        Raises:
            ServeError: Too much is under way; the client may try again.
        """
        limits = self._limits
        with self._lock:
            if self._closed:
                return False
            rows_then, size_then = self.rows + rows, self.size + size
            full = rows_then > limits.queued_rows or size_then > limits.queued_bytes
            if full and self.requests:
                raise ServeError(
                    f"busy: expected at most {limits.queued_rows} images (--max-queue) and "
                    f"{limits.queued_bytes} bytes (--queue-memory) under way, found "
                    f"{rows_then} and {size_then} with this request; try again",
                    Code.UNAVAILABLE,
                    retry_after=1,
                )
            self.requests += 1
            self.rows, self.size = rows_then, size_then
            return True

    def leave(self, rows: int, size: int) -> None:
        """End a request that was admitted."""
        with self._lock:
            self.requests -= 1
            self.rows -= rows
            self.size -= size
            if self._closed and not self.requests:
                self._ended.notify_all()

    def close(self) -> None:
        """Admit nothing any more, and return when all that was admitted has ended."""
        with self._ended:
            self._closed = True
            self._ended.wait_for(lambda: not self.requests)
