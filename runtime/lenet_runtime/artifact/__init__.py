"""What an artifact is on disk: the manifest, the files, the golden answers, whom to trust."""

from lenet_runtime.artifact.files import MANIFEST_NAME
from lenet_runtime.artifact.folder import MAX_MANIFEST_BYTES, Artifact
from lenet_runtime.artifact.manifest import (
    GOLDEN_NAME,
    IMAGES,
    LOG_PROBABILITIES,
    LOGITS,
    OUTPUTS,
    PROBABILITIES,
    SCHEMA_VERSION,
    FileEntry,
    Manifest,
    Requirements,
    TensorSpec,
)

__all__ = [
    "GOLDEN_NAME",
    "IMAGES",
    "LOGITS",
    "LOG_PROBABILITIES",
    "MANIFEST_NAME",
    "MAX_MANIFEST_BYTES",
    "OUTPUTS",
    "PROBABILITIES",
    "SCHEMA_VERSION",
    "Artifact",
    "FileEntry",
    "Manifest",
    "Requirements",
    "TensorSpec",
]
