"""to_batch: equal to torchvision's pipeline, and strict about what it takes."""

import dataclasses
import io
import re

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from processes import python

from lenet_runtime.errors import InputError
from lenet_runtime.images.digits import load_digits
from lenet_runtime.images.pictures import mnist_style
from lenet_runtime.images.preprocess import Preprocessing, normalise, to_batch

MNIST = Preprocessing()
SIZES = st.sampled_from([28, 32])


def digits(count=3, side=28, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side), np.uint8)


def by_torchvision(images, preprocessing=MNIST):
    from torchvision import transforms

    pad = [transforms.Pad(preprocessing.padding)] if images.shape[1] == 28 else []
    normalize = transforms.Normalize((preprocessing.mean,), (preprocessing.std,))
    pipeline = transforms.Compose([*pad, transforms.ToTensor(), normalize])
    return np.stack([pipeline(Image.fromarray(image)).numpy() for image in images])


@pytest.mark.parametrize("side", [28, 32])
@pytest.mark.parametrize("preprocessing", [MNIST, Preprocessing(0.5, 0.25), Preprocessing(0, 1)])
def test_equals_torchvision_bit_for_bit(side, preprocessing):
    images = digits(4, side)
    images[0].flat[:256] = np.arange(256)
    batch = to_batch(images, preprocessing)
    np.testing.assert_array_equal(batch, by_torchvision(images, preprocessing))
    assert batch.shape == (4, 1, 32, 32)
    assert batch.dtype == np.float32
    assert batch.dtype.isnative
    assert batch.flags.c_contiguous


@pytest.mark.parametrize(
    ("dtype", "atol"), [(np.float32, 0), (np.float64, 0), (np.float16, 0.0005 / 0.3081)]
)
def test_floats_in_0_to_1_equal_the_uint8_they_came_from(dtype, atol):
    """But for the rounding of float16, since all is computed in float32."""
    images = digits()
    batch = to_batch(images.astype(dtype) / dtype(255), MNIST)
    np.testing.assert_allclose(batch, to_batch(images, MNIST), rtol=0, atol=atol)


def test_padding_is_black_not_grey():
    batch = to_batch(np.full((1, 28, 28), 255, np.uint8), MNIST)
    assert batch[0, 0, 0, 0] == np.float32(-0.1307) / np.float32(0.3081)
    assert batch[0, 0, 2, 2] == batch.max()
    assert np.count_nonzero(batch == batch.max()) == 28 * 28


def test_padding_decides_which_smaller_size_is_taken():
    images = digits(1, 30)
    assert to_batch(images, Preprocessing(padding=1)).shape == (1, 1, 32, 32)
    with pytest.raises(
        InputError, match=r"expected shape \(N, 28, 28\), \(N, 784\) or \(N, 32, 32\)"
    ):
        to_batch(images, MNIST)


@pytest.mark.parametrize("side", [28, 32])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_no_images_make_an_empty_batch(side, dtype):
    for images in (np.empty((0, side, side), dtype), []):
        batch = to_batch(images, MNIST)
        assert batch.shape == (0, 1, 32, 32)
        assert batch.dtype == np.float32


@pytest.mark.parametrize("side", [28, 32])
def test_non_contiguous_arrays_are_taken(side):
    images = digits(6, side)
    turned = images[::2].transpose(0, 2, 1)
    expected = to_batch(np.ascontiguousarray(turned), MNIST)
    batch = to_batch(turned, MNIST)
    np.testing.assert_array_equal(batch, expected)
    assert batch.flags.c_contiguous


def test_the_input_is_not_written_to_nor_shared():
    images = (digits(2, 32) / 255).astype(np.float32)
    before = images.copy()
    to_batch(images, MNIST)[:] = 7
    np.testing.assert_array_equal(images, before)
    first = to_batch(digits(), MNIST)
    first[:] = 7
    assert to_batch(digits(), MNIST).max() < 7


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (digits()[0], r"found \(28, 28\); pass images\[None\]"),
        (digits()[:, None], r"images\[:, 0\].*Session.run takes normalised"),
        (digits()[..., None], r"images\[\.\.\., 0\]"),
        (digits(3, 29), r"found \(3, 29, 29\)"),
        (digits()[:, :, :27], r"found \(3, 28, 27\)"),
        (np.zeros((28, 28, 3), np.uint8), r"found \(28, 28, 3\)"),
        (np.zeros((), np.uint8), r"found \(\)"),
        (digits().astype(np.int64), "found int64"),
        (digits().astype(np.int8), "found int8"),
        (digits().astype(complex), "found complex128"),
        (digits().astype(object), "found object"),
        (digits().astype("U3"), "found <U3"),
        (np.zeros((1, 28, 28), np.longdouble), "found (float128|longdouble)"),
        (digits().astype(">f4"), "native byte order.*newbyteorder"),
        (np.ma.masked_equal(digits(), 0), "without a mask.*filled"),
        (digits().tolist(), r"images\[0\]: expected .* found list; .*np.uint8"),
        ([1, 2, 3], r"images\[0\]: expected .* found int"),
        ([digits(1)[0], digits(1)[0]], r"images\[0\]: .*np.stack"),
        ([Image.new("L", (28, 28)), 3], r"images\[1\]: expected .* found int"),
        ("digit.png", r"images: expected .* found str; read it with pathlib.Path"),
        (io.BytesIO(), r"found _io.BytesIO; pass what its read\(\) returns"),
        (b"", r"images\[0\]: expected a picture, found an empty file"),
        ([b"<html>"], r"images\[0\]: expected a picture, found an HTML page; fetch"),
        (None, "found NoneType"),
        ((x for x in ()), "found generator"),
        ([Image.new("L", (40, 40))], r"images\[0\]: expected a digit, found a blank"),
    ],
)
def test_anything_else_is_an_input_error_that_says_what_to_do(images, says):
    with pytest.raises(InputError, match=says):
        to_batch(images, MNIST)


def test_the_bytes_of_a_file_are_its_picture():
    """An upload, as it came; whatever may be in it, see test_image_files."""
    picture, file = Image.fromarray(255 - load_digits().images[7]), io.BytesIO()
    picture.resize((300, 300)).save(file, "PNG")
    for images in (file.getvalue(), [file.getvalue(), Image.open(file)]):
        answers = to_batch(images, MNIST)
        np.testing.assert_array_equal(answers[0], to_batch(Image.open(file), MNIST)[0])
    assert len(answers) == 2


def test_the_bytes_of_a_photo_are_its_picture():
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8))
    file = io.BytesIO()
    photo.save(file, "PNG")
    np.testing.assert_array_equal(
        to_batch(file.getvalue(), MNIST, (3, 32, 32)), to_batch(photo, MNIST, (3, 32, 32))
    )


def test_a_photo_keeps_its_colours():
    """A JPEG may be decoded to grey, which is right for networks of one channel alone."""
    file = io.BytesIO()
    Image.new("RGB", (2000, 1500), (200, 40, 90)).save(file, "JPEG")
    (red, green, blue) = to_batch(file.getvalue(), Preprocessing(0, 1), (3, 32, 32))[0] * 255
    np.testing.assert_allclose([red.mean(), green.mean(), blue.mean()], [200, 40, 90], atol=3)


REAL = load_digits().images
MIXED = np.concatenate([REAL[:2], REAL[:2] > 99])  # two images of 0 and 1 among others


@pytest.mark.parametrize(
    "images",
    [
        REAL.reshape(60, 784),
        (REAL / np.float32(255)).reshape(60, 784),
        np.where(REAL > 99, 255, 0).astype(np.uint8),
        MIXED,
        np.zeros((2, 28, 28), np.uint8),
        np.zeros((2, 28, 28), np.float32),
        np.full((2, 28, 28), 255, np.uint8),
        np.maximum(REAL, 17),
        np.where(np.arange(60)[:, None, None] % 2, REAL, 255 - REAL),  # not all are inverted
    ],
)
def test_rows_of_784_and_what_means_one_thing_are_taken(images):
    expected = images.reshape(-1, 28, 28)
    np.testing.assert_array_equal(to_batch(images, MNIST), normalise(expected, MNIST))


@pytest.mark.parametrize("shape", [(60, 28, 28), (60, 784)])
def test_bool_arrays_are_ink_and_paper(shape):
    expected = np.where(REAL > 99, 255, 0).astype(np.uint8)
    np.testing.assert_array_equal(
        to_batch((REAL > 99).reshape(shape), MNIST), to_batch(expected, MNIST)
    )


SIXTEENTHS = np.rint(REAL / 255 * 16)


@pytest.mark.parametrize(
    ("images", "says"),
    [
        ((REAL > 99).astype(np.uint8), "none above 1 in this array; "),
        ((REAL > 99).astype(np.int64), "found int64; "),
        (SIXTEENTHS.astype(np.uint8), "none above 16 in this array; "),
        (SIXTEENTHS.astype(np.int32), "found int32; "),
        (SIXTEENTHS, r"expected floats in \[0, 1\]"),
        (REAL.astype(np.float32), r"expected floats in \[0, 1\]"),
        (REAL.astype(np.int64), "found int64"),
        (REAL.astype(np.uint16) * 257, "found uint16"),
        (REAL / np.float32(255) / np.float32(255), "divided by 255 twice"),
        (REAL / 255 / 255, "divided by 255 twice"),
        ((REAL / 255 / 255).astype(np.float16), "divided by 255 twice"),
        ((REAL / 255).astype(np.longdouble), "found (float128|longdouble|float64)"),
        (255 - REAL, "white digits on black, found black ones"),
        (1 - REAL / 255, "white digits on black, found black ones"),
        (REAL <= 127, "white digits on black, found black ones"),
        (SIXTEENTHS / 255, r"none above 0\.0627 in this array; "),
        (255 - REAL[:1], "white digits on black, found black ones"),
        (REAL[0], r"found \(28, 28\)"),
        (REAL[0].ravel(), r"found \(784,\)"),
        (np.pad(REAL, ((0, 0), (2, 2), (2, 2))).reshape(60, 1024), r"found \(60, 1024\)"),
        (np.insert(REAL.reshape(60, 784), 0, 7, axis=1), r"found \(60, 785\)"),
        (REAL[:, None], r"found \(60, 1, 28, 28\)"),
        (REAL[..., None], r"found \(60, 28, 28, 1\)"),
        (REAL.repeat(2, 1).repeat(2, 2), r"found \(60, 56, 56\)"),
        (np.ma.masked_array(REAL), "without a mask"),
        ((REAL / 255).astype(">f4"), "native byte order"),
        ([REAL[0], REAL[1]], "found numpy.ndarray"),
        ([REAL[:2], REAL[2:9]], "found numpy.ndarray"),
        (REAL.tolist(), "found list"),
    ],
)
def test_doing_what_an_error_advises_gives_the_right_digits(images, says):
    """The advised line is run as it stands, and its result is taken and shows the digits."""
    with pytest.raises(InputError, match=says) as error:
        to_batch(images, MNIST)
    line = re.search(r"(?:pass|choose .*:) ([^;]*?)(?: if .*|, which .*|;.*|$)", str(error.value))
    meant = eval(line[1], {"images": images, "np": np, "PIL": PIL})
    batch = to_batch(meant, MNIST).reshape(-1, 32 * 32)
    drawn = to_batch(REAL[: len(batch)], MNIST).reshape(-1, 32 * 32)
    alike = [np.corrcoef(a, b)[0, 1] for a, b in zip(batch, drawn, strict=True)]
    assert np.mean(alike) > 0.8, "the digits themselves"


def test_a_tensor_is_not_an_array():
    import torch

    with pytest.raises(InputError, match=r"found torch.Tensor; pass images.cpu\(\).numpy\(\)"):
        to_batch(torch.zeros(1, 28, 28), MNIST)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1.01, -0.01, 255.0])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_outside_0_to_1_are_refused_with_their_place(bad, dtype):
    images = np.zeros((3, 28, 28), dtype)
    images[2, 3, 4] = bad
    with pytest.raises(InputError, match=r"^images\[2, 3, 4\]: expected floats in \[0, 1\]"):
        to_batch(images, MNIST)


@st.composite
def arrays(draw):
    """Arrays of any dtype and many shapes: one value all over, and another in one place."""
    dtype = draw(hnp.scalar_dtypes())
    near = st.tuples(st.integers(0, 2), SIZES, SIZES)
    shape = draw(st.one_of(near, hnp.array_shapes(min_dims=0, max_dims=4, max_side=3)))
    unit = st.floats(0, 1) if dtype.kind == "f" else st.just(np.zeros((), dtype)[()])
    values = st.one_of(unit, hnp.from_dtype(dtype))
    images = np.full(shape, draw(values), dtype)
    if images.size:
        images.flat[draw(st.integers(0, images.size - 1))] = draw(values)
    return images


@given(arrays())
def test_any_array_makes_a_finite_batch_or_an_input_error(images):
    try:
        batch = to_batch(images, MNIST)
    except InputError:
        return
    assert batch.shape == (len(images), 1, 32, 32)
    assert batch.dtype == np.float32
    assert np.isfinite(batch).all()
    assert images.dtype.str in ("|b1", "|u1", "<f2", "<f4", "<f8")
    assert not images.size or 0 <= images.min() <= images.max() <= (
        255 if images.dtype == "u1" else 1
    )


def test_pil_images_go_through_mnist_style():
    picture = Image.new("L", (300, 200), 255)
    picture.paste(0, (100, 40, 130, 160))
    expected = to_batch(mnist_style(picture).pixels[None], MNIST)
    for images in (picture, [picture], (picture,)):
        np.testing.assert_array_equal(to_batch(images, MNIST), expected)
    assert to_batch([picture] * 3, MNIST).shape == (3, 1, 32, 32)


@pytest.mark.parametrize(
    ("field", "numbers", "expected"),
    [
        ("std", (0, -1, np.nan, 1e-60, 1e-39, 1e60), "a finite mean"),
        ("mean", (np.inf, np.nan, 1e60), "a finite mean"),
        ("padding", (-1, 0.5), "padding of 0 pixels or more"),
    ],
)
def test_preprocessing_refuses_numbers_that_make_no_sense(field, numbers, expected):
    """Also 1e-60, which is zero in float32: every pixel would come out infinite."""
    for number in numbers:
        with pytest.raises(ValueError, match=f"expected {expected}"):
            Preprocessing(**{field: number})


def test_preprocessing_is_frozen_and_mnists_by_default():
    assert dataclasses.astuple(MNIST) == (0.1307, 0.3081, 2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        MNIST.mean = 0.0  # type: ignore[misc]


def test_arrays_need_no_pillow():
    code = (
        "import sys, numpy as np; from lenet_runtime.images.preprocess import *;"
        "to_batch(np.zeros((1, 28, 28), np.uint8), Preprocessing());"
        "assert not [m for m in sys.modules if m.partition('.')[0] in ('PIL', 'torch')]"
    )
    python(code)


def test_plain_pixels_import_nothing():
    """NumPy imports `ma` when it is first used, which the first request would wait for."""
    code = (
        "import sys, numpy as np\n"
        "from lenet_runtime.images.preprocess import Preprocessing, to_batch\n"
        "before = {*sys.modules}\n"
        "pixels = np.full((1, 28, 28), 200, np.uint8)\n"
        "to_batch(pixels, Preprocessing())\n"
        "to_batch(pixels > 0, Preprocessing())\n"
        "print({*sys.modules} - before)\n"
    )
    assert python(code).stdout == "set()\n"


@pytest.mark.parametrize(
    "numbers", [Preprocessing(), Preprocessing(0.5, 0.25), Preprocessing(0, 1)]
)
def test_many_pixels_are_computed_to_the_bits_that_few_are_looked_up(numbers):
    images = np.random.default_rng(1).integers(0, 256, (40, 28, 28), np.uint8)
    images[0].ravel()[:256] = range(256)
    many = to_batch(images, numbers)
    few = np.concatenate([to_batch(image[None], numbers) for image in images])
    assert many.tobytes() == few.tobytes()
