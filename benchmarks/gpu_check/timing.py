"""Latency of all that passed parity, side by side in one process, one batch size after the other.

The result is written after each batch size, and who is at work stands in a file of its own, so that
a process that dies leaves what it measured and the name of who brought it down.
"""

import dataclasses
import gc
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lenet_bench.gpu.device import Hooks
from lenet_bench.gpu.staged import with_stages

from benchmarks.gpu_check import GRAPHS_UP_TO
from benchmarks.gpu_check.engines import Engine, Runner, opened, unit_noise
from benchmarks.gpu_check.steps import tidy
from lenet_bench import Settings, fingerprint, harness
from lenet_bench.gpu import device, gpu_state
from lenet_bench.gpu.result import DeviceSection, uses_graph
from lenet_bench.gpu.stopwatch import CudaStopwatch
from lenet_bench.gpu.stopwatch import opened as stopwatch_opened
from lenet_bench.report import Run
from lenet_runtime import cuda, devices

LARGE = 8192  # images, from which on fewer samples do
BASELINE = "eager"


def settings_of(size: int, *, quick: bool) -> Settings:
    """Short, because there are many engines; the record keeps every sample."""
    if quick:
        return Settings(0.02, 5, 0.02)
    return Settings(0.1, 8, 0.02) if size >= LARGE else Settings(0.1, 20, 0.05)


class Timing:
    """One attempt.

    Args:
        arguments: ``engines``, ``sizes``, ``device``, ``seconds``, ``doing`` (a path), ``quick``.
        write: called with the document so far.
    """

    def __init__(self, arguments: dict[str, Any], write: Callable[[dict[str, Any]], None]) -> None:
        self._device, self._quick = str(arguments["device"]), bool(arguments["quick"])
        self._sizes = [int(size) for size in arguments["sizes"]]
        self._engines = [Engine(**one) for one in arguments["engines"]]
        self._end = time.monotonic() + float(arguments["seconds"])
        self._doing_file, self._write = Path(arguments["doing"]), write
        self._runners: dict[str, Runner] = {}
        self._skipped: list[dict[str, str]] = []
        self._section = DeviceSection(self._device)
        self._results: list[Any] = []
        self._fingerprint = fingerprint(self._device)

    def measure(self) -> None:
        """Load everything, then one batch size after the other until time is up."""
        gpu = cuda.gpu(devices.parse(self._device).index)
        with ExitStack() as stack:
            self._load(stack)
            clock = stack.enter_context(stopwatch_opened(gpu.index))
            self._section = dataclasses.replace(
                self._section, bytes_per_second=clock.bytes_per_second, copy_bytes=clock.copy_bytes
            )
            watch = gpu_state.Watch(gpu)
            with watch:
                for index, size in enumerate(self._sizes):
                    self._batch(size, clock, self._until(len(self._sizes) - index))
                    self._record(watch.so_far())
            self._record(watch.summary)

    def _until(self, sizes_left: int) -> float:
        now = time.monotonic()
        return now + max(0.0, self._end - now) / sizes_left * (1 if sizes_left == 1 else 1.5)

    def _load(self, stack: ExitStack) -> None:
        for engine in self._engines:
            self._doing(engine.name)
            try:
                self._runners[engine.name] = stack.enter_context(opened(engine))
            except Exception as error:  # engines raise anything
                self._skip(engine.name, f"loading: {type(error).__name__}: {tidy(str(error))}")

    def _batch(self, size: int, clock: CudaStopwatch, until: float) -> None:
        if time.monotonic() >= self._end:
            self._skip(f"batch {size}", "no time was left for it")
            return
        settings = settings_of(size, quick=self._quick)
        graphs = (False, True) if size <= GRAPHS_UP_TO else (False,)

        def stop() -> bool:
            return time.monotonic() >= until

        hooks = Hooks(skip=self._skip, doing=self._doing, stop=stop)
        predictors = {name: runner.predictor for name, runner in self._runners.items()}
        able, _ = with_stages(predictors)
        steps = device.measure(able, [size], clock, settings, hooks, graphs)
        self._section = dataclasses.replace(
            self._section,
            results=self._section.results + tuple(steps),
            uses_graph=self._section.uses_graph
            + tuple(entry for name, it in able.items() for entry in uses_graph(name, it, size)),
        )
        self._results += self._whole_calls(size, settings, stop)
        gc.collect()

    def _whole_calls(self, size: int, settings: Settings, stop: Callable[[], bool]) -> list[Any]:
        """`Session.run` of those that can do this size, by the host's clock."""
        runs, images = {}, unit_noise(size)
        for name, runner in self._runners.items():
            self._doing(name)
            try:
                runner.run(images)
            except Exception as error:  # engines raise anything
                reason = f"batch {size}: {type(error).__name__}: {tidy(str(error))}"
                self._skip(name, reason)
            else:
                runs[name] = runner.run
        self._doing("")
        return harness.measure(runs, [size], settings, stop=stop) if runs else []

    def _doing(self, name: str) -> None:
        self._doing_file.write_text(name)

    def _skip(self, engine: str, reason: str) -> None:
        self._skipped.append({"engine": engine, "reason": tidy(reason)})

    def _record(self, state: dict[str, Any]) -> None:
        baseline = BASELINE if BASELINE in self._runners else next(iter(self._runners), None)
        run = Run(
            settings=settings_of(1, quick=self._quick),
            fingerprint=self._fingerprint,
            results=tuple(self._results),
            engines={e.name: describe(e) for e in self._engines if e.name in self._runners},
            baseline=baseline,
            skipped=tuple(self._skipped),
            device=dataclasses.replace(self._section, state=state),
        )
        self._write(run.to_dict())


def describe(engine: Engine) -> dict[str, Any]:
    """What the record says of an engine."""
    return {
        "backend": engine.backend,
        "precision": engine.precision,
        "device": engine.device,
        "threads": None,
    }


def latency(arguments: dict[str, Any], write: Callable[[dict[str, Any]], None]) -> None:
    """See `Timing`."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    Timing(arguments, write).measure()
