"""Quantisation: the network's weights, biases and scales as integers, with scales from digits.

Affine quantisation as in Jacob et al. 2018 (https://arxiv.org/abs/1712.05877), with every zero
point 0: activations follow a ReLU, so they are unsigned; weights are symmetric, with a scale for
each output channel. Codes times scale give the value:

    input      int16   the scale reaches to `INPUT_HEADROOM` times the largest calibration pixel
    conv1      int16 weights; its output and every later activation uint8
    others     int8 weights
    sums       int32, exact whatever the order; so each instruction set has the same, to the bit
    biases     int32, in the scale of the sums they are added to

The input has 16 bits because it may hold values far from a digit's, and because the first layer's
error goes through all others; the multiplications that it takes are few.
"""

from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  torch's own name for it, in all its tutorials
from numpy.typing import NDArray

from lenet_export.network.layers import Array, Convolution, Dense, Network
from lenet_export.proof import mnist_batch
from lenet_runtime.errors import InputError
from lenet_runtime.images.preprocess import Preprocessing

# Digits lie between -0.42 and 2.82; normalised noise may reach 5 and must not be cut off.
INPUT_HEADROOM = 4.0
# The largest calibration activation is code 255 / HEADROOM. Tried on the 59,750 training digits
# that do not calibrate (logits off at most / in the mean square, answers that flip):
#     0.9: 1.38 / 0.087, 3    1: 0.94 / 0.072, 1    1.125: 0.46 / 0.076, 3    1.25: 0.26 / 0.080, 4
# What is cut off makes the largest errors, coarse steps all others. On 18,000 of them, the 99.9th
# and 99.99th percentiles (2.80 / 1.28 at most) cut off too much; scales of the least mean square
# error of activations come within 8% of the maximum's.
HEADROOM = 1.125
_CHUNK = 1000
INPUT_LIMIT, ACTIVATION_LIMIT, WEIGHT_LIMIT = 2**15, 255, 127


@dataclass(frozen=True)
class Ranges:
    """Largest magnitudes that calibration met.

    Attributes:
        pixel: the largest magnitude in the normalised input.
        activations: the largest values after the ReLU and pooling of each layer but the last.
    """

    pixel: float
    activations: tuple[float, ...]


@dataclass(frozen=True)
class QuantizedLayer:
    """A convolution or dense layer; its output code is ``rint(float32(sum) * scale)``, clipped.

    Attributes:
        weight: integer codes in the shape of the network's weight.
        bias: int32 ``(outputs,)``.
        scale: float32 ``(outputs,)``; the last layer's sums times its scale are the logits.
    """

    weight: NDArray[np.signedinteger[Any]]
    bias: NDArray[np.int32]
    scale: Array


@dataclass(frozen=True)
class Quantized:
    """The network in integers.

    Attributes:
        input_scale: float32; a pixel's code is ``rint(pixel * input_scale)``, clipped to int16.
        layers: conv1, conv2 and the dense layers.
    """

    input_scale: np.float32
    layers: tuple[QuantizedLayer, ...]


def calibration_digits() -> NDArray[np.uint8]:
    """250 real digits ``(250, 28, 28)`` of MNIST's *training* set, none of its test set.

    The first 25 of each class, in the order of the training set (LeCun et al., 1998);
    written by ``python -m lenet_deploy.training.bundle calibration``.
    """
    resource = files("lenet_export") / "bundled" / "calibration.npz"
    with resource.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        images: NDArray[np.uint8] = arrays["images"]
    return images


def calibration_batch(
    precision: str,
    images: NDArray[np.uint8] | None,
    preprocessing: Preprocessing,
    image_shape: tuple[int, int, int],
) -> Array | None:
    """Normalised digits ``(N, C, H, W)`` to calibrate int8 with; None for other precisions.

    Args:
        precision: the precision of the export.
        images: training digits, uint8 ``(N, 28, 28)``; None for `calibration_digits`.
        preprocessing: how pixels become the network's input.
        image_shape: the network's ``(C, H, W)``.

    Raises:
        InputError: another precision came with digits, or they are not uint8 ``(N, 28, 28)``
            with N at least 1.
    """
    if precision != "int8":
        if images is not None:
            raise InputError(f"calibration: int8 alone is calibrated, found precision {precision}")
        return None
    if images is None:
        images = calibration_digits()
    if (
        not isinstance(images, np.ndarray)
        or images.dtype != np.uint8
        or images.shape[1:] != (28, 28)
        or not len(images)
    ):
        found = f"{images.dtype} {images.shape}" if isinstance(images, np.ndarray) else type(images)
        raise InputError(f"calibration: expected uint8 digits (N, 28, 28), found {found}")
    return mnist_batch(images, preprocessing, image_shape)


def calibrate(network: Network, images: Array) -> Ranges:
    """The largest activations of a network on normalised images ``(N, 1, 32, 32)``.

    Raises:
        InputError: one is not finite: the network overflows on the calibration digits.
    """
    chunks = [images[i : i + _CHUNK] for i in range(0, len(images), _CHUNK)]
    with torch.inference_mode():
        largest = [_largest(network, torch.tensor(chunk)) for chunk in chunks]
    pixel, *activations = (max(values) for values in zip(*largest, strict=True))
    ranges = Ranges(pixel, tuple(activations))
    if not np.isfinite((pixel, *activations)).all():
        raise InputError(f"int8: expected finite activations in calibration, found {ranges}")
    return ranges


def _largest(network: Network, x: torch.Tensor) -> list[float]:
    largest = [float(x.abs().max())]
    for convolution in (network.conv1, network.conv2):
        weight, bias = torch.tensor(convolution.weight), torch.tensor(convolution.bias)
        x = F.max_pool2d(F.relu(F.conv2d(x, weight, bias)), 2)
        largest.append(float(x.max()))
    x = x.flatten(1)
    for layer in network.dense[:-1]:
        x = F.relu(F.linear(x, torch.tensor(layer.weight), torch.tensor(layer.bias)))
        largest.append(float(x.max()))
    return largest


def quantize(network: Network, ranges: Ranges) -> Quantized:
    """Round weights and biases to codes."""
    step = INPUT_HEADROOM * (ranges.pixel or 1.0) / INPUT_LIMIT
    input_scale = np.float32(1 / step)
    # A layer that calibration found silent may have any scale.
    steps = [HEADROOM * (most or 1.0) / ACTIVATION_LIMIT for most in ranges.activations]
    layers = []
    parts: list[Convolution | Dense] = [network.conv1, network.conv2, *network.dense]
    for number, layer in enumerate(parts):
        inputs = INPUT_LIMIT if number == 0 else ACTIVATION_LIMIT
        limit = INPUT_LIMIT - 1 if number == 0 else WEIGHT_LIMIT
        following = steps[number] if number < len(steps) else 1.0
        layers.append(_layer(layer.weight, layer.bias, (step, following), inputs, limit))
        step = following
    return Quantized(input_scale, tuple(layers))


def _layer(
    weight: Array, bias: Array, steps: tuple[float, float], inputs: int, limit: int
) -> QuantizedLayer:
    """One layer in codes.

    Args:
        weight: ``(outputs, ...)``.
        bias: ``(outputs,)``.
        steps: the values that one step of the input's and of the output's codes stands for.
        inputs: the largest code of the input.
        limit: the largest code of a weight.
    """
    rows = weight.astype(np.float64).reshape(len(weight), -1)
    wide = bias.astype(np.float64)
    largest, total = np.abs(rows).max(axis=1), np.abs(rows).sum(axis=1)
    # As fine as the codes allow, and no finer than the int32 sums do, after rounding too.
    room = 2**31 - 1 - inputs * (rows.shape[1] + 1)
    scale = np.maximum(largest / limit, (inputs * total + np.abs(wide) / steps[0]) / room)
    scale[scale == 0] = 1.0
    codes = np.rint(rows / scale[:, None]).reshape(weight.shape)
    dtype = np.int16 if limit > WEIGHT_LIMIT else np.int8
    sums = np.rint(wide / (scale * steps[0]))
    return QuantizedLayer(
        codes.astype(dtype),
        sums.astype(np.int32),
        (scale * steps[0] / steps[1]).astype(np.float32),
    )
