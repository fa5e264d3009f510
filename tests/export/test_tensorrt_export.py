"""Building engines: what is asked for is what is built, or the builder's own words say why not.

TensorRT-RTX builds without a GPU, so its parser, builder, profiles and log are the real ones here.
"""

import dataclasses
import functools
import subprocess
import sys

import onnx
import pytest
from trt_helper import LAYERS, PRECISIONS, RTX, needs_rtx, rtx_request

from lenet_export.formats import tensorrt
from lenet_export.formats.tensorrt import builder, process
from lenet_runtime.artifact.requirements import this_platform
from lenet_runtime.errors import DeployError, InputError

ALL = "8.0, 8.6, 8.9, 12.0, 12.1"


@pytest.fixture(scope="module")
def built(net):
    """`built(precision)`: an engine of TensorRT-RTX for 8.6, made once; never change it."""
    return functools.cache(lambda precision: tensorrt.build(rtx_request(net, precision)))


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
        "target": "host",
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
@pytest.mark.parametrize(
    ("precision", "text", "capabilities"),
    [("fp32", "120, 8.0,86,8.6", (8.0, 8.6, 12.0)), ("fp16", "7.5", (7.5,))],
)
def test_one_engine_for_all_gpus_that_are_named(net, precision, text, capabilities):
    """Turing, 7.5, computes in fp16."""
    build = tensorrt.build(rtx_request(net, precision, compute_capability=text))
    assert build.requirements.compute_capability == capabilities


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
