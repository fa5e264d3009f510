"""`LatencyResult`: raw samples, and the figures read off them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)
RESAMPLES = 1000


@dataclass(frozen=True)
class LatencyResult:
    """One engine at one batch size.

    Attributes:
        engine: The engine's name in this run.
        batch_size: Images in a call.
        rounds_ns: Wall-clock nanoseconds of each sample, by round. A sample is one call, or the
            mean of `calls_per_sample` calls where one is too short for the clock.
        calls_per_sample: The number of calls in a sample.
        warm: Whether the warm-up ended because the engine had settled, not because time was up.
        preempted_share: Share of the samples in which the system gave the caller's CPU to another
            process; 0 to 1, None where it does not tell. A slow engine is hit more often.
    """

    engine: str
    batch_size: int
    rounds_ns: tuple[NDArray[np.float64], ...]
    calls_per_sample: int = 1
    warm: bool = True
    preempted_share: float | None = None

    @property
    def samples_ns(self) -> NDArray[np.float64]:
        """All samples, in the order of measurement."""
        return np.concatenate(self.rounds_ns)

    def percentile_us(self, percent: float) -> float:
        """Microseconds that `percent` of the samples took at most."""
        return float(np.percentile(self.samples_ns, percent)) / 1e3

    @property
    def waited(self) -> bool:
        """Whether other processes took the CPU in most samples."""
        return (self.preempted_share or 0) > 0.5

    @property
    def images_per_second(self) -> float:
        """Throughput of one caller at the median latency."""
        return self.batch_size / self.percentile_us(50) * 1e6

    def statistics(self) -> dict[str, float]:
        """The figures of the reports; every key carries its unit."""
        samples = self.samples_ns / 1e3
        figures = {f"p{p:g}_us": float(np.percentile(samples, p)) for p in PERCENTILES}
        return {
            "min_us": float(samples.min()),
            **figures,
            "mean_us": float(samples.mean()),
            "std_us": float(samples.std()),
            "images_per_second": self.images_per_second,
        }


@dataclass(frozen=True)
class Ratio:
    """How one latency compares with another.

    Attributes:
        value: Median over median; below 1 is faster.
        low: The lower end of the 95% interval.
        high: The upper end of the 95% interval.
    """

    value: float
    low: float
    high: float

    @property
    def speedup(self) -> "Ratio":
        """The inverse: how many times as fast; above 1 is faster."""
        return Ratio(1 / self.value, 1 / self.high, 1 / self.low)


def times(value: float) -> str:
    """A ratio as people say it, with the digits that mean something: ``30x``, ``1.02x``."""
    if value >= 9.95:
        return f"{value:,.0f}x"
    if value < 0.1:
        return f"{value:.2g}x"
    return f"{value:.1f}x" if value >= 1.995 else f"{value:.2f}x"


def paired_ratio(result: LatencyResult, baseline: LatencyResult, seed: int = 0) -> Ratio:
    """`result` over `baseline`, both of one interleaved run.

    Rounds are resampled in pairs, because what slows a round slows both.
    """
    ratios = resampled(result, 50, seed) / resampled(baseline, 50, seed)
    low, high = np.percentile(ratios, [2.5, 97.5])
    value = over_rounds(result, 50) / over_rounds(baseline, 50)
    return Ratio(float(value), float(low), float(high))


def over_rounds(result: LatencyResult, percent: float) -> float:
    """The percentile over rounds of the same percentile of each round, in nanoseconds."""
    return float(np.percentile(_each_round(result, percent), percent))


def resampled(result: LatencyResult, percent: float, seed: int) -> NDArray[np.float64]:
    """`over_rounds` of `RESAMPLES` bootstrap draws of rounds.

    Results of one run have equally many rounds, so equal seeds draw the same rounds of both.
    """
    rounds = _each_round(result, percent)
    picks = np.random.default_rng(seed).integers(0, len(rounds), (RESAMPLES, len(rounds)))
    drawn: NDArray[np.float64] = np.percentile(rounds[picks], percent, axis=1)
    return drawn


def _each_round(result: LatencyResult, percent: float) -> NDArray[np.float64]:
    return np.array([np.percentile(samples, percent) for samples in result.rounds_ns])


Rounds = tuple[NDArray[np.float64], ...]


def rounds_to_json(rounds: Rounds, repeats: int) -> list[list[float]]:
    """Samples in nanoseconds, by round; those that are means of `repeats` are finer than one."""
    digits = None if repeats == 1 else 3
    return [[round(float(s), digits) for s in samples] for samples in rounds]


def rounds_from_json(document: Any, name: str) -> Rounds:
    """What `rounds_to_json` wrote; raises TypeError or ValueError, with `name`, for another."""
    rounds = tuple(np.array(samples, np.float64) for samples in document)
    if not rounds or any(samples.ndim != 1 or not len(samples) for samples in rounds):
        raise ValueError(f"{name}: expected lists of samples, each with one at least")
    if not all(np.isfinite(samples).all() and (samples > 0).all() for samples in rounds):
        raise ValueError(f"{name}: expected positive nanoseconds")
    return rounds


def to_json(result: LatencyResult) -> dict[str, Any]:
    """The result as JSON types, raw samples included, to the nanosecond of the clock."""
    return {
        "engine": result.engine,
        "batch_size": result.batch_size,
        "calls_per_sample": result.calls_per_sample,
        "warm": result.warm,
        "preempted_share": result.preempted_share,
        **result.statistics(),
        "rounds_ns": rounds_to_json(result.rounds_ns, result.calls_per_sample),
    }


def from_json(document: dict[str, Any]) -> LatencyResult:
    """The result that `to_json` wrote; raises KeyError, TypeError or ValueError for another."""
    rounds = rounds_from_json(document["rounds_ns"], "rounds_ns")
    result = LatencyResult(
        str(document["engine"]),
        int(document["batch_size"]),
        rounds,
        int(document["calls_per_sample"]),
        bool(document["warm"]),
        None if (share := document.get("preempted_share")) is None else float(share),
    )
    if not 0 <= (result.preempted_share or 0) <= 1:
        raise ValueError("preempted_share: expected 0 to 1")
    if result.batch_size < 1 or result.calls_per_sample < 1:
        raise ValueError("batch_size and calls_per_sample: expected 1 or more")
    return result
