"""The regression gate: is this run slower than that one, by more than the noise explains?

Two runs of one machine differ for reasons that have nothing to do with the engines: another
neighbour on the host, another clock. Where both runs measured the same base line, what is compared
is each engine's ratio to it, so that what slows both is divided out; the base line itself, and runs
without one, are compared as they are.
"""

from dataclasses import dataclass

import numpy as np

from lenet_runtime.errors import InputError
from lenet_runtime.latency.fingerprint import differences
from lenet_runtime.latency.report import Run
from lenet_runtime.latency.result import LatencyResult, Ratio, resampled_medians, round_medians


@dataclass(frozen=True)
class Change:
    """One engine at one batch size, now against before.

    Attributes:
        engine: its name.
        batch_size: images in a call.
        ratio: new over old; 1.2 is 20% slower.
        relative: whether the machine's drift was divided out by the base line.
        regressed: whether the whole interval lies beyond the limit.
    """

    engine: str
    batch_size: int
    ratio: Ratio
    relative: bool
    regressed: bool


def compare(run: Run, before: Run, fail_above: float, *, force: bool = False) -> list[Change]:
    """Hold every engine and batch size that both runs measured against each other.

    Args:
        run: now.
        before: the run to compare with.
        fail_above: share by which the lower end of the interval must exceed 1; 0.1 is 10%.
        force: compare although the machines or settings differ.

    Raises:
        InputError: the runs have nothing in common, or are of unlike machines or settings.
    """
    unlike = _unlike(run, before)
    if unlike and not force:
        raise InputError(
            f"the two runs cannot be compared; {'; '.join(unlike)}; --force compares all the same"
        )
    common = [(r, o) for r in run.results if (o := before.find(r.engine, r.batch_size))]
    if not common:
        raise InputError("the two runs have no engine and batch size in common")
    return [_change(run, before, new, old, fail_above) for new, old in common]


def _unlike(run: Run, before: Run) -> list[str]:
    unlike = differences(run.fingerprint, before.fingerprint, "machine")
    for name in ("scope", "baseline"):
        ours, theirs = getattr(run, name), getattr(before, name)
        if ours != theirs:
            unlike.append(f"{name}: {ours!r} here, {theirs!r} there")
    if run.settings.inputs != before.settings.inputs:
        unlike.append(f"inputs: {run.settings.inputs} here, {before.settings.inputs} there")
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
    value, resampled = 1.0, np.ones(1)
    for seed, (result, base, sign) in enumerate(((new, bases[0], 1), (old, bases[1], -1))):
        # One seed for an engine and its base line: their rounds are resampled in pairs.
        medians, center = resampled_medians(result, seed), np.median(round_medians(result))
        if relative and base is not None:
            medians = medians / resampled_medians(base, seed)
            center = center / np.median(round_medians(base))
        value *= float(center) ** sign
        resampled = resampled * medians**sign
    low, high = (float(v) for v in np.percentile(resampled, [2.5, 97.5]))
    return Change(
        new.engine, new.batch_size, Ratio(value, low, high), relative, low > 1 + fail_above
    )
