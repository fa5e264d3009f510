"""Which replica a request goes to."""

from collections import deque
from collections.abc import Generator

import numpy as np
import simpy

from benchmarks.fleet.workers import Replica, Worker

POLICIES = ("round-robin", "least", "two-choices", "connections")


class Balancer:
    """Chooses a replica for each request.

    ``round-robin``: one after the other. ``least``: the one with the fewest requests under way.
    ``two-choices``: the less busy of two that are drawn. ``connections``: a request takes the
    keep-alive connection that has been free the longest, and goes where that leads; a connection
    that broke is opened again, to any worker.

    Args:
        policy: One of `POLICIES`.
        replicas: All there are; those that come later are appended to it.
        random: Chooses.
    """

    def __init__(self, policy: str, replicas: list[Replica], random: np.random.Generator) -> None:
        self._policy, self._replicas, self._random = policy, replicas, random
        self._turn = 0

    def choose(self) -> Worker | None:
        """A worker; None where no replica is listed, or the one that was chosen is dead."""
        listed = [replica for replica in self._replicas if replica.listed]
        if not listed:
            return None
        if self._policy == "round-robin":
            self._turn += 1
            chosen = listed[self._turn % len(listed)]
        elif self._policy == "least":
            order = self._random.permutation(len(listed))
            chosen = min((listed[i] for i in order), key=lambda one: one.ongoing)
        else:
            pair = self._random.integers(len(listed), size=2)
            chosen = min((listed[i] for i in pair), key=lambda one: one.ongoing)
        return chosen.pick()


class Connections:
    """Keep-alive connections, each to one worker.

    Args:
        env: The simulation.
        workers: The worker at the other end of each.
        replicas: Where a connection that broke is opened again.
        random: Chooses among them.
    """

    def __init__(
        self,
        env: simpy.Environment,
        workers: list[Worker],
        replicas: list[Replica],
        random: np.random.Generator,
    ) -> None:
        self._env, self._free, self._random = env, deque(workers), random
        self._replicas = replicas
        self._waiting: deque[simpy.Event] = deque()

    def take(self) -> Generator[simpy.Event, None, Worker]:
        """The worker at the end of a free connection; waits for one."""
        if not self._free:
            event = self._env.event()
            self._waiting.append(event)
            yield event
        worker = self._free.popleft()
        if worker.alive:
            return worker
        alive = [other for replica in self._replicas for other in replica.workers if other.alive]
        return alive[int(self._random.integers(len(alive)))] if alive else worker

    def give_back(self, worker: Worker) -> None:
        """Let others have it."""
        self._free.append(worker)
        if self._waiting:
            self._waiting.popleft().succeed()
