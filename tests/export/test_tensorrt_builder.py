"""Round the builder: the options it is given, its process, and the check of its account."""

import dataclasses

import pytest
import torch
from trt_helper import LAYERS, RTX, needs_rtx, request_of, rtx_request

from lenet_export.formats import tensorrt
from lenet_export.formats.tensorrt import process
from lenet_runtime import cuda
from lenet_runtime.backends.tensorrt import core, inspection
from lenet_runtime.devices import Device
from lenet_runtime.errors import BackendUnavailable, DeployError, InputError


@pytest.fixture
def no_gpu(monkeypatch):
    def none(index):
        raise BackendUnavailable("CUDA cannot be used here")

    monkeypatch.setattr(cuda, "gpu", none)


@pytest.fixture
def pretended(monkeypatch):
    """`pretended(*names)`: which libraries are installed."""
    return lambda *names: monkeypatch.setattr(core, "installed", lambda: list(names))


def report(**entries):
    """The answer of a builder that failed."""
    return {"version": "9.9", "capabilities": [], "failed": "build", "errors": []} | entries


# ---- attestation


@needs_rtx
@pytest.mark.parametrize(("precision", "layer"), [("fp16", "conv1"), ("int8", "conv2")])
def test_a_layer_in_another_type_is_refused(net, precision, layer):
    """The graph of fp32, where less was asked for."""
    graph, nodes, _ = tensorrt._graph(request_of(net))
    engine = process.build(graph.SerializeToString(), RTX, precision)
    reason = f"{precision} was asked for, .*{layer} in fp32 .*expected {precision}"
    with pytest.raises(DeployError, match=reason):
        tensorrt.attest(engine.layers, nodes, precision)


def test_a_library_that_tells_nothing_is_not_believed():
    with pytest.raises(DeployError, match="fc3 in an unknown type, expected fp32"):
        tensorrt.attest("no layers", dict.fromkeys(LAYERS, "Gemm"), "fp32")


def test_a_builder_that_kept_tf32_is_refused(net, monkeypatch, pretended):
    pretended("tensorrt-rtx")
    engine = process.Engine(b"", "1.0", "", tf32=True)
    monkeypatch.setattr(process, "build", lambda *_: engine)
    with pytest.raises(DeployError, match="expected TF32 False, found True"):
        tensorrt.build(rtx_request(net))


def test_types_are_read_in_the_words_of_every_version():
    """TensorRT 10 joins format and type, 11 and RTX tell them apart; dynamic shapes hide both."""
    line = (
        "Name: fused, LayerType: CaskConvolution, Inputs: [ { Name: images, Location: "
        "Device, Dimensions: [-1,1,32,32], Format/Datatype: Row major linear FP32 format }], "
        "Outputs: [ { Name: r, Location: Device, Dimensions: [-1,6,30,30], Format/Datatype: "
        "Thirty-two wide channel vectorized row major {} format }], ParameterType: Convolution, "
        "Weights: { Type: {}, Count: 54 }, Metadata: [ONNX Layer: relu1]\x1e[ONNX Layer: conv1]"
    )

    def kernel(output, weights):
        text = line.replace("{}", output, 1).replace("{}", weights, 1)
        return " ".join(inspection.kernel_of(inspection.parse(f"Layers:\n{text}\n"), "conv1"))

    assert kernel("FP16", "Half") == "fp16 CaskConvolution"
    assert kernel("FP32", "Float") == "fp32 CaskConvolution"
    assert kernel("N/A", "Int8") == "int8 CaskConvolution"
    assert kernel("BFloat16", "unheard") == "bf16 CaskConvolution"
    assert kernel("N/A due to dynamic shapes", "unheard") == ""


# ---- the process


@pytest.mark.parametrize(
    ("failure", "error", "reason"),
    [
        ({"failed": "import", "errors": ["no libc"]}, BackendUnavailable, "cannot be imported"),
        ({"errors": ["x (cudaError 35: CUDA driver version"]}, BackendUnavailable, "builds on the"),
        ({"errors": ["something else"]}, DeployError, "cannot build fp32 for 8.6: something else$"),
        ({"failed": "parse", "errors": ["n (Op): why"]}, DeployError, r"the graph: n \(Op\): why"),
    ],
)
def test_a_failure_says_what_the_library_said(failure, error, reason):
    job = dataclasses.replace(RTX, library="tensorrt")
    found = process._refusal(report(**failure), job, "fp32")
    assert type(found) is error
    with pytest.raises(error, match=f"TensorRT 9.9.*{reason}"):
        raise found


def test_the_builder_sees_the_gpu_it_builds_for_and_no_other(tmp_path, monkeypatch):
    script = tmp_path / "builder.py"
    script.write_text("import os, sys; sys.exit(os.environ['CUDA_VISIBLE_DEVICES'])")
    monkeypatch.setattr(process, "BUILDER", script)
    target = process.Target(("9.0",), told=False, gpu="GPU-00112233")
    with pytest.raises(DeployError, match="'GPU-00112233'"):
        process.build(b"", dataclasses.replace(RTX, target=target), "fp32")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("import os; os.abort()", "died while building: exit code -6"),
        ("import sys; sys.exit('no room')", "exit code 1, 'no room'"),
        ("import time; time.sleep(60)", "did not end well .*timed out"),
    ],
)
def test_a_builder_that_dies_is_an_error_and_not_the_end(tmp_path, monkeypatch, script, reason):
    (tmp_path / "builder.py").write_text(script)
    monkeypatch.setattr(process, "BUILDER", tmp_path / "builder.py")
    monkeypatch.setattr(process, "_SECONDS", 1 if "sleep" in script else 60)
    with pytest.raises(DeployError, match=reason):
        process.build(b"", RTX, "fp32")


# ---- options


@pytest.mark.parametrize(
    "text", ["", "1:64", "0:1:2", "3:2:9", "1:9:8", "1:2:3:4", "a:b:c", "1:2:100000", "-1:2:3", 64]
)
def test_a_profile_that_is_none_is_refused(net, text, pretended):
    pretended("tensorrt-rtx")
    with pytest.raises(InputError, match="profile: expected MIN:OPT:MAX"):
        tensorrt.build(rtx_request(net, profile=text))


def test_a_profile_beside_a_static_batch_is_refused(net, pretended):
    pretended("tensorrt-rtx")
    with pytest.raises(InputError, match="static batch of 4 is the whole profile"):
        tensorrt.build(rtx_request(net, static_batch=4, profile="4:4:4"))


@pytest.mark.parametrize("text", ["", "8.6.1", "8.6,", "sm_86", "8", "8.6 8.9"])
def test_a_capability_that_is_none_is_refused(text):
    with pytest.raises(InputError, match=r"compute capability: expected numbers like 8\.6"):
        process.target(text, "tensorrt-rtx", Device("cuda"))


def test_tensorrt_builds_for_the_gpu_it_runs_on(monkeypatch):
    with pytest.raises(InputError, match="--library tensorrt-rtx builds for GPUs that are else"):
        process.target("8.6", "tensorrt", Device("cuda"))
    here = cuda.Gpu(1, "GPU", "00112233445566778899aabbccddeeff", "9.0", 1, 1, 1, "13.0")
    monkeypatch.setattr(cuda, "gpu", lambda index: dataclasses.replace(here, index=index))
    found = process.target(None, "tensorrt", Device("cuda", 1))
    assert found.capabilities == ("9.0",)
    assert found.gpu == "GPU-00112233-4455-6677-8899-aabbccddeeff"
    job = dataclasses.replace(RTX, library="tensorrt", target=found)
    assert job.document()["capabilities"] == ()


def test_without_a_gpu_the_capability_must_be_named(no_gpu):
    with pytest.raises(BackendUnavailable, match=r"found none .*--compute-capability 8\.0"):
        process.target(None, "tensorrt-rtx", Device("cuda"))


def test_the_first_library_that_is_installed_builds(pretended):
    pretended("tensorrt", "tensorrt-rtx")
    assert tensorrt._library(None) == "tensorrt"
    assert tensorrt._library("tensorrt-rtx") == "tensorrt-rtx"
    pretended("tensorrt-rtx")
    assert tensorrt._library(None) == "tensorrt-rtx"
    with pytest.raises(
        BackendUnavailable, match=r"expected TensorRT, .*pip install .*\[tensorrt\]"
    ):
        tensorrt._library("tensorrt")
    with pytest.raises(InputError, match="library: expected one of"):
        tensorrt._library("openvino")


def test_without_a_library_nothing_is_built(pretended):
    pretended()
    with pytest.raises(BackendUnavailable, match=r"pip install .*\[tensorrt-rtx\]'"):
        tensorrt.require()


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_calibration_is_for_int8(net, precision, pretended):
    pretended("tensorrt-rtx")
    images = torch.zeros(2, 28, 28).numpy()
    match = "int8 alone" if precision == "fp32" else "expected uint8 digits"
    with pytest.raises(InputError, match=match):
        tensorrt.build(rtx_request(net, precision, calibration=images))
