"""Who takes part in a run, and measuring them: whole calls, steps, cold starts, scaling."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import lenet_runtime
from lenet_bench import coldstart, scaling
from lenet_bench.fingerprint import fingerprint
from lenet_bench.foreign import OnnxFile
from lenet_bench.gpu.harness import DeviceHarness, Hooks
from lenet_bench.harness import Engine, Settings, measure
from lenet_bench.report import Run, describe, engine_name
from lenet_bench.result import LatencyResult
from lenet_runtime.backends.protocol import Predictor
from lenet_runtime.errors import InputError
from lenet_runtime.images.preprocess import Preprocessing, centred, to_batch
from lenet_runtime.session import Session

EAGER = "eager"
DIGITS = tuple("0123456789")
_MOST_AT_ONCE = 500  # digits in a call that classifies them
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Network:
    """What an engine takes and answers.

    Attributes:
        image_shape: Channels, height and width of an image.
        labels: The class of each answer.
        preprocessing: How pixels become the input.
        batch_size: The only batch size; None for any.
    """

    image_shape: tuple[int, int, int]
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    batch_size: int | None = None


LENET = Network((1, 32, 32), DIGITS, Preprocessing())


@dataclass(frozen=True)
class Contender:
    """One engine of a run.

    Attributes:
        name: The engine's name, unique in the run.
        run: The whole call, from float32 images ``(N, C, H, W)`` to logits ``(N, K)``.
        details: What the report says of the engine.
        load: Arguments of `lenet_runtime.load` that make the session again; None for others.
        predictor: The engine without checks, whose steps are timed on a GPU.
        network: What it takes and answers.
    """

    name: str
    run: Engine
    details: dict[str, Any]
    load: dict[str, Any] | None
    predictor: Predictor
    network: Network = LENET

    def right(self, digits: NDArray[np.uint8], labels: NDArray[np.uint8]) -> int | None:
        """How many digits ``(N, 28, 28)`` it classifies rightly.

        None where its classes are not the ten digits, or its images not grey.
        """
        network = self.network
        if set(network.labels) != set(DIGITS) or network.image_shape[0] != 1:
            return None
        size, right = network.batch_size or min(len(digits), _MOST_AT_ONCE), 0
        for start in range(0, len(digits), size):
            part, known = digits[start : start + size], labels[start : start + size]
            pixels = centred(np.resize(part, (size, *part.shape[1:])), *network.image_shape[1:])
            images = to_batch(pixels, network.preprocessing, network.image_shape)
            answers = self.run(images)[: len(part)].argmax(axis=1)
            right += sum(network.labels[a] == str(d) for a, d in zip(answers, known, strict=True))
        return right


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
        name, manifest = name or engine_name(session), session.manifest
        if any(other.name == name for other in self.contenders):
            name = f"{name}: {session.artifact.path}"
        network = Network(
            manifest.image_shape, manifest.labels, manifest.preprocessing, manifest.batch_size
        )
        self.contenders.append(
            Contender(name, session.run, describe(session), load, session.predictor, network)
        )

    def add_file(self, path: Path, threads: int, suffix: str = "") -> Predictor:
        """Let an ONNX file take part, on ONNX Runtime as it is; the caller closes the predictor."""
        peer = OnnxFile(path, threads)
        details = {
            "backend": "onnxruntime", "format": "onnx", "precision": None, "threads": threads,
            "device": "cpu", "artifact": path.name, "digest": peer.sha256, "weights_sha256": None,
        }  # fmt: skip
        labels = tuple(map(str, range(peer.classes)))
        network = Network(peer.image_shape, labels, Preprocessing(), peer.batch_size)
        name = f"onnxruntime: {path.name}{suffix}"
        if any(other.name == name for other in self.contenders):
            name = f"onnxruntime: {path}{suffix}"
        self.contenders.append(Contender(name, peer.run, details, None, peer, network))
        return peer

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Of all engines.

        Raises:
            InputError: They take images of different shapes.
        """
        shapes: dict[tuple[int, int, int], str] = {}
        for contender in self.contenders:
            shapes.setdefault(contender.network.image_shape, contender.name)
        if len(shapes) > 1:
            raise InputError(
                "expected engines that take the same images, found "
                + ", ".join(f"{shape} of {name}" for shape, name in shapes.items())
                + "; time them in runs of their own"
            )
        return next(iter(shapes))

    def judge(self, digits: NDArray[np.uint8], labels: NDArray[np.uint8]) -> None:
        """Note in each engine's details how many of these digits it classifies rightly."""
        for contender in self.contenders:
            right = contender.right(digits, labels)
            of = None if right is None else len(digits)
            contender.details.update(right=right, digits=of)


def unmeasured(field: Field, settings: Settings, device: str, data_set: str | None = None) -> Run:
    """The run before anything was measured: who takes part, where, and how."""
    return Run(
        settings=settings,
        fingerprint=fingerprint(device),
        results=(),
        engines={contender.name: contender.details for contender in field.contenders},
        baseline=field.baseline,
        skipped=tuple(field.skipped),
        data_set=data_set,
    )


def measure_calls(run: Run, field: Field, batch_sizes: Sequence[int], progress: Progress) -> Run:
    """Time whole calls of every engine; Ctrl-C ends it with what was measured.

    An engine of one batch size takes part in that one alone.

    Raises:
        InputError: No engine takes any of the batch sizes.
    """
    results: list[LatencyResult] = []
    interrupted, skipped = False, list(run.skipped)
    for c in field.contenders:
        if c.network.batch_size not in (None, *batch_sizes):
            reason = f"it takes batches of {c.network.batch_size} images alone; see --batch-sizes"
            skipped.append({"engine": c.name, "reason": reason})
    try:
        for index, size in enumerate(batch_sizes):
            able = (c for c in field.contenders if c.network.batch_size in (None, size))
            calls = {contender.name: contender.run for contender in able}

            def report(step: str, share: float, index: int = index) -> None:
                progress(step, (index + share) / len(batch_sizes))

            if calls:
                measure(calls, [size], run.settings, report, keep=results.append)
    except KeyboardInterrupt:
        interrupted = True
    if not results and not interrupted:
        raise InputError("; ".join(f"{s['engine']}: {s['reason']}" for s in skipped))
    return dataclasses.replace(
        run, results=tuple(results), skipped=tuple(skipped), interrupted=interrupted
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
