"""`lenet-deploy evaluate`: how many of the 10,000 test digits a checkpoint gets right."""

from pathlib import Path

from lenet_deploy.cli.options import Checkpoint, DataDir, Json


def evaluate(
    checkpoint: Checkpoint = None,
    data_dir: DataDir = Path("data"),
    as_json: Json = False,
) -> None:
    """Report accuracy on MNIST's test digits."""
    raise NotImplementedError
