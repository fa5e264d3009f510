"""Reading the network: a torch module becomes a `Network`, its layers and weights as NumPy arrays.

The module is read from the graph that `torch.export` records, so it may be written in any style;
what it computes must be LeNet's chain of layers, with any number of channels and features.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lenet_export._quiet import quiet
from lenet_runtime.errors import InputError

Array = NDArray[np.float32]
_CONVOLUTION = ("conv2d", "relu", "max_pool2d")
_DENSE = ("linear", "relu")


@dataclass(frozen=True)
class Convolution:
    """3x3, stride 1, no padding; then ReLU and 2x2 max pooling.

    Attributes:
        weight: float32 ``(out channels, in channels, 3, 3)``.
        bias: float32 ``(out channels,)``.
    """

    weight: Array
    bias: Array


@dataclass(frozen=True)
class Dense:
    """A linear layer; ReLU follows every one but the last.

    Attributes:
        weight: float32 ``(out features, in features)``.
        bias: float32 ``(out features,)``.
    """

    weight: Array
    bias: Array


@dataclass(frozen=True)
class Network:
    """Two convolutions on one 32x32 channel, then dense layers, the last of ten outputs."""

    conv1: Convolution
    conv2: Convolution
    dense: tuple[Dense, ...]


def read(module: nn.Module) -> Network:
    """The layers of a module in eval mode.

    Raises:
        InputError: it computes something else than LeNet's chain of layers.
    """
    # Two images: torch.export takes a batch of one for a constant.
    with quiet():
        program = torch.export.export(module, (torch.zeros(2, 1, 32, 32),))
    nodes = [node for node in program.graph.nodes if node.op == "call_function"]
    names = [_name(node) for node in nodes]
    kinds = [name for name in names if name not in ("flatten", "view", "reshape", "dropout")]
    count = sum(kind == "linear" for kind in kinds)
    expected = [*_CONVOLUTION, *_CONVOLUTION, *(_DENSE * count)[:-1]]
    if kinds != expected or not count:
        raise InputError(
            "native: expected a module of the layers conv2d, relu, max_pool2d, twice, then linear "
            f"layers with relu between them; found {', '.join(names)}"
        )
    state = program.state_dict | dict(program.constants)
    signature = program.graph_signature
    targets = signature.inputs_to_parameters | signature.inputs_to_buffers
    by_kind = {k: [n for n, name in zip(nodes, names, strict=True) if name == k] for k in kinds}

    def arrays(node: Any) -> tuple[Array, Array]:
        weight = state[targets[node.args[1].name]]
        bias = node.args[2] if len(node.args) > 2 else None
        values = state[targets[bias.name]] if bias is not None else torch.zeros(len(weight))
        return _array(weight), _array(values)

    for node in by_kind["conv2d"]:
        _require_plain(node, (1, 1), (0, 0), (1, 1))
    for node in by_kind["max_pool2d"]:
        _require_pooling(node)
    conv1, conv2 = (Convolution(*arrays(node)) for node in by_kind["conv2d"])
    dense = tuple(Dense(*arrays(node)) for node in by_kind["linear"])
    for number, layer in enumerate((conv1, conv2), 1):
        if layer.weight.shape[2:] != (3, 3):
            raise InputError(
                f"native: expected 3x3 kernels, found {layer.weight.shape[2:]} in convolution "
                f"{number}"
            )
    return Network(conv1, conv2, dense)


def _name(node: Any) -> str:
    """``conv2d`` of ``aten.conv2d.default``."""
    return str(getattr(node.target, "__name__", node.target)).partition(".")[0].rstrip("_")


def _array(tensor: torch.Tensor) -> Array:
    values: Array = tensor.detach().cpu().contiguous().numpy()
    if values.dtype != np.float32:
        raise InputError(f"native: expected float32 weights, found {values.dtype}")
    return values


def _require_plain(
    node: Any, stride: tuple[int, ...], padding: tuple[int, ...], dilation: tuple[int, ...]
) -> None:
    given = [*node.args[3:], *node.kwargs.values()]
    defaults: tuple[object, ...] = (stride, padding, dilation, 1)
    for found, wanted in zip(given, defaults, strict=False):
        if found != wanted and tuple(np.ravel(found)) != wanted:
            raise InputError(
                f"native: expected a convolution of stride 1 without padding, found {given}"
            )


def _require_pooling(node: Any) -> None:
    sizes = [tuple(np.ravel(size)) for size in node.args[1:3] if len(np.ravel(size))]
    if any(size != (2, 2) for size in sizes) or len(node.args) > 3:
        raise InputError(f"native: expected 2x2 max pooling of stride 2, found {node.args[1:]}")
