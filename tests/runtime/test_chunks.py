"""Cutting: an engine sees pieces, its user the whole batch."""

import numpy as np
import pytest
from artifact_files import write_artifact
from fake_engine import BACKEND, FakePredictor
from samples import noise

from lenet_runtime.artifact import Artifact
from lenet_runtime.plans.chunks import InChunks, cut


@pytest.mark.parametrize(
    ("size", "pieces"),
    [(1, [1]), (4, [4]), (7, [7]), (8, [4, 4]), (9, [4, 4, 1]), (12, [4, 4, 4])],
)
def test_a_batch_of_two_pieces_or_more_is_cut(size, pieces):
    engine = FakePredictor()
    logits = InChunks(engine, 4).run(noise(size))
    assert [len(batch) for batch in engine.batches] == pieces
    np.testing.assert_array_equal(logits, noise(size).reshape(size, -1)[:, :10])


def test_cutting_again_replaces_the_chunk():
    engine = FakePredictor()
    assert cut(cut(engine, 4), 2).engine is engine
    assert cut(cut(engine, 4), None) is engine
    assert cut(engine, None) is engine


def test_closing_closes_the_engine():
    engine = FakePredictor()
    InChunks(engine, 4).close()
    assert engine.closed == 1


def test_a_static_artifact_is_never_cut(tmp_path):
    """Its engine takes one size."""
    for batch, kind in ((None, InChunks), (256, FakePredictor)):
        folder = write_artifact(tmp_path / str(batch), batch)
        assert type(BACKEND.load(Artifact.open(folder), "cpu", None)) is kind
