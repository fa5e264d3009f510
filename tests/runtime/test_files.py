"""A file is replaced whole or not at all."""

import os
from pathlib import Path

import pytest

from lenet_runtime.artifact.files import write_atomically
from lenet_runtime.errors import ArtifactError


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_behind(tmp_path, monkeypatch, error):
    path = tmp_path / "a.bin"
    write_atomically(path, b"old")

    def fail(descriptor):
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises((ArtifactError, KeyboardInterrupt)) as caught:
        write_atomically(path, b"new")
    if isinstance(error, OSError):
        assert "a.bin: cannot write 3 bytes (No space left" in str(caught.value)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("a.bin", b"old")]


def test_readers_never_see_a_file_that_is_half_written(tmp_path, monkeypatch):
    """Until the very rename, the old file is whole under its name."""
    path, contents = tmp_path / "a.bin", []
    write_atomically(path, b"old")
    rename = Path.replace
    monkeypatch.setattr(
        Path, "replace", lambda self, to: (contents.append(path.read_bytes()), rename(self, to))
    )
    write_atomically(path, b"new")
    assert (contents, path.read_bytes()) == ([b"old"], b"new")


def test_a_missing_folder_is_an_error_of_ours(tmp_path):
    with pytest.raises(ArtifactError, match="No such file or directory"):
        write_atomically(tmp_path / "none" / "a.bin", b"")
