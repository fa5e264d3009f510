"""`lenet-deploy batch`: labels for any number of pictures, as a job that can be resumed."""

from pathlib import Path
from typing import Annotated

import typer

import lenet_runtime
from lenet_deploy import cache
from lenet_deploy.cli.console import progress, stdout
from lenet_deploy.cli.options import Trust


def batch(
    inputs: Annotated[
        list[str],
        typer.Argument(help="Pictures, Parquet files, or globs of them.", metavar="INPUT..."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the answers.", metavar="DIR")
    ],
    *,
    column: Annotated[
        str | None, typer.Option(help="Column of pictures or pixels. Default: the one that fits.")
    ] = None,
    keep: Annotated[list[str] | None, typer.Option(help="Columns to repeat.")] = None,
    artifact: Annotated[
        Path | None,
        typer.Option(help="An exported folder. Default: the bundled network.", metavar="DIR"),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes.", metavar="N")] = None,
    top_k: Annotated[int, typer.Option("--top", "--top-k", min=1, help="Classes to list.")] = 3,
    trust: Trust = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier output.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a job stopped.")] = False,
) -> None:
    """Label many pictures, on all cores, exactly once."""
    from lenet_deploy.batch import job, local, sources

    parts = sources.plan(inputs, column, keep or ())
    with progress() as step:
        path = artifact or cache.default_artifact(progress=step)
    settings = local.Settings(path, top_k, trust)
    digest = lenet_runtime.Artifact.open(path).manifest.weights_sha256
    document = {
        "inputs": ",".join(inputs),
        "parts": sources.fingerprint(parts),
        "weights_sha256": digest,
    }
    with job.opened(output, document, force=force, resume=resume) as own:
        done = own.done()
        left = [part for part in parts if part.number not in done]
        rows = errors = 0
        for _, part_rows, part_errors in local.run(
            left, settings, own, workers or lenet_runtime.cpu.usable_cores()
        ):
            rows, errors = rows + part_rows, errors + part_errors
        own.commit({"parts": len(parts)})
    stdout.print(f"{rows} rows, {errors} of them errors, in {output}", highlight=False)
