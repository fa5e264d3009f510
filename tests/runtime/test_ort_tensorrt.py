"""ort-tensorrt: its profile, its cache of engines, TF32, and the release of TensorRT it takes."""

import importlib.metadata
import json
import multiprocessing
import os
import time

import numpy as np
import pytest
from fake_onnxruntime import load, same
from samples import noise

from lenet_runtime.backends import BACKENDS
from lenet_runtime.backends.ort import cache, libraries, ort_tensorrt
from lenet_runtime.errors import ArtifactError, BackendUnavailable
from lenet_runtime.version import pip_install

onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture
def machine(fake_ort, monkeypatch):
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    return fake_ort


def only(artifact):
    """Load, without a self-test, and give it back."""
    ort_tensorrt.load(artifact, "cuda", None).close()


def settings(machine, number=-1):
    """The options of a session that was asked for."""
    (((name, found),), config, _) = machine.asked[number]
    assert name == "TensorrtExecutionProvider"
    assert config["session.disable_cpu_ep_fallback"] == "1"
    return found


def folders():
    return sorted(path for path in cache.root().iterdir() if path.is_dir())


def test_it_answers_as_the_cpu_does(machine, onnx_artifact, on_cpu):
    with load(onnx_artifact, "ort-tensorrt") as session:
        same(session.run(noise(9)), on_cpu(noise(9)))
        assert session.backend == "ort-tensorrt"


def test_the_profile_is_explicit(machine, onnx_artifact):
    only(onnx_artifact)
    found = settings(machine)
    assert found["trt_profile_min_shapes"] == "images:1x1x32x32"
    assert found["trt_profile_opt_shapes"] == "images:64x1x32x32"
    assert found["trt_profile_max_shapes"] == "images:4096x1x32x32"
    assert {found[f"trt_{kind}_enable"] for kind in ("fp16", "bf16", "int8")} == {"False"}


def test_a_static_artifact_needs_no_profile(machine, exported):
    only(exported("onnx", static_batch=3))
    assert not any(name.startswith("trt_profile") for name in settings(machine))


@pytest.mark.parametrize("fault", [{"falls_back": True}, {"on_cpu": 1}], ids=str)
def test_nothing_but_tensorrt_is_accepted(machine, onnx_artifact, fault):
    for name, value in fault.items():
        setattr(machine, name, value)
    with pytest.raises(BackendUnavailable, match=r"ort-tensorrt: expected .* Tensorrt"):
        load(onnx_artifact, "ort-tensorrt")


# TF32


@pytest.mark.parametrize(
    ("override", "capability", "full", "reduced"),
    [
        (None, "9.0", False, True),
        ("1", "8.0", False, True),
        ("0", "9.0", True, True),
        (None, "7.5", True, True),
    ],
)
def test_float32_is_not_computed_in_tf32(
    machine, onnx_artifact, tf32_artifact, monkeypatch, override, capability, full, reduced
):
    """TensorRT does so by default, and the provider cannot tell it not to."""
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE")
    if override is not None:
        monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", override)
    machine.gpu.compute_capability = capability
    for artifact, allowed in ((onnx_artifact, full), (tf32_artifact, reduced)):
        if allowed:
            only(artifact)
        else:
            with pytest.raises(BackendUnavailable, match=r"NVIDIA_TF32_OVERRIDE=0.*tf32.*ort-cuda"):
                only(artifact)


# The cache


def test_engines_are_kept_in_a_private_folder_with_its_key_in_words(machine, onnx_artifact):
    only(onnx_artifact)
    (folder,) = folders()
    found = settings(machine)
    assert found["trt_engine_cache_path"] == found["trt_timing_cache_path"] == str(folder)
    assert found["trt_engine_cache_enable"] == found["trt_timing_cache_enable"] == "True"
    assert folder.stat().st_mode & 0o777 == 0o700
    key = json.loads((folder / "key.json").read_text())
    assert key["model"] == onnx_artifact.manifest.files["model.onnx"].sha256
    assert key["tensorrt"] == "10.13.2"
    only(onnx_artifact)
    assert folders() == [folder]


@pytest.mark.parametrize(
    "change",
    ["model", "name", "compute_capability", "driver", "tensorrt", "onnxruntime", "tf32", "profile"],
)
def test_whatever_an_engine_depends_on_is_in_its_key(
    machine, onnx_artifact, exported, monkeypatch, change
):
    only(onnx_artifact)
    artifact = onnx_artifact
    if change == "model":
        artifact = exported("onnx", static_batch=3)
        monkeypatch.setattr(ort_tensorrt, "_profile", lambda a: {})
        cache.clear(folders()[0])
        only(onnx_artifact)
    elif change == "tensorrt":
        monkeypatch.setattr(ort_tensorrt, "_version", lambda module: "10.14.0")
    elif change == "onnxruntime":
        monkeypatch.setattr(onnxruntime, "__version__", "9.9.9")
    elif change == "tf32":
        monkeypatch.setattr(ort_tensorrt, "_require_precision", lambda *_: None)
        monkeypatch.delenv("NVIDIA_TF32_OVERRIDE")
    elif change == "profile":
        monkeypatch.setattr(ort_tensorrt, "OPT", 8)
    else:
        setattr(machine.gpu, change, "8.0")
    before = folders()
    only(artifact)
    assert len(folders()) == len(before) + 1


def test_half_an_engine_is_built_again(machine, onnx_artifact, monkeypatch):
    """As a run that was killed leaves it."""
    only(onnx_artifact)
    (folder,) = folders()
    (folder / "half.engine").write_bytes(b"half")
    real = onnxruntime.InferenceSession

    def session(*arguments, **keywords):
        if (folder / "half.engine").exists():
            raise RuntimeError("TensorRT EP could not deserialize engine from cache")
        return real(*arguments, **keywords)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    only(onnx_artifact)
    assert sorted(path.name for path in folder.iterdir()) == ["key.json", "lock"]


def test_a_model_that_cannot_be_built_is_told_once(machine, onnx_artifact, monkeypatch):
    tries = []

    def fail(*_, **__):
        tries.append(1)
        raise RuntimeError("no such operator")

    monkeypatch.setattr(onnxruntime, "InferenceSession", fail)
    with pytest.raises(ArtifactError, match="no such operator"):
        only(onnx_artifact)
    assert len(tries) == 1


@pytest.mark.parametrize("depth", [0, 1])
def test_a_folder_that_others_may_write_to_is_refused(machine, onnx_artifact, depth):
    only(onnx_artifact)
    folder = (cache.root(), folders()[0])[depth]
    folder.chmod(0o777)
    with pytest.raises(BackendUnavailable, match=r"nobody else can write to.*drwxrwxrwx"):
        only(onnx_artifact)


def test_a_folder_that_is_a_link_is_refused(machine, onnx_artifact, tmp_path):
    only(onnx_artifact)
    root = cache.root()
    root.rename(tmp_path / "elsewhere")
    root.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BackendUnavailable, match="engines are code"):
        only(onnx_artifact)


def test_a_folder_that_cannot_be_made(machine, onnx_artifact, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(BackendUnavailable, match="set XDG_CACHE_HOME"):
        only(onnx_artifact)


def _hold(order):
    with cache.opened({"a": 1}):
        order.put("in")
        time.sleep(0.2)
        order.put("out")


def test_two_processes_build_one_after_the_other(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    context = multiprocessing.get_context("fork")
    order = context.SimpleQueue()  # what is put is there at once, so the order is the true one
    workers = [context.Process(target=_hold, args=(order,)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [order.get() for _ in range(6)] == ["in", "out"] * 3


# Which TensorRT


def test_both_versions_are_told(machine):
    expected = f"{onnxruntime.__version__} with TensorRT 10.13.2"
    assert BACKENDS["ort-tensorrt"].probe("cuda") == expected


def test_another_release_of_tensorrt_is_told(machine, monkeypatch):
    version = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda n: "11.0.1" if n == "tensorrt" else version(n)
    )
    machine.missing = ("libnvinfer.so.10", "libnvonnxparser.so.10")
    with pytest.raises(BackendUnavailable) as caught:
        BACKENDS["ort-tensorrt"].probe("cuda")
    text = str(caught.value)
    assert "is built for TensorRT 10, found tensorrt 11.0.1" in text
    assert "the backend 'tensorrt', which runs on that one" in text
    assert "not found: libnvinfer.so.10, libnvonnxparser.so.10" in text
    assert pip_install("ort-tensorrt") in text


def test_the_right_release_is_not_complained_about(machine, monkeypatch):
    version = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda n: "10.13.2" if n == "tensorrt" else version(n)
    )
    BACKENDS["ort-tensorrt"].probe("cuda")


def test_onnx_runtime_without_tensorrt(machine, monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    with pytest.raises(BackendUnavailable, match=r"pip install .*\[ort-tensorrt\]'"):
        BACKENDS["ort-tensorrt"].probe("cuda")


def test_a_broken_installation_is_told(machine, monkeypatch):
    def fail(*_):
        raise OSError("x.so: No such file")

    monkeypatch.setattr(libraries, "needed", fail)
    with pytest.raises(BackendUnavailable, match="force-reinstall onnxruntime-gpu"):
        BACKENDS["ort-tensorrt"].probe("cuda")


@pytest.mark.gpu
def test_a_real_gpu_answers_as_the_cpu_does(tf32_artifact, onnx_artifact, on_cpu):
    try:
        BACKENDS["ort-tensorrt"].probe("cuda:0")
    except BackendUnavailable as error:
        pytest.skip(str(error))
    full = os.environ.get("NVIDIA_TF32_OVERRIDE") == "0"
    predictor = ort_tensorrt.load(onnx_artifact if full else tf32_artifact, "cuda", None)
    found, close = predictor.run(noise(9)), 1e-4 if full else 0.05
    np.testing.assert_allclose(found, on_cpu(noise(9)), rtol=close, atol=close)
    predictor.close()
