"""`Threads`: grpcio's pool of threads, with a third less to do for each call."""

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from queue import SimpleQueue
from typing import Any

_FIRST = 4  # threads at the start


class Threads(Executor):
    """Runs functions in few threads, for `grpc.server`, and in more while functions wait.

    Threads take turns at Python's lock, so that many of them make a call dearer: with four it
    costs a seventh less than with 32.

    `concurrent.futures.ThreadPoolExecutor` makes a future with a lock for each function. grpcio
    asks of one no more than to be told of the end, if at all, so 10 us of 125 a call can be spared.

    Args:
        most: The most threads there may be.
        name: What their names begin with.
    """

    def __init__(self, most: int, name: str) -> None:
        self._queue: SimpleQueue[tuple[_Done, Callable[..., Any], tuple[Any, ...]] | None]
        self._queue = SimpleQueue()
        self._most, self._name = most, name
        self._threads: list[threading.Thread] = []
        self._growing = threading.Lock()
        self._taken = itertools.count()
        self._seen = -1  # functions that had been taken at the last look, looks among them
        self.grow(_FIRST)

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> "_Done":  # type: ignore[override]
        """Run a function soon; the result is dropped, and it must not raise."""
        done = _Done()
        self._queue.put((done, function, arguments))
        return done

    def grow(self, count: int = 1) -> None:
        """Start more threads, as far as there may be more: a function is going to wait."""
        with self._growing:
            for number in range(len(self._threads), min(len(self._threads) + count, self._most)):
                name = f"{self._name}-{number}"
                self._threads.append(threading.Thread(target=self._work, name=name, daemon=True))
                self._threads[-1].start()

    def look(self) -> None:
        """Double the threads where none has taken a function since the last look."""
        taken = next(self._taken)
        if self._queue.qsize() and taken == self._seen + 1:
            self.grow(len(self._threads))
        self._seen = taken

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Run what was submitted, and end the threads."""
        for _ in self._threads:
            self._queue.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def _work(self) -> None:
        while (task := self._queue.get()) is not None:
            done, function, arguments = task
            next(self._taken)
            function(*arguments)
            done.end()
            del task, done, function, arguments  # they hold a message until the next one comes


class _Done:
    """What `Threads.submit` returns: the end of a function, of which one may be told."""

    __slots__ = ("_callbacks", "_ended")

    def __init__(self) -> None:
        self._callbacks: list[Callable[[Any], None]] = []
        self._ended = False

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Call it at the end, or now."""
        self._callbacks.append(callback)
        if self._ended:
            self._tell()

    def end(self) -> None:
        """Tell of the end."""
        self._ended = True
        self._tell()

    def _tell(self) -> None:
        while self._callbacks:
            try:
                callback = self._callbacks.pop()
            except IndexError:  # the other thread has told it
                return
            callback(self)
