"""`lenet-deploy bench`: latency per batch size."""

import dataclasses
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from lenet_deploy.cli.bench_tables import microseconds, print_rows, print_steps
from lenet_deploy.cli.console import plain, print_json, progress, stderr, stdout
from lenet_deploy.cli.options import BatchSizes, Device, Seed, Trust, batch_sizes_of, integers_of
from lenet_runtime import cpu, devices
from lenet_runtime.backends import BACKENDS
from lenet_runtime.errors import InputError

REGRESSION = 5  # exit code

if TYPE_CHECKING:
    from lenet_bench.compare import Change
    from lenet_bench.harness import Settings
    from lenet_bench.report import Run
    from lenet_deploy.benching import Field


def bench(
    artifacts: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Artifacts' folders. Default, or 'all': the bundled network in every format.",
            metavar="[ARTIFACT]...",
        ),
    ] = None,
    *,
    batch_sizes: BatchSizes = "1,8,64,512",
    backend: Annotated[
        str,
        typer.Option(
            help="Engines, separated by commas. auto: every one that runs the format.",
            metavar="|".join(["auto", *BACKENDS]),
        ),
    ] = "auto",
    device: Device = "cpu",
    threads: Annotated[
        str, typer.Option(help="CPU threads of every engine; several to compare.", metavar="N,N...")
    ] = "1",
    trust: Trust = False,
    min_time: Annotated[
        float,
        typer.Option(min=0.01, max=3600, help="Seconds for each engine at each batch size."),
    ] = 0.5,
    min_iterations: Annotated[
        int, typer.Option(min=1, max=10**7, help="Samples for each engine at each batch size.")
    ] = 50,
    warmup: Annotated[float, typer.Option(min=0, max=600, help="Seconds, at least.")] = 0.1,
    inputs: Annotated[
        str,
        typer.Option(
            "--input",
            help="Fresh arrays in turn, one hot array, or swept caches.",
            metavar="rotating|hot|cold",
        ),
    ] = "rotating",
    cold_start: Annotated[
        bool, typer.Option("--cold-start", help="Time fresh processes to their first answer.")
    ] = False,
    scaling: Annotated[
        bool, typer.Option("--scaling", help="Time more threads, and callers of one session.")
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the report; - for stdout.", metavar="FILE")
    ] = None,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="Write one line per figure.", metavar="FILE")
    ] = None,
    html_file: Annotated[
        Path | None, typer.Option("--html", help="Write a page with plots.", metavar="FILE")
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(help="Compare with this --json report of before.", metavar="FILE"),
    ] = None,
    fail_above: Annotated[
        str, typer.Option(help="Exit 5 if slower by surely more than this.", metavar="10%")
    ] = "10%",
    force: Annotated[
        bool, typer.Option("--force", help="Compare reports of unlike machines all the same.")
    ] = False,
    seed: Seed = 0,
) -> None:
    """Time engines side by side: NumPy in, NumPy out, input checks included.

    Engines take turns in short slices, so that what slows the machine slows all of them;
    benchmarks/README.md describes the method. On a GPU the steps of a call are timed as well, with
    CUDA graphs and without. Ctrl-C prints what was measured so far.
    """
    from lenet_bench import Settings
    from lenet_bench.compare import compare
    from lenet_bench.html.plots import plotly
    from lenet_bench.report import read
    from lenet_deploy import benching

    sizes, counts = batch_sizes_of(batch_sizes), integers_of("--threads", threads)
    settings = Settings(min_time, min_iterations, warmup, inputs, seed)
    limit, before = _share(fail_above), read(baseline) if baseline else None
    if html_file is not None:
        plotly()  # a missing one is said before the measurement, not after it
    paths = [] if artifacts in (None, [Path("all")]) else list(artifacts or ())
    names = [name.strip() for name in backend.split(",")]
    unknown = sorted(set(names) - {"auto", *BACKENDS})
    if unknown:
        raise InputError(f"--backend: expected auto or some of {list(BACKENDS)}, found {unknown}")
    with ExitStack() as stack:
        with progress() as step:
            field = benching.gather(
                paths,
                backends=names,
                device=device,
                threads=counts,
                trust=trust,
                stack=stack,
                step=step,
            )
        run = _measure(field, sizes, settings, device)
        if devices.parse(device).kind == "cuda" and not run.interrupted:
            run = _measure_steps(run, field, sizes, device)
        if not run.interrupted:
            run = _extras(run, field, cold_start=cold_start, scaling=scaling)
    if json_file != Path("-"):
        _print(run)
    _write(run, json_file, csv_file, html_file)
    if run.interrupted:
        raise KeyboardInterrupt
    if before is not None:
        changes = compare(run, before, limit, force=force)
        _print_changes(changes)
        slower = [f"{c.engine} at batch {c.batch_size}" for c in changes if c.regressed]
        if slower:
            stderr.print(
                f"[red]slower than {plain(baseline)} by surely more than {limit:.0%}:[/] "
                f"{plain(', '.join(slower))}",
                soft_wrap=True,
            )
            raise typer.Exit(REGRESSION)


def _share(text: str) -> float:
    """Parse ``10%`` or ``0.1``."""
    try:
        value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 100:
        raise InputError(f"--fail-above: expected a share like 10%, found {text!r}")
    return value


def _measure(field: "Field", sizes: tuple[int, ...], settings: "Settings", device: str) -> "Run":
    from lenet_bench import fingerprint, measure
    from lenet_bench.report import Run
    from lenet_bench.result import LatencyResult

    results: list[LatencyResult] = []
    interrupted, where = False, fingerprint(device)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=stderr, transient=True) as bar:
        task = bar.add_task("warming up", total=1.0)
        try:
            measure(
                {contender.name: contender.run for contender in field.contenders},
                sizes,
                settings,
                progress=lambda step, share: bar.update(task, description=step, completed=share),
                keep=results.append,
            )
        except KeyboardInterrupt:
            interrupted = True
    return Run(
        settings=settings,
        fingerprint=where,
        results=tuple(results),
        engines={contender.name: contender.details for contender in field.contenders},
        baseline=field.baseline,
        skipped=tuple(field.skipped),
        interrupted=interrupted,
    )


def _measure_steps(run: "Run", field: "Field", sizes: tuple[int, ...], device: str) -> "Run":
    """The GPU's own time, step by step; what cannot be timed so is listed in its section."""
    from lenet_bench.gpu.device import Hooks
    from lenet_bench.gpu.staged import measure_section

    predictors = {contender.name: contender.predictor for contender in field.contenders}
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=stderr, transient=True) as bar:
        task = bar.add_task("warming up", total=1.0)
        hooks = Hooks(
            progress=lambda step, share: bar.update(task, description=step, completed=share)
        )
        section, interrupted = measure_section(predictors, sizes, device, run.settings, hooks)
    return dataclasses.replace(run, device=section, interrupted=interrupted)


def _extras(run: "Run", field: "Field", *, cold_start: bool, scaling: bool) -> "Run":
    from lenet_bench import coldstart
    from lenet_deploy.benching import measure_scaling

    with progress() as step:
        if cold_start:
            step("timing cold starts")
            starts = {c.name: c.load for c in field.contenders if c.load is not None}
            run = dataclasses.replace(run, cold_start=coldstart.measure(starts))
        if scaling:
            largest = max(run.batch_sizes)
            step(f"timing threads and callers at batch {largest}")
            rows = measure_scaling(field, largest, run.settings)
            run = dataclasses.replace(run, scaling=rows)
    return run


def _write(
    run: "Run", json_file: Path | None, csv_file: Path | None, html_file: Path | None
) -> None:
    import json

    from lenet_bench.html.report import write_html
    from lenet_bench.report import csv_text
    from lenet_runtime.artifact.files import write_atomically

    document = run.to_dict()
    if json_file == Path("-"):
        print_json(document)
    elif json_file is not None:
        write_atomically(json_file, (json.dumps(document, allow_nan=False) + "\n").encode())
    if csv_file is not None:
        write_atomically(csv_file, csv_text(run).encode())
    if html_file is not None:
        write_html(run, html_file)
    for file in (json_file, csv_file, html_file):
        if file is not None and file != Path("-"):
            stderr.print(f"wrote {plain(file)}", highlight=False, soft_wrap=True)


def _print(run: "Run") -> None:
    from lenet_bench.report import crossovers

    table = Table(
        title=plain(f"Latency in microseconds on {cpu.model()}, input {run.settings.inputs}"),
        caption="NumPy in, NumPy out, checks included; ratio of medians with its 95% interval",
    )
    table.add_column("engine", overflow="fold", min_width=13)
    for heading in ("batch", "p50", "p90", "p99", "images/s", f"/ {run.baseline}"):
        table.add_column(heading, justify="right", no_wrap=True)
    winners = run.winners()
    for size in run.batch_sizes:
        for result in (r for r in run.results if r.batch_size == size):
            ratio, best = run.ratio(result), winners[size] == result.engine
            table.add_row(
                plain(result.engine) + (" [bold green]*[/]" if best else ""),
                str(size),
                *(microseconds(result.percentile_us(p)) for p in (50, 90, 99)),
                f"{result.images_per_second:,.0f}",
                f"{ratio.value:.3f} ±{(ratio.high - ratio.low) / 2:.3f}" if ratio else "",
            )
        table.add_section()
    stdout.print(table)
    found = "; ".join(crossovers(run))
    stdout.print(f"* {plain(found)}" if run.results else "nothing was measured")
    for skipped in run.skipped:
        stdout.print(f"not measured: {plain(skipped['engine'])}: {plain(skipped['reason'])}")
    if run.device is not None:
        print_steps(run, run.device)
    title = "Cold start: milliseconds in a fresh process, medians"
    print_rows(title, run.cold_start, _COLD_START)
    print_rows("Scaling: images per second of all callers together", run.scaling, _SCALING)


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


def _print_changes(changes: "list[Change]") -> None:
    table = Table(title="Against the report of before: 1 is unchanged, above 1 is slower")
    for heading in ("engine", "batch", "ratio", "95% interval", ""):
        table.add_column(heading, justify="left" if heading == "engine" else "right")
    for change in changes:
        ratio = change.ratio
        table.add_row(
            plain(change.engine),
            str(change.batch_size),
            f"{ratio.value:.3f}",
            f"{ratio.low:.3f} to {ratio.high:.3f}",
            "[red]regressed[/]" if change.regressed else "preempted" * change.preempted,
        )
    stderr.print(table)
