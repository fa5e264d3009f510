"""What came of requests, be they real or simulated."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass
class Answers:
    """Requests in the order in which they came; seconds from the start.

    Attributes:
        due: When each came.
        latency: From then to its answer; infinite where none came.
        late: How much later than it could each was sent, by a generator that is real.
    """

    due: Floats
    latency: Floats
    late: Floats = field(default_factory=lambda: np.zeros(1))

    @property
    def lost(self) -> int:
        """Requests without an answer."""
        return int(np.isinf(self.latency).sum())

    def percentile_us(self, percent: float) -> float:
        """Microseconds, of all requests; infinite where the percentile was not answered."""
        return float(np.percentile(self.latency, percent, method="higher") * 1e6)

    @property
    def answered_per_second(self) -> float:
        """Answers a second, from the first request to the last answer."""
        good = np.isfinite(self.latency)
        return float(good.sum() / (self.due + self.latency)[good].max()) if good.any() else 0.0
