"""One worker process of several: what it knows of the others, and how it begins and ends."""

import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from lenet_runtime.errors import DeployError
from lenet_serve.counters import Counters

Message = tuple[str, object]  # "ready" and None, "tell" and a text, "error" and an exception


@dataclass
class Worker:
    """A worker, as its function gets to know itself.

    Attributes:
        number: Its number, from 0.
        counters: The memory that all workers count in. `lenet_serve.metrics.Metrics` of it and of
            the number counts on where a worker before it died.
        control: The connection to the supervisor.
        on_told: Called with what another worker tells, in a thread of its own.
    """

    number: int
    counters: Counters = field(repr=False)
    control: "Connection[Message, Any]" = field(repr=False)
    on_told: Callable[[str], object] = field(default=lambda text: None, repr=False)

    def ready(self) -> None:
        """Tell the supervisor that this worker serves, and handles signals."""
        self.control.send(("ready", None))

    def tell(self, text: str) -> None:
        """Have the supervisor tell all other workers, and those that come later."""
        self.control.send(("tell", text))

    def watch(self) -> None:
        """Hear what others tell; drain and end when the supervisor is gone, however it went."""
        try:
            while True:
                text = self.control.recv()
                self.on_told(text)
        except (EOFError, OSError):
            os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Run a worker; its command line names the connection, which says what to do."""
    control: Connection[Message, Any] = Connection(int(sys.argv[1]))
    try:
        number, count, memory, target, arguments = control.recv()
    except EOFError:
        sys.exit(1)  # the supervisor died
    worker = Worker(number, Counters(count, memory), control)
    threading.Thread(target=worker.watch, name="supervisor", daemon=True).start()
    try:
        sys.exit(target(worker, *arguments))
    except (DeployError, OSError, ImportError, MemoryError) as error:
        control.send(("error", _portable(error)))  # which says it
        sys.exit(1)


def _portable(error: Exception) -> Exception:
    """An error that the supervisor can read: not all can be made from their arguments again."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  our own
    except Exception:  # whatever their constructors raise
        return DeployError(error)
    return error
