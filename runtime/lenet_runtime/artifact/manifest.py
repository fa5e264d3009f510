"""`Manifest`: everything about an artifact, a verified model on disk.

An artifact is a directory that holds ``manifest.json``, the model file or files, and ``golden.npz``
with a few inputs and eager PyTorch's answers. The manifest lists every other file with its size and
SHA-256; a file that does not match is refused, and one that is not listed is never read.
"""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lenet_runtime.artifact import decode, files
from lenet_runtime.artifact.files import MANIFEST_NAME
from lenet_runtime.errors import ArtifactError
from lenet_runtime.formats import FORMATS
from lenet_runtime.images.preprocess import Preprocessing
from lenet_runtime.parity import ParityReport

SCHEMA_VERSION = 4
GOLDEN_NAME = "golden.npz"


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


IMAGES = "images"  # the input's name
# The output's names, which say what it holds.
LOGITS, LOG_PROBABILITIES, PROBABILITIES = OUTPUTS = (
    "logits",
    "log_probabilities",
    "probabilities",
)
CHANNELS = (1, 3)  # of images: grey or RGB
MAX_SIDE = 256  # height and width of images, in pixels
CLASSES = range(2, 1001)


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
        compute_capability: Of each kind of GPU that it was built for; none for any GPU.
        later_gpus: Whether GPUs beyond the least of `compute_capability` run it, too.
        profile: The least batch size that an engine was built for, the one that it is optimized
            for, and the largest; empty where it takes any.
        target: Of `lenet_runtime.formats.TARGETS`, what ``native`` code was made for. A manifest
            leaves ``host`` out, as those did that were written before there were others.
    """

    device: str
    engine: str
    engine_version: str
    cpu_isa: tuple[str, ...] = ()
    platform: str | None = None
    compute_capability: tuple[float, ...] = ()
    later_gpus: bool = False
    profile: tuple[int, ...] = ()
    target: str = dataclasses.field(default="host", metadata=decode.MAY_BE_ABSENT)


@dataclass(frozen=True)
class Manifest:
    """What an artifact is; ``manifest.json`` is this, field by field.

    Attributes:
        schema_version: of this layout; a reader refuses another one.
        format: a key of `lenet_runtime.FORMATS`.
        precision: of the arithmetic, ``fp32``.
        kernels: what computes each layer: its type, then the instruction sets or GPUs that there
            is code for, best first, ``int8``, ``avx512_vnni``, ``generic``; empty where the engine
            decides.
        inputs: float32 images ``(N, C, H, W)``, C 1 or 3; N is fixed in a static artifact.
        outputs: float32 ``(N, K)``, whose name says what they are: ``logits``, or
            ``log_probabilities`` of a module that ends in log_softmax, or ``probabilities``.
        preprocessing: how pixels become the input.
        labels: the K classes.
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
    kernels: dict[str, tuple[str, ...]]
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
        return self.format not in FORMATS or FORMATS[self.format].runs_code

    @property
    def batch_size(self) -> int | None:
        """The only batch size of a static artifact; None where the batch is dynamic."""
        return self.inputs[0].shape[0]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        shape: Any = self.inputs[0].shape[1:]  # three numbers, since `from_bytes` has looked
        channels, height, width = shape
        return channels, height, width

    @property
    def classes(self) -> int:
        """The number of classes."""
        return len(self.labels)

    @property
    def output(self) -> str:
        """What the output holds, one of `OUTPUTS`."""
        return self.outputs[0].name

    def to_bytes(self) -> bytes:
        """``manifest.json`` as it stands on disk; equal manifests give equal bytes."""
        document = dataclasses.asdict(self)
        if self.requirements.target == "host":
            del document["requirements"]["target"]
        return (json.dumps(document, indent=2, allow_nan=False) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes, where: Path) -> "Manifest":
        """Parse ``manifest.json``.

        Raises:
            ArtifactError: not JSON, duplicate, missing or unknown keys, a wrong type, a foreign
                schema version, an escaping file name, or other tensors than `Manifest` describes.
        """
        try:
            document = decode.parse(data)
            if foreign := _foreign_version(document):
                raise ArtifactError(f"{where}: {foreign}")
            manifest = decode.decode(cls, document, "manifest")
            _check_tensors(manifest)
            _check_numbers(manifest)
            for name in manifest.files:
                files.check_name(name)
            if MANIFEST_NAME in manifest.files:
                raise ValueError(f"it lists {MANIFEST_NAME}, which cannot hold its own hash")
        except ValueError as error:
            advice = files.mistaken_for(data) or files.AGAIN
            raise ArtifactError(f"{where}: not a manifest ({error}); {advice}") from error
        return manifest


def _foreign_version(document: object) -> str:
    """What to do about a manifest of another schema than this version's; empty for its own."""
    version = document.get("schema_version") if isinstance(document, dict) else None
    if type(version) is not int or version < 1:
        return (
            f"not a manifest: expected an object with the schema_version {SCHEMA_VERSION}, found "
            f"{version if isinstance(version, int | str | None) else type(version).__name__!r}"
        )
    found = f"expected schema_version {SCHEMA_VERSION}, found {version}"
    if version > SCHEMA_VERSION:
        return f"{found}, of a newer lenet-deploy, which reads it"
    if version < SCHEMA_VERSION:
        return f"{found}, of an older version; export the artifact again{_export_command(document)}"
    return ""


def _export_command(document: object) -> str:
    """How to make an artifact of another schema again; empty where the manifest is too foreign."""
    stated = document if isinstance(document, dict) else {}
    kind = stated.get("format"), stated.get("precision")
    if kind not in [(known.name, own) for known in FORMATS.values() for own in known.precisions]:
        return ""
    return " (lenet-deploy export --format {} --precision {})".format(*kind)


def _check_numbers(manifest: Manifest) -> None:
    """Refuse lists that are not what their fields say."""
    sizes = manifest.requirements.profile
    if sizes and not (len(sizes) == 3 and 1 <= sizes[0] <= sizes[1] <= sizes[2]):
        raise ValueError(f"expected a profile of three ascending batch sizes, found {list(sizes)}")
    if not all(manifest.kernels.values()):
        raise ValueError(f"expected the type of each layer, found {manifest.kernels}")


def _check_tensors(manifest: Manifest) -> None:
    """Refuse anything but one input of images and one output a class; Session relies on it."""
    for name, specs in (("input", manifest.inputs), ("output", manifest.outputs)):
        if len(specs) != 1 or specs[0].dtype != "float32":
            raise ValueError(f"expected one {name} of float32, found {specs}")
    (images,), (answers,) = manifest.inputs, manifest.outputs
    if answers.name not in OUTPUTS:
        raise ValueError(f"expected an output named {' or '.join(OUTPUTS)}, found {answers}")
    if problem := image_problem(images.shape[1:]):
        raise ValueError(f"input: {problem}")
    batch = manifest.batch_size
    if answers.shape[:1] != (batch,) or (batch is not None and batch < 1):
        raise ValueError(f"batch of the input is {batch}, of the output {answers.shape[:1]}")
    labels, classes = manifest.labels, answers.shape[1:]
    if len(classes) != 1 or classes[0] not in CLASSES:
        raise ValueError(f"expected an output (N, K) of {_CLASSES}, found {answers}")
    if not len(labels) == len(set(labels)) == classes[0]:
        raise ValueError(f"expected {classes[0]} different labels, found {list(labels)}")
    if problem := manifest.preprocessing.problem(manifest.image_shape):
        raise ValueError(f"preprocessing: {problem}")


_CLASSES = f"{CLASSES[0]} to {CLASSES[-1]:,} classes"


def image_problem(shape: Sequence[object]) -> str:
    """Why this is no shape ``(C, H, W)`` of images that artifacts take; empty if it is one."""
    sizes = [size for size in shape if type(size) is int]
    whole = len(sizes) == len(shape) == 3
    if whole and sizes[0] in CHANNELS and min(sizes) >= 1 and max(sizes) <= MAX_SIDE:
        return ""
    return (
        f"expected images (C, H, W) of 1 or 3 channels and up to {MAX_SIDE} pixels a side, found "
        f"{tuple(shape)}"
    )
