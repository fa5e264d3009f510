"""What is served, and what becomes of it while the folder changes."""

import logging
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import fake_engine
import numpy as np
import pytest
from model_folders import POLL_S, put, reason, states, tag_of, until
from samples import noise

from lenet_export.publish import publish
from lenet_runtime.errors import ArtifactError
from lenet_serve import Code, InferRequest, Recorder, ServeError, Service, Tensor
from lenet_serve.repository import FolderRepository, RepositoryOptions


def refusal(call, *arguments):
    with pytest.raises(ServeError) as caught:
        call(*arguments)
    return caught.value


def several_looks():
    time.sleep(10 * POLL_S)


class Told(Recorder):
    """Remembers what it was told of loads."""

    def __init__(self):
        self.all = []

    def loaded(self, model, version):
        self.all.append(("loaded", model, version))

    def unloaded(self, model, version):
        self.all.append(("unloaded", model, version))

    def reloaded(self, succeeded):
        self.all.append(("reloaded", succeeded))


@pytest.fixture
def slow(monkeypatch):
    """`slow(name)` holds loads of artifacts whose path has this name in it until it is set."""
    gates = {}
    load = fake_engine.load

    def gated(artifact, device, threads):
        for name, gate in gates.items():
            if f"/{name}/" in str(artifact.path):
                assert gate.wait(20)
        return load(artifact, device, threads)

    monkeypatch.setattr(fake_engine, "load", gated)
    yield lambda name: gates.setdefault(name, threading.Event())
    for gate in gates.values():
        gate.set()


def test_the_default_version_is_the_highest_that_is_ready(models, serving):
    for version in (2, 10):
        put(models / "a" / str(version), f"v{version}")
    repository = serving()
    assert tag_of(repository.get("a")) == tag_of(repository.get("a", "10")) == "v10"
    assert tag_of(repository.get("a", "2")) == "v2"
    assert repository.get("a").version == "10"
    assert repository.ready


def test_unknown_names_and_versions_are_not_found(models, serving):
    put(models / "lenet" / "1")
    repository = serving()
    error = refusal(repository.get, "lenat")
    assert error.code is Code.NOT_FOUND
    assert "expected one of lenet, found 'lenat'; did you mean lenet?" in str(error)
    for version in ("2", "01", "x", "../1", "-1"):
        assert refusal(repository.get, "lenet", version).code is Code.NOT_FOUND
    for name in ("", ".", "../models", "lenet/1"):
        assert refusal(repository.get, name).code is Code.NOT_FOUND


def test_a_broken_version_costs_nobody_else(models, serving):
    put(models / "a" / "1")
    put(models / "a" / "2", broken=True)
    repository = serving()
    assert states(repository) == {("a", "1"): "READY", ("a", "2"): "UNAVAILABLE"}
    assert reason(repository, "2").startswith("a/2/model.fake: cannot be read"), "no path of ours"
    assert repository.get("a").version == "1"
    error = refusal(repository.get, "a", "2")
    assert (error.code, error.retry_after) == (Code.UNAVAILABLE, None)
    assert repository.ready


def test_nothing_that_loads_is_an_error_at_the_start(models):
    put(models / "a" / "1", broken=True)
    repository = FolderRepository(RepositoryOptions(models, trust=True))
    with pytest.raises(ArtifactError, match=r"model\.fake"):
        repository.wait(20)
    assert not repository.ready
    repository.close()


def test_code_is_loaded_with_trust_alone(exported, serving):
    folder = exported("native").path
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lenet_runtime.artifact.trust._written", set())
        with pytest.raises(ArtifactError, match="runs code when it is loaded"):
            serving(folder, trust=False)
    repository = serving(folder, name="digits")
    assert repository.get("digits").session.backend == "native"


def test_a_slow_model_stops_no_other_and_is_waited_for(models, serving, slow):
    gate = slow("slow")
    put(models / "slow" / "1")
    for name in ("t", "u", "v", "w", "x"):
        put(models / name / "1")
    repository = FolderRepository(RepositoryOptions(models, trust=True))
    until(lambda: [*states(repository).values()].count("READY") == 5)
    assert states(repository)["slow", "1"] == "LOADING"
    error = refusal(repository.get, "slow")
    assert (error.code, error.retry_after) == (Code.UNAVAILABLE, 1)
    assert not repository.ready
    assert not repository.wait(0.01)
    gate.set()
    assert repository.wait(20)
    assert repository.ready
    repository.close()


def test_a_model_that_comes_later_takes_no_readiness_away(models, serving, slow):
    put(models / "a" / "1")
    repository = serving()
    gate = slow("b")
    put(models / "b" / "1")
    until(lambda: states(repository).get(("b", "1")) == "LOADING")
    assert repository.ready
    gate.set()
    until(lambda: states(repository)["b", "1"] == "READY")
    put(models / "c" / "1", broken=True)
    until(lambda: states(repository).get(("c", "1")) == "UNAVAILABLE")
    assert repository.ready


def test_new_versions_are_served_and_gone_ones_are_not(models, serving):
    put(models / "a" / "1", "v1")
    repository = serving()
    put(models / "a" / "2", "v2")
    until(lambda: tag_of(repository.get("a")) == "v2")
    shutil.rmtree(models / "a" / "2")
    until(lambda: tag_of(repository.get("a")) == "v1")
    until(lambda: states(repository) == {("a", "1"): "READY"})


def test_an_export_replaces_what_is_served(models, serving):
    folder = put(models / "native-fp32", "v1")
    repository = serving(folder)
    publish(put(models / "staged", "v2"), folder, force=True)
    until(lambda: tag_of(repository.get("lenet")) == "v2")


def test_a_broken_artifact_leaves_the_old_one_serving(models, serving, caplog):
    told = Told()
    folder = put(models / "a" / "1", "v1")
    repository = serving(metrics=told)
    (put(models / "broken", "v2") / "model.fake").write_bytes(b"other")
    caplog.set_level(logging.INFO)
    folder.rename(models / ".old")
    (models / "broken").rename(folder)
    until(lambda: reason(repository))
    assert states(repository)["a", "1"] == "READY"
    assert "the artifact there now was refused: a/1/model.fake: expected" in reason(repository)
    assert tag_of(repository.get("a")) == "v1"
    assert repository.ready
    assert "a version 1: not loaded, the one before serves on:" in caplog.text
    several_looks()
    assert told.all == [("loaded", "a", "1"), ("reloaded", False)], "it is tried once"
    folder.rename(models / ".broken")
    (models / ".old").rename(folder)
    until(lambda: not reason(repository))
    assert len(told.all) == 2, "what is served already is not loaded again"


@pytest.fixture
def look(serving, models):
    """`look()` at a folder that nobody looks at otherwise, and what there is then."""
    put(models / "a" / "1")
    put(models / "b" / "1")
    repository = serving(poll_seconds=3600)
    keeper = repository._keeper

    def look():
        looked = threading.Event()
        keeper.inbox.put(keeper.look)
        keeper.inbox.put(looked.set)
        assert looked.wait(20)
        return states(repository)

    return look


def test_what_is_being_copied_is_left_alone_until_it_rests(models, look):
    copy = put(models / "c" / "1")
    for number in range(3):
        assert ("c", "1") not in look()
        (copy / "model.fake").write_bytes(b"ten pixels"[:number])
    assert ("c", "1") not in look()
    assert ("c", "1") in look()


def test_what_is_gone_for_an_instant_is_not_gone(models, look):
    aside = (models / "a" / "1").rename(models / "a" / ".1")
    assert look()["a", "1"] == "READY"
    aside.rename(models / "a" / "1")
    for _ in range(3):
        assert look()["a", "1"] == "READY"
    shutil.rmtree(models / "a" / "1")
    look()
    assert look().get(("a", "1")) in ("UNLOADING", None)


def test_a_reload_looks_twice_before_it_lets_go(models, serving):
    put(models / "b" / "1")
    folder = put(models / "a" / "1")
    repository = serving(poll_seconds=0)
    before = repository.get("b")
    folder.rename(models / "a" / ".1")
    back = threading.Timer(0.03, lambda: (models / "a" / ".1").rename(folder))
    back.start()
    repository.reload()
    until(lambda: repository.get("b") is not before)
    assert repository.get("a")
    back.join()


@pytest.mark.parametrize("how", ["emptied", "gone"])
def test_a_volume_that_is_gone_leaves_all_serving(models, serving, caplog, how):
    put(models / "a" / "1")
    repository = serving()
    models.rename(models.with_name("elsewhere"))
    if how == "emptied":
        models.mkdir()
    several_looks()
    assert repository.get("a")
    assert repository.ready
    assert caplog.text.count("what is served stays") == 1


def test_latest_serves_the_highest_that_loads(models, serving):
    for version in (1, 2):
        put(models / "a" / str(version), f"v{version}")
    repository = serving(versions="latest")
    assert states(repository) == {("a", "1"): "UNAVAILABLE", ("a", "2"): "READY"}
    assert "--versions latest" in reason(repository)
    put(models / "a" / "3", broken=True)
    until(lambda: reason(repository, "3"))
    several_looks()
    assert repository.get("a").version == "2"
    put(models / "a" / "4", "v4")
    until(lambda: repository.get("a").version == "4")
    until(lambda: states(repository)["a", "2"] == "UNAVAILABLE")
    shutil.rmtree(models / "a" / "4")
    until(lambda: repository.get("a").version == "2")


def test_latest_falls_back_at_the_start_as_it_does_later(models, serving):
    put(models / "a" / "1")
    put(models / "a" / "2", broken=True)
    repository = serving(versions="latest")
    assert repository.get("a").version == "1"
    assert states(repository) == {("a", "1"): "READY", ("a", "2"): "UNAVAILABLE"}


def request(images=None):
    images = noise(1) if images is None else images
    return InferRequest("a", inputs=[Tensor("images", "FP32", images.shape, images)])


@pytest.fixture
def held(serving, models):
    """A repository whose model ``a`` is in the middle of a request, and that request's future."""
    put(models / "a" / "1")
    repository = serving(poll_seconds=0, allow_model_control=True)
    predictor = repository.get("a").session.predictor
    predictor.proceed.clear()
    predictor.entered.clear()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(Service(repository).infer, request())
        assert predictor.entered.wait(20)
        yield repository, predictor, future
        predictor.proceed.set()


@pytest.mark.parametrize("how", ["replaced", "unloaded"])
def test_a_model_is_closed_after_its_last_request(held, how):
    repository, predictor, future = held
    if how == "replaced":
        repository.load("a")
        assert repository.get("a").session.predictor is not predictor
    else:
        repository.unload("a")
        assert states(repository) == {("a", "1"): "UNLOADING"}
        assert refusal(Service(repository).infer, request()).code is Code.UNAVAILABLE
    several_looks()
    assert not predictor.closed
    predictor.proceed.set()
    assert future.result(20).outputs[0].data.shape == (1, 10)
    until(lambda: predictor.closed)
    state = "READY" if how == "replaced" else "UNAVAILABLE"
    until(lambda: states(repository) == {("a", "1"): state})


def test_no_request_fails_while_models_are_replaced(models, serving):
    folder = put(models / "a" / "1", "0")
    repository = serving(versions="latest")
    service = Service(repository)
    stop, failures, counts = threading.Event(), [], [0, 0]

    def requests(number):
        while not stop.is_set():
            try:
                images = noise(1)
                (logits,) = service.infer(request(images)).outputs
                assert np.array_equal(logits.data[0], images.ravel()[:10])
                counts[number] += 1
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=requests, args=[number]) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for tag in range(1, 11):
        publish(put(models / ".staged" / "1", str(tag)), folder, force=True)
        shutil.rmtree(models / ".staged")
        until(lambda tag=tag: tag_of(repository.get("a")) == str(tag))
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures
    assert min(counts) > 10
    until(lambda: states(repository) == {("a", "1"): "READY"})


def test_clients_control_nothing_unless_they_may(models, serving):
    put(models / "a" / "1")
    repository = serving()
    for call in (repository.load, repository.unload):
        error = refusal(call, "a")
        assert error.code is Code.UNAVAILABLE
        assert "explicit model load / unload is not allowed" in str(error)


def test_unloading_and_loading(models, serving):
    put(models / "a" / "1")
    put(models / "b" / "1")
    repository = serving(allow_model_control=True)
    told = []
    repository.on_control = lambda *control: told.append(control)
    repository.unload("a")
    until(lambda: reason(repository) == "unloaded")
    assert refusal(repository.get, "a").code is Code.UNAVAILABLE
    assert repository.ready, "what somebody unloaded is not asked for"
    put(models / "a" / "2")
    until(lambda: ("a", "2") in states(repository))
    several_looks()
    assert states(repository)["a", "2"] == "UNAVAILABLE"
    repository.unload("a")
    repository.load("a")
    assert repository.get("a").version == "2"
    before = repository.get("a")
    repository.load("a")
    assert repository.get("a") is not before
    assert told == [("unload", "a"), ("unload", "a"), ("load", "a"), ("load", "a")]
    repository.apply("unload", "b").result(20)
    assert len(told) == 4
    repository.unload("a")
    assert not repository.ready, "nothing is left that answers"


def test_a_call_loads_once(models, serving):
    put(models / "a" / "1")
    told = Told()
    repository = serving(metrics=told, allow_model_control=True)
    repository.load("a")
    repository.unload("a")
    repository.load("a")
    several_looks()
    assert [what[0] for what in told.all].count("loaded") == 3


def test_control_names_models_of_the_folder_alone(models, serving, tmp_path):
    put(models / "a" / "1")
    put(tmp_path / "outside" / "1")
    repository = serving(allow_model_control=True, poll_seconds=0)
    for name in ("../outside", "", "a/1", str(models / "a")):
        for call in (repository.load, repository.unload):
            assert refusal(call, name).code is Code.NOT_FOUND
    put(models / "b" / "1")
    repository.load("b")
    assert repository.get("b")


def test_a_load_that_fails_says_why(models, serving):
    folder = put(models / "a" / "1", "v1")
    repository = serving(allow_model_control=True, poll_seconds=0)
    (folder / "model.fake").write_bytes(b"other")
    error = refusal(repository.load, "a")
    assert error.code is Code.MALFORMED
    assert "failed to load a: a/1/model.fake: expected" in str(error)
    assert tag_of(repository.get("a")) == "v1"


def test_an_engine_that_fails_in_its_own_way_is_a_reason_like_any(models, serving, monkeypatch):
    put(models / "a" / "1")
    repository = serving(allow_model_control=True)
    monkeypatch.setattr(fake_engine, "load", lambda *_: 1 / 0)
    assert "division by zero" in str(refusal(repository.load, "a"))
    assert repository.get("a")


def test_notes_are_logged_once_and_on_one_line(models, serving, caplog):
    put(models / "a" / "1")
    (models / "x\ny").touch()
    serving()
    several_looks()
    (record,) = [r for r in caplog.records if "passed over" in r.getMessage()]
    assert r"x\ny: a file is passed over" in record.getMessage()


def test_closing_closes_the_engines(models):
    put(models / "a" / "1")
    repository = FolderRepository(RepositoryOptions(models, trust=True))
    repository.wait(20)
    session = repository.get("a").session
    repository.close()
    assert "closed" in repr(session)
    assert not repository.ready
    assert refusal(repository.get, "a").code is Code.NOT_FOUND
    assert refusal(repository.apply, "load", "a").code is Code.UNAVAILABLE
