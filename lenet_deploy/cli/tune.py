"""`lenet-deploy tune`: find out which artifact is fastest here at each batch size."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lenet_deploy.cli.bench_tables import microseconds
from lenet_deploy.cli.console import plain, print_json, progress, stdout, table
from lenet_deploy.cli.options import BatchSizes, Device, Json, Seed, Trust, integers_of
from lenet_runtime.errors import ArtifactError

if TYPE_CHECKING:
    from lenet_bench import LatencyResult
    from lenet_runtime.plans.plan import Plan


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
    into chunks of the fastest size. A plan whose winners cannot all be measured now, for want of
    --trust, say, stays as it is, and the exit code is 1.
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
            before=_before(folder),
        )
        target = plan.write(folder, made)
    if as_json:
        rows = [
            {"engine": r.engine, "batch_size": r.batch_size, "p50_us": r.percentile_us(50)}
            for r in results
        ]
        document = {"plan": str(target), **dataclasses.asdict(made)}
        print_json(document | {"results": rows, "skipped": skipped})
        return
    _print(made, results, target)
    for name, reason in skipped.items():
        stdout.print(f"not measured: {plain(name)}: {plain(reason)}")


def _before(folder: Path) -> "Plan | None":
    """The plan that is there; None where there is none that could be followed."""
    from lenet_runtime.plans import plan

    try:
        return plan.read(folder)
    except ArtifactError:
        return None


def _print(made: "Plan", results: "list[LatencyResult]", target: Path) -> None:
    """The winner of each batch size, and how far behind the next is."""
    from lenet_bench.result import times

    rows = table(
        "fastest", "batch", "us", "chunk", "next takes", "next is",
        title="Fastest here, in microseconds per call", caption=plain(target),
        drop=("next is", "chunk", "next takes"),
    )  # fmt: skip
    for entry in made.entries:
        row = sorted(
            (r for r in results if r.batch_size == entry.batch_size),
            key=lambda r: r.percentile_us(50),
        )
        best, *others = ((r.engine, r.percentile_us(50)) for r in row)
        name, behind = others[0] if others else ("", best[1])
        rows.add_row(
            plain(best[0]),
            str(entry.batch_size),
            microseconds(best[1]),
            str(entry.chunk or ""),
            times(behind / best[1]) if others else "",
            plain(name),
        )
    stdout.print(rows)
