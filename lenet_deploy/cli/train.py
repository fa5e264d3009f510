"""`lenet-deploy train`: train LeNet on MNIST."""

from pathlib import Path
from typing import Annotated

import typer

from lenet_deploy.cli.options import DataDir, Json, Seed, Threads


def train(
    data_dir: DataDir = Path("data"),
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR")] = Path("runs/lenet"),
    seed: Seed = 0,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Train LeNet on MNIST."""
    raise NotImplementedError
