"""Reading the network: a torch module becomes a `Network`, its layers and weights as NumPy arrays.

The module may be written in any style; what it computes must be LeNet's chain of layers, with any
number of channels and features.
"""

from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lenet_export.network import graph
from lenet_export.network.graph import Step
from lenet_runtime.errors import InputError

Array = NDArray[np.float32]
_NET = (1, 32, 32)
_CONVOLUTION = ["conv2d", "relu", "max_pool2d"]
# They keep the order of an image's values, so that only a layer's input must have its shape.
_RESHAPES = ("flatten", "view", "reshape")
# The other arguments of each operation, with the only values that the family has.
_PLAIN: dict[str, dict[str, tuple[object, ...]]] = {
    "conv2d": {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": (1,)},
    "max_pool2d": {
        "kernel_size": (2, 2),
        "stride": (2, 2),
        "padding": (0, 0),
        "dilation": (1, 1),
        "ceil_mode": (False,),
    },
    "dropout": {"train": (False,)},  # F.dropout(x) drops in eval mode, too
}
_OTHER_WORDS = {("max_pool2d", "stride", ()), ("conv2d", "padding", ("valid",))}


@dataclass(frozen=True)
class Convolution:
    """3x3, stride 1, no padding; then ReLU and 2x2 max pooling, in either order: they commute.

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


def read(module: nn.Module, input_shape: tuple[int, int, int], reader: str = "module") -> Network:
    """The layers of a module in eval mode.

    Args:
        module: written in any style.
        input_shape: ``(C, H, W)`` of its images.
        reader: the format that needs the layers; the error message begins with it.

    Raises:
        InputError: the module computes something else than LeNet's chain of layers.
    """
    try:
        return _read(module, input_shape)
    except InputError as error:
        raise InputError(f"{reader}: {error}") from error


def _read(module: nn.Module, input_shape: tuple[int, int, int]) -> Network:
    if input_shape != _NET:
        raise InputError(f"expected a module for images {_NET}, found {input_shape}")
    program = graph.export(module, input_shape)
    kinds = [graph.kind(node) for node in graph.operations(program)]
    _require_order(kinds)
    steps = list(graph.chain(program))
    weights = _Weights(program)
    shape: tuple[int, ...] = input_shape
    convolutions, dense = [], []
    for step in steps:
        _require_plain(step)
        if step.kind == "conv2d":
            _require_shape(step, shape)
            weight, bias = weights.of(step)
            if weight.shape[2:] != (3, 3):
                raise InputError(f"expected 3x3 kernels, found {weight.shape[2:]}")
            convolutions.append(Convolution(weight, bias))
            shape = (len(weight), shape[1] - 2, shape[2] - 2)
        elif step.kind == "max_pool2d":
            _require_shape(step, shape)
            shape = (shape[0], shape[1] // 2, shape[2] // 2)
        elif step.kind == "linear":
            _require_shape(step, (prod(shape),))
            dense.append(Dense(*weights.of(step)))
            shape = dense[-1].bias.shape
    if shape != (10,):
        raise InputError(f"expected 10 logits, found {shape[0]}")
    conv1, conv2 = convolutions
    return Network(conv1, conv2, tuple(dense))


def _require_order(kinds: list[str]) -> None:
    order = [kind for kind in kinds if kind not in (*_RESHAPES, "dropout")]
    for first in (1, 4):
        if order[first : first + 2] == ["max_pool2d", "relu"]:
            order[first : first + 2] = ["relu", "max_pool2d"]
    count = order.count("linear")
    if order != _CONVOLUTION * 2 + (["linear", "relu"] * count)[:-1] or not count:
        raise InputError(
            "expected a module of the layers conv2d, relu, max_pool2d, twice, then linear "
            f"layers with relu between them; found {', '.join(kinds)}"
        )


def _require_plain(step: Step) -> None:
    for name, expected in _PLAIN.get(step.kind, {}).items():
        argument = step.arguments[name]
        values = tuple(np.ravel(argument).tolist())
        if values not in (expected, expected[:1]) and (step.kind, name, values) not in _OTHER_WORDS:
            raise InputError(f"{step.kind}: expected {name} {list(expected)}, found {argument}")


def _require_shape(step: Step, shape: tuple[int, ...]) -> None:
    if step.shape[1:] != tuple(map(str, shape)):
        raise InputError(
            f"{step.kind}: expected activations ({', '.join(map(str, ('N', *shape)))}), "
            f"found ({', '.join(step.shape)})"
        )


class _Weights:
    """A program's parameters and buffers as arrays."""

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        signature = program.graph_signature
        names = signature.inputs_to_parameters | signature.inputs_to_buffers
        tensors = program.state_dict | program.constants
        self._tensors = {node: tensors[name] for node, name in names.items()}

    def of(self, step: Step) -> tuple[Array, Array]:
        """Weight and bias of a layer, zeros where it has no bias."""
        weight = self._array(step, "weight")
        if step.arguments["bias"] is None:
            return weight, np.zeros(len(weight), np.float32)
        bias = self._array(step, "bias")
        if bias.shape != weight.shape[:1]:  # F.linear repeats a bias of one number
            raise InputError(f"{step.kind}: expected a bias {weight.shape[:1]}, found {bias.shape}")
        return weight, bias

    def _array(self, step: Step, role: str) -> Array:
        node = step.arguments[role]
        if node.name not in self._tensors:
            raise InputError(
                f"{step.kind}: expected a parameter of the module as {role}, found {node}"
            )
        values: Array = self._tensors[node.name].detach().cpu().contiguous().numpy()
        if values.dtype != np.float32:
            raise InputError(f"expected float32 weights, found {values.dtype}")
        return values
