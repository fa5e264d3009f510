"""`lenet-deploy evaluate`: how many of MNIST's test digits a checkpoint gets right, and which."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lenet_deploy.cli.console import print_json, stderr, stdout
from lenet_deploy.cli.options import Checkpoint, DataDir, Json, Threads

if TYPE_CHECKING:
    from lenet_deploy.training.evaluation import Evaluation
    from lenet_runtime.images.preprocess import Preprocessing


def evaluate(
    *,
    checkpoint: Checkpoint = None,
    data_dir: DataDir = Path("data"),
    batch_size: Annotated[
        int, typer.Option(min=1, help="Digits in a batch; 64 and 1000 are usual.")
    ] = 1000,
    workers: Annotated[
        int, typer.Option(min=0, help="Processes that load batches; 0 is fastest here.")
    ] = 0,
    threads: Threads = None,
    mean: Annotated[float | None, typer.Option(help="Of a pixel. Default: the card's.")] = None,
    std: Annotated[float | None, typer.Option(help="Of a pixel. Default: the card's.")] = None,
    download: Annotated[
        bool, typer.Option("--download/--no-download", help="Fetch MNIST if it is missing.")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Write the confusion matrix as a PNG.", metavar="PNG")
    ] = None,
    as_json: Json = False,
) -> None:
    """Report accuracy on MNIST's 10,000 test digits, recall per class and the confusion matrix."""
    from lenet_deploy.training import curves, data, evaluation
    from lenet_deploy.training.checkpoint import read_checkpoint

    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    net, card = read_checkpoint(checkpoint)
    preprocessing = _preprocessing(card, mean, std)
    digits = data.load_mnist(data_dir, train=False, download=download)
    examples = evaluation.examples(digits, preprocessing, batch_size=batch_size, workers=workers)
    result = evaluation.evaluate(evaluation.as_classifier(net), examples)
    if plot is not None:
        curves.confusion_matrix(result.confusion, plot)
    if as_json:
        print_json({"checkpoint": str(checkpoint or "bundled"), **result.as_dict()})
    else:
        _print(result)


def _preprocessing(card: dict[str, Any], mean: float | None, std: float | None) -> "Preprocessing":
    from lenet_runtime.errors import InputError
    from lenet_runtime.images.preprocess import Preprocessing

    found = card.get("preprocessing")
    if found is None:
        if mean is None or std is None:
            stderr.print(
                "note: no card says how this checkpoint's digits were normalised; "
                "taking MNIST's mean and standard deviation"
            )
        found = {}
    values = {**found}
    if mean is not None:
        values["mean"] = mean
    if std is not None:
        values["std"] = std
    try:
        return Preprocessing(**values)
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
