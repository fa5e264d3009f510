"""What arrays of pixels may be, and the advice where one is something else."""

import math
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from lenet_runtime.errors import InputError

FLOATS = (np.float16, np.float32, np.float64)
_FAINT = 16  # of 255; where no pixel is brighter, 0 to 1 or 0 to 16 may be meant
Shape = tuple[int, int, int]


def check_array(
    images: NDArray[Any], inner: tuple[int, int], image_shape: Shape, inverse: str
) -> None:
    """Refuse arrays that are not pixels, or could mean two things; see `preprocess.to_pixels`.

    Args:
        images: What was given, bools as uint8 already.
        inner: Height and width of what is inside the padding.
        image_shape: The network's ``(C, H, W)``.
        inverse: The line of code that inverts the caller's own array; empty for the usual one.

    Raises:
        InputError: They are; the message says what to do.
    """
    _check_dtype(images)
    channels, height, width = image_shape
    right = images.ndim == 3 or (images.ndim == 4 and images.shape[3] == channels == 3)
    if not right or images.shape[1:3] not in (inner, (height, width)):
        sizes = dict.fromkeys([inner, (height, width)])
        shapes = [f"(N, {h}, {w})" for h, w in sizes]
        shapes.insert(1, f"(N, {math.prod(inner)})")
        if channels == 3:
            shapes += [f"(N, {h}, {w}, 3)" for h, w in sizes]
        raise InputError(
            f"images: expected shape {', '.join(shapes[:-1])} or {shapes[-1]}, found "
            f"{images.shape}; {_shape_advice(images.shape, inner, image_shape)}"
        )
    if images.size:
        _check_values(images, inverse)


def _check_dtype(images: NDArray[Any]) -> None:
    # Asked of others alone, since the first use of `np.ma` imports it, in 10 ms.
    if type(images) is not np.ndarray and isinstance(images, np.ma.MaskedArray):
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


def _shape_advice(shape: tuple[int, ...], inner: tuple[int, int], image_shape: Shape) -> str:
    channels, height, width = image_shape
    small, whole = math.prod(inner), height * width
    advice = "pass PIL images to have pictures of any size scaled and centred"
    match shape:
        case (length,) if length in (small, whole):
            rows = inner[0] if length == small else height
            advice = f"pass images.reshape(1, {rows}, -1) if this is one image"
        case (_, length) if length == small + 1:
            advice = "pass images[:, 1:] if the first column holds the labels, as Kaggle's does"
        case (_, length) if length == whole:
            advice = f"pass images.reshape(-1, {height}, {width}) if these are rows of pixels"
        case (_, _):
            advice = "pass images[None] if this is one image"
        case (_, 3, _, _) if channels == 3:
            advice = (
                "pass images.transpose(0, 2, 3, 1) if these are pixels; Session.run takes "
                "normalised input"
            )
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
    if images.ndim == 4:
        return  # photos may have light borders
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
