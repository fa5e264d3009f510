"""What a module takes and gives: the shape of its images, its classes, and whether they are logits.

Asked of the module itself, on black images, so that it may be written in any style.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from torch import nn

from lenet_export.network.reference import Reference
from lenet_runtime.artifact import LOG_PROBABILITIES, LOGITS, PROBABILITIES
from lenet_runtime.artifact.manifest import CLASSES, image_problem
from lenet_runtime.errors import InputError

Shape = tuple[int, int, int]
SIDES = (32, 28)  # that are tried where no shape is given, best first
_SEARCHED = range(8, 129)  # sides that an error looks through for one that it can name
# How far rows of probabilities may be from the sum 1 in float64, of a module that computes them.
_SUM = 1e-6


def find(reference: Reference, input_shape: Iterable[int] | None, batch: int) -> Shape:
    """The ``(C, H, W)`` of the images that a module takes.

    Args:
        reference: The module.
        input_shape: What the caller says; None to find it out: the channels are those of the
            first convolution, and height and width the first of `SIDES` that the module takes.
        batch: Images to try with.

    Raises:
        InputError: The module fails on it, or takes neither of the sides. The message names a
            shape that it takes where there is one.
    """
    if input_shape is not None:
        shape = tuple(input_shape)
        if problem := image_problem(shape):
            raise InputError(f"input_shape: {problem}")
        given = (shape[0], shape[1], shape[2])
        _try(reference, given, batch)
        return given
    channels = _channels(reference.module)
    failures = []
    for side in SIDES:
        shape = channels, side, side
        try:
            _run(reference, shape, batch)
        except InputError as error:
            failures.append(error)
        else:
            return shape
    raise _refusal(reference, [(channels, side, side) for side in SIDES], failures[0], batch)


def classes(reference: Reference, shape: Shape, batch: int) -> int:
    """The number of classes of a module.

    Raises:
        InputError: its output is not float32 ``(N, K)``, or K is not from 2 to 1,000.
    """
    logits = _run(reference, shape, batch)
    if logits.dtype != np.float32:
        raise InputError(f"module: expected float32 logits, found {logits.dtype}")
    count = logits.shape[1]
    if count not in CLASSES:
        raise InputError(
            f"module: expected {CLASSES[0]} to {CLASSES[-1]:,} classes, found logits {logits.shape}"
        )
    return int(count)


def output_name(reference: Reference, images: NDArray[np.float32]) -> str:
    """What a module answers: probabilities, their logarithms, or logits.

    Seen by what it answers in float64: rows of numbers that are at least 0 with the sum 1, and
    logarithms of such. Softmax and log_softmax are so on all images, and logits on none.
    """
    values = reference.exact(images)
    if (values >= 0).all() and _sum_to_one(values):
        return PROBABILITIES
    if (values <= 0).all() and _sum_to_one(np.exp(values)):
        return LOG_PROBABILITIES
    return LOGITS


def _sum_to_one(rows: NDArray[np.float64]) -> bool:
    return bool((np.abs(rows.sum(axis=1) - 1) < _SUM).all())


def _channels(module: nn.Module) -> int:
    """The channels of the first convolution; 1 where there is none."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            channels = layer.in_channels
            break
    else:
        weights = (tensor for tensor in module.parameters() if tensor.ndim == 4)
        channels = next((tensor.shape[1] for tensor in weights), 1)
    if problem := image_problem((channels, *SIDES)):
        raise InputError(f"module: its first convolution takes {channels} channels; {problem}")
    return channels


def _run(reference: Reference, shape: Shape, batch: int) -> NDArray[np.float32]:
    """The module's answer to black images, which must be ``(N, K)``.

    Raises:
        InputError: it is not, or see `Reference`.
    """
    logits = reference.eager(np.zeros((batch, *shape), np.float32))
    if logits.ndim != 2 or len(logits) != batch:
        raise InputError(
            f"module: expected logits ({batch}, K) of {batch} images {shape}, found {logits.shape}"
        )
    return logits


def _try(reference: Reference, shape: Shape, batch: int) -> None:
    try:
        _run(reference, shape, batch)
    except InputError as error:
        raise _refusal(reference, [shape], error, batch) from error


def _refusal(reference: Reference, tried: list[Shape], error: InputError, batch: int) -> InputError:
    """The error for a module that takes none of the shapes, which names one that it takes."""
    channels = tried[0][0]
    others = [channels, *({1, 3} - {channels})] if len(tried) == 1 else [channels]
    for count in others:
        for side in (*SIDES, *_SEARCHED):
            shape = count, side, side
            try:
                _run(reference, shape, batch)
            except InputError:
                continue
            words = " and ".join(map(str, tried))
            return InputError(
                f"module: it fails on images {words}, and takes {shape}; pass input_shape={shape}"
            )
    if len(tried) > 1:
        words = " and ".join(f"{height}x{width}" for _, height, width in tried)
        return InputError(
            f"{error}; it failed on {words}: if it takes another size, pass input_shape=(C, H, W)"
        )
    return error
