"""``torchscript``: frozen TorchScript archives on PyTorch's own interpreter."""

import io
import warnings

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
    data = artifact.read("model.pt")
    try:
        with warnings.catch_warnings():
            # PyTorch announces the end of TorchScript. README says so where formats are chosen;
            # whoever loads an artifact has chosen already.
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", FutureWarning)
            module = torch.jit.load(  # type: ignore[no-untyped-call]
                io.BytesIO(data), map_location=device
            )
    except (RuntimeError, ValueError) as error:  # ValueError: a message that is not UTF-8
        raise ArtifactError(
            f"{artifact.path / 'model.pt'}: PyTorch {torch.__version__} cannot load it ({error}); "
            f"it was written by {artifact.manifest.requirements.engine_version!r}: export it again"
        ) from error
    return TorchPredictor("torchscript", module.forward, threads)
