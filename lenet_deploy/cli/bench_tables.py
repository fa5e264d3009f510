"""The tables of `lenet-deploy bench`."""

import dataclasses
from typing import TYPE_CHECKING, Any

from lenet_deploy.cli.console import note, plain, stderr, stdout, table
from lenet_runtime import cpu

if TYPE_CHECKING:
    from lenet_bench.gate import Gate
    from lenet_bench.gpu.result import DeviceSection
    from lenet_bench.report import Run
    from lenet_bench.result import LatencyResult


def print_run(run: "Run") -> None:
    """Everything that was measured, who took no part, and a line on the fastest."""
    from lenet_bench.report import crossovers, remarks, summary

    if run.results:
        _print_latency(run)
    stdout.print(plain("; ".join(crossovers(run))) if run.results else "nothing was measured")
    for line in remarks(run):
        stdout.print(plain(_signs(line)), highlight=False)
    for skipped in run.skipped:
        stdout.print(f"not measured: {plain(skipped['engine'])}: {plain(skipped['reason'])}")
    if run.device is not None:
        print_steps(run, run.device)
    title = "Cold start: milliseconds in a fresh process, medians"
    print_rows(
        title, run.cold_start, _COLD_START, drop=("second", "disk MiB", "import", "peak MiB")
    )
    title = "Scaling: images per second of all callers together"
    print_rows(title, run.scaling, _SCALING, drop=("batch",))
    if run.results:
        stdout.print(plain(summary(run)), highlight=False)


def _print_latency(run: "Run") -> None:
    from lenet_bench.html.words import right
    from lenet_bench.result import times

    speedup = f"x {run.baseline}"
    rows = table(
        "engine", "batch", "p50", "p90", "p99", "images/s", "right", plain(speedup), "95% interval",
        title=plain(f"Latency in microseconds on {cpu.model()}, input {run.settings.inputs}"),
        drop=("95% interval", "p90", "images/s", "right", "p99"),
        caption="NumPy in, NumPy out, checks included" + "; * the fastest" * any_winner(run),
        legend={
            speedup: plain(f"how many times as fast as {run.baseline}, by medians"),
            "right": f"{run.data_set} that are classified rightly",
        },
    )  # fmt: skip
    winners = run.winners()
    for size in run.batch_sizes:
        for result in (r for r in run.results if r.batch_size == size):
            ratio, best = run.ratio(result), winners[size] == result.engine
            speed = None if ratio is None else ratio.speedup
            is_baseline = result.engine == run.baseline
            rows.add_row(
                _marked(result, best=best),
                str(size),
                *(microseconds(result.percentile_us(p)) for p in (50, 90, 99)),
                f"{result.images_per_second:,.0f}",
                right(run.engines.get(result.engine, {})),
                times(speed.value) if speed else "",
                f"{times(speed.low)} to {times(speed.high)}" if speed and not is_baseline else "",
            )
        rows.add_section()
    stdout.print(rows)


def any_winner(run: "Run") -> bool:
    """Whether an engine is the fastest beyond the noise, at some batch size."""
    return any(run.winners().values())


def _marked(result: "LatencyResult", *, best: bool) -> str:
    """The engine's name, and the signs that `lenet_bench.report.remarks` explains."""
    signs = " †" * (not result.warm) + " ‡" * result.waited
    return plain(result.engine + _signs(signs)) + " [bold green]*[/]" * best


def _signs(text: str) -> str:
    """With other signs where the terminal cannot show these."""
    if stdout.encoding.startswith("utf"):
        return text
    return text.replace("†", "^").replace("‡", "!")


def print_steps(run: "Run", section: "DeviceSection") -> None:
    """The GPU's own time, where a call's time goes, and the state of the GPU."""
    from lenet_bench.gpu.result import FIGURES, MOSTLY

    rows = table(
        "engine", "batch", "device", "single", "launch", "upload", "downl.", "bound",
        title=plain(f"Microseconds of each step on {run.fingerprint['machine']['gpu']}, p50"),
        drop=("bound", "downl.", "upload", "launch", "single"),
        legend={
            "device": "the kernels alone",
            "single": "one launch on an idle stream",
            "bound": "share of the memory bound",
        },
    )  # fmt: skip
    for size in run.batch_sizes:
        for result in (r for r in section.results if r.batch_size == size):
            rate = section.bytes_per_second
            rows.add_row(
                plain(result.name) + (" ~" if result.hidden_share < MOSTLY else ""),
                str(size),
                *(_short(result.p50_us(figure)) for figure in FIGURES),
                "" if rate is None else f"{result.bytes_share(rate):.1%}",
            )
        rows.add_section()
    stdout.print(rows)
    print_rows(
        "Where the time of a call goes, us",
        tuple(dataclasses.asdict(one) for one in section.splits(run.results)),
        _SPLIT,
        drop=("copy", "launch", "Python"),
    )
    if any(result.hidden_share < MOSTLY for result in section.results):
        stdout.print("~ the rate of the host's launches, which were not all queued in time")
    during = section.state.get("during", {})
    if during.get("samples"):
        shown = ("power_w", "sm_mhz", "memory_mhz", "temperature_c")
        facts = [f"{key} {during[key]['p50']:.0f}" for key in shown if during.get(key)]
        reasons = ", ".join(during["throttle_reasons"]) or "nothing"
        stdout.print(plain(f"medians: {', '.join(facts)}; clocks limited by {reasons}"))
    for skipped in section.skipped:
        text = f"no steps of: {skipped['engine']}: {skipped['reason']}"
        stdout.print(plain(text))


def _short(value: float) -> str:
    return f"{value:.2f}" if value < 10 else microseconds(value)


_COLD_START = {
    "engine": "engine",
    "import_ms": "import",
    "load_ms": "load",
    "first_run_ms": "first",
    "second_run_ms": "second",
    "process_ms": "process",
    "peak_memory_mib": "peak MiB",
    "installed_mib": "disk MiB",
}
_SCALING = {
    "engine": "engine",
    "threads": "threads",
    "callers": "callers",
    "batch_size": "batch",
    "images_per_second": "images/s",
    "speedup": "speedup",
}
_SPLIT = {
    "engine": "engine",
    "batch_size": "batch",
    "end_to_end_us": "end to end",
    "python_us": "Python",
    "launch_us": "launch",
    "copy_us": "copy",
    "compute_us": "compute",
}


def print_rows(
    title: str,
    rows: tuple[dict[str, Any], ...],
    headings: dict[str, str],
    drop: tuple[str, ...],
) -> None:
    """A table of `rows`, its columns by key, the name first; none where there are no rows."""
    if not rows:
        return
    shown = table(*headings.values(), title=title, drop=drop)
    for row in rows:
        shown.add_row(*(_cell(row[key]) for key in headings))
    stdout.print(shown)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
    return "-" if value is None else plain(value)


def microseconds(value: float) -> str:
    """With a digit behind the point where that says something."""
    return f"{value:.1f}" if value < 1000 else f"{value:,.0f}"


def print_gate(run: "Run", gate: "Gate") -> None:
    """Old and new microseconds of each engine, how they were judged, and the verdict."""
    rows = table(
        "engine", "batch", "old us", "new us", "change", "95% interval", "verdict",
        title=plain(f"Against {gate.before['file'] or 'the report of before'}"),
        drop=("95% interval", "old us", "change"),
        caption=plain(f"{gate.rule(run.baseline)}."),
    )  # fmt: skip
    for change in gate.changes:
        ratio = change.ratio
        rows.add_row(
            plain(change.engine),
            str(change.batch_size),
            microseconds(change.old_us),
            microseconds(change.new_us),
            percent(ratio.value),
            f"{percent(ratio.low)} to {percent(ratio.high)}",
            f"[red]{change.verdict}[/]" if change.regressed else change.verdict,
        )
    stderr.print(rows)
    slower = [f"{c.engine} at batch {c.batch_size}" for c in gate.changes if c.regressed]
    if slower:
        limit = f"[red]slower by surely more than {100 * gate.fail_above:.4g}%:[/]"
        note(f"{limit} {plain(', '.join(slower))}")
    else:
        note(f"nothing is slower by surely more than {100 * gate.fail_above:.4g}%")


def percent(ratio: float) -> str:
    """How much more or less a ratio is than 1: ``+20%``, ``-3.1%``."""
    change = 100 * (ratio - 1)
    return f"{change:+.0f}%" if abs(change) >= 10 else f"{change:+.1f}%"
