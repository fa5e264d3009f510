"""The highest rate whose p99 holds: a search that doubles, then halves the interval.

Each rate is judged by MLPerf's early stopping, in windows until it surely holds or surely fails, or
`MOST_WINDOWS` are over. A rate that did not hold is tried once more, since another process may have
had the CPU; a search that trusted one bad second would end far too low. Windows in which the
generator was late are not counted, unless they would have failed without that; where there are too
many, the search ends.
"""

import math
from dataclasses import dataclass, field

from lenet_bench.openloop.result import RateResult

RESOLUTION = 1.02  # of the interval's ends, one over the other
MOST_WINDOWS = 6
MOST_PROBES = 40
TRIES = 2
MOST_LATE = 16  # windows at one rate


@dataclass(frozen=True)
class Found:
    """Where a search ended.

    Attributes:
        target: The target's name.
        limit_us: The limit of p99, in microseconds.
        rate: The highest rate at which p99 held, in requests a second; None where it held at none.
        low: The lower end of the interval: the same, or 0.
        high: Its upper end: the lowest rate at which p99 did not hold; None where it always did.
        complete: Whether the search ended by itself.
        ended_by: Why it did not; None where it did, or was interrupted.
    """

    target: str
    limit_us: float
    rate: float | None
    low: float
    high: float | None
    complete: bool
    ended_by: str | None = None

    @property
    def interval(self) -> str:
        """The interval in words, in requests a second."""
        high = "no bound" if self.high is None else f"{self.high:,.0f}"
        return f"{self.low:,.0f} to {high}"


@dataclass
class Search:
    """One target's search.

    Attributes:
        target: The target's name.
        limit_us: The limit of p99, in microseconds.
        rate: The rate to try next.
        low: The highest rate that held.
        high: The lowest rate above it that did not.
        probes: How many rates were judged.
        most_rate: The highest rate to try.
    """

    target: str
    limit_us: float
    rate: float
    low: float = 0.0
    high: float = math.inf
    probes: int = 0
    most_rate: float = math.inf
    _failures: int = 0
    _late: int = 0
    _windows: list[RateResult] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Whether there is nothing left to try."""
        narrow = self.low > 0 and self.high <= self.low * RESOLUTION
        return (
            self._ended_by is not None
            or narrow
            or self.probes >= MOST_PROBES
            or self.rate < 1
            or self.low >= self.most_rate
        )

    def add(self, window: RateResult) -> None:
        """Take what one more window at `rate` measured."""
        if window.refused is not None and not window.fails_anyway(self.limit_us):
            self._late += 1
            return
        self._windows.append(window)
        whole = RateResult(
            self.target, self.rate, window.seconds, tuple(w.windows[0] for w in self._windows)
        )
        verdict = whole.holds(self.limit_us)
        if verdict is None and len(self._windows) < MOST_WINDOWS:
            return
        self._windows = []
        self._failures = 0 if verdict else self._failures + 1
        if verdict or self._failures == TRIES:
            self._judge(holds=bool(verdict))

    def _judge(self, *, holds: bool) -> None:
        self.probes += 1
        self._failures = self._late = 0
        if holds:
            self.low = self.rate
        else:
            self.high = self.rate
        if math.isinf(self.high):
            self.rate = min(2 * self.rate, self.most_rate)
        elif not self.low:
            self.rate = self.rate / 4
        else:
            self.rate = math.sqrt(self.low * self.high)

    @property
    def found(self) -> Found:
        """The result so far."""
        high = None if math.isinf(self.high) else self.high
        why = self._ended_by
        complete = self.done and why is None
        return Found(self.target, self.limit_us, self.low or None, self.low, high, complete, why)

    @property
    def _ended_by(self) -> str | None:
        if self._late < MOST_LATE:
            return None
        return f"the generator was the limit at {self.rate:,.0f}/s"
