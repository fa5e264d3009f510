"""Fixtures: artifacts and sessions of the fake engine."""

import pytest
from artifact_files import write_artifact
from fake_engine import BACKEND, FakePredictor

from lenet_runtime.artifact import Artifact
from lenet_runtime.backends import BACKENDS
from lenet_runtime.session import Session


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An artifact that `load` gives to the fake engine."""
    monkeypatch.setitem(BACKENDS, "fake", BACKEND)
    return write_artifact(tmp_path / "artifact")


@pytest.fixture(scope="session")
def artifact(tmp_path_factory):
    """The same, opened; never change it."""
    return Artifact.open(write_artifact(tmp_path_factory.mktemp("fake") / "artifact"))


@pytest.fixture
def predictor():
    """The fake engine that answers in `fake` and `static`."""
    return FakePredictor()


@pytest.fixture
def fake(artifact, predictor):
    """A session of the fake engine."""
    return Session(predictor, artifact, "fake")


@pytest.fixture
def static(predictor, tmp_path):
    """A session of an artifact for batches of four."""
    folder = write_artifact(tmp_path / "static", batch=4)
    return Session(predictor, Artifact.open(folder), "fake")
