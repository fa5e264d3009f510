"""Sessions whose engine is a function, for tests of `verify`."""

import dataclasses

import numpy as np
import pytest
from fake_engine import FakePredictor

from lenet_runtime.session import Session

CHANGES = (
    "permuted",
    "filled with one image",
    "duplicated",
    "padded with black",
    "taken apart, one image at a time",
)


@pytest.fixture
def eager(net):
    """Logits of `net`."""
    from lenet_export.network.reference import Reference

    return Reference(net).eager


@pytest.fixture
def session_of(onnx_artifact):
    """`session_of(answer)`: a session whose engine is a function; fields replace the manifest's."""

    def make(answer, **fields):
        manifest = dataclasses.replace(onnx_artifact.manifest, **fields)
        artifact = dataclasses.replace(onnx_artifact, manifest=manifest)
        predictor = FakePredictor()
        predictor.run = answer
        return Session(predictor, artifact, "fake")

    return make


def changes(report, **wanted):
    """The changes of a batch after which the answers compared so."""
    return [i.change for i in report.invariance if all(
        getattr(i, key) == value for key, value in wanted.items())]  # fmt: skip


def swap_top_two(answer, image):
    """An engine that answers as `answer` does, but takes the second class of one image."""

    def run(images):
        logits = answer(images).copy()
        for row in np.flatnonzero((images == image).all(axis=(1, 2, 3))):
            first, second = np.argsort(logits[row])[[-1, -2]]
            logits[row, [first, second]] = logits[row, [second, first]]
        return logits

    return run
