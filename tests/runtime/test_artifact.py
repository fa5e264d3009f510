"""Artifacts on disk: only the listed, unchanged, plain files of one folder are ever read."""

import io
import os
import re
import shutil
import socket
from pathlib import Path

import pytest
from artifact_files import (
    NAMES,
    edit_manifest,
    open_descriptors,
    read_all,
    replace_file,
    write_artifact,
)

from lenet_runtime.artifact import MAX_MANIFEST_BYTES, Artifact, Manifest, files
from lenet_runtime.artifact import folder as folders
from lenet_runtime.errors import ArtifactError


@pytest.fixture
def folder(tmp_path):
    return write_artifact(tmp_path / "artifact")


def test_a_whole_artifact_is_read(folder):
    contents = read_all(folder)
    assert contents == {name: (folder / name).read_bytes() for name in NAMES[1:]}


@pytest.mark.parametrize("kind", [str, Path, os.path.relpath, lambda p: f"{p}/."])
def test_a_path_may_be_spelt_in_many_ways(folder, kind):
    assert Artifact.open(kind(folder)).manifest == Artifact.open(folder).manifest


def test_the_digest_names_the_content_and_not_the_place(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    digest = Artifact.open(folder).digest
    assert Artifact.open(copy).digest == digest
    replace_file(copy, "model.fake", b"other")
    assert Artifact.open(copy).digest != digest


def test_the_artifacts_folder_may_be_a_symlink(folder, tmp_path):
    """As deployments have it: ``current -> releases/7``."""
    link = tmp_path / "current"
    link.symlink_to(folder, target_is_directory=True)
    assert read_all(link) == read_all(folder)


@pytest.mark.parametrize(
    "path", ["nowhere", "file", "fifo", "dangling", "loop", "nul\0", "\ud800", "x" * 5000]
)
def test_what_is_not_a_folder_is_refused(tmp_path, path):
    (tmp_path / "file").write_bytes(b"{}")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ArtifactError, match="expected an artifact's folder"):
        Artifact.open(tmp_path / path)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file_is_refused(folder, name):
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=name):
        read_all(folder)


def test_the_manifest_cannot_list_itself(folder):
    edit_manifest(folder, lambda d: d["files"].update({"manifest.json": d["files"]["model.fake"]}))
    with pytest.raises(
        ArtifactError, match=r"lists manifest\.json, which cannot hold its own hash"
    ):
        Artifact.open(folder)


@pytest.mark.parametrize("name", ["other", "manifest.json", "../secret", "/etc/passwd", ""])
def test_only_listed_names_can_be_read(folder, name):
    (folder.parent / "secret").write_bytes(b"secret")
    with pytest.raises(ArtifactError, match="lists no file"):
        Artifact.open(folder).read(name)


DAMAGE = {
    "truncated": lambda data: data[:-1],
    "empty": lambda data: b"",
    "grown": lambda data: data + b"\0",
    "one bit": lambda data: bytes([data[0] ^ 1]) + data[1:],
    "garbage of the same size": lambda data: bytes(len(data)),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("name", NAMES[1:])
def test_a_damaged_file_is_refused(folder, name, damage):
    path = folder / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ArtifactError, match=name):
        read_all(folder)


def test_a_file_that_changes_after_the_manifest_was_read_is_refused(folder, monkeypatch):
    from_bytes = Manifest.from_bytes

    def change(data, where):
        (folder / "model.fake").write_bytes(b"ten PIXELS")
        return from_bytes(data, where)

    monkeypatch.setattr(Manifest, "from_bytes", change)
    with pytest.raises(ArtifactError, match="SHA-256"):
        Artifact.open(folder)


def test_what_was_hashed_is_what_is_read(folder):
    artifact = Artifact.open(folder)
    (folder / "model.fake").write_bytes(b"ten PIXELS")
    assert artifact.read("model.fake") == b"ten pixels"
    shutil.rmtree(folder)
    assert artifact.read("model.fake") == b"ten pixels"


def test_the_damaged_files_are_told_apart_from_the_others(folder):
    (folder / "model.fake").write_bytes(b"ten PIXELS")
    artifact, damage = Artifact.examine(folder)
    assert list(artifact.contents) == ["golden.npz"]
    assert list(damage) == ["model.fake"]
    assert "SHA-256" in damage["model.fake"]


@pytest.mark.parametrize("size", [0, -1, 9, 11, 2**63, pytest.param(10**4000, id="huge")])
def test_a_size_that_is_not_the_files_is_refused(folder, size):
    edit_manifest(folder, lambda d: d["files"]["model.fake"].update(size=size))
    with pytest.raises(ArtifactError, match=r"model\.fake"):
        read_all(folder)


def test_a_hash_counts_in_lower_case_alone(folder):
    """One spelling for one content, or equal artifacts had unequal digests."""
    edit_manifest(
        folder,
        lambda d: d["files"]["model.fake"].update(
            sha256=d["files"]["model.fake"]["sha256"].upper()
        ),
    )
    with pytest.raises(ArtifactError, match="SHA-256"):
        read_all(folder)


def bind(path):
    """A socket at `path`, by a short name: their paths are limited to some 100 bytes."""
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(path.name)


REPLACEMENTS = {
    "dangling symlink": lambda path: path.symlink_to("nowhere"),
    "symlink to itself": lambda path: path.symlink_to(path.name),
    "fifo": os.mkfifo,
    "symlink to a fifo": lambda path: (os.mkfifo("../fifo"), path.symlink_to("../fifo")),
    "folder": lambda path: path.mkdir(),
    "device": lambda path: path.symlink_to(os.devnull),
    "socket": bind,
}


@pytest.mark.parametrize("replace", REPLACEMENTS.values(), ids=REPLACEMENTS)
@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_a_regular_file_is_refused(folder, name, replace, monkeypatch):
    path = folder / name
    path.unlink()
    monkeypatch.chdir(folder)
    replace(path)
    before = open_descriptors()
    with pytest.raises(ArtifactError, match=rf"{re.escape(name)}: (expected a reg|cannot be read)"):
        read_all(folder)
    assert open_descriptors() == before


def test_a_manifest_of_more_than_a_mebibyte_is_not_parsed(folder):
    path = folder / "manifest.json"
    path.write_bytes(path.read_bytes() + b" " * MAX_MANIFEST_BYTES)
    with pytest.raises(ArtifactError, match="at most"):
        Artifact.open(folder)


def test_no_more_is_read_than_the_manifest_promises(folder, monkeypatch):
    """The file may have grown to terabytes since."""
    asked = []

    class File(io.FileIO):
        def read(self, size=-1):
            asked.append(size)
            return super().read(size)

    monkeypatch.setattr(files.os, "fdopen", File)
    artifact = Artifact.open(folder)
    sizes = [entry.size for entry in artifact.manifest.files.values()]
    assert asked == [max(limit, 64) + 1 for limit in (MAX_MANIFEST_BYTES, *sizes)]


def test_no_more_is_read_than_the_bound_of_an_artifact(folder, monkeypatch):
    monkeypatch.setattr(folders, "MAX_BYTES", (folder / "golden.npz").stat().st_size + 9)
    with pytest.raises(ArtifactError, match=r"model\.fake: expected at most 9 bytes"):
        Artifact.open(folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", [".", *NAMES])
def test_what_may_not_be_read_is_refused(folder, name):
    (folder / name).chmod(0)
    try:
        with pytest.raises(ArtifactError, match="Permission denied"):
            read_all(folder)
    finally:
        (folder / name).chmod(0o700)


def test_a_disk_that_fails_is_an_artifact_error(folder, monkeypatch):
    def fail(*arguments, **keywords):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(files.os, "fdopen", fail)
    with pytest.raises(ArtifactError, match=r"cannot be read \(Input/output error\)"):
        Artifact.open(folder)


def test_no_descriptor_is_left_open(folder):
    before = open_descriptors()
    for _ in range(3):
        read_all(folder)
    assert open_descriptors() == before
