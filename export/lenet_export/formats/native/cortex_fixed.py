"""Fixed point for microcontrollers: a layer's scales as integers, see ``c/cortex/rounding.c``."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_export.network.quantize import Quantized, QuantizedLayer
from lenet_runtime.errors import InputError
from lenet_runtime.images.preprocess import Preprocessing, pixel_table

Integers = NDArray[np.signedinteger[Any]]
_FRACTION = 44  # bits of the multiplier's fixed point, see lenet_code


@dataclass(frozen=True)
class Outputs:
    """The outputs of a layer.

    Attributes:
        bias: int32, of the sums as the kernel makes them.
        multiplier: int32, see `lenet_code`; 0 in the last layer.
        scale: float32.
        shift: the sums come times two to this.
    """

    bias: Integers
    multiplier: Integers
    scale: NDArray[np.float32]
    shift: int


def rounded(sums: Integers, scale: NDArray[np.float32]) -> Integers:
    """The codes of sums, as every kernel rounds them; see `quantize`."""
    product = sums.astype(np.float32) * scale
    codes: Integers = np.clip(np.rint(product), 0, 255).astype(np.int64)
    return codes


def without_idle_scales(quantized: Quantized) -> Quantized:
    """The network with other scales for outputs that have a bias alone, and the same codes of them.

    `quantize` gives the sums of these 31 bits, for which there is no room here.
    """
    return dataclasses.replace(
        quantized, layers=(*map(_without_idle_scales, quantized.layers[:-1]), quantized.layers[-1])
    )


def _without_idle_scales(layer: QuantizedLayer) -> QuantizedLayer:
    idle = ~layer.weight.reshape(len(layer.bias), -1).any(axis=1)
    scale = np.max(layer.scale, where=~idle, initial=np.float32(0)) or np.float32(2.0**-12)
    codes = np.where(idle, rounded(layer.bias, layer.scale), 0)
    bias = np.rint(codes / np.float64(scale)).astype(np.int32)
    return dataclasses.replace(
        layer, bias=np.where(idle, bias, layer.bias), scale=np.where(idle, scale, layer.scale)
    )


def pixel_codes(quantized: Quantized, preprocessing: Preprocessing) -> Integers:
    """The code of each byte, int64 ``(256,)``; black is the first."""
    codes: Integers = np.clip(
        np.rint(pixel_table(preprocessing) * quantized.input_scale), -(2**15), 2**15 - 1
    )
    return codes.astype(np.int64)


def outputs(
    layer: QuantizedLayer, bias: Integers, largest: int, name: str, least: int = 0
) -> Outputs:
    """Multipliers of 31 bits at most, for sums as large as they leave room for.

    Args:
        layer: the layer.
        bias: int64 of the sums before they are shifted.
        largest: what no sum exceeds, before it is shifted.
        name: the layer's, for an error.
        least: the least shift.
    """
    scale = layer.scale.astype(np.float64)
    shift = max(least, int(np.ceil(np.log2(scale.max()))) + _FRACTION - 31)
    if largest << shift >= 2**31 or scale.min() < 2.0**-100:
        raise InputError(
            f"native: cortex-m: the sums of {name} reach {float(largest * scale.max() / 255):.0f} "
            "times what calibration met; calibrate with digits like those it will see"
        )
    multiplier = np.rint(scale * 2.0 ** (_FRACTION - shift)).astype(np.int64)
    return Outputs(bias, np.minimum(multiplier, 2**31 - 1), layer.scale, shift)


def dense_outputs(layers: tuple[QuantizedLayer, ...], number: int) -> Outputs:
    """The outputs of a dense layer; the last one's sums become logits and no codes."""
    layer = layers[number]
    bias = layer.bias.astype(np.int64)
    if number == len(layers) - 1:
        if not (layer.scale.min() >= 2.0**-126 and layer.scale.max() < 2.0**96):
            raise InputError(
                f"native: cortex-m: expected logits between 1e-38 and 1e38 a step, found "
                f"{layer.scale.min():.3g} to {layer.scale.max():.3g}; scale the last layer"
            )
        return Outputs(bias, np.zeros_like(bias), layer.scale, 0)
    sums = 255 * np.abs(layer.weight.astype(np.int64)).sum(axis=1) + np.abs(bias)
    return outputs(layer, bias, int(sums.max()), f"fc{number + 1}")


def output_table(name: str, values: Outputs) -> str:
    """C's array of `lenet_output`."""
    # In fours, as vectors read them.
    bias, multiplier, scale = (
        np.pad(field, (0, -len(field) % 4))
        for field in (values.bias, values.multiplier, values.scale.view(np.uint32))
    )
    rows = zip(bias, multiplier, scale, strict=True)
    text = ",\n ".join(f"{{{row[0]}, {row[1]}, 0x{row[2]:08x}}}" for row in rows)
    return f"static const lenet_output {name}[{len(bias)}] = {{{text}}};\n"
