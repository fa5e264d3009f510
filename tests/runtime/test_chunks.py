"""Cutting: an engine sees chunks, its user the whole batch."""

import numpy as np
import pytest
from artifact_files import write_artifact
from fake_engine import BACKEND, FakePredictor
from samples import noise

from lenet_runtime.artifact import Artifact
from lenet_runtime.backends import BACKENDS
from lenet_runtime.errors import InputError
from lenet_runtime.loading import start
from lenet_runtime.session import Session


@pytest.fixture
def session(tmp_path):
    """A session of the fake engine that cuts into chunks of four images."""
    artifact = Artifact.open(write_artifact(tmp_path / "artifact"))
    return Session(FakePredictor(), artifact, "fake", chunk=4)


@pytest.mark.parametrize(
    ("size", "chunks"),
    [(1, [1]), (4, [4]), (7, [7]), (8, [4, 4]), (9, [4, 4, 1]), (12, [4, 4, 4])],
)
def test_a_batch_of_two_chunks_or_more_is_cut(session, size, chunks):
    logits = session.run(noise(size))
    assert [len(batch) for batch in session.predictor.batches] == chunks
    np.testing.assert_array_equal(logits, noise(size).reshape(size, -1)[:, :10])


def test_a_value_that_is_not_finite_is_found_in_any_chunk(session):
    for image in (0, 11):
        images, out = noise(12), np.full((12, 10), 7, np.float32)
        images[image, 0, 3, 4] = np.nan
        with pytest.raises(InputError, match=rf"found 1 .* first at \({image}, 0, 3, 4\)"):
            session.run(images, out=out)
        assert (out == 7).all()


def test_closing_closes_the_engine(session):
    engine = session.predictor
    session.close()
    assert engine.closed == 1


def test_a_static_artifact_is_never_cut(tmp_path, monkeypatch):
    """Its engine takes one size."""
    monkeypatch.setitem(BACKENDS, "fake", BACKEND)
    for batch, chunk in ((None, 64), (256, None)):
        artifact = Artifact.open(write_artifact(tmp_path / str(batch), batch))
        with start(artifact, "fake", trust=True) as session:
            assert session.chunk == chunk


def test_a_gpu_is_never_given_chunks(tmp_path):
    manifest = Artifact.open(write_artifact(tmp_path / "artifact")).manifest
    assert BACKEND.chunk(manifest, "cpu") == 64
    assert BACKEND.chunk(manifest, "cuda:0") is None
