"""Flags that several commands share."""

import re
from pathlib import Path
from typing import Annotated

import typer

from lenet_runtime.backends import BACKENDS
from lenet_runtime.errors import InputError

Checkpoint = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        help="Weights: .safetensors, or a .pt state dict. Default: the bundled checkpoint.",
        metavar="FILE",
    ),
]
DataDir = Annotated[
    Path,
    typer.Option(
        "--data-dir",
        envvar="LENET_DEPLOY_DATA_DIR",
        help="Folder that holds MNIST/raw, torchvision's layout.",
        metavar="DIR",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of a table.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of every random number used.")]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="CPU threads. Default: the engine's own choice."),
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
        help="Allow an artifact that runs code (every format but onnx); you know its maker.",
    ),
]


def batch_sizes_of(text: str) -> tuple[int, ...]:
    """Parse ``--batch-sizes``; anything but positive integers is a usage error."""
    return integers_of("--batch-sizes", text)


def integers_of(flag: str, text: str) -> tuple[int, ...]:
    """Parse integers of 1 to 99999 that are separated by commas; repeated ones count once."""
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch("[0-9]{1,5}", part) and int(part) for part in parts):
        raise InputError(
            f"{flag}: expected integers of 1 to 99999 like 1,8,64, found {text[:100]!r}"
        )
    return tuple(dict.fromkeys(int(part) for part in parts))
