"""Following a plan: each batch goes to the engine that won at the nearest measured batch size."""

import bisect
import itertools
import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lenet_runtime.backends.protocol import Predictor, Stages
from lenet_runtime.errors import ArtifactError, DeployWarning
from lenet_runtime.plans.chunks import run_in_chunks
from lenet_runtime.session import Session


class PlanWarning(DeployWarning):
    """A plan does not fit this machine, and the default runs instead."""


def require_one_network(sessions: Sequence[Session]) -> None:
    """All artifacts of a plan must be the same network, or answers would depend on the batch."""
    first = sessions[0].manifest
    for session in sessions[1:]:
        other = session.manifest
        same = (other.weights_sha256, other.precision, other.preprocessing, other.labels)
        if same != (first.weights_sha256, first.precision, first.preprocessing, first.labels):
            raise ArtifactError(
                f"{session.artifact.path} and {sessions[0].artifact.path} are of different "
                "networks or precisions; keep the artifacts of one network in a folder, and run "
                "lenet-deploy tune again"
            )


@dataclass(frozen=True)
class Route:
    """The engine of one measured batch size.

    Attributes:
        batch_size: the batch size that was measured.
        predictor: the engine that was fastest.
        chunk: images in a chunk that the engine gets at a time; None for whole batches.
    """

    batch_size: int
    predictor: Predictor
    chunk: int | None = None


class Router(Predictor):
    """A predictor that sends each batch to the predictor that is fastest at its size.

    Args:
        routes: one for each measured batch size, ascending.
        owned: closed with the router; holds the sessions of the predictors.
    """

    def __init__(self, routes: Sequence[Route], owned: ExitStack) -> None:
        self.routes, self._owned = list(routes), owned
        sizes = [route.batch_size for route in routes]
        # Cost grows with the batch, so the nearest size is the nearest by ratio.
        self._bounds = [math.sqrt(a * b) for a, b in itertools.pairwise(sizes)]
        own = {size for route in routes for size in route.predictor.switches}
        cuts = {2 * route.chunk for route in routes if route.chunk is not None}
        self.switches = tuple(sorted({*own, *cuts, *self.starts}))
        pixel_runs = [run for route in routes if (run := route.predictor.run_pixels) is not None]
        if len(pixel_runs) == len(routes):
            self.run_pixels = lambda pixels: pixel_runs[self._nearest(len(pixels))](pixels)

    @property
    def starts(self) -> tuple[int, ...]:
        """Where another engine or chunk begins, for a proof: see `Backend.starts`.

        The measured sizes are among them, so that a route's chunks are part of the proof.
        """
        bounds = (math.ceil(bound) for bound in self._bounds)
        return tuple(sorted({1, *bounds, *(route.batch_size for route in self.routes)}))

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `lenet_runtime.backends.Predictor.run`."""
        route = self.routes[self._nearest(len(images))]
        return run_in_chunks(route.predictor.run, images, route.chunk)

    def run_checked(self, images: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """See `lenet_runtime.backends.Predictor.run_checked`."""
        route = self.routes[self._nearest(len(images))]
        return run_in_chunks(route.predictor.run_checked, images, route.chunk)

    def stages(self, images: NDArray[np.float32], *, graph: bool) -> Stages | None:
        """See `lenet_runtime.backends.protocol.MakeStages`."""
        make = self.routes[self._nearest(len(images))].predictor.stages
        return None if make is None else make(images, graph=graph)

    def uses_graph(self, batch_size: int) -> bool | None:
        """See `lenet_runtime.backends.Predictor.uses_graph`."""
        return self.routes[self._nearest(batch_size)].predictor.uses_graph(batch_size)

    def close(self) -> None:
        """Close every session of the plan."""
        self._owned.close()

    def _nearest(self, batch_size: int) -> int:
        """Which route has the measured size that is nearest."""
        return bisect.bisect_right(self._bounds, batch_size)
