"""Predictors on lanes: each thread has one to itself while it runs a batch."""

import threading
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from lenet_runtime.backends.protocol import Predictor, closed
from lenet_runtime.cuda import Context
from lenet_runtime.cuda.lanes import Lane
from lenet_runtime.errors import DeployError

STAGES = "stages"


class LanePredictor(Predictor):
    """A predictor whose threads each have a lane to themselves while they run a batch.

    Idle lanes are used again; one that failed is not. The GPU's context is closed with the last
    user: a call that is under way in another thread, and the stages of a benchmark, end well.

    Args:
        context: The context of the GPU.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self._lock = threading.Lock()
        self._idle: defaultdict[Hashable, list[Lane]] = defaultdict(list)  # by kind
        self._users = 1  # the session that has this predictor, until it calls `close`
        self._closed = False

    @abstractmethod
    def make_lane(self, kind: Hashable, count: int) -> Lane:
        """Make a lane of a kind, for a batch of `count` images.

        The kind `STAGES` has device memory, which `stages` copies to and from.
        """

    def release(self) -> None:
        """Let go of what belongs to the context, which is closed afterwards."""

    def guard(self, doing: str) -> AbstractContextManager[object]:
        """Surround a step of a benchmark; an engine may lock, and translate its errors."""
        return nullcontext()

    @overload
    def run_on(self, kind: Hashable, images: NDArray[Any]) -> NDArray[np.float32]: ...

    @overload
    def run_on(
        self, kind: Hashable, images: NDArray[Any], *, checked: Literal[True]
    ) -> NDArray[np.float32] | None: ...

    def run_on(
        self, kind: Hashable, images: NDArray[Any], *, checked: bool = False
    ) -> NDArray[np.float32] | None:
        """Compute new logits ``(N, 10)`` on a lane of this kind.

        Args:
            kind: The kind of the lane.
            images: The batch.
            checked: Return None if a value is NaN or infinite.

        Raises:
            DeployError: The session is closed; or whatever the engine and the driver raise.
        """
        # The path of the lowest latency: no generators, no views, one lock before and after.
        with self._lock:
            if self._closed:
                closed()
            self._users += 1
            idle = self._idle[kind]
            lane = idle.pop() if idle else None
        try:
            with self.context:
                if lane is None:
                    lane = self.make_lane(kind, len(images))
                logits = lane.run_checked(images) if checked else lane.run(images)
        except BaseException:
            self._discard(lane)
            raise
        with self._lock:
            idle.append(lane)
            self._users -= 1
            last = not self._users
        if last:
            self._end()
        return logits

    def stages(self, images: NDArray[np.float32], *, graph: bool) -> "LaneStages | None":
        """See `lenet_runtime.backends.protocol.MakeStages`."""
        with self._lock:
            if self._closed:
                closed()
            self._users += 1
        stages = LaneStages(self, images, graph=graph)
        if stages.captured == graph:
            return stages
        stages.close()
        return None

    def close(self) -> None:
        """Free the idle lanes, and the rest when its last user is done; twice is fine."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._close_idle()
        self._leave()

    def _leave(self) -> None:
        with self._lock:
            self._users -= 1
            last = not self._users
        if last:
            self._end()

    def _discard(self, lane: Lane | None) -> None:
        """Close a lane that failed, which is not used again, and leave."""
        # Here and below: a GPU that failed refuses its context, and then frees everything with it.
        if lane is not None:
            with suppress(DeployError), self.context:
                lane.close()
        self._leave()

    def _close_idle(self) -> None:
        with self._lock:
            lanes = [idle.pop() for idle in self._idle.values() for _ in range(len(idle))]
        with suppress(DeployError), self.context:
            for lane in lanes:
                lane.close()

    def _end(self) -> None:
        self._close_idle()
        with suppress(DeployError), self.context:
            self.release()
        self.context.close()


class LaneStages:
    """One batch in steps, on a lane of its own: see `lenet_runtime.backends.protocol.Stages`.

    Args:
        owner: The predictor, of which this is a user until `close`.
        images: The batch.
        graph: Launch the computation as a captured CUDA graph.

    Attributes:
        captured: Whether `compute` launches a graph.
    """

    def __init__(self, owner: LanePredictor, images: NDArray[np.float32], *, graph: bool) -> None:
        self._owner, self._count, self._closed = owner, len(images), False
        self.captured = False
        lane: Lane | None = None
        try:
            with owner.context:
                self._lane = lane = owner.make_lane(STAGES, len(images))
                lane.put(images)
                self._batch = lane.batch(STAGES, images, len(images), graph=False)
                if graph:
                    self.captured = self._batch.capture(whole=False)
                lane.put(images)  # an engine may try its graph with others
                self._batch.start()
                lane.stream.synchronize()
        except BaseException:
            owner._discard(lane)
            raise
        self.stream: int = lane.stream.handle

    def upload(self) -> None:
        """See `lenet_runtime.backends.protocol.Stages`."""
        self._do("uploading", self._batch.upload)

    def compute(self) -> None:
        """See `lenet_runtime.backends.protocol.Stages`."""
        self._do("computing", self._batch.compute)

    def download(self) -> None:
        """See `lenet_runtime.backends.protocol.Stages`."""
        self._do("downloading", self._batch.download)

    def answer(self) -> NDArray[np.float32]:
        """See `lenet_runtime.backends.protocol.Stages`."""
        self._do("waiting for the GPU", self._lane.stream.synchronize)
        return self._lane.logits_of(self._count).copy()

    def close(self) -> None:
        """See `lenet_runtime.backends.protocol.Stages`; twice is fine."""
        if self._closed:
            return
        try:
            self._do("closing", self._lane.close)
        finally:
            self._closed = True
            self._owner._leave()

    def _do(self, doing: str, step: Callable[[], None]) -> None:
        if self._closed:
            closed()
        with self._owner.guard(doing), self._owner.context:
            step()
