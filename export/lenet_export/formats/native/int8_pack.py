"""Packing of the quantised network: bytes in the order in which the int8 kernels read them."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lenet_export.formats.native.pack import CHUNK, LANES, PackedDense, dense_weight, offsets, pad
from lenet_export.network.quantize import Quantized, QuantizedLayer
from lenet_export.network.steps import Array

ROWS = 14  # of conv1's pooled output, those that conv2's pooling reaches
COLUMNS = 16  # of the same, in lanes; 14 of them are used
TILES = 6  # a side of the second pooling's output
_PADDING = 64  # bytes that a last, wide load or store may reach beyond an array

Int8 = NDArray[np.int8]
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
        conv1: int16 ``(channels, 9)``.
        conv1_bias: int32 ``(channels,)``.
        conv1_scale: float32 ``(channels,)``.
        conv2: int8 ``(blocks of 16 outputs, 3, 3 * pixel, 16)``: row, then column and channel.
        conv2_bias: int32 ``(blocks, 16)``.
        conv2_scale: float32 ``(blocks, 16)``.
        dense: the dense layers; the first reads pixels ``(y, x, channel)``.
    """

    input_scale: np.float32
    conv1: NDArray[np.int16]
    conv1_bias: Int32
    conv1_scale: Array
    conv2: Int8
    conv2_bias: Int32
    conv2_scale: Array
    dense: tuple[PackedInt8Dense, ...]

    @property
    def channels(self) -> int:
        """Channels between the convolutions."""
        return int(self.conv1.shape[0])

    @property
    def pixel(self) -> int:
        """Bytes of a pixel between the convolutions: the channels, padded to an even number."""
        return self.channels + self.channels % 2

    @property
    def registers(self) -> int:
        """Registers of 64 bytes that a row of pooled pixels fills."""
        return -(-COLUMNS * self.pixel // 64)

    @property
    def row(self) -> int:
        """Bytes from one row of pooled pixels to the next."""
        return 64 * self.registers

    @property
    def dots(self) -> int:
        """Dot products of four bytes that a row of conv2's filter takes."""
        return -(-3 * self.pixel // 4)

    @property
    def blocks(self) -> int:
        """Blocks of 16 channels after the second convolution."""
        return int(self.conv2.shape[0])

    @property
    def conv1_pairs(self) -> Int32:
        """conv1's taps two by two as VPDPWSSD takes them: int32 ``(channels, 7)``.

        First and second tap of each row; then the third taps: of rows 0 and 1, of row 2, of
        rows 1 and 2, and of row 0.
        """
        w = self.conv1.astype(np.int64).reshape(-1, 3, 3)
        zero = np.zeros(len(w), np.int64)
        pairs = [(w[:, y, 0], w[:, y, 1]) for y in range(3)]
        third = w[:, :, 2].T
        pairs += [(third[0], third[1]), (third[2], zero), (third[1], third[2]), (third[0], zero)]
        words = np.stack([(low & 0xFFFF) | (high << 16) for low, high in pairs], axis=1)
        return words.astype(np.int32)

    @property
    def conv2_bytes(self) -> Int8:
        """conv2's taps as VPDPBUSD takes them: int8 ``(blocks, 3, dots, 16 * 4)``."""
        padding = 4 * self.dots - 3 * self.pixel
        return fours(np.pad(self.conv2, ((0, 0), (0, 0), (0, padding), (0, 0))))[:, :, :, 0]

    @property
    def interleave(self) -> tuple[NDArray[np.uint16], NDArray[np.uint32]]:
        """How a row's channels, four by four in dwords, become pixels of `pixel` bytes.

        Indices of 16-bit words ``(registers, sources, 32)`` and masks ``(registers, sources)``.
        """
        sources = -(-self.channels // 4)
        indices = np.zeros((self.registers, sources, 32), np.uint16)
        masks = np.zeros((self.registers, sources), np.uint32)
        for word in range(COLUMNS * self.pixel // 2):
            column, channel = divmod(2 * word, self.pixel)
            register, lane = divmod(word, 32)
            source = channel // 4
            indices[register, source, lane] = 2 * column + channel % 4 // 2
            masks[register, source] |= np.uint32(1 << lane)
        return indices, masks

    def layout(self) -> dict[str, int]:
        """Where a chunk's arrays begin in the workspace, in bytes; ``end`` is its size."""
        sizes = {
            "codes": 8 * 32 * 32,  # the portable kernels hold them as double
            "pooled": ROWS * self.row,
        } | {f"x{i}": CHUNK * layer.inputs for i, layer in enumerate(self.dense)}
        return offsets({name: size + _PADDING for name, size in sizes.items()}, 64)


def pack(quantized: Quantized) -> PackedInt8:
    """Permute and pad all codes."""
    conv1, conv2, *dense = quantized.layers
    outputs, channels = conv2.weight.shape[:2]
    taps = np.zeros((3, 3, channels + channels % 2, outputs), np.int8)
    taps[:, :, :channels] = conv2.weight.transpose(2, 3, 1, 0)
    blocks = pad(taps).reshape(3, 3 * taps.shape[2], -1, LANES).transpose(2, 0, 1, 3)
    return PackedInt8(
        quantized.input_scale,
        conv1.weight.reshape(channels, 9).astype(np.int16),
        conv1.bias,
        conv1.scale,
        np.ascontiguousarray(blocks),
        pad(conv2.bias).reshape(-1, LANES),
        pad(conv2.scale).reshape(-1, LANES),
        tuple(_dense(layer, outputs if i == 0 else 0) for i, layer in enumerate(dense)),
    )


def _dense(layer: QuantizedLayer, channels: int) -> PackedInt8Dense:
    """A dense layer; see `dense_weight` for `channels`."""
    weight = dense_weight(layer.weight, channels)
    return PackedInt8Dense(weight, pad(layer.bias), len(layer.bias), scale=pad(layer.scale))


def fours(weight: Int8) -> Int8:
    """Weights ``(..., inputs, outputs)`` as VPDPBUSD takes them, four inputs side by side:
    ``(..., inputs / 4, outputs / 16, 16 * 4)``."""
    *others, inputs, outputs = weight.shape
    grouped = weight.reshape(*others, inputs // 4, 4, outputs // LANES, LANES)
    return np.ascontiguousarray(np.moveaxis(grouped, -3, -1)).reshape(
        *others, inputs // 4, outputs // LANES, 4 * LANES
    )


def halves(weight: Int8) -> NDArray[np.int16]:
    """Weights ``(..., outputs)`` as the portable kernels take them: as int16, and of each eight
    outputs the first four and the last four in turn."""
    eights = weight.astype(np.int16).reshape(*weight.shape[:-1], -1, 2, 4)
    return np.ascontiguousarray(eights.swapaxes(-1, -2)).reshape(weight.shape)
