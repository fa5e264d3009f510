"""`Batcher` and `Admission`: who waits for whom."""

import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor

import numpy as np
import pytest
from fake_engine import FakePredictor
from hypothesis import given, settings
from hypothesis import strategies as st

from lenet_runtime.errors import DeployError
from lenet_serve import Code, Limits, ServeError
from lenet_serve.admission import Admission
from lenet_serve.batching import Batcher

SECONDS = 30  # longest wait for another thread; nothing below takes as long


def images(*values):
    """One image a value, filled with it."""
    return np.ones((len(values), 1, 4, 4), np.float32) * np.float32(values).reshape(-1, 1, 1, 1)


def first(logits):
    return logits.values[:, 0].tolist()


@pytest.fixture
def engine():
    return FakePredictor()


@pytest.fixture
def batcher(engine):
    batcher = Batcher(engine.run, 8)
    yield batcher
    engine.proceed.set()
    batcher.close()


class Busy:
    """A block in which the engine computes a request of one image, and cannot end."""

    def __init__(self, engine, batcher):
        self.engine, self.batcher = engine, batcher

    def __enter__(self):
        self.engine.entered.clear()
        self.engine.proceed.clear()
        self.future = self.batcher.submit(images(0), None, first)
        assert self.engine.entered.wait(SECONDS)
        return self

    def __exit__(self, *_):
        self.engine.proceed.set()
        assert self.future.result(SECONDS) == [0]


def rows(engine):
    return [len(batch) for batch in engine.batches]


def test_who_finds_it_idle_computes_at_once_and_in_its_own_thread():
    threads = []
    batcher = Batcher(lambda batch: threads.append(threading.current_thread()) or batch, 8)
    assert batcher.try_run(images(3)).values[0, 0, 0, 0] == 3
    assert threads == [threading.current_thread()]
    assert batcher._thread is None


def test_what_arrives_while_the_engine_is_busy_is_its_next_batch(engine, batcher):
    with Busy(engine, batcher):
        assert batcher.try_run(images(1)) is None
        futures = [batcher.submit(images(n), None, first) for n in (1, 2, 3)]
        futures.append(batcher.submit(images(4, 5), None, first))
    assert [future.result(SECONDS) for future in futures] == [[1], [2], [3], [4, 5]]
    assert rows(engine) == [1, 5]


def test_each_run_of_the_engine_is_counted_by_one_request(engine, batcher):
    with Busy(engine, batcher):
        futures = [batcher.submit(images(n), None, lambda logits: logits.batch) for n in (1, 2, 3)]
    assert [future.result(SECONDS) for future in futures] == [3, 0, 0]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=12), st.integers(2, 9))
def test_batches_count_rows_and_answers_stay_apart(sizes, most):
    """Whatever the sizes: the order is kept, and only a request larger than `most` exceeds it."""
    engine = FakePredictor()
    batcher = Batcher(engine.run, most)
    with Busy(engine, batcher):
        values = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
        futures = [batcher.submit(images(*own), None, first) for own in values]
    assert [future.result(SECONDS) for future in futures] == [own.tolist() for own in values]
    batcher.close()
    expected = [0]
    for size in sizes:
        if expected[-1] and expected[-1] + size > most:
            expected.append(0)
        expected[-1] += size
    assert rows(engine)[1:] == expected
    assert np.concatenate(engine.batches[1:])[:, 0, 0, 0].tolist() == list(range(sum(sizes)))


def test_one_request_at_fault_fails_alone(engine, batcher):
    def run(batch):
        engine.run(batch)
        if (batch == 2).any():
            raise DeployError("two is too much")
        return batch.reshape(len(batch), -1)

    batcher._run = run
    with Busy(engine, batcher):
        futures = [batcher.submit(images(n), None, first) for n in (1, 2, 3)]
    assert futures[0].result(SECONDS) == [1]
    assert futures[2].result(SECONDS) == [3]
    error = futures[1].exception(SECONDS)
    assert isinstance(error, ServeError)
    assert error.code is Code.INTERNAL
    assert "two" not in str(error)
    assert rows(engine) == [1, 3, 1, 1, 1]


def test_an_answer_that_cannot_be_made_fails_alone(engine, batcher):
    with Busy(engine, batcher):
        bad = batcher.submit(images(1), None, lambda logits: 1 / 0)
        good = batcher.submit(images(2), None, first)
    assert bad.exception(SECONDS).code is Code.INTERNAL
    assert good.result(SECONDS) == [2]


def test_cancelled_requests_cost_nothing(engine, batcher):
    with Busy(engine, batcher):
        futures = [batcher.submit(images(n), None, first) for n in (1, 2, 3)]
        assert futures[1].cancel()
    assert futures[2].result(SECONDS) == [3]
    with pytest.raises(CancelledError):
        futures[1].result(SECONDS)
    assert rows(engine) == [1, 2]


def test_what_nobody_waits_for_is_dropped(engine, batcher):
    with Busy(engine, batcher):
        late = batcher.submit(images(1), time.monotonic(), first)
        good = batcher.submit(images(2), time.monotonic() + SECONDS, first)
    assert late.exception(SECONDS).code is Code.DEADLINE
    assert good.result(SECONDS) == [2]
    assert rows(engine) == [1, 1]
    with pytest.raises(ServeError, match="deadline"):
        batcher.try_run(images(3), time.monotonic())


def test_who_computed_inline_wakes_who_came_meanwhile(engine, batcher):
    engine.proceed.clear()
    with ThreadPoolExecutor(1) as pool:
        inline = pool.submit(batcher.try_run, images(1))
        assert engine.entered.wait(SECONDS)
        queued = batcher.submit(images(2), None, first)
        time.sleep(0.01)  # the batcher's thread comes to wait for the engine
        engine.proceed.set()
        assert inline.result(SECONDS).values[0, 0] == 1
    assert queued.result(SECONDS) == [2]


def test_nobody_overtakes_those_who_wait():
    engine = FakePredictor()
    batcher = Batcher(engine.run, 8)
    batcher._queue.append("a request that the batcher's thread has not come to yet")
    assert batcher.try_run(images(1)) is None
    assert not engine.batches


def test_closing_computes_what_waits(engine, batcher):
    with Busy(engine, batcher):
        futures = [batcher.submit(images(n), None, first) for n in range(20)]
    batcher.close()
    assert all(future.done() for future in futures)
    assert not batcher._thread.is_alive()


def test_without_batches_callers_compute_side_by_side():
    both = threading.Barrier(2)

    def run(batch):
        both.wait(SECONDS)
        return batch

    batcher = Batcher(run, 1)
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(batcher.try_run, images(n)) for n in (1, 2)]
        assert [answer.result(SECONDS).values[0, 0, 0, 0] for answer in answers] == [1, 2]


def test_admission_counts_rows_and_bytes():
    admission = Admission(Limits(queued_rows=10, queued_bytes=100))
    assert admission.enter(6, 10)
    with pytest.raises(
        ServeError, match=r"at most 10 images \(--max-queue\) and 100 bytes"
    ) as caught:
        admission.enter(5, 10)
    assert (caught.value.code, caught.value.retry_after) == (Code.UNAVAILABLE, 1)
    with pytest.raises(ServeError, match="found 7 and 101"):
        admission.enter(1, 91)
    assert admission.enter(4, 90)
    admission.leave(6, 10)
    assert (admission.requests, admission.rows, admission.size) == (1, 4, 90)


def test_a_request_that_is_alone_is_admitted_whatever_its_size():
    admission = Admission(Limits(queued_rows=10, queued_bytes=100))
    assert admission.enter(11, 1000)


def test_closing_waits_for_what_was_admitted():
    admission = Admission(Limits())
    admission.enter(1, 1)
    closing = threading.Thread(target=admission.close)
    closing.start()
    while admission.enter(1, 1):  # until it is closed
        admission.leave(1, 1)
    assert closing.is_alive()
    admission.leave(1, 1)
    closing.join(SECONDS)
    assert not closing.is_alive()
