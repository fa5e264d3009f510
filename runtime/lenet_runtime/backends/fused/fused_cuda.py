"""``fused-cuda``: ``cuda`` artifacts, the whole network in one kernel, by the CUDA driver alone.

Nothing but an NVIDIA driver is needed: no CUDA toolkit and no other package. docs/cuda.md explains
the kernels, `_fused_lanes` how batches get to them and back.
"""

import bisect
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_runtime import cuda, devices
from lenet_runtime.artifact import Artifact
from lenet_runtime.backends.fused.lanes import GRAPHED, LOGITS, Kernel, Lane
from lenet_runtime.backends.fused.programs import (
    WEIGHTS,
    Program,
    code_for,
    programs,
    require_capability,
)
from lenet_runtime.backends.protocol import Predictor
from lenet_runtime.errors import ArtifactError, DeployError

# Images of a piece of a large batch. While one lane computes a piece, the CPU fills the other's
# pinned memory: 16 MB take it some 2 ms, and PCIe 5 another 0.3.
PIECE = 4096


def probe(device: str) -> str:
    """The CUDA version of the driver; see `Backend.probe`."""
    found = cuda.gpu(devices.parse(device).index)
    require_capability(found)
    return found.driver


def load(artifact: Artifact, device: str, threads: int | None) -> "FusedCuda":
    """See `lenet_runtime.backends.Backend.load`; no CPU thread is started."""
    context = cuda.Context(devices.parse(device).index)
    try:
        return FusedCuda(artifact, context)
    except BaseException:
        context.close()
        raise


def starts(artifact: Artifact) -> tuple[int, ...]:
    """See `lenet_runtime.backends.Backend.starts`."""
    size = artifact.manifest.batch_size
    if size is not None:
        return (size,)
    return tuple(program.start for program in programs(artifact))


class FusedCuda(Predictor):
    """The kernels of one artifact on one GPU.

    Args:
        artifact: of format ``cuda``.
        context: of the GPU; is closed with this.

    Raises:
        ArtifactError: its files are damaged, or the driver refuses them.
        BackendUnavailable: they are for other GPUs.
    """

    def __init__(self, artifact: Artifact, context: cuda.Context) -> None:
        self._context = context
        table, weights = programs(artifact), artifact.read(WEIGHTS)
        code = code_for(artifact, context.gpu)
        with context:
            try:
                pixels, raw = _kernels(context, code, table)
            except DeployError as error:
                raise ArtifactError(
                    f"{artifact.path}: {context.gpu.name} does not take its kernels ({error}); "
                    "export it again"
                ) from error
            self._weights = context.allocate(len(weights))
            self._weights.write(weights)
        self._starts = [program.start for program in table]
        self._kernels = {False: pixels, True: raw}  # by whether they are for raw digits
        # Raw digits get two pixels on every side in the kernel.
        pads_so = artifact.manifest.preprocessing.padding == 2
        self.run_pixels = self._run if pads_so else None
        self._lock = threading.Lock()
        self._idle: dict[int, list[Lane]] = {GRAPHED: [], PIECE: []}  # by capacity
        self._users, self._closed = 0, False

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `lenet_runtime.backends.Predictor.run`."""
        return self._run(images)

    def stages(self, images: NDArray[np.float32], *, graph: bool) -> "FusedStages":
        """See `lenet_runtime.backends.protocol.MakeStages`."""
        with self._using():
            lane = Lane(self._context, self._weights, len(images), copies=True)
            lane.fill(images)
            try:
                return FusedStages(self, lane, self._kernel(images), images, graph)
            except BaseException:
                lane.close()
                raise

    def uses_graph(self, batch_size: int) -> bool:
        """See `lenet_runtime.backends.Predictor.uses_graph`."""
        return batch_size <= GRAPHED

    def close(self) -> None:
        """Free the GPU's memory; a run that is under way in another thread ends well first."""
        with self._lock:
            last = not self._closed and not self._users
            self._closed = True
        if last:
            self._context.close()

    def _run(self, images: NDArray[Any]) -> NDArray[np.float32]:
        if len(images) > GRAPHED:
            return self._run_large(images)
        # The path of the lowest latency: no generators, no views, one lock before and after.
        self._enter()
        try:
            with self._context:
                lane = self._take(GRAPHED)
                try:
                    logits = lane.run(images, self._kernel)
                except BaseException:
                    lane.close()  # what failed is not used again, nor is anything of it
                    raise
                self._idle[GRAPHED].append(lane)
        finally:
            self._leave()
        return logits

    def _run_large(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Pieces on two lanes in turn: each is filled while the other's is computed."""
        logits = np.empty((len(images), LOGITS), np.float32)
        with self._using(), ExitStack() as stack:
            count = 1 if len(images) <= PIECE else 2
            lanes = [stack.enter_context(self._lane(PIECE)) for _ in range(count)]
            self._pieces(lanes, images, logits)
        return logits

    def _pieces(self, lanes: list[Lane], images: NDArray[Any], logits: NDArray[np.float32]) -> None:
        running: dict[int, NDArray[np.float32]] = {}  # by number of the lane, what it will answer
        for number, start in enumerate(range(0, len(images), PIECE)):
            turn = number % len(lanes)
            piece = images[start : start + PIECE]
            if turn in running:
                lanes[turn].finish(running[turn])
            lanes[turn].fill(piece)
            lanes[turn].start(self._kernel(piece), len(piece))
            running[turn] = logits[start : start + PIECE]
        for turn, out in running.items():
            lanes[turn].finish(out)

    def _kernel(self, images: NDArray[Any]) -> Kernel:
        """Of the last program that starts at so many images or fewer, for their type."""
        number = bisect.bisect_right(self._starts, len(images)) - 1
        return self._kernels[images.dtype == np.uint8][number]

    def _take(self, capacity: int) -> Lane:
        """A lane that nobody else has, within `_using`."""
        try:
            return self._idle[capacity].pop()  # in one step, as no other thread may come between
        except IndexError:
            return Lane(self._context, self._weights, capacity, copies=capacity > GRAPHED)

    @contextmanager
    def _lane(self, capacity: int) -> Iterator[Lane]:
        """`_take`, and back to the idle ones. One that failed is not used again."""
        lane = self._take(capacity)
        try:
            yield lane
        except BaseException:
            lane.close()
            raise
        self._idle[capacity].append(lane)

    def _enter(self) -> None:
        """Keep the context from being closed until `_leave`."""
        with self._lock:
            if self._closed:
                raise DeployError("this session is closed; load the artifact again")
            self._users += 1

    def _leave(self) -> None:
        with self._lock:
            self._users -= 1
            last = self._closed and not self._users
        if last:
            self._context.close()

    @contextmanager
    def _using(self) -> Iterator[None]:
        """`_enter` and `_leave`, with the context current in between."""
        self._enter()
        try:
            with self._context:
                yield
        finally:
            self._leave()


class FusedStages:
    """See `lenet_runtime.backends.Stages`."""

    def __init__(
        self,
        owner: FusedCuda,
        lane: Lane,
        kernel: Kernel,
        images: NDArray[np.float32],
        graph: bool,
    ) -> None:
        self._owner, self._lane, self._kernel = owner, lane, kernel
        self._count = len(images)
        self.stream: int = lane.stream.handle
        self._launch: Callable[[], None] = lambda: lane.launch(kernel, self._count)
        if graph:
            lane.upload(kernel, self._count)
            self._launch()  # see `Lane`: a kernel is loaded by its first launch
            lane.stream.synchronize()
            captured = lane.capture(self._launch)
            self._launch = lambda: captured.launch(lane.stream)

    def upload(self) -> None:
        """See `lenet_runtime.backends.Stages`."""
        with self._owner._using():
            self._lane.upload(self._kernel, self._count)

    def compute(self) -> None:
        """See `lenet_runtime.backends.Stages`."""
        with self._owner._using():
            self._launch()

    def download(self) -> None:
        """See `lenet_runtime.backends.Stages`."""
        with self._owner._using():
            self._lane.download(self._count)

    def answer(self) -> NDArray[np.float32]:
        """See `lenet_runtime.backends.Stages`."""
        logits = np.empty((self._count, LOGITS), np.float32)
        with self._owner._using():
            self._lane.finish(logits)
        return logits

    def close(self) -> None:
        """See `lenet_runtime.backends.Stages`; a closed session has freed it already."""
        with suppress(DeployError), self._owner._using():
            self._lane.close()


def _kernels(
    context: cuda.Context, code: bytes, table: tuple[Program, ...]
) -> tuple[list[Kernel], list[Kernel]]:
    """Those for normalised images and those for raw digits, in the order of the programs."""
    names = [p.kernel for p in table] + [p.raw_kernel for p in table]
    functions = context.functions(code, names)
    return (
        [Kernel.of(f, p, raw=False) for f, p in zip(functions, table, strict=False)],
        [Kernel.of(f, p, raw=True) for f, p in zip(functions[len(table) :], table, strict=True)],
    )
