"""Sending requests over keep-alive connections, all from one thread that never blocks.

Threads that wait for answers would wait for Python's lock as well, and measure it. One loop over a
selector sends what is due on a connection that is free, and reads whatever has come.
"""

import selectors
import socket
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from lenet_bench.harness import no_collection
from lenet_bench.openloop.clock import SPIN_NS, Clock
from lenet_bench.openloop.sending import LEAD_NS, PATIENCE_NS, Log, Moments, Sent
from lenet_runtime.errors import DeployError

_MOST_BYTES = 2**16
# A selector's timeout is rounded up to the next millisecond.
_STEP_NS = 1_000_000


class Connection(Protocol):
    """A connection on which one request at a time is under way."""

    @property
    def socket(self) -> socket.socket:
        """Its socket, which does not block."""

    def request(self, number: int) -> None:
        """Send request `number` whole; raises OSError."""

    def feed(self, data: bytes) -> bool:
        """Take what was read; True once the answer is whole.

        Raises:
            DeployError: The answer is an error; the connection can go on.
            OSError: The connection cannot go on.
        """

    def close(self) -> None:
        """Close it; whoever owns it may open it again before the next window."""


def send(connections: Sequence[Connection], arrivals: Moments, clock: Clock) -> Sent:
    """Send a window, see `lenet_bench.openloop.sending.send`; each connection is a caller."""
    with no_collection(), selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection.socket, selectors.EVENT_READ, connection)
        log = Log(arrivals, clock.now() + LEAD_NS, len(connections))
        loop = _Loop(log, connections, selector, clock)
        try:
            loop.run()
        finally:
            loop.give_up()
    return loop.log.sent(clock.now())


class _Loop:
    def __init__(
        self,
        log: Log,
        connections: Sequence[Connection],
        selector: selectors.BaseSelector,
        clock: Clock,
    ) -> None:
        self.log, self._selector, self._clock = log, selector, clock
        # Those that are free, the longest first; and those that are not, with their request's
        # number, the oldest first.
        self._free = deque(connections)
        self._busy: dict[Connection, int] = {}
        self._next = 0
        self._looked = log.begin  # when the selector last told what had come

    def run(self) -> None:
        """Until all is answered, or nothing was for too long."""
        count, due, now = len(self.log.due), self.log.due, self._clock.now
        while self._next < count or self._busy:
            oldest = next(iter(self._busy.values()), self._next)
            if now() - due[oldest] > PATIENCE_NS:
                self.log.fail("a request was not answered within a second of its intended start")
                break
            if self._next < count and self._free and due[self._next] <= now():
                self._send()
                continue
            for key, _ in self._selector.select(self._timeout(now())):
                self._read(key.data)
            self._looked = now()
            if not self._free and not self._busy:
                break  # every connection is closed

    def give_up(self) -> None:
        """Close the connections on which an answer may still come."""
        for connection in self._busy:
            connection.close()

    def _timeout(self, now: int) -> float:
        """Seconds in which nothing is to be done: whole milliseconds; 0 to spin."""
        if self._busy or not self._free:
            return 0.0
        left = self.log.due[self._next] - now - SPIN_NS
        return left // _STEP_NS / 1000 if left > _STEP_NS else 0.0

    def _send(self) -> None:
        log, number = self.log, self._next
        connection = self._free.popleft()
        self._next += 1
        log.started[number] = self._clock.now()
        self._busy[connection] = number
        try:
            connection.request(number)
        except OSError as error:
            self._lose(connection, error)

    def _read(self, connection: Connection) -> None:
        failed = False
        try:
            data = connection.socket.recv(_MOST_BYTES)
            if not data:
                raise ConnectionError("the server closed the connection")
            if not connection.feed(data):
                return
        except BlockingIOError:
            return
        except DeployError as error:
            self.log.fail(error)
            failed = True
        except OSError as error:
            self._lose(connection, error)
            return
        now, number = self._clock.now(), self._busy.pop(connection, None)
        if number is not None:
            self.log.ended[number], self.log.answered[number] = now, not failed
            # It may have come right after the selector was last asked.
            self.log.read_late[number] = now - self._looked
        self._free.append(connection)

    def _lose(self, connection: Connection, error: OSError) -> None:
        """Go on without a connection; its request is not answered."""
        self.log.fail(error)
        self._selector.unregister(connection.socket)
        if (number := self._busy.pop(connection, None)) is None:
            self._free.remove(connection)
        else:
            self.log.ended[number] = self._clock.now()
        connection.close()
