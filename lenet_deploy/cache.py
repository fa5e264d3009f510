"""The artifact that commands use when they are given none, made once and kept.

It lives in ``$XDG_CACHE_HOME/lenet-deploy`` (``~/.cache`` by default), in a folder named after
the toolkit's version and the bundled checkpoint's hash, so that neither can go stale.
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
    """The folder of the bundled checkpoint's fp32 artifact; exports it where it is not there yet.

    Args:
        format: of it.
        progress: called with a line before each step that takes a while.
        device: that it is made for and proven on; each kind of GPU has its own.

    Raises:
        BackendUnavailable: it is not there and PyTorch, which makes it, is not installed.
    """
    name = f"{format}-fp32{_kind_of_gpu(device)}"
    folder = _cache_root() / f"{__version__}-{_checkpoint_hash()}" / name
    try:
        return Artifact.open(folder).path
    except ArtifactError:
        pass  # not there, or damaged: made again below
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


def _kind_of_gpu(device: str) -> str:
    wanted = devices.parse(device)
    if wanted.kind == "cpu":
        return ""
    return f"-cuda-{cuda.gpu(wanted.index).compute_capability}"


def _cache_root() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "lenet-deploy"


def _checkpoint_hash() -> str:
    data = (files("lenet_deploy") / "bundled" / "lenet.safetensors").read_bytes()
    return hashlib.sha256(data).hexdigest()[:12]
