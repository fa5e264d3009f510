"""A network's C in int8 for WebAssembly: weights in bytes, two inputs side by side.

The kernels are ``c/wasm_int8.c``; logits are those of `int8` to the bit, for the same reasons.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from lenet_export.formats.native.assembly import Program, array
from lenet_export.formats.native.int8_pack import ROWS, TILES, Int8, PackedInt8, pack
from lenet_export.formats.native.isa import Level
from lenet_export.formats.native.pack import LANES, offsets
from lenet_export.network import quantize
from lenet_export.network.layers import Network
from lenet_export.network.steps import Array

LEVEL = Level("wasm", "wasm", "dot products of int16 pairs where it has SIMD", ())
COLUMNS = 16  # of conv1's pooled output, 14 of which are used
_SPARE = 64  # bytes that a last, wide load may reach beyond an array


def program(network: Network, calibration: Array | None) -> Program:
    """The C of a network, quantised with the scales of normalised `calibration` digits."""
    assert calibration is not None
    packed = pack(quantize.quantize(network, quantize.calibrate(network, calibration)))
    starts, strides = layout(packed), [layer.stride for layer in packed.dense]
    pixel = _pixel(packed)
    sizes = {
        "ROWS": ROWS,
        "ROW": COLUMNS * pixel,
        "CHANNELS": packed.channels,
        "OUTPUTS": len(network.conv2.bias),
        "PIXEL": pixel,
        "PAIRS": 3 * pixel // 2,
        "BLOCKS": packed.features // LANES,
        "TILES": TILES,
        "WIDE": packed.dense[0].inputs // TILES**2,
        "MOST": max(layer.inputs for layer in packed.dense),
        "WIDEST": max(strides),
        "CODES": starts["codes"],
        "POOLED": starts["pooled"],
        "FEATURES": starts["x0"],
    }
    arrays = [
        f"    int16_t *const x{i} = (int16_t *)(void *)(work + {starts[f'x{i}']});\n"
        for i in range(len(strides))
    ]
    parts = {
        "sizes.h": "".join(f"#define {name} {size}\n" for name, size in sizes.items()),
        "constants.c": "".join(_constants(packed)),
        "arrays.c": "".join(arrays),
        "layers.c": "".join(_layers(packed)),
    }
    return Program(
        "int8", "wasm_int8", (LEVEL,), parts, "uint8_t", starts["end"], network,
        "All logits of an image with NaN or infinities are\n * NaN.",
    )  # fmt: skip


def layout(packed: PackedInt8) -> dict[str, int]:
    """Where one image's int16 arrays begin in the workspace, in bytes; ``end`` is its size."""
    sizes = {"codes": 2 * 32 * 32, "pooled": 2 * ROWS * COLUMNS * _pixel(packed)}
    sizes |= {f"x{i}": 2 * layer.inputs for i, layer in enumerate(packed.dense)}
    return offsets({name: size + _SPARE for name, size in sizes.items()}, 64)


def _pixel(packed: PackedInt8) -> int:
    """Values of a pixel between the convolutions: the channels, padded to an even number."""
    return packed.channels + packed.channels % 2


def _conv2(packed: PackedInt8) -> Int8:
    """conv2's taps ``(blocks, 3 * 3 * pixel / 2, 16 * 2)``, see `pairs`."""
    taps = packed.conv2[:, :, : _pixel(packed)]
    return pairs(taps.reshape(9 * _pixel(packed), -1, LANES).transpose(1, 0, 2))


def pairs(weight: Int8) -> Int8:
    """Weights ``(..., inputs, outputs)`` as ``(..., inputs / 2, outputs * 2)``."""
    *others, inputs, outputs = weight.shape
    grouped = weight.reshape(*others, inputs // 2, 2, outputs).swapaxes(-1, -2)
    return np.ascontiguousarray(grouped).reshape(*others, inputs // 2, 2 * outputs)


def _conv1(packed: PackedInt8) -> NDArray[np.int32]:
    """conv1's taps as int16 pairs ``(channels, 6)``: of each row the first two, then the third."""
    w = packed.conv1.astype(np.int64).reshape(-1, 3, 3)
    words = np.stack([(w[:, :, 0] & 0xFFFF) | (w[:, :, 1] << 16), w[:, :, 2] & 0xFFFF], axis=2)
    return words.reshape(-1, 6).astype(np.int32)


def _constants(packed: PackedInt8) -> Iterator[str]:
    yield array("lenet_input_scale", np.repeat(packed.input_scale, 4))
    yield "/* Of each row of a filter the first two taps, then the third, as pairs of int16. */\n"
    yield array("lenet_conv1", _conv1(packed))
    yield array("lenet_conv1_bias", packed.conv1_bias)
    yield array("lenet_conv1_scale", np.repeat(packed.conv1_scale[:, None], 4, axis=1))
    yield "/* [block][row of the filter, pair of columns and channels, output, of the pair] */\n"
    yield array("lenet_conv2", _conv2(packed).reshape(packed.features // LANES, -1))
    yield array("lenet_conv2_bias", packed.conv2_bias.reshape(-1, LANES))
    yield array("lenet_conv2_scale", packed.conv2_scale.reshape(-1, LANES))
    yield "/* Dense layers, [pair of inputs][output, of the pair]; first: (y, x, channel). */\n"
    for number, layer in enumerate(packed.dense):
        yield array(f"lenet_dense{number}", pairs(layer.weight))
        yield array(f"lenet_dense{number}_bias", layer.bias)
        yield array(f"lenet_dense{number}_scale", layer.scale)


def _layers(packed: PackedInt8) -> Iterator[str]:
    """One image through the dense layers."""
    for i, layer in enumerate(packed.dense):
        yield (
            f"        wasm_dense(x{i}, {layer.inputs}, lenet_dense{i}[0], lenet_dense{i}_bias, "
            f"sums, {layer.stride});\n"
        )
        if i == len(packed.dense) - 1:
            yield (
                f"        for (int v = 0; v < {layer.outputs}; v++)\n"
                f"            logits[LENET_LOGITS * i + (size_t)v] =\n"
                f"                (float)sums[v] * lenet_dense{i}_scale[v];\n"
            )
        else:
            yield (
                f"        for (int v = 0; v < {layer.stride}; v += 4)\n"
                f"            wasm_store_i16(x{i + 1} + v,\n"
                f"                           wasm_code(wasm_load_i4(sums + v), "
                f"lenet_dense{i}_scale + v));\n"
            )
