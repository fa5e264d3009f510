"""The fleet's simulation against what queueing theory says, and against what must hold."""

import numpy as np
import pytest

pytest.importorskip("simpy")

from benchmarks.fleet import theory
from benchmarks.fleet.simulate import Scenario, simulate

RNG = np.random.default_rng(1)
MEAN = 1e-3
FIXED, EXPONENTIAL = np.array([MEAN]), RNG.exponential(MEAN, 200_000)


def run(rate, count, service=FIXED, **options):
    return simulate(Scenario(service, ((0, rate),), count / rate, **options))


def test_one_worker_of_random_service_is_an_m_m_1_queue():
    outcome = run(600, 40_000, EXPONENTIAL)
    for percent, within in ((50, 0.05), (99, 0.1)):
        expected = theory.mm1_percentile(600, MEAN, percent) * 1e6
        assert outcome.percentile_us(percent) == pytest.approx(expected, rel=within)


def test_one_worker_of_fixed_service_is_an_m_d_1_queue():
    assert run(700, 40_000).latency.mean() == pytest.approx(theory.md1_mean(700, MEAN), rel=0.05)


def test_one_line_before_three_workers_is_an_m_m_c_queue():
    """Each worker has one connection, so requests wait for whichever is free first."""
    one_line = {"workers": 3, "balance": "connections", "connections": (1, 1, 1)}
    outcome = run(2400, 40_000, EXPONENTIAL, **one_line)
    expected = theory.mmc_mean(3, 2400, MEAN)
    assert outcome.latency.mean() == pytest.approx(expected, rel=0.06)


def test_the_formulas_agree_where_they_meet():
    assert theory.mmc_mean(1, 500, MEAN) == pytest.approx(MEAN / (1 - 0.5))
    assert theory.mg1_mean(500, MEAN, MEAN**2) == pytest.approx(theory.md1_mean(500, MEAN))
    assert theory.mg1_mean(500, MEAN, 2 * MEAN**2) == pytest.approx(MEAN / (1 - 0.5))


def test_better_balance_waits_less():
    p99 = [
        run(3000, 10_000, EXPONENTIAL, replicas=4, balance=policy).percentile_us(99)
        for policy in ("least", "two-choices", "round-robin")
    ]
    assert p99 == sorted(p99)
    assert p99[2] > 1.2 * p99[0]


def test_overhead_is_latency_and_occupies_nobody():
    plain, beside = (run(900, 2_000, overhead=overhead) for overhead in (0, 0.05))
    np.testing.assert_allclose(beside.latency - plain.latency, 0.05)


def test_a_full_queue_refuses_and_a_retry_comes_through():
    """Two seconds of twice the capacity, then none: what was refused comes back later."""
    rates = ((0, 2000), (0.5, 0.001))
    once = simulate(Scenario(FIXED, rates, 2, limit=10))
    again = simulate(Scenario(FIXED, rates, 2, limit=10, retries=20, retry_after=0.2))
    assert once.refused == once.lost > 300
    assert again.lost == 0
    assert np.nanmax(once.latency[np.isfinite(once.latency)]) <= 10 * MEAN + 1e-9


def test_a_kill_costs_what_is_under_way_unless_clients_retry():
    """Of two workers of one replica; the kernel gives what comes to the other."""
    killed = {"workers": 2, "kills": (1.0,), "start": 0.5}
    lost = run(1200, 3_000, EXPONENTIAL, **killed)
    assert 0 < lost.lost == lost.broken < 20
    assert run(1200, 3_000, EXPONENTIAL, retries=1, retry_after=0.01, **killed).lost == 0


def test_a_death_of_the_only_worker_is_noticed_late():
    """Until the balancer knows, and until another answers, requests are lost."""
    dead = run(500, 2_500, kills=(1.0,), start=2.0, notice=0.5)
    assert dead.lost == pytest.approx(1000, rel=0.1)
    assert [count for _, count in dead.replicas] == [1, 0, 1]


@pytest.mark.parametrize(("drain", "loses"), [(5.0, False), (0.5, True)])
def test_a_rolling_update_loses_nothing_where_the_drain_outlasts_the_balancer(drain, loses):
    update = {"update": 1.0, "start": 0.5, "endpoint_lag": 1.0, "drain": drain}
    outcome = run(1000, 8_000, replicas=3, balance="round-robin", **update)
    assert (outcome.lost > 0) == loses
    assert {count for _, count in outcome.replicas} == {3, 4} | ({5} if not loses else {4, 5})


def test_an_autoscaler_follows_the_load_with_its_lag():
    service = np.array([0.1])  # so that few requests make the load
    rates, scaled = ((0, 3), (62, 30)), {"target": 1.0, "start": 5.0, "most": 8}
    outcome = simulate(Scenario(service, rates, 240, **scaled))
    when, counts = zip(*outcome.replicas, strict=True)
    assert max(counts) >= 3
    first = next(moment for moment, count in outcome.replicas if count > 1)
    assert 62 + 5 < first < 62 + 15 + 15 + 5 + 1
    assert when == tuple(sorted(when))
    late = outcome.latency[outcome.due > 200]
    assert np.percentile(late, 50) < 0.2


def test_equal_scenarios_come_to_equal_ends():
    first, second = (run(900, 3_000, EXPONENTIAL, replicas=2, seed=7) for _ in range(2))
    np.testing.assert_array_equal(first.latency, second.latency)
