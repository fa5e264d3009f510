"""What the two backends that run on PyTorch share."""

import os
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from lenet_runtime import devices
from lenet_runtime.backends.protocol import Predictor, closed
from lenet_runtime.errors import BackendUnavailable, DeployError, first_line


def probe(device: str) -> str:
    """PyTorch's version; see `lenet_runtime.backends.Backend.probe`."""
    if devices.parse(device).kind == "cuda":
        from lenet_runtime.backends.torch import torch_cuda

        torch_cuda.require(device)
    return str(torch.__version__)


class Held:
    """A block in which this thread's calls of PyTorch have a number of threads.

    `torch.set_num_threads` is OpenMP's setting for the calling thread, so sessions that want
    different numbers do not disturb each other, and the caller's own number comes back. It also is
    the number with which threads begin that call PyTorch for the first time, so one that does while
    another is inside has this number until it sets its own.

    With one thread OpenMP starts no pool: none spins, and a forked child can load and run.

    Args:
        threads: None is one.

    Raises:
        BackendUnavailable: it is more than one in a forked process, where OpenMP may wait for ever
            for threads of the parent.
    """

    __slots__ = ("_before", "_threads")

    def __init__(self, threads: int | None) -> None:
        self._threads = threads or 1
        if _forked and self._threads > 1:
            raise BackendUnavailable(
                f"threads: PyTorch cannot use {threads} in a process that was forked after PyTorch "
                "was imported; pass threads=1, or start workers with multiprocessing's 'spawn'"
            )

    def __enter__(self) -> None:
        self._before = torch.get_num_threads()
        if self._threads != self._before:
            torch.set_num_threads(self._threads)

    def __exit__(self, *error: object) -> None:
        if self._threads != self._before:
            torch.set_num_threads(self._before)


_forked = False


def _after_fork() -> None:
    global _forked  # noqa: PLW0603  what a fork changed is a fact about the process
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def predictor(
    name: str,
    forward: Callable[[torch.Tensor], torch.Tensor],
    device: str,
    threads: int | None,
    precision: str,
) -> Predictor:
    """What calls `forward` on this device in this precision.

    Raises:
        BackendUnavailable: TF32 was asked for on a CPU, which has none.
    """
    if devices.parse(device).kind == "cpu":
        if precision == "tf32":
            raise BackendUnavailable(f"{name}: TF32 is a GPU's arithmetic; pass device='cuda'")
        return TorchPredictor(name, forward, threads)
    from lenet_runtime.backends.torch.torch_cuda import CudaTorchPredictor

    return CudaTorchPredictor(name, forward, device, tf32=precision == "tf32")


class TorchPredictor(Predictor):
    """Calls `forward`, a function from a float32 CPU tensor to another.

    Args:
        name: the backend's, for messages.
        forward: the engine.
        threads: intra-op threads of each call; None is one. It is held for every call, because
            a thread of the caller's may come with another, and sums in another order round
            otherwise. The caller gets its own number back.

    Raises:
        BackendUnavailable: several threads are asked for in a forked process.
    """

    def __init__(
        self, name: str, forward: Callable[[torch.Tensor], torch.Tensor], threads: int | None
    ) -> None:
        self._name = name
        self._forward = forward
        self._threads = threads or 1
        self._strides: tuple[int, ...] = ()  # of contiguous images, once there were some

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `lenet_runtime.backends.Predictor.run`."""
        forward = self._forward  # once: `close` may come in between
        # torch.from_numpy warns of read-only memory, and refuses the strides that an axis of one
        # element may have in NumPy: one image, images[::-1], is contiguous there.
        if images.strides != self._strides or not images.flags.writeable:
            self._strides = np.empty((1, *images.shape[1:]), np.float32).strides
            if images.strides != self._strides or not images.flags.writeable:
                images = images.copy()
        try:
            with Held(self._threads), torch.inference_mode():
                logits = forward(torch.from_numpy(images))
        except RuntimeError as error:
            raise DeployError(
                f"{self._name} failed on {images.shape}: {first_line(error)}"
            ) from error
        if not isinstance(logits, torch.Tensor):
            raise DeployError(f"{self._name}: expected a tensor, found {type(logits).__name__}")
        answer: NDArray[np.float32] = logits.numpy()
        return answer

    def close(self) -> None:
        """Drop the model; a run that is under way in another thread keeps it alive until done."""
        self._forward = closed
