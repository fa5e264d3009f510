"""Lanes: a stream of a GPU with memory of its own, through which one batch goes at a time.

This is what the engines on the CUDA driver share. An engine adds three things: what puts the
computation of N images on the stream (`Lane.new`), its rule which sizes are computed and captured
as CUDA graphs (`Lane.prepare`), and the lanes it needs (`lenet_runtime.backends.lane_predictor`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from lenet_runtime.cuda import Buffer, Context, Graph, PinnedBuffer, Stream
from lenet_runtime.errors import DeployError

LOGITS = 10  # of Net, as its images' bytes
IMAGE_BYTES = 4 * 32 * 32

Work = Callable[[], None]
Copy = Callable[[NDArray[Any], NDArray[Any]], bool]  # to the first, from the second
T = TypeVar("T", bound=Buffer | PinnedBuffer | Stream)


def padded(size: int) -> int:
    """The least power of two that is not less."""
    return int(1 << (size - 1).bit_length())


class Batch:
    """One batch size on a lane. Its steps only put their work on the lane's stream.

    Args:
        lane: The lane, which has memory for so many images.
        size: Images that are computed.
        compute: Puts the computation on the stream.
        image_bytes: Bytes of an image; None for those of the lane.

    Attributes:
        lane: The lane.
        size: Images that are computed.
        compute: Puts the computation on the stream, by one launch where a graph was captured.
        start: Puts upload, computation and download on the stream, likewise; the computation alone
            on a lane without device memory.
    """

    def __init__(
        self, lane: "Lane", size: int, compute: Work, image_bytes: int | None = None
    ) -> None:
        self.lane, self.size = lane, size
        self._image_bytes = lane.image_bytes if image_bytes is None else image_bytes
        self._graph: Graph | None = None
        self.compute: Work = compute
        self.start: Work = self._steps if lane.copies else compute

    def upload(self) -> None:
        """Begin to copy the images from pinned to device memory."""
        lane = self.lane
        lane.stream.upload(lane.images, lane.host_images.pointer, self.size * self._image_bytes)

    def download(self) -> None:
        """Begin to copy the logits from device to pinned memory."""
        lane = self.lane
        lane.stream.download(lane.host_logits.pointer, lane.logits, self.size * lane.logit_bytes)

    def _steps(self) -> None:
        self.upload()
        self.compute()
        self.download()

    def capture(self, *, whole: bool) -> bool:
        """Replace `compute`, or `start` as a whole, by the launch of a CUDA graph of it.

        Returns:
            Whether there is a graph now: an engine may have work that cannot be captured.

        Raises:
            DeployError: The work cannot be captured.
        """
        # Once before: the driver loads a kernel, and an engine sets things up, at the first launch,
        # which no capture allows.
        self.start()
        self.lane.stream.synchronize()
        self._graph = self.record(self.start if whole else self.compute)
        if self._graph is None:
            return False
        launch = partial(self._graph.launch, self.lane.stream)
        if whole:
            self.start = launch
        else:
            self.compute = launch
        return True

    def record(self, work: Work) -> Graph | None:
        """Capture `work`; an engine may return None where it cannot be captured."""
        return self.lane.stream.capture(work)

    def close(self) -> None:
        """Free the graph, and let go of what the work was captured from."""
        if self._graph is not None:
            self._graph.close()
        self.compute = self.start = _refuse


class _Ready(NamedTuple):
    """What a lane keeps for batches of one size and type.

    Attributes:
        images: The pinned memory that the images are copied to.
        logits: The pinned memory that their logits come to, ``(N, K)``.
        start: See `Batch.start`.
    """

    images: NDArray[Any]
    logits: NDArray[np.float32]
    start: Work


class Lane(ABC):
    """A stream, and memory for up to `capacity` images and their logits.

    One thread at a time uses it, inside ``with context:``.

    Args:
        context: The context of the GPU.
        capacity: The most images of a batch, each of `image_bytes`.
        copies: Have device memory, which is copied to and from. Without it, kernels read the images
            from pinned host memory, and write the logits there.
        scratch_bytes: Device memory for what an engine keeps between its kernels.
        stream: A stream that others use as well; without one, the lane has its own.
        image_bytes: Bytes of an image.
        classes: Logits of an image.
        limit: Batches that are kept prepared; of more, those that were not used for long go.

    Attributes:
        images: The address that kernels read the images from.
        logits: The address that kernels write the logits to.
        scratch: The address of the scratch memory; 0 where there is none.

    Raises:
        DeviceMemoryError: There is too little memory; nothing stays allocated.
    """

    def __init__(
        self,
        context: Context,
        capacity: int,
        *,
        copies: bool = True,
        scratch_bytes: int = 0,
        stream: Stream | None = None,
        image_bytes: int = IMAGE_BYTES,
        classes: int = LOGITS,
        limit: int = 16,
    ) -> None:
        self.image_bytes, self.classes, self.logit_bytes = image_bytes, classes, 4 * classes
        self.capacity, self.copies, self._limit = capacity, copies, limit
        self._batches: dict[Hashable, Batch] = {}  # the last one that was asked for is the last
        self._ready: dict[tuple[int, np.dtype[Any]], _Ready] = {}
        with ExitStack() as parts:
            self.stream = stream or _kept(parts, context.stream())
            self.host_images = _kept(parts, context.pinned(capacity * image_bytes))
            self.host_logits = _kept(parts, context.pinned(capacity * self.logit_bytes))
            self.images, self.logits = self.host_images.pointer, self.host_logits.pointer
            if copies:
                self.images = _kept(parts, context.allocate(capacity * image_bytes)).pointer
                self.logits = _kept(parts, context.allocate(capacity * self.logit_bytes)).pointer
            self.scratch, self.scratch_bytes = 0, scratch_bytes
            if scratch_bytes:
                self.scratch = _kept(parts, context.allocate(scratch_bytes)).pointer
            self._parts: ExitStack | None = parts.pop_all()

    @abstractmethod
    def new(self, images: NDArray[Any], size: int) -> Batch:
        """Make the batch that computes `size` images of which `images` are the first."""

    @abstractmethod
    def prepare(self, images: NDArray[Any]) -> Batch:
        """Choose the size and the graph that `images` are computed with; see `batch`."""

    def batch(self, key: Hashable, images: NDArray[Any], size: int, *, graph: bool) -> Batch:
        """Find the batch of this key; where there is none, make it and capture it as a whole."""
        batch = self._batches.pop(key, None)
        if batch is not None:
            self._batches[key] = batch
            return batch
        if len(self._batches) >= self._limit:
            self._batches.pop(next(iter(self._batches))).close()
        self._ready.clear()  # so that those in use come by here again, and are not the next to go
        batch = self._batches[key] = self.new(images, size)
        if graph:
            batch.capture(whole=True)
        return batch

    def run(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Compute new logits ``(N, K)`` of images that fit."""
        logits = self.begin(images)
        self.stream.synchronize()
        return logits.copy()

    def run_checked(self, images: NDArray[Any]) -> NDArray[np.float32] | None:
        """The same; None if a value is NaN or infinite."""
        return self.run(images) if np.isfinite(images).all() else None

    def begin(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Put a batch on the stream.

        Returns:
            The pinned memory that its logits ``(N, K)`` are in when the stream is done.
        """
        ready = self._ready.get((len(images), images.dtype)) or self._prepare(images)
        np.copyto(ready.images, images)
        ready.start()
        return ready.logits

    def begin_with(self, copy: Copy, images: NDArray[Any]) -> NDArray[np.float32] | None:
        """The same with another way to copy; None, and nothing is begun, where it returns False."""
        ready = self._ready.get((len(images), images.dtype)) or self._prepare(images)
        if not copy(ready.images, images):
            return None
        ready.start()
        return ready.logits

    def _prepare(self, images: NDArray[Any]) -> _Ready:
        self.put(images)
        batch = self.prepare(images)
        ready = _Ready(self._images_like(images), self.logits_of(len(images)), batch.start)
        self._ready[len(images), images.dtype] = ready
        return ready

    def put(self, images: NDArray[Any]) -> None:
        """Copy images to pinned memory."""
        np.copyto(self._images_like(images), images)

    def _images_like(self, images: NDArray[Any]) -> NDArray[Any]:
        memory = self.host_images.array[: images.nbytes]
        return memory.view(images.dtype).reshape(images.shape)

    def logits_of(self, count: int) -> NDArray[np.float32]:
        """Return the pinned memory of the first logits, ``(count, K)``."""
        memory = self.host_logits.array[: count * self.logit_bytes]
        return memory.view(np.float32).reshape(count, self.classes)

    def forget(self) -> None:
        """Close every batch that is kept."""
        self._ready.clear()
        while self._batches:
            self._batches.popitem()[1].close()

    def close(self) -> None:
        """Wait for the stream, whatever became of it, and free everything; twice is fine."""
        parts, self._parts = self._parts, None
        if parts is None:
            return
        with suppress(DeployError):
            self.stream.synchronize()
        self.forget()
        parts.close()


def _kept(parts: ExitStack, part: T) -> T:
    parts.callback(part.close)
    return part


def _refuse() -> None:
    raise DeployError("this batch is closed")
