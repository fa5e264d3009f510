"""mnist_style: frames, circles, lines, sheets and crops; and several digits are said."""

import numpy as np
import pytest
from drawings import DIGITS, assert_like, rendered
from PIL import Image, ImageDraw, ImageOps

from lenet_runtime.images.pictures import mnist_style
from lenet_runtime.images.preprocess import Preprocessing, to_pixels


def page(index=0, size=(200, 200), centre=(100, 100)):
    """A bundled digit of 112 pixels, dark on a light page of 245."""
    corner = centre[0] - 56, centre[1] - 56
    return rendered(index, size, 112, corner, ink=40, paper=245)


def framed(index, inset, width):
    picture = page(index)
    box = (inset, inset, 199 - inset, 199 - inset)
    ImageDraw.Draw(picture).rectangle(box, outline=60, width=width)
    return picture


def circled(index, width):
    picture = rendered(index, (200, 200), 84, (58, 58), ink=40, paper=245)
    ImageDraw.Draw(picture).ellipse((25, 25, 175, 175), outline=60, width=width)
    return picture


def underlined(index, width):
    picture = page(index)
    bottom = np.flatnonzero((np.asarray(picture) < 128).any(1))[-1]
    ImageDraw.Draw(picture).line((30, bottom + 9, 170, bottom + 11), 60, width)
    return picture


def cropped(index, margin, scale):
    digit = DIGITS.images[index]
    rows, columns = np.flatnonzero(digit.any(1)), np.flatnonzero(digit.any(0))
    ink = 245 - (digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] * 0.8)
    large = Image.fromarray(ink.astype(np.uint8)).resize(
        (ink.shape[1] * scale, ink.shape[0] * scale)
    )
    return ImageOps.expand(large, margin, 245)


def on_a_table(index, angle=5):
    sheet = Image.new("L", (200, 200), 0)
    sheet.paste(255, (30, 30, 170, 170))
    picture = Image.new("L", (200, 200), 45)
    picture.paste(page(index), (0, 0), sheet.rotate(angle, Image.Resampling.BICUBIC))
    return picture


def cut_cell(index):
    picture = page(index)
    picture.paste(60, (0, 0, 4, 200))
    picture.paste(60, (0, 196, 200, 200))
    return picture


@pytest.mark.parametrize("index", range(0, 60, 7))
@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize(
    ("draw", "options"),
    [
        (framed, (0, 1)), (framed, (0, 4)), (framed, (10, 4)), (framed, (25, 2)), (framed, (38, 4)),
        (circled, (2,)), (circled, (4,)), (underlined, (2,)), (underlined, (5,)),
        (cropped, (0, 1)), (cropped, (0, 4)), (cropped, (1, 8)), (cropped, (2, 8)),
        (on_a_table, ()), (cut_cell, ()),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)  # fmt: skip
def test_what_surrounds_a_digit_is_left_out(draw, options, index, negative):
    picture = draw(index, *options)
    digit = mnist_style(ImageOps.invert(picture) if negative else picture)
    assert_like(digit.pixels, index, 0.75)
    assert digit.inverted is not negative
    assert digit.shapes == 1
    assert not digit.warnings


@pytest.mark.parametrize("inset", [None, 8])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_several_digits_are_said(count, inset):
    picture = Image.new("L", (100 * count + 100, 160), 245)
    for i in range(count):
        picture.paste(page(i, (100, 160), (50, 80)), (50 + 100 * i, 0))
    if inset is not None:
        box = (inset, inset, picture.width - inset, 160 - inset)
        ImageDraw.Draw(picture).rectangle(box, outline=60, width=3)
    digit = mnist_style(picture)
    assert digit.shapes == count
    assert f"{count} shapes of a digit's size" in digit.warnings[0]


def test_the_cells_of_a_grid_are_said():
    picture = Image.new("L", (400, 200), 245)
    for i in range(2):
        picture.paste(framed(i, 5, 3), (200 * i, 0))
    assert mnist_style(picture).shapes == 2


def test_strokes_and_hats_are_no_digits_of_their_own():
    """As of 5, whose hat is drawn last, of a 4 in two strokes and of an i-like 1."""
    for index in range(60):
        assert mnist_style(page(index)).shapes == 1, index


def test_a_solid_area_is_said():
    picture = page(0)
    picture.paste(40, (40, 120, 110, 190))
    assert any("a solid area" in doubt for doubt in mnist_style(picture).warnings)


@pytest.mark.parametrize("scale", [1, 16])
@pytest.mark.parametrize("levels", [16, 255])
def test_8x8_pixels_become_a_digit(scale, levels):
    """As in the digits of UCI and scikit-learn: no margin, and levels of 0 to 16."""
    small = (
        Image.fromarray(DIGITS.images[0]).crop((4, 5, 24, 25)).resize((8, 8), Image.Resampling.BOX)
    )
    pixels = np.rint(np.asarray(small) / 255 * levels).astype(np.uint8).repeat(scale, 0)
    digit = mnist_style(Image.fromarray(pixels.repeat(scale, 1)))
    if scale == 1:  # of enlarged ones, benchmarks/pictures.py counts how many are right
        assert_like(digit.pixels, least=0.7)
        assert not digit.inverted


def test_what_is_doubtful_about_pictures_is_said():
    picture = Image.new("L", (300, 200), 255)
    for left in (60, 200):
        picture.paste(0, (left, 40, left + 20, 160))
    pixels, warnings = to_pixels([picture, Image.fromarray(DIGITS.images[0])], Preprocessing())
    assert pixels.shape == (2, 28, 28)
    assert [len(doubts) for doubts in warnings] == [1, 0]
    assert "2 shapes of a digit's size" in warnings[0][0]


@pytest.mark.parametrize("turn", [False, True])
@pytest.mark.parametrize(("length", "side"), [(1000, 30), (500, 26)])
def test_a_digit_on_a_narrow_strip_is_read(length, side, turn):
    """Its border is narrower than the steps of the grid that the paper is fitted to."""
    strip = rendered(1, (length, side), side - 4, (length // 2, 2))
    pixels = mnist_style(strip.transpose(Image.Transpose.ROTATE_90) if turn else strip).pixels
    assert_like(np.rot90(pixels, -1) if turn else pixels, 1, 0.75)
