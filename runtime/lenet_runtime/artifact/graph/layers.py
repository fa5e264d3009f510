"""The layers of LeNet's family as ONNX nodes: their attributes, their weights, what they make.

The count of the numbers that a layer makes follows from what it takes and from weights that are in
the file, so no few bytes make many.
"""

import math
from collections.abc import Mapping
from typing import Any

from lenet_runtime.artifact.graph.messages import ATTRIBUTE_VALUES

Shape = tuple[int | None, ...]  # of a tensor; None for a dynamic batch, which comes first
_Attributes = Mapping[str, Any]

_AUTO_PAD, _NO_PADS = ("NOTSET",), [0, 0, 0, 0]
_POOL: Mapping[str, tuple[Any, ...]] = {
    "auto_pad": _AUTO_PAD, "ceil_mode": (0,), "dilations": ([1, 1],), "kernel_shape": ([2, 2],),
    "pads": (_NO_PADS,), "strides": ([2, 2],),
}  # fmt: skip
# Each operator with its attributes and their values. ONNX's defaults of those that are absent are
# among these, but for `_NEEDED`.
OPERATORS: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "Conv": {
        "auto_pad": _AUTO_PAD, "dilations": ([1, 1],), "group": (1,),
        "kernel_shape": ([3, 3], [5, 5]), "pads": (_NO_PADS, [1, 1, 1, 1], [2, 2, 2, 2]),
        "strides": ([1, 1],),
    },
    "MaxPool": {**_POOL, "storage_order": (0,)},
    "AveragePool": {**_POOL, "count_include_pad": (0, 1)},
    "Relu": {},
    "Tanh": {},
    "Sigmoid": {},
    "Flatten": {"axis": (1,)},
    "Reshape": {"allowzero": (0, 1)},
    "Gemm": {"alpha": (1.0,), "beta": (1.0,), "transA": (0,), "transB": (0, 1)},
    "Softmax": {"axis": (1, -1)},
    "LogSoftmax": {"axis": (1, -1)},
}  # fmt: skip
_NEEDED = {"MaxPool": {"kernel_shape", "strides"}, "AveragePool": {"kernel_shape", "strides"}}
_ACTIVATION_WORK = 8  # multiplications that take as long as one tanh


def numbers(shape: Shape) -> int:
    """How many an image has in a tensor of this shape."""
    return math.prod(size or 0 for size in shape[1:])


def cut(text: object) -> str:
    """What a foreign file says, as a message may show it: escaped, and not long."""
    shown = ascii(text)
    return shown if len(shown) <= 100 else f"{shown[:100]}..."


def follow(node: Mapping[str, Any], shape: Shape, weights: list[Any]) -> tuple[Shape, int]:
    """The shape of what a node makes, and the multiplications that it takes an image.

    Args:
        node: Of an operator that `OPERATORS` has.
        shape: Of the activations that it takes.
        weights: The shapes of its other inputs; of Reshape, the shape that is asked for.

    Raises:
        ValueError: It is no layer of the family, or does not fit these shapes.
    """
    kind, attributes = node["op_type"], _attributes(node)
    if kind == "Reshape":
        return _reshape(shape, weights), 0
    if kind in ("Conv", "Gemm"):
        if len(weights) not in (1, 2):
            raise ValueError(f"expected a weight and perhaps a bias, found {len(weights)} tensors")
        made, work, outputs = (_conv if kind == "Conv" else _gemm)(shape, weights[0], attributes)
        if weights[1:] not in ([], [(outputs,)]):
            raise ValueError(f"expected a bias ({outputs},), found {cut(weights[1])}")
        return made, work
    if weights:
        raise ValueError(f"expected no weights, found {len(weights)}")
    made = shape
    if kind in ("MaxPool", "AveragePool"):
        batch, channels, height, width = _of_rank(4, shape)
        made = _not_empty(batch, channels, height // 2, width // 2)
    elif kind == "Flatten":
        made = shape[0], numbers(shape)
    elif kind in ("Softmax", "LogSoftmax"):
        _of_rank(2, shape)
    return made, _ACTIVATION_WORK * numbers(made)


def _attributes(node: Mapping[str, Any]) -> _Attributes:
    """The node's attributes by name, each with a value that `OPERATORS` has."""
    kind = node["op_type"]
    admitted, values = OPERATORS[kind], {}
    for attribute in node.get("attribute", ()):
        name = attribute["name"]
        value = attribute.get(ATTRIBUTE_VALUES[attribute["type"]])
        if name not in admitted or name in values or len(attribute) != 3:
            raise ValueError(
                f"expected attributes {', '.join(admitted) or 'of none'}, each once and with a "
                f"value of its type, found {cut(attribute)}"
            )
        allowed = admitted[name]
        if type(value) is not type(allowed[0]) or value not in allowed:
            expected = " or ".join(map(str, allowed))
            raise ValueError(f"{name}: expected {expected}, found {cut(value)}")
        values[name] = value
    if not _NEEDED.get(kind, set()) <= values.keys():
        raise ValueError(f"expected attributes {', '.join(sorted(_NEEDED[kind]))}")
    return values


def _conv(shape: Shape, weight: Shape, attributes: _Attributes) -> tuple[Shape, int, int]:
    batch, channels, height, width = _of_rank(4, shape)
    outputs, inputs, *kernel = _of_rank(4, weight)
    if inputs != channels or kernel not in OPERATORS["Conv"]["kernel_shape"]:
        raise ValueError(f"expected a weight (N, {channels}, 3, 3) or 5, 5, found {cut(weight)}")
    pad = attributes.get("pads", _NO_PADS)[0]
    if attributes.get("kernel_shape", kernel) != kernel or pad not in (0, kernel[0] // 2):
        raise ValueError(f"its kernel and padding do not fit the weight {cut(weight)}")
    lost = kernel[0] - 1 - 2 * pad
    made = _not_empty(batch, outputs, height - lost, width - lost)
    return made, numbers(made) * inputs * kernel[0] ** 2, outputs


def _gemm(shape: Shape, weight: Shape, attributes: _Attributes) -> tuple[Shape, int, int]:
    batch, length = _of_rank(2, shape)
    inputs, outputs = _of_rank(2, weight)
    if attributes.get("transB", 0):
        inputs, outputs = outputs, inputs
    if inputs != length:
        raise ValueError(f"expected a weight for {length} numbers, found {cut(weight)}")
    return (batch, outputs), inputs * outputs, outputs


def _reshape(shape: Shape, targets: list[list[int]]) -> Shape:
    batch, length = shape[0], numbers(shape)
    if targets not in ([[-1, length]], [[batch, length]]):
        raise ValueError(f"expected to reshape {shape} to [-1, {length}], found {cut(targets)}")
    return batch, length


def _of_rank(rank: int, shape: Shape) -> Any:
    """The sizes; the batch is None or an int, all others are ints."""
    if len(shape) != rank:
        raise ValueError(f"expected {rank} dimensions, found {cut(shape)}")
    return shape


def _not_empty(batch: int | None, *sizes: int) -> Shape:
    if min(sizes) < 1:
        raise ValueError(f"it would leave nothing of the picture: {sizes}")
    return batch, *sizes
