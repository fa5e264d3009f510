"""From normalised images back to their pixels, for engines that take pixels."""

import numpy as np
from numpy.typing import NDArray

from lenet_runtime.errors import InputError
from lenet_runtime.images.preprocess import NET, Preprocessing, Shape, normalise, pixel_table


def pixels_of(
    images: NDArray[np.float32], preprocessing: Preprocessing, image_shape: Shape = NET
) -> NDArray[np.uint8]:
    """The pixels ``(N, h, w)`` that `normalise` makes these grey images ``(N, 1, H, W)`` of.

    Raises:
        InputError: there are none: a value is no pixel's, or the padding is not black.
    """
    table, padding = pixel_table(preprocessing), preprocessing.padding
    height, width = (size - padding for size in image_shape[1:])
    pixels = nearest_pixels(images, preprocessing)[:, 0]
    inner = np.ascontiguousarray(pixels[:, padding:height, padding:width])
    expected = normalise(inner, preprocessing, image_shape)
    if not np.array_equal(expected, images):
        first = tuple(map(int, np.argwhere(expected != images)[0]))
        raise InputError(
            f"images: this artifact takes pixels, as the microcontroller does, and {images[first]} "
            f"at {first} is no pixel of 0 to 255 after mean {preprocessing.mean} and std "
            f"{preprocessing.std}, or lies in the {padding} black pixels of padding (there "
            f"{table[0]}); pass what Session.predict or lenet_runtime.to_batch makes of pixels"
        )
    return inner


def nearest_pixels(images: NDArray[np.float32], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """The pixel whose normalised value is nearest to each value of grey images, any shape."""
    table = pixel_table(preprocessing).astype(np.float64)
    return np.searchsorted((table[1:] + table[:-1]) / 2, images).astype(np.uint8)
