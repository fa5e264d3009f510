"""TorchScript archives and AOTInductor packages on PyTorch."""

import os

from lenet_runtime.errors import BackendUnavailable
from lenet_runtime.version import pip_install

# OpenMP's threads spin for 10 ms where they wait for work: two of them take half a core at 50 calls
# a second. It reads the number of rounds when PyTorch's import loads it. A thousand, some 10 us,
# last from one parallel region of a network to the next, so that where cores are free a call takes
# as long as with the default. Whoever sets one of the two variables himself is heard.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

try:  # before any module of this package, so that none of them needs to say what is missing
    import torch  # noqa: F401
except (ImportError, OSError) as error:  # OSError: a shared library of its own is missing
    raise BackendUnavailable(
        f"PyTorch cannot be imported ({error}); {pip_install('export')}"
    ) from error
