"""What makes each of `lenet_runtime.FORMATS`; reading this imports neither torch nor onnx."""

import importlib
import tempfile
from typing import TYPE_CHECKING

from lenet_runtime.errors import DeployError, first_line

if TYPE_CHECKING:
    from lenet_export.request import Build, Request

# Modules with ``build(request) -> Build``; and with ``require()``, which raises
# `BackendUnavailable`, where they build with tools that pip does not install.
BUILDERS = {
    "onnx": "lenet_export.formats.onnx",
    "torchscript": "lenet_export.formats.torchscript",
    "torch-compile": "lenet_export.formats.torch_compile",
    "native": "lenet_export.formats.native",
    "web": "lenet_export.formats.web",
    "tensorrt": "lenet_export.formats.tensorrt",
    "cuda": "lenet_export.formats.cuda",
}


def require(format: str) -> None:
    """Raise `BackendUnavailable` if a tool that builds this format is not on this machine."""
    getattr(importlib.import_module(BUILDERS[format]), "require", lambda: None)()


def build(request: "Request") -> "Build":
    """Make the files; see `lenet_export.request`.

    Raises:
        DeployError: see the builder; or whatever else a compiler raised, which is no `DeployError`.
        KeyboardInterrupt: also where a compiler took it for a failure of its own.
    """
    from lenet_export.quiet import quiet

    try:
        tempfile.gettempdir()  # compilers need one, and blame what they like
    except OSError as error:
        raise DeployError(
            f"{request.format}: there is no folder for temporary files ({error}); set TMPDIR to "
            "one that can be written"
        ) from error
    with quiet():  # importing the compiler logs, too
        module = importlib.import_module(BUILDERS[request.format])
    try:
        result: Build = module.build(request)
    except Exception as error:  # somebody else's code may raise anything
        if _interrupted(error):
            raise KeyboardInterrupt from error
        if isinstance(error, DeployError):
            raise
        words = f"{type(error).__name__}: {first_line(error)}"
        hint = ""
        if isinstance(error, OSError | KeyError):  # of getpass and the like
            hint = "; PyTorch's compilers need HOME and USER, and room for files in TMPDIR"
        raise DeployError(
            f"{request.format}: the module cannot be compiled ({words}){hint}"
        ) from error
    return result


def _interrupted(error: BaseException | None) -> bool:
    """Whether an error is what somebody made of a Ctrl-C."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False
