"""Measuring: engines take turns in short slices until each has enough samples and time."""

import contextlib
import gc
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lenet_bench.result import LatencyResult
from lenet_runtime.artifact import Manifest
from lenet_runtime.errors import BackendUnavailable, InputError, expected_one_of

Engine = Callable[[NDArray[np.float32]], NDArray[np.float32]]
Images = NDArray[np.float32]

INPUT_MODES = ("rotating", "hot", "cold")
SLICE_SECONDS = 0.01
# Sixteen inputs of batch 1 are 64 KiB, twice an L1 cache; larger batches need fewer to be as much.
INPUTS = 16
# A sample shorter than this many steps of the clock would be mostly rounding.
CLOCK_STEPS = 100
# More than the last-level cache of most servers' cores can reach.
SWEEP_BYTES = 2**26


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
        min_seconds: The least time to measure each engine at each batch size.
        min_iterations: The least number of samples.
        warmup_seconds: The least time to warm up; up to four times that while latency still falls.
        inputs: ``rotating`` through fresh arrays, ``hot`` on a single one, or ``cold``: the
            caches are swept before each call.
        seed: The seed of the inputs and of the order of turns.
        image_shape: Channels, height and width of an image.
    """

    min_seconds: float = 0.5
    min_iterations: int = 50
    warmup_seconds: float = 0.1
    inputs: str = "rotating"
    seed: int = 0
    image_shape: tuple[int, int, int] = (1, 32, 32)

    def __post_init__(self) -> None:
        if self.inputs not in INPUT_MODES:
            raise InputError(f"inputs: {expected_one_of(INPUT_MODES, self.inputs)}")
        # Written so that NaN fails too.
        times = 0 < self.min_seconds < math.inf and 0 <= self.warmup_seconds < math.inf
        if not times or self.min_iterations < 1:
            raise InputError(f"expected positive, finite times and iterations, found {self}")

    def share_done(self, seconds: float, count: int) -> float:
        """Share of both the time and the samples that were asked for."""
        return min(seconds / self.min_seconds, count / self.min_iterations)


def measure(  # noqa: PLR0917  named by its callers
    engines: Mapping[str, Engine],
    batch_sizes: Sequence[int],
    settings: Settings | None = None,
    progress: Callable[[str, float], None] = lambda step, done: None,
    keep: Callable[[LatencyResult], None] = lambda result: None,
    stop: Callable[[], bool] = lambda: False,
) -> list[LatencyResult]:
    """Time every engine at every batch size.

    Args:
        engines: The engines by name, each from float32 images ``(N, C, H, W)`` to float32 logits
            ``(N, K)``.
        batch_sizes: Images in a call.
        settings: How to measure.
        progress: Called with the step and the share done, 0 to 1.
        keep: Called with each result as soon as it is whole, so that an interrupted run still
            has what it measured; the rounds that were whole by then are a result, too.
        stop: Asked after each round; once it says True, what was measured is kept and that is all.

    Raises:
        InputError: There is no engine, no batch size, or a batch size below 1.
    """
    if not engines or not batch_sizes or min(batch_sizes) < 1:
        raise InputError(
            "expected an engine and batch sizes of 1 or more, "
            f"found engines {list(engines)} and batch sizes {list(batch_sizes)}"
        )
    settings, results = settings or Settings(), []
    for index, size in enumerate(batch_sizes):
        inputs = make_inputs(size, settings)

        def report(share: float, index: int = index, size: int = size) -> None:
            progress(f"batch {size}", (index + share) / len(batch_sizes))

        timers = {name: _Timer(engine, inputs, settings) for name, engine in engines.items()}
        try:
            _take_turns(list(timers.values()), settings, report, stop)
        finally:
            rounds = min(len(timer.rounds) for timer in timers.values())
            for name, timer in timers.items() if rounds else ():
                result = timer.result(name, size, rounds)
                keep(result)
                results.append(result)
        if stop():
            break
    return results


def require_timed(manifest: Manifest) -> None:
    """Raise `BackendUnavailable` for code whose time on this machine says nothing of its own."""
    if manifest.requirements.target == "cortex-m":
        raise BackendUnavailable(
            "the time that a microcontroller's code takes here says nothing of one; "
            "python -m benchmarks.microcontroller counts its instructions"
        )


def make_inputs(batch_size: int, settings: Settings) -> list[Images]:
    """Unit noise: one array where the input is hot, else as many as overflow the L1 cache."""
    noise = np.random.default_rng(settings.seed)
    count = 1 if settings.inputs == "hot" else max(2, INPUTS // batch_size)
    shape = (batch_size, *settings.image_shape)
    return [noise.standard_normal(shape, np.float32) for _ in range(count)]


def _take_turns(
    order: "list[_Timer]",
    settings: Settings,
    report: Callable[[float], None],
    stop: Callable[[], bool],
) -> None:
    random = np.random.default_rng(settings.seed)
    with no_collection():
        for timer in order:
            timer.warm_up()
        while True:
            random.shuffle(order)
            for timer in order:
                timer.slice()
            share = min(timer.share_done() for timer in order)
            report(min(share, 1.0))
            if share >= 1 or stop():
                break


class _Timer:
    """One engine's samples at one batch size."""

    def __init__(self, engine: Engine, inputs: Sequence[Images], settings: Settings) -> None:
        self.rounds: list[NDArray[np.float64]] = []
        self.calls_per_sample = 1
        self.warm = False
        self._engine, self._inputs, self._settings = engine, inputs, settings
        self._turn = self._count = self._preempted = 0
        self._preemptions = preemption_counter()
        self._seconds = 0.0

    def warm_up(self) -> None:
        """Run until the engine has settled; then choose `calls_per_sample`."""
        self.warm, lowest = settle(lambda: np.median(self._samples()), self._settings)
        self._preempted = 0
        if self._settings.inputs != "cold":  # where only the first call of a sample would be cold
            self.calls_per_sample = calls_per_sample(lowest)

    def slice(self) -> None:
        """One turn: a call that is not counted, then samples for a slice of time."""
        start = time.perf_counter()
        if self._settings.inputs != "cold":
            self._engine(self._next())
        samples = self._samples()
        self._count += len(samples)
        self._seconds += time.perf_counter() - start
        self.rounds.append(samples)

    def share_done(self) -> float:
        """See `Settings.share_done`."""
        return self._settings.share_done(self._seconds, self._count)

    def result(self, name: str, batch_size: int, rounds: int) -> LatencyResult:
        """The first so many rounds, which every engine has."""
        share = self._preempted / self._count if self._preemptions else None
        taken = tuple(self.rounds[:rounds])
        return LatencyResult(name, batch_size, taken, self.calls_per_sample, self.warm, share)

    def _samples(self) -> NDArray[np.float64]:
        clock, engine, calls = time.perf_counter_ns, self._engine, self.calls_per_sample
        samples: list[float] = []
        cold = self._settings.inputs == "cold"
        preemptions = self._preemptions or (lambda: 0)
        end = clock() + int(SLICE_SECONDS * 1e9)
        while not samples or clock() < end:
            turn = [self._next() for _ in range(calls)]
            if cold:
                sweep_caches()
            before = preemptions()
            start = clock()
            for images in turn:
                engine(images)
            samples.append(max(clock() - start, 1) / calls)
            self._preempted += preemptions() != before
        return np.array(samples, np.float64)

    def _next(self) -> Images:
        self._turn += 1
        return self._inputs[self._turn % len(self._inputs)]


def settle(
    slice_median: Callable[[], float | np.floating], settings: Settings
) -> tuple[bool, float]:
    """Warm up: run slices until their median is no longer 2% below the lowest one before.

    Args:
        slice_median: Runs a slice and returns the median of its samples.
        settings: The time that the warm-up takes at least, and a quarter of what it takes at most.

    Returns:
        Whether it settled in time, and the lowest median.
    """
    settled, lowest, start = False, math.inf, time.perf_counter()
    while not settled or time.perf_counter() - start < settings.warmup_seconds:
        median = float(slice_median())
        settled, lowest = median >= 0.98 * lowest, min(median, lowest)
        if time.perf_counter() - start > 4 * settings.warmup_seconds:
            break
    return settled, lowest


def preemption_counter() -> Callable[[], int] | None:
    """What counts how often this thread had to yield its CPU; None where the system does not."""
    try:
        from resource import RUSAGE_THREAD, getrusage
    except ImportError:  # Linux alone has it
        return None
    return lambda: getrusage(RUSAGE_THREAD).ru_nivcsw


def calls_per_sample(call_ns: float) -> int:
    """How many calls of that length make a sample of `CLOCK_STEPS` steps of the clock."""
    step = max(time.get_clock_info("perf_counter").resolution * 1e9, clock_step_ns())
    # A call that no reading of the clock can see takes less than a step, not no time at all.
    return max(1, round(CLOCK_STEPS * step / max(call_ns, step / CLOCK_STEPS)))


def clock_step_ns() -> float:
    """The smallest step that the clock was seen to take; its call alone costs about as much."""
    clock = time.perf_counter_ns
    readings = [clock() for _ in range(1000)]
    steps = [b - a for a, b in itertools.pairwise(readings) if b > a]
    return float(min(steps, default=1))


_sweep = np.zeros(0, np.uint8)


def sweep_caches() -> None:
    """Write through more memory than the caches hold, so that nothing of the engine is left."""
    global _sweep  # noqa: PLW0603  allocated once, on the first cold measurement
    if not len(_sweep):
        _sweep = np.zeros(SWEEP_BYTES, np.uint8)
    _sweep[::64] += 1


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Keep Python's garbage collector off: a collection would land on whoever is running."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
