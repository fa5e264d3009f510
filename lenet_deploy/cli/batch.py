"""`lenet-deploy batch`: labels for any number of pictures, as a job that can be resumed."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lenet_deploy.cli.batch_progress import job_progress, rate
from lenet_deploy.cli.console import name, plain, print_json, stdout, warn
from lenet_deploy.cli.options import Json, Trust, completing

if TYPE_CHECKING:
    from lenet_deploy.batch import Summary

_ENGINES = ("local", "ray")
_KINDS = ("parquet", "csv", "jsonl")


def batch(
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Pictures, Parquet, Arrow, IDX, NPY, NPZ, CSV; folders (their own files) or "
            "globs, which may be quoted; URLs, such as s3://bucket/*.parquet.",
            metavar="INPUT...",
            show_default=False,
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            help="A name that ends in .parquet, .csv or .jsonl; or a folder, of many files.",
            metavar="FILE|DIR",
        ),
    ],
    *,
    artifact: Annotated[
        Path | None,
        typer.Option(help="An exported folder. Default: the bundled network.", metavar="DIR"),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(
            help="Column of pictures or pixels, of files that have columns. Default: the one that "
            "fits.",
            metavar="COLUMN",
        ),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(help="Column to repeat in the output; may be given often.", metavar="COLUMN"),
    ] = None,
    top_k: Annotated[int, typer.Option("--top", "--top-k", min=1, help="Classes to list.")] = 3,
    to: Annotated[
        str | None,
        typer.Option(
            help=f"Kind of a folder's files: {', '.join(_KINDS)}. Default: {_KINDS[0]}.",
            metavar="KIND",
            autocompletion=completing(*_KINDS),
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes. Default: the cores that are ours.", metavar="N"),
    ] = None,
    max_errors: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Stop, with exit code 1, above so many rows with an error. Default: any number, "
            "and exit code 0.",
            metavar="N",
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            help="What runs it: processes here, or a Ray cluster.",
            metavar="|".join(_ENGINES),
            autocompletion=completing(*_ENGINES),
        ),
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(help="The Ray cluster. Default: one is started here.", metavar="HOST:PORT"),
    ] = None,
    trust: Trust = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Replace an earlier output, once the new one is whole."),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where a job stopped, or start.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Label many pictures, on all cores, each exactly once.

    A row that cannot be read is answered with its error.

    A job that was killed, whenever that was, goes on with --resume.

    lenet-deploy batch 'scans/**/*.png' -o labels.parquet

    lenet-deploy batch digits.parquet --keep id -o out/ --workers 8

    lenet-deploy batch 'scans/*.png' -o labels.csv --resume
    """
    from lenet_deploy import batch as batches

    try:
        with job_progress() as progress:
            summary = batches.run(
                inputs, output, artifact=artifact, column=column, keep=keep or (), top_k=top_k,
                to=to, trust=trust, workers=workers, max_errors=max_errors, force=force,
                resume=resume, engine=engine, address=address, progress=progress,
            )  # fmt: skip
    except KeyboardInterrupt:
        warn("what is done is kept: go on with the same command and --resume")
        raise
    if as_json:
        print_json(_document(summary))
    else:
        _print(summary)


def _document(summary: "Summary") -> dict[str, Any]:
    document = asdict(summary) | {"output": str(summary.output)}
    document["first_errors"] = [
        {"path": path, "row": row, "error": text} for path, row, text in summary.first_errors
    ]
    return document


def _print(summary: "Summary") -> None:
    for path, row, text in summary.first_errors:
        where = name(path) if row is None else f"{name(path)}, row {row}"
        warn(f"[yellow]{plain(where)}: {plain(text)}[/]")
    if summary.errors > len(summary.first_errors) > 0:
        warn(f"[yellow]... {summary.errors:,} errors in all[/]")
    new = summary.rows - summary.rows_before
    words = f"{summary.rows:,} rows, {summary.errors:,} of them errors, in {name(summary.output)}"
    if summary.rows and not new:
        words += "; all were there already"
    elif summary.rows_before:
        words += f"; {summary.rows_before:,} were there already"
    if new:
        words += f" ({rate(new, summary.seconds)})"
    stdout.print(words, markup=False, highlight=False, soft_wrap=True)
