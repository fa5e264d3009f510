"""The predictor of ort-cuda and ort-tensorrt on the CUDA driver's own interface, which is faked.

`test_ort_cuda` has the rest, on a fake of `lenet_runtime.cuda`.
"""

import ctypes
import threading
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from lenet_runtime import cuda
from lenet_runtime.artifact import Artifact
from lenet_runtime.backends.ort import gpu
from lenet_runtime.errors import DeployError, DeviceMemoryError

onnxruntime = pytest.importorskip("onnxruntime")

CUBIN = b"\x7fELF"
TYPES = (ctypes.c_ulonglong, ctypes.c_ulonglong, ctypes.c_int)


class Session:
    """Launches the whole network as one kernel on the stream that it was given."""

    def __init__(self, artifact, stream, function):
        data = (artifact.path / "model.onnx").read_bytes()
        self.real = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        self.get_inputs, self.get_outputs = self.real.get_inputs, self.real.get_outputs
        self.stream = SimpleNamespace(_handle=ctypes.c_void_p(stream))
        self.function = function

    def kernel(self, values, blocks, threads, shared):
        source, target, size = values
        logits = view(target, (size, 10))
        logits[:] = self.real.run(None, {"images": view(source, (size, 1, 32, 32))})[0]

    def io_binding(self):
        bound = SimpleNamespace()
        bound.bind_input = lambda *a: setattr(bound, "source", (a[5], a[4][0]))
        bound.bind_output = lambda *a: setattr(bound, "target", a[5])
        return bound

    def run_with_iobinding(self, bound, options):
        source, size = bound.source
        values = [kind(v) for kind, v in zip(TYPES, (source, bound.target, size), strict=True)]
        self.function.launch(self.stream, cuda.Arguments(*values), blocks=1, threads=1)


def view(pointer, shape):
    kind = ctypes.c_float * int(np.prod(shape))
    return np.ctypeslib.as_array(kind.from_address(pointer)).reshape(shape)


@pytest.fixture
def driver(fake_cuda):
    return fake_cuda(memory=2**20)


@pytest.fixture
def predictor(driver, onnx_artifact):
    context = cuda.Context(0)
    sessions = []

    def net(*arguments):
        sessions[0].kernel(*arguments)

    driver.kernel("net", net, TYPES)
    with context:
        (function,) = context.functions(CUBIN, ["net"])

    def make(stream):
        sessions.append(Session(onnx_artifact, stream, function))
        return sessions[0]

    predictor = gpu.OrtGpu("ort-cuda", Artifact.open(onnx_artifact.path), 0, make)
    yield predictor
    predictor.close()
    context.close()


def images(size):
    return np.random.default_rng(size).standard_normal((size, 1, 32, 32), np.float32)


@pytest.fixture
def expected(onnx_artifact):
    session = onnxruntime.InferenceSession(
        (onnx_artifact.path / "model.onnx").read_bytes(), providers=["CPUExecutionProvider"]
    )
    return lambda batch: session.run(None, {"images": batch})[0]


@pytest.mark.parametrize("size", [1, 3, 64, 65, 100])
def test_answers_come_through_the_driver(driver, predictor, expected, size):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for batch in (images(size), images(size) * 2):
            found = predictor.run(batch)
            np.testing.assert_allclose(found, expected(batch), rtol=1e-5, atol=1e-5)
    assert driver.captures == (size <= 64)
    assert predictor.uses_graph(size) == (size <= 64)
    assert driver.graph_launches == (3 if size <= 64 else 0)
    assert driver.depth == 0


def test_steps_can_be_timed_by_events(driver, predictor, expected):
    for graph in (True, False):
        stages = predictor.stages(images(5), graph=graph)
        context = predictor._context
        with context:
            events = [context.event() for _ in range(2)]
            stages.upload()
            events[0].record(stages.stream)
            stages.compute()
            events[1].record(stages.stream)
            stages.download()
            events[1].synchronize()
            assert events[1].microseconds_since(events[0]) >= 0
            predictor._stream.synchronize()
        found = stages.answer()
        np.testing.assert_allclose(found, expected(images(5)), rtol=1e-5, atol=1e-5)
        stages.close()
    assert driver.captures == 1


def test_memory_that_runs_out_comes_back(driver, predictor, expected):
    with pytest.raises(DeviceMemoryError, match="smaller batches"):
        predictor.run(images(300))
    np.testing.assert_allclose(
        predictor.run(images(70)), expected(images(70)), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("function", ["cuStreamEndCapture", "cuGraphInstantiateWithFlags"])
def test_a_capture_that_the_driver_refuses_is_told(driver, predictor, expected, function):
    driver.fail(function, 901)
    with pytest.warns(RuntimeWarning, match="no CUDA graph can be captured here"):
        found = predictor.run(images(4))
    driver.heal()
    np.testing.assert_allclose(found, expected(images(4)), rtol=1e-5, atol=1e-5)
    assert not driver.graph_launches


def test_a_copy_that_fails_is_an_error(driver, predictor):
    predictor.run(images(4))
    driver.fail("cuMemcpyHtoDAsync_v2", 700)
    with pytest.raises(DeployError, match=r"copying .* to the GPU"):
        predictor.run(images(4))
    driver.heal()
    assert driver.depth == 0


def test_closing_waits_for_every_piece_of_a_large_batch(driver, predictor, expected, monkeypatch):
    monkeypatch.setattr(gpu, "MAX_BATCH", 4)
    batch, run, threads = images(8), predictor._run, []

    def run_and_close(piece):
        found = run(piece)
        threads.append(threading.Thread(target=predictor.close))
        threads[-1].start()
        threads[-1].join(0.2)
        return found

    monkeypatch.setattr(predictor, "_run", run_and_close)
    np.testing.assert_allclose(predictor.run(batch), expected(batch), rtol=1e-5, atol=1e-5)
    for thread in threads:
        thread.join()


def test_a_batch_that_cannot_be_bound_leaves_the_one_before(driver, predictor, expected):
    first = images(70)
    predictor.run(first)
    make = predictor._session.io_binding

    def refuse():
        bound = make()
        bound.bind_output = lambda *arguments: 1 / 0
        return bound

    predictor._session.io_binding = refuse
    with pytest.raises(ZeroDivisionError):
        predictor.run(images(80))
    np.testing.assert_allclose(predictor.run(first), expected(first), rtol=1e-5, atol=1e-5)
