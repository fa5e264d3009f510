"""V2's statistics of a model's version, from its counters."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_serve import counters as c


def statistics(model: str, version: str, cells: NDArray[np.uint64]) -> dict[str, Any]:
    """Make an element of ``model_stats``.

    ``batch_stats`` lists runs of up to 64 images, with the engine's time alone.
    """
    runs = c.runs(cells)
    requests = runs[:, 0].sum()
    return {
        "name": model,
        "version": version,
        "last_inference": int(cells[c.LAST_MS]),
        "inference_count": int(cells[c.ROWS]),
        "execution_count": int(runs[1:, 0].sum()),
        "inference_stats": {
            "success": _duration(requests, cells[c.REQUEST_NS]),
            "fail": _duration(c.codes(cells)[:, 1:].sum(), cells[c.FAIL_NS]),
            "queue": _duration(requests, cells[c.QUEUE_NS]),
            "compute_input": _duration(requests, cells[c.INPUT_NS]),
            "compute_infer": _duration(requests, runs[:, 1].sum()),
            "compute_output": _duration(requests, cells[c.OUTPUT_NS]),
            "cache_hit": _duration(0, 0),
            "cache_miss": _duration(0, 0),
        },
        "response_stats": {},
        "batch_stats": [
            {
                "batch_size": size,
                "compute_input": _duration(0, 0),
                "compute_infer": _duration(*runs[size]),
                "compute_output": _duration(0, 0),
            }
            for size in range(1, c.EXACT + 1)
            if runs[size, 0]
        ],
        "memory_usage": [],
    }


def _duration(count: Any, ns: Any) -> dict[str, int]:
    return {"count": int(count), "ns": int(ns)}
