"""C arrays of a network's weights."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def array(name: str, values: NDArray[Any], kind: str = "") -> str:
    """A C array of the exact values: float32 in hexadecimal, or integers.

    Args:
        name: the array's name.
        values: float32 or integers, in the array's shape.
        kind: the C type of an element; by default the one of NumPy's type.
    """
    shape = "".join(f"[{size}]" for size in values.shape)
    kind = kind or ("float" if values.dtype == np.float32 else f"{values.dtype.name}_t")
    return f"_Alignas(64) static const {kind} {name}{shape} = {_initializer(values)};\n"


def _initializer(values: NDArray[Any]) -> str:
    if values.ndim > 1:
        return "{" + ",\n".join(_initializer(row) for row in values) + "}"
    if values.dtype == np.float32:
        width, texts = 8, [literal(value) for value in values]
    else:
        width, texts = 16, [str(value) for value in values.tolist()]
    lines = [", ".join(texts[i : i + width]) for i in range(0, len(texts), width)]
    return "{" + ",\n ".join(lines) + "}"


def literal(value: np.float32) -> str:
    """The exact value, in hexadecimal."""
    if value == 0 and not np.signbit(value):
        return "0"
    mantissa, _, exponent = float(value).hex().partition("p")
    return f"{mantissa.rstrip('0').rstrip('.')}p{int(exponent)}f"
