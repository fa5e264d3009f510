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
        engine: its name in this run.
        batch_size: images in a call.
        rounds_ns: wall-clock nanoseconds of each sample, by round. A sample is one call, or the
            mean of `calls_per_sample` calls where one is too short for the clock.
        calls_per_sample: see `rounds_ns`.
        warm: whether the warm-up ended because the engine had settled, not because time was up.
    """

    engine: str
    batch_size: int
    rounds_ns: tuple[NDArray[np.float64], ...]
    calls_per_sample: int = 1
    warm: bool = True

    @property
    def samples_ns(self) -> NDArray[np.float64]:
        """All samples, in the order of measurement."""
        return np.concatenate(self.rounds_ns)

    def percentile_us(self, percent: float) -> float:
        """Microseconds that `percent` of the samples took at most."""
        return float(np.percentile(self.samples_ns, percent)) / 1e3

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
        value: median over median; below 1 is faster.
        low: lower end of the 95% interval.
        high: upper end of it.
    """

    value: float
    low: float
    high: float


def paired_ratio(result: LatencyResult, baseline: LatencyResult, seed: int = 0) -> Ratio:
    """`result` over `baseline`, both of one interleaved run.

    Rounds are resampled in pairs, because what slows a round slows both.
    """
    ratios = resampled_medians(result, seed) / resampled_medians(baseline, seed)
    low, high = np.percentile(ratios, [2.5, 97.5])
    value = np.median(round_medians(result)) / np.median(round_medians(baseline))
    return Ratio(float(value), float(low), float(high))


def round_medians(result: LatencyResult) -> NDArray[np.float64]:
    """The median of each round, in nanoseconds."""
    return np.array([np.median(samples) for samples in result.rounds_ns])


def resampled_medians(result: LatencyResult, seed: int) -> NDArray[np.float64]:
    """The median over rounds, of `RESAMPLES` bootstrap draws of rounds.

    Results of one run have equally many rounds, so equal seeds draw the same rounds of both.
    """
    medians = round_medians(result)
    picks = np.random.default_rng(seed).integers(0, len(medians), (RESAMPLES, len(medians)))
    drawn: NDArray[np.float64] = np.median(medians[picks], axis=1)
    return drawn


def to_json(result: LatencyResult) -> dict[str, Any]:
    """The result as JSON types, raw samples included, to the nanosecond."""
    return {
        "engine": result.engine,
        "batch_size": result.batch_size,
        "calls_per_sample": result.calls_per_sample,
        "warm": result.warm,
        **result.statistics(),
        "rounds_ns": [[round(float(s)) for s in samples] for samples in result.rounds_ns],
    }


def from_json(document: dict[str, Any]) -> LatencyResult:
    """The result that `to_json` wrote; raises KeyError, TypeError or ValueError for another."""
    rounds = tuple(np.array(samples, np.float64) for samples in document["rounds_ns"])
    if not rounds or any(samples.ndim != 1 or not len(samples) for samples in rounds):
        raise ValueError("rounds_ns: expected lists of samples, each with one at least")
    return LatencyResult(
        str(document["engine"]),
        int(document["batch_size"]),
        rounds,
        int(document["calls_per_sample"]),
        bool(document["warm"]),
    )
