"""Finds the connected regions of a mask and of what it leaves out, and how they nest.

All arrays are ``(H, W)``, rows first. A box is top, left, bottom and right, the last two exclusive.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Regions:
    """Regions of a mask's pixels, which join at corners too, and of the others, which do not.

    Regions are numbered in the order of their first pixels. Number 0 is the outside: the pixels
    at the border that are not in the mask, and one more pixel on every side.

    Attributes:
        in_mask: Whether each region is one of the mask's, ``(n,)``.
        parents: Number of the region around each, ``(n,)``; that of the outside is 0.
        areas: Pixels of each region, ``(n,)``.
        boxes: Bounding box of each region, ``(n, 4)``; that of the outside is the whole picture.
    """

    in_mask: Mask
    parents: Ints
    areas: Ints
    boxes: Ints
    _shape: tuple[int, int]
    _lengths: Ints
    _of_run: Ints

    def paint(self, chosen: Mask) -> Mask:
        """The pixels of the chosen regions, ``(n,)``, as a mask."""
        height, width = self._shape
        padded = np.repeat(chosen[self._of_run], self._lengths)
        return padded.reshape(height + 2, width + 2)[1:-1, 1:-1]


def find_regions(mask: Mask) -> Regions:
    """Label the regions of `mask` and of what it leaves out.

    Runs of equal pixels, row by row, are what is joined, so the work grows with their number.
    """
    height, width = mask.shape
    stride = width + 2
    padded = np.zeros((height + 2, stride), np.bool_)
    padded[1:-1, 1:-1] = mask
    flat = padded.ravel()
    bounds = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    edges = np.empty(len(bounds) + 2, np.int64)
    edges[0], edges[1:-1], edges[-1] = 0, bounds, len(flat)
    starts, ends, lengths = edges[:-1], edges[1:], np.diff(edges)
    runs = np.arange(len(starts))  # the odd ones are the mask's
    odd = runs & 1
    run_at = np.repeat(runs.astype(np.int32), lengths)
    # The runs of the row above that a run touches: every second one from `low` to `high`.
    low = run_at[np.maximum(starts - stride - odd, 0)]
    high = run_at[np.maximum(ends - 1 - stride + odd, 0)]
    low += (low ^ odd) & 1
    high -= (high ^ odd) & 1
    roots = np.where(low <= high, np.minimum(low, runs), runs)
    for _ in range(height.bit_length()):  # a run's first neighbours lead up to a root
        roots = roots[roots]
    wide = np.flatnonzero(low < high)
    if len(wide):
        counts = (high[wide] - low[wide]) >> 1
        before = np.cumsum(counts) - counts
        others = 2 * np.arange(counts.sum()) + np.repeat(low[wide] + 2 - 2 * before, counts)
        roots = _join(roots, np.repeat(wide, counts), others)
    first = np.flatnonzero(roots == runs)
    count = len(first)
    number = np.empty(len(runs), np.int64)
    number[first] = np.arange(count)
    of_run = number[roots]
    boxes = np.empty((count, 4), np.int64)
    boxes[:, 0] = starts[first] // stride - 1
    boxes[:, 1] = width
    boxes[:, 2:] = 0
    np.minimum.at(boxes[:, 1], of_run, starts % stride - 1)
    np.maximum.at(boxes[:, 2], of_run, ends // stride)
    np.maximum.at(boxes[:, 3], of_run, ends % stride - 1)
    boxes[0] = 0, 0, height, width
    # Left of the first pixel of a region lies the region around it.
    parents = of_run[np.maximum(first - 1, 0)]
    areas = np.bincount(of_run, lengths, count).astype(np.int64)
    return Regions((first & 1).astype(np.bool_), parents, areas, boxes, mask.shape, lengths, of_run)


def _compress(roots: Ints) -> Ints:
    """Let every run point at the root of its tree, not at a run on the way."""
    while ((above := roots[roots]) != roots).any():
        roots = above
    return roots


def _join(roots: Ints, one: Ints, other: Ints) -> Ints:
    """Join the trees of pairs of runs."""
    while True:
        one, other = roots[one], roots[other]
        apart = one != other
        if not apart.any():
            return roots
        one, other = one[apart], other[apart]
        np.minimum.at(roots, np.maximum(one, other), np.minimum(one, other))
        roots = _compress(roots)
