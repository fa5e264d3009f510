"""Turns digits into the network's input: pads with black, scales to [0, 1], normalises.

The arithmetic is float32, in torchvision's order (``Pad``, ``ToTensor``, ``Normalize``), so the
result equals that of training bit for bit. Nothing is silently cast or clipped: an array that
could mean two things is refused, with the line of code that says which was meant.
"""

import functools
import io
import math
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_runtime.errors import InputError
from lenet_runtime.images.checks import check_array
from lenet_runtime.images.digits import SIDE

NET = (1, 32, 32)  # channels, height and width of Net's images, for callers that know no others
Warnings = tuple[tuple[str, ...], ...]
Shape = tuple[int, int, int]
Numbers = float | tuple[float, ...]
_MANY = 16 * 28 * 28  # pixels from which on computing them takes half as long as looking them up
_LARGE = 2.0**100  # with a mean and a std below it, no float32 result below overflows


@dataclass(frozen=True)
class Preprocessing:
    """How pixels become the network's input; each artifact records its own numbers.

    The defaults are MNIST's: two black pixels on every side turn 28x28 into the 32x32 of LeNet's
    input (LeCun et al. 1998, section II.B), and mean and standard deviation are those of the
    training set's pixels before padding.

    Attributes:
        mean: Number that is subtracted from pixels in [0, 1]; or one for each of three channels.
        std: Number that the difference is divided by; or one for each of three channels.
        padding: Black pixels to add on every side of an image that is not yet of the network's
            size.

    Raises:
        ValueError: float32 cannot compute with the mean or the std, ``std <= 0``, there are other
            than one or three of them, or the padding is negative.
    """

    mean: Numbers = 0.1307
    std: Numbers = 0.3081
    padding: int = 2

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            if isinstance(numbers := getattr(self, name), list):  # as transforms often have them
                object.__setattr__(self, name, tuple(numbers))
        means, stds = _each(self.mean), _each(self.std)
        if not (
            all(abs(mean) < _LARGE for mean in means)
            and all(1 / _LARGE < std < _LARGE for std in stds)  # NaN is neither
        ):
            raise ValueError(f"expected a finite mean and a finite std above 0, found {self}")
        if not all(len(numbers) in (1, 3) for numbers in (means, stds)):
            raise ValueError(f"expected a mean and a std, or three of each, found {self}")
        if type(self.padding) is not int or self.padding < 0:
            raise ValueError(f"expected padding of 0 pixels or more, found {self}")

    def problem(self, image_shape: Shape) -> str:
        """Why it does not fit images ``(C, H, W)``; empty where it does."""
        channels, height, width = image_shape
        if any(len(_each(numbers)) > channels for numbers in (self.mean, self.std)):
            return f"expected one mean and one std for images of one channel, found {self}"
        if 2 * self.padding >= min(height, width):
            return f"expected padding that leaves something of {height}x{width}, found {self}"
        return ""


def _each(numbers: Numbers) -> tuple[float, ...]:
    return numbers if isinstance(numbers, tuple) else (numbers,)


def to_batch(
    images: Any, preprocessing: Preprocessing, image_shape: Shape = NET
) -> NDArray[np.float32]:
    """Turn digits into the network's input: float32 ``(N, C, H, W)``, C-contiguous.

    Args:
        images: What `to_pixels` takes.
        preprocessing: Preprocessing that the artifact records.
        image_shape: The network's ``(C, H, W)``.

    Raises:
        InputError: see `to_pixels`.
    """
    pixels, _ = to_pixels(images, preprocessing, image_shape)
    return normalise(pixels, preprocessing, image_shape)


def to_pixels(
    images: Any, preprocessing: Preprocessing, image_shape: Shape = NET
) -> tuple[NDArray[Any], Warnings]:
    """Check digits, and turn pictures into them.

    Arrays are judged as a whole: an array whose largest value is 1 is refused, and one that holds
    a single brighter image is not. Black images alone are taken.

    Args:
        images: White digits on black; N may be 0. For a network of ``(C, H, W)``, with h and w what
            the padding leaves of H and W: either an array ``(N, h, w)`` or its rows
            ``(N, h * w)``, which are padded, or ``(N, H, W)``, which is not: bool, uint8, or
            float16, float32 or float64 in [0, 1], in native byte order. For three channels also
            ``(N, h, w, 3)`` or ``(N, H, W, 3)`` of any colours; grey ones become three equal
            channels. Or one `PIL.Image.Image`, or the bytes of a picture's file, such as PNG or
            JPEG, or a list or tuple of them, of any size and mode: for one channel each goes
            through `lenet_runtime.images.pictures.mnist_style`, and is resized to hxw where that is
            not 28x28; for three it is taken for a photo, whatever it shows, and resized to HxW in
            RGB, as torchvision's ``Resize`` does.
        preprocessing: Preprocessing that the artifact records.
        image_shape: The network's ``(C, H, W)``.

    Returns:
        Pixels ``(N, h, w)``, ``(N, H, W)``, or with three channels behind, uint8 or floats in
        [0, 1]; and for pictures of digits, what is doubtful about each.

    Raises:
        InputError: `images` is anything else, or could mean two things: no pixel above 16 of 255,
            floats no larger than 16/255, or dark ink on light paper. The message says what to do.
    """
    if not isinstance(images, np.ndarray):
        return _from_pictures(images, preprocessing, image_shape)
    inner = _inner(preprocessing, image_shape)
    inverse = "~images" if images.dtype == np.bool_ else ""
    if inverse and (type(images) is np.ndarray or not isinstance(images, np.ma.MaskedArray)):
        images = images.view(np.uint8) * np.uint8(255)
    if images.ndim == 2 and images.shape[1] == math.prod(inner):
        images = images.reshape(-1, *inner)
    check_array(images, inner, image_shape, inverse)
    return images, ()


def normalise(
    pixels: NDArray[Any], preprocessing: Preprocessing, image_shape: Shape = NET
) -> NDArray[np.float32]:
    """Normalise what `to_pixels` returned, in the middle of black: float32 ``(N, C, H, W)``.

    Digits that are larger than the network's images lose their borders.
    """
    channels, height, width = image_shape
    pixels = centred(pixels, height, width, grow=False)
    rows, columns = pixels.shape[1:3]
    top, left = (height - rows) // 2, (width - columns) // 2
    batch = np.empty((len(pixels), *image_shape), np.float32)
    for channel in range(channels):
        table = pixel_table(preprocessing, channel)
        plane = pixels[..., channel] if pixels.ndim == 4 else pixels
        if plane.dtype == np.uint8 and plane.size < _MANY:
            values = table[plane]
        else:
            unit = plane.astype(np.float32)
            if plane.dtype == np.uint8:
                unit /= np.float32(255)
            values = _scale(unit, *_numbers(preprocessing, channel))
        if (rows, columns) != (height, width):
            batch[:, channel] = table[0]
        batch[:, channel, top : top + rows, left : left + columns] = values
    return batch


def centred(pixels: NDArray[Any], height: int, width: int, *, grow: bool = True) -> NDArray[Any]:
    """Images ``(N, h, w, ...)`` in the middle of black ones of this size, or their middle.

    Args:
        pixels: The images, of any dtype.
        height: Of the result.
        width: Of the result.
        grow: Add what is missing; without, only what is too large is cut.
    """
    pads = [(0, 0)]
    for axis, size in ((1, height), (2, width)):
        missing = size - pixels.shape[axis]
        if missing < 0:
            start = -missing // 2
            pixels = pixels[(slice(None),) * axis + (slice(start, start + size),)]
        pads.append((max(0, missing) // 2, max(0, missing) - max(0, missing) // 2))
    if grow and any(map(any, pads)):
        pixels = np.pad(pixels, pads + [(0, 0)] * (pixels.ndim - 3))
    return pixels


def _numbers(preprocessing: Preprocessing, channel: int) -> tuple[float, float]:
    means, stds = _each(preprocessing.mean), _each(preprocessing.std)
    return means[channel % len(means)], stds[channel % len(stds)]


def _scale(unit: NDArray[np.float32], mean: float, std: float) -> NDArray[np.float32]:
    unit -= np.float32(mean)
    unit /= np.float32(std)
    return unit


@functools.lru_cache(maxsize=48)
def pixel_table(preprocessing: Preprocessing, channel: int = 0) -> NDArray[np.float32]:
    """Normalised value of each of the 256 pixel values, float32 ``(256,)``, read-only."""
    # Looking values up is faster than computing them, for few images.
    unit = np.arange(256, dtype=np.float32) / np.float32(255)
    table = _scale(unit, *_numbers(preprocessing, channel))
    table.flags.writeable = False
    return table


def _inner(preprocessing: Preprocessing, image_shape: Shape) -> tuple[int, int]:
    """Height and width of what is inside the padding."""
    _, height, width = image_shape
    return height - 2 * preprocessing.padding, width - 2 * preprocessing.padding


def _from_pictures(
    images: Any, preprocessing: Preprocessing, image_shape: Shape
) -> tuple[NDArray[np.uint8], Warnings]:
    # Nothing can be a PIL image unless PIL was imported, so this module need not import it.
    pil = sys.modules.get("PIL.Image")
    pictures = images if isinstance(images, list | tuple) else [images]
    for i, picture in enumerate(pictures):
        if not (isinstance(picture, bytes) or (pil and isinstance(picture, pil.Image))):
            where = f"images[{i}]" if pictures is images else "images"
            name = f"{type(picture).__module__}.{type(picture).__name__}".removeprefix("builtins.")
            raise InputError(
                f"{where}: expected an array (N, 28, 28), a PIL image, the bytes of a picture's "
                f"file, or a list of these two, found {name}; "
                f"{_advice(picture, pictures is images)}"
            )
    channels, height, width = image_shape
    if channels == 3:
        photos = [_photo(picture, i, width, height) for i, picture in enumerate(pictures)]
        return np.array(photos, np.uint8).reshape(-1, height, width, 3), ()
    from lenet_runtime.images.pictures import mnist_style

    digits = []
    for i, picture in enumerate(pictures):
        try:
            with _opened(picture, grey=True) as image:
                digits.append(mnist_style(image))
        except InputError as error:
            raise InputError(f"images[{i}]: {error}") from error
    rows, columns = _inner(preprocessing, image_shape)
    pixels = [digit.pixels for digit in digits]
    if pixels and (rows, columns) != (SIDE, SIDE):
        from PIL import Image

        from lenet_runtime.images.grey import resize

        pixels = [np.asarray(resize(Image.fromarray(p), columns, rows, 2)) for p in pixels]
    return (
        np.array(pixels, np.uint8).reshape(-1, rows, columns),
        tuple(digit.warnings for digit in digits),
    )


def _opened(picture: Any, *, grey: bool) -> AbstractContextManager[Any]:
    """A block with the picture, which is decoded where it is the bytes of a file."""
    if not isinstance(picture, bytes):
        return nullcontext(picture)
    from lenet_runtime.images.files import open_picture

    return open_picture(io.BytesIO(picture), grey=grey)


def _photo(picture: Any, index: int, width: int, height: int) -> NDArray[np.uint8]:
    """The picture in RGB, resized as torchvision's ``Resize((height, width))`` does."""
    try:
        with _opened(picture, grey=False) as image:
            return np.asarray(image.convert("RGB").resize((width, height), 2))  # 2 is bilinear
    except Exception as error:  # decoders raise errors of many kinds on damaged files
        raise InputError(f"images[{index}]: it cannot be read as RGB ({error})") from error


def _advice(value: Any, in_list: bool) -> str:
    if isinstance(value, np.ndarray):
        return f"pass np.{'stack' if value.ndim < 3 else 'concatenate'}(images) if all are arrays"
    if type(value).__module__.partition(".")[0] == "torch":
        return "pass images.cpu().numpy()"
    if isinstance(value, str) or hasattr(value, "__fspath__"):
        return "read it with pathlib.Path.read_bytes, or open it with PIL.Image.open"
    if hasattr(value, "read"):
        return "pass what its read() returns"
    if in_list:
        return "pass np.array(images, np.uint8) if these are pixels"
    return "pass images of a kind that is named here"
