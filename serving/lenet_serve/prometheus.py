"""Counters as Prometheus's text format: Triton's names for dashboards that exist, and ours."""

import platform
import signal
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_runtime.version import __version__
from lenet_serve import counters as c
from lenet_serve import processes
from lenet_serve.counters import Counters
from lenet_serve.errors import Code

Cells = NDArray[np.uint64]
Labels = dict[str, str]
Samples = Iterable[tuple[Labels, float]]

# Triton's reasons of failed requests; it counts among REJECTED what waited too long in a queue.
_REASONS = {
    Code.UNAVAILABLE: "REJECTED",
    Code.DEADLINE: "REJECTED",
    Code.INTERNAL: "BACKEND",
}
# The status 499 is what a request gets that its client has given up.
_REASONS |= {code: "CANCELED" for code in Code if code.http == 499}


def render(counters: Counters) -> str:
    """All metrics of all workers."""
    sums = counters.sums()
    models = [({"model": m, "version": v}, cells) for (m, v), cells in sorted(sums.items()) if m]
    other = ({"model": "", "version": ""}, sums["", ""])
    lines: list[str] = []
    _triton(lines, models)
    _ours(lines, [other, *models])
    _house(lines, counters)
    return "\n".join(lines) + "\n"


def _triton(lines: list[str], models: Sequence[tuple[Labels, Cells]]) -> None:
    def each(value: Callable[[Cells], Any]) -> Samples:
        return [(labels, int(value(cells))) for labels, cells in models]

    prefix = "nv_inference_"
    for name, text, samples in (
        ("request_success", "Number of successful inference requests",
         each(lambda cells: c.codes(cells)[:, 0].sum())),
        ("request_failure", "Number of failed inference requests", _failures(models)),
        ("count", "Number of inferences performed, each image of a batch for itself",
         each(lambda cells: cells[c.ROWS])),
        ("exec_count", "Number of model executions performed, each batch as one",
         each(lambda cells: c.runs(cells)[1:, 0].sum())),
        ("request_duration_us", "Cumulative duration of requests in microseconds",
         each(lambda cells: cells[c.REQUEST_NS] // np.uint64(1000))),
        ("queue_duration_us", "Cumulative time in the queue in microseconds",
         each(lambda cells: cells[c.QUEUE_NS] // np.uint64(1000))),
        ("compute_input_duration_us", "Cumulative time to prepare inputs in microseconds",
         each(lambda cells: cells[c.INPUT_NS] // np.uint64(1000))),
        ("compute_infer_duration_us", "Cumulative time in the engine in microseconds",
         each(lambda cells: c.runs(cells)[:, 1].sum() // np.uint64(1000))),
        ("compute_output_duration_us", "Cumulative time to make outputs in microseconds",
         each(lambda cells: cells[c.OUTPUT_NS] // np.uint64(1000))),
    ):  # fmt: skip
        _family(lines, prefix + name, "counter", text, samples)
    _family(lines, "nv_inference_pending_request_count", "gauge",
            "Number of requests that wait for their computation",
            each(lambda cells: cells[c.PENDING]))  # fmt: skip


def _failures(models: Sequence[tuple[Labels, Cells]]) -> Samples:
    for labels, cells in models:
        counts = dict.fromkeys(("REJECTED", "CANCELED", "BACKEND", "OTHER"), 0)
        for code, count in zip(c.CODES[1:], c.codes(cells)[:, 1:].sum(axis=0), strict=True):
            counts[_REASONS.get(code, "OTHER") if code else "OTHER"] += int(count)
        yield from ((labels | {"reason": reason}, n) for reason, n in counts.items())


def _ours(lines: list[str], models: Sequence[tuple[Labels, Cells]]) -> None:
    statuses = [sample for labels, cells in models for sample in _statuses(labels, cells)]
    _family(lines, "lenet_requests_total", "counter",
            "Requests that have ended, by the status of HTTP or gRPC.", statuses)  # fmt: skip
    named = [(labels, cells) for labels, cells in models if labels["model"]]
    _family(lines, "lenet_images_total", "counter", "Images of answered requests.",
            ((labels, int(cells[c.ROWS])) for labels, cells in named))  # fmt: skip
    bounds = [repr(bound / 1e9) for bound in c.BOUNDS_NS]
    for name, text, first in (
        ("request", "First to last byte of answered requests.", c.REQUEST),
        ("queue", "Wait of answered requests for their computation.", c.QUEUE),
        ("compute", "Input, inference and output of answered requests.", c.COMPUTE),
    ):
        samples = [(labels, cells[first : first + len(bounds) + 1], _seconds(cells)[name])
                   for labels, cells in named]  # fmt: skip
        _histogram(lines, f"lenet_{name}_seconds", text, bounds, samples)
    sizes = [2**power for power in range(13)]
    _histogram(lines, "lenet_batch_size", "Images that the engine computed at once.",
               [str(size) for size in sizes],
               ((labels, *_batches(cells, sizes)) for labels, cells in named))  # fmt: skip
    _family(lines, "lenet_pending_requests", "gauge",
            "Requests that wait for their computation.",
            ((labels, int(cells[c.PENDING])) for labels, cells in named))  # fmt: skip


def _house(lines: list[str], counters: Counters) -> None:
    heads = counters.heads()
    _family(lines, "lenet_build_info", "gauge", "The version that serves.",
            [({"version": __version__, "python": platform.python_version()}, 1)])  # fmt: skip
    _family(lines, "lenet_reloads_total", "counter",
            "Models loaded in place of others, or that failed to load; each worker counts its own.",
            [({"outcome": "succeeded"}, int(heads[:, c.RELOADS].sum())),
             ({"outcome": "failed"}, int(heads[:, c.RELOADS_FAILED].sum()))])  # fmt: skip
    _family(lines, "lenet_workers", "gauge", "Worker processes that run.",
            [({}, int(np.count_nonzero(heads[:, c.PID])))])  # fmt: skip
    restarts = heads[:, c.RESTARTS : c.RESTARTS + c.SIGNALS].sum(axis=0)
    _family(lines, "lenet_worker_restarts_total", "counter",
            "Workers that ended by themselves and were started again.",
            [({"reason": processes.signal_name(number) if number else "exit"}, int(count))
             for number, count in enumerate(restarts)
             if count or number in (0, signal.SIGKILL)])  # fmt: skip
    _processes(lines, counters, [int(pid) for pid in heads[:, c.PID]])


def _processes(lines: list[str], counters: Counters, pids: list[int]) -> None:
    names = {"supervisor": int(counters.cells[0])}
    names |= {str(worker): pid for worker, pid in enumerate(pids)}
    used = {name: processes.usage(pid) for name, pid in names.items() if pid}
    for name, kind, text, field in (
        ("cpu_seconds_total", "counter", "CPU time, user and system.", "cpu_s"),
        ("start_time_seconds", "gauge", "When the process began, since 1970.", "start_s"),
        ("resident_memory_bytes", "gauge", "Resident memory.", "resident_bytes"),
        ("virtual_memory_bytes", "gauge", "Virtual memory.", "virtual_bytes"),
        ("open_fds", "gauge", "Open file descriptors.", "open_fds"),
    ):
        samples = [({"worker": w}, getattr(usage, field)) for w, usage in used.items() if usage]
        _family(lines, f"process_{name}", kind, text, [s for s in samples if s[1] is not None])


def _seconds(cells: Cells) -> dict[str, float]:
    compute = cells[c.INPUT_NS] + c.runs(cells)[:, 1].sum() + cells[c.OUTPUT_NS]
    sums = {"request": cells[c.REQUEST_NS], "queue": cells[c.QUEUE_NS], "compute": compute}
    return {name: float(ns) / 1e9 for name, ns in sums.items()}


def _statuses(labels: Labels, cells: Cells) -> Samples:
    """By the label that a client saw; several of our codes are one status of gRPC."""
    answered = {"http": "200", "grpc": "OK"}
    for protocol, row in zip(c.PROTOCOLS, c.codes(cells), strict=True):
        counts = {answered[protocol]: int(row[0])}
        for code, count in zip(Code, row[1:], strict=True):
            status = str(code.http) if protocol == "http" else code.grpc
            counts[status] = counts.get(status, 0) + int(count)
        for status, count in counts.items():
            if count or (labels["model"] and status == answered[protocol]):
                yield labels | {"protocol": protocol, "code": status}, count


def _batches(cells: Cells, sizes: list[int]) -> tuple[list[int], int]:
    counts = c.runs(cells)[:, 0]
    rows = [c.run_row(size) for size in sizes]
    edges = [1, *(row + 1 for row in rows), c.RUNS]
    each = [int(counts[a:b].sum()) for a, b in pairwise(edges)]
    return each, int(cells[c.ROWS])


def _histogram(
    lines: list[str],
    name: str,
    text: str,
    bounds: list[str],
    samples: Iterable[tuple[Labels, Any, float]],
) -> None:
    lines += [f"# HELP {name} {text}", f"# TYPE {name} histogram"]
    for labels, counts, total in samples:
        upto = list(accumulate(int(count) for count in counts))
        for bound, count in zip([*bounds, "+Inf"], upto, strict=True):
            lines.append(_line(f"{name}_bucket", labels | {"le": bound}, count))
        lines.append(_line(f"{name}_sum", labels, total))
        lines.append(_line(f"{name}_count", labels, upto[-1]))


def _family(lines: list[str], name: str, kind: str, text: str, samples: Samples) -> None:
    lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    lines += [_line(name, labels, value) for labels, value in samples]


def _line(name: str, labels: Labels, value: float) -> str:
    if not labels:
        return f"{name} {value}"
    inside = ",".join(f'{key}="{_escape(label)}"' for key, label in labels.items())
    return f"{name}{{{inside}}} {value}"


def _escape(label: str) -> str:
    return label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
