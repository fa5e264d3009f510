"""A lane of ONNX Runtime: a session that is bound to the lane's memory, and proven graphs of it."""

import math
import warnings
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_runtime.backends.ort import core
from lenet_runtime.cuda import Context, Stream
from lenet_runtime.cuda.lanes import Batch, Lane, padded
from lenet_runtime.errors import DeployError, DeviceMemoryError

GRAPH_BATCH = 64
# A graph launches the kernels that it was captured from: only atomic additions, which some of
# cuDNN's use, may differ, in the last bits; a graph that does nothing differs by 1 and more.
_SAME = 1e-3
# Runs of a size after which ONNX Runtime, cuDNN and cuBLAS allocate nothing more for it, since an
# allocation cannot be captured: the first allocates, the second shows that it did.
WARMUPS = 2


@dataclass
class GpuSession:
    """A session of ONNX Runtime on a GPU, and what its lanes share.

    Attributes:
        name: The backend's name, for messages.
        inference: The `InferenceSession`.
        stream: The stream that it computes on.
        context: The context of the GPU.
        batch_size: The batch size of a static artifact; None for any.
        image_shape: The ``(C, H, W)`` of images.
        classes: Logits of an image.
        graphs: Whether graphs can be captured; False once one failed.
    """

    name: str
    inference: Any
    stream: Stream
    context: Context
    batch_size: int | None
    image_shape: tuple[int, int, int]
    classes: int
    graphs: bool = True

    def give_graphs_up(self, error: Exception) -> None:
        """Run without graphs from now on, and warn; too little memory is raised and no reason."""
        failure = core.failed("capturing a CUDA graph", error)
        if isinstance(failure, DeviceMemoryError):
            raise failure from error
        self.graphs = False
        warnings.warn(
            f"{self.name}: no CUDA graph can be captured here ({error}); this session runs "
            "on the same GPU without graphs, so small batches take longer. Report it with the "
            "output of lenet-deploy doctor",
            RuntimeWarning,
            stacklevel=2,
        )


class OrtLane(Lane):
    """A lane on the session's own stream.

    Args:
        session: The session.
        capacity: The most images of a batch.
    """

    def __init__(self, session: GpuSession, capacity: int) -> None:
        super().__init__(
            session.context,
            capacity,
            stream=session.stream,
            image_bytes=4 * math.prod(session.image_shape),
            classes=session.classes,
        )
        self._session = session
        self._options = core.import_onnxruntime().RunOptions()
        # We wait, once the logits are on their way as well.
        self._options.add_run_config_entry("disable_synchronize_execution_providers", "1")

    def prepare(self, images: NDArray[Any]) -> Batch:
        """Pad small sizes to powers of two, with a graph for each."""
        count = len(images)
        if self._session.graphs and count <= GRAPH_BATCH:
            size = self._session.batch_size or padded(count)
            batch = self.batch(size, images, size, graph=True)
            if self._session.graphs:
                return batch
            self.forget()  # also the graphs that worked
        return self.batch(count, images, count, graph=False)

    def new(self, images: NDArray[Any], size: int) -> Batch:
        """Bind the session to the lane's memory for this size."""
        inference, index = self._session.inference, self._session.context.gpu.index
        binding = inference.io_binding()
        (source,), (target,) = inference.get_inputs(), inference.get_outputs()
        for bind, name, shape, address in (
            (binding.bind_input, source.name, self._session.image_shape, self.images),
            (binding.bind_output, target.name, (self.classes,), self.logits),
        ):
            bind(name, "cuda", index, np.float32, [size, *shape], address)
        compute = partial(inference.run_with_iobinding, binding, self._options)
        return OrtBatch(self._session, self, size, compute)


class OrtBatch(Batch):
    """One batch size of a session."""

    def __init__(self, session: GpuSession, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._session = session

    def capture(self, *, whole: bool) -> bool:
        """Capture what the session computes, without the copies.

        Returns:
            Whether there is a graph. Where it cannot be captured or answers otherwise, a
            RuntimeWarning says so, and no graph is used any more.

        Raises:
            DeviceMemoryError: There is not enough memory.
        """
        failures: tuple[type[Exception], ...] = (DeployError, *core.engine_errors())
        if self._session.graphs:
            try:
                self._prove()
            except DeviceMemoryError:
                raise
            except failures as error:
                self._session.give_graphs_up(error)
        return self._session.graphs

    def _prove(self) -> None:
        """Capture a graph, and compare its answers to other images with the session's.

        The answers to the images at the time of the capture stay where the graph is to put its
        own, so that a graph which leaves them untouched is found out.
        """
        probe = np.random.default_rng(0).standard_normal(
            (self.size, *self._session.image_shape), np.float32
        )
        for _ in range(WARMUPS - 1):  # and one more before the capture
            self._answer(np.zeros_like(probe))
        plain = self.compute
        super().capture(whole=False)
        graph, answer = self.compute, self._answer(probe)
        self.compute = plain
        expected = self._answer(probe)
        if not np.allclose(answer, expected, rtol=_SAME, atol=_SAME):
            worst = float(np.abs(answer - expected).max())
            raise DeployError(
                f"a graph of {self.size} images answers otherwise than the session that it was "
                f"captured from, by up to {worst:.3g}"
            )
        self.compute = graph

    def _answer(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        self.lane.put(images)
        self.start()
        self.lane.stream.synchronize()
        return self.lane.logits_of(self.size).copy()
