"""The graphs that engines are built from: their types, and that they answer as eager does."""

import copy
import functools

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from family import MEMBERS
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from samples import digits
from trt_helper import PRECISIONS, request_of

from lenet_export.formats import onnx as onnx_format
from lenet_export.formats import tensorrt
from lenet_export.formats.tensorrt import casts, int8
from lenet_export.network import quantize
from lenet_export.network.reference import Reference
from lenet_runtime.errors import DeployError, InputError
from lenet_runtime.parity import TOLERANCES, check_parity, parity_batches

NAMES = ["conv1", "pool1", "conv2", "pool2", "fc1", "fc2", "fc3"]
FLOAT, INT8 = TensorProto.FLOAT, TensorProto.INT8


@pytest.fixture(scope="module")
def graph(net):
    """`graph(precision)`: the ONNX graph that an engine of that precision is built from."""
    return functools.cache(lambda precision: tensorrt._graph(request_of(net, precision))[0])


def engine_of(model, precision):
    """What runs the graph on the CPU: ONNX Runtime, which has no convolutions of bfloat16."""
    if precision == "bf16":
        evaluator = ReferenceEvaluator(model)
        return lambda images: evaluator.run(None, {"images": images})[0]
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return lambda images: session.run(None, {"images": images})[0]


def scaled(net, name, factor):
    """The network with one of its parameters multiplied."""
    module = copy.deepcopy(net)
    with torch.no_grad():
        module.get_parameter(name).mul_(factor)
    return module


def types(model):
    """ONNX type of each value of the graph, by name."""
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    values = (*inferred.input, *inferred.output, *inferred.value_info)
    return {v.name: v.type.tensor_type.elem_type for v in values} | {
        tensor.name: tensor.data_type for tensor in inferred.initializer
    }


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_graph_holds_parity_with_eager(graph, net, precision):
    """Within the project's tolerance, noise and digits, at odd batch sizes."""
    reference = Reference(net)
    report = check_parity(
        engine_of(graph(precision), precision),
        reference.eager,
        reference.exact,
        parity_batches(digits(), (1, 7, 60)),
        precision,
    )
    assert report.ok, [c.reason for c in report.comparisons]


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
def test_it_really_computes_in_less(graph, net, precision):
    """A graph that was not cast would pass every tolerance."""
    found = engine_of(graph(precision), precision)(digits())
    expected = Reference(net).eager(digits())
    allowed = TOLERANCES["fp32"].rtol * np.abs(expected).max(axis=1, keepdims=True)
    assert (np.abs(found - expected) > allowed).any()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_input_and_output_are_float32_and_keep_the_batch(graph, precision):
    (images,), (logits,) = graph(precision).graph.input, graph(precision).graph.output
    for value, name, shape in ((images, "images", [1, 32, 32]), (logits, "logits", [10])):
        kind = value.type.tensor_type
        assert (value.name, kind.elem_type) == (name, FLOAT)
        assert kind.shape.dim[0].dim_param == "batch"
        assert [dim.dim_value for dim in kind.shape.dim[1:]] == shape


@pytest.mark.parametrize(
    ("precision", "kind"), [("fp16", TensorProto.FLOAT16), ("bf16", TensorProto.BFLOAT16)]
)
def test_everything_between_the_casts_is_of_the_type(graph, precision, kind):
    model = graph(precision)
    found = types(model)
    between = [n for n in model.graph.node if n.op_type != "Cast"]
    assert len(between) == len(model.graph.node) - 2
    names = {name for node in between for name in (*node.input, *node.output)}
    assert {found[name] for name in names} == {kind, TensorProto.INT64}  # the shape of a reshape
    assert {found[name] for name in names if found[name] != kind} == {TensorProto.INT64}


def test_weights_are_rounded_to_nearest(graph, net):
    """As torch rounds them; ties go to even."""
    for precision, dtype in (("fp16", torch.float16), ("bf16", torch.bfloat16)):
        tensors = {t.name: t for t in graph(precision).graph.initializer}
        for name, weight in net.state_dict().items():
            expected = weight.to(dtype).float().numpy()
            found = numpy_helper.to_array(tensors[name]).astype(np.float32)
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_nodes_are_named_after_the_layers(graph, precision):
    """By these names TensorRT tells what became of them."""
    kinds = ("Conv", "Gemm", "MaxPool")
    found = [n.name for n in graph(precision).graph.node if n.op_type in kinds]
    assert found == NAMES


@pytest.mark.parametrize(
    ("precision", "name", "value", "largest"),
    [("fp16", "fc1.weight", 65520.0, "65504"), ("bf16", "conv2.bias", 3.4e38, r"3.38953e\+38")],
)
def test_weights_beyond_the_type_are_refused(net, precision, name, value, largest):
    module = scaled(net, name, 1)
    with torch.no_grad():
        module.get_parameter(name).view(-1)[0] = value
    with pytest.raises(InputError, match=f"{precision} holds values up to {largest}, .*{name}"):
        tensorrt._graph(request_of(module, precision))


def test_the_largest_weight_that_fits_is_taken(net):
    module = scaled(net, "fc1.bias", 1)
    with torch.no_grad():
        module.fc1.bias[0] = 65519.0  # is rounded to 65504; 65520 would be infinity
    model, _, _ = tensorrt._graph(request_of(module, "fp16"))
    (bias,) = (t for t in model.graph.initializer if t.name == "fc1.bias")
    assert numpy_helper.to_array(bias)[0] == 65504


def test_an_operator_that_nobody_cast_before_is_refused(net):
    softened = torch.nn.Sequential(net, torch.nn.Sigmoid()).eval()
    with pytest.raises(InputError, match=r"fp16 can be had of .*found .*Sigmoid"):
        tensorrt._graph(request_of(softened, "fp16"))


# ---- int8


def test_int8_has_codes_for_weights_and_activations_of_all_layers_but_conv1(graph):
    model = graph("int8")
    makers = {out: node for node in model.graph.node for out in node.output}
    tensors = {t.name: t for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm"):
            continue
        if node.name == "conv1":
            assert list(node.input[:2]) == ["images", "conv1.weight"]
            continue
        activation, weight = (makers[name] for name in node.input[:2])
        assert activation.op_type == weight.op_type == "DequantizeLinear"
        assert makers[activation.input[0]].op_type == "QuantizeLinear"
        assert tensors[weight.input[0]].data_type == INT8
        assert tensors[node.input[2]].data_type == FLOAT  # the bias
        outputs = tensors[weight.input[0]].dims[0]
        assert list(tensors[weight.input[1]].dims) == [outputs]  # a scale for each
        assert list(tensors[activation.input[1]].dims) == []
        for quantizer in (activation, weight):
            assert not numpy_helper.to_array(tensors[quantizer.input[2]]).any()


def test_int8_weights_are_as_near_as_their_codes_allow(graph, net):
    tensors = {t.name: numpy_helper.to_array(t) for t in graph("int8").graph.initializer}
    for name in ("conv2.weight", "fc1.weight", "fc2.weight", "fc3.weight"):
        scale = tensors[f"{name}.scale"]
        wide = scale.reshape(-1, *[1] * (tensors[name].ndim - 1))
        error = np.abs(tensors[name] * wide - net.state_dict()[name].numpy())
        assert (error <= wide / 2 * (1 + 1e-5)).all()
        assert np.abs(tensors[name]).reshape(len(scale), -1).max(axis=1).min() == 127


def test_int8_scales_come_from_the_calibration_digits(net):
    black = np.zeros((3, 28, 28), np.uint8)
    given, bundled = (
        tensorrt._graph(request_of(net, "int8", calibration=images))[0] for images in (black, None)
    )
    scales = [
        {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}["fc1.input.scale"]
        for model in (given, bundled)
    ]
    assert scales[0] < scales[1]


def test_a_silent_layer_and_a_dead_channel_may_have_any_scale(net):
    module = scaled(net, "conv1.weight", 0)
    with torch.no_grad():
        module.conv1.bias.fill_(-1)
        module.fc1.weight[0] = 0
    model, _, _ = tensorrt._graph(request_of(module, "int8"))
    scales = [numpy_helper.to_array(t) for t in model.graph.initializer if "scale" in t.name]
    assert all(np.isfinite(s).all() and (s > 0).all() for s in scales)


def test_networks_that_int8_cannot_take_are_refused(net):
    dense = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1024, 10)).eval()
    with pytest.raises(InputError, match="int8 is for LeNet's chain of layers"):
        tensorrt._graph(request_of(dense, "int8"))
    with pytest.raises(InputError, match=r"^tensorrt: int8 takes two 3x3 .* found 5x5 filters"):
        tensorrt._graph(request_of(MEMBERS["tutorial 5x5"].make(), "int8"))
    overflowing = scaled(scaled(net, "conv1.weight", 1e30), "conv2.weight", 1e30)
    with pytest.raises(InputError, match="finite activations"):
        tensorrt._graph(request_of(overflowing, "int8"))


def test_int8_refuses_a_graph_of_other_layers_than_were_calibrated(net):
    model, _ = onnx_format.model(request_of(net), 20)
    casts.name_nodes(model)
    with pytest.raises(DeployError, match="expected 3 layers with weights"):
        int8.quantized(model, quantize.Ranges(1.0, (1.0, 1.0)))
