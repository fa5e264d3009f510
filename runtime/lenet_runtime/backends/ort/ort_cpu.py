"""``ort-cpu``: ONNX artifacts on ONNX Runtime's CPU provider."""

import numpy as np
from numpy.typing import NDArray

from lenet_runtime.artifact import Artifact
from lenet_runtime.backends.ort import core
from lenet_runtime.backends.protocol import Predictor, closed
from lenet_runtime.errors import BackendUnavailable, DeployError

PROVIDERS = [core.CPU]


def probe(device: str) -> str:
    """ONNX Runtime's version; see `lenet_runtime.backends.Backend.probe`."""
    version: str = core.import_onnxruntime().__version__
    return version


class OrtCpu(Predictor):
    """One `onnxruntime.InferenceSession`, which any number of threads may run at once."""

    def __init__(self, artifact: Artifact, threads: int | None) -> None:
        self._errors = core.engine_errors()
        session = core.session(artifact, core.options(threads), PROVIDERS)
        if session.get_providers() != PROVIDERS:
            raise BackendUnavailable(f"expected {PROVIDERS}, found {session.get_providers()}")
        # `InferenceSession.run` validates names again and would fall back to another provider
        # on failure; the C++ session underneath does neither and saves 2 us a call.
        self._run = session._sess.run
        # Where none is given, each call makes one (1 us). It is only read, so calls share it.
        self._options = core.import_onnxruntime().RunOptions()
        self._input = artifact.manifest.inputs[0].name
        self._outputs = [artifact.manifest.outputs[0].name]

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `lenet_runtime.backends.Predictor.run`."""
        try:
            logits: NDArray[np.float32] = self._run(
                self._outputs, {self._input: images}, self._options
            )[0]
        except self._errors as error:
            raise DeployError(f"ort-cpu failed on {images.shape}: {error}") from error
        return logits

    def close(self) -> None:
        """Drop the session; a run that is under way in another thread keeps it alive until done."""
        self._run = closed


def load(artifact: Artifact, device: str, threads: int | None) -> OrtCpu:
    """See `lenet_runtime.backends.Backend.load`. None is one thread.

    A second one halves the time of 64 images where its core is free (0.42 to 0.23 ms) and has
    nothing to do at one; beside other work, 512 take three times as long with it as without.
    """
    core.refuse_tf32(artifact)
    return OrtCpu(artifact, threads)


def starts(artifact: Artifact) -> tuple[int, ...]:
    """One graph for every batch size; see `lenet_runtime.backends.Backend.starts`."""
    return (1,)
