"""The tables of `lenet-deploy bench`."""

import dataclasses
from typing import TYPE_CHECKING, Any

from rich.table import Table

from lenet_deploy.cli.console import note, plain, stderr, stdout, table
from lenet_runtime import cpu

if TYPE_CHECKING:
    from lenet_bench.gate import Gate
    from lenet_bench.gpu.result import DeviceSection
    from lenet_bench.report import Run


def print_run(run: "Run") -> None:
    """Everything that was measured, and who took no part."""
    from lenet_bench.report import crossovers

    rows = table(
        "engine", "batch", "p50", "p90", "p99", "images/s", plain(f"/ {run.baseline}"),
        title=plain(f"Latency in microseconds on {cpu.model()}, input {run.settings.inputs}"),
        caption="NumPy in, NumPy out, checks included; ratio of medians with its 95% interval",
    )  # fmt: skip
    winners = run.winners()
    for size in run.batch_sizes:
        for result in (r for r in run.results if r.batch_size == size):
            ratio, best = run.ratio(result), winners[size] == result.engine
            rows.add_row(
                plain(result.engine) + (" [bold green]*[/]" if best else ""),
                str(size),
                *(microseconds(result.percentile_us(p)) for p in (50, 90, 99)),
                f"{result.images_per_second:,.0f}",
                f"{ratio.value:.3f} ±{(ratio.high - ratio.low) / 2:.3f}" if ratio else "",
            )
        rows.add_section()
    stdout.print(rows)
    winners_text = "; ".join(crossovers(run))
    stdout.print(f"* {plain(winners_text)}" if run.results else "nothing was measured")
    for skipped in run.skipped:
        stdout.print(f"not measured: {plain(skipped['engine'])}: {plain(skipped['reason'])}")
    if run.device is not None:
        print_steps(run, run.device)
    title = "Cold start: milliseconds in a fresh process, medians"
    print_rows(title, run.cold_start, _COLD_START)
    print_rows("Scaling: images per second of all callers together", run.scaling, _SCALING)


def print_steps(run: "Run", section: "DeviceSection") -> None:
    """The GPU's own time, where a call's time goes, and the state of the GPU."""
    from lenet_bench.gpu.result import FIGURES, MOSTLY

    rows = table(
        "engine", "batch", "device", "single", "launch", "upload", "downl.", "bound",
        title=plain(f"Microseconds of each step on {run.fingerprint['machine']['gpu']}, p50"),
        caption="device: the kernels alone; single: one launch on an idle stream; "
        "bound: share of the memory bound",
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


def print_rows(title: str, rows: tuple[dict[str, Any], ...], headings: dict[str, str]) -> None:
    """A table of `rows`, its columns by key; none where there are no rows."""
    if not rows:
        return
    shown = Table(title=title)
    for key, heading in headings.items():  # numbers fold as well: there are many columns
        shown.add_column(heading, justify="left" if key == "engine" else "right", overflow="fold")
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
        title=plain(f"Against {gate.before['file'] or 'the report of before'}, fast tenth"),
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
