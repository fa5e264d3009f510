"""Finds the ink in a grey picture: removes the paper and its shading, then the specks.

All arrays are ``(H, W)``, rows first.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.float32]
Mask = NDArray[np.bool_]

BORDER = 0.08  # width of the border, which is taken for paper, as a share of the shorter side
MIN_CONTRAST = 10.0  # grey levels; fainter ink looks like the noise of a camera or of JPEG
NOISE_MARGIN = 5.0  # ink differs from the paper by this many standard deviations of its noise
GRID = 64  # cells along the longer side in the search for specks
SPECK = 0.06  # a speck has less than this share of the largest component's ink; a 5's hat has more
SMOOTH = 0.75  # where less of the border follows one smooth surface, a shadow lies across it
INSIDE = 0.4  # where this share of the ink is clear of the border, the rest is frame or shadow


@dataclass(frozen=True)
class Ink:
    """Ink on flat black paper.

    Attributes:
        levels: Amount of ink per pixel, from 0 (paper) to at most 255, in the picture's own scale.
        mask: Pixels that surely are ink, without specks; none where the picture is blank.
        dark: Whether the ink is darker than the paper.
    """

    levels: Grey
    mask: Mask
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
    smooth = _soften(residual) if max(grey.shape) > GRID else residual
    floor = max(MIN_CONTRAST, NOISE_MARGIN * _spread(smooth[paper]))
    if dark is None:
        # Squared, so that strong ink outweighs the wider but weaker edge of a shadow.
        power = np.where(np.abs(smooth) > floor, np.square(smooth), 0)
        dark = bool(power[smooth < 0].sum() > power[smooth > 0].sum())
    sign = np.float32(-1 if dark else 1)
    levels, smooth = np.maximum(sign * residual, 0), np.maximum(sign * smooth, 0)
    mask = smooth > max(floor, otsu(smooth))
    return Ink(levels, _without_specks(levels, mask), dark)


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

    shrink = max(1.0, max(grey.shape) / GRID)
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


def _without_specks(levels: Grey, mask: Mask) -> Mask:
    """Drop small components, and those that touch the border if enough ink does not."""
    if not mask.any():
        return mask
    step = -(-max(mask.shape) // GRID)
    inked = np.where(mask, levels, 0)
    inked = np.pad(inked, [(0, -side % step) for side in mask.shape])
    cells = inked.reshape(inked.shape[0] // step, step, -1, step).sum((1, 3))
    labels = _components(cells > 0)
    ink = np.bincount(labels.ravel(), cells.ravel())
    edge = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    clear = np.where(np.isin(np.arange(len(ink)), edge), 0, ink)
    if clear.sum() >= INSIDE * ink.sum():
        ink = clear
    keep = (ink >= SPECK * ink.max())[labels] & (labels > 0)
    keep = keep.repeat(step, 0).repeat(step, 1)[: mask.shape[0], : mask.shape[1]]
    kept: Mask = mask & keep
    return kept


def _components(mask: Mask) -> NDArray[np.int64]:
    """Label 8-connected components; 0 is outside. The largest label floods each component."""
    labels = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:
        spread = np.pad(labels, 1)
        spread = np.maximum(np.maximum(spread[:-2], spread[1:-1]), spread[2:])
        spread = np.maximum(np.maximum(spread[:, :-2], spread[:, 1:-1]), spread[:, 2:])
        flooded = np.where(mask, spread, 0)
        if np.array_equal(flooded, labels):
            return flooded
        labels = flooded
