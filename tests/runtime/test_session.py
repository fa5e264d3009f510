"""Session: how it is opened, what it may run on, and how it is closed."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from artifact_files import edit_manifest
from fake_engine import BACKEND, FakePredictor
from refusals import refused
from samples import first_ten, noise

import lenet_runtime
from lenet_runtime.backends import BACKENDS
from lenet_runtime.errors import ArtifactError, BackendUnavailable, DeployError
from lenet_runtime.images.preprocess import Preprocessing, pixel_table
from lenet_runtime.parity import TOLERANCES, compare


def test_check_finite_may_be_given_up(folder):
    images = noise(2)
    images[0, 0, 0, 0] = np.nan
    with lenet_runtime.load(folder, trust=True, check_finite=False) as session:
        assert np.isnan(session.run(images)[0, 0])
    with lenet_runtime.load(folder, trust=True) as session, refused():
        session.run(images)


def test_without_the_check_an_engine_gives_nan_for_nan(onnx_artifact):
    images = noise(2)
    images[1] = np.nan
    with lenet_runtime.load(onnx_artifact.path, check_finite=False) as session:
        logits = session.run(images)
    assert np.isfinite(logits[0]).all()
    assert np.isnan(logits[1]).all()


def test_a_closed_session_says_so(fake, predictor):
    fake.close()
    for use in (
        lambda: fake.run(noise(1)),
        lambda: fake.run(noise(1)[:0]),
        lambda: fake.predict(np.zeros((1, 28, 28), np.uint8)),
        fake.warmup,
    ):
        with refused(error=DeployError, match=r"session of .* is closed; load it again"):
            use()
    assert not predictor.batches


def test_closing_twice_gives_the_engine_back_once(fake, predictor):
    fake.close()
    fake.close()
    assert predictor.closed == 1


def test_leaving_the_block_closes(fake, predictor):
    with fake as entered:
        assert entered is fake
        assert not predictor.closed
    assert predictor.closed == 1


def test_an_exception_leaves_the_block_closed(fake, predictor):
    with pytest.raises(ZeroDivisionError), fake:
        raise ZeroDivisionError
    assert predictor.closed == 1


def test_a_run_that_is_under_way_survives_close(fake, predictor):
    predictor.proceed.clear()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(fake.run, noise(2))
        assert predictor.entered.wait(30)
        fake.close()
        predictor.proceed.set()
        np.testing.assert_array_equal(answer.result(30), first_ten(noise(2)))
    with refused(error=DeployError):
        fake.run(noise(2))


def test_close_among_many_runs_answers_or_refuses(session):
    """Every call that races with `close` ends with the right answer or a clear error."""
    images = noise(4)
    expected = session.run(images)
    for _ in range(5):
        other = lenet_runtime.load(session.artifact.path, backend=session.backend)
        start = threading.Barrier(5)

        def hammer(other=other, start=start):
            start.wait(30)
            for _ in range(200):
                try:
                    answer = other.run(images)
                except DeployError as error:
                    return str(error)
                np.testing.assert_array_equal(answer, expected)
            return "never closed"

        with ThreadPoolExecutor(4) as pool:
            answers = [pool.submit(hammer) for _ in range(4)]
            start.wait(30)
            other.close()
        assert all("closed" in answer.result() for answer in answers)


def test_a_session_says_what_it_is(fake, artifact):
    assert repr(fake) == f"<Session {artifact.path} (fake on cpu)>"
    assert fake.manifest is artifact.manifest
    fake.close()
    assert repr(fake) == f"<Session {artifact.path} (closed)>"


def test_warmup_runs_black_images(fake, predictor):
    fake.warmup((1, 3), runs=2)
    assert [len(batch) for batch in predictor.batches] == [1, 1, 3, 3]
    assert all((batch == pixel_table(Preprocessing())[0]).all() for batch in predictor.batches)


def test_warmup_of_a_static_artifact_runs_its_own_size(static, predictor):
    static.warmup((1, 64), runs=1)
    assert {len(batch) for batch in predictor.batches} == {4}


@pytest.mark.parametrize("size", [0, -1])
def test_warmup_of_no_images_is_refused(fake, size):
    with refused(match="batch_sizes"):
        fake.warmup((size,))


@pytest.mark.parametrize("threads", [0, -1, True, 1.0, "2", np.int64(2), 1025, 2**31, 10**12])
def test_threads_must_be_a_sensible_number(folder, threads):
    with refused(match="threads: expected an integer from 1 to 1024 or None"):
        lenet_runtime.load(folder, trust=True, threads=threads)


@pytest.mark.parametrize("threads", [None, 1, 2, 1024])
def test_threads_reach_the_engine(folder, threads, monkeypatch):
    given = []
    monkeypatch.setattr("fake_engine.load", lambda *args: given.append(args) or FakePredictor())
    with lenet_runtime.load(folder, trust=True, threads=threads) as session:
        assert session.threads == threads
    assert given[0][1:] == ("cpu", threads)


@pytest.mark.parametrize("threads", [None, 1, 2])
def test_the_number_of_threads_does_not_change_the_answer(session, threads):
    with lenet_runtime.load(
        session.artifact.path, backend=session.backend, threads=threads
    ) as other:
        found, expected = other.run(noise(9)), session.run(noise(9))
    assert compare(found, expected, TOLERANCES["fp32"]).ok


@pytest.mark.parametrize("backend", ["", "onnx", "ORT-CPU", "no-such", None, "ort-cpu"])
def test_a_backend_that_does_not_run_the_format_is_refused(folder, backend):
    with refused(match="backend: .* expected one of auto, fake"):
        lenet_runtime.load(folder, trust=True, backend=backend)


@pytest.mark.parametrize(
    "device", ["", "CPU", "cpu:0", "cpu ", "cuda:", "cuda:-1", "cuda:\u0661", "tpu", None]
)
def test_what_is_no_device_is_refused(folder, device):
    with refused(match="device: expected"):
        lenet_runtime.load(folder, trust=True, device=device)


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:17"])
def test_a_device_that_is_not_here_is_never_replaced(folder, device):
    """No silent fallback: whoever asks for a GPU does not get the CPU."""
    with refused(error=BackendUnavailable, match="cuda"):
        lenet_runtime.load(folder, trust=True, device=device)


def test_auto_takes_the_first_that_is_available(folder, monkeypatch):
    monkeypatch.setitem(BACKENDS, "second", BACKEND)
    with lenet_runtime.load(folder, trust=True) as session:
        assert session.backend == "fake"

    def missing(device):
        raise BackendUnavailable("none here")

    monkeypatch.setattr("fake_engine.probe", missing)
    with refused(error=BackendUnavailable, match="fake: none here; second: none here"):
        lenet_runtime.load(folder, trust=True)
    with refused(error=BackendUnavailable, match="none here"):
        lenet_runtime.load(folder, trust=True, backend="second")


def test_a_format_without_a_backend_is_refused(folder):
    edit_manifest(folder, lambda d: d.update(format="\x1b[2J"))
    with refused(error=BackendUnavailable, match=r"no backend .* '\\x1b\[2J'"):
        lenet_runtime.load(folder, trust=True)


def test_an_artifact_that_failed_its_proof_is_refused(folder):
    edit_manifest(folder, lambda d: d["parity"]["comparisons"][0].update(reason="off by one"))
    for unproven in (False, True):
        with refused(error=ArtifactError, match="parity report says it failed"):
            lenet_runtime.load(folder, trust=True, unproven=unproven)


def test_an_artifact_without_proof_is_refused(folder):
    edit_manifest(folder, lambda d: d["parity"].update(comparisons=[]))
    with refused(error=ArtifactError, match=r"--no-verify.*verify .* --trust --record"):
        lenet_runtime.load(folder, trust=True)
    lenet_runtime.load(folder, trust=True, unproven=True).close()
