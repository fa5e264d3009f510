"""Makes the package's data, for maintainers: ``python -m lenet_deploy.training.bundle --help``.

``digits`` writes the bundled digits from the real test set, ``calibration`` those that int8 takes
its scales from out of the training set, both the same bytes every time. ``checkpoint`` installs a
trained checkpoint, once it has been loaded and found whole.
"""

import io
import zipfile
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from lenet_deploy.cli.options import DataDir
from lenet_runtime.errors import ArtifactError

PER_CLASS = 6
CHECKPOINT = Path("lenet_deploy/bundled")
CALIBRATION_PER_CLASS = 25
CALIBRATION = Path("export/lenet_export/bundled/calibration.npz")
DIGITS = Path("runtime/lenet_runtime/images/bundled/digits.npz")

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)


def npz_bytes(**arrays: NDArray[np.generic]) -> bytes:
    """`numpy.savez_compressed`, but with fixed timestamps: equal arrays give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.save(member, array, allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, member.getvalue())
    return buffer.getvalue()


def first_of_each_class(labels: NDArray[np.integer], count: int = PER_CLASS) -> NDArray[np.int32]:
    """Indices, ascending, of the first `count` digits of each of the ten classes."""
    firsts = [np.flatnonzero(labels == digit)[:count] for digit in range(10)]
    return np.sort(np.concatenate(firsts)).astype(np.int32)


@app.command()
def digits(
    data_dir: DataDir = Path("data"),
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE")] = DIGITS,
) -> None:
    """Write the bundled digits, from the repository's root."""
    from lenet_deploy.training.data import load_mnist
    from lenet_runtime.artifact.files import write_atomically

    test = load_mnist(data_dir, train=False)
    labels = test.labels.numpy()
    indices = first_of_each_class(labels)
    content = npz_bytes(
        images=test.images.numpy()[indices],
        labels=labels[indices].astype(np.uint8),
        indices=indices,
    )
    write_atomically(output, content)


@app.command()
def calibration(
    data_dir: DataDir = Path("data"),
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE")] = CALIBRATION,
) -> None:
    """Write the training digits that int8 is calibrated with, from the repository's root."""
    from lenet_deploy.training.data import load_mnist
    from lenet_runtime.artifact.files import write_atomically

    train = load_mnist(data_dir, train=True)
    indices = first_of_each_class(train.labels.numpy(), CALIBRATION_PER_CLASS)
    output.parent.mkdir(exist_ok=True)
    write_atomically(output, npz_bytes(images=train.images.numpy()[indices], indices=indices))


@app.command()
def checkpoint(
    run: Annotated[Path, typer.Argument(help="Folder of a finished `lenet-deploy train`.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR")] = CHECKPOINT,
) -> None:
    """Install a run's checkpoint and card, from the repository's root."""
    from lenet_deploy.training.checkpoint import read_checkpoint, save_checkpoint

    source = run / "lenet.safetensors"
    net, card = read_checkpoint(source)
    if card.get("epochs_done") != card["recipe"]["epochs"] or not card["accuracy"]["test"]:
        raise ArtifactError(
            f"{source}: expected a finished run on all training digits, with its test accuracy; "
            "train without --validation, or go on with --resume"
        )
    digest = save_checkpoint(net, output / "lenet.safetensors", card)
    typer.echo(f"{digest}  {output / 'lenet.safetensors'}")


if __name__ == "__main__":
    app()
