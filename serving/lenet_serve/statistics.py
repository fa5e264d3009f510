"""V2's statistics of a model's version, from its counters."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_serve import counters as c


def statistics(model: str, version: str, cells: NDArray[np.uint64]) -> dict[str, Any]:
    """Make an element of ``model_stats``; ``batch_stats`` lists executions of up to 64 images."""
    executions = cells[c.EXECUTION :].reshape(c.EXECUTIONS, 4)
    requests, *compute = executions.sum(axis=0)
    codes = cells[c.CODE : c.EXECUTION].reshape(len(c.PROTOCOLS), len(c.CODES))
    return {
        "name": model,
        "version": version,
        "last_inference": int(cells[c.LAST_MS]),
        "inference_count": int(cells[c.ROWS]),
        "execution_count": int(executions[1:, 0].sum()),
        "inference_stats": {
            "success": _duration(requests, cells[c.REQUEST_NS]),
            "fail": _duration(codes[:, 1:].sum(), cells[c.FAIL_NS]),
            "queue": _duration(requests, cells[c.QUEUE_NS]),
            **_computes(requests, compute),
            "cache_hit": _duration(0, 0),
            "cache_miss": _duration(0, 0),
        },
        "response_stats": {},
        "batch_stats": [
            {"batch_size": size, **_computes(executions[size, 0], executions[size, 1:])}
            for size in range(1, c.EXACT + 1)
            if executions[size, 0]
        ],
        "memory_usage": [],
    }


def _computes(count: Any, durations: Any) -> dict[str, Any]:
    names = ("compute_input", "compute_infer", "compute_output")
    return {name: _duration(count, ns) for name, ns in zip(names, durations, strict=True)}


def _duration(count: Any, ns: Any) -> dict[str, int]:
    return {"count": int(count), "ns": int(ns)}
