"""``torch-compile``: AOTInductor packages through PyTorch's package loader.

`torch._inductor.aoti_load_package` imports the whole compiler (1.7 s) to find this loader; we
call the loader, which `import torch` has already brought, so a package is ready in 5 ms.
"""

import tempfile
from pathlib import Path

from lenet_runtime.artifact import Artifact
from lenet_runtime.backends import torch_missing
from lenet_runtime.errors import ArtifactError

try:
    import torch

    from lenet_runtime.backends._torch import TorchPredictor, probe
except (ImportError, OSError) as error:  # OSError: a shared library of its own is missing
    raise torch_missing(error) from error

__all__ = ["load", "probe"]


def load(artifact: Artifact, device: str, threads: int | None) -> TorchPredictor:
    """See `lenet_runtime.backends.Backend.load`."""
    data = artifact.read("model.pt2")
    # The loader takes a path only. A private folder, so that the bytes it reads are the bytes
    # that were hashed; it unpacks them and needs the file no longer than that.
    with tempfile.TemporaryDirectory(prefix="lenet-runtime-") as folder:
        package = Path(folder) / "model.pt2"
        package.write_bytes(data)
        try:
            loader = torch._C._aoti.AOTIModelPackageLoader(str(package), "model", False, 1, -1)
        except (RuntimeError, ValueError) as error:
            raise ArtifactError(
                f"{artifact.path / 'model.pt2'}: PyTorch cannot load it ({error})"
            ) from error

    def forward(images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = loader.run([images])[0]
        return logits

    return TorchPredictor("torch-compile", forward, threads)
