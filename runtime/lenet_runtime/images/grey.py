"""Converts pictures of every mode that Pillow knows to 8-bit grey."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lenet_runtime.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_SIDE = 1280  # longer pictures are averaged to this first: enough for a digit in any corner
STRIP = 64  # rows of the smaller picture that are made at a time, which bounds the memory
NUMERIC = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")


def to_grey(image: "Image") -> list["Image"]:
    """Convert a picture to mode L; a transparent one twice, once on white and once on black paper.

    Raises:
        InputError: a pixel is NaN or infinity.
        ValueError: Pillow does not convert this mode. A damaged file raises Pillow's own errors.
    """
    from PIL import Image

    if image.mode in NUMERIC:
        return [_stretch_numbers(np.asarray(image))]
    if image.mode == "La":
        image = image.convert("LA")  # the only mode that Pillow converts La to
    if not image.has_transparency_data:
        return [image.convert("RGB").convert("L") if image.mode != "L" else image]
    rgba = image.convert("RGBA")
    alpha = np.asarray(rgba.getchannel("A"))
    visible = np.asarray(rgba.convert("L"))[alpha >= 128]
    # White ink on nothing needs black paper; a white card with a cut-out edge does not.
    light = np.median(alpha) < 128 and visible.size and np.percentile(visible, 75) > 128
    colours = ("black", "white") if light else ("white", "black")
    papers = [Image.new("RGBA", image.size, colour) for colour in colours]
    return [Image.alpha_composite(paper, rgba).convert("L") for paper in papers]


def shrink(image: "Image") -> "Image":
    """Average a picture to at most 1280 pixels a side, without a copy of the whole.

    Raises:
        Pillow's own errors, where it does not convert this mode.
    """
    from PIL import Image

    factor = -(-max(image.size) // MAX_SIDE)
    if factor <= 1:
        return image
    width, height = image.size
    mode = "RGBA" if image.has_transparency_data else "L" if image.mode == "L" else "RGB"
    mode = "F" if image.mode in NUMERIC else mode
    small = Image.new(mode, (-(-width // factor), -(-height // factor)))
    for top in range(0, small.height, STRIP):
        bottom = min(height, (top + STRIP) * factor)
        strip = image.crop((0, top * factor, width, bottom))
        if mode == "F":
            strip = Image.fromarray(_average(np.asarray(strip), factor))
        else:
            strip = _opaque_or_rgba(strip, mode).reduce(factor)
        small.paste(strip, (0, top))
    return small


def resize(image: "Image", width: int, height: int, resample: int) -> "Image":
    """Resize the rows, then the columns: Pillow 13 takes first what is less work, and rounds so."""
    return image.resize((width, image.height), resample).resize((width, height), resample)


def _opaque_or_rgba(strip: "Image", mode: str) -> "Image":
    if strip.mode == "La":
        strip = strip.convert("LA")  # the only mode that Pillow converts La to
    return strip if strip.mode == mode else strip.convert(mode)


def _average(numbers: NDArray[Any], factor: int) -> NDArray[np.float32]:
    values = numbers.astype(np.float64)
    for axis in (0, 1):
        starts = np.arange(0, numbers.shape[axis], factor)
        counts = np.diff(starts, append=numbers.shape[axis])
        sums = np.add.reduceat(values, starts, axis)
        values = sums / (counts[:, None] if axis == 0 else counts)
    return values.astype(np.float32)


def _stretch_numbers(numbers: NDArray[Any]) -> "Image":
    """Scale numbers whose white is not agreed, such as floats or 12 bits in 16, to 0..255."""
    from PIL import Image

    values = numbers.astype(np.float64)
    low, high = values.min(initial=np.inf), values.max(initial=-np.inf)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError("expected finite pixels, found NaN or infinity; save it as 8-bit PNG")
    scaled = (values - low) * (255 / (high - low) if high > low else 0.0)
    return Image.fromarray(np.rint(scaled).astype(np.uint8))
