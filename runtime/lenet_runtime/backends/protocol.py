"""`Predictor`: what an engine implements, and what it may offer beyond that."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from lenet_runtime.errors import DeployError

_INFINITY = float("inf")
# OpenBLAS splits dot products of more than 10,000 elements over its own threads, which a session
# with threads=1 must not wake; 8 images have 8,192.
_MAX_DOT_IMAGES = 8


class Stages(Protocol):
    """One batch on the GPU in the steps that a benchmark times apart.

    Each step only puts its work on the stream and returns; the memory stays where it is, so a
    step may be repeated any number of times.

    Attributes:
        stream: CUDA's handle of the stream.
    """

    stream: int

    def upload(self) -> None:
        """Copy the images from pinned host memory to the device."""
        ...

    def compute(self) -> None:
        """Compute the logits, from device memory to device memory."""
        ...

    def download(self) -> None:
        """Copy the logits from the device to pinned host memory."""
        ...

    def answer(self) -> NDArray[np.float32]:
        """Wait, and return a copy of the logits ``(N, 10)`` of the last download."""
        ...

    def close(self) -> None:
        """Give back the memory of this batch."""
        ...


class MakeStages(Protocol):
    """What `Predictor.stages` is."""

    def __call__(self, images: NDArray[np.float32], *, graph: bool) -> Stages | None:
        """Return the steps of this batch; None where the engine has no such mode.

        Args:
            images: a batch that `Session` would accept.
            graph: launch a captured CUDA graph in `Stages.compute`, or every kernel by itself.

        Raises:
            DeviceMemoryError: the batch does not fit.
        """
        ...


class Predictor(ABC):
    """What an engine implements: `run` and `close`. The rest are options with their defaults.

    `Session` has checked the input before it calls: C-contiguous native float32 images
    ``(N, 1, 32, 32)`` with N at least 1, and equal to the batch size of a static artifact. A
    predictor computes and nothing else, may be called from many threads at once, and raises
    only errors of `lenet_runtime.errors`.

    Attributes:
        run_pixels: returns what `run` does, for C-contiguous uint8 digits ``(N, 28, 28)``, N at
            least 1. Of an engine that pads and normalises by itself, as the artifact's
            preprocessing says and to the same bits; None for all others.
        pixels_only: Whether it raises `InputError` for images that are not what `normalise` makes
            of pixels, as a microcontroller's code does, which takes pixels.
        stages: see `MakeStages`; None for an engine that cannot be timed step by step.
        switches: batch sizes from which on it handles a batch in another way, beyond those of
            `Backend.starts`: cut into pieces, say, or no longer filled up. A proof runs both sides.
        survives_fork: Whether it answers in a child that `os.fork` made, even if other threads of
            the parent were running it. In all others, `Session` refuses there.
    """

    # What users want beyond this (other checks, `out=`, labels, warm-up) is the same for every
    # engine and lives in Session once. An option is declared here, never looked for by name.
    run_pixels: Callable[[NDArray[np.uint8]], NDArray[np.float32]] | None = None
    pixels_only: bool = False
    stages: MakeStages | None = None
    switches: tuple[int, ...] = ()
    survives_fork: bool = False

    @abstractmethod
    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return new float32 logits ``(N, 10)``, once they are in host memory."""

    @abstractmethod
    def close(self) -> None:
        """Give back the engine's memory; `run` is not called afterwards."""

    def run_checked(self, images: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Return what `run` does; None, and leave no trace, if a value is NaN or infinite.

        An engine that reads the images itself can find those in passing, without this extra pass.
        """
        # A sum of squares cannot cancel, so it is finite only if all values are, and BLAS does it
        # in 0.5 us where ``isfinite().all()`` takes 1.6. Squares of values beyond 1e19 overflow;
        # the exact test then decides.
        if len(images) <= _MAX_DOT_IMAGES and np.vdot(images, images) < _INFINITY:
            return self.run(images)
        return self.run_if_finite(images)

    def run_if_finite(self, images: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """The same, of images that are many or have large values: by the exact test."""
        return self.run(images) if np.isfinite(images).all() else None

    def uses_graph(self, batch_size: int) -> bool | None:
        """Whether `run` launches a CUDA graph for this batch; None where the engine does not tell.

        Of an engine that does not, a benchmark takes the faster of the two modes for what `run`
        does.
        """
        return None


def closed(*_: Any) -> NoReturn:
    """Stand in for what runs, once a predictor is closed: raise `DeployError`."""
    raise DeployError("this session is closed; load the artifact again")
