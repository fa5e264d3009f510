"""The formats that the tests run through the CPU; those for GPUs alone have tests of their own."""

import shutil

import pytest

from lenet_runtime import FORMATS
from lenet_runtime.backends import backends_of, kinds_of

SLOW = ("torch-compile",)  # 15 s
NET_LIKE = ("native", "web")  # they compile chains of LeNet's layers, and no other module
ON_CPU = [name for name in FORMATS if "cpu" in kinds_of(name)]
WEB_TOOLS = [name for name in ("node", "clang", "wasm-ld") if shutil.which(name) is None]
needs_web = pytest.mark.skipif(bool(WEB_TOOLS), reason=f"not on PATH: {', '.join(WEB_TOOLS)}")
_MARKS = dict.fromkeys(SLOW, pytest.mark.slow) | {"web": needs_web}
EACH = [pytest.param(name, marks=_MARKS.get(name, ())) for name in ON_CPU]
ENGINES = [
    pytest.param(name, marks=_MARKS.get(kind, ()))
    for kind in ON_CPU
    for name in backends_of(kind, "cpu")
]
