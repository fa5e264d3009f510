"""The parts of ``c/cortex/fp32.c``: the network's weights in the order of its kernels.

What black makes of a convolution is taken out of its outputs and put into the biases behind it, so
that both convolutions skip black.
"""

from collections.abc import Iterator

import numpy as np

from lenet_export.formats.native.assembly import array
from lenet_export.formats.native.cortex_int8 import ROWS, places
from lenet_export.network.layers import Network
from lenet_export.network.steps import Array
from lenet_runtime.images.preprocess import Preprocessing, pixel_table

BLOCK = 12  # outputs of a dense layer that are summed at once, in registers
_FOUR = 4  # outputs of conv2 at once


def workspace(network: Network) -> int:
    """The bytes of lenet_memory in ``c/cortex/fp32.c``."""
    channels = len(network.conv1.bias)
    return 4 * (4 * (2 * ROWS + 2) + 4 * channels * (ROWS + 1)) + 2 * 8 * _longest(network)


def constants(network: Network, preprocessing: Preprocessing) -> dict[str, str]:
    """The generated parts by name."""
    conv1, conv2 = network.conv1, network.conv2
    table = pixel_table(preprocessing).astype(np.float64)
    first = conv1.bias + table[0] * conv1.weight.astype(np.float64).sum(axis=(1, 2, 3))
    black = np.maximum(first.astype(np.float32), np.float32(0))
    taps = conv2.weight.astype(np.float64).sum(axis=(2, 3))
    second = conv2.bias + taps @ black.astype(np.float64)
    last = len(network.dense) - 1
    sizes = {
        **places(preprocessing),
        "CHANNELS": len(conv1.bias),
        "OUTPUTS": len(conv2.bias),
        "BLOCK": BLOCK,
        "LONGEST": _longest(network),
        "LAST_LIST": f"work->lists[{last % 2}]",
        "LAST_END": f"end{last}",
        "LAST_WEIGHTS": f"lenet_dense{last}",
        "LAST_INPUTS": network.dense[last].weight.shape[1],
        "LAST_BIAS": f"lenet_dense{last}_bias",
    }
    return {
        "sizes.h": "".join(f"#define {name} {size}\n" for name, size in sizes.items()),
        "constants.c": "".join(
            [
                "/* Pixels, normalised, less black. */\n",
                array("lenet_pixel", (table - table[0]).astype(np.float32)),
                array("lenet_conv1", conv1.weight[:, 0]),
                array("lenet_conv1_bias", first.astype(np.float32)),
                array("lenet_conv1_black", black),
                "/* [four outputs][row of the filter][channel][output][column] */\n",
                array("lenet_conv2", _conv2(conv2.weight)),
                array("lenet_conv2_bias", second.astype(np.float32)),
                "/* [block of twelve outputs][input][output]; the first's are (y, x, channel) */\n",
                *_dense(network),
            ]
        ),
        "layers.c": "".join(_layers(network)),
    }


def _longest(network: Network) -> int:
    return max(int(layer.weight.shape[1]) for layer in network.dense)


def _conv2(weight: Array) -> Array:
    padded = np.pad(weight, ((0, -len(weight) % _FOUR), (0, 0), (0, 0), (0, 0)))
    fours = padded.reshape(-1, _FOUR, *weight.shape[1:])
    return np.ascontiguousarray(fours.transpose(0, 3, 2, 1, 4)).reshape(-1)


def _dense(network: Network) -> Iterator[str]:
    channels = len(network.conv2.bias)
    for number, layer in enumerate(network.dense):
        weight = layer.weight
        if number == 0:
            weight = weight.reshape(len(weight), channels, -1).swapaxes(1, 2)
            weight = weight.reshape(len(weight), -1)
        missing = -len(weight) % BLOCK
        blocks = np.pad(weight, ((0, missing), (0, 0))).reshape(-1, BLOCK, weight.shape[1])
        yield array(f"lenet_dense{number}", np.ascontiguousarray(blocks.swapaxes(1, 2)).reshape(-1))
        yield array(f"lenet_dense{number}_bias", np.pad(layer.bias, (0, missing)))


def _layers(network: Network) -> Iterator[str]:
    """All dense layers of an image but the last."""
    for i, layer in enumerate(network.dense[:-1]):
        count, inputs = layer.weight.shape
        yield (
            f"    const lenet_entry *const end{i + 1} =\n        lenet_layer(work->lists[{i % 2}], "
            f"end{i}, lenet_dense{i}, {inputs}, lenet_dense{i}_bias,\n"
            f"                    {count}, work->lists[{(i + 1) % 2}]);\n"
        )
