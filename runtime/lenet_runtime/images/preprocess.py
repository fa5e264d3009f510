"""Turns digits into the network's input: pads with black, scales to [0, 1], normalises.

The arithmetic is float32, in torchvision's order (``Pad``, ``ToTensor``, ``Normalize``), so the
result equals that of training bit for bit. Nothing is silently cast or clipped: an array that
could mean two things is refused, with advice.
"""

import functools
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_runtime.errors import InputError

SIDE = 32  # height and width of the network's input, in pixels
FLOATS = (np.float16, np.float32, np.float64)
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
        images: White digits on black; N may be 0. Either an array ``(N, 28, 28)``, which is padded,
            or ``(N, 32, 32)``, which is not: uint8, or float16, float32 or float64 in [0, 1], in
            native byte order. Or one `PIL.Image.Image`, or a list or tuple of them, of any size
            and mode: each goes through `lenet_runtime.images.pictures.mnist_style`.
        preprocessing: Preprocessing that the artifact records.

    Raises:
        InputError: `images` is anything else; the message says what to do.
    """
    pixels = images if isinstance(images, np.ndarray) else _from_pictures(images)
    _check_array(pixels, SIDE - 2 * preprocessing.padding)
    return _normalise(pixels, preprocessing)


def _normalise(pixels: NDArray[Any], preprocessing: Preprocessing) -> NDArray[np.float32]:
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


def _from_pictures(images: Any) -> NDArray[np.uint8]:
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

    batch = np.empty((len(pictures), 28, 28), np.uint8)
    for i, picture in enumerate(pictures):
        try:
            batch[i] = mnist_style(picture).pixels
        except InputError as error:
            raise InputError(f"images[{i}]: {error}") from error
    return batch


def _advice(value: Any, in_list: bool) -> str:
    if isinstance(value, np.ndarray):
        return "pass arrays as one array: np.stack(images), or np.concatenate(images)"
    if type(value).__module__.partition(".")[0] == "torch":
        return "pass images.cpu().numpy()"
    if isinstance(value, str | bytes) or hasattr(value, "__fspath__"):
        return "open it with PIL.Image.open"
    if in_list:
        return "pass np.array(images, np.uint8) if these are pixels"
    return "pass images of a kind that is named here"


def _check_array(images: NDArray[Any], inner: int) -> None:
    _check_dtype(images)
    if images.ndim != 3 or images.shape[1:] not in ((inner, inner), (SIDE, SIDE)):
        raise InputError(
            f"images: expected shape (N, {inner}, {inner}) or (N, {SIDE}, {SIDE}), "
            f"found {images.shape}; {_shape_advice(images.shape)}"
        )
    if images.dtype != np.uint8 and images.size:
        _check_range(images)


def _check_dtype(images: NDArray[Any]) -> None:
    if isinstance(images, np.ma.MaskedArray):
        raise InputError(
            "images: expected an array without a mask, found a masked array; "
            "choose what hidden pixels are: images.filled(0)"
        )
    if images.dtype.type not in (np.uint8, *FLOATS):
        raise InputError(
            "images: expected dtype uint8 (0 to 255), or float16, float32 or float64 in [0, 1], "
            f"found {images.dtype}; convert with images.astype, knowing what your pixels mean"
        )
    if not images.dtype.isnative:
        raise InputError(
            f"images: expected native byte order, found {images.dtype.str!r}; "
            "pass images.astype(images.dtype.newbyteorder('='))"
        )


def _shape_advice(shape: tuple[int, ...]) -> str:
    if len(shape) == 2:
        return "pass images[None] if this is one image"
    if len(shape) == 4 and shape[1] == 1:
        return "pass images[:, 0] if these are pixels; Session.run takes normalised input"
    if len(shape) == 4 and shape[3] == 1:
        return "pass images[..., 0] if these are pixels"
    return "pass PIL images to have pictures of any size scaled and centred"


def _check_range(images: NDArray[Any]) -> None:
    low, high = images.min(), images.max()
    if low >= 0 and high <= 1:  # false where a pixel is NaN, because low and high are NaN then
        return
    outside = ~((images >= 0) & (images <= 1))
    place = np.unravel_index(np.argmax(outside), images.shape)
    raise InputError(
        f"images[{', '.join(str(int(i)) for i in place)}]: expected floats in [0, 1], found "
        f"{images[place]} (and {np.count_nonzero(outside) - 1} more); pass pixels of 0 to 255 as "
        "uint8 or divide them by 255, and do not normalise them: this function does"
    )
