"""Finds the ink in a grey picture: removes the paper and its shading, then the specks.

All arrays are ``(H, W)``, rows first.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_runtime.images.shapes import Mask, Shapes, find_shapes

Grey = NDArray[np.float32]

BORDER = 0.08  # width of the border, which is taken for paper, as a share of the shorter side
MIN_CONTRAST = 10.0  # grey levels; fainter ink looks like the noise of a camera or of JPEG
NOISE_MARGIN = 5.0  # ink differs from the paper by this many standard deviations of its noise
GRID = 128  # cells along the longer side in the search for shapes
SHADED = 64  # cells along the longer side that the shading of the paper is read from
RULE = 6  # a ruled line is this many times as long as it is thick
DIGIT = 0.2  # ink that is this long, as a share of the longer side, may be a digit by itself
SPECK = 0.06  # a speck has less than this share of the largest component's ink; a 5's hat has more
SMOOTH = 0.75  # where less of the border follows one smooth surface, a shadow lies across it
INSIDE = 0.4  # where this share of the ink is clear of the border, the rest is frame or shadow


@dataclass(frozen=True)
class Ink:
    """Ink on flat black paper.

    Attributes:
        levels: Amount of ink per pixel, from 0 (paper) to at most 255, in the picture's own scale.
        mask: Pixels that surely are ink, without specks; none where the picture is blank.
        shapes: Number of shapes that are large enough to be digits of their own.
        dark: Whether the ink is darker than the paper.
    """

    levels: Grey
    mask: Mask
    shapes: int
    dark: bool

    @property
    def box(self) -> tuple[int, int, int, int]:
        """The bounding box of the ink: left, top, right and bottom, the last two exclusive."""
        rows, columns = np.flatnonzero(self.mask.any(1)), np.flatnonzero(self.mask.any(0))
        return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def find_ink(grey: Grey, dark: bool | None = None) -> Ink:
    """Separate ink from paper in a grey picture of 0 to 255.

    Args:
        grey: Picture of at most a few hundred pixels a side.
        dark: Whether the ink is darker than the paper. None decides it by what differs more from
            the border: what is darker, or what is lighter.
    """
    residual, paper = _flatten(grey)
    smooth = _soften(residual) if max(grey.shape) > SHADED else residual
    floor = max(MIN_CONTRAST, NOISE_MARGIN * _spread(smooth[paper]))
    if dark is None:
        # Squared, so that strong ink outweighs the wider but weaker edge of a shadow.
        power = np.where(np.abs(smooth) > floor, np.square(smooth), 0)
        dark = bool(power[smooth < 0].sum() > power[smooth > 0].sum())
    sign = np.float32(-1 if dark else 1)
    levels, smooth = np.maximum(sign * residual, 0), np.maximum(sign * smooth, 0)
    mask = smooth > max(floor, otsu(smooth))
    return Ink(levels, *_digit(levels, mask), dark)


def _soften(levels: Grey) -> Grey:
    """Average 3x3 pixels: the dots of a dither and the noise of a sensor fade, strokes do not."""
    for axis in (0, 1):
        before, after = np.roll(levels, 1, axis), np.roll(levels, -1, axis)
        levels = ((before + levels + after) / 3).astype(np.float32)
    return levels


def otsu(levels: Grey) -> float:
    """The threshold that best splits `levels` into two classes (Otsu 1979)."""
    counts, edges = np.histogram(levels, 256)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    total = np.cumsum(counts * centres)
    with np.errstate(invalid="ignore"):  # an empty class divides by zero and never wins
        difference = total / below - (total[-1] - total) / above
    variance = np.nan_to_num(below * above * difference**2)
    # Between two classes with a gap every threshold in the gap is as good; take the middle one.
    best = np.flatnonzero(variance >= variance.max() * (1 - 1e-9))
    return float(edges[1:][best].mean())


def fill_paper(grey: Grey, inside: Mask) -> Grey:
    """Continue the paper that is `inside` over the rest of the picture."""
    if inside.all() or not inside.any():
        return grey
    # A line's soft edge, and a camera's, is two or three pixels wide.
    for axis in (0, 1):
        for by in (-2, -1, 1, 2):
            inside = inside & np.roll(inside, by, axis)
    if not inside.any():
        return grey
    paper = inside & _near(grey - np.median(grey[inside]), inside, width=4)
    return np.where(inside, grey, _surface(grey, paper if paper.any() else inside))


def _flatten(grey: Grey) -> tuple[Grey, Mask]:
    """Subtract the paper, a smooth surface fitted from the border inwards; return its mask too."""
    height, width = grey.shape
    border = np.ones(grey.shape, np.bool_)
    depth = max(1, round(BORDER * min(height, width)))
    border[depth:-depth, depth:-depth] = False
    paper = border & _near(grey - np.median(grey[border]), border, width=4)
    for reach in (border, border, None, None):
        residual = grey - _surface(grey, paper)
        paper = _near(residual, paper) if reach is None else border & _near(residual, paper)
    if np.count_nonzero(paper & border) < SMOOTH * np.count_nonzero(border):
        residual = grey - _local_median(grey)
        paper = border
    return residual, paper


def _local_median(grey: Grey) -> Grey:
    """Level of the paper by a median, which follows the edge of a shadow as no surface does."""
    from PIL import Image, ImageFilter

    shrink = max(1.0, max(grey.shape) / SHADED)
    height, width = (max(1, round(side / shrink)) for side in grey.shape)
    picture = Image.fromarray(grey.astype(np.uint8))
    small = picture.resize((width, height), Image.Resampling.BOX)
    window = max(3, round(0.4 * min(height, width))) | 1
    paper = small.filter(ImageFilter.MedianFilter(window))
    return np.asarray(paper.resize(picture.size, Image.Resampling.BILINEAR), np.float32)


def _near(residual: Grey, paper: Mask, width: float = 3) -> Mask:
    near: Mask = np.abs(residual) <= width * max(2.0, _spread(residual[paper]))
    return near


def _spread(residual: NDArray[np.float32]) -> float:
    """Standard deviation, estimated from the median so that strokes do not count."""
    return 1.4826 * float(np.median(np.abs(residual))) if residual.size else 0.0


def _surface(grey: Grey, paper: Mask) -> Grey:
    """The quadratic surface closest to the pixels of the paper; flat in very small pictures."""
    height, width = grey.shape
    if min(height, width) < 8 or np.count_nonzero(paper) < 32:
        return np.full_like(grey, np.median(grey[paper]) if paper.any() else np.median(grey))
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
    sample = np.zeros_like(paper)  # thousands of pixels fix six numbers as well as all do
    step = -(-max(height, width) // 64)
    sample[::step, ::step] = paper[::step, ::step]
    if np.count_nonzero(sample) < 32:
        sample = paper
    weights: NDArray[Any] = np.linalg.lstsq(terms[sample], grey[sample], rcond=None)[0]
    surface: Grey = (terms @ weights).astype(np.float32)
    return surface


def _digit(levels: Grey, mask: Mask) -> tuple[Mask, int]:
    """Keep the shapes that make up the digit, and count those that look like digits.

    Specks go, and straight lines over or under the rest, and what touches the border of the
    picture if enough ink does not.
    """
    if not mask.any():
        return mask, 0
    step = -(-max(mask.shape) // GRID)
    inked = np.pad(np.where(mask, levels, 0), [(0, -side % step) for side in mask.shape])
    cells = inked.reshape(inked.shape[0] // step, step, -1, step).sum((1, 3))
    shapes = find_shapes(cells > 0)
    ink = np.bincount(shapes.labels.ravel(), cells.ravel(), len(shapes.areas))
    top, left, bottom, right = shapes.boxes.T
    sides = sum(np.array([top == 0, left == 0, bottom == cells.shape[0], right == cells.shape[1]]))
    ink[0] = 0
    clear = np.where(sides, 0, ink)
    extents = np.maximum(bottom - top, right - left)
    if extents[clear > 0].max(initial=0) >= DIGIT * max(cells.shape):
        ink[sides > 1] = 0
    if clear.sum() >= INSIDE * ink.sum():
        ink = clear
    ink[_rules(shapes, ink)] = 0
    keep = ink >= SPECK * ink.max()
    keep[0] = False
    kept = keep[shapes.labels].repeat(step, 0).repeat(step, 1)[: mask.shape[0], : mask.shape[1]]
    return mask & kept, _count(shapes.boxes[keep], ink[keep])


def _rules(shapes: Shapes, ink: NDArray[Any]) -> list[int]:
    """Straight lines that lie over or under all other large shapes."""
    rules = []
    large = np.flatnonzero(ink >= SPECK * ink.max())
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
