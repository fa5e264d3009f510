"""ONNX artifacts of one dense layer, made without an export."""

import numpy as np
import pytest
from artifact_files import write_artifact
from samples import noise

from lenet_runtime.artifact import golden
from lenet_runtime.artifact.graph import admission

onnx = pytest.importorskip("onnx")

WEIGHTS = np.random.default_rng(0).standard_normal((1024, 10)).astype(np.float32)
IMAGES = noise(4, seed=1)
FLAT = onnx.helper.make_node("Flatten", ["images"], ["flat"])
DENSE = onnx.helper.make_node("Gemm", ["flat", "weights"], ["logits"])
FLOAT, DOUBLE = onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE


def value(name, shape, kind=FLOAT):
    return onnx.helper.make_tensor_value_info(name, kind, shape)


INPUT, OUTPUT = value("images", ("batch", 1, 32, 32)), value("logits", ("batch", 10))


def model(nodes=(FLAT, DENSE), weights=WEIGHTS, inputs=(INPUT,), outputs=(OUTPUT,)):
    """One dense layer, as ONNX; `weights` may be a tensor already."""
    if isinstance(weights, np.ndarray):
        weights = onnx.numpy_helper.from_array(weights, "weights")
    graph = onnx.helper.make_graph(list(nodes), "dense", list(inputs), list(outputs), [weights])
    opset = onnx.helper.make_opsetid("", 20)
    return onnx.helper.make_model(graph, opset_imports=[opset], ir_version=9)


def weights_sha256(weights):
    """What a manifest says of a network whose state dict is `weights`."""
    return admission.fingerprint([("weights", "torch.float32", weights.shape, weights.tobytes())])


def write_dense(folder):
    """An ONNX artifact of one dense layer; returns its folder."""
    answers = golden.write(IMAGES, IMAGES.reshape(4, -1) @ WEIGHTS)
    files = {"golden.npz": answers, "model.onnx": model().SerializeToString()}
    return write_artifact(
        folder, files=files, format="onnx", weights_sha256=weights_sha256(WEIGHTS)
    )
