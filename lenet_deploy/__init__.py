"""lenet-deploy: compiles LeNet (`Net`) for optimized inference.

This package is the toolkit: the network, MNIST, training and the command line. The export
layer is `lenet_export`; the runtime layer, which needs no PyTorch, is `lenet_runtime`.
"""

from lenet_runtime._version import __version__

__all__ = ["__version__"]
