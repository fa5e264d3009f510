"""What a target is, and how a package is written: whole or not at all."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lenet_export.publish import staging
from lenet_runtime import Artifact
from lenet_runtime.errors import InputError

FILES = Path(__file__).parent / "files"


@dataclass(frozen=True)
class Package:
    """What is packaged, and what its files say of it.

    Attributes:
        artifact: The artifact, whose files were hashed.
        name: What clients call the model, and the platform the service.
        options: Further values by name, of the targets' own.
    """

    artifact: Artifact
    name: str
    options: Mapping[str, str]


@dataclass(frozen=True)
class Target:
    """A platform.

    Attributes:
        name: What ``--target`` takes.
        summary: What comes out, in a line.
        files: The files by their path in the package: the content of each.
    """

    name: str
    summary: str
    files: Callable[[Package], Mapping[str, bytes]]


def filled(template: str, values: Mapping[str, str]) -> bytes:
    """A file of `files/`, with each ``@NAME@`` of `values` replaced.

    Args:
        template: Path in `files/`.
        values: By name: the text.
    """
    text = (FILES / template).read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text.encode()


def write(target: Target, package: Package, output: Path, *, force: bool = False) -> list[Path]:
    """Write a package into a new folder; the paths of its files.

    Raises:
        InputError: There is something already, and `force` is off.
        ArtifactError: The folder cannot be written.
    """
    if output.exists() and not force:
        raise InputError(f"{output}: is there already; pass force=True to replace it")
    files = target.files(package)
    with staging(output) as folder:
        for name, data in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        folder.rename(output)
    return [output / name for name in files]
