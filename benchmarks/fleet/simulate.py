"""`simulate`: a `Scenario` in, an `Outcome` out."""

from collections.abc import Generator
from dataclasses import dataclass, field

import numpy as np
import simpy

from benchmarks.fleet import events
from benchmarks.fleet.answers import Answers, Floats
from benchmarks.fleet.balance import Balancer, Connections
from benchmarks.fleet.workers import Draws, Replica, Worker


@dataclass(frozen=True)
class Scenario:
    """What is simulated; times in seconds.

    Attributes:
        service: Samples of the time for which a request occupies a worker.
        rates: Requests a second from a moment on, ``((0, 100), (60, 400))``.
        seconds: Length of the simulated time in which requests come.
        arrivals: When requests come, in place of `rates`.
        overhead: What a request takes beside: network, wake-ups, the client.
        wake: What the first request after an idle time takes beside, while it occupies a worker.
        replicas: Replicas at the start.
        workers: Workers of each.
        balance: One of `benchmarks.fleet.balance.POLICIES`.
        connections: How many connections each worker has at the start, for ``connections``.
        limit: Requests under way at one worker, beyond which it answers 503.
        retries: How often a client sends a request again that was refused or lost.
        retry_after: After how long.
        start: From the start of a worker to its first answer.
        dying: From a kill until its sockets close: what comes meanwhile is taken, and lost.
        notice: From a death until the balancer knows it.
        kills: Moments at which a worker is killed; its supervisor starts another.
        update: The moment at which a rolling update begins; None for none.
        endpoint_lag: From the end of a replica being decided until the balancer knows it.
        drain: How long a replica that ends goes on to take requests; ``--drain-delay``.
        target: Requests under way in a replica that the autoscaler aims at; None for none.
        most: Replicas that the autoscaler makes at most.
        seed: Seed of all draws.
    """

    service: Floats
    rates: tuple[tuple[float, float], ...] = ()
    seconds: float = 1.0
    arrivals: Floats | None = None
    overhead: float = 0.0
    wake: float = 0.0
    replicas: int = 1
    workers: int = 1
    balance: str = "least"
    connections: tuple[int, ...] = ()
    limit: int = 16384
    retries: int = 0
    retry_after: float = 1.0
    start: float = 0.5
    dying: float = 0.0
    notice: float = 0.0
    kills: tuple[float, ...] = ()
    update: float | None = None
    endpoint_lag: float = 1.0
    drain: float = 5.0
    target: float | None = None
    most: int = 100
    seed: int = 0


@dataclass
class Outcome(Answers):
    """What came of a scenario.

    Attributes:
        refused: Answers 503.
        broken: Requests that a death or an end took with it; each may have been sent again.
        replicas: Moments, and how many replicas the balancer sends to from then on.
    """

    refused: int = 0
    broken: int = 0
    replicas: list[tuple[float, int]] = field(default_factory=list)


class Fleet:
    """A simulation that runs; `events` change it."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.env = simpy.Environment()
        self.random = np.random.default_rng(scenario.seed)
        self._draw = Draws(scenario.service, self.random)
        self.replicas: list[Replica] = []
        for _ in range(scenario.replicas):
            self.add()
        self._balancer = Balancer(scenario.balance, self.replicas, self.random)
        self._connections: Connections | None = None
        if scenario.balance == "connections":
            workers = [worker for replica in self.replicas for worker in replica.workers]
            ends = [w for w, n in zip(workers, scenario.connections, strict=True) for _ in range(n)]
            self.random.shuffle(ends)
            self._connections = Connections(self.env, ends, self.replicas, self.random)
        due = arrivals(scenario, self.random) if scenario.arrivals is None else scenario.arrivals
        self.outcome = Outcome(due, np.full(len(due), np.inf))

    def worker(self) -> Worker:
        """A new worker."""
        return Worker(self.env, self._draw, self.scenario.limit, self.scenario.wake)

    def add(self) -> None:
        """A new replica, which answers at once."""
        workers = [self.worker() for _ in range(self.scenario.workers)]
        self.replicas.append(Replica(workers, self.random))

    def note(self) -> None:
        """Note how many replicas the balancer sends to."""
        listed = sum(replica.listed for replica in self.replicas)
        self.outcome.replicas.append((self.env.now, listed))

    def run(self) -> Outcome:
        """Until every request has its answer, or was given up."""
        self.note()
        for event in events.all_of(self):
            self.env.process(event)
        self.env.run(self.env.process(self._requests()))
        return self.outcome

    def _requests(self) -> Generator[simpy.Event, None, None]:
        pending = []
        for number, moment in enumerate(self.outcome.due):
            if moment > self.env.now:
                yield self.env.timeout(moment - self.env.now)
            pending.append(self.env.process(self._request(number, moment)))
            if len(pending) > 10_000:
                pending = [process for process in pending if process.is_alive]
        for process in pending:
            if process.is_alive:
                yield process

    def _request(self, number: int, due: float) -> Generator[simpy.Event, None, None]:
        for attempt in range(self.scenario.retries + 1):
            if attempt:
                yield self.env.timeout(self.scenario.retry_after)
            if (yield from self._attempt()):
                taken = self.env.now - due + self.scenario.overhead
                self.outcome.latency[number] = taken
                return

    def _attempt(self) -> Generator[simpy.Event, None, bool]:
        pool = self._connections
        worker = (yield from pool.take()) if pool else self._balancer.choose()
        done = worker.offer() if worker else None
        answered = False
        if done is None:
            self.outcome.refused += bool(worker and worker.alive)
            self.outcome.broken += not (worker and worker.alive)
        else:
            yield done
            answered = bool(done.value)
            self.outcome.broken += not answered
        if pool and worker:
            pool.give_back(worker)
        return answered


def simulate(scenario: Scenario) -> Outcome:
    """Simulate a scenario; equal ones come to equal ends."""
    return Fleet(scenario).run()


def arrivals(scenario: Scenario, random: np.random.Generator) -> Floats:
    """A Poisson process whose rate changes."""
    parts, ends = [], [*(begin for begin, _ in scenario.rates[1:]), scenario.seconds]
    for (begin, rate), end in zip(scenario.rates, ends, strict=True):
        count = random.poisson(rate * (end - begin))
        parts.append(np.sort(random.uniform(begin, end, count)))
    return np.concatenate(parts)
