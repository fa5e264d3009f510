"""``torchscript``: traced, then frozen, so that weights are constants of the graph."""

import io

import torch

from lenet_export._quiet import quiet
from lenet_export.request import Build, Request
from lenet_runtime.artifact import IMAGES, Requirements


def build(request: Request) -> Build:
    """Trace on one image, freeze, and save as ``model.pt``.

    A trace has no branches on the batch size to lose, since `Net` has none; parity over several
    batch sizes proves it for any other module. A static batch is a promise of the manifest here:
    the archive itself would take any.

    PyTorch 2.15 warns that TorchScript is deprecated. That is for who chooses the format, and
    README tells them; the warning is not repeated to everyone who exports.
    """
    example = torch.zeros(request.static_batch or 2, *IMAGES.shape[1:])
    buffer = io.BytesIO()
    with quiet(), torch.no_grad():
        frozen = torch.jit.freeze(torch.jit.trace(request.module, example))
        torch.jit.save(frozen, buffer)
    version = str(torch.__version__)
    return Build(
        {"model.pt": buffer.getvalue()},
        Requirements("any", "torch", version),
        {"torch": version},
    )
