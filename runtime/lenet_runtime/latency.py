"""Latency per batch size, of engines measured side by side in one process.

What is timed is the whole call as a service makes it, images in host memory to logits in host
memory (scope ``host``). Engines take turns in short slices, so that a machine that slows down
slows all of them; every engine sees the same rotating set of fresh inputs, so that none lives on
one hot buffer; and raw samples are kept, so that percentiles are read and not estimated.
"""

import gc
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lenet_runtime import cpu

Engine = Callable[[NDArray[np.float32]], NDArray[np.float32]]

INPUTS = 8
SLICE_SECONDS = 0.01


@dataclass(frozen=True)
class LatencyResult:
    """One engine at one batch size.

    Attributes:
        engine: its name in this run.
        batch_size: images in a call.
        samples_ns: wall-clock nanoseconds of each call, in the order of measurement.
        environment: of the run, see `environment`.
    """

    engine: str
    batch_size: int
    samples_ns: NDArray[np.int64]
    environment: dict[str, str]

    def percentile_us(self, percent: float) -> float:
        """Microseconds that `percent` of the calls took at most."""
        return float(np.percentile(self.samples_ns, percent)) / 1e3

    @property
    def images_per_second(self) -> float:
        """Throughput of one caller at the median latency."""
        return self.batch_size / (self.percentile_us(50) / 1e6)


def environment() -> dict[str, str]:
    """What the figures belong to: the CPU, its level, the system, Python and NumPy."""
    return {
        "cpu": cpu.model(),
        "cpu_level": cpu.level(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def measure(
    engines: Mapping[str, Engine],
    batch_sizes: Sequence[int] = (1, 8, 64),
    *,
    seconds: float = 0.5,
    min_calls: int = 20,
    seed: int = 0,
) -> list[LatencyResult]:
    """Time every engine at every batch size.

    Args:
        engines: by name, each from float32 images ``(N, 1, 32, 32)`` to logits ``(N, 10)``.
        batch_sizes: images in a call.
        seconds: to measure each engine for, at each batch size.
        min_calls: to make at least, where `seconds` allow fewer.
        seed: of the inputs, unit noise.
    """
    where, results = environment(), []
    noise = np.random.default_rng(seed)
    for size in batch_sizes:
        inputs = [noise.standard_normal((size, 1, 32, 32), np.float32) for _ in range(INPUTS)]
        samples = _interleaved(engines, inputs, seconds, min_calls)
        results += [
            LatencyResult(name, size, np.array(taken, np.int64), where)
            for name, taken in samples.items()
        ]
    return results


def _interleaved(
    engines: Mapping[str, Engine],
    inputs: Sequence[NDArray[np.float32]],
    seconds: float,
    min_calls: int,
) -> dict[str, list[int]]:
    samples: dict[str, list[int]] = {name: [] for name in engines}
    for engine in engines.values():  # warm-up: lazy set-up and caches are not steady state
        _slice(engine, inputs, SLICE_SECONDS * 5)
    spent, collecting = 0.0, gc.isenabled()
    gc.disable()  # a collection would land on whichever engine is running
    try:
        while spent < seconds or min(map(len, samples.values())) < min_calls:
            for name, engine in engines.items():
                samples[name] += _slice(engine, inputs, SLICE_SECONDS)
            spent += SLICE_SECONDS
    finally:
        if collecting:
            gc.enable()
    return samples


def _slice(engine: Engine, inputs: Sequence[NDArray[np.float32]], seconds: float) -> list[int]:
    """Nanoseconds of each call within a slice of time; one call at least."""
    clock, taken = time.perf_counter_ns, []
    end, turn = clock() + int(seconds * 1e9), 0
    while True:
        images = inputs[turn % len(inputs)]
        turn += 1
        start = clock()
        engine(images)
        stop = clock()
        taken.append(stop - start)
        if stop >= end:
            return taken
