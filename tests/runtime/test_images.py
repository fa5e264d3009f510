"""mnist_style: any picture of a digit becomes an image like MNIST's."""

import contextlib
import dataclasses
import io

import numpy as np
import pytest
from drawings import DIGITS, assert_like, rendered
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from lenet_runtime.errors import InputError
from lenet_runtime.images.files import read_digit
from lenet_runtime.images.pictures import MAX_PIXELS, mnist_style


def shaded(picture, seed=0, slope=80, noise=8):
    """The picture under a lamp at one side, with a camera's noise, as a JPEG."""
    pixels = np.asarray(picture, np.float64)
    lamp = np.linspace(1 - slope / 255, 1, pixels.shape[1])
    noisy = pixels * lamp + np.random.default_rng(seed).normal(0, noise, pixels.shape)
    picture = Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
    return Image.open(file_of(picture, "JPEG", quality=80))


def file_of(picture, kind="PNG", **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file


def centre_of_mass(pixels):
    ink = pixels.astype(float)
    return np.array([ink.sum(axis) @ np.arange(28) for axis in (1, 0)]) / ink.sum()


def box(pixels):
    rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    return np.ptp(rows) + 1, np.ptp(columns) + 1


@pytest.mark.parametrize("index", range(0, 60, 6))
@pytest.mark.parametrize(("ink", "paper"), [(15, 240), (240, 15), (170, 220)])
def test_a_large_drawing_becomes_the_digit_it_was_drawn_from(index, ink, paper):
    digit = mnist_style(rendered(index, ink=ink, paper=paper))
    assert digit.inverted is (ink < paper)
    assert_like(digit.pixels, index, 0.93)
    assert max(box(digit.pixels)) == 20
    assert np.abs(centre_of_mass(digit.pixels) - 14).max() <= 0.51
    assert digit.pixels.max() == 255
    assert digit.pixels.dtype == np.uint8
    assert digit.pixels.shape == (28, 28)


@pytest.mark.parametrize("index", range(0, 60, 6))
def test_uneven_light_noise_and_jpeg_change_little(index):
    digit = mnist_style(shaded(rendered(index), seed=index))
    assert digit.inverted
    assert_like(digit.pixels, index)
    assert np.count_nonzero(digit.pixels) < 0.45 * digit.pixels.size, "the paper is black"


def test_a_shadow_across_the_paper_is_not_ink():
    pixels = np.asarray(rendered(3), np.float64)
    pixels[:, :260] *= 0.6
    digit = mnist_style(Image.fromarray(pixels.astype(np.uint8)))
    assert digit.inverted
    assert_like(digit.pixels, 3, 0.85)


def test_grey_levels_of_the_strokes_edges_stay():
    assert len(np.unique(mnist_style(rendered()).pixels)) > 30


def test_specks_of_dust_do_not_move_the_digit():
    clean = rendered()
    dusty = clean.copy()
    for corner in ((5, 5), (400, 20), (20, 280), (380, 290)):
        dusty.paste(10, (*corner, corner[0] + 5, corner[1] + 5))
    np.testing.assert_array_equal(mnist_style(dusty).pixels, mnist_style(clean).pixels)


def test_a_frame_at_the_border_is_not_the_digit():
    framed = rendered()
    framed.paste(10, (0, 0, 420, 4))
    assert_like(mnist_style(framed).pixels)


@pytest.mark.parametrize("negative", [False, True])
def test_every_bundled_digit_passes_unchanged_and_its_negative_is_only_inverted(negative):
    for image in DIGITS.images:
        digit = mnist_style(Image.fromarray(255 - image if negative else image))
        np.testing.assert_array_equal(digit.pixels, image)
        assert digit.inverted is negative
        assert ("unchanged" in digit.steps[-1]) is not negative


def test_28x28_off_centre_is_centred():
    moved = np.roll(DIGITS.images[0], (-4, -4), (0, 1))
    assert_like(mnist_style(Image.fromarray(moved)).pixels)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV"])
def test_modes_are_converted(mode):
    source = rendered().convert("RGB") if mode in ("HSV", "YCbCr", "CMYK") else rendered()
    digit = mnist_style(source.convert(mode))
    assert digit.inverted
    assert_like(digit.pixels)


@pytest.mark.parametrize(
    "numbers",
    [
        np.asarray(rendered(), np.uint16) * 257,
        np.asarray(rendered(), np.uint16) * 16,  # 12 bits in 16
        (np.asarray(rendered(), np.uint16) * 257).astype(">u2"),
        np.asarray(rendered(), np.int32) - 100,
        np.asarray(rendered(), np.float32) / 255,
    ],
    ids=["I;16", "12 bits", "I;16B", "I", "F"],
)
def test_deep_pixels_are_scaled_to_their_range(numbers):
    assert_like(mnist_style(Image.fromarray(numbers)).pixels)


def test_floats_that_are_not_finite_are_refused():
    numbers = np.ones((30, 30), np.float32)
    numbers[3, 3] = np.nan
    with pytest.raises(InputError, match="expected finite pixels"):
        mnist_style(Image.fromarray(numbers))


@pytest.mark.parametrize(("level", "inverted"), [(0, True), (255, False)])
@pytest.mark.parametrize("mode", ["LA", "La", "RGBA", "RGBa"])
def test_ink_on_a_transparent_ground(level, inverted, mode):
    alpha = Image.eval(rendered(paper=255, ink=0), lambda value: 255 - value)
    picture = Image.merge("LA", [Image.new("L", alpha.size, level), alpha])
    picture = picture.convert("RGBA").convert(mode) if "RGB" in mode else picture.convert(mode)
    digit = mnist_style(picture)
    assert digit.inverted is inverted
    assert_like(digit.pixels, least=0.93)


def test_a_palette_with_a_transparent_colour():
    picture = rendered(paper=0, ink=255).convert("P")
    picture.info["transparency"] = 0
    assert_like(mnist_style(picture).pixels)


TURNS = (
    "FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_90", "TRANSVERSE",
    "ROTATE_270",
)  # fmt: skip


@pytest.mark.parametrize(("orientation", "turn"), list(enumerate(("", *TURNS), start=1)))
def test_exif_orientation_is_followed(orientation, turn):
    upright = rendered(3)
    stored = upright.transpose(Image.Transpose[turn]) if turn else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    digit = read_digit(file_of(stored, exif=exif))
    np.testing.assert_array_equal(digit.pixels, mnist_style(upright).pixels)
    assert ("EXIF" in digit.steps[0]) == (orientation > 1)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (2, 2), (28, 28), (300, 200), (5000, 1)])
@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_blank_picture_is_an_input_error(size, level):
    with pytest.raises(InputError, match=f"found a blank {size[0]}x{size[1]} picture"):
        mnist_style(Image.new("L", size, level))


def test_noise_a_gradient_without_ink_and_full_transparency_are_blank():
    paper = Image.new("L", (300, 200), 200)
    transparent = Image.new("RGBA", (50, 50), (0, 0, 0, 0))
    for picture in (*(shaded(paper, noise=noise) for noise in (0, 4, 12)), transparent):
        with pytest.raises(InputError, match="blank"):
            mnist_style(picture)


@pytest.mark.parametrize("turn", [Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_90])
def test_extreme_aspect_ratios_keep_their_shape(turn):
    picture = Image.new("L", (4000, 12), 255)
    picture.paste(0, (500, 4, 3500, 8))
    assert sorted(box(mnist_style(picture.transpose(turn)).pixels)) == [1, 20]


def test_a_small_digit_in_a_large_photo_is_found():
    photo = rendered(3, size=(3000, 2000), side=120, at=(2500, 300))
    assert_like(mnist_style(photo).pixels, 3)


def test_too_many_pixels_are_refused_before_they_are_decoded():
    class Bomb(Image.Image):
        size = (MAX_PIXELS, 2)  # type: ignore[assignment]

        def load(self):
            raise AssertionError("decoded")

    with pytest.raises(InputError, match=f"at most {MAX_PIXELS} pixels, found {MAX_PIXELS}x2"):
        mnist_style(Bomb())


def test_a_decompression_bomb_is_an_input_error(monkeypatch):
    file = file_of(rendered())
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(InputError, match="expected at most"):
        read_digit(file)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "ICO"])
def test_files_of_many_kinds_are_read(kind, tmp_path):
    path = tmp_path / "digit"  # no suffix: the content decides
    rendered(size=(250, 250), at=(20, 30)).convert("RGB").save(path, kind)
    assert_like(read_digit(path).pixels)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.9])
def test_a_truncated_file_is_an_input_error(kind, share):
    data = file_of(rendered().convert("RGB"), kind).getvalue()
    with pytest.raises(InputError, match="expected"):
        read_digit(io.BytesIO(data[: int(len(data) * share)]))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF"]), st.data())
def test_a_file_with_damaged_bytes_gives_a_digit_or_an_input_error(kind, data):
    file = file_of(rendered(size=(120, 90), side=60, at=(30, 20)), kind)
    damaged = bytearray(file.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(InputError):
        assert read_digit(io.BytesIO(bytes(damaged))).pixels.shape == (28, 28)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_any_small_picture_gives_white_ink_on_black_or_an_input_error(width, height, seed):
    rng = np.random.default_rng(seed)
    picture = Image.new("L", (width, height), int(rng.integers(256)))
    for _ in range(rng.integers(0, 4)):
        ends = [(int(rng.integers(width)), int(rng.integers(height))) for _ in range(2)]
        ImageDraw.Draw(picture).line(ends, int(rng.integers(256)), int(rng.integers(1, 5)))
    with contextlib.suppress(InputError):
        pixels = mnist_style(picture).pixels
        assert pixels.shape == (28, 28)
        assert pixels.max() >= 128
        assert max(box(pixels)) <= 20


def test_a_program_is_not_a_picture(tmp_path):
    path = tmp_path / "digit.eps"
    rendered().save(path, "EPS")
    with pytest.raises(InputError, match="found PostScript"):
        read_digit(path)


def test_the_callers_picture_is_left_alone():
    picture = rendered()
    before = picture.copy()
    mnist_style(picture)
    assert picture == before


def test_a_digit_image_is_frozen():
    digit = mnist_style(Image.fromarray(DIGITS.images[0]))
    with pytest.raises(dataclasses.FrozenInstanceError):
        digit.inverted = False  # type: ignore[misc]
