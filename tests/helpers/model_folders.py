"""Folders of models of the fake engine, and repositories that serve them."""

import time

import fake_engine
import pytest
from artifact_files import write_artifact

from lenet_runtime.backends import BACKENDS
from lenet_serve.repository import FolderRepository, RepositoryOptions

POLL_S = 0.01


def until(condition, seconds=20):
    """Wait until a condition holds, and fail where it does not."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.002)


def put(folder, tag="1", *, broken=False):
    """An artifact, put there at once; equal tags make equal ones. A broken one lacks its model."""
    staged = write_artifact(folder.parent / f".{folder.name}.staged", tools={"lenet-deploy": tag})
    if broken:
        (staged / "model.fake").unlink()
    folder.parent.mkdir(parents=True, exist_ok=True)
    return staged.rename(folder)


def tag_of(model):
    return model.session.manifest.tools["lenet-deploy"]


def states(repository):
    return {(s.name, s.version): s.state for s in repository.index()}


def reason(repository, version="1"):
    return next((s.reason for s in repository.index() if s.version == version), "")


@pytest.fixture
def models(tmp_path, monkeypatch):
    """A folder for models, which are loaded by the fake engine."""
    monkeypatch.setitem(BACKENDS, "fake", fake_engine.BACKEND)
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


@pytest.fixture
def serving(models):
    """`serving(path=models, **options)`: a repository that has settled; closed after the test."""
    opened = []

    def serve(path=models, metrics=None, **options):
        options = {"poll_seconds": POLL_S, "trust": True} | options
        opened.append(FolderRepository(RepositoryOptions(path, **options), metrics=metrics))
        assert opened[-1].wait(20)
        return opened[-1]

    yield serve
    for repository in opened:
        repository.close()
