"""The clock of an open loop; tests wind one of their own."""

import time
from typing import Protocol

# A sleeping thread wakes some 80 us late, on a virtual machine later; the rest is spent spinning.
SPIN_NS = 200_000


class Clock(Protocol):
    """What tells the time in nanoseconds, and waits for a moment."""

    def now(self) -> int:
        """Nanoseconds from some moment on."""

    def wait_until(self, moment: int) -> None:
        """Return at `moment` of `now`, or at once where it has passed."""


class SystemClock:
    """The real one: it sleeps until shortly before the moment, then spins.

    Args:
        shared: Whether other threads of this process must run meanwhile: each turn of the spin
            then lets go of Python's lock.
    """

    now = staticmethod(time.perf_counter_ns)

    def __init__(self, *, shared: bool = False) -> None:
        self._shared = shared

    def wait_until(self, moment: int) -> None:
        """See `Clock.wait_until`."""
        now = self.now
        while (left := moment - now()) > SPIN_NS:
            time.sleep((left - SPIN_NS) / 1e9)
        if self._shared:
            while now() < moment:
                time.sleep(0)
        else:
            while now() < moment:
                pass
