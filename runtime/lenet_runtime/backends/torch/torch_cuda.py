"""PyTorch on a GPU: what the two backends that run on PyTorch, and eager, do there."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lenet_runtime import cuda, devices
from lenet_runtime.backends.protocol import Predictor, closed
from lenet_runtime.errors import BackendUnavailable, DeployError, DeviceMemoryError, first_line

Forward = Callable[[torch.Tensor], torch.Tensor]

_CAPTURE_WARMUPS = 3  # before a capture: libraries make their handles and workspaces in the first


def require(device: str) -> None:
    """Raise `BackendUnavailable` unless PyTorch can use this GPU."""
    index = devices.parse(device).index
    if torch.version.cuda is None:
        raise BackendUnavailable(
            f"PyTorch {torch.__version__} was built without CUDA; install a CUDA build of it"
        )
    found = cuda.gpu(index)  # says what is missing: the driver, GPUs, or the one of this number
    if index >= torch.cuda.device_count():
        raise BackendUnavailable(
            f"PyTorch {torch.__version__}, built for CUDA {torch.version.cuda}, cannot use "
            f"{found.name} with the driver's CUDA {found.driver}; update the NVIDIA driver"
        )


# PyTorch's switches for TF32 are the process's. A lock around setting them and queueing the work,
# which reads them, lets sessions of both precisions live in one process.
_switches = threading.RLock()


_CUDNN, _PRODUCTS = torch.backends.cudnn, torch.backends.cuda.matmul
# PyTorch has an older name for each, `allow_tf32`, and raises where it disagrees with the newer
# ones, `fp32_precision`. Inductor reads both, and that of all of cuDNN for its convolutions.
_OF_CUDNN = _CUDNN.conv, _CUDNN.rnn  # type: ignore[attr-defined]
_NEWER = _CUDNN, *_OF_CUDNN, _PRODUCTS


class _Switches(NamedTuple):
    """A state of PyTorch's switches.

    Attributes:
        cudnn: `allow_tf32` of cuDNN.
        products: `allow_tf32` of matrix products.
        medium: Whether ``medium`` is set for products, which is more than `allow_tf32` can say.
        newer: `fp32_precision` of `_NEWER`.
    """

    cudnn: bool
    products: bool
    medium: bool
    newer: tuple[str, ...]

    def write(self) -> None:
        """Set all of them."""
        # First the older ones. They set the newer ones as well, and where they allow nothing to
        # "none", which leaves them to `torch.backends.fp32_precision`.
        _CUDNN.allow_tf32, _PRODUCTS.allow_tf32 = self.cudnn, self.products
        if self.medium:
            torch.set_float32_matmul_precision("medium")
        _write_newer(_NEWER, self.newer)


def _read() -> _Switches:
    """Those of now. To read an older one may change newer ones: write all of them afterwards."""
    newer = tuple([each.fp32_precision for each in _NEWER])
    if newer[0] == torch.backends.fp32_precision:  # type: ignore[attr-defined]
        newer = ("none", *newer[1:])  # it follows what is set for everything, and shall go on to
    try:
        medium = torch.get_float32_matmul_precision() == "medium"
    except RuntimeError:  # the caller has let the CPU's disagree
        medium = False
    return _Switches(_older(_CUDNN, _OF_CUDNN), _older(_PRODUCTS, (_PRODUCTS,)), medium, newer)


def _older(library: Any, newer: tuple[Any, ...]) -> bool:
    """`allow_tf32`, which PyTorch tells where the newer ones agree with it."""
    try:
        return bool(library.allow_tf32)
    except RuntimeError:
        _write_newer(newer, ("tf32",) * len(newer))
    try:
        return bool(library.allow_tf32)
    except RuntimeError:
        return False


def _write_newer(newer: tuple[Any, ...], values: tuple[str, ...]) -> None:
    for each, value in zip(newer, values, strict=True):
        each.fp32_precision = value


_TF32 = _Switches(True, True, False, ("tf32",) * len(_NEWER))
_IEEE = _Switches(False, False, False, ("ieee",) * len(_NEWER))


@contextmanager
def precision(tf32: bool) -> Iterator[None]:
    """Allow TF32 in convolutions and dense layers, or in neither.

    PyTorch allows it in convolutions by default, which is no float32 arithmetic. The caller's own
    switches come back.
    """
    with _switches:
        before = _read()
        (_TF32 if tf32 else _IEEE).write()
        try:
            yield
        finally:
            before.write()


class CudaTorchPredictor(Predictor):
    """Calls `forward`, a function from a float32 tensor on the GPU to another.

    Args:
        name: the backend's, for messages.
        forward: the engine, on this device.
        device: ``cuda:N``.
        tf32: allow TF32 in place of float32 arithmetic.
    """

    def __init__(self, name: str, forward: Forward, device: str, *, tf32: bool) -> None:
        self._name, self._device, self._tf32 = name, torch.device(device), tf32
        self._forward: Forward | None = forward

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `lenet_runtime.backends.Predictor.run`."""
        forward = self._open()
        with self._translated(images.shape), torch.inference_mode():
            given = torch.tensor(images, device=self._device)
            with torch.cuda.device(self._device), precision(self._tf32):
                logits = forward(given)
            answer: NDArray[np.float32] = logits.cpu().numpy()
        return answer

    def close(self) -> None:
        """Drop the model; a run that is under way in another thread keeps it alive until done."""
        self._forward = None

    def stages(self, images: NDArray[np.float32], *, graph: bool) -> "TorchStages":
        """See `lenet_runtime.backends.protocol.MakeStages`."""
        with self._translated(images.shape):
            return TorchStages(self._open(), images, self._device, tf32=self._tf32, graph=graph)

    def uses_graph(self, batch_size: int) -> bool:
        """See `lenet_runtime.backends.Predictor`: `run` launches every kernel by itself."""
        return False

    def _open(self) -> Forward:
        # Not by its truth: a compiled module has the `__len__` of every module, which may raise.
        return closed() if self._forward is None else self._forward

    @contextmanager
    def _translated(self, shape: tuple[int, ...]) -> Iterator[None]:
        try:
            yield
        except torch.OutOfMemoryError as error:
            torch.cuda.empty_cache()  # what is left of the failed call
            raise DeviceMemoryError(
                f"{self._name}: {self._device} has too little free memory for {shape} "
                f"({first_line(error)}); "
                "use smaller batches"
            ) from error
        except RuntimeError as error:
            raise DeployError(f"{self._name} failed on {shape}: {first_line(error)}") from error


class TorchStages:
    """See `lenet_runtime.backends.Stages`."""

    def __init__(
        self,
        forward: Forward,
        images: NDArray[np.float32],
        device: torch.device,
        *,
        tf32: bool,
        graph: bool,
    ) -> None:
        self._forward, self._tf32 = forward, tf32
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.stream = int(self._stream.cuda_stream)
        self._host = torch.tensor(images).pin_memory()
        self._graph: torch.cuda.CUDAGraph | None = None
        with torch.cuda.stream(self._stream), torch.inference_mode():
            self._images = self._host.to(device)
            for _ in range(_CAPTURE_WARMUPS):
                self._logits = self._compute()
            self._answer = torch.empty(self._logits.shape, pin_memory=True)
        self._stream.synchronize()
        if graph:
            self._graph = torch.cuda.CUDAGraph()
            with torch.inference_mode(), torch.cuda.graph(self._graph, stream=self._stream):
                self._logits = self._compute()

    def upload(self) -> None:
        """See `lenet_runtime.backends.Stages`."""
        with torch.cuda.stream(self._stream), torch.inference_mode():
            self._images.copy_(self._host, non_blocking=True)

    def compute(self) -> None:
        """See `lenet_runtime.backends.Stages`."""
        with torch.cuda.stream(self._stream), torch.inference_mode():
            if self._graph is not None:
                self._graph.replay()
            else:
                self._logits = self._compute()

    def download(self) -> None:
        """See `lenet_runtime.backends.Stages`."""
        with torch.cuda.stream(self._stream), torch.inference_mode():
            self._answer.copy_(self._logits, non_blocking=True)

    def answer(self) -> NDArray[np.float32]:
        """The logits of the last download, once it is done."""
        self._stream.synchronize()
        return self._answer.numpy().copy()

    def close(self) -> None:
        """See `lenet_runtime.backends.Stages`."""
        self._stream.synchronize()
        self._graph = None

    def _compute(self) -> torch.Tensor:
        with precision(self._tf32):
            return self._forward(self._images)
