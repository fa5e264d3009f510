"""Sixty real test digits that ship with the package, so that every command works offline."""

from dataclasses import dataclass
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Digits:
    """The first six digits of each class, in the order of MNIST's test set (LeCun et al., 1998).

    Attributes:
        images: uint8 ``(60, 28, 28)``; 0 is background and 255 is ink. Not padded, not normalised.
        labels: uint8 ``(60,)``; the digit that each image shows.
        indices: int32 ``(60,)``; each image's place among the 10,000 test digits, ascending.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    indices: NDArray[np.int32]


def load_digits() -> Digits:
    """Read the bundled digits; needs numpy alone."""
    resource = files("lenet_runtime.images") / "bundled" / "digits.npz"
    with resource.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return Digits(arrays["images"], arrays["labels"], arrays["indices"])
