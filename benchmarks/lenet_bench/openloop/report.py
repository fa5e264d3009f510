"""`LoadRun`: all of a run, and its JSON and CSV; ``benchmarks/README.md`` has the schema."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lenet_bench.csv_report import as_csv
from lenet_bench.openloop.measure import LoadSettings
from lenet_bench.openloop.result import RateResult
from lenet_bench.openloop.search import Found

SCHEMA = "lenet-open-loop/1"


@dataclass(frozen=True)
class LoadRun:
    """Everything one run measured.

    Attributes:
        settings: How the run measured.
        fingerprint: What machine and software it measured on, see `lenet_bench.fingerprint`.
        results: One result per target and rate.
        targets: What the report says of each target, by name, its ``concurrency`` among it.
        found: Where the search of each target ended; empty where none was asked for.
        skipped: The ``engine`` and the ``reason`` of each that could not be measured.
        interrupted: Whether the run was cut short.
    """

    settings: LoadSettings
    fingerprint: dict[str, Any]
    results: tuple[RateResult, ...]
    targets: dict[str, dict[str, Any]] = field(default_factory=dict)
    found: tuple[Found, ...] = ()
    skipped: tuple[dict[str, str], ...] = ()
    interrupted: bool = False

    def of(self, target: str) -> list[RateResult]:
        """One target's results, the lowest rate first."""
        own = (result for result in self.results if result.target == target)
        return sorted(own, key=lambda result: result.rate)

    def knee(self, target: str) -> RateResult | None:
        """Where one target's latency begins to grow faster than its rate.

        It is the rate of the greatest power, rate over p99 (Kleinrock, "Power and deterministic
        rules of thumb for probabilistic problems in computer communications", 1979, with the mean).

        Returns:
            None below three rates whose figures are the target's, or where it is the highest one.
        """
        own = [(r, p) for r in self.of(target) if (p := r.figure_us(99))]
        rates = [result.rate for result in self.of(target)]
        if len(own) < 3:
            return None
        best = max(own, key=lambda pair: pair[0].rate / pair[1])[0]
        return best if best.rate < max(rates) else None

    def to_dict(self) -> dict[str, Any]:
        """The document of the JSON report."""
        knees = {name: self.knee(name) for name in self.targets}
        return {
            "schema": SCHEMA,
            "scope": "server",
            "settings": dataclasses.asdict(self.settings),
            "fingerprint": self.fingerprint,
            "targets": self.targets,
            "results": [_row(self, result) | _samples(result) for result in self.results],
            "knees_per_second": {n: None if k is None else k.rate for n, k in knees.items()},
            "found": [dataclasses.asdict(one) for one in self.found],
            "skipped": list(self.skipped),
            "interrupted": self.interrupted,
        }


def _row(run: LoadRun, result: RateResult) -> dict[str, Any]:
    limit = run.settings.p99_limit_us
    return {
        "target": result.target,
        "offered_per_second": result.rate,
        **result.statistics(),
        "p99_holds": None if limit is None or result.refused else result.holds(limit),
        "refused": result.refused,
    }


def _samples(result: RateResult) -> dict[str, Any]:
    """All latencies by window; null where no answer came. Arrivals follow from the seed."""
    return {
        "window_seconds": result.seconds,
        "windows_ns": [
            [int(ns) if ok else None for ns, ok in zip(w.latency, w.answered, strict=True)]
            for w in result.windows
        ],
        "stalls_ms": [dataclasses.asdict(stall) for stall in result.stalls],
        "errors": sorted({error for window in result.windows for error in window.errors}),
    }


_DETAILS = (
    "backend", "format", "precision", "threads", "device", "artifact", "protocol", "host",
    "concurrency",
)  # fmt: skip


def csv_text(run: LoadRun) -> str:
    """One line per target and rate, without raw samples, which are in the JSON."""
    return as_csv([_line(run, result) for result in run.results])


def _line(run: LoadRun, result: RateResult) -> dict[str, str]:
    row, details = _row(run, result), run.targets.get(result.target, {})
    machine, state = (run.fingerprint.get(group, {}) for group in ("machine", "state"))
    return {key: _cell(value) for key, value in row.items()} | {
        **{key: _cell(details.get(key)) for key in _DETAILS},
        "machine": _cell(machine.get("cpu")),
        "measured_at": _cell(state.get("measured_at")),
    }


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(f"p{percent:g}" for percent in value)
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else str(value)


def remarks(run: LoadRun) -> Sequence[str]:
    """What a reader must know before believing the figures."""
    lines = [
        f"{r.target} at {r.rate:,.0f}/s: {r.refused}" for r in run.results if r.refused is not None
    ]
    for result in run.results:
        errors = list(dict.fromkeys(e for window in result.windows for e in window.errors))
        if errors:
            name = f"{result.target} at {result.rate:,.0f}/s"
            lines.append(f"{name}: {result.unanswered:,} not answered: {errors[0]}")
    state, machine = (run.fingerprint.get(group, {}) for group in ("state", "machine"))
    load, cores = state.get("load_average_1min"), len(machine.get("affinity") or ())
    if load and cores and load > cores:
        on = f"{cores} core{'s' * (cores != 1)}"
        lines.append(f"the load was {load:g} on {on} when the run began")
    return lines
