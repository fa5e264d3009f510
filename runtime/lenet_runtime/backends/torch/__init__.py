"""TorchScript archives and AOTInductor packages on PyTorch."""

from lenet_runtime.errors import BackendUnavailable
from lenet_runtime.version import pip_install

try:  # before any module of this package, so that none of them needs to say what is missing
    import torch  # noqa: F401
except (ImportError, OSError) as error:  # OSError: a shared library of its own is missing
    raise BackendUnavailable(
        f"PyTorch cannot be imported ({error}); {pip_install('export')}"
    ) from error
