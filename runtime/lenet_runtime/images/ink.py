"""Finds the ink in a grey picture: removes the paper and its shading, then the specks.

All arrays are ``(H, W)``, rows first.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_runtime.images.paper import Grey, Paper, Places, find_paper, spread
from lenet_runtime.images.regions import Mask, Regions, find_regions

MIN_CONTRAST = 10.0  # grey levels; fainter ink looks like the noise of a camera or of JPEG
NOISE_MARGIN = 6.0  # ink differs from the paper by this many standard deviations of its noise
SAMPLES = 64  # pixels along the longer side that the threshold is computed from
SOFT = 64  # longer pictures are softened before ink is told from noise
RULE = 6  # a ruled line is this many times as long as it is thick
DIGIT = 0.2  # ink that is this long, as a share of the longer side, may be a digit by itself
SPECK = 0.06  # a speck has less than this share of the largest component's ink; a 5's hat has more
INSIDE = 0.4  # where this share of the ink is clear of the border, the rest is frame or shadow

_LEVELS = np.arange(256)


@dataclass(frozen=True)
class Ink:
    """Ink on flat black paper.

    Attributes:
        levels: Amount of ink per pixel, from 0 (paper) to 255, in the picture's own scale.
        mask: Pixels that surely are ink; none where the picture is blank.
        dark: Whether the ink is darker than the paper.
        paper: The paper that was subtracted.
    """

    levels: Grey
    mask: Mask
    dark: bool
    paper: Paper


def box_of(mask: Mask) -> tuple[int, int, int, int]:
    """The bounding box of a mask: left, top, right and bottom, the last two exclusive."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def find_ink(grey: Grey) -> Ink:
    """Separate ink from paper in a grey picture of 0 to 255, at most a few hundred pixels a side.

    Whether the ink is darker or lighter than the paper is decided by what differs more.
    """
    paper = find_paper(grey)
    residual = grey - paper.level(grey)
    floor = max(MIN_CONTRAST, NOISE_MARGIN * paper.noise)
    # Squared, so that strong ink outweighs the wider but weaker edge of a shadow; and in whole
    # numbers, whose sum is exact in any order.
    sample = _sample(residual, 2 * SAMPLES)
    darker, lighter = (
        np.square(strong.astype(np.int64)).sum()
        for strong in (sample[sample < -floor], sample[sample > floor])
    )
    dark = bool(darker > lighter)
    levels = _levels(residual, dark)
    return Ink(levels, levels > max(floor, 0.85 * otsu(levels)), dark, paper)


def look_closer(grey: Grey, y: Places, x: Places, first: Ink, digit: Mask) -> Ink:
    """The ink in a part of a picture that was looked at before.

    Args:
        grey: The part, with more pixels than it had at the first look.
        y: Row of each of its rows in the whole picture, in pixels of the first look.
        x: Column of each of its columns.
        first: What the first look found.
        digit: Pixels of the first look that belong to the digit; only near them there is ink.
    """
    if first.paper.coefficients is None:  # no level of the whole is exact enough here
        paper = find_paper(grey)
        residual = grey - paper.level(grey)
    else:
        paper = first.paper
        residual = grey - paper.level_at(y / len(digit), x / digit.shape[1])
    rows, columns = y.astype(np.intp), x.astype(np.intp)
    digit = digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    near = _dilate(digit)[rows - rows[0]][:, columns - columns[0]]
    noise = spread(residual[::4, ::4][~near[::4, ::4]])
    levels = _levels(residual, first.dark)
    levels *= near
    floor = max(MIN_CONTRAST, NOISE_MARGIN * noise)
    return Ink(levels, levels > max(floor, otsu(levels)), first.dark, paper)


def _dilate(mask: Mask) -> Mask:
    """The mask and two pixels beside it, where its strokes have their grey edges."""
    high = mask.copy()
    for by in (1, 2):
        high[by:] |= mask[:-by]
        high[:-by] |= mask[by:]
    wide = high.copy()
    for by in (1, 2):
        wide[:, by:] |= high[:, :-by]
        wide[:, :-by] |= high[:, by:]
    return wide


def _levels(residual: Grey, dark: bool) -> Grey:
    """Amounts of ink, in the place of the differences from the paper."""
    if dark:
        np.negative(residual, out=residual)
    return np.clip(residual, 0, 255, out=residual)


def _sample(pixels: NDArray[Any], side: int) -> NDArray[Any]:
    """Every so many pixels, at most `side` a side."""
    step = -(-max(pixels.shape) // side)
    return pixels[::step, ::step]


def soften(pixels: NDArray[np.uint8]) -> Grey:
    """Average 3x3 pixels: the dots of a dither and the noise of a sensor fade, strokes do not."""
    if max(pixels.shape) <= SOFT:
        return pixels.astype(np.float32)
    levels = pixels.astype(np.uint16)
    rows = levels * np.uint16(3)
    np.add(levels[:-2], levels[2:], out=rows[1:-1])
    rows[1:-1] += levels[1:-1]
    soft = rows * np.uint16(3)
    np.add(rows[:, :-2], rows[:, 2:], out=soft[:, 1:-1])
    soft[:, 1:-1] += rows[:, 1:-1]
    return soft * np.float32(1 / 9)


def otsu(levels: NDArray[np.uint8] | Grey) -> float:
    """The threshold that best splits levels of 0 to 255 into two classes (Otsu 1979)."""
    sample = _sample(levels, SAMPLES).astype(np.uint8).ravel()
    counts = np.bincount(sample, minlength=256)
    below, total = counts.cumsum(), (counts * _LEVELS).cumsum()
    pixels = below[-1]
    variance = (total[-1] / pixels * below - total) ** 2 / np.maximum(below * (pixels - below), 1)
    # Between two classes with a gap every threshold in the gap is as good; take the middle one.
    best = np.flatnonzero(variance >= variance.max() * (1 - 1e-9))
    return float(best[0] + best[-1] + 1) / 2


def keep_digit(mask: Mask) -> tuple[Mask, int]:
    """Keep the shapes that make up the digit, and count those that look like digits.

    Specks go, and straight lines over or under the rest, and what touches the border of the
    picture if enough ink does not.
    """
    if not mask.any():
        return mask, 0
    regions = find_regions(mask)
    top, left, bottom, right = regions.boxes.T
    height, width = mask.shape
    ink = np.where(regions.in_mask, regions.areas, 0)
    sides = sum(np.array([top == 0, left == 0, bottom == height, right == width], np.int64))
    clear = np.where(sides, 0, ink)
    extents = np.maximum(bottom - top, right - left)
    if extents[clear > 0].max(initial=0) >= DIGIT * max(mask.shape):
        ink[sides > 1] = 0
    if clear.sum() >= INSIDE * ink.sum():
        ink = clear
    ink[_rules(regions, ink)] = 0
    keep = ink >= SPECK * ink.max()
    keep &= regions.in_mask
    return regions.paint(keep), _count(regions.boxes[keep], ink[keep])


def _rules(shapes: Regions, ink: NDArray[Any]) -> list[int]:
    """Straight lines that lie over or under all other large shapes."""
    rules = []
    large = np.flatnonzero((ink > 0) & (ink >= SPECK * ink.max()))
    for shape in large:
        top, left, bottom, right = shapes.boxes[shape]
        width, others = right - left, large[large != shape]
        if not len(others) or width * width < RULE * shapes.areas[shape]:
            continue
        tops, lefts, bottoms, rights = shapes.boxes[others].T
        rest = rights.max() - lefts.min()
        middle = (tops.min() + bottoms.max()) / 2
        if (top >= middle and width >= rest and top >= bottoms.max() - (bottom - top)) or (
            bottom <= middle and width >= 2 * rest and bottom <= tops.min() + (bottom - top)
        ):
            rules.append(int(shape))
    return rules


def _count(boxes: NDArray[np.int64], ink: NDArray[Any]) -> int:
    """Number of shapes that are large enough to be digits of their own; at least 1.

    Shapes whose boxes overlap, such as the strokes of a 4 or a 5, count as one.
    """
    if len(boxes) == 1:
        return 1
    sizes = (boxes[:, 2:] - boxes[:, :2]).max(1)
    boxes = boxes[(sizes >= 0.5 * sizes.max()) & (ink >= 0.2 * ink.max())]
    count = 0
    while len(boxes):
        box, boxes = boxes[0], boxes[1:]
        apart = ((boxes[:, :2] >= box[2:]) | (boxes[:, 2:] <= box[:2])).any(1)
        if apart.all():
            count += 1
        else:  # one box around both, and again
            joined = np.concatenate([boxes[~apart], box[None]])
            box = np.concatenate([joined[:, :2].min(0), joined[:, 2:].max(0)])
            boxes = np.concatenate([box[None], boxes[apart]])
    return count
