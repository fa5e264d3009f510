"""The parts of ``c/cortex/int8.c``: the quantised network in the order of its kernels.

Pixels are bytes; padding, normalising and rounding them is a table of 256 codes. The arithmetic is
that of `quantize`, to the bit, without a floating-point instruction (``c/cortex/rounding.c``). What
black makes of the convolutions is taken out of every code and put into the biases, so that both
convolutions skip black. conv2 is Winograd's F(2x2,3x3) (Lavin and Gray 2015), exact in integers
with four times the filters.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_export.formats.native.assembly import array
from lenet_export.formats.native.cortex_fixed import (
    Integers,
    Outputs,
    dense_outputs,
    output_table,
    outputs,
    pixel_codes,
    rounded,
)
from lenet_export.network.quantize import Quantized, QuantizedLayer
from lenet_runtime.errors import InputError
from lenet_runtime.images.preprocess import Preprocessing

ROWS, TILES, SIDE = 14, 6, 32
BLOCK = 8  # outputs of a dense layer that are summed at once
# Twice Lavin and Gray's G of F(2,3), in the order 1, 2, 0, 3; the sign of the last product changes
# with the input's.
_FILTER = np.array([[1, 1, 1], [1, -1, 1], [2, 0, 0], [0, 0, 2]])


def places(preprocessing: Preprocessing) -> dict[str, int]:
    """Sizes of what is read and pooled, by the words that the C has for them, in any precision."""
    return {
        "PADDING": preprocessing.padding,
        "ROWS": ROWS,
        "PIXEL_COLUMNS": 2 * ROWS + 2,
        "READ_COLUMNS": min(SIDE - preprocessing.padding, 2 * ROWS + 2),
        "TILES": TILES,
    }


def constants(quantized: Quantized, preprocessing: Preprocessing) -> dict[str, str]:
    """The generated parts of ``c/cortex/int8.c`` by name."""
    conv1, conv2, *rest = quantized.layers
    dense = tuple(rest)
    codes = pixel_codes(quantized, preprocessing)
    ink = codes - codes[0]
    if np.abs(ink).max() >= 2**15:
        raise InputError(
            "native: cortex-m: the calibration digits hold no ink as bright as white; calibrate "
            "with digits like those it will see"
        )
    first = outputs(conv1, _bias(conv1, np.full(1, codes[0])), 2**31 - 1, "conv1")
    black = rounded(first.bias, conv1.scale)
    filters, second, left = _winograd(conv2, black)
    channels, count = len(conv1.bias), len(conv2.bias)
    taps = conv1.weight[:, 0][:, :, [0, 1, 1, 2]].astype(np.int16)
    sizes = {
        **places(preprocessing),
        "CHANNELS": channels,
        "CHANNELS_EVEN": -(-channels // 2) * 2,
        "CHANNELS_FOUR": -(-channels // 4) * 4,
        "OUTPUTS": count,
        "CONV2_LEFT": left,
        "CONV2_SHIFT": second.shift,
        "CONV2_TAPS": -(-9 * channels // 16) * 16,
        "LONGEST": max(map(_inputs, dense)),
        "WIDEST": _widest(quantized),
        "LAST": f"lenet_dense{len(dense) - 1}_output",
    }
    after = rounded(second.bias >> (second.shift - left), conv2.scale)
    return {
        "sizes.h": "".join(f"#define {name} {size}\n" for name, size in sizes.items()),
        "constants.c": "".join(
            [
                "/* Codes of pixels, less black's. */\n",
                array("lenet_pixel", ink.astype(np.int16)),
                output_table("lenet_conv1_output", first),
            ]
        ),
        "pairs_constants.c": "".join(
            [
                array("lenet_conv1_blacks", black.astype(np.uint8)),
                "/* [channel][row of the filter][(a, b), (b, c)] */\n",
                array("lenet_conv1_filters", taps, "lenet_number"),
                "/* [output][position][channel] */\n",
                array("lenet_conv2_filters", filters.reshape(-1), "lenet_number"),
                output_table("lenet_conv2_output", second),
                array("lenet_black", after.astype(np.uint8)),
                *_dense_pairs(dense, count),
            ]
        ),
        "bytes_constants.c": "".join(_bytes(quantized, black, second, after)),
        "arrays.c": "".join(
            f"    uint8_t x{i}[{_inputs(layer)}];\n" for i, layer in enumerate(dense)
        ),
        "layers.c": "".join(_layers(dense)),
    }


def _bytes(
    quantized: Quantized, before: Integers, second: Outputs, after: Integers
) -> Iterator[str]:
    """The parts for vectors of bytes.

    Args:
        quantized: the network.
        before: what black becomes of after conv1.
        second: conv2's outputs.
        after: what black becomes of after conv2.
    """
    conv1, conv2, *dense = quantized.layers
    taps = conv1.weight.reshape(len(conv1.bias), 9).T
    yield "/* [tap][channel] */\n"
    padded = np.pad(taps, ((0, 0), (0, -taps.shape[1] % 4)))
    yield array("lenet_conv1_blacks", (before - 128).astype(np.int8))
    yield array("lenet_conv1_taps", np.ascontiguousarray(padded).astype(np.int16))
    rows = conv2.weight.transpose(0, 2, 3, 1).reshape(len(conv2.bias), -1)
    yield "/* [two outputs][sixteen of (row, column, channel)][output] */\n"
    yield _blocks("lenet_conv2_taps", rows, 2)
    yield output_table("lenet_conv2_output", dataclasses.replace(second, bias=_signed(conv2)))
    yield array("lenet_black", (after - 128).astype(np.int8).view(np.uint8))
    yield "/* [four outputs][sixteen inputs][output]; the first's are (y, x, channel) */\n"
    for number, layer in enumerate(dense):
        weight = layer.weight
        if number == 0:
            grid = weight.reshape(len(weight), len(conv2.bias), -1)
            weight = grid.swapaxes(1, 2).reshape(len(weight), -1)
        yield _blocks(f"lenet_dense{number}", weight, 4)
        values = dataclasses.replace(dense_outputs(tuple(dense), number), bias=_signed(layer))
        yield output_table(f"lenet_dense{number}_output", values)


def _signed(layer: QuantizedLayer) -> Integers:
    """Biases for codes less 128."""
    weight = layer.weight.astype(np.int64).reshape(len(layer.bias), -1)
    bias: Integers = layer.bias + 128 * weight.sum(axis=1)
    return bias


def _blocks(name: str, weight: NDArray[np.signedinteger[Any]], size: int) -> str:
    """Weights ``(outputs, inputs)``: so many outputs side by side for every sixteen inputs."""
    count, inputs = weight.shape
    padded = np.pad(weight, ((0, -count % size), (0, -inputs % 16))).astype(np.int8)
    blocks = padded.reshape(-1, size, padded.shape[1] // 16, 16).swapaxes(1, 2)
    return array(name, np.ascontiguousarray(blocks).reshape(-1))


def workspace(quantized: Quantized) -> int:
    """The bytes of lenet_memory in ``c/cortex/pairs.c``; ``mve.c`` needs less."""
    channels, dense = len(quantized.layers[0].bias), quantized.layers[2:]
    even = channels + channels % 2
    rows = 4 * (4 * (2 * ROWS + 2) + 4 + 4 * ROWS * even + 16 + 16 * even)
    longest: int = max(map(_inputs, dense))
    return max(rows, 8 * (longest // 2 + 1)) + 4 * _widest(quantized) + sum(map(_inputs, dense))


def _widest(quantized: Quantized) -> int:
    return max(-(-len(layer.bias) // BLOCK) * BLOCK for layer in quantized.layers)


def _inputs(layer: QuantizedLayer) -> int:
    inputs: int = layer.weight.shape[1]
    return -(-inputs // 16) * 16


def _bias(layer: QuantizedLayer, black: Integers) -> Integers:
    """Biases of sums over codes less black's, a code for each input channel."""
    taps = layer.weight.astype(np.int64).reshape(len(layer.bias), len(black), -1).sum(axis=2)
    bias: Integers = layer.bias + taps @ black
    return bias


def _winograd(layer: QuantizedLayer, black: Integers) -> tuple[NDArray[np.int16], Outputs, int]:
    """conv2's filters ``(output, position, channel)``, its outputs, and by how many bits their sums
    are shifted when they are done."""
    weight = layer.weight.astype(np.int64)
    filters = np.einsum("ia,jb,ocab->oijc", _FILTER, _FILTER, weight)
    bias = 4 * _bias(layer, black)
    largest = int((4 * 255 * np.abs(filters).sum(axis=(1, 2, 3)) + np.abs(bias)).max())
    found = outputs(layer, bias, largest // 4, "conv2", 2)
    room = int(np.floor(np.log2((2**15 - 1) / max(1, np.abs(filters).max()))))
    fold = max(0, min(room, found.shift - 2))
    padded = np.pad(filters << fold, ((0, 0), (0, 0), (0, 0), (0, weight.shape[1] % 2)))
    return (
        padded.astype(np.int16),
        dataclasses.replace(found, bias=bias << fold),
        found.shift - 2 - fold,
    )


def _dense_pairs(layers: tuple[QuantizedLayer, ...], channels: int) -> Iterator[str]:
    yield "/* [block of eight outputs][pair of inputs][two outputs][input], see lenet_dense */\n"
    for number, layer in enumerate(layers):
        weight = layer.weight.astype(np.int64)
        if number == 0:
            grid = weight.reshape(len(weight), channels, TILES, TILES // 2, 2)
            weight = grid.transpose(0, 2, 3, 1, 4).reshape(len(weight), -1)
        count, inputs = weight.shape
        padded = np.pad(weight, ((0, -count % BLOCK), (0, inputs % 2)))
        _require_23_bits(padded, number)
        both = padded[0::2] + 256 * padded[1::2]  # of two outputs
        blocks = both.reshape(-1, BLOCK // 2, padded.shape[1] // 2, 2).transpose(0, 2, 1, 3)
        yield array(f"lenet_dense{number}", blocks.astype(np.int16).reshape(-1))
        yield output_table(f"lenet_dense{number}_output", dense_outputs(layers, number))


def _require_23_bits(weight: Integers, number: int) -> None:
    """Activations are 0 or more, so a sum lies between all negative and all positive weights."""
    positive, negative = np.maximum(weight, 0), np.maximum(-weight, 0)
    bound = 255 * max(positive.sum(axis=1).max(), negative.sum(axis=1).max())
    if bound >= 2**23:
        raise InputError(
            f"native: cortex-m: expected sums of fc{number + 1} below {2**23}, found weights that "
            f"reach {bound}, since most are large and of one sign; take --precision fp32"
        )


def _layers(layers: tuple[QuantizedLayer, ...]) -> Iterator[str]:
    """All dense layers of an image."""
    for i, layer in enumerate(layers):
        count, inputs = layer.weight.shape
        yield f"    lenet_dense(work, work->x{i}, {inputs}, lenet_dense{i}, {count});\n"
        if i < len(layers) - 1:
            shift = dense_outputs(layers, i).shift
            yield (
                f"    lenet_codes(sums, lenet_dense{i}_output, {shift}, work->x{i + 1}, {count}, "
                f"{_inputs(layers[i + 1])});\n"
            )
        else:
            yield f"    for (int i = 0; i < {count}; i++)\n        sums[i] += LAST[i].bias;\n"
    if len(layers) == 1:
        yield "    (void)lenet_codes;\n"  # compilers warn of what is not used
