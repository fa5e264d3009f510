"""Scaling: throughput over the threads of one call, and over callers that share one session."""

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lenet_bench.harness import Engine, Images, Settings, make_inputs, measure


def over_threads(
    engines: Mapping[int, Engine], batch_size: int, settings: Settings
) -> tuple[dict[str, Any], ...]:
    """Images per second of one caller, for sessions that were loaded with 1, 2, ... threads.

    Args:
        engines: The engine at each number of threads; they are measured interleaved.
        batch_size: Images in a call.
        settings: How to measure.
    """
    results = measure({str(count): run for count, run in engines.items()}, [batch_size], settings)
    single = results[0].images_per_second
    return tuple(
        {
            "threads": int(result.engine),
            "callers": 1,
            "batch_size": batch_size,
            "images_per_second": result.images_per_second,
            "speedup": result.images_per_second / single,
        }
        for result in results
    )


def over_callers(
    engine: Engine, callers: Sequence[int], batch_size: int, settings: Settings
) -> tuple[dict[str, Any], ...]:
    """Images per second of all callers together, each a thread on the same session."""
    inputs = make_inputs(batch_size, settings)
    engine(inputs[0])
    rows: list[dict[str, Any]] = []
    for count in callers:
        rate = _calls_per_second(engine, inputs, count, settings.min_seconds) * batch_size
        single = rows[0]["images_per_second"] if rows else rate
        rows.append(
            {
                "threads": 1,
                "callers": count,
                "batch_size": batch_size,
                "images_per_second": rate,
                "speedup": rate / single,
            }
        )
    return tuple(rows)


def _calls_per_second(
    engine: Engine, inputs: Sequence[Images], callers: int, seconds: float
) -> float:
    """The rates of all callers together; each starts with the others and ends with a whole call."""
    ready = threading.Barrier(callers)

    def rate(_: int) -> float:
        ready.wait()
        start, calls, took = time.perf_counter(), 0, 0.0
        while took < seconds:
            engine(inputs[calls % len(inputs)])
            calls += 1
            took = time.perf_counter() - start
        return calls / took

    with ThreadPoolExecutor(callers) as pool:
        return sum(pool.map(rate, range(callers)))
