"""How far a batch job is, on stderr: a bar on a terminal, a line now and then in a log."""

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from lenet_deploy.cli.console import note, notes

if TYPE_CHECKING:
    from lenet_deploy.batch import Progress as Rows

_LINE_S = 10.0  # between two lines of a log


def rate(rows: int, seconds: float) -> str:
    """Rows a second, in few digits."""
    per_second = rows / seconds if seconds > 0 else 0.0
    return f"{per_second:,.0f} rows/s" if per_second >= 10 else f"{per_second:.1f} rows/s"


def _text(rows: "Rows", seconds: float) -> str:
    new = rows.rows - rows.rows_before
    text = f"{rows.rows:,} of {rows.total:,} rows, {rate(new, seconds)}"
    if new and rows.total > rows.rows:
        left = timedelta(seconds=round((rows.total - rows.rows) * seconds / new))
        text += f", {left} left"
    return text + (f", {rows.errors:,} errors" if rows.errors else "")


@contextlib.contextmanager
def job_progress() -> Iterator[Callable[["Rows"], None]]:
    """A function to be told of the progress; rates are those of this run."""
    began = last = time.monotonic()
    if not notes.is_terminal:

        def line(rows: "Rows") -> None:
            nonlocal last
            if (now := time.monotonic()) - last >= _LINE_S:
                last = now
                note(_text(rows, now - began))

        yield line
        return
    columns = BarColumn(20), TaskProgressColumn(), TextColumn("{task.description}")
    with Progress(*columns, console=notes, transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def show(rows: "Rows") -> None:
            text = _text(rows, time.monotonic() - began)
            bar.update(task, description=text, completed=rows.rows, total=rows.total)

        yield show
