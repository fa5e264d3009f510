"""``tensorrt``: engines of TensorRT and TensorRT-RTX on an NVIDIA GPU.

Which of the two libraries is imported, the manifest says. Version, GPU and platform are compared
before any byte of the engine is deserialized.
"""

from collections.abc import Hashable

import numpy as np
from numpy.typing import NDArray

from lenet_runtime import cuda, devices
from lenet_runtime.artifact import Artifact, Manifest, requirements
from lenet_runtime.backends.lane_predictor import LanePredictor, LaneStages
from lenet_runtime.backends.tensorrt import core
from lenet_runtime.backends.tensorrt.core import FILE, MODULES, TITLES
from lenet_runtime.backends.tensorrt.engine import Engine
from lenet_runtime.backends.tensorrt.lane import EngineLane
from lenet_runtime.backends.tensorrt.library import library
from lenet_runtime.errors import ArtifactError, BackendUnavailable
from lenet_runtime.version import pip_install


def probe(device: str) -> str:
    """The library's name and version; see `lenet_runtime.backends.Backend.probe`."""
    found = core.installed()
    if not found:
        raise BackendUnavailable(
            "TensorRT cannot be imported, nor TensorRT-RTX; for GPUs of compute capability 8.0, "
            f"8.6, 8.9 and 12, {pip_install('tensorrt-rtx')}; for all others, with [tensorrt]"
        )
    title = library(found[0]).title
    cuda.gpu(devices.parse(device).index)
    return title


class TensorRt(LanePredictor):
    """One loaded engine.

    Args:
        engine: The engine.
        gpu: The context of the GPU, which is closed with this predictor.
    """

    def __init__(self, engine: Engine, gpu: cuda.Context) -> None:
        super().__init__(gpu)
        self._engine: Engine | None = engine
        self._most = engine.profile.most
        self.switches = (engine.profile.least, self._most + 1)

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `lenet_runtime.backends.Predictor.run`."""
        return self.run_on("engine", images)

    def stages(self, images: NDArray[np.float32], *, graph: bool) -> LaneStages | None:
        """See `lenet_runtime.backends.protocol.MakeStages`; a batch above the profile's
        largest is no single computation, and has none."""
        return None if len(images) > self._most else super().stages(images, graph=graph)

    def make_lane(self, kind: Hashable, count: int) -> EngineLane:
        """Make a lane, all of which are alike."""
        assert self._engine is not None
        return EngineLane(self._engine, self.context)

    def release(self) -> None:
        """Let go of the engine before its CUDA context goes."""
        self._engine = None


def load(artifact: Artifact, device: str, threads: int | None) -> TensorRt:
    """See `lenet_runtime.backends.Backend.load`."""
    index = devices.parse(device).index
    _require_fit(artifact, cuda.gpu(index))
    found = library(artifact.manifest.requirements.engine)
    data = artifact.read(FILE)
    gpu = cuda.Context(index)
    try:
        with gpu:
            engine = Engine(found, data, artifact.manifest, artifact.path / FILE)
    except BaseException:
        gpu.close()
        raise
    return TensorRt(engine, gpu)


def starts(artifact: Artifact) -> tuple[int, ...]:
    """One engine for every batch size; see `lenet_runtime.backends.Backend.starts`."""
    return (1,)


def unmet(manifest: Manifest) -> list[str]:
    """Neither library loads an engine of another of its versions: a version-compatible engine would
    carry a runtime of its own as code, and we build none."""
    needs = manifest.requirements
    if needs.engine not in core.installed():
        return []  # `load` says what to install
    here = library(needs.engine).trt.__version__
    if here == needs.engine_version:
        return []
    return [
        f"it was built with {TITLES[needs.engine]} {needs.engine_version}, this is {here}, and "
        "engines are for their own version alone"
    ]


def _require_fit(artifact: Artifact, gpu: cuda.Gpu) -> None:
    """Refuse an engine of another library, version or GPU, and say how to build it again."""
    manifest, needs = artifact.manifest, artifact.manifest.requirements
    if needs.engine not in MODULES or not needs.compute_capability:
        raise ArtifactError(
            f"{artifact.path}: expected an engine of {list(MODULES)} for a compute capability, "
            f"found {needs.engine!r} for {needs.compute_capability!r}; export it again"
        )
    capability = gpu.compute_capability if needs.engine == "tensorrt-rtx" else None
    again = f"build it again: {requirements.export_command(manifest, capability)}"
    reasons = unmet(manifest)
    if needs.engine not in core.installed():
        reasons.append(
            f"it is an engine of {TITLES[needs.engine]} {needs.engine_version}, which is not "
            f"installed; in that version, {pip_install(needs.engine)}"
        )
    if not requirements.fits_gpu(needs, gpu.compute_capability):
        reasons.append(
            f"it was built for compute capability {requirements.gpus_of(needs)}, {gpu.name} has "
            f"{gpu.compute_capability}"
        )
    if reasons:
        raise BackendUnavailable(f"{artifact.path}: {'; '.join(reasons)}; {again}")
