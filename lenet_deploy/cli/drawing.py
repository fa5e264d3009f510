"""Draws digits and bars with characters, for the terminal."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# The character of two pixels, by whether the upper and the lower have ink. Ink has the terminal's
# own text colour, so it shows on dark and on light backgrounds, and in a log.
_BLOCKS = {(False, False): " ", (True, False): "▀", (False, True): "▄", (True, True): "█"}
_ASCII = str.maketrans("▀▄█", "'.#")
_INK = 96  # a pixel from this level on is drawn, so that thin strokes still show


def half_blocks(pixels: NDArray[Any], encoding: str = "utf-8") -> str:
    """Draw white-on-black pixels, uint8 ``(H, W)``, two rows of pixels to a line of text.

    Black margins are cropped, so an MNIST digit takes at most 11 lines of 20 characters.
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
    return _encodable("\n".join(lines), encoding)


def bar(fraction: float, width: int, encoding: str = "utf-8") -> str:
    """Draw a bar of `width` characters that is filled up to `fraction`."""
    return _encodable(("█" * round(fraction * width)).ljust(width), encoding)


def _encodable(drawing: str, encoding: str) -> str:
    """Replace block characters by ASCII unless the terminal's encoding is UTF."""
    return drawing if encoding.lower().startswith("utf") else drawing.translate(_ASCII)
