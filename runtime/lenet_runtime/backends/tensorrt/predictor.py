"""``tensorrt``: engines of TensorRT and TensorRT-RTX on an NVIDIA GPU.

Which of the two libraries is imported, the manifest says. Version, GPU and platform are compared
before any byte of the engine is deserialized. `_trt_engine` is the engine, `_trt_lane` what a
thread needs to run it; this file hands lanes out.
"""

import contextlib
import threading

import numpy as np
from numpy.typing import NDArray

from lenet_runtime import cuda, devices
from lenet_runtime.artifact import Artifact
from lenet_runtime.backends.protocol import Predictor
from lenet_runtime.backends.tensorrt import core
from lenet_runtime.backends.tensorrt.core import FILE, MODULES, TITLES
from lenet_runtime.backends.tensorrt.engine import Engine
from lenet_runtime.backends.tensorrt.lane import Lane
from lenet_runtime.backends.tensorrt.library import library
from lenet_runtime.backends.tensorrt.stages import TensorRtStages
from lenet_runtime.errors import ArtifactError, BackendUnavailable, DeployError


def probe(device: str) -> str:
    """The library's name and version; see `lenet_runtime.backends.Backend.probe`."""
    found = core.installed()
    if not found:
        raise BackendUnavailable(
            "TensorRT cannot be imported, nor TensorRT-RTX; pip install "
            "'lenet-deploy[tensorrt-rtx]' for GPUs of compute capability 8.0, 8.6, 8.9 and 12, "
            "or with [tensorrt] for all others"
        )
    title = library(found[0]).title
    cuda.gpu(devices.parse(device).index)
    return title


class TensorRt(Predictor):
    """One loaded engine, and lanes to run it in: as many as threads ran it at once.

    Batches above the profile's largest are run in pieces, those below its least are filled up.
    """

    def __init__(self, engine: Engine, gpu: cuda.Context) -> None:
        self._engine: Engine | None = engine
        self._gpu, self._most = gpu, engine.profile.most
        self._free: list[Lane] = []
        self._busy = 0
        self._closed = False
        self._lock = threading.Lock()

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `lenet_runtime.backends.Predictor.run`."""
        logits = np.empty((len(images), 10), np.float32)
        most = self._most
        lane = self._take()
        try:
            with self._gpu:
                for start in range(0, len(images), most):
                    lane.run(images[start : start + most], logits[start : start + most])
        except BaseException:
            self._end(lane)  # what failed is not used again
            raise
        self._give(lane)
        return logits

    def stages(self, images: NDArray[np.float32], *, graph: bool) -> TensorRtStages | None:
        """See `lenet_runtime.backends.protocol.MakeStages`; a batch above the profile's
        largest is no single computation, and has none."""
        if len(images) > self._most:
            return None
        lane = self._take(new=True)
        try:
            with self._gpu:
                stages = TensorRtStages(lane, self._gpu, images, self._end, graph=graph)
        except BaseException:
            self._end(lane)
            raise
        if graph and not stages.captured:
            stages.close()
            return None
        return stages

    def _take(self, *, new: bool = False) -> Lane:
        with self._lock:
            engine = self._engine
            if self._closed or engine is None:
                raise DeployError("this session is closed; load the artifact again")
            self._busy += 1
            if self._free and not new:
                return self._free.pop()
        try:
            with self._gpu:
                return Lane(engine, self._gpu)
        except BaseException:
            self._end(None)
            raise

    def _give(self, lane: Lane) -> None:
        with self._lock:
            if not self._closed:
                self._busy -= 1
                self._free.append(lane)
                return
        self._end(lane)

    def _end(self, lane: Lane | None) -> None:
        """Close a lane that was taken; the last one of a closed session gives back the GPU."""
        try:
            if lane is not None:
                self._close_lanes([lane])
        finally:
            with self._lock:
                self._busy -= 1
                last = self._closed and self._busy == 0
            if last:
                self._release()

    def close(self) -> None:
        """Give back the lanes; one that is at work in another thread follows when it is done."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            free, self._free = self._free, []
            self._busy += 1  # this call: whoever ends last gives the GPU back, not before
        try:
            self._close_lanes(free)
        finally:
            self._end(None)

    def _close_lanes(self, lanes: list[Lane]) -> None:
        with contextlib.suppress(DeployError), self._gpu:  # a GPU that failed refuses its context
            for lane in lanes:
                lane.close()

    def _release(self) -> None:
        with contextlib.suppress(DeployError), self._gpu:
            self._engine = None  # before its CUDA context goes
        self._gpu.close()


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
    return (artifact.manifest.batch_size or 1,)


def _require_fit(artifact: Artifact, gpu: cuda.Gpu) -> None:
    """Refuse an engine of another library, version or GPU, and say how to build it again.

    Neither library loads an engine of another of its versions: a version-compatible engine would
    carry a runtime of its own as code, and we build none.
    """
    from lenet_runtime.artifact.requirements import fits_gpu

    manifest, needs = artifact.manifest, artifact.manifest.requirements
    if needs.engine not in MODULES or needs.compute_capability is None:
        raise ArtifactError(
            f"{artifact.path}: expected an engine of {list(MODULES)} for a compute capability, "
            f"found {needs.engine!r} for {needs.compute_capability!r}; export it again"
        )
    again = f"build it again: {core.rebuild_command(manifest, gpu.compute_capability)}"
    title = TITLES[needs.engine]
    if needs.engine not in core.installed():
        raise BackendUnavailable(
            f"{artifact.path}: it is an engine of {title} {needs.engine_version}, which is not "
            f"installed; pip install 'lenet-deploy[{needs.engine}]' in that version, or {again}"
        )
    here = library(needs.engine).trt.__version__
    if here != needs.engine_version:
        raise BackendUnavailable(
            f"{artifact.path}: it was built with {title} {needs.engine_version}, this is {here}, "
            f"and engines are for their own version alone; {again}"
        )
    if not fits_gpu(needs.compute_capability, gpu.compute_capability):
        raise BackendUnavailable(
            f"{artifact.path}: it was built for compute capability {needs.compute_capability}, "
            f"{gpu.name} has {gpu.compute_capability}; {again}"
        )
