"""The gate, on synthetic sessions: drift, interference, planted slowdowns, many seeds."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from lenet_bench import LatencyResult, Settings, report
from lenet_bench.compare import compare, require_comparable
from lenet_bench.report import Run
from lenet_bench.result import paired_ratio
from lenet_runtime.errors import InputError

ENGINES = {"base": 400.0, "a": 100.0, "b": 900.0}


def session(seed, *, slower=None, drift=1.0, disturbed=0.3, baseline="base"):
    """A session as a busy machine gives it, in microseconds at heart.

    Time is only ever added: a little by every call, and much, to all rounds of some moments and
    unequally to each engine, by neighbours.
    """
    random, results = np.random.default_rng(seed), []
    busy = random.random(40) < disturbed
    for name, heart in ENGINES.items():
        heart_ns = heart * 1e3 * drift * (slower or {}).get(name, 1.0)
        rounds = []
        for is_busy in busy:
            calls = heart_ns * (1 + random.exponential(0.03, 20))
            rounds.append(calls * (1 + random.random()) if is_busy else calls)
        results.append(LatencyResult(name, 1, tuple(rounds)))
    engines = {name: {"threads": 1} for name in ENGINES}
    return Run(Settings(), {"machine": {"cpu": "A"}}, tuple(results), engines, baseline)


def regressed(run, before, limit=0.1):
    return {change.engine for change in compare(run, before, limit).changes if change.regressed}


@pytest.mark.parametrize("baseline", ["base", None])
@pytest.mark.parametrize("seed", range(20))
def test_an_unchanged_run_passes_whatever_the_noise(seed, baseline):
    busy = 0.1 + seed % 5 / 8
    now = session(seed + 1, disturbed=busy, baseline=baseline)
    assert regressed(now, session(0, baseline=baseline)) == set()
    assert regressed(session(0, baseline=baseline), now) == set()


@pytest.mark.parametrize("baseline", ["base", None])
@pytest.mark.parametrize("seed", range(10))
def test_a_planted_slowdown_of_20_percent_is_caught_at_10_and_let_pass_at_30(seed, baseline):
    before = session(seed, baseline=baseline)
    now = session(seed + 100, slower={"a": 1.2}, disturbed=0.5, baseline=baseline)
    assert regressed(now, before, 0.1) == {"a"}
    assert regressed(now, before, 0.3) == set()


def test_drift_that_hits_all_alike_is_no_regression():
    """And the base line's own change tells how much the machine drifted."""
    changes = {c.engine: c for c in compare(session(1, drift=1.5), session(0), 0.1).changes}
    assert not any(change.regressed for change in changes.values())
    assert changes["base"].ratio.value == pytest.approx(1.5, rel=0.05)
    assert changes["a"].ratio.value == pytest.approx(1.0, rel=0.05)
    assert changes["a"].relative
    assert not changes["base"].relative


def test_drift_hides_no_regression():
    assert regressed(session(1, drift=1.5, slower={"b": 1.2}), session(0)) == {"b"}


@pytest.mark.parametrize("faster", ["base", "a"])
def test_what_became_faster_is_no_regression_of_it_or_of_the_others(faster):
    assert regressed(session(1, slower={faster: 0.5}), session(0)) == set()


def test_without_a_base_line_the_clock_decides():
    now, before = session(1, drift=1.5, baseline=None), session(0, baseline=None)
    assert regressed(now, before) == {"base", "a", "b"}
    assert not any(change.relative for change in compare(now, before, 0.1).changes)


def test_a_base_line_alone_is_held_against_itself():
    """There is nothing else to be the yardstick of."""
    alone = [
        dataclasses.replace(run, results=run.results[:1])
        for run in (session(1, slower={"base": 1.5}), session(0))
    ]
    assert regressed(*alone) == {"base"}


def test_a_run_compared_with_itself_has_not_changed():
    for change in compare(session(0), session(0), 0.0).changes:
        assert change.ratio.value == 1
        assert change.ratio.low <= 1 <= change.ratio.high
        assert not change.regressed


@pytest.mark.parametrize(("share", "judged"), [(None, True), (0.7, True), (0.8, False)])
@pytest.mark.parametrize("which", ["now", "before"])
def test_nothing_is_concluded_from_calls_that_waited_for_the_cpu(which, share, judged):
    runs = {"now": session(1, slower={"a": 2.0}), "before": session(0)}
    results = runs[which].results
    waited = tuple(dataclasses.replace(result, preempted_share=share) for result in results)
    runs[which] = dataclasses.replace(runs[which], results=waited)
    change = compare(runs["now"], runs["before"], 0.1).changes[1]
    assert change.ratio.value == pytest.approx(2, rel=0.05)
    assert change.verdict == ("slower" if judged else "preempted")


@pytest.mark.parametrize("seed", range(10))
def test_the_interval_of_equals_holds_1(seed):
    """A 95% interval may miss; by more than a hair it must not."""
    random = np.random.default_rng(seed)
    one, other = (LatencyResult(name, 1, tuple(random.normal(1e5, 5e3, (40, 10)))) for name in "ab")
    ratio = paired_ratio(one, other)
    assert ratio.low - 0.01 < 1 < ratio.high + 0.01
    assert ratio.high - ratio.low < 0.05


def test_only_what_both_runs_measured_is_compared():
    now, before = session(1), session(0)
    fewer = dataclasses.replace(before, results=before.results[:2])
    assert [change.engine for change in compare(now, fewer, 0.1).changes] == ["base", "a"]
    with pytest.raises(InputError, match="no engine"):
        compare(now, dataclasses.replace(before, results=()), 0.1)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"fingerprint": {"machine": {"cpu": "B"}}}, "cpu: 'A' here, 'B' there"),
        ({"fingerprint": {}}, "cpu: 'A' here, None there"),
        ({"scope": "device"}, "scope: 'host' here, 'device' there"),
        ({"baseline": None}, "baseline: 'base' here, None there"),
        ({"settings": Settings(inputs="hot")}, "inputs: rotating here, hot there"),
        ({"engines": {"a": {"threads": 2}}}, "threads of a: 1 here, 2 there"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_makes_two_runs_unlike_is_named(change, named):
    before = dataclasses.replace(session(0), **change)
    with pytest.raises(InputError, match="--force") as caught:
        compare(session(1), before, 0.1)
    assert named in str(caught.value)
    assert compare(session(1), before, 0.1, force=True)


@pytest.mark.parametrize(
    ("slower", "verdict"),
    [({}, "unchanged"), ({"a": 1.5}, "slower"), ({"a": 0.5}, "faster"), ({"a": 1.05}, "unchanged")],
)
def test_the_verdict_is_in_words_with_both_times(slower, verdict):
    gate = compare(session(1, slower=slower), session(0), 0.1, file=Path("old/before.json"))
    verdicts = {change.engine: change.verdict for change in gate.changes}
    assert verdicts == {"base": "yardstick", "a": verdict, "b": "unchanged"}
    assert gate.ok == (verdict != "slower")
    assert gate.before["file"] == "before.json"
    change = gate.changes[1]
    assert change.old_us == pytest.approx(100, rel=0.05)
    assert change.new_us == pytest.approx(100 * slower.get("a", 1), rel=0.05)
    assert change.old_p50_us > change.old_us


@pytest.mark.parametrize("baseline", ["base", None])
def test_the_rule_names_what_engines_were_judged_by(baseline):
    gate = compare(session(1, baseline=baseline), session(0, baseline=baseline), 0.1)
    assert ("relative to base" in gate.rule(baseline)) == (baseline is not None)


def test_the_gate_is_kept_in_the_report(tmp_path):
    before, now = session(0), session(1, slower={"a": 1.5})
    judged = dataclasses.replace(now, gate=compare(now, before, 0.1))
    document = json.loads(json.dumps(judged.to_dict(), allow_nan=False))
    assert document["gate"]["ok"] is False
    assert report.from_dict(document).gate == judged.gate
    for damage in ({"before": 1}, {"changes": [1]}, {"fail_above": None}):
        path = tmp_path / "now.json"
        path.write_text(json.dumps(document | {"gate": document["gate"] | damage}))
        with pytest.raises(InputError, match="not a latency report"):
            report.read(path)


def test_runs_are_refused_before_anything_is_measured():
    """A run without results says enough of whether it could be compared."""
    now, before = dataclasses.replace(session(1), results=()), session(0)
    require_comparable(now, before)
    elsewhere = dataclasses.replace(now, fingerprint={"machine": {"cpu": "B"}})
    with pytest.raises(InputError, match="cpu: 'B' here"):
        require_comparable(elsewhere, before)
    require_comparable(elsewhere, before, force=True)
    with pytest.raises(InputError, match="no engine in common"):
        require_comparable(dataclasses.replace(now, engines={"c": {}}), before)
