"""Session's answers: one answer to one question, in the caller's own memory."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from artifact_files import write_artifact
from fake_engine import BACKEND, FakePredictor
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused
from samples import first_ten, noise, read_only

from lenet_runtime.artifact import Artifact
from lenet_runtime.backends import BACKENDS
from lenet_runtime.errors import DeployError
from lenet_runtime.images.digits import load_digits
from lenet_runtime.images.preprocess import to_batch
from lenet_runtime.loading import load
from lenet_runtime.parity import TOLERANCES, compare
from lenet_runtime.session import Session


@pytest.mark.parametrize("count", [1, 2, 7, 64])
def test_an_answer_is_the_callers_own(session, count):
    """Writing into it, or asking again, changes no other answer."""
    images = noise(count)
    first = session.run(images)
    kept = first.copy()
    second = session.run(images)
    assert first.dtype == np.float32
    assert first.shape == (count, 10)
    assert first.flags.writeable
    assert not np.shares_memory(first, second)
    second[:] = np.nan
    session.run(noise(count, seed=1))
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(session.run(images), kept)


WRONG_OUT = {
    "a list": lambda out: out.tolist(),
    "a number": lambda out: 0,
    "float64": lambda out: out.astype(np.float64),
    "foreign byte order": lambda out: out.astype(out.dtype.newbyteorder("S")),
    "one row more": lambda out: np.concatenate([out, out[:1]]),
    "one row less": lambda out: out[:-1],
    "a row alone": lambda out: out[0],
    "flat": lambda out: out.reshape(-1),
    "11 logits": lambda out: np.zeros((3, 11), np.float32),
    "Fortran order": np.asfortranarray,
    "every second row": lambda out: np.zeros((6, 10), np.float32)[::2],
    "read-only": read_only,
    "broadcast": lambda out: np.broadcast_to(np.zeros(10, np.float32), (3, 10)),
    "a masked array": lambda out: np.ma.masked_array(out, mask=True),
}


@pytest.mark.parametrize("make", WRONG_OUT.values(), ids=WRONG_OUT)
def test_a_wrong_out_is_refused_before_anything_runs(fake, predictor, make):
    with refused(match=r"out: expected a writable C-contiguous float32 array of shape \(3, 10\)"):
        fake.run(noise(3), out=make(np.zeros((3, 10), np.float32)))
    assert not predictor.batches


def test_out_is_filled_and_returned(session):
    images, out = noise(3), np.full((3, 10), np.nan, np.float32)
    assert session.run(images, out=out) is out
    np.testing.assert_array_equal(out, session.run(images))


def test_out_may_be_empty_for_no_images(session):
    out = np.zeros((0, 10), np.float32)
    assert session.run(np.zeros((0, 1, 32, 32), np.float32), out=out) is out


def test_out_may_be_part_of_a_larger_array(session):
    images, store = noise(6), np.zeros((6, 10), np.float32)
    for start in (0, 3):
        session.run(images[start : start + 3], out=store[start : start + 3])
    np.testing.assert_array_equal(store[:3], session.run(images[:3]))
    np.testing.assert_array_equal(store[3:], session.run(images[3:]))


@pytest.mark.parametrize("start", [0, 5, 3072 - 30])
def test_out_may_lie_in_the_images_memory(session, start):
    images = noise(3)
    expected = session.run(images.copy())
    out = images.reshape(-1)[start : start + 30].reshape(3, 10)
    np.testing.assert_array_equal(session.run(images, out=out), expected)


@pytest.mark.parametrize("spoil", [lambda x: x[0], lambda x: x * np.float32(np.nan)])
def test_out_is_untouched_where_the_input_is_refused(fake, spoil):
    out = np.full((2, 10), 7, np.float32)
    with refused():
        fake.run(spoil(noise(2)), out=out)
    assert (out == 7).all()


def test_out_is_untouched_where_the_engine_fails(fake, predictor):
    predictor.fails = True
    out = np.full((2, 10), 7, np.float32)
    with refused(error=DeployError, match="fake engine failed"):
        fake.run(noise(2), out=out)
    assert (out == 7).all()


@pytest.mark.parametrize("count", [0, 1, 3, 5, 8])
def test_a_static_artifact_takes_its_own_batch_alone(static, predictor, count):
    with refused(match=rf"exported for batches of 4, found {count}; .*--static-batch"):
        static.run(np.zeros((count, 1, 32, 32), np.float32))
    assert not predictor.batches
    assert static.run(noise(4)).shape == (4, 10)


def test_predict_on_a_static_artifact_takes_its_own_batch_alone(static):
    assert len(static.predict(np.zeros((4, 28, 28), np.uint8))) == 4
    with refused(match="batches of 4, found 1"):
        static.predict(np.zeros((1, 28, 28), np.uint8))


def test_sixteen_threads_get_what_one_gets(session):
    """Bit by bit; each thread has batches of its own sizes, and all run at once."""
    batches = [noise(1 + 5 * (i % 4), seed=i) for i in range(16)]
    expected = [session.run(batch) for batch in batches]
    start = threading.Barrier(16)

    def ask(i):
        out = np.empty_like(expected[i])
        start.wait(30)
        for turn in range(20):
            found = session.run(batches[i], out=out if turn % 2 else None)
            np.testing.assert_array_equal(found, expected[i])

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(ask, range(16)))


def pictures():
    image = pytest.importorskip("PIL.Image")
    return [image.fromarray(digit) for digit in load_digits().images[:3]]


PREDICTABLE = {
    "uint8 28x28": lambda: load_digits().images[:3],
    "uint8 32x32": lambda: np.pad(load_digits().images[:3], [(0, 0), (2, 2), (2, 2)]),
    "floats 28x28": lambda: load_digits().images[:3] / 255,
    "floats 32x32": lambda: np.zeros((3, 32, 32), np.float32),
    "pictures": pictures,
    "none": lambda: np.zeros((0, 28, 28), np.uint8),
}


@pytest.mark.parametrize("make", PREDICTABLE.values(), ids=PREDICTABLE)
def test_predict_is_run_between_two_steps(session, make):
    images = make()
    prediction = session.predict(images, top_k=2)
    logits = session.run(to_batch(images, session.manifest.preprocessing))
    assert len(prediction) == len(images)
    np.testing.assert_array_equal(prediction.labels, logits.argmax(axis=1))
    assert prediction.top_k.shape == (len(images), 2)
    assert prediction.class_labels == session.manifest.labels


def test_predict_takes_one_picture(session):
    one = pictures()[0]
    assert session.predict(one).labels.tolist() == session.predict([one]).labels.tolist()


@pytest.mark.parametrize("top_k", [0, 11, -1, 1.5, True])
def test_top_k_is_1_to_10(fake, top_k):
    with refused(match="top_k"):
        fake.predict(np.zeros((1, 28, 28), np.uint8), top_k=top_k)


WRONG_ANSWERS = {
    "one row": lambda logits: logits[:1],
    "a row less": lambda logits: logits[:-1],
    "a row more": lambda logits: np.concatenate([logits, logits[:1]]),
    "a column": lambda logits: logits[:, :1],
    "flat": np.ravel,
    "nothing": lambda logits: logits[:0],
}


@pytest.mark.parametrize("change", WRONG_ANSWERS.values(), ids=WRONG_ANSWERS)
@pytest.mark.parametrize("chunk", [None, 3])
def test_an_answer_of_another_shape_is_no_answer(artifact, predictor, change, chunk):
    """A hostile model passes the self-test and answers other batches so; `out=` would take it."""
    session = Session(predictor, artifact, "fake", chunk=chunk)
    predictor.run = lambda images: change(first_ten(images))
    predictor.run_pixels = lambda pixels: change(first_ten(pixels.astype(np.float32)))
    out = np.full((9, 10), 7, np.float32)
    with refused(error=DeployError, match=r"answered \d images with|could not be"):
        session.run(noise(9), out=out)
    assert (out == 7).all()
    with refused(error=DeployError, match=r"answered 9 images with logits of shape"):
        session.predict(np.zeros((9, 28, 28), np.uint8))


def test_rows_of_one_chunk_cannot_make_up_for_anothers(cutting, predictor):
    rows = iter((5, 3, 4))
    cutting.predictor.run = lambda images: np.zeros((next(rows), 10), np.float32)
    cutting._run = cutting.predictor.run
    with refused(error=DeployError, match="answered 4 images with 5 rows"):
        cutting.run(noise(12))


def test_predict_refuses_what_run_takes(fake, predictor):
    with refused():
        fake.predict(noise(1))
    assert not predictor.batches


def agree(found, expected):
    if len(expected):
        comparison = compare(found, expected, TOLERANCES["fp32"])
        assert comparison.ok, comparison.reason
    assert found.shape == expected.shape


SIZES = st.lists(st.integers(0, 9), min_size=1, max_size=5)


@given(SIZES, st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=25)
def test_a_batch_answers_as_its_parts(session, sizes, seed):
    """Run of a concatenation is the concatenation of runs; splitting is the same backwards."""
    parts = [noise(size, seed + i) for i, size in enumerate(sizes)]
    agree(session.run(np.concatenate(parts)), np.concatenate([session.run(p) for p in parts]))


@given(st.integers(1, 20), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=25)
def test_a_permuted_batch_answers_permuted(session, count, random):
    images = noise(count, seed=count)
    order = random.sample(range(count), count)
    agree(session.run(images[order]), session.run(images)[order])


@given(st.integers(1, 9), st.integers(0, 9))
@settings(deadline=None, max_examples=25)
def test_padding_a_batch_changes_no_answer(session, count, padding):
    images = noise(count, seed=padding)
    padded = np.concatenate([images, np.zeros((padding, 1, 32, 32), np.float32)])
    agree(session.run(padded)[:count], session.run(images))


# Cutting: an engine sees chunks, its user the whole batch.


@pytest.fixture
def cutting(artifact):
    """A session of the fake engine that cuts into chunks of four images."""
    return Session(FakePredictor(), artifact, "fake", chunk=4)


@pytest.mark.parametrize(
    ("size", "chunks"),
    [(1, [1]), (4, [4]), (7, [7]), (8, [4, 4]), (9, [4, 4, 1]), (12, [4, 4, 4])],
)
def test_a_batch_of_two_chunks_or_more_is_cut(cutting, size, chunks):
    logits = cutting.run(noise(size))
    assert [len(batch) for batch in cutting.predictor.batches] == chunks
    np.testing.assert_array_equal(logits, first_ten(noise(size)))


def test_a_value_that_is_not_finite_is_found_in_any_chunk(cutting):
    for image in (0, 11):
        images, out = noise(12), np.full((12, 10), 7, np.float32)
        images[image, 0, 3, 4] = np.nan
        with refused(match=rf"found 1 .* first at \({image}, 0, 3, 4\)"):
            cutting.run(images, out=out)
        assert (out == 7).all()


def test_a_static_artifact_is_never_cut(tmp_path, monkeypatch):
    """Its engine takes one size."""
    monkeypatch.setitem(BACKENDS, "fake", BACKEND)
    for batch, chunk in ((None, 64), (256, None)):
        artifact = Artifact.open(write_artifact(tmp_path / str(batch), batch))
        with load(artifact, "fake", trust=True) as session:
            assert session.chunk == chunk


def test_a_gpu_is_never_given_chunks(artifact):
    assert BACKEND.chunk(artifact.manifest, "cpu") == 64
    assert BACKEND.chunk(artifact.manifest, "cuda:0") is None
