"""Plans: sending each batch to the engine that won at its size, where the plan fits."""

import dataclasses
import json
import shutil

import pytest
from fake_engine import FakePredictor
from samples import noise

from lenet_runtime import BACKENDS, load, load_plan
from lenet_runtime.artifact import golden, trust
from lenet_runtime.errors import ArtifactError, DeployError, InputError
from lenet_runtime.plans import plan
from lenet_runtime.plans.routing import PlanWarning, Route, Router


@pytest.mark.parametrize(
    ("size", "engine"),
    [(1, "onnx"), (8, "onnx"), (22, "onnx"), (23, "torchscript"), (500, "torchscript")],
)
def test_each_batch_goes_to_the_winner_at_the_nearest_size(tuned, size, engine):
    """8 and 64 meet at their geometric mean, 22.6."""
    with load_plan(tuned, trust=True) as session:
        engines = [route.predictor for route in session.predictor.routes]
        assert engines[0] is engines[1] is not engines[2]
        asked = []
        for number, name in ((0, "onnx"), (2, "torchscript")):
            run = engines[number].run
            engines[number].run = lambda x, run=run, name=name: asked.append(name) or run(x)
        session.run(noise(size))
        session.predictor.run(noise(size))
    assert asked == [engine, engine]


def test_the_routed_session_answers_as_its_engines_do(tuned, onnx_artifact):
    batch = noise(8)
    with (
        load_plan(tuned, trust=True) as session,
        load(onnx_artifact.path, threads=1) as plain,
    ):
        assert (session.run(batch) == plain.run(batch)).all()
        assert session.backend == "fastest"
        assert session.run(noise(0)).shape == (0, 10)


def test_closing_the_routed_session_closes_every_engine(tuned):
    session = load_plan(tuned, trust=True)
    runs = [route.predictor.run for route in session.predictor.routes]
    session.close()
    with pytest.raises(DeployError, match="closed"):
        session.run(noise(1))
    for run_engine in runs:
        with pytest.raises(DeployError, match="closed"):
            run_engine(noise(1))


def test_a_plan_of_another_machine_is_said_and_not_followed(tuned, monkeypatch):
    monkeypatch.setattr(plan.cpu, "model", lambda: "another CPU")
    with pytest.warns(PlanWarning, match="does not fit this machine.*another CPU"):
        session = load_plan(tuned, trust=True)
    assert session.backend == "ort-cpu"
    session.close()


def test_other_threads_than_the_plans_are_said_too(tuned):
    with pytest.warns(PlanWarning, match="threads: 1 in the plan, 2 asked for"):
        session = load_plan(tuned, threads=2, trust=True)
    assert (session.backend, session.threads) == ("ort-cpu", 2)
    session.close()


def test_without_an_onnx_artifact_a_misfit_is_an_error(tuned, monkeypatch):
    shutil.rmtree(tuned / "onnx")
    monkeypatch.setattr(plan.cpu, "model", lambda: "another CPU")
    with pytest.raises(ArtifactError, match="holds no onnx artifact"):
        load_plan(tuned, trust=True)


def test_the_plan_runs_no_code_that_is_not_trusted(tuned, monkeypatch):
    monkeypatch.setattr(trust, "_written", set())
    with pytest.raises(ArtifactError, match="runs code"):
        load_plan(tuned)


def test_an_artifact_that_was_exchanged_is_refused(tuned):
    manifest = tuned / "onnx" / "manifest.json"
    manifest.write_text(manifest.read_text() + "\n")
    with pytest.raises(ArtifactError, match="not the artifact that the plan was measured with"):
        load_plan(tuned, trust=True)


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": 1},
        {"entries": []},
        {"unknown": 1},
        {"machine": {"cpu": 1}},
        {"threads": "1"},
    ],
)
def test_a_foreign_plan_is_refused(tuned, change):
    path = tuned / plan.PLAN_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ArtifactError, match=r"not a plan.*lenet-deploy tune"):
        plan.read(tuned)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"artifact": "../elsewhere"}, "plain name"),
        ({"batch_size": 9}, "ascending"),
        ({"batch_size": 0}, "batch sizes of 1 to 99999"),
        ({"batch_size": 10**15}, "batch sizes of 1 to 99999"),
        ({"chunk": 0}, "chunks of 1 image or more"),
        ({"chunk": -64}, "chunks of 1 image or more"),
    ],
)
def test_an_entry_that_is_wrong_is_refused(tuned, change, reason):
    made = plan.read(tuned)
    first = dataclasses.replace(made.entries[0], **change)
    plan.write(tuned, dataclasses.replace(made, entries=(first, *made.entries[1:])))
    with pytest.raises(ArtifactError, match=reason):
        plan.read(tuned)


@pytest.mark.parametrize("threads", [0, 10**6])
def test_senseless_threads_are_refused(tuned, threads):
    plan.write(tuned, dataclasses.replace(plan.read(tuned), threads=threads))
    with pytest.raises(InputError, match="threads: expected an integer from 1 to 1024"):
        load_plan(tuned, trust=True)


def test_a_plan_is_bound_to_the_version_of_every_engine(monkeypatch):
    assert set(BACKENDS) <= set(plan.machine())
    before = plan.machine()
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.0")
    assert plan.machine() != before


def test_a_plan_is_bound_to_the_gpu(tuned, fake_cuda):
    """Another GPU, or none, does not follow it silently."""
    fake_cuda(capability=(9, 0))
    on_gpu = plan.machine("cuda:0")
    assert on_gpu["gpu"] == "Fake GPU 0"
    made = dataclasses.replace(plan.read(tuned), machine=on_gpu)
    assert plan.misfits(made, "cuda:0", None) == []
    plan.write(tuned, made)
    with (
        pytest.warns(PlanWarning, match="gpu: 'Fake GPU 0' in the plan, None here"),
        load_plan(tuned, trust=True) as session,
    ):
        assert session.backend == "ort-cpu"
    fake_cuda(capability=(8, 6))
    (misfit,) = plan.misfits(made, "cuda:0", None)
    assert misfit == "gpu_compute_capability: '9.0' in the plan, '8.6' here"


def test_the_old_spelling_of_load_plan_works_and_says_so(tuned):
    with (
        pytest.warns(DeprecationWarning, match="load_plan"),
        load(tuned, "fastest", trust=True) as session,
    ):
        assert session.backend == "fastest"


def test_every_route_and_its_chunks_are_tested_before_they_serve(cut, monkeypatch):
    sizes = []
    self_test = golden.self_test

    def watched(run, artifact, name, starts):
        self_test(lambda x: sizes.append(len(x)) or run(x), artifact, name, starts)

    monkeypatch.setattr(golden, "self_test", watched)
    load_plan(cut[0], trust=True).close()
    assert sizes[-8:] == [7, 8, 23, 64, 91, 128, 182, 256]


def test_one_engine_needs_no_bounds():
    assert Router([Route(8, FakePredictor())], None)._bounds == []


@pytest.mark.parametrize(
    ("size", "pieces"),
    [(8, [8]), (63, [63]), (64, [32, 32]), (100, [32, 32, 32, 4]), (256, [64] * 4)],
)
def test_a_plan_cuts_as_was_measured(cut, onnx_artifact, size, pieces):
    with load_plan(cut[0], trust=True) as session, load(onnx_artifact.path) as plain:
        expected, asked = plain.run(noise(size)), []
        engine = session.predictor.routes[0].predictor
        real = engine._run
        engine._run = lambda o, feed, *rest: (
            asked.append(len(feed["images"])) or real(o, feed, *rest)
        )
        assert (session.run(noise(size)) == expected).all()
    assert asked == pieces
