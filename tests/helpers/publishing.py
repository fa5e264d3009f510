"""Publishing without an export: the files of one folder take the place of another's."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from lenet_export import publish
from lenet_runtime.artifact import MANIFEST_NAME

FSYNCS = 5  # of three files, of the staging folder, and of the parent after the exchange


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def put(source: Path, target: Path, force=False):
    """Publish copies of `source`'s files."""
    with publish.staging(target) as folder:
        publish.write_files(folder, {p.name: p.read_bytes() for p in source.iterdir()})
        return publish.publish(folder, target, force)


def make_notes(target):
    target.mkdir()
    (target / "notes.txt").write_text("precious")


@pytest.fixture
def old(onnx_artifact, tmp_path):
    """The target, in a folder of its own, with an artifact in it."""
    return shutil.copytree(onnx_artifact.path, tmp_path / "site" / "a")


@pytest.fixture
def new(onnx_artifact, tmp_path):
    """A folder with the files of another artifact, told by its manifest."""
    folder = shutil.copytree(onnx_artifact.path, tmp_path / "new")
    manifest = dataclasses.replace(onnx_artifact.manifest, tools={"made by": "the new one"})
    (folder / MANIFEST_NAME).write_bytes(manifest.to_bytes())
    return folder
