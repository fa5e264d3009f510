"""Damaged pictures: every format that Pillow writes, with bytes changed, cut and repeated."""

import io

import numpy as np
from PIL import Image

from lenet_runtime.images.digits import load_digits

FORMATS = (
    "AVIF", "BMP", "DDS", "DIB", "GIF", "ICNS", "ICO", "IM", "JPEG", "JPEG2000", "MPO", "MSP",
    "PCX", "PNG", "PPM", "QOI", "SGI", "SPIDER", "TGA", "TIFF", "WEBP", "XBM",
)  # fmt: skip


def written(kind):
    """A digit of 64x64 in this format; None where this Pillow does not write it."""
    digit = Image.fromarray(255 - load_digits().images[0]).resize((64, 64))
    mode = {"MSP": "1", "XBM": "1", "SPIDER": "F"}.get(kind, "RGB")
    file = io.BytesIO()
    try:
        digit.convert(mode).save(file, kind)
    except (KeyError, OSError, ValueError):
        return None
    return file.getvalue()


def mutate(data, random):
    """`data` with one to eight bytes changed, a part cut out or repeated, or all three."""
    damaged = bytearray(data)
    for _ in range(int(random.integers(1, 9))):
        # Headers decide more than pixels do, so half of the changes are there.
        end = min(len(damaged), 64) if random.integers(2) else len(damaged)
        damaged[int(random.integers(end))] = int(
            random.choice([0, 1, 127, 128, 255, random.integers(256)])
        )
    start, length = int(random.integers(len(damaged))), int(random.integers(1, 40))
    match random.integers(4):
        case 0:
            del damaged[start : start + length]
        case 1:
            damaged[start:start] = damaged[start : start + length]
        case 2:
            del damaged[start:]
    return bytes(damaged)


def outcomes(read, error, per_format, seed=0):
    """How many mutants of each format `read` takes and refuses; every other error is raised."""
    counts = {}
    for kind in FORMATS:
        data = written(kind)
        if data is None:
            continue
        random = np.random.default_rng([seed, FORMATS.index(kind)])
        taken = refused = 0
        for _ in range(per_format):
            try:
                read(io.BytesIO(mutate(data, random)))
                taken += 1
            except error:
                refused += 1
        counts[kind] = (taken, refused)
    return counts
