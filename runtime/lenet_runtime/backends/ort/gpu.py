"""A session of ONNX Runtime on one GPU, with memory, a stream and CUDA graphs of our own.

Images go through pinned host memory, since only from there the GPU copies by itself, into device
memory that the session is bound to, so that ONNX Runtime allocates and copies nothing.

**Graphs.** Small batches spend their time on launching kernels, so they are padded to 1, 2, 4, ...
or `GRAPH_BATCH` images and each of these sizes is captured once, as a CUDA graph that one call
launches. We capture around ONNX Runtime instead of letting it do so (``enable_cuda_graph``): it
captures in CUDA's global mode, in which any other thread's ``cudaMalloc`` fails; it keeps its
graphs by thread, so that each new thread of a service would capture, and hold, all of them again;
and it waits for a graph that it replays, which a benchmark must not. A graph is used only after it
gave the same answers as the session that it was captured from; where that fails, a RuntimeWarning
says so, and every batch is launched kernel by kernel, on the same GPU, with the same results.

**Threads.** Any number may call. One at a time has the GPU, under a lock: the graphs share the
memory that their kernels were captured with, and LeNet is too small for two to gain anything.

**Memory.** Batches of more than `MAX_BATCH` are cut, which bounds what a session takes: about
50 KB an image, 0.2 GB for 4096 of them, besides some hundred MB of CUDA, cuBLAS and cuDNN.
"""

import contextlib
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lenet_runtime import cuda
from lenet_runtime.artifact import Artifact
from lenet_runtime.backends.ort import core
from lenet_runtime.backends.ort.batch import Batch
from lenet_runtime.backends.protocol import Predictor
from lenet_runtime.errors import DeployError, DeviceMemoryError

GRAPH_BATCH = 64
MAX_BATCH = 4096
# The least batch size of each graph: 1, 2, 3, 5, 9, ...; and of none.
STARTS = (1, *(2**power + 1 for power in range(GRAPH_BATCH.bit_length())))


class MakeSession(Protocol):
    """What makes the session, given the stream that it is to compute on."""

    def __call__(self, stream: int) -> Any:
        """Return an `InferenceSession`."""
        ...


class OrtGpu(Predictor):
    """A predictor that can be timed step by step.

    Args:
        name: of the backend, for messages.
        artifact: that the session is made of.
        index: of the GPU.
        make: see `MakeSession`.
    """

    def __init__(self, name: str, artifact: Artifact, index: int, make: MakeSession) -> None:
        self._name = name
        self._errors = core.engine_errors()
        self._batch_size = artifact.manifest.batch_size
        self._lock = threading.RLock()
        self._graphs = True
        self._batches: dict[int, Batch] = {}
        self._context: cuda.Context | None = cuda.Context(index)
        try:
            with self._context:
                self._stream = self._context.stream()
                self._session = make(self._stream.handle)
        except BaseException:
            self._context.close()
            raise

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `lenet_runtime.backends.Predictor.run`."""
        if len(images) <= MAX_BATCH or self._batch_size is not None:
            return self._run(images)
        pieces = range(0, len(images), MAX_BATCH)
        with self._lock:  # nobody closes the session between two pieces
            return np.concatenate([self._run(images[i : i + MAX_BATCH]) for i in pieces])

    def _run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        with self.using(f"{self._name} on {images.shape}"):
            return self._batch(len(images)).answer(images)

    def stages(self, images: NDArray[np.float32], *, graph: bool) -> "Stages | None":
        """See `lenet_runtime.backends.protocol.MakeStages`."""
        with self.using(f"{self._name} on {images.shape}"):
            batch = self._make(len(images))
            try:
                if graph and not self._captured(batch):
                    batch.close()
                    return None
                batch.put(images)
                batch.step()  # allocates what this size needs
                self._stream.synchronize()
            except BaseException:
                batch.close()
                raise
        return Stages(self, batch)

    def uses_graph(self, batch_size: int) -> bool:
        """See `lenet_runtime.backends.Predictor.uses_graph`."""
        return self._graphs and batch_size <= GRAPH_BATCH

    @contextlib.contextmanager
    def using(self, doing: str) -> Iterator[None]:
        """Have the GPU to oneself; the engine's errors become ours.

        Raises:
            DeployError: the session is closed, or ONNX Runtime failed at `doing`.
            DeviceMemoryError: there was too little memory.
        """
        with self._lock:
            context = self._context or core.closed()
            with context:
                try:
                    yield
                except self._errors as error:
                    raise core.failed(doing, error) from error

    def _batch(self, size: int) -> Batch:
        """Memory for `size` images, with a graph where there is to be one."""
        if size > GRAPH_BATCH or not self._graphs:
            return self._large(size)
        size = self._batch_size or _padded(size)
        batch = self._batches.get(size)
        if batch is None:
            batch = self._make(size)
            try:
                if not self._captured(batch):
                    batch.close()
                    return self._large(size)
            except BaseException:
                batch.close()
                raise
            self._batches[size] = batch
        return batch

    def _large(self, size: int) -> Batch:
        """The one batch that is bound anew to each size, and replaced where it is too small."""
        batch = self._batches.get(0)
        if batch is None or batch.capacity < size:
            if batch is not None:
                del self._batches[0]
                batch.close()
            batch = self._make(self._batch_size or _padded(size))
            self._batches[0] = batch
        batch.bind(size)
        return batch

    def _make(self, size: int) -> Batch:
        assert self._context is not None
        return Batch(self._context, self._stream, self._session, size)

    def _captured(self, batch: Batch) -> bool:
        """Give `batch` its graph; False, and a warning, where there can be none."""
        if not self._graphs:
            return False
        try:
            batch.capture()
        except DeviceMemoryError:
            raise
        except Exception as error:
            if not isinstance(error, (DeployError, *self._errors)):
                raise
            failure = core.failed("capturing a CUDA graph", error)
            if isinstance(failure, DeviceMemoryError):
                raise failure from error
            self._graphs = False
            warnings.warn(
                f"{self._name}: no CUDA graph can be captured here ({error}); this session runs "
                "on the same GPU without graphs, so small batches take longer. Report it with the "
                "output of lenet-deploy doctor",
                RuntimeWarning,
                stacklevel=2,
            )
            return False
        return True

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._context is None

    def close(self) -> None:
        """Give everything back, after the call that is under way in another thread."""
        with self._lock:
            context, self._context = self._context, None
            if context is None:
                return
            # A GPU that failed refuses its context.
            with contextlib.suppress(DeployError), context:
                for batch in self._batches.values():
                    batch.close()
                self._batches.clear()
                self._session = None  # before the stream that it computes on
            context.close()


class Stages:
    """One batch in steps: `lenet_runtime.backends.Stages`."""

    def __init__(self, predictor: OrtGpu, batch: Batch) -> None:
        self._predictor, self._batch = predictor, batch
        self.stream = batch.stream.handle

    def upload(self) -> None:
        """Begin to copy the images to the GPU."""
        self._do("uploading", self._batch.upload)

    def compute(self) -> None:
        """Begin to compute the logits."""
        self._do("computing", self._batch.compute)

    def download(self) -> None:
        """Begin to copy the logits to the host."""
        self._do("downloading", self._batch.download)

    def answer(self) -> NDArray[np.float32]:
        """Wait, and return a copy of the logits ``(N, 10)`` of the last download."""
        with self._predictor.using("waiting for the GPU"):
            return self._batch.result()

    def close(self) -> None:
        """Free the batch's memory, unless the session did; twice is fine."""
        if not self._predictor.closed:
            self._do("closing", self._batch.close)

    def _do(self, doing: str, step: Callable[[], None]) -> None:
        with self._predictor.using(doing):
            step()


def _padded(size: int) -> int:
    """The least power of two that is not less."""
    return int(1 << (size - 1).bit_length())
