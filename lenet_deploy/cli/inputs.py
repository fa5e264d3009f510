"""What `lenet-deploy predict` classifies: pictures, files of arrays, stdin and bundled digits."""

import io
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lenet_deploy import matching
from lenet_runtime.errors import InputError
from lenet_runtime.images.digits import load_digits
from lenet_runtime.images.files import (
    MAX_BYTES,
    is_array_file,
    is_picture,
    read_arrays,
    read_digit,
)
from lenet_runtime.images.pictures import DigitImage
from lenet_runtime.images.preprocess import Preprocessing, to_pixels


@dataclass(frozen=True, eq=False)
class Digit:
    """One digit to classify.

    Attributes:
        name: Path of the picture, with its place in an array, or the name of a bundled digit.
        image: Pixels, and how they were made from the picture.
        label: The right answer, where it is known.
        found: Whether it was found in a picture, which may show anything.
    """

    name: str
    image: DigitImage
    label: int | None = None
    found: bool = False


def bundled(count: int) -> list[Digit]:
    """The first `count` bundled digits."""
    digits = load_digits()
    return [
        Digit(f"MNIST test digit {index}", DigitImage(image, False, ()), int(label))
        for image, label, index in zip(
            digits.images[:count], digits.labels, digits.indices, strict=False
        )
    ]


def match(arguments: Iterable[str]) -> tuple[list[Path], dict[str, str]]:
    """The files that the arguments name, each once, and an error for each that names none."""
    files: dict[Path, None] = {}
    errors: dict[str, str] = {}
    for argument in arguments:
        try:
            matches = [Path("-")] if argument == "-" else matching.match(argument, is_picture)
        except InputError as error:
            errors[argument] = str(error)
        else:
            files |= dict.fromkeys(matches)
    return list(files), errors


def read(files: Iterable[Path], errors: dict[str, str]) -> list[Digit]:
    """The digits of all files that can be read; an error is added for each other."""
    digits: list[Digit] = []
    for file in files:
        try:
            digits += _read_file(file)
        except InputError as error:
            errors[str(file)] = str(error)
        except OSError as error:
            errors[str(file)] = error.strerror or str(error)
    return digits


def _read_file(file: Path) -> list[Digit]:
    once = file == Path("-") or file.is_fifo()  # which cannot be read twice
    if once:
        data = _read_pipe(file)
        if len(data) > MAX_BYTES:
            raise InputError(f"expected at most {MAX_BYTES} bytes, found more")
        start = data[:16]
    else:
        with file.open("rb") as stream:
            start = stream.read(16)
            if not is_array_file(start, file.name):
                stream.seek(0)
                return [Digit(str(file), read_digit(stream), found=True)]
            data = start + stream.read(MAX_BYTES + 1 - len(start))
    numbers = start[:1].isdigit() or start.lower().lstrip(b'"').startswith((b"label", b"pixel"))
    if once and not (numbers or is_array_file(start, "")):
        return [Digit(str(file), read_digit(io.BytesIO(data)), found=True)]
    return _from_arrays(str(file), data)


def _read_pipe(file: Path) -> bytes:
    if file != Path("-"):
        with file.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    if sys.stdin is None:
        raise InputError("standard input is closed; send it a file, as in: predict - < digit.png")
    return sys.stdin.buffer.read(MAX_BYTES + 1)


def _from_arrays(name: str, data: bytes) -> list[Digit]:
    images, labels = read_arrays(data)
    pixels, _ = to_pixels(images, Preprocessing())
    steps: tuple[str, ...] = ("taken as it is",)
    if pixels.dtype != np.uint8:
        pixels = np.rint(pixels.astype(np.float64) * 255).astype(np.uint8)
        steps = ("rounded to 256 levels",)
    if pixels.shape[1] == 32:
        pixels = pixels[:, 2:-2, 2:-2]
        steps = (*steps, "without the two pixels at each side, which the network pads with")
    if labels is not None and len(labels) != len(pixels):
        raise InputError(f"expected as many labels as images, found {len(labels)}")
    return [
        Digit(
            f"{name}[{i}]",
            DigitImage(image, False, steps),
            None if labels is None else int(labels[i]),
        )
        for i, image in enumerate(pixels)
    ]
