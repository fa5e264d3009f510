"""The export layer: a torch module becomes a verified artifact on disk.

    import lenet_export

    artifact = lenet_export.export(net, "onnx", "artifacts/onnx-fp32")

Importing the package reads the table of formats; torch is imported with the first use of
`export`, `verify` or `record`.
"""

import importlib
from typing import TYPE_CHECKING, Any

from lenet_runtime.formats import FORMATS, Format

if TYPE_CHECKING:
    from lenet_export.pipeline import export
    from lenet_export.recording import record
    from lenet_export.verification import Verification, verify

__all__ = ["FORMATS", "Format", "Verification", "export", "record", "verify"]

_LAZY = {
    "export": "lenet_export.pipeline",
    "record": "lenet_export.recording",
    "verify": "lenet_export.verification",
    "Verification": "lenet_export.verification",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'lenet_export' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return __all__
