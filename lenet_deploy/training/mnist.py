"""MNIST's own files, as its many sources name and pack them; this needs NumPy alone.

An IDX file is a magic number, ``0x08`` (uint8) and the number of dimensions in its last two bytes,
the sizes as big-endian uint32, and the values. http://yann.lecun.com/exdb/mnist describes it.
"""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lenet_runtime.errors import ArtifactError, InputError

_MOST_BYTES = 2**26  # 67 MB; the training images have 47 MB


def read(data_dir: Path, *, train: bool) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images uint8 ``(N, 28, 28)`` and labels uint8 ``(N,)`` of the 60,000 training or test digits.

    The files may lie in `data_dir`, or below it in ``MNIST/raw``, ``raw`` or ``MNIST``; they may be
    gzipped, and be named ``t10k-images-idx3-ubyte`` or, as Kaggle does, ``t10k-images.idx3-ubyte``.

    Raises:
        ArtifactError: a file is missing or damaged.
    """
    images_file, labels_file = find(data_dir, train=train)
    images, labels = _read_idx(images_file, 3), _read_idx(labels_file, 1)
    if images.shape[1:] != (28, 28) or not len(images):
        raise _damaged(images_file, "images (N, 28, 28)", images.shape)
    if len(labels) != len(images):
        raise _damaged(labels_file, f"{len(images)} labels", len(labels))
    if labels.max() > 9:
        raise _damaged(labels_file, "labels 0 to 9", labels.max())
    return images, labels


def find(data_dir: Path, *, train: bool) -> list[Path]:
    """The files of the images and of the labels, which lie in one folder.

    Raises:
        ArtifactError: one is missing.
    """
    kind = "train" if train else "t10k"
    stems = [f"{kind}-images-idx3", f"{kind}-labels-idx1"]
    try:
        root = data_dir.expanduser()
    except RuntimeError as error:
        raise InputError(f"{data_dir}: this user's home is not known; name a whole path") from error
    missing = stems
    for folder in (root / "MNIST" / "raw", root, root / "raw", root / "MNIST"):
        files = {stem: _first_file(folder, stem) for stem in stems}
        if all(files.values()):
            return [file for file in files.values() if file]
        absent = [stem for stem, file in files.items() if not file]
        if len(absent) < len(missing):
            root, missing = folder, absent
    found = f"no {'-ubyte and no '.join(missing)}-ubyte" if root.is_dir() else "no such folder"
    raise ArtifactError(
        f"{root}: expected MNIST here or in MNIST/raw, gzipped or not, found {found}. Name the "
        "folder that holds it with --data-dir or LENET_DEPLOY_DATA_DIR, or fetch it (12 MB): "
        "lenet-deploy evaluate --download"
    )


def _first_file(folder: Path, stem: str) -> Path | None:
    stems = (stem, stem.replace("-idx", ".idx"))
    names = [f"{name}-ubyte{packed}" for name in stems for packed in ("", ".gz")]
    # Kaggle's archive has each file in a folder of the same name.
    paths = [folder / name for name in names] + [folder / name / name for name in names]
    return next((path for path in paths if path.is_file()), None)


def _read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    try:
        with path.open("rb") as file:
            packed = file.peek(2)[:2] == b"\x1f\x8b"
            data = (gzip.GzipFile(fileobj=file) if packed else file).read(_MOST_BYTES + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _damaged(path, "a whole gzip file", error) from error
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror})") from error
    start = 4 + 4 * dimensions
    if len(data) < start or data[:4] != bytes((0, 0, 8, dimensions)):
        raise _damaged(path, f"IDX of uint8 in {dimensions} dimensions", f"{data[:4]!r} at first")
    shape = [int(size) for size in np.frombuffer(data, ">u4", dimensions, offset=4)]
    expected = start + math.prod(shape)
    if len(data) != expected:
        raise _damaged(path, f"{expected} bytes, as its head says", len(data))
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _damaged(path: Path, expected: str, found: object) -> ArtifactError:
    return ArtifactError(
        f"{path}: expected {expected}, found {found}. Delete the file, then fetch MNIST again: "
        "lenet-deploy evaluate --download"
    )
