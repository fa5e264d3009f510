"""Who takes part in a run, and measuring them: whole calls, steps, cold starts, scaling."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import lenet_runtime
from lenet_bench import coldstart, scaling
from lenet_bench.fingerprint import fingerprint
from lenet_bench.gpu.harness import DeviceHarness, Hooks
from lenet_bench.harness import Engine, Settings, measure
from lenet_bench.report import Run, describe, engine_name
from lenet_bench.result import LatencyResult
from lenet_runtime.backends.protocol import Predictor
from lenet_runtime.session import Session

EAGER = "eager"
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Contender:
    """One engine of a run.

    Attributes:
        name: The engine's name, unique in the run.
        run: The whole call, from float32 images ``(N, 1, 32, 32)`` to logits ``(N, 10)``.
        details: What the report says of the engine.
        load: Arguments of `lenet_runtime.load` that make the session again; None for eager.
        predictor: The engine without checks, whose steps are timed on a GPU.
    """

    name: str
    run: Engine
    details: dict[str, Any]
    load: dict[str, Any] | None
    predictor: Predictor


@dataclass
class Field:
    """Who takes part, and who cannot and why.

    Attributes:
        contenders: The engines in the order of the command line.
        skipped: The ``engine`` and the ``reason`` of each of the others.
    """

    contenders: list[Contender] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)

    @property
    def baseline(self) -> str | None:
        """Eager PyTorch at the first number of threads; without PyTorch the first engine."""
        names = [contender.name for contender in self.contenders]
        eager = [name for name in names if name.split(" ")[0] == EAGER]
        return next(iter(eager or names), None)

    def skip(self, engine: str, reason: str) -> None:
        """List an engine that does not take part."""
        self.skipped.append({"engine": engine, "reason": reason})

    def add(self, session: Session, load: dict[str, Any], name: str | None = None) -> None:
        """Let a session take part; one whose name is taken is told apart by its folder."""
        name = name or engine_name(session)
        if any(other.name == name for other in self.contenders):
            name = f"{name}: {session.artifact.path}"
        contender = Contender(name, session.run, describe(session), load, session.predictor)
        self.contenders.append(contender)


def measure_calls(
    field: Field, batch_sizes: Sequence[int], settings: Settings, device: str, progress: Progress
) -> Run:
    """Time whole calls of every engine; Ctrl-C ends it with what was measured."""
    results: list[LatencyResult] = []
    interrupted, where = False, fingerprint(device)
    calls = {contender.name: contender.run for contender in field.contenders}
    try:
        measure(calls, batch_sizes, settings, progress, keep=results.append)
    except KeyboardInterrupt:
        interrupted = True
    return Run(
        settings=settings,
        fingerprint=where,
        results=tuple(results),
        engines={contender.name: contender.details for contender in field.contenders},
        baseline=field.baseline,
        skipped=tuple(field.skipped),
        interrupted=interrupted,
    )


def measure_steps(
    run: Run, field: Field, batch_sizes: Sequence[int], device: str, progress: Progress
) -> Run:
    """Time the steps of every engine on a GPU, too; what has no steps is listed in the section.

    Raises:
        BackendUnavailable: There is no such GPU.
        DeviceMemoryError: The GPU has no memory left for the measurement itself.
    """
    predictors = {contender.name: contender.predictor for contender in field.contenders}
    interrupted = False
    with DeviceHarness(device) as gpu:
        try:
            gpu.measure(predictors, batch_sizes, run.settings, Hooks(progress=progress))
        except KeyboardInterrupt:
            interrupted = True
    return dataclasses.replace(run, device=gpu.section(), interrupted=interrupted)


def measure_cold_start(run: Run, field: Field) -> Run:
    """Time fresh processes to their first answer, too."""
    loads = {c.name: c.load for c in field.contenders if c.load is not None}
    return dataclasses.replace(run, cold_start=coldstart.measure(loads))


def measure_scaling(run: Run, field: Field) -> Run:
    """Time throughput over threads, and over callers of one single-threaded session, too.

    Each engine is measured at the largest batch size of the run.
    """
    cores, batch_size = os.cpu_count() or 1, max(run.batch_sizes)
    counts = sorted({2**i for i in range(cores.bit_length())} | {cores})
    rows: list[dict[str, Any]] = []
    once = {(c.load["path"], c.load["backend"]): c for c in reversed(field.contenders) if c.load}
    for contender in reversed(once.values()):
        with ExitStack() as stack:
            runs = {}
            for count in counts:
                session = lenet_runtime.load(**((contender.load or {}) | {"threads": count}))
                runs[count] = stack.enter_context(session).run
            threads = scaling.over_threads(runs, batch_size, run.settings)
            callers = scaling.over_callers(runs[1], counts, batch_size, run.settings)
            rows += [{"engine": contender.name, **row} for row in (*threads, *callers[1:])]
    return dataclasses.replace(run, scaling=tuple(rows))
