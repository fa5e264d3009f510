"""Several worker processes of one server, kept alive by a supervisor that itself serves nothing.

Each worker listens on its own socket of the same port (SO_REUSEPORT) once its models are loaded;
the supervisor only keeps the port. So the kernel sends no connection to a worker that is starting
or has died. Workers are fresh processes, not forks: sessions and threads do not survive a fork.
"""

import contextlib
import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Pipe
from typing import Any

from lenet_serve import counters as c
from lenet_serve.counters import Counters, shared_memory
from lenet_serve.processes import signal_name

_log = logging.getLogger(__name__)
_STOP = (signal.SIGTERM, signal.SIGINT)
_FIRST_DELAY_S, _LAST_DELAY_S = 0.1, 5.0
_STEADY_S = 10.0  # one that was ready for so long is started again after the first delay


def reserve(host: str, port: int) -> socket.socket:
    """Take a port for workers to listen on, with SO_REUSEPORT.

    Args:
        host: A name or address.
        port: The port; 0 takes a free one, which ``getsockname()`` says.

    Returns:
        A socket that does not listen; keep it open for as long as workers come and go.

    Raises:
        OSError: The port is in use, be it by a server that shares it.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    reserved = socket.socket(family, kind, protocol)
    try:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(address)
        # Only now, so that nobody else's port is shared by mistake.
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError:
        reserved.close()
        raise
    return reserved


def supervise(
    target: Callable[..., Any],
    *arguments: Any,
    workers: int,
    on_ready: Callable[[], object] = lambda: None,
) -> int:
    """Run workers until SIGTERM or SIGINT; call it in the main thread.

    A worker that ends by itself is started again, after 0.1 s at first and up to 5 s when that
    goes on. One that ends before it was ever ready ends them all. A first SIGTERM or SIGINT is
    passed on as SIGTERM, which drains; a second one kills. SIGHUP is passed on.

    Args:
        target: Called in each worker with a `lenet_serve.worker.Worker` and the arguments; it
            serves, calls `Worker.ready`, and returns the exit code. It can be pickled.
        arguments: What else it gets; they can be pickled.
        workers: Their number.
        on_ready: Called once all workers are ready for the first time.

    Returns:
        The exit code: 0 after a drain, 1 where workers were killed, and that of a worker which
        could not start.

    Raises:
        Exception: What a worker raised that could not start: an error of ours, of the system, of
            an import.
    """
    return _Supervisor((target, arguments), workers, on_ready).run()


class _Process:
    """A worker's process, and those that come after it.

    Attributes:
        number: The worker's number.
        popen: The process; None where none runs.
        control: The connection to it.
        ready: Whether it serves.
        was_ready: Whether it or one before it did.
        error: Why it ends, where it says so.
        due: When the next one is to be started, in seconds of `time.monotonic`.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.popen: subprocess.Popen[bytes] | None = None
        self.ready = self.was_ready = False
        self.error: Exception | None = None
        self.due = self._ready_since = 0.0
        self.delay_s = 0.0

    def start(self, order: tuple[Any, ...], memory: int) -> None:
        """Start the process and tell it what to do."""
        path = os.pathsep.join(folder or os.getcwd() for folder in sys.path)  # noqa: PTH109
        self.control, theirs = Pipe()
        self.error = None
        code = "from lenet_serve.worker import main; main()"
        with theirs:
            self.popen = subprocess.Popen(
                [sys.executable, "-P", "-c", code, str(theirs.fileno())],
                pass_fds=[theirs.fileno(), memory],
                env=os.environ | {"PYTHONPATH": path},
                process_group=0,  # Ctrl-C reaches the supervisor alone
            )
        with contextlib.suppress(OSError):  # it has died, which its socket will tell
            self.control.send((self.number, *order))

    def heard(self) -> str | None:
        """Read what it says: a text for the others, or something about itself.

        Raises:
            EOFError: It has ended.
        """
        try:
            kind, content = self.control.recv()
        except OSError as error:
            raise EOFError from error
        if kind == "ready":
            self.ready = self.was_ready = True
            self._ready_since = time.monotonic()
        elif kind == "error":
            self.error = content
        return content if kind == "tell" else None

    def end(self) -> tuple[int, int]:
        """See it off, and say when the next one is due; its PID and its exit code."""
        assert self.popen is not None
        self.control.close()
        try:
            code = self.popen.wait(5.0)
        except subprocess.TimeoutExpired:  # it closed its socket and lives on
            self.popen.kill()
            code = self.popen.wait()
        pid, self.popen = self.popen.pid, None
        now = time.monotonic()
        steady = self.ready and now - self._ready_since >= _STEADY_S
        self.delay_s = 0.0 if steady else self.delay_s
        self.delay_s = min(2 * self.delay_s, _LAST_DELAY_S) or _FIRST_DELAY_S
        self.ready, self.due = False, now + self.delay_s
        return pid, code


class _Supervisor:
    def __init__(
        self,
        task: tuple[Callable[..., Any], tuple[Any, ...]],
        workers: int,
        on_ready: Callable[[], object],
    ) -> None:
        self._task, self._on_ready = task, on_ready
        self._told: dict[str, None] = {}  # what workers told, each once, the last behind
        self._memory = shared_memory(workers)
        self._counters = Counters(workers, self._memory)
        self._counters.cells[0] = os.getpid()
        self._workers = [_Process(number) for number in range(workers)]
        self._selector = selectors.DefaultSelector()
        self._stops = self._code = 0
        self._error: Exception | None = None

    def run(self) -> int:
        wake, wakened = socket.socketpair()
        for end in (wake, wakened):
            end.setblocking(False)
        self._selector.register(wake, selectors.EVENT_READ)
        before = {number: signal.signal(number, lambda *_: None)
                  for number in (*_STOP, signal.SIGHUP)}  # fmt: skip
        wakeup = signal.set_wakeup_fd(wakened.fileno(), warn_on_full_buffer=False)
        try:
            while self._turn(wake):
                pass
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
            self._signal(signal.SIGKILL)
            os.close(self._memory)
        if self._error:
            raise self._error
        return self._code

    def _turn(self, wake: socket.socket) -> bool:
        """Start what is due, wait, and see what has happened; False when all is over."""
        if not self._stops:
            self._start()
        elif not any(worker.popen for worker in self._workers):
            return False
        due = [worker.due for worker in self._workers if not (worker.popen or self._stops)]
        wait_s = max(0.0, min(due) - time.monotonic()) if due else None
        if not self._workers[0].was_ready:  # the others wait for it, not for their time
            wait_s = None
        for key, _ in self._selector.select(wait_s):
            if key.data is None:
                for number in wake.recv(4096):
                    self._signalled(number)
            else:
                self._hear(key.data)
        return True

    def _hear(self, worker: _Process) -> None:
        was_ready, were_ready = worker.ready, all(one.ready for one in self._workers)
        try:
            text = worker.heard()
        except EOFError:
            self._ended(worker)
            return
        if not were_ready and all(one.ready for one in self._workers):
            _log.info("all %d workers are ready", len(self._workers))
            self._on_ready()
            self._on_ready = lambda: None
        if worker.ready and not was_ready:
            for told in self._told:  # before it came, or came back
                self._tell(worker, told)
        if text is not None:
            self._told.pop(text, None)
            self._told[text] = None
            for one in self._workers:
                if one.ready and one is not worker:
                    self._tell(one, text)

    def _tell(self, worker: _Process, text: str) -> None:
        with contextlib.suppress(OSError):  # it has died, which its socket will tell
            worker.control.send(text)

    def _start(self) -> None:
        # The first alone, so that what is wrong for all of them is said once.
        first = self._workers[0]
        for worker in self._workers if first.was_ready else [first]:
            if not worker.popen and worker.due <= time.monotonic():
                order = len(self._workers), self._memory, *self._task
                worker.start(order, self._memory)
                self._selector.register(worker.control, selectors.EVENT_READ, worker)

    def _ended(self, worker: _Process) -> None:
        self._selector.unregister(worker.control)
        pid, code = worker.end()
        head = self._counters.head(worker.number)
        self._counters.cells[head + c.PID] = 0
        how = f"by {signal_name(-code)}" if code < 0 else f"with exit code {code}"
        what = f"worker {worker.number} (pid {pid}) ended {how}"
        if worker.error:
            what = f"{what}: {worker.error}"
        if self._stops:
            if code not in (0, -signal.SIGTERM):
                _log.warning("%s", what)
                self._code = self._code or 1
        elif not worker.was_ready:
            _log.error("%s; it has not been ready yet, so the server ends", what)
            self._code, self._error = (code if code > 0 else 1), worker.error
            self._stops = 1
            self._signal(signal.SIGTERM)
        else:
            self._counters.cells[head + c.RESTARTS + max(0, -code)] += 1
            _log.warning("%s; it is started again in %.1f s", what, worker.delay_s)

    def _signalled(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._signal(signal.SIGHUP)
        elif number in _STOP:
            self._stops += 1
            if self._stops == 1:
                self._signal(signal.SIGTERM)
            else:
                self._code = 1
                self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        for worker in self._workers:
            # One that is not ready has no handler, and SIGHUP would end it.
            if worker.popen and (worker.ready or number != signal.SIGHUP):
                worker.popen.send_signal(number)
