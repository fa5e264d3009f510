"""`RateResult`: the requests of one target at one rate, and the figures read off them."""

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_bench.openloop import early_stopping
from lenet_bench.openloop.sending import Moments, Sent

PERCENTILES = (50.0, 90.0, 99.0, 99.9, 99.99)
# The generator was the limit where its own lateness is more than this share of the latency, at
# the same percentile; what it needs to read the clock and to note a moment is no lateness.
MOST_LATE = 0.1
_OVERHEAD_US = 3.0
# How long nothing must be answered for a stall: times what is usual, and a millisecond, at least.
_STALL_TIMES, _STALL_NS = 10, 1e6


@dataclass(frozen=True)
class Stall:
    """A time in which requests waited and none was answered.

    Attributes:
        second: When it began, in seconds from the first window on.
        ms: Its length.
        requests: How many requests came meanwhile.
    """

    second: float
    ms: float
    requests: int


@dataclass(frozen=True)
class RateResult:
    """One target at one rate.

    Attributes:
        target: The target's name in this run.
        rate: Requests offered a second.
        seconds: Length of each window.
        windows: What was sent, by window; those that were discarded only where all were.
        discarded: How many windows were not counted, because the generator was late in them.
    """

    target: str
    rate: float
    seconds: float
    windows: tuple[Sent, ...]
    discarded: int = 0

    def plus(self, window: "RateResult") -> "RateResult":
        """With one more window; those in which the generator was late count only where all are."""
        if (self.refused is None) == (window.refused is None):
            windows, late = (*self.windows, *window.windows), 0
        else:
            good, bad = (self, window) if self.refused is None else (window, self)
            windows, late = good.windows, len(bad.windows)
        return dataclasses.replace(self, windows=windows, discarded=self.discarded + late)

    @cached_property
    def latency_ns(self) -> NDArray[np.float64]:
        """Of all requests, in the order of arrival; infinite where no answer came."""
        return np.concatenate([window.latency for window in self.windows])

    @cached_property
    def late_ns(self) -> NDArray[np.int64]:
        """How much later each request ended because the generator was late."""
        return np.concatenate([window.late for window in self.windows])

    @property
    def count(self) -> int:
        """Requests in all."""
        return len(self.latency_ns)

    @property
    def unanswered(self) -> int:
        """Requests that failed, or were given up."""
        return int(np.isinf(self.latency_ns).sum())

    @property
    def waited_share(self) -> float:
        """Share of the requests that found no caller free."""
        return float(np.concatenate([w.waited for w in self.windows]).mean())

    @property
    def answered_per_second(self) -> float:
        """Answers a second, from the start of each window to its last answer."""
        total = sum(max(float(w.ended.max()), self.seconds * 1e9) for w in self.windows)
        return (self.count - self.unanswered) / total * 1e9

    def percentile_us(self, percent: float) -> float | None:
        """Microseconds that `percent` of the requests took at most.

        None where no request is beyond it, or where it was not answered.
        """
        return percentile_us(self.latency_ns, percent)

    @property
    def late_p99_us(self) -> float:
        """p99 of the generator's own lateness, in microseconds."""
        return percentile_of(self.late_ns, 99.0) / 1e3

    @property
    def preempted_per_second(self) -> float | None:
        """How often a second the system took the CPU from this process; None where not told."""
        counts = [window.preempted for window in self.windows if window.preempted is not None]
        return sum(counts) / (len(counts) * self.seconds) if counts else None

    @cached_property
    def refused(self) -> str | None:
        """Why p99 is not the target's; None where it is."""
        if not self.is_refused(99):
            return None
        latency = percentile_of(self.latency_ns, 99.0) / 1e3
        return (
            "the generator was the limit: it was "
            f"{self.late_p99_us:,.0f} us late itself at p99, of {latency:,.0f} us"
        )

    def is_refused(self, percent: float) -> bool:
        """Whether a percentile of the latency is the generator's lateness in good part."""
        latency, late = (percentile_of(x, percent) / 1e3 for x in (self.latency_ns, self.late_ns))
        return late > max(MOST_LATE * latency, _OVERHEAD_US)

    def figure_us(self, percent: float) -> float | None:
        """`percentile_us`, and None where it is refused."""
        return None if self.is_refused(percent) else self.percentile_us(percent)

    def over(self, limit_us: float) -> int:
        """Requests that took longer than a limit, or were not answered."""
        return int((self.latency_ns > limit_us * 1e3).sum())

    def holds(self, limit_us: float) -> bool | None:
        """Whether p99 surely is within the limit; None where more requests must tell."""
        over = self.over(limit_us)
        if early_stopping.holds(over, self.count):
            return True
        return False if early_stopping.fails(over, self.count) else None

    def fails_anyway(self, limit_us: float) -> bool:
        """Whether p99 would surely exceed a limit, even had the generator never been late."""
        over = int((self.latency_ns - self.late_ns > limit_us * 1e3).sum())
        return early_stopping.fails(over, self.count)

    @cached_property
    def stalls(self) -> list[Stall]:
        """Every time in which requests waited and none was answered, in order.

        It lasted a millisecond at least, and ten times as long as is usual between two answers.
        """
        gaps = [_without_answer(window) for window in self.windows]
        usual = float(np.median(np.concatenate([gap for _, gap in gaps])))
        limit = max(_STALL_TIMES * usual, _STALL_NS)
        found = []
        for place, (window, (begins, gap)) in enumerate(zip(self.windows, gaps, strict=True)):
            for begin, length in zip(begins[gap > limit], gap[gap > limit], strict=True):
                waiting = int(((window.due >= begin) & (window.due < begin + length)).sum())
                second = place * self.seconds + begin / 1e9
                found.append(Stall(float(second), float(length) / 1e6, waiting))
        return found

    def statistics(self) -> dict[str, Any]:
        """The figures of the reports; every key carries its unit."""
        stalls = self.stalls
        return {
            "requests": self.count,
            "discarded_windows": self.discarded,
            "unanswered": self.unanswered,
            "answered_per_second": self.answered_per_second,
            **{f"p{p:g}_us": self.figure_us(p) for p in PERCENTILES},
            "refused_percentiles": [p for p in PERCENTILES if self.is_refused(p)],
            "generator_late_p99_us": self.late_p99_us,
            "waited_share": self.waited_share,
            "preempted_per_second": self.preempted_per_second,
            "stalls": len(stalls),
            "longest_stall_ms": max((s.ms for s in stalls), default=None),
        }


def _without_answer(window: Sent) -> tuple[Moments, Moments]:
    """For each answer, the time before it without one while its request waited: begin, length."""
    order = np.argsort(window.ended)
    ended = window.ended[order]
    begins = np.maximum(np.concatenate([[0], ended[:-1]]), window.due[order])
    return begins, ended - begins


def percentile_of(samples: NDArray[Any], percent: float) -> float:
    """The sample that `percent` of them are below, as MLPerf's load generator takes it."""
    place = min(int(len(samples) * percent / 100), len(samples) - 1)
    return float(np.partition(samples, place)[place])


def percentile_us(samples_ns: NDArray[np.float64], percent: float) -> float | None:
    """See `RateResult.percentile_us`."""
    if len(samples_ns) * (100 - percent) < 100 * (1 - 1e-9):
        return None
    value = percentile_of(samples_ns, percent) / 1e3
    return value if np.isfinite(value) else None
