"""The SHA-256 of an artifact's logits, by which machines are compared without a copy of either's.

Two artifacts of one network that answer equally to the bit have the same, whatever they run on.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

from lenet_runtime.images.preprocess import centred, to_batch
from lenet_runtime.plans.chunks import run_filled
from lenet_runtime.session import Session

_CHUNK = 250  # images at once, of an artifact that takes any number


def logits_sha256(session: Session, digits: NDArray[np.uint8]) -> str:
    """The SHA-256, in hexadecimal, of the logits as float32, little-endian, row by row.

    Args:
        session: The loaded artifact.
        digits: Grey pixels ``(N, 28, 28)``, which are put into the middle of black where the
            network takes larger images. The last batch of a static artifact is filled up with
            its first digit, whose logits are dropped.
    """
    manifest, hashed = session.manifest, hashlib.sha256()
    size = manifest.batch_size or _CHUNK
    for start in range(0, len(digits), size):
        pixels = centred(digits[start : start + size], *manifest.image_shape[1:])
        images = to_batch(pixels, manifest.preprocessing, manifest.image_shape)
        logits = run_filled(session.run, images, manifest.batch_size or len(images))
        hashed.update(logits.astype("<f4").tobytes())
    return hashed.hexdigest()
