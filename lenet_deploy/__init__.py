"""lenet-deploy: compiles LeNet (`Net`) for optimized inference.

This package is the toolkit: the network, MNIST, training and the command line. The export
layer is `lenet_export`; the runtime layer, which needs no PyTorch, is `lenet_runtime`; the
benchmark layer is `lenet_bench`.
"""

TYPE_CHECKING = False  # `typing` takes 10 ms, in which Ctrl-C would be a traceback
if TYPE_CHECKING:
    from lenet_deploy.training.model import Net
    from lenet_runtime.version import __version__

__all__ = ["Net", "__version__"]


def __getattr__(name: str) -> object:
    """`Net` and the version, once they are asked for.

    `Net` needs PyTorch, which the command line may not import, and the version NumPy, before whose
    import the command line must answer Ctrl-C.
    """
    if name == "Net":
        from lenet_deploy.training.model import Net

        return Net
    if name == "__version__":
        from lenet_runtime.version import __version__

        return __version__
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
