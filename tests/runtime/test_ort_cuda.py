"""ort-cuda: nothing but the GPU that was asked for; `test_ort_gpu` has what it computes there.

The GPU is `fake_onnxruntime`'s; tests/trials/ort_gpu_trial.py has the real onnxruntime-gpu, without
one.
"""

import sys
import warnings

import fake_onnxruntime
import pytest
from fake_onnxruntime import load, same
from samples import noise as images

from lenet_runtime import cuda
from lenet_runtime.backends import BACKENDS
from lenet_runtime.backends.ort import core, ort_cuda
from lenet_runtime.errors import (
    ArtifactError,
    BackendUnavailable,
    DeviceMemoryError,
    InputError,
)

onnxruntime = pytest.importorskip("onnxruntime")


# What is asked for, and what is refused


def test_the_gpu_and_nothing_else_is_asked_for(fake_ort, onnx_artifact):
    with load(onnx_artifact) as session:
        stream = session.predictor._session.stream.handle
    ((providers, config, threads),) = fake_ort.asked
    ((name, settings),) = providers
    assert name == "CUDAExecutionProvider"
    assert settings["device_id"] == "0"
    assert settings["use_tf32"] == "0"
    assert settings["cudnn_conv_algo_search"] == "HEURISTIC"
    assert settings["user_compute_stream"] == str(stream)
    assert config == {
        "session.disable_cpu_ep_fallback": "1",
        "session.record_ep_graph_assignment_info": "1",
    }
    assert threads == 1


def test_tf32_is_computed_where_the_artifact_says_so(fake_ort, tf32_artifact):
    ort_cuda.load(tf32_artifact, "cuda", None).close()
    assert fake_ort.asked[0][0][0][1]["use_tf32"] == "1"


def test_a_cpu_refuses_tf32(tf32_artifact):
    with pytest.raises(BackendUnavailable, match=r"'tf32' .* device='cuda', or .* fp32"):
        BACKENDS["ort-cpu"].load(tf32_artifact, "cpu", None)


def test_a_silent_fallback_is_refused(fake_ort, onnx_artifact):
    fake_ort.falls_back = True
    with pytest.raises(BackendUnavailable, match=r"expected ONNX Runtime to run on CUDA.*found"):
        load(onnx_artifact)
    assert fake_ort.driver.live == 0
    assert not fake_ort.runs


@pytest.mark.parametrize("count", [1, 3])
def test_a_node_on_the_cpu_is_refused_by_name(fake_ort, onnx_artifact, count):
    fake_ort.on_cpu = count
    with pytest.raises(BackendUnavailable, match=r"found node_conv2d \(Conv\) on CPU") as caught:
        load(onnx_artifact)
    assert str(caught.value).count(" on CPUExecutionProvider") == count


def test_an_option_that_is_not_in_force_is_refused(fake_ort, onnx_artifact):
    fake_ort.loses = ("use_tf32",)
    with pytest.raises(BackendUnavailable, match=r"found \{'use_tf32': None\}"):
        load(onnx_artifact)


@pytest.mark.parametrize("parts", [None, []], ids=["an old version", "nothing is told"])
def test_a_session_that_does_not_tell_where_it_runs_is_refused(
    fake_ort, onnx_artifact, monkeypatch, parts
):
    name = "get_provider_graph_assignment_info"
    if parts is None:
        monkeypatch.delattr(fake_onnxruntime.FakeSession, name)
    else:
        monkeypatch.setattr(fake_onnxruntime.FakeSession, name, lambda self: parts)
    with pytest.raises(BackendUnavailable, match=r"where (each|its) nodes? runs?"):
        load(onnx_artifact)


FAILURES = {
    "This session contains graph nodes that are assigned to the default CPU EP, but fallback "
    "to CPU EP has been explicitly disabled by the user.": BackendUnavailable,
    "CUDA failure 100: no CUDA-capable device is detected": BackendUnavailable,
    "CUDNN failure 1001: CUDNN_STATUS_NOT_INITIALIZED": BackendUnavailable,
    "CUDA failure 2: out of memory": DeviceMemoryError,
    "CUBLAS_STATUS_ALLOC_FAILED": DeviceMemoryError,
    "Protobuf parsing failed.": ArtifactError,
}


@pytest.mark.parametrize(("text", "kind"), FAILURES.items())
def test_a_session_that_cannot_be_made(fake_ort, onnx_artifact, monkeypatch, text, kind):
    def fail(*_, **__):
        raise RuntimeError(text)

    monkeypatch.setattr(onnxruntime, "InferenceSession", fail)
    with pytest.raises(kind, match=r"model\.onnx") as caught:
        load(onnx_artifact)
    assert type(caught.value) is kind
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert fake_ort.driver.live == 0


# probe


def test_its_version_is_told(fake_ort):
    assert BACKENDS["ort-cuda"].probe("cuda:0") == onnxruntime.__version__


def test_everything_that_is_missing_is_told_at_once(fake_ort):
    fake_ort.missing = ("libcublas.so.13", "libcudnn.so.9")
    with pytest.raises(BackendUnavailable) as caught:
        BACKENDS["ort-cuda"].probe("cuda:1")
    text = str(caught.value)
    assert "not found: libcublas.so.13, libcudnn.so.9; pip install 'onnxruntime-gpu[" in text
    assert "and device: no 'cuda:1'" in text


def test_a_driver_older_than_the_provider(fake_ort):
    fake_ort.gpu.driver = "12.9"
    with pytest.raises(BackendUnavailable, match=r"CUDA 13 and the driver supports CUDA 12\.9"):
        BACKENDS["ort-cuda"].probe("cuda")
    fake_ort.gpu.driver = "14.0"
    BACKENDS["ort-cuda"].probe("cuda")


def test_the_cpu_build_of_onnx_runtime(fake_ort, monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [core.CPU])
    with pytest.raises(BackendUnavailable, match=r"pip install .*\[gpu\]'"):
        BACKENDS["ort-cuda"].probe("cuda")


def test_onnx_runtime_that_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BackendUnavailable, match=r"pip install .*\[gpu\]'"):
        BACKENDS["ort-cuda"].probe("cuda")


def test_a_device_that_is_none(fake_ort, onnx_artifact):
    with pytest.raises(InputError, match="expected 'cpu', 'cuda' or 'cuda:N'"):
        load(onnx_artifact, device="gpu")
    with pytest.raises(BackendUnavailable, match="no 'cuda:7'"):
        load(onnx_artifact, device="cuda:7")


def test_the_table_of_starts_holds_every_graph(onnx_artifact, exported):
    assert BACKENDS["ort-cuda"].starts(onnx_artifact) == (1, 2, 3, 5, 9, 17, 33, 65)
    assert BACKENDS["ort-cuda"].starts(exported("onnx", static_batch=3)) == (3,)


@pytest.mark.gpu
@pytest.mark.parametrize("size", [1, 7, 64, 65, 5000])
def test_a_real_gpu_answers_as_the_cpu_does(onnx_artifact, on_cpu, size):
    try:
        cuda.gpu(0)
        BACKENDS["ort-cuda"].probe("cuda:0")
    except BackendUnavailable as error:
        pytest.skip(str(error))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # also where graphs cannot be captured
        with load(onnx_artifact) as session:
            same(session.run(images(size)), on_cpu(images(size)))
