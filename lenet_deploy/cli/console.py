"""Prints for all commands: results on stdout, everything else on stderr."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lenet_runtime.errors import printable

stdout = Console()
stderr = Console(stderr=True)


def print_json(document: Mapping[str, Any]) -> None:
    """Print `document` as the only thing on stdout: strict JSON, so NaN is refused."""
    sys.stdout.write(json.dumps(document, indent=2, allow_nan=False) + "\n")


def plain(text: object) -> str:
    """Make any text `printable`, whoever wrote it, and escape it for rich: brackets stay."""
    return escape(printable(text))


def name(text: object, limit: int = 300) -> str:
    """A name that others chose, of a file or a label, `printable` on one line."""
    return printable(text, limit, keep="")


def table(first: str, *numbers: str, title: str = "", caption: str = "") -> Table:
    """A table of names, which fold where they are long, and of numbers, which never do."""
    made = Table(title=title or None, caption=caption or None)
    made.add_column(first, overflow="fold", min_width=11)
    for heading in numbers:
        made.add_column(heading, justify="right", no_wrap=True)
    return made


def note(line: str) -> None:
    """Print one line, of rich's markup, on stderr."""
    stderr.print(line, highlight=False, soft_wrap=True)


def note_low_accuracy(accuracy: float) -> None:
    """Say what may be wrong where a LeNet gets less than 90% of MNIST right."""
    if accuracy < 0.9:
        note(
            f"warning: accuracy is {accuracy:.2%}, and a trained LeNet gets above 99% of MNIST; "
            "the usual causes: other pictures under MNIST's names (EMNIST lies on its side, "
            "Fashion-MNIST shows clothes), black on white instead of white on black, or another "
            "mean and standard deviation than in training"
        )


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Show a spinner on stderr, and yield a function that takes the name of each step.

    Where stderr is not a terminal, each step is a line, so that a log shows it too.
    """
    if not stderr.is_terminal:
        yield lambda step: note(f"{plain(step)} ...")
        return
    with stderr.status("starting") as status:
        yield lambda step: status.update(f"{plain(step)} ...")
