"""The default artifact of commands, which is exported once and kept.

It is in ``$XDG_CACHE_HOME/lenet-deploy`` (``~/.cache`` by default), in a folder whose name has the
toolkit's version and the hash of the bundled checkpoint, so it is never out of date. It is made
again where it is damaged or was made for another machine, and whatever is in its place goes.
"""

import hashlib
import os
import shutil
from collections.abc import Callable
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from lenet_deploy import __version__
from lenet_runtime import cuda, devices
from lenet_runtime.artifact import MANIFEST_NAME, Artifact
from lenet_runtime.artifact.requirements import unmet
from lenet_runtime.backends import BACKENDS, backends_of
from lenet_runtime.errors import ArtifactError, BackendUnavailable, DeployError
from lenet_runtime.version import pip_install


def default_artifact(
    format: str = "onnx",
    progress: Callable[[str], None] = lambda step: None,
    device: str = "cpu",
) -> Path:
    """Return the folder of the bundled checkpoint's fp32 artifact, which is exported if need be.

    Args:
        format: Format of the artifact.
        progress: Function that is called with a line of text before each step.
        device: Device to export for and to verify on; each kind of GPU has an artifact of its own.

    Raises:
        BackendUnavailable: the artifact must be exported, and PyTorch is not installed.
        DeployError: there is no folder to keep it in.
    """
    checkpoint = (files("lenet_deploy") / "bundled" / "lenet.safetensors").read_bytes()
    version = f"{__version__}-{hashlib.sha256(checkpoint).hexdigest()[:12]}"
    gpu = devices.parse(device)
    kind = f"-cuda-{cuda.gpu(gpu.index).compute_capability}" if gpu.kind == "cuda" else ""
    folder = root() / "lenet-deploy" / version / f"{format}-fp32{kind}"
    if _is_good(folder, format, device):
        return folder
    if find_spec("torch") is None:
        raise BackendUnavailable(
            "no artifact was named, and exporting the bundled checkpoint needs PyTorch; name one "
            f"with --artifact DIR, or {pip_install('export')}"
        )
    import lenet_export
    from lenet_deploy.training.checkpoint import load_checkpoint

    progress(f"exporting the bundled checkpoint to {folder}, once")
    try:
        _clear(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DeployError(
            f"{folder}: cannot keep the default artifact here ({error.strerror}); set "
            "XDG_CACHE_HOME to a folder that can be written to, or name an artifact with "
            "--artifact DIR"
        ) from error
    return lenet_export.export(
        load_checkpoint(), format, folder, force=True, progress=progress,
        device=None if device == "cpu" else device,
    ).path  # fmt: skip


def root() -> Path:
    """The user's folder of caches.

    Raises:
        DeployError: nothing says where it is.
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError as error:  # no HOME, and no entry of the user's in passwd
        raise DeployError(
            f"no folder to keep the default artifact in: HOME is not set, and user {os.getuid()} "
            "has no home; set HOME or XDG_CACHE_HOME, or name an artifact with --artifact DIR"
        ) from error


def _is_good(folder: Path, format: str, device: str) -> bool:
    """Whether a whole, proven artifact is there that some backend runs on this machine."""
    try:
        manifest = Artifact.open(folder).manifest
    except ArtifactError:
        return False
    return manifest.parity.ok and any(
        not unmet(manifest, BACKENDS[name], device) for name in backends_of(format, device)
    )


def _clear(folder: Path) -> None:
    """Remove what is no artifact, which an export would refuse to replace."""
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    elif folder.is_dir() and not (folder / MANIFEST_NAME).is_file():
        shutil.rmtree(folder)
