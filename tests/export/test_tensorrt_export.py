"""Building engines: what is asked for is what is built, or the builder's own words say why not.

TensorRT-RTX builds without a GPU, so its parser, builder, profiles and log are the real ones here.
"""

import dataclasses
import subprocess
import sys

import onnx
import pytest
import torch
from trt_helper import PRECISIONS, needs_rtx, request_of, rtx_request

from lenet_export.formats import tensorrt
from lenet_export.formats.tensorrt import builder, process, targets
from lenet_runtime import cuda
from lenet_runtime.artifact.requirements import this_platform
from lenet_runtime.backends.tensorrt import core, inspection
from lenet_runtime.backends.tensorrt.core import Profile
from lenet_runtime.devices import Device
from lenet_runtime.errors import BackendUnavailable, DeployError, InputError

LAYERS = ["conv1", "conv2", "fc1", "fc2", "fc3"]
ALL = "8.0, 8.6, 8.9, 12.0, 12.1"
RTX = process.Job("tensorrt-rtx", Profile(1, 2, 4), False, targets.Target(("8.6",), told=True))


@pytest.fixture(scope="module")
def built(net):
    """`built(precision)`: an engine of TensorRT-RTX for 8.6, made once; never change it."""
    made = {}

    def build(precision):
        if precision not in made:
            made[precision] = tensorrt.build(rtx_request(net, precision))
        return made[precision]

    return build


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


# ---- what is built


@needs_rtx
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_layer_is_computed_in_what_was_asked_for(built, precision):
    """By the account of the builder, which tells the compiled layers and not the graph's."""
    kernels = built(precision).kernels
    kind = {"tf32": "fp32"}.get(precision, precision)
    expected = dict.fromkeys(LAYERS, kind)
    if precision == "int8":
        expected["conv1"] = "fp32"
    assert {name: kernels[name][0] for name in LAYERS} == expected
    allowed = {name for name, kernel in kernels.items() if "TF32 allowed" in kernel}
    assert allowed == (set(LAYERS) if precision == "tf32" else set())


@needs_rtx
@pytest.mark.parametrize(("precision", "switch"), [("fp32", b"tf32=0"), ("tf32", b"tf32=1")])
def test_tf32_is_allowed_where_it_was_asked_for_alone(built, precision, switch):
    """It is on by default; the engine itself tells."""
    data = built(precision).files["model.engine"]
    assert switch in data
    assert (b"tf32=0" in data) != (b"tf32=1" in data)


@needs_rtx
def test_the_engine_is_the_librarys_own_file_and_the_rest_is_in_the_manifest(built):
    build = built("fp32")
    assert list(build.files) == ["model.engine"]
    assert build.files["model.engine"].startswith(b"vtrt")  # TensorRT-RTX's own header
    needs = build.requirements
    assert dataclasses.asdict(needs) == {
        "device": "cuda",
        "engine": "tensorrt-rtx",
        "engine_version": build.tools["tensorrt-rtx"],
        "cpu_isa": (),
        "platform": this_platform(),
        "compute_capability": (8.6,),
        "later_gpus": False,
        "profile": (1, 64, 1024),
    }
    assert set(build.tools) == {"torch", "onnx", "onnxscript", "tensorrt-rtx"}


@needs_rtx
@pytest.mark.parametrize(("precision", "most"), [("fp16", 0), ("int8", 200)])
def test_equal_weights_make_equal_engines(net, built, precision, most):
    """But for a few bytes of TensorRT-RTX's own, of names in its code, in bf16 and int8."""
    again, first = tensorrt.build(rtx_request(net, precision)), built(precision)
    found, expected = (build.files["model.engine"] for build in (again, first))
    assert len(found) == len(expected)
    assert sum(a != b for a, b in zip(found, expected, strict=True)) <= most
    assert again.kernels == first.kernels


@needs_rtx
def test_nothing_of_this_machine_gets_into_the_engine(built):
    data = built("fp32").files["model.engine"]
    assert sys.prefix.encode() not in data
    assert b"lenet-export-" not in data  # the temporary folder's name


@needs_rtx
@pytest.mark.parametrize(
    ("options", "static", "profile"),
    [({"profile": "2:3:9"}, None, (2, 3, 9)), ({}, 5, (5, 5, 5))],
)
def test_the_profile_is_built(net, options, static, profile):
    """A static batch is the whole profile."""
    build = tensorrt.build(rtx_request(net, static_batch=static, **options))
    assert build.requirements.profile == profile


@needs_rtx
def test_one_engine_for_several_gpus(net):
    build = tensorrt.build(rtx_request(net, compute_capability="120, 8.0,86,8.6"))
    assert build.requirements.compute_capability == (8.0, 8.6, 12.0)


@needs_rtx
def test_turing_computes_in_fp16(net):
    build = tensorrt.build(rtx_request(net, "fp16", compute_capability="7.5"))
    assert build.requirements.compute_capability == (7.5,)


# ---- what cannot be built


@needs_rtx
@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_turing_is_refused_in_the_builders_words_and_told_what_is_possible(net, precision):
    reason = rf"cannot build {precision} for 7\.5: .*(Turing|sm75).*it builds {precision} for {ALL}"
    with pytest.raises(DeployError, match=reason):
        tensorrt.build(rtx_request(net, precision, compute_capability="7.5"))


@needs_rtx
@pytest.mark.parametrize("capability", ["9.0", "100", "8.6,9.0"])
def test_a_gpu_that_the_builder_does_not_know_is_refused_with_those_it_knows(net, capability):
    with pytest.raises(InputError, match=rf"TensorRT-RTX 1\.\S+ builds fp32 for {ALL}, found"):
        tensorrt.build(rtx_request(net, compute_capability=capability))


@needs_rtx
def test_a_failed_build_does_not_change_the_next(net, built):
    """In one process it would: of 1.05 MB in place of 0.64."""
    with pytest.raises(DeployError, match="Turing"):
        tensorrt.build(rtx_request(net, compute_capability="7.5"))
    again = tensorrt.build(rtx_request(net))
    assert again.files == built("fp32").files


@needs_rtx
def test_a_graph_that_is_none_is_refused_in_the_parsers_words():
    with pytest.raises(DeployError, match=r"does not understand the graph: .*[Pp]arse"):
        process.build(b"no graph", RTX, "fp32")


@needs_rtx
def test_an_operator_that_the_parser_does_not_know_is_named():
    node = onnx.helper.make_node("Unheard", ["images"], ["logits"], name="odd")
    shapes = ("images", 1, [None, 1, 32, 32]), ("logits", 1, [None, 10])
    inputs, outputs = ([onnx.helper.make_tensor_value_info(*shape)] for shape in shapes)
    graph = onnx.helper.make_graph([node], "lenet", inputs, outputs)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)])
    with pytest.raises(DeployError, match=r"odd \(Unheard\)"):
        process.build(model.SerializeToString(), RTX, "fp32")


@needs_rtx
def test_the_builder_never_strips_weights_and_never_refits():
    """Either needs a GPU to build."""
    import tensorrt_rtx as trt

    maker = trt.Builder(builder.make_logger(trt))
    config = builder.configure(trt, maker, RTX.document())
    assert not config.get_flag(trt.BuilderFlag.STRIP_PLAN)
    assert not config.get_flag(trt.BuilderFlag.REFIT)
    assert config.profiling_verbosity == trt.ProfilingVerbosity.DETAILED
    assert config.num_optimization_profiles == 1
    assert maker.create_network(builder.strongly_typed(trt)).get_flag(
        trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    )


@needs_rtx
def test_torch_and_tensorrt_rtx_live_in_one_process():
    script = "import torch, tensorrt_rtx, onnxruntime, numpy; torch.ones(3).sum()"
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


# ---- attestation


@needs_rtx
def test_a_layer_in_another_type_is_refused(net):
    """The graph of fp32, where fp16 was asked for."""
    graph, nodes, _ = tensorrt._graph(request_of(net))
    engine = process.build(graph.SerializeToString(), RTX, "fp16")
    with pytest.raises(DeployError, match=r"fp16 was asked for, .*conv1 in fp32 .*expected fp16"):
        tensorrt.attest(engine.layers, nodes, "fp16")


@needs_rtx
def test_int8_layers_that_became_float_are_refused(net):
    graph, nodes, _ = tensorrt._graph(request_of(net))
    engine = process.build(graph.SerializeToString(), RTX, "int8")
    with pytest.raises(DeployError, match=r"conv2 in fp32 .*expected int8"):
        tensorrt.attest(engine.layers, nodes, "int8")


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
        (
            {"failed": "import", "errors": ["ImportError('libc')"]},
            BackendUnavailable,
            "cannot be i",
        ),
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
    target = targets.Target(("9.0",), told=False, gpu="GPU-00112233")
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
        targets.choose(text, "tensorrt-rtx", Device("cuda"))


def test_tensorrt_builds_for_the_gpu_it_runs_on(monkeypatch):
    with pytest.raises(InputError, match="--library tensorrt-rtx builds for GPUs that are else"):
        targets.choose("8.6", "tensorrt", Device("cuda"))
    here = cuda.Gpu(1, "GPU", "00112233445566778899aabbccddeeff", "9.0", 1, 1, 1, "13.0")
    monkeypatch.setattr(cuda, "gpu", lambda index: dataclasses.replace(here, index=index))
    found = targets.choose(None, "tensorrt", Device("cuda", 1))
    assert found.capabilities == ("9.0",)
    assert found.gpu == "GPU-00112233-4455-6677-8899-aabbccddeeff"
    job = dataclasses.replace(RTX, library="tensorrt", target=found)
    assert job.document()["capabilities"] == ()


def test_without_a_gpu_the_capability_must_be_named(no_gpu):
    with pytest.raises(BackendUnavailable, match=r"found none .*--compute-capability 8\.0"):
        targets.choose(None, "tensorrt-rtx", Device("cuda"))


def test_the_first_library_that_is_installed_builds(pretended):
    pretended("tensorrt", "tensorrt-rtx")
    assert tensorrt._library(None) == "tensorrt"
    assert tensorrt._library("tensorrt-rtx") == "tensorrt-rtx"
    pretended("tensorrt-rtx")
    assert tensorrt._library(None) == "tensorrt-rtx"
    with pytest.raises(BackendUnavailable, match=r"expected TensorRT, .*lenet-deploy\[tensorrt\]"):
        tensorrt._library("tensorrt")
    with pytest.raises(InputError, match="library: expected one of"):
        tensorrt._library("openvino")


def test_without_a_library_nothing_is_built(pretended):
    pretended()
    with pytest.raises(BackendUnavailable, match=r"pip install 'lenet-deploy\[tensorrt-rtx\]'"):
        tensorrt.require()


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_calibration_is_for_int8(net, precision, pretended):
    pretended("tensorrt-rtx")
    images = torch.zeros(2, 28, 28).numpy()
    match = "int8 alone" if precision == "fp32" else "expected uint8 digits"
    with pytest.raises(InputError, match=match):
        tensorrt.build(rtx_request(net, precision, calibration=images))
