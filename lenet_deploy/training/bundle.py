"""Makes the package's data, for maintainers: ``python -m lenet_deploy.training.bundle --help``.

``digits`` writes the bundled digits, which are test digits of MNIST; ``calibration`` writes the
training digits that int8 takes its scales from. Both write the same bytes each time.
``checkpoint`` installs a trained checkpoint after checking it; ``artifact`` then makes the ONNX
artifact of it that is shipped, which a test compares with what an export makes.
"""

import io
import zipfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

import lenet_export
from lenet_deploy.cache import bundled_artifact
from lenet_deploy.cli.options import DataDir
from lenet_deploy.training.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from lenet_deploy.training.data import load_mnist
from lenet_runtime.artifact.files import write_atomically
from lenet_runtime.errors import ArtifactError

CALIBRATION = Path("export/lenet_export/bundled/calibration.npz")
DIGITS = Path("runtime/lenet_runtime/images/bundled/digits.npz")
Output = Annotated[Path, typer.Option("--output", "-o", metavar="FILE")]

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)


def npz_bytes(**arrays: NDArray[np.generic]) -> bytes:
    """Like `numpy.savez_compressed`, but with fixed timestamps: equal arrays give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.save(member, array, allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, member.getvalue())
    return buffer.getvalue()


def first_of_each_class(data_dir: Path, count: int, *, train: bool) -> dict[str, NDArray[Any]]:
    """Images, labels and ascending indices of the first `count` digits of each class."""
    split = load_mnist(data_dir, train=train)
    labels = split.labels.numpy()
    places = np.concatenate([np.flatnonzero(labels == digit)[:count] for digit in range(10)])
    indices = np.sort(places).astype(np.int32)
    images = split.images.numpy()[indices]
    return {"images": images, "labels": labels[indices].astype(np.uint8), "indices": indices}


@app.command()
def digits(data_dir: DataDir = Path("data"), output: Output = DIGITS) -> None:
    """Write the bundled digits, from the repository's root."""
    write_atomically(output, npz_bytes(**first_of_each_class(data_dir, 6, train=False)))


@app.command()
def calibration(data_dir: DataDir = Path("data"), output: Output = CALIBRATION) -> None:
    """Write the training digits that int8 is calibrated with, from the repository's root."""
    arrays = first_of_each_class(data_dir, 25, train=True)
    write_atomically(output, npz_bytes(images=arrays["images"], indices=arrays["indices"]))


@app.command()
def checkpoint(
    run: Annotated[Path, typer.Argument(help="Folder of a finished `lenet-deploy train`.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR")] = Path(
        "lenet_deploy/bundled"
    ),
) -> None:
    """Install a run's checkpoint and card, from the repository's root."""
    source = run / "lenet.safetensors"
    net, card = read_checkpoint(source)
    if card.get("epochs_done") != card["recipe"]["epochs"] or not card["accuracy"]["test"]:
        raise ArtifactError(
            f"{source}: expected a finished run on all training digits, with its test accuracy; "
            "train without --validation, or go on with --resume"
        )
    digest = save_checkpoint(net, output / "lenet.safetensors", card)
    typer.echo(f"{digest}  {output / 'lenet.safetensors'}")


@app.command()
def artifact() -> None:
    """Export the bundled checkpoint to the ONNX artifact that the package ships."""
    made = lenet_export.export(load_checkpoint(), "onnx", bundled_artifact(), force=True)
    typer.echo(made.path)


if __name__ == "__main__":
    app()
