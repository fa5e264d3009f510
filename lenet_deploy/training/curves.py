"""Plots: loss and error of a training run, and the confusion matrix of a classifier."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from lenet_runtime.artifact.files import write_atomically

# Two of Okabe and Ito's colours, which differ for every kind of colour vision.
BLUE, ORANGE = "#0072B2", "#D55E00"


def training_curves(history: list[dict[str, Any]], path: Path) -> None:
    """Write a PNG of loss and error per epoch, with those of held-out digits if there are any."""
    epochs = [record["epoch"] for record in history]
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(epochs, [r["loss"] for r in history], color=BLUE, marker="o", markersize=4)
    left.set(title="Training loss", xlabel="epoch", ylabel="mean loss", yscale="log")
    errors = [100 * (1 - r["accuracy"]) for r in history]
    right.plot(epochs, errors, color=BLUE, marker="o", markersize=4, label="training digits")
    if "validation_accuracy" in history[-1]:
        errors = [100 * (1 - r["validation_accuracy"]) for r in history]
        right.plot(epochs, errors, color=ORANGE, marker="s", markersize=4, label="held-out digits")
    right.set(title="Error", xlabel="epoch", ylabel="wrong digits (%)")
    right.set_yscale("symlog", linthresh=0.1)  # from 90% to 0.5%, and a perfect 0 as well
    right.set_ylim(0, None)
    right.legend()
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.grid(which="both", alpha=0.3)
    _write(figure, path)


def confusion_matrix(confusion: NDArray[np.int64], path: Path) -> None:
    """Write a PNG of counts ``(10, 10)``, with the true digit by row and the predicted by column.

    Colour shows the mistakes alone; beside the diagonal of a good classifier they would be pale.
    """
    mistakes = np.where(np.eye(10, dtype=bool), 0, confusion)
    figure = Figure(figsize=(7.2, 6.4), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(mistakes, cmap="Blues", vmin=0, vmax=max(1, mistakes.max()))
    figure.colorbar(image, label="mistakes", ticks=MaxNLocator(integer=True))
    for true, predicted in np.argwhere(confusion):
        count = confusion[true, predicted]
        weight = "bold" if true == predicted else "normal"
        colour = "white" if mistakes[true, predicted] > mistakes.max() / 2 else "black"
        axes.text(predicted, true, count, ha="center", va="center", color=colour, weight=weight)
    total, correct = confusion.sum(), confusion.trace()
    axes.set(
        title=f"{correct:,} of {total:,} digits right ({correct / total:.2%})",
        xlabel="predicted digit",
        ylabel="true digit",
        xticks=range(10),
        yticks=range(10),
    )
    _write(figure, path)


def _write(figure: Figure, path: Path) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    write_atomically(path, buffer.getvalue())
