"""native: batches that are split among threads, and how the threads begin and end."""

import gc
import os
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from native_files import FAIL, Gate, first_pixels, load, write_native
from processes import python
from samples import noise

from lenet_runtime.artifact import Artifact
from lenet_runtime.backends import native
from lenet_runtime.backends.workers import Workers
from lenet_runtime.errors import DeployError


@pytest.fixture
def folder(tmp_path, library):
    return write_native(tmp_path / "artifact", library)


def shares(predictor, images):
    """The sizes of the calls that one run makes, ascending."""
    sizes, run = [], predictor._run
    predictor._run = lambda x, y, check: sizes.append(len(x)) or run(x, y, check)
    try:
        logits = predictor.run(images)
    finally:
        predictor._run = run
    np.testing.assert_array_equal(logits, first_pixels(images))
    return sorted(sizes)


@pytest.mark.parametrize(
    ("threads", "count", "expected"),
    [
        (1, 512, [512]),
        (2, 1, [1]),
        (2, 127, [127]),
        (2, 128, [64, 64]),
        (2, 193, [96, 97]),
        (3, 128, [64, 64]),
        (3, 200, [66, 67, 67]),
        (3, 512, [170, 171, 171]),
        (64, 256, [64] * 4),
    ],
)
def test_large_batches_are_split_evenly(folder, threads, count, expected):
    predictor = native.load(Artifact.open(folder), "cpu", threads)
    assert shares(predictor, noise(count)) == expected


def test_the_engines_own_choice_is_the_usable_cores(folder, monkeypatch):
    monkeypatch.setattr("lenet_runtime.cpu.usable_cores", lambda: 3)
    assert len(shares(native.load(Artifact.open(folder), "cpu", None), noise(512))) == 3


def test_a_split_runs_at_once(folder, gate):
    """The caller's share stays at its gate until the other one is at its own."""
    other = Gate()
    images = other.shut(gate.shut(noise(128), at=0), at=127)
    with load(folder, threads=2) as session, ThreadPoolExecutor(1) as pool:
        running = pool.submit(session.run, images)
        gate.await_arrival()
        other.await_arrival()
        gate.open()
        other.open()
        np.testing.assert_array_equal(running.result(), first_pixels(images))


@pytest.mark.parametrize("count", [1, 63, 127, 128, 129, 192, 255, 513])
def test_the_number_of_threads_changes_no_bit(folder, count):
    answers = []
    for threads in (1, 2, 3, None):
        with load(folder, threads=threads) as session:
            answers.append(session.run(noise(count)).tobytes())
    assert len(set(answers)) == 1


@pytest.mark.parametrize("threads", [1, 3])
def test_many_callers_at_once_get_their_own_answers(folder, threads):
    with load(folder, threads=threads) as session, ThreadPoolExecutor(8) as pool:

        def ask(seed):
            images = noise(1 + seed * 37 % 400, seed)
            return np.array_equal(session.run(images), first_pixels(images))

        assert all(pool.map(ask, range(200)))


def workers():
    return [t for t in threading.enumerate() if t.name == "lenet-worker"]


def test_threads_are_started_once_and_end_with_the_session(folder):
    before = set(workers())
    session = load(folder, threads=3)
    session.run(noise(127))
    assert set(workers()) <= before  # those of another test may be ending
    for _ in range(3):
        session.run(noise(512))
    started = set(workers()) - before
    assert len(started) == 2
    session.close()
    for thread in started:
        thread.join(30)
        assert not thread.is_alive()


def test_threads_end_with_a_session_that_nobody_closed(folder):
    before = set(workers())
    session = load(folder, threads=2)
    session.run(noise(128))
    (started,) = set(workers()) - before
    del session
    gc.collect()
    started.join(30)
    assert not started.is_alive()


def test_a_close_in_the_middle_of_a_run_ends_well(folder, gate):
    images = gate.shut(noise(128), at=100)  # in the share of the other thread
    session = load(folder, threads=2)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(session.run, images)
        gate.await_arrival()
        session.close()
        with pytest.raises(DeployError, match="closed"):
            session.run(noise(1))
        gate.open()
        np.testing.assert_array_equal(running.result(), first_pixels(images))


def test_a_closed_predictor_says_so(folder):
    predictor = native.load(Artifact.open(folder), "cpu", 2)
    predictor.close()
    predictor.close()
    for count in (1, 128):
        with pytest.raises(DeployError, match="closed"):
            predictor.run(noise(count))


def test_a_close_between_the_shares_of_a_run_ends_well(folder):
    predictor = native.load(Artifact.open(folder), "cpu", 3)
    run = predictor._run
    predictor._run = lambda *arguments: predictor.close() or run(*arguments)
    np.testing.assert_array_equal(predictor.run(noise(192)), first_pixels(noise(192)))


def test_a_closed_session_lets_go_of_the_predictor(folder):
    session = load(folder)
    predictor = weakref.ref(session.predictor)
    session.close()
    gc.collect()
    assert predictor() is None


@pytest.mark.parametrize("count", [1, 128])
def test_a_run_that_fails_is_a_deploy_error(folder, count):
    """In the calling thread or in another one; and the next one is well."""
    predictor = native.load(Artifact.open(folder), "cpu", 2)
    images = noise(count)
    images[-1, 0, 0, 10] = FAIL
    with pytest.raises(DeployError, match=rf"native failed on \({count}, 1, 32, 32\): .*error 5"):
        predictor.run(images)
    np.testing.assert_array_equal(predictor.run(noise(count)), first_pixels(noise(count)))


def test_what_session_would_refuse_is_a_deploy_error(folder):
    predictor = native.load(Artifact.open(folder), "cpu", None)
    with pytest.raises(DeployError, match=r"native failed on \(1, 1, 28, 28\)"):
        predictor.run(np.zeros((1, 1, 28, 28), np.float32))


def test_threads_that_cannot_be_started_are_a_deploy_error(folder, monkeypatch):
    with load(folder, threads=2) as session:

        def refuse(*_):
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr("threading.Thread.start", refuse)
        with pytest.raises(DeployError, match="can't start new thread"):
            session.run(noise(128))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_has_threads_of_its_own(folder):
    code = """
import os, sys, threading
import numpy as np
import lenet_runtime

images = np.random.default_rng(0).standard_normal((128, 1, 32, 32), np.float32)
with lenet_runtime.load(sys.argv[1], trust=True, threads=3) as session:
    expected = session.run(images)
    child = os.fork()
    if child == 0:
        same = np.array_equal(session.run(images), expected)
        os._exit(0 if same and threading.active_count() == 3 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert np.array_equal(session.run(images), expected)
"""
    python(code, folder)


def test_a_process_ends_though_a_session_is_open(folder):
    code = """
import sys
import numpy as np
import lenet_runtime
session = lenet_runtime.load(sys.argv[1], trust=True, threads=3)
session.run(np.zeros((128, 1, 32, 32), np.float32))
"""
    python(code, folder)


def test_a_call_runs_no_share_of_another():
    """What a signal raises in one caller must not come out of another."""
    workers, ran = Workers(0), []

    def task(name):
        return lambda: ran.append((name, threading.current_thread().name)) or True

    callers = [
        threading.Thread(target=workers.all, args=([task(n)] * 3,), name=n) for n in ("a", "b")
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert sorted(ran) == [("a", "a")] * 3 + [("b", "b")] * 3


def test_what_a_task_raises_is_raised_by_its_call_alone():
    workers = Workers(1)

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        workers.all([stop, lambda: True])
    assert workers.all([lambda: True, lambda: True])
    assert not workers.all([lambda: True, lambda: False])
