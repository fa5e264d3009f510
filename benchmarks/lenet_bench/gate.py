"""`Gate`: what the regression gate concluded, as reports keep it; `lenet_bench.compare` concludes.

A gate is part of the run that it judged: in its JSON (``gate``), on its page, in the terminal.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from lenet_bench.result import Ratio

# How the gate judges, in a sentence for people who read its table.
RULE = (
    "Judged is the fast tenth of the samples; an engine is slower if the whole 95% interval lies "
    "beyond the limit both by the clock and relative to {baseline}, which is by the clock alone "
    "and fails nothing"
)
RULE_BY_CLOCK = (
    "Judged is the fast tenth of the samples, by the clock; an engine is slower if the whole 95% "
    "interval lies beyond the limit"
)
SLOWER, FASTER, UNCHANGED = "slower", "faster", "unchanged"
YARDSTICK, PREEMPTED = "yardstick", "preempted"


@dataclass(frozen=True)
class Change:
    """One engine at one batch size, now against before.

    Attributes:
        engine: The engine's name.
        batch_size: Images in a call.
        old_us: Microseconds of a call before, in the fast tenth, which is what is judged.
        new_us: The same now.
        old_p50_us: Median microseconds of a call before.
        new_p50_us: The same now.
        ratio: New over old, of the fast tenth; 1.2 is 20% slower.
        relative: Whether the machine's drift was divided out of `ratio` by the base line.
        verdict: ``slower``: the whole interval lies beyond the limit, by the clock as well where
            `relative`, which fails the gate. ``faster`` and ``unchanged`` pass; ``yardstick`` is
            the base line that others were held against, and ``preempted`` where other processes
            took the CPU in so many samples that noise explains any ratio: both are not judged.
    """

    engine: str
    batch_size: int
    old_us: float
    new_us: float
    old_p50_us: float
    new_p50_us: float
    ratio: Ratio
    relative: bool
    verdict: str

    @property
    def regressed(self) -> bool:
        """Whether this fails the gate."""
        return self.verdict == SLOWER


@dataclass(frozen=True)
class Gate:
    """The comparison of a run with one of before.

    Attributes:
        before: Where the run of before comes from: ``file``, ``measured_at``, ``lenet_deploy``.
        fail_above: The share by which the lower end of an interval must exceed 1; 0.1 is 10%.
        changes: One for every engine and batch size that both runs measured.
    """

    before: dict[str, Any]
    fail_above: float
    changes: tuple[Change, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing has become slower by surely more than the limit."""
        return not any(change.regressed for change in self.changes)

    def rule(self, baseline: str | None) -> str:
        """How it was judged, in one sentence; `baseline` is the run's."""
        relative = any(change.relative for change in self.changes)
        return RULE.format(baseline=baseline) if relative else RULE_BY_CLOCK

    def to_json(self) -> dict[str, Any]:
        """The gate as JSON types; ``ok`` is its verdict."""
        return {"ok": self.ok, **dataclasses.asdict(self)}


def gate_from_json(document: dict[str, Any]) -> Gate:
    """The gate that `Gate.to_json` wrote; raises KeyError, TypeError or ValueError for another."""
    if not isinstance(document["before"], dict):
        raise TypeError("gate: expected an object in before")
    changes = tuple(_change_from_json(change) for change in document["changes"])
    return Gate(document["before"], float(document["fail_above"]), changes)


def _change_from_json(document: dict[str, Any]) -> Change:
    ratio = Ratio(**{key: float(value) for key, value in document["ratio"].items()})
    change = Change(**{**document, "ratio": ratio})
    times = (change.old_us, change.new_us, change.old_p50_us, change.new_p50_us)
    if not all(isinstance(us, float) and math.isfinite(us) for us in times):
        raise TypeError("gate: expected microseconds")
    return change
