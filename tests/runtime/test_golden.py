"""golden.npz: read as narrowly as it is written, and obeyed at every load."""

import io
import tracemalloc
import zipfile

import numpy as np
import pytest
from artifact_files import golden_bytes, replace_file, write_artifact
from fake_engine import FakePredictor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from samples import first_ten, noise

import lenet_runtime
from lenet_runtime.artifact import Artifact, golden
from lenet_runtime.errors import ArtifactError, DeployError, ParityError

IMAGES = noise(4)
LOGITS = first_ten(IMAGES)
RIGHT = golden.write(IMAGES, LOGITS)


def npy(array, **keywords):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asanyarray(array), **keywords)
    return buffer.getvalue()


def header(shape, descr="<f4"):
    """A file that promises an array and does not hold it."""
    buffer = io.BytesIO()
    fields = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, fields)
    return buffer.getvalue()


def npz(*members, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return buffer.getvalue()


def pair(images=None, logits=None, **keywords):
    images = npy(IMAGES) if images is None else images
    logits = npy(LOGITS) if logits is None else logits
    return npz(("images.npy", images), ("logits.npy", logits), **keywords)


def patched(data, old, new):
    assert len(old) == len(new)
    assert old in data
    return data.replace(old, new)


def bomb():
    """A few kilobytes that unpack to 256 MB."""
    return pair(npy(np.zeros((2**16, 1, 32, 32), np.float32)), compression=zipfile.ZIP_DEFLATED)


def test_what_is_written_is_read(folder):
    images, logits = golden.read(Artifact.open(folder))
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(logits, LOGITS)
    assert images.dtype == logits.dtype == np.float32
    assert images.flags.writeable


def test_numpy_reads_it_too():
    with np.load(io.BytesIO(RIGHT)) as arrays:
        np.testing.assert_array_equal(arrays["images"], IMAGES)
        np.testing.assert_array_equal(arrays["logits"], LOGITS)


def test_equal_arrays_give_equal_bytes():
    assert golden.write(np.asfortranarray(IMAGES), LOGITS.copy()) == RIGHT


WRONG = {
    "empty": b"",
    "garbage": bytes(range(256)) * 8,
    "truncated": RIGHT[:-1],
    "half": RIGHT[: len(RIGHT) // 2],
    "no member": npz(),
    "images alone": npz(("images.npy", npy(IMAGES))),
    "another name": npz(("image.npy", npy(IMAGES)), ("logits.npy", npy(LOGITS))),
    "no suffix": npz(("images", npy(IMAGES)), ("logits", npy(LOGITS))),
    "the other order": npz(("logits.npy", npy(LOGITS)), ("images.npy", npy(IMAGES))),
    "one more": npz(("images.npy", npy(IMAGES)), ("logits.npy", npy(LOGITS)), ("x", b"")),
    "members that are no arrays": pair(b"abc", b"def"),
    "an empty member": pair(b""),
    "a bare array": npy(IMAGES),
    "a pickle": b"\x80\x04N.",
    "an array of objects": pair(npy(np.array([None]), allow_pickle=True)),
    "float64": pair(npy(IMAGES.astype(np.float64))),
    "big-endian": pair(npy(IMAGES.astype(">f4"))),
    "integers": pair(npy(IMAGES.astype(np.int32))),
    "Fortran order": pair(npy(np.asfortranarray(IMAGES))),
    "3-d": pair(npy(IMAGES[:, 0])),
    "0-d": pair(npy(np.float32(1))),
    "28x28": pair(npy(IMAGES[:, :, 2:30, 2:30])),
    "11 logits": pair(None, npy(np.zeros((4, 11), np.float32))),
    "more images": pair(npy(IMAGES.repeat(2, axis=0))),
    "more logits": pair(None, npy(LOGITS.repeat(2, axis=0))),
    "no rows": pair(npy(IMAGES[:0]), npy(LOGITS[:0])),
    "an image of NaN": pair(npy(np.full_like(IMAGES, np.nan))),
    "version 3": pair(npy(IMAGES, version=(3, 0))),
    "petabytes": pair(header((10**12, 1, 32, 32))),
    "beyond 64 bits": pair(header((10**30, 1, 32, 32))),
    "digits beyond int": pair(header((int("9" * 4000), 1, 32, 32))),
    "a negative size": pair(header((-1, 1, 32, 32))),
    "no such dtype": pair(header((4, 1, 32, 32), "<f99")),
    "a dtype that is a list": pair(header((4, 1, 32, 32), [1])),
    "half a value": pair(npy(IMAGES)[:-2]),
    "values beyond": pair(npy(IMAGES) + b"\0\0\0\0"),
    "deflate": pair(compression=zipfile.ZIP_DEFLATED),
    "bzip2": pair(compression=zipfile.ZIP_BZIP2),
    "lzma": pair(compression=zipfile.ZIP_LZMA),
    "a bomb": bomb(),
    "encrypted": patched(
        patched(RIGHT, b"PK\x03\x04\x14\0\0\0", b"PK\x03\x04\x14\0\x01\0"),
        b"PK\x01\x02\x14\x03\x14\0\0\0",
        b"PK\x01\x02\x14\x03\x14\0\x01\0",
    ),
    "of a later zip": patched(RIGHT, b"PK\x01\x02\x14\x03\x14\0", b"PK\x01\x02\x14\x03\xff\0"),
    "a wrong checksum": patched(RIGHT, LOGITS.tobytes(), (LOGITS + 1).tobytes()),
}


@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG)
def test_anything_else_is_refused(folder, data):
    """With its hash in the manifest: a damaged file that somebody vouches for."""
    artifact = Artifact.open(replace_file(folder, "golden.npz", data))
    with pytest.raises(ArtifactError, match=r"golden\.npz"):
        golden.read(artifact)


@given(st.data())
@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_random_damage_is_refused_or_harmless(folder, data):
    spoilt = bytearray(RIGHT)
    spans = st.integers(0, 200) | st.integers(len(RIGHT) - 300, len(RIGHT) - 1)
    for place in data.draw(st.lists(spans, min_size=1, max_size=3)):
        spoilt[place] = data.draw(st.integers(0, 255))
    artifact = Artifact.open(replace_file(folder, "golden.npz", bytes(spoilt)))
    try:
        images, logits = golden.read(artifact)
    except ArtifactError:
        return
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(logits, LOGITS)


def test_a_bomb_is_not_unpacked(folder):
    data = bomb()
    assert len(data) < 2**20
    artifact = Artifact.open(replace_file(folder, "golden.npz", data))
    tracemalloc.start()
    try:
        with pytest.raises(ArtifactError):
            golden.read(artifact)
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()


def test_a_static_artifact_has_one_golden_batch_of_its_size(tmp_path):
    folder = write_artifact(tmp_path / "static", batch=4)
    golden.read(Artifact.open(folder))
    replace_file(folder, "golden.npz", golden_bytes(rows=8))
    with pytest.raises(ArtifactError, match="batch size of 4"):
        golden.read(Artifact.open(folder))


@pytest.mark.parametrize("offset", [0.01, -1, np.nan, np.inf, None])
def test_an_engine_that_answers_otherwise_or_fails_is_given_back(folder, monkeypatch, offset):
    predictor = FakePredictor(offset)
    predictor.fails = offset is None
    monkeypatch.setattr("fake_engine.load", lambda *arguments: predictor)
    with pytest.raises(DeployError, match=r"failed the self-test.*not loaded|fake engine failed"):
        lenet_runtime.load(folder, trust=True)
    assert predictor.closed == 1


def test_expected_logits_that_are_not_finite_fail(folder):
    replace_file(folder, "golden.npz", golden.write(IMAGES, np.full_like(LOGITS, np.nan)))
    with pytest.raises(ParityError, match="not finite"):
        lenet_runtime.load(folder, trust=True)


@pytest.mark.parametrize(
    ("starts", "sizes"),
    [((1,), [4]), ((1, 2), [1, 4]), ((1, 3, 9), [2, 4, 9]), ((1, 4, 5), [3, 4, 5])],
)
def test_the_self_test_runs_every_program(tmp_path, starts, sizes):
    """Four golden images, as many as a program serves, or over and over where it serves more."""
    artifact = Artifact.open(write_artifact(tmp_path / "artifact"))
    engine = FakePredictor()
    golden.self_test(engine.run, artifact, "fake", starts)
    assert [len(batch) for batch in engine.batches] == sizes


def test_the_self_test_says_at_which_batch_it_failed(tmp_path):
    artifact = Artifact.open(write_artifact(tmp_path / "artifact"))

    def engine(images):
        return FakePredictor(offset=len(images) == 9).run(images)

    golden.self_test(engine, artifact, "fake")
    with pytest.raises(ParityError, match="in a batch of 9"):
        golden.self_test(engine, artifact, "fake", (1, 9))
