"""Making a plan: every artifact of a folder, on every backend of its format, side by side."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from lenet_runtime.artifact import Artifact
from lenet_runtime.backends import BACKENDS
from lenet_runtime.errors import DeployError, InputError
from lenet_runtime.latency.harness import Engine
from lenet_runtime.latency.result import LatencyResult
from lenet_runtime.plan import SCHEMA_VERSION, Entry, Plan, artifacts_in, machine
from lenet_runtime.routing import require_one_network
from lenet_runtime.session import Session, load

Measure = Callable[[Mapping[str, Engine], Sequence[int]], Sequence[LatencyResult]]


def tune(
    folder: Path,
    batch_sizes: Sequence[int],
    measure: Measure,
    *,
    device: str = "cpu",
    threads: int | None = 1,
    trust: bool = False,
) -> tuple[Plan, list[LatencyResult], dict[str, str]]:
    """Measure every artifact in `folder` on every backend of its format; write nothing.

    Args:
        folder: of artifacts of one network.
        batch_sizes: to find a winner for.
        measure: `lenet_runtime.latency.measure` with its settings bound.
        device: to run on.
        threads: of every engine.
        trust: see `lenet_runtime.load`.

    Returns:
        The plan, the results that it was made from, and what was skipped with its reason.

    Raises:
        InputError: no artifact in `folder` can be measured here; every reason is given.
    """
    skipped: dict[str, str] = {}
    with ExitStack() as stack:
        sessions: dict[str, Session] = {}
        for path in artifacts_in(folder):
            for name, backend in BACKENDS.items():
                try:
                    artifact = Artifact.open(path)
                    if artifact.manifest.format != backend.format:
                        continue
                    if artifact.manifest.batch_size is not None:
                        raise InputError("a static batch cannot serve every call")
                    session = load(path, name, device, threads, trust)
                    sessions[f"{path.name} on {name}"] = stack.enter_context(session)
                except DeployError as error:
                    skipped[f"{path.name} on {name}"] = str(error)
        if not sessions:
            reasons = "; ".join(f"{name}: {why}" for name, why in skipped.items())
            raise InputError(
                f"{folder}: no artifact here can be measured; {reasons or 'none found'}"
            )
        require_one_network(list(sessions.values()))
        results = list(measure({name: s.run for name, s in sessions.items()}, batch_sizes))
        entries = tuple(_winner(results, size, sessions) for size in sorted(set(batch_sizes)))
    return Plan(SCHEMA_VERSION, machine(), threads, entries), results, skipped


def _winner(
    results: Sequence[LatencyResult], batch_size: int, sessions: Mapping[str, Session]
) -> Entry:
    best = min(
        (r for r in results if r.batch_size == batch_size), key=lambda r: r.percentile_us(50)
    )
    session = sessions[best.engine]
    return Entry(
        batch_size,
        session.artifact.path.name,
        session.artifact.digest,
        session.backend,
        round(best.percentile_us(50), 3),
    )
