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
from collections.abc import Hashable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lenet_runtime import cuda
from lenet_runtime.artifact import Artifact
from lenet_runtime.backends.lane_predictor import LanePredictor, LaneStages
from lenet_runtime.backends.ort import core
from lenet_runtime.backends.ort.lane import GRAPH_BATCH, GpuSession, OrtLane
from lenet_runtime.cuda.lanes import padded

MAX_BATCH = 4096
# The least batch size of each graph: 1, 2, 3, 5, 9, ...; and of none.
STARTS = (1, *(2**power + 1 for power in range(GRAPH_BATCH.bit_length())))
_SMALL, _LARGE = "with graphs", "without"  # the two lanes


class MakeSession(Protocol):
    """What makes the session, given the stream that it is to compute on."""

    def __call__(self, stream: int) -> Any:
        """Return an `InferenceSession`."""
        ...


class OrtGpu(LanePredictor):
    """A session that one thread at a time has to itself.

    Args:
        name: The backend's name, for messages.
        artifact: The artifact that the session is made of.
        index: The GPU's number.
        make: See `MakeSession`.
    """

    def __init__(self, name: str, artifact: Artifact, index: int, make: MakeSession) -> None:
        super().__init__(cuda.Context(index))
        self._errors = core.engine_errors()
        self._alone = threading.RLock()
        try:
            with self.context as context:
                stream = context.stream()
                inference = make(stream.handle)
        except BaseException:
            self.context.close()
            raise
        manifest = artifact.manifest
        self._session = GpuSession(
            name,
            inference,
            stream,
            context,
            manifest.batch_size,
            manifest.image_shape,
            manifest.classes,
        )

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `lenet_runtime.backends.Predictor.run`."""
        if len(images) <= MAX_BATCH or self._session.batch_size is not None:
            return self._run(images)
        pieces = range(0, len(images), MAX_BATCH)
        with self._alone:  # nobody closes the session between two pieces
            return np.concatenate([self._run(images[i : i + MAX_BATCH]) for i in pieces])

    def _run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        count = len(images)
        with self.guard(f"{self._session.name} on {images.shape}"):
            if self.uses_graph(count):
                return self.run_on(_SMALL, images)
            idle = self._idle.get(_LARGE)
            if idle and idle[-1].capacity < count:
                with self.context:
                    idle.pop().close()
            return self.run_on(_LARGE, images)

    def stages(self, images: NDArray[np.float32], *, graph: bool) -> LaneStages | None:
        """See `lenet_runtime.backends.protocol.MakeStages`."""
        with self.guard(f"{self._session.name} on {images.shape}"):
            return super().stages(images, graph=graph)

    def uses_graph(self, batch_size: int) -> bool:
        """See `lenet_runtime.backends.Predictor.uses_graph`."""
        return self._session.graphs and batch_size <= GRAPH_BATCH

    @contextlib.contextmanager
    def guard(self, doing: str) -> Iterator[None]:
        """Have the session to oneself; the engine's errors become ours.

        Raises:
            DeployError: ONNX Runtime failed at `doing`.
            DeviceMemoryError: There was too little memory.
        """
        with self._alone:
            try:
                yield
            except self._errors as error:
                raise core.failed(doing, error) from error

    def make_lane(self, kind: Hashable, count: int) -> OrtLane:
        """Make a lane for all small batches, or for large ones up to a power of two."""
        capacity = max(GRAPH_BATCH, padded(count))
        return OrtLane(self._session, self._session.batch_size or capacity)

    def close(self) -> None:
        """Give everything back, after the call that is under way in another thread."""
        with self._alone:
            super().close()

    def release(self) -> None:
        """Let go of the session before the stream that it computes on."""
        self._session.inference = None
