"""What the two backends that run on PyTorch share."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from lenet_runtime import devices
from lenet_runtime.backends.protocol import Predictor, closed
from lenet_runtime.errors import BackendUnavailable, DeployError

_STRIDES = (4096, 4096, 128, 4)  # of contiguous float32 images (N, 1, 32, 32)


def probe(device: str) -> str:
    """PyTorch's version; see `lenet_runtime.backends.Backend.probe`."""
    if devices.parse(device).kind == "cuda":
        from lenet_runtime.backends.torch import torch_cuda

        torch_cuda.require(device)
    return str(torch.__version__)


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
        threads: intra-op threads of each call; None for PyTorch's own number at this moment. It
            is held for every call, because a thread of the caller's may come with another, and
            sums in another order round otherwise.
    """

    def __init__(
        self, name: str, forward: Callable[[torch.Tensor], torch.Tensor], threads: int | None
    ) -> None:
        self._name = name
        self._forward = forward
        self._threads = threads or torch.get_num_threads()

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `lenet_runtime.backends.Predictor.run`."""
        forward = self._forward  # once: `close` may come in between
        # torch.from_numpy warns of read-only memory, and refuses the strides that an axis of one
        # element may have in NumPy: one image, images[::-1], is contiguous there.
        if images.strides != _STRIDES or not images.flags.writeable:
            images = images.copy()
        # OpenMP keeps this setting per calling thread, so sessions that want different numbers
        # do not disturb each other; the caller gets its own number back.
        before, wanted = torch.get_num_threads(), self._threads
        if wanted != before:
            torch.set_num_threads(wanted)
        try:
            with torch.inference_mode():
                logits = forward(torch.from_numpy(images))
        except RuntimeError as error:
            raise DeployError(f"{self._name} failed on {images.shape}: {error}") from error
        finally:
            if wanted != before:
                torch.set_num_threads(before)
        if not isinstance(logits, torch.Tensor):
            raise DeployError(f"{self._name}: expected a tensor, found {type(logits).__name__}")
        answer: NDArray[np.float32] = logits.numpy()
        return answer

    def close(self) -> None:
        """Drop the model; a run that is under way in another thread keeps it alive until done."""
        self._forward = closed
