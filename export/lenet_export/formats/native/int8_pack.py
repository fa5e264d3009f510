"""Packing of the quantised network: bytes in the order in which the int8 kernels read them."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_export.formats.native.pack import (
    CHUNK,
    FILTER2,
    LANES,
    PackedDense,
    dense_weight,
    offsets,
    pad,
)
from lenet_export.network.quantize import Quantized, QuantizedLayer
from lenet_export.network.steps import Array

ROWS = 14  # of conv1's pooled output, those that conv2's pooling reaches
COLUMNS = 16  # of the same, in lanes; 14 of them are used
PLANE = 4 * COLUMNS  # bytes of a row of a group of channels, at most
TILES = 6  # a side of the second pooling's output
TURN = 32  # images that take turns at a vector of dense weights
_FOUR_COLUMNS = ((0, 0), (0, 1), (0, 0), (0, 0))  # for np.pad, of a filter's three
_PADDING = 64  # bytes that a last, wide load or store may reach beyond an array

Int8 = NDArray[np.int8]
Int16 = NDArray[np.int16]
Int32 = NDArray[np.int32]


@dataclass(frozen=True)
class PackedInt8Dense(PackedDense):
    """One dense layer in bytes: weights int8, biases int32.

    Attributes:
        scale: float32 ``(padded outputs,)``.
    """

    scale: Array = field(kw_only=True)


@dataclass(frozen=True)
class PackedInt8:
    """The network as the generated int8 code holds it.

    Attributes:
        input_scale: see `Quantized`.
        channels: channels between the convolutions.
        conv1: int16 ``(channels padded to 2, 3, 3)``.
        conv1_bias: int32 ``(channels padded to 2,)``.
        conv1_scale: float32 ``(channels padded to 2,)``.
        conv2: int8 ``(3, 3, channels padded to 4, padded outputs)``.
        conv2_bias: int32 ``(padded outputs,)``.
        conv2_scale: float32 ``(padded outputs,)``.
        dense: the dense layers; the first reads pixels ``(y, x, channel)``.
    """

    input_scale: np.float32
    channels: int
    conv1: Int16
    conv1_bias: Int32
    conv1_scale: Array
    conv2: Int8
    conv2_bias: Int32
    conv2_scale: Array
    dense: tuple[PackedInt8Dense, ...]

    @property
    def features(self) -> int:
        """Padded channels after the second convolution."""
        return int(self.conv2.shape[-1])

    def planes(self, group: int) -> int:
        """Groups of channels between the convolutions."""
        return -(-self.channels // group)

    @property
    def narrow(self) -> bool:
        """Whether the last group of four has two channels at most, so that bytes lie by twos."""
        return self.channels % 4 in (1, 2)

    @property
    def conv2_bytes(self) -> Int8:
        """conv2's taps by four: int8 ``(3, dots, outputs * 4)``; a row of the filter, group by
        group, its three columns. A narrow group has the first two and the third."""
        whole = self.channels // 4 if self.narrow else self.planes(4)
        taps = self.conv2.transpose(0, 2, 1, 3)  # row, channel, column, output
        rows = taps[:, : 4 * whole].reshape(3, whole, 4, 3, self.features)
        rows = rows.swapaxes(2, 3).reshape(3, 12 * whole, self.features)
        if self.narrow:
            last = np.pad(self.conv2[:, :, 4 * whole : 4 * whole + 2], _FOUR_COLUMNS)
            rows = np.concatenate([rows, last.reshape(3, 8, self.features)], axis=1)
        return grouped(rows, 4)

    @property
    def conv1_pairs(self) -> Int16:
        """conv1's taps two by two: int16 ``(padded channels, 7, 2)``.

        First and second tap of each row; then the third taps: of rows 0 and 1, of row 2, of
        rows 1 and 2, and of row 0.
        """
        third, zero = self.conv1[:, :, 2].T, np.zeros(len(self.conv1), np.int16)
        pairs = [(self.conv1[:, y, 0], self.conv1[:, y, 1]) for y in range(3)]
        pairs += [(third[0], third[1]), (third[2], zero), (third[1], third[2]), (third[0], zero)]
        return np.ascontiguousarray(np.array(pairs).transpose(2, 0, 1))

    @property
    def conv2_minimal(self) -> Int16:
        """conv2's filters, four times F(2,3)'s both ways: int16 ``(16, planes, outputs * 2)``.

        The signs of the last position, down and along, are turned, so that sums of outputs need
        no difference for it.
        """
        filters = np.rint(2 * FILTER2).astype(np.int64) * [[1], [1], [1], [-1]]
        weight = np.einsum("ia,jb,abco->ijco", filters, filters, self.conv2.astype(np.int64))
        even = weight[:, :, : 2 * self.planes(2)].reshape(16, 2 * self.planes(2), -1)
        return grouped(even.astype(np.int16), 2)

    def layout(self) -> dict[str, int]:
        """Where a chunk's arrays begin in the workspace, in bytes; ``end`` is its size."""
        plane = self.planes(2) * PLANE  # bytes of a row of pooled codes, at most
        sizes = {
            "codes": 2 * 32 * 32,
            "pooled": ROWS * plane,
            "tiles": TILES * 12 * plane,
            "sums": 4 * TURN * max(layer.stride for layer in self.dense),
        }
        for i, layer in enumerate(self.dense):
            codes = CHUNK * layer.inputs if i == 0 else TURN * self.dense[i - 1].stride
            sizes[f"x{i}"] = 2 * codes
        return offsets({name: size + _PADDING for name, size in sizes.items()}, 64)


def pack(quantized: Quantized) -> PackedInt8:
    """Permute and pad all codes."""
    conv1, conv2, *dense = quantized.layers
    outputs, channels = conv2.weight.shape[:2]
    taps = np.pad(conv2.weight.transpose(2, 3, 1, 0), ((0, 0), (0, 0), (0, -channels % 4), (0, 0)))
    even = (0, channels % 2)
    return PackedInt8(
        quantized.input_scale,
        channels,
        np.pad(conv1.weight[:, 0], (even, (0, 0), (0, 0))),
        np.pad(conv1.bias, even),
        np.pad(conv1.scale, even),
        pad(taps).astype(np.int8),
        pad(conv2.bias),
        pad(conv2.scale),
        tuple(_dense(layer, outputs if i == 0 else 0) for i, layer in enumerate(dense)),
    )


def _dense(layer: QuantizedLayer, channels: int) -> PackedInt8Dense:
    """A dense layer; see `dense_weight` for `channels`."""
    weight = dense_weight(layer.weight, channels)
    # Rows of an odd number of cache lines: those of even ones crowd into some of a cache's sets.
    lines = weight.shape[1] // LANES | 1
    weight, bias, scale = (
        np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, LANES * lines - values.shape[-1])])
        for values in (weight, layer.bias, layer.scale)
    )
    return PackedInt8Dense(weight, bias, len(layer.bias), scale=scale)


def grouped(weight: NDArray[Any], group: int) -> NDArray[Any]:
    """Weights ``(..., inputs, outputs)`` as dot products take them, `group` inputs side by side:
    ``(..., inputs / group, outputs * group)``, int8 for groups of 4 and int16 for those of 2."""
    *others, inputs, outputs = weight.shape
    apart = weight.reshape(*others, inputs // group, group, outputs).swapaxes(-1, -2)
    kind = np.int8 if group == 4 else np.int16
    return np.ascontiguousarray(apart, kind).reshape(*others, inputs // group, group * outputs)
