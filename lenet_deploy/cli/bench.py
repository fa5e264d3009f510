"""`lenet-deploy bench`: latency per batch size."""

import dataclasses
import math
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from lenet_deploy.cli.bench_tables import print_gate, print_run
from lenet_deploy.cli.console import note, plain, print_json, progress, stderr
from lenet_deploy.cli.options import BatchSizes, Device, Seed, Trust, integers_of
from lenet_runtime import devices
from lenet_runtime.backends import BACKENDS
from lenet_runtime.errors import InputError

REGRESSION = 5  # exit code
MOST_PERCENT = 1000  # of --fail-above; a gate that lets even more pass is none

if TYPE_CHECKING:
    from lenet_bench.field import Field
    from lenet_bench.harness import Settings
    from lenet_bench.report import Run


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
        str | None,
        typer.Option(
            help="With --baseline: exit 5 if slower by surely more than this, in percent. "
            "Default: 10%.",
            metavar="PERCENT",
        ),
    ] = None,
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
    from lenet_bench.html.style import plotly
    from lenet_bench.report import read
    from lenet_deploy import benching

    sizes, counts = integers_of(batch_sizes), integers_of(threads, "--threads")
    settings = Settings(min_time, min_iterations, warmup, inputs, seed)
    if fail_above is not None and baseline is None:
        raise InputError("--fail-above: there is nothing to compare with; add --baseline FILE")
    limit, before = (
        share_of("10%" if fail_above is None else fail_above),
        read(baseline) if baseline else None,
    )
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
                paths, names, device=device, threads=counts, trust=trust, stack=stack, step=step
            )
        run = _measure(field, sizes, settings, device, cold_start=cold_start, scaling=scaling)
    if before is not None and not run.interrupted:
        gate = compare(run, before, limit, file=baseline, force=force)
        run = dataclasses.replace(run, gate=gate)
    if json_file != Path("-"):
        print_run(run)
    if run.gate is not None:
        print_gate(run, run.gate)
    _write(run, json_file, csv_file, html_file)
    if run.interrupted:
        raise KeyboardInterrupt
    if run.gate is not None and not run.gate.ok:
        raise typer.Exit(REGRESSION)


def share_of(text: str) -> float:
    """Parse a percentage, ``10%`` or ``10``; 0.1 is the share.

    Raises:
        InputError: It is none, or what it means is in doubt.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(%?)", text)
    percent = float(match[1]) if match else math.nan
    if match and not match[2] and 0 < percent < 1:
        raise InputError(
            f"--fail-above: {text} could mean {text}% or {100 * percent:g}%; write one of the two"
        )
    if not 0 <= percent <= MOST_PERCENT:
        raise InputError(
            f"--fail-above: expected a percentage of 0 to {MOST_PERCENT} like 10%, found {text!r}"
        )
    return percent / 100


def _measure(
    field: "Field",
    sizes: tuple[int, ...],
    settings: "Settings",
    device: str,
    *,
    cold_start: bool,
    scaling: bool,
) -> "Run":
    """Whole calls, then whatever else was asked for, until Ctrl-C."""
    from lenet_bench import field as measuring

    with _bar() as bar:
        run = measuring.measure_calls(field, sizes, settings, device, bar)
    if devices.parse(device).kind == "cuda" and not run.interrupted:
        with _bar() as bar:
            run = measuring.measure_steps(run, field, sizes, device, bar)
    if not run.interrupted:
        with progress() as step:
            if cold_start:
                step("timing cold starts")
                run = measuring.measure_cold_start(run, field)
            if scaling:
                step(f"timing threads and callers at batch {max(run.batch_sizes)}")
                run = measuring.measure_scaling(run, field)
    return run


@contextmanager
def _bar() -> Iterator[Callable[[str, float], None]]:
    """A bar of progress on stderr; what it yields takes the step and the share done."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=stderr, transient=True) as bar:
        task = bar.add_task("warming up", total=1.0)
        yield lambda step, share: bar.update(task, description=step, completed=share)


def _write(
    run: "Run", json_file: Path | None, csv_file: Path | None, html_file: Path | None
) -> None:
    import json

    from lenet_bench.csv_report import csv_text
    from lenet_bench.html.report import write_html
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
            note(f"wrote {plain(file)}")
