"""What happens to a fleet: deaths, a rolling update, and an autoscaler."""

import math
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import simpy

from benchmarks.fleet.workers import Replica

if TYPE_CHECKING:
    from benchmarks.fleet.simulate import Fleet

# Kubernetes' own numbers: the autoscaler's period and tolerance, how long it looks back before it
# makes fewer, how many more it makes at a time, and the period in which its metric is sampled.
PERIOD_S, TOLERANCE, LOOK_BACK_S, MOST_TIMES, SAMPLE_S = 15.0, 0.1, 300.0, 2, 1.0
Process = Generator[simpy.Event, None, None]


def all_of(fleet: "Fleet") -> Iterator[Process]:
    """The events of the fleet's scenario."""
    for moment in fleet.scenario.kills:
        yield kill(fleet, moment)
    if fleet.scenario.update is not None:
        yield rolling_update(fleet, fleet.scenario.update)
    if fleet.scenario.target is not None:
        yield autoscale(fleet, fleet.scenario.target)


def kill(fleet: "Fleet", moment: float) -> Process:
    """Kill a worker, as the system does that is out of memory; its supervisor starts another.

    The kernel gives new connections to the others at once. Where there are none, the balancer goes
    on sending for `Scenario.notice`.
    """
    yield fleet.env.timeout(moment)
    replica = next((r for r in fleet.replicas if r.listed and r.pick()), None)
    if replica is None:
        return
    victim = next(worker for worker in replica.workers if worker.alive)
    victim.stop()
    yield fleet.env.timeout(fleet.scenario.dying)
    victim.kill()
    place = replica.workers.index(victim)
    if not replica.pick():
        fleet.env.process(_notice(fleet, replica))
    yield fleet.env.timeout(fleet.scenario.start)
    replica.workers[place] = fleet.worker()
    replica.listed = True
    fleet.note()


def _notice(fleet: "Fleet", replica: Replica) -> Process:
    yield fleet.env.timeout(fleet.scenario.notice)
    if not replica.pick():
        replica.listed = False
        fleet.note()


def rolling_update(fleet: "Fleet", moment: float) -> Process:
    """One new replica at a time is started; once it answers, an old one ends."""
    yield fleet.env.timeout(moment)
    for old in [replica for replica in fleet.replicas if replica.listed]:
        yield fleet.env.timeout(fleet.scenario.start)
        fleet.add()
        fleet.note()
        fleet.env.process(end(fleet, old))


def end(fleet: "Fleet", replica: Replica) -> Process:
    """SIGTERM: it takes requests for `Scenario.drain`, answers what it has, and is gone.

    The balancer learns of it `Scenario.endpoint_lag` later. What it sends to one that is gone is
    lost.
    """
    scenario = fleet.scenario
    fleet.env.process(_unlist(fleet, replica))
    yield fleet.env.timeout(scenario.drain)
    while replica.ongoing:
        yield fleet.env.timeout(0.01)
    for worker in replica.workers:
        worker.kill()


def _unlist(fleet: "Fleet", replica: Replica) -> Process:
    yield fleet.env.timeout(fleet.scenario.endpoint_lag)
    replica.listed = False
    fleet.note()


def autoscale(fleet: "Fleet", target: float) -> Process:
    """Kubernetes' HorizontalPodAutoscaler on requests under way in a replica.

    Every 15 s: as many as bring the mean to the target; no change within 10%; at most twice as
    many; and fewer only where that was wanted for five minutes. Those that are starting count.
    """
    size, samples = fleet.scenario.replicas, round(PERIOD_S / SAMPLE_S)
    wanted = [(fleet.env.now, size)]
    while True:
        total = 0
        for _ in range(samples):
            yield fleet.env.timeout(SAMPLE_S)
            total += sum(replica.ongoing for replica in fleet.replicas)
        exact = total / samples / target
        near = abs(exact / size - 1) <= TOLERANCE
        most = min(MOST_TIMES * size, fleet.scenario.most)
        now = size if near else min(max(math.ceil(exact), 1), most)
        wanted = [(t, n) for t, n in wanted if t > fleet.env.now - LOOK_BACK_S]
        wanted.append((fleet.env.now, now))
        new = now if now >= size else min(size, max(n for _, n in wanted))
        if new > size:
            fleet.env.process(_start(fleet, new - size))
        for old in [replica for replica in fleet.replicas if replica.listed][new:]:
            fleet.env.process(end(fleet, old))
        size = new


def _start(fleet: "Fleet", count: int) -> Process:
    yield fleet.env.timeout(fleet.scenario.start)
    for _ in range(count):
        fleet.add()
    fleet.note()
