"""``torchscript``: traced, then frozen, so that weights are constants of the graph."""

import io

import torch
from torch.jit._trace import TracingCheckError

from lenet_export.quiet import quiet
from lenet_export.request import Build, Request
from lenet_runtime.artifact import Requirements
from lenet_runtime.backends.torch.torch_cuda import precision
from lenet_runtime.errors import DeployError, first_line
from lenet_runtime.formats import FORMATS

(ARCHIVE,) = FORMATS["torchscript"].files
_WRITERS_OWN = frozenset({".data/serialization_id", "byteorder", "version"})


def build(request: Request) -> Build:
    """Trace on one image, freeze, and save as ``model.pt``.

    A trace has no branches on the batch size to lose, since `Net` has none; parity over several
    batch sizes proves it for any other module. A static batch is a promise of the manifest here:
    the archive itself would take any.

    Equal weights give equal bytes from one process to the next. Within one process they do not:
    PyTorch numbers the classes it has compiled (``___torch_mangle_7``) and saves the name.

    PyTorch 2.15 warns that TorchScript is deprecated. That is for who chooses the format, and
    README tells them; the warning is not repeated to everyone who exports.

    A trace holds whether its convolutions may use TF32, as PyTorch's switch is at that moment, and
    on a GPU goes by that and not by the switch.

    Raises:
        DeployError: the module cannot be traced.
    """
    buffer = io.BytesIO()
    try:
        with quiet(), torch.no_grad(), precision(request.precision == "tf32"):
            frozen = torch.jit.freeze(
                torch.jit.trace(request.module, request.example)  # type: ignore[no-untyped-call]
            )
            torch.jit.save(frozen, buffer)
    except (RuntimeError, TracingCheckError) as error:
        raise DeployError(
            f"torchscript: the module cannot be traced ({first_line(error)})"
        ) from error
    version = str(torch.__version__)
    return Build(
        {ARCHIVE: _without_debug_files(buffer.getvalue())},
        Requirements(request.runs_on, "torch", version),
        {"torch": version},
    )


def _without_debug_files(archive: bytes) -> bytes:
    """The archive less its stack traces, which hold paths of the machine that made it."""
    reader = torch._C.PyTorchFileReader(io.BytesIO(archive))
    buffer = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(buffer)
    for name in reader.get_all_records():
        # The writer adds these three itself.
        if not name.endswith(".debug_pkl") and name not in _WRITERS_OWN:
            record = reader.get_record(name)
            writer.write_record(name, record, len(record))
    writer.write_end_of_file()
    return buffer.getvalue()
