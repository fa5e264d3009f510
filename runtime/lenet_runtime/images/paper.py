"""Finds the level of the paper in a grey picture: a smooth surface, or what a shadow leaves of it.

The surface is quadratic. It is fitted to some thousand pixels of a coarse grid, and since the
grid's terms are products of powers of x and of y, sums along rows and then along columns make its
six equations. These sums are of whole numbers, so they are exact in any order, and what follows has
one order: the answer is the same to the bit on every machine, and in the JavaScript twin.
All arrays are ``(H, W)``, rows first.
"""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_runtime.images.grey import resize
from lenet_runtime.images.regions import Mask

Grey = NDArray[np.float32]
Places = NDArray[np.float64]

BORDER = 0.08  # width of the border, which is taken for paper, as a share of the shorter side
GRID = 64  # pixels along the longer side of the grid that the surface is fitted to
SMOOTH = 0.75  # where less of the border follows one smooth surface, a shadow lies across it
SHADE = 32  # pixels along the longer side that the level is read from where there is a shadow
_X, _Y = np.array([0, 1, 0, 2, 1, 0]), np.array([0, 0, 1, 0, 1, 2])  # the powers in each term
_STEPS = 9  # parts of a grey level that the surface is fitted to: what `soften` makes, exactly
_RIDGE = np.diag([0, 1, 1, 1, 1, 1]) * 1e-4  # keeps the equations solvable, whatever is masked


@dataclass(frozen=True)
class Paper:
    """The level of the paper in a picture.

    Attributes:
        coefficients: The surface's, by the powers of y and of x, ``(3, 3)``; None where a shadow
            lies across the paper, which no smooth surface follows.
        noise: Standard deviation of the paper's pixels around its level.
    """

    coefficients: Places | None
    noise: float

    def level(self, grey: Grey) -> Grey:
        """The level at every pixel of the picture."""
        if self.coefficients is None:
            return _local_median(grey)
        return _evaluate(self.coefficients, *(_powers(side) for side in grey.shape))

    def level_at(self, y: Places, x: Places) -> Grey:
        """The surface's level at the rows and columns of a grid, 0 and 1 at the picture's edges."""
        assert self.coefficients is not None
        return _evaluate(self.coefficients, *(_powers_at(2 * at - 1) for at in (y, x)))


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
    picture = Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8))
    small = resize(picture, width, height, Image.Resampling.BOX)
    window = max(3, round(0.4 * min(height, width))) | 1
    paper = small.filter(ImageFilter.MedianFilter(window))
    return np.asarray(resize(paper, *picture.size, Image.Resampling.BILINEAR), np.float32)


class _Grid:
    """Every so many pixels of a picture, and the terms of a quadratic surface there."""

    def __init__(self, height: int, width: int) -> None:
        step = -(-max(height, width) // GRID)
        self.at = tuple(slice(min(step, side) // 2, None, step) for side in (height, width))
        self.y, self.x = _powers(height)[:, self.at[0]], _powers(width)[:, self.at[1]]
        self.rows, self.columns = (
            (_offsets(side)[at] ** np.arange(5)[:, None]).astype(np.float64)
            for side, at in zip((height, width), self.at, strict=True)
        )
        self.scale = np.array([[height**k * width**j for j in range(5)] for k in range(5)], float)
        border = np.ones((height, width), np.bool_)
        # A long and narrow picture has a border narrower than the grid's steps.
        depth = max(1 + min(at.start for at in self.at), round(BORDER * min(height, width)))
        border[depth:-depth, depth:-depth] = False
        self.border = np.ascontiguousarray(self.view(border))
        self.is_tiny = min(height, width) < 8

    def view(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """The pixels of the grid."""
        return pixels[self.at]

    def fit(self, view: Grey, paper: Mask) -> Places:
        """Coefficients by the powers of y and of x, ``(3, 3)``, of the surface nearest to paper."""
        if self.is_tiny or np.count_nonzero(paper) < 32:
            flat = np.zeros((3, 3))
            flat[0, 0] = median(view[paper] if paper.any() else view.ravel())
            return flat
        weights = paper.astype(np.float64)
        moments = _moments(weights, self.rows, self.columns) / self.scale
        equations = moments[_Y[:, None] + _Y, _X[:, None] + _X] + _RIDGE * moments[0, 0]
        levels = weights * np.rint(view * np.float32(_STEPS))
        right = _moments(levels, self.rows[:3], self.columns[:3]) / (_STEPS * self.scale[:3, :3])
        coefficients = np.zeros((3, 3))
        coefficients[_Y, _X] = _solve(equations.tolist(), right[_Y, _X].tolist())
        return coefficients

    def surface(self, coefficients: Places) -> Grey:
        """The surface on the grid."""
        return _evaluate(coefficients, self.y, self.x)


@functools.lru_cache(maxsize=64)
def _grid(shape: tuple[int, int]) -> _Grid:
    return _Grid(*shape)


def _moments(values: Places, y: Places, x: Places) -> Places:
    moments: Places = y @ values @ x.T  # too small for BLAS to wake its threads
    return moments


def _solve(equations: list[list[float]], right: list[float]) -> list[float]:
    """Solve equations whose matrix is symmetric and positive definite, by Gauss's elimination.

    LAPACK's last bits depend on the machine, and on six equations it is no faster.
    """
    rows = [[*row, value] for row, value in zip(equations, right, strict=True)]
    count = len(rows)
    for k, pivot in enumerate(rows):
        for row in rows[k + 1 :]:
            share = row[k] / pivot[k]
            for j in range(k + 1, count + 1):
                row[j] -= share * pivot[j]
    solution = [0.0] * count
    for k in range(count - 1, -1, -1):
        value = rows[k][count]
        for j in range(k + 1, count):
            value -= rows[k][j] * solution[j]
        solution[k] = value / rows[k][k]
    return solution


def _evaluate(coefficients: Places, y: Grey, x: Grey) -> Grey:
    c = coefficients.astype(np.float32)
    surface: Grey = np.multiply.outer(c[0, 1] + c[1, 1] * y[1], x[1])
    surface += c[0, 2] * x[2]
    surface += (c[0, 0] + c[1, 0] * y[1] + c[2, 0] * y[2])[:, None]
    return surface


def _offsets(side: int) -> NDArray[np.int64]:
    """Distances of the middles of `side` pixels from the middle, in half pixels, ``(side,)``."""
    return np.arange(1 - side, side, 2, dtype=np.int64)


@functools.lru_cache(maxsize=256)
def _powers(side: int) -> Grey:
    """Powers 0 to 2 of the middles of `side` pixels, ``(3, side)``; the edges are -1 and 1."""
    return _powers_at(_offsets(side) / side)


def _powers_at(places: Places) -> Grey:
    x = places.astype(np.float32)
    return np.stack([np.ones_like(x), x, x * x])
