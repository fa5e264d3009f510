"""``fused-cuda``: ``cuda`` artifacts, the whole network in one kernel, by the CUDA driver alone.

Nothing but an NVIDIA driver is needed: no CUDA toolkit and no other package. docs/cuda.md explains
the kernels, `lenet_runtime.backends.fused.kernels` how batches get to them and back.
"""

from collections.abc import Hashable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_runtime import cpu, cuda, devices
from lenet_runtime.artifact import Artifact
from lenet_runtime.backends.fused import copying, kernels
from lenet_runtime.backends.fused.programs import (
    WEIGHTS,
    code_for,
    programs,
    require_capability,
)
from lenet_runtime.backends.lane_predictor import STAGES, LanePredictor
from lenet_runtime.cuda.lanes import Lane
from lenet_runtime.errors import ArtifactError, DeployError


def probe(device: str) -> str:
    """The CUDA version of the driver; see `Backend.probe`."""
    found = cuda.gpu(devices.parse(device).index)
    require_capability(found)
    return found.driver


def load(artifact: Artifact, device: str, threads: int | None) -> "FusedCuda":
    """See `lenet_runtime.backends.Backend.load`; no CPU thread is started before a large batch."""
    context = cuda.Context(devices.parse(device).index)
    try:
        return FusedCuda(artifact, context, threads)
    except BaseException:
        context.close()
        raise


def starts(artifact: Artifact) -> tuple[int, ...]:
    """See `lenet_runtime.backends.Backend.starts`."""
    return tuple(program.start for program in programs(artifact))


class FusedCuda(LanePredictor):
    """The kernels of one artifact on one GPU.

    Args:
        artifact: The artifact, of format ``cuda``.
        context: The context of the GPU, which is closed with this predictor.
        threads: CPU threads that copy large batches; None is as many as this process may use, up
            to `copying.MOST`.

    Raises:
        ArtifactError: The files are damaged, or the driver refuses them.
        BackendUnavailable: The files are for other GPUs.
    """

    def __init__(
        self, artifact: Artifact, context: cuda.Context, threads: int | None = None
    ) -> None:
        super().__init__(context)
        self._copier = copying.Copier(min(threads or cpu.usable_cores(), copying.MOST))
        table, weights = programs(artifact), artifact.read(WEIGHTS)
        code = code_for(artifact, context.gpu)
        with context:
            try:
                self._kernels = kernels.Kernels(context, code, table)
            except DeployError as error:
                raise ArtifactError(
                    f"{artifact.path}: {context.gpu.name} does not take its kernels ({error}); "
                    "export it again"
                ) from error
            self._weights = context.allocate(len(weights))
            self._weights.write(weights)
        # Raw digits get two pixels on every side in the kernel.
        pads_so = artifact.manifest.preprocessing.padding == 2
        self.run_pixels = self._run if pads_so else None

        self.switches = (kernels.GRAPHED + 1, kernels.PIECE + 1)

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `lenet_runtime.backends.Predictor.run`."""
        return self._run(images)

    def run_if_finite(self, images: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """See `lenet_runtime.backends.Predictor.run_if_finite`."""
        if len(images) <= kernels.PIECE:  # a second pass finds them in the CPU's caches
            return super().run_if_finite(images)
        return self.run_on("large", images, checked=True)

    def _run(self, images: NDArray[Any]) -> NDArray[np.float32]:
        return self.run_on("small" if len(images) <= kernels.GRAPHED else "large", images)

    def uses_graph(self, batch_size: int) -> bool:
        """See `lenet_runtime.backends.Predictor.uses_graph`."""
        return batch_size <= kernels.GRAPHED

    def make_lane(self, kind: Hashable, count: int) -> Lane:
        """Make a lane for small batches, for large ones in pieces, or for one that is timed."""
        shared = self.context, self._kernels, self._weights.pointer
        if kind == STAGES:
            return kernels.KernelLane(*shared, count)
        if kind == "small":
            return kernels.KernelLane(*shared, kernels.GRAPHED, copies=False)
        return kernels.PieceLane(*shared, self._copier)
