"""Packing: weights in the order in which the kernels read them, `weights.bin`.

Tensor cores read matrices as fragments: each of a warp's 32 lanes holds certain elements in its
registers (PTX ISA, "Matrix Fragments for mma.m16n8k16" and "mma.m16n8k8"). Here every fragment is
written as its lanes will hold it, so that a lane gets four registers with one load and a warp reads
512 bytes in a row. `layout.cuh` has the same offsets.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lenet_export.network import rounding
from lenet_export.network.layers import Network
from lenet_export.network.steps import Array
from lenet_runtime.errors import InputError
from lenet_runtime.images.preprocess import Preprocessing, pixel_table

Words = NDArray[np.uint32]
CHANNELS, OUTPUTS, PIXELS = 8, 16, 36  # conv1's and conv2's, padded; positions after pooling
USED = 6  # of conv1's channels, in the fp32 kernels
HIDDEN = (128, 96)
SIZE = (USED, OUTPUTS, 120, 84, 10)  # LeNet's outputs, layer by layer
LANES = np.arange(32)
GROUP, WORD = LANES // 4, LANES % 4  # of a lane in a fragment
# conv2's output channels in the order in which one lane stores them.
STORED = np.array([[2 * t, 2 * t + 1, 8 + 2 * t, 9 + 2 * t] for t in range(4)]).reshape(-1)
# 16-bit conv2: the two taps (y, x) that share a fragment; None is no tap, its weights are zero.
PAIRS: tuple[tuple[tuple[int, int] | None, tuple[int, int] | None], ...] = (
    ((0, 0), (2, 0)),
    ((0, 1), (2, 1)),
    ((0, 2), (2, 2)),
    ((1, 1), (1, 2)),
    ((1, 0), (1, 1)),
    ((1, 0), None),
    (None, (1, 2)),
)


@dataclass(frozen=True)
class Padded:
    """The network at the size that the kernels compute, zeros in what it lacks.

    Attributes:
        conv1: float32 ``(8, 3, 3)``.
        conv2: float32 ``(16, 8, 3, 3)``.
        dense: float32 ``(128, 576)``, ``(96, 128)`` and ``(16, 96)``; the first reads features in
            the order in which the kernels store them.
        biases: of the five layers.
    """

    conv1: Array
    conv2: Array
    dense: tuple[Array, Array, Array]
    biases: tuple[Array, ...]


def pad(network: Network) -> Padded:
    """Bring a network to the kernels' size.

    Raises:
        InputError: it is larger than LeNet in some layer, or has other layers.
    """
    all_biases = [network.conv1.bias, network.conv2.bias, *(d.bias for d in network.dense)]
    found = tuple(map(len, all_biases))
    if len(found) != 5 or any(a > b for a, b in zip(found, SIZE, strict=True)):
        raise InputError(
            f"cuda: expected two convolutions and three dense layers of at most {SIZE} outputs, "
            f"found {found}"
        )
    channels = found[1]
    first = np.zeros((HIDDEN[0], PIXELS, OUTPUTS), np.float32)
    weight = network.dense[0].weight.reshape(found[2], channels, PIXELS)
    first[: found[2], :, :channels] = weight.transpose(0, 2, 1)
    return Padded(
        _fill(network.conv1.weight[:, 0], (CHANNELS, 3, 3)),
        _fill(network.conv2.weight, (OUTPUTS, CHANNELS, 3, 3)),
        (
            first[:, :, STORED].reshape(HIDDEN[0], -1),
            _fill(network.dense[1].weight, (HIDDEN[1], HIDDEN[0])),
            _fill(network.dense[2].weight, (16, HIDDEN[1])),
        ),
        tuple(
            _fill(bias, (size,))
            for bias, size in zip(all_biases, (CHANNELS, OUTPUTS, *HIDDEN, 16), strict=True)
        ),
    )


def _fill(values: Array, shape: tuple[int, ...]) -> Array:
    return np.pad(values, [(0, b - a) for a, b in zip(values.shape, shape, strict=True)])


def pack(network: Network, precision: str, preprocessing: Preprocessing) -> bytes:
    """The bytes of ``weights.bin``, little-endian 32-bit words.

    Args:
        network: at most of LeNet's size.
        precision: ``fp32``, ``tf32``, ``fp16`` or ``bf16``.
        preprocessing: for the table of raw pixels.

    Raises:
        InputError: see `pad`; or a weight is beyond what fp16 can hold.
    """
    net = pad(network)
    words = _plain(net) if precision == "fp32" else _fragments(net, precision)
    words.append(_floats(pixel_table(preprocessing)))
    return np.concatenate(words).astype("<u4").tobytes()


def _plain(net: Padded) -> list[Words]:
    """For `Exact`: inputs first, so that neighbouring lanes read neighbouring outputs."""
    conv1 = np.zeros((USED, 12), np.float32)
    conv1[:, :9] = net.conv1[:USED].reshape(USED, 9)
    conv1[:, 9] = net.biases[0][:USED]
    wide = HIDDEN[0]
    return [
        _floats(conv1.reshape(-1)),
        _floats(net.conv2[:, :USED].transpose(1, 2, 3, 0).reshape(-1)),
        _floats(net.biases[1]),
        _floats(_by_position(net.dense[0]).T.reshape(-1)),
        _floats(net.biases[2]),
        _floats(_fill(net.dense[1], (wide, wide)).T.reshape(-1)),
        _floats(_fill(net.biases[3], (wide,))),
        _floats(_fill(net.dense[2], (16, wide)).T.reshape(-1)),
        _floats(net.biases[4]),
    ]


def _by_position(weight: Array) -> Array:
    """fc1's weights, each position's channels in their own order again."""
    plain = np.empty((len(weight), PIXELS, OUTPUTS), np.float32)
    plain[:, :, STORED] = weight.reshape(len(weight), PIXELS, OUTPUTS)
    return plain.reshape(len(weight), -1)


def _fragments(net: Padded, precision: str) -> list[Words]:
    """For tensor cores."""
    words = [
        _registers(_conv1(net.conv1, precision)),
        _pairs_twice(net.biases[0]),
        *(_registers(_conv2(net.conv2[n : n + 8], precision)) for n in (0, 8)),
        _pairs_twice(net.biases[1]),
    ]
    for weight, bias in zip(net.dense, net.biases[2:], strict=True):
        words += [_dense(weight, precision), _floats(bias)]
    return words


def step(precision: str) -> int:
    """k of one `mma` of this precision."""
    return 8 if precision == "tf32" else 16


def rounded(values: Array, precision: str) -> Words:
    """The bits of `values` in `precision`, one to a word; to nearest, as the kernels round.

    Raises:
        InputError: fp16 cannot hold them.
    """
    if precision == "tf32":  # halves away from zero
        bits = _floats(values)
        return np.asarray((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000), np.uint32)
    if precision == "bf16":
        return rounding.bfloat16(values).astype(np.uint32)
    with np.errstate(over="ignore"):
        halves = values.astype(np.float16)
    if not np.isfinite(halves).all():
        raise InputError(
            f"cuda: expected weights of at most 65504 for fp16, found {np.abs(values).max():g}; "
            "export another precision"
        )
    return halves.view(np.uint16).astype(np.uint32)


def fragment_a(matrix: Array, precision: str) -> Words:
    """A tile ``(16, k)`` as registers ``(steps, 4, 32)``, for one `mma` a step.

    Row 2g of the tile is row g of the fragment, and row 2g + 1 is row g + 8.
    """
    rows = np.array([2 * GROUP, 2 * GROUP + 1, 2 * GROUP, 2 * GROUP + 1])
    return _fragment(rounded(matrix, precision), rows, [0, 0, 1, 1], precision)


def fragment_b(matrix: Array, precision: str) -> Words:
    """A tile ``(8 columns, k)`` as registers ``(steps, 2, 32)``."""
    return _fragment(rounded(matrix, precision), np.array([GROUP, GROUP]), [0, 1], precision)


def _fragment(bits: Words, rows: NDArray[np.int64], halves: list[int], precision: str) -> Words:
    """Registers of a fragment: whose row it is, and which half of the step's k it holds."""
    tiles = bits.reshape(len(bits), -1, 2, step(precision) // 2)
    registers: list[Words] = []
    for row, half in zip(rows, halves, strict=True):
        values = tiles[row, :, half]  # (32, steps, half a step)
        if precision == "tf32":
            registers.append(values[LANES, :, WORD])
        else:
            pair = values[LANES, :, 2 * WORD], values[LANES, :, 2 * WORD + 1]
            registers.append(pair[0] | pair[1] << np.uint32(16))
    return np.stack(registers).transpose(2, 0, 1)


def _conv1(weight: Array, precision: str) -> Words:
    """Registers: a step of the 4x4 patch, an output of the 2x2 that are pooled, two of a tile."""
    tiles = []
    for y in range(2):
        for x in range(2):
            patch = np.zeros((CHANNELS, 4, 4), np.float32)
            patch[:, y : y + 3, x : x + 3] = weight
            tiles.append(fragment_b(patch.reshape(CHANNELS, 16), precision))
    return np.stack(tiles, axis=1).reshape(-1, 32)


def _conv2(weight: Array, precision: str) -> Words:
    """Registers of one tile of 8 output channels, two for each fragment of `Conv2`."""
    if precision == "tf32":
        taps = weight.transpose(0, 2, 3, 1).reshape(8, 9 * CHANNELS)
        registers = fragment_b(taps, precision)
    else:
        zero = np.zeros((8, CHANNELS), np.float32)
        halves = [zero if tap is None else weight[:, :, *tap] for pair in PAIRS for tap in pair]
        registers = fragment_b(np.concatenate(halves, axis=1), precision)
    flat = registers.reshape(-1, 32)
    return np.pad(flat, ((0, -len(flat) % 4), (0, 0)))


def _dense(weight: Array, precision: str) -> Words:
    """Fragments by tile of 16 outputs, then by step."""
    tiles = [
        _registers(fragment_a(tile, precision)) for tile in np.split(weight, len(weight) // 16)
    ]
    return np.concatenate(tiles)


def _registers(registers: Words) -> Words:
    """Registers ``(..., 32)`` so that each lane reads four of them at once."""
    return registers.reshape(-1, 4, 32).transpose(0, 2, 1).reshape(-1)


def _pairs_twice(bias: Array) -> Words:
    """A convolution's biases in pairs, each pair twice: one for either half of a tile's rows."""
    return _floats(np.repeat(bias.reshape(-1, 1, 2), 2, axis=1).reshape(-1))


def _floats(values: Array) -> Words:
    return np.ascontiguousarray(values, np.float32).view(np.uint32)
