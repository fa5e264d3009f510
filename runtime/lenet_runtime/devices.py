"""Names of devices: ``cpu``, ``cuda`` (the first GPU) and ``cuda:N``."""

import re
from dataclasses import dataclass

from lenet_runtime.errors import InputError

_NAME = re.compile(r"cpu|cuda(?::(0|[1-9][0-9]{0,3}))?")


@dataclass(frozen=True)
class Device:
    """The CPU or one GPU.

    Attributes:
        kind: ``cpu`` or ``cuda``.
        index: Number of the GPU among those that CUDA sees; 0 for the CPU.
    """

    kind: str
    index: int = 0

    def __str__(self) -> str:
        return self.kind if self.kind == "cpu" else f"{self.kind}:{self.index}"


def parse(name: str) -> Device:
    """Return the device that `name` means; ``cuda`` means ``cuda:0``.

    Raises:
        InputError: this is not the name of a device. Whether such a GPU exists is not checked.
    """
    match = _NAME.fullmatch(name) if isinstance(name, str) else None
    if match is None:
        raise InputError(f"device: expected 'cpu', 'cuda' or 'cuda:N', found {name!r}")
    return Device("cpu") if name == "cpu" else Device("cuda", int(match[1] or 0))
