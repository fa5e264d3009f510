"""`lenet-deploy tune`: find out which artifact is fastest here at each batch size."""

import functools
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from lenet_deploy.cli.console import plain, print_json, progress, stdout
from lenet_deploy.cli.options import BatchSizes, Device, Json, Seed, Trust, integers_of


def tune(
    folder: Annotated[
        Path, typer.Argument(help="Folder of artifacts of one network.", metavar="FOLDER")
    ] = Path("artifacts"),
    *,
    batch_sizes: BatchSizes = "1,2,4,8,16,32,64,128,256,512",
    device: Device = "cpu",
    threads: Annotated[int, typer.Option(min=1, max=1024, help="CPU threads of every engine.")] = 1,
    trust: Trust = False,
    precision: Annotated[
        str, typer.Option(help="Of the artifacts to choose among; a plan never mixes two.")
    ] = "fp32",
    min_time: Annotated[
        float, typer.Option(min=0.01, max=3600, help="Seconds for each engine and batch size.")
    ] = 0.3,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Measure every artifact of a folder and write the winners to its plan.json.

    lenet_runtime.load_plan(FOLDER) then sends each batch to the fastest engine, cut
    into chunks of the fastest size.
    """
    import dataclasses

    import lenet_bench
    from lenet_bench import tuning
    from lenet_runtime.plans import plan

    sizes = tuple(sorted(integers_of(batch_sizes)))
    settings = lenet_bench.Settings(min_seconds=min_time, seed=seed)
    with progress() as step:
        step(f"timing the artifacts of {folder} at batch sizes {', '.join(map(str, sizes))}")
        made, results, skipped = tuning.tune(
            folder,
            sizes,
            functools.partial(lenet_bench.measure, settings=settings),
            device=device,
            threads=threads,
            trust=trust,
            precision=precision,
        )
        target = plan.write(folder, made)
    if as_json:
        print_json({"plan": str(target), **dataclasses.asdict(made), "skipped": skipped})
        return
    table = Table(title="Fastest here, in microseconds per call", caption=plain(target))
    names = list(dict.fromkeys(result.engine for result in results))
    for heading in ("batch", *names, "chunk"):
        table.add_column(plain(heading), justify="right", overflow="fold")
    for entry in made.entries:
        row = {r.engine: r.percentile_us(50) for r in results if r.batch_size == entry.batch_size}
        best = min(row, key=lambda name: row[name])
        cells = (f"[bold green]{v:.1f}[/]" if n == best else f"{v:.1f}" for n, v in row.items())
        table.add_row(str(entry.batch_size), *cells, str(entry.chunk or ""))
    stdout.print(table)
    for name, reason in skipped.items():
        stdout.print(f"not measured: {plain(name)}: {plain(reason)}")
