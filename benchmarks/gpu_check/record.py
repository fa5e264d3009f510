"""The record of a check: one JSON document, and its Markdown beside it."""

import datetime
import json
import re
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.gpu_check.check import Findings, Options, wrong_rows
from benchmarks.gpu_check.goals import goals
from benchmarks.gpu_check.jobs import Outcome, tidy
from benchmarks.gpu_check.table import markdown
from lenet_bench import report
from lenet_bench.fingerprint import installed_version
from lenet_bench.report import Run
from lenet_runtime import cuda
from lenet_runtime.artifact.files import write_atomically

SCHEMA = "lenet-gpu-check/1"
SOFTWARE = ("torch", "triton", "onnxruntime-gpu", "onnxruntime", "tensorrt", "numpy")


def document(findings: Findings, options: Options, gpu: cuda.Gpu, seconds: float) -> dict[str, Any]:
    """Everything that is known, JSON types."""
    run, versions = merged(findings.latency), map(installed_version, SOFTWARE)
    return {
        "schema": SCHEMA,
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "command": tidy(" ".join(["python -m benchmarks.gpu_check", *sys.argv[1:]])),
        "seconds": round(seconds, 1),
        "budget_seconds": options.budget_s,
        "interrupted": findings.interrupted,
        "quick": options.quick,
        "gpu": asdict(gpu),
        "versions": {"python": sys.version.split()[0]} | dict(zip(SOFTWARE, versions, strict=True)),
        "failures": findings.failures(),
        "goals": [] if run is None else [asdict(goal) for goal in goals(run)],
        "exports": {name: asdict(outcome) for name, outcome in findings.exports.items()},
        "parity": {
            name: asdict(outcome) | {"verdict": verdict(outcome)}
            for name, outcome in findings.parity.items()
        },
        "sanitizer": findings.sanitizer,
        "skipped": findings.skipped,
        "latency": None if run is None else run.to_dict(),
    }


def merged(documents: list[dict[str, Any]]) -> Run | None:
    """The attempts at the latency as one run: each measured other batch sizes."""
    runs = [report.from_dict(one) for one in documents]
    if not runs:
        return None
    sections = [run.device for run in runs if run.device is not None]
    device = sections and replace(
        sections[-1],
        results=tuple(r for section in sections for r in section.results),
        uses_graph=tuple(u for section in sections for u in section.uses_graph),
    )
    engines: dict[str, dict[str, Any]] = {}
    for run in runs:
        engines |= run.engines
    return replace(
        runs[0],
        results=tuple(r for run in runs for r in run.results),
        engines=engines,
        skipped=tuple(s for run in runs for s in run.skipped),
        device=device or None,
    )


def verdict(outcome: Outcome) -> str:
    """``passed``, ``failed`` where answers differ, or ``not finished``."""
    if wrong_rows(outcome.result):
        return "failed"
    return "passed" if outcome.result.get("ok") and not outcome.reason else "not finished"


def stem(record: dict[str, Any]) -> str:
    """``nvidia-h200-2026-11-25``."""
    name = re.sub(r"[^a-z0-9]+", "-", record["gpu"]["name"].lower()).strip("-")
    return f"{name}-{record['date']}" + ("-quick" if record["quick"] else "")


def write(record: dict[str, Any], folder: Path) -> list[Path]:
    """Write both files; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{stem(record)}.json", folder / f"{stem(record)}.md"]
    write_atomically(paths[0], (json.dumps(record, allow_nan=False) + "\n").encode())
    write_atomically(paths[1], (markdown(record) + "\n").encode())
    return paths
