"""The open loop's sums, on a clock that the test winds: no test here waits for anything."""

import contextlib
import dataclasses
import itertools
import math

import numpy as np
import pytest

from lenet_bench.openloop import early_stopping, sending
from lenet_bench.openloop.arrivals import poisson
from lenet_bench.openloop.measure import LoadSettings, Windows
from lenet_bench.openloop.result import RateResult
from lenet_bench.openloop.search import MOST_LATE, RESOLUTION, Search
from lenet_bench.openloop.sending import Sent, lateness, send
from lenet_bench.openloop.targets import CallTarget
from lenet_runtime.errors import DeployError, InputError

US, MS, S = 10**3, 10**6, 10**9


class FakeClock:
    """Stands still but when somebody waits or works."""

    def __init__(self):
        self.time = 0

    def now(self):
        return self.time

    def wait_until(self, moment):
        self.time = max(self.time, moment)


class FakeSession:
    """Takes 100 us a call, and stalls for 5 ms once a second if asked to."""

    def __init__(self, clock, *, service=100 * US, stall=0, fails=()):
        self.clock, self.service, self.stall, self.fails = clock, service, stall, fails
        self.calls = self.stalls = 0

    def run(self, images):
        assert images.shape == (1, 1, 32, 32)
        if self.stall and self.clock.time // S > self.stalls:
            self.stalls = self.clock.time // S
            self.clock.time += self.stall
        self.clock.time += self.service
        self.calls += 1
        if self.calls in self.fails:
            raise DeployError("the fake session failed")


def windows_of(settings, clock=None, **session):
    clock = clock or FakeClock()
    session = FakeSession(clock, **session)
    return Windows([CallTarget("fake", session.run)], settings, clock=lambda target: clock)


def measured(rate, seconds=4.0, **session):
    """The one result of a fake session at one rate."""
    windows = windows_of(LoadSettings((rate,), min_seconds=seconds), **session)
    windows.at_rates(lambda step, share: None)
    (result,) = windows.results
    return result


def result_of(latencies_us, late_us=0, answered=None):
    """A result of requests that came a millisecond apart."""
    latency = np.array(latencies_us, np.int64) * US
    due = np.arange(len(latency)) * MS
    answered = np.ones(len(latency), bool) if answered is None else np.array(answered)
    late = np.full(len(latency), late_us * US)
    sent = Sent(due, due + latency, answered, late, np.zeros(len(latency), bool))
    return RateResult("fake", 1000.0, len(latency) / 1000, (sent,))


def test_arrivals_are_a_poisson_process_of_the_rate():
    arrivals = poisson(2000, 50, seed=3)
    gaps = np.diff(arrivals)
    assert len(arrivals) == pytest.approx(100_000, rel=0.02)
    assert (gaps >= 0).all()
    assert arrivals[-1] < 50 * S
    # Of an exponential distribution the mean is the standard deviation, and e^-1 are longer.
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.02)
    assert (gaps > gaps.mean()).mean() == pytest.approx(math.exp(-1), abs=0.01)
    assert (poisson(2000, 50, seed=3) == arrivals).all()
    assert len(set(poisson(2000, 50, seed=4)) & set(arrivals)) < 1000


@pytest.mark.parametrize(
    ("rate", "seconds"), [(0, 1), (math.nan, 1), (1, 0), (1, math.inf), (1e6, 2)]
)
def test_rates_and_lengths_are_bounded(rate, seconds):
    with pytest.raises(InputError, match="expected"):
        poisson(rate, seconds, 0)


def test_early_stopping_is_mlperfs():
    """Figures of its load generator: 459 requests with none over; 662 with one; 64 of p90."""
    assert early_stopping.least_count(0) == 459
    assert early_stopping.least_count(1) == 662
    assert early_stopping.least_count(1, 0.9) == 64
    assert early_stopping.holds(1, 662)
    assert not early_stopping.holds(1, 661)


def test_early_stopping_counts_as_the_binomial_distribution_does():
    exact = sum(math.comb(500, k) * 0.01**k * 0.99 ** (500 - k) for k in range(8))
    assert early_stopping.at_most(7, 500, 0.01) == pytest.approx(exact, rel=1e-9)
    assert early_stopping.at_most(500, 500, 0.01) == 1


def test_a_percentile_neither_holds_nor_fails_while_it_is_in_doubt():
    assert not early_stopping.holds(10, 1000)
    assert not early_stopping.fails(10, 1000)
    assert early_stopping.fails(30, 1000)
    assert not early_stopping.fails(0, 10**6)


def test_latency_runs_from_the_intended_start():
    """One caller, a call of 100 us: the second waits for the first, the third for nobody."""
    clock = FakeClock()
    session = FakeSession(clock)
    target = CallTarget("fake", session.run)
    target.prepare([np.zeros((1, 1, 32, 32), np.float32)])
    sent = target.send(np.array([0, 10, 500]) * US, clock)
    assert list(sent.latency) == [100 * US, 190 * US, 100 * US]
    assert list(sent.waited) == [False, True, False]
    assert not sent.late.any()


def test_a_late_generator_is_late_for_all_who_wait_behind_it():
    """The second is sent 50 us late, and the third starts only when it has ended."""
    due, started, ended = [0, 200, 210], [0, 250, 350], [100, 350, 450]
    late, waited = lateness(due, started, ended, [0, 0, 0], callers=1)
    assert late == [0, 50, 50]
    assert waited == [False, False, True]
    assert lateness(due, started, ended, [0, 0, 7], callers=2)[0] == [0, 50, 140 + 7]


def test_a_call_that_fails_is_not_answered():
    result = measured(1000, seconds=0.5, fails=(60, 61))
    assert result.unanswered == 2
    assert result.windows[0].errors == ("the fake session failed",) * 2
    assert result.percentile_us(50) == pytest.approx(100, abs=1)
    assert result.percentile_us(99.9) is None


def test_what_comes_faster_than_it_is_answered_ends_a_second_late():
    """Twice of what the session can: the caller gives up once requests are a second late."""
    result = measured(20_000, seconds=3.0)
    clock_seconds = max(window.ended.max() for window in result.windows) / S
    assert clock_seconds < 3
    assert result.answered_per_second < 11_000
    assert result.holds(1000) is False
    slow = measured(100, seconds=1.0, service=400 * MS)
    assert slow.unanswered > 0
    assert "came faster" in slow.windows[0].errors[0]


def test_it_finds_the_stall_that_the_closed_loop_does_not():
    """5 ms once a second. The closed loop's caller waits: one sample of ten thousand a second."""
    clock = FakeClock()
    session = FakeSession(clock, stall=5 * MS)
    images = np.zeros((1, 1, 32, 32), np.float32)
    closed = []
    while clock.time < 10 * S:
        start = clock.time
        session.run(images)
        closed.append(clock.time - start)
    assert np.percentile(closed, [99, 99.9]) == pytest.approx(100 * US)

    result = measured(7000, seconds=10.0, stall=5 * MS)
    assert result.percentile_us(99) > 1000
    assert result.percentile_us(99.9) > 4500
    stalls = result.stalls
    assert len(stalls) in (9, 10)
    assert all(stall.ms == pytest.approx(5, abs=0.2) for stall in stalls)
    assert all(20 < stall.requests < 60 for stall in stalls)
    assert np.diff([stall.second for stall in stalls]) == pytest.approx(1.0, abs=0.1)
    assert measured(7000, seconds=10.0).stalls == []


def test_percentiles_are_samples_and_end_where_those_do():
    result = result_of(range(1, 1001))
    assert result.percentile_us(50) == 501
    assert result.percentile_us(99) == 991
    assert result.percentile_us(99.9) == 1000
    assert result.percentile_us(99.99) is None
    assert result.statistics()["p99.99_us"] is None


def test_a_figure_is_refused_where_the_generator_was_the_limit():
    assert result_of([1000] * 1000, late_us=90).refused is None
    refused = result_of([1000] * 1000, late_us=110).refused
    assert refused == "the generator was the limit: it was 110 us late itself at p99, of 1,000 us"
    assert result_of([10] * 1000, late_us=2).refused is None


def test_each_percentile_is_refused_by_itself():
    latency = np.repeat([100, 1000], [980, 20])
    result = result_of(latency, late_us=50)
    assert result.figure_us(50) is None
    assert result.figure_us(99) == 1000
    assert result.statistics()["refused_percentiles"] == [50.0, 90.0]


def test_windows_in_which_the_generator_was_late_do_not_count():
    good, late = result_of([1000] * 1000), result_of([1000] * 1000, late_us=500)
    for first, second in itertools.permutations((good, late)):
        both = first.plus(second)
        assert both.windows == good.windows
        assert both.discarded == 1
        assert both.refused is None
        assert both.plus(late).discarded == 2
    assert late.plus(late).refused
    assert good.plus(good).count == 2000


class LateClock(FakeClock):
    """Wakes a millisecond late, for the first so many windows."""

    def __init__(self, times):
        super().__init__()
        self.times = times

    def wait_until(self, moment):
        if moment > self.time and self.time < self.times * S:
            moment += MS
        super().wait_until(moment)


def test_late_windows_are_sent_again_but_not_for_ever():
    settings = LoadSettings((1000.0,), min_seconds=1.0)
    windows = windows_of(settings, LateClock(1))
    windows.at_rates(lambda step, share: None)
    (result,) = windows.results
    assert result.refused is None
    assert len(result.windows) == 2
    assert result.discarded in (1, 2)
    windows = windows_of(settings, LateClock(10**6))
    windows.at_rates(lambda step, share: None)
    (result,) = windows.results
    assert result.refused
    assert len(result.windows) == 6


def searched(holds_until, **fields):
    """Where a search ends if p99 holds up to a rate, and surely not beyond."""
    search = Search("fake", 500.0, 100.0, **fields)
    while not search.done:
        latency = 400 if search.rate <= holds_until else 600
        search.add(result_of([latency] * 1000))
    return search.found


def test_a_search_ends_at_the_highest_rate_that_holds():
    for highest in (12_345.6, 107.0, 3.0):
        found = searched(highest)
        assert found.complete
        assert found.low == found.rate <= highest < found.high <= found.low * RESOLUTION


def test_a_search_that_nothing_holds_or_fails_ends_too():
    assert searched(0.1).rate is None
    assert searched(math.inf, most_rate=1e5).high is None
    assert searched(math.inf, most_rate=1e5).rate == 1e5


def test_one_bad_window_does_not_end_a_search():
    search = Search("fake", 500.0, 100.0)
    search.add(result_of([600] * 1000))
    assert search.rate == 100
    search.add(result_of([400] * 1000))
    assert search.low == 100


def test_a_search_says_that_the_generator_was_the_limit():
    search = Search("fake", 500.0, 100.0)
    search.add(result_of([400] * 1000))
    for _ in range(MOST_LATE):
        assert not search.done
        search.add(result_of([400] * 1000, late_us=300))
    assert search.done
    assert dataclasses.asdict(search.found) == {
        "target": "fake", "limit_us": 500.0, "rate": 100.0, "low": 100.0, "high": None,
        "complete": False, "ended_by": "the generator was the limit at 200/s",
    }  # fmt: skip


def test_a_rate_that_fails_without_the_generator_fails_with_it():
    search = Search("fake", 500.0, 100.0)
    for _ in range(2):
        search.add(result_of([900] * 1000, late_us=300))
    assert (search.high, search.rate) == (100, 25)


def test_a_search_finds_what_queueing_theory_says():
    """One server of 100 us, Poisson arrivals (M/D/1): p99 is 500 us at 56% of what it can do."""
    windows = windows_of(LoadSettings(p99_limit_us=500.0, min_seconds=1.0))
    windows.search(500.0, lambda step, share: None)
    (found,) = windows.found
    assert found.rate == pytest.approx(5_610, rel=0.05)


def test_several_callers_take_each_request_once():
    """On threads, by the clock itself; whoever comes first."""
    from lenet_bench.openloop.clock import SystemClock

    numbers = []
    sent = send([numbers.append] * 3, np.zeros(100, np.int64), SystemClock(shared=True))
    assert sorted(numbers) == list(range(100))
    assert sent.answered.all()


def test_an_error_of_a_thread_is_raised_here():
    from lenet_bench.openloop.clock import SystemClock

    def broken(number):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        send([broken] * 2, np.zeros(5, np.int64), SystemClock(shared=True))


@pytest.mark.parametrize(
    "wrong", [{"rates": (0.0,)}, {"rates": (math.nan,)}, {"p99_limit_us": -1.0}, {}]
)
def test_settings_are_checked(wrong):
    with pytest.raises(InputError, match="expected"):
        LoadSettings(**wrong)


def test_what_comes_before_the_window_delays_nobody(monkeypatch):
    """Such as the garbage collector, which runs once before it is switched off."""
    clock = FakeClock()

    @contextlib.contextmanager
    def slow_collection():
        clock.time += 20 * MS
        yield

    monkeypatch.setattr(sending, "no_collection", slow_collection)
    sent = send([lambda number: None], np.zeros(3, np.int64), clock)
    assert not sent.latency.any()
