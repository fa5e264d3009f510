"""What is served from volumes: swapped as by kubelet, linked, mounted read-only."""

import os
import shutil
import threading

import fake_engine
import numpy as np
import pytest
from artifact_files import write_artifact
from model_folders import put, states, tag_of, until
from samples import first_ten, noise
from volumes import contents, kubelet, read_only

from lenet_runtime.artifact import golden
from lenet_serve import InferRequest, Service, Tensor
from lenet_serve.repository.scanning import scan


def release(folder, number, below=""):
    """A release that answers `number` more than the pixels, by its files' paths in a volume."""
    golden_ = golden.write(noise(4), first_ten(noise(4)) + np.float32(number))
    files = {"golden.npz": golden_, "model.fake": str(number).encode()}
    return contents(write_artifact(folder / str(number), files=files), below)


def answer_more(artifact, device, threads):
    return fake_engine.FakePredictor(np.float32(artifact.read("model.fake")))


@pytest.mark.parametrize("below", ["", "lenet/1/"], ids=["an artifact", "models"])
def test_a_volume_is_followed_and_every_request_answered(serving, tmp_path, monkeypatch, below):
    """Each answer is the old release's or the new one's, and never the old one's again."""
    monkeypatch.setattr(fake_engine, "load", answer_more)
    releases = [release(tmp_path / "releases", n, below) for n in range(12)]
    repository = serving(kubelet(tmp_path / "volume", releases[0]))
    service, stop, failed, seen = Service(repository), threading.Event(), [], []
    request = InferRequest("lenet", inputs=[Tensor("images", "FP32", (1, 1, 32, 32), noise(1))])

    def ask():
        while not stop.is_set():
            try:
                more = service.infer(request).outputs[0].data - first_ten(noise(1))
                seen.append(round(float(more.mean())))
                np.testing.assert_allclose(more, seen[-1], atol=1e-5)
            except Exception as error:
                failed.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for number, files in enumerate(releases):
            kubelet(tmp_path / "volume", files)
            if number % 3 == 2:  # the others are swapped faster than anybody looks
                until(lambda number=number: seen[-1] == number)
    finally:
        stop.set()
        asking.join()
    assert not failed
    assert seen == sorted(seen)
    assert states(repository) == {("lenet", "1"): "READY"}


def test_kubernetes_own_folders_are_nobodys_models(tmp_path):
    """Neither ``..data`` nor the folder of the moment; the links to what is in them are."""
    files = release(tmp_path, 1, "lenet/1/") | release(tmp_path, 2, "other/3/")
    found = scan(kubelet(tmp_path / "volume", files), None)
    assert found.places.keys() == {("lenet", 1), ("other", 3)}
    assert not found.notes


def test_a_link_to_itself_costs_nobody(models):
    """Beside models, versions, or files of an artifact."""
    put(models / "a" / "1")
    for place in (models, models / "a", models / "a" / "1"):
        (place / "loop").symlink_to("loop")
    found = scan(models, None)
    assert [place.problem for place in found.places.values()] == [""]
    assert len(found.notes) == 2
    assert all("loop: a link that leads nowhere is passed over" in note for note in found.notes)


def test_a_file_that_is_replaced_in_place_is_seen(models):
    """Of the same size, with the time of the old one, as rsync --inplace --times leaves it."""
    model = put(models / "a" / "1") / "model.fake"
    before, times = scan(models, None), (model.stat().st_atime_ns, model.stat().st_mtime_ns)
    model.write_bytes(b"10 pixels.")
    os.utime(model, ns=times)
    assert scan(models, None) != before


def test_a_right_to_read_that_comes_later_is_seen(models):
    """After chmod the version is tried again."""
    model = put(models / "a" / "1") / "model.fake"
    model.chmod(0)
    before = scan(models, None)
    model.chmod(0o644)
    assert scan(models, None) != before


def test_a_volume_that_nobody_can_write_is_served_and_replaced(serving, models, tmp_path):
    """A read-only mount; a change comes from outside it."""
    put(models / "a" / "1")
    with read_only(models, tmp_path / "volume") as volume:
        repository = serving(volume)
        assert tag_of(repository.get("a")) == "1"
        put(models / "a" / "2", tag="2")
        until(lambda: tag_of(repository.get("a")) == "2")
        shutil.rmtree(models / "a" / "1")
        until(lambda: states(repository) == {("a", "2"): "READY"})
