"""One worker process of several: what it knows of the others, and how it begins and ends."""

import os
import pickle
import signal
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lenet_serve.counters import Counters
from lenet_serve.metrics import Metrics

READY = b"r"


@dataclass(frozen=True)
class Worker:
    """A worker, as its function gets to know itself.

    Attributes:
        number: Its number, from 0.
        count: The workers.
        counters: The descriptor of the memory that all workers count in.
        control: The socket to the supervisor.
    """

    number: int
    count: int
    counters: int
    control: socket.socket = field(repr=False)

    def metrics(self) -> Metrics:
        """Make what counts this worker's requests; it goes on where a worker before it died."""
        return Metrics(Counters(self.count, self.counters), self.number)

    def ready(self) -> None:
        """Tell the supervisor that this worker serves, and handles signals."""
        self.control.send(READY)


def listen(host: str, port: int, backlog: int = 2048) -> socket.socket:
    """Listen beside the other workers; the kernel spreads connections over all that do.

    Args:
        host, port: An address that the supervisor has reserved (`lenet_serve.workers.reserve`).
        backlog: Connections that may wait to be accepted.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
        listener.listen(backlog)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def main() -> None:
    """Run a worker; its command line names the control socket, which says what to do."""
    control = socket.socket(fileno=int(sys.argv[1]))
    with control.makefile("rb") as stream:
        size = int.from_bytes(stream.read(8), "big")
        payload = stream.read(size)
    if len(payload) < size:
        sys.exit(1)  # the supervisor died
    threading.Thread(target=_watch, args=[control], name="supervisor", daemon=True).start()
    number, count, counters, target, arguments = pickle.loads(payload)  # noqa: S301 - our parent's
    sys.exit(target(Worker(number, count, counters, control), *arguments))


def order(
    number: int, count: int, counters: int, target: Callable[..., Any], arguments: tuple[Any, ...]
) -> bytes:
    """Write what `main` reads."""
    payload = pickle.dumps((number, count, counters, target, arguments))
    return len(payload).to_bytes(8, "big") + payload


def _watch(control: socket.socket) -> None:
    """Drain and end when the supervisor is gone, however it went."""
    try:
        while control.recv(64):
            pass
    except OSError:
        pass
    os.kill(os.getpid(), signal.SIGTERM)
