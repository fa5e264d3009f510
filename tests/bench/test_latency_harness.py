"""The harness's finer promises, on a clock of our own; the common ones are in test_latency.py."""

import dataclasses
import itertools
import threading

import pytest
from test_latency import QUICK, Clock, Engine

from lenet_bench import harness, measure, scaling


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(harness, "time", clock)
    monkeypatch.setattr(scaling, "time", clock)
    return clock


def test_warm_up_ends_when_the_engine_has_settled(clock):
    """Each call is 1% faster than the last until it takes 100 us: none of that is in a sample."""
    settling = Engine(clock, lambda call: max(100_000, int(1_000_000 * 0.99**call)))
    settings = dataclasses.replace(QUICK, warmup_seconds=0.1)
    (result,) = measure({"a": settling}, [1], settings)
    assert result.warm
    assert result.samples_ns.max() == pytest.approx(100_000, rel=0.01)


def test_warm_up_of_what_never_settles_ends_and_says_so(clock):
    falling = Engine(clock, lambda call: max(1000, int(5_000_000 * 0.95**call)))
    settings = dataclasses.replace(QUICK, warmup_seconds=0.01)
    (result,) = measure({"a": falling}, [1], settings)
    assert not result.warm


def test_no_warm_up_is_no_promise(clock):
    settings = dataclasses.replace(QUICK, warmup_seconds=0)
    (result,) = measure({"a": Engine(clock, lambda call: 1_000_000)}, [1], settings)
    assert not result.warm


def test_the_first_call_of_a_turn_is_not_counted(clock):
    """The neighbour has emptied the caches: the first call after it takes ten times as long."""
    turns = []

    def run(name):
        def call(images):
            clock.now += 1_000_000 if turns and turns[-1] != name else 100_000
            turns.append(name)

        return call

    for result in measure({"a": run("a"), "b": run("b")}, [1], QUICK):
        assert result.samples_ns.max() == pytest.approx(100_000, rel=0.01)


def test_a_call_that_takes_no_time_at_all_is_still_measured(monkeypatch):
    """A clock of 100 us steps, and an engine that no step sees."""
    ticks = iter(range(10**9))

    class Coarse(Clock):
        def perf_counter_ns(self):
            return next(ticks) // 5 * 100_000

    monkeypatch.setattr(harness, "time", Coarse())
    settings = dataclasses.replace(QUICK, min_seconds=0.001, warmup_seconds=0.001)
    (result,) = measure({"a": lambda images: None}, [1], settings)
    assert (result.samples_ns > 0).all()
    assert result.calls_per_sample >= harness.CLOCK_STEPS
    assert result.images_per_second > 0


def test_rotating_inputs_rotate_within_a_sample(clock, monkeypatch):
    quick = Engine(clock, lambda call: 20)
    settings = dataclasses.replace(QUICK, min_seconds=1e-4, warmup_seconds=1e-4)
    monkeypatch.setattr(harness, "SLICE_SECONDS", 1e-4)
    (result,) = measure({"a": quick}, [1], settings)
    assert result.calls_per_sample > 1
    assert all(one is not other for one, other in itertools.pairwise(quick.inputs))
    assert len(set(map(id, quick.inputs))) == harness.INPUTS


def test_rotating_inputs_overflow_the_first_cache():
    for size in (1, 8, 64):
        inputs = harness.make_inputs(size, QUICK)
        assert sum(images.nbytes for images in inputs) > 32 * 1024
        assert len(inputs) > 1


def test_each_cold_call_follows_a_sweep(clock, monkeypatch):
    """Also where the clock would like many calls in one sample: only the first would be cold."""
    order = []
    monkeypatch.setattr(harness, "sweep_caches", lambda: order.append("sweep"))
    monkeypatch.setattr(harness, "SLICE_SECONDS", 1e-5)
    quick = Engine(clock, lambda call: order.append("call") or 20)
    settings = dataclasses.replace(QUICK, inputs="cold", min_seconds=1e-5, warmup_seconds=1e-5)
    (result,) = measure({"a": quick}, [1], settings)
    assert result.calls_per_sample == 1
    assert order == ["sweep", "call"] * (len(order) // 2)


def test_a_sweep_writes_more_than_the_caches_hold():
    harness.sweep_caches()
    assert harness._sweep.nbytes >= 2**26
    before = int(harness._sweep[0])
    harness.sweep_caches()
    assert harness._sweep[0] == (before + 1) % 256
    assert harness._sweep[-64] == harness._sweep[0]


def test_samples_in_which_the_cpu_was_taken_are_counted(clock, monkeypatch):
    """One call in four; those of the warm-up and the first of a turn are not samples."""
    taken = [0]

    def cost(call):
        taken[0] += call % 4 == 0
        return 100_000

    monkeypatch.setattr(harness, "preemption_counter", lambda: lambda: taken[0])
    (result,) = measure({"a": Engine(clock, cost)}, [1], QUICK)
    assert result.preempted_share == pytest.approx(0.25, abs=0.02)


def test_a_system_that_does_not_count_preemptions_is_no_fault(clock, monkeypatch):
    monkeypatch.setattr(harness, "preemption_counter", lambda: None)
    (result,) = measure({"a": Engine(clock, lambda call: 100_000)}, [1], QUICK)
    assert result.preempted_share is None


def test_equal_seeds_give_equal_turns_and_other_seeds_others(clock):
    def turns(seed):
        order = []
        engines = {
            name: Engine(clock, lambda call, name=name: order.append(name) or 3_000_000)
            for name in "abcd"
        }
        measure(engines, [1], dataclasses.replace(QUICK, seed=seed))
        return order

    assert turns(1) == turns(1)
    assert turns(1) != turns(2)


def test_scaling_over_threads_is_relative_to_the_first(clock):
    engines = {n: Engine(clock, lambda call, n=n: 1_000_000 // n) for n in (1, 2)}
    one, two = scaling.over_threads(engines, 8, QUICK)
    assert (one["threads"], two["threads"]) == (1, 2)
    assert one["images_per_second"] == pytest.approx(8000, rel=0.01)
    assert two["speedup"] == pytest.approx(2, rel=0.01)


def test_callers_share_one_session_and_all_calls_end_within_the_time_that_counts(clock):
    """400 ms calls in 100 ms: one call is 2.5 images a second, not 10."""
    (row,) = scaling.over_callers(Engine(clock, lambda call: 400_000_000), [1], 1, QUICK)
    assert row["images_per_second"] == pytest.approx(2.5, rel=0.01)


def test_callers_run_at_the_same_time():
    """Each waits in its first call for the two others."""
    met, waiting = threading.local(), threading.Barrier(3)

    def engine(images):
        if threading.current_thread() is not threading.main_thread() and not hasattr(met, "all"):
            waiting.wait(30)
            met.all = True

    settings = dataclasses.replace(QUICK, min_seconds=0.01)
    (row,) = scaling.over_callers(engine, [3], 1, settings)
    assert (row["callers"], row["speedup"]) == (3, 1)


def test_a_caller_that_fails_is_not_swallowed():
    def engine(images):
        if threading.current_thread() is not threading.main_thread():
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        scaling.over_callers(engine, [2], 1, QUICK)
