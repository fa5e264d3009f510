"""The formats that the tests run through the CPU; those for GPUs alone have tests of their own."""

import pytest

from lenet_runtime import FORMATS
from lenet_runtime.backends import kinds_of

SLOW = ("torch-compile",)  # 15 s
ON_CPU = [name for name in FORMATS if "cpu" in kinds_of(name)]
EACH = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in ON_CPU]
