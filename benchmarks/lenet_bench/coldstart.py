"""Cold start: what a service waits for, and holds, before its first answer.

Each start is a fresh process, so imports, file reads and lazy set-up are all in it; artifacts take
turns, and the median over repeats is reported. The operating system's file cache is warm, as it is
when a service restarts.
"""

import importlib.metadata
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lenet_runtime.artifact import Artifact
from lenet_runtime.backends import BACKENDS
from lenet_runtime.errors import DeployError

# Runs in the fresh process. VmHWM and not ru_maxrss, which a child inherits from its parent.
_PROGRAM = """
import json, sys, time
start = time.perf_counter()
import numpy
numpy_done = time.perf_counter()
import lenet_runtime
imported = time.perf_counter()
arguments = json.loads(sys.argv[1])
session = lenet_runtime.load(**arguments)
loaded = time.perf_counter()
manifest = session.manifest
images = lenet_runtime.images.preprocess.normalise(
    numpy.zeros((manifest.batch_size or 1, 2, 2), numpy.uint8),
    manifest.preprocessing, manifest.image_shape,
)
session.run(images)
first = time.perf_counter()
session.run(images)
second = time.perf_counter()
peak = None
try:
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
except OSError:
    pass
print(json.dumps({
    "numpy_ms": (numpy_done - start) * 1e3,
    "import_ms": (imported - numpy_done) * 1e3,
    "load_ms": (loaded - imported) * 1e3,
    "first_run_ms": (first - loaded) * 1e3,
    "second_run_ms": (second - first) * 1e3,
    "peak_memory_mib": peak,
}))
"""


def measure(
    engines: Mapping[str, Mapping[str, Any]], repeats: int = 5
) -> tuple[dict[str, Any], ...]:
    """Start each engine `repeats` times in turn.

    Args:
        engines: For each engine's name the keyword arguments of `lenet_runtime.load`, all JSON
            types, with a ``backend`` of `lenet_runtime.BACKENDS`.
        repeats: The number of fresh processes for each engine.

    Returns:
        For each engine medians in milliseconds: ``numpy_ms``, ``import_ms``, ``load_ms`` (with
        the engine's own import and the self-test), ``first_run_ms``, ``second_run_ms`` and
        ``process_ms`` from spawn to exit; ``peak_memory_mib``, ``artifact_mib`` and
        ``installed_mib`` of the packages that the backend needs.

    Raises:
        DeployError: A process failed; its last line is quoted.
    """
    starts: dict[str, list[dict[str, float]]] = {name: [] for name in engines}
    for _ in range(repeats):
        for name, arguments in engines.items():
            starts[name].append(_start(arguments))
    rows = []
    for name, arguments in engines.items():
        figures = {key: _median([start[key] for start in starts[name]]) for key in starts[name][0]}
        artifact = Artifact.open(arguments["path"])
        size = sum(entry.size for entry in artifact.manifest.files.values())
        rows.append(
            {
                "engine": name,
                "repeats": repeats,
                **figures,
                "artifact_mib": size / 2**20,
                "installed_mib": installed_mib(BACKENDS[str(arguments["backend"])].distributions),
            }
        )
    return tuple(rows)


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _start(arguments: Mapping[str, Any]) -> dict[str, float]:
    command = [sys.executable, "-c", _PROGRAM, json.dumps(dict(arguments))]
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    took = (time.perf_counter() - begin) * 1e3
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise DeployError(f"cold start of {arguments['path']}: {last}")
    # The last line: an engine may have printed something of its own.
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures | {"process_ms": took}


def installed_mib(distributions: Sequence[str]) -> float | None:
    """MiB on disk of the first of `distributions` that is installed, and of all it requires."""
    for root in distributions:
        size = _installed_bytes(root, set())
        if size:
            return size / 2**20
    return None


def _installed_bytes(name: str, seen: set[str]) -> int:
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key in seen:
        return 0
    seen.add(key)
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return 0  # optional, or for another platform
    paths = (Path(str(file.locate())) for file in distribution.files or ())
    total = sum(path.stat().st_size for path in paths if path.is_file())
    for requirement in distribution.requires or ():
        if not re.search(r"\bextra\s*==", requirement):
            match = re.match(r"[A-Za-z0-9._-]+", requirement)
            total += _installed_bytes(match.group(), seen) if match else 0
    return total
