"""One file of an artifact by itself, as other tools take it, with the manifest beside it.

artifact = lenet_export.export(net, "onnx", "somewhere")
single.write(artifact, Path("mine.onnx"), force=False)  # and mine.onnx.manifest.json
"""

import dataclasses
from pathlib import Path

from lenet_export import publish
from lenet_runtime.artifact import GOLDEN_NAME, Artifact
from lenet_runtime.artifact.files import write_atomically
from lenet_runtime.errors import ArtifactError, InputError
from lenet_runtime.formats import FORMATS

# Of the formats whose artifact has one file that says all to the tools that take it.
SUFFIXES = {".onnx": "onnx", ".pt": "torchscript"}


def is_file(output: Path) -> bool:
    """Whether `output` is meant as a model's file, and not as a folder, which stays one."""
    known = {Path(name).suffix for each in FORMATS.values() for name in each.files}
    return output.suffix in known and not output.is_dir()


def check(output: Path, format: str, *, force: bool) -> None:
    """Refuse a file that cannot be made, or that is in the way, before the work is done.

    Raises:
        InputError: Artifacts of `format` are no such file.
        ArtifactError: It is there and `force` is off, or it cannot be written.
    """
    if SUFFIXES.get(output.suffix) != format:
        own = [suffix for suffix, known in SUFFIXES.items() if known == format]
        other = SUFFIXES.get(output.suffix)
        hint = f", or format={other!r}" if other else ""
        raise InputError(
            f"output: expected a folder, {f'or a file named {own[0]}, ' if own else ''}for "
            f"{format!r} artifacts, found {str(output)!r}; pass {str(output.with_suffix(''))!r}"
            f"{hint}"
        )
    for path in (output, manifest_of(output)):
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise ArtifactError(f"{path}: expected a file or nothing, found another kind of file")
        if path.exists() and not force:
            raise ArtifactError(
                f"{path}: it is there already; pass force=True to replace it, or choose another "
                "output"
            )
    publish.check_parent(output)


def manifest_of(output: Path) -> Path:
    """Where the manifest of the file goes: ``mine.onnx.manifest.json`` for ``mine.onnx``."""
    return output.with_name(f"{output.name}.manifest.json")


def write(artifact: Artifact, output: Path) -> None:
    """Write the file, and then its manifest, each of them whole or not at all.

    The manifest has the fields of `Manifest`; the file is listed by the name that it has here.

    Raises:
        ArtifactError: Nothing can be written there.
    """
    manifest = artifact.manifest
    ((name, entry),) = ((k, v) for k, v in manifest.files.items() if k != GOLDEN_NAME)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(output, artifact.read(name))
    own = dataclasses.replace(manifest, files={output.name: entry})
    write_atomically(manifest_of(output), own.to_bytes())
