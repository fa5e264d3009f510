"""Prints for all commands: results on stdout, everything else on stderr."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

stdout = Console()
stderr = Console(stderr=True)


def print_json(document: Mapping[str, Any]) -> None:
    """Print `document` as the only thing on stdout: strict JSON, so NaN is refused."""
    json.dump(document, sys.stdout, indent=2, allow_nan=False)
    sys.stdout.write("\n")


def plain(text: object) -> str:
    """Escape `text` for rich's markup, so that brackets stay brackets.

    Control characters are spelled out, because a foreign artifact could control the terminal
    with them.
    """
    return escape("".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in str(text)))


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
