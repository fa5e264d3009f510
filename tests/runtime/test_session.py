"""Session: what it takes, what it refuses, and that it gives one answer to one question."""

import re
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from artifact_files import edit_manifest, write_artifact
from fake_engine import BACKEND, FakePredictor
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.lib.stride_tricks import as_strided
from samples import first_ten, noise

import lenet_runtime
from lenet_runtime.artifact import Artifact
from lenet_runtime.backends import BACKENDS
from lenet_runtime.errors import ArtifactError, BackendUnavailable, DeployError, InputError
from lenet_runtime.images.digits import load_digits
from lenet_runtime.images.preprocess import to_batch
from lenet_runtime.parity import TOLERANCES, compare
from lenet_runtime.session import Session

MAX = np.finfo(np.float32).max


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    return Artifact.open(write_artifact(tmp_path_factory.mktemp("fake") / "artifact"))


@pytest.fixture
def predictor():
    return FakePredictor()


@pytest.fixture
def fake(artifact, predictor):
    return Session(predictor, artifact, "fake")


@pytest.fixture
def static(predictor, tmp_path):
    folder = write_artifact(tmp_path / "static", batch=4)
    return Session(predictor, Artifact.open(folder), "fake")


@pytest.fixture
def folder(artifact, copy_of, monkeypatch):
    """An artifact that `load` gives to the fake engine."""
    monkeypatch.setitem(BACKENDS, "fake", BACKEND)
    return copy_of(artifact)


@contextmanager
def refused(match=None, error=InputError):
    """The error comes, and no warning before it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(error, match=match) as caught:
            yield caught


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


@pytest.mark.parametrize("make", WRONG.values(), ids=WRONG)
def test_every_session_refuses_a_wrong_input(session, make):
    with refused():
        session.run(make(noise(2)))


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


def read_only(x):
    x.flags.writeable = False
    return x


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


def test_no_images_have_no_logits(session):
    logits = session.run(np.zeros((0, 1, 32, 32), np.float32))
    assert logits.shape == (0, 10)
    assert logits.dtype == np.float32


def test_the_engine_is_not_asked_about_no_images(fake, predictor):
    fake.run(np.zeros((0, 1, 32, 32), np.float32))
    assert not predictor.batches


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


def test_check_finite_may_be_given_up(folder):
    images = noise(2)
    images[0, 0, 0, 0] = np.nan
    with lenet_runtime.load(folder, trust=True, check_finite=False) as session:
        assert np.isnan(session.run(images)[0, 0])
    with lenet_runtime.load(folder, trust=True) as session, refused():
        session.run(images)


def test_without_the_check_an_engine_gives_nan_for_nan(onnx_artifact):
    images = noise(2)
    images[1] = np.nan
    with lenet_runtime.load(onnx_artifact.path, check_finite=False) as session:
        logits = session.run(images)
    assert np.isfinite(logits[0]).all()
    assert np.isnan(logits[1]).all()


def test_a_closed_session_says_so(fake, predictor):
    fake.close()
    for use in (
        lambda: fake.run(noise(1)),
        lambda: fake.run(noise(1)[:0]),
        lambda: fake.predict(np.zeros((1, 28, 28), np.uint8)),
        fake.warmup,
    ):
        with refused(error=DeployError, match=r"session of .* is closed; load it again"):
            use()
    assert not predictor.batches


def test_closing_twice_gives_the_engine_back_once(fake, predictor):
    fake.close()
    fake.close()
    assert predictor.closed == 1


def test_leaving_the_block_closes(fake, predictor):
    with fake as entered:
        assert entered is fake
        assert not predictor.closed
    assert predictor.closed == 1


def test_an_exception_leaves_the_block_closed(fake, predictor):
    with pytest.raises(ZeroDivisionError), fake:
        raise ZeroDivisionError
    assert predictor.closed == 1


def test_a_run_that_is_under_way_survives_close(fake, predictor):
    predictor.proceed.clear()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(fake.run, noise(2))
        assert predictor.entered.wait(30)
        fake.close()
        predictor.proceed.set()
        np.testing.assert_array_equal(answer.result(30), first_ten(noise(2)))
    with refused(error=DeployError):
        fake.run(noise(2))


def test_close_among_many_runs_answers_or_refuses(session):
    """Every call that races with `close` ends with the right answer or a clear error."""
    images = noise(4)
    expected = session.run(images)
    for _ in range(5):
        other = lenet_runtime.load(session.artifact.path, backend=session.backend)
        start = threading.Barrier(5)

        def hammer(other=other, start=start):
            start.wait(30)
            for _ in range(200):
                try:
                    answer = other.run(images)
                except DeployError as error:
                    return str(error)
                np.testing.assert_array_equal(answer, expected)
            return "never closed"

        with ThreadPoolExecutor(4) as pool:
            answers = [pool.submit(hammer) for _ in range(4)]
            start.wait(30)
            other.close()
        assert all("closed" in answer.result() for answer in answers)


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


def test_a_session_says_what_it_is(fake, artifact):
    assert repr(fake) == f"<Session {artifact.path} (fake on cpu)>"
    assert fake.manifest is artifact.manifest
    fake.close()
    assert repr(fake) == f"<Session {artifact.path} (closed)>"


def test_warmup_runs_black_images(fake, predictor):
    fake.warmup((1, 3), runs=2)
    assert [len(batch) for batch in predictor.batches] == [1, 1, 3, 3]
    assert not any(batch.any() for batch in predictor.batches)


def test_warmup_of_a_static_artifact_runs_its_own_size(static, predictor):
    static.warmup((1, 64), runs=1)
    assert {len(batch) for batch in predictor.batches} == {4}


@pytest.mark.parametrize("size", [0, -1])
def test_warmup_of_no_images_is_refused(fake, size):
    with refused(match="batch_sizes"):
        fake.warmup((size,))


def test_warmup_of_every_session(session):
    session.warmup((1, 2))


@pytest.mark.parametrize("threads", [0, -1, True, 1.0, "2", np.int64(2), 1025, 2**31, 10**12])
def test_threads_must_be_a_sensible_number(folder, threads):
    with refused(match="threads: expected an integer from 1 to 1024 or None"):
        lenet_runtime.load(folder, trust=True, threads=threads)


@pytest.mark.parametrize("threads", [None, 1, 2, 1024])
def test_threads_reach_the_engine(folder, threads, monkeypatch):
    given = []
    monkeypatch.setattr("fake_engine.load", lambda *args: given.append(args) or FakePredictor())
    with lenet_runtime.load(folder, trust=True, threads=threads) as session:
        assert session.threads == threads
    assert given[0][1:] == ("cpu", threads)


@pytest.mark.parametrize("threads", [None, 1, 2])
def test_the_number_of_threads_does_not_change_the_answer(session, threads):
    with lenet_runtime.load(
        session.artifact.path, backend=session.backend, threads=threads
    ) as other:
        found, expected = other.run(noise(9)), session.run(noise(9))
    assert compare(found, expected, TOLERANCES["fp32"]).ok


@pytest.mark.parametrize("backend", ["", "onnx", "ORT-CPU", "no-such", None, "ort-cpu"])
def test_a_backend_that_does_not_run_the_format_is_refused(folder, backend):
    with refused(match=r"backend: .* expected one of \['fake'\]"):
        lenet_runtime.load(folder, trust=True, backend=backend)


@pytest.mark.parametrize(
    "device", ["", "CPU", "cpu:0", "cpu ", "cuda:", "cuda:-1", "cuda:\u0661", "tpu", None]
)
def test_what_is_no_device_is_refused(folder, device):
    with refused(match="device: expected"):
        lenet_runtime.load(folder, trust=True, device=device)


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:17"])
def test_a_device_that_is_not_here_is_never_replaced(folder, device):
    """No silent fallback: whoever asks for a GPU does not get the CPU."""
    with refused(error=BackendUnavailable, match="cuda"):
        lenet_runtime.load(folder, trust=True, device=device)


def test_auto_takes_the_first_that_is_available(folder, monkeypatch):
    monkeypatch.setitem(BACKENDS, "second", BACKEND)
    with lenet_runtime.load(folder, trust=True) as session:
        assert session.backend == "fake"

    def missing(device):
        raise BackendUnavailable("none here")

    monkeypatch.setattr("fake_engine.probe", missing)
    with refused(error=BackendUnavailable, match="fake: none here; second: none here"):
        lenet_runtime.load(folder, trust=True)
    with refused(error=BackendUnavailable, match="none here"):
        lenet_runtime.load(folder, trust=True, backend="second")


def test_a_format_without_a_backend_is_refused(folder):
    edit_manifest(folder, lambda d: d.update(format="\x1b[2J"))
    with refused(error=BackendUnavailable, match=r"no backend .* '\\x1b\[2J'"):
        lenet_runtime.load(folder, trust=True)


def test_an_artifact_that_failed_its_proof_is_refused(folder):
    edit_manifest(folder, lambda d: d["parity"]["comparisons"][0].update(reason="off by one"))
    for unproven in (False, True):
        with refused(error=ArtifactError, match="parity report says it failed"):
            lenet_runtime.load(folder, trust=True, unproven=unproven)


def test_an_artifact_without_proof_is_refused(folder):
    edit_manifest(folder, lambda d: d["parity"].update(comparisons=[]))
    with refused(error=ArtifactError, match=r"--no-verify.*verify .* --trust --record"):
        lenet_runtime.load(folder, trust=True)
    lenet_runtime.load(folder, trust=True, unproven=True).close()


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


@pytest.mark.parametrize("top_k", [0, 11, -1, 1.5, None, True])
def test_top_k_is_1_to_10(fake, top_k):
    with refused(match="top_k"):
        fake.predict(np.zeros((1, 28, 28), np.uint8), top_k=top_k)


def test_predict_refuses_what_run_takes(fake, predictor):
    with refused():
        fake.predict(noise(1))
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
