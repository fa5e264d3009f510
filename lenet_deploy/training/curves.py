"""Plots: loss and error of a training run, and the confusion matrix of a classifier."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from lenet_runtime.artifact.files import write_atomically

# Okabe and Ito's colours, which differ for every kind of colour vision.
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
DISTORTED = (
    "Training digits are distorted a little, anew in each epoch, and counted while the network "
    "still changes: held-out and test digits may do better."
)
UNDISTORTED = "Training digits are counted while the network still changes within the epoch."


def training_curves(
    history: list[dict[str, Any]],
    path: Path,
    *,
    distorted: bool = True,
    test_accuracy: float | None = None,
) -> None:
    """Write a PNG of loss and error per epoch, with those of held-out digits if there are any.

    Args:
        history: A record for each epoch, as `train_epoch` returns it.
        path: Of the PNG.
        distorted: Whether the recipe distorts training digits, which the picture says.
        test_accuracy: Share of the test digits that the last epoch's weights get right, if known.
    """
    _write(curves_figure(history, distorted=distorted, test_accuracy=test_accuracy), path)


def curves_figure(
    history: list[dict[str, Any]], *, distorted: bool, test_accuracy: float | None
) -> Figure:
    """The figure of `training_curves`."""
    epochs = [record["epoch"] for record in history]
    figure = Figure(figsize=(10, 4.3), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(epochs, [r["loss"] for r in history], color=BLUE, marker="o", clip_on=False)
    left.set(title="Training loss", xlabel="epoch", ylabel="mean loss")
    for key, name, colour, marker in (
        ("accuracy", "training digits", BLUE, "o"),
        ("validation_accuracy", "held-out digits", ORANGE, "s"),
    ):
        if key in history[-1]:
            errors = [100 * (1 - record[key]) for record in history]
            label = f"{name}: {errors[-1]:.2f}% at the end"
            right.plot(epochs, errors, color=colour, marker=marker, label=label, clip_on=False)
    if test_accuracy is not None:
        error = 100 * (1 - test_accuracy)
        label = f"test digits: {error:.2f}% at the end"
        style = {"color": GREEN, "marker": "*", "markersize": 13, "linestyle": "none"}
        right.plot(epochs[-1:], [error], label=label, clip_on=False, zorder=3, **style)
    right.set(title="Error", xlabel="epoch", ylabel="wrong digits (%)")
    right.legend()
    for axes in (left, right):
        margin = max(0.5, 0.03 * len(epochs)) if len(epochs) < 3 else 0.03 * len(epochs)
        axes.set_xlim(epochs[0] - margin, epochs[-1] + margin)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        _fit(axes)
    figure.supxlabel(DISTORTED if distorted else UNDISTORTED, fontsize=9, color="#555555")
    return figure


def _fit(axes: Axes) -> None:
    """Fit the axis of values to its points: logarithmic above a range of five, else from 0."""
    values = np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.lines])
    low, high = float(values.min()), float(values.max())
    if low > 0 and high > 5 * low:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.3, high * 1.3)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(0, 1.15 * high or 1)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(alpha=0.3)


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
