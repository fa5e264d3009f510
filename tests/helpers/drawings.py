"""Pictures drawn from the bundled digits, and how alike the outcome is."""

import numpy as np
from PIL import Image

from lenet_runtime.images.digits import load_digits

DIGITS = load_digits()


def rendered(index=0, size=(420, 300), side=200, at=(150, 60), ink=15, paper=240):
    """A bundled digit, drawn large and off centre; by default dark on light."""
    alpha = Image.fromarray(DIGITS.images[index]).resize((side, side), Image.Resampling.BICUBIC)
    picture = Image.new("L", size, paper)
    picture.paste(ink, (*at, at[0] + side, at[1] + side), alpha)
    return picture


def assert_like(pixels, index=0, least=0.9):
    """The correlation with the digit that was drawn is above `least`; 1 is the same picture.

    It is the best of nine shifts by a pixel, because a centre of mass near a half may round either
    way; other tests say where the centre is.
    """
    drawn = DIGITS.images[index].ravel()
    shifts = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    correlations = [np.corrcoef(np.roll(pixels, by, (0, 1)).ravel(), drawn) for by in shifts]
    assert np.max(correlations, axis=0)[0, 1] > least
