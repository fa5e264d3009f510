"""Finds the ink in a grey picture: removes the paper and its shading, then the specks.

All arrays are ``(H, W)``, rows first.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_runtime.images.paper import Grey, Paper, find_paper, spread
from lenet_runtime.images.regions import Mask, Regions, find_regions

MIN_CONTRAST = 10.0  # grey levels; fainter ink looks like the noise of a camera or of JPEG
NOISE_MARGIN = 5.0  # ink differs from the paper by this many standard deviations of its noise
SAMPLES = 64  # pixels along the longer side that the threshold is computed from
SOFT = 64  # longer pictures are softened before ink is told from noise
RULE = 6  # a ruled line is this many times as long as it is thick
DIGIT = 0.2  # ink that is this long, as a share of the longer side, may be a digit by itself
SPECK = 0.06  # a speck has less than this share of the largest component's ink; a 5's hat has more
INSIDE = 0.4  # where this share of the ink is clear of the border, the rest is frame or shadow


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
    # Squared, so that strong ink outweighs the wider but weaker edge of a shadow.
    darker, lighter = residual[residual < -floor], residual[residual > floor]
    dark = bool(np.square(darker).sum() > np.square(lighter).sum())
    levels = np.clip(-residual if dark else residual, 0, 255)
    return Ink(levels, levels > max(floor, otsu(levels.astype(np.uint8))), dark, paper)


def look_closer(grey: Grey, part: tuple[float, float, float, float], first: Ink, near: Mask) -> Ink:
    """The ink in a part of a picture that was looked at before.

    Args:
        grey: The part, with more pixels than it had at the first look.
        part: Its left, top, right and bottom in the whole picture, whose sides are 0 and 1.
        first: What the first look at the whole picture found.
        near: Pixels of the part that may be ink, as `grey`.
    """
    if first.paper.coefficients is None:  # no level of the whole is exact enough here
        paper, part = find_paper(grey), (0, 0, 1, 1)
    else:
        paper = first.paper
    residual = grey - paper.level(grey, part)
    noise = spread(residual[::4, ::4][~near[::4, ::4]])
    levels = np.clip(-residual if first.dark else residual, 0, 255) * near
    floor = max(MIN_CONTRAST, NOISE_MARGIN * noise)
    mask = levels > max(floor, otsu(levels.astype(np.uint8)))
    return Ink(levels, mask, first.dark, first.paper)


def soften(pixels: NDArray[np.uint8]) -> Grey:
    """Average 3x3 pixels: the dots of a dither and the noise of a sensor fade, strokes do not."""
    if max(pixels.shape) <= SOFT:
        return pixels.astype(np.float32)
    rows = pixels * np.uint16(3)
    rows[1:-1] = pixels[:-2]
    rows[1:-1] += pixels[1:-1]
    rows[1:-1] += pixels[2:]
    soft = rows * np.uint16(3)
    soft[:, 1:-1] = rows[:, :-2]
    soft[:, 1:-1] += rows[:, 1:-1]
    soft[:, 1:-1] += rows[:, 2:]
    return soft * np.float32(1 / 9)


def otsu(levels: NDArray[np.uint8]) -> float:
    """The threshold that best splits `levels` into two classes (Otsu 1979)."""
    step = -(-max(levels.shape) // SAMPLES)
    counts = np.bincount(levels[::step, ::step].ravel(), minlength=256)
    below, total = np.cumsum(counts), np.cumsum(counts * np.arange(256))
    pixels, mean = below[-1], total[-1] / below[-1]
    variance = (mean * below - total) ** 2 / np.maximum(below * (pixels - below), 1)
    # Between two classes with a gap every threshold in the gap is as good; take the middle one.
    best = np.flatnonzero(variance >= variance.max() * (1 - 1e-9))
    return float(best.mean()) + 0.5


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
