"""`Manifest`: everything about an artifact, a verified model on disk.

An artifact is a directory of regular files: ``manifest.json``, the model file or files, and
``golden.npz`` with a few inputs and eager PyTorch's answers. The manifest lists every other
file with its size and SHA-256; a file that is not listed, or does not match, is refused.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from lenet_runtime.artifact import decode, files
from lenet_runtime.errors import ArtifactError
from lenet_runtime.images.preprocess import Preprocessing
from lenet_runtime.parity import ParityReport

SCHEMA_VERSION = 3
MANIFEST_NAME = "manifest.json"
GOLDEN_NAME = "golden.npz"

# Formats whose files are data to their engine. Every other format's files are code.
DATA_FORMATS = frozenset({"onnx"})


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of the network.

    Attributes:
        name: what the engine calls it.
        dtype: NumPy's name, ``float32``.
        shape: ``None`` is a dynamic dimension.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]


IMAGES = TensorSpec("images", "float32", (None, 1, 32, 32))
LOGITS = TensorSpec("logits", "float32", (None, 10))


@dataclass(frozen=True)
class FileEntry:
    """The size in bytes and the SHA-256 (lower-case hexadecimal) of one file."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Requirements:
    """What the machine that loads the artifact must have.

    Attributes:
        device: ``cpu`` or ``cuda``; ``any`` where the format runs on both.
        cpu_isa: CPU flags in Linux's spelling (``avx512f``) that the code was compiled for.
        platform: ``linux-x86_64`` for compiled code, None for portable formats.
        engine: the engine the files are for, with the version that wrote them.
        engine_version: see `engine`.
        compute_capability: of the GPUs that it was built for: ``9.0``, several as ``8.0, 8.6``,
            or ``8.0+`` for it and everything later.
        profile: batch sizes that an engine was built for, ``MIN:OPT:MAX``; None where it takes any.
    """

    device: str
    engine: str
    engine_version: str
    cpu_isa: tuple[str, ...] = ()
    platform: str | None = None
    compute_capability: str | None = None
    profile: str | None = None


@dataclass(frozen=True)
class Manifest:
    """What an artifact is; ``manifest.json`` is this, field by field.

    Attributes:
        schema_version: of this layout; a reader refuses another one.
        format: a key of `lenet_export.FORMATS`.
        precision: of the arithmetic, ``fp32``.
        kernels: what computes each layer: its type, then the instruction sets that there is code
            for, best first, ``int8 avx512_vnni | generic``; empty where the engine decides.
        inputs: float32 images ``(N, 1, 32, 32)``; N is fixed in a static artifact.
        outputs: float32 logits ``(N, 10)``.
        preprocessing: how pixels become the input.
        labels: the class of each logit.
        files: every file but the manifest, by name.
        requirements: what the loading machine must have.
        tools: versions of what made the artifact, by name.
        weights_sha256: of the state dict, see `lenet_export.network.weights.fingerprint`.
        parity: the comparison with eager PyTorch that the artifact passed; without comparisons
            where it was exported with ``--no-verify``, and is not loaded until it is proven.
    """

    schema_version: int
    format: str
    precision: str
    kernels: dict[str, str]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    files: dict[str, FileEntry]
    requirements: Requirements
    tools: dict[str, str]
    weights_sha256: str
    parity: ParityReport

    @property
    def runs_code(self) -> bool:
        """Whether loading the files executes code that they carry."""
        return self.format not in DATA_FORMATS

    @property
    def batch_size(self) -> int | None:
        """The only batch size of a static artifact; None where the batch is dynamic."""
        return self.inputs[0].shape[0]

    def to_bytes(self) -> bytes:
        """``manifest.json`` as it stands on disk; equal manifests give equal bytes."""
        document = dataclasses.asdict(self)
        return (json.dumps(document, indent=2, allow_nan=False) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes, where: Path) -> "Manifest":
        """Parse ``manifest.json``.

        Raises:
            ArtifactError: not JSON, duplicate, missing or unknown keys, a wrong type, a foreign
                schema version, an escaping file name, or tensors that are not `Net`'s.
        """
        try:
            document = decode.parse(data)
            version = document.get("schema_version") if isinstance(document, dict) else None
            if version != SCHEMA_VERSION:
                raise ValueError(f"expected schema_version {SCHEMA_VERSION}, found {version!r}")
            manifest = decode.decode(cls, document, "manifest")
            _check_tensors(manifest)
            for name in manifest.files:
                files.check_name(name)
        except (ValueError, ArtifactError) as error:
            raise ArtifactError(f"{where}: {error}; export the artifact again") from error
        return manifest


def _check_tensors(manifest: Manifest) -> None:
    """Refuse anything but `Net`'s one input and one output; Session relies on it."""
    for found, expected in ((manifest.inputs, IMAGES), (manifest.outputs, LOGITS)):
        same = len(found) == 1 and found[0].dtype == expected.dtype
        if not same or found[0].shape[1:] != expected.shape[1:]:
            raise ValueError(f"expected one tensor {expected}, found {found}")
    batch, answers = manifest.inputs[0].shape[0], manifest.outputs[0].shape[0]
    if batch != answers or (batch is not None and batch < 1):
        raise ValueError(f"batch of the input is {batch}, of the output {answers}")
    labels = manifest.labels
    if not len(labels) == len(set(labels)) == LOGITS.shape[1]:
        raise ValueError(f"expected {LOGITS.shape[1]} different labels, found {list(labels)}")
