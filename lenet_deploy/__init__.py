"""lenet-deploy: compiles LeNet (`Net`) for optimized inference.

This package is the toolkit: the network, MNIST, training and the command line. The export
layer is `lenet_export`; the runtime layer, which needs no PyTorch, is `lenet_runtime`; the
benchmark layer is `lenet_bench`.
"""

from typing import TYPE_CHECKING, Any

from lenet_runtime.version import __version__

if TYPE_CHECKING:
    from lenet_deploy.training.model import Net

__all__ = ["Net", "__version__"]


def __getattr__(name: str) -> Any:
    """`Net`, once it is asked for: it needs PyTorch, which the command line may not import."""
    if name != "Net":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lenet_deploy.training.model import Net

    return Net
