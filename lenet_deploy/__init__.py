"""lenet-deploy: compiles LeNet (`Net`) for optimized inference.

This package is the toolkit: the network, MNIST, training and the command line. The export
layer is `lenet_export`; the runtime layer, which needs no PyTorch, is `lenet_runtime`; the
benchmark layer is `lenet_bench`.
"""

TYPE_CHECKING = False  # `typing` takes 10 ms, in which Ctrl-C would be a traceback
if TYPE_CHECKING:
    from lenet_deploy.cache import bundled_artifact
    from lenet_deploy.training.checkpoint import load_checkpoint
    from lenet_deploy.training.model import Net
    from lenet_runtime.version import __version__

__all__ = ["Net", "__version__", "bundled_artifact", "load_checkpoint"]

# Nothing is imported before it is asked for: `Net` and `load_checkpoint` need PyTorch, which the
# command line may not import, and all else NumPy, before whose import it must answer Ctrl-C.
_MODULES = {
    "Net": "lenet_deploy.training.model",
    "__version__": "lenet_runtime.version",
    "bundled_artifact": "lenet_deploy.cache",
    "load_checkpoint": "lenet_deploy.training.checkpoint",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return __all__
