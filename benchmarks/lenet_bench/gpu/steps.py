"""One engine's samples on a GPU: its steps, timed again and again until there are enough.

`lenet_bench.gpu.result.DeviceResult` says what the figures are.

Images stay where they are in device memory. A hold sweeps the GPU's L2 cache, so the first of the
computations of a sample reads them from memory, and those that are repeated after it read them from
the cache where the batch fits in it (60 MB on an H200), as in a service that just uploaded them.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lenet_bench import harness
from lenet_bench.gpu.result import FIGURES, DeviceResult
from lenet_bench.gpu.stopwatch import Stopwatch
from lenet_bench.harness import Settings
from lenet_runtime.backends.protocol import Stages

# An event's resolution is about 0.5 us; a sample of this length is good to half a percent.
SAMPLE_US = 100.0
MOST_REPEATS = 100


@dataclass(eq=False)
class StepTimer:
    """One engine's samples at one batch size, with or without a graph."""

    engine: str
    graph: bool
    batch_size: int
    stages: Stages
    stopwatch: Stopwatch
    settings: Settings
    repeats: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FIGURES, 1))
    rounds: dict[str, list[NDArray[np.float64]]] = field(
        default_factory=lambda: {name: [] for name in FIGURES}
    )
    warm: bool = False
    hidden: int = 0
    count: int = 0
    seconds: float = 0.0
    closed: bool = False

    def warm_up(self) -> None:
        """Run until the engine has settled; then choose `repeats`."""
        slices: list[dict[str, list[float]]] = []

        def slice_median() -> np.floating:
            slices.append(self._slice())
            return np.median(slices[-1]["device_single"])

        self.warm, _ = harness.settle(slice_median, self.settings)
        samples = slices[-1]
        launch_us = float(np.median(samples["launch"])) / 1e3
        for name in ("device", "upload", "download"):
            span_us = float(np.median(samples[name])) / 1e3
            self.repeats[name] = repeats(span_us, launch_us, self.stopwatch.hold_us)
        self.hidden = self.count = 0

    def slice(self) -> None:
        """One turn."""
        start = time.perf_counter()
        for name, samples in self._slice().items():
            self.rounds[name].append(np.array(samples, np.float64))
        self.seconds += time.perf_counter() - start

    def share_done(self) -> float:
        """See `Settings.share_done`."""
        return self.settings.share_done(self.seconds, self.count)

    def result(self) -> DeviceResult:
        """What was measured."""
        rounds = {name: tuple(samples) for name, samples in self.rounds.items()}
        share = self.hidden / self.count
        return DeviceResult(
            self.engine, self.batch_size, self.graph, rounds, self.repeats, share, self.warm
        )

    def close(self) -> None:
        """Give the memory back; twice is fine. A failure here must not hide what was measured."""
        if self.closed:
            return
        self.closed = True
        try:
            self.stages.close()
        except Exception as error:  # whatever broke it was reported when it did
            sys.stderr.write(f"{self.engine}: closing it failed ({reason(error)})\n")

    def _slice(self) -> dict[str, list[float]]:
        """A computation that is not counted, then samples of each figure for a slice of time."""
        samples: dict[str, list[float]] = {name: [] for name in FIGURES}
        end = time.perf_counter() + harness.SLICE_SECONDS
        self._span(self.stages.compute, 1, hold=False)
        while not samples["device"] or time.perf_counter() < end:
            for name, work in (
                ("device", self.stages.compute),
                ("upload", self.stages.upload),
                ("download", self.stages.download),
            ):
                span, hidden = self._span(work, self.repeats[name], hold=True)
                samples[name].append(span)
                self.hidden += hidden and name == "device"
                if name == "device":
                    single, launch = self._single()
                    samples["device_single"].append(single)
                    samples["launch"].append(launch)
            self.count += 1
        return samples

    def _single(self) -> tuple[float, float]:
        """The GPU's time for one computation on an idle stream, and the host's in its launch."""
        took: list[float] = []

        def launch() -> None:
            start = time.perf_counter_ns()
            self.stages.compute()
            took.append(float(time.perf_counter_ns() - start))

        span, _ = self.stopwatch.span_us(launch, self.stages.stream, hold=False)
        return max(span * 1e3, 1.0), took[0]

    def _span(self, work: Callable[[], None], times: int, *, hold: bool) -> tuple[float, bool]:
        """Nanoseconds of one of `times`, and whether all were queued in time."""

        def all_of_it() -> None:
            for _ in range(times):
                work()

        span, hidden = self.stopwatch.span_us(all_of_it, self.stages.stream, hold=hold)
        return max(span * 1e3, 1.0) / times, hidden  # shorter than an event's step is not nothing


def repeats(span_us: float, launch_us: float, hold_us: float) -> int:
    """How many in a row make a sample of `SAMPLE_US`, and can be launched within half a hold."""
    count = SAMPLE_US / max(span_us, SAMPLE_US / MOST_REPEATS)
    return max(1, round(min(count, hold_us / 2 / max(launch_us, 0.1))))


def label(engine: str, graph: bool) -> str:
    """The engine's name, and whether it launches a graph."""
    return f"{engine} (graph)" if graph else engine


def reason(error: Exception) -> str:
    """The error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
