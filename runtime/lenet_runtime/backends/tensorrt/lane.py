"""A lane: everything that one thread at a time needs to run an engine.

A stream, buffers for the largest batch in pinned host memory and on the GPU, and for each batch
size a program: an execution context with a CUDA graph of upload, computation and download. A graph
keeps what its context was when it was captured, so no two sizes share a context; they share the
scratch memory, since a lane does one thing at a time.
"""

import contextlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_runtime import cuda
from lenet_runtime.backends.tensorrt.engine import Engine
from lenet_runtime.errors import DeployError, DeviceMemoryError

IMAGE_BYTES, LOGITS_BYTES = 4 * 32 * 32, 4 * 10
PROGRAMS = 16  # batch sizes that a lane remembers; a graph and its context take about a megabyte

Images = NDArray[np.float32]


class Lane:
    """See the module. Its thread must be inside ``with gpu:`` in every call.

    Args:
        engine: to run.
        gpu: whose primary context it belongs to.

    Raises:
        DeviceMemoryError: the buffers do not fit; nothing is left behind.
    """

    def __init__(self, engine: Engine, gpu: cuda.Context) -> None:
        self.engine, self.most = engine, engine.profile.most
        self._programs: OrderedDict[int, Program] = OrderedDict()
        with contextlib.ExitStack() as parts:
            self.stream = gpu.stream()
            parts.callback(self.stream.close)
            self.images, self.logits, self.scratch = (
                _kept(parts, gpu.allocate(size))
                for size in (
                    self.most * IMAGE_BYTES,
                    self.most * LOGITS_BYTES,
                    max(engine.scratch_bytes, 1),
                )
            )
            self.host_images = _kept(parts, gpu.pinned(self.most * IMAGE_BYTES))
            self.host_logits = _kept(parts, gpu.pinned(self.most * LOGITS_BYTES))
            self._parts = parts.pop_all()

    def run(self, images: Images, logits: Images) -> None:
        """Fill `logits` ``(N, 10)``; N is at most `most`.

        A batch below the profile's least is filled up with black images, whose logits are dropped.
        """
        count = len(images)
        self.put(images)
        size = max(count, self.engine.profile.least)
        program = self._programs.get(size)
        if program is None:
            program = self._add(size)  # which has run it, too
        else:
            self._programs.move_to_end(size)
            program.run()
        logits[:] = self.answer(count)

    def put(self, images: Images) -> None:
        """Copy a batch into pinned memory."""
        count, least = len(images), self.engine.profile.least
        _view(self.host_images, count, 1024)[:] = images.reshape(count, -1)
        if count < least:
            _view(self.host_images, least, 1024)[count:] = 0

    def answer(self, count: int) -> Images:
        """The logits in pinned memory; a view of it."""
        return _view(self.host_logits, count, 10)

    def _add(self, size: int) -> "Program":
        while len(self._programs) >= PROGRAMS:
            self._programs.popitem(last=False)[1].close()
        program = Program(self, size)
        self._programs[size] = program
        return program

    def close(self) -> None:
        """Give back all of it, once the GPU is done with it: a call may have failed halfway."""
        with contextlib.suppress(DeployError):
            self.stream.synchronize()
        for program in self._programs.values():
            program.close()
        self._programs.clear()
        self._parts.close()


class Program:
    """One batch size on a lane; making it runs the batch that is in pinned memory.

    Attributes:
        captured: whether `run` launches one CUDA graph; else it queues each step by itself.
    """

    def __init__(self, lane: Lane, size: int) -> None:
        self._lane, self._size = lane, size
        scratch = (lane.scratch.pointer, lane.scratch.nbytes)
        self._context = lane.engine.context(size, lane.images.pointer, lane.logits.pointer, scratch)
        # Before any capture: the first call of a shape sets things up, which no graph may hold.
        self._steps()
        lane.stream.synchronize()
        self._graph = self.capture(self._steps)

    @property
    def captured(self) -> bool:
        """See the class."""
        return self._graph is not None

    def capture(self, work: Callable[[], None]) -> cuda.Graph | None:
        """A graph of `work` on the lane's stream; None where TensorRT cannot be captured."""
        handle = self._lane.stream.handle
        if not getattr(self._context, "is_stream_capturable", lambda stream: True)(handle):
            return None
        try:
            return self._lane.stream.capture(work)
        except DeviceMemoryError:
            raise
        except DeployError:
            return None

    def run(self) -> None:
        """Compute the batch in pinned memory, and wait for it."""
        if self._graph is None:
            self._steps()
        else:
            self._graph.launch(self._lane.stream)
        self._lane.stream.synchronize()

    def _steps(self) -> None:
        self.upload()
        self.compute()
        self.download()

    def upload(self) -> None:
        """Begin to copy the images to the GPU."""
        lane = self._lane
        size = self._size * IMAGE_BYTES
        lane.stream.upload(lane.images.pointer, lane.host_images.pointer, size)

    def compute(self) -> None:
        """Begin to compute, kernel by kernel."""
        if not self._context.execute_async_v3(self._lane.stream.handle):
            raise self._lane.engine.library.failure(f"running a batch of {self._size}")

    def download(self) -> None:
        """Begin to copy the logits from the GPU."""
        lane = self._lane
        size = self._size * LOGITS_BYTES
        lane.stream.download(lane.host_logits.pointer, lane.logits.pointer, size)

    def close(self) -> None:
        """Drop the graph, then the context that it was captured from."""
        if self._graph is not None:
            self._graph.close()
        self._graph = self._context = None


def _kept(parts: contextlib.ExitStack, part: Any) -> Any:
    parts.callback(part.close)
    return part


def _view(buffer: Any, rows: int, columns: int) -> Images:
    array: Images = buffer.array[: rows * columns * 4].view(np.float32).reshape(rows, columns)
    return array
