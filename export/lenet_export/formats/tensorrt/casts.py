"""The ONNX graph in the types that an engine shall compute in.

TensorRT 11 is strongly typed: it computes each layer in the type that the graph says, so a
precision is a change of the graph and no wish to the builder. Input and output stay float32.
"""

from collections.abc import MutableSequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lenet_export.formats.onnx import OPERATORS
from lenet_export.network import rounding
from lenet_runtime.artifact import IMAGES
from lenet_runtime.errors import InputError

# Convolutions of bfloat16 are part of ONNX from operator set 22 on.
OPSETS = {"fp32": 20, "tf32": 20, "fp16": 20, "bf16": 22, "int8": 20}
_LARGEST = {"fp16": float(np.finfo(np.float16).max), "bf16": float.fromhex("0x1.fep+127")}
_TYPES = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
# A value that is as far from the largest as the next would be is rounded to infinity.
_FIRST_INFINITE = {"fp16": 65520.0, "bf16": float.fromhex("0x1.ffp+127")}


def name_nodes(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    """Name the nodes after the layers, in place, and return those that compute by their names.

    ``conv1`` is the convolution of ``conv1.weight``; pooling is ``pool1`` and so on. These are the
    names by which TensorRT tells what became of them.
    """
    found: dict[str, onnx.NodeProto] = {}
    counts: dict[str, int] = {}
    weights = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        kind = "pool" if node.op_type == "MaxPool" else node.op_type.lower()
        counts[kind] = counts.get(kind, 0) + 1
        node.name = f"{kind}{counts[kind]}"
        if node.op_type in ("Conv", "Gemm") and node.input[1] in weights:
            node.name = node.input[1].removesuffix(".weight")
        if node.op_type in ("Conv", "Gemm", "MaxPool"):
            found[node.name] = node
    return found


def cast(model: onnx.ModelProto, precision: str) -> onnx.ModelProto:
    """A float32 graph in ``fp16`` or ``bf16``: all its weights and operations.

    Args:
        model: float32, of the operators of LeNet.
        precision: ``fp16`` or ``bf16``.

    Raises:
        InputError: a weight is beyond the type's largest, or the graph has an operator of which
            it is not known what casting does to it.
    """
    _require_operators(model, precision)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph, kind = result.graph, _TYPES[precision]
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(_lower(tensor, precision))
    (output,) = (value.name for value in graph.output)
    for node in graph.node:
        _rename(node.input, IMAGES, "images_cast")
        _rename(node.output, output, "logits_cast")
    first = helper.make_node("Cast", [IMAGES], ["images_cast"], name="cast_in", to=kind)
    last = helper.make_node(
        "Cast", ["logits_cast"], [output], name="cast_out", to=TensorProto.FLOAT
    )
    graph.node.insert(0, first)
    graph.node.append(last)
    onnx.checker.check_model(result, full_check=True)
    return result


def _rename(names: MutableSequence[str], old: str, new: str) -> None:
    for index, name in enumerate(names):
        if name == old:
            names[index] = new


def _require_operators(model: onnx.ModelProto, precision: str) -> None:
    foreign = sorted({node.op_type for node in model.graph.node} - OPERATORS)
    if foreign:
        raise InputError(
            f"tensorrt: {precision} can be had of the operators {sorted(OPERATORS)}, found "
            f"{foreign}; export in fp32"
        )


def _lower(tensor: TensorProto, precision: str) -> TensorProto:
    """Weights in another type, rounded to nearest, ties to even."""
    values = numpy_helper.to_array(tensor)
    largest = float(np.abs(values).max(initial=0.0))
    if largest >= _FIRST_INFINITE[precision]:
        raise InputError(
            f"tensorrt: {precision} holds values up to {_LARGEST[precision]:.6g}, found "
            f"{largest:.6g} in {tensor.name}; export in fp32 or tf32"
        )
    if precision == "fp16":
        return numpy_helper.from_array(values.astype(np.float16), tensor.name)
    return TensorProto(
        name=tensor.name,
        data_type=TensorProto.BFLOAT16,
        dims=tensor.dims,
        raw_data=rounding.bfloat16(values).astype("<u2").tobytes(),
    )
