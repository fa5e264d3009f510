"""``golden.npz``: a few images with eager PyTorch's logits, run as a self-test at every load."""

import io
import itertools
import math
import re
import sys
import zipfile
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lenet_runtime import parity
from lenet_runtime.artifact import GOLDEN_NAME, Artifact, Manifest
from lenet_runtime.backends.protocol import Predictor
from lenet_runtime.errors import ArtifactError, ParityError
from lenet_runtime.images.digits import load_digits
from lenet_runtime.images.preprocess import to_batch

_MEMBERS = ["images.npy", "logits.npy"]
_RAW_DIGITS = 8  # of `pixel_test`
# 8,190 images, which take three times that to read and run. A static artifact has its own number.
_MAX_BYTES = 2**25
# What NumPy writes, up to the first value; the two dots are the header's length.
_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '<f4', 'fortran_order': False, "
    rb"'shape': \(([0-9]+(?:, [0-9]+)+)\), \} *\n",
    re.DOTALL,
)


def write(images: NDArray[np.float32], logits: NDArray[np.float32]) -> bytes:
    """The bytes of ``golden.npz``: images ``(N, C, H, W)`` and logits ``(N, K)``, float32.

    Equal arrays give equal bytes, unlike `numpy.savez`, which stores the time of day.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in zip(_MEMBERS, (images, logits), strict=True):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(name), member.getvalue())
    return buffer.getvalue()


def read(artifact: Artifact) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The golden images and logits of an artifact, hashed and checked.

    Raises:
        ArtifactError: damaged, or not what `write` writes for this artifact.
    """
    data = artifact.read(GOLDEN_NAME)
    try:
        if len(data) > _MAX_BYTES and artifact.manifest.batch_size is None:
            raise ValueError(f"more than {_MAX_BYTES} bytes")
        images, logits = _unpack(data, artifact.manifest)
        rows, batch_size = len(images), artifact.manifest.batch_size
        if rows != len(logits) or rows != (batch_size or rows) or not rows:
            raise ValueError(
                f"{rows} images and {len(logits)} logits for a batch size of {batch_size or 'any'}"
            )
        if not np.isfinite(images).all():
            raise ValueError("images that are not finite")
    except (ValueError, NotImplementedError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
        raise ArtifactError(
            f"{artifact.path / GOLDEN_NAME}: not a golden file ({error}); export again"
        ) from error
    return images, logits


def _unpack(data: bytes, manifest: Manifest) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Both arrays of an archive; whatever `write` does not write raises.

    Narrower than `numpy.load`, which unpacks what is compressed (a few kilobytes to gigabytes),
    allocates whatever a header asks for, and parses headers with Python's own parser.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        if [member.filename for member in members] != _MEMBERS:
            raise ValueError(f"expected {_MEMBERS}, found {[m.filename for m in members]}")
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("compressed")
        images, logits = (archive.read(member) for member in members)
    return _array(images, manifest.image_shape), _array(logits, (manifest.classes,))


def _array(member: bytes, row: tuple[int, ...]) -> NDArray[np.float32]:
    """The rows of a ``.npy`` file of float32 ``(N, *row)``."""
    header = _HEADER.match(member)
    if header is None:
        raise ValueError("expected little-endian float32 in .npy version 1.0")
    shape = tuple(int(size) for size in header[1].split(b","))
    values = np.frombuffer(member, "<f4", offset=header.end())
    if shape[1:] != row or math.prod(shape) != len(values):
        raise ValueError(f"expected (N, {str(row)[1:]}, found {shape} with {len(values)} values")
    return values.reshape(shape).astype(np.float32)


def self_test(
    engine: parity.Classifier, artifact: Artifact, name: str, starts: Sequence[int] = (1,)
) -> None:
    """Run the golden images and compare with eager's logits.

    Args:
        engine: to test.
        artifact: that it was loaded from.
        name: of the engine, for messages.
        starts: see `lenet_runtime.backends.Backend.starts`; each program is run, on as many of
            the images as it serves, or on all of them over and over where it serves only more.

    Raises:
        ParityError: this engine on this machine does not answer as eager did at export.
    """
    images, logits = read(artifact)
    tolerance = parity.TOLERANCES[artifact.manifest.precision]
    scale = parity.scale_of(logits, artifact.manifest.output)
    for size in _sizes(len(images), starts):
        batch, expected = images, logits
        if size != len(images):
            batch = np.resize(images, (size, *images.shape[1:]))
            expected = np.resize(logits, (size, *logits.shape[1:]))
        comparison = parity.compare(
            engine(batch), expected, tolerance, scale=scale, output=artifact.manifest.output
        )
        if not comparison.ok:
            raise ParityError(
                f"{artifact.path}: {name} failed the self-test on {GOLDEN_NAME} in a batch of "
                f"{size}: {comparison.reason}; it would answer wrongly here, so it was not loaded"
            )


def pixel_test(predictor: Predictor, artifact: Artifact, name: str, starts: Sequence[int]) -> None:
    """Where an engine prepares raw digits itself, hold that against its answers to prepared ones.

    Those are what `self_test`, which says what the other arguments are, and every proof run; raw
    digits go through programs of their own. A predictor without `run_pixels` passes.

    Raises:
        ParityError: it answers otherwise.
    """
    run_pixels = predictor.run_pixels
    if run_pixels is None:
        return
    digits, manifest = load_digits().images, artifact.manifest
    tolerance = parity.TOLERANCES[manifest.precision]
    for size in _sizes(manifest.batch_size or _RAW_DIGITS, starts):
        pixels = np.resize(digits, (size, *digits.shape[1:]))
        expected = predictor.run(to_batch(pixels, manifest.preprocessing, manifest.image_shape))
        comparison = parity.compare(run_pixels(pixels), expected, tolerance, output=manifest.output)
        if not comparison.ok:
            raise ParityError(
                f"{artifact.path}: {name} answers raw digits otherwise than prepared ones in a "
                f"batch of {size}: {comparison.reason}; it was not loaded"
            )


def _sizes(rows: int, starts: Sequence[int]) -> list[int]:
    """A batch for each program, of `rows` images or of what is nearest among those it serves."""
    pairs = itertools.pairwise((*starts, sys.maxsize))
    return [min(max(rows, start), end - 1) for start, end in pairs]
