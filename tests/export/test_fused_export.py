"""The cuda format's export: what NVRTC makes of the kernels, packed weights, and the manifest."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import fused
import numpy as np
import pytest
import torch
from cli_helper import run
from fused import PRECISIONS

import lenet_export
import lenet_runtime
from lenet_deploy.training.model import Net
from lenet_export.formats.cuda import compiler, kernels_of, pack, programs
from lenet_export.network import layers
from lenet_runtime.artifact import requirements
from lenet_runtime.errors import BackendUnavailable, DeployError, InputError
from lenet_runtime.images.preprocess import Preprocessing, pixel_table

MOST_SHARED = 99 * 1024  # of a block on the smallest GPUs of compute capability 8.0 and later
REGISTERS = 65536  # of a multiprocessor


@pytest.fixture(scope="session")
def nvrtc():
    try:
        return compiler.load()
    except BackendUnavailable as error:
        return pytest.skip(str(error))


def architectures(nvrtc_names=tuple(compiler.ARCHITECTURES)):
    """sm_90 always; the others are slow."""
    return [
        pytest.param(name, marks=() if name == "sm_90" else pytest.mark.slow)
        for name in nvrtc_names
    ]


@pytest.mark.parametrize("architecture", architectures())
@pytest.mark.parametrize("precision", PRECISIONS)
def test_no_kernel_spills_a_register(nvrtc, precision, architecture, tmp_path):
    if architecture not in compiler.supported(nvrtc):
        pytest.skip(f"this NVRTC does not compile for {architecture}")
    made = compiler.compile_for(nvrtc, architecture, precision)
    assert "warning" not in made.log
    usage = compiler.usage(made.log)
    assert set(usage) == set(fused.NAMES)
    shapes = fused.kernels(precision).shapes
    for name, used in usage.items():
        assert (used.stack, used.spill_stores, used.spill_loads) == (0, 0, 0), (name, used)
        blocks = 2 if "many" in name else 1
        threads = shapes[name][1]
        assert used.registers * threads * blocks <= REGISTERS, (name, used)
        assert shapes[name][2] <= MOST_SHARED
    if architecture == "sm_90":
        check_instructions(made.code, precision, tmp_path)


def check_instructions(cubin, precision, folder):
    """Read the machine code, where a disassembler is installed (Triton brings one)."""
    triton = pytest.importorskip("triton", reason="no nvdisasm")
    tools = Path(triton.__file__).parent / "backends/nvidia/bin"
    tool = shutil.which("nvdisasm") or shutil.which("nvdisasm", path=str(tools))
    if tool is None:
        return
    path = folder / "lenet.cubin"
    path.write_bytes(cubin)
    text = subprocess.run([tool, "-c", path], capture_output=True, text=True, check=True).stdout
    assert not re.search(r"\b(LDL|STL)\b", text), "local memory"
    if precision == "fp32":
        assert "HMMA" not in text
        assert "FFMA" in text
    else:
        shape = "HMMA.1688.F32.TF32" if precision == "tf32" else "HMMA.16816.F32"
        assert shape in text
        assert "LDSM.16.M88.4" in text
        assert re.search(r"LDG\.E\.128", text)


def test_nvrtc_writes_into_memory_of_its_own(nvrtc):
    """PTX comes with an empty log, of length 1; Python shares its bytes strings of that length."""
    compiler.compile_for(nvrtc, compiler.PTX, "fp16")
    assert [bytes([value])[0] for value in range(256)] == list(range(256))
    assert bytes(1) == b"\x00"


def test_the_source_that_does_not_compile_is_quoted(nvrtc):
    with pytest.raises(DeployError, match="nonsense"):
        compiler.compile_for(nvrtc, compiler.PTX, "fp16", "LENET_TILE=nonsense", "LENET_WARPS=8")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_weights_have_the_size_that_the_kernels_expect(net, precision):
    assert len(fused.packed(net, precision)) == fused.kernels(precision).weight_bytes


def fragment(registers, precision, rows):
    """A matrix ``(rows, k)`` back from registers ``(steps, registers, 32)``, by the PTX ISA."""
    steps, half = len(registers), pack.step(precision) // 2
    matrix = np.full((rows, steps, 2 * half), np.nan, np.float32)
    for step in range(steps):
        for register in range(registers.shape[1]):
            for lane in range(32):
                g, t = divmod(lane, 4)
                word = int(registers[step, register, lane])
                if rows == 16:
                    row, upper = g + 8 * (register % 2), register // 2
                else:
                    row, upper = g, register
                if precision == "tf32":
                    values = np.array([word], np.uint32).view(np.float32)
                elif precision == "fp16":
                    values = np.array([word], np.uint32).view(np.float16).astype(np.float32)
                else:
                    bits = np.array([word << 16, word & 0xFFFF0000]) & 0xFFFFFFFF
                    values = bits.astype(np.uint32).view(np.float32)
                for i, value in enumerate(values):
                    matrix[row, step, upper * half + t * len(values) + i] = value
    return matrix.reshape(rows, -1)


@pytest.mark.parametrize("precision", ["tf32", "fp16", "bf16"])
def test_fragments_are_the_matrix(precision):
    matrix = np.random.default_rng(0).standard_normal((16, 32), np.float32)
    expected = fused.rounded(matrix, precision)
    a = fragment(pack.fragment_a(matrix, precision), precision, 16)
    order = [2 * (row % 8) + row // 8 for row in range(16)]  # rows g and g + 8 are neighbours
    assert np.array_equal(a, expected[order])
    b = fragment(pack.fragment_b(matrix[:8], precision), precision, 8)
    assert np.array_equal(b, expected[:8])


def test_the_table_of_pixels_is_at_the_end(net):
    other = Preprocessing(mean=0.25, std=0.5)
    for precision in PRECISIONS:
        words = np.frombuffer(fused.packed(net, precision, other), "<f4")
        assert np.array_equal(words[-256:], pixel_table(other))


def test_weights_beyond_fp16_are_refused():
    net = Net().eval().requires_grad_(False)
    net.fc2.weight[3, 3] = 70000
    network = layers.read(net, (1, 32, 32))
    with pytest.raises(InputError, match="65504"):
        pack.pack(network, "fp16", Preprocessing())
    pack.pack(network, "bf16", Preprocessing())


def test_what_is_larger_than_lenet_is_refused():
    wide = torch.nn.Sequential(
        torch.nn.Conv2d(1, 7, 3), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(7, 16, 3), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Flatten(),
        torch.nn.Linear(576, 120), torch.nn.ReLU(), torch.nn.Linear(120, 84), torch.nn.ReLU(),
        torch.nn.Linear(84, 10),
    )  # fmt: skip
    with pytest.raises(InputError, match="at most"):
        pack.pack(layers.read(wide.eval(), (1, 32, 32)), "fp16", Preprocessing())


@pytest.fixture(scope="session")
def export_fp16(net, nvrtc):
    """`export_fp16(folder)`: without proof, for one architecture."""

    def export(folder, architectures="sm_90"):
        options = {"precision": "fp16", "verify": False, "architectures": architectures}
        return lenet_export.export(net, "cuda", folder, **options)

    return export


@pytest.fixture(scope="session")
def made(export_fp16, tmp_path_factory):
    return export_fp16(tmp_path_factory.mktemp("cuda") / "artifact")


def test_the_manifest(made):
    manifest = made.manifest
    assert set(manifest.files) == {
        "golden.npz", "lenet-sm_90.cubin", "programs.json", "weights.bin",
    }  # fmt: skip
    assert manifest.runs_code
    assert not manifest.parity.ok
    assert manifest.kernels == dict.fromkeys(
        ("conv1", "conv2", "fc1", "fc2", "fc3"), ("fp16", "mma", "sm_90")
    )
    assert manifest.requirements.device == "cuda"
    assert requirements.fits_gpu(manifest.requirements, "9.0")
    assert not requirements.fits_gpu(manifest.requirements, "8.0")
    assert manifest.tools["nvrtc"] == manifest.requirements.engine_version


def test_programs_have_the_shapes_of_the_kernels(made):
    found = json.loads(made.read("programs.json"))
    shapes = fused.kernels("fp16").shapes
    assert [p["start"] for p in found] == list(programs.STARTS["fp16"])
    for program in found:
        shape = program["images"], program["threads"], program["shared_bytes"]
        assert shape == shapes[program["kernel"]]
        assert program["raw_shared_bytes"] == shapes[program["raw_kernel"]][2]


def test_no_path_of_this_machine_is_in_the_artifact(made):
    for name in made.manifest.files:
        data = made.read(name)
        assert b"/home" not in data
        assert str(Path.cwd()).encode() not in data


def test_equal_networks_give_equal_bytes(export_fp16, made, tmp_path):
    assert export_fp16(tmp_path / "again").digest == made.digest


def test_unknown_architectures_are_refused(export_fp16, tmp_path):
    with pytest.raises(InputError, match="sm_75"):
        export_fp16(tmp_path / "no", architectures="sm_75")


def test_the_command_line_exports_it_without_proof(nvrtc, tmp_path):
    options = ("--precision", "bf16", "--no-verify", "--architectures", "compute_80")
    run("export", "-f", "cuda", *options, "-o", tmp_path)
    artifact = lenet_runtime.Artifact.open(tmp_path / "cuda-bf16")
    assert "lenet-compute_80.ptx" in artifact.manifest.files
    with pytest.raises(BackendUnavailable, match="driver"):
        lenet_runtime.load(artifact.path, device="cuda", trust=True)


def test_a_missing_nvrtc_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(BackendUnavailable, match="pip install"):
        compiler.load()


def test_ptx_without_shapes_is_found_out():
    with pytest.raises(DeployError, match="lenet_shapes"):
        programs.table(".visible .entry other() {}", "fp16")


def test_what_computes_each_layer():
    kernels = kernels_of("fp32", ("sm_80", "compute_80"))
    assert kernels["fc1"] == ("fp32", "ffma", "sm_80", "compute_80")
