"""The table of formats; reading it imports neither torch nor onnx."""

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lenet_export.request import Build, Request


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        module: of ours, with ``build(request) -> Build``; and ``require()``, which raises
            `BackendUnavailable`, where it builds with tools that pip does not install.
        precisions: it can be exported in.
        options: names of what it takes beyond what all formats do.
    """

    module: str
    precisions: tuple[str, ...] = ("fp32",)
    options: tuple[str, ...] = ()

    def require(self) -> None:
        """Raise `BackendUnavailable` if a tool that it builds with is not on this machine."""
        getattr(importlib.import_module(self.module), "require", lambda: None)()

    def build(self, request: "Request") -> "Build":
        """Make the files; see `lenet_export.request`."""
        from lenet_export.quiet import quiet

        with quiet():  # importing the compiler logs, too
            module = importlib.import_module(self.module)
        result: Build = module.build(request)
        return result


# TF32 is how a GPU may multiply the same float32 weights.
_FLOAT32 = ("fp32", "tf32")
FORMATS = {
    "onnx": Format("lenet_export.formats.onnx", precisions=_FLOAT32, options=("opset",)),
    "torchscript": Format("lenet_export.formats.torchscript", precisions=_FLOAT32),
    "torch-compile": Format("lenet_export.formats.torch_compile", precisions=_FLOAT32),
    "native": Format(
        "lenet_export.formats.native",
        precisions=("fp32", "bf16", "int8"),
        options=("isa", "calibration"),
    ),
    "tensorrt": Format(
        "lenet_export.formats.tensorrt",
        precisions=("fp32", "tf32", "fp16", "bf16", "int8"),
        options=("profile", "library", "compute_capability", "calibration"),
    ),
    "cuda": Format(
        "lenet_export.formats.cuda",
        precisions=("fp32", "tf32", "fp16", "bf16"),
        options=("architectures",),
    ),
}
