"""Files of this machine or behind any URL that fsspec opens: found, opened, known again."""

import glob
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

from lenet_deploy import matching
from lenet_runtime.errors import BackendUnavailable, DeployError, InputError, first_line

# What says that a file is another one than before, by the names that fsspec's file systems use.
_STAMPS = (
    "ETag", "etag", "md5", "CRC", "mtime", "LastModified", "last_modified", "updated", "created",
)  # fmt: skip
# The package that brings a protocol, where its name is not the protocol's extra of fsspec.
_PACKAGES = {
    "s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs",
    "abfss": "adlfs", "hf": "huggingface_hub", "http": "aiohttp", "https": "aiohttp",
    "sftp": "paramiko", "ssh": "paramiko", "hdfs": "pyarrow", "webhdfs": "requests",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class File:
    """One input file, as it was when the job was planned.

    Attributes:
        name: Name that answers call it by: the user's own path, or a URL.
        folder: Folder that a relative name starts from, so that other processes find it.
        size: Bytes.
        stamp: Time of its last change, or an ETag; what tells it from another of the same name.
    """

    name: str
    folder: str
    size: int
    stamp: str

    @property
    def path(self) -> str:
        """The absolute path, or the URL."""
        return self.name if "://" in self.name else str(Path(self.folder, self.name))

    @property
    def text(self) -> str:
        """The name, in which bytes that are no UTF-8 are written as in ``\\xff``."""
        return self.name.encode(errors="surrogateescape").decode(errors="backslashreplace")

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """A block that reads it.

        Raises:
            InputError: It is gone, cannot be read, or is not the file that was planned.
            BackendUnavailable: As `find`.
        """
        try:
            if "://" in self.name:
                system, path = _system(self.name)  # which must live as long as the stream
                now = _of_entry(self.name, system.info(path))
            else:
                now = _of_path(Path(self.path), "")
        except FileNotFoundError as error:
            raise InputError(f"{self.name}: is gone since the job was planned") from error
        except OSError as error:
            raise InputError(f"{self.name}: cannot be read ({error.strerror or error})") from error
        if (now.size, now.stamp) != (self.size, self.stamp):
            raise InputError(
                f"{self.name}: has changed since the job was planned; start anew with force=True"
            )
        if "://" not in self.name:
            with Path(self.path).open("rb") as stream:
                yield stream
            return
        with system.open(path, "rb") as stream:
            yield stream


def find(argument: str, listed: Callable[[str], bool]) -> list[File]:
    """The files that an argument names, sorted; see `matching.match`, which URLs follow, too.

    Raises:
        InputError: It names no file, or the file system says why it cannot.
        BackendUnavailable: The package for the URL's protocol is missing.
    """
    try:
        if "://" in argument:
            return _of_url(argument, listed)
        here = str(Path.cwd())
        return [_of_path(path, here) for path in matching.match(argument, listed)]
    except InputError as error:
        raise InputError(f"{argument}: {error}") from error
    except FileNotFoundError as error:
        raise InputError(f"{argument}: no such file") from error
    except OSError as error:
        raise InputError(f"{argument}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # file systems raise their clients' own, such as missing credentials
        if isinstance(error, DeployError) or "://" not in argument:
            raise
        raise InputError(f"{argument}: cannot be read ({first_line(error)})") from error


def _of_path(path: Path, folder: str) -> File:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for, a device never ends
        raise InputError("expected a file, found a folder, a pipe, a socket or a device")
    return File(str(path), folder, status.st_size, str(status.st_mtime_ns))


def _of_url(url: str, listed: Callable[[str], bool]) -> list[File]:
    system, path = _system(url)
    if glob.has_magic(path) and not system.exists(path):
        entries: Iterable[Mapping[str, Any]] = system.glob(path, detail=True).values()
        missing = "no file matches"
    elif (entry := system.info(path))["type"] == "directory":
        children = system.ls(path, detail=True)
        entries = [child for child in children if listed(Path(child["name"]).name)]
        missing = "expected pictures, found none in this folder"
    else:
        entries, missing = [entry], "no such file"
    files = [_of_entry(url, entry) for entry in entries if entry["type"] == "file"]
    if not files:
        raise InputError(missing)
    return sorted(files, key=lambda file: file.name)


def _of_entry(url: str, entry: Mapping[str, Any]) -> File:
    """The file that a file system's entry is of, which was found by way of a URL."""
    scheme, rest = url.split("://", 1)
    name = str(entry["name"])
    if "://" not in name:
        chain = "".join(rest.partition("::")[1:])  # as in zip://*.png::s3://bucket/scans.zip
        name = f"{scheme}://{name}{chain}"
    stamp = next((entry[key] for key in _STAMPS if entry.get(key) is not None), "")
    stamp = stamp.timestamp() if isinstance(stamp, datetime) else stamp
    return File(name, "", int(entry["size"] or 0), str(stamp))


def _system(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it."""
    scheme = url.partition("://")[0]
    try:
        import fsspec.core

        return cast(tuple[Any, str], fsspec.core.url_to_fs(url))
    except ImportError as error:
        package = f"fsspec {_PACKAGES.get(scheme, '')}".rstrip()
        raise BackendUnavailable(
            f"{url}: reading {scheme}:// needs packages that are missing: pip install {package}"
        ) from error
    except ValueError as error:  # fsspec knows no such protocol
        raise InputError(str(error)) from error
