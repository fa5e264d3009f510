"""Counters of all workers in one piece of shared memory, without a lock between processes.

Each worker has a block that it alone writes, in aligned cells of 64 bits; whoever is asked reads
all blocks and adds them up. A worker that was restarted finds its block and counts on. A block is
its head and `ENTRIES` entries, one for each version of a model: the name, then its cells. Entry 0
has no name: it counts what belongs to no loaded model.
"""

import mmap
import os
import tempfile
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from lenet_serve.errors import Code

CODES = (None, *Code)  # None: answered
PROTOCOLS = ("http", "grpc")

# Upper bounds of durations, 5 us to 10 s.
BOUNDS_NS = [5_000, *(s * 10**e for e in range(4, 10) for s in (1, 2.5, 5)), 10**10]
BOUNDS_NS = [round(bound) for bound in BOUNDS_NS]
_BUCKETS = len(BOUNDS_NS) + 1

# Runs of the engine are counted by their exact number of images up to 64, then by powers of two.
# Row 0 is of requests that ran along with another, which is counted for all.
EXACT = 64
RUNS = 1 + EXACT + 16

# The cells of an entry. Durations in nanoseconds are of answered requests, but for FAIL_NS.
ROWS, REQUEST_NS, QUEUE_NS, INPUT_NS, OUTPUT_NS, FAIL_NS, LAST_MS, PENDING = range(8)
REQUEST = 8  # buckets of durations
QUEUE = REQUEST + _BUCKETS
COMPUTE = QUEUE + _BUCKETS
CODE = COMPUTE + _BUCKETS  # requests by protocol and code
RUN = CODE + len(PROTOCOLS) * len(CODES)  # requests and the engine's nanoseconds, of each row
CELLS = RUN + 2 * RUNS

# The cells of a block's head. PID is 0 while the worker does not run. The supervisor writes
# RESTARTS and clears PID, the worker everything else.
PID, RELOADS, RELOADS_FAILED, RESTARTS = range(4)  # RESTARTS by signal; 0 for an exit
SIGNALS = 65
_HEAD = RESTARTS + SIGNALS

ENTRIES = 65
_NAME = 36  # cells, 288 bytes: a name of 255 bytes, NUL, and the version
_ENTRY = _NAME + CELLS
_BLOCK = _HEAD + ENTRIES * _ENTRY
_FIRST = 8  # cells before the first block; the first of them is the supervisor's PID


def run_row(images: int) -> int:
    """The row of a run of so many images."""
    return images if images <= EXACT else min(58 + (images - 1).bit_length(), RUNS - 1)


def codes(cells: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """An entry's requests by protocol and code, ``(PROTOCOLS, CODES)``."""
    return cells[CODE:RUN].reshape(len(PROTOCOLS), len(CODES))


def runs(cells: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """An entry's requests and the engine's nanoseconds, ``(RUNS, 2)``."""
    return cells[RUN:].reshape(RUNS, 2)


class Counters:
    """The shared memory, a block for each worker.

    Args:
        workers: The blocks.
        fd: A descriptor from `shared_memory`; -1 makes memory that is this process's alone.

    Attributes:
        workers: As given.
        cells: All cells.
    """

    def __init__(self, workers: int = 1, fd: int = -1) -> None:
        self.workers = workers
        self._map = mmap.mmap(fd, _size(workers))
        self.cells = memoryview(self._map).cast("Q")

    def head(self, worker: int) -> int:
        """Where the head of a worker's block begins."""
        return _FIRST + worker * _BLOCK

    def entry(self, worker: int, index: int) -> int:
        """Where the cells of an entry begin."""
        return self.head(worker) + _HEAD + index * _ENTRY + _NAME

    def name(self, worker: int, index: int) -> tuple[str, str] | None:
        """The model and version of an entry; None where it is free."""
        end = 8 * self.entry(worker, index)
        text = bytes(self._map[end - 8 * _NAME : end]).rstrip(b"\0").decode(errors="replace")
        model, _, version = text.partition("\0")
        return (model, version) if text else None

    def rename(self, worker: int, index: int, model: str, version: str) -> bool:
        """Begin an entry at 0 under a name; False where the name is too long for it."""
        text = f"{model}\0{version}".encode()
        if len(text) > 8 * _NAME:
            return False
        start = self.entry(worker, index)
        begin = 8 * (start - _NAME)
        self._map[begin : 8 * start] = bytes(8 * _NAME)  # nobody reads it while it is cleared
        self._map[8 * start : 8 * (start + CELLS)] = bytes(8 * CELLS)
        self._map[begin : begin + len(text)] = text
        return True

    def sums(self) -> dict[tuple[str, str], NDArray[np.uint64]]:
        """The cells of each model and version, summed over workers; ``("", "")`` is entry 0."""
        sums: dict[tuple[str, str], NDArray[np.uint64]] = {}
        for worker in range(self.workers):
            for index, name in self._names(worker):
                start = self.entry(worker, index)
                cells = np.array(self.cells[start : start + CELLS])
                if name in sums:
                    last = max(sums[name][LAST_MS], cells[LAST_MS])
                    cells += sums[name]
                    cells[LAST_MS] = last
                sums[name] = cells
        return sums

    def _names(self, worker: int) -> Iterator[tuple[int, tuple[str, str]]]:
        yield 0, ("", "")
        for index in range(1, ENTRIES):
            name = self.name(worker, index)
            if name:
                yield index, name

    def heads(self) -> NDArray[np.uint64]:
        """The heads, one a row."""
        return np.array([self.cells[h : h + _HEAD] for h in map(self.head, range(self.workers))])


def shared_memory(workers: int) -> int:
    """Make memory for the counters of so many workers: a descriptor for them to inherit."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("lenet-counters")
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, _size(workers))
    return fd


def _size(workers: int) -> int:
    return 8 * (_FIRST + workers * _BLOCK)
