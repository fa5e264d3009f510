"""The regression gate: is this run slower than that one, by more than the noise explains?

Two runs of one machine differ for reasons that have nothing to do with the engines: another
neighbour on the host, another clock. Three rules keep the gate honest about that:

- What is compared is the fast tenth: over rounds, the tenth percentile of their tenth percentiles.
  Interference only ever adds time, and it hits calls of 4 ms otherwise than calls of 20 us, so
  medians of unchanged code can differ between runs by half; what the code needs when nobody
  disturbs it differs less. A slowdown of the tail alone is not seen; the report's percentiles
  show it.
- Where both runs measured the same base line, an engine has regressed if it is slower both by the
  clock and in proportion to the base line. If only the first holds, the machine is slower, and if
  only the second, the base line is faster. The base line is the yardstick then: its own change is
  reported, as drift of the machine, and fails nothing.
- On a machine with more work than cores, even the fastest calls of a slow engine have waited for
  their turn. Where that befell nearly all samples, nothing is concluded from them.
"""

import math
from pathlib import Path

import numpy as np

from lenet_bench.fingerprint import differences
from lenet_bench.gate import FASTER, PREEMPTED, SLOWER, UNCHANGED, YARDSTICK, Change, Gate
from lenet_bench.report import Run
from lenet_bench.result import LatencyResult, Ratio, over_rounds, resampled
from lenet_runtime.errors import InputError

FAST = 10.0  # percent
# With more samples preempted than this, the fast tenth of many rounds has none that was not.
MOST_PREEMPTED = 0.75


def compare(
    run: Run, before: Run, fail_above: float, *, file: Path | None = None, force: bool = False
) -> Gate:
    """Hold every engine and batch size that both runs measured against each other.

    The GPU's own times are compared likewise, where both runs have them.

    Args:
        run: The run of now.
        before: The run to compare with.
        fail_above: The share by which the lower end of the interval must exceed 1; 0.1 is 10%.
        file: Where the run of before was read from, for the report.
        force: Compare although the machines or settings differ.

    Raises:
        InputError: The runs have nothing in common, or are of unlike machines or settings, or
            the limit is none.
    """
    if not 0 <= fail_above < math.inf:
        raise InputError(f"the limit: expected a share of 0 or more, found {fail_above}")
    require_comparable(run, before, force=force)
    changes = _changes(run, before, fail_above)
    if not changes:
        raise InputError("the two runs have no engine and batch size in common")
    device, device_before = run.on_device(), before.on_device()
    if device is not None and device_before is not None:
        changes += _changes(device, device_before, fail_above)
    where = {
        "file": None if file is None else file.name,
        "measured_at": before.fingerprint.get("state", {}).get("measured_at"),
        "lenet_deploy": before.fingerprint.get("software", {}).get("lenet_deploy"),
    }
    return Gate(where, fail_above, tuple(changes))


def require_comparable(run: Run, before: Run, *, force: bool = False) -> None:
    """Refuse runs of unlike machines or settings; `run` needs no results yet.

    Raises:
        InputError: They differ, and not `force`; or they have no engine in common.
    """
    unlike = _unlike(run, before)
    if unlike and not force:
        raise InputError(
            f"the two runs cannot be compared; {'; '.join(unlike)}; --force compares all the same"
        )
    ours, theirs = (set(r.engines) | {x.engine for x in r.results} for r in (run, before))
    if not ours & theirs:
        raise InputError(
            f"the two runs have no engine in common: {sorted(ours)} here, {sorted(theirs)} there"
        )


def _changes(run: Run, before: Run, fail_above: float) -> list[Change]:
    common = [(r, o) for r in run.results if (o := before.find(r.engine, r.batch_size))]
    return [_change(run, before, new, old, fail_above) for new, old in common]


def _unlike(run: Run, before: Run) -> list[str]:
    unlike = differences(run.fingerprint, before.fingerprint, "machine")
    for name in ("scope", "baseline"):
        ours, theirs = getattr(run, name), getattr(before, name)
        if ours != theirs:
            unlike.append(f"{name}: {ours!r} here, {theirs!r} there")
    for name in ("inputs", "image_shape"):
        ours, theirs = getattr(run.settings, name), getattr(before.settings, name)
        if ours != theirs:
            unlike.append(f"{name}: {ours} here, {theirs} there")
    for name in sorted(set(run.engines) & set(before.engines)):
        ours, theirs = (r.engines[name].get("threads") for r in (run, before))
        if ours != theirs:
            unlike.append(f"threads of {name}: {ours} here, {theirs} there")
    return unlike


def _change(
    run: Run, before: Run, new: LatencyResult, old: LatencyResult, fail_above: float
) -> Change:
    bases = (run.find(run.baseline, new.batch_size), before.find(before.baseline, new.batch_size))
    relative = new.engine != run.baseline and None not in bases
    ratio = by_clock = _ratio((new, None), (old, None))
    if relative:
        ratio = _ratio((new, bases[0]), (old, bases[1]))
    return Change(
        engine=new.engine,
        batch_size=new.batch_size,
        old_us=over_rounds(old, FAST) / 1e3,
        new_us=over_rounds(new, FAST) / 1e3,
        old_p50_us=old.percentile_us(50),
        new_p50_us=new.percentile_us(50),
        ratio=ratio,
        relative=relative,
        verdict=_verdict(run, (new, old), (ratio, by_clock), 1 + fail_above),
    )


def _verdict(
    run: Run, pair: tuple[LatencyResult, LatencyResult], ratios: tuple[Ratio, Ratio], limit: float
) -> str:
    """See `Change.verdict`."""
    if pair[0].engine == run.baseline and len({r.engine for r in run.results}) > 1:
        return YARDSTICK
    if any((result.preempted_share or 0) > MOST_PREEMPTED for result in pair):
        return PREEMPTED
    if min(ratio.low for ratio in ratios) > limit:
        return SLOWER
    return FASTER if max(ratio.high for ratio in ratios) < 1 / limit else UNCHANGED


def _ratio(*pairs: tuple[LatencyResult, LatencyResult | None]) -> Ratio:
    """New over old, each a result with the base line to divide it by."""
    values, draws = [], []
    for seed, (result, base) in enumerate(pairs):
        # One seed for an engine and its base line: their rounds are resampled in pairs.
        value, drawn = over_rounds(result, FAST), resampled(result, FAST, seed)
        if base is not None:
            value, drawn = value / over_rounds(base, FAST), drawn / resampled(base, FAST, seed)
        values.append(value)
        draws.append(drawn)
    low, high = np.percentile(draws[0] / draws[1], [2.5, 97.5])
    return Ratio(values[0] / values[1], float(low), float(high))
