"""Pictures of digits, made the way MNIST was made.

NIST's black-and-white digits were size-normalised into a 20x20 box with their aspect ratio kept,
by scaling that leaves grey levels, and placed in 28x28 with their centre of mass at the centre
(LeCun et al. 1998, section III.A). A network trained on MNIST knows nothing else, so a photo, a
scan or a drawing gets the same treatment before it is classified.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from lenet_runtime.errors import BackendUnavailable, InputError
from lenet_runtime.images.grey import to_grey
from lenet_runtime.images.ink import Grey, Ink, find_ink

if TYPE_CHECKING:
    from PIL.Image import Image

# 8192x8192: more than phones take, and 64 MB of grey. Checked before anything is decoded.
MAX_PIXELS = 2**26
WORK_SIDE = 256  # ink is looked for at this size: fine strokes stay, sensor noise averages out
BOX, SIDE = 20, 28
STROKE = 90  # percentile of the ink's levels that becomes full white
CENTRE = 14  # MNIST's centres of mass round to (14, 14), counting pixels from 0
PROGRAMS = ("EPS", "WMF")  # Pillow runs Ghostscript, or Windows' drawing commands, for these
ORIENTATION = 0x0112  # EXIF's tag; 1 is upright

# What Pillow raises from damaged files, depending on the format.
_DAMAGED = (
    OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, ArithmeticError,
    MemoryError, NotImplementedError,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class DigitImage:
    """A picture as MNIST would have it.

    Attributes:
        pixels: uint8 ``(28, 28)``; white ink, 255, on black, 0.
        inverted: whether the picture had dark ink on light paper.
        steps: what was done, in words, in order.
    """

    pixels: NDArray[np.uint8]
    inverted: bool
    steps: tuple[str, ...]


def read_digit(file: Path | BinaryIO) -> DigitImage:
    """Open a picture, PNG, JPEG or what else Pillow reads, and make it MNIST's.

    Raises:
        InputError: no picture, a damaged or an enormous one, or no digit in it.
        BackendUnavailable: Pillow is not installed.
        OSError: the file cannot be opened.
    """
    try:
        import PIL.Image
    except ImportError as error:
        raise BackendUnavailable(
            "reading pictures needs Pillow; pip install 'lenet-deploy[cpu]' brings it"
        ) from error
    if isinstance(file, Path):
        with file.open("rb") as stream:
            return read_digit(stream)
    try:
        image = PIL.Image.open(file)
    except PIL.UnidentifiedImageError as error:
        raise InputError(
            "expected a picture that Pillow reads, such as PNG or JPEG, found another or a "
            "damaged file; save it as PNG"
        ) from error
    except PIL.Image.DecompressionBombError as error:
        raise InputError(f"expected at most {MAX_PIXELS} pixels; {error}") from error
    except _DAMAGED as error:
        raise _damaged(error) from error
    with image:
        if image.format in PROGRAMS:
            raise InputError(f"expected a picture, found {image.format}; save it as PNG")
        return mnist_style(image)


def picture_suffixes() -> frozenset[str]:
    """The file name suffixes, lower-case with the dot, of what `read_digit` opens."""
    from PIL import Image

    kinds = Image.registered_extensions().items()
    return frozenset(s for s, kind in kinds if kind in Image.OPEN and kind not in PROGRAMS)


def mnist_style(image: "Image") -> DigitImage:
    """Turn a picture of one handwritten digit into 28x28 pixels of white ink on black.

    Any size, mode and EXIF orientation; transparency lies on white paper, or on black where the
    ink is light. The paper's level comes from the picture's border and its shading is removed;
    ink on the other side of that level is the digit. What already is an MNIST digit passes
    unchanged, and its negative is inverted and nothing else. Of an animation or a multi-page
    file, the current frame counts.

    Raises:
        InputError: more than 2**26 pixels, a damaged file, not finite pixels, or no ink.
    """
    from PIL import ImageOps

    width, height = image.size
    if width * height > MAX_PIXELS:
        raise InputError(
            f"expected a picture of at most {MAX_PIXELS} pixels, found {width}x{height}; "
            "make it smaller"
        )
    try:
        turned = image.getexif().get(ORIENTATION, 1) in range(2, 9)
        papers = to_grey(ImageOps.exif_transpose(image))
    except _DAMAGED as error:
        raise _damaged(error) from error
    steps = ["turned upright as EXIF says"] if turned else []
    for grey in papers:
        digit = _already_mnist(grey, steps) or _normalise(grey, steps)
        if digit:
            return digit
    raise InputError(
        f"expected a digit, found a blank {width}x{height} picture, or ink too faint to tell "
        "from noise; take it with more contrast, one digit with some paper around it"
    )


def _damaged(error: BaseException) -> InputError:
    return InputError(
        f"expected a whole picture of a mode that converts to grey, found a fault in it: {error}; "
        "save it again as PNG"
    )


def _already_mnist(grey: "Image", steps: list[str]) -> DigitImage | None:
    if grey.size != (SIDE, SIDE):
        return None
    pixels = np.array(grey, np.uint8)
    if _is_mnist(pixels):
        return DigitImage(pixels, False, (*steps, "passed unchanged: already as in MNIST"))
    if _is_mnist(255 - pixels):
        return DigitImage(255 - pixels, True, (*steps, "inverted: else as in MNIST"))
    return None


def _is_mnist(pixels: NDArray[np.uint8]) -> bool:
    """Whether the ink fills a 20x20 box around the centre of mass, as in all 70,000 digits."""
    if np.count_nonzero(pixels) > pixels.size / 2 or pixels.max() < 128:
        return False
    rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    side = max(np.ptp(rows), np.ptp(columns)) + 1
    offset = np.abs(np.array(_centre_of_mass(pixels)) - CENTRE).max()
    return bool(BOX - 2 <= side <= BOX and offset <= 1)


def _centre_of_mass(pixels: NDArray[Any]) -> tuple[float, float]:
    ink = pixels.astype(np.float64)
    y, x = (ink.sum(axis) @ np.arange(ink.shape[1 - axis]) / ink.sum() for axis in (1, 0))
    return float(y), float(x)


def _normalise(grey: "Image", steps: list[str]) -> DigitImage | None:
    ink = _locate(grey)
    if ink is None:
        return None
    pixels = _place(_scale(ink))
    said = "inverted: dark ink on light paper" if ink.dark else "kept: light ink on dark paper"
    box = f"cropped to the ink, scaled to fit {BOX}x{BOX}, centred by mass in {SIDE}x{SIDE}"
    return DigitImage(pixels, ink.dark, (*steps, said, "contrast stretched", box))


def _locate(grey: "Image") -> Ink | None:
    """Find the ink twice: in the whole picture, then sharper, in what surrounds the find."""
    work = _reduce(grey)
    ink = find_ink(np.asarray(work, np.float32))
    if not ink.mask.any():
        return None
    ratio = grey.width / work.width, grey.height / work.height
    left, top, right, bottom = ink.box
    margin = math.ceil(max(right - left, bottom - top) * 0.3) + 1
    near = (
        max(0, math.floor((left - margin) * ratio[0])),
        max(0, math.floor((top - margin) * ratio[1])),
        min(grey.width, math.ceil((right + margin) * ratio[0])),
        min(grey.height, math.ceil((bottom + margin) * ratio[1])),
    )
    closer = find_ink(np.asarray(_reduce(grey.crop(near)), np.float32), ink.dark)
    return closer if closer.mask.any() else ink


def _reduce(grey: "Image") -> "Image":
    from PIL import Image

    shrink = max(grey.size) / WORK_SIDE
    if shrink <= 1:
        return grey
    size = tuple(max(1, round(side / shrink)) for side in grey.size)
    return grey.resize((size[0], size[1]), Image.Resampling.BOX)


def _scale(ink: Ink) -> Grey:
    """Scale the ink's box to fit 20x20 with area averaging; levels in 0 to 1."""
    from PIL import Image

    full = np.percentile(ink.levels[ink.mask], STROKE)
    levels = np.where(_dilate(ink.mask), np.minimum(ink.levels / full, 1), 0)
    left, top, right, bottom = ink.box
    shrink = max(right - left, bottom - top) / BOX
    size = max(1, round((right - left) / shrink)), max(1, round((bottom - top) / shrink))
    picture = Image.fromarray(levels.astype(np.float32))
    kind = Image.Resampling.BOX if shrink > 1 else Image.Resampling.BILINEAR
    scaled = np.asarray(picture.resize(size, kind, (left, top, right, bottom)), np.float32)
    stretched: Grey = scaled / scaled.max()
    return stretched


def _dilate(mask: NDArray[np.bool_], by: int = 2) -> NDArray[np.bool_]:
    """The mask and the grey edge of its strokes."""
    wide = mask.copy()
    for axis in (0, 1):
        rows = np.moveaxis(wide, axis, 0)
        before = rows.copy()
        for step in range(1, by + 1):
            rows[step:] |= before[:-step]
            rows[:-step] |= before[step:]
    return wide


def _place(digit: Grey) -> NDArray[np.uint8]:
    """Put the digit, at most 20x20, into 28x28 with its centre of mass at the centre."""
    pixels = np.zeros((SIDE, SIDE), np.uint8)
    corner = [
        min(max(round(CENTRE - mass), 0), SIDE - side)
        for mass, side in zip(_centre_of_mass(digit), digit.shape, strict=True)
    ]
    height, width = digit.shape
    pixels[corner[0] : corner[0] + height, corner[1] : corner[1] + width] = np.rint(digit * 255)
    return pixels
