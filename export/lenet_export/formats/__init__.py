"""What makes each of `lenet_runtime.FORMATS`; reading this imports neither torch nor onnx."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lenet_export.request import Build, Request

# Modules with ``build(request) -> Build``; and with ``require()``, which raises
# `BackendUnavailable`, where they build with tools that pip does not install.
BUILDERS = {
    "onnx": "lenet_export.formats.onnx",
    "torchscript": "lenet_export.formats.torchscript",
    "torch-compile": "lenet_export.formats.torch_compile",
    "native": "lenet_export.formats.native",
    "tensorrt": "lenet_export.formats.tensorrt",
    "cuda": "lenet_export.formats.cuda",
}


def require(format: str) -> None:
    """Raise `BackendUnavailable` if a tool that builds this format is not on this machine."""
    getattr(importlib.import_module(BUILDERS[format]), "require", lambda: None)()


def build(request: "Request") -> "Build":
    """Make the files; see `lenet_export.request`."""
    from lenet_export.quiet import quiet

    with quiet():  # importing the compiler logs, too
        module = importlib.import_module(BUILDERS[request.format])
    result: Build = module.build(request)
    return result
