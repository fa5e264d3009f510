"""What `lenet-deploy bench` measures: artifacts on backends, with eager PyTorch as base line."""

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import lenet_runtime
from lenet_bench import Engine, Settings, scaling
from lenet_bench.report import describe, engine_name
from lenet_deploy.cache import default_artifact
from lenet_export.formats import FORMATS
from lenet_runtime import cuda, devices
from lenet_runtime.artifact import Artifact
from lenet_runtime.backends import BACKENDS, none_runs
from lenet_runtime.backends.protocol import Predictor
from lenet_runtime.errors import BackendUnavailable, DeployError

EAGER = "eager"


@dataclass(frozen=True)
class Contender:
    """One engine of a run.

    Attributes:
        name: unique in the run.
        run: from float32 images ``(N, 1, 32, 32)`` to logits ``(N, 10)``.
        details: for the report.
        load: arguments of `lenet_runtime.load` that make it again; None for eager.
        predictor: the engine without checks, whose steps are timed on a GPU.
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
        contenders: in the order of the command line.
        skipped: ``engine`` and ``reason`` of the others.
    """

    contenders: list[Contender] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)

    @property
    def baseline(self) -> str | None:
        """Eager PyTorch at the first number of threads; without PyTorch the first engine."""
        names = [contender.name for contender in self.contenders]
        eager = [name for name in names if name.split(" ")[0] == EAGER]
        return next(iter(eager or names), None)


def gather(
    paths: Sequence[Path],
    *,
    backends: Sequence[str],
    device: str,
    threads: Sequence[int],
    trust: bool,
    stack: ExitStack,
    step: Callable[[str], None] = lambda step: None,
) -> Field:
    """Load everything that takes part; sessions are closed by `stack`.

    Args:
        paths: artifacts; none for the bundled network in every format, exported where missing.
        backends: keys of `lenet_runtime.BACKENDS`; ``auto`` for all that run the format.
        device: to run on.
        threads: each engine takes part once for each number.
        trust: allow the named artifacts to run code; the toolkit's own cache is trusted.
        stack: owns the sessions.
        step: told what is loaded.

    Raises:
        BackendUnavailable: there is no such GPU, or no engine can be timed on it.
        DeployError: a named artifact cannot be loaded. Of the bundled ones, those that cannot are
            listed with their reason.
    """
    found, wanted = Field(), devices.parse(device)
    if wanted.kind == "cuda":
        cuda.gpu(wanted.index)
    _add_eager(found, threads, str(wanted))
    given = [(path, trust) for path in dict.fromkeys(paths)]
    given = given or _bundled(found, str(wanted), step)
    for path, trusted in given:
        artifact = Artifact.open(path)
        made = artifact.manifest.format
        if not any(backend.takes(made, device) for backend in BACKENDS.values()):
            found.skipped.append({"engine": str(path), "reason": none_runs(made, device)})
        for name, backend in BACKENDS.items():
            if backend.format != artifact.manifest.format:
                continue
            if name not in backends and not (
                "auto" in backends and backend.takes(backend.format, device)
            ):
                continue
            for count in threads:
                arguments: dict[str, Any] = {
                    "path": str(path), "backend": name, "device": device,
                    "threads": count, "trust": trusted,
                }  # fmt: skip
                step(f"loading {path} on {name}")
                try:
                    session = stack.enter_context(lenet_runtime.load(**arguments))
                except BackendUnavailable as error:
                    found.skipped.append({"engine": name, "reason": str(error)})
                else:
                    found.contenders.append(_contender(session, arguments, found, len(threads)))
    if not any(contender.load for contender in found.contenders):
        reasons = "; ".join(f"{s['engine']}: {s['reason']}" for s in found.skipped)
        raise BackendUnavailable(f"no engine can be timed here; {reasons or 'none was chosen'}")
    return found


def _contender(
    session: lenet_runtime.Session, arguments: dict[str, Any], found: Field, counts: int
) -> Contender:
    name = engine_name(session) + (f" t{session.threads}" if counts > 1 else "")
    if any(other.name == name for other in found.contenders):
        name = f"{name}: {session.artifact.path}"
    return Contender(name, session.run, describe(session), arguments, session.predictor)


def _add_eager(found: Field, threads: Sequence[int], device: str) -> None:
    if find_spec("torch") is None:
        reason = "PyTorch is not installed; pip install 'lenet-deploy[export]'"
        found.skipped.append({"engine": EAGER, "reason": reason})
        return
    from lenet_deploy.training.checkpoint import load_checkpoint
    from lenet_runtime.backends.torch import core

    net = load_checkpoint().requires_grad_(False)
    if device != "cpu":
        from lenet_runtime.backends.torch import torch_cuda

        try:
            torch_cuda.require(device)
        except BackendUnavailable as error:
            found.skipped.append({"engine": EAGER, "reason": str(error)})
            return
        net = net.to(device)
    for count in threads:
        name = EAGER + (f" t{count}" if len(threads) > 1 else "")
        predictor = core.predictor(EAGER, net, device, count, "fp32")
        details = {"backend": EAGER, "precision": "fp32", "threads": count, "device": device}
        found.contenders.append(Contender(name, predictor.run, details, None, predictor))


def _bundled(found: Field, device: str, step: Callable[[str], None]) -> list[tuple[Path, bool]]:
    """The bundled network in every format that can be made here; the others are listed."""
    paths = []
    for name in FORMATS:
        kinds = {kind for b in BACKENDS.values() if b.format == name for kind in b.devices}
        if devices.parse(device).kind not in kinds:
            reason = f"it runs on {' and '.join(sorted(kinds))}, not on {device}"
            found.skipped.append({"engine": name, "reason": reason})
            continue
        try:
            paths.append((default_artifact(name, step, device), True))
        except DeployError as error:
            found.skipped.append({"engine": name, "reason": str(error)})
    return paths


def measure_scaling(
    found: Field, batch_size: int, settings: Settings
) -> tuple[dict[str, Any], ...]:
    """Throughput of each engine over threads, and over callers of one single-threaded session."""
    cores = os.cpu_count() or 1
    counts = sorted({2**i for i in range(cores.bit_length())} | {cores})
    rows: list[dict[str, Any]] = []
    once = {(c.load["path"], c.load["backend"]): c for c in reversed(found.contenders) if c.load}
    for contender in reversed(once.values()):
        with ExitStack() as stack:
            runs = {}
            for count in counts:
                session = lenet_runtime.load(**((contender.load or {}) | {"threads": count}))
                runs[count] = stack.enter_context(session).run
            threads = scaling.over_threads(runs, batch_size, settings)
            callers = scaling.over_callers(runs[1], counts, batch_size, settings)
            rows += [{"engine": contender.name, **row} for row in (*threads, *callers[1:])]
    return tuple(rows)
