"""Flags that several commands share, spelled and explained once."""

from pathlib import Path
from typing import Annotated

import typer

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
Seed = Annotated[int, typer.Option("--seed", help="Seed of every random number used.")]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="CPU threads. Default: the engine's own choice."),
]
