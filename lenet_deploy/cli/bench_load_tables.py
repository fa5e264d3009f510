"""The tables of `lenet-deploy bench --scenario server`."""

from typing import TYPE_CHECKING

from lenet_deploy.cli.bench_tables import microseconds
from lenet_deploy.cli.console import plain, stdout, table
from lenet_runtime import cpu

if TYPE_CHECKING:
    from lenet_bench.openloop.report import LoadRun
    from lenet_bench.openloop.result import RateResult
    from lenet_bench.openloop.search import Found

_SHOWN = (50.0, 99.0, 99.9, 99.99)


def print_load(run: "LoadRun") -> None:
    """Every target at every rate, where the searches ended, and what to know of it."""
    from lenet_bench.openloop.report import remarks

    if run.results:
        _print_rates(run)
    else:
        stdout.print("nothing was measured")
    if run.found:
        _print_found(run)
    for line in remarks(run):
        stdout.print(plain(line), highlight=False)
    for skipped in run.skipped:
        stdout.print(f"not measured: {plain(skipped['engine'])}: {plain(skipped['reason'])}")


def _print_rates(run: "LoadRun") -> None:
    limit = run.settings.p99_limit_us
    judged = ["holds"] * (limit is not None)
    rows = table(
        "target", "offered/s", "answered/s", "p50", "p99", "p99.9", "p99.99", "stalls", "late",
        *judged,
        title=plain(f"Latency in microseconds from the intended start, on {cpu.model()}"),
        drop=("late", "answered/s", "p99.99", "stalls", "holds", "p99.9", "p50"),
        caption="one image a request; arrivals of a Poisson process",
        legend={
            "p99.99": "- where fewer than 10,000 requests, or their last ones not answered",
            "stalls": "times without an answer: how many, and the longest",
            "late": "p99 of what the generator itself added",
            "holds": f"p99 surely within {microseconds(limit or 0)} us, by MLPerf's early stopping",
        },
    )  # fmt: skip
    for target in run.targets:
        for result in run.of(target):
            rows.add_row(*_cells(result, limit))
        rows.add_section()
    stdout.print(rows)


def _cells(result: "RateResult", limit: float | None) -> tuple[str, ...]:
    stalls = result.stalls
    longest = max((stall.ms for stall in stalls), default=0.0)
    verdict = {True: "yes", False: "no", None: "unsure"}[
        None if limit is None else result.holds(limit)
    ]
    return (
        plain(result.target),
        f"{result.rate:,.0f}",
        f"{result.answered_per_second:,.0f}",
        *(_figure(result, percent) for percent in _SHOWN),
        f"{len(stalls)}, {longest:,.0f} ms" if stalls else "-",
        microseconds(result.late_p99_us),
        *(["-" if result.refused else verdict] if limit is not None else ()),
    )


def _figure(result: "RateResult", percent: float) -> str:
    value = result.figure_us(percent)
    if value is not None:
        return microseconds(value)
    return "refused" if result.is_refused(percent) else "-"


def _print_found(run: "LoadRun") -> None:
    limit = microseconds(run.settings.p99_limit_us or 0)
    rows = table(
        "target", "requests/s", "interval",
        title=f"The highest rate whose p99 is surely within {limit} us",
        drop=("interval",),
        caption="interval: from the highest rate that held to the lowest above it that did not",
    )  # fmt: skip
    for found in run.found:
        rows.add_row(plain(found.target), _rate(found), found.interval)
    stdout.print(rows)
    for found in run.found:
        if found.ended_by:
            stdout.print(plain(f"{found.target}: {found.ended_by}"), highlight=False)


def _rate(found: "Found") -> str:
    text = "none" if found.rate is None else f"{found.rate:,.0f}"
    return text if found.complete else f"{text} so far"
