"""What every format's builder is given and what it gives back."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import nn

from lenet_export.network import weights
from lenet_export.proof import DIGIT_LABELS, check_batch_sizes
from lenet_runtime.artifact import LOGITS, Artifact, Requirements
from lenet_runtime.backends.protocol import Predictor
from lenet_runtime.devices import Device
from lenet_runtime.errors import InputError
from lenet_runtime.images.preprocess import Preprocessing
from lenet_runtime.parity import BATCH_SIZES

# golden.npz holds one whole batch of a static artifact, 4 KB an image of Net's shape.
MAX_GOLDEN_BYTES = 2**26
MAX_STATIC_BATCH = 2**14


def check_static_batch(size: int | None) -> None:
    """Raise `InputError` unless it is None or a batch size that an artifact can be made for."""
    if size is not None and (type(size) is not int or not 1 <= size <= MAX_STATIC_BATCH):
        raise InputError(f"static batch: expected 1 to {MAX_STATIC_BATCH}, found {size!r}")


@dataclass(frozen=True)
class Request:
    """One export.

    Attributes:
        module: The network; a builder gets a copy in eval mode on the CPU, and does not change it.
        format: A key of `lenet_runtime.FORMATS`.
        precision: The precision of the arithmetic, one of the format's.
        device: The device to prove the artifact on, and to compile for where the format does that.
        static_batch: The only batch size, or None for a dynamic batch.
        preprocessing: How pixels become the input.
        labels: The class of each logit.
        image_shape: The ``(C, H, W)`` of the module's images.
        output: What the module answers, of `lenet_runtime.artifact.OUTPUTS`.
        batch_sizes: The batch sizes to verify a dynamic batch at.
        options: The format's own options by name, those that were given.

    Raises:
        InputError: The static batch, the labels or the batch sizes make no sense.
    """

    module: nn.Module
    format: str
    precision: str
    device: Device
    static_batch: int | None = None
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    labels: tuple[str, ...] = DIGIT_LABELS
    image_shape: tuple[int, int, int] = (1, 32, 32)
    output: str = LOGITS
    batch_sizes: tuple[int, ...] = BATCH_SIZES
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        labels = self.labels
        check_static_batch(self.static_batch)
        if len(set(labels)) != len(labels) or not all(type(x) is str for x in labels):
            raise InputError(f"labels: expected different strings, found {list(labels)}")
        if not isinstance(self.preprocessing, Preprocessing):
            found = type(self.preprocessing).__name__
            raise InputError(f"preprocessing: expected lenet_runtime.Preprocessing, found {found}")
        if problem := self.preprocessing.problem(self.image_shape):
            raise InputError(f"preprocessing: {problem}")
        check_batch_sizes(self.batch_sizes)
        golden = 4 * math.prod(self.image_shape) * (self.static_batch or 1)
        if golden > MAX_GOLDEN_BYTES:
            raise InputError(
                f"static batch: expected one whose images have at most {MAX_GOLDEN_BYTES} bytes, "
                f"found {golden} of {self.static_batch} images {self.image_shape}"
            )

    @cached_property
    def weights_sha256(self) -> str:
        """See `lenet_export.network.weights.fingerprint`."""
        return weights.fingerprint(self.module)

    @property
    def runs_on(self) -> str:
        """`Requirements.device` of a format that runs on both; TF32 is a GPU's arithmetic."""
        return "cuda" if self.precision == "tf32" else "any"

    @property
    def example(self) -> torch.Tensor:
        """Black images to trace with. Two, where the batch is dynamic: torch.export takes a batch
        of one for a constant."""
        return torch.zeros(self.static_batch or 2, *self.image_shape)


@dataclass(frozen=True)
class Build:
    """The files of an artifact, not yet verified.

    Attributes:
        files: Each file's content by its name.
        requirements: What the files need of the machine that loads them.
        tools: Versions of what made the files, by name.
        kernels: See `Manifest.kernels`; empty where the engine decides.
        emulator: Runs an artifact of these files here, where they are for another machine; None
            where a backend does.
    """

    files: dict[str, bytes]
    requirements: Requirements
    tools: dict[str, str]
    kernels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    emulator: Callable[[Artifact], Predictor] | None = None
