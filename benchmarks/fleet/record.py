"""Measure a real server's service times here, and hold the simulation against the real thing.

Service times come from closed loops and one low rate; what they must predict are open loops at
other rates, two workers, and the death of one. Measured and simulated fleets get the same arrivals.
"""

import argparse
import datetime
import json
import os
import select
import signal
import socket
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fleet import real
from benchmarks.fleet.answers import Answers, Floats
from benchmarks.fleet.simulate import Scenario, simulate

RESULTS = Path(__file__).parents[1] / "results"
LOADS = (0.2, 0.4, 0.6, 0.8, 0.9)
LEAST_REQUESTS = 400  # in a window
QUANTILES = 400  # so what is rarer than one in 800 is not in them
CLOSED_LOOPS = 7
CONNECTIONS = 32
CORES = {real.GENERATOR_CORE, real.SERVER_CORE}
Document = dict[str, Any]


def record(arguments: argparse.Namespace) -> Path:
    """Measure, and write ``fleet-LEVEL-DATE.json``."""
    from lenet_bench import fingerprint

    before = fingerprint()
    document: Document = {
        "schema": "lenet-fleet/1",
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "command": "python -m benchmarks.fleet record",
        "settings": {"windows": arguments.windows, "window_s": arguments.seconds,
                     "connections": CONNECTIONS},
        "fingerprint": before,
        "bodies": {}, "validation": [], "kills": [],
    }  # fmt: skip
    messages = real.messages()
    with real.serving(arguments.artifact, 1, {real.SERVER_CORE}) as server:
        for name, message in messages.items():
            body = document["bodies"][name] = service(server, message)
            document["validation"] += held(arguments, server, name, message, body)
    name, message = list(messages.items())[-1]
    with real.serving(arguments.artifact, 2, CORES) as server:
        body = document["bodies"][name]
        body["slower_beside_another"] = slowdown(server, message, body)
        document["validation"] += held(arguments, server, name, message, body, workers=2)
    document["dying_ms"] = dying_ms(arguments)
    for seed in range(arguments.kills):
        dying = document["dying_ms"] / 1e3
        document["kills"].append(killed(arguments, name, message, body, dying=dying, seed=seed))
    document["load_average_1min_after"] = fingerprint()["state"]["load_average_1min"]
    level = before["machine"]["cpu_level"]
    path: Path = arguments.json or RESULTS / f"fleet-{level}-{document['date']}.json"
    # Flat, so that a sample is no line.
    path.write_text(json.dumps(document) + "\n")
    return path


def service(server: real.Server, message: bytes) -> Document:
    """What one request costs: how long it occupies a worker, and what it takes beside.

    A closed loop of 8 connections keeps the worker busy, so its rate is one over the mean service
    time. One connection gives the distribution: what it takes longer is spent outside the worker.
    A tenth of the load finds it asleep, and what that takes longer is the waking up.
    """
    real.ask(server.port, message, np.zeros(500), 4)
    begin = server.cpu_seconds()
    busy = [real.ask(server.port, message, np.zeros(1000), 8) for _ in range(CLOSED_LOOPS)]
    cpu_us = (server.cpu_seconds() - begin) / CLOSED_LOOPS / 1000 * 1e6
    mean = 1 / statistics.median(window.answered_per_second for window in busy)
    single = [real.ask(server.port, message, np.zeros(1000), 1) for _ in range(CLOSED_LOOPS)]
    shares = (np.arange(QUANTILES) + 0.5) / QUANTILES
    each = [np.quantile(np.diff(np.sort(window.latency)), shares) for window in single]
    quantiles = np.median(each, axis=0)  # so a stall in one of them is in none
    overhead = float(quantiles.mean()) - mean
    due = poisson(0.1 / mean, 0.5, 99)
    rare = [real.ask(server.port, message, due, CONNECTIONS) for _ in range(CLOSED_LOOPS)]
    usual = statistics.median(float(np.median(window.latency)) for window in rare)
    wake = max(usual - float(np.median(quantiles)), 0.0)
    return {
        "bytes": len(message), "capacity_per_s": round(1 / mean),
        "cpu_us": round(cpu_us, 1), "mean_us": round(mean * 1e6, 1),
        "overhead_us": round(overhead * 1e6, 1), "wake_us": round(wake * 1e6, 1),
        "service_us": [round(float(one - overhead) * 1e6, 1) for one in quantiles],
    }  # fmt: skip


def slowdown(server: real.Server, message: bytes, body: Document) -> float:
    """How much longer a request takes where the other core is busy, too: with its worker and us."""
    real.ask(server.port, message, np.zeros(500), 16)
    busy = [real.ask(server.port, message, np.zeros(1000), 16) for _ in range(CLOSED_LOOPS)]
    most = statistics.median(window.answered_per_second for window in busy)
    return round(float(2 * body["capacity_per_s"] / most), 3)


def scenario(body: Document, *, slower: float = 1.0, **options: Any) -> Scenario:
    """A scenario of requests that were measured, or so many times slower; times in seconds."""
    measured = {"overhead": body["overhead_us"] / 1e6, "wake": body["wake_us"] / 1e6}
    return Scenario(np.array(body["service_us"]) * slower / 1e6, **measured | options)


def held(
    arguments: argparse.Namespace,
    server: real.Server,
    name: str,
    message: bytes,
    body: Document,
    *,
    workers: int = 1,
) -> Iterator[Document]:
    """Open loops, measured and simulated, at shares of what the workers can answer.

    Many short windows, and medians over them: what others do on the machine spoils a few.
    """
    slower = body["slower_beside_another"] if workers > 1 else 1.0
    for load in LOADS:
        print(f"{name}, {workers} workers, {load:.0%}", file=sys.stderr, flush=True)
        rate = load * workers * body["capacity_per_s"] / slower
        windows = []
        for seed in range(arguments.windows):
            due = poisson(rate, max(arguments.seconds, LEAST_REQUESTS / rate), seed)
            split: list[int] = []
            took = real.ask(
                server.port, message, due, CONNECTIONS,
                ready=lambda split=split: split.extend(server.split()),
            )  # fmt: skip
            simulated = simulate(
                scenario(body, arrivals=due, workers=workers, balance="connections",
                         connections=tuple(split), slower=slower, seed=seed)
            )  # fmt: skip
            windows.append(
                figures("measured", took) | figures("simulated", simulated)
                | {"late_p99_us": float(np.percentile(took.late, 99) * 1e6)}
            )  # fmt: skip
        medians = {key: round(statistics.median(w[key] for w in windows)) for key in windows[0]}
        yield {"body": name, "workers": workers, "load": load, "rate": round(rate)} | medians


def figures(kind: str, answers: Answers) -> dict[str, float]:
    """Of an open loop."""
    return {
        f"{kind}_p50_us": answers.percentile_us(50), f"{kind}_p99_us": answers.percentile_us(99),
        f"{kind}_per_s": answers.answered_per_second,
    }  # fmt: skip


def killed(
    arguments: argparse.Namespace,
    name: str,
    message: bytes,
    body: Document,
    *,
    dying: float,
    seed: int,
) -> Document:
    """One of two workers is killed, at a rate of 0.8 of what one can answer."""
    with real.serving(arguments.artifact, 2, CORES) as server:
        workers = server.workers
        real.ask(server.port, message, np.zeros(300), 8)
        rate, middle = 0.8 * body["capacity_per_s"], 0.5
        due = poisson(rate, 2 * middle, 1000 + seed)

        def kill() -> None:
            os.kill(workers[0], signal.SIGKILL)

        took = real.ask(server.port, message, due, CONNECTIONS, act=kill, act_at=middle)
    half = CONNECTIONS // 2
    outcome = simulate(
        scenario(body, arrivals=due, workers=2, balance="connections", connections=(half, half),
                 kills=(middle,), dying=dying, start=0.5, seed=seed)
    )  # fmt: skip
    return {"body": name, "rate": round(rate), "measured_lost": took.lost,
            "simulated_lost": outcome.lost}  # fmt: skip


def poisson(rate: float, seconds: float, seed: int) -> Floats:
    """Arrivals, in seconds."""
    from lenet_bench.openloop.arrivals import poisson as draw

    return draw(rate, seconds, seed) / 1e9


def dying_ms(arguments: argparse.Namespace) -> float:
    """From SIGKILL of a worker until its connections close: the system frees its memory first."""
    took = []
    for _ in range(7):
        with real.serving(arguments.artifact, 2, CORES) as server:
            ends = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(16)]
            time.sleep(0.2)  # until they are accepted
            workers = server.workers
            begin = time.perf_counter()
            os.kill(workers[0], signal.SIGKILL)
            select.select(ends, [], [], 5)
            took.append((time.perf_counter() - begin) * 1e3)
            for end in ends:
                end.close()
    return round(statistics.median(took), 2)
