"""Finds connected shapes in a mask, and the page that surrounds the ink: a sheet, a cell, a circle.

All arrays are ``(H, W)``, rows first. A box is top, left, bottom and right, the last two exclusive.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]

SIGNIFICANT = 0.15  # a shape on a page is at least this share of the page's sides, on average
RECTANGLE = 0.85  # a sheet fills this share of its bounding box; an ellipse, like a 0, fills 0.79
RING = 0.4  # what a line or a table encloses covers more than this share of all that it surrounds
MARGIN = 0.08  # less paper than this share of the longer side is no margin
BLOT = 0.25  # what is written on a sheet covers less than this share of it


@dataclass(frozen=True)
class Shapes:
    """Connected shapes of a mask, numbered from 1 in the order of their first pixels.

    Attributes:
        labels: Number of the shape that each pixel belongs to, ``(H, W)``; 0 is outside of all.
        areas: Pixels of each shape, ``(n + 1,)``.
        boxes: Bounding box of each shape, ``(n + 1, 4)``.
        first: Flat index of each shape's first pixel, row by row, ``(n + 1,)``.
    """

    labels: Ints
    areas: Ints
    boxes: Ints
    first: Ints


def find_shapes(mask: Mask, diagonal: bool = True) -> Shapes:
    """Label the connected shapes of `mask`; `diagonal` joins pixels that touch at a corner."""
    height, width = mask.shape
    stride = width + 2  # a column of background on both sides, so that no run spans two rows
    flat = np.zeros((height, stride), np.int8)
    flat[:, 1:-1] = mask
    steps = np.diff(flat.ravel(), prepend=np.int8(0))
    starts, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    # The runs of the next row that touch each run are neighbours in the order of all runs.
    low = np.searchsorted(ends, starts + stride - diagonal, "right")
    high = np.searchsorted(starts, ends + stride + diagonal, "left")
    counts = np.maximum(high - low, 0)
    above = np.repeat(np.arange(len(starts)), counts)
    below = np.arange(len(above)) + np.repeat(low - np.cumsum(counts) + counts, counts)
    run_labels, first = _join(len(starts), above, below)
    changes = np.zeros(height * stride + 1, np.int64)
    changes[starts], changes[ends] = run_labels, -run_labels
    labels = np.cumsum(changes)[:-1].reshape(height, stride)[:, 1:-1]
    rows, left, right = starts // stride, starts % stride - 1, ends % stride - 1
    boxes = np.zeros((len(first) + 1, 4), np.int64)
    boxes[1:, :2] = height, width
    np.minimum.at(boxes[:, 0], run_labels, rows)
    np.minimum.at(boxes[:, 1], run_labels, left)
    np.maximum.at(boxes[:, 2], run_labels, rows + 1)
    np.maximum.at(boxes[:, 3], run_labels, right)
    areas = np.bincount(run_labels, ends - starts, len(first) + 1).astype(np.int64)
    places = np.concatenate([[0], rows[first] * width + left[first]])
    return Shapes(labels, areas, boxes, places)


def _join(count: int, one: Ints, other: Ints) -> tuple[Ints, Ints]:
    """Number the groups of `count` runs that pairs join, from 1; and each group's first run."""
    root = np.arange(count)
    while True:
        low = np.minimum(root[one], root[other])
        lower = root.copy()
        np.minimum.at(lower, root[one], low)
        np.minimum.at(lower, root[other], low)
        while not np.array_equal(lower, lower[lower]):
            lower = lower[lower]
        if np.array_equal(lower, root):
            first, labels = np.unique(root, return_inverse=True)
            return labels + 1, first
        root = lower


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


def find_page(grey: NDArray[np.float32], threshold: float) -> Page:
    """Find the page by how the picture's light and dark regions, split at `threshold`, nest.

    Paper may hold a frame, whose inside is the page; a table may hold a sheet. A 0 holds paper
    too, but nothing is written there, and it is no rectangle.
    """
    light = grey > threshold
    majority = bool(np.count_nonzero(light) * 2 >= light.size)
    nest = _Nest(light == majority)
    page, cells = 1, 1
    while inner := nest.pages_in(page):
        page, cells = max(inner, key=lambda node: nest.filled[node]), len(inner)
    if page != 1:
        return Page(nest.inside(page)[1:-1, 1:-1], cells, None)
    if not nest.lacks_a_margin():
        return Page(None, 1, None)
    # A bold digit covers more than its paper does, but leaves the corners.
    corners = light[[0, 0, -1, -1], [0, -1, 0, -1]]
    paper = light if light.mean() + corners.mean() >= 1 else ~light
    thick = has_square(~paper, max(2, -(-max(grey.shape) // 3)), 0.9)  # a shadow or a table
    return Page(None, 1, None if thick else float(np.median(grey[paper])))


def has_square(mask: Mask, side: int, share: float = 1) -> bool:
    """Whether the mask covers `share` of some square of `side` pixels."""
    if min(mask.shape) < side:
        return False
    sums = np.pad(mask.cumsum(0, dtype=np.int64).cumsum(1), ((1, 0), (1, 0)))
    squares = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    return bool(squares.max() >= share * side * side)


class _Nest:
    """Regions of paper and of what is not, each with the region around it.

    Node 1 is the paper at the border of the picture, one pixel of which is added on every side.
    """

    def __init__(self, paper: Mask) -> None:
        paper = np.pad(paper, 1, constant_values=True)
        papers, marks = find_shapes(paper, diagonal=False), find_shapes(~paper)
        count = len(papers.areas)
        self.nodes = np.where(paper, papers.labels, marks.labels + count - 1)
        self.areas = np.concatenate([papers.areas, marks.areas[1:]])
        self.boxes = np.concatenate([papers.boxes, marks.boxes[1:]])
        first = np.concatenate([papers.first, marks.first[1:]])
        # Left of the first pixel of a region lies the region around it.
        self.parents = self.nodes.ravel()[first - 1]
        self.parents[:2] = 0
        self.filled = self.areas.copy()
        above = self.parents.copy()
        while above.any():
            np.add.at(self.filled, above, self.areas)
            above = self.parents[above]
        self.extents = self.boxes[:, 2:] - self.boxes[:, :2]

    def written_in(self, node: int) -> list[int]:
        """Regions directly inside `node` that are large enough to be a digit on a page."""
        inside = np.flatnonzero(self.parents == node)
        side = np.sqrt(self.extents[node].prod())
        large = self.extents[inside].max(1, initial=0) >= SIGNIFICANT * side
        return [int(child) for child in inside[large]]

    def pages_in(self, node: int) -> list[int]:
        """Pages that lie directly inside `node`: what a line encloses, or a sheet."""
        pages = []
        for child in self.written_in(node):
            inside = np.flatnonzero(self.parents == child)
            if self.filled[inside].sum() > RING * self.filled[child]:
                pages += [inner for inner in map(int, inside) if self.written_in(inner)]
            elif self._is_sheet(child):
                pages.append(child)
        return pages

    def _is_sheet(self, node: int) -> bool:
        written = self.written_in(node)
        if not written or sum(self.filled[inner] for inner in written) > BLOT * self.filled[node]:
            return False
        rows, columns = np.nonzero(self.nodes == node)
        edge = np.unique(rows, return_index=True)[1]
        ends = np.append(edge[1:], len(rows)) - 1
        y = np.concatenate([rows[edge], rows[ends]]) + 0.5
        x = np.concatenate([columns[edge], columns[ends] + 1.0])
        angles = np.radians(np.arange(0, 90, 3))[:, None]
        wide = np.ptp(x * np.cos(angles) + y * np.sin(angles), axis=1)
        high = np.ptp(y * np.cos(angles) - x * np.sin(angles), axis=1) + 1
        return bool(self.filled[node] >= RECTANGLE * (wide * high).min())

    def lacks_a_margin(self) -> bool:
        """Whether all large shapes touch the border, and opposite sides of it are touched."""
        boxes = self.boxes[self.written_in(1)]
        if not len(boxes):
            return False
        height, width = self.nodes.shape
        gaps = np.concatenate([boxes[:, :2] - 1, (height - 1, width - 1) - boxes[:, 2:]], axis=1)
        margin = max(1, round(MARGIN * (max(height, width) - 2)))
        near = gaps < margin
        return bool(near.any(1).all() and (near.any(0)[:2] & near.any(0)[2:]).any())

    def inside(self, node: int) -> Mask:
        """Pixels of a region and of all regions inside it."""
        member = np.arange(len(self.parents)) == node
        above = self.parents.copy()
        while above.any():
            member |= above == node
            above = self.parents[above]
        mask: Mask = member[self.nodes]
        return mask
