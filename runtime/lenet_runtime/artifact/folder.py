"""`Artifact`: what is read from an artifact's folder, once, and checked against its manifest.

Every file that the manifest lists is there as it was when it was hashed; one that does not match is
refused. What else lies in the folder is not looked at.
"""

import contextlib
import itertools
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lenet_runtime.artifact import files
from lenet_runtime.artifact.files import MANIFEST_NAME
from lenet_runtime.artifact.manifest import FileEntry, Manifest
from lenet_runtime.errors import ArtifactError

# LeNet's artifacts are below 3 MB; these bound what a foreign one can make us read.
MAX_MANIFEST_BYTES = 2**20
MAX_BYTES = 2**27  # in all listed files
_MAX_EXCHANGES = 10  # of the artifact's folder, while it is opened


@dataclass(frozen=True)
class Artifact:
    """An artifact that was read from disk, once: what was hashed is what is used.

    Attributes:
        path: the artifact's folder.
        manifest: see `Manifest`.
        digest: SHA-256 of ``manifest.json``; since that lists every file's hash, it names the
            whole content.
        contents: the bytes of each listed file, as they were when they were hashed.
    """

    path: Path
    manifest: Manifest
    digest: str
    contents: Mapping[str, bytes] = field(repr=False)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "Artifact":
        """Read every file of the artifact and check it against the manifest.

        Raises:
            ArtifactError: see `Manifest.from_bytes`; or a listed file is missing, not a regular
                file, or was changed.
        """
        for exchanges in itertools.count():
            read_from: list[tuple[int, int, int]] = []
            try:
                with files.opened_directory(path) as directory:
                    read_from = _identity(".", directory)
                    artifact, damage = cls._read_from(directory, Path(path))
                if damage:
                    raise ArtifactError("; ".join(damage.values()))
                return artifact
            except ArtifactError:
                # If an export, or a link that was set anew, replaced the folder or what its files
                # are links to while they were read, half of it is the old artifact's. The new one
                # is whole.
                if exchanges == _MAX_EXCHANGES or _identity(path) == read_from:
                    raise
        raise AssertionError  # not reached

    @classmethod
    def examine(cls, path: str | os.PathLike[str]) -> tuple["Artifact", dict[str, str]]:
        """Do what `open` does, but return what is wrong with each damaged file, by its name.

        The artifact's `contents` lack the damaged files.

        Raises:
            ArtifactError: the manifest is wrong, see `open`.
        """
        with files.opened_directory(path) as directory:
            return cls._read_from(directory, Path(path))

    @classmethod
    def _read_from(cls, directory: int, folder: Path) -> tuple["Artifact", dict[str, str]]:
        data = files.read_regular(directory, MANIFEST_NAME, MAX_MANIFEST_BYTES, folder)
        manifest = Manifest.from_bytes(data, folder / MANIFEST_NAME)
        contents, damage, bytes_left = {}, {}, MAX_BYTES
        for name, entry in manifest.files.items():
            try:
                contents[name] = _read(directory, name, entry, bytes_left, folder)
                bytes_left -= len(contents[name])
            except ArtifactError as error:
                damage[name] = str(error)
        return cls(folder, manifest, files.sha256(data), contents), damage

    def unlisted(self) -> list[str]:
        """What lies in the folder and is not part of the artifact: never read, and no harm."""
        with files.opened_directory(self.path) as directory:
            return sorted({*os.listdir(directory)} - {MANIFEST_NAME, *self.manifest.files})

    def read(self, name: str) -> bytes:
        """The bytes of the file `name`.

        Raises:
            ArtifactError: the manifest lists no such file.
        """
        if name not in self.contents:
            raise ArtifactError(f"{self.path}: the manifest lists no file {name!r}")
        return self.contents[name]


def _read(directory: int, name: str, entry: FileEntry, bytes_left: int, folder: Path) -> bytes:
    limit = min(max(entry.size, 0), bytes_left)
    data = files.read_regular(directory, name, limit, folder)
    if len(data) != entry.size or files.sha256(data) != entry.sha256:
        # The hash that was found is not said: a link may lead to a file that is nobody's business.
        damaged = f"the file was damaged or changed after the export: {files.AGAIN}"
        raise ArtifactError(
            f"{folder / name}: expected {entry.size} bytes with SHA-256 {entry.sha256}, found "
            f"{len(data)} bytes that differ; {files.mistaken_for(data) or damaged}"
        )
    return data


def _identity(
    folder: str | os.PathLike[str], directory: int | None = None
) -> list[tuple[int, int, int]]:
    """Which folder this is and which manifest lies there; less where they are not.

    A folder does not change where its files are links and what those lead through is set anew. A
    new file may get the number of a deleted one, so the time counts as well.
    """
    identity: list[tuple[int, int, int]] = []
    with contextlib.suppress(OSError, ValueError):
        for path in (Path(folder), Path(folder) / MANIFEST_NAME):
            status = os.stat(path, dir_fd=directory)
            identity.append((status.st_dev, status.st_ino, status.st_ctime_ns))
    return identity
