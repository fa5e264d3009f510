"""Threads that wait for work, for an engine that splits a batch itself.

`concurrent.futures` does the same at four times the cost: 14 us a call against 3, where a share of
a batch may take 100.
"""

import os
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from threading import Thread

Task = Callable[[], bool]
_Done = SimpleQueue[bool | BaseException]
_Tasks = SimpleQueue[tuple[Task, _Done] | None]


class Workers:
    """`count` threads beside the calling one. They end once nobody refers to this object.

    There is nothing to close, so no call can come too late. A forked child has none of its
    parent's threads: `pid` is the process that these belong to.

    Raises:
        RuntimeError: the system starts no further thread.
    """

    def __init__(self, count: int) -> None:
        self.pid = os.getpid()
        self._tasks: _Tasks = SimpleQueue()
        self._started = 0
        for _ in range(count):
            # Daemons: a process that ends does not wait for a session that nobody closed.
            Thread(target=_work, args=(self._tasks,), name="lenet-native", daemon=True).start()
            self._started += 1

    def all(self, tasks: Sequence[Task]) -> bool:
        """Run `tasks` at once, in any order, and return whether all were true.

        Raises:
            BaseException: what a task raised, once all are done.
        """
        done: _Done = SimpleQueue()
        for task in tasks[1:]:
            self._tasks.put((task, done))
        _finish(tasks[0], done)
        # What no worker has begun, perhaps another caller's: better than waiting for it.
        while (taken := self._take()) is not None:
            _finish(*taken)
        results = [done.get() for _ in tasks]
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return all(results)

    def _take(self) -> tuple[Task, _Done] | None:
        try:
            return self._tasks.get_nowait()
        except Empty:
            return None

    def __del__(self) -> None:
        for _ in range(self._started):
            self._tasks.put(None)


def _work(tasks: _Tasks) -> None:
    while (taken := tasks.get()) is not None:
        _finish(*taken)
        del taken  # or the images would be kept until the next call


def _finish(task: Task, done: _Done) -> None:
    try:
        done.put(task())
    except BaseException as error:
        done.put(error)
