"""Measuring on a GPU: engines that can be timed step by step take turns, as on the host.

One sample of each figure is taken in turn until a slice of time is over, then the next engine has
its slice, in a new random order each round; `lenet_bench.gpu.device_result.DeviceResult` says
what the figures are. An engine that fails is left out with its reason, and the others go on.

Images stay where they are in device memory. A hold sweeps the GPU's L2 cache, so the first of the
computations of a sample reads them from memory, and those that are repeated after it read them from
the cache where the batch fits in it (60 MB on an H200), as in a service that just uploaded them.
"""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lenet_bench import harness
from lenet_bench.gpu.device_result import FIGURES, DeviceResult
from lenet_bench.gpu.stopwatch import Stopwatch
from lenet_bench.harness import Settings, make_inputs
from lenet_runtime.backends.protocol import Predictor, Stages

# An event's resolution is about 0.5 us; a sample of this length is good to half a percent.
SAMPLE_US = 100.0
MOST_REPEATS = 100
GRAPHS = (False, True)


@dataclass(frozen=True)
class Hooks:
    """What a measurement tells its caller.

    Attributes:
        keep: called with each result as soon as it is whole.
        skip: called with the engine's name and the reason why it, or one of its modes, is left
            out from here on.
        doing: called with the engine's name before it is given anything to do, so that the one
            that brings the process down can be told.
        stop: asked after each round; once it says True, what was measured is kept and that is all.
        progress: called with the step and the share done, 0 to 1.
    """

    keep: Callable[[DeviceResult], None] = lambda result: None
    skip: Callable[[str, str], None] = lambda engine, reason: None
    doing: Callable[[str], None] = lambda engine: None
    stop: Callable[[], bool] = lambda: False
    progress: Callable[[str, float], None] = lambda step, share: None


def measure(  # noqa: PLR0917  named by its callers
    engines: Mapping[str, Predictor],
    batch_sizes: Sequence[int],
    stopwatch: Stopwatch,
    settings: Settings,
    hooks: Hooks | None = None,
    graphs: Sequence[bool] = GRAPHS,
) -> list[DeviceResult]:
    """Time the steps of every engine at every batch size.

    Args:
        engines: by name.
        batch_sizes: images in a batch.
        stopwatch: see `lenet_bench.gpu.stopwatch`.
        settings: see `Settings`; `Settings.inputs` says nothing here.
        hooks: see `Hooks`.
        graphs: without a CUDA graph, with one, or both.
    """
    hooks, results = hooks or Hooks(), []
    for index, size in enumerate(batch_sizes):
        images = make_inputs(size, settings)[0]

        def report(share: float, index: int = index, size: int = size) -> None:
            hooks.progress(f"batch {size} on the GPU", (index + share) / len(batch_sizes))

        for result in _measure_batch(engines, images, stopwatch, settings, hooks, graphs, report):
            hooks.keep(result)
            results.append(result)
        if hooks.stop():
            break
    return results


def _measure_batch(  # noqa: PLR0917  one caller, which names them
    engines: Mapping[str, Predictor],
    images: NDArray[np.float32],
    stopwatch: Stopwatch,
    settings: Settings,
    hooks: Hooks,
    graphs: Sequence[bool],
    report: Callable[[float], None],
) -> Iterator[DeviceResult]:
    lanes: list[_Lane] = []
    try:
        for graph in graphs:
            for name, engine in engines.items():
                lanes += _made(name, engine, images, graph, stopwatch, settings, hooks)
        lanes = _each(lanes, lambda lane: lane.warm_up(), hooks)
        order, random = list(lanes), np.random.default_rng(settings.seed)
        with harness.no_collection():
            while order:
                random.shuffle(order)
                order = _each(order, lambda lane: lane.slice(), hooks)
                share = min((lane.share_done() for lane in order), default=1.0)
                report(min(share, 1.0))
                if share >= 1 or hooks.stop():
                    break
        yield from [lane.result() for lane in lanes if lane in order]
    finally:
        for lane in lanes:
            lane.close()
        _give_back_memory()


def _made(  # noqa: PLR0917  one caller, which names them
    name: str,
    engine: Predictor,
    images: NDArray[np.float32],
    graph: bool,
    stopwatch: Stopwatch,
    settings: Settings,
    hooks: Hooks,
) -> "list[_Lane]":
    if hooks.stop():
        hooks.skip(_label(name, graph), f"batch {len(images)}: no time was left for it")
        return []
    hooks.doing(name)
    try:
        stages = None if engine.stages is None else engine.stages(images, graph=graph)
    except Exception as error:  # an engine may raise anything
        hooks.skip(_label(name, graph), f"batch {len(images)}: {_reason(error)}")
        return []
    if stages is None:
        mode = "with" if graph else "without"
        hooks.skip(_label(name, graph), f"batch {len(images)}: it has no steps {mode} a graph here")
        return []
    return [_Lane(name, graph, len(images), stages, stopwatch, settings)]


def _each(lanes: "list[_Lane]", step: "Callable[[_Lane], None]", hooks: Hooks) -> "list[_Lane]":
    """Let each take the step; returns those that did not fail."""
    able = []
    for lane in lanes:
        hooks.doing(lane.engine)
        try:
            step(lane)
        except Exception as error:  # an engine may raise anything
            label = _label(lane.engine, lane.graph)
            hooks.skip(label, f"batch {lane.batch_size}: {_reason(error)}")
            lane.close()
        else:
            able.append(lane)
    return able


def _label(name: str, graph: bool) -> str:
    return f"{name} (graph)" if graph else name


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _give_back_memory() -> None:
    """PyTorch keeps what it freed for itself; the other engines' next batch needs it."""
    torch = sys.modules.get("torch")  # whoever runs on it has imported it
    if torch is not None:
        try:
            torch.cuda.empty_cache()
        except RuntimeError as error:  # PyTorch refuses it after a capture that failed
            sys.stderr.write(f"memory that PyTorch holds stays with it ({_reason(error)})\n")


@dataclass(eq=False)
class _Lane:
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
        """Run until the median of a slice is no longer 2% below the one before; then choose
        `repeats`."""
        least, last, samples = self.settings.warmup_seconds, float("inf"), self._new()
        start = time.perf_counter()
        while not self.warm or time.perf_counter() - start < least:
            samples = self._slice()
            median = float(np.median(samples["device_single"]))
            self.warm, last = median >= 0.98 * last, min(median, last)
            if time.perf_counter() - start > 4 * least:
                break
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
        """Share of both the time and the samples that were asked for."""
        settings = self.settings
        return min(self.seconds / settings.min_seconds, self.count / settings.min_iterations)

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
            sys.stderr.write(f"{self.engine}: closing it failed ({_reason(error)})\n")

    def _new(self) -> dict[str, list[float]]:
        return {name: [] for name in FIGURES}

    def _slice(self) -> dict[str, list[float]]:
        """A computation that is not counted, then samples of each figure for a slice of time."""
        samples, end = self._new(), time.perf_counter() + harness.SLICE_SECONDS
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
    wanted = SAMPLE_US / max(span_us, SAMPLE_US / MOST_REPEATS)
    if hold_us:
        wanted = min(wanted, hold_us / 2 / max(launch_us, 0.1))
    return max(1, round(wanted))
