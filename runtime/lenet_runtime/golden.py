"""``golden.npz``: a few images with eager PyTorch's logits, run as a self-test at every load."""

import io
import zipfile

import numpy as np
from numpy.typing import NDArray

from lenet_runtime import parity
from lenet_runtime.artifact import GOLDEN_NAME, Artifact
from lenet_runtime.errors import ArtifactError, ParityError

# A zip archive of a few kilobytes can unpack to gigabytes.
MAX_UNPACKED_BYTES = 2**28


def write(images: NDArray[np.float32], logits: NDArray[np.float32]) -> bytes:
    """The bytes of ``golden.npz``: images ``(N, 1, 32, 32)`` and logits ``(N, 10)``, float32.

    Equal arrays give equal bytes, unlike `numpy.savez`, which stores the time of day.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in (("images", images), ("logits", logits)):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue())
    return buffer.getvalue()


def read(artifact: Artifact) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The golden images and logits of an artifact, hashed and shape-checked.

    Raises:
        ArtifactError: damaged, not what `write` writes, or larger than any golden file is.
    """
    data = artifact.read(GOLDEN_NAME)
    where = artifact.path / GOLDEN_NAME
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > MAX_UNPACKED_BYTES:
            raise ValueError(f"unpacks to {unpacked} bytes")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            images, logits = arrays["images"], arrays["logits"]
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"{where}: not a golden file ({error}); export again") from error
    rows = len(images) if images.ndim else 0
    if images.shape != (rows, 1, 32, 32) or logits.shape != (rows, 10) or rows == 0:
        raise ArtifactError(f"{where}: found images {images.shape} and logits {logits.shape}")
    if not images.dtype == logits.dtype == np.float32:
        raise ArtifactError(f"{where}: found dtypes {images.dtype} and {logits.dtype}")
    return images, logits


def self_test(engine: parity.Engine, artifact: Artifact, name: str) -> None:
    """Run the golden images and compare with eager's logits.

    Raises:
        ParityError: this engine on this machine does not answer as eager did at export.
    """
    images, logits = read(artifact)
    tolerance = parity.TOLERANCES[artifact.manifest.precision]
    comparison = parity.compare(engine(images), logits, tolerance)
    if not comparison.ok:
        raise ParityError(
            f"{artifact.path}: {name} failed the self-test on {GOLDEN_NAME}: {comparison.reason}; "
            "it would answer wrongly here, so it was not loaded"
        )
