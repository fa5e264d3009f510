"""Maintainers' tool that makes the package's data: ``python -m lenet_deploy.bundle --help``.

``digits`` writes the bundled digits from the real test set, the same bytes every time;
``checkpoint`` installs a trained checkpoint, once it has been loaded and found whole.
"""

import io
import zipfile
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from lenet_deploy.cli.options import DataDir

PER_CLASS = 6
DIGITS = Path("runtime/lenet_runtime/bundled/digits.npz")

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
    from torchvision.datasets import MNIST

    test = MNIST(data_dir, train=False)
    labels = test.targets.numpy()
    indices = first_of_each_class(labels)
    output.write_bytes(
        npz_bytes(
            images=test.data.numpy()[indices],
            labels=labels[indices].astype(np.uint8),
            indices=indices,
        )
    )


@app.callback()
def _commands() -> None:
    """Keeps `digits` a subcommand while it is the only one."""


if __name__ == "__main__":
    app()
