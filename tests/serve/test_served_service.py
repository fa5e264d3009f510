"""`Service`: requests to models, without any network."""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest
from fake_engine import FakePredictor

from lenet_runtime import Session, load
from lenet_serve import (
    Code,
    InferRequest,
    Limits,
    Model,
    Recorder,
    ServeError,
    Service,
    StaticRepository,
    Tensor,
)

SECONDS = 30


class Remembers(Recorder):
    """Keeps what it is told."""

    def __init__(self):
        self.records, self.waiting = [], 0
        self.changed = threading.Condition()

    def record(self, model, version, *, protocol, code, rows, times, request=None):
        with self.changed:
            self.records.append((model, version, protocol, code, rows, times))
            self.changed.notify_all()

    def pending(self, model, version, change):
        self.waiting += change

    def last(self, count=1):
        """The record of this number, which may come just after the answer."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.records) >= count, SECONDS)
        return self.records[count - 1]


@pytest.fixture
def metrics():
    return Remembers()


@pytest.fixture
def predictor():
    return FakePredictor()


@pytest.fixture
def fake_model(predictor, native_session):
    return Model("lenet", "1", Session(predictor, native_session.artifact, "fake"))


@pytest.fixture
def served(fake_model, predictor, metrics):
    with Service([fake_model], metrics=metrics) as service:
        yield service
        predictor.proceed.set()


def ask(rows=1, value=1.0, **fields):
    data = np.full((rows, 1, 32, 32), value, np.float32)
    tensor = Tensor("images", "FP32", data.shape, data)
    return InferRequest(fields.pop("model", "lenet"), inputs=[tensor], **fields)


def value(answer):
    return answer.outputs[0].data[0, 0]


def test_one_line_serves_an_artifact(native_artifact, native_session):
    with Service.open(native_artifact.path, "mine", trust=True) as service:
        answer = service.infer(ask(2, model="mine", id="x"))
        assert (answer.model, answer.version, answer.id, answer.rows) == ("mine", "1", "x", 2)
        expected = native_session.run(np.ones((2, 1, 32, 32), np.float32))
        assert np.array_equal(answer.outputs[0].data, expected)
        assert service.ready
    assert not service.ready


def test_what_is_quick_is_answered_at_once(served, metrics):
    answer = served.submit(ask(64, protocol="grpc"))
    assert not isinstance(answer, Future)
    model, version, protocol, code, rows, times = metrics.last()
    assert (model, version, protocol, code, rows) == ("lenet", "1", "grpc", None, 64)
    assert times is answer.times
    assert times.batch == 64
    inner = times.input_ns + times.queue_ns + times.infer_ns + times.output_ns
    assert 0 < inner <= times.total_ns


def test_what_is_large_is_answered_by_a_future(served, metrics):
    answer = served.submit(ask(65))
    assert isinstance(answer, Future)
    assert value(answer.result(SECONDS)) == 1
    assert metrics.last()[3:5] == (None, 65)
    assert metrics.waiting == 0


def test_large_requests_of_native_leave_the_callers_thread(native_session):
    threads = set()
    model = Model("lenet", "1", native_session)
    run, model.batcher._run = (
        model.batcher._run,
        lambda batch: threads.add(threading.current_thread()) or run(batch),
    )
    answer = Service([model]).submit(ask(65))
    assert answer.result(SECONDS).rows == 65
    assert threading.current_thread() not in threads


def test_pictures_are_decoded_in_a_thread(served, metrics):
    tensor = Tensor("file", "BYTES", (1,), [b"no picture"])
    future = served.submit(InferRequest("lenet", inputs=[tensor]))
    assert isinstance(future, Future)
    with pytest.raises(ServeError, match="expected a picture"):
        future.result(SECONDS)
    assert metrics.last()[3] is Code.MALFORMED
    with pytest.raises(ServeError, match="expected a picture"):
        served.infer(InferRequest("lenet", inputs=[tensor]))


def test_requests_that_meet_are_computed_together(served, predictor, metrics):
    predictor.proceed.clear()
    with ThreadPoolExecutor(1) as pool:
        inline = pool.submit(served.infer, ask(value=1))
        assert predictor.entered.wait(SECONDS)
        futures = [served.submit(ask(value=n)) for n in (2, 3, 4)]
        assert all(isinstance(future, Future) for future in futures)
        assert metrics.waiting == 3
        predictor.proceed.set()
        assert value(inline.result(SECONDS)) == 1
    assert [value(future.result(SECONDS)) for future in futures] == [2, 3, 4]
    assert [len(batch) for batch in predictor.batches] == [1, 3]
    metrics.last(4)
    assert metrics.waiting == 0


def test_what_is_not_finite_joins_no_batch(served, predictor):
    predictor.proceed.clear()
    with ThreadPoolExecutor(1) as pool:
        inline = pool.submit(served.infer, ask())
        assert predictor.entered.wait(SECONDS)
        with pytest.raises(ServeError, match=r"images\[0, 0, 0, 0\]: expected finite values"):
            served.submit(ask(value=np.inf))
        predictor.proceed.set()
        inline.result(SECONDS)
    assert served.repository.get("lenet").admission.requests == 0


def test_batched_answers_equal_those_alone_to_the_bit(onnx_artifact):
    with load(onnx_artifact.path, threads=1) as session:
        images = np.random.default_rng(0).normal(size=(40, 1, 32, 32)).astype(np.float32)
        alone = [session.run(image[None]) for image in images]
        model = Model("lenet", "1", load(onnx_artifact.path, threads=1))
        ran = []
        run, model.batcher._run = (
            model.batcher._run,
            lambda batch: ran.append(len(batch)) or run(batch),
        )
        with Service([model]) as service, ThreadPoolExecutor(8) as pool:
            requests = [
                InferRequest("lenet", inputs=[Tensor("images", "FP32", (1, 1, 32, 32), x[None])])
                for x in images
            ]
            with model.batcher._engine:  # so that they meet
                answers = [pool.submit(service.infer, request) for request in requests]
                time.sleep(0.05)
            answers = [answer.result(SECONDS) for answer in answers]
    assert max(ran) > 1
    for answer, expected in zip(answers, alone, strict=True):
        assert np.array_equal(answer.outputs[0].data, expected)


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (ask(model="nope"), Code.NOT_FOUND, "model: expected one of lenet, found 'nope'"),
        (ask(version="9"), Code.NOT_FOUND, "version of lenet: expected one of 1, found '9'"),
        (ask(version="x"), Code.NOT_FOUND, "version of lenet: expected one of 1, found 'x'"),
        (InferRequest("lenet"), Code.MALFORMED, "inputs: expected exactly one"),
        (ask(parameters={"timeout": -1}), Code.MALFORMED, "parameters.timeout: expected"),
        (ask(parameters={"timeout": "1"}), Code.MALFORMED, "parameters.timeout: expected"),
        (ask(parameters={"priority": -1}), Code.MALFORMED, "parameters.priority: expected"),
        (ask(value=np.nan), Code.MALFORMED, "images: expected finite values"),
        (ask(0), Code.MALFORMED, "images: expected 1 to 4096 images"),
    ],
)
def test_refusals_are_raised_and_counted(served, metrics, request_, code, message):
    for call in (served.submit, served.infer):
        with pytest.raises(ServeError) as caught:
            call(request_)
        assert str(caught.value).startswith(message), str(caught.value)
        assert caught.value.code is code
    assert len(metrics.records) == 2
    model = "" if "nope" in message or "version" in message else "lenet"
    assert metrics.records[0][:4] == (model, "1" if model else "", "http", code)
    assert served.repository.get("lenet").admission.requests == 0


def test_reserved_parameters_are_taken(served):
    reserved = {
        "sequence_id": 5, "sequence_start": True, "priority": 3, "timeout": 10**7, "other": "x",
    }  # fmt: skip
    assert value(served.infer(ask(parameters=reserved))) == 1
    assert value(served.infer(ask(parameters={"timeout": 0}))) == 1


def test_a_deadline_that_has_passed_computes_nothing(served, predictor, metrics):
    for call in (served.submit, served.infer):
        with pytest.raises(ServeError, match="deadline") as caught:
            call(ask(), time.monotonic())
        assert caught.value.code is Code.DEADLINE
    with pytest.raises(ServeError, match="deadline"):
        served.submit(ask(parameters={"timeout": 1}))
    assert not predictor.batches
    assert [record[3] for record in metrics.records] == [Code.DEADLINE] * 3


def test_who_waits_is_told_when_the_deadline_passes(served, predictor, metrics):
    predictor.proceed.clear()
    with ThreadPoolExecutor(1) as pool:
        inline = pool.submit(served.infer, ask())
        assert predictor.entered.wait(SECONDS)
        with pytest.raises(ServeError) as caught:
            served.infer(ask(value=2), time.monotonic() + 0.02)
        assert caught.value.code is Code.DEADLINE
        assert served.repository.get("lenet").admission.requests == 1, "its place is not free"
        predictor.proceed.set()
        inline.result(SECONDS)
    metrics.last(2)
    assert len(predictor.batches) == 1, "what nobody waits for was computed"


def test_an_engines_fault_is_ours_and_is_not_described(served, predictor, caplog):
    predictor.fails = True
    with pytest.raises(ServeError, match="its log says why") as caught:
        served.infer(ask())
    assert caught.value.code is Code.INTERNAL
    assert "the fake engine failed" in caplog.text
    predictor.fails = False
    assert value(served.infer(ask())) == 1


def test_beyond_what_may_wait_requests_are_refused(predictor, native_session, metrics):
    session = Session(predictor, native_session.artifact, "fake")
    model = Model("lenet", "1", session, limits=Limits(queued_rows=3))
    predictor.proceed.clear()
    with Service([model], metrics=metrics) as service, ThreadPoolExecutor(1) as pool:
        inline = pool.submit(service.infer, ask())
        assert predictor.entered.wait(SECONDS)
        waiting = service.submit(ask(2))
        with pytest.raises(ServeError, match="busy") as caught:
            service.submit(ask(1))
        assert (caught.value.code, caught.value.retry_after) == (Code.UNAVAILABLE, 1)
        assert metrics.records[0][0] == "lenet"
        with pytest.raises(ServeError, match="--max-rows") as caught:  # it will never fit
            service.submit(ask(4097))
        assert caught.value.code is Code.MALFORMED
        waiting.cancel()  # and its place is free again
        again = service.submit(ask(2, value=5))
        predictor.proceed.set()
        assert value(again.result(SECONDS)) == 5
        inline.result(SECONDS)
    assert Code.CANCELLED in {record[3] for record in metrics.records}
    assert model.admission.rows == 0


def test_closing_a_model_waits_for_its_requests(served, fake_model, predictor):
    predictor.proceed.clear()
    with ThreadPoolExecutor(2) as pool:
        answer = pool.submit(served.infer, ask())
        assert predictor.entered.wait(SECONDS)
        waiting = served.submit(ask(value=2))
        closing = pool.submit(fake_model.close)
        time.sleep(0.02)
        assert not closing.done()
        assert not predictor.closed
        predictor.proceed.set()
        closing.result(SECONDS)
        assert value(answer.result(SECONDS)) == 1
        assert value(waiting.result(SECONDS)) == 2
    assert predictor.closed == 1
    with pytest.raises(ServeError, match="shutting down") as caught:
        served.infer(ask())
    assert caught.value.code is Code.UNAVAILABLE


def test_closing_a_service_answers_what_its_threads_have_begun(predictor, native_session):
    session = Session(predictor, native_session.artifact, "fake")
    fake_model = Model("lenet", "1", session, max_batch=1)
    service = Service([fake_model], metrics=Recorder())
    predictor.proceed.clear()
    futures = [service.submit(ask(65, value=n)) for n in (1, 2, 3)]
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(service.close)
        while fake_model.admission.enter(1, 1):  # until it is closed
            fake_model.admission.leave(1, 1)
        with pytest.raises(ServeError, match="shutting down"):
            service.submit(ask(65))
        predictor.proceed.set()
        closing.result(SECONDS)
    assert [value(future.result(0)) for future in futures] == [1, 2, 3]


def test_a_request_that_meets_a_swap_goes_to_the_new_model(served, fake_model, native_session):
    """The repository gave the old model, which was closed before the request was admitted."""
    fake_model.close()
    new = Model("lenet", "2", native_session)
    models = iter([fake_model, new])
    served.repository.get = lambda name, version="": next(models)
    assert served.infer(ask()).version == "2"
    del served.repository.get


def test_versions(native_session):
    models = [Model("lenet", version, native_session) for version in ("2", "10", "1")]
    service = Service(StaticRepository(models))
    assert service.infer(ask()).version == "10"
    assert service.infer(ask(version="1")).version == "1"
    assert sorted(service.model_metadata("lenet")["versions"]) == ["1", "10", "2"]
    assert {state.state for state in service.repository.index()} == {"READY"}
    with pytest.raises(ServeError, match="models of this server are fixed"):
        service.repository.load("lenet")


def test_the_server_describes_itself(served):
    document = served.metadata()
    assert document["name"] == "lenet-deploy"
    assert {"binary_tensor_data", "classification"} <= set(document["extensions"])


def test_many_threads_get_their_own_answers(served, metrics):
    def many(start):
        return [value(served.infer(ask(value=start + n))) == start + n for n in range(50)]

    with ThreadPoolExecutor(8) as pool:
        assert all(map(all, pool.map(many, range(0, 8000, 1000))))
    metrics.last(400)
    assert len(metrics.records) == 400
    assert sum(record[5].batch for record in metrics.records) == 400
    assert metrics.waiting == 0
