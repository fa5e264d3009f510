"""What every format's builder is given and what it gives back."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from lenet_runtime.artifact import Requirements
from lenet_runtime.devices import Device
from lenet_runtime.images.preprocess import Preprocessing


@dataclass(frozen=True)
class Request:
    """One export.

    Attributes:
        module: a copy in eval mode on the CPU; the builder may keep it but not change it.
        precision: of the arithmetic.
        static_batch: the only batch size, or None for a dynamic batch.
        preprocessing: how pixels become the input.
        labels: class of each logit.
        weights_sha256: see `lenet_export.network.weights.fingerprint`.
        device: that it will be proven on, and is compiled for where the format does that.
        options: of this format alone, by name; the registry lists which it takes.
    """

    module: nn.Module
    precision: str
    static_batch: int | None
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    weights_sha256: str
    device: Device
    options: dict[str, Any]

    @property
    def runs_on(self) -> str:
        """`Requirements.device` of a format that runs on both; TF32 is a GPU's arithmetic."""
        return "cuda" if self.precision == "tf32" else "any"

    @property
    def example(self) -> torch.Tensor:
        """Black images to trace with. Two, where the batch is dynamic: torch.export takes a batch
        of one for a constant."""
        return torch.zeros(self.static_batch or 2, 1, 32, 32)


@dataclass(frozen=True)
class Build:
    """The files of an artifact, not yet verified.

    Attributes:
        files: content by name.
        requirements: what they need of the machine that loads them.
        tools: versions of what made them, by name.
        kernels: see `Manifest.kernels`; empty where the engine decides.
    """

    files: dict[str, bytes]
    requirements: Requirements
    tools: dict[str, str]
    kernels: dict[str, str] = field(default_factory=dict)


Builder = Callable[[Request], Build]
