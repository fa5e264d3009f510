"""`lenet-deploy evaluate`: the accuracy of a checkpoint on MNIST's test digits."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lenet_deploy.cli.console import note, note_low_accuracy, plain, print_json, stdout
from lenet_deploy.cli.network_options import Network, with_network
from lenet_deploy.cli.options import DataDir, Download, Json, Threads, Workers
from lenet_runtime.errors import InputError
from lenet_runtime.images.preprocess import Preprocessing

if TYPE_CHECKING:
    from rich.table import Table

    from lenet_deploy.training.checkpoint import Loaded
    from lenet_deploy.training.evaluation import Evaluation


@with_network("labels")
def evaluate(
    *,
    network: Network,
    data_dir: DataDir = Path("data"),
    batch_size: Annotated[
        int, typer.Option(min=1, help="Digits in a batch; 64 and 1000 are usual.")
    ] = 1000,
    workers: Workers = 0,
    threads: Threads = None,
    download: Download = False,
    plot: Annotated[
        Path | None, typer.Option(help="Write the confusion matrix as a PNG.", metavar="PNG")
    ] = None,
    html_file: Annotated[
        Path | None,
        typer.Option("--html", help="Write a page that draws every wrong digit.", metavar="FILE"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Report accuracy on MNIST's 10,000 test digits, recall per class and the confusion matrix."""
    from lenet_deploy.training import data, evaluation, loop

    loop.set_threads(threads)
    checkpoint, loaded = network.checkpoint, network.load()
    net, preprocessing = loaded.module, _preprocessing(loaded)
    digits = data.load_mnist(data_dir, train=False, download=download)
    result = evaluation.evaluate(net, digits, preprocessing, batch_size=batch_size, workers=workers)
    if plot is not None:
        from lenet_deploy.training import curves  # Matplotlib wants a folder to write to

        curves.confusion_matrix(result.confusion, plot)
    if html_file is not None:
        from lenet_deploy.cli.evaluate_page import write_page

        write_page(
            result,
            digits,
            html_file,
            checkpoint=str(checkpoint or "bundled"),
            preprocessing=preprocessing,
            labels=loaded.labels,
            notes=loaded.notes,
        )
        note(f"wrote {plain(html_file)}")
    if as_json:
        print_json({"checkpoint": str(checkpoint or "bundled"), **result.as_dict()})
    else:
        _print(result)
    note_low_accuracy(result.accuracy)


def _preprocessing(loaded: "Loaded") -> Preprocessing:
    """The network's own, which must make its input of MNIST's digits."""
    channels, *sides = loaded.input_shape
    own = loaded.preprocessing
    if len(loaded.labels) != 10 or sides != [28 + 2 * own.padding] * 2:
        raise InputError(
            f"evaluate: expected ten classes and digits of 28x28 with {own.padding} pixels around "
            f"them, found {len(loaded.labels)} classes and images {loaded.input_shape}"
        )
    if channels == 1 or isinstance(own.mean, tuple):
        return own
    return replace(own, mean=(own.mean,) * 3)  # which makes three equal channels of grey


def _print(result: "Evaluation") -> None:
    low, high = result.interval
    stdout.print("True digit by row, predicted by column:", _confusion(result), sep="\n")
    stdout.print(
        f"accuracy {result.accuracy:.2%}  ({result.correct} of {result.total}; "
        f"95% Wilson interval {low:.2%} to {high:.2%})",
        highlight=False,
    )


def _confusion(result: "Evaluation") -> "Table":
    """The matrix, narrow enough for 55 columns, and for 47 without the recall."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(
        box=SIMPLE_HEAD, padding=0, show_edge=False,
    )  # fmt: skip
    has_recall = stdout.width >= 55
    for heading in ("", *map(str, range(10)), *["recall"] * has_recall):
        table.add_column(heading, justify="right", no_wrap=True)
    for digit, counts in enumerate(result.confusion):
        cells = [_cell(int(count), right=digit == other) for other, count in enumerate(counts)]
        recall = result.recall[digit]
        shares = ["-" if recall is None else f"{recall:.2%}"] * has_recall
        table.add_row(f"[bold]{digit}[/]", *cells, *shares)
    return table


def _cell(count: int, *, right: bool) -> str:
    """Mistakes stand out, and empty cells step back."""
    if not count:
        return "[dim].[/]"
    return f"[bold green]{count}[/]" if right else f"[bold red]{count}[/]"
