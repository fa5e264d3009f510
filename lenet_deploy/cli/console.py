"""What every command prints with: results on stdout, everything else on stderr."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape

stdout = Console()
stderr = Console(stderr=True)


def print_json(document: Mapping[str, Any]) -> None:
    """Print `document` as the only thing on stdout: strict JSON, so NaN is refused."""
    json.dump(document, sys.stdout, indent=2, allow_nan=False)
    sys.stdout.write("\n")


def plain(text: object) -> str:
    """`text` to put into rich's markup: brackets stay what they are, and control characters,
    which a foreign artifact could steer the terminal with, are spelled out."""
    shown = "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in str(text))
    return escape(shown)


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """A spinner on stderr; call what it yields with the name of each step.

    Where stderr is not a terminal, each step is a line, so that a log shows it too.
    """
    if not stderr.is_terminal:
        yield lambda step: stderr.print(f"{plain(step)} ...", highlight=False, soft_wrap=True)
        return
    with stderr.status("starting") as status:
        yield lambda step: status.update(f"{plain(step)} ...")
