"""Artifacts as tools leave them: links, strangers beside the files, others in their place."""

import os
import re
from pathlib import Path

import pytest
from artifact_files import NAMES, read_all, write_artifact

from lenet_runtime.artifact import Artifact, files
from lenet_runtime.errors import ArtifactError


@pytest.fixture
def folder(tmp_path):
    return write_artifact(tmp_path / "artifact")


STRANGERS = [
    ".DS_Store", "._manifest.json", ".nfs0000000000000001", "lost+found/", "README.md",
    "__init__.py", "model.fake~", "Manifest.json", "\udcff", "a\nb",
]  # fmt: skip


@pytest.mark.parametrize("name", STRANGERS)
def test_what_is_not_listed_is_never_read(folder, name):
    """Tools leave it there, and it can do no harm."""
    expected = read_all(folder)
    stranger = folder / name
    stranger.mkdir() if name.endswith("/") else os.mkfifo(stranger)  # to open it would be noticed
    assert read_all(folder) == expected
    assert Artifact.open(folder).unlisted() == [name.rstrip("/")]


def linked(folder, link):
    """Each file of the folder becomes a link to where it lies now, beside the folder."""
    blobs = folder.parent / "blobs"
    blobs.mkdir()
    for name in NAMES:
        (folder / name).rename(blobs / name)
        link(folder / name, blobs / name)


def kubernetes(folder):
    """A volume of a ConfigMap: a folder of the moment, a link to it, and links through that."""
    version = folder / "..2026_11_27"
    version.mkdir()
    for name in NAMES:
        (folder / name).rename(version / name)
        (folder / name).symlink_to(f"..data/{name}")
    (folder / "..data").symlink_to(version.name)


LAYOUTS = {
    "hard links, as of uv": lambda folder: linked(folder, Path.hardlink_to),
    "symlinks": lambda folder: linked(folder, Path.symlink_to),
    "relative symlinks, as of Hugging Face": lambda folder: linked(
        folder, lambda path, blob: path.symlink_to(f"../blobs/{blob.name}")
    ),
    "a volume of Kubernetes": kubernetes,
}


@pytest.mark.parametrize("arrange", LAYOUTS.values(), ids=LAYOUTS)
def test_links_lead_to_the_same_artifact(folder, arrange):
    """The bytes are hashed, whatever led to them."""
    expected = read_all(folder)
    arrange(folder)
    assert read_all(folder) == expected
    data = bytearray((folder / "model.fake").read_bytes())
    data[0] ^= 1
    (folder / "model.fake").write_bytes(data)
    with pytest.raises(ArtifactError, match=r"model\.fake: expected 10 bytes with SHA-256"):
        read_all(folder)


def test_what_a_link_leads_to_is_not_told(folder):
    """Who can write the folder must not learn the hash of a file that only this process reads."""
    secret = folder.parent / "secret"
    secret.write_bytes(b"0123456789")
    (folder / "model.fake").unlink()
    (folder / "model.fake").symlink_to(secret)
    with pytest.raises(ArtifactError) as caught:
        Artifact.open(folder)
    assert files.sha256(b"0123456789") not in str(caught.value)


# What comes in place of a file, and the advice that then helps.
MISTAKEN = {
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
    "HTML": (b"\n<!DOCTYPE HTML><title>404</title>", "download the file itself"),
    "HTML without a doctype": (b"<html lang=en>", "download the file itself"),
    "nothing": (b"", "it is empty: copy it again"),
    "gzip": (b"\x1f\x8b\x08\x00rest", "unpack it with gunzip"),
    "BOM": (b"\xef\xbb\xbf{}", "UTF-8 without one"),
    "UTF-16": ("{}".encode("utf-16"), "it is UTF-16: save it as UTF-8"),
    "anything": (b"\0\1\2", "copy all of it again from where it is whole, or export it again"),
}


@pytest.mark.parametrize(("data", "advice"), MISTAKEN.values(), ids=MISTAKEN)
@pytest.mark.parametrize("name", NAMES)
def test_each_fault_has_its_own_advice(folder, name, data, advice):
    (folder / name).write_bytes(data)
    with pytest.raises(ArtifactError, match=rf"{re.escape(name)}: .*; .*{re.escape(advice)}"):
        Artifact.open(folder)


def test_a_path_that_is_no_folder_is_advised(folder, tmp_path):
    for name in ("a.zip", "model.onnx"):
        (tmp_path / name).write_bytes(b"PK\x03\x04" if "zip" in name else b"\x08\x0a")
    cases = {
        folder / "model.fake": f"its folder is {folder}",
        tmp_path / "a.zip": "it is an archive: unpack it",
        tmp_path / "model.onnx": "it is a file: pass a folder",
        "~/artifact": r"~ is the shell's: pass os.path.expanduser\('~/artifact'\)",
        "s3://bucket/artifact": "s3://bucket/artifact: .* nothing is downloaded",
        "https://example.org/a": "nothing is downloaded",
    }
    for path, advice in cases.items():
        with pytest.raises(ArtifactError, match=advice):
            Artifact.open(path)


def test_a_process_without_descriptors_is_told_so(folder, monkeypatch):
    """Exporting again would not help."""

    def fail(*arguments, **keywords):
        raise OSError(24, "Too many open files")

    for broken in ("open", "fdopen"):
        with monkeypatch.context() as patch:
            patch.setattr(files.os, broken, fail)
            with pytest.raises(ArtifactError, match=r"Too many open files.*ulimit -n"):
                Artifact.open(folder)
