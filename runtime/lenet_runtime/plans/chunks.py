"""Cutting large batches into pieces whose intermediate results stay in the cache."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

# Engines run layer by layer, and conv1's output is 21 KB an image: of 64 images it is still in the
# cache when the next layer wants it, of 512 it is not. benchmarks/README.md has the measurement;
# `lenet-deploy tune` measures other sizes.
DEFAULT = 64

if TYPE_CHECKING:
    from lenet_runtime.backends import Predictor


class InChunks:
    """A predictor that gives its engine `chunk` images at a time.

    The last piece holds what is left. A batch of fewer than two pieces is not cut.

    Attributes:
        engine: that answers.
        chunk: images in a piece.
    """

    def __init__(self, engine: "Predictor", chunk: int) -> None:
        self.engine = engine
        self.chunk = chunk

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `lenet_runtime.backends.Predictor.run`."""
        size, run = self.chunk, self.engine.run
        if len(images) < 2 * size:
            return run(images)
        return np.concatenate([run(images[i : i + size]) for i in range(0, len(images), size)])

    def close(self) -> None:
        """Close the engine."""
        self.engine.close()


def cut(predictor: "Predictor", chunk: int | None) -> "Predictor":
    """The same engine, cutting at `chunk` images in place of where it did; None is never."""
    engine = predictor.engine if isinstance(predictor, InChunks) else predictor
    return engine if chunk is None else InChunks(engine, chunk)
