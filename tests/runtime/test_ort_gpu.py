"""The predictor of ort-cuda and ort-tensorrt: graphs that answer as the session does, and memory.

ONNX Runtime's GPU is `fake_onnxruntime`'s, on the fake CUDA driver.
"""

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import fake_onnxruntime
import pytest
from fake_onnxruntime import load, same
from samples import noise as images

from lenet_runtime.artifact import Artifact
from lenet_runtime.backends.ort import gpu, ort_cuda
from lenet_runtime.errors import DeployError, DeviceMemoryError

pytest.importorskip("onnxruntime")


@pytest.fixture
def machine(fake_ort):
    return fake_ort


@pytest.fixture
def driver(machine):
    return machine.driver


@pytest.fixture
def predictor(machine, onnx_artifact):
    """Ours on the fake GPU, without a self-test's runs."""
    predictor = ort_cuda.load(Artifact.open(onnx_artifact.path), "cuda", None)
    yield predictor
    predictor.close()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 63, 64, 65, 200])
def test_every_size_is_answered_rightly(driver, predictor, on_cpu, size):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seed in range(2):
            same(predictor.run(images(size, seed)), on_cpu(images(size, seed)))
    assert driver.captures == (size <= 64)
    assert predictor.uses_graph(size) == (size <= 64)
    assert driver.graph_launches == (3 if size <= 64 else 0)
    assert driver.depth == 0


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
    assert machine.driver.used == 512 * 4 * (1024 + 10)
    assert [lane.capacity for lane in predictor._idle["without"]] == [512]


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


def test_the_gpu_is_waited_for_once_in_a_run(driver, predictor):
    predictor.run(images(4))
    driver.steps()
    predictor.run(images(4))
    assert driver.steps() == ["upload", "graph", "download", "synchronize"]


BROKEN = {
    "an empty graph": lambda machine: setattr(machine, "empty_graphs", True),
    "no capture": lambda machine: machine.driver.fail("cuStreamEndCapture", 900),
    "no graph of it": lambda machine: machine.driver.fail("cuGraphInstantiateWithFlags", 901),
}


@pytest.mark.parametrize("fault", BROKEN.values(), ids=BROKEN)
def test_graphs_that_do_not_work_are_told_and_not_used(machine, predictor, on_cpu, fault):
    same(predictor.run(images(64)), on_cpu(images(64)))  # a graph that works is given up as well
    fault(machine)
    with pytest.warns(RuntimeWarning, match=r"no CUDA graph .* on the same GPU") as told:
        same(predictor.run(images(4)), on_cpu(images(4)))
    assert len(told) == 1
    used = len(machine.launches)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for size in (5, 64):
            same(predictor.run(images(size)), on_cpu(images(size)))
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
def test_no_memory_for_buffers(driver, predictor, on_cpu, size):
    predictor.run(images(70))
    driver.fail("cuMemAlloc_v2", 2)
    with pytest.raises(DeviceMemoryError, match="smaller batches"):
        predictor.run(images(size if size < 70 else 4000))
    driver.heal()
    same(predictor.run(images(size)), on_cpu(images(size)))


def test_a_run_that_fails_is_a_deploy_error(machine, predictor, monkeypatch):
    def fail(*_):
        raise RuntimeError("CUDA failure 700: an illegal memory access was encountered")

    monkeypatch.setattr(fake_onnxruntime.FakeSession, "run_with_iobinding", fail)
    with pytest.raises(DeployError, match=r"ort-cuda on \(70, 1, 32, 32\) failed: CUDA") as caught:
        predictor.run(images(70))
    assert type(caught.value) is DeployError


def test_a_copy_that_fails_is_an_error(driver, predictor):
    predictor.run(images(4))
    driver.fail("cuMemcpyHtoDAsync_v2", 700)
    with pytest.raises(DeployError, match=r"copying .* to the GPU"):
        predictor.run(images(4))
    driver.heal()
    assert driver.depth == 0


def test_a_batch_that_cannot_be_bound_leaves_no_trace(predictor, on_cpu):
    predictor.run(images(70))
    session = predictor._session.inference
    make = session.io_binding

    def refuse():
        bound = make()
        bound.bind_output = lambda *arguments: 1 / 0
        return bound

    session.io_binding = refuse
    with pytest.raises(ZeroDivisionError):
        predictor.run(images(80))
    session.io_binding = make
    for size in (70, 80):
        same(predictor.run(images(size)), on_cpu(images(size)))


# Closing


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
        assert machine.driver.live
        proceed.set()
        assert answer.result(30).shape == (70, 10)
        closing.result(30)
    assert machine.driver.live == 0


def test_closing_waits_for_every_piece_of_a_large_batch(predictor, on_cpu, monkeypatch):
    monkeypatch.setattr(gpu, "MAX_BATCH", 4)
    run, threads = predictor._run, []

    def run_and_close(piece):
        found = run(piece)
        threads.append(threading.Thread(target=predictor.close))
        threads[-1].start()
        threads[-1].join(0.2)
        return found

    monkeypatch.setattr(predictor, "_run", run_and_close)
    same(predictor.run(images(8)), on_cpu(images(8)))
    for thread in threads:
        thread.join()


# Steps, for benchmarks


@pytest.mark.parametrize(("graph", "word"), [(True, "graph"), (False, "kernel")])
def test_steps_put_their_work_on_the_stream(driver, predictor, on_cpu, graph, word):
    stages = predictor.stages(images(3), graph=graph)
    context = predictor.context
    assert driver.captures == graph
    assert stages.stream == predictor._session.stream.handle
    driver.steps()
    for step in (stages.upload, stages.compute, stages.download, stages.compute):
        step()
    assert driver.steps() == ["upload", word, "download", word]
    same(stages.answer(), on_cpu(images(3)))
    with context:  # as a benchmark times them
        events = [context.event() for _ in range(2)]
        events[0].record(stages.stream)
        stages.compute()
        events[1].record(stages.stream)
        events[1].synchronize()
        assert events[1].microseconds_since(events[0]) == pytest.approx(5)
    stages.close()
    stages.close()
    assert driver.used == 0
