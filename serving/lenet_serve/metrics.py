"""`Metrics`: what was asked and answered, as Prometheus's text and V2's statistics.

Only models that are loaded have labels. Requests to others, and to models beyond what the shared
memory has room for (`counters.ENTRIES`), are counted without a model.
"""

import os
import threading
import time
from bisect import bisect_left
from typing import Any, Literal

from lenet_serve import counters as c
from lenet_serve.counters import Counters
from lenet_serve.errors import Code
from lenet_serve.prometheus import render
from lenet_serve.statistics import statistics


class Metrics:
    """Counts requests in shared memory; thread-safe.

    Args:
        counters: The memory; None makes one for this process alone.
        worker: This process's block.
    """

    def __init__(self, counters: Counters | None = None, worker: int = 0) -> None:
        self._counters = counters or Counters()
        self._cells = self._counters.cells
        self._worker = worker
        self._head = self._counters.head(worker)
        self._other = self._counters.entry(worker, 0)
        self._entries: dict[tuple[str, str], int] = {}  # of loaded models: where its cells begin
        self._lock = threading.Lock()
        self._cells[self._head + c.PID] = os.getpid()
        for index in range(c.ENTRIES):  # left by a worker that died
            self._cells[self._counters.entry(worker, index) + c.PENDING] = 0

    def loaded(self, model: str, version: str) -> None:
        """Give a model's version labels of its own, from now on; it counts on where it was."""
        with self._lock:
            index = self._index(model, version)
            if index:
                self._entries[model, version] = self._counters.entry(self._worker, index)

    def unloaded(self, model: str, version: str) -> None:
        """Its counters stay until their place is needed for another's."""
        with self._lock:
            self._entries.pop((model, version), None)

    def _index(self, model: str, version: str) -> int:
        names = [self._counters.name(self._worker, index) for index in range(1, c.ENTRIES)]
        if (model, version) in names:
            return 1 + names.index((model, version))
        free = [i for i, name in enumerate(names, 1) if name is None]
        free += [i for i, name in enumerate(names, 1) if name and name not in self._entries]
        if free and self._counters.rename(self._worker, free[0], model, version):
            return free[0]
        return 0

    def reloaded(self, succeeded: bool) -> None:
        """Count a model that was loaded in place of another, or that failed to."""
        with self._lock:
            self._cells[self._head + (c.RELOADS if succeeded else c.RELOADS_FAILED)] += 1

    def pending(self, model: str, version: str, requests: int) -> None:
        """Say how many requests to a model wait for their computation in this process."""
        self._cells[self._entries.get((model, version), self._other) + c.PENDING] = requests

    def record(
        self,
        model: str,
        version: str,
        *,
        protocol: Literal["http", "grpc"],
        code: Code | None = None,
        rows: int = 0,
        queue_ns: int = 0,
        input_ns: int = 0,
        infer_ns: int = 0,
        output_ns: int = 0,
        total_ns: int = 0,
        batch: int | None = None,
    ) -> None:
        """Count a request that has ended; it takes about a microsecond.

        Args:
            model, version: Whose it was; empty where it was nobody's.
            protocol: What it came by.
            code: Why it failed; None where it was answered.
            rows: Its images.
            queue_ns, input_ns, infer_ns, output_ns: Nanoseconds that it waited, that its images
                were prepared, that the engine computed, and that its outputs were made.
            total_ns: Nanoseconds from its first to its last byte.
            batch: Images that the engine computed at once for it and others; 0 where another
                request has counted this execution. None is `rows`.
        """
        cells, at = self._cells, self._entries.get((model, version), self._other)
        status = at + c.CODE + (0 if protocol == "http" else len(c.CODES))
        if code is not None:
            with self._lock:
                cells[status + c.CODES.index(code)] += 1
                cells[at + c.FAIL_NS] += total_ns
            return
        row = at + c.EXECUTION + 4 * c.execution_row(rows if batch is None else batch)
        request = at + c.REQUEST + bisect_left(c.BOUNDS_NS, total_ns)
        queue = at + c.QUEUE + (bisect_left(c.BOUNDS_NS, queue_ns) if queue_ns else 0)
        compute = at + c.COMPUTE + bisect_left(c.BOUNDS_NS, input_ns + infer_ns + output_ns)
        now = time.time_ns() // 1_000_000
        with self._lock:
            cells[at + c.ROWS] += rows
            cells[at + c.REQUEST_NS] += total_ns
            cells[at + c.QUEUE_NS] += queue_ns
            cells[at + c.LAST_MS] = now
            cells[status] += 1
            cells[request] += 1
            cells[queue] += 1
            cells[compute] += 1
            cells[row] += 1
            cells[row + 1] += input_ns
            cells[row + 2] += infer_ns
            cells[row + 3] += output_ns

    def statistics(self, model: str = "", version: str = "") -> dict[str, Any]:
        """V2's statistics of the loaded models, summed over workers.

        Args:
            model, version: Whose; empty for all.
        """
        names = [
            name
            for name in sorted(self._entries)
            if model in ("", name[0]) and version in ("", name[1])
        ]
        sums = self._counters.sums()
        return {"model_stats": [statistics(*name, sums[name]) for name in names]}

    def text(self) -> bytes:
        """All metrics, summed over workers, in Prometheus's text format 0.0.4."""
        return render(self._counters).encode()
