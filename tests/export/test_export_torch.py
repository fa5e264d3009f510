"""The formats torchscript and torch-compile: what is frozen, tuned, and for which machine."""

import io
import os
import subprocess
import zipfile
from pathlib import Path

import pytest
import torch
from samples import noise

import lenet_export
import lenet_runtime
from lenet_deploy.training.model import Net
from lenet_export.formats import torch_compile, torchscript
from lenet_export.quiet import quiet
from lenet_export.request import Build, Request
from lenet_runtime import cpu
from lenet_runtime.artifact import golden
from lenet_runtime.artifact.requirements import this_platform
from lenet_runtime.backends.torch import torch_compile as torch_compile_backend
from lenet_runtime.devices import Device
from lenet_runtime.errors import BackendUnavailable, ParityError

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
    request = Request(Net(), "torch-compile", "fp32", Device("cpu"), size)
    assert list(torch_compile.build(request).files) == [f"model-from-{size}.pt2"]
    assert asked == [(torch_compile.SETTINGS[settings], size)]


@pytest.mark.parametrize("static", [None, 5, 1000])
def test_on_a_gpu_kernels_are_tuned_for_the_batches_they_serve(monkeypatch, fake_cuda, static):
    fake_cuda(devices=2, capability=(9, 0))
    asked = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch_compile, "_target", lambda: ({}, ()))
    monkeypatch.setattr(torch_compile, "_package", lambda _, *given: asked.append(given) or b"")
    request = Request(Net(), "torch-compile", "tf32", Device("cuda", 1), static)
    build = torch_compile.build(request)
    assert (build.requirements.device, build.requirements.compute_capability) == ("cuda", (9.0,))
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
    request = Request(Net().eval(), "torchscript", precision, Device("cuda", 0))
    data = torchscript.build(request).files["model.pt"]
    graph = torch.jit.load(io.BytesIO(data)).graph
    calls = [node for node in graph.nodes() if node.kind() == "aten::_convolution"]
    assert [list(node.inputs())[12].toIValue() for node in calls] == [precision == "tf32"] * 2


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
