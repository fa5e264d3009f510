"""Turns pictures of digits into images like MNIST's.

NIST's black-and-white digits were scaled to fit a 20x20 box, with their aspect ratio kept and with
grey levels at the edges, and placed in 28x28 with their centre of mass at the centre (LeCun et al.
1998, section III.A). A network trained on MNIST knows nothing else, so a photo, a scan or a
drawing gets the same treatment before it is classified.
"""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lenet_runtime.errors import InputError
from lenet_runtime.images.grey import resize, shrink, to_grey
from lenet_runtime.images.ink import Ink, box_of, find_ink, keep_digit, look_closer, otsu, soften
from lenet_runtime.images.paper import Grey, fill_paper
from lenet_runtime.images.shapes import Page, find_page, has_square

if TYPE_CHECKING:
    from PIL.Image import Image

# 8192x8192: more than phones take, and 64 MB of grey. Checked before anything is decoded.
MAX_PIXELS = 2**26
FAR_SIDE = 256  # the first look at a picture is at this size: fine strokes stay, noise averages out
NEAR_SIDE = 160  # and the second, at the ink and its surroundings, at this one
TINY = 16  # the longer side of pictures that are drawings pixel by pixel, not photos
BOX, SIDE = 20, 28
STROKE = 90  # percentile of the ink's levels that becomes full white
SOLID = 8  # no stroke of a digit of 20x20 is as wide
CENTRE = 14  # MNIST's centres of mass round to (14, 14), counting pixels from 0
ORIENTATION = 0x0112  # EXIF's tag; 1 is upright
TURNS = {
    2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270",
    7: "TRANSVERSE", 8: "ROTATE_90",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class DigitImage:
    """An image like MNIST's, and how it was made from a picture.

    Attributes:
        pixels: Pixels, uint8 ``(28, 28)``: white ink, 255, on black paper, 0.
        inverted: Whether the picture had dark ink on light paper.
        steps: Descriptions of the steps that were taken, in order.
        shapes: Shapes in the picture that are large enough to be digits of their own.
        warnings: What makes it doubtful that this is the picture of one digit; mostly empty.
    """

    pixels: NDArray[np.uint8]
    inverted: bool
    steps: tuple[str, ...]
    shapes: int = 1
    warnings: tuple[str, ...] = ()


def mnist_style(image: "Image") -> DigitImage:
    """Turn a picture of one handwritten digit into 28x28 pixels of white ink on black.

    The picture may have any size, mode and EXIF orientation. Where it is transparent it lies on
    white paper, or on black paper if its ink is light. The border of the picture shows the level
    of the paper, whose shading is removed; what differs from that level is the digit. An MNIST
    digit passes unchanged, and its negative is only inverted. Of an animation or a file with
    several pages, the current frame counts.

    Raises:
        InputError: the picture has more than 2**26 pixels, is damaged, has pixels that are not
            finite, or shows no ink.
    """
    from PIL import Image

    width, height = image.size
    frames = _frames(image)
    if width * height > MAX_PIXELS:
        raise InputError(
            f"expected a picture of at most {MAX_PIXELS} pixels, found {width}x{height}; "
            "make it smaller"
        )
    try:
        is_turned = image.getexif().get(ORIENTATION, 1) in TURNS
        image.load()  # which turns a TIFF already
        turn = TURNS.get(image.getexif().get(ORIENTATION, 1))
        image = shrink(image)
        papers = to_grey(image if turn is None else image.transpose(Image.Transpose[turn]))
    except InputError:
        raise
    except Exception as error:  # decoders raise errors of many kinds on damaged files
        raise damaged(error) from error
    steps = [frames] if frames else []
    if is_turned:
        steps.append("turned upright as EXIF says")
    for grey in papers:
        digit = _already_mnist(grey, steps) or _normalise(grey, steps)
        if digit:
            return digit
    raise InputError(
        f"expected a digit, found a blank {width}x{height} picture, or ink too faint to tell "
        "from noise; take it with more contrast, one digit with some paper around it"
        + (f"; {frames}" if frames else "")
    )


def _frames(image: "Image") -> str:
    """Which frame of an animation, or page of a document, counts; mostly empty."""
    try:
        count = int(getattr(image, "n_frames", 1))
    except Exception:  # a damaged file, which decoding it says
        return ""
    return f"frame {image.tell() + 1} of {count} taken" if count > 1 else ""


def damaged(error: BaseException) -> InputError:
    """The error that says what a decoder found wrong with a picture."""
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
    rows, columns = pixels.sum(1, np.float64), pixels.sum(0, np.float64)
    y, x = ((side * np.arange(len(side))).sum() / side.sum() for side in (rows, columns))
    return float(y), float(x)


def _normalise(grey: "Image", steps: list[str]) -> DigitImage | None:
    located = _locate(grey)
    if located is None:
        return None
    ink, shapes, page = located
    pixels = _place(_scale(ink))
    if page.inside is not None:
        steps = [*steps, "cropped to the sheet, the frame or the circle around the ink"]
    colours = "inverted: dark ink on light paper" if ink.dark else "kept: light ink on dark paper"
    box = f"cropped to the ink, scaled to fit {BOX}x{BOX}, centred by mass in {SIDE}x{SIDE}"
    steps = [*steps, colours, "contrast stretched", box]
    return DigitImage(pixels, ink.dark, tuple(steps), shapes, _doubts(pixels, shapes))


def _doubts(pixels: NDArray[np.uint8], shapes: int) -> tuple[str, ...]:
    doubts = []
    if shapes > 1:
        doubts.append(f"{shapes} shapes of a digit's size; give one digit a picture")
    if has_square(pixels >= 128, SOLID):  # 19 of MNIST's 10,000 test digits have one
        doubts.append("a solid area, where a digit has strokes; leave only paper around the digit")
    return tuple(doubts)


def _locate(grey: "Image") -> tuple[Ink, int, Page] | None:
    """Find the ink in the whole picture, then once more and sharper in its surroundings."""
    from PIL import ImageOps

    if max(grey.size) <= TINY:
        grey = ImageOps.autocontrast(grey)  # levels of 0 to 16, as in UCI's digits; no noise here
    view, factor = _reduce(grey, FAR_SIDE)
    page = find_page(view, otsu(view))
    if page.crop is not None:
        grey = ImageOps.expand(grey, math.ceil(0.2 * max(grey.size)) + 1, round(page.crop))
        view, factor = _reduce(grey, FAR_SIDE)
    soft = soften(view)
    ink = find_ink(soft if page.inside is None else fill_paper(soft, page.inside))
    mask, shapes = keep_digit(ink.mask)
    if not mask.any():
        return None
    left, top, right, bottom = box_of(mask)
    margin = math.ceil(max(right - left, bottom - top) * 0.3) + 1
    left, top = max(0, left - margin) * factor, max(0, top - margin) * factor
    right, bottom = (right + margin) * factor, (bottom + margin) * factor
    crop = grey.crop((left, top, min(right, grey.width), min(bottom, grey.height)))
    close, closer_factor = _reduce(crop, NEAR_SIDE)
    places = [
        np.minimum((start + (np.arange(side) + 0.5) * closer_factor) / factor, whole - 0.5)
        for start, side, whole in zip((top, left), close.shape, mask.shape, strict=True)
    ]
    closer = look_closer(close.astype(np.float32), places[0], places[1], ink, mask)
    if not closer.mask.any():
        closer = replace(ink, mask=mask)
    return closer, max(shapes, page.cells), page


def _reduce(grey: "Image", side: int) -> tuple[NDArray[np.uint8], int]:
    """A picture averaged to at most `side` pixels a side, and by which factor."""
    factor = -(-max(grey.size) // side)
    return np.asarray(grey.reduce(factor) if factor > 1 else grey), factor


def _scale(ink: Ink) -> Grey:
    """Scale the ink to fit 20x20 with area averaging; its levels become 0 to 1."""
    from PIL import Image

    strokes = ink.levels[ink.mask]
    most = len(strokes) * STROKE // 100
    full = np.partition(strokes, most)[most]
    left, top, right, bottom = box_of(ink.mask)
    shrink = max(right - left, bottom - top) / BOX
    size = max(1, round((right - left) / shrink)), max(1, round((bottom - top) / shrink))
    picture = Image.fromarray(np.minimum(ink.levels[top:bottom, left:right], full))
    kind = Image.Resampling.BOX if shrink > 1 else Image.Resampling.BILINEAR
    scaled = np.asarray(resize(picture, *size, kind))
    stretched: Grey = scaled / scaled.max()
    return stretched


def _place(digit: Grey) -> NDArray[np.uint8]:
    """Put the digit, at most 20x20, into 28x28 with its centre of mass at the centre."""
    pixels = np.zeros((SIDE, SIDE), np.uint8)
    levels = np.rint(digit * 255)
    corner = [
        min(max(round(CENTRE - mass), 0), SIDE - side)
        for mass, side in zip(_centre_of_mass(levels), digit.shape, strict=True)
    ]
    height, width = digit.shape
    pixels[corner[0] : corner[0] + height, corner[1] : corner[1] + width] = levels
    return pixels
