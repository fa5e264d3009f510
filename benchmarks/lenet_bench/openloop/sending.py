"""Sending requests at the moments that were drawn, from threads of this process.

`Sent` is what both ways of sending answer: this one, and `lenet_bench.openloop.sockets`.
"""

import heapq
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lenet_bench.harness import no_collection
from lenet_bench.openloop.clock import Clock
from lenet_runtime.errors import DeployError

Moments = NDArray[np.int64]
Call = Callable[[int], object]
# After this long a request is given up that has not started, and the window ends.
PATIENCE_NS = 1_000_000_000
# So that a thread whose answer came gets Python's lock soon; the default is 5 ms.
_SWITCH_SECONDS = 2e-5
_NEVER = -1
# From the moment at which all is ready but the threads to the start of the window.
LEAD_NS = 2_000_000


@dataclass(frozen=True)
class Sent:
    """The requests of a window, in the order of their arrival; nanoseconds from its start.

    Attributes:
        due: When each was meant to start.
        ended: When its answer was there, or an error; what was never sent ends with the window.
        answered: Whether it got an answer, and no error.
        late: How much later it ended than with a generator that is never late, see `lateness`.
        waited: Whether no caller was free when it was due.
        errors: Up to three of what went wrong, in words.
        preempted: How often the system took the CPU from this process; None where it is not told.
    """

    due: Moments
    ended: Moments
    answered: NDArray[np.bool_]
    late: Moments
    waited: NDArray[np.bool_]
    errors: tuple[str, ...] = ()
    preempted: int | None = None

    @property
    def latency(self) -> NDArray[np.float64]:
        """Nanoseconds from the intended start to the answer, infinite where none came."""
        return np.where(self.answered, self.ended - self.due, np.inf)


class Log:
    """The stamps of a window while it is sent, by the number of the request.

    Args:
        arrivals: When requests are due, in nanoseconds from `begin`.
        begin: The moment at which the window starts.
        callers: How many requests can be under way.
    """

    def __init__(self, arrivals: Moments, begin: int, callers: int) -> None:
        self.due = [begin + int(moment) for moment in arrivals]
        self.begin, self.callers = begin, callers
        count = len(self.due)
        self.started, self.ended = [_NEVER] * count, [_NEVER] * count
        self.answered = [False] * count
        self.read_late = [0] * count  # of its end, how much is due to reading late
        self.errors: list[str] = []

    def fail(self, error: object) -> None:
        """Note an error; the first few are kept."""
        if len(self.errors) < 3:
            self.errors.append(str(error))

    def sent(self, now: int) -> Sent:
        """All of it, from the start of the window; what has no end ends now."""
        ended = [now if moment == _NEVER else moment for moment in self.ended]
        started = [e if s == _NEVER else s for s, e in zip(self.started, ended, strict=True)]
        late, waited = lateness(self.due, started, ended, self.read_late, self.callers)
        return Sent(
            due=np.array(self.due, np.int64) - self.begin,
            ended=np.array(ended, np.int64) - self.begin,
            answered=np.array(self.answered, np.bool_),
            late=np.array(late, np.int64),
            waited=np.array(waited, np.bool_),
            errors=tuple(self.errors),
        )


def lateness(
    due: Sequence[int],
    started: Sequence[int],
    ended: Sequence[int],
    read_late: Sequence[int],
    callers: int,
) -> tuple[list[int], list[bool]]:
    """How much later requests ended than they would have, had the generator never been late.

    Each takes as long as it took, and starts once it is due and one of the callers is free. So a
    request that waits behind one that was sent late is late itself, and not the target's fault.

    Returns:
        Nanoseconds for each request, and whether it would have waited for a caller all the same.
    """
    late, waited, free = [], [], [due[0]] * callers
    for moment, start, end, read in zip(due, started, ended, read_late, strict=True):
        begin = max(moment, free[0])
        ideal = begin + end - start - read
        late.append(end - ideal)
        waited.append(begin > moment)
        heapq.heapreplace(free, ideal)
    return late, waited


def send(calls: Sequence[Call], arrivals: Moments, clock: Clock) -> Sent:
    """Send a window: each caller takes the next request, waits until it is due, and calls.

    Args:
        calls: What each caller calls with the number of the request; one caller runs in this
            thread, several have threads of their own. A `DeployError` is a request that failed.
        arrivals: When requests are due, ascending, in nanoseconds from the start.
        clock: The clock.
    """
    numbers = iter(range(len(arrivals)))  # threads share it: each number is taken once
    with no_collection():
        log = Log(arrivals, clock.now() + LEAD_NS, len(calls))
        if len(calls) == 1:
            _take(calls[0], numbers, log, clock)
        else:
            _on_threads(calls, numbers, log, clock)
    return log.sent(clock.now())


def _on_threads(calls: Sequence[Call], numbers: Iterator[int], log: Log, clock: Clock) -> None:
    failures: list[BaseException] = []

    def work(call: Call) -> None:
        try:
            _take(call, numbers, log, clock)
        except BaseException as error:
            failures.append(error)
            for _ in numbers:  # so that the others end, too
                pass

    before = sys.getswitchinterval()
    threads = [threading.Thread(target=work, args=(call,), daemon=True) for call in calls]
    try:
        sys.setswitchinterval(_SWITCH_SECONDS)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        for _ in numbers:  # after Ctrl-C
            pass
        sys.setswitchinterval(before)
    if failures:
        raise failures[0]


def _take(call: Call, numbers: Iterator[int], log: Log, clock: Clock) -> None:
    """One caller's requests."""
    now, wait_until, due = clock.now, clock.wait_until, log.due
    started, ended, answered = log.started, log.ended, log.answered
    for number in numbers:
        moment = due[number]
        wait_until(moment)
        started[number] = start = now()
        if start - moment > PATIENCE_NS:
            log.fail("requests came faster than they were answered, for longer than a second")
            break
        try:
            call(number)
        except DeployError as error:
            log.fail(error)
        else:
            answered[number] = True
        ended[number] = now()
