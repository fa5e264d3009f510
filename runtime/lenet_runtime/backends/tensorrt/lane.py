"""A lane that runs a TensorRT engine, in an execution context for each batch size.

A graph keeps what its execution context was when it was captured, so no two sizes share a context.
They share the scratch memory, since a lane does one thing at a time.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_runtime import cuda
from lenet_runtime.backends.tensorrt.engine import Engine
from lenet_runtime.cuda.lanes import Batch, Lane, Work
from lenet_runtime.errors import DeployError, DeviceMemoryError

SIZES = 16  # batch sizes that a lane remembers; a graph and its context take about a megabyte


class EngineLane(Lane):
    """A lane for batches of any size: large ones in pieces, small ones filled up with black images.

    Args:
        engine: The engine.
        gpu: The context of the GPU.
    """

    def __init__(self, engine: Engine, gpu: cuda.Context) -> None:
        self._engine, self._profile = engine, engine.profile
        scratch = max(engine.scratch_bytes, 1)
        super().__init__(
            gpu,
            engine.profile.most,
            scratch_bytes=scratch,
            image_bytes=4 * math.prod(engine.image_shape),
            classes=engine.classes,
            limit=SIZES,
        )

    def run(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Compute new logits ``(N, 10)``."""
        most = self._profile.most
        if len(images) <= most:
            return super().run(images)
        pieces = range(0, len(images), most)
        return np.concatenate([self.run(images[i : i + most]) for i in pieces])

    def begin(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """See `Lane.begin`."""
        self._fill_up(len(images))
        return super().begin(images)

    def put(self, images: NDArray[Any]) -> None:
        """See `Lane.put`."""
        self._fill_up(len(images))
        super().put(images)

    def _fill_up(self, count: int) -> None:
        """Blacken what a batch below the profile's least lacks; its logits are dropped."""
        if count < self._profile.least:
            self.host_images.array[: self._profile.least * self.image_bytes] = 0

    def prepare(self, images: NDArray[Any]) -> Batch:
        """Have a graph for every size, of upload, computation and download."""
        return self.batch(len(images), images, len(images), graph=True)

    def new(self, images: NDArray[Any], size: int) -> Batch:
        """Make an execution context for this size."""
        size = max(size, self._profile.least)
        scratch = (self.scratch, self.scratch_bytes)
        context = self._engine.context(size, self.images, self.logits, scratch)
        return EngineBatch(self, size, self._engine, context)


class EngineBatch(Batch):
    """One batch size of an engine.

    Args:
        lane: The lane.
        size: Images that are computed.
        engine: The engine.
        context: The execution context of this batch size.
    """

    def __init__(self, lane: Lane, size: int, engine: Engine, context: Any) -> None:
        stream = lane.stream.handle

        def execute() -> None:
            if not context.execute_async_v3(stream):
                raise engine.library.failure(f"running a batch of {size}")

        super().__init__(lane, size, execute)
        self._context: Any = context

    def record(self, work: Work) -> cuda.Graph | None:
        """See `Batch.record`."""
        stream = self.lane.stream
        if not getattr(self._context, "is_stream_capturable", lambda stream: True)(stream.handle):
            return None
        try:
            return stream.capture(work)
        except DeviceMemoryError:
            raise
        except DeployError:
            return None

    def close(self) -> None:
        """Free the graph, then the context that it was captured from."""
        super().close()
        self._context = None
