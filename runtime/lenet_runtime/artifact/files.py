"""Reading an artifact's files so that what was hashed is what is loaded, and nothing else is.

Names are opened relative to one directory descriptor, without following links, so nobody who
can write beside the artifact can swap a file between the check and the use.
"""

import contextlib
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from lenet_runtime.errors import ArtifactError


def sha256(data: bytes) -> str:
    """The SHA-256 of `data` in lower-case hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def check_name(name: str) -> None:
    """Refuse what is not a plain file name: paths, ``..``, hidden files, control characters."""
    plain = name.isascii() and name.isprintable() and not set(name) & set("/\\:")
    if not plain or not name or name.startswith("."):
        raise ArtifactError(
            f"file name {name!r}: expected a plain name inside the artifact's own folder"
        )


@contextlib.contextmanager
def opened_directory(path: Path) -> Iterator[int]:
    """A descriptor of the directory `path`; the path itself may be a symlink, as deployments use.

    Raises:
        ArtifactError: there is no such directory or it cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        reason = getattr(error, "strerror", None) or error
        raise ArtifactError(f"{path}: expected an artifact's folder ({reason})") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def read_regular(directory: int, name: str, limit: int, where: Path) -> bytes:
    """The bytes of the regular file `name`, at most `limit` of them.

    Raises:
        ArtifactError: it is missing, not a regular file, a symlink, a hardlink or too large.
    """
    try:
        # O_NONBLOCK: a FIFO must be refused below, not waited for.
        descriptor = os.open(
            name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory
        )
    except OSError as error:
        raise ArtifactError(
            f"{where / name}: expected a regular file ({error.strerror}); export it again"
        ) from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            raise ArtifactError(
                f"{where / name}: expected a regular file with one link, found mode "
                f"{stat.filemode(found.st_mode)} with {found.st_nlink} links; copy the artifact "
                "with `cp -r` instead of linking it"
            )
        # After the check: a Python file of a folder's descriptor cannot be made.
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise ArtifactError(f"{where / name}: cannot be read ({error.strerror})") from error
    finally:
        os.close(descriptor)
    if len(data) > limit:
        raise ArtifactError(f"{where / name}: expected at most {limit} bytes, found more")
    return data


def write_atomically(path: Path, data: bytes) -> None:
    """Put `data` at `path`: readers see the old file or the new one, also after a power cut.

    On failure the old file stays and nothing half-written is left beside it.

    Raises:
        ArtifactError: the folder is missing, cannot be written to or is full.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise ArtifactError(
            f"{path}: cannot write {len(data)} bytes ({error.strerror}); what was there stays"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)  # Ctrl-C too must leave nothing behind


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` last: it is only durable once its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
