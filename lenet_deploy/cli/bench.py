"""`lenet-deploy bench`: latency per batch size."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from lenet_deploy.cli.console import plain, print_json, progress, stdout
from lenet_deploy.cli.options import (
    Backend,
    BatchSizes,
    Device,
    Json,
    Trust,
    batch_sizes_of,
)
from lenet_runtime import cpu

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
    threads: Annotated[
        int, typer.Option("--threads", min=1, help="CPU threads, the same for every engine.")
    ] = 1,
    trust: Trust = False,
    min_time: Annotated[
        float, typer.Option(min=0.01, max=3600, help="Seconds for each artifact and batch size.")
    ] = 0.5,
    as_json: Json = False,
) -> None:
    """Time artifacts side by side: numpy in, numpy out, checks included."""
    import lenet_runtime
    from lenet_deploy.cache import default_artifact
    from lenet_runtime import latency

    sizes = batch_sizes_of(batch_sizes)
    with ExitStack() as stack, progress() as step:
        sessions = {
            str(path): stack.enter_context(
                lenet_runtime.load(path, backend, device, threads, trust)
            )
            for path in dict.fromkeys(artifacts or [default_artifact(progress=step)])
        }
        step(f"timing {', '.join(sessions)} at batch sizes {', '.join(map(str, sizes))}")
        engines = {path: session.run for path, session in sessions.items()}
        results = latency.measure(engines, sizes, latency.Settings(min_seconds=min_time))
        backends = {path: session.backend for path, session in sessions.items()}
    if as_json:
        rows = [_row(result, backends[result.engine]) for result in results]
        print_json({"scope": "host", "threads": threads, "results": rows})
    else:
        _print(results, backends, threads)


def _row(result: "LatencyResult", backend: str) -> dict[str, object]:
    return {
        "artifact": result.engine,
        "backend": backend,
        "batch_size": result.batch_size,
        "samples": len(result.samples_ns),
        **result.statistics(),
    }


def _print(results: "list[LatencyResult]", backends: dict[str, str], threads: int) -> None:
    table = Table(
        title=plain(f"Latency on {cpu.model()}, threads: {threads}"),
        caption="host: numpy in, numpy out, input checks included",
    )
    table.add_column("backend", overflow="fold")
    for heading in ("batch", "p50", "p90", "p99", "images/s"):
        table.add_column(heading, justify="right", no_wrap=True)
    engines = list(backends.values())
    for result in results:
        backend = backends[result.engine]
        table.add_row(
            backend if engines.count(backend) == 1 else plain(f"{backend}: {result.engine}"),
            str(result.batch_size),
            *(f"{result.percentile_us(p):.1f} us" for p in (50, 90, 99)),
            f"{result.images_per_second:,.0f}",
        )
    stdout.print(table)
