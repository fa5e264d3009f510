"""The formats that the tests run through the CPU; those for GPUs alone have tests of their own."""

import pytest

from lenet_runtime import FORMATS
from lenet_runtime.backends import backends_of, kinds_of

SLOW = ("torch-compile",)  # 15 s
ON_CPU = [name for name in FORMATS if "cpu" in kinds_of(name)]
EACH = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in ON_CPU]
ENGINES = [
    pytest.param(name, marks=pytest.mark.slow if kind in SLOW else ())
    for kind in ON_CPU
    for name in backends_of(kind, "cpu")
]
