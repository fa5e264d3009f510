"""The runtime layer: an artifact answers images with logits. Needs numpy alone at import.

import lenet_runtime

with lenet_runtime.load("artifacts/onnx-fp32") as session:
    prediction = session.predict(images)  # uint8 (N, 28, 28)
    logits = session.run(batch)           # float32 (N, 1, 32, 32), preprocessed
"""

from lenet_runtime.artifact import Artifact, Manifest, TensorSpec
from lenet_runtime.backends import BACKENDS, Backend
from lenet_runtime.backends.protocol import Predictor
from lenet_runtime.errors import (
    ArtifactError,
    BackendUnavailable,
    DeployError,
    DeployWarning,
    DeviceMemoryError,
    InputError,
    ParityError,
)
from lenet_runtime.formats import FORMATS, Format
from lenet_runtime.images.prediction import Prediction
from lenet_runtime.images.preprocess import Preprocessing
from lenet_runtime.loading import load, load_plan
from lenet_runtime.parity import ParityReport
from lenet_runtime.session import Session
from lenet_runtime.version import __version__

__all__ = [
    "BACKENDS",
    "FORMATS",
    "Artifact",
    "ArtifactError",
    "Backend",
    "BackendUnavailable",
    "DeployError",
    "DeployWarning",
    "DeviceMemoryError",
    "Format",
    "InputError",
    "Manifest",
    "ParityError",
    "ParityReport",
    "Prediction",
    "Predictor",
    "Preprocessing",
    "Session",
    "TensorSpec",
    "__version__",
    "load",
    "load_plan",
]


def __dir__() -> list[str]:
    return __all__
