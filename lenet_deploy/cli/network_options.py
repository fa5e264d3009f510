"""Flags that say which network a command works on: its weights, and what weights do not say."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lenet_deploy.cli.console import note, plain
from lenet_deploy.cli.options import Checkpoint, with_flags
from lenet_runtime.artifact import Manifest
from lenet_runtime.errors import InputError

if TYPE_CHECKING:
    from lenet_deploy.training.checkpoint import Loaded

_PANEL = "The network, where its weights do not say it"
_MOST_PIXELS = 1024  # of a side of an image
_MOST_LABEL_BYTES = 2**20


def _flag(name: str, metavar: str, help: str) -> Any:
    return typer.Option(name, metavar=metavar, help=help, rich_help_panel=_PANEL)


@dataclass(frozen=True)
class Network:
    """The flags as they were given, by the names of `load_network`'s arguments."""

    checkpoint: Checkpoint = None
    model: Annotated[
        str | None,
        _flag(
            "--model",
            "FILE.py:CLASS",
            "Class, or function that returns a module, to load the weights into; or "
            "package.module:Class. Its code is run. Default: inferred from the weights.",
        ),
    ] = None
    activation: Annotated[
        str | None,
        _flag("--activation", "relu|tanh|sigmoid", "After each layer but the last. Default: relu."),
    ] = None
    pooling: Annotated[
        str | None, _flag("--pooling", "max|average", "After convolutions. Default: max.")
    ] = None
    input_size: Annotated[
        str | None, _flag("--input-size", "N|HxW", "Of an image. Default: what the weights fit.")
    ] = None
    mean: Annotated[
        str | None,
        _flag("--mean", "X|R,G,B", "Of pixels in [0, 1]. Default: the card's, or MNIST's."),
    ] = None
    std: Annotated[
        str | None,
        _flag("--std", "X|R,G,B", "Of pixels in [0, 1]. Default: the card's, or MNIST's."),
    ] = None
    labels: Annotated[
        str | None,
        _flag("--labels", "A,B,...|FILE", "Of the logits; or a file, one a line. Default: 0,1,..."),
    ] = None

    @property
    def hint(self) -> str:
        """What may be wrong where an artifact of these weights answers otherwise."""
        flags = "another --model" if self.model else "another --activation or --pooling"
        return f"note: the same weights with {flags} than at the export answer otherwise"

    def load(self, manifest: Manifest | None = None) -> "Loaded":
        """The network; what was done to its weights, inferred and assumed is said on stderr.

        Args:
            manifest: Of an artifact of it, which says its image size and preprocessing; for the
                bundled checkpoint, which has its own, of no account.

        Raises:
            DeployError: See `load_network`; or a flag's text is wrong.
        """
        from lenet_deploy.training.checkpoint import load_network

        known = manifest if self.checkpoint else None
        size = known.image_shape[1:] if known else None
        mean, std = _numbers("--mean", self.mean), _numbers("--std", self.std)
        loaded = load_network(
            self.checkpoint,
            model=self.model,
            activation=self.activation,
            pooling=self.pooling,
            input_size=_size(self.input_size) if self.input_size else size,
            mean=known.preprocessing.mean if known else mean,
            std=known.preprocessing.std if known else std,
            labels=_names(self.labels),
        )
        for line in loaded.notes:
            note(plain(line))
        return loaded


def with_network(*unused: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the flags of `Network` but the unused ones, in place of its ``network``."""
    return with_flags(Network, "network", *unused)


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch("([0-9]{1,4})(?:x([0-9]{1,4}))?", text.strip().lower())
    sides = [int(side) for side in match.groups() if side] if match else []
    if not sides or not all(0 < side <= _MOST_PIXELS for side in sides):
        raise InputError(
            f"--input-size: expected pixels of a side, as 28, or HxW, as 28x32, of 1 to "
            f"{_MOST_PIXELS}, found {text[:100]!r}"
        )
    return sides[0], sides[-1]


def _numbers(flag: str, text: str | None) -> float | tuple[float, ...] | None:
    if text is None:
        return None
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            f"{flag}: expected a number, as 0.5, or one for each of 3 channels, as 0.5,0.5,0.5, "
            f"found {text[:100]!r}"
        ) from error
    return numbers if len(numbers) > 1 else numbers[0]


def _names(text: str | None) -> list[str] | None:
    """The names in a comma list, or on the lines of a file."""
    if text is None:
        return None
    path = Path(text)
    try:
        if not path.is_file():
            return [name.strip() for name in text.split(",")]
        with path.open("rb") as file:
            lines = file.read(_MOST_LABEL_BYTES).decode().splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise InputError(f"--labels: {text[:100]}: cannot be read: {reason}") from error
    return [line.strip() for line in lines if line.strip()]
