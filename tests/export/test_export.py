"""Export: every format is proven, nothing wrong is ever published, the caller's module is kept."""

import copy
import dataclasses
import hashlib
import importlib
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F  # noqa: N812  torch's own name for it
from samples import eager, noise, snapshot
from torch import nn

import lenet_export
import lenet_runtime
from lenet_deploy.training.model import Net
from lenet_export import FORMATS
from lenet_export.formats import onnx as onnx_format
from lenet_export.formats import torch_compile
from lenet_export.network import weights
from lenet_export.quiet import quiet
from lenet_export.request import Build, Request
from lenet_runtime import cpu
from lenet_runtime.artifact import golden
from lenet_runtime.artifact.requirements import this_platform
from lenet_runtime.backends.torch import torch_compile as torch_compile_backend
from lenet_runtime.devices import Device
from lenet_runtime.errors import (
    ArtifactError,
    BackendUnavailable,
    DeployError,
    InputError,
    ParityError,
)
from lenet_runtime.images.preprocess import Preprocessing
from lenet_runtime.parity import BATCH_SIZES

SLOW = {"torch-compile"}
ON_CPU = [f for f in FORMATS if f not in ("tensorrt", "cuda")]  # tests: test_{tensorrt,fused}_*
EACH = [pytest.param(f, marks=pytest.mark.slow) if f in SLOW else f for f in ON_CPU]
FAST = [f for f in ON_CPU if f not in SLOW]
GENERAL = [f for f in FAST if f != "native"]  # which compiles LeNet's layers and no others
NODES = [*["Conv", "Relu", "MaxPool"] * 2, "Reshape", *["Gemm", "Relu"] * 2, "Gemm"]


def graph_of(artifact):
    return onnx.load_model_from_string(artifact.read("model.onnx"))


# ---- every format


@pytest.mark.parametrize("format", EACH)
def test_parity_holds_at_every_batch_size(exported, format):
    """The manifest records two passed comparisons, noise and digits, for each size."""
    report = exported(format).manifest.parity
    assert report.ok
    found = [(c.inputs, c.batch_size) for c in report.comparisons]
    sizes = (1, 2, 7, 23, 24, 64, 257) if format == "torch-compile" else (1, 2, 7, 64, 257)
    assert found == [(inputs, n) for n in sizes for inputs in ("random", "digits")]
    assert all(c.worst_share < 1 and c.top1_agreement == 1 for c in report.comparisons)
    assert all(c.eager_error is not None for c in report.comparisons)


@pytest.mark.parametrize("format", EACH)
@pytest.mark.parametrize("count", [3, 100])
def test_sizes_that_export_never_tried_run(exported, net, format, count):
    with lenet_runtime.load(exported(format).path) as session:
        images = noise(count, seed=count)
        np.testing.assert_allclose(session.run(images), eager(net, images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("format", EACH)
def test_the_manifest_says_what_was_exported(exported, net, format):
    artifact = exported(format)
    manifest = artifact.manifest
    assert (manifest.format, manifest.precision, manifest.batch_size) == (format, "fp32", None)
    assert manifest.preprocessing == Preprocessing()
    assert manifest.labels == tuple("0123456789")
    assert manifest.weights_sha256 == weights.fingerprint(net)
    assert manifest.tools["lenet-deploy"] == lenet_runtime.__version__
    assert manifest.tools["torch"] == torch.__version__
    for name, entry in manifest.files.items():
        data = (artifact.path / name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (entry.size, entry.sha256)


@pytest.mark.parametrize("format", EACH)
def test_golden_holds_eagers_answers(exported, net, format):
    images, logits = golden.read(exported(format))
    assert len(images) == 8
    np.testing.assert_array_equal(logits, eager(net, images))


@pytest.mark.parametrize("format", FAST)  # torch-compile's: in test_cli_export.py
def test_a_static_batch_takes_that_size_only(exported, net, format):
    artifact = exported(format, static_batch=5)
    assert {c.batch_size for c in artifact.manifest.parity.comparisons} == {5}
    assert len(golden.read(artifact)[0]) == 5
    with lenet_runtime.load(artifact.path) as session:
        images = noise(5)
        np.testing.assert_allclose(session.run(images), eager(net, images), rtol=1e-4, atol=1e-5)
        with pytest.raises(InputError, match="batches of 5, found 4"):
            session.run(images[:4])


# ---- onnx


def test_onnx_graph_is_as_small_as_it_can_be(onnx_artifact):
    graph = graph_of(onnx_artifact).graph
    assert [node.op_type for node in graph.node] == NODES
    assert set(NODES) <= onnx_format.OPERATORS


def test_onnx_batch_is_the_one_symbol(onnx_artifact):
    graph = graph_of(onnx_artifact).graph
    dims = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
            for v in (*graph.input, *graph.output)]  # fmt: skip
    assert dims == [["batch", 1, 32, 32], ["batch", 10]]


def test_onnx_static_batch_is_a_number(exported):
    graph = graph_of(exported("onnx", static_batch=5)).graph
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_value == 5


def test_onnx_weights_are_embedded_and_exact(onnx_artifact, net):
    graph = graph_of(onnx_artifact).graph
    assert all(t.data_location == onnx.TensorProto.DEFAULT for t in graph.initializer)
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    for name, tensor in net.state_dict().items():
        np.testing.assert_array_equal(stored[name], tensor.numpy())


def test_onnx_is_pinned_and_checks(onnx_artifact):
    model = graph_of(onnx_artifact)
    onnx.checker.check_model(model, full_check=True)
    assert [(e.domain, e.version) for e in model.opset_import] == [("", 20)]
    assert model.ir_version == 10
    assert onnx_artifact.manifest.requirements.engine_version == "opset 20"


def test_onnx_metadata_says_how_to_feed_and_read_it(onnx_artifact, net):
    metadata = {entry.key: entry.value for entry in graph_of(onnx_artifact).metadata_props}
    assert metadata == {
        "labels": '["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]',
        "normalization_mean": "0.1307",
        "normalization_std": "0.3081",
        "padding": "2",
        "weights_sha256": weights.fingerprint(net),
    }


def test_onnx_names_no_path_and_no_source_line(onnx_artifact):
    data = onnx_artifact.read("model.onnx")
    for trace in (b".py", b"/home", b"/tmp", b"site-packages", b"stack_trace", b"File ",
                  os.fsencode(Path.cwd()), os.fsencode(sys.prefix)):  # fmt: skip
        assert trace not in data


@pytest.mark.parametrize("opset", list(onnx_format.OPSETS))
def test_each_opset_exports_and_runs(exported, net, opset):
    artifact = exported("onnx", **({} if opset == onnx_format.DEFAULT_OPSET else {"opset": opset}))
    assert graph_of(artifact).opset_import[0].version == opset
    with lenet_runtime.load(artifact.path) as session:
        images = noise(3)
        np.testing.assert_allclose(session.run(images), eager(net, images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("opset", [0, 17, 23, -1, 20.0, "20", True])
def test_other_opsets_are_refused(net, tmp_path, opset):
    with pytest.raises(InputError, match="opset: expected 18 to 22"):
        lenet_export.export(net, "onnx", tmp_path / "a", opset=opset)
    assert not list(tmp_path.iterdir())


def test_a_graph_without_the_batch_symbol_is_refused(onnx_artifact):
    """The assertion that the exporter kept the batch dynamic can fail."""
    model = graph_of(onnx_artifact)
    with pytest.raises(DeployError, match="expected 4"):
        onnx_format._require_batch(model, 4)
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 2
    with pytest.raises(DeployError, match="expected a symbol"):
        onnx_format._require_batch(model, None)


# ---- the same bytes twice


def test_onnx_twice_in_one_process_is_the_same_to_the_byte(onnx_artifact, net, tmp_path):
    again = lenet_export.export(net, "onnx", tmp_path / "again")
    assert snapshot(again.path) == snapshot(onnx_artifact.path)


@pytest.mark.slow
def test_fresh_processes_make_the_same_bytes(net, onnx_artifact, tmp_path):
    """Whatever the hash seed and the folder are; TorchScript's are the same only that way."""
    torch.save(net.state_dict(), tmp_path / "net.pt")
    script = (
        "import sys, torch, lenet_export; from lenet_deploy.training.model import Net; net = Net();"
        "net.load_state_dict(torch.load(sys.argv[1]));"
        "[lenet_export.export(net, f, f'{sys.argv[2]}/{f}', batch_sizes=[2]) for f in sys.argv[3:]]"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, tmp_path / "net.pt", tmp_path / seed, *formats],
            env=os.environ | {"PYTHONHASHSEED": seed},
        )
        for seed, formats in (("1", FAST), ("2", ["torchscript"]))
    ]
    assert [process.wait() for process in processes] == [0, 0]
    first = snapshot(tmp_path / "1" / "torchscript")
    assert len(first) == 3
    assert first == snapshot(tmp_path / "2" / "torchscript")
    model = (tmp_path / "1" / "onnx" / "model.onnx").read_bytes()
    assert model == onnx_artifact.read("model.onnx")


# ---- torchscript


def test_torchscript_archive_holds_no_source_locations(torchscript_artifact):
    archive = zipfile.ZipFile(torchscript_artifact.path / "model.pt")
    assert not [name for name in archive.namelist() if name.endswith(".debug_pkl")]
    content = b"".join(archive.read(name) for name in archive.namelist())
    assert b".py" not in content
    assert os.fsencode(Path.cwd()) not in content


def test_torchscript_is_frozen(torchscript_artifact):
    """Weights are constants of the graph, so nothing is left that could be trained."""
    with quiet():
        module = torch.jit.load(torchscript_artifact.path / "model.pt")
    assert not list(module.parameters())
    assert not list(module.buffers())


def test_batches_of_torchscript_are_optimized(torchscript_artifact, monkeypatch):
    """One image runs as the archive stands; oneDNN's layout pays from two on."""
    made = []
    real = torch.jit.optimize_for_inference
    monkeypatch.setattr(
        torch.jit, "optimize_for_inference", lambda module: made.append(real(module)) or made[-1]
    )
    with lenet_runtime.load(torchscript_artifact.path, threads=1) as session:
        (optimized,) = made
        assert "mkldnn_convolution" in str(optimized.graph)
        for size in (1, 2, 64):
            asked = made[0](torch.from_numpy(noise(size))).detach().numpy()
            assert (session.run(noise(size)) == asked).all() == (size > 1)


# ---- torch-compile


@pytest.mark.slow
def test_each_package_of_torch_compile_is_frozen_from_two_on(torch_compile_artifact):
    """Freezing packs weights for oneDNN, and is skipped without a word where gradients are on."""
    for start in torch_compile.SETTINGS:
        package = zipfile.ZipFile(torch_compile_artifact.path / f"model-from-{start}.pt2")
        code = b"".join(package.read(name) for name in package.namelist() if ".cpp" in name)
        assert (b"mkldnn" in code) == (start > 1)


@pytest.mark.parametrize(("size", "settings"), [(1, 1), (2, 2), (23, 2), (24, 24), (512, 24)])
def test_a_static_package_is_compiled_with_what_is_fastest_at_its_size(monkeypatch, size, settings):
    asked = []
    monkeypatch.setattr(torch_compile, "require", lambda: None)
    monkeypatch.setattr(torch_compile, "_target", lambda: ({}, ()))
    monkeypatch.setattr(torch_compile, "_package", lambda _, *given: asked.append(given) or b"")
    request = Request(Net(), "fp32", size, Preprocessing(), (), "", Device("cpu"), {})
    assert list(torch_compile.build(request).files) == [f"model-from-{size}.pt2"]
    assert asked == [(torch_compile.SETTINGS[settings], size)]


@pytest.mark.parametrize("static", [None, 5, 1000])
def test_on_a_gpu_kernels_are_tuned_for_the_batches_they_serve(monkeypatch, fake_cuda, static):
    fake_cuda(devices=2, capability=(9, 0))
    asked = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch_compile, "_target", lambda: ({}, ()))
    monkeypatch.setattr(torch_compile, "_package", lambda _, *given: asked.append(given) or b"")
    request = Request(Net(), "tf32", static, Preprocessing(), (), "", Device("cuda", 1), {})
    build = torch_compile.build(request)
    assert (build.requirements.device, build.requirements.compute_capability) == ("cuda", "9.0")
    if static is None:
        assert list(build.files) == ["model-from-1.pt2", "model-from-64.pt2"]
        assert [size for _, size in asked] == [2, 4096]
    else:
        assert list(build.files) == [f"model-from-{static}.pt2"]
        assert [size for _, size in asked] == [static]
    assert all(settings["max_autotune"] for settings, _ in asked)


def test_the_driver_can_be_linked_by_the_name_that_inductor_uses(monkeypatch, tmp_path, fake_cuda):
    fake_cuda()
    source = tmp_path / "a.c"
    source.write_text("int cuInit(unsigned); int main(void) { return cuInit(0); }")
    for before in (None, "/nowhere"):
        monkeypatch.delenv("LIBRARY_PATH", raising=False)
        if before:
            monkeypatch.setenv("LIBRARY_PATH", before)
        folder = tmp_path / str(before is None)
        folder.mkdir()
        with torch_compile._linkable_driver(folder):
            subprocess.run(["gcc", source, "-lcuda", "-o", tmp_path / "a"], check=True)
        assert os.environ.get("LIBRARY_PATH") == before


@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_a_trace_says_whether_its_convolutions_may_use_tf32(precision):
    """A GPU goes by that and not by PyTorch's switch."""
    request = Request(Net().eval(), precision, None, Preprocessing(), (), "", Device("cuda", 0), {})
    data = FORMATS["torchscript"].build(request).files["model.pt"]
    graph = torch.jit.load(io.BytesIO(data)).graph
    calls = [node for node in graph.nodes() if node.kind() == "aten::_convolution"]
    assert [list(node.inputs())[12].toIValue() for node in calls] == [precision == "tf32"] * 2


def test_autotuning_gives_the_threads_back():
    before, block = torch.get_num_threads(), torch_compile._one_thread()
    with block:
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [1, 2, 24])
def test_a_fault_in_one_package_is_never_published(
    net, torch_compile_artifact, tmp_path, monkeypatch, wrong
):
    """Whatever batch sizes are asked for, every package is run; here, 7 alone."""
    files = {n: torch_compile_artifact.read(n) for n in torch_compile_artifact.manifest.files}
    files.pop("golden.npz")
    built = Build(files, torch_compile_artifact.manifest.requirements, {})
    monkeypatch.setattr(torch_compile, "build", lambda request: built)
    lenet_export.export(net, "torch-compile", tmp_path / "right", batch_sizes=[7])
    real = torch_compile_backend._package

    def spoilt(artifact, name, device):
        run = real(artifact, name, device)
        if name != f"model-from-{wrong}.pt2":
            return run
        return lambda images: [run(images)[0] + 1e-2]

    monkeypatch.setattr(torch_compile_backend, "_package", spoilt)
    with pytest.raises(ParityError, match="self-test"):
        lenet_export.export(net, "torch-compile", tmp_path / "wrong", batch_sizes=[7])
    monkeypatch.setattr(golden, "self_test", lambda *arguments: None)
    with pytest.raises(ParityError, match="differs"):
        lenet_export.export(net, "torch-compile", tmp_path / "wrong", batch_sizes=[7])


@pytest.mark.slow
def test_torch_compile_names_the_machine_it_needs(torch_compile_artifact):
    needs = torch_compile_artifact.manifest.requirements
    assert (needs.device, needs.engine) == ("cpu", "torch")
    assert needs.engine_version == torch.__version__
    assert needs.platform == this_platform()
    assert set(needs.cpu_isa) <= cpu.flags()
    if cpu.level() == "x86-64-v4":
        assert set(needs.cpu_isa) >= set(cpu.X86_64_V4)


@pytest.mark.parametrize("variable", ["CXX", "PATH"])
def test_without_a_compiler_torch_compile_is_unavailable(net, tmp_path, monkeypatch, variable):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv(variable, str(tmp_path / "nowhere"))
    with pytest.raises(BackendUnavailable, match=r"expected a C\+\+ compiler.*install g\+\+"):
        lenet_export.export(net, "torch-compile", tmp_path / "out" / "a")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(
    not hasattr(torch_compile.config.cpp, "march"),
    reason=f"PyTorch {torch.__version__} compiles for the very CPU",
)
@pytest.mark.parametrize(
    ("level", "flags"),
    [("x86-64-v4", cpu.X86_64_V4), ("x86-64-v3", cpu.X86_64_V3)],
)
def test_torch_compile_targets_a_level_and_records_all_its_flags(monkeypatch, level, flags):
    have = frozenset((*flags, "amx_tile", "unrelated"))
    monkeypatch.setattr(cpu, "level", lambda: level)
    monkeypatch.setattr(cpu, "flags", lambda: have)
    settings, needed = torch_compile._target()
    assert settings["cpp.march"] == level
    assert set(flags) <= set(needed) <= have
    assert "unrelated" not in needed


def test_torch_compile_on_another_cpu_requires_all_its_vector_flags(monkeypatch):
    monkeypatch.setattr(cpu, "level", lambda: "x86-64")
    monkeypatch.setattr(cpu, "flags", lambda: frozenset({"avx", "sse4_2", "hypervisor"}))
    settings, needed = torch_compile._target()
    assert "cpp.march" not in settings
    assert needed == ("avx", "sse4_2")


# ---- the caller's module


class Regularised(nn.Module):
    """Answers differently in training mode, and remembers what it saw."""

    def __init__(self):
        super().__init__()
        self.net = Net()
        self.drop = nn.Dropout(0.5)
        self.norm = nn.BatchNorm1d(10)

    def forward(self, x):
        return self.norm(self.drop(self.net(x)))


@pytest.mark.parametrize("format", GENERAL)
def test_a_module_in_training_mode_is_exported_in_eval_mode(tmp_path, format):
    torch.manual_seed(1)
    module = Regularised().train()
    module.norm.running_mean += 0.5
    artifact = lenet_export.export(module, format, tmp_path / "a", batch_sizes=[2])
    with lenet_runtime.load(artifact.path) as session:
        images = noise(4)
        np.testing.assert_allclose(session.run(images), eager(module, images), rtol=1e-4, atol=1e-5)


def test_the_callers_module_is_left_as_it_was(tmp_path):
    """Mode, gradients, frozen layers and running statistics; with `eval` of a part kept, too."""
    torch.manual_seed(1)
    module = Regularised().train()
    module.drop.eval()
    module.net.conv1.requires_grad_(False)
    module(torch.randn(4, 1, 32, 32)).sum().backward()
    state = copy.deepcopy(module.state_dict())
    grads = {n: None if p.grad is None else p.grad.clone() for n, p in module.named_parameters()}
    modes = {name: part.training for name, part in module.named_modules()}
    threads, grad_mode = torch.get_num_threads(), torch.is_grad_enabled()
    lenet_export.export(module, "torchscript", tmp_path / "a", batch_sizes=[2])
    assert {name: part.training for name, part in module.named_modules()} == modes
    assert all(torch.equal(value, state[n]) for n, value in module.state_dict().items())
    assert not module.net.conv1.weight.requires_grad
    assert module.net.fc3.weight.requires_grad
    for name, parameter in module.named_parameters():
        assert (parameter.grad is None) == (grads[name] is None)
        assert parameter.grad is None or torch.equal(parameter.grad, grads[name])
    assert (torch.get_num_threads(), torch.is_grad_enabled()) == (threads, grad_mode)


class InPlace(Net):
    def forward(self, x):
        return super().forward(x.mul_(0.5))


@pytest.mark.parametrize("format", GENERAL)
def test_a_module_that_writes_into_its_input_is_refused(tmp_path, format):
    """Its artifact would write into the memory of whoever calls it."""
    with pytest.raises(InputError, match=r"it writes into its input; .*x\.clone\(\)"):
        lenet_export.export(InPlace(), format, tmp_path / "a", batch_sizes=[2])
    assert not list(tmp_path.iterdir())


# ---- modules that are refused


class Shaped(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.net, self.make = Net(), make

    def forward(self, x):
        return self.make(self.net(x))


def raise_key_error(logits):
    raise KeyError("some key")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda y: y[:, :9], r"expected float32 logits \(2, 10\) of 2 images, found .*\(2, 9\)"),
        (lambda y: y[:1], r"found float32 \(1, 10\)"),
        (lambda y: y.double(), r"found float64 \(2, 10\)"),
        (lambda y: y.argmax(1), "expected a tensor of logits .* found torch.int64"),
        (lambda y: (y, y), "expected a tensor of logits .* found tuple"),
        (lambda y: {"logits": y}, "found dict"),
        (lambda y: y.bfloat16(), "found torch.bfloat16"),
        (lambda y: y @ y, "it fails on float32 images"),
        (raise_key_error, "it fails on float32 images .*some key"),
    ],
    ids=["9 classes", "1 row", "float64", "labels", "tuple", "dict", "bfloat16", "raises", "key"],
)
def test_a_module_of_another_shape_is_refused(tmp_path, make, message):
    with pytest.raises(InputError, match=message):
        lenet_export.export(Shaped(make), "torchscript", tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_a_module_for_other_images_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"float32 images \(2, 1, 32, 32\)"):
        lenet_export.export(nn.Conv2d(3, 8, 3), "onnx", tmp_path / "a")
    with pytest.raises(InputError, match="it fails on float32 images"):
        lenet_export.export(Net().double(), "onnx", tmp_path / "a")


def test_each_tensor_that_is_not_finite_is_named(tmp_path):
    module = Regularised()
    with torch.no_grad():
        module.net.conv1.weight[0, 0, 0, :2] = float("nan")
        module.net.fc3.bias[3] = float("-inf")
        module.norm.running_var[0] = float("inf")
    with pytest.raises(InputError) as caught:
        lenet_export.export(module, "onnx", tmp_path / "a")
    for part in ("net.conv1.weight (2 of 54)", "net.fc3.bias (1 of 10)", "norm.running_var (1"):
        assert part in str(caught.value)
    assert "fc1" not in str(caught.value)
    assert not list(tmp_path.iterdir())


class Branching(Net):
    """Dark images go another way."""

    def forward(self, x):
        return super().forward(x) if x.sum() <= 0 else -super().forward(x)


@pytest.mark.parametrize(("format", "error"), [("onnx", DeployError), ("torchscript", ParityError)])
def test_a_branch_on_the_data_is_found(tmp_path, format, error):
    """torch.export refuses it; a trace takes one branch only, which parity shows."""
    with pytest.raises(error):
        lenet_export.export(Branching(), format, tmp_path / "a")
    assert not list(tmp_path.iterdir())


class FailsAtSeven(Net):
    def forward(self, x):
        if x.shape[0] == 7:
            raise ArithmeticError("seven is too many")
        return super().forward(x)


def test_a_module_that_fails_at_one_batch_size_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=r"fails on float32 images \(7, 1, 32, 32\) \(seven is"):
        lenet_export.export(FailsAtSeven(), "torchscript", tmp_path / "a")
    assert not list(tmp_path.iterdir())


class FixedToOne(Net):
    def forward(self, x):
        return super().forward(x.reshape(1, 1, 32, 32))


def test_a_module_of_one_batch_size_exports_as_static_alone(tmp_path):
    with pytest.raises(InputError, match="fails on float32 images"):
        lenet_export.export(FixedToOne(), "torchscript", tmp_path / "a")
    lenet_export.export(FixedToOne(), "torchscript", tmp_path / "a", static_batch=1)


class Untraceable(Net):
    def forward(self, x):
        if torch.jit.is_tracing():
            raise RuntimeError("not while tracing")
        return super().forward(x)


def test_a_module_that_cannot_be_traced_is_a_deploy_error(tmp_path):
    with pytest.raises(DeployError, match="torchscript: the module cannot be traced"):
        lenet_export.export(Untraceable(), "torchscript", tmp_path / "a")


# ---- arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"format": "tflite"}, "format: expected one of .*'onnx'.* found 'tflite'"),
        ({"precision": "fp16"}, "precision: 'torchscript' can be exported in .*'fp32'"),
        ({"precision": "FP32"}, "found 'FP32'"),
        ({"static_batch": 0}, "static batch: expected 1 to 16384, found 0"),
        ({"static_batch": -1}, "found -1"),
        ({"static_batch": True}, "found True"),
        ({"static_batch": 2.0}, "found 2.0"),
        ({"static_batch": 10**9}, "found 1000000000"),
        ({"labels": tuple("012345678")}, "labels: expected 10 different strings"),
        ({"labels": ("0",) * 10}, "labels: expected 10 different strings"),
        ({"labels": range(10)}, "labels: expected 10 different strings"),
        ({"batch_sizes": ()}, "batch sizes: expected positive integers"),
        ({"batch_sizes": (1, 0)}, r"found \[1, 0\]"),
        ({"batch_sizes": (1, -3)}, r"found \[1, -3\]"),
        ({"batch_sizes": (1.5,)}, r"found \[1.5\]"),
        ({"opset": 20}, r"'torchscript' takes no option \['opset'\]; it takes \[\]"),
        ({"format": "onnx", "optset": 20}, r"no option \['optset'\]; it takes \['opset'\]"),
        ({"output": "."}, "output: expected the name of a new folder, found '.'"),
        ({"output": "/"}, "output: expected the name"),
        ({"output": ".."}, "output: expected the name"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_done(
    net, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    given = {"format": "torchscript", "output": "a"} | arguments
    with pytest.raises(InputError, match=message):
        lenet_export.export(net, given.pop("format"), given.pop("output"), **given)
    assert not list(tmp_path.iterdir())


def test_labels_and_preprocessing_travel_with_the_artifact(net, tmp_path):
    labels = ("null", "eins", "zwei", "drei", "vier", "fünf", "\ud800", 'a"b', "[red]", "\x1b[2J")
    own = Preprocessing(mean=0.5, std=0.5, padding=0)
    artifact = lenet_export.export(
        net, "onnx", tmp_path / "a", labels=labels, preprocessing=own, batch_sizes=[2]
    )
    with lenet_runtime.load(artifact.path) as session:
        assert session.manifest.labels == labels
        assert session.manifest.preprocessing == own
    metadata = {entry.key: entry.value for entry in graph_of(artifact).metadata_props}
    assert json.loads(metadata["labels"]) == list(labels)
    assert metadata["normalization_mean"] == metadata["normalization_std"] == "0.5"
    assert metadata["padding"] == "0"


def test_progress_names_each_step(net, tmp_path):
    steps = []
    lenet_export.export(
        net, "torchscript", tmp_path / "a", batch_sizes=[2, 3], progress=steps.append
    )
    assert steps == ["building torchscript", "verifying with torchscript at batch sizes 1, 2, 3"]


def test_an_export_is_trusted_by_the_process_that_made_it(exported):
    lenet_runtime.load(exported("torchscript").path).close()  # no trust=True


def test_no_engine_to_verify_with_makes_nothing(net, tmp_path, monkeypatch):
    """What cannot be proven is not even built."""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr(onnx_format, "build", lambda request: pytest.fail("it was built"))
    with pytest.raises(BackendUnavailable, match=r"ort-cpu: .*lenet-deploy\[cpu\]"):
        lenet_export.export(net, "onnx", tmp_path / "out" / "a")
    assert not list(tmp_path.iterdir())


# ---- planted faults


def nudge(name):
    """Change the largest weight of one tensor by a thousandth."""

    def spoil(module):
        flat = module.state_dict()[name].view(-1)
        flat[flat.abs().argmax()] += 1e-3
        return module

    return spoil


def drop_bias(module):
    module.fc2.bias.zero_()
    return module


def swap_classes(module):
    module.fc3.weight[[3, 8]] = module.fc3.weight[[8, 3]]
    module.fc3.bias[[3, 8]] = module.fc3.bias[[8, 3]]
    return module


class NoRelu(Net):
    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = self.fc1(torch.flatten(x, 1))
        return self.fc3(F.relu(self.fc2(x)))


class AveragePool(Net):
    def forward(self, x):
        x = F.avg_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc1(torch.flatten(x, 1)))
        return self.fc3(F.relu(self.fc2(x)))


class HalfWay(Net):
    """Does its first layer in half precision."""

    def forward(self, x):
        return super().forward(x.half().float())


def become(kind):
    def spoil(module):
        other = kind()
        other.load_state_dict(module.state_dict())
        return other.eval().requires_grad_(False)

    return spoil


def plant(monkeypatch, format, spoil):
    """From here on, `format` is built from a spoilt copy of what it was asked to build."""
    builder = importlib.import_module(FORMATS[format].module)
    build = builder.build

    def faulty(request):
        with torch.no_grad():
            module = spoil(copy.deepcopy(request.module))
        return build(dataclasses.replace(request, module=module))

    monkeypatch.setattr(builder, "build", faulty)


SPOILS = {name: nudge(name) for name in Net().state_dict()} | {
    "no bias": drop_bias,
    "classes swapped": swap_classes,
    "no ReLU": become(NoRelu),
    "average pooling": become(AveragePool),
    "half precision": become(HalfWay),
}


@pytest.mark.parametrize("fault", SPOILS)
def test_a_planted_fault_is_never_published(
    net, torchscript_artifact, copy_of, tmp_path, monkeypatch, fault
):
    """The comparison fails, and the artifact that was there stays to the byte."""
    target = copy_of(torchscript_artifact)
    before = snapshot(tmp_path)
    plant(monkeypatch, "torchscript", SPOILS[fault])
    with pytest.raises(ParityError, match=r"differs|self-test"):
        lenet_export.export(net, "torchscript", target, force=True)
    assert snapshot(tmp_path) == before
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("fault", ["fc3.weight"])
def test_a_planted_fault_leaves_nothing_where_nothing_was(net, tmp_path, monkeypatch, fault):
    plant(monkeypatch, "onnx", SPOILS[fault])
    with pytest.raises(ParityError):
        lenet_export.export(net, "onnx", tmp_path / "new" / "folder" / "a")
    assert not list(tmp_path.iterdir())


class WrongBeyondSixtyFour(Net):
    """Scripted, so that the branch on the batch size survives."""

    def forward(self, x):
        if x.shape[0] > 64:
            x = x + 1
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc1(torch.flatten(x, 1)))
        return self.fc3(F.relu(self.fc2(x)))


def test_a_fault_at_large_batches_alone_is_found(net, tmp_path, monkeypatch):
    """Eight golden digits answer rightly; only the batch of 257 shows it."""
    monkeypatch.setattr(torch.jit, "trace", lambda module, example: torch.jit.script(module))
    plant(monkeypatch, "torchscript", become(WrongBeyondSixtyFour))
    with pytest.raises(ParityError) as caught:
        lenet_export.export(net, "torchscript", tmp_path / "a")
    assert str(caught.value).count("at batch size 257") == 2
    assert "batch size 64" not in str(caught.value)


def test_a_builder_that_fails_leaves_nothing(net, tmp_path, monkeypatch):
    def fail(request):
        raise DeployError("the compiler failed")

    monkeypatch.setattr(onnx_format, "build", fail)
    with pytest.raises(DeployError, match="the compiler failed"):
        lenet_export.export(net, "onnx", tmp_path / "out" / "a")
    assert not list(tmp_path.iterdir())


def test_a_builder_whose_file_the_engine_refuses_leaves_nothing(net, tmp_path, monkeypatch):
    build = onnx_format.build
    monkeypatch.setattr(
        onnx_format, "build",
        lambda request: dataclasses.replace(build(request), files={"model.onnx": b"garbage"}),
    )  # fmt: skip
    with pytest.raises(ArtifactError, match="ONNX Runtime cannot load it"):
        lenet_export.export(net, "onnx", tmp_path / "a")
    assert not list(tmp_path.iterdir())


# ---- the names of weights


def test_fingerprint_knows_every_bit_name_shape_and_dtype():
    torch.manual_seed(0)
    first = Net()
    prints = {weights.fingerprint(first), weights.fingerprint(copy.deepcopy(first).train())}
    assert len(prints) == 1
    changed = copy.deepcopy(first)
    with torch.no_grad():
        changed.fc3.bias[9] = torch.nextafter(changed.fc3.bias[9], torch.tensor(9.0))
    assert weights.fingerprint(changed) not in prints


def test_fingerprint_is_of_more_than_bytes():
    """Six zeros, in another shape, type, or under another name."""

    def holding(name, tensor):
        module = nn.Module()
        module.register_buffer(name, tensor)
        return weights.fingerprint(module)

    zeros = torch.zeros(6)
    kinds = [("a", zeros), ("b", zeros), ("a", zeros.reshape(2, 3)), ("a", zeros.reshape(3, 2))]
    kinds += [("a", zeros.int()), ("a", torch.zeros(12).bfloat16()), ("a", torch.zeros(()))]
    assert len({holding(*kind) for kind in kinds}) == len(kinds)


def test_default_batch_sizes_are_the_promised_ones():
    assert BATCH_SIZES == (1, 2, 7, 64, 257)
