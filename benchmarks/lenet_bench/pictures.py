"""What pictures cost: decoding, preparing and the network apart, on drawn pictures of four sizes.

Whole calls on arrays, which `lenet_bench.measure` times, leave out what a service does first. CPU
time is that of the whole process, so threads that only spin are counted, too.
"""

import io
import itertools
import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_bench.harness import Settings
from lenet_runtime.errors import BackendUnavailable
from lenet_runtime.images.digits import load_digits
from lenet_runtime.images.files import open_picture
from lenet_runtime.images.preprocess import normalise, to_pixels
from lenet_runtime.version import pip_install

if TYPE_CHECKING:
    from PIL.Image import Image

    from lenet_runtime.session import Session

STEPS = ("decode", "prepare", "network")
PAPER, GRAIN = 235, 4  # levels of grey: light paper, and the noise of a camera


@dataclass(frozen=True)
class Cost:
    """What one picture costs, as medians over rounds.

    Attributes:
        picture: Name of the picture: its size and format.
        file_bytes: Length of its file.
        rounds: How many times it was measured.
        cpu_ms: CPU milliseconds of each of `STEPS`, and of the ``whole``.
        wall_ms: The same of the wall's clock.
    """

    picture: str
    file_bytes: int
    rounds: int
    cpu_ms: Mapping[str, float]
    wall_ms: Mapping[str, float]


def drawn() -> dict[str, bytes]:
    """The files of a handwritten 7 as MNIST has it, as a scan, and as two photos, by their names.

    Raises:
        BackendUnavailable: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise BackendUnavailable(
            f"drawing pictures needs Pillow, which this brings: {pip_install('cpu')}"
        ) from error
    digit = Image.fromarray(load_digits().images[0])
    pages = {
        "28x28 PNG": (digit, "PNG"),
        "200x200 PNG": (_page(digit, 200, 200), "PNG"),
        "600x600 JPEG": (_page(digit, 600, 600), "JPEG"),
        "4000x3000 JPEG": (_page(digit, 4000, 3000), "JPEG"),
    }
    files = {}
    for name, (page, kind) in pages.items():
        file = io.BytesIO()
        page.save(file, kind, quality=90)
        files[name] = file.getvalue()
    return files


def _page(digit: "Image", width: int, height: int) -> "Image":
    """A page with grain and dark ink, half as high as the page, in colours as cameras save it."""
    from PIL import Image

    side = height // 2
    ink = Image.new("L", (width, height))
    ink.paste(
        digit.resize((side, side), Image.Resampling.BICUBIC), ((width - side) // 2, side // 2)
    )
    grain = np.random.default_rng(0).integers(-GRAIN, GRAIN + 1, (height, width), np.int16)
    levels = PAPER - np.asarray(ink, np.int16) * 4 // 5 + grain
    return Image.fromarray(levels.clip(0, 255).astype(np.uint8)).convert("RGB")


def measure_pictures(
    session: "Session",
    files: Mapping[str, bytes],
    settings: Settings,
    progress: Callable[[str, float], None] = lambda step, done: None,
    clocks: tuple[Callable[[], int], Callable[[], int]] = (
        time.process_time_ns,
        time.perf_counter_ns,
    ),
) -> list[Cost]:
    """Time the steps of one picture a call; pictures take turns, in a new random order each round.

    Args:
        session: Session whose preprocessing and network are timed.
        files: Pictures, as bytes of their files, by their names.
        settings: Least seconds and samples of each picture, and the seed of the order; the first
            round, which is not counted, is all the warm-up.
        progress: Called with the step and the share done, 0 to 1.
        clocks: What tells nanoseconds of CPU and of the wall.

    Raises:
        InputError: A picture cannot be read or shows no digit.
        BackendUnavailable: Pillow is not installed.
    """
    order, shuffle = list(files), random.Random(settings.seed).shuffle
    samples: dict[str, list[Any]] = {name: [] for name in files}
    spent, share, rounds = 0.0, 0.0, 0
    while share < 1:
        shuffle(order)
        for name in order:
            progress(name, share)
            steps = _steps(session, files[name], clocks)
            if rounds:
                samples[name].append(steps)
                spent += sum(wall for _, wall in steps) / 1e9
        share = settings.share_done(spent / len(files), rounds)
        rounds += 1
    return [
        Cost(name, len(files[name]), len(taken), *(_medians(taken, clock) for clock in (0, 1)))
        for name, taken in samples.items()
    ]


def _steps(
    session: "Session", file: bytes, clocks: tuple[Callable[[], int], Callable[[], int]]
) -> list[tuple[int, int]]:
    """CPU and wall nanoseconds of each step, which together are `Session.predict` of the file."""
    manifest = session.manifest
    shape, preprocessing = manifest.image_shape, manifest.preprocessing
    stamps = [[clock() for clock in clocks]]
    with open_picture(io.BytesIO(file), grey=shape[0] == 1) as image:
        image.load()
        stamps.append([clock() for clock in clocks])
        pixels, _ = to_pixels(image, preprocessing, shape)
    batch = normalise(pixels, preprocessing, shape)
    stamps.append([clock() for clock in clocks])
    session.run(batch)
    stamps.append([clock() for clock in clocks])
    return [
        (after[0] - before[0], after[1] - before[1]) for before, after in itertools.pairwise(stamps)
    ]


def _medians(samples: list[Any], clock: int) -> dict[str, float]:
    """Median milliseconds of each step, and of the whole, by one of the two clocks."""
    taken = [[step[clock] / 1e6 for step in steps] for steps in samples]
    middle = dict(zip(STEPS, map(statistics.median, zip(*taken, strict=True)), strict=True))
    return middle | {"whole": statistics.median(map(sum, taken))}
