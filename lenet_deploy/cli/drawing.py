"""Digits drawn in the terminal."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# By whether the upper and the lower of two pixels carry ink. The terminal's own foreground is
# the ink, so a drawing shows on dark and light backgrounds, without colour and in a log alike.
_BLOCKS = {(False, False): " ", (True, False): "▀", (False, True): "▄", (True, True): "█"}
_ASCII = str.maketrans("▀▄█", "'.#")
_INK = 96  # of 255: strokes thinner than a pixel still show


def half_blocks(pixels: NDArray[Any], encoding: str = "utf-8") -> str:
    """Draw uint8 ``(H, W)`` white-on-black pixels as ``ceil(H / 2)`` lines, two pixels each.

    Black margins are cropped, so an MNIST digit, at most 20x20, takes at most 11 lines of 20.
    """
    ink = pixels >= _INK
    if not ink.any():
        return ""
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    ink = np.pad(ink, ((0, len(ink) % 2), (0, 0)))
    lines = [
        "".join(_BLOCKS[bool(up), bool(low)] for up, low in zip(upper, lower, strict=True))
        for upper, lower in zip(ink[::2], ink[1::2], strict=True)
    ]
    return for_encoding("\n".join(lines), encoding)


def bar(fraction: float, width: int, encoding: str = "utf-8") -> str:
    """A bar of `width` characters, filled up to `fraction`."""
    return for_encoding(("█" * round(fraction * width)).ljust(width), encoding)


def for_encoding(drawing: str, encoding: str) -> str:
    """Replace block characters where the terminal's encoding has none."""
    return drawing if encoding.lower().startswith("utf") else drawing.translate(_ASCII)
