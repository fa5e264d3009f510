"""Sixty real test digits that ship with the package, so that every command works offline."""

from dataclasses import dataclass
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

SIDE = 28  # height and width of MNIST's digits, in pixels


@dataclass(frozen=True)
class Digits:
    """The first six digits of each class, in the order of MNIST's test set (LeCun et al., 1998).

    Attributes:
        images: Images, uint8 ``(60, 28, 28)``: 0 is background and 255 is ink, neither padded nor
            normalised.
        labels: Digit that each image shows, uint8 ``(60,)``.
        indices: Place of each image among the 10,000 test digits, int32 ``(60,)``, ascending.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    indices: NDArray[np.int32]


def load_digits() -> Digits:
    """Read the bundled digits; this needs NumPy alone."""
    resource = files("lenet_runtime.images") / "bundled" / "digits.npz"
    with resource.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return Digits(arrays["images"], arrays["labels"], arrays["indices"])
