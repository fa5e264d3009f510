"""What a module takes and gives: the shape of its images, its classes, and whether they are logits.

Asked of the module itself, on black images, so that it may be written in any style.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lenet_export.network.reference import Reference
from lenet_runtime.artifact import LOG_PROBABILITIES, LOGITS, PROBABILITIES
from lenet_runtime.artifact.manifest import CHANNELS, CLASSES, image_problem
from lenet_runtime.errors import InputError

Shape = tuple[int, int, int]
SIDES = (32, 28)  # that are tried where no shape is given, best first
# Sides that an error looks through for one that it can name, usual ones first.
_SEARCHED = (64, 48, 96, 128, 224, 24, 20, 16, *range(8, 129))
# How far rows of probabilities may be from the sum 1 in float64, of a module that computes them.
_SUM = 1e-6


def find(reference: Reference, input_shape: object, static_batch: int | None) -> Shape:
    """The ``(C, H, W)`` of the images that a module takes.

    Args:
        reference: The module.
        input_shape: What the caller says; None to find it out: the channels are those of the
            first convolution, and height and width the first of `SIDES` that the module takes.
        static_batch: The only batch size to try; None to see that the module takes any.

    Raises:
        InputError: The module fails on it, or takes neither of the sides, or has a batch size of
            its own. The message names a shape or a batch size that it takes where there is one.
    """
    batch = static_batch or 2
    tried = _candidates(reference.module, input_shape)
    failures = []
    for shape in tried:
        try:
            _run(reference, shape, batch)
        except InputError as error:
            failures.append(error)
        else:
            if static_batch is None:
                _require_any_batch(reference, shape)
            return shape
    raise _refusal(reference, tried, failures[0], static_batch) from failures[0]


def _candidates(module: nn.Module, input_shape: object) -> list[Shape]:
    """What to try: what the caller says, or else `SIDES`."""
    if input_shape is None:
        channels = _channels(module)
        return [(channels, side, side) for side in SIDES]
    shape = tuple(input_shape) if isinstance(input_shape, Sequence) else (input_shape,)
    if problem := image_problem(shape):
        raise InputError(f"input_shape: {problem}")
    channels, height, width = shape
    return [(channels, height, width)]


def _require_any_batch(reference: Reference, shape: Shape) -> None:
    """Refuse a module that takes two images and no other number, as torch.export's may be."""
    for count in (1, 3):
        try:
            _run(reference, shape, count)
        except InputError as error:
            raise InputError(
                f"{error}; it takes 2 images and not {count}: pass the module that torch.export or "
                "a trace fixed the batch of, or static_batch=2"
            ) from error


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
            f"module: expected {CLASSES[0]} to {CLASSES[-1]:,} classes, found {count}"
            + ("; give each of two classes a logit of its own" if count == 1 else "")
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
    if channels not in CHANNELS:
        raise InputError(
            f"module: expected a first convolution of 1 or 3 channels, found {channels}"
        )
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


def _refusal(
    reference: Reference, tried: list[Shape], error: InputError, static_batch: int | None
) -> InputError:
    """The error for a module that takes none of the shapes, which names what it takes instead."""

    def takes(shape: Shape, count: int) -> bool:
        try:
            _run(reference, shape, count)
        except InputError:
            return False
        return True

    if any(
        weight.is_floating_point() and weight.dtype != torch.float32
        for weight in _weights(reference)
    ):
        return error  # which says so
    words = " and ".join(map(str, tried))
    if static_batch is None and takes(tried[0], 1):
        return InputError(f"{error}; it takes batches of one image alone: pass static_batch=1")
    first = tried[0][0]
    channels = [first] if len(tried) > 1 else sorted(CHANNELS, key=lambda count: count != first)
    for shape in ((c, side, side) for c in channels for side in (*SIDES, *_SEARCHED)):
        if takes(shape, static_batch or 2):
            return InputError(
                f"module: it takes images {shape}, and fails on {words}; pass input_shape={shape}"
            )
    return InputError(
        f"{error}; it fails on images {words}: if it takes others, pass input_shape=(C, H, W)"
    )


def _weights(reference: Reference) -> Iterator[torch.Tensor]:
    yield from reference.module.parameters()
    yield from reference.module.buffers()
