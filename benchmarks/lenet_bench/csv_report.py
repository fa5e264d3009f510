"""The CSV of a run: a line for each engine and batch size."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from lenet_bench.gpu.result import FIGURES
from lenet_bench.report import Run
from lenet_bench.result import LatencyResult

_DETAILS = (
    "backend", "format", "precision", "threads", "device", "artifact", "right", "digits",
)  # fmt: skip


def csv_text(run: Run) -> str:
    """One line per engine and batch size, without raw samples, which are in the JSON."""
    return as_csv([_row(run, result) for result in run.results])


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of equal keys, below a line of these; nothing where there are no rows."""
    buffer = io.StringIO()
    if rows:
        writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return buffer.getvalue()


def _cell(value: Any) -> str:
    return "" if value is None else str(value)


def _row(run: Run, result: LatencyResult) -> dict[str, Any]:
    ratio, machine = run.ratio(result), run.fingerprint.get("machine", {})
    details = run.engines.get(result.engine, {})
    return {
        "engine": result.engine,
        "batch_size": result.batch_size,
        **{key: _cell(details.get(key)) for key in _DETAILS},
        "machine": _cell(machine.get("cpu")),
        "measured_at": _cell(run.fingerprint.get("state", {}).get("measured_at")),
        "samples": len(result.samples_ns),
        **{key: f"{value:.6g}" for key, value in result.statistics().items()},
        "ratio": "" if ratio is None else f"{ratio.value:.6g}",
        "ratio_low": "" if ratio is None else f"{ratio.low:.6g}",
        "ratio_high": "" if ratio is None else f"{ratio.high:.6g}",
        **_device(run, result),
    }


def _device(run: Run, result: LatencyResult) -> dict[str, str]:
    """Medians of the steps, without a graph and with one; no columns in a run on a CPU."""
    if run.device is None:
        return {}
    row = {}
    for graph in (False, True):
        steps = run.device.find(result.engine, result.batch_size, graph=graph)
        for figure in FIGURES:
            key = f"{'graph_' if graph else ''}{figure}_p50_us"
            row[key] = "" if steps is None else f"{steps.p50_us(figure):.6g}"
    return row
