"""One batch of a TensorRT engine, step by step, for a benchmark."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lenet_runtime import cuda
from lenet_runtime.backends.tensorrt.lane import Lane, Program


class TensorRtStages:
    """See `lenet_runtime.backends.Stages`.

    Args:
        lane: of its own.
        gpu: whose primary context the lane belongs to.
        images: the batch, of at most the profile's largest.
        end: gives the lane back.
        graph: launch the computation as a captured CUDA graph.
    """

    def __init__(
        self,
        lane: Lane,
        gpu: cuda.Context,
        images: NDArray[np.float32],
        end: Callable[[Lane], None],
        *,
        graph: bool,
    ) -> None:
        self._lane, self._gpu, self._count, self._end = lane, gpu, len(images), end
        lane.put(images)
        self._program = Program(lane, max(self._count, lane.engine.profile.least))
        self._graph = self._program.capture(self._program.compute) if graph else None
        self.stream: int = lane.stream.handle
        self._closed = False

    @property
    def captured(self) -> bool:
        """Whether `compute` launches a graph."""
        return self._graph is not None

    def upload(self) -> None:
        """See `lenet_runtime.backends.Stages`."""
        with self._gpu:
            self._program.upload()

    def compute(self) -> None:
        """See `lenet_runtime.backends.Stages`."""
        with self._gpu:
            if self._graph is None:
                self._program.compute()
            else:
                self._graph.launch(self._lane.stream)

    def download(self) -> None:
        """See `lenet_runtime.backends.Stages`."""
        with self._gpu:
            self._program.download()

    def answer(self) -> NDArray[np.float32]:
        """See `lenet_runtime.backends.Stages`."""
        with self._gpu:
            self._lane.stream.synchronize()
        return self._lane.answer(self._count).copy()

    def close(self) -> None:
        """See `lenet_runtime.backends.Stages`; twice is fine."""
        if self._closed:
            return
        self._closed = True
        try:
            with self._gpu:
                self._lane.stream.synchronize()
                if self._graph is not None:
                    self._graph.close()
                self._program.close()
        finally:
            self._end(self._lane)
