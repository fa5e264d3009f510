"""`lenet-deploy bench`: latency per batch size."""

import dataclasses
import math
import re
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lenet_deploy.cli.bench_outputs import STDOUT, Outputs
from lenet_deploy.cli.bench_pictures import Scope, bench_pictures
from lenet_deploy.cli.bench_server import Load, Scenario, bench_server
from lenet_deploy.cli.bench_tables import print_gate, print_run
from lenet_deploy.cli.console import progress, share_done
from lenet_deploy.cli.network_options import Network, with_network
from lenet_deploy.cli.options import (
    BatchSizes,
    Device,
    Seed,
    Trust,
    completing,
    integers_of,
    with_flags,
)
from lenet_runtime import devices
from lenet_runtime.backends import BACKENDS
from lenet_runtime.errors import DeployError, InputError

REGRESSION = 5  # exit code
MOST_PERCENT = 1000  # of --fail-above; a gate that lets even more pass is none

if TYPE_CHECKING:
    from lenet_bench.field import Field
    from lenet_bench.report import Run


@with_flags(Load, "load")
@with_network()
def bench(
    artifacts: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Artifacts, folders of artifacts, and .onnx files of other makers. Default, or "
            "'all': the bundled network, or that of --checkpoint, in every format.",
            metavar="ARTIFACT|FOLDER|FILE.onnx",
        ),
    ] = None,
    *,
    context: typer.Context,
    network: Network,
    load: Load,
    batch_sizes: BatchSizes = "1,8,64,512",
    backend: Annotated[
        str,
        typer.Option(
            help=f"Engines, separated by commas: {', '.join(BACKENDS)}; auto for every one that "
            "runs the format.",
            metavar="ENGINE,...",
            autocompletion=completing("auto", *BACKENDS),
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
            autocompletion=completing("rotating", "hot", "cold"),
        ),
    ] = "rotating",
    scope: Annotated[
        Scope,
        typer.Option(
            help="Whole calls of sessions on arrays; or what decoding and preparing pictures "
            "costs one session.",
        ),
    ] = Scope.session,
    cold_start: Annotated[
        bool, typer.Option("--cold-start", help="Time fresh processes to their first answer.")
    ] = False,
    scaling: Annotated[
        bool, typer.Option("--scaling", help="Time more threads, and callers of one session.")
    ] = False,
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json",
            help="Write the report, raw samples included; to stdout without FILE.",
            metavar="[FILE]",
        ),
    ] = None,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="Write one line per figure.", metavar="FILE")
    ] = None,
    html_file: Annotated[
        Path | None, typer.Option("--html", help="Write a page with plots.", metavar="FILE")
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            help="Count right answers on MNIST's test digits in this folder. Default: on the "
            "bundled digits.",
            metavar="DIR",
        ),
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
    CUDA graphs and without. With --scenario server requests come at a rate, whether or not the last
    one was answered, and servers are timed as well. Ctrl-C prints what was measured so far.
    """
    from lenet_bench import Settings
    from lenet_bench import field as measuring
    from lenet_bench.compare import compare, require_comparable
    from lenet_bench.csv_report import csv_text
    from lenet_bench.html.report import write_html
    from lenet_bench.report import read
    from lenet_deploy import benching

    if fail_above is not None and baseline is None:
        raise InputError("--fail-above: there is nothing to compare with; add --baseline FILE")
    limit = share_of("10%" if fail_above is None else fail_above)
    sizes, outputs = integers_of(batch_sizes), Outputs(json_file, csv_file, html_file)
    settings = Settings(min_time, min_iterations, warmup, inputs, seed)
    load.refuse_others(context)
    if scope is Scope.pictures:
        names, counts = _backends(backend), integers_of(threads, "--threads")
        if (
            baseline
            or cold_start
            or scaling
            or network != Network()
            or len(names) * len(counts) > 1
        ):
            raise InputError(
                "--scope pictures: expected one --backend and one number of --threads, and no "
                "--baseline, --cold-start, --scaling or --checkpoint; export the checkpoint, and "
                "name the folder"
            )
        artifact = _named(artifacts)
        how = {"backend": names[0], "device": device, "threads": counts[0], "trust": trust}
        bench_pictures(artifact, settings, outputs, how)
        return
    outputs.check(baseline)
    request = benching.Request(
        paths=_named(artifacts),
        backends=_backends(backend),
        device=device,
        threads=integers_of(threads, "--threads"),
        trust=trust,
        loads=network.load if network != Network() else None,
    )
    if load.scenario is Scenario.server:
        bench_server(request, load.settings(context, seed), load, outputs)
        return
    before = read(baseline) if baseline else None
    data_set, digits, labels = _digits(data_dir)
    with ExitStack() as stack:
        with progress() as step:
            field = benching.gather(request, stack, step)
            step(f"counting right answers on {len(digits)} digits")
            field.judge(digits, labels)
        settings = dataclasses.replace(settings, image_shape=field.image_shape)
        run = measuring.unmeasured(field, settings, device, data_set)
        if before is not None:
            require_comparable(run, before, force=force)
        run, failure = _measure(run, field, sizes, device, cold_start=cold_start, scaling=scaling)
    if before is not None and not run.interrupted:
        gate = compare(run, before, limit, file=baseline, force=force)
        run = dataclasses.replace(run, gate=gate)
    if json_file != STDOUT:
        print_run(run)
    if run.gate is not None:
        print_gate(run, run.gate)
    outputs.write(run, csv_text, write_html)
    _end(run, failure)


def _end(run: "Run", failure: DeployError | None) -> None:
    """End the command as what was measured says, once it is written."""
    if run.interrupted:
        raise KeyboardInterrupt
    if failure is not None:
        raise failure
    if run.gate is not None and not run.gate.ok:
        raise typer.Exit(REGRESSION)


def _named(artifacts: list[Path] | None) -> list[Path]:
    return [] if artifacts in (None, [Path("all")]) else list(artifacts or ())


def _backends(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    unknown = sorted(set(names) - {"auto", *BACKENDS})
    if unknown:
        raise InputError(f"--backend: expected auto or some of {list(BACKENDS)}, found {unknown}")
    return names


def _digits(data_dir: Path | None) -> tuple[str, Any, Any]:
    """The name of a set of digits, its images uint8 ``(N, 28, 28)`` and its labels."""
    if data_dir is None:
        from lenet_runtime.images.digits import load_digits

        digits = load_digits()
        return "bundled digits", digits.images, digits.labels
    from lenet_deploy.training import mnist

    return "MNIST test set", *mnist.read(data_dir, train=False)


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
    run: "Run",
    field: "Field",
    sizes: tuple[int, ...],
    device: str,
    *,
    cold_start: bool,
    scaling: bool,
) -> "tuple[Run, DeployError | None]":
    """Whole calls, then whatever else was asked for, until Ctrl-C or an error.

    Neither loses what was measured before; the error is returned beside it.
    """
    from lenet_bench import field as measuring

    with share_done() as bar:
        run = measuring.measure_calls(run, field, sizes, bar)
    try:
        if devices.parse(device).kind == "cuda" and not run.interrupted:
            with share_done() as bar:
                run = measuring.measure_steps(run, field, sizes, device, bar)
        with progress() as step:
            if cold_start and not run.interrupted:
                step("timing cold starts")
                run = measuring.measure_cold_start(run, field)
            if scaling and not run.interrupted:
                step(f"timing threads and callers at batch {max(run.batch_sizes)}")
                run = measuring.measure_scaling(run, field)
    except KeyboardInterrupt:
        run = dataclasses.replace(run, interrupted=True)
    except DeployError as error:
        return run, error
    return run, None
