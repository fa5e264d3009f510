"""Timing a GPU's own work, on a clock that the work itself moves on."""

import dataclasses
import itertools
import json
import sys

import pytest
from device_helper import QUICK, FakeGpu, FakeStaged, device_result, rounds, run_of

from lenet_bench import LatencyResult, fingerprint, harness
from lenet_bench.compare import compare
from lenet_bench.csv_report import csv_text
from lenet_bench.gpu import steps
from lenet_bench.gpu.harness import Hooks, measure
from lenet_bench.gpu.result import FIGURES, split
from lenet_bench.report import from_dict, read
from lenet_runtime.errors import InputError


@pytest.fixture
def gpu(monkeypatch):
    gpu = FakeGpu()
    monkeypatch.setattr(steps, "time", gpu)
    monkeypatch.setattr(harness, "time", gpu)
    return gpu


def measured(gpu, engines, sizes=(1,), settings=QUICK, **hooks):
    skipped = []
    hooks = {"skip": lambda name, reason: skipped.append((name, reason))} | hooks
    results = list(measure(engines, sizes, gpu, settings, Hooks(**hooks)))
    return results, skipped


def test_each_figure_is_what_its_step_takes(gpu):
    engine = FakeStaged(gpu, "a", compute=40.0, upload=8.0, download=4.0)
    (result, graph), skipped = measured(gpu, {"a": engine})
    assert not skipped
    assert (result.graph, graph.graph, graph.name) == (False, True, "a (graph)")
    assert result.p50_us("device") == pytest.approx(40)
    assert result.p50_us("upload") == pytest.approx(8)
    assert result.p50_us("download") == pytest.approx(4)
    assert result.p50_us("launch") == pytest.approx(40, rel=0.01)
    assert result.hidden_share == 1
    assert set(result.rounds_ns) == set(FIGURES)


def test_memory_that_pytorch_refuses_to_give_back_costs_no_result(gpu, monkeypatch, capsys):
    """As it does after a capture that failed: an assertion of its own."""

    class Torch:
        class cuda:  # noqa: N801  a module's name
            @staticmethod
            def empty_cache():
                raise RuntimeError("captures_underway.empty() INTERNAL ASSERT FAILED")

    monkeypatch.setitem(sys.modules, "torch", Torch)
    results, _ = measured(gpu, {"a": FakeStaged(gpu, "a", (True,))})
    assert len(results) == 1
    assert "captures_underway" in capsys.readouterr().err


def test_a_sample_is_long_against_the_resolution_and_fits_into_half_a_hold():
    assert steps.repeats(40, 5, 500) == 2  # 100 us or so
    assert steps.repeats(2, 1, 500) == 50
    assert steps.repeats(2, 25, 500) == 10  # launches of 250 us in all
    assert steps.repeats(0.0, 0.0, 500) == steps.MOST_REPEATS
    assert steps.repeats(5000, 400, 500) == 1


def test_short_work_is_repeated_within_a_sample(gpu):
    engine = FakeStaged(gpu, "a", (True,), compute=2.0)
    (result,), _ = measured(gpu, {"a": engine})
    assert result.repeats["device"] == 50
    assert result.repeats["device_single"] == 1
    assert result.p50_us("device") == pytest.approx(2)


def test_engines_take_turns_in_a_new_order(gpu):
    engines = {name: FakeStaged(gpu, name, (True,), compute=100.0) for name in "abc"}
    settings = dataclasses.replace(QUICK, min_seconds=0.2)
    results, _ = measured(gpu, engines, settings=settings)
    turns = [name for name, _ in itertools.groupby(name for name, _ in gpu.log)][3:]
    rounds_seen = {tuple(turns[i : i + 3]) for i in range(0, len(turns) - 2, 3)}
    assert len(rounds_seen) > 1
    assert len({len(r.rounds_ns["device"]) for r in results}) == 1


def test_every_sample_of_each_figure_is_kept_by_round(gpu):
    (result,), _ = measured(gpu, {"a": FakeStaged(gpu, "a", (True,), compute=100.0)})
    counts = {tuple(map(len, result.rounds_ns[name])) for name in FIGURES}
    assert len(counts) == 1
    assert sum(counts.pop()) >= QUICK.min_iterations


def test_launches_that_were_late_are_counted(gpu):
    gpu.in_time = False
    (result,), _ = measured(gpu, {"a": FakeStaged(gpu, "a", (True,), compute=100.0)})
    assert result.hidden_share == 0


@pytest.mark.parametrize("step", ["compute", "upload", "download"])
def test_an_engine_that_fails_is_left_out_and_the_others_go_on(gpu, step):
    engines = {
        "bad": FakeStaged(gpu, "bad", (True,), **{step: RuntimeError("illegal address")}),
        "good": FakeStaged(gpu, "good", (True,)),
    }
    results, skipped = measured(gpu, engines)
    assert [result.engine for result in results] == ["good"]
    assert ("bad", "batch 1: RuntimeError: illegal address") in skipped
    assert engines["bad"].made[0].closed == 1


def test_an_engine_that_fails_later_is_left_out_too(gpu):
    bad = FakeStaged(gpu, "bad", (True,), compute=100.0)
    settings = dataclasses.replace(QUICK, min_seconds=0.5)

    def progress(step, share):
        bad.cost["compute"] = RuntimeError("after a while")

    engines = {"bad": bad, "good": FakeStaged(gpu, "good", (True,), compute=100.0)}
    results, skipped = measured(gpu, engines, settings=settings, progress=progress)
    assert [result.engine for result in results] == ["good"]
    assert skipped[-1] == ("bad", "batch 1: RuntimeError: after a while")


def test_a_batch_that_does_not_fit_is_skipped_with_its_reason(gpu):
    class Full(FakeStaged):
        def stages(self, images, *, graph):
            raise MemoryError("too little")

    results, skipped = measured(gpu, {"a": Full(gpu, "a")}, sizes=(8,))
    assert results == []
    assert skipped == [
        ("a", "batch 8: MemoryError: too little"),
        ("a (graph)", "batch 8: MemoryError: too little"),
    ]


def test_a_mode_that_an_engine_lacks_is_named(gpu):
    results, skipped = measured(gpu, {"a": FakeStaged(gpu, "a", (True,))})
    assert [result.graph for result in results] == [False]
    assert skipped == [("a (graph)", "batch 1: it has no steps with a graph here")]


def test_everything_is_closed_whatever_happens(gpu):
    def interrupt(step, share):
        raise KeyboardInterrupt

    engines = {"a": FakeStaged(gpu, "a")}
    with pytest.raises(KeyboardInterrupt):
        measured(gpu, engines, progress=interrupt)
    assert [stages.closed for stages in engines["a"].made] == [1, 1]


def test_a_deadline_keeps_what_was_measured(gpu):
    settings = dataclasses.replace(QUICK, min_seconds=1e9)
    asked = iter([False, False, False, True, True, True])
    results, skipped = measured(
        gpu,
        {"a": FakeStaged(gpu, "a", (True,), compute=50.0)},
        sizes=(1, 8, 64),
        settings=settings,
        stop=lambda: next(asked),
    )
    assert [result.batch_size for result in results] == [1]
    assert not [one for one in skipped if "no time" in one[1]] or len(results) == 1


def test_who_is_at_work_is_told_before(gpu):
    told = []
    measured(gpu, {"a": FakeStaged(gpu, "a"), "b": FakeStaged(gpu, "b")}, doing=told.append)
    assert told[:2] == ["a", "b"]
    assert set(told) == {"a", "b"}


def test_the_split_adds_up():
    parts = device_result("a", 8, 40.0, single=6.0, copy=3.0)
    whole = LatencyResult("a", 8, rounds(100.0))
    found = split(parts, whole)
    assert found.compute_us == pytest.approx(parts.p50_us("device"))
    assert found.launch_us == pytest.approx(6, rel=0.1)
    assert found.copy_us == pytest.approx(6, rel=0.05)
    parts = found.python_us + found.launch_us + found.copy_us + found.compute_us
    assert parts == pytest.approx(found.end_to_end_us)
    assert found.python_us == pytest.approx(100 - 40 - 6 - 6, rel=0.1)


def test_the_launch_of_the_split_is_not_below_zero_and_the_rest_may_be():
    found = split(device_result("a", 8, 40.0, single=-5.0), LatencyResult("a", 8, rounds(10.0)))
    assert found.launch_us == 0
    assert found.python_us < 0


@pytest.mark.parametrize(
    ("told", "graph"), [((("a", 1, False),), False), ((("a", 1, True),), True), ((), True)]
)
def test_the_split_takes_the_mode_that_the_engine_uses_or_the_faster(told, graph):
    run = run_of({("a", "fp32", 1): 40.0})
    faster = device_result("a", 1, 20.0, graph=True)
    section = dataclasses.replace(
        run.device, results=(*run.device.results, faster), uses_graph=told
    )
    (found,) = section.splits(run.results)
    assert found.graph is graph


def test_the_memory_bound_is_one_reading_of_the_images():
    result = device_result("a", 1000, 10.0)  # 4.096 MB in 10 us are 0.41 TB/s
    assert result.bytes_share(4.096e11) == pytest.approx(1, rel=0.01)


def test_a_report_comes_back_from_json_whole(tmp_path):
    run = run_of({("a", "fp32", 1): 40.0, ("b", "fp16", 8): 3.0})
    path = tmp_path / "report.json"
    path.write_text(json.dumps(run.to_dict(), allow_nan=False))
    again = read(path)
    assert from_dict(json.loads(json.dumps(again.to_dict()))).to_dict() == again.to_dict()
    for one, other in zip(again.device.results, run.device.results, strict=True):
        assert (one.name, one.batch_size, one.repeats) == (
            other.name, other.batch_size, dict.fromkeys(FIGURES, 1) | {"device": 10},
        )  # fmt: skip
        assert one.p50_us() == pytest.approx(other.p50_us(), rel=1e-3)
    row = run.to_dict()["device"]["results"][0]
    assert set(row["figures"]) == set(FIGURES)
    assert row["figures"]["device"]["p50_us"] == pytest.approx(40, rel=0.02)
    assert row["share_of_memory_bound"] > 0


def test_a_report_without_a_gpu_says_so_and_one_of_before_still_reads(tmp_path):
    run = run_of({("a", "fp32", 1): 40.0}, device=None)
    document = run.to_dict()
    assert document.pop("device") is None  # an older version had no such key
    path = tmp_path / "report.json"
    path.write_text(json.dumps(document))
    assert read(path).device is None
    assert "device_p50_us" not in csv_text(run)


@pytest.mark.parametrize(
    "damage",
    [
        lambda section: section.pop("results"),
        lambda section: section["results"][0]["figures"].pop("launch"),
        lambda section: section["results"][0]["figures"]["device"].update(rounds_ns=[[]]),
        lambda section: section["results"][0]["figures"]["device"].update(rounds_ns=[[-1.0]]),
        lambda section: section["results"][0].update(batch_size=0),
        lambda section: section.update(skipped=["text"]),
    ],
)
def test_a_damaged_section_is_refused(tmp_path, damage):
    document = run_of({("a", "fp32", 1): 40.0}).to_dict()
    damage(document["device"])
    path = tmp_path / "report.json"
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match="not a latency report"):
        read(path)


def test_the_csv_has_the_steps_of_both_modes():
    head, row = csv_text(run_of({("a", "fp32", 1): 40.0})).splitlines()
    columns = dict(zip(head.split(","), row.split(","), strict=True))
    assert float(columns["device_p50_us"]) == pytest.approx(40, rel=0.02)
    assert columns["graph_device_p50_us"] == ""


def test_the_gate_sees_a_regression_of_the_gpu_alone():
    before = run_of({("eager", "fp32", 1): 40.0, ("a", "fp32", 1): 10.0})
    slower = run_of({("eager", "fp32", 1): 40.0, ("a", "fp32", 1): 20.0})
    changes = compare(slower, before, 0.1).changes
    assert [c.engine for c in changes if c.regressed] == ["a device"]
    assert not [c for c in compare(before, before, 0.1).changes if c.regressed]


def test_another_gpu_is_another_machine():
    before, now = (run_of({("eager", "fp32", 1): 40.0}) for _ in range(2))
    now.fingerprint["machine"]["gpu"] = "Another"
    with pytest.raises(InputError, match="gpu: 'Another' here, 'Fake GPU' there"):
        compare(now, before, 0.1)


def test_the_fingerprint_has_the_gpu_only_where_it_is_measured(fake_cuda, monkeypatch, tmp_path):
    fake_cuda()
    monkeypatch.setenv("PATH", str(tmp_path))  # no nvidia-smi
    machine = fingerprint("cuda")["machine"]
    assert machine["gpu"] == "Fake GPU 0"
    assert machine["gpu_compute_capability"] == "9.0"
    assert machine["gpu_driver"] is None
    assert not [key for key in fingerprint()["machine"] if key.startswith("gpu")]
