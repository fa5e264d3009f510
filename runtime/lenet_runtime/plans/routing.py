"""Following a plan: each call goes to the engine that won at the nearest measured batch size."""

import bisect
import itertools
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_runtime.artifact import Artifact
from lenet_runtime.backends import Predictor
from lenet_runtime.errors import ArtifactError
from lenet_runtime.plans import chunks
from lenet_runtime.plans import plan as plans
from lenet_runtime.session import Session, all_finite, load

CheckedRun = Callable[[NDArray[np.float32]], NDArray[np.float32] | None]


class PlanWarning(UserWarning):
    """A plan does not fit this machine, and the default runs instead."""


def load_fastest(
    folder: Path, device: str, threads: int | None, trust: bool, *, check_finite: bool
) -> Session:
    """`lenet_runtime.load` with ``backend="fastest"``; see there.

    Raises:
        ArtifactError: there is no plan, or an artifact of it is gone, changed or not trusted.
        PlanWarning: (a warning) the plan was made elsewhere, so the default runs.
    """
    plan = plans.read(folder)
    arguments: dict[str, Any] = {
        "device": device, "threads": plan.threads, "trust": trust, "check_finite": check_finite,
    }  # fmt: skip
    unfit = _unfit(plan, threads)
    if unfit:
        return _default(folder, unfit, arguments | {"threads": threads})
    with ExitStack() as stack:
        sessions: dict[tuple[str, str], Session] = {}
        for entry in plan.entries:
            key = (entry.artifact, entry.backend)
            if key not in sessions:
                path = folder / entry.artifact
                if Artifact.open(path).digest != entry.digest:
                    raise ArtifactError(
                        f"{path}: not the artifact that the plan was measured with; "
                        f"run lenet-deploy tune {folder} again"
                    )
                session = load(path, entry.backend, **arguments)
                sessions[key] = stack.enter_context(session)
        require_one_network(list(sessions.values()))
        routes = [
            (e.batch_size, chunks.cut(sessions[e.artifact, e.backend].predictor, e.chunk))
            for e in plan.entries
        ]
        first = next(iter(sessions.values()))
        router = Router(routes, stack.pop_all())
    return Session(
        router,
        first.artifact,
        "fastest",
        device=device,
        threads=plan.threads,
        check_finite=check_finite,
    )


def _unfit(plan: plans.Plan, threads: int | None) -> list[str]:
    here = plans.machine()
    unfit = [
        f"{key}: {plan.machine.get(key)!r} in the plan, {here.get(key)!r} here"
        for key in sorted(set(here) | set(plan.machine))
        if here.get(key) != plan.machine.get(key)
    ]
    if threads not in (None, plan.threads):
        unfit.append(f"threads: {plan.threads} in the plan, {threads} asked for")
    return unfit


def _default(folder: Path, unfit: Sequence[str], arguments: Mapping[str, Any]) -> Session:
    """The first ONNX artifact of the folder, announced; ONNX is data and runs anywhere."""
    misfit = f"{folder / plans.PLAN_NAME} does not fit this machine ({'; '.join(unfit)})"
    for path in plans.artifacts_in(folder):
        artifact = Artifact.open(path)
        if artifact.manifest.format == "onnx" and artifact.manifest.batch_size is None:
            warnings.warn(
                f"{misfit}, so {path} runs for every batch size; "
                f"run lenet-deploy tune {folder} here",
                PlanWarning,
                stacklevel=4,
            )
            return load(path, "auto", **arguments)
    raise ArtifactError(
        f"{misfit}, and {folder} holds no onnx artifact with a dynamic batch to run instead; "
        f"run lenet-deploy tune {folder} here"
    )


def require_one_network(sessions: Sequence[Session]) -> None:
    """All artifacts of a plan must be the same network, or answers would depend on the batch."""
    first = sessions[0].manifest
    for session in sessions[1:]:
        other = session.manifest
        same = (other.weights_sha256, other.precision, other.preprocessing, other.labels)
        if same != (first.weights_sha256, first.precision, first.preprocessing, first.labels):
            raise ArtifactError(
                f"{session.artifact.path} and {sessions[0].artifact.path} are of different "
                "networks or precisions; keep the artifacts of one network in a folder, and run "
                "lenet-deploy tune again"
            )


class Router:
    """A predictor that sends each batch to the predictor that is fastest at its size."""

    def __init__(self, routes: Sequence[tuple[int, Predictor]], owned: ExitStack) -> None:
        self._owned = owned
        self._runs = [predictor.run for _, predictor in routes]
        self._checked_runs = [_checked_run(predictor) for _, predictor in routes]
        sizes = [size for size, _ in routes]
        # Cost grows with the batch, so the nearest size is the nearest by ratio.
        self._bounds = [math.sqrt(a * b) for a, b in itertools.pairwise(sizes)]

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `lenet_runtime.backends.Predictor.run`."""
        return self._runs[bisect.bisect_right(self._bounds, len(images))](images)

    def run_checked(self, images: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """See `lenet_runtime.backends.CheckingPredictor.run_checked`."""
        return self._checked_runs[bisect.bisect_right(self._bounds, len(images))](images)

    def close(self) -> None:
        """Close every session of the plan."""
        self._owned.close()


def _checked_run(predictor: Predictor) -> CheckedRun:
    """The engine's own check of the images, or Session's."""

    def run_checked(images: NDArray[np.float32]) -> NDArray[np.float32] | None:
        return predictor.run(images) if all_finite(images, len(images)) else None

    own: CheckedRun = getattr(predictor, "run_checked", run_checked)
    return own
