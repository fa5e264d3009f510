"""Lanes: a stream of the GPU with memory of its own, through which one batch goes at a time.

Any number of threads may run batches at once, each on a lane that nobody else has meanwhile. A
batch of up to `GRAPHED` images is one CUDA graph of the kernel alone, which reads the images from
pinned host memory and writes the logits there: two copies around it would take longer than it does
(on an H100 12 us in place of 21 for one image, 99 in place of 106 for 1,024).
"""

import contextlib
from collections.abc import Callable
from ctypes import c_uint, c_ulonglong
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from lenet_runtime.backends.fused.programs import Program
from lenet_runtime.cuda import Arguments, Buffer, Context, Function, Graph
from lenet_runtime.errors import DeployError

GRAPHED = 1024  # images; of larger batches the calls cost little beside the work
LOGITS = 10
_LOGIT_BYTES = 4 * LOGITS
T = TypeVar("T")


@dataclass(frozen=True)
class Kernel:
    """One kernel as it is launched.

    Attributes:
        function: of the driver.
        images: of a block.
        threads: of a block.
        shared_bytes: of a block.
        row_bytes: of an image.
    """

    function: Function
    images: int
    threads: int
    shared_bytes: int
    row_bytes: int

    @classmethod
    def of(cls, function: Function, program: Program, *, raw: bool) -> "Kernel":
        """The kernel of a program for pixels or for raw digits."""
        shared = program.raw_shared_bytes if raw else program.shared_bytes
        function.allow_shared(shared)
        return cls(function, program.images, program.threads, shared, 784 if raw else 4096)


class Prepared(NamedTuple):
    """What a small batch of one size needs at every call.

    Attributes:
        graph: of the kernel.
        given: where its images go, in pinned memory.
        answer: where its logits come, likewise.
    """

    graph: Graph
    given: NDArray[Any]
    answer: NDArray[np.float32]


class Lane:
    """One stream, and pinned memory for `capacity` images and their logits.

    Its methods need the context to be current. What a method puts on the stream is done when
    `stream.synchronize` returns.

    Args:
        context: of the GPU.
        weights: on the GPU.
        capacity: images; of whichever kind of input, in float32's size.
        copies: have memory on the GPU, too, which `upload` and `download` copy to and from.

    Raises:
        DeviceMemoryError: too little memory; nothing stays allocated.
    """

    def __init__(
        self, context: Context, weights: Buffer, capacity: int, *, copies: bool = False
    ) -> None:
        self.capacity = capacity
        self._weights = weights
        self._graphs: dict[tuple[str, int], Graph] = {}  # by kernel and images
        self._prepared: dict[tuple[int, np.dtype[Any]], Prepared] = {}  # by images and their type
        self._owned: list[Any] = []
        try:
            self.stream = self._own(context.stream())
            self._given = self._own(context.pinned(capacity * 4096))
            self._answer = self._own(context.pinned(capacity * _LOGIT_BYTES))
            self._images, self._logits = self._given.pointer, self._answer.pointer
            if copies:
                self._images = self._own(context.allocate(capacity * 4096)).pointer
                self._logits = self._own(context.allocate(capacity * _LOGIT_BYTES)).pointer
        except BaseException:
            self.close()
            raise

    def run(
        self, images: NDArray[Any], choose: Callable[[NDArray[Any]], Kernel]
    ) -> NDArray[np.float32]:
        """New logits ``(N, 10)`` of at most `GRAPHED` images, which must fit.

        `choose` says, once for each size, which kernel computes them.
        """
        prepared = self._prepared.get((len(images), images.dtype))
        if prepared is None:
            prepared = self._prepare(choose(images), images)
        np.copyto(prepared.given, images)
        prepared.graph.launch(self.stream)
        self.stream.synchronize()
        return prepared.answer.copy()

    def _prepare(self, kernel: Kernel, images: NDArray[Any]) -> "Prepared":
        # Sizes are rounded up to powers of two, so that there are few graphs. The images that
        # this adds are whatever was there before; their logits are not looked at.
        count = len(images)
        size = min(1 << (count - 1).bit_length(), self.capacity)
        key = kernel.function.name, size
        if key not in self._graphs:
            # The driver may load a kernel at its first launch, which no capture allows.
            self.launch(kernel, size)
            self.stream.synchronize()
            self._graphs[key] = self.capture(lambda: self.launch(kernel, size))
        prepared = Prepared(self._graphs[key], self._given_as(images), self._answer_of(count))
        self._prepared[count, images.dtype] = prepared
        return prepared

    def fill(self, images: NDArray[Any]) -> None:
        """Copy images, of whichever kind, to pinned memory."""
        np.copyto(self._given_as(images), images)

    def _given_as(self, images: NDArray[Any]) -> NDArray[Any]:
        """The pinned memory for such images."""
        return self._given.array[: images.nbytes].view(images.dtype).reshape(images.shape)

    def _answer_of(self, count: int) -> NDArray[np.float32]:
        """The pinned memory that the first logits come to, ``(count, 10)``."""
        return self._answer.array[: count * _LOGIT_BYTES].view(np.float32).reshape(count, LOGITS)

    def upload(self, kernel: Kernel, count: int) -> None:
        """Put the copy of `count` images to the GPU on the stream."""
        nbytes = count * kernel.row_bytes
        self.stream.upload(self._images, self._given.pointer, nbytes)

    def launch(self, kernel: Kernel, count: int) -> None:
        """Put the kernel on the stream."""
        arguments = Arguments(
            c_ulonglong(self._images),
            c_ulonglong(self._weights.pointer),
            c_ulonglong(self._logits),
            c_uint(count),
        )
        kernel.function.launch(
            self.stream,
            arguments,
            blocks=-(-count // kernel.images),
            threads=kernel.threads,
            shared=kernel.shared_bytes,
        )

    def download(self, count: int) -> None:
        """Put the copy of the logits to pinned memory on the stream."""
        self.stream.download(self._answer.pointer, self._logits, count * _LOGIT_BYTES)

    def capture(self, work: Callable[[], None]) -> Graph:
        """Record what `work` puts on the stream; the graph is freed with the lane."""
        return self._own(self.stream.capture(work))

    def finish(self, out: NDArray[np.float32]) -> None:
        """Wait for everything on the stream, and copy the first logits to `out`, ``(N, 10)``."""
        self.stream.synchronize()
        np.copyto(out, self._answer_of(len(out)))

    def close(self) -> None:
        """Wait for the stream, whatever became of it, and free everything."""
        if self._owned:
            with contextlib.suppress(DeployError):
                self.stream.synchronize()
        while self._owned:
            self._owned.pop().close()

    def start(self, kernel: Kernel, count: int) -> None:
        """Put all three on the stream, of the images that `fill` was given."""
        self.upload(kernel, count)
        self.launch(kernel, count)
        self.download(count)

    def _own(self, thing: T) -> T:
        self._owned.append(thing)
        return thing
