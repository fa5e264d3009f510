"""`lenet_runtime.digest`: a SHA-256 of all digits' logits and of nothing else."""

import hashlib
from types import SimpleNamespace

import numpy as np
import pytest

from lenet_runtime.digest import logits_sha256
from lenet_runtime.images.preprocess import Preprocessing, to_batch

DIGITS = np.random.default_rng(0).integers(0, 256, (16, 28, 28), np.uint8)


def session(batch_size, change=0.0):
    """Answers with ten pixels of each image, and records the sizes of its batches."""
    sizes = []

    def run(images):
        sizes.append(len(images))
        return images[:, 0, 14, 10:20] + np.float32(change)

    manifest = SimpleNamespace(
        batch_size=batch_size, image_shape=(1, 32, 32), preprocessing=Preprocessing()
    )
    return SimpleNamespace(manifest=manifest, run=run, sizes=sizes)


@pytest.mark.parametrize(("batch_size", "sizes"), [(None, [16]), (7, [7, 7, 7])])
def test_it_is_of_the_logits_whatever_the_batches(batch_size, sizes):
    """A static batch is filled up, and what fills it is dropped."""
    fake = session(batch_size)
    expected = to_batch(DIGITS, Preprocessing())[:, 0, 14, 10:20].astype("<f4").tobytes()
    assert logits_sha256(fake, DIGITS) == hashlib.sha256(expected).hexdigest()
    assert fake.sizes == sizes


def test_one_other_bit_is_another_digest():
    assert logits_sha256(session(None), DIGITS) != logits_sha256(session(None, 1e-6), DIGITS)
