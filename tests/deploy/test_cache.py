"""The artifact that commands use when they are given none."""

import shutil

import pytest
from artifact_files import edit_manifest
from publishing import put

import lenet_export
from lenet_deploy import cache
from lenet_runtime import load
from lenet_runtime.artifact import Artifact
from lenet_runtime.errors import BackendUnavailable, DeployError


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "lenet-deploy"


def test_it_is_exported_once_and_then_found(root):
    steps = []
    first = cache.default_artifact(progress=steps.append)
    assert root in first.parents
    assert "once" in steps[0]
    steps.clear()
    assert cache.default_artifact(progress=steps.append) == first
    assert steps == []
    with load(first) as session:
        assert session.backend == "ort-cpu"


def rewritten(name, change):
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes()))


def a_file(folder):
    shutil.rmtree(folder)
    folder.touch()


def edited(**fields):
    return lambda folder: edit_manifest(folder, lambda document: document.update(fields))


# Whatever is in the place of the default artifact, with the message that would be the user's.
DAMAGE = {
    "manifest": rewritten("manifest.json", lambda data: b"{}"),
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
    "a byte": rewritten("model.onnx", lambda data: data[:-1] + bytes([data[-1] ^ 1])),
    "cut": rewritten("golden.npz", lambda data: data[:99]),
    "missing": lambda folder: (folder / "model.onnx").unlink(),
    "another schema": edited(schema_version=3),
    "of another machine": lambda folder: edit_manifest(
        folder, lambda document: document["requirements"].update(platform="plan9-z80")
    ),
    "a file": a_file,
}


def test_a_damaged_one_is_made_again(root, monkeypatch, onnx_artifact):
    """The export is replaced by a copy: what is tested is that it comes, and what it meets."""

    def export(net, format, folder, *, force, **options):
        put(onnx_artifact.path, folder, force)
        return Artifact.open(folder)

    monkeypatch.setattr(lenet_export, "export", export)
    path = cache.default_artifact()
    for name, damage in DAMAGE.items():
        damage(path)
        assert cache.default_artifact() == path, name
        steps = []
        cache.default_artifact(progress=steps.append)
        assert steps == [], name
        load(path).close()


def test_a_place_that_cannot_be_written_names_what_to_set(root, tmp_path, monkeypatch):
    root.write_text("a file where the folder goes")
    with pytest.raises(
        DeployError, match=r"Not a directory\); set XDG_CACHE_HOME .*--artifact DIR"
    ):
        cache.default_artifact()
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)  # a uid without an entry
    with pytest.raises(
        DeployError, match=r"HOME is not set, and user .* set HOME or XDG_CACHE_HOME"
    ):
        cache.default_artifact()


def test_without_torch_it_says_what_to_name_or_install(root, monkeypatch):
    monkeypatch.setattr(cache, "find_spec", lambda name: None)
    with pytest.raises(BackendUnavailable, match=r"--artifact DIR.*pip install .*\[export\]"):
        cache.default_artifact()
    assert not root.exists()
