"""Who is asked: what an open loop needs of a session here, or of a server."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lenet_bench.openloop import sending
from lenet_bench.openloop.clock import Clock
from lenet_bench.openloop.grpc_calls import GrpcTarget
from lenet_bench.openloop.rest import RestTarget
from lenet_bench.openloop.sending import Moments, Sent
from lenet_bench.openloop.v2 import parse

_WARM_UP_CALLS = 3


class Target(Protocol):
    """Answers one image a request.

    Attributes:
        name: The target's name, unique in a run.
        details: What the report says of it.
        concurrency: How many requests are under way at most.
    """

    name: str
    details: dict[str, Any]
    concurrency: int

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Channels, height and width of an image."""

    def prepare(self, images: Sequence[NDArray[np.float32]]) -> None:
        """Take the images, float32 ``(1, C, H, W)`` each, that requests send in turn."""

    def warm_up(self) -> None:
        """Bring the target back into the caches that its neighbours filled; nothing is counted."""

    def send(self, arrivals: Moments, clock: Clock) -> Sent:
        """Send a window of requests."""

    def close(self) -> None:
        """Let go of what it holds."""


class CallTarget:
    """A function of this process, such as `Session.run`; several callers are threads.

    Args:
        name: The target's name.
        run: From float32 images ``(1, C, H, W)`` to logits.
        image_shape: Channels, height and width of an image.
        concurrency: Number of callers.
        details: What the report says of it.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[NDArray[np.float32]], object],
        image_shape: tuple[int, ...] = (1, 32, 32),
        concurrency: int = 1,
        details: dict[str, Any] | None = None,
    ) -> None:
        self.name, self._run, self.image_shape = name, run, image_shape
        self.concurrency = concurrency
        self.details = details or {}
        self._images: Sequence[NDArray[np.float32]] = ()

    def prepare(self, images: Sequence[NDArray[np.float32]]) -> None:
        """See `Target.prepare`."""
        self._images = images

    def warm_up(self) -> None:
        """See `Target.warm_up`."""
        for number in range(_WARM_UP_CALLS * len(self._images)):
            self._call(number)

    def send(self, arrivals: Moments, clock: Clock) -> Sent:
        """See `Target.send`."""
        return sending.send([self._call] * self.concurrency, arrivals, clock)

    def close(self) -> None:
        """Nothing: whoever made the function closes what is behind it."""

    def _call(self, number: int) -> None:
        images = self._images
        self._run(images[number % len(images)])


def connect(url: str, concurrency: int) -> Target:
    """The server at a URL, see `lenet_bench.openloop.v2.parse`.

    Raises:
        InputError: The URL is none.
        DeployError: Nobody answers there.
        BackendUnavailable: gRPC, and grpcio is not installed.
    """
    address = parse(url)
    kind = RestTarget if address.scheme == "http" else GrpcTarget
    return kind(address, concurrency)
