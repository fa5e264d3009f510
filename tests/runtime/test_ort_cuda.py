"""ort-cuda: nothing but the GPU that was asked for, and graphs that answer as the session does.

The GPU is `fake_onnxruntime`'s; tests/ort_gpu_trial.py has the real onnxruntime-gpu, without one.
"""

import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import fake_onnxruntime
import numpy as np
import pytest
from artifact_files import edit_manifest

import lenet_runtime
from lenet_runtime import cuda
from lenet_runtime.artifact import Artifact
from lenet_runtime.backends import BACKENDS
from lenet_runtime.backends.ort import core, gpu, ort_cuda
from lenet_runtime.errors import (
    ArtifactError,
    BackendUnavailable,
    DeployError,
    DeviceMemoryError,
    InputError,
)

onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture
def machine(monkeypatch, tmp_path):
    return fake_onnxruntime.install(monkeypatch, tmp_path)


@pytest.fixture
def predictor(machine, onnx_artifact):
    """Ours on the fake GPU, without a self-test's runs."""
    predictor = ort_cuda.load(Artifact.open(onnx_artifact.path), "cuda", None)
    yield predictor
    predictor.close()
    assert machine.held_bytes == 0
    assert all(context.closed and not context.inside for context in machine.contexts)


@pytest.fixture
def on_cpu(onnx_artifact):
    with lenet_runtime.load(onnx_artifact.path, device="cpu") as session:
        yield session.run


def images(size, seed=0):
    return np.random.default_rng(seed).standard_normal((size, 1, 32, 32), np.float32)


def load(artifact, device="cuda", **more):
    return lenet_runtime.load(artifact.path, backend="ort-cuda", device=device, **more)


def same(found, expected):
    """Padded to another batch size, the last bits may differ."""
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


# What is asked for, and what is refused


def test_the_gpu_and_nothing_else_is_asked_for(machine, onnx_artifact):
    load(onnx_artifact).close()
    ((providers, config, threads),) = machine.asked
    ((name, settings),) = providers
    assert name == "CUDAExecutionProvider"
    assert settings["device_id"] == "0"
    assert settings["use_tf32"] == "0"
    assert settings["cudnn_conv_algo_search"] == "HEURISTIC"
    assert settings["user_compute_stream"] == str(min(machine.streams))
    assert config == {
        "session.disable_cpu_ep_fallback": "1",
        "session.record_ep_graph_assignment_info": "1",
    }
    assert threads == 1


def test_tf32_is_computed_where_the_artifact_says_so(machine, onnx_artifact, copy_of):
    folder = edit_manifest(copy_of(onnx_artifact), lambda d: d.update(precision="tf32"))
    ort_cuda.load(Artifact.open(folder), "cuda", None).close()
    assert machine.asked[0][0][0][1]["use_tf32"] == "1"


def test_a_cpu_refuses_tf32(onnx_artifact, copy_of):
    folder = edit_manifest(copy_of(onnx_artifact), lambda d: d.update(precision="tf32"))
    with pytest.raises(BackendUnavailable, match=r"'tf32' .* device='cuda', or .* fp32"):
        BACKENDS["ort-cpu"].load(Artifact.open(folder), "cpu", None)


def test_a_silent_fallback_is_refused(machine, onnx_artifact):
    machine.falls_back = True
    with pytest.raises(BackendUnavailable, match=r"expected ONNX Runtime to run on CUDA.*found"):
        load(onnx_artifact)
    assert machine.contexts[-1].closed
    assert not machine.runs


@pytest.mark.parametrize("count", [1, 3])
def test_a_node_on_the_cpu_is_refused_by_name(machine, onnx_artifact, count):
    machine.on_cpu = count
    with pytest.raises(BackendUnavailable, match=r"found node_conv2d \(Conv\) on CPU") as caught:
        load(onnx_artifact)
    assert str(caught.value).count(" on CPUExecutionProvider") == count


def test_an_option_that_is_not_in_force_is_refused(machine, onnx_artifact):
    machine.loses = ("use_tf32",)
    with pytest.raises(BackendUnavailable, match=r"found \{'use_tf32': None\}"):
        load(onnx_artifact)


@pytest.mark.parametrize("parts", [None, []], ids=["an old version", "nothing is told"])
def test_a_session_that_does_not_tell_where_it_runs_is_refused(
    machine, onnx_artifact, monkeypatch, parts
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
def test_a_session_that_cannot_be_made(machine, onnx_artifact, monkeypatch, text, kind):
    def fail(*_, **__):
        raise RuntimeError(text)

    monkeypatch.setattr(onnxruntime, "InferenceSession", fail)
    with pytest.raises(kind, match=r"model\.onnx") as caught:
        load(onnx_artifact)
    assert type(caught.value) is kind
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert machine.contexts[-1].closed


# probe


def test_its_version_is_told(machine):
    assert BACKENDS["ort-cuda"].probe("cuda:0") == onnxruntime.__version__


def test_everything_that_is_missing_is_told_at_once(machine):
    machine.missing = ("libcublas.so.13", "libcudnn.so.9")
    with pytest.raises(BackendUnavailable) as caught:
        BACKENDS["ort-cuda"].probe("cuda:1")
    text = str(caught.value)
    assert "not found: libcublas.so.13, libcudnn.so.9; pip install 'onnxruntime-gpu[" in text
    assert "and device: no 'cuda:1'" in text


def test_a_driver_older_than_the_provider(machine):
    machine.gpu.driver = "12.9"
    with pytest.raises(BackendUnavailable, match=r"CUDA 13 and the driver supports CUDA 12\.9"):
        BACKENDS["ort-cuda"].probe("cuda")
    machine.gpu.driver = "14.0"
    BACKENDS["ort-cuda"].probe("cuda")


def test_the_cpu_build_of_onnx_runtime(machine, monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [core.CPU])
    with pytest.raises(BackendUnavailable, match=r"pip install 'lenet-deploy\[gpu\]'"):
        BACKENDS["ort-cuda"].probe("cuda")


def test_onnx_runtime_that_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BackendUnavailable, match=r"pip install 'lenet-deploy\[gpu\]'"):
        BACKENDS["ort-cuda"].probe("cuda")


# Answers, graphs, buffers


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 63, 64, 65, 200])
def test_every_size_is_answered_rightly(predictor, on_cpu, size):
    for seed in range(2):
        same(predictor.run(images(size, seed)), on_cpu(images(size, seed)))


def test_a_session_passes_its_self_test_through_every_graph(machine, onnx_artifact, on_cpu):
    with load(onnx_artifact) as session:
        assert set(machine.launches) == {1, 2, 4, 8, 16, 32, 64}
        same(session.run(images(5)), on_cpu(images(5)))


def test_small_batches_are_padded_and_captured_once(machine, predictor):
    for size in (5, 6, 7, 8, 5):
        predictor.run(images(size))
    assert machine.runs == [8, 8, 8]  # two before the capture, and one to prove the graph
    assert machine.launches == [8] * 6


def test_large_batches_have_no_graph_and_one_memory(machine, predictor):
    for size in (65, 100, 128, 300):
        predictor.run(images(size))
    assert machine.runs == [65, 100, 128, 300]
    assert not machine.launches
    assert machine.held_bytes == 2 * 512 * 4 * (1024 + 10)  # pinned and on the device
    assert [b.capacity for b in predictor._batches.values()] == [512]


def test_batches_beyond_the_maximum_are_cut(machine, predictor, on_cpu, monkeypatch):
    monkeypatch.setattr(gpu, "MAX_BATCH", 100)
    same(predictor.run(images(250)), on_cpu(images(250)))
    assert machine.runs[:2] == [100, 100]
    assert set(machine.launches) == {64}  # the last 50


def test_a_static_artifact_has_its_own_size(machine, exported):
    artifact = exported("onnx", static_batch=3)
    with load(artifact) as session:
        session.run(images(3))
    assert set(machine.launches) == {3}


def test_the_gpu_is_waited_for_once_in_a_run(machine, predictor):
    predictor.run(images(4))
    machine.log.clear()
    predictor.run(images(4))
    assert machine.log == ["upload", "graph", "download", "synchronize"]


def test_an_answer_is_not_overwritten_by_the_next(predictor):
    first = predictor.run(images(4, 0))
    kept = first.copy()
    predictor.run(images(4, 1))
    np.testing.assert_array_equal(first, kept)


BROKEN = {"no capture": {"capture_fails": True}, "an empty graph": {"replay": "nothing"}}


@pytest.mark.parametrize("fault", BROKEN.values(), ids=BROKEN)
def test_graphs_that_do_not_work_are_told_and_not_used(machine, predictor, on_cpu, fault):
    for name, value in fault.items():
        setattr(machine, name, value)
    with pytest.warns(RuntimeWarning, match=r"no CUDA graph .* on the same GPU") as told:
        same(predictor.run(images(4)), on_cpu(images(4)))
    assert len(told) == 1
    used = len(machine.launches)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same(predictor.run(images(5)), on_cpu(images(5)))
    assert len(machine.launches) == used
    assert predictor.stages(images(4), graph=True) is None


def test_one_session_serves_many_threads(machine, onnx_artifact, on_cpu):
    batches = [images(1 + i % 70, i) for i in range(100)]
    with load(onnx_artifact) as session, ThreadPoolExecutor(8) as pool:
        for found, batch in zip(pool.map(session.run, batches), batches, strict=True):
            same(found, on_cpu(batch))


# Memory


@pytest.mark.parametrize("size", [3, 100])
def test_out_of_memory_is_an_error_of_its_own_and_passes(machine, predictor, on_cpu, size):
    machine.memory = 1
    with pytest.raises(DeviceMemoryError, match=r"too little free memory .* smaller batches"):
        predictor.run(images(size))
    same(predictor.run(images(1)), on_cpu(images(1)))
    machine.memory = None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same(predictor.run(images(size)), on_cpu(images(size)))
    assert (size in machine.runs) == (size == 100)


@pytest.mark.parametrize("size", [3, 100])
def test_no_memory_for_buffers(machine, predictor, on_cpu, size):
    predictor.run(images(70))
    machine.free_bytes = machine.held_bytes
    with pytest.raises(DeviceMemoryError):
        predictor.run(images(size if size < 70 else 4000))
    machine.free_bytes = 2**40
    same(predictor.run(images(size)), on_cpu(images(size)))


def test_half_the_memory_is_given_back(machine, predictor):
    machine.free_bytes = 128 * 4 * 1024  # the pinned images, and no more
    with pytest.raises(DeviceMemoryError):
        predictor.run(images(100))
    assert machine.held_bytes == 0


def test_a_run_that_fails_is_a_deploy_error(machine, predictor, monkeypatch):
    def fail(*_):
        raise RuntimeError("CUDA failure 700: an illegal memory access was encountered")

    monkeypatch.setattr(fake_onnxruntime.FakeSession, "run_with_iobinding", fail)
    with pytest.raises(DeployError, match=r"ort-cuda on \(70, 1, 32, 32\) failed: CUDA") as caught:
        predictor.run(images(70))
    assert type(caught.value) is DeployError


# Closing


def test_a_closed_predictor_says_so(predictor):
    predictor.run(images(2))
    predictor.close()
    predictor.close()
    with pytest.raises(DeployError, match="closed"):
        predictor.run(images(2))


def test_closing_waits_for_the_run_that_is_under_way(machine, predictor, monkeypatch):
    entered, proceed = threading.Event(), threading.Event()
    real = fake_onnxruntime.FakeSession.run_with_iobinding

    def slow(*arguments):
        entered.set()
        assert proceed.wait(30)
        real(*arguments)

    monkeypatch.setattr(fake_onnxruntime.FakeSession, "run_with_iobinding", slow)
    with ThreadPoolExecutor(2) as pool:
        answer = pool.submit(predictor.run, images(70))
        assert entered.wait(30)
        closing = pool.submit(predictor.close)
        assert not machine.contexts[-1].closed
        proceed.set()
        assert answer.result(30).shape == (70, 10)
        closing.result(30)
    assert machine.contexts[-1].closed


# Steps, for benchmarks


@pytest.mark.parametrize(("graph", "word"), [(True, "graph"), (False, "run")])
def test_steps_put_their_work_on_the_stream(machine, predictor, on_cpu, graph, word):
    stages = predictor.stages(images(3), graph=graph)
    assert stages.stream in machine.streams
    machine.log.clear()
    for step in (stages.upload, stages.compute, stages.download, stages.compute):
        step()
    assert machine.log == ["upload", word, "download", word]
    same(stages._batch._logits, on_cpu(images(3)))
    stages.close()
    stages.close()
    assert machine.held_bytes == 0


def test_steps_of_a_closed_session(machine, predictor):
    stages = predictor.stages(images(3), graph=False)
    predictor.close()
    stages._batch.close()
    stages.close()
    with pytest.raises(DeployError, match="closed"):
        stages.compute()


def test_a_device_that_is_none(machine, onnx_artifact):
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
