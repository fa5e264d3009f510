"""`Metrics`: what was asked and answered, as Prometheus's text and V2's statistics.

A label is a model that is or was loaded, never what a client wrote. The shared memory has room for
64 versions of models. Where it is full, the next one takes the place of one that is not loaded any
more, or is counted without a name.
"""

import os
import threading
import time
from bisect import bisect_left
from typing import Any

import numpy as np

from lenet_serve import counters as c
from lenet_serve.counters import Counters
from lenet_serve.errors import Code
from lenet_serve.prometheus import render
from lenet_serve.protocol.infer import InferRequest, Times
from lenet_serve.recorder import Recorder
from lenet_serve.statistics import statistics


class Metrics(Recorder):
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
        self._entries: dict[tuple[str, str], int] = {}  # where the cells of each model begin
        self._entries["", ""] = self._counters.entry(worker, 0)
        self._lock = threading.Lock()
        self._cells[self._head + c.PID] = os.getpid()
        for index in range(c.ENTRIES):  # left by a worker that died
            self._cells[self._counters.entry(worker, index) + c.PENDING] = 0

    def loaded(self, model: str, version: str) -> None:
        """List a model from now on; it counts on where it was."""
        self._entry(model, version)

    def unloaded(self, model: str, version: str) -> None:
        """Let another take a model's place, when it is needed."""
        with self._lock:
            nameless = self._entries["", ""]  # who had no place may find one now
            self._entries = {
                name: at for name, at in self._entries.items()
                if name != (model, version) and (at != nameless or not name[0])
            }  # fmt: skip

    def reloaded(self, succeeded: bool) -> None:
        """Count a version that was loaded in place of another, or one that failed to load."""
        with self._lock:
            self._cells[self._head + (c.RELOADS if succeeded else c.RELOADS_FAILED)] += 1

    def _entry(self, model: str, version: str) -> int:
        """Where the cells of a model begin, which it is given at the first request."""
        with self._lock:
            found = self._entries.get((model, version))
            if found is None:
                index = self._index(model, version)
                found = self._entries[model, version] = self._counters.entry(self._worker, index)
        return found

    def _index(self, model: str, version: str) -> int:
        names = [self._counters.name(self._worker, index) for index in range(1, c.ENTRIES)]
        if (model, version) in names:
            return 1 + names.index((model, version))
        free = [i for i, name in enumerate(names, 1) if name is None]
        left = [i for i, name in enumerate(names, 1) if name not in self._entries]
        if not left:
            return 0
        index = free[0] if free else min(left, key=self._last_ms)
        return index if self._counters.rename(self._worker, index, model, version) else 0

    def _last_ms(self, index: int) -> int:
        return self._cells[self._counters.entry(self._worker, index) + c.LAST_MS]

    def pending(self, model: str, version: str, change: int) -> None:
        """Count a request that begins (1) or ends (-1) to wait for the engine."""
        at = self._entries.get((model, version)) or self._entry(model, version)
        with self._lock:
            self._cells[at + c.PENDING] = max(0, self._cells[at + c.PENDING] + change)

    def record(
        self,
        model: str,
        version: str,
        *,
        protocol: str,
        code: Code | None,
        rows: int,
        times: Times,
        request: InferRequest | None = None,
    ) -> None:
        """Count a request that has ended, in about a microsecond; see `Recorder`."""
        cells = self._cells
        at = self._entries.get((model, version)) or self._entry(model, version)
        status = at + c.CODE + (0 if protocol == "http" else len(c.CODES))
        total_ns, queue_ns = times.total_ns, times.queue_ns
        if code is not None:
            with self._lock:
                cells[status + c.CODES.index(code)] += 1
                cells[at + c.FAIL_NS] += total_ns
            return
        input_ns, infer_ns, output_ns = times.input_ns, times.infer_ns, times.output_ns
        bucket = at + c.REQUEST + bisect_left(c.BOUNDS_NS, total_ns)
        queue = at + c.QUEUE + bisect_left(c.BOUNDS_NS, queue_ns)
        compute = at + c.COMPUTE + bisect_left(c.BOUNDS_NS, input_ns + infer_ns + output_ns)
        run = at + c.RUN + 2 * c.run_row(times.batch)
        now = time.time_ns() // 1_000_000
        with self._lock:
            cells[at + c.ROWS] += rows
            cells[at + c.REQUEST_NS] += total_ns
            cells[at + c.QUEUE_NS] += queue_ns
            cells[at + c.INPUT_NS] += input_ns
            cells[at + c.OUTPUT_NS] += output_ns
            cells[at + c.LAST_MS] = now
            cells[status] += 1
            cells[bucket] += 1
            cells[queue] += 1
            cells[compute] += 1
            cells[run] += 1
            cells[run + 1] += infer_ns

    def statistics(self, model: str, version: str) -> dict[str, Any]:
        """V2's statistics of one version of a model, summed over workers."""
        cells = self._counters.sums().get((model, version))
        none = np.zeros(c.CELLS, np.uint64)
        return statistics(model, version, none if cells is None else cells)

    def text(self) -> bytes:
        """All metrics, summed over workers, in Prometheus's text format 0.0.4."""
        return render(self._counters).encode()
