"""Which engines are loaded, and which are refused, when, and with which words."""

import json
import sys

import fake_tensorrt
import numpy as np
import pytest
from cli_helper import run
from fake_tensorrt import engine_bytes, write
from samples import first_ten
from trt_helper import needs_rtx, rtx_request

import lenet_export
import lenet_runtime
from lenet_export.formats import tensorrt
from lenet_export.formats.tensorrt import process
from lenet_export.network.reference import Reference
from lenet_runtime import BACKENDS
from lenet_runtime.artifact import requirements, trust
from lenet_runtime.backends.tensorrt import library as trt_library
from lenet_runtime.errors import ArtifactError, BackendUnavailable, DeviceMemoryError

COMMAND = (
    "lenet-deploy export --format tensorrt --precision fp32 --profile 1:4:8 --library tensorrt"
    " --force"
)
NODES = ("conv1", "conv2", "fc1", "fc2", "fc3")


@pytest.fixture
def load(fake_trt, tmp_path):
    """`load(data, **changes)`: a session of an artifact with these bytes as its engine."""

    def make(data=None, **changes):
        write(tmp_path / "engine", data or engine_bytes(), **changes)
        return lenet_runtime.load(tmp_path / "engine", device="cuda", trust=True)

    return make


def refused(load, error, match, *data, **changes):
    with pytest.raises(error, match=match):
        load(*data, **changes)


def test_an_engine_that_fits_is_loaded_and_tested(load):
    with load() as session:
        assert (session.backend, session.device) == ("tensorrt", "cuda:0")
        images = np.ones((11, 1, 32, 32), np.float32)
        np.testing.assert_array_equal(session.run(images), first_ten(images))


def test_an_engine_runs_code_and_is_trusted_by_name_alone(fake_trt, tmp_path):
    write(tmp_path / "engine", engine_bytes())
    with pytest.raises(ArtifactError, match="trust=True"):
        lenet_runtime.load(tmp_path / "engine", device="cuda")


# ---- refused before a byte is deserialized


@pytest.fixture
def untouched(fake_trt, monkeypatch):
    """Fails the test if anything is deserialized."""
    monkeypatch.setattr(trt_library.Library, "deserialize", lambda *_: pytest.fail("deserialized"))


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"engine_version": "10.8.0.1"}, r"built with TensorRT 10\.8\.0\.1, this is 10\.9\.0\.34"),
        ({"compute_capability": (9.0,)}, r"compute capability '9\.0', .* has 8\.6"),
        ({"platform": "linux-riscv128"}, "compiled for 'linux-riscv128'"),
    ],
)
def test_an_engine_for_another_machine_is_refused_with_the_command(load, changes, reason):
    refused(load, BackendUnavailable, f"{reason}.*{COMMAND}", **changes)


@pytest.mark.usefixtures("untouched")
def test_the_backend_itself_looks_at_the_gpu(fake_trt, tmp_path):
    artifact = write(tmp_path / "engine", engine_bytes(), compute_capability=(8.0, 9.0))
    with pytest.raises(BackendUnavailable, match=rf"8\.0, 9\.0, Fake GPU 0 has 8\.6.*{COMMAND}"):
        BACKENDS["tensorrt"].load(artifact, "cuda:0", None)


@pytest.mark.usefixtures("untouched")
def test_an_engine_of_the_library_that_is_not_here_is_refused(load):
    changes = {"engine": "tensorrt-rtx", "engine_version": "1.7", "compute_capability": (8.6,)}
    match = (
        r"engine of TensorRT-RTX 1\.7, which is not installed; in that version, "
        r"pip install .*\[tensorrt-rtx\]'.*--library tensorrt-rtx --compute-capability 8\.6 --force"
    )
    refused(load, BackendUnavailable, match, **changes)


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("changes", [{"engine": "openvino"}, {"compute_capability": ()}])
def test_a_manifest_that_does_not_say_what_it_is_for_is_refused(load, changes):
    refused(load, ArtifactError, r"expected an engine of \['tensorrt', 'tensorrt-rtx'\]", **changes)


def test_a_static_engine_is_rebuilt_with_its_batch(fake_trt, tmp_path):
    artifact = write(tmp_path / "engine", engine_bytes((5, 5, 5), 5), 5)
    command = requirements.export_command(artifact.manifest)
    assert "--static-batch 5" in command
    assert "--profile" not in command


# ---- refused for what it is


def test_foreign_bytes_are_no_engine(load, fake_gpu):
    match = r"model\.engine: TensorRT 10\.9\.0\.34 cannot load it .*magicTag.*export it again"
    refused(load, ArtifactError, match, b"GIF89a")
    assert fake_gpu.live == 0


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (fake_tensorrt.DAMAGED, ArtifactError),
        (fake_tensorrt.NO_MEMORY, DeviceMemoryError),
        ("Cuda Runtime (In ScopedCudaStream (cudaError 35: CUDA driver", BackendUnavailable),
        (fake_tensorrt.DAMAGED + " (cudaError 35: CUDA driver version", ArtifactError),
        ("something new", ArtifactError),
    ],
)
def test_a_refusal_means_what_its_words_say(load, fake_trt, words, error):
    fake_trt.refuses = words
    refused(load, error, "cannot load it")


def test_a_reason_is_asked_for_where_none_is_given(load, fake_trt, monkeypatch):
    fake_trt.refuses = "x"
    monkeypatch.setattr(fake_trt, "log", lambda message: None)
    refused(load, ArtifactError, "it gave no reason")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (engine_bytes((1, 4, 16)), "expected .*'profile': '1:4:8'.*found .*'1:4:16'"),
        (engine_bytes(dtype="HALF"), r"'images': \('HALF'"),
        (engine_bytes(batch=4), r"'images': \('FLOAT', \(4, 1, 32, 32\)\)"),
    ],
)
def test_an_engine_of_other_tensors_than_the_manifest_says_is_refused(load, data, reason):
    refused(load, ArtifactError, reason, data)


def test_an_engine_that_computes_in_another_type_is_refused(load, fake_gpu):
    """The engine inspector is asked where the engine is loaded, once more."""
    data = engine_bytes(kinds={"conv1": "fp16", "fc1": "fp32"})
    kernels = {"conv1": ("fp16", "correlation"), "fc1": ("fp16", "gemm")}
    match = "other types than the manifest says: fc1: expected 'fp16 gemm', found 'fp32 gemm'"
    refused(load, ArtifactError, match, data, kernels=kernels)
    assert fake_gpu.live == 0


def test_an_inspector_that_tells_nothing_leaves_the_builders_word(load):
    """The same bytes were attested when they were built."""
    load(engine_bytes(kinds={"other": "fp16"})).close()


# ---- without a GPU, for real


@needs_rtx
def test_without_a_gpu_the_real_library_says_that_there_is_none(net, tmp_path):
    data = tensorrt.build(rtx_request(net)).files["model.engine"]
    library = trt_library.library("tensorrt-rtx")
    with pytest.raises(BackendUnavailable, match=r"cudaError 35.*an engine is loaded onto a GPU"):
        library.deserialize(data, tmp_path)


@needs_rtx
@pytest.mark.parametrize("damage", [lambda d: b"GIF89a" * 99, lambda d: d[: len(d) // 2]])
def test_the_real_library_tells_damage_from_a_missing_gpu(net, tmp_path, damage):
    data = tensorrt.build(rtx_request(net)).files["model.engine"]
    with pytest.raises(ArtifactError, match=r"Serialization assertion .*export it again"):
        trt_library.library("tensorrt-rtx").deserialize(damage(data), tmp_path)


def test_the_probe_wants_a_library_and_a_gpu(fake_trt, monkeypatch, fake_cuda):
    backend = BACKENDS["tensorrt"]
    assert backend.probe("cuda") == "TensorRT 10.9.0.34"
    with pytest.raises(BackendUnavailable, match="no 'cuda:1' on this machine"):
        backend.probe("cuda:1")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(BackendUnavailable, match=r"pip install .*\[tensorrt-rtx\]'"):
        backend.probe("cuda")


# ---- export and command line


def test_an_export_is_proven_on_the_gpu_and_published(net, fake_trt, monkeypatch, tmp_path):
    """Through the whole pipeline; the engine answers as eager does."""
    fake_trt.compute = Reference(net).eager
    kinds = {**dict.fromkeys(NODES, "fp32"), "pool1": "fp32"}
    data = engine_bytes((1, 64, 1024), kinds=kinds)
    engine = process.Engine(
        data, fake_tensorrt.VERSION, fake_tensorrt.layers_text(kinds), tf32=False
    )
    monkeypatch.setattr(process, "build", lambda graph, job, precision: engine)
    artifact = lenet_export.export(net, "tensorrt", tmp_path / "engine")
    assert artifact.manifest.parity.ok
    assert artifact.manifest.requirements.compute_capability == (8.6,)
    assert artifact.manifest.kernels["pool1"] == ("fp32", "gemm")
    assert (tmp_path / "engine" / "model.engine").read_bytes() == data
    with lenet_runtime.load(artifact.path, device="cuda") as session:
        images = np.random.default_rng(0).standard_normal((1500, 1, 32, 32), dtype=np.float32)
        expected = Reference(net).eager(images)
        np.testing.assert_allclose(session.run(images), expected, rtol=1e-4, atol=1e-5)


@needs_rtx
def test_the_command_builds_without_a_gpu_and_leaves_the_proof_to_one(tmp_path, monkeypatch):
    words = (
        "export", "-f", "tensorrt", "-o", tmp_path, "--library", "tensorrt-rtx", "--precision",
        "fp16", "--compute-capability", "8.6,12.0", "--profile", "1:8:32", "--no-verify",
    )  # fmt: skip
    (row,) = json.loads(run(*words, "--json").stdout)["artifacts"]
    assert row["proven"] is False
    artifact = lenet_runtime.Artifact.open(row["path"])
    needs = artifact.manifest.requirements
    assert (needs.profile, needs.compute_capability) == ((1, 8, 32), (8.6, 12.0))
    monkeypatch.setattr(trust, "_written", set())
    with pytest.raises(BackendUnavailable, match="CUDA"):
        lenet_runtime.load(row["path"], device="cuda", trust=True)


@pytest.mark.parametrize(
    "flag", [("--profile", "1:2:3"), ("--library", "tensorrt"), ("--compute-capability", "8.6")]
)
def test_the_flags_are_of_this_format_alone(tmp_path, flag):
    result = run("export", "-f", "onnx", "-o", tmp_path, *flag, code=2)
    assert f"{flag[0]}: only the tensorrt format has one" in result.stderr


def test_calibration_digits_are_for_two_formats(tmp_path):
    result = run("export", "-f", "onnx", "-o", tmp_path, "--calibration-dir", tmp_path, code=2)
    assert "only the native, web and tensorrt formats have one" in result.stderr
