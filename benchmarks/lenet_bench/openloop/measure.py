"""Measuring: targets take turns in windows, at each rate, and in the search for the highest."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lenet_bench.openloop.arrivals import MOST, poisson
from lenet_bench.openloop.clock import Clock, SystemClock
from lenet_bench.openloop.result import RateResult
from lenet_bench.openloop.search import Found, Search
from lenet_bench.openloop.targets import Target
from lenet_runtime.errors import InputError

# Requests that a window has, on average, at least. Short windows, since one in which the generator
# was late is sent again, at most so many times as were asked for.
LEAST_REQUESTS = 200
MOST_TRIES = 3
MOST_WINDOW_SECONDS = 60.0
_INPUTS = 16
_USUAL_PROBES = 10  # of a search
_SAMPLES = 50  # calls that tell where a search starts
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class LoadSettings:
    """How to measure.

    Attributes:
        rates: Requests offered a second.
        p99_limit_us: The limit of p99 whose highest rate is searched; None for no search.
        min_seconds: The least time for each target at each rate.
        window_seconds: Length of a window, if that is not less than `min_seconds`; longer where it
            would have too few requests.
        seed: Seed of the arrivals, of the images and of the order of turns.
    """

    rates: tuple[float, ...] = ()
    p99_limit_us: float | None = None
    min_seconds: float = 4.0
    window_seconds: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        numbers = [*self.rates, self.min_seconds, self.window_seconds]
        numbers += [] if self.p99_limit_us is None else [self.p99_limit_us]
        if not all(0 < number < math.inf for number in numbers):  # written so that NaN fails too
            raise InputError(f"expected positive, finite rates, times and limits, found {self}")
        if not self.rates and self.p99_limit_us is None:
            raise InputError("expected rates, or a limit of p99 to search the highest rate for")

    def window(self, rate: float) -> float:
        """Seconds of a window at a rate."""
        usual = min(self.window_seconds, self.min_seconds)
        return min(max(usual, LEAST_REQUESTS / rate), MOST_WINDOW_SECONDS, MOST / 2 / rate)


class Windows:
    """Sends windows to targets, and keeps what came by target and rate.

    Args:
        targets: Who is asked; closed by the caller.
        settings: How to measure.
        clock: Makes the clock of a target; a test winds its own.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        settings: LoadSettings,
        clock: Callable[[Target], Clock] = lambda target: SystemClock(
            shared=target.concurrency > 1
        ),
    ) -> None:
        self.targets = {target.name: target for target in targets}
        self.settings, self._clock = settings, clock
        self._random = np.random.default_rng(settings.seed)
        self._kept: dict[tuple[str, float], RateResult] = {}
        self._searches: list[Search] = []
        for target in targets:
            target.prepare(unit_noise(target.image_shape, settings.seed))

    @property
    def results(self) -> tuple[RateResult, ...]:
        """What was measured, by target in their order, then by rate."""
        order = list(self.targets)
        return tuple(
            sorted(self._kept.values(), key=lambda one: (order.index(one.target), one.rate))
        )

    def send(self, name: str, rate: float, seed: int) -> RateResult:
        """Send one window, and return what came in it alone."""
        target, seconds = self.targets[name], self.settings.window(rate)
        target.warm_up()
        before = _preemptions()
        sent = target.send(poisson(rate, seconds, seed), self._clock(target))
        count = None if before is None else (_preemptions() or 0) - before
        sent = dataclasses.replace(sent, preempted=count)
        one = RateResult(name, rate, seconds, (sent,))
        earlier = self._kept.get((name, rate))
        self._kept[name, rate] = one if earlier is None else earlier.plus(one)
        return one

    @property
    def found(self) -> tuple[Found, ...]:
        """Where each search stands."""
        return tuple(search.found for search in self._searches)

    def at_rates(self, progress: Progress) -> None:
        """Measure each of the settings' rates, the lowest first; targets take turns."""
        settings, rates = self.settings, sorted(set(self.settings.rates))
        for place, rate in enumerate(rates):
            rounds = math.ceil(settings.min_seconds / settings.window(rate))
            left = dict.fromkeys(self.targets, rounds)
            for turn in range(MOST_TRIES * rounds):
                if not left:
                    break
                share = 1 - max(left.values()) / rounds
                progress(f"{rate:,.0f}/s", (place + share) / len(rates))
                for index in self._random.permutation(len(left)):
                    name = list(left)[index]
                    if self.send(name, rate, self._seed(turn)).refused is None:
                        left[name] -= 1
                left = {name: count for name, count in left.items() if count}

    def search(self, limit_us: float, progress: Progress) -> None:
        """Search each target's highest rate whose p99 is within the limit; targets take turns."""
        self._searches = [
            Search(name, limit_us, self._first_rate(target), most_rate=MOST / 4)
            for name, target in self.targets.items()
        ]
        turn = 0
        while left := [search for search in self._searches if not search.done]:
            turn += 1
            for index in self._random.permutation(len(left)):
                search = left[index]
                probes = sum(min(one.probes / _USUAL_PROBES, 1) for one in self._searches)
                done = probes / len(self._searches)
                progress(f"{search.target} at {search.rate:,.0f}/s", done)
                search.add(self.send(search.target, search.rate, self._seed(turn)))

    def _first_rate(self, target: Target) -> float:
        """An eighth of what callers get in a closed loop, by the median of what a request takes."""
        target.warm_up()
        sent = target.send(np.zeros(_SAMPLES, np.int64), self._clock(target))
        ended = np.sort(sent.ended[sent.answered])
        if len(ended) < 2:
            return 1.0
        return min(max(1e9 / max(float(np.median(np.diff(ended))), 1.0) / 8, 1.0), MOST / 4)

    def _seed(self, turn: int) -> int:
        """Of the arrivals: equal for all targets in a turn."""
        return self.settings.seed * 10_007 + turn


def unit_noise(image_shape: tuple[int, ...], seed: int) -> list[NDArray[np.float32]]:
    """Images, float32 ``(1, C, H, W)`` each, that requests send in turn."""
    noise = np.random.default_rng(seed)
    return [noise.standard_normal((1, *image_shape), np.float32) for _ in range(_INPUTS)]


def _preemptions() -> int | None:
    """How often the system took the CPU from this process so far; None where it does not tell."""
    try:
        from resource import RUSAGE_SELF, getrusage
    except ImportError:
        return None
    return getrusage(RUSAGE_SELF).ru_nivcsw
