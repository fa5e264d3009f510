"""Memory for one batch on the GPU, the session bound to it, and the graph captured from both."""

import contextlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_runtime.cuda import Context, Graph, Stream
from lenet_runtime.errors import DeployError

_IMAGE, _LOGITS = (1, 32, 32), (10,)
# A graph launches the kernels that it was captured from: only atomic additions, which some of
# cuDNN's use, may differ, in the last bits; a graph that does nothing differs by 1 and more.
_SAME = 1e-3
# Runs of a size after which ONNX Runtime, cuDNN and cuBLAS allocate nothing more for it, since an
# allocation cannot be captured: the first allocates, the second shows that it did.
WARMUPS = 2


class Batch:
    """Pinned and device memory for up to `capacity` images; used by one thread at a time.

    The caller is inside the context. Steps only put work on the stream.

    Args:
        context: of the GPU.
        stream: that the session computes on.
        session: of ONNX Runtime.
        capacity: images.

    Raises:
        DeviceMemoryError: there is not enough memory.
    """

    def __init__(self, context: Context, stream: Stream, session: Any, capacity: int) -> None:
        import onnxruntime

        self.stream, self.capacity, self.size = stream, capacity, 0
        self._index, self._session = context.gpu.index, session
        self._graph: Graph | None = None
        self._open = contextlib.ExitStack()
        self._options = onnxruntime.RunOptions()
        # We wait, once the logits are on their way as well.
        self._options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        nbytes = [4 * capacity * int(np.prod(shape)) for shape in (_IMAGE, _LOGITS)]
        try:
            host, self._device = [], []
            for number in nbytes:
                pinned, buffer = context.pinned(number), None
                self._open.callback(pinned.close)
                buffer = context.allocate(number)
                self._open.callback(buffer.close)
                host.append(pinned)
                self._device.append(buffer)
        except BaseException:
            self._open.close()
            raise
        self._host = host  # the memory behind the arrays
        self._images: NDArray[np.float32] = host[0].array.view(np.float32).reshape(-1, *_IMAGE)
        self._logits: NDArray[np.float32] = host[1].array.view(np.float32).reshape(-1, *_LOGITS)
        self.bind(capacity)

    def bind(self, size: int) -> None:
        """Let the session compute `size` images, at the same addresses as before."""
        if size == self.size:
            return
        binding = self._session.io_binding()
        (source,), (target,) = self._session.get_inputs(), self._session.get_outputs()
        binding.bind_input(
            source.name, "cuda", self._index, np.float32, [size, *_IMAGE], self._device[0].pointer
        )
        binding.bind_output(
            target.name, "cuda", self._index, np.float32, [size, *_LOGITS], self._device[1].pointer
        )
        # Both, once all went well: the binding of one size must not stand beside another.
        self._binding, self.size = binding, size

    def answer(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """The logits of `images`, at most `size` of them."""
        self.put(images)
        self.step()
        return self.result()[: len(images)]

    def result(self) -> NDArray[np.float32]:
        """Wait, and copy the logits of the last download out of the pinned memory."""
        self.stream.synchronize()
        return self._logits[: self.size].copy()

    def put(self, images: NDArray[np.float32]) -> None:
        """Copy `images` into the pinned memory."""
        np.copyto(self._images[: len(images)], images)

    def upload(self) -> None:
        """Begin to copy the images to the GPU."""
        nbytes = self._images[: self.size].nbytes
        self.stream.upload(self._device[0].pointer, self._host[0].pointer, nbytes)

    def compute(self) -> None:
        """Begin to compute the logits: by one launch where there is a graph."""
        if self._graph is None:
            self._session.run_with_iobinding(self._binding, self._options)
        else:
            self._graph.launch(self.stream)

    def download(self) -> None:
        """Begin to copy the logits to the host."""
        nbytes = self._logits[: self.size].nbytes
        self.stream.download(self._host[1].pointer, self._device[1].pointer, nbytes)

    def step(self) -> None:
        """All three."""
        self.upload()
        self.compute()
        self.download()

    def capture(self) -> None:
        """Capture what the session computes, and prove the graph on other images.

        The answers to the images at the time of the capture stay where the graph is to put its
        own, so that a graph which leaves them untouched is found out.

        Raises:
            DeployError: it cannot be captured, or answers otherwise.
            DeviceMemoryError: there is not enough memory.
        """
        probe = np.random.default_rng(0).standard_normal(self._images.shape, np.float32)
        for _ in range(WARMUPS):
            self.answer(np.zeros_like(probe))
        graph = self.stream.capture(self.compute)
        self._open.callback(graph.close)
        self._graph = graph
        found = self.answer(probe)
        self._graph = None
        expected = self.answer(probe)
        if not np.allclose(found, expected, rtol=_SAME, atol=_SAME):
            worst = float(np.abs(found - expected).max())
            raise DeployError(
                f"a graph of {self.size} images answers otherwise than the session that it was "
                f"captured from, by up to {worst:.3g}"
            )
        self._graph = graph

    def close(self) -> None:
        """Free it all, once what is on the stream is done; twice is fine."""
        with contextlib.suppress(DeployError):  # a GPU that failed has nothing left to wait for
            self.stream.synchronize()
        self._open.close()
