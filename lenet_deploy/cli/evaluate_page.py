"""One self-contained HTML page about an evaluation: accuracy, confusion, and wrong digits drawn."""

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lenet_bench.html import parts
from lenet_bench.html.parts import as_table, facts, row_of
from lenet_deploy.cli.console import low_accuracy
from lenet_runtime import __version__
from lenet_runtime.artifact.files import write_atomically
from lenet_runtime.errors import BackendUnavailable
from lenet_runtime.images.preprocess import Preprocessing
from lenet_runtime.version import pip_install

if TYPE_CHECKING:
    from lenet_deploy.training.data import Split
    from lenet_deploy.training.evaluation import Evaluation, Mistake

# A page of all 9,000 mistakes of an untrained network would help nobody.
MOST_DRAWN = 500
DIGITS = tuple(map(str, range(10)))


def write_page(
    evaluation: "Evaluation",
    digits: "Split",
    path: Path,
    *,
    checkpoint: str,
    preprocessing: Preprocessing,
    labels: Sequence[str] = DIGITS,
    notes: Iterable[str] = (),
) -> None:
    """Write the page to `path`: whole, or not at all.

    Args:
        evaluation: What the network answered on `digits`.
        digits: The digits, in the order in which they were evaluated.
        path: Of the page; replaced where it exists.
        checkpoint: Where the weights come from, for the page's head.
        preprocessing: How the digits were normalised.
        labels: What each class is called.
        notes: What was done to the weights, inferred or assumed, a line each.

    Raises:
        ArtifactError: `path` cannot be written.
        BackendUnavailable: Pillow is not installed.
    """
    heading = f"{evaluation.accuracy:.2%} of {evaluation.total:,} test digits right"
    low, high = evaluation.interval
    head = [
        ("Right", f"{evaluation.correct:,} of {evaluation.total:,}"),
        ("Wrong", f"{evaluation.total - evaluation.correct:,}"),
        ("Interval", f"{low:.2%} to {high:.2%} (95%, Wilson)"),
        ("Checkpoint", escape(checkpoint)),
        (
            "Pixels",
            escape(f"mean {_numbers(preprocessing.mean)}, deviation {_numbers(preprocessing.std)}"),
        ),
        ("Version", escape(f"lenet-deploy {__version__}")),
    ]
    warning = low_accuracy(evaluation.accuracy)
    body = [f"<h1>{heading}</h1>", *[parts.alert(f"A{warning[1:]}.")] * bool(warning), facts(head)]
    body += [f'<p class="note">{escape(text)}</p>' for text in notes]
    body += _confusion(evaluation, labels)
    body += _wrong(evaluation, digits, labels)
    write_atomically(path, parts.document(heading, body).encode("utf-8"))


def _numbers(values: float | Sequence[float]) -> str:
    """One number, or one for each channel."""
    each = values if isinstance(values, Sequence) else [values]
    return ", ".join(f"{value:g}" for value in each)


def _confusion(evaluation: "Evaluation", labels: Sequence[str]) -> Iterable[str]:
    yield "<h2>Confusion</h2>"
    yield (
        '<p class="note">True digit by row, predicted by column. Colour shows mistakes alone.</p>'
    )
    counts = evaluation.confusion
    mistakes = counts - np.diag(np.diag(counts))
    most = max(1, int(mistakes.max()))
    rows = []
    for true, label in enumerate(labels):
        cells = [_cell(int(count), true == other, most) for other, count in enumerate(counts[true])]
        recall = evaluation.recall[true]
        cells.append("-" if recall is None else f"{recall:.2%}")
        rows.append(row_of(f"<b>{escape(label)}</b>", cells))
    yield as_table(("", *labels, "recall"), rows, "confusion")


def _cell(count: int, right: bool, most: int) -> str:
    if not count:
        return '<span class="none">·</span>'
    if right:
        return f"<b>{count:,}</b>"
    share = 15 + round(70 * count / most)
    return f'<span class="mistake" style="--share:{share}%">{count:,}</span>'


def _wrong(evaluation: "Evaluation", digits: "Split", labels: Sequence[str]) -> Iterable[str]:
    yield "<h2>Wrong digits</h2>"
    mistakes = sorted(evaluation.mistakes, key=lambda mistake: -mistake.probability)
    if not mistakes:
        yield "<p>None.</p>"
        return
    drawn = mistakes[:MOST_DRAWN]
    more = (
        ""
        if len(drawn) == len(mistakes)
        else f" These are the first {len(drawn)} of {len(mistakes):,}."
    )
    yield (
        '<p class="note">What each is and what it was read as, with the network\'s probabilities; '
        f"the surest mistakes first. Indices count the test digits from 0.{more}</p>"
    )
    images = digits.images.numpy()
    cards = (_card(mistake, images[mistake.index], labels) for mistake in drawn)
    yield f'<div class="digits">{"".join(cards)}</div>'


def _card(mistake: "Mistake", pixels: NDArray[np.uint8], labels: Sequence[str]) -> str:
    label, answer = escape(labels[mistake.label]), escape(labels[mistake.answer])
    return (
        f'<figure><img src="{png(pixels)}" width="28" height="28" '
        f'alt="digit {mistake.index}, which is {label}">'
        f"<figcaption>is <b>{label}</b> <i>{mistake.of_label:.0%}</i><br>"
        f'read <b class="answer">{answer}</b> <i>{mistake.probability:.0%}</i><br>'
        f"<small>index {mistake.index:,}</small></figcaption></figure>"
    )


def png(pixels: NDArray[np.uint8]) -> str:
    """A picture of uint8 ``(H, W)`` as a data URI; raises BackendUnavailable without Pillow."""
    try:
        from PIL import Image
    except ImportError as error:
        raise BackendUnavailable(
            f"drawing digits on a page needs Pillow; {pip_install('cpu')}"
        ) from error

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
