"""Measures how many pictures of digits are read right, and whether the wrong ones are said.

    python benchmarks/pictures.py [--count 300] [--kind NAME ...] [--mnist] [--save FOLDER]

Draws MNIST's test digits as people hand them in: framed, circled, cropped, on ruled paper, on a
dark table. Each kind has the same digits and is drawn from the same seed. `right` counts pictures
whose digit is answered; `said` those that carry a warning or are refused, and `silent` those that
are wrong and not said. `--mnist` classifies all 10,000 test digits as PNG as well. MNIST is read
from LENET_DEPLOY_DATA_DIR.
"""

import argparse
import io
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

import lenet_runtime
from lenet_deploy.cache import default_artifact
from lenet_deploy.training import mnist
from lenet_runtime.errors import InputError
from lenet_runtime.images.files import read_digit

INK, LINE, PAPER = 40, 60, 245  # grey levels
Draw = Callable[[np.ndarray, np.random.Generator], Image.Image]


def paste(page: Image.Image, digit: np.ndarray, centre: tuple[float, float], side: int, ink=INK):
    """Draw the digit, `side` pixels for its 28, around `centre`."""
    alpha = Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)
    x, y = (round(c - side / 2) for c in centre)
    page.paste(ink, (x, y, x + side, y + side), alpha)


def plain(digit, random, *, side=112, size=(200, 200), ink=INK, paper=PAPER, jitter=6):
    """The digit near the middle of a page."""
    page = Image.new("L" if isinstance(ink, int) else "RGB", size, paper)
    paste(page, digit, np.array(size) / 2 + random.integers(-jitter, jitter + 1, 2), side, ink)
    return page


def frame(digit, random, inset, width):
    page = plain(digit, random)
    box = (inset, inset, 199 - inset, 199 - inset)
    ImageDraw.Draw(page).rectangle(box, outline=LINE, width=width)
    return page


def half_frame(digit, random, width):
    """The cell of a form that was cut out along two of its lines."""
    page = plain(digit, random)
    draw = ImageDraw.Draw(page)
    draw.rectangle((0, 0, width - 1, 199), LINE)
    draw.rectangle((0, 200 - width, 199, 199), LINE)
    return page


def circle(digit, random, width=2):
    page = plain(digit, random, side=84, jitter=4)
    ImageDraw.Draw(page).ellipse((25, 25, 175, 175), outline=LINE, width=width)
    return page


def underline(digit, random, width=3):
    page = plain(digit, random)
    bottom = np.flatnonzero((np.asarray(page) < 128).any(1))[-1]
    y, left = bottom + int(random.integers(6, 16)), int(random.integers(20, 50))
    ImageDraw.Draw(page).line((left, y, 200 - left, y + int(random.integers(-3, 4))), LINE, width)
    return page


def crop(digit, random, margin, scale):
    rows, columns = np.flatnonzero(digit.any(1)), np.flatnonzero(digit.any(0))
    ink = digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = ink.shape
    alpha = Image.fromarray(ink).resize((width * scale, height * scale), Image.Resampling.BICUBIC)
    page = Image.new("L", (width * scale + 2 * margin, height * scale + 2 * margin), PAPER)
    page.paste(INK, (margin, margin), alpha)
    return page


def eight(digit, random, scale, levels=255, paper=0):
    """8x8 pixels, as in the digits of UCI and scikit-learn."""
    rows, columns = np.flatnonzero(digit.any(1)), np.flatnonzero(digit.any(0))
    ink = Image.fromarray(digit).crop((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
    side = max(ink.size)
    square = Image.new("L", (side, side))
    square.paste(ink, ((side - ink.width) // 2, (side - ink.height) // 2))
    grey = np.asarray(square.resize((8, 8), Image.Resampling.BOX), np.float32)
    steps = np.rint(np.rint(grey / 255 * 16) * (levels / 16)).astype(int)
    picture = Image.fromarray(np.abs(paper - steps).astype(np.uint8))
    return picture.resize((8 * scale, 8 * scale), Image.Resampling.NEAREST)


def several(digit, random, count, others):
    page = Image.new("L", (100 * count + 100, 160), PAPER)
    for i in range(count):
        shown = digit if i == 0 else others[random.integers(len(others))]
        centre = (100 + 100 * i + random.integers(-4, 5), 80 + random.integers(-6, 7))
        paste(page, shown, centre, 112)
    return page


def dark_table(digit, random, noise=3, cut=False):
    """A white sheet, a little turned, on a dark table that is seen on all or on two sides."""
    sheet = Image.new("L", (400, 400), 0)
    edges = [int(e) for e in random.integers(20, 45, 4)]
    if cut:
        edges[2] = edges[3] = -80
    mask_box = (100 + edges[0], 100 + edges[1], 300 - edges[2], 300 - edges[3])
    ImageDraw.Draw(sheet).rectangle(mask_box, 255)
    angle = random.uniform(-8, 8)
    sheet = sheet.rotate(angle, Image.Resampling.BICUBIC)
    table = Image.new("L", (400, 400), int(random.integers(30, 80)))
    table.paste(PAPER - 15, (0, 0), sheet)
    paste(table, digit, ((mask_box[0] + min(mask_box[2], 300)) / 2,
                         (mask_box[1] + min(mask_box[3], 300)) / 2), 112)  # fmt: skip
    pixels = np.asarray(table.crop((100, 100, 300, 300)), np.float32)
    pixels = pixels + random.normal(0, noise, pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def lined(digit, random, step=25, colour=(190, 190, 190), grid=False):
    page = Image.new("RGB", (200, 200), (PAPER,) * 3)
    draw = ImageDraw.Draw(page)
    for at in range(int(random.integers(5, step)), 200, step):
        draw.line((0, at, 199, at), colour)
        if grid:
            draw.line((at, 0, at, 199), colour)
    paste(page, digit, np.array([100, 100]) + random.integers(-6, 7, 2), 112, (INK,) * 3)
    return page


def shaded(digit, random, sharp):
    """Light from one side, or the edge of a shadow across the page."""
    pixels = np.asarray(plain(digit, random), np.float32)
    x = np.linspace(-1, 1, 200) + random.uniform(-0.3, 0.3)
    light = 0.8 + 0.2 * np.tanh(x * (30 if sharp else 1))
    pixels = pixels * light + random.normal(0, 3, pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def highlighter(digit, random):
    page = Image.new("RGB", (200, 200), (PAPER,) * 3)
    ImageDraw.Draw(page).rectangle((30, 60, 170, 140), (250, 240, 90))
    paste(page, digit, np.array([100, 100]) + random.integers(-6, 7, 2), 112, (INK,) * 3)
    return page


def jpeg(digit, random):
    file = io.BytesIO()
    plain(digit, random).save(file, "JPEG", quality=10)
    return Image.open(file).convert("L")


def tiny(digit, random):
    page = Image.new("L", (1200, 900), PAPER)
    paste(page, digit, (random.integers(100, 1100), random.integers(100, 800)), 56)
    return page.filter(ImageFilter.GaussianBlur(1))


def kinds(others: np.ndarray) -> dict[str, Draw]:
    """Each kind of picture by its name; the drawing takes a digit and random numbers."""
    every: dict[str, Draw] = {"plain": plain}
    for inset in (0, 10, 25, 38):
        for width in (1, 2, 4):
            name = f"box {inset} px inside" if inset else "frame at the edge"
            every[f"{name}, {width} px"] = partial(frame, inset=inset, width=width)
    every["two edges of a cell, 4 px"] = partial(half_frame, width=4)
    every |= {f"circle, {w} px": partial(circle, width=w) for w in (2, 4)}
    every |= {f"underline, {w} px": partial(underline, width=w) for w in (2, 5)}
    for margin in (0, 1, 2, 4):
        for scale in (1, 4, 8):
            every[f"crop x{scale}, margin {margin}"] = partial(crop, margin=margin, scale=scale)
    every["8x8, white on black"] = partial(eight, scale=1)
    every["8x8, levels 0 to 16"] = partial(eight, scale=1, levels=16)
    every["8x8, black on white, x16"] = partial(eight, scale=16, paper=255)
    every |= {f"{n} digits": partial(several, count=n, others=others) for n in (2, 3)}
    every["sheet on a dark table"] = dark_table
    every["sheet on a table, cut"] = partial(dark_table, cut=True)
    every["ruled paper"] = lined
    every["graph paper"] = partial(lined, step=16, grid=True)
    every["blue lines"] = partial(lined, colour=(140, 160, 230))
    every["light from a side"] = partial(shaded, sharp=False)
    every["edge of a shadow"] = partial(shaded, sharp=True)
    every["red pen"] = partial(plain, ink=(200, 30, 40), paper=(PAPER,) * 3)
    every["highlighter"] = highlighter
    every["JPEG, quality 10"] = jpeg
    every["dark mode"] = partial(plain, ink=230, paper=20)
    every["tiny in large"] = tiny
    return every


def judge(session, pictures: Iterator[Image.Image], labels: np.ndarray):
    """Count the pictures that are right, said, and wrong without a word."""
    pixels = np.zeros((len(labels), 28, 28), np.uint8)
    said = np.zeros(len(labels), bool)
    refused = np.zeros(len(labels), bool)
    for i, picture in enumerate(pictures):
        file = io.BytesIO()
        picture.save(file, "PNG")
        try:
            digit = read_digit(file)
        except InputError:
            said[i] = refused[i] = True
        else:
            pixels[i], said[i] = digit.pixels, bool(digit.warnings)
    right = (session.predict(pixels).labels == labels) & ~refused
    return right, said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=300, help="pictures of each kind")
    parser.add_argument("--kind", action="append", help="only kinds whose name contains this")
    parser.add_argument("--mnist", action="store_true", help="all 10,000 test digits as PNG, too")
    parser.add_argument("--save", type=Path, help="write silent failures of each kind here")
    arguments = parser.parse_args()
    images, labels = mnist.read(Path(os.environ["LENET_DEPLOY_DATA_DIR"]), train=False)
    with lenet_runtime.load(default_artifact(), threads=1) as session:
        chosen = images[: arguments.count]
        print(f"{'kind':28} {'right':>6} {'said':>6} {'silent':>6}  of {len(chosen)}")
        for name, draw in kinds(images[5000:]).items():
            if arguments.kind and not any(part in name for part in arguments.kind):
                continue
            random = np.random.default_rng(0)
            pictures = [draw(image, random) for image in chosen]
            right, said = judge(session, pictures, labels[: len(chosen)])
            silent = ~right & ~said
            print(f"{name:28} {right.sum():6} {said.sum():6} {silent.sum():6}", flush=True)
            if arguments.save:
                arguments.save.mkdir(parents=True, exist_ok=True)
                for i in np.flatnonzero(silent)[:8]:
                    pictures[i].save(arguments.save / f"{name}-{i}-{labels[i]}.png")
        if arguments.mnist:
            right, said = judge(session, map(Image.fromarray, images), labels)
            print(f"{'MNIST as PNG':28} {right.sum():6} {said.sum():6} {(~right & ~said).sum():6}")


if __name__ == "__main__":
    main()
