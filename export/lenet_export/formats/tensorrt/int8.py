"""Explicit quantisation: the float32 graph with QuantizeLinear and DequantizeLinear in it.

TensorRT computes in int8 what stands between the two. It asks for signed codes and zero points
of 0, so an activation after a ReLU has 127 steps where the format ``native`` gives it 255. Weights
have a scale for each output channel, activations one each, from the same calibration.

What stays in float32: conv1, because its input is the images, which may hold values far from a
digit's and would be cut off, and because its error goes through all other layers (``native`` gives
it 16 bits, which TensorRT has not); and the biases, which TensorRT adds to sums in float32.
"""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from lenet_export.network import layers, quantize
from lenet_export.network.steps import Array
from lenet_export.request import Request
from lenet_runtime.errors import DeployError, InputError

LIMIT = quantize.WEIGHT_LIMIT  # of codes, of weights and of activations alike
FLOAT_LAYERS = 1  # conv1


def ranges(request: Request, images: Array) -> quantize.Ranges:
    """What the activations reach on normalised images ``(N, 1, 32, 32)``.

    Raises:
        InputError: the module is not like `Net`, or it overflows.
    """
    try:
        network = layers.read(request.module, request.image_shape)
    except InputError as error:
        raise InputError(
            f"tensorrt: int8 is for LeNet's chain of layers ({error}); export in another precision"
        ) from error
    return quantize.calibrate(layers.require_net_like(network, "tensorrt: int8"), images)


def quantized(model: onnx.ModelProto, found: quantize.Ranges) -> onnx.ModelProto:
    """The graph with the input and the weights of every layer but conv1 in int8.

    Args:
        model: float32, its nodes named by `lenet_export.formats.tensorrt.casts.name_nodes`.
        found: see `ranges`.

    Raises:
        DeployError: the graph has other layers than the network that was calibrated.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    multiplying = [node for node in graph.node if node.op_type in ("Conv", "Gemm")]
    if len(multiplying) != len(found.activations) + FLOAT_LAYERS:
        raise DeployError(
            f"tensorrt: expected {len(found.activations) + FLOAT_LAYERS} layers with weights as "
            f"calibrated, found {[node.name for node in multiplying]} in the graph"
        )
    weights = {tensor.name: tensor for tensor in graph.initializer}
    steps = [quantize.HEADROOM * (most or 1.0) / LIMIT for most in found.activations]
    nodes = list(graph.node)
    for node, step in zip(multiplying[FLOAT_LAYERS:], steps, strict=True):
        added = _activation(graph, node, step) + _weight(graph, node, weights[node.input[1]])
        place = nodes.index(node)
        nodes[place:place] = added
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(result, full_check=True)
    return result


def _activation(graph: onnx.GraphProto, node: onnx.NodeProto, step: float) -> list[onnx.NodeProto]:
    """Round the input of `node` to codes of `step`."""
    source, name = node.input[0], f"{node.name}.input"
    parameters = _parameters(graph, name, np.float32(step))
    node.input[0] = f"{name}.rounded"
    return [
        helper.make_node(
            "QuantizeLinear", [source, *parameters], [f"{name}.codes"], name=f"{name}.quantize"
        ),
        helper.make_node(
            "DequantizeLinear",
            [f"{name}.codes", *parameters],
            [node.input[0]],
            name=f"{name}.dequantize",
        ),
    ]


def _weight(
    graph: onnx.GraphProto, node: onnx.NodeProto, tensor: onnx.TensorProto
) -> list[onnx.NodeProto]:
    """Replace the weights of `node`, ``(outputs, ...)``, by codes with a scale for each output."""
    values = numpy_helper.to_array(tensor)
    largest = np.abs(values).reshape(len(values), -1).max(axis=1)
    scale = (np.where(largest == 0, 1.0, largest) / LIMIT).astype(np.float32)
    codes = np.rint(values / scale.reshape(-1, *[1] * (values.ndim - 1)))
    name = tensor.name
    tensor.CopyFrom(numpy_helper.from_array(codes.astype(np.int8), name))
    parameters = _parameters(graph, name, scale)
    node.input[1] = f"{name}.rounded"
    return [
        helper.make_node(
            "DequantizeLinear",
            [name, *parameters],
            [node.input[1]],
            name=f"{name}.dequantize",
            axis=0,
        )
    ]


def _parameters(graph: onnx.GraphProto, name: str, scale: "np.float32 | Array") -> tuple[str, str]:
    """Add a scale and its zero points to the graph; returns their names."""
    zero = np.zeros(np.shape(scale), np.int8)
    arrays = {f"{name}.scale": np.asarray(scale), f"{name}.zero": zero}
    graph.initializer.extend(numpy_helper.from_array(a, key) for key, a in arrays.items())
    first, second = arrays
    return first, second
