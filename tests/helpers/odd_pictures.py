"""Pictures of any kind, by chance: digits as people hand them in, then what befalls pictures."""

import io

import numpy as np
from drawings import DIGITS
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from benchmarks.pictures import kinds

KINDS = list(kinds(DIGITS.images).values())


def odd_picture(random):
    """A picture of mode RGBA; `random` is a `numpy.random.Generator`."""
    picture = random.choice([_digit, _digit, _digit, _shapes, _noise])(random)
    for _ in range(int(random.integers(4))):
        picture = random.choice(ACCIDENTS)(picture, random)
    return picture.convert("RGBA")


def _digit(random):
    digit = DIGITS.images[random.integers(60)]
    if random.random() < 0.1:
        return Image.fromarray(digit if random.random() < 0.5 else 255 - digit)
    return KINDS[random.integers(len(KINDS))](digit, random)


def _shapes(random):
    """Lines, boxes, circles and letters anywhere, on paper of any colour."""
    page = Image.new("RGB", _size(random), _colour(random))
    draw = ImageDraw.Draw(page)
    for _ in range(int(random.integers(1, 9))):
        corners = np.sort(random.uniform(-0.2, 1.2, (2, 2)) * page.size, axis=0)
        box, width = [*map(int, corners.ravel())], int(random.integers(1, 9))
        kind = random.integers(5)
        if kind == 0:
            draw.line(box, _colour(random), width)
        elif kind == 1:
            draw.rectangle(box, _colour(random), _colour(random), width)
        elif kind == 2:
            draw.ellipse(box, None, _colour(random), width)
        elif kind == 3:
            draw.arc(box, *random.uniform(0, 360, 2), _colour(random), width)
        else:
            draw.text(
                box[:2], str(random.integers(100)), _colour(random), font_size=box[3] % 90 + 8
            )
    return page


def _noise(random):
    width, height = _size(random)
    kind = random.integers(4)
    if kind == 0:
        return Image.new("RGB", (width, height), _colour(random))
    levels = random.normal(128, random.choice([1, 4, 16, 90]), (height, width))
    if kind == 1:
        levels += np.linspace(-100, 100, width) * random.normal()
    if kind == 2:
        levels = random.choice([0, 16, 255], (height, width), p=[0.9, 0.05, 0.05])
    return Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))


def _size(random):
    """Mostly hundreds of pixels a side; sometimes one pixel, a strip, or some thousands."""
    sizes = {0: (1, 9), 1: (2, 40), 2: (60, 70), 3: (250, 260), 4: (500, 520), 5: (1200, 1700)}
    low, high = sizes.get(int(random.integers(12)), (20, 400))
    width, height = (int(side) for side in random.integers(low, high, 2))
    if random.random() < 0.1:
        height = int(random.integers(1, 40))
    return (height, width) if random.random() < 0.1 else (width, height)


def _colour(random):
    return tuple(int(level) for level in random.choice([0, 20, 60, 128, 200, 235, 245, 255], 3))


def _resized(picture, random):
    return picture.resize(_size(random), int(random.choice([0, 2, 3, 4])))


def _cropped(picture, random):
    left, right = np.sort(random.integers(0, picture.width + 1, 2))
    top, bottom = np.sort(random.integers(0, picture.height + 1, 2))
    return picture.crop((int(left), int(top), max(int(right), left + 1), max(int(bottom), top + 1)))


def _turned(picture, random):
    picture = picture.rotate(random.uniform(-30, 30), 2, expand=bool(random.integers(2)))
    return picture.transpose(int(random.integers(7)))


def _framed(picture, random):
    colour = int(random.integers(256))
    fill = colour if picture.mode == "L" else (colour,) * len(picture.getbands())
    return ImageOps.expand(picture, int(random.integers(1, 30)), fill)


def _squeezed(picture, random):
    """JPEG of low quality."""
    file = io.BytesIO()
    picture.convert("RGB").save(file, "JPEG", quality=int(random.integers(5, 90)))
    return Image.open(file)


def _noisy(picture, random):
    pixels = np.asarray(picture.convert("RGB"), float)
    pixels = pixels + random.normal(0, random.uniform(0, 30), pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _lit(picture, random):
    """Light from a side, or the edge of a shadow."""
    pixels = np.asarray(picture.convert("RGB"), float)
    x = np.linspace(-1, 1, pixels.shape[1])[:, None] + random.uniform(-0.5, 0.5)
    light = 0.7 + 0.3 * np.tanh(x * random.choice([0.5, 1, 5, 50]))
    return Image.fromarray((pixels * light).clip(0, 255).astype(np.uint8))


def _faint(picture, random):
    low, high = np.sort(random.integers(0, 256, 2))
    return picture.convert("L").point(lambda level: low + level * (high - low) // 255)


def _blurred(picture, random):
    picture = picture if picture.mode == "L" else picture.convert("RGB")
    return picture.filter(ImageFilter.GaussianBlur(random.uniform(0.3, 4)))


def _transparent(picture, random):
    """A mask of ink alone, a soft edge, or any alpha at all."""
    grey = np.asarray(picture.convert("L"))
    alpha = random.choice(
        [255 - grey, grey, np.where(grey < 128, 255, 0), random.integers(0, 256, grey.shape)]
    ).astype(np.uint8)
    picture = picture.convert("RGB")
    if random.random() < 0.5:
        picture = Image.new("RGB", picture.size, _colour(random))
    picture.putalpha(Image.fromarray(alpha))
    return picture


ACCIDENTS = [
    _resized, _cropped, _turned, _framed, _squeezed, _noisy, _lit, _faint, _blurred, _transparent,
    lambda picture, random: ImageOps.invert(picture.convert("RGB")),
]  # fmt: skip
