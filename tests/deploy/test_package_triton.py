"""`lenet-deploy package --target triton`; tests/trials/triton_trial.py runs it in a real Triton."""

import dataclasses
import re
import subprocess
import sys

import numpy as np
import pytest
from artifact_files import read_all, write_artifact
from cli_helper import run, run_alone
from samples import noise

from lenet_deploy.packaging import TARGETS, Package, write
from lenet_runtime import load
from lenet_runtime.artifact import Artifact, Requirements, TensorSpec
from lenet_runtime.errors import ArtifactError, BackendUnavailable, InputError
from lenet_serve.repository.scanning import scan

ENGINE = Requirements("cuda", "tensorrt", "10.3.0", compute_capability=(8.6,), profile=(1, 8, 256))


def packaged(artifact, folder, name="lenet", **options):
    return write(TARGETS["triton"], Package(artifact, name, options), folder)


def config_of(repository, name="lenet"):
    """config.pbtxt, read by Triton's own protobuf."""
    from google.protobuf import text_format

    model_config = pytest.importorskip("tritonclient.grpc.model_config_pb2")
    text = (repository / name / "config.pbtxt").read_text()
    return text_format.Parse(text, model_config.ModelConfig())


@pytest.fixture
def fake(tmp_path):
    """`fake(format, **changes)`: an artifact of a format, by its manifest alone."""

    def make(format, files=("model.onnx",), **changes):
        contents = dict.fromkeys(files, b"model")
        folder = tmp_path / "artifact"
        return Artifact.open(write_artifact(folder, files=contents, format=format, **changes))

    return make


@pytest.fixture(scope="module")
def models(native_artifact, tmp_path_factory):
    """A repository of our C as digits.v1, compiled once."""
    repository = tmp_path_factory.mktemp("triton") / "models"
    packaged(native_artifact, repository, "digits.v1")
    return repository


def test_the_version_is_the_artifact_which_serve_takes_too(native_artifact, models):
    version = models / "digits.v1" / "1"
    assert read_all(version) == native_artifact.contents
    assert Artifact.open(version).digest == native_artifact.digest
    places = scan(models, None).places
    assert places.keys() == {("digits.v1", 1)}
    assert not places["digits.v1", 1].problem
    with load(version, trust=True) as ours, load(native_artifact, trust=True) as theirs:
        np.testing.assert_array_equal(ours.run(noise(3)), theirs.run(noise(3)))


def test_the_backend_needs_libc_alone_and_shows_triton_alone_whatever_the_prefix(
    native_artifact, tmp_path
):
    """Compiled as the comment in config.pbtxt says, it is the very library."""
    contents = {
        name: re.sub(rb"\blenet_", b"seven_", re.sub(rb"\bLENET_", b"SEVEN_", data))
        if name.endswith((".c", ".h")) else data
        for name, data in native_artifact.contents.items()
    }  # fmt: skip
    packaged(dataclasses.replace(native_artifact, contents=contents), tmp_path / "models")
    version = tmp_path / "models" / "lenet" / "1"
    names = symbols(version / "libtriton_lenet.so", "--defined-only")
    assert len(names) == 4
    assert all(name.startswith("TRITONBACKEND_") for name in names)
    needs = symbols(version / "libtriton_lenet.so", "--undefined-only")
    from_libc = {name for name in needs if not name.startswith(("TRITON", "_"))}
    assert from_libc == {
        "clock_gettime@GLIBC_2.17", "free@GLIBC_2.2.5", "malloc@GLIBC_2.2.5", "memcpy@GLIBC_2.14",
    } or sys.platform != "linux"  # fmt: skip
    config = (tmp_path / "models" / "lenet" / "config.pbtxt").read_text()
    (command,) = re.findall(r"^#   (gcc .*)$", config, re.MULTILINE)
    shipped = (version / "libtriton_lenet.so").read_bytes()
    subprocess.run(command, shell=True, check=True, cwd=version)
    assert (version / "libtriton_lenet.so").read_bytes() == shipped


def symbols(library, which):
    nm = ["nm", "--dynamic", "--with-symbol-versions", which, library]
    lines = subprocess.run(nm, capture_output=True, text=True, check=True).stdout.splitlines()
    return {line.split()[-1].replace("@@", "@") for line in lines}


def test_the_config_of_native(models):
    config = config_of(models, "digits.v1")
    assert (config.name, config.backend, config.max_batch_size) == ("digits.v1", "lenet", 1024)
    assert config.HasField("dynamic_batching")
    (images,), (logits,) = config.input, config.output
    assert (images.name, images.data_type, images.dims) == ("images", 11, [1, 32, 32])
    assert (logits.name, logits.data_type, logits.dims) == ("logits", 11, [10])
    assert logits.label_filename == "labels.txt"
    labels = (models / "digits.v1" / "labels.txt").read_text()
    assert labels == "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n"
    (group,) = config.instance_group
    assert (group.kind, group.count) == (group.KIND_CPU, 1)


def test_the_config_of_another_network(fake, tmp_path):
    """Its sizes, channels, classes and softmax; a label stays one line whatever is in it."""
    artifact = fake(
        "onnx",
        inputs=(TensorSpec("images", "float32", (None, 3, 24, 20)),),
        outputs=(TensorSpec("probabilities", "float32", (None, 3)),),
        labels=("é", "two words", "new\nline"),
    )
    packaged(artifact, tmp_path / "models")
    config = config_of(tmp_path / "models")
    assert config.input[0].dims == [3, 24, 20]
    assert (config.output[0].name, config.output[0].dims) == ("probabilities", [3])
    labels = (tmp_path / "models" / "lenet" / "labels.txt").read_text()
    assert labels == "é\ntwo words\nnew\\nline\n"


@pytest.mark.parametrize("size", [1, 8])
def test_a_static_batch_is_no_batch_to_triton(fake, tmp_path, size):
    """Classes of eight images in a tensor would be ranked as one image's."""
    packaged(fake("onnx", batch=size), tmp_path / "models")
    config = config_of(tmp_path / "models")
    assert config.max_batch_size == 0
    assert not config.HasField("dynamic_batching")
    assert (config.input[0].dims, config.output[0].dims) == ([size, 1, 32, 32], [size, 10])
    assert bool(config.output[0].label_filename) == (size == 1)


def test_onnx_is_onnx_runtimes(fake, tmp_path):
    packaged(fake("onnx"), tmp_path / "models")
    config = config_of(tmp_path / "models")
    assert config.backend == "onnxruntime"
    assert config.parameters["intra_op_thread_count"].string_value == "1"
    assert (tmp_path / "models" / "lenet" / "1" / "model.onnx").read_bytes() == b"model"


def test_an_engine_is_tensorrts(fake, tmp_path):
    packaged(fake("tensorrt", ("model.engine",), requirements=ENGINE), tmp_path / "models")
    config = config_of(tmp_path / "models")
    assert (config.backend, config.max_batch_size) == ("tensorrt", 256)
    assert config.default_model_filename == "model.engine"
    assert config.instance_group[0].kind == config.instance_group[0].KIND_GPU
    text = (tmp_path / "models" / "lenet" / "config.pbtxt").read_text()
    assert "TensorRT 10.3.0 alone, on GPUs of compute capability 8.6:" in text


@pytest.mark.parametrize(
    ("format", "files", "needs", "kind", "trust"),
    [
        ("onnx", ("model.onnx",), Requirements("any", "onnx", "1"), 2, "false"),
        ("torchscript", ("model.pt",), Requirements("any", "torch", "2"), 2, "true"),
        ("cuda", ("weights.bin",), Requirements("cuda", "cuda", "12"), 1, "true"),
        ("tensorrt", ("model.engine",), ENGINE, 1, "true"),
    ],
)
def test_python_takes_every_format(fake, tmp_path, format, files, needs, kind, trust):
    artifact = fake(format, files, requirements=needs)
    packaged(artifact, tmp_path / "models", flavour="python", environment="/a/ \"b'\\")
    config = config_of(tmp_path / "models")
    assert (config.backend, config.instance_group[0].kind) == ("python", kind)
    assert config.parameters["TRUST"].string_value == trust
    assert config.parameters["EXECUTION_ENV_PATH"].string_value == "/a/ \"b'\\"
    packaged(artifact, tmp_path / "others", flavour="python")
    assert "EXECUTION_ENV_PATH" not in config_of(tmp_path / "others").parameters


@pytest.mark.parametrize(
    ("format", "changes", "options", "kind", "message"),
    [
        ("onnx", {}, {"flavour": "native"}, InputError, "of 'onnx' .* onnxruntime, python, found"),
        ("cuda", {}, {"flavour": "tensorrt"}, InputError, "of 'cuda' artifacts expected one of py"),
        ("tensorrt", {"requirements": Requirements("cuda", "tensorrt-rtx", "1.7")}, {}, InputError,
         "found one of tensorrt-rtx.*flavour='python'"),
        ("tensorrt", {"requirements": Requirements("cuda", "tensorrt", "10", profile=(8, 8, 64))},
         {}, InputError, "found one for 8 and more"),
        ("native", {}, {}, ArtifactError, "lists no file 'lenet.c'"),
    ],
)  # fmt: skip
def test_what_cannot_be_packaged(fake, tmp_path, format, changes, options, kind, message):
    with pytest.raises(kind, match=message):
        packaged(fake(format, **changes), tmp_path / "out" / "models", **options)
    assert not (tmp_path / "out").exists()


def test_a_machine_without_a_compiler_is_told_of_the_other_flavour(
    native_artifact, tmp_path, monkeypatch
):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(BackendUnavailable, match=r"install gcc .* flavour='python'"):
        packaged(native_artifact, tmp_path / "models")
    command = ("package", native_artifact.path, "--target", "triton", "-o", tmp_path / "models")
    assert "--flavour python" in " ".join(run(*command, code=4).stderr.split())
    assert not (tmp_path / "models").exists()
    run(*command, "--flavour", "python")
    assert "already" in run(*command, "--flavour", "python", code=2).stderr


def test_a_machine_that_only_serves_packages_too(native_artifact, tmp_path):
    words = ("package", native_artifact.path, "--target", "triton", "-o", tmp_path / "models")
    run_alone(*map(str, words), without=("torch", "onnx", "uvicorn", "grpc"))
    assert (tmp_path / "models" / "lenet" / "1" / "libtriton_lenet.so").is_file()
