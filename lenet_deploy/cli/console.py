"""Prints for all commands: results on stdout, everything else on stderr."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from lenet_runtime.errors import printable

stdout = Console()
stderr = Console(stderr=True)
notes = Console(stderr=True)  # progress and notes, which --quiet silences
# Characters of a name that columns make room for, and the least that a long name folds into.
_NAME, _SHORT_NAME = 30, 11


def print_json(document: Mapping[str, Any]) -> None:
    """Print `document` as the only thing on stdout: strict JSON, so NaN is refused."""
    sys.stdout.write(json.dumps(document, indent=2, allow_nan=False) + "\n")


def plain(text: object) -> str:
    """Make any text `printable`, whoever wrote it, and escape it for rich: brackets stay."""
    return escape(printable(text))


def name(text: object, limit: int = 300) -> str:
    """A name that others chose, of a file or a label, `printable` on one line."""
    return printable(text, limit, keep="")


class FittedTable:
    """A table of a name and some numbers a row, which fits whatever terminal it is printed on.

    Where the terminal is narrow, columns go in the order of `drop` until names have room, and
    with each its line of the legend; then names fold; then the other columns go, from the right.
    Names never go, and numbers are never cut.
    """

    def __init__(
        self,
        headings: tuple[str, ...],
        drop: Sequence[str],
        title: str,
        caption: str,
        legend: Mapping[str, str],
    ) -> None:
        self._headings, self._drop = headings, drop
        self._title, self._caption, self._legend = title, caption, legend
        self._rows: list[tuple[str, ...]] = []
        self._ends: set[int] = set()  # of sections, counted in rows

    def add_row(self, *cells: str) -> None:
        """Add the name and each number, of rich's markup."""
        self._rows.append(cells)

    def add_section(self) -> None:
        """Draw a line below the rows so far."""
        self._ends.add(len(self._rows))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        shown, width = self._fit(options.max_width)
        if self._title:
            yield Text.from_markup(self._title, style="italic")
        grid = Table(width=width)
        for i in shown:
            grid.add_column(
                self._headings[i],
                justify="right" if i else "left",
                no_wrap=bool(i),
                overflow="fold",
            )
        for number, cells in enumerate(self._rows, start=1):
            grid.add_row(*(cells[i] for i in shown), end_section=number in self._ends)
        yield grid
        explained = {self._headings[i].replace("\n", " ") for i in shown}
        told = [f"{name}: {text}" for name, text in self._legend.items() if name in explained]
        if text := "\n".join(filter(None, (self._caption, *told))):
            yield Text.from_markup(text, style="dim")

    def _fit(self, room: int) -> tuple[list[int], int]:
        """The columns to show, and the width of the table."""
        widths = [
            max(_width(cell) for cell in column)
            for column in zip(self._headings, *self._rows, strict=True)
        ]
        shown = list(range(len(widths)))

        def width(name: int) -> int:
            """Of the table where names have `name` characters; frame and padding take three."""
            return name + sum(widths[i] for i in shown if i) + 3 * len(shown) + 1

        others = [h for h in reversed(self._headings[1:]) if h not in self._drop]
        for name, headings in ((_NAME, self._drop), (_SHORT_NAME, others)):
            for heading in headings:
                if width(min(widths[0], name)) <= room:
                    break
                shown.remove(self._headings.index(heading))
        return shown, min(room, width(widths[0]))


def _width(cell: str) -> int:
    return max((line.cell_len for line in Text.from_markup(cell).split("\n")), default=0)


def table(
    first: str,
    *numbers: str,
    drop: Sequence[str] = (),
    title: str = "",
    caption: str = "",
    legend: Mapping[str, str] | None = None,
) -> FittedTable:
    """A table of names and numbers for `stdout.print`, once it has its rows.

    Args:
        first: Heading of the names.
        numbers: Headings of the numbers, from left to right; of several lines where they are long.
        drop: Headings of the numbers that a narrow terminal can do without, the least first.
        title: Line above, of rich's markup.
        caption: Lines below.
        legend: What headings mean; a line each, below, of those that are shown.
    """
    return FittedTable((first, *numbers), drop, title, caption, legend or {})


def note(line: str) -> None:
    """Print one line, of rich's markup, on stderr, unless --quiet."""
    notes.print(line, highlight=False, soft_wrap=True)


def warn(line: str) -> None:
    """Print one line, of rich's markup, on stderr, whatever --quiet says."""
    stderr.print(line, highlight=False, soft_wrap=True)


def say_next(*commands: str) -> None:
    """Say on stderr what can be done next: commands to copy, which never fold."""
    for i, command in enumerate(commands):
        note(f"[bold]{'next:' if i == 0 else '     '}[/] {plain(command)}")


def low_accuracy(accuracy: float) -> str:
    """What may be wrong where a LeNet gets less than 90% of MNIST right; empty where it does."""
    if accuracy >= 0.9:
        return ""
    return (
        f"accuracy is {accuracy:.2%}, and a trained LeNet gets above 99% of MNIST; "
        "the usual causes: another activation than in training (--activation), another mean "
        "and standard deviation (--mean, --std), black on white instead of white on black, or "
        "other pictures under MNIST's names (EMNIST lies on its side, Fashion-MNIST shows "
        "clothes)"
    )


def note_low_accuracy(accuracy: float) -> None:
    """Warn of a `low_accuracy`."""
    if text := low_accuracy(accuracy):
        warn(f"warning: {text}")


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Show each step and its seconds on stderr, and yield a function that takes a step's name.

    Where stderr is not a terminal, each step is a line, so that a log shows it too.
    """
    if not notes.is_terminal:
        yield lambda step: note(f"{plain(step)} ...")
        return
    columns = SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}")
    with Progress(*columns, console=notes, transient=True) as bar:
        task = bar.add_task("starting ...", total=None)

        def show(step: str) -> None:
            bar.reset(task, description=f"{plain(step)} ...")

        yield show


@contextlib.contextmanager
def share_done() -> Iterator[Callable[[str, float], None]]:
    """A bar of progress on stderr; what it yields takes the step and the share done."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=notes, transient=True) as bar:
        task = bar.add_task("warming up", total=1.0)
        yield lambda step, share: bar.update(task, description=step, completed=share)


def starting_pytorch(step: Callable[[str], None]) -> None:
    """Announce the import of PyTorch, which takes seconds, where it is still to come."""
    if "torch" not in sys.modules:
        step("starting PyTorch")
