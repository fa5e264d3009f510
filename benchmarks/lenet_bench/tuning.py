"""Making a plan: every artifact of a folder, on every backend of its format, side by side.

Large batches are measured whole and cut into chunks of several sizes.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from lenet_bench.harness import Engine, require_timed
from lenet_bench.result import LatencyResult
from lenet_runtime.artifact import Artifact
from lenet_runtime.backends import BACKENDS, backends_of
from lenet_runtime.errors import ArtifactError, DeployError, InputError
from lenet_runtime.loading import load
from lenet_runtime.plans.plan import (
    PLAN_NAME,
    SCHEMA_VERSION,
    Entry,
    Plan,
    artifacts_in,
    machine,
)
from lenet_runtime.plans.routing import require_one_network
from lenet_runtime.session import Session

Measure = Callable[[Mapping[str, Engine], Sequence[int]], Sequence[LatencyResult]]
# Images in a piece to try; `lenet_runtime.plans.chunks` says why cutting may pay.
CHUNKS = (32, 64, 128, 256)


def tune(
    folder: Path,
    batch_sizes: Sequence[int],
    measure: Measure,
    *,
    device: str = "cpu",
    threads: int | None = 1,
    trust: bool = False,
    precision: str = "fp32",
    before: Plan | None = None,
) -> tuple[Plan, list[LatencyResult], dict[str, str]]:
    """Measure every artifact in `folder` on every backend of its format; write nothing.

    Args:
        folder: A folder with artifacts of one network.
        batch_sizes: The batch sizes to find a winner for.
        measure: `lenet_bench.measure` with its settings bound.
        device: The device to run on.
        threads: The number of threads of every engine.
        trust: See `lenet_runtime.load`.
        precision: The precision of the artifacts to measure; a plan never mixes two, or answers
            would depend on the batch.
        before: The plan that is to be replaced.

    Returns:
        The plan; of every artifact, backend and size the result at the chunk size that was
        fastest; and what was skipped with its reason.

    Raises:
        InputError: No artifact in `folder` can be measured here; every reason is given.
        ArtifactError: The plan of before has a winner that is in the folder and cannot be measured
            now, so that a plan without it would be worse; nothing was measured.
    """
    skipped: dict[str, str] = {}
    others: set[str] = set()  # of another precision, which the caller chose to leave out
    with ExitStack() as stack:
        sessions: dict[str, Session] = {}
        for path in artifacts_in(folder):
            for name in BACKENDS:
                try:
                    artifact = Artifact.open(path)
                    if name not in backends_of(artifact.manifest.format, device):
                        continue
                    require_timed(artifact.manifest)
                    if artifact.manifest.batch_size is not None:
                        raise InputError("a static batch cannot serve every call")
                    if artifact.manifest.precision != precision:
                        others.add(path.name)
                        raise InputError(f"its precision is not {precision}; see --precision")
                    session = load(artifact, name, device, threads, trust)
                    sessions[f"{path.name} on {name}"] = stack.enter_context(session)
                except DeployError as error:
                    skipped[f"{path.name} on {name}"] = str(error)
        if not sessions:
            reasons = "; ".join(f"{name}: {why}" for name, why in skipped.items())
            raise InputError(
                f"{folder}: no artifact here can be measured; {reasons or 'none found'}"
            )
        if before is not None and before.machine == machine(device):
            lost = [(e.artifact, f"{e.artifact} on {e.backend}") for e in before.entries]
            _require_no_loss(folder, {n for artifact, n in lost if artifact not in others}, skipped)
        require_one_network(list(sessions.values()))
        results: list[LatencyResult] = []
        entries = []
        for size in sorted(set(batch_sizes)):
            best = _best_ways(sessions, size, measure)
            results += [result for _, result in best]
            entries.append(_entry(*min(best, key=lambda pair: pair[1].percentile_us(50))))
    return Plan(SCHEMA_VERSION, machine(device), threads, tuple(entries)), results, skipped


def _require_no_loss(folder: Path, winners: set[str], skipped: Mapping[str, str]) -> None:
    """Refuse to replace a plan whose winners cannot all be measured again."""
    lost = sorted(winners & set(skipped))
    if lost:
        reasons = "; ".join(f"{name}: {skipped[name]}" for name in lost)
        raise ArtifactError(
            f"{folder / PLAN_NAME} stays as it is: its winners cannot all be measured now "
            f"({reasons}); mend that, or delete the plan to have one without them"
        )


@dataclass(frozen=True)
class _Way:
    """One way to run a batch: a session with a size of its chunks, or with none."""

    engine: str
    session: Session

    @property
    def name(self) -> str:
        chunk = self.session.chunk
        return self.engine if chunk is None else f"{self.engine} in chunks of {chunk}"


def _ways(sessions: Mapping[str, Session], batch_size: int) -> Iterator[_Way]:
    for engine, session in sessions.items():
        # A batch of fewer than two pieces is not cut.
        pieces = [size for size in CHUNKS if 2 * size <= batch_size]
        for chunk in (None, *(pieces if BACKENDS[session.backend].cut else ())):
            way = Session(session.predictor, session.artifact, session.backend, chunk=chunk)
            yield _Way(engine, way)


def _best_ways(
    sessions: Mapping[str, Session], batch_size: int, measure: Measure
) -> list[tuple[_Way, LatencyResult]]:
    """Each session's fastest way and its result, under the session's own name."""
    ways = {way.name: way for way in _ways(sessions, batch_size)}
    timed = measure({name: way.session.run for name, way in ways.items()}, [batch_size])
    best: dict[str, tuple[_Way, LatencyResult]] = {}
    for result in sorted(timed, key=lambda r: r.percentile_us(50), reverse=True):
        way = ways[result.engine]
        best[way.engine] = (way, dataclasses.replace(result, engine=way.engine))
    return [best[engine] for engine in sessions]


def _entry(way: _Way, result: LatencyResult) -> Entry:
    artifact = way.session.artifact
    return Entry(
        batch_size=result.batch_size,
        artifact=artifact.path.name,
        digest=artifact.digest,
        backend=way.session.backend,
        chunk=way.session.chunk,
        p50_us=round(result.percentile_us(50), 3),
    )
