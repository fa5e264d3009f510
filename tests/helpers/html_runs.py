"""Runs with figures made by chance, for tests of pages."""

import numpy as np

from lenet_bench import LatencyResult, Settings, fingerprint
from lenet_bench.report import Run

SCRIPT = "</script><script>alert(1)</script><b>bold</b> & \"q\" 'q'"
COLD = {
    "numpy_ms": 100.0, "import_ms": 20.0, "load_ms": 30.0, "first_run_ms": 1.0,
    "second_run_ms": 0.5, "process_ms": 170.0, "peak_memory_mib": 64.0, "artifact_mib": 0.3,
    "installed_mib": None,
}  # fmt: skip


def run_of(engines=("eager", "ort-cpu"), sizes=(1, 8), **changes):
    random = np.random.default_rng(0)
    results = tuple(
        LatencyResult(name, size, tuple(1e5 / (1 + place) * size * random.uniform(1, 2, (20, 9))))
        for size in sizes
        for place, name in enumerate(engines)
    )
    changes = {
        "cold_start": tuple({"engine": name, **COLD} for name in engines),
        "scaling": tuple(
            {"engine": name, "threads": t, "callers": c, "batch_size": 64,
             "images_per_second": 1e4 * t * c, "speedup": t * c}
            for name in engines for t, c in ((1, 1), (2, 1), (1, 2))
        ),
        "skipped": ({"engine": "tensorrt", "reason": "no GPU <here>"},),
        "engines": {name: {"backend": name, "threads": 1} for name in engines},
        "baseline": "eager",
    } | changes  # fmt: skip
    return Run(Settings(), fingerprint(), results, **changes)
