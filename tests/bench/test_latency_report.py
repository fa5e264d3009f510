"""Reports of a run: CSV, crossovers in words, and foreign documents that must be refused."""

import csv
import io
import json

import numpy as np
import pytest

from lenet_bench import LatencyResult, Settings, report
from lenet_bench.csv_report import csv_text
from lenet_bench.report import Run, crossovers, remarks, summary
from lenet_bench.result import Ratio, times
from lenet_runtime.errors import InputError


def run_of(medians, **changes):
    """`medians`: microseconds by engine and batch size."""
    results = tuple(
        LatencyResult(name, size, tuple(us * np.array([[900.0, 1000, 1100]] * 10)))
        for name, sizes in medians.items()
        for size, us in sizes.items()
    )
    return Run(Settings(), {"machine": {"cpu": "A"}}, results, **changes)


@pytest.fixture
def run():
    """With a name that CSV must quote."""
    return run_of(
        {"eager": {1: 100, 8: 400}, 'b, "quoted"': {1: 200, 8: 100}},
        engines={"eager": {"threads": 1}},
        baseline="eager",
        skipped=({"engine": "tensorrt", "reason": "not installed"},),
        cold_start=({"engine": "eager", "load_ms": 1.5, "peak_memory_mib": None},),
        scaling=({"engine": "eager", "threads": 1, "callers": 1},),
        interrupted=True,
    )


def test_csv_parses_back_to_the_same_figures(run):
    rows = list(csv.DictReader(io.StringIO(csv_text(run))))
    assert len(rows) == len(run.results)
    for row, result in zip(rows, run.results, strict=True):
        assert row["engine"] == result.engine
        assert int(row["batch_size"]) == result.batch_size
        assert int(row["samples"]) == len(result.samples_ns)
        for key, value in result.statistics().items():
            assert float(row[key]) == pytest.approx(value, rel=1e-5)
        assert float(row["ratio"]) == pytest.approx(run.ratio(result).value, rel=1e-5)


def test_csv_says_what_ran_where():
    details = {"backend": "native", "precision": "int8", "threads": 2, "device": "cpu", "right": 60}
    made = run_of({"a": {1: 10}, "b": {1: 10}}, engines={"a": details, "b": {"threads": None}})
    a, b = csv.DictReader(io.StringIO(csv_text(made)))
    assert a["machine"] == b["machine"] == "A"
    assert {key: a[key] for key in details} == {key: str(value) for key, value in details.items()}
    assert b["threads"] == b["precision"] == ""


def test_csv_without_a_base_line_has_no_ratio():
    rows = list(csv.DictReader(io.StringIO(csv_text(run_of({"a": {1: 10}})))))
    assert rows[0]["ratio"] == rows[0]["ratio_low"] == ""


def test_nothing_measured_is_an_empty_csv():
    assert csv_text(run_of({})) == ""


def test_json_keeps_everything(run, tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(run.to_dict(), allow_nan=False))
    back = report.read(path)
    assert back.to_dict() == run.to_dict()
    assert back.winners() == {1: "eager", 8: 'b, "quoted"'}
    assert back.ratio(back.find('b, "quoted"', 1)).value == 2
    for name in ("settings", "fingerprint", "engines", "baseline", "scope", "interrupted"):
        assert getattr(back, name) == getattr(run, name)
    for name in ("skipped", "cold_start", "scaling"):
        assert getattr(back, name) == getattr(run, name)
    for before, after in zip(run.results, back.results, strict=True):
        np.testing.assert_array_equal(before.samples_ns, after.samples_ns)


def test_a_sample_of_many_calls_keeps_its_fractions():
    quick = LatencyResult("a", 1, (np.array([0.25, 0.5]),), calls_per_sample=1000)
    back = report.results_json.from_json(report.results_json.to_json(quick))
    np.testing.assert_array_equal(back.samples_ns, [0.25, 0.5])


@pytest.mark.parametrize("share", [None, 0.0, 0.5])
def test_the_share_of_preempted_samples_is_kept(share):
    result = LatencyResult("a", 1, (np.array([1.0]),), preempted_share=share)
    document = report.results_json.to_json(result)
    assert report.results_json.from_json(document).preempted_share == share
    del document["preempted_share"]  # a report of before it was counted
    assert report.results_json.from_json(document).preempted_share is None


@pytest.mark.parametrize(
    ("medians", "words"),
    [
        ({"a": {1: 1, 8: 9, 64: 9}, "b": {1: 2, 8: 8, 64: 8}},
         ["a is the fastest at batch 1", "from batch 8 on b is the fastest"]),
        ({"a": {1: 1, 8: 9, 64: 8}, "b": {1: 2, 8: 8, 64: 9}},
         ["a is the fastest at batch 1", "from batch 8 on b is the fastest",
          "from batch 64 on a is the fastest"]),
        ({"a": {1: 1, 8: 8}, "b": {1: 2, 8: 9}}, ["a is the fastest at every batch size measured"]),
        ({"a": {8: 1}, "b": {8: 2}}, ["a is the fastest at batch 8"]),
        ({"a": {1: 1, 8: 8}, "b": {1: 1.02, 8: 9}},
         ["a and b are equally fast within the noise at batch 1",
          "from batch 8 on a is the fastest"]),
        ({"a": {1: 1}, "b": {1: 1.02}, "c": {1: 1.01}, "d": {1: 1.2}},
         ["a, c and b are equally fast within the noise at batch 1"]),
        ({"a": {1: 1, 8: 8}}, []),
        ({}, []),
    ],
)  # fmt: skip
def test_crossovers_in_words(medians, words):
    assert list(crossovers(run_of(medians))) == words


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d.update(fingerprint=None),
        lambda d: d.update(fingerprint=[]),
        lambda d: d.update(fingerprint={"machine": 1}),
        lambda d: d.update(engines=[]),
        lambda d: d.update(engines={"eager": None}),
        lambda d: d.update(skipped=["tensorrt"]),
        lambda d: d.update(cold_start=[1]),
        lambda d: d.update(scaling=None),
        lambda d: d.update(results={}) or d.pop("interrupted"),
        lambda d: d["settings"].update(inputs="lukewarm"),
        lambda d: d["settings"].update(min_seconds="1"),
        lambda d: d["settings"].update(unknown=1),
        lambda d: d["results"].append(None),
        lambda d: d["results"][0].pop("engine"),
        lambda d: d["results"][0].update(batch_size=0),
        lambda d: d["results"][0].update(batch_size=float("inf")),
        lambda d: d["results"][0].update(calls_per_sample=0),
        lambda d: d["results"][0].update(preempted_share=float("nan")),
        lambda d: d["results"][0].update(preempted_share=1.5),
    ],
)
def test_a_damaged_report_is_refused(run, tmp_path, damage):
    document = run.to_dict()
    damage(document)
    path = tmp_path / "run.json"
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"run\.json: not a latency report"):
        report.read(path)


def noisy(name, seed, factor=1.0, rounds=40):
    """Samples with the noise of a busy machine."""
    random = np.random.default_rng(seed)
    times = 1e4 * factor * (1 + random.exponential(0.1, (rounds, 20)))
    return LatencyResult(name, 1, tuple(times))


@pytest.mark.parametrize("seed", range(10))
def test_nobody_wins_among_equals(seed):
    run = Run(Settings(), {}, (noisy("a", seed), noisy("b", seed + 100), noisy("c", seed, 1.5)))
    assert run.winners() == {1: None}
    assert set(run.leaders()[1]) == {"a", "b"}
    assert run.to_dict()["winners"] == {"1": None}


def test_who_is_alone_wins_nothing():
    assert run_of({"a": {1: 1, 8: 8}}).winners() == {1: None, 8: None}


def test_the_summary_is_one_line_of_the_fastest_at_the_largest_batch():
    line = summary(run_of({"a": {1: 1, 8: 9}, "b": {1: 2, 8: 8}}))
    assert line == "b at batch 8: 1,000,000 images/s, us per call: min 7.2, mean 8, p50 8, p99 8.8"
    assert summary(run_of({})) == ""


def test_remarks_say_what_spoils_the_figures():
    quiet = run_of({"a": {1: 1}}, engines={"a": {"weights_sha256": "1"}})
    assert remarks(quiet) == []
    samples = quiet.results[0].rounds_ns
    shaky = (
        LatencyResult("a", 1, samples, warm=False),
        LatencyResult("b", 1, samples, preempted_share=0.6),
    )
    machine = {"machine": {"affinity": [0, 1], "cores": 64}, "state": {"load_average_1min": 4.85}}
    engines = {"a": {"weights_sha256": "1"}, "b": {"weights_sha256": "2"}, "eager": {}}
    words = "\n".join(remarks(Run(Settings(), machine, shaky, engines)))
    assert "† was still getting faster" in words
    assert "‡ had to wait for the CPU" in words
    assert "4.85 on 2 cores" in words
    assert "different networks" in words


@pytest.mark.parametrize(
    ("value", "text"),
    [(30.4, "30x"), (1234.0, "1,234x"), (5.23, "5.2x"), (1.018, "1.02x"), (1.0, "1.00x"),
     (0.85, "0.85x"), (0.0333, "0.033x"), (9.99, "10x"), (2.0, "2.0x")],
)  # fmt: skip
def test_ratios_have_the_digits_that_mean_something(value, text):
    assert times(value) == text
    assert times(Ratio(1 / value, 1, 1).speedup.value) == text
