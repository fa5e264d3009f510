"""``torchscript``: frozen TorchScript archives on PyTorch's own interpreter.

One image runs as the archive stands. Batches run through `torch.jit.optimize_for_inference`,
which keeps what flows between the convolutions in oneDNN's layout: twice the time at one image,
0.28 of it at 64. PyTorch cannot save what that makes ("required keyword attribute 'value' is
undefined"), so it is made at every load, which then takes 16 ms in place of 5.
"""

import io
import warnings

import torch

from lenet_runtime.artifact import Artifact
from lenet_runtime.artifact.private import obstacle
from lenet_runtime.backends.protocol import Predictor
from lenet_runtime.backends.torch.core import Held, predictor, probe
from lenet_runtime.errors import ArtifactError, BackendUnavailable, first_line
from lenet_runtime.formats import FORMATS

__all__ = ["load", "probe", "starts"]

(ARCHIVE,) = FORMATS["torchscript"].files
OPTIMIZED_FROM = 2  # images; measured


def load(artifact: Artifact, device: str, threads: int | None) -> Predictor:
    """See `lenet_runtime.backends.Backend.load`."""
    data = artifact.read(ARCHIVE)
    try:
        with Held(threads), warnings.catch_warnings():
            # PyTorch announces the end of TorchScript. README says so where formats are chosen;
            # whoever loads an artifact has chosen already.
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", FutureWarning)
            single = _read(data, device)
            # From a module of its own, because it rewrites the graph that it is given. What it
            # gains is oneDNN's, on the CPU.
            optimized = (
                torch.jit.optimize_for_inference(_read(data, device)) if device == "cpu" else single
            )
    except (RuntimeError, ValueError) as error:  # ValueError: a message that is not UTF-8
        if advice := obstacle(str(error)):
            raise BackendUnavailable(f"{artifact.path / ARCHIVE}: {error}; {advice}") from error
        raise ArtifactError(
            f"{artifact.path / ARCHIVE}: PyTorch {torch.__version__} cannot load it "
            f"({first_line(error)}); "
            f"it was written by {artifact.manifest.requirements.engine_version!r}: export it again"
        ) from error
    one, many = single.forward, optimized.forward

    def forward(images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = (one if images.size(0) < OPTIMIZED_FROM else many)(images)
        return logits

    return predictor("torchscript", forward, device, threads, artifact.manifest.precision)


def starts(artifact: Artifact) -> tuple[int, ...]:
    """The graph of one image and that of more; see `lenet_runtime.backends.Backend.starts`."""
    return (1, OPTIMIZED_FROM)


def _read(data: bytes, device: str) -> torch.jit.ScriptModule:
    module: torch.jit.ScriptModule = torch.jit.load(  # type: ignore[no-untyped-call]
        io.BytesIO(data), map_location=device
    )
    return module
