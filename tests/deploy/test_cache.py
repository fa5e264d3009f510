"""The artifacts that commands use when they are given none."""

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


FORMAT = "torchscript"


def test_that_of_onnx_is_shipped(root):
    assert cache.default_artifact() == cache.bundled_artifact()
    assert not root.exists()


def test_others_are_exported_once_and_then_found(root):
    steps = []
    first = cache.default_artifact(FORMAT, steps.append)
    assert root in first.parents
    assert "once" in steps[0]
    steps.clear()
    assert cache.default_artifact(FORMAT, steps.append) == first
    assert steps == []
    with load(first, trust=True) as session:
        assert session.backend == FORMAT


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
    "a byte": rewritten("model.pt", lambda data: data[:-1] + bytes([data[-1] ^ 1])),
    "cut": rewritten("golden.npz", lambda data: data[:99]),
    "missing": lambda folder: (folder / "model.pt").unlink(),
    "another schema": edited(schema_version=3),
    "of another machine": lambda folder: edit_manifest(
        folder, lambda document: document["requirements"].update(platform="plan9-z80")
    ),
    "a file": a_file,
}


def test_a_damaged_one_is_made_again(root, monkeypatch, torchscript_artifact):
    """The export is replaced by a copy: what is tested is that it comes, and what it meets."""

    def export(net, format, folder, *, force, **options):
        put(torchscript_artifact.path, folder, force)
        return Artifact.open(folder)

    monkeypatch.setattr(lenet_export, "export", export)
    path = cache.default_artifact(FORMAT)
    for name, damage in DAMAGE.items():
        damage(path)
        assert cache.default_artifact(FORMAT) == path, name
        steps = []
        cache.default_artifact(FORMAT, steps.append)
        assert steps == [], name
        load(path, trust=True).close()


def test_a_place_that_cannot_be_written_names_what_to_set(root, tmp_path, monkeypatch):
    root.write_text("a file where the folder goes")
    with pytest.raises(
        DeployError, match=r"Not a directory\); set XDG_CACHE_HOME .*name an artifact"
    ):
        cache.default_artifact(FORMAT)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)  # a uid without an entry
    with pytest.raises(
        DeployError, match=r"HOME is not set, and user .* set HOME or XDG_CACHE_HOME"
    ):
        cache.default_artifact(FORMAT)


def test_without_torch_it_says_what_to_name_or_install(root, monkeypatch):
    monkeypatch.setattr(cache, "find_spec", lambda name: None)
    with pytest.raises(BackendUnavailable, match=r"pip install .*\[export\].*name an artifact"):
        cache.default_artifact(FORMAT)
    assert not root.exists()
