"""Artifacts as volumes and caches hold them."""

import contextlib
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest


def contents(artifact, below=""):
    """An artifact's files by their paths in a volume."""
    return {f"{below}{path.name}": path.read_bytes() for path in artifact.iterdir()}


def kubelet(volume, files):
    """Put files into a volume as kubelet's AtomicWriter does, in place of those of the last time.

    A folder of the moment, the link ``..data`` that is set anew by one rename, links through it for
    all to see, and then the last folder is deleted, whoever may read it.
    """
    volume.mkdir(parents=True, exist_ok=True)
    data, old = volume / "..data", None
    with contextlib.suppress(FileNotFoundError):
        old = volume / data.readlink()
    # Kubelet names it by the time.
    new = volume / f"..2026_11_27_{int(old.name.rpartition('_')[2]) + 1 if old else 0}"
    for name, content in files.items():
        (new / name).parent.mkdir(parents=True, exist_ok=True)
        (new / name).write_bytes(content)
    (volume / "..data_tmp").symlink_to(new.name)
    (volume / "..data_tmp").replace(data)
    for top in {Path(name).parts[0] for name in files}:
        if not os.path.lexists(volume / top):
            (volume / top).symlink_to(f"..data/{top}")
    if old:
        shutil.rmtree(old)
    return volume


def hugging_face(cache, artifact, revision="main"):
    """A snapshot in the cache of huggingface_hub: links to blobs that are named by their hash."""
    snapshot = cache / "snapshots" / revision
    snapshot.mkdir(parents=True)
    (cache / "blobs").mkdir(exist_ok=True)
    for name, data in contents(artifact).items():
        blob = cache / "blobs" / hashlib.sha256(data).hexdigest()
        blob.write_bytes(data)
        (snapshot / name).symlink_to(f"../../blobs/{blob.name}")
    return snapshot


@contextlib.contextmanager
def mounted(*words):
    """Mount as root, ``mount WORDS``, whose last is the folder; skip where this may not be."""
    folder = Path(words[-1])
    folder.mkdir()
    try:
        _mount(*words)
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], capture_output=True, check=False)


@contextlib.contextmanager
def read_only(source, folder):
    """A folder as a volume that cannot be written, and from which no program may run."""
    with mounted("--bind", source, folder):
        _mount("-o", "remount,bind,ro,noexec,nosuid,nodev", folder)
        yield folder


def _mount(*words):
    try:
        command = ["mount", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"cannot mount: {error}")
    if done.returncode:
        pytest.skip(f"cannot mount: {done.stderr.strip()}")
