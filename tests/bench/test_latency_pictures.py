"""`bench --scope pictures`: the steps of a picture, by clocks that the test winds."""

import io
import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest
from cli_helper import assert_fits, run, set_columns
from PIL import Image

from lenet_bench import Settings
from lenet_bench.pictures import STEPS, drawn, measure_pictures
from lenet_runtime.errors import InputError
from lenet_runtime.images.preprocess import Preprocessing

QUICK = ("--scope", "pictures", "--min-time", "0.01", "--min-iterations", "1")
WINDS = ([1, 20, 300], [2, 40, 600])  # milliseconds of each step: of CPU, and of the wall


class FakeSession:
    """Keeps the batches that it was given."""

    def __init__(self, shape=(1, 32, 32)):
        self.manifest = SimpleNamespace(image_shape=shape, preprocessing=Preprocessing())
        self.batches = []

    def run(self, images):
        self.batches.append(images)


def clock(*steps):
    """Stamps of one picture after the other: its start, then each step's end."""
    stamps = itertools.accumulate(itertools.cycle([0, *steps]))
    return lambda: next(stamps) * 10**6


@pytest.fixture(scope="module")
def files():
    return drawn()


def test_the_drawn_pictures_are_of_the_sizes_that_their_names_say(files):
    for name, file in files.items():
        with Image.open(io.BytesIO(file)) as image:
            assert name == f"{image.width}x{image.height} {image.format}"
    assert list(files) == ["28x28 PNG", "200x200 PNG", "600x600 JPEG", "4000x3000 JPEG"]


def test_each_step_has_its_own_time(files):
    two = dict(itertools.islice(files.items(), 2))
    session = FakeSession()
    costs = measure_pictures(
        session, two, Settings(0.1, 3), clocks=(clock(*WINDS[0]), clock(*WINDS[1]))
    )
    assert [cost.picture for cost in costs] == list(two)
    for cost in costs:
        assert cost.rounds == 3
        assert cost.file_bytes == len(two[cost.picture])
        assert cost.cpu_ms == dict(zip((*STEPS, "whole"), (*WINDS[0], 321), strict=True))
        assert cost.wall_ms == dict(zip((*STEPS, "whole"), (*WINDS[1], 642), strict=True))
    assert len(session.batches) == 2 * (3 + 1)  # a round more warms up


def test_it_goes_on_until_the_seconds_of_each_picture_are_over(files):
    two = dict(itertools.islice(files.items(), 2))
    costs = measure_pictures(
        FakeSession(), two, Settings(3.0, 1), clocks=(clock(*WINDS[0]), clock(*WINDS[1]))
    )
    assert [cost.rounds for cost in costs] == [5, 5]  # 5 * 0.642 seconds


@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 32, 32), (3, 32, 32)])
def test_the_network_gets_what_it_takes(files, shape):
    session = FakeSession(shape)
    measure_pictures(session, {"one": files["200x200 PNG"]}, Settings(1e-6, 1))
    assert {(batch.shape, batch.dtype.name) for batch in session.batches} == {
        ((1, *shape), "float32")
    }


def test_what_is_no_picture_is_an_error():
    with pytest.raises(InputError, match="an HTML page"):
        measure_pictures(FakeSession(), {"page": b"<html>"}, Settings())


def test_the_command_writes_a_table_and_json(onnx_artifact, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    report = tmp_path / "report.json"
    for columns in (60, 80, 200):
        set_columns(monkeypatch, columns)
        shown = run("bench", onnx_artifact.path, *QUICK, "--json", report).stdout
        assert_fits(shown, columns)
        assert all(word in shown for word in (*STEPS, "whole", "4000x3000 JPEG"))
    document = json.loads(report.read_text())
    assert document["scope"] == "pictures"
    assert document["engine"].endswith("ort-cpu")
    assert len(document["pictures"]) == 4
    for cost in document["pictures"]:
        steps = [cost["cpu_ms"][step] for step in STEPS]
        assert np.isfinite(steps).all()
    printed = run("bench", onnx_artifact.path, *QUICK, "--json", "-").stdout
    assert json.loads(printed)["fingerprint"]["machine"]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--csv", "report.csv"], "--csv"),
        (["--html", "report.html"], "--html"),
        (["--cold-start"], "--cold-start"),
        (["--checkpoint", "net.pt"], "export the checkpoint"),
        (["one", "two"], "one artifact"),
        (["--backend", "abacus"], "abacus"),
        (["--threads", "1,2"], "--threads"),
        (["--json", "nowhere/report.json"], "--json"),
    ],
)
def test_what_only_sessions_have_is_refused_before_anything_is_drawn(words, found, monkeypatch):
    monkeypatch.delattr("lenet_bench.pictures.drawn")
    assert found in run("bench", *QUICK, *words, code=2).stderr
