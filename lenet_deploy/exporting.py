"""What `lenet-deploy export` makes sure of before it builds, and how well the result answers."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import lenet_runtime
from lenet_deploy.training import mnist
from lenet_export import formats
from lenet_runtime.artifact import Artifact, golden
from lenet_runtime.artifact.requirements import this_platform
from lenet_runtime.backends import choose
from lenet_runtime.errors import ArtifactError, BackendUnavailable, DeployError
from lenet_runtime.formats import FORMATS
from lenet_runtime.plans.chunks import run_filled
from lenet_runtime.version import pip_install


@dataclass(frozen=True)
class Job:
    """One artifact to make.

    Attributes:
        format: Key of `FORMATS`.
        folder: Folder that the artifact will be.
    """

    format: str
    folder: Path


@dataclass(frozen=True)
class Accuracy:
    """How many digits an artifact answers rightly; None where the digits mean nothing to it.

    Attributes:
        bundled: Of the 60 bundled digits.
        test_set: Share of MNIST's test set; None also where it is not at hand.
    """

    bundled: int | None
    test_set: float | None


def look_ahead(
    jobs: Sequence[Job], module: Any, common: Mapping[str, Any]
) -> dict[str, DeployError]:
    """Find what stands in the way of exports before the first is built.

    Args:
        jobs: What is to be made.
        module: The network.
        common: What all are told: the arguments of `lenet_export.export`.

    Returns:
        By format, why it cannot be made here: a compiler, a package or an engine is missing.

    Raises:
        ArtifactError: An artifact is in the way or of another network, or nothing can be written.
        BackendUnavailable: The one format, or each of them, cannot be made here.
    """
    from lenet_export.publish import check_parent, check_target

    missing: dict[str, DeployError] = {}
    for job in jobs:
        try:
            _require(job.format, common)
        except BackendUnavailable as error:
            missing[job.format] = error
    if len(missing) == len(jobs) == 1:
        raise missing[jobs[0].format]
    able = [job.folder for job in jobs if job.format not in missing]
    require_one_network(jobs[0].folder.parent, module, common, able)
    for folder in able:
        check_target(folder, common["force"])
        check_parent(folder)
    return missing


def _require(format: str, common: Mapping[str, Any]) -> None:
    """Raise `BackendUnavailable` if this machine lacks what builds a format or proves it."""
    try:
        formats.require(format)
    except ImportError as error:
        raise BackendUnavailable(f"{error}; {pip_install('export')}") from error
    if common["verify"]:
        kinds = FORMATS[format].kinds(common["precision"])
        choose(format, "auto", common["device"] or kinds[0])


def require_one_network(
    folder: Path, module: Any, common: Mapping[str, Any], replaced: Sequence[Path]
) -> None:
    """Refuse to put artifacts of a network beside those of another: what reads them mixes them.

    Args:
        folder: Folder of artifacts, which may be missing.
        module: The network.
        common: See `look_ahead`.
        replaced: Folders that the export writes.

    Raises:
        ArtifactError: There are others, and ``force`` is off or the export does not replace all.
    """
    others = dict(_of_other_networks(folder, module, common))
    stay = [path for path in others if path not in replaced]
    if not others or (common["force"] and not stay):
        return
    names = ", ".join(f"{path.name} ({whose})" for path, whose in others.items())
    advice = "pass force=True to replace them"
    if stay:
        advice = f"delete {', '.join(map(str, stay))}, which this export does not replace"
    raise ArtifactError(
        f"{folder}: expected artifacts of one network, found {names}; choose another output, or "
        f"{advice}"
    )


def _of_other_networks(
    folder: Path, module: Any, common: Mapping[str, Any]
) -> Iterator[tuple[Path, str]]:
    """The artifacts in `folder` that answer otherwise than the module, and whose each is."""
    from lenet_deploy.training.checkpoint import load_checkpoint
    from lenet_export.network import weights
    from lenet_export.network.reference import Reference

    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        with suppress(ArtifactError):
            artifact = Artifact.open(path)
            manifest = artifact.manifest
            if manifest.weights_sha256 != weights.fingerprint(module):
                bundled = manifest.weights_sha256 == weights.fingerprint(load_checkpoint())
                yield path, "the bundled network" if bundled else "other weights"
                continue
            told = manifest.image_shape, manifest.preprocessing, manifest.labels
            if told != (common["input_shape"], common["preprocessing"], common["labels"]):
                yield path, "another size, preprocessing or labels"
                continue
            images, logits = golden.read(artifact)
            if not np.allclose(Reference(module).eager(images), logits, rtol=1e-3, atol=1e-3):
                yield path, "another activation or pooling"


def test_digits(data_dir: Path | None) -> tuple[Any, Any] | None:
    """MNIST's test images and labels; None where no folder was named and ``data`` has none.

    Raises:
        ArtifactError: The folder that was named has none, or they are damaged.
    """
    if data_dir is None:
        try:
            mnist.find(Path("data"), train=False)
        except ArtifactError:
            return None
    return mnist.read(data_dir or Path("data"), train=False)


def accuracy(artifact: Artifact, device: str, digits: tuple[Any, Any] | None) -> Accuracy:
    """How well an artifact that this process has just made answers the digits.

    Of one that is for another machine, its proof says all.
    """
    from lenet_export.proof import bundled_right, mnist_batch

    manifest = artifact.manifest
    if manifest.requirements.platform not in (None, this_platform()):
        return Accuracy(None, None)
    with lenet_runtime.load(artifact.path, device=device, trust=True) as session:
        right = bundled_right(session.run, manifest)
        if right is None or digits is None:
            return Accuracy(right, None)
        images, labels = digits
        batch = mnist_batch(images, manifest.preprocessing, manifest.image_shape)
        logits = run_filled(session.run, batch, manifest.batch_size or 1000)
        names = np.array(manifest.labels)[logits.argmax(axis=1)]
        return Accuracy(right, float((names == labels.astype(str)).mean()))
