"""Publishing: an artifact's folder appears whole or not at all, and never costs the old one.

Files are written into a hidden folder beside the target, flushed to disk, and moved into place
by one rename. Where something is there already, the two are exchanged by one system call, so at
every instant the name leads to one whole artifact. Some file systems cannot exchange folders, nor
move one that is of a lower layer of an overlay: there the old one is put aside first, for an
instant, and a process that is killed in it leaves it there for the next export to put back.
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
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from lenet_runtime.artifact import GOLDEN_NAME, MANIFEST_NAME, Artifact, files
from lenet_runtime.errors import ArtifactError

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2  # linux/fs.h
_TOKEN_BYTES = 8
# Whoever can write a file can change what it answers: never others, whatever the umask allows.
_FOLDER_MODE, _FILE_MODE = 0o755, 0o644


def check_target(target: Path, force: bool) -> None:
    """Refuse a target that is in the way, before the work is done.

    Raises:
        ArtifactError: it exists and `force` is off, or it is something that we did not write.
    """
    if not os.path.lexists(target):
        return
    if target.is_symlink() or not target.is_dir():
        raise ArtifactError(f"{target}: expected a folder or nothing, found another kind of file")
    if os.path.ismount(target):
        raise ArtifactError(f"{target}: a volume is mounted here; choose another output")
    if (target / MANIFEST_NAME).is_symlink():
        raise ArtifactError(
            f"{target}: expected an artifact's own files, found links, as volumes of Kubernetes "
            "and caches by content hold them: whoever put them there replaces them; choose another "
            "output"
        )
    if not any(target.iterdir()):
        return
    if not _is_ours(target):
        raise ArtifactError(
            f"{target}: expected an artifact or nothing, found a folder of other files; "
            "choose another output"
        )
    if not force:
        raise ArtifactError(
            f"{target}: an artifact is there already; pass force=True to replace it, "
            "or choose another output"
        )


def check_parent(target: Path) -> None:
    """Raise `ArtifactError` where nothing can be made beside `target`, before the work is done."""
    parent = next(parent for parent in target.absolute().parents if os.path.lexists(parent))
    try:
        with tempfile.TemporaryDirectory(prefix=".lenet-deploy-", dir=parent):
            pass
    except OSError as error:
        raise ArtifactError(
            f"{target.parent}: cannot write here ({error.strerror}); choose another output"
        ) from error


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
        for parent in reversed(made):
            parent.mkdir(_FOLDER_MODE, exist_ok=True)
        _restore(target)
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
            with open(folder / name, "wb", opener=_open) as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise ArtifactError(
                f"{folder.parent}: cannot write {name}, {len(data)} bytes ({error.strerror}); "
                "nothing was published and what was there before is unchanged"
            ) from error


def _open(path: str, flags: int) -> int:
    return os.open(path, flags, _FILE_MODE)


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
    move(folder, target, lambda: check_target(target, force))
    # Not opened again: what somebody puts there in this instant is not what we made.
    return dataclasses.replace(staged, path=target)


def move(folder: Path, target: Path, check: Callable[[], None]) -> None:
    """Move the staged `folder`, whatever it holds, to `target`, and on disk.

    Args:
        folder: What `staging` made.
        target: Its new place.
        check: Raises where what lies at `target` at this moment may not be replaced.

    Raises:
        ArtifactError: `target` cannot be replaced.
    """
    try:
        files.sync_folder(folder)
        _move(folder, target, check)
        files.sync_folder(target.parent)
    except OSError as error:
        raise ArtifactError(
            f"{target}: cannot publish ({error.strerror or error}); what was there before is "
            "unchanged; choose another output"
        ) from error


def _move(folder: Path, target: Path, check: Callable[[], None]) -> None:
    try:
        # POSIX replaces an empty folder and refuses one that holds something.
        folder.rename(target)
    except OSError as error:
        in_the_way = errno.ENOTEMPTY, errno.EEXIST, errno.EXDEV  # the last of an overlay's layer
        if error.errno not in in_the_way or not target.is_dir():
            raise
        check()  # it may have appeared an instant ago
        _exchange(folder, target)


def _prefix(target: Path, kind: str) -> str:
    return f".{target.name}.{kind}-"


def _left_behind(target: Path, kind: str) -> list[Path]:
    """The hidden folders of this kind beside `target`, all of them ours."""
    ours = glob.escape(_prefix(target, kind)) + "[0-9a-f]" * (2 * _TOKEN_BYTES)
    return list(target.parent.glob(ours))


def _locked_folder(target: Path) -> tuple[Path, int]:
    """A new staging folder and the descriptor that holds its lock."""
    while True:
        folder = target.with_name(_prefix(target, "staging") + secrets.token_hex(_TOKEN_BYTES))
        folder.mkdir(_FOLDER_MODE)
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(folder, os.O_RDONLY)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if folder.exists():
                return folder, lock
            os.close(lock)
        # Another export swept it in the instant before it was locked.


def _sweep(target: Path) -> None:
    for orphan in _left_behind(target, "staging"):
        with contextlib.suppress(OSError):  # somebody else's, or swept by another process
            lock = os.open(orphan, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(orphan)
            finally:
                os.close(lock)


def _exchange(new: Path, old: Path) -> None:
    """Put `new` in the place of `old`: in one step; where the system cannot, in several."""
    if not _swapped(new, old):
        with _lock(old.parent):  # or `_restore` of another export would take it for a killed one
            _replace(new, old)


def _swapped(new: Path, old: Path) -> bool:
    """Swap two folders by one system call; whether this kernel and file system can."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    arguments = (_AT_FDCWD, os.fsencode(new), _AT_FDCWD, os.fsencode(old), _RENAME_EXCHANGE)
    if libc.renameat2(*arguments) == 0:
        return True
    code = ctypes.get_errno()
    if code not in (errno.ENOSYS, errno.EINVAL, errno.EXDEV):
        raise OSError(code, os.strerror(code))
    return False


def _replace(new: Path, old: Path) -> None:
    """Put `old` aside, whole, and `new` in its place; whatever fails, `old` is back.

    Between the two steps the name leads nowhere, for some microseconds. A process that is killed
    there leaves `old` aside, and the next export to this name, or `_restore`, puts it back.
    """
    aside = old.with_name(_prefix(old, "replaced") + secrets.token_hex(_TOKEN_BYTES))
    try:
        old.rename(aside)
    except OSError as error:
        # The folder is of an overlay's lower layer: it can be copied and deleted, but not moved.
        if error.errno != errno.EXDEV or os.path.ismount(old):
            raise
        _copy_aside(old, aside)
    try:
        new.rename(old)
    except OSError:
        aside.rename(old)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _copy_aside(old: Path, aside: Path) -> None:
    """Make `aside` a copy of `old`, on disk, and delete `old`."""
    try:
        shutil.copytree(old, aside, symlinks=True)
        for path in (*aside.rglob("*"), aside, aside.parent):
            files.sync_folder(path)
    except OSError:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    try:
        shutil.rmtree(old)
    except OSError:
        shutil.copytree(aside, old, symlinks=True, dirs_exist_ok=True)
        shutil.rmtree(aside, ignore_errors=True)
        raise


def _restore(target: Path) -> None:
    """Finish what a process began that was killed in `_replace`."""
    left = _left_behind(target, "replaced")
    if not left:
        return
    with _lock(target.parent):
        for aside in left:
            if _is_whole(target):
                shutil.rmtree(aside, ignore_errors=True)
            elif not os.path.lexists(target):
                aside.rename(target)
            elif _is_whole(aside) and set(os.listdir(target)) <= set(os.listdir(aside)):
                shutil.rmtree(target)  # what is left of the original, of which `aside` is a copy
                aside.rename(target)


def _is_whole(folder: Path) -> bool:
    with contextlib.suppress(ArtifactError):
        return bool(Artifact.open(folder))
    return False


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Hold a folder's lock, which ends with the process."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
