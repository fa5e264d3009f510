"""When requests are meant to start."""

import math

import numpy as np
from numpy.typing import NDArray

from lenet_runtime.errors import InputError

# Requests in a window; their stamps are kept, so this bounds memory and time.
MOST = 10**6


def poisson(rate: float, seconds: float, seed: int) -> NDArray[np.int64]:
    """Draw the arrivals of a Poisson process; equal arguments draw equal ones.

    Args:
        rate: Requests a second, on average.
        seconds: Length of the window.
        seed: Seed of the process.

    Returns:
        Nanoseconds from the start of the window, ascending; one at least, however low the rate.

    Raises:
        InputError: The rate or the length is no positive number, or there are more than `MOST`.
    """
    expected = rate * seconds
    if not (0 < rate < math.inf and 0 < seconds < math.inf):
        raise InputError(f"expected a positive rate and length, found {rate}/s for {seconds} s")
    if expected > MOST:
        raise InputError(f"expected at most {MOST:,} requests, found {rate:g}/s for {seconds:g} s")
    random = np.random.default_rng(seed)
    # So many that falling short of the window's end is next to impossible.
    gaps = random.exponential(1e9 / rate, int(expected + 10 * math.sqrt(expected) + 20))
    moments = np.cumsum(gaps).astype(np.int64)
    inside = moments[moments < seconds * 1e9]
    return inside if len(inside) else moments[:1]
