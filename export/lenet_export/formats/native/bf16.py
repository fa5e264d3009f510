"""What bf16 adds to fp32: the first dense layers with weights and inputs in bfloat16.

VDPBF16PS multiplies two pairs of bfloat16 and adds the products to a float32 sum, in one cycle on
Zen 4, as an FMA of one pair does. Each pair of inputs is rounded to nearest even before it is used,
and skipped where both are zero. Half the bytes of weights then come from the cache, for half as
many instructions.
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from lenet_export.formats.native.isa import V4
from lenet_export.formats.native.pack import PackedDense
from lenet_export.network import rounding

# The CPU flags that the kernels need, in Linux's spelling, for `Requirements.cpu_isa`.
FLAGS = (
    *("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"),
    *("avx2", "fma", "bmi1", "bmi2", "avx512_bf16"),
)
BF16 = dataclasses.replace(
    V4,
    title="avx512_bf16",
    comment="AVX-512 with products of bfloat16",
    features=(*V4.features, "avx512bf16"),
)


def pairs(layer: PackedDense) -> NDArray[np.uint16]:
    """Weights as VDPBF16PS takes them: ``(inputs / 2, padded outputs * 2)``, two inputs a lane."""
    bits = rounding.bfloat16(layer.weight).reshape(-1, 2, layer.stride)
    return np.ascontiguousarray(bits.swapaxes(1, 2)).reshape(layer.inputs // 2, -1)
