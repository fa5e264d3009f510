"""Flags that several commands share."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from lenet_runtime import formats
from lenet_runtime.backends import BACKENDS
from lenet_runtime.errors import InputError
from lenet_runtime.formats import FORMATS, MAX_BATCH_SIZE

Checkpoint = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        help="Weights: .safetensors, or what torch.save or Lightning wrote. Default: the bundled "
        "checkpoint.",
        metavar="FILE",
    ),
]
_DATA_DIR = typer.Option(
    "--data-dir",
    envvar="LENET_DEPLOY_DATA_DIR",
    help="Folder of MNIST's files, gzipped or not, or one that holds MNIST/raw.",
    metavar="DIR",
)
DataDir = Annotated[Path, _DATA_DIR]
OptionalDataDir = Annotated[Path | None, _DATA_DIR]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of a table.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of every random number used.")]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="CPU threads. Default: one for most engines."),
]
Workers = Annotated[
    int, typer.Option(min=0, help="Processes that load batches; 0 is fastest here.")
]
Download = Annotated[
    bool, typer.Option("--download/--no-download", help="Fetch MNIST if it is missing.")
]
BatchSizes = Annotated[
    str, typer.Option("--batch-sizes", help="Separated by commas.", metavar="N,N,...")
]
Backend = Annotated[
    str,
    typer.Option(
        help="Engine. auto: the first that runs this format on this device.",
        metavar="|".join(["auto", *BACKENDS]),
    ),
]
Device = Annotated[
    str, typer.Option(help="What it must run on; no other is tried.", metavar="cpu|cuda[:N]")
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="Allow an artifact that may run code (every format but "
        + " and ".join(name for name, known in FORMATS.items() if not known.runs_code)
        + ", and there other graphs than LeNet's); you know its maker.",
    ),
]


def with_options_of_formats(command: Callable[..., None]) -> Callable[..., None]:
    """The command with a flag for each option of a format in place of its ``**flags``."""
    signature = inspect.signature(command)
    parameters = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    for option, owners in formats.options().items():
        flag = typer.Option(
            option.flag,
            help=f"Of {' and '.join(owners)}: {option.help[0].lower()}{option.help[1:]}",
            metavar=option.metavar,
            rich_help_panel="Options of some formats",
        )
        kind = Annotated[str | None, flag]
        parameters.append(
            inspect.Parameter(
                option.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind
            )
        )
        command.__annotations__[option.name] = kind
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return command


def integers_of(text: str, flag: str = "--batch-sizes") -> tuple[int, ...]:
    """Parse integers of 1 to `MAX_BATCH_SIZE` that are separated by commas, each once.

    Raises:
        InputError: The text of `flag` is anything else.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch("[0-9]{1,5}", part) and int(part) for part in parts):
        raise InputError(
            f"{flag}: expected integers of 1 to {MAX_BATCH_SIZE} like 1,8,64, found {text[:100]!r}"
        )
    return tuple(dict.fromkeys(int(part) for part in parts))
