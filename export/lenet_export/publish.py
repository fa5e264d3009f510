"""Publishing: an artifact's folder appears whole or not at all, and never costs the old one.

Files are written into a hidden folder beside the target, flushed to disk, and moved into place
by one rename. Where something is there already, the two are exchanged by one system call, so at
every instant the name leads to one whole artifact.
"""

import contextlib
import ctypes
import dataclasses
import errno
import fcntl
import glob
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from lenet_runtime.artifact import GOLDEN_NAME, MANIFEST_NAME, Artifact, files
from lenet_runtime.errors import ArtifactError

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2  # linux/fs.h
_TOKEN_BYTES = 8


def check_target(target: Path, force: bool) -> None:
    """Refuse a target that is in the way, before the work is done.

    Raises:
        ArtifactError: it exists and `force` is off, or it is something that we did not write.
    """
    if not os.path.lexists(target):
        return
    if target.is_symlink() or not target.is_dir():
        raise ArtifactError(f"{target}: expected a folder or nothing, found another kind of file")
    if not any(target.iterdir()):
        return
    if not _is_ours(target):
        raise ArtifactError(
            f"{target}: expected an artifact or nothing, found a folder of other files; "
            "choose another --output"
        )
    if not force:
        raise ArtifactError(
            f"{target}: an artifact is there already; pass --force to replace it, "
            "or choose another --output"
        )


def _is_ours(folder: Path) -> bool:
    """Whether an artifact is, or before some damage was, in `folder`.

    A manifest.json alone says nothing: web applications and browser extensions have one, too.
    """
    manifest = folder / MANIFEST_NAME
    if not manifest.is_file():
        return False
    return (folder / GOLDEN_NAME).is_file() or b'"weights_sha256"' in manifest.read_bytes()


@contextlib.contextmanager
def staging(target: Path) -> Iterator[Path]:
    """A new hidden folder beside `target`, gone afterwards unless `publish` moved it.

    A process that is killed leaves its folder behind; the next one sweeps it away. A lock on the
    folder, which ends with its process, tells an orphan from a folder in use.

    Raises:
        ArtifactError: the parent folder cannot be written.
    """
    made = [parent for parent in target.parents if not parent.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        folder, lock = _locked_folder(target)
    except OSError as error:
        raise ArtifactError(f"{target.parent}: cannot write here ({error.strerror})") from error
    try:
        yield folder
    finally:
        os.close(lock)
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # not empty: it was published
            for parent in made:
                parent.rmdir()


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write `files` into `folder` and flush them to disk.

    Raises:
        ArtifactError: the disk is full or cannot be written.
    """
    for name, data in files.items():
        try:
            with (folder / name).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise ArtifactError(
                f"{folder.parent}: cannot write {name}, {len(data)} bytes ({error.strerror}); "
                "nothing was published and what was there before is unchanged"
            ) from error


def publish(folder: Path, target: Path, force: bool) -> Artifact:
    """Move the staged `folder` to `target` and return the artifact there.

    Raises:
        ArtifactError: `target` appeared meanwhile and `force` is off, or cannot be replaced; or
            what was staged is not an artifact.
    """
    staged = Artifact.open(folder)  # what a reader would refuse must not cost the old one
    if strays := staged.unlisted():  # readers would pass them over, and nobody would miss them
        raise ArtifactError(f"{target}: not listed in the manifest that was built: {strays}")
    check_target(target, force)
    try:
        files.sync_folder(folder)
        _move(folder, target, force)
        files.sync_folder(target.parent)
    except OSError as error:
        raise ArtifactError(f"{target}: cannot publish ({error.strerror})") from error
    # Not opened again: what somebody puts there in this instant is not what we made.
    return dataclasses.replace(staged, path=target)


def _move(folder: Path, target: Path, force: bool) -> None:
    try:
        # POSIX replaces an empty folder and refuses one that holds something.
        folder.rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        check_target(target, force)  # it may have appeared an instant ago
        _exchange(folder, target)


def _prefix(target: Path) -> str:
    return f".{target.name}.staging-"


def _locked_folder(target: Path) -> tuple[Path, int]:
    """A new staging folder and the descriptor that holds its lock."""
    while True:
        folder = target.with_name(_prefix(target) + secrets.token_hex(_TOKEN_BYTES))
        folder.mkdir()
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(folder, os.O_RDONLY)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if folder.exists():
                return folder, lock
            os.close(lock)
        # Another export swept it in the instant before it was locked.


def _sweep(target: Path) -> None:
    ours = glob.escape(_prefix(target)) + "[0-9a-f]" * (2 * _TOKEN_BYTES)
    for orphan in target.parent.glob(ours):
        with contextlib.suppress(OSError):  # somebody else's, or swept by another process
            lock = os.open(orphan, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(orphan)
            finally:
                os.close(lock)


def _exchange(new: Path, old: Path) -> None:
    """Swap two folders in one step; where the system cannot, in two, and back if one fails."""
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "renameat2"):
        arguments = (_AT_FDCWD, os.fsencode(new), _AT_FDCWD, os.fsencode(old), _RENAME_EXCHANGE)
        if libc.renameat2(*arguments) == 0:
            return
        code = ctypes.get_errno()
        if code not in (errno.ENOSYS, errno.EINVAL):  # this kernel or file system cannot swap
            raise OSError(code, os.strerror(code))
    # The old artifact waits outside the staging folder, which is deleted whatever happens.
    aside = old.with_name(f".{old.name}.replaced-{secrets.token_hex(_TOKEN_BYTES)}")
    old.rename(aside)
    try:
        new.rename(old)
    except OSError:
        aside.rename(old)
        raise
    shutil.rmtree(aside, ignore_errors=True)
