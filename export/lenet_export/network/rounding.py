"""Rounding float32 to the shorter types in which weights are stored."""

import numpy as np
from numpy.typing import NDArray

from lenet_export.network.steps import Array


def bfloat16(values: Array) -> NDArray[np.uint16]:
    """The bits of finite float32 `values` as bfloat16, rounded to nearest, ties to even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
