"""Session's inputs: what it takes, what it refuses, and that nothing is cast or guessed."""

import re
import warnings

import numpy as np
import pytest
from fake_engine import FakePredictor
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.lib.stride_tricks import as_strided
from refusals import refused
from samples import noise, read_only

from lenet_runtime.errors import InputError
from lenet_runtime.session import Session

MAX = np.finfo(np.float32).max


class NotAnArray:
    """Looks like one to whoever does not look closely."""

    dtype, shape, ndim = np.dtype(np.float32), (1, 1, 32, 32), 4
    flags = np.zeros(1).flags

    def __array__(self, *arguments, **keywords):
        return noise(1)

    def __len__(self):
        return 1


WRONG = {
    "None": lambda x: None,
    "a string": lambda x: "images",
    "a number": lambda x: 1.0,
    "a list": lambda x: x.tolist(),
    "a tuple of arrays": tuple,
    "bytes": lambda x: x.tobytes(),
    "a memoryview": memoryview,
    "a look-alike": lambda x: NotAnArray(),
    "a masked array": np.ma.masked_array,
    "float64": lambda x: x.astype(np.float64),
    "float16": lambda x: x.astype(np.float16),
    "longdouble": lambda x: x.astype(np.longdouble),
    "complex64": lambda x: x.astype(np.complex64),
    "int32": lambda x: x.astype(np.int32),
    "uint8": lambda x: x.astype(np.uint8),
    "bool": lambda x: x.astype(bool),
    "objects": lambda x: x.astype(object),
    "strings": lambda x: x.astype(str),
    "a record": lambda x: x.view([("pixel", np.float32)]),
    "bits of float32": lambda x: x.view(np.uint32),
    "foreign byte order": lambda x: x.astype(x.dtype.newbyteorder("S")),
    "foreign bytes": lambda x: x.view(x.dtype.newbyteorder("S")),
    "0-d": lambda x: np.float32(1).reshape(()),
    "1-d": lambda x: x.reshape(-1),
    "2-d": lambda x: x[0, 0],
    "3-d, one image": lambda x: x[0],
    "3-d": lambda x: x[:, 0],
    "5-d": lambda x: x[None],
    "channels last": lambda x: x.transpose(0, 2, 3, 1),
    "three channels": lambda x: x.repeat(3, axis=1),
    "no channel": lambda x: x[:, :0],
    "28x28": lambda x: x[:, :, 2:30, 2:30],
    "31 rows": lambda x: x[:, :, 1:],
    "33 columns": lambda x: np.pad(x, [(0, 0), (0, 0), (0, 0), (0, 1)]),
    "0-d of nothing": lambda x: np.zeros((0,), np.float32),
    "no images of 28x28": lambda x: np.zeros((0, 1, 28, 28), np.float32),
    "no images of float64": lambda x: np.zeros((0, 1, 32, 32)),
}


@pytest.mark.parametrize("make", WRONG.values(), ids=WRONG)
def test_a_wrong_input_never_reaches_the_engine(fake, predictor, make):
    """Nothing is cast, padded or guessed."""
    with refused(match=r"images: expected .*, found"):
        fake.run(make(noise(2)))
    assert not predictor.batches


def test_a_tensor_is_refused_with_advice(fake):
    torch = pytest.importorskip("torch")
    with refused(match="found Tensor; convert it yourself"):
        fake.run(torch.zeros(1, 1, 32, 32))


SPOILT = [
    np.nan,
    -np.nan,
    np.inf,
    -np.inf,
    np.uint32(0x7FA00000).view(np.float32),  # a signalling NaN
]


@pytest.mark.parametrize("count", [1, 8, 9, 64])
@pytest.mark.parametrize("value", SPOILT, ids=str)
def test_a_value_that_is_not_finite_is_refused_wherever_it_stands(fake, predictor, count, value):
    for place in (0, 517, 1023, 1024 * count // 2, 1024 * count - 1):
        images = noise(count)
        images.reshape(-1)[place] = value
        where = tuple(int(i) for i in np.unravel_index(place, images.shape))
        with refused(match=rf"1 that are NaN or infinite, the first at {re.escape(str(where))};"):
            fake.run(images)
    assert not predictor.batches


@pytest.mark.parametrize("count", [1, 8, 9])
def test_every_place_is_looked_at(fake, count):
    """One image at a time, every pixel of it; the check must have no blind spot."""
    images = noise(count)
    flat = images.reshape(-1)
    for place in range(len(flat) - 1024, len(flat)):
        before, flat[place] = flat[place], np.nan
        with pytest.raises(InputError):
            fake.run(images)
        flat[place] = before
    fake.run(images)


@pytest.mark.parametrize("count", [1, 8, 9])
def test_infinities_do_not_cancel(fake, count):
    images = noise(count)
    images[0, 0, 0, :2] = np.inf, -np.inf
    with refused(match="found 2 that are NaN or infinite"):
        fake.run(images)


@pytest.mark.parametrize("count", [1, 8, 9])
@pytest.mark.parametrize("value", [MAX, -MAX, 2e19, 1e-45, -0.0])
def test_every_finite_value_is_taken(fake, count, value):
    """Also those whose squares overflow or vanish, whatever NumPy was told to do about it."""
    images = np.full((count, 1, 32, 32), value, np.float32)
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        logits = fake.run(images)
    np.testing.assert_array_equal(logits, images[:, 0, 0, :10])


def unaligned(x):
    memory = np.zeros(x.nbytes + 1, np.uint8)
    moved = memory[1:].view(np.float32).reshape(x.shape)
    moved[:] = x
    assert not moved.flags.aligned
    return moved


class Subclass(np.ndarray):
    """An array that would be in the way of an engine: it answers slices with text."""

    def __getitem__(self, key):
        return "sliced"


# Each takes four images and gives an array to run; what it means is a plain copy of it.
LAYOUTS = {
    "plain": lambda x: x,
    "no images": lambda x: x[:0],
    "one image": lambda x: x[2:3],
    "every second image": lambda x: x[::2],
    "images in reverse": lambda x: x[::-1],
    "one image in reverse": lambda x: x[2:1:-1],
    "the channel in reverse": lambda x: x[:, ::-1],
    "upside down": lambda x: x[:, :, ::-1],
    "mirrored": lambda x: x[..., ::-1],
    "transposed": lambda x: x.transpose(0, 1, 3, 2),
    "Fortran order": np.asfortranarray,
    "one image in Fortran order": lambda x: np.asfortranarray(x[:1]),
    "one channel of three": lambda x: x.repeat(3, axis=1)[:, 1:2],
    "part of a larger picture": lambda x: np.pad(x, [(0, 0), (0, 0), (3, 3), (3, 3)])[
        :, :, 3:-3, 3:-3
    ],
    "broadcast": lambda x: np.broadcast_to(x[:1], (5, 1, 32, 32)),
    "one number broadcast": lambda x: np.broadcast_to(np.float32(0.5), (3, 1, 32, 32)),
    "odd strides of one image": lambda x: as_strided(x, (1, 1, 32, 32), (7, 3, 128, 4)),
    "overlapping images": lambda x: as_strided(x, (3, 1, 32, 32), (4, 4, 128, 4)),
    "read-only": read_only,
    "of bytes": lambda x: np.frombuffer(x.tobytes(), np.float32).reshape(x.shape),
    "unaligned": unaligned,
    "unaligned and read-only": lambda x: read_only(unaligned(x)),
    "a subclass": lambda x: x.view(Subclass),
    "a matrix of another kind": lambda x: x.view(np.recarray),
    "a dtype with a note": lambda x: x.astype(np.dtype(np.float32, metadata={"unit": "ink"})),
    "a dtype that is equal": lambda x: x.view(np.dtype("f")),
}


@pytest.mark.parametrize("make", LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_means_what_its_copy_means(session, make):
    images = make(noise(4))
    plain = np.array(images, np.float32, order="C", copy=True, subok=False)
    kept = plain.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = session.run(images)
    np.testing.assert_array_equal(found, session.run(plain))
    np.testing.assert_array_equal(np.asarray(images), kept)  # the caller's array is as it was
    assert type(found) is np.ndarray


@pytest.mark.parametrize("make", LAYOUTS.values(), ids=LAYOUTS)
def test_an_engine_gets_plain_arrays_alone(fake, predictor, make):
    fake.run(make(noise(4)))
    for batch in predictor.batches:  # none for no images
        assert type(batch) is np.ndarray
        assert batch.dtype == np.float32
        assert batch.flags.c_contiguous
        assert batch.flags.aligned


def test_a_plain_array_is_not_copied(fake, predictor):
    images = noise(2)
    fake.run(images)
    assert predictor.batches[0] is images


def test_a_memory_map_is_taken(session, tmp_path):
    np.save(tmp_path / "images.npy", noise(3))
    for mode in ("r", "c", "r+"):
        mapped = np.load(tmp_path / "images.npy", mmap_mode=mode)
        assert isinstance(mapped, np.memmap)
        np.testing.assert_array_equal(session.run(mapped), session.run(noise(3)))


def test_the_engine_is_not_asked_about_no_images(fake, predictor):
    logits = fake.run(np.zeros((0, 1, 32, 32), np.float32))
    assert logits.shape == (0, 10)
    assert logits.dtype == np.float32
    assert not predictor.batches


# Properties.

DTYPES = st.sampled_from(
    [np.dtype(code) for code in ("=f4", ">f4", "<f4", "=f2", "=f8", "u1", "=i4", "?", "=c8")]
)
SIDES = st.sampled_from([0, 1, 28, 31, 32, 33])
SHAPES = st.lists(SIDES, max_size=5).map(tuple) | st.integers(0, 9).map(lambda n: (n, 1, 32, 32))


@given(DTYPES, SHAPES, st.data())
@settings(deadline=None)
def test_an_input_is_taken_if_and_only_if_it_is_right(artifact, dtype, shape, data):
    """Whatever array comes, the answer is logits or an InputError."""
    if np.prod(shape) > 2**16:
        shape = shape[:2]
    value = data.draw(st.sampled_from([0, 1]) | hnp.from_dtype(dtype))
    images = np.zeros(shape, dtype)
    if images.size:
        images.flat[data.draw(st.integers(0, images.size - 1))] = value
    right = dtype == np.float32 and images.shape[1:] == (1, 32, 32) and np.isfinite(images).all()
    session = Session(FakePredictor(), artifact, "fake")
    if right:
        assert session.run(images).shape == (len(images), 10)
    else:
        with refused():
            session.run(images)


@given(st.data())
@settings(deadline=None)
def test_any_view_means_what_its_copy_means(artifact, data):
    """Slices, steps and swapped axes of a larger array, negative strides among them."""
    base = np.arange(3 * 2 * 65 * 65, dtype=np.float32).reshape(3, 2, 65, 65)
    steps = st.sampled_from([-2, -1, 1, 2])
    starts = st.integers(0, 1)

    def cut(axis, length):
        step = data.draw(steps, label=f"step of axis {axis}")
        start = data.draw(starts) if step > 0 else base.shape[axis] - 1 - data.draw(starts)
        stop = start + step * length
        return slice(start, stop if stop >= 0 else None, step)

    count = data.draw(st.integers(0, 1))
    view = base[cut(0, count), cut(1, 1), cut(2, 32), cut(3, 32)]
    if data.draw(st.booleans()):
        view = view.swapaxes(2, 3)
    session = Session(FakePredictor(), artifact, "fake")
    np.testing.assert_array_equal(session.run(view), session.run(view.copy()))
