"""The default artifact of commands, which is exported once and kept.

It is in ``$XDG_CACHE_HOME/lenet-deploy`` (``~/.cache`` by default), in a folder whose name has the
toolkit's version and the hash of the bundled checkpoint, so it is never out of date.
"""

import hashlib
import os
from collections.abc import Callable
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from lenet_deploy import __version__
from lenet_runtime import cuda, devices
from lenet_runtime.artifact import Artifact
from lenet_runtime.errors import ArtifactError, BackendUnavailable


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
    """
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    checkpoint = (files("lenet_deploy") / "bundled" / "lenet.safetensors").read_bytes()
    version = f"{__version__}-{hashlib.sha256(checkpoint).hexdigest()[:12]}"
    gpu = devices.parse(device)
    kind = f"-cuda-{cuda.gpu(gpu.index).compute_capability}" if gpu.kind == "cuda" else ""
    folder = base / "lenet-deploy" / version / f"{format}-fp32{kind}"
    try:
        return Artifact.open(folder).path
    except ArtifactError:
        pass  # missing or damaged: exported below
    if find_spec("torch") is None:
        raise BackendUnavailable(
            "no artifact was named, and exporting the bundled checkpoint needs PyTorch; name one "
            "with --artifact DIR, or pip install 'lenet-deploy[export]'"
        )
    import lenet_export
    from lenet_deploy.training.checkpoint import load_checkpoint

    progress(f"exporting the bundled checkpoint to {folder}, once")
    return lenet_export.export(
        load_checkpoint(), format, folder, force=True, progress=progress,
        device=None if device == "cpu" else device,
    ).path  # fmt: skip
