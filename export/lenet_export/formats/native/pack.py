"""Packing: weights in the order and the domain in which the generated loops read them.

Convolutions are Winograd's minimal filters (Winograd 1980; Lavin and Gray 2015,
https://arxiv.org/abs/1509.09308): F(2,3) computes two neighbouring outputs of a 3-tap filter with
four multiplications instead of six, F(4,3) four with six instead of twelve. Filters are
transformed here, once, in float64.

conv1 uses F(2,3) along rows, conv2 F(4,3) down columns nested with F(2,3) along rows: 24
multiplications for 4x2 outputs instead of 72. On MNIST's test digits the logits are then 13 u (of
float32, see `lenet_runtime.parity`) from float64's, where eager's are 8; F(4,3) in both directions
would save another quarter of the multiplications and double that.
"""

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lenet_export.network import rounding
from lenet_export.network.layers import Network
from lenet_export.network.steps import Array
from lenet_runtime.errors import InputError

LANES = 16  # every width is padded to a multiple of it: the floats in the widest register
CHUNK = 32  # images that take turns at a block of dense weights; 16 and 64 are 1% slower
# Lavin and Gray's G of F(2,3), and of F(4,3) with the points 0, 1, -1, 2 and -2.
FILTER2 = np.array([[1, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]]) / [[1], [2], [2], [2]]
_ROWS4 = [[1, 0, 0], [-1, -1, -1], [-1, 1, -1], [1, 2, 4], [1, -2, 4], [0, 0, 1]]
FILTER4 = np.array(_ROWS4) / np.c_[[4, 6, 6, 24, 24, 1]]
POSITIONS = 24  # products of a tile of conv2: 6 down, 4 along
PIXELS = 36  # 6x6 after the second pooling

_T = TypeVar("_T", bound=np.generic)


@dataclass(frozen=True)
class PackedDense:
    """One dense layer.

    Attributes:
        weight: ``(padded inputs, padded outputs)``, input-major, zeros in the padding.
        bias: ``(padded outputs,)``.
        outputs: the outputs before padding.
        activation: what follows, see `Dense`.
    """

    weight: NDArray[Any]
    bias: NDArray[Any]
    outputs: int
    activation: str = ""

    @property
    def inputs(self) -> int:
        """The padded inputs."""
        return int(self.weight.shape[0])

    @property
    def stride(self) -> int:
        """The padded outputs."""
        return int(self.weight.shape[1])

    @property
    def bfloat16_pairs(self) -> NDArray[np.uint16]:
        """The weights as VDPBF16PS takes them: ``(inputs / 2, padded outputs * 2)``."""
        bits = rounding.bfloat16(self.weight).reshape(-1, 2, self.stride)
        return np.ascontiguousarray(bits.swapaxes(1, 2)).reshape(self.inputs // 2, -1)


@dataclass(frozen=True)
class Packed:
    """The network as the generated code holds it.

    Attributes:
        direct: which of the two convolutions multiply their filters as they are, and not
            Winograd's transforms of them.
        conv1: float32 ``(channels, 3, 4)``: row of the filter, F(2,3) along it. If direct
            ``(channels, 3, 3)``.
        conv1_bias: float32 ``(channels,)``.
        conv2: float32 ``(blocks of 16 outputs, channels, 24, 16)``: positions row by row. If
            direct ``(blocks, channels, 9, 16)``.
        conv2_bias: float32 ``(blocks, 16)``.
        dense: the dense layers; the first reads pixels ``(y, x, channel)``.
    """

    direct: tuple[bool, bool]
    conv1: Array
    conv1_bias: Array
    conv2: Array
    conv2_bias: Array
    dense: tuple[PackedDense, ...]

    @property
    def channels(self) -> int:
        """Channels between the convolutions."""
        return int(self.conv1.shape[0])

    @property
    def blocks(self) -> int:
        """Blocks of 16 channels after the second convolution."""
        return int(self.conv2.shape[0])


def pack(network: Network, direct: tuple[bool, bool] = (False, False)) -> Packed:
    """Transform, permute and pad all weights; `direct` as in `Packed`."""
    down, along = (np.eye(3), np.eye(3)) if direct[1] else (FILTER4, FILTER2)
    conv1 = network.conv1.weight[:, 0].astype(np.float64)
    if not direct[0]:
        conv1 = conv1 @ FILTER2.T
    weight = network.conv2.weight.astype(np.float64)
    conv2 = np.einsum("ia,jb,ocab->ijco", down, along, weight)
    outputs, channels = weight.shape[:2]
    blocks = pad(conv2).reshape(len(down) * len(along), channels, -1, LANES)
    blocks = blocks.transpose(2, 1, 0, 3)
    dense = (
        PackedDense(
            dense_weight(layer.weight, outputs if number == 0 else 0),
            pad(layer.bias),
            len(layer.bias),
            layer.activation,
        )
        for number, layer in enumerate(network.dense)
    )
    return Packed(
        direct,
        to_float32(conv1),
        network.conv1.bias,
        to_float32(blocks),
        pad(network.conv2.bias).reshape(-1, LANES),
        tuple(dense),
    )


def dense_weight(weight: NDArray[_T], channels: int = 0, pixels: int = PIXELS) -> NDArray[_T]:
    """A dense layer's weights ``(padded inputs, padded outputs)``.

    Args:
        weight: ``(outputs, inputs)``.
        channels: the channels of the features that the first layer reads; its inputs change from
            PyTorch's order (channel, y, x) to (y, x, padded channel).
        pixels: the pixels of a channel.
    """
    rows = weight.T
    if channels:
        columns = rows.reshape(channels, pixels, -1).transpose(1, 2, 0)
        rows = pad(columns).transpose(0, 2, 1).reshape(-1, len(weight))
    return np.ascontiguousarray(pad(pad(rows).T).T)


def offsets(sizes: dict[str, int], line: int) -> dict[str, int]:
    """Where arrays of these sizes begin, each at a cache line of its own; ``end`` is behind all."""
    starts, position = {}, 0
    for name, size in sizes.items():
        starts[name] = position
        position += -(-size // line) * line
    return starts | {"end": position}


def pad(values: NDArray[_T]) -> NDArray[_T]:
    """`values` with zeros at the end of the last axis, up to whole registers."""
    return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, -values.shape[-1] % LANES)])


def to_float32(values: NDArray[np.float64]) -> Array:
    """Transformed weights, rounded; raises `InputError` for what float32 cannot hold."""
    if np.abs(values).max(initial=0.0) > np.finfo(np.float32).max:
        raise InputError(
            "native: a convolution's weights are so large that Winograd's transform of them "
            "overflows float32; scale the layer down, or export another format"
        )
    return np.ascontiguousarray(values, dtype=np.float32)
