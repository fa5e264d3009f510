"""Measuring on a GPU: engines that can be timed step by step take turns, as on the host.

An engine samples each figure in turn until a slice of time is over, then the next one has its
slice, in a new random order each round. An engine that fails is left out with its reason, and the
others go on.
"""

import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lenet_bench import harness
from lenet_bench.gpu import state, stopwatch
from lenet_bench.gpu.result import DeviceResult, DeviceSection
from lenet_bench.gpu.steps import StepTimer, label, reason
from lenet_bench.gpu.stopwatch import Stopwatch
from lenet_bench.harness import Settings, make_inputs
from lenet_runtime import cuda, devices
from lenet_runtime.backends.protocol import Predictor, Stages

GRAPHS = (False, True)


@dataclass(frozen=True)
class Hooks:
    """What a measurement tells its caller.

    Attributes:
        skip: Called with the engine's name and the reason why it, or one of its modes, is left
            out from here on.
        doing: Called with the engine's name before it is given anything to do, so that the one
            that brings the process down can be told.
        stop: Asked after each round; once it says True, what was measured is kept and that is all.
        progress: Called with the step and the share done, 0 to 1.
    """

    skip: Callable[[str, str], None] = lambda engine, reason: None
    doing: Callable[[str], None] = lambda engine: None
    stop: Callable[[], bool] = lambda: False
    progress: Callable[[str, float], None] = lambda step, share: None


class DeviceHarness:
    """A GPU that is open for measuring: its stopwatch, its power and clocks, and what was measured.

    Args:
        device: The GPU's name, ``cuda:N``.

    Raises:
        BackendUnavailable: There is no such GPU.
        DeviceMemoryError: The GPU has no memory left for the measurement itself.
    """

    def __init__(self, device: str) -> None:
        self._device, self._stack = device, ExitStack()
        self._results: list[DeviceResult] = []
        self._uses_graph: list[tuple[str, int, bool]] = []
        self._skipped: list[dict[str, str]] = []

    def __enter__(self) -> "DeviceHarness":
        gpu = cuda.gpu(devices.parse(self._device).index)
        with ExitStack() as stack:
            self._watch = stack.enter_context(state.Watch(gpu))
            self._clock = stack.enter_context(stopwatch.opened(gpu.index))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def measure(
        self,
        predictors: Mapping[str, Predictor],
        batch_sizes: Sequence[int],
        settings: Settings,
        hooks: Hooks | None = None,
        graphs: Sequence[bool] = GRAPHS,
    ) -> None:
        """Time the steps of those engines that have steps; the others are listed as skipped.

        Args:
            predictors: The engines by name.
            batch_sizes: Images in a batch.
            settings: How to measure; `Settings.inputs` says nothing here.
            hooks: What the caller is told.
            graphs: Without a CUDA graph, with one, or both.
        """
        caller = hooks or Hooks()

        def skip(engine: str, reason: str) -> None:
            self._skipped.append({"engine": engine, "reason": reason})
            caller.skip(engine, reason)

        able = {name: one for name, one in predictors.items() if one.stages is not None}
        for name, predictor in predictors.items():
            if name not in able:
                skip(name, "it cannot be timed step by step")
                continue
            for size in batch_sizes:
                uses = predictor.uses_graph(size)
                self._uses_graph += [] if uses is None else [(name, size, uses)]
        hooks = dataclasses.replace(caller, skip=skip)
        # One by one, so that Ctrl-C leaves what is whole.
        for result in measure(able, batch_sizes, self._clock, settings, hooks, graphs):
            self._results.append(result)

    def section(self) -> DeviceSection:
        """What was measured so far; whole once the harness is closed."""
        return DeviceSection(
            self._device,
            tuple(self._results),
            self._clock.bytes_per_second,
            self._clock.copy_bytes,
            self._watch.summary,
            tuple(self._uses_graph),
            tuple(self._skipped),
        )


def measure(  # noqa: PLR0917  named by its callers
    engines: Mapping[str, Predictor],
    batch_sizes: Sequence[int],
    clock: Stopwatch,
    settings: Settings,
    hooks: Hooks,
    graphs: Sequence[bool] = GRAPHS,
) -> Iterator[DeviceResult]:
    """Time the steps of every engine at every batch size; see `DeviceHarness.measure`."""
    for index, size in enumerate(batch_sizes):
        images, timers = make_inputs(size, settings)[0], []

        def report(share: float, index: int = index, size: int = size) -> None:
            hooks.progress(f"batch {size} on the GPU", (index + share) / len(batch_sizes))

        try:
            for graph in graphs:
                for name, engine in engines.items():
                    stages = _stages(name, engine, images, graph, hooks)
                    if stages is not None:
                        timers.append(StepTimer(name, graph, size, stages, clock, settings))
            yield from _take_turns(timers, settings, hooks, report)
        finally:
            for timer in timers:
                timer.close()
            _give_back_memory()
        if hooks.stop():
            break


def _stages(
    name: str, engine: Predictor, images: NDArray[np.float32], graph: bool, hooks: Hooks
) -> Stages | None:
    """The engine's steps; None, and the caller is told why, where it has none."""
    where = f"batch {len(images)}"
    if hooks.stop():
        hooks.skip(label(name, graph), f"{where}: no time was left for it")
        return None
    hooks.doing(name)
    try:
        stages = engine.stages(images, graph=graph) if engine.stages else None
    except Exception as error:  # an engine may raise anything
        hooks.skip(label(name, graph), f"{where}: {reason(error)}")
        return None
    if stages is None:
        mode = "with" if graph else "without"
        hooks.skip(label(name, graph), f"{where}: it has no steps {mode} a graph here")
    return stages


def _take_turns(
    timers: list[StepTimer], settings: Settings, hooks: Hooks, report: Callable[[float], None]
) -> Iterator[DeviceResult]:
    """Warm up, then slices in a new random order each round; yields the results of all able."""
    able, random = _each(timers, StepTimer.warm_up, hooks), np.random.default_rng(settings.seed)
    order = list(able)
    with harness.no_collection():
        while order:
            random.shuffle(order)
            order = _each(order, StepTimer.slice, hooks)
            share = min((timer.share_done() for timer in order), default=1.0)
            report(min(share, 1.0))
            if share >= 1 or hooks.stop():
                break
    yield from [timer.result() for timer in able if timer in order]


def _each(
    timers: Sequence[StepTimer], step: Callable[[StepTimer], None], hooks: Hooks
) -> list[StepTimer]:
    """Let each take the step; returns those that did not fail."""
    able = []
    for timer in timers:
        hooks.doing(timer.engine)
        try:
            step(timer)
        except Exception as error:  # an engine may raise anything
            hooks.skip(
                label(timer.engine, timer.graph), f"batch {timer.batch_size}: {reason(error)}"
            )
            timer.close()
        else:
            able.append(timer)
    return able


def _give_back_memory() -> None:
    """PyTorch keeps what it freed for itself; the other engines' next batch needs it."""
    torch = sys.modules.get("torch")  # whoever runs on it has imported it
    if torch is not None:
        try:
            torch.cuda.empty_cache()
        except RuntimeError as error:  # PyTorch refuses it after a capture that failed
            sys.stderr.write(f"memory that PyTorch holds stays with it ({reason(error)})\n")
