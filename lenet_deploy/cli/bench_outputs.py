"""Where `lenet-deploy bench` writes its reports: looked at before anything is measured."""

import dataclasses
import json
import tempfile
from collections.abc import Callable, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from typer.core import TyperCommand

from lenet_deploy.cli.console import note, plain, print_json
from lenet_runtime.errors import InputError

STDOUT = Path("-")


class Report(Protocol):
    """A run that can be written."""

    @property
    def results(self) -> Sized:
        """What was measured."""

    def to_dict(self) -> dict[str, Any]:
        """The document of the JSON report."""


R = TypeVar("R", bound=Report)


class BenchCommand(TyperCommand):
    """Takes ``--json`` without a FILE, at the end or before another flag, for ``--json -``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See `TyperCommand.parse_args`."""
        following = [*args[1:], "--"]
        pairs = zip(args, following, strict=True) if args else ()
        words = [
            f"{word}=-" if word == "--json" and after.startswith("--") else word
            for word, after in pairs
        ]
        return super().parse_args(ctx, words)


@dataclass(frozen=True)
class Outputs:
    """The files to write; None where none was asked for.

    Attributes:
        json: The report; ``-`` is stdout.
        csv: A line for each figure.
        html: A page with plots.
    """

    json: Path | None = None
    csv: Path | None = None
    html: Path | None = None

    @property
    def files(self) -> dict[str, Path]:
        """The files by their flags, without stdout."""
        given = {f"--{f.name}": getattr(self, f.name) for f in dataclasses.fields(self)}
        return {flag: path for flag, path in given.items() if path not in (None, STDOUT)}

    def check(self, baseline: Path | None) -> None:
        """Refuse what could not be written once all has been measured.

        Raises:
            InputError: A folder is missing or cannot be written to, a path is a folder, or two
                are one, the base line's among them.
            BackendUnavailable: The page needs plotly, which is not installed.
        """
        taken = {} if baseline is None else {baseline.resolve(): "--baseline"}
        for flag, path in self.files.items():
            place = path.resolve()
            if place in taken:
                raise InputError(f"{flag}: {path} is also the file of {taken[place]}; name another")
            taken[place] = flag
            _require_writable(flag, path)
        if self.html is not None:
            from lenet_bench.html.style import plotly

            plotly()

    def write(
        self, run: R, csv_text: Callable[[R], str], write_html: Callable[[R, Path], None]
    ) -> None:
        """Write each report whole; of a run without results none, so that what is there stays.

        Args:
            run: What was measured.
            csv_text: Makes the text of the CSV.
            write_html: Writes the page.
        """
        from lenet_runtime.artifact.files import write_atomically

        if self.json == STDOUT:
            print_json(run.to_dict())
        if not run.results:
            for path in self.files.values():
                note(f"{plain(path)}: not written, since nothing was measured")
            return
        if "--json" in self.files and self.json:
            document = json.dumps(run.to_dict(), allow_nan=False)
            write_atomically(self.json, f"{document}\n".encode())
        if self.csv is not None:
            write_atomically(self.csv, csv_text(run).encode())
        if self.html is not None:
            write_html(run, self.html)
        for path in self.files.values():
            note(f"wrote {plain(path)}")


def _require_writable(flag: str, path: Path) -> None:
    if path.is_dir():
        raise InputError(f"{flag}: expected a file, found the folder {path}")
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".lenet-bench-"):
            pass
    except OSError as error:
        raise InputError(f"{flag}: cannot write {path} ({error.strerror})") from error
