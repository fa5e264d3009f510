"""Finds the level of the paper in a grey picture: a smooth surface, or what a shadow leaves of it.

The surface is quadratic. It is fitted to some thousand pixels of a coarse grid, and since the
grid's terms are products of powers of x and of y, sums along rows and then along columns make its
six equations. All arrays are ``(H, W)``, rows first.
"""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_runtime.images.regions import Mask

Grey = NDArray[np.float32]

BORDER = 0.08  # width of the border, which is taken for paper, as a share of the shorter side
GRID = 64  # pixels along the longer side of the grid that the surface is fitted to
SMOOTH = 0.75  # where less of the border follows one smooth surface, a shadow lies across it
SHADE = 32  # pixels along the longer side that the level is read from where there is a shadow
_X, _Y = np.array([0, 1, 0, 2, 1, 0]), np.array([0, 0, 1, 0, 1, 2])  # the powers in each term
_RIDGE = np.diag([0, 1, 1, 1, 1, 1]) * 1e-4  # keeps the equations solvable, whatever is masked


@dataclass(frozen=True)
class Paper:
    """The level of the paper in a picture.

    Attributes:
        coefficients: The surface's, by the powers of y and of x, ``(3, 3)``; None where a shadow
            lies across the paper, which no smooth surface follows.
        noise: Standard deviation of the paper's pixels around its level.
    """

    coefficients: NDArray[np.float64] | None
    noise: float

    def level(self, grey: Grey) -> Grey:
        """The level at every pixel of the picture."""
        if self.coefficients is None:
            return _local_median(grey)
        return _evaluate(self.coefficients, *(_powers(side) for side in grey.shape))

    def level_at(self, y: NDArray[np.float64], x: NDArray[np.float64]) -> Grey:
        """The surface's level at the rows and columns of a grid, 0 and 1 at the picture's edges."""
        assert self.coefficients is not None
        return _evaluate(self.coefficients, *(_powers_at(2 * at - 1, 3) for at in (y, x)))


def find_paper(grey: Grey) -> Paper:
    """Fit the paper from the border inwards."""
    grid = _grid(grey.shape)
    view, border = grid.view(grey), grid.border
    paper = border & _near(view - median(view[border]), border, width=4)
    residual = view - grid.surface(grid.fit(view, paper))
    paper = _near(residual, paper)
    coefficients = grid.fit(view, paper)
    residual = view - grid.surface(coefficients)
    found = Paper(coefficients, spread(residual[paper]))
    if np.count_nonzero(paper & border) >= SMOOTH * np.count_nonzero(border):
        return found
    # A digit that is cropped tightly leaves paper at the very edge, and a shadow does not.
    rest = grey - found.level(grey)
    edge = np.concatenate([rest[0], rest[-1], rest[:, 0], rest[:, -1]])
    if np.count_nonzero(np.abs(edge) <= 3 * max(2.0, found.noise)) >= SMOOTH * len(edge):
        return found
    return Paper(None, spread((view - grid.view(_local_median(grey)))[border]))


def fill_paper(grey: Grey, inside: Mask) -> Grey:
    """Continue the paper that is `inside` over the rest of the picture."""
    if inside.all() or not inside.any():
        return grey
    # A line's soft edge, and a camera's, is two or three pixels wide.
    for axis in (0, 1):
        for by in (-2, -1, 1, 2):
            inside = inside & np.roll(inside, by, axis)
    grid = _grid(grey.shape)
    view, seen = grid.view(grey), grid.view(inside)
    if not seen.any():
        return grey
    paper = seen & _near(view - median(view[seen]), seen, width=4)
    return np.where(inside, grey, Paper(grid.fit(view, paper), 0).level(grey))


def median(values: NDArray[Any]) -> float:
    """The median, of an even number of values the upper one."""
    middle = len(values) // 2
    return float(np.partition(values, middle)[middle])


def spread(residual: NDArray[Any]) -> float:
    """Standard deviation, estimated from the median so that strokes do not count."""
    return 1.4826 * median(np.abs(residual)) if residual.size else 0.0


def _near(residual: NDArray[Any], paper: Mask, width: float = 3) -> Mask:
    near: Mask = np.abs(residual) <= width * max(2.0, spread(residual[paper]))
    return near


def _local_median(grey: Grey) -> Grey:
    """Level of the paper by a median, which follows the edge of a shadow as no surface does."""
    from PIL import Image, ImageFilter

    shrink = max(1.0, max(grey.shape) / SHADE)
    height, width = (max(1, round(side / shrink)) for side in grey.shape)
    picture = Image.fromarray(grey.astype(np.uint8))
    small = picture.resize((width, height), Image.Resampling.BOX)
    window = max(3, round(0.4 * min(height, width))) | 1
    paper = small.filter(ImageFilter.MedianFilter(window))
    return np.asarray(paper.resize(picture.size, Image.Resampling.BILINEAR), np.float32)


class _Grid:
    """Every so many pixels of a picture, and the terms of a quadratic surface there."""

    def __init__(self, height: int, width: int) -> None:
        step = -(-max(height, width) // GRID)
        self.at = tuple(slice(min(step, side) // 2, None, step) for side in (height, width))
        self.y = np.ascontiguousarray(_powers(height)[:, self.at[0]])
        self.x = np.ascontiguousarray(_powers(width)[:, self.at[1]])
        border = np.ones((height, width), np.bool_)
        depth = max(1, round(BORDER * min(height, width)))
        border[depth:-depth, depth:-depth] = False
        self.border = np.ascontiguousarray(self.view(border))
        self.is_tiny = min(height, width) < 8

    def view(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """The pixels of the grid."""
        return pixels[self.at]

    def fit(self, view: Grey, paper: Mask) -> NDArray[np.float64]:
        """Coefficients by the powers of y and of x, ``(3, 3)``, of the surface nearest to paper."""
        if self.is_tiny or np.count_nonzero(paper) < 32:
            flat = np.zeros((3, 3))
            flat[0, 0] = median(view[paper] if paper.any() else view.ravel())
            return flat
        weights = paper.astype(np.float32)
        moments = _moments(weights, self.y, self.x)
        equations = moments[_Y[:, None] + _Y, _X[:, None] + _X]
        right = _moments(weights * view, self.y[:3], self.x[:3])[_Y, _X]
        coefficients = np.zeros((3, 3))
        coefficients[_Y, _X] = np.linalg.solve(equations + _RIDGE * moments[0, 0], right)
        return coefficients

    def surface(self, coefficients: NDArray[np.float64]) -> Grey:
        """The surface on the grid."""
        return _evaluate(coefficients, self.y, self.x)


@functools.lru_cache(maxsize=64)
def _grid(shape: tuple[int, int]) -> _Grid:
    return _Grid(*shape)


def _moments(values: Grey, y: Grey, x: Grey) -> NDArray[np.float64]:
    # Without BLAS, which is no faster on so few numbers and may wake threads.
    rows = np.einsum("yx,kx->yk", values, x)
    moments: NDArray[np.float64] = np.einsum("ly,yk->lk", y, rows).astype(np.float64)
    return moments


def _evaluate(coefficients: NDArray[np.float64], y: Grey, x: Grey) -> Grey:
    rows = np.einsum("ly,lk->yk", y[:3], coefficients.astype(np.float32))
    surface: Grey = np.einsum("yk,kx->yx", rows, x[:3])
    return surface


@functools.lru_cache(maxsize=256)
def _powers(side: int) -> Grey:
    """Powers 0 to 4 of the middles of `side` pixels, ``(5, side)``; the edges are -1 and 1."""
    return _powers_at((2 * np.arange(side) + 1) / side - 1, 5)


def _powers_at(places: NDArray[np.float64], count: int) -> Grey:
    powers = np.ones((count, len(places)), np.float32)
    for power in range(1, count):
        np.multiply(powers[power - 1], places, out=powers[power], casting="same_kind")
    return powers
