"""`lenet-deploy evaluate`: the accuracy of a checkpoint on MNIST's test digits."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lenet_deploy.cli.console import note, note_low_accuracy, print_json, stdout
from lenet_deploy.cli.options import Checkpoint, DataDir, Download, Json, Threads, Workers
from lenet_runtime.errors import InputError
from lenet_runtime.images.preprocess import Preprocessing

if TYPE_CHECKING:
    from lenet_deploy.training.evaluation import Evaluation


def evaluate(
    *,
    checkpoint: Checkpoint = None,
    data_dir: DataDir = Path("data"),
    batch_size: Annotated[
        int, typer.Option(min=1, help="Digits in a batch; 64 and 1000 are usual.")
    ] = 1000,
    workers: Workers = 0,
    threads: Threads = None,
    mean: Annotated[float | None, typer.Option(help="Mean pixel. Default: the card's.")] = None,
    std: Annotated[
        float | None, typer.Option(help="Standard deviation of a pixel. Default: the card's.")
    ] = None,
    download: Download = False,
    plot: Annotated[
        Path | None, typer.Option(help="Write the confusion matrix as a PNG.", metavar="PNG")
    ] = None,
    as_json: Json = False,
) -> None:
    """Report accuracy on MNIST's 10,000 test digits, recall per class and the confusion matrix."""
    if plot is not None:
        import matplotlib  # noqa: F401  a missing one is said before the work
    from lenet_deploy.training import data, evaluation, loop
    from lenet_deploy.training.checkpoint import read_checkpoint

    loop.set_threads(threads)
    net, card = read_checkpoint(checkpoint)
    preprocessing = _preprocessing(card, mean, std)
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


def _preprocessing(card: dict[str, Any], mean: float | None, std: float | None) -> Preprocessing:
    numbers = {"mean": mean, "std": std}
    explicit = {name: number for name, number in numbers.items() if number is not None}
    if "preprocessing" not in card and len(explicit) < 2:
        note(
            "note: no card says how this checkpoint's digits were normalised; "
            "taking MNIST's mean and standard deviation"
        )
    try:
        return Preprocessing(**card.get("preprocessing", {}) | explicit)
    except (TypeError, ValueError) as error:
        raise InputError(f"--mean, --std or the checkpoint's card: {error}") from error


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
