"""The JavaScript twin of `lenet_runtime.images`: the same bytes and words of the same pictures."""

import numpy as np
import pytest
from drawings import DIGITS, rendered
from odd_pictures import KINDS, odd_picture
from PIL import Image
from twin import by_node, differences, needs_node

from lenet_runtime.images.preprocess import Preprocessing

pytestmark = needs_node
# Odd pictures that tell a changed number in the twin from the right one, as most do not.
TELLING = (14, 21, 24, 44, 63, 71, 72, 117, 171, 303, 680, 759, 783, 1033, 1404, 1480)
MOVES = ((0, 1), (1, 1), (0, 2), (2, 2), (-2, 0))


def sheets():
    """Pages without a digit, tiny ones among them, and a narrow strip with one."""
    for size in [(1, 1), (1, 2), (3, 1), (16, 16), (28, 28), (200, 100), (2600, 3)]:
        yield Image.new("RGBA", size, (200, 210, 220, 255))
    yield Image.new("RGBA", (60, 60))
    yield rendered(3, (1201, 90), 84, (500, 3)).convert("RGBA")


def cutouts():
    """Ink of any lightness on nothing, of which there is more or less than half; a large one."""
    for share in (0.3, 0.45, 0.55, 0.7):
        for levels in (
            (255, 255, 255, 0),
            (255, 129, 128, 0),
            (255, 120, 90, 0),
            (130, 129, 127, 126),
        ):
            pixels, rows = np.zeros((40, 40, 4), np.uint8), int(40 * share)
            pixels[:rows, :, :3] = np.repeat(levels, 10)[None, :, None]
            pixels[:rows, :, 3] = 255
            pixels[rows // 2, 5:30] = (255 - levels[0],) * 3 + (200,)
            yield Image.fromarray(pixels)
    large = np.array(rendered(2, (1300, 900), 600, (300, 100)).convert("RGBA"))
    large[..., 3] = np.arange(1300) % 256
    yield Image.fromarray(large)


def test_pictures_of_every_kind_have_the_same_bytes_and_words():
    random = np.random.default_rng(7)
    pictures = [Image.fromarray(digit) for digit in DIGITS.images]
    pictures += [Image.fromarray(255 - digit) for digit in DIGITS.images[::6]]
    pictures += [draw(DIGITS.images[i % 60], random) for i, draw in enumerate(KINDS)]
    pictures += [Image.fromarray(np.roll(DIGITS.images[4], by, (0, 1))) for by in MOVES]
    pictures = [picture.convert("RGBA") for picture in pictures] + [*sheets(), *cutouts()]
    pictures += [odd_picture(np.random.default_rng(seed)) for seed in TELLING]
    assert not list(differences(pictures))


@pytest.mark.parametrize(
    ("preprocessing", "shape"),
    [
        (Preprocessing(0.5, 0.25, 0), (1, 32, 32)),
        (Preprocessing(1 / 3, 0.1, 3), (1, 28, 40)),
    ],
)
def test_other_preprocessing_and_sizes_have_the_same_bits(preprocessing, shape):
    assert not list(differences([rendered(5).convert("RGBA")], preprocessing, shape))


def test_pixels_of_another_size_are_refused():
    class Short:
        size = (3, 2)

        @staticmethod
        def tobytes():
            return bytes(4 * 3 * 2 - 4)

    answers, _ = by_node([Short])
    assert answers == [
        {
            "error": "expected 4 bytes for each of 3x2 pixels, found 20 values in 20 bytes; "
            "pass the data, width and height of one ImageData"
        }
    ]
