"""Reading an artifact's files so that what was hashed is what is loaded, and nothing else is.

A name is opened once, relative to one directory descriptor, and the bytes that were read are hashed
and kept. So it does not matter whether the name is a link, how many there are, or what becomes of
the file afterwards.
"""

import contextlib
import errno
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from lenet_runtime.errors import ArtifactError

MANIFEST_NAME = "manifest.json"
# What helps against most damage.
AGAIN = "copy all of it again from where it is whole, or export it again"
# What the first bytes of a file say it is, where it is none of ours, and what to do about it.
_STRANGERS = (
    (b"version https://git-lfs", "it is a Git LFS pointer to the file: run git lfs pull"),
    (b"<!doctype html", "it is an HTML page, as servers answer with: download the file itself"),
    (b"<html", "it is an HTML page, as servers answer with: download the file itself"),
    (b"\x1f\x8b", "it is compressed by gzip: unpack it with gunzip"),
    (b"\xef\xbb\xbf", "it begins with a byte order mark: save it as UTF-8 without one"),
    (b"\xff\xfe", "it is UTF-16: save it as UTF-8"),
    (b"\xfe\xff", "it is UTF-16: save it as UTF-8"),
)
_MAGIC_BYTES = 64
TOO_MANY_OPEN = "close files, or allow more with ulimit -n"
_ADVICE = {
    errno.EMFILE: TOO_MANY_OPEN,
    errno.ENFILE: TOO_MANY_OPEN,
    errno.EACCES: "let this user read it",
}


def sha256(data: bytes) -> str:
    """The SHA-256 of `data` in lower-case hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def check_name(name: str) -> None:
    """Raise ValueError for a path, ``..``, a hidden file's name, or control characters."""
    plain = name.isascii() and name.isprintable() and not set(name) & set("/\\:")
    if not plain or not name or name.startswith("."):
        raise ValueError(
            f"file name {name!r}: expected a plain name inside the artifact's own folder"
        )


def mistaken_for(data: bytes) -> str:
    """What `data`, the beginning of a file that is not what it should be, is; empty if unknown."""
    if not data:
        return "it is empty: copy it again"
    start = data[:_MAGIC_BYTES].lstrip().lower()
    return next((what for magic, what in _STRANGERS if start.startswith(magic)), "")


@contextlib.contextmanager
def opened_directory(path: str | os.PathLike[str]) -> Iterator[int]:
    """A descriptor of the directory `path`; the path itself may be a symlink, as deployments use.

    Raises:
        ArtifactError: there is no such directory or it cannot be read.
    """
    with contextlib.ExitStack() as stack:
        try:
            descriptor = stack.enter_context(_opened(path, os.O_DIRECTORY))
        except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
            reason = getattr(error, "strerror", None) or error
            advice = _not_a_folder(os.fspath(path)) or _ADVICE.get(getattr(error, "errno", 0))
            raise ArtifactError(
                f"{path}: expected an artifact's folder ({reason})" + f"; {advice}" * bool(advice)
            ) from error
        yield descriptor


def _not_a_folder(path: str) -> str:
    """What to do about a path that is no folder; empty where nothing is known."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", path):
        return "nothing is downloaded: fetch the folder, and pass its path"
    if path.startswith("~"):
        return f"~ is the shell's: pass os.path.expanduser({path!r})"
    with contextlib.suppress(OSError, ValueError):
        if Path(path).is_file():
            if (Path(path).parent / MANIFEST_NAME).is_file():
                return f"its folder is {Path(path).parent}"
            with Path(path).open("rb") as file:
                if file.read(4).startswith((b"PK\x03\x04", b"\x1f\x8b")):
                    return "it is an archive: unpack it, and pass the folder that was in it"
            return "it is a file: pass a folder that lenet-deploy export wrote"
    return ""


def read_regular(directory: int, name: str, limit: int, where: Path) -> bytes:
    """The bytes of the regular file `name`, to which links may lead; at most `limit` of them.

    Raises:
        ArtifactError: it is missing, cannot be read, not a regular file, or too large.
    """
    path = where / name
    try:
        # Before it is opened, too, which does something to some devices. O_NONBLOCK: a FIFO that
        # takes the file's place must not be waited for.
        _require_regular(os.stat(name, dir_fd=directory), path)
        with _opened(name, os.O_NONBLOCK, directory) as descriptor:
            _require_regular(os.fstat(descriptor), path)
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                # None: of some files in /proc, which have nothing to say at this moment.
                data = file.read(max(limit, _MAGIC_BYTES) + 1) or b""
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, AGAIN)
        raise ArtifactError(f"{path}: cannot be read ({error.strerror}); {advice}") from error
    if len(data) > limit:
        raise ArtifactError(
            f"{path}: expected at most {limit} bytes, found more; {mistaken_for(data) or AGAIN}"
        )
    return data


@contextlib.contextmanager
def _opened(
    name: str | os.PathLike[str], flags: int, directory: int | None = None
) -> Iterator[int]:
    """A descriptor to read from, which is closed whatever happens."""
    opens = partial(os.open, dir_fd=directory)
    descriptors: list[int] = []
    try:
        # In one step of the interpreter: a signal's handler may raise between two, and nobody
        # would know the descriptor.
        descriptors.extend(map(opens, [name], [os.O_RDONLY | os.O_CLOEXEC | flags]))
        yield descriptors[0]
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _require_regular(status: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ArtifactError(
            f"{path}: expected a regular file, found {stat.filemode(status.st_mode)}; {AGAIN}"
        )


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
