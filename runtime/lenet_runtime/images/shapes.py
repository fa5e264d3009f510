"""Finds the page that surrounds the ink: a sheet, a cell of a form, a circle.

All arrays are ``(H, W)``, rows first.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lenet_runtime.images.regions import Mask, Regions, find_regions

SIGNIFICANT = 0.15  # a shape on a page is at least this share of the page's sides, on average
RECTANGLE = 0.85  # a sheet fills this share of its bounding box; an ellipse, like a 0, fills 0.79
RING = 0.4  # what a line or a table encloses covers more than this share of all that it surrounds
MARGIN = 0.08  # less paper than this share of the longer side is no margin
BLOT = 0.25  # what is written on a sheet covers less than this share of it
_UNIT = 2**14
# Cosines and sines of a quarter turn in steps of 3 degrees, in whole numbers: libraries' own differ
# in the last bit.
_TURNS = np.rint(_UNIT * np.exp(1j * np.radians(np.arange(0, 90, 3))))
_COS, _SIN = (part.astype(np.int64)[:, None] for part in (_TURNS.real, _TURNS.imag))


@dataclass(frozen=True)
class Page:
    """What the ink lies on.

    Attributes:
        inside: Pixels of the page and of what is written on it; None where it is the picture.
        cells: Pages of this kind in the picture, such as a form's cells with something in them.
        crop: Grey level of the paper where the ink has no margin, as in a tight crop; else
            None.
    """

    inside: Mask | None
    cells: int
    crop: float | None


def find_page(grey: NDArray[np.uint8], threshold: float) -> Page:
    """Find the page by how the picture's light and dark regions, split at `threshold`, nest.

    Paper may hold a frame, whose inside is the page; a table may hold a sheet. A 0 holds paper
    too, but nothing is written there, and it is no rectangle.
    """
    light = grey > threshold
    majority = np.count_nonzero(light) * 2 >= light.size
    nest = _Nest(find_regions(~light if majority else light))
    page, cells = 0, 1
    while inner := nest.pages_in(page):
        page, cells = max(inner, key=lambda region: nest.filled[region]), len(inner)
    if page != 0:
        return Page(nest.inside(page), cells, None)
    if not nest.lacks_a_margin():
        return Page(None, 1, None)
    # A bold digit covers more than its paper does, but leaves the corners.
    corners = light[[0, 0, -1, -1], [0, -1, 0, -1]]
    paper = light if light.mean() + corners.mean() >= 1 else ~light
    thick = has_square(~paper, max(2, -(-max(grey.shape) // 3)), 0.9)  # a shadow or a table
    return Page(None, 1, None if thick else float(np.median(grey[paper])))


def has_square(mask: Mask, side: int, share: float = 1) -> bool:
    """Whether the mask covers `share` of some square of `side` pixels."""
    height, width = mask.shape
    if min(mask.shape) < side:
        return False
    sums = np.zeros((height + 1, width + 1), np.int32)
    mask.cumsum(0, np.int32).cumsum(1, out=sums[1:, 1:])
    squares = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    return bool(squares.max() >= share * side * side)


class _Nest:
    """How large regions are with all that lies inside them."""

    def __init__(self, regions: Regions) -> None:
        self.regions = regions
        self.extents = regions.boxes[:, 2:] - regions.boxes[:, :2]
        self.filled = regions.areas.copy()
        above = regions.parents
        while above.any():
            np.add.at(self.filled, above, regions.areas)
            above = regions.parents[above]
        self.filled[0] = self.extents[0].prod()

    def _children(self, region: int) -> NDArray[np.int64]:
        inside: Mask = np.equal(self.regions.parents, region)
        inside[0] = False
        return np.flatnonzero(inside)

    def written_in(self, region: int) -> list[int]:
        """Regions directly inside `region` that are large enough to be a digit on a page."""
        inside = self._children(region)
        side = np.sqrt(self.extents[region].prod())
        large = self.extents[inside].max(1, initial=0) >= SIGNIFICANT * side
        return [int(child) for child in inside[large]]

    def pages_in(self, region: int) -> list[int]:
        """Pages that lie directly inside `region`: what a line encloses, or a sheet."""
        pages = []
        for child in self.written_in(region):
            inside = self._children(child)
            if self.filled[inside].sum() > RING * self.filled[child]:
                pages += [inner for inner in inside.tolist() if self.written_in(inner)]
            elif self._is_sheet(child):
                pages.append(child)
        return pages

    def _is_sheet(self, region: int) -> bool:
        written = self.written_in(region)
        if not written or self.filled[written].sum() > BLOT * self.filled[region]:
            return False
        rows, columns = np.nonzero(
            self.regions.paint(np.equal(np.arange(len(self.filled)), region))
        )
        edge = np.unique(rows, return_index=True)[1]
        ends = np.append(edge[1:], len(rows)) - 1
        y = np.concatenate([rows[edge], rows[ends]])
        x = np.concatenate([columns[edge], columns[ends] + 1])
        wide = np.ptp(x * _COS + y * _SIN, axis=1)
        high = np.ptp(y * _COS - x * _SIN, axis=1) + _UNIT
        return bool(self.filled[region] * _UNIT**2 >= RECTANGLE * (wide * high).min())

    def lacks_a_margin(self) -> bool:
        """Whether all large shapes touch the border, and opposite sides of it are touched."""
        boxes = self.regions.boxes[self.written_in(0)]
        if not len(boxes):
            return False
        size = self.extents[0]
        gaps = np.concatenate([boxes[:, :2], size - boxes[:, 2:]], axis=1)
        near: Mask = np.less(gaps, max(1, round(MARGIN * int(size.max()))))
        left, top, right, bottom = (bool(side.any()) for side in near.T)
        return bool(near.any(1).all() and ((left and right) or (top and bottom)))

    def inside(self, region: int) -> Mask:
        """Pixels of a region and of all regions inside it."""
        member = np.zeros(len(self.filled), np.bool_)
        member[region] = True
        above = self.regions.parents
        while above.any():
            member |= np.equal(above, region)
            above = self.regions.parents[above]
        return self.regions.paint(member)
