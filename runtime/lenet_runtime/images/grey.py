"""Converts pictures of every mode that Pillow knows to 8-bit grey."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lenet_runtime.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

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


def _stretch_numbers(numbers: NDArray[Any]) -> "Image":
    """Scale numbers whose white is not agreed, such as floats or 12 bits in 16, to 0..255."""
    from PIL import Image

    values = numbers.astype(np.float64)
    low, high = values.min(initial=np.inf), values.max(initial=-np.inf)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError("expected finite pixels, found NaN or infinity; save it as 8-bit PNG")
    scaled = (values - low) * (255 / (high - low) if high > low else 0.0)
    return Image.fromarray(np.rint(scaled).astype(np.uint8))
