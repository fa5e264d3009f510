"""The local engine: a job's parts on processes of this machine.

Each process gets parts by a socket and answers by it. It has two parts at most, one of which it
reads while it works on the other; so a job of any number of parts takes the same memory. A process
that finds the socket closed ends at once, in the midst of a part: its parent is no more.
"""

import contextlib
import itertools
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection, Pipe, wait

from lenet_deploy.batch.job import PartDone, Parts
from lenet_deploy.batch.parts import Part
from lenet_deploy.batch.worker import Report, Settings, Worker
from lenet_runtime import cpu
from lenet_runtime.errors import DeployError

_AT_ONCE = 2  # parts that a process has
_REPORT_S = 0.2
_DEATHS = 2  # of processes, until a part is held to be their cause


def run(
    parts: Iterable[Part], settings: Settings, output: Parts, *, workers: int | None, report: Report
) -> Iterator[PartDone]:
    """Write parts on processes; yields each as it is done.

    Args:
        parts: The parts, of which few are taken at a time.
        settings: What to do with them.
        output: What writes them.
        workers: Processes; None for as many as the cores that are ours. A
            single part is written by this process, which takes no start.
        report: Is told of the rows, and their errors, of all parts that are under way.

    Raises:
        DeployError: A part ended two processes, or a part cannot be read, answered or written.
    """
    waiting = iter(parts)
    first = list(itertools.islice(waiting, 2))
    if len(first) < 2:
        worker = Worker(settings, output) if first else None
        for part in first:
            assert worker is not None
            yield worker(part, report)
        return
    with contextlib.ExitStack() as stack:
        pool = _Pool(itertools.chain(first, waiting), settings, output, stack)
        pool.start(workers or cpu.usable_cores())
        while pool.processes:
            yield from pool.heard()
            report(*pool.under_way())


class _Process:
    """A worker's process, seen from its parent.

    Attributes:
        control: The socket to it.
        parts: What it has, the one that it works on first.
        rows: Rows of that one that are done, and their errors.
    """

    def __init__(self, settings: Settings, output: Parts) -> None:
        path = os.pathsep.join(folder or os.getcwd() for folder in sys.path)  # noqa: PTH109
        self.control, theirs = Pipe()
        self.parts: deque[Part] = deque()
        self.rows = (0, 0)
        self.code: int | None = None
        code = "from lenet_deploy.batch.local import serve; serve()"
        # Ctrl-C is the parent's to answer. What is blocked stays blocked in a new process.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            with theirs:
                self._popen = subprocess.Popen(
                    [sys.executable, "-P", "-c", code, str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    env=os.environ | {"PYTHONPATH": path},
                    stdin=subprocess.DEVNULL,
                )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self.tell((settings, output))

    def tell(self, order: object) -> None:
        with contextlib.suppress(OSError):  # it has died, which its socket will tell
            self.control.send(order)

    def end(self) -> int:
        """End it, if it lives, and return its exit code."""
        self.control.close()
        self._popen.kill()
        return self._popen.wait()

    def leave(self) -> int:
        """Wait for one whose socket is closed; its exit code."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(5.0)
        return self.end()


class _Pool:
    def __init__(
        self, parts: Iterator[Part], settings: Settings, output: Parts, stack: contextlib.ExitStack
    ) -> None:
        self._parts, self._order, self._stack = parts, (settings, output), stack
        self._suspects: deque[Part] = deque()  # had a process that died; each is tried alone
        self._deaths: Counter[int] = Counter()
        self.processes: dict[Connection, _Process] = {}

    def start(self, workers: int) -> None:
        """Start processes, no more than there are parts."""
        for _ in range(workers):
            part = self._next()
            if part is None:
                return
            self._start([part])
        for process in self.processes.values():
            self._fill(process)

    def _start(self, parts: Iterable[Part]) -> None:
        process = _Process(*self._order)
        self._stack.callback(process.end)
        self.processes[process.control] = process
        for part in parts:
            self._give(process, part)

    def _next(self) -> Part | None:
        return next(self._parts, None)

    def _give(self, process: _Process, part: Part) -> None:
        process.parts.append(part)
        process.tell(part)

    def _fill(self, process: _Process) -> None:
        """Give a process what it has room for; one without work ends."""
        if process.parts and self._deaths[process.parts[0].number]:
            return
        if not process.parts and self._suspects:
            self._give(process, self._suspects.popleft())
            return
        while len(process.parts) < _AT_ONCE and (part := self._next()) is not None:
            self._give(process, part)
        if not process.parts:
            del self.processes[process.control]
            process.end()

    def heard(self) -> Iterator[PartDone]:
        """Wait until processes say something; the parts that they have done."""
        for control in wait(list(self.processes)):
            process = self.processes[control]  # type: ignore[index]
            try:
                kind, content = process.control.recv()
            except (EOFError, OSError):
                self._died(process)
                continue
            if kind == "error":
                raise content
            if kind == "rows":
                process.rows = content
                continue
            process.rows = (0, 0)
            process.parts.popleft()
            self._fill(process)
            yield content

    def under_way(self) -> tuple[int, int]:
        """Rows, and their errors, of the parts that are not done yet."""
        rows = [process.rows for process in self.processes.values()]
        return sum(r for r, _ in rows), sum(e for _, e in rows)

    def _died(self, process: _Process) -> None:
        """Have what a process had done by another.

        Raises:
            DeployError: It is not the first one that this part ended.
        """
        del self.processes[process.control]
        code = process.leave()
        for part in process.parts:
            self._deaths[part.number] += 1
            if self._deaths[part.number] == _DEATHS:
                raise DeployError(_lost(part, code))
        self._suspects.extend(process.parts)
        self._start([self._suspects.popleft()])


def _lost(part: Part, code: int) -> str:
    from lenet_serve.processes import signal_name  # 40 ms, which workers must not pay

    how = signal_name(-code) if code < 0 else f"exit code {code}"
    advice = (
        "if that was for want of memory, take fewer workers"
        if code == -signal.SIGKILL
        else "a file that it reads may be at fault: try them alone, or leave them out"
    )
    more = f" and {len(part.files) - 1} more" * (len(part.files) > 1)
    return (
        f"part {part.number} ({part.files[0].name}{more}): two workers ended in it, the last by "
        f"{how}; {advice}; nothing that was done is lost: go on with resume=True"
    )


def serve() -> None:
    """The main function of a worker's process."""
    control = Connection(int(sys.argv[1]))
    watcher = threading.Thread(target=_leave_with, args=(control.fileno(),), daemon=True)
    watcher.start()
    try:
        worker = Worker(*control.recv())
        last = [time.monotonic()]

        def report(part: Part, rows: int, errors: int) -> None:
            if time.monotonic() - last[0] >= _REPORT_S:
                control.send(("rows", (rows, errors)))
                last[0] = time.monotonic()

        for done in worker.each(iter(control.recv, None), report):
            control.send(("done", done))
    except EOFError:
        os._exit(1)
    except Exception as error:
        try:
            control.send(("error", _portable(error)))
        except OSError:  # there is no parent any more, which may well be the error
            os._exit(1)


def _leave_with(socket: int) -> None:
    """End this process once the other end of the socket is closed."""
    poll = select.poll()
    poll.register(socket, 0)  # nothing but that it was closed
    poll.poll()
    os._exit(1)


def _portable(error: Exception) -> Exception:
    """An error as another process can read it."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  our own
    except Exception:
        return DeployError(f"{type(error).__name__}: {error}")
    return error
