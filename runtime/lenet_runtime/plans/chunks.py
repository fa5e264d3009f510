"""Cutting large batches into chunks whose intermediate results stay in the cache."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from lenet_runtime.errors import ParityError

# Engines run layer by layer, and conv1's output is 21 KB an image: of 64 images it is still in the
# cache when the next layer wants it, of 512 it is not. benchmarks/README.md has the measurement;
# `lenet-deploy tune` measures other sizes.
DEFAULT = 64

Logits = TypeVar("Logits", NDArray[np.float32], NDArray[np.float32] | None)


def run_in_chunks(
    run: Callable[[NDArray[np.float32]], Logits], images: NDArray[np.float32], chunk: int | None
) -> Logits:
    """The logits of `images`, of which `run` gets `chunk` at a time and at last what is left.

    A batch of fewer than two chunks is not cut, and none is where `chunk` is None.

    Returns:
        Logits ``(N, 10)``; None as soon as `run` returns None for a chunk.

    Raises:
        ParityError: `run` returned more or fewer rows than it got images.
    """
    if chunk is None or len(images) < 2 * chunk:
        return run(images)
    answers = []
    for start in range(0, len(images), chunk):
        piece = images[start : start + chunk]
        logits = run(piece)
        if logits is None:
            return None
        if len(logits) != len(piece):  # the sum of the rows may still be right
            raise ParityError(
                f"the engine answered {len(piece)} images with {len(logits)} rows of logits"
            )
        answers.append(logits)
    return np.concatenate(answers)


def run_filled(
    run: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    images: NDArray[np.float32],
    batch_size: int,
) -> NDArray[np.float32]:
    """The logits of all images, in batches of this size; the last is filled up with one of them."""
    answers = []
    for start in range(0, len(images), batch_size):
        part = images[start : start + batch_size]
        more = np.repeat(part[:1], batch_size - len(part), axis=0)
        answers.append(run(np.concatenate([part, more]))[: len(part)])
    return np.concatenate(answers)
