"""The convolutions of any member of the family, one after the other: shapes, memory, weights.

A stage reads its input with its padding round it and writes the next one's, so that nothing is
copied in between. Images are planar, (channel, y, x), as the caller has them; what a stage makes is
(y, x, channel), the channels padded to whole registers.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_export.formats.native.pack import LANES, PackedDense, dense_weight, pad
from lenet_export.network.layers import Convolution, Dense, Network, Shape
from lenet_export.network.steps import Array


@dataclass(frozen=True)
class Stage:
    """A convolution in its place.

    Attributes:
        layer: the convolution, and what follows it.
        shape: of its input, (channels, height, width), without padding.
        planar: whether the input is an image as the caller has it.
        padding_after: the padding of the next stage, whose input this one writes.
    """

    layer: Convolution
    shape: Shape
    planar: bool
    padding_after: int

    @property
    def outputs(self) -> int:
        """Output channels."""
        return len(self.layer.bias)

    @property
    def blocks(self) -> int:
        """Registers of 16 that the output channels of a pixel fill."""
        return -(-self.outputs // LANES)

    @property
    def result(self) -> Shape:
        """The shape of the output, pooled: (channels, height, width)."""
        return self.layer.shape_after(self.shape)

    @property
    def strides(self) -> tuple[int, int, int]:
        """Floats of the padded input from one channel, row and column to the next."""
        channels, height, width = self.shape
        wide = width + 2 * self.layer.padding
        if self.planar:
            return (height + 2 * self.layer.padding) * wide, wide, 1
        stride = -(-channels // LANES) * LANES
        return 1, wide * stride, stride

    @property
    def floats(self) -> int:
        """Floats of the padded input."""
        channels, height, _ = self.shape
        first, row, _ = self.strides
        return channels * first if self.planar else (height + 2 * self.layer.padding) * row

    @property
    def target(self) -> tuple[int, int, int]:
        """Where the output begins behind the next padding, and its strides of rows and columns."""
        stride, wide = self.blocks * LANES, self.result[2] + 2 * self.padding_after
        return self.padding_after * (wide + 1) * stride, wide * stride, stride

    @property
    def weight(self) -> Array:
        """Filters ``(blocks, channel * tap * 16)``: a register of outputs for each tap."""
        taps = pad(self.layer.weight.transpose(1, 2, 3, 0))  # (channel, y, x, padded output)
        blocks = taps.reshape(-1, self.blocks, LANES).transpose(1, 0, 2)
        return np.ascontiguousarray(blocks).reshape(self.blocks, -1)

    @property
    def bias(self) -> Array:
        """Biases ``(blocks, 16)``."""
        return pad(self.layer.bias).reshape(-1, LANES)


@dataclass(frozen=True)
class Staged:
    """A network as the generated code holds it.

    Attributes:
        stages: the convolutions.
        dense: the dense layers; the first reads pixels ``(y, x, channel)``.
        minimal: the stages, from 1, whose filters are Winograd's; see `minimal`.
    """

    stages: tuple[Stage, ...]
    dense: tuple[PackedDense, ...]
    minimal: frozenset[int] = frozenset()


def stage(network: Network) -> Staged:
    """Put each layer in its place.

    A last convolution whose filters are as large as its input is a dense layer, as in LeNet-5.
    """
    convolutions, dense, shapes = list(network.convolutions), list(network.dense), []
    shape: Shape = network.input_shape
    for layer in convolutions:
        shapes.append(shape)
        shape = layer.shape_after(shape)
    while len(convolutions) > 1 and _is_dense(convolutions[-1], shapes[-1]):
        layer, shape = convolutions.pop(), shapes.pop()
        flat = layer.weight.reshape(len(layer.bias), -1)
        dense.insert(0, Dense(flat, layer.bias, "".join(layer.after)))
    paddings = [*(layer.padding for layer in convolutions[1:]), 0]
    return Staged(
        tuple(
            Stage(layer, before, number == 0, following)
            for number, (layer, before, following) in enumerate(
                zip(convolutions, shapes, paddings, strict=True)
            )
        ),
        tuple(_packed(layer, shape if number == 0 else ()) for number, layer in enumerate(dense)),
    )


def _is_dense(layer: Convolution, shape: Shape) -> bool:
    return shape[1:] == (layer.size, layer.size) and not (layer.padding or layer.pooling)


def _packed(layer: Dense, features: Shape) -> PackedDense:
    weight: NDArray[Any] = (
        dense_weight(layer.weight, features[0], features[1] * features[2])
        if features
        else dense_weight(layer.weight)
    )
    return PackedDense(weight, pad(layer.bias), len(layer.bias), layer.activation)
