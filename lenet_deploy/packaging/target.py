"""What a target is, and how a package is written: whole or not at all."""

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from lenet_export import publish
from lenet_runtime import Artifact
from lenet_runtime.artifact import MANIFEST_NAME, MAX_MANIFEST_BYTES, files
from lenet_runtime.errors import ArtifactError, InputError
from lenet_runtime.formats import Option
from lenet_runtime.version import __version__

TEMPLATES = Path(__file__).parent / "files"
RECORD_NAME = ".lenet-package"
"""What marks a folder as ours. It has no suffix, as `kubectl apply -f FOLDER` reads all .json."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")  # of a model: what the server takes
_LEFT = re.compile(r"@[A-Z][A-Z0-9_]*@")
_FILE_MODE, _SCRIPT_MODE = 0o644, 0o755


@dataclass(frozen=True)
class Package:
    """What is packaged, and what its files say of it.

    Attributes:
        artifact: The artifact, whose files were hashed.
        name: What clients call the model, and the platform the service.
        options: The target's options that were given, by their names; the target knows the
            defaults of the others.

    Raises:
        InputError: The name is none of a model.
        ArtifactError: Nobody has proven the artifact, so no server would load it.
    """

    artifact: Artifact
    name: str = "lenet"
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InputError(
                "name: expected letters, digits, '.', '_' and '-', at most 128, a letter or digit "
                f"first, found {self.name[:200]!r}"
            )
        if not self.artifact.manifest.parity.ok:
            raise ArtifactError(
                f"{self.artifact.path}: nobody has proven it, so no server would load it; run "
                f"lenet-deploy verify {self.artifact.path} --record first"
            )

    def artifact_files(self, folder: str) -> dict[str, bytes]:
        """The artifact as files of the package, below `folder`: the bytes that were hashed.

        Raises:
            ArtifactError: The manifest is another one now, or gone.
        """
        path = self.artifact.path
        with files.opened_directory(path) as directory:
            manifest = files.read_regular(directory, MANIFEST_NAME, MAX_MANIFEST_BYTES, path)
        if files.sha256(manifest) != self.artifact.digest:
            raise ArtifactError(f"{path}: was replaced while it was packaged; package it again")
        contents = {MANIFEST_NAME: manifest, **self.artifact.contents}
        return {f"{folder}/{name}": data for name, data in contents.items()}


@dataclass(frozen=True)
class Target:
    """A platform.

    Attributes:
        name: What ``--target`` takes.
        summary: What comes out, in a line.
        files: The files by their path in the package: the content of each. What begins with
            ``#!`` can be executed.
        options: What it can be told.
        steps: Commands that apply the package in a folder, whose name a shell can read.
    """

    name: str
    summary: str
    files: Callable[[Package], Mapping[str, bytes]]
    options: tuple[Option, ...] = ()
    steps: Callable[[Package, Path], tuple[str, ...]] = lambda package, folder: ()


def filled(template: str, values: Mapping[str, object]) -> bytes:
    """A file of `files/`, with each ``@NAME@`` of `values` replaced.

    Args:
        template: Path in `files/`.
        values: By name: the text.
    """
    text = (TEMPLATES / template).read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    assert not _LEFT.search(text), f"{template}: nothing fills {_LEFT.findall(text)}"
    return text.encode()


def write(target: Target, package: Package, output: Path, *, force: bool = False) -> list[Path]:
    """Write a package into a new folder, on disk; the paths of its files.

    Args:
        target: The platform.
        package: What is packaged.
        output: The folder.
        force: Replace a package that is there.

    Raises:
        InputError: There is a package already and `force` is off, or something that is none; or
            the target cannot be had of this artifact, or with these options.
        ArtifactError: The folder cannot be written; what was there before is unchanged.
    """
    _check(output, force)
    content = dict(target.files(package))
    record = _record(target, package, content)
    with publish.staging(output) as folder:
        for name in content:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        publish.write_files(folder, {**content, RECORD_NAME: record})
        for path in (path for path in folder.rglob("*") if path.is_dir()):
            files.sync_folder(path)
        for name, data in content.items():
            if data.startswith(b"#!"):
                (folder / name).chmod(_SCRIPT_MODE)
        publish.move(folder, output, partial(_check, output, force))
    return [output / name for name in content]


def _record(target: Target, package: Package, content: Mapping[str, bytes]) -> bytes:
    """What a package is, for programs and for the next `write`."""
    document = {
        "target": target.name,
        "made_by": f"lenet-deploy {__version__}",
        "name": package.name,
        "options": {key: str(value) for key, value in package.options.items()},
        "artifact": package.artifact.digest,
        "files": {name: files.sha256(data) for name, data in content.items()},
    }
    return (json.dumps(document, indent=2) + "\n").encode()


def _check(output: Path, force: bool) -> None:
    """Refuse what is in the way, unless it is a package that may be replaced."""
    if not os.path.lexists(output):
        return
    if output.is_symlink() or not output.is_dir():
        raise InputError(f"{output}: expected a folder or nothing, found another kind of file")
    there = {str(path.relative_to(output)) for path in output.rglob("*") if not path.is_dir()}
    if not there:
        return
    try:
        ours = {RECORD_NAME, *json.loads((output / RECORD_NAME).read_bytes())["files"]}
    except (OSError, ValueError, TypeError, KeyError):
        ours = set()
    if strangers := sorted(there - ours):
        raise InputError(
            f"{output}: expected a package or nothing, found other files, {strangers[0]!r} among "
            "them; choose another output"
        )
    if not force:
        raise InputError(
            f"{output}: a package is there already; pass force=True to replace it, edited files "
            "too, or choose another output"
        )
