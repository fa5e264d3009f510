"""Latency: what the figures mean. The clock is ours, so nothing here depends on real time."""

import dataclasses
import gc
import json
import math

import numpy as np
import pytest

from lenet_bench import LatencyResult, Settings, fingerprint, harness, measure
from lenet_bench import report as reports
from lenet_bench.result import from_json, paired_ratio, to_json
from lenet_runtime.errors import InputError

QUICK = Settings(min_seconds=0.1, min_iterations=5, warmup_seconds=0.02)


class Clock:
    """A clock that moves by a nanosecond per look, and by what engines say that they take."""

    def __init__(self):
        self.now, self.step = 0, 1

    def perf_counter_ns(self):
        self.now += self.step
        return self.now

    def perf_counter(self):
        return self.perf_counter_ns() / 1e9

    def get_clock_info(self, name):
        return type("Info", (), {"resolution": self.step / 1e9})


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(harness, "time", clock)
    return clock


class Engine:
    """Takes as long as `cost` says of the number of the call, in nanoseconds; keeps its inputs."""

    def __init__(self, clock, cost):
        self.clock, self.cost, self.inputs = clock, cost, []

    def __call__(self, images):
        self.clock.now += self.cost(len(self.inputs))
        self.inputs.append(images)
        return np.zeros((len(images), 10), np.float32)


def engine(clock, microseconds):
    """An engine that takes that long, whatever it is given."""
    return Engine(clock, lambda call: round(microseconds * 1000))


def result(name="a", size=1, microseconds=100.0, rounds=20, spread=0.0, seed=0):
    noise = np.random.default_rng(seed).uniform(1 - spread, 1 + spread, (rounds, 5))
    return LatencyResult(name, size, tuple(microseconds * 1e3 * noise))


def test_each_engine_gets_its_own_time(clock):
    fast, slow = measure({"fast": engine(clock, 20), "slow": engine(clock, 300)}, [1], QUICK)
    assert fast.percentile_us(50) == pytest.approx(20, rel=1e-3)
    assert slow.percentile_us(50) == pytest.approx(300, rel=1e-3)
    assert fast.images_per_second == pytest.approx(50_000, rel=1e-3)
    assert fast.warm
    assert slow.warm


def test_every_engine_is_measured_at_every_batch_size(clock):
    results = measure({"a": engine(clock, 10), "b": engine(clock, 20)}, [1, 8, 64], QUICK)
    found = [(r.engine, r.batch_size) for r in results]
    assert found == [(name, size) for size in (1, 8, 64) for name in "ab"]


def test_engines_get_float32_images_of_the_batch_size(clock):
    measure({"a": (run := engine(clock, 100))}, [7], QUICK)
    assert {images.shape for images in run.inputs} == {(7, 1, 32, 32)}
    assert {images.dtype for images in run.inputs} == {np.dtype(np.float32)}


@pytest.mark.parametrize(("inputs", "several"), [("rotating", True), ("hot", False)])
def test_inputs_rotate_or_stay_hot(clock, inputs, several):
    settings = dataclasses.replace(QUICK, inputs=inputs)
    measure({"a": (run := engine(clock, 100))}, [1], settings)
    assert (len({id(images) for images in run.inputs}) > 1) == several


def test_equal_seeds_give_equal_inputs():
    once, again = (harness.make_inputs(3, QUICK) for _ in range(2))
    other = harness.make_inputs(3, dataclasses.replace(QUICK, seed=1))
    np.testing.assert_array_equal(once, again)
    assert not np.array_equal(once, other)


def test_a_slow_engine_still_gets_enough_samples(clock):
    """Each call takes longer than a slice, and five longer than the time that was asked for."""
    (slow,) = measure({"slow": engine(clock, 50_000)}, [1], QUICK)
    assert len(slow.samples_ns) >= QUICK.min_iterations


def test_a_call_that_the_clock_hardly_sees_is_sampled_many_at_a_time(clock):
    clock.step = 1000
    (fast,) = measure({"fast": engine(clock, 10)}, [1], QUICK)
    assert fast.calls_per_sample >= 8
    assert fast.percentile_us(50) == pytest.approx(10, rel=0.05)


def test_engines_take_turns(clock):
    """Nobody is measured in one go: between two rounds of one engine stand the others'."""
    order = []
    engines = {
        name: Engine(clock, lambda call, name=name: order.append(name) or 10**6) for name in "abc"
    }
    measure(engines, [1], dataclasses.replace(QUICK, min_seconds=1))
    turns = [name for i, name in enumerate(order) if i == 0 or order[i - 1] != name]
    assert len(turns) > 50
    assert len({tuple(turns[i : i + 3]) for i in range(0, len(turns) - 3, 3)}) > 3


@pytest.mark.parametrize("on", [True, False])
def test_the_garbage_collector_is_off_while_timing_and_then_as_before(clock, on):
    seen, before = [], gc.isenabled()
    (gc.enable if on else gc.disable)()
    try:
        base = engine(clock, 1000)
        measure({"a": lambda images: seen.append(gc.isenabled()) or base(images)}, [1], QUICK)
        assert not any(seen)
        assert gc.isenabled() == on

        def fail(images):
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            measure({"a": fail}, [1], QUICK)
        assert gc.isenabled() == on
    finally:
        (gc.enable if before else gc.disable)()


def test_what_is_whole_is_kept_at_once(clock):
    kept = []

    def interrupted(images):
        if len(images) == 8:
            raise KeyboardInterrupt
        return engine(clock, 100)(images)

    with pytest.raises(KeyboardInterrupt):
        measure({"a": interrupted}, [1, 8], QUICK, keep=kept.append)
    assert [r.batch_size for r in kept] == [1]


def test_progress_ends_at_one(clock):
    steps = []
    measure({"a": engine(clock, 100)}, [1, 2], QUICK, progress=lambda *step: steps.append(step))
    shares = [share for _, share in steps]
    assert shares == sorted(shares)
    assert steps[-1] == ("batch 2", 1.0)


@pytest.mark.parametrize(
    "change",
    [
        {"min_seconds": 0},
        {"min_seconds": -1},
        {"min_seconds": math.nan},
        {"min_seconds": math.inf},
        {"min_iterations": 0},
        {"warmup_seconds": math.nan},
        {"warmup_seconds": math.inf},
        {"warmup_seconds": -1},
        {"inputs": "warm"},
    ],
    ids=str,
)
def test_settings_that_mean_nothing_are_refused(change):
    with pytest.raises(InputError, match="expected"):
        Settings(**change)


@pytest.mark.parametrize(("names", "sizes"), [("", [1]), ("a", [0]), ("a", [1, -1])])
def test_nothing_to_measure_is_refused(clock, names, sizes):
    with pytest.raises(InputError, match="expected an engine and batch sizes of 1 or more"):
        measure({name: engine(clock, 100) for name in names}, sizes, QUICK)


def test_percentiles_are_read_off_the_samples():
    known = LatencyResult("a", 4, (np.arange(1, 51) * 1e3, np.arange(51, 102) * 1e3))
    assert known.percentile_us(50) == 51
    assert known.percentile_us(99) == 100
    figures = known.statistics()
    assert figures["min_us"] == 1
    assert figures["mean_us"] == 51
    assert figures["images_per_second"] == pytest.approx(4 / 51e-6)
    assert all(key.endswith(("_us", "_per_second")) for key in figures)


def test_a_ratio_has_an_interval_around_it():
    ratio = paired_ratio(result(microseconds=200, spread=0.1, seed=1), result(spread=0.1))
    assert ratio.low < ratio.value < ratio.high
    assert ratio.low < 2 < ratio.high
    exact = paired_ratio(result(microseconds=200), result())
    assert (exact.low, exact.value, exact.high) == pytest.approx((2, 2, 2))


def test_what_slows_a_round_slows_both_and_cancels():
    weather = np.random.default_rng(0).uniform(1, 3, (20, 1))
    a = LatencyResult("a", 1, tuple(2000 * weather * np.ones(5)))
    b = LatencyResult("b", 1, tuple(1000 * weather * np.ones(5)))
    ratio = paired_ratio(a, b)
    assert (ratio.low, ratio.high) == pytest.approx((2, 2))


NO_TIMES = [math.nan, None, math.inf, -1.0, 0, "a", [1]]


@pytest.mark.parametrize(
    "rounds", [[], [[]], [[1.0], []], *([[1.0, x]] for x in NO_TIMES)], ids=str
)
def test_samples_that_are_no_times_are_refused(rounds):
    """A gate that read NaN would let every regression pass."""
    document = to_json(result()) | {"rounds_ns": rounds}
    with pytest.raises((ValueError, TypeError)):
        from_json(document)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"schema": "other/1"}',
        f'{{"schema": "{reports.SCHEMA}"}}',
        f'{{"schema": "{reports.SCHEMA}", "settings": []}}',
        "[" * 100_000,
        "\0",
    ],
    ids=lambda text: text[:40],
)
def test_what_is_not_a_report_is_refused(tmp_path, text):
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(InputError, match="not a latency report"):
        reports.read(path)


def test_a_report_that_is_missing_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        reports.read(tmp_path / "nowhere.json")
    with pytest.raises(InputError, match="cannot be read"):
        reports.read(tmp_path)


def test_the_fingerprint_is_json_and_leaves_nothing_out():
    document = json.loads(json.dumps(fingerprint(), allow_nan=False))
    assert set(document) >= {"machine", "software", "state"}
    assert document["machine"]["cpu"]
    assert "onnxruntime" in document["software"]


def test_the_clock_is_finer_than_a_call():
    assert 0 < harness.clock_step_ns() < 1e6
