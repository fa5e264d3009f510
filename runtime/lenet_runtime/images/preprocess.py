"""Turns digits into the network's input: pads with black, scales to [0, 1], normalises.

The arithmetic is float32, in torchvision's order (``Pad``, ``ToTensor``, ``Normalize``), so the
result equals that of training bit for bit. Nothing is silently cast or clipped: an array that
could mean two things is refused, with the line of code that says which was meant.
"""

import functools
import math
import sys
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from lenet_runtime.errors import InputError

SIDE = 32  # height and width of the network's input, in pixels
FLOATS = (np.float16, np.float32, np.float64)
_FAINT = 16  # of 255; where no pixel is brighter, 0 to 1 or 0 to 16 may be meant
Warnings = tuple[tuple[str, ...], ...]
_LARGE = 2.0**100  # with a mean and a std below it, no float32 result below overflows


@dataclass(frozen=True)
class Preprocessing:
    """How pixels become the network's input; each artifact records its own numbers.

    The defaults are MNIST's: two black pixels on every side turn 28x28 into the 32x32 of LeNet's
    input (LeCun et al. 1998, section II.B), and mean and standard deviation are those of the
    training set's pixels before padding.

    Attributes:
        mean: Number that is subtracted from pixels in [0, 1].
        std: Number that the difference is divided by.
        padding: Black pixels to add on every side of an image that is not yet 32x32.

    Raises:
        ValueError: float32 cannot compute with the mean or the std, ``std <= 0``, or the padding
            is not from 0 to 15.
    """

    mean: float = 0.1307
    std: float = 0.3081
    padding: int = 2

    def __post_init__(self) -> None:
        if not (abs(self.mean) < _LARGE and 1 / _LARGE < self.std < _LARGE):  # NaN is neither
            raise ValueError(f"expected a finite mean and a finite std above 0, found {self}")
        if self.padding not in range(SIDE // 2):
            raise ValueError(f"expected padding of 0 to {SIDE // 2 - 1} pixels, found {self}")


def to_batch(images: Any, preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Turn digits into the network's input: float32 ``(N, 1, 32, 32)``, C-contiguous.

    Args:
        images: What `to_pixels` takes.
        preprocessing: Preprocessing that the artifact records.

    Raises:
        InputError: see `to_pixels`.
    """
    return normalise(to_pixels(images, preprocessing)[0], preprocessing)


def to_pixels(images: Any, preprocessing: Preprocessing) -> tuple[NDArray[Any], Warnings]:
    """Check digits, and turn pictures into them.

    Arrays are judged as a whole: an array whose largest value is 1 is refused, and one that holds
    a single brighter image is not. Black images alone are taken.

    Args:
        images: White digits on black; N may be 0. Either an array ``(N, 28, 28)`` or its rows
            ``(N, 784)``, which are padded, or ``(N, 32, 32)``, which is not: bool, uint8, or
            float16, float32 or float64 in [0, 1], in native byte order. Or one
            `PIL.Image.Image`, or a list or tuple of them, of any size and mode: each goes through
            `lenet_runtime.images.pictures.mnist_style`.
        preprocessing: Preprocessing that the artifact records.

    Returns:
        Pixels ``(N, 28, 28)`` or ``(N, 32, 32)``, uint8 or floats in [0, 1]; and for pictures,
        what is doubtful about each.

    Raises:
        InputError: `images` is anything else, or could mean two things: no pixel above 16 of 255,
            floats no larger than 16/255, or dark ink on light paper. The message says what to do.
    """
    if not isinstance(images, np.ndarray):
        return _from_pictures(images)
    inner = SIDE - 2 * preprocessing.padding
    inverse = "~images" if images.dtype == np.bool_ else ""
    if inverse and not isinstance(images, np.ma.MaskedArray):
        images = images.view(np.uint8) * np.uint8(255)
    if images.ndim == 2 and images.shape[1] == inner * inner:
        images = images.reshape(-1, inner, inner)
    _check_array(images, inner, inverse)
    return images, ()


def normalise(pixels: NDArray[Any], preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Pad and normalise what `to_pixels` returned: float32 ``(N, 1, 32, 32)``, C-contiguous."""
    table = pixel_table(preprocessing)
    if pixels.dtype == np.uint8:
        values = table[pixels]
    else:
        values = _scale(pixels.astype(np.float32), preprocessing)
    if pixels.shape[1] == SIDE:
        return np.ascontiguousarray(values[:, np.newaxis])
    batch = np.full((len(pixels), 1, SIDE, SIDE), table[0], np.float32)
    inner = slice(preprocessing.padding, SIDE - preprocessing.padding)
    batch[:, 0, inner, inner] = values
    return batch


def _scale(unit: NDArray[np.float32], preprocessing: Preprocessing) -> NDArray[np.float32]:
    scaled: NDArray[np.float32] = unit - np.float32(preprocessing.mean)
    scaled /= np.float32(preprocessing.std)
    return scaled


@functools.lru_cache(maxsize=16)
def pixel_table(preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Normalised value of each of the 256 pixel values, float32 ``(256,)``, read-only."""
    # Looking values up is faster than computing them for each image.
    table = _scale(np.arange(256, dtype=np.float32) / np.float32(255), preprocessing)
    table.flags.writeable = False
    return table


def _from_pictures(images: Any) -> tuple[NDArray[np.uint8], Warnings]:
    # Nothing can be a PIL image unless PIL was imported, so this module need not import it.
    pil = sys.modules.get("PIL.Image")
    pictures = images if isinstance(images, list | tuple) else [images]
    for i, picture in enumerate(pictures):
        if pil is None or not isinstance(picture, pil.Image):
            where = f"images[{i}]" if pictures is images else "images"
            name = f"{type(picture).__module__}.{type(picture).__name__}".removeprefix("builtins.")
            raise InputError(
                f"{where}: expected an array (N, 28, 28), a PIL image or a list of PIL images, "
                f"found {name}; {_advice(picture, pictures is images)}"
            )
    from lenet_runtime.images.pictures import mnist_style

    digits = []
    for i, picture in enumerate(pictures):
        try:
            digits.append(mnist_style(picture))
        except InputError as error:
            raise InputError(f"images[{i}]: {error}") from error
    pixels = np.array([digit.pixels for digit in digits], np.uint8).reshape(-1, 28, 28)
    return pixels, tuple(digit.warnings for digit in digits)


def _advice(value: Any, in_list: bool) -> str:
    if isinstance(value, np.ndarray):
        return f"pass np.{'stack' if value.ndim < 3 else 'concatenate'}(images) if all are arrays"
    if type(value).__module__.partition(".")[0] == "torch":
        return "pass images.cpu().numpy()"
    if isinstance(value, str | bytes) or hasattr(value, "__fspath__"):
        return "open it with PIL.Image.open"
    if in_list:
        return "pass np.array(images, np.uint8) if these are pixels"
    return "pass images of a kind that is named here"


def _check_array(images: NDArray[Any], inner: int, inverse: str) -> None:
    _check_dtype(images)
    if images.ndim != 3 or images.shape[1:] not in ((inner, inner), (SIDE, SIDE)):
        raise InputError(
            f"images: expected shape (N, {inner}, {inner}), (N, {inner**2}) or "
            f"(N, {SIDE}, {SIDE}), found {images.shape}; {_shape_advice(images.shape, inner)}"
        )
    if images.size:
        _check_values(images, inverse)


def _check_dtype(images: NDArray[Any]) -> None:
    if isinstance(images, np.ma.MaskedArray):
        raise InputError(
            "images: expected an array without a mask, found a masked array; "
            "choose what hidden pixels are: images.filled(0)"
        )
    if images.dtype.type not in (np.uint8, *FLOATS):
        raise InputError(
            "images: expected dtype bool, uint8 (0 to 255), or float16, float32 or float64 in "
            f"[0, 1], found {images.dtype}; {_scale_advice(images)}"
        )
    if not images.dtype.isnative:
        raise InputError(
            f"images: expected native byte order, found {images.dtype.str!r}; "
            "pass images.astype(images.dtype.newbyteorder('='))"
        )


def _scale_advice(images: NDArray[Any]) -> str:
    """The line of code that turns numbers of this range into what `to_pixels` takes."""
    if images.dtype.kind not in "uif" or not images.size:
        return "pass numbers of one of these types"
    low, high = images.min(), images.max()
    for limit, meaning, line in (
        (1, "0 is paper and 1 is ink", "images.astype(bool)"),
        (_FAINT, "16 is ink", "(images * (255 / 16)).astype(np.uint8)"),
        (255, "255 is ink", "images.astype(np.uint8)"),
        (65535, "65535 is ink", "(images // 257).astype(np.uint8)"),
    ):
        if low >= 0 and high <= limit:
            if images.dtype.kind == "f" and limit == 1:
                return "pass images.astype(np.float32)"
            return f"pass {line} if {meaning}"
    return "scale the pixels to [0, 1] first"


def _shape_advice(shape: tuple[int, ...], inner: int) -> str:
    advice = "pass PIL images to have pictures of any size scaled and centred"
    match shape:
        case (length,) if length in (inner**2, SIDE**2):
            advice = f"pass images.reshape(1, {math.isqrt(length)}, -1) if this is one image"
        case (_, length) if length == inner**2 + 1:
            advice = "pass images[:, 1:] if the first column holds the labels, as Kaggle's does"
        case (_, length) if length == SIDE**2:
            advice = f"pass images.reshape(-1, {SIDE}, {SIDE}) if these are rows of pixels"
        case (_, _):
            advice = "pass images[None] if this is one image"
        case (_, 1, _, _):
            advice = "pass images[:, 0] if these are pixels; Session.run takes normalised input"
        case (_, _, _, 1):
            advice = "pass images[..., 0] if these are pixels"
        case (_, _, _):
            advice = (
                "pass [PIL.Image.fromarray(image) for image in images], which scales and centres "
                "pictures of any size"
            )
    return advice


def _check_values(images: NDArray[Any], inverse: str) -> None:
    """Refuse numbers of another range, and those that could have another meaning."""
    high = images.max()
    if images.dtype == np.uint8:
        if 0 < high <= _FAINT:
            raise InputError(
                f"images: expected pixels of 0 to 255, found none above {high} in this array; "
                f"{_scale_advice(images)}; a digit that is this dark shows nothing"
            )
    elif not (images.min() >= 0 and high <= 1):  # also where a pixel is NaN
        _refuse_range(images)
    elif 0 < high < (_FAINT + 0.01) / 255:
        advice = "pass images * (255 / 16) if 16 was ink"
        if high < 1.01 / 255:
            advice = "as if divided by 255 twice; pass images * 255"
        raise InputError(
            f"images: expected floats of 0 to 1, found none above {high:.3g} in this array; "
            f"{advice}"
        )
    # A digit's corner is black, so this look at one pixel is all that most arrays need.
    if images[0, 0, 0] >= 0.75 * high > 0:
        _check_polarity(images, high, inverse)


def _check_polarity(images: NDArray[Any], high: Any, inverse: str) -> None:
    """Refuse images whose borders are light on average, and that are dark further in."""
    edges = (images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1])
    if all(edge.mean() >= 0.9 * high for edge in edges) and images.min() < 0.5 * high:
        line = inverse or ("255 - images" if images.dtype == np.uint8 else "1 - images")
        raise InputError(
            "images: expected white digits on black, found black ones on white, since the border "
            f"of nearly every image is white; pass {line}"
        )


def _refuse_range(images: NDArray[Any]) -> NoReturn:
    low, high = images.min(), images.max()
    outside = ~((images >= 0) & (images <= 1))
    place = np.unravel_index(np.argmax(outside), images.shape)
    if low >= 0 and high <= _FAINT:
        advice = "pass images / 16 if 16 is ink"
    elif low >= 0 and high <= 255:
        advice = "pass images / 255 if 255 is ink"
    elif low < 0 and np.isfinite(low) and high < 10:
        advice = "do not normalise pixels, this function does; pass those from before"
    else:
        advice = "pass finite pixels, scaled to [0, 1]"
    raise InputError(
        f"images[{', '.join(str(int(i)) for i in place)}]: expected floats in [0, 1], found "
        f"{images[place]} (and {np.count_nonzero(outside) - 1} more); {advice}"
    )
