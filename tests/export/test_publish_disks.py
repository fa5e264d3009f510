"""Publishing to disks that are full, read-only or broken, and on systems of old."""

import contextlib
import errno
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from publishing import FSYNCS, names, put
from samples import snapshot

import lenet_runtime
from lenet_export import publish
from lenet_runtime.errors import ArtifactError

# ---- disks


@contextlib.contextmanager
def mounted(folder: Path, options: str, kind="tmpfs"):
    """A small file system of its own; needs root."""
    folder.mkdir()
    words = ["mount", "-t", kind, "-o", options, kind, str(folder)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"cannot mount: {error}")
    if done.returncode:
        pytest.skip(f"cannot mount: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_costs_nothing(old, new, tmp_path):
    """A real one: there is room for one artifact and a half."""
    with mounted(tmp_path / "disk", "size=544k") as disk:
        target = shutil.copytree(old, disk / "a")
        before = snapshot(disk)
        with pytest.raises(ArtifactError, match=r"No space left on device.*was there before is"):
            put(new, target, force=True)
        assert snapshot(disk) == before
        assert names(disk) == ["a"]
        lenet_runtime.load(target).close()


@contextlib.contextmanager
def overlay(folder, old):
    """`old` in the lower layer of an overlay, as in a container's image; gives its path there."""
    folder.mkdir()
    with mounted(folder / "disk", "size=4m") as disk:
        for name in ("lower", "upper", "work"):
            (disk / name).mkdir()
        shutil.copytree(old, disk / "lower" / "a")
        options = (
            f"lowerdir={disk}/lower,upperdir={disk}/upper,workdir={disk}/work,redirect_dir=off"
        )
        with mounted(disk / "merged", options, "overlay") as merged:
            yield merged / "a"


def test_an_artifact_of_an_overlays_lower_layer_is_replaced(old, new, tmp_path):
    with overlay(tmp_path / "image", old) as target:
        for _ in range(2):  # from then on it is of the upper layer
            put(new, target, force=True)
            assert snapshot(target) == snapshot(new)
            assert names(target.parent) == ["a"]


def test_a_full_disk_under_an_overlay_costs_nothing(old, new, tmp_path):
    """There is room for the new one, but not for the copy of the old one."""
    with overlay(tmp_path / "image", old) as target:
        before, disk = snapshot(target), target.parents[1]
        (disk / "filler").write_bytes(bytes(4 * 2**20 - 900 * 1024))
        with pytest.raises(ArtifactError, match=r"cannot publish .*No space left.* unchanged"):
            put(new, target, force=True)
        assert snapshot(target) == before
        assert names(target.parent) == ["a"]


def test_a_read_only_disk_says_so(old, new, tmp_path):
    with mounted(tmp_path / "disk", "size=2m") as disk:
        target = shutil.copytree(old, disk / "a")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(ArtifactError, match=r"cannot write here .Read-only file system"):
            put(new, target, force=True)
        lenet_runtime.load(target).close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write where modes forbid it")
def test_a_folder_without_permission_says_so(old, new):
    old.parent.chmod(0o555)
    with pytest.raises(ArtifactError, match=r"cannot write here .Permission denied"):
        put(new, old, force=True)


@pytest.mark.parametrize("count", range(1, FSYNCS))
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_at_any_flush_costs_nothing(old, new, monkeypatch, count, code):
    """Full disks with late allocation answer only at fsync."""
    before, fsync, calls = snapshot(old.parent), os.fsync, []

    def failing(descriptor):
        calls.append(descriptor)
        if len(calls) == count:
            raise OSError(code, os.strerror(code))
        fsync(descriptor)

    monkeypatch.setattr(publish.os, "fsync", failing)
    with pytest.raises(ArtifactError, match=os.strerror(code)):
        put(new, old, force=True)
    assert snapshot(old.parent) == before
    assert names(old.parent) == ["a"]


def test_a_parent_that_is_a_file_says_so(new, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match=r"file: cannot write here \((File exists|Not a dir)"):
        put(new, tmp_path / "file" / "a")
    with pytest.raises(ArtifactError, match="cannot write here"):
        put(new, tmp_path / "file" / "deeper" / "a")
    with pytest.raises(ArtifactError, match="File name too long"):
        put(new, tmp_path / ("a" * 250))


def test_a_rename_across_a_mount_point_says_so(new, tmp_path):
    """The target is a disk of its own: a folder cannot be moved onto it."""
    with (
        mounted(tmp_path / "disk", "size=2m") as disk,
        pytest.raises(ArtifactError, match="a volume is mounted here; choose another"),
    ):
        put(new, disk)
    assert names(tmp_path) == ["disk", "new"]


# ---- systems that cannot exchange two folders


class NoSuchCall:
    """A C library without renameat2 (macOS, musl of old)."""


def refusing(code):
    class Libc:
        @staticmethod
        def renameat2(*arguments):
            publish.ctypes.set_errno(code)
            return -1

    return Libc()


OLD_SYSTEMS = [NoSuchCall(), refusing(errno.ENOSYS), refusing(errno.EINVAL)]


@pytest.mark.parametrize("libc", OLD_SYSTEMS, ids=["none", "ENOSYS", "EINVAL"])
def test_without_the_system_call_two_renames_do(old, new, monkeypatch, libc):
    monkeypatch.setattr(publish.ctypes, "CDLL", lambda *args, **kwargs: libc)
    put(new, old, force=True)
    assert snapshot(old) == snapshot(new)
    assert names(old.parent) == ["a"]


def test_a_refused_exchange_costs_nothing(old, new, monkeypatch):
    before = snapshot(old)
    monkeypatch.setattr(publish.ctypes, "CDLL", lambda *args, **kwargs: refusing(errno.EPERM))
    with pytest.raises(ArtifactError, match=r"cannot publish .Operation not permitted"):
        put(new, old, force=True)
    assert snapshot(old) == before
    assert names(old.parent) == ["a"]


@pytest.mark.parametrize("failing", ["first", "second"])
def test_two_renames_of_which_one_fails_cost_nothing(old, new, monkeypatch, failing):
    before, rename = snapshot(old), Path.rename

    def deny(self, target):
        moves_away = ".replaced-" in Path(target).name
        brings_new = ".staging-" in self.name and not old.exists()
        if moves_away if failing == "first" else brings_new:
            raise PermissionError(errno.EACCES, "no")
        return rename(self, target)

    monkeypatch.setattr(publish.ctypes, "CDLL", lambda *args, **kwargs: NoSuchCall())
    monkeypatch.setattr(Path, "rename", deny)
    with pytest.raises(ArtifactError, match=r"cannot publish \(no\)"):
        put(new, old, force=True)
    assert snapshot(old) == before
    assert names(old.parent) == ["a"]
