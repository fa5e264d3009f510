"""MLPerf's early stopping: after how many requests a percentile surely holds.

MLPerf Inference's rules define it ("Early Stopping Criterion", an appendix of
``inference_rules.adoc`` in mlcommons/inference_policies), and its load generator computes it
(``loadgen/early_stopping.cc`` in mlcommons/inference): of ``n`` requests ``t`` took longer than the
limit. A system that just fails to hold percentile ``p`` sees ``t`` or fewer with a probability of
the binomial distribution, ``F(t; n, 1 - (p - d))``. If that is at most ``1 - c``, the percentile
holds. MLPerf's tolerance ``d`` is 0 and its confidence ``c`` is 0.99.

It takes requests for independent. Those that wait behind one stall are not, so `holds` errs towards
neither side on average, but more than the confidence says from run to run.
"""

import math

import numpy as np

PERCENTILE = 0.99
CONFIDENCE = 0.99


def at_most(over: int, count: int, share: float) -> float:
    """Probability that at most `over` of `count` requests are over, each with chance `share`."""
    if over >= count:
        return 1.0
    k = np.arange(over)
    steps = np.log((count - k) / (k + 1)) + math.log(share / (1 - share))
    logs = count * math.log1p(-share) + np.concatenate([[0.0], np.cumsum(steps)])
    return float(min(np.exp(logs).sum(), 1.0))


def holds(over: int, count: int, percentile: float = PERCENTILE) -> bool:
    """Whether, surely, the share `percentile` of all requests is within the limit.

    Args:
        over: Requests that took longer than the limit.
        count: Requests in all.
        percentile: The share that must be within it.
    """
    return at_most(over, count, 1 - percentile) <= 1 - CONFIDENCE


def fails(over: int, count: int, percentile: float = PERCENTILE) -> bool:
    """Whether, as surely, it is not; neither holds where more requests must tell."""
    return over > 0 and 1 - at_most(over - 1, count, 1 - percentile) <= 1 - CONFIDENCE


def least_count(over: int, percentile: float = PERCENTILE) -> int:
    """The fewest requests of which `over` may be over, so that the percentile still `holds`."""
    low, high = over, over + 1
    while not holds(over, high, percentile):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(over, middle, percentile) else (middle, high)
    return high
