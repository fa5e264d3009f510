"""How batches get to the kernels of a ``cuda`` artifact and back.

A batch of up to `GRAPHED` images is one CUDA graph of the kernel alone, which reads the images from
pinned host memory and writes the logits there: two copies around it would take longer than it does
(on an H100 12 us in place of 21 for one image, 99 in place of 106 for 1,024).
"""

import bisect
from collections import deque
from ctypes import c_uint, c_ulonglong
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lenet_runtime.backends.fused.copying import Copier
from lenet_runtime.backends.fused.programs import Program
from lenet_runtime.cuda import Arguments, Context, Function
from lenet_runtime.cuda.lanes import IMAGE_BYTES, LOGITS, Batch, Copy, Lane, padded

GRAPHED = 1024  # images; of larger batches the calls cost little beside the work
# Images of a piece of a large batch. While one lane computes a piece, the CPU fills the other's
# pinned memory: 16 MB take it some 2 ms, and PCIe 5 another 0.3.
PIECE = 4096


class Kernel(NamedTuple):
    """One kernel as it is launched.

    Attributes:
        function: The driver's handle.
        images: Images that a block computes.
        threads: Threads of a block.
        shared_bytes: Shared memory of a block.
        image_bytes: Bytes of an image.
    """

    function: Function
    images: int
    threads: int
    shared_bytes: int
    image_bytes: int


class Kernels:
    """The kernels of an artifact.

    Args:
        context: The context of the GPU, which is current.
        code: A cubin or PTX.
        programs: The artifact's programs, ascending by `Program.start`.

    Raises:
        DeployError: The driver refuses the code.
    """

    def __init__(self, context: Context, code: bytes, programs: tuple[Program, ...]) -> None:
        self._starts = [program.start for program in programs]
        names = [name for p in programs for name in (p.kernel, p.raw_kernel)]
        functions = iter(context.functions(code, names))
        self._kernels: list[Kernel] = []  # of each program, for pixels and for raw digits
        for p in programs:
            for shared, image in ((p.shared_bytes, IMAGE_BYTES), (p.raw_shared_bytes, 28 * 28)):
                function = next(functions)
                function.allow_shared(shared)
                self._kernels.append(Kernel(function, p.images, p.threads, shared, image))

    def choose(self, images: NDArray[Any]) -> Kernel:
        """The kernel of the last program that starts at so many images or fewer."""
        number = bisect.bisect_right(self._starts, len(images)) - 1
        return self._kernels[2 * number + (images.dtype == np.uint8)]


class KernelLane(Lane):
    """A lane that launches one kernel for a batch.

    Args:
        context: The context of the GPU.
        kernels: The kernels.
        weights: The address of the weights on the GPU.
        capacity: See `Lane`.
        copies: See `Lane`; without, batches are computed by CUDA graphs.
    """

    def __init__(
        self,
        context: Context,
        kernels: Kernels,
        weights: int,
        capacity: int,
        *,
        copies: bool = True,
    ) -> None:
        super().__init__(context, capacity, copies=copies, limit=64)
        self._kernels, self._weights = kernels, weights

    def prepare(self, images: NDArray[Any]) -> Batch:
        """Round small sizes up to powers of two, so that there are few graphs.

        The images that this adds are whatever was there before; their logits are not looked at.
        """
        size, graph = len(images), not self.copies
        if graph:
            size = min(padded(size), self.capacity)
        return self.batch((self._kernels.choose(images), size), images, size, graph=graph)

    def new(self, images: NDArray[Any], size: int) -> Batch:
        """Let the kernel for so many `images` compute them."""
        kernel = self._kernels.choose(images)
        arguments = Arguments(
            c_ulonglong(self.images),
            c_ulonglong(self._weights),
            c_ulonglong(self.logits),
            c_uint(size),
        )
        launch = partial(
            kernel.function.launch,
            self.stream,
            arguments,
            blocks=-(-size // kernel.images),
            threads=kernel.threads,
            shared=kernel.shared_bytes,
        )
        return Batch(self, size, launch, kernel.image_bytes)


class PieceLane(KernelLane):
    """Large batches in pieces, on two lanes in turn: each is filled while the other's is computed.

    This is one of the two, and the other is made where there are two pieces.

    Args:
        context: The context of the GPU.
        kernels: The kernels.
        weights: The address of the weights on the GPU.
        copier: Copies the images to pinned memory.
    """

    def __init__(self, context: Context, kernels: Kernels, weights: int, copier: Copier) -> None:
        super().__init__(context, kernels, weights, PIECE)
        self._shared, self._copier = (context, kernels, weights), copier
        self._second: KernelLane | None = None

    def run(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Compute new logits ``(N, 10)``."""
        logits = self._run(images, None)
        assert logits is not None
        return logits

    def run_checked(self, images: NDArray[Any]) -> NDArray[np.float32] | None:
        """See `Lane.run_checked`; what was begun before the value was found ends unread."""
        return self._run(images, self._copier.copy)

    def _run(self, images: NDArray[Any], copy: Copy | None) -> NDArray[np.float32] | None:
        lanes: list[Lane] = [self]
        if len(images) > PIECE:
            if self._second is None:
                self._second = KernelLane(*self._shared, PIECE)
            lanes.append(self._second)
        logits = np.empty((len(images), LOGITS), np.float32)
        running: deque[tuple[Lane, NDArray[np.float32], NDArray[np.float32]]] = deque()
        for number, start in enumerate(range(0, len(images), PIECE)):
            if len(running) == len(lanes):
                _finish(*running.popleft())
            lane, piece = lanes[number % len(lanes)], images[start : start + PIECE]
            answer = lane.begin(piece) if copy is None else lane.begin_with(copy, piece)
            if answer is None:
                for busy, _, _ in running:
                    busy.stream.synchronize()
                return None
            running.append((lane, answer, logits[start : start + PIECE]))
        for begun in running:
            _finish(*begun)
        return logits

    def close(self) -> None:
        """See `Lane.close`."""
        super().close()
        if self._second is not None:
            self._second.close()


def _finish(lane: Lane, answer: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    lane.stream.synchronize()
    np.copyto(out, answer)
