"""What lies in the folder that is served: which models and versions, and whether they changed.

Either the folder is an artifact, which is version 1 of one model; or it is a repository of models,
``NAME/VERSION/``. A version's folder is an artifact, or holds one, as ``lenet-deploy export -o``
puts it there. Here files are looked at and never opened: a scan costs some microseconds a version.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lenet_runtime.artifact import MANIFEST_NAME
from lenet_runtime.errors import ArtifactError

Key = tuple[str, int]  # a model's name, and a version
# Names are parts of URLs, labels of metrics and words of log lines.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_VERSION = re.compile(r"[1-9][0-9]{0,17}")
_NAME_RULE = "expected a model's name of letters, digits, '.', '_' and '-', at most 128 of them"
_LAYOUT = "NAME/VERSION/, VERSION a whole number from 1"
_MAX_NAMES = 8  # in one message


@dataclass(frozen=True)
class Place:
    """A version's folder, at the moment of a scan.

    Attributes:
        path: The artifact's folder; the version's own where it holds no artifact.
        signature: Equal in two scans where nothing was changed in between: the folder's identity,
            and each file's name, number, size and time of its last change. That is ctime: what
            copies files may set mtime to the old one's, and a right to read changes ctime alone.
        problem: Why no artifact can be loaded from here; empty where one may.
    """

    path: Path
    signature: tuple[object, ...]
    problem: str = ""


@dataclass(frozen=True)
class Scan:
    """What lies in the folder.

    Attributes:
        places: Each version that is there.
        notes: A line for each thing that is there and is neither a model nor a version.
    """

    places: dict[Key, Place]
    notes: tuple[str, ...] = ()


def is_artifact(folder: Path) -> bool:
    """Whether a folder says that it is an artifact."""
    return os.path.lexists(folder / MANIFEST_NAME)


def check_name(name: str) -> None:
    """Raise `ArtifactError` for a name that no model may have."""
    if not _NAME.fullmatch(name):
        raise ArtifactError(f"{name!r}: {_NAME_RULE}")


def scan(root: Path, name: str | None) -> Scan:
    """Look at everything that can be served from a folder.

    Hidden files and folders are passed over without a word: exports, git and Kubernetes put things
    there until they are whole. Links are followed, since deployments switch versions by them.

    Args:
        root: The folder.
        name: Where the folder is one artifact, its model's name; None for a folder of models.

    Raises:
        ArtifactError: The folder is not there or cannot be read.
    """
    if name is not None:
        return Scan({(name, 1): _place(root)} if is_artifact(root) else {})
    places: dict[Key, Place] = {}
    notes: list[str] = []
    try:
        for model in _folders(root, notes, f"models are folders {_LAYOUT}"):
            if not _NAME.fullmatch(model.name):
                notes.append(f"{model}: {_NAME_RULE}")
            else:
                places |= {(model.name, v): place for v, place in _versions(model, notes)}
    except OSError as error:
        raise ArtifactError(
            f"{root}: expected an artifact, or a folder of models ({error.strerror})"
        ) from error
    return Scan(places, tuple(notes))


def _versions(model: Path, notes: list[str]) -> Iterator[tuple[int, Place]]:
    """The versions of a model."""
    if is_artifact(model):
        notes.append(
            f"{model}: an artifact where a model's versions are expected; move it to {model / '1'},"
            f" or serve it alone: lenet-deploy serve {model}"
        )
        return
    count = len(notes)
    try:
        folders = list(_folders(model, notes, "versions are folders"))
    except OSError as error:
        notes.append(f"{model}: cannot be read ({error.strerror})")
        return
    for folder in folders:
        if _VERSION.fullmatch(folder.name):
            yield int(folder.name), _place(folder)
        else:
            notes.append(
                f"{folder}: expected a version, a whole number from 1 without leading zeros"
            )
    if not folders and len(notes) == count:
        notes.append(f"{model}: expected versions in it ({_LAYOUT}), found nothing")


def _folders(folder: Path, notes: list[str], rule: str) -> Iterator[Path]:
    """The folders in `folder` and those that links lead to, by name; what else lies there is noted.

    Raises:
        OSError: The folder cannot be read.
    """
    with os.scandir(folder) as entries:
        seen = sorted((entry for entry in entries if entry.name[0] != "."), key=lambda e: e.name)
    for entry in seen:
        if (folder / entry.name).is_dir():  # an entry's own raises for a link to itself
            yield folder / entry.name
        else:
            kind = "a link that leads nowhere" if entry.is_symlink() else "a file"
            kind = "a file" if os.path.exists(entry) else kind  # noqa: PTH110  an entry is a path
            notes.append(f"{folder / entry.name}: {kind} is passed over; {rule}")


def _place(folder: Path) -> Place:
    """The artifact that a version's folder is, or the one that it holds."""
    try:
        if is_artifact(folder):
            return Place(folder, _signature(folder))
        notes: list[str] = []
        inner = [child for child in _folders(folder, notes, "") if is_artifact(child)]
        if len(inner) == 1:
            return Place(inner[0], _signature(folder) + _signature(inner[0]))
        names = ", ".join(child.name for child in inner[:_MAX_NAMES]) or f"no {MANIFEST_NAME}"
        problem = f"{folder}: expected an artifact, or a folder that holds one, found {names}"
        return Place(folder, _signature(folder), problem)
    except OSError as error:
        # Also where it went while it was looked at: the next scan will tell.
        return Place(folder, (error.errno,), f"{folder}: cannot be read ({error.strerror})")


def _signature(folder: Path) -> tuple[object, ...]:
    """What tells a folder, as it is, from what else may come to be there; see `Place`."""
    status = folder.stat()
    files = []
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                s = entry.stat()  # of what a link leads to
            except OSError:  # a link to nowhere, or to itself; whether it matters, the load tells
                files.append((entry.name, 0, 0, 0))
            else:
                files.append((entry.name, s.st_ino, s.st_size, s.st_ctime_ns))
    return status.st_dev, status.st_ino, status.st_ctime_ns, tuple(sorted(files))


def nothing_to_serve(root: Path, found: Scan) -> ArtifactError:
    """What to say of a folder that holds no model."""
    notes = found.notes[:_MAX_NAMES]
    more = len(found.notes) - len(notes)
    return ArtifactError(
        f"{root}: expected an artifact ({MANIFEST_NAME}), or models in folders {_LAYOUT}; "
        + ("; ".join(notes) + f"; and {more} more" * bool(more) if notes else "found nothing")
    )
