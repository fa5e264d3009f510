"""Tuning a folder: what is measured, and that the plan keeps the fastest."""

import json
import shutil

import pytest
from cli_helper import assert_fits, run, set_columns
from tuned_folders import SIZES, measure_as

from lenet_bench import tuning
from lenet_runtime import load, load_plan
from lenet_runtime.artifact import trust
from lenet_runtime.errors import ArtifactError, InputError
from lenet_runtime.plans import plan
from lenet_runtime.plans.routing import require_one_network

real_tune = tuning.tune


def test_the_plan_names_the_fastest_at_each_size_and_survives_the_disk(tuned):
    made = plan.read(tuned)
    assert [(e.batch_size, e.artifact, e.backend, e.p50_us) for e in made.entries] == [
        (1, "onnx", "ort-cpu", 10.0),
        (8, "onnx", "ort-cpu", 50.0),
        (64, "torchscript", "torchscript", 400.0),
    ]
    assert made.machine == plan.machine()


def test_artifacts_of_two_networks_cannot_be_tuned_together(artifacts, tmp_path_factory):
    import torch

    import lenet_export
    from lenet_deploy.training.model import Net

    torch.manual_seed(1)
    lenet_export.export(Net(), "torchscript", artifacts / "other")
    slow = measure_as({})
    with pytest.raises(ArtifactError, match="networks or precisions"):
        tuning.tune(artifacts, SIZES, slow, trust=True)


def test_a_plan_never_mixes_precisions(artifacts, native_artifact, net):
    """An image's answer must not depend on the batch that it comes in."""
    import lenet_export

    shutil.copytree(native_artifact.path, artifacts / "native")
    lenet_export.export(net, "native", artifacts / "int8", precision="int8")
    engines = ("onnx on ort-cpu", "torchscript on torchscript", "native on native")
    fast = measure_as({name: dict.fromkeys(SIZES, 1) for name in (*engines, "int8 on native")})
    made, _, skipped = tuning.tune(artifacts, SIZES, fast, trust=True)
    assert "int8" not in {entry.artifact for entry in made.entries}
    assert "its precision is not fp32" in skipped["int8 on native"]
    made, _, _ = tuning.tune(artifacts, SIZES, fast, trust=True, precision="int8")
    assert {entry.artifact for entry in made.entries} == {"int8"}
    sessions = [load(artifacts / name, trust=True) for name in ("native", "int8")]
    with pytest.raises(ArtifactError, match="networks or precisions"):
        require_one_network(sessions)


def test_what_cannot_be_measured_is_skipped_with_its_reason(artifacts, monkeypatch):
    monkeypatch.setattr(trust, "_written", set())
    only_onnx = measure_as({"onnx on ort-cpu": dict.fromkeys(SIZES, 1)})
    made, _, skipped = tuning.tune(artifacts, SIZES, only_onnx)
    assert {entry.artifact for entry in made.entries} == {"onnx"}
    assert "runs code" in skipped["torchscript on torchscript"]


def test_an_empty_folder_has_nothing_to_tune(tmp_path):
    with pytest.raises(InputError, match="no artifact"):
        tuning.tune(tmp_path, SIZES, measure_as({}))
    with pytest.raises(ArtifactError, match="expected a folder of artifacts"):
        tuning.tune(tmp_path / "none", SIZES, measure_as({}))


def test_a_folder_without_a_plan_says_so(artifacts):
    with pytest.raises(ArtifactError, match=r"plan\.json"):
        load_plan(artifacts)


def test_the_plan_keeps_the_fastest_chunk_of_each_size(cut):
    folder, results = cut
    entries = plan.read(folder).entries
    assert [(e.batch_size, e.chunk, e.p50_us) for e in entries] == [
        (8, None, 50.0),
        (64, 32, 400.0),
        (128, 32, 800.0),
        (256, 64, 1500.0),
    ]
    assert {r.engine for r in results} == {"onnx on ort-cpu", "torchscript on torchscript"}
    assert len(results) == 8


def test_tune_writes_the_plan_and_shows_the_winners(artifacts):
    shown = run("tune", artifacts, "--batch-sizes", "1,4", "--min-time", "0.01", "--trust").stdout
    assert "Fastest here" in shown
    assert [entry.batch_size for entry in plan.read(artifacts).entries] == [1, 4]


def test_tune_prints_json_alone(artifacts):
    result = run("tune", artifacts, "--batch-sizes", "2", "--min-time", "0.01", "--trust", "--json")
    document = json.loads(result.stdout)
    assert document["entries"][0]["batch_size"] == 2
    assert document["skipped"] == {}


def test_a_plan_stays_where_its_winner_cannot_be_measured(tuned, monkeypatch):
    """Without --trust, say: what would replace it would be slower."""
    before = (tuned / "plan.json").read_bytes()
    monkeypatch.setattr(trust, "_written", set())
    words = ("tune", tuned, "--batch-sizes", "1", "--min-time", "0.01")
    shown = " ".join(run(*words, code=1).stderr.split())
    assert "stays as it is" in shown
    assert "--trust" in shown
    assert (tuned / "plan.json").read_bytes() == before
    (tuned / "plan.json").unlink()
    run(*words)
    assert {entry.artifact for entry in plan.read(tuned).entries} == {"onnx"}


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_the_winner_is_named_in_text_at_any_width(artifacts, monkeypatch, columns):
    """Not by a colour alone, which a pipe loses."""
    monkeypatch.setattr(tuning, "tune", lambda *_, **__: tuned_by_hand(artifacts))
    set_columns(monkeypatch, columns)
    shown = run("tune", artifacts, "--batch-sizes", "8").stdout
    assert_fits(shown, columns)
    first = next(line for line in shown.splitlines() if "50.0" in line)
    assert "onnx on ort-cpu" in first
    assert ("1.20x" in first) == (columns >= 60)


def tuned_by_hand(folder):
    measured = measure_as({"onnx on ort-cpu": {8: 50}, "torchscript on torchscript": {8: 60}})
    return real_tune(folder, (8,), measured, trust=True)
