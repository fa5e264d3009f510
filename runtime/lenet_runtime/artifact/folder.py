"""`Artifact`: what is read from an artifact's folder, once, and checked against its manifest.

Every file that the manifest lists is there as it was when it was hashed. A file that is not listed,
or does not match, is refused.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lenet_runtime.artifact import files
from lenet_runtime.artifact.manifest import MANIFEST_NAME, FileEntry, Manifest
from lenet_runtime.errors import ArtifactError

# LeNet's artifacts are below 3 MB; these bound what a foreign one can make us read.
MAX_MANIFEST_BYTES = 2**20
MAX_BYTES = 2**30  # in all listed files
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
            ArtifactError: see `Manifest.from_bytes`; or a listed file is missing, not a plain
                regular file, or was changed; or a file that is not listed is there.
        """
        exchanges = 0
        while True:
            before = _identity(path)
            try:
                artifact, damage = cls.examine(path)
                if damage:
                    raise ArtifactError("; ".join(damage.values()))
                return artifact
            except ArtifactError:
                # An export replaced the folder while it was read: half of what was read is the
                # old artifact's. The new one is whole.
                exchanges += 1
                if exchanges > _MAX_EXCHANGES or _identity(path) == before:
                    raise

    @classmethod
    def examine(cls, path: str | os.PathLike[str]) -> tuple["Artifact", dict[str, str]]:
        """Do what `open` does, but return what is wrong with each damaged file, by its name.

        The artifact's `contents` lack the damaged files.

        Raises:
            ArtifactError: the manifest or the listing is wrong, see `open`.
        """
        folder, contents, damage = Path(path), {}, {}
        with files.opened_directory(folder) as directory:
            data = files.read_regular(directory, MANIFEST_NAME, MAX_MANIFEST_BYTES, folder)
            manifest = Manifest.from_bytes(data, folder / MANIFEST_NAME)
            _check_listing(manifest, set(os.listdir(directory)) - {MANIFEST_NAME}, folder)
            bytes_left = MAX_BYTES
            for name, entry in manifest.files.items():
                try:
                    contents[name] = _read(directory, name, entry, bytes_left, folder)
                    bytes_left -= len(contents[name])
                except ArtifactError as error:
                    damage[name] = str(error)
        return cls(folder, manifest, files.sha256(data), contents), damage

    def read(self, name: str) -> bytes:
        """The bytes of the file `name`.

        Raises:
            ArtifactError: the manifest lists no such file.
        """
        if name not in self.contents:
            raise ArtifactError(f"{self.path}: the manifest lists no file {name!r}")
        return self.contents[name]


def _check_listing(manifest: Manifest, listing: set[str], folder: Path) -> None:
    missing = sorted(set(manifest.files) - listing)
    unlisted = sorted(listing - set(manifest.files))
    if missing or unlisted:
        raise ArtifactError(
            f"{folder}: the folder must hold what the manifest lists; "
            f"missing {missing}, not listed {unlisted}"
        )


def _read(directory: int, name: str, entry: FileEntry, bytes_left: int, folder: Path) -> bytes:
    limit = min(max(entry.size, 0), bytes_left)
    data = files.read_regular(directory, name, limit, folder)
    digest = files.sha256(data)
    if len(data) != entry.size or digest != entry.sha256:
        raise ArtifactError(
            f"{folder / name}: expected {entry.size} bytes with SHA-256 {entry.sha256}, "
            f"found {len(data)} bytes with {digest}; the file was damaged or changed after "
            "the export: export it again"
        )
    return data


def _identity(path: str | os.PathLike[str]) -> tuple[int, int, int] | None:
    """Which folder `path` leads to at this moment; None for none.

    With the time of its last change, since a new folder may get the number of a deleted one.
    """
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino, status.st_ctime_ns
