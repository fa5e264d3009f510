"""`Run` and its JSON. The schema is documented here and in ``benchmarks/README.md``.

Keys carry their units. ``results`` hold raw samples by round, so that another run can be compared
with this one by the same bootstrap that made its own intervals.
"""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lenet_bench import result as results_json
from lenet_bench.gate import Gate, gate_from_json
from lenet_bench.gpu.result import DeviceSection, section_from_json
from lenet_bench.harness import Settings
from lenet_bench.result import LatencyResult, Ratio, paired_ratio
from lenet_runtime.errors import InputError
from lenet_runtime.session import Session

SCHEMA = "lenet-latency/1"
# By which an engine must surely be ahead to be the fastest. Two copies of one artifact differ by up
# to 2%, surely: their code lies at other places in memory.
LEAST_LEAD = 1.03
# What reading a foreign document may raise.
_DAMAGED = (
    ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, InputError,
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """Everything one run measured.

    Attributes:
        settings: How the run measured.
        fingerprint: What machine and software it measured on, see `lenet_bench.fingerprint`.
        results: One result per engine and batch size.
        engines: For each engine's name its backend, format, precision, threads, artifact, digest,
            and how many (``right``) of how many ``digits`` of `data_set` it classifies right; None
            where its classes are not the ten digits.
        baseline: The name of the engine that ratios are to; None where there is none.
        skipped: The ``engine`` and the ``reason`` of each that could not be measured.
        cold_start: Rows of `lenet_bench.coldstart`.
        scaling: Rows of `lenet_bench.scaling`.
        interrupted: Whether the run was cut short.
        device: What was measured on a GPU beyond whole calls; None on a CPU.
        scope: What one sample spans; ``host`` is NumPy in, NumPy out.
        gate: The comparison with a run of before; None where none was asked for.
        data_set: Which digits the engines classified; None where they classified none.
    """

    settings: Settings
    fingerprint: dict[str, Any]
    results: tuple[LatencyResult, ...]
    engines: dict[str, dict[str, Any]] = field(default_factory=dict)
    baseline: str | None = None
    skipped: tuple[dict[str, str], ...] = ()
    cold_start: tuple[dict[str, Any], ...] = ()
    scaling: tuple[dict[str, Any], ...] = ()
    interrupted: bool = False
    scope: str = "host"
    device: DeviceSection | None = None
    gate: Gate | None = None
    data_set: str | None = None

    def find(self, engine: str | None, batch_size: int) -> LatencyResult | None:
        """The result of an engine at a batch size, if it was measured."""
        for result in self.results:
            if (result.engine, result.batch_size) == (engine, batch_size):
                return result
        return None

    def ratio(self, result: LatencyResult) -> Ratio | None:
        """`result` over the base line at its batch size; None where there is none."""
        baseline = self.find(self.baseline, result.batch_size)
        return None if baseline is None else paired_ratio(result, baseline, self.settings.seed)

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """The batch sizes that were measured, in order."""
        return tuple(sorted({result.batch_size for result in self.results}))

    def leaders(self) -> dict[int, tuple[str, ...]]:
        """For each batch size the engine with the lowest median, and all that tie with it.

        An engine ties if the 95% interval of its ratio to the lowest reaches below `LEAST_LEAD`.
        """
        return {size: self._leaders(size) for size in self.batch_sizes}

    def _leaders(self, size: int) -> tuple[str, ...]:
        group = [r for r in self.results if r.batch_size == size]
        first, *others = sorted(group, key=lambda r: r.percentile_us(50))
        seed = self.settings.seed
        ties = [r for r in others if paired_ratio(r, first, seed).low < LEAST_LEAD]
        return (first.engine, *(r.engine for r in ties))

    def winners(self) -> dict[int, str | None]:
        """For each batch size the engine that is the fastest beyond the noise.

        None where several lead, or where there was only one.
        """
        several = len({result.engine for result in self.results}) > 1
        return {
            size: names[0] if several and len(names) == 1 else None
            for size, names in self.leaders().items()
        }

    def on_device(self) -> "Run | None":
        """The GPU's own time alone, each mode an engine; None where there is none.

        It is compared with that of another run as whole calls are.
        """
        if self.device is None or not self.device.results:
            return None
        results = tuple(r.latency(name=f"{r.name} device") for r in self.device.results)
        engines: dict[str, dict[str, Any]] = {r.engine: {} for r in results}
        baseline = None if self.baseline is None else f"{self.baseline} device"
        return dataclasses.replace(
            self, results=results, engines=engines, baseline=baseline, scope="device", device=None
        )

    def to_dict(self) -> dict[str, Any]:
        """The document of the JSON report."""
        rows = []
        for result in self.results:
            ratio = self.ratio(result)
            row = results_json.to_json(result)
            row["ratio"] = None if ratio is None else dataclasses.asdict(ratio)
            rows.append(row)
        return {
            "schema": SCHEMA,
            "scope": self.scope,
            "settings": dataclasses.asdict(self.settings),
            "fingerprint": self.fingerprint,
            "engines": self.engines,
            "data_set": self.data_set,
            "baseline": self.baseline,
            "winners": {str(size): engine for size, engine in self.winners().items()},
            "leaders": {str(size): list(names) for size, names in self.leaders().items()},
            "results": rows,
            "skipped": list(self.skipped),
            "cold_start": list(self.cold_start),
            "scaling": list(self.scaling),
            "interrupted": self.interrupted,
            "device": None if self.device is None else self.device.to_json(self.results),
            "gate": None if self.gate is None else self.gate.to_json(),
        }


def engine_name(session: Session) -> str:
    """What reports call a session: its backend, with the precision where that is not fp32."""
    precision = session.manifest.precision
    return session.backend if precision == "fp32" else f"{session.backend} {precision}"


def describe(session: Session) -> dict[str, Any]:
    """What a report says of an engine."""
    manifest = session.manifest
    return {
        "backend": session.backend,
        "format": manifest.format,
        "precision": manifest.precision,
        "threads": session.threads,
        "device": session.device,
        "artifact": session.artifact.path.name,
        "digest": session.artifact.digest,
        "weights_sha256": manifest.weights_sha256,
    }


def read(path: Path) -> Run:
    """Read a JSON report.

    Raises:
        InputError: the file is missing, not JSON, or not a report of this schema.
    """
    try:
        return from_dict(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except _DAMAGED as error:
        raise InputError(
            f"{path}: not a latency report ({error}); write one with lenet-deploy bench --json FILE"
        ) from error


def from_dict(document: Any) -> Run:
    """The run that `Run.to_dict` wrote; raises one of many errors for another document."""
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise ValueError(f"expected a report of schema {SCHEMA}")
    _check_types(document)
    return Run(
        settings=_settings(document["settings"]),
        fingerprint=document["fingerprint"],
        results=tuple(map(results_json.from_json, document["results"])),
        engines=document["engines"],
        baseline=document["baseline"],
        skipped=tuple(document["skipped"]),
        cold_start=tuple(document["cold_start"]),
        scaling=tuple(document["scaling"]),
        interrupted=bool(document["interrupted"]),
        scope=document["scope"],
        data_set=None if (name := document.get("data_set")) is None else str(name),
        device=None if (part := document.get("device")) is None else section_from_json(part),
        gate=None if (part := document.get("gate")) is None else gate_from_json(part),
    )


def _settings(document: dict[str, Any]) -> Settings:
    """Reports of before the family was known have no ``image_shape``."""
    shape = document.get("image_shape", Settings.image_shape)
    if len(shape) != 3 or not all(type(side) is int and side > 0 for side in shape):
        raise ValueError(f"image_shape: expected channels, height and width, found {shape}")
    return Settings(**document | {"image_shape": tuple(shape)})


def _check_types(document: dict[str, Any]) -> None:
    """What the reports and the gate look into must be what they expect there."""
    for name, records in (
        ("fingerprint", document["fingerprint"].values()),
        ("engines", document["engines"].values()),
        ("skipped", document["skipped"]),
        ("cold_start", document["cold_start"]),
        ("scaling", document["scaling"]),
    ):
        if not all(isinstance(record, dict) for record in records):
            raise ValueError(f"{name}: expected objects")


def crossovers(run: Run) -> Sequence[str]:
    """In words: from which batch size on another engine is the fastest."""
    if len({result.engine for result in run.results}) < 2:
        return []  # nothing to win against
    leaders = run.leaders()
    if len(leaders) > 1 and len(set(leaders.values())) == 1:
        return [f"{_lead(next(iter(leaders.values())))} at every batch size measured"]
    lines, before = [], None
    for size, names in leaders.items():
        if before is None:
            lines.append(f"{_lead(names)} at batch {size}")
        elif names != before:
            lines.append(f"from batch {size} on {_lead(names)}")
        before = names
    return lines


def _lead(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"{names[0]} is the fastest"
    return f"{', '.join(names[:-1])} and {names[-1]} are equally fast within the noise"


def summary(run: Run) -> str:
    """One line about the fastest engine at the largest batch size; empty of an empty run."""
    if not run.results:
        return ""
    size = max(run.batch_sizes)
    best = run.find(run.leaders()[size][0], size)
    assert best
    figures = best.statistics()
    names = ("min", "mean", "p50", "p99")
    shown = ", ".join(f"{name} {significant(figures[f'{name}_us'])}" for name in names)
    rate = f"{best.images_per_second:,.0f} images/s"
    return f"{best.engine} at batch {size}: {rate}, us per call: {shown}"


def significant(value: float) -> str:
    """Three digits, or the whole number where that has more."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def remarks(run: Run) -> list[str]:
    """What a reader must know before believing the figures: signs in tables, and a busy machine."""
    state, machine = (run.fingerprint.get(group, {}) for group in ("state", "machine"))
    load, cores = state.get("load_average_1min"), len(machine.get("affinity") or ())
    cores = cores or machine.get("cores") or 0
    busy = bool(load and cores and load > cores)
    lines = []
    if not all(result.warm for result in run.results):
        lines.append("† was still getting faster when its warm-up ended")
    if any(result.waited for result in run.results):
        lines.append("‡ had to wait for the CPU in most samples: the machine was busy")
    if busy:
        lines.append(
            f"the load was {load:g} on {cores} cores when the run began: ratios hold, and times "
            "are longer than on an idle machine"
        )
    networks = {e.get("weights_sha256") for e in run.engines.values()} - {None}
    if len(networks) > 1:
        lines.append("the engines run different networks: their times are of different work")
    return lines
