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
    rates = {(int(result.engine), 1): result.images_per_second for result in results}
    return _rows(rates, batch_size)


def over_callers(
    engine: Engine, callers: Sequence[int], batch_size: int, settings: Settings
) -> tuple[dict[str, Any], ...]:
    """Images per second of all callers together, each a thread on the same session."""
    inputs = make_inputs(batch_size, settings)
    engine(inputs[0])
    seconds = settings.min_seconds
    calls = {(1, count): _calls_per_second(engine, inputs, count, seconds) for count in callers}
    return _rows({key: rate * batch_size for key, rate in calls.items()}, batch_size)


def _rows(rates: Mapping[tuple[int, int], float], batch_size: int) -> tuple[dict[str, Any], ...]:
    """Images per second by threads and callers, with the speedup over the first of them."""
    single = next(iter(rates.values()))
    return tuple(
        {
            "threads": threads,
            "callers": callers,
            "batch_size": batch_size,
            "images_per_second": rate,
            "speedup": rate / single,
        }
        for (threads, callers), rate in rates.items()
    )


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
