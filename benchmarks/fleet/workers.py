"""What answers in the simulation: workers, one request at a time each, and replicas of some."""

from collections import deque
from collections.abc import Callable

import numpy as np
import simpy


class Worker:
    """A process of the server: first come, first served, with a bounded queue.

    Args:
        env: The simulation.
        draw: Draws the seconds that a request occupies a worker.
        limit: Requests under way, beyond which it answers 503.
        wake: Seconds more that the first request after an idle time takes; no more than it was
            idle, since what sleeps for longer sleeps deeper.
    """

    def __init__(
        self, env: simpy.Environment, draw: Callable[[], float], limit: int, wake: float = 0.0
    ) -> None:
        self._env, self._draw, self._limit, self._wake = env, draw, limit, wake
        self._waiting: deque[simpy.Event] = deque()
        self._current: simpy.Event | None = None
        self.alive = True
        self._stopped, self._idle_since = False, -np.inf

    @property
    def ongoing(self) -> int:
        """Requests under way."""
        return len(self._waiting) + (self._current is not None)

    def offer(self) -> simpy.Event | None:
        """Send a request.

        Returns:
            An event whose value says whether there was an answer, or the worker died; None where it
            is refused at once.
        """
        if not self.alive or self.ongoing >= self._limit:
            return None
        done = self._env.event()
        self._waiting.append(done)
        if self._current is None and not self._stopped:
            self._begin(min(self._wake, self._env.now - self._idle_since))
        return done

    def stop(self) -> None:
        """Answer nothing more; what comes is still taken."""
        self._stopped = True

    def kill(self) -> None:
        """Die with all that is under way."""
        self.alive = False
        for done in [*([self._current] if self._current else []), *self._waiting]:
            done.succeed(False)
        self._waiting.clear()
        self._current = None

    def _begin(self, wake: float = 0.0) -> None:
        self._current = self._waiting.popleft()
        self._env.timeout(self._draw() + wake).callbacks.append(self._finish)

    def _finish(self, _: simpy.Event) -> None:
        if self._current is None or self._stopped:
            return  # it was killed meanwhile
        self._current.succeed(True)
        self._current, self._idle_since = None, self._env.now
        if self._waiting:
            self._begin()


class Replica:
    """A pod: some workers behind one port; the kernel gives a connection to any of them.

    Args:
        workers: Its workers.
        random: Chooses.

    Attributes:
        workers: As given.
        listed: Whether the balancer sends to it.
    """

    def __init__(self, workers: list[Worker], random: np.random.Generator) -> None:
        self.workers, self._random = workers, random
        self.listed = True

    @property
    def ongoing(self) -> int:
        """Requests under way."""
        return sum(worker.ongoing for worker in self.workers)

    def pick(self) -> Worker | None:
        """The worker that a new connection gets; None where none is alive."""
        alive = [worker for worker in self.workers if worker.alive]
        return alive[int(self._random.integers(len(alive)))] if alive else None


class Draws:
    """Draws from measured samples, with replacement, many at a time.

    Args:
        samples: Seconds.
        random: Chooses.
    """

    def __init__(self, samples: np.ndarray, random: np.random.Generator) -> None:
        self._samples, self._random = samples, random
        self._block: list[float] = []

    def __call__(self) -> float:
        """One of the samples."""
        if not self._block:
            self._block = self._random.choice(self._samples, 10_000).tolist()
        return self._block.pop()
