"""`lenet-deploy bench`: latency per batch size."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from lenet_deploy.cli.console import print_json, progress, stdout
from lenet_deploy.cli.options import (
    Backend,
    BatchSizes,
    Device,
    Json,
    Threads,
    Trust,
    batch_sizes_of,
)

if TYPE_CHECKING:
    from lenet_runtime.latency import LatencyResult


def bench(
    artifacts: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders. Default: the bundled ONNX one.", metavar="[ARTIFACT]..."),
    ] = None,
    *,
    batch_sizes: BatchSizes = "1,8,64",
    backend: Backend = "auto",
    device: Device = "cpu",
    threads: Threads = 1,
    trust: Trust = False,
    min_time: Annotated[
        float, typer.Option(min=0.01, help="Seconds for each artifact at each batch size.")
    ] = 0.5,
    as_json: Json = False,
) -> None:
    """Time artifacts side by side: numpy in, numpy out, checks included."""
    import lenet_runtime
    from lenet_deploy.cache import default_artifact
    from lenet_runtime import latency

    sizes = batch_sizes_of(batch_sizes)
    with ExitStack() as stack, progress() as step:
        engines = {}
        for path in artifacts or [default_artifact(progress=step)]:
            session = stack.enter_context(lenet_runtime.load(path, backend, device, threads, trust))
            name = session.backend if session.backend not in engines else str(path)
            engines[name] = session.run
        step(f"timing {', '.join(engines)} at batch sizes {', '.join(map(str, sizes))}")
        results = latency.measure(engines, sizes, seconds=min_time)
    if as_json:
        print_json({"scope": "host", "threads": threads, "results": [_row(r) for r in results]})
    else:
        _print(results, threads)


def _row(result: "LatencyResult") -> dict[str, object]:
    return {
        "backend": result.engine,
        "batch_size": result.batch_size,
        "calls": len(result.samples_ns),
        "p50_us": result.percentile_us(50),
        "p90_us": result.percentile_us(90),
        "p99_us": result.percentile_us(99),
        "images_per_second": result.images_per_second,
        "environment": result.environment,
    }


def _print(results: "list[LatencyResult]", threads: int | None) -> None:
    table = Table(
        title=f"Latency on {results[0].environment['cpu']}, threads: {threads or 'the default'}",
        caption="host: numpy in, numpy out, input checks included",
    )
    for heading in ("backend", "batch", "p50", "p90", "p99", "images/s"):
        table.add_column(heading, justify="left" if heading == "backend" else "right")
    for result in results:
        table.add_row(
            result.engine,
            str(result.batch_size),
            *(f"{result.percentile_us(p):.1f} us" for p in (50, 90, 99)),
            f"{result.images_per_second:,.0f}",
        )
    stdout.print(table)
