"""Which GPUs an engine is built for, and on which."""

import re
from dataclasses import dataclass
from typing import Any

from lenet_runtime import cuda
from lenet_runtime.devices import Device
from lenet_runtime.errors import BackendUnavailable, InputError

_CAPABILITY = re.compile(r"([0-9]{1,2})\.?([0-9])")


@dataclass(frozen=True)
class Target:
    """The GPUs of an engine.

    Attributes:
        capabilities: compute capabilities, ``8.6``, ascending.
        told: whether the builder is told them; else it builds for the GPU it runs on.
        gpu: UUID of the GPU to build on, as CUDA_VISIBLE_DEVICES takes it; None for none.
    """

    capabilities: tuple[str, ...]
    told: bool
    gpu: str | None = None


def choose(wanted: Any, library: str, device: Device) -> Target:
    """The target of the option ``compute_capability``.

    Args:
        wanted: ``8.6``, or several as ``8.6,8.9``; None for the GPU of this machine.
        library: ``tensorrt`` builds on its target, ``tensorrt-rtx`` without any GPU.
        device: which GPU of this machine.

    Raises:
        InputError: not compute capabilities, or `library` cannot be told any.
        BackendUnavailable: the GPU of this machine is wanted and there is none.
    """
    told = library != "tensorrt"
    if wanted is not None and not told:
        raise InputError(
            "compute capability: TensorRT builds for the GPU it runs on, found "
            f"{wanted!r}; --library tensorrt-rtx builds for GPUs that are elsewhere"
        )
    if wanted is not None:
        return Target(_capabilities(str(wanted)), told)
    try:
        found = cuda.gpu(device.index)
    except BackendUnavailable as error:
        raise BackendUnavailable(
            f"compute capability: expected a GPU to build for, found none ({error}); "
            "--library tensorrt-rtx builds without one for the GPUs that are named, say "
            "--compute-capability 8.0,8.6,8.9,12.0"
        ) from error
    return Target((found.compute_capability,), told, found.nvidia_id)


def _capabilities(text: str) -> tuple[str, ...]:
    parts = [_CAPABILITY.fullmatch(part.strip()) for part in text.split(",")]
    found = {f"{part[1]}.{part[2]}" for part in parts if part}
    if None in parts:
        raise InputError(
            f"compute capability: expected numbers like 8.6 or 8.6,8.9, found {text[:100]!r}"
        )
    return tuple(sorted(found, key=float))
