"""`lenet-deploy evaluate`: the accuracy of a checkpoint on MNIST's test digits."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lenet_deploy.cli.console import note_low_accuracy, print_json, stdout
from lenet_deploy.cli.network_options import Network, with_network
from lenet_deploy.cli.options import DataDir, Download, Json, Threads, Workers
from lenet_runtime.errors import InputError
from lenet_runtime.images.preprocess import Preprocessing

if TYPE_CHECKING:
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
    from rich.table import Table

    low, high = result.interval
    table = Table(title="Confusion matrix: true digit by row, predicted by column")
    table.add_column("", justify="right", style="bold")
    for digit in range(10):
        table.add_column(str(digit), justify="right")
    table.add_column("recall", justify="right")
    for digit, row in enumerate(result.confusion):
        cells = [f"[bold]{n}[/]" if i == digit else str(n or "") for i, n in enumerate(row)]
        recall = result.recall[digit]
        table.add_row(str(digit), *cells, "-" if recall is None else f"{recall:.2%}")
    stdout.print(table)
    stdout.print(
        f"accuracy {result.accuracy:.2%}  ({result.correct} of {result.total}; "
        f"95% Wilson interval {low:.2%} to {high:.2%})",
        highlight=False,
    )
