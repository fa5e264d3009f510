"""Any ONNX file as a peer: what stands in it, run by a plain ONNX Runtime session on the CPU."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_runtime.artifact.files import mistaken_for, sha256
from lenet_runtime.backends.ort import core
from lenet_runtime.backends.protocol import Predictor, closed
from lenet_runtime.errors import ArtifactError, DeployError

_MOST_BYTES = 2**30


class OnnxFile(Predictor):
    """The network in an ONNX file that nobody has compared with eager PyTorch.

    Attributes:
        image_shape: Channels, height and width of an image, as the file says.
        classes: Outputs for an image.
        batch_size: The only batch size it takes; None if it takes any.
        sha256: SHA-256 of the file.

    Raises:
        BackendUnavailable: ONNX Runtime is not installed.
        ArtifactError: The file cannot be read, or does not take float32 images ``(N, C, H, W)``
            to float32 ``(N, K)``.
    """

    def __init__(self, path: Path, threads: int | None) -> None:
        self.path, options = path, core.options(threads)
        data = _read(path)
        self.sha256, self._errors = sha256(data), core.engine_errors()
        try:
            self._session = core.import_onnxruntime().InferenceSession(
                data, options, providers=[core.CPU], enable_fallback=0
            )
        except self._errors as error:
            what = mistaken_for(data) or f"ONNX Runtime cannot load it ({error})"
            raise ArtifactError(f"{path}: {what}") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        self.batch_size, self.image_shape, self.classes = _shapes(path, inputs, outputs)
        self._input, self._outputs = inputs[0].name, [outputs[0].name]
        self._run = self._session.run

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Predictor.run`; what a user of ONNX Runtime calls, without checks of ours."""
        try:
            logits: NDArray[np.float32] = self._run(self._outputs, {self._input: images})[0]
        except self._errors as error:
            raise DeployError(f"{self.path} failed on {images.shape}: {error}") from error
        return logits

    def close(self) -> None:
        """Drop the session."""
        self._run = self._session = closed


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror})") from error
    if len(data) > _MOST_BYTES:
        raise ArtifactError(f"{path}: expected at most {_MOST_BYTES} bytes, found more")
    return data


def _shapes(
    path: Path, inputs: list[Any], outputs: list[Any]
) -> tuple[int | None, tuple[int, int, int], int]:
    """The batch size, None if dynamic, the shape of an image, and the number of classes."""
    found = [f"{v.name} {v.type} {v.shape}" for v in (*inputs, *outputs)]
    expected = (
        f"{path}: expected one input tensor(float) (N, C, H, W) with C 1 or 3 and fixed H and W, "
        f"and an output tensor(float) (N, K), found {'; '.join(found)}"
    )
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or len(outputs[0].shape) != 2:
        raise ArtifactError(expected)
    (batch, *shape), classes = inputs[0].shape, outputs[0].shape[1]
    kinds = {value.type for value in (inputs[0], outputs[0])}
    if kinds != {"tensor(float)"} or not all(type(n) is int and n > 0 for n in (*shape, classes)):
        raise ArtifactError(expected)
    if shape[0] not in (1, 3):
        raise ArtifactError(expected)
    channels, height, width = shape
    return batch if type(batch) is int else None, (channels, height, width), classes
