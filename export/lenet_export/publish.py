"""Publishing: an artifact's folder appears whole or not at all, and never costs the old one.

Files are written into a hidden folder beside the target, flushed to disk, and moved into place
by one rename. Where something is there already, the two are exchanged by one system call, so at
every instant the name leads to one whole artifact.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from lenet_runtime.artifact import MANIFEST_NAME, Artifact
from lenet_runtime.errors import ArtifactError

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2  # linux/fs.h


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
    if not (target / MANIFEST_NAME).is_file():
        raise ArtifactError(
            f"{target}: expected an artifact or nothing, found a folder of other files; "
            "choose another --output"
        )
    if not force:
        raise ArtifactError(
            f"{target}: an artifact is there already; pass --force to replace it, "
            "or choose another --output"
        )


@contextlib.contextmanager
def staging(target: Path) -> Iterator[Path]:
    """A new hidden folder beside `target`, gone afterwards unless `publish` moved it.

    A process that is killed leaves its folder behind; the next one sweeps it away. A lock on the
    folder, which ends with its process, tells an orphan from a folder in use.

    Raises:
        ArtifactError: the parent folder cannot be written.
    """
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
        ArtifactError: `target` appeared meanwhile and `force` is off, or cannot be replaced.
    """
    check_target(target, force)
    _sync(folder)
    try:
        # POSIX replaces an empty folder and refuses one that holds something.
        folder.rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise ArtifactError(f"{target}: cannot publish ({error.strerror})") from error
        _exchange(folder, target)
    _sync(target.parent)
    return Artifact.open(target)


def _prefix(target: Path) -> str:
    return f".{target.name}.staging-"


def _locked_folder(target: Path) -> tuple[Path, int]:
    """A new staging folder and the descriptor that holds its lock."""
    while True:
        folder = target.with_name(_prefix(target) + secrets.token_hex(8))
        folder.mkdir()
        lock = os.open(folder, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            return folder, lock
        os.close(lock)  # another export swept it in the instant before it was locked


def _sweep(target: Path) -> None:
    for orphan in target.parent.glob(f"{_prefix(target)}*"):
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
            raise ArtifactError(f"{old}: cannot be replaced ({os.strerror(code)})")
    # The old artifact waits outside the staging folder, which is deleted whatever happens.
    aside = old.with_name(f".{old.name}.replaced-{os.getpid()}")
    old.rename(aside)
    try:
        new.rename(old)
    except OSError:
        aside.rename(old)
        raise
    shutil.rmtree(aside)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
