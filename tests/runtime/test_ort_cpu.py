"""ort-cpu: ONNX Runtime's own ways and errors stop at this backend."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from dense_onnx import IMAGES, WEIGHTS, write_dense
from samples import noise

import lenet_runtime
from lenet_runtime.artifact import Artifact
from lenet_runtime.backends import BACKENDS
from lenet_runtime.backends.ort import ort_cpu
from lenet_runtime.errors import BackendUnavailable, DeployError

onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture
def folder(tmp_path):
    return write_dense(tmp_path / "artifact")


def test_a_dense_layer_is_an_artifact(folder):
    with lenet_runtime.load(folder) as session:
        assert session.backend == "ort-cpu"
        np.testing.assert_allclose(
            session.run(IMAGES), IMAGES.reshape(4, -1) @ WEIGHTS, rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("name", ["with space", os.fsdecode(b"caf\xe9"), "日本", "a" * 200])
def test_the_artifact_may_lie_under_any_path(folder, tmp_path, name):
    lenet_runtime.load(folder.rename(tmp_path / name)).close()


def test_onnx_runtime_that_is_missing_is_unavailable(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BackendUnavailable, match=r"pip install .*\[cpu\]'") as caught:
        lenet_runtime.load(folder, backend="ort-cpu")
    assert isinstance(caught.value.__cause__, ImportError)
    with pytest.raises(BackendUnavailable, match=r"ort-cpu: ONNX Runtime cannot be imported"):
        lenet_runtime.load(folder)


def test_its_version_is_told():
    assert BACKENDS["ort-cpu"].probe("cpu") == onnxruntime.__version__


def test_another_provider_is_never_accepted(folder, monkeypatch):
    """Compare what the engine says it uses with what was asked."""

    class Fallback(onnxruntime.InferenceSession):
        def get_providers(self):
            return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Fallback)
    with pytest.raises(BackendUnavailable, match=r"found .*CUDAExecutionProvider"):
        lenet_runtime.load(folder)


def test_one_provider_is_asked_for(folder, monkeypatch):
    asked = []
    real = onnxruntime.InferenceSession

    def spy(data, options, **keywords):
        spins = options.get_session_config_entry("session.intra_op.allow_spinning")
        asked.append((keywords["providers"], options.intra_op_num_threads, spins))
        return real(data, options, **keywords)

    monkeypatch.setattr(onnxruntime, "InferenceSession", spy)
    lenet_runtime.load(folder, threads=3).close()
    lenet_runtime.load(folder).close()
    assert asked == [(["CPUExecutionProvider"], 3, "0"), (["CPUExecutionProvider"], 1, "0")]


def test_a_run_that_fails_is_a_deploy_error(folder):
    """The predictor itself, given what Session would have refused."""
    predictor = ort_cpu.load(Artifact.open(folder), "cpu", None)
    with pytest.raises(DeployError, match=r"ort-cpu failed on \(1, 1, 28, 28\)") as caught:
        predictor.run(np.zeros((1, 1, 28, 28), np.float32))
    assert caught.value.__cause__ is not None


def test_threads_that_share_run_options_get_sequential_answers(onnx_artifact):
    """One `RunOptions` for all calls, bitwise the answers of one caller."""
    batches = [noise(1 + i % 5, seed=i) for i in range(400)]
    with lenet_runtime.load(onnx_artifact.path, threads=1) as session:
        alone = [session.run(batch) for batch in batches]
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(session.run, batches))
    for expected, found in zip(alone, together, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_no_call_makes_run_options(folder, monkeypatch):
    made = []
    real = onnxruntime.RunOptions
    monkeypatch.setattr(onnxruntime, "RunOptions", lambda: made.append(real()) or made[-1])
    predictor = ort_cpu.load(Artifact.open(folder), "cpu", None)
    real_run, given = predictor._run, []
    predictor._run = lambda *arguments: given.append(arguments[2]) or real_run(*arguments)
    predictor.run(IMAGES)
    predictor.run(IMAGES)
    assert len(made) == 1
    assert given == made * 2


def test_a_closed_predictor_says_so(folder):
    predictor = ort_cpu.load(Artifact.open(folder), "cpu", None)
    predictor.close()
    predictor.close()
    with pytest.raises(DeployError, match="closed"):
        predictor.run(IMAGES)
