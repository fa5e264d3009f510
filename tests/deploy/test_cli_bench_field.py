"""Who takes part in `lenet-deploy bench`, and where its results go; the clock is pretended."""

import json
import os
import shutil

import numpy as np
import pytest
from cli_helper import assert_fits, run, set_columns

from lenet_bench import LatencyResult, field
from lenet_runtime.artifact import trust
from lenet_runtime.errors import DeployError

QUICK = ("--batch-sizes", "1,3")


@pytest.fixture(autouse=True)
def microseconds(monkeypatch):
    """What each engine takes, by its name: 100 us where nothing else is said."""
    taken = {}

    def measure(engines, sizes, settings, progress, keep):
        for name, engine in engines.items():
            for size in sizes:
                engine(np.zeros((size, *settings.image_shape), np.float32))
                rounds = (np.full(5, 1e3 * taken.get(name, 100.0)),) * 20
                keep(LatencyResult(name, size, rounds))

    monkeypatch.setattr(field, "measure", measure)
    return taken


@pytest.fixture
def folder(onnx_artifact, torchscript_artifact, tmp_path):
    """A folder of two artifacts, with a plan among them."""
    for artifact in (onnx_artifact, torchscript_artifact):
        shutil.copytree(artifact.path, tmp_path / "artifacts" / artifact.manifest.format)
    (tmp_path / "artifacts" / "plan.json").write_text("{}")
    return tmp_path / "artifacts"


def report(*words, code=0):
    return json.loads(run("bench", *words, *QUICK, "--json", "-", code=code).stdout)


def test_a_folder_stands_for_the_artifacts_in_it(folder):
    assert set(report(folder)["engines"]) == {"eager", "ort-cpu", "torchscript"}


def test_a_plan_in_a_glob_is_no_artifact(folder):
    engines = {"eager", "ort-cpu", "torchscript"}
    assert set(report(*sorted(folder.iterdir()))["engines"]) == engines
    assert "plan.json alone" in run("bench", folder / "plan.json", *QUICK, code=2).stderr


def test_what_in_a_folder_is_not_trusted_is_listed(folder, monkeypatch):
    monkeypatch.setattr(trust, "_written", set())
    document = report(folder)
    assert set(document["engines"]) == {"eager", "ort-cpu"}
    assert "trust=True" in document["skipped"][0]["reason"]


def test_any_onnx_file_is_a_peer(onnx_artifact, tmp_path):
    file = shutil.copy(onnx_artifact.path / "model.onnx", tmp_path / "theirs.onnx")
    document = report(onnx_artifact.path, file, "--trust")
    theirs = document["engines"]["onnxruntime: theirs.onnx"]
    assert (theirs["artifact"], theirs["weights_sha256"]) == ("theirs.onnx", None)
    assert (theirs["right"], theirs["digits"]) == (59, 60)
    shown = run("bench", file, "--trust", *QUICK).stdout
    assert "not proven" in shown
    assert "not measured: eager: " in shown
    assert "--trust" in run("bench", file, *QUICK, code=2).stderr


def test_the_input_of_an_onnx_file_is_as_it_says(tmp_path):
    file = dense(tmp_path / "small.onnx", (1, 28, 28), 26)
    document = report(file, "--trust")
    assert document["settings"]["image_shape"] == [1, 28, 28]
    assert document["engines"]["onnxruntime: small.onnx"]["right"] is None


@pytest.mark.parametrize("shape", [(28, 28, 1), ("c", 28, 28), (784,)])
def test_an_onnx_file_of_another_kind_is_refused(tmp_path, shape):
    file = dense(tmp_path / "other.onnx", shape, 10)
    assert "expected one input" in run("bench", file, "--trust", *QUICK, code=1).stderr
    file.write_bytes(b"<html>")
    assert "HTML page" in run("bench", file, "--trust", *QUICK, code=1).stderr


def test_images_of_two_shapes_are_no_race(onnx_artifact, tmp_path):
    file = dense(tmp_path / "small.onnx", (1, 28, 28), 10)
    result = run("bench", onnx_artifact.path, file, "--trust", *QUICK, code=2)
    assert "(1, 28, 28) of onnxruntime: small.onnx" in " ".join(result.stderr.split())


def dense(path, shape, classes):
    """An ONNX file of one dense layer."""
    onnx = pytest.importorskip("onnx")
    from dense_onnx import DENSE, FLAT, model, value

    count = int(np.prod([n for n in shape if isinstance(n, int)]))
    weights = np.ones((count, classes), np.float32)
    inputs, outputs = value("images", ("batch", *shape)), value("logits", ("batch", classes))
    onnx.save(model((FLAT, DENSE), weights, (inputs,), (outputs,)), path)
    return path


def test_eager_is_the_network_of_the_checkpoint(tmp_path):
    import torch

    import lenet_export
    from lenet_deploy.training.model import Net

    torch.manual_seed(1)
    net = Net().eval()
    torch.save(net.state_dict(), tmp_path / "mine.pt")
    folder = lenet_export.export(net, "torchscript", tmp_path / "mine").path
    mine = report(folder, "--checkpoint", tmp_path / "mine.pt")
    assert {e["weights_sha256"] for e in mine["engines"].values()} == {
        mine["engines"]["torchscript"]["weights_sha256"]
    }
    bundled = report(folder)  # which these weights are not
    assert bundled["baseline"] == "torchscript"
    assert "--checkpoint" in bundled["skipped"][0]["reason"]


def test_the_wrong_checkpoint_is_refused(onnx_artifact, tmp_path):
    import torch

    from lenet_deploy.training.model import Net

    torch.save(Net().state_dict(), tmp_path / "other.pt")
    words = ("bench", onnx_artifact.path, *QUICK, "--checkpoint", tmp_path / "other.pt")
    assert "not the weights" in run(*words, code=2).stderr


def test_a_static_artifact_is_timed_at_its_own_size(net, onnx_artifact, tmp_path):
    import lenet_export

    static = lenet_export.export(net, "torchscript", tmp_path / "static", static_batch=3).path
    document = report(onnx_artifact.path, static)
    sizes = [r["batch_size"] for r in document["results"] if r["engine"] == "torchscript"]
    assert sizes == [3]
    assert document["engines"]["torchscript"]["right"] == 59
    lone = run("bench", static, "--batch-sizes", "1", "--backend", "torchscript")
    assert "batches of 3 images alone" in lone.stdout


def test_right_answers_stand_beside_the_latency(onnx_artifact, mnist_dir):
    assert "59/60" in run("bench", onnx_artifact.path, *QUICK).stdout
    document = report(onnx_artifact.path, "--data-dir", mnist_dir)
    assert document["data_set"] == "MNIST test set"
    assert document["engines"]["ort-cpu"]["right"] == 9956


def test_the_fastest_is_said_beyond_the_noise_alone(onnx_artifact, microseconds):
    assert "*" not in run("bench", onnx_artifact.path, *QUICK).stdout  # equally fast
    microseconds["ort-cpu"] = 10 / 3
    shown = run("bench", onnx_artifact.path, *QUICK).stdout
    assert "ort-cpu *" in shown
    assert "30x" in shown
    assert "ort-cpu at batch 3: 900,000 images/s, us per call: min 3.33" in shown


def test_one_engine_alone_is_no_winner(onnx_artifact, tmp_path):
    file = shutil.copy(onnx_artifact.path / "model.onnx", tmp_path / "theirs.onnx")
    shown = run("bench", file, "--trust", *QUICK).stdout
    assert "*" not in shown
    assert "fastest" not in shown


@pytest.mark.parametrize("flag", ["--json", "--csv", "--html"])
@pytest.mark.parametrize("place", ["nowhere/report", "", "file/report"])
def test_paths_are_looked_at_before_anything_is_loaded(tmp_path, monkeypatch, flag, place):
    """A folder that is missing, a folder, and what is below a file."""
    (tmp_path / "file").write_text("")
    result = run("bench", tmp_path / "no-artifact", *QUICK, flag, tmp_path / place, code=2)
    assert flag in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    result = run("bench", tmp_path / "no-artifact", "--json", tmp_path / "x.json", code=2)
    assert "Permission denied" in result.stderr


def test_a_file_is_named_once(tmp_path):
    words = ("bench", tmp_path / "no-artifact", "--json", tmp_path / "a", "--csv", tmp_path / "a")
    assert "also the file of --json" in run(*words, code=2).stderr.replace("\n", " ")
    (tmp_path / "b").write_text("{}")
    words = (
        "bench",
        tmp_path / "no-artifact",
        "--json",
        tmp_path / "b",
        "--baseline",
        tmp_path / "b",
    )
    assert "also the file of --baseline" in run(*words, code=2).stderr.replace("\n", " ")


@pytest.mark.parametrize("words", [("--json",), ("--json", "--seed", "1")])
def test_json_without_a_file_is_for_stdout(onnx_artifact, words):
    result = run("bench", onnx_artifact.path, *QUICK, *words)
    assert json.loads(result.stdout)["schema"] == "lenet-latency/1"


def test_ctrl_c_before_the_first_round_leaves_the_report_that_is_there(
    onnx_artifact, tmp_path, monkeypatch
):
    def measure(*arguments, **options):
        raise KeyboardInterrupt

    path = tmp_path / "report.json"
    path.write_text("before")
    monkeypatch.setattr(field, "measure", measure)
    result = run("bench", onnx_artifact.path, *QUICK, "--json", path, code=130)
    assert path.read_text() == "before"
    assert "nothing was measured" in result.output


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt, 130), (DeployError("no"), 1)])
def test_what_fails_after_the_latencies_loses_none_of_them(
    onnx_artifact, tmp_path, monkeypatch, error, code
):
    def cold_start(*arguments):
        raise error

    path = tmp_path / "report.json"
    monkeypatch.setattr(field, "measure_cold_start", cold_start)
    words = ("bench", onnx_artifact.path, *QUICK, "--cold-start", "--json", path)
    assert "ort-cpu" in run(*words, code=code).stdout
    assert len(json.loads(path.read_text())["results"]) == 4


def test_runs_that_cannot_be_compared_are_refused_before_they_are_measured(
    onnx_artifact, tmp_path, monkeypatch
):
    before = tmp_path / "before.json"
    run("bench", onnx_artifact.path, *QUICK, "--json", before)
    monkeypatch.setattr(field, "measure", None)
    words = ("bench", onnx_artifact.path, *QUICK, "--baseline", before)
    assert "inputs: hot here" in run(*words, "--input", "hot", code=2).stderr.replace("\n", " ")


@pytest.mark.parametrize("columns", [40, 60, 70, 80, 200])
def test_tables_fit_any_terminal_and_name_each_engine(
    onnx_artifact, torchscript_artifact, microseconds, monkeypatch, columns
):
    microseconds["ort-cpu t2"] = 10
    set_columns(monkeypatch, columns)
    words = (onnx_artifact.path, torchscript_artifact.path, *QUICK, "--threads", "1,2")
    shown = run("bench", *words).stdout
    assert_fits(shown, columns)
    for name in ("eager t1", "eager t2", "ort-cpu t1", "ort-cpu t2", "torchscript t2"):
        assert name in shown
