"""Counters of requests: what Prometheus reads, and V2's statistics, over all workers."""

import os
import shutil
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import lenet_serve
from lenet_serve import counters
from lenet_serve.counters import Counters, shared_memory
from lenet_serve.errors import Code, ServeError
from lenet_serve.metrics import Metrics
from lenet_serve.protocol.infer import InferRequest, Tensor, Times


def values(metrics):
    """Each sample of the text by its name and labels."""
    lines = [line for line in metrics.text().decode().splitlines() if not line.startswith("#")]
    pairs = [line.rsplit(" ", 1) for line in lines]
    samples = {name: float(value) for name, value in pairs}
    assert len(samples) == len(pairs), "a series is there twice"
    return samples


def answered(metrics, times=1, *, model="lenet", version="1", protocol="http", rows=1, **more):
    durations = {"queue_ns": 2_000, "input_ns": 3_000, "infer_ns": 7_000, "output_ns": 1_000}
    own = Times(**({"total_ns": 61_000, "batch": rows} | durations | more))
    for _ in range(times):
        metrics.record(model, version, protocol=protocol, code=None, rows=rows, times=own)


def failed(metrics, code, protocol="http", *, model="lenet", version="1", total_ns=9_000):
    times = Times(total_ns=total_ns)
    metrics.record(model, version, protocol=protocol, code=code, rows=0, times=times)


@pytest.fixture
def metrics():
    metrics = Metrics()
    metrics.loaded("lenet", "1")
    return metrics


@pytest.fixture
def two():
    """The metrics of two workers that share memory."""
    fd = shared_memory(2)
    workers = [Metrics(Counters(2, fd), worker) for worker in range(2)]
    os.close(fd)
    for worker in workers:
        worker.loaded("lenet", "1")
    return workers


def test_a_request_is_counted_under_tritons_names(metrics):
    answered(metrics, 3)
    answered(metrics, rows=5)
    found = values(metrics)
    expected = {"request_success": 4, "count": 8, "exec_count": 4, "request_duration_us": 244,
                "queue_duration_us": 8, "compute_input_duration_us": 12,
                "compute_infer_duration_us": 28, "compute_output_duration_us": 4,
                "pending_request_count": 0}  # fmt: skip
    for name, value in expected.items():
        assert found[f'nv_inference_{name}{{model="lenet",version="1"}}'] == value, name


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (Code.UNAVAILABLE, "REJECTED"),
        (Code.DEADLINE, "REJECTED"),
        (Code.INTERNAL, "BACKEND"),
        (Code.CANCELLED, "CANCELED"),
        (Code.MALFORMED, "OTHER"),
    ],
)
def test_a_failure_has_its_reason_and_status(metrics, code, reason):
    failed(metrics, code)
    failed(metrics, code, "grpc")
    found = values(metrics)
    failures = 'nv_inference_request_failure{model="lenet",version="1",reason="%s"}'
    for name in ("REJECTED", "CANCELED", "BACKEND", "OTHER"):
        assert found[failures % name] == (2 if name == reason else 0)
    requests = 'lenet_requests_total{model="lenet",version="1",protocol="%s",code="%s"}'
    assert found[requests % ("http", code.http)] == 1
    assert found[requests % ("grpc", code.grpc)] == 1
    assert found['lenet_request_seconds_count{model="lenet",version="1"}'] == 0


def test_codes_that_are_one_status_of_grpc_are_one_series(metrics):
    for code in Code:
        failed(metrics, code, "grpc")
    same = sum(code.grpc == "INVALID_ARGUMENT" for code in Code)
    name = 'lenet_requests_total{model="lenet",version="1",protocol="grpc",code="INVALID_ARGUMENT"}'
    assert values(metrics)[name] == same > 1


def test_durations_fall_into_buckets_that_add_up(metrics):
    for total_ns in (1, 5_000, 5_001, 10**10, 10**10 + 1):
        answered(metrics, total_ns=total_ns)
    found = values(metrics)
    bucket = 'lenet_request_seconds_bucket{model="lenet",version="1",le="%s"}'
    expected = {"5e-06": 2, "1e-05": 3, "5.0": 3, "10.0": 4, "+Inf": 5}
    assert {bound: found[bucket % bound] for bound in expected} == expected
    assert found['lenet_request_seconds_sum{model="lenet",version="1"}'] == pytest.approx(
        20.000010002
    )


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 63, 64, 65, 128, 129, 4096, 4097, 10**9])
def test_an_execution_falls_into_the_bucket_of_its_size(metrics, rows):
    answered(metrics, rows=rows)
    found = values(metrics)
    for power in range(13):
        bucket = f'lenet_batch_size_bucket{{model="lenet",version="1",le="{2**power}"}}'
        assert found[bucket] == (rows <= 2**power)
    assert found['lenet_batch_size_sum{model="lenet",version="1"}'] == rows


def test_a_request_that_was_computed_with_another_is_no_execution(metrics):
    answered(metrics, batch=3)
    answered(metrics, 2, batch=0)
    statistics = metrics.statistics("lenet", "1")
    assert statistics["execution_count"] == 1
    assert statistics["inference_count"] == 3
    assert statistics["inference_stats"]["compute_infer"] == {"count": 3, "ns": 21_000}
    (batch,) = statistics["batch_stats"]
    assert batch["batch_size"] == 3
    assert batch["compute_infer"] == {"count": 1, "ns": 7_000}


def test_statistics_are_v2s_document(metrics):
    answered(metrics, 2)
    failed(metrics, Code.INTERNAL, "grpc", total_ns=77)
    statistics = metrics.statistics("lenet", "1")
    assert statistics.pop("last_inference") > 1_700_000_000_000
    none, infer = {"count": 0, "ns": 0}, {"count": 2, "ns": 14_000}
    assert statistics == {
        "name": "lenet",
        "version": "1",
        "inference_count": 2,
        "execution_count": 2,
        "inference_stats": {
            "success": {"count": 2, "ns": 122_000},
            "fail": {"count": 1, "ns": 77},
            "queue": {"count": 2, "ns": 4_000},
            "compute_input": {"count": 2, "ns": 6_000},
            "compute_infer": infer,
            "compute_output": {"count": 2, "ns": 2_000},
            "cache_hit": none,
            "cache_miss": none,
        },
        "response_stats": {},
        "batch_stats": [
            {"batch_size": 1, "compute_input": none, "compute_infer": infer, "compute_output": none}
        ],
        "memory_usage": [],
    }


def test_a_model_that_nobody_asked_has_statistics(metrics):
    assert metrics.statistics("new", "3")["inference_stats"]["success"] == {"count": 0, "ns": 0}


def test_a_service_counts_what_it_answers_and_refuses(service, native_session):
    shape = native_session.manifest.image_shape
    images = np.zeros((3, *shape), np.float32)
    request = InferRequest("lenet", inputs=[Tensor("images", "FP32", images.shape, images)])
    service.infer(request)
    for wrong in (InferRequest("lenet", inputs=[]), InferRequest("made up")):
        with pytest.raises(ServeError):
            service.infer(wrong)
    statistics = service.metrics.statistics("lenet", "1")
    assert (statistics["inference_count"], statistics["execution_count"]) == (3, 1)
    spent = [statistics["inference_stats"][name]["ns"] for name in
             ("compute_input", "compute_infer", "compute_output", "success")]  # fmt: skip
    assert all(spent)
    assert sum(spent[:3]) <= spent[3]
    found = values(service.metrics)
    assert found['nv_inference_request_failure{model="lenet",version="1",reason="OTHER"}'] == 1
    assert found['lenet_requests_total{model="",version="",protocol="http",code="404"}'] == 1
    assert found['lenet_pending_requests{model="lenet",version="1"}'] == 0


def test_requests_of_one_batch_are_one_execution(native_session):
    """Four that come while the engine is busy: they wait, and then run together."""
    engine, begun = threading.Event(), threading.Event()

    class Slow:
        def __getattr__(self, name):
            return getattr(native_session, name)

        def run(self, images):
            begun.set()
            assert engine.wait(10)
            return native_session.run(images)

        def close(self):
            pass

    images = np.zeros((1, 1, 32, 32), np.float32)
    request = InferRequest("lenet", inputs=[Tensor("images", "FP32", images.shape, images)])
    model = lenet_serve.Model("lenet", "1", Slow(), max_batch=8)
    with lenet_serve.Service([model]) as service:
        threads = [threading.Thread(target=service.infer, args=[request])]
        threads[0].start()
        assert begun.wait(10)
        threads += [threading.Thread(target=service.infer, args=[request]) for _ in range(4)]
        for thread in threads[1:]:
            thread.start()
        end = time.monotonic() + 10
        while len(model.batcher._queue) < 4:
            assert time.monotonic() < end
            time.sleep(0.001)
        pending = 'lenet_pending_requests{model="lenet",version="1"}'
        assert values(service.metrics)[pending] == 4
        engine.set()
        for thread in threads:
            thread.join()
        statistics = service.metrics.statistics("lenet", "1")
        assert values(service.metrics)[pending] == 0
    assert (statistics["inference_count"], statistics["execution_count"]) == (5, 2)
    assert [(batch["batch_size"], batch["compute_infer"]["count"])
            for batch in statistics["batch_stats"]] == [(1, 1), (4, 1)]  # fmt: skip


def test_both_workers_answer_with_the_sum(two):
    answered(two[0], 3)
    answered(two[1], 4, protocol="grpc")
    two[0].loaded("only here", "1")
    answered(two[0], 5, model="only here")
    two[1].loaded("lenet", "2")
    two[1].reloaded(True)
    two[0].reloaded(False)
    for worker in two:
        found = values(worker)
        assert found['nv_inference_request_success{model="lenet",version="1"}'] == 7
        assert found['lenet_images_total{model="only here",version="1"}'] == 5
        assert found['lenet_reloads_total{outcome="succeeded"}'] == 1
        assert found['lenet_reloads_total{outcome="failed"}'] == 1
        assert found['lenet_images_total{model="lenet",version="2"}'] == 0
        assert found["lenet_workers"] == 2
        assert worker.statistics("lenet", "1")["inference_count"] == 7


def test_a_worker_that_is_started_again_counts_on():
    """In a process of its own, which is killed."""
    fd = shared_memory(2)
    code = """
import os, sys
from lenet_serve.counters import Counters
from lenet_serve.metrics import Metrics
from lenet_serve.protocol.infer import Times
metrics = Metrics(Counters(2, int(sys.argv[1])), 1)
metrics.loaded("lenet", "1")
metrics.pending("lenet", "1", 9)
for _ in range(10):
    metrics.record("lenet", "1", protocol="http", code=None, rows=1, times=Times())
os.kill(os.getpid(), 9)
"""
    first = Metrics(Counters(2, fd), 0)
    first.loaded("lenet", "1")
    for died in (1, 2):
        process = subprocess.run([sys.executable, "-c", code, str(fd)], pass_fds=[fd], check=False)
        assert process.returncode == -9
        found = values(first)
        assert found['nv_inference_count{model="lenet",version="1"}'] == 10 * died
        assert found['lenet_pending_requests{model="lenet",version="1"}'] == 9
    again = Metrics(Counters(2, fd), 1)
    os.close(fd)
    again.loaded("lenet", "1")
    answered(again)
    found = values(first)
    assert found['nv_inference_count{model="lenet",version="1"}'] == 21
    assert found['lenet_pending_requests{model="lenet",version="1"}'] == 0


def test_threads_lose_no_count(metrics):
    """Even where another thread may run between reading a cell and writing it."""

    class Yielding:
        def __init__(self, cells):
            self.cells = cells

        def __getitem__(self, index):
            value = self.cells[index]
            time.sleep(0)
            return value

        def __setitem__(self, index, value):
            self.cells[index] = value

    metrics._cells = Yielding(metrics._cells)
    threads = [threading.Thread(target=answered, args=(metrics, 200)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values(metrics)['lenet_images_total{model="lenet",version="1"}'] == 800


def test_what_belongs_to_no_model_has_no_label(metrics):
    failed(metrics, Code.NOT_FOUND, model="", version="")
    name = 'lenet_requests_total{model="",version="",protocol="http",code="404"}'
    assert values(metrics)[name] == 1


def test_models_beyond_the_table_are_counted_without_a_name(metrics):
    answered(metrics)
    for number in range(100):
        answered(metrics, model=f"model {number}")
    metrics.loaded("x" * 400, "1")
    found = values(metrics)
    named = [name for name in found if name.startswith('lenet_images_total{model="model ')]
    assert len(named) == counters.ENTRIES - 2  # of entry 0 and of lenet
    name = 'lenet_requests_total{model="",version="",protocol="http",code="200"}'
    assert found[name] == 100 - len(named)


def test_a_version_takes_the_place_of_one_that_is_gone(metrics):
    """A folder whose versions come and go would fill the table."""
    answered(metrics)
    for number in range(2, 200):
        metrics.loaded("lenet", str(number))
        answered(metrics, version=str(number))
        metrics.unloaded("lenet", str(number))
    found = values(metrics)
    assert found['lenet_images_total{model="lenet",version="1"}'] == 1
    assert found['lenet_images_total{model="lenet",version="199"}'] == 1
    assert 'lenet_images_total{model="lenet",version="2"}' not in found
    assert sum(name.startswith("lenet_images_total") for name in found) == counters.ENTRIES - 1
    assert 'lenet_requests_total{model="",version="",protocol="http",code="200"}' not in found


def test_who_had_no_place_takes_one_that_becomes_free(metrics):
    for number in range(100):
        metrics.loaded(f"model {number}", "1")
    answered(metrics, model="model 99")
    metrics.unloaded("model 5", "1")
    answered(metrics, model="model 99")
    assert values(metrics)['lenet_images_total{model="model 99",version="1"}'] == 1


def test_labels_are_escaped(metrics):
    metrics.loaded('a"b\\c\nd', "1")
    assert rb'nv_inference_count{model="a\"b\\c\nd",version="1"} 0' in metrics.text()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_what_processes_use_is_shown(metrics):
    found = values(metrics)
    assert 10e6 < found['process_resident_memory_bytes{worker="0"}'] < 10e9
    assert found['process_cpu_seconds_total{worker="0"}'] > 0
    assert found['process_open_fds{worker="0"}'] > 2


def test_promtool_finds_no_fault_but_tritons_names(metrics):
    promtool = os.environ.get("PROMTOOL") or shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool, of Debian's package prometheus; PROMTOOL may say where it is")
    answered(metrics)
    failed(metrics, Code.NOT_FOUND, model="", version="")
    check = subprocess.run(
        [promtool, "check", "metrics"], input=metrics.text(), capture_output=True, check=False
    )
    lint = [
        line
        for line in check.stderr.decode().splitlines()
        if not line.startswith("nv_") or not line.endswith(("suffix", "units"))
    ]
    assert not lint
    assert check.returncode in (0, 3), check.stderr  # 3: lint alone
