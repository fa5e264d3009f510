"""The tables of `docs/scale.md` that the simulation makes: how many cores, and what events cost.

One cell of a fleet is simulated: a balancer and the workers behind it; a larger fleet is many.
"""

import math
from typing import Any

from benchmarks.fleet.answers import Answers
from benchmarks.fleet.record import scenario
from benchmarks.fleet.simulate import Outcome, simulate

Document = dict[str, Any]
LOADS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
WORKERS = (1, 4, 16, 64)
REQUESTS = 30_000
# What grows within minutes is simulated with requests so many times as long: fewer, as busy.
SLOWED, LIMIT = 100, 64
POLICIES = ("round-robin", "two-choices", "least")


def at_load(body: Document, load: float, workers: int, policy: str, seed: int = 0) -> Outcome:
    """A cell at a share of what its workers can answer."""
    rate = load * workers * body["capacity_per_s"]
    return simulate(
        scenario(body, rates=((0, rate),), seconds=REQUESTS / rate, replicas=workers,
                 balance=policy, seed=seed)
    )  # fmt: skip


def p99_by_load(body: Document) -> str:
    """p99 by load, number of workers and balancer, microseconds."""
    columns = [(1, "least"), *((n, p) for n in WORKERS[1:3] for p in POLICIES)]
    lines = [
        "| load | one worker | " + " | ".join(f"{n}, {p}" for n, p in columns[1:]) + " |",
        "|---:" * (len(columns) + 1) + "|",
    ]
    for load in LOADS:
        cells = [f"{at_load(body, load, n, p).percentile_us(99):,.0f}" for n, p in columns]
        lines.append(f"| {load} | {' | '.join(cells)} |")
    return "\n".join(lines)


def workers_needed(body: Document, rate: float, p99_us: float) -> int:
    """The least number of workers whose p99 stays within a limit, behind two choices."""
    least: int = math.ceil(rate / body["capacity_per_s"])
    low, high = least - 1, 4 * least + 1
    while high - low > 1:
        middle = (low + high) // 2
        load = rate / middle / body["capacity_per_s"]
        good = at_load(body, load, middle, "two-choices").percentile_us(99) <= p99_us
        low, high = (low, middle) if good else (middle, high)
    return high


def sizes(body: Document) -> str:
    """Workers, each with a core, for a rate and a p99."""
    limits = (300, 400, 600, 1000)
    lines = [
        "| requests a second | " + " | ".join(f"p99 {limit} us" for limit in limits) + " |",
        "|---:" * (len(limits) + 1) + "|",
    ]
    for rate in (11_574, 50_000, 200_000):
        cells = [str(workers_needed(body, rate, limit)) for limit in limits]
        lines.append(f"| {rate:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def events(body: Document, dying_ms: float) -> str:
    """What deaths and updates cost: eight workers at 60%."""
    rate = 0.6 * 8 * body["capacity_per_s"]
    base: dict[str, Any] = {"rates": ((0, rate),), "seconds": 8.0, "balance": "two-choices"}
    kill = {"kills": (3.0,), "dying": dying_ms / 1e3, "start": 0.6}
    pods, nodes = {"replicas": 4, "workers": 2}, {"replicas": 8, "workers": 1}
    update = {"update": 1.0, "start": 0.2, "endpoint_lag": 2.0}
    retry = {"retries": 3, "retry_after": 0.1}
    cases: dict[str, dict[str, Any]] = {
        "nothing happens": pods,
        "a worker of 8 is killed; its pod has another": pods | kill,
        "that, clients retry after 0.1 s": pods | kill | retry,
        "a pod of one worker dies, noticed after 1 s": nodes | kill | {"notice": 1.0},
        "that, clients retry after 0.1 s, three times": nodes | kill | {"notice": 1.0} | retry,
        "rolling update, drain 5 s, balancer 2 s behind": nodes | update | {"drain": 5.0},
        "rolling update, drain 0 s, balancer 2 s behind": nodes | update | {"drain": 0.0},
    }
    lines = ["| what happens | lost of 10^6 | p50 us | p99 us |", "|---|---:|---:|---:|"]
    for name, options in cases.items():
        lines.append(_event(name, simulate(scenario(body, **base | options))))
    return "\n".join(lines)


def _event(name: str, outcome: Answers) -> str:
    share = outcome.lost / len(outcome.due) * 10**6
    p50, p99 = (outcome.percentile_us(percent) for percent in (50, 99))
    return f"| {name} | {share:,.0f} | {p50:,.0f} | {p99:,.0f} |"


def growth(body: Document) -> str:
    """The load trebles at once: what an autoscaler of Kubernetes costs until it has followed."""
    rate = 0.5 * 2 * body["capacity_per_s"] / SLOWED
    slow = body | {"service_us": [SLOWED * one for one in body["service_us"]]}
    lines = [
        "| replicas at the start | aim: requests under way | lost | answered within 1 s, in the "
        "minute after | replicas after 30 s, 60 s, 120 s |",
        "|---:|---:|---:|---:|---|",
    ]
    for replicas, target in ((2, 0.7), (3, 0.4), (4, 0.7), (6, 0.7)):
        outcome = simulate(
            scenario(slow, rates=((0, rate), (30, 3 * rate)), seconds=150.0, replicas=replicas,
                     start=2.0, target=target, limit=LIMIT, endpoint_lag=1.0)
        )  # fmt: skip
        after = outcome.latency[(outcome.due > 30) & (outcome.due < 90)]
        counts = [
            [count for moment, count in outcome.replicas if moment <= 30 + later][-1]
            for later in (30, 60, 120)
        ]
        lines.append(
            f"| {replicas} | {target} | {outcome.lost:,} of {len(outcome.due):,} | "
            f"{(after <= 1).mean():.1%} | {', '.join(map(str, counts))} |"
        )
    return "\n".join(lines)
