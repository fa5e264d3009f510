"""The real thing that the simulation is held against: a server here, and who asks it.

`ask` sends at drawn moments from one thread that sleeps in between, so that a server with a worker
on each of two cores loses a few percent of one to it; `lenet_bench.openloop`, which spins, would
take a core. A connection that breaks is opened again at once.
"""

import contextlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.fleet.answers import Answers, Floats

GENERATOR_CORE, SERVER_CORE = 0, 1
_PATIENCE_S = 3.0
_PAUSE_S = 0.6
_PRIORITY = 3  # of SCHED_FIFO, for the server and for who asks it


class _Connection:
    def __init__(self, port: int) -> None:
        self._port = port
        self.number = -1  # of the request that is under way
        self.open()

    def open(self) -> None:
        self._buffer, end = b"", time.monotonic() + _PATIENCE_S
        while True:
            try:
                self.socket = socket.create_connection(("127.0.0.1", self._port), _PATIENCE_S)
                break
            except OSError:  # in the queue of a worker that dies
                if time.monotonic() > end:
                    raise
                time.sleep(0.001)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        self.socket.close()

    def read(self) -> bool:
        """Whether the answer is whole; raises OSError where the connection broke."""
        data = self.socket.recv(2**16)
        if not data:
            raise ConnectionError("closed")
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if not found or not length or len(body) < int(length[1]):
            return False
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode() + body[:300].decode())
        self._buffer = b""
        return True


def ask(
    port: int,
    message: bytes,
    due: Floats,
    connections: int,
    *,
    act: Callable[[], object] | None = None,
    act_at: float = float("inf"),
    ready: Callable[[], object] | None = None,
) -> Answers:
    """Send a request at each moment, or as soon as a connection is free.

    First it sleeps: others on this machine then get their turn before, and not in the middle.

    Args:
        port: The server's.
        message: A whole request.
        due: Seconds from the start, ascending; all 0 for a closed loop.
        connections: How many are open.
        act: Something to do while it goes on, such as to kill a worker.
        act_at: When.
        ready: Called before the first request, once the connections are open.
    """
    window = _Window(message, due, [_Connection(port) for _ in range(connections)])
    try:
        time.sleep(_PAUSE_S)
        if ready:
            ready()
        with on_core(GENERATOR_CORE):
            window.run(act, act_at)
    finally:
        for connection in window.by_socket.values():
            connection.close()
    return Answers(due, window.latency, window.late)


class _Window:
    def __init__(self, message: bytes, due: Floats, connections: list[_Connection]) -> None:
        self._message, self._due = message, due
        self.latency, self.late = np.full(len(due), np.inf), np.zeros(len(due))
        self._free, self._free_since = deque(connections), 0.0
        self.by_socket = {each.socket: each for each in connections}
        self._sent, self._left = 0, len(due)

    def run(self, act: Callable[[], object] | None, act_at: float) -> None:
        self._begin = time.perf_counter()
        while self._left:
            now = self._now()
            if act and now >= act_at:
                act()
                act = None
            if self._free and self._sent < len(self._due) and self._due[self._sent] <= now:
                self._send(now)
                continue
            wait = _PATIENCE_S
            if self._free and self._sent < len(self._due):
                wait = float(self._due[self._sent]) - now
            wait = min(wait, max(act_at - now, 0.0)) if act else wait
            readable, _, _ = select.select(list(self.by_socket), [], [], wait)
            if not readable and wait == _PATIENCE_S:
                return
            for each in readable:
                self._read(self.by_socket[each])

    def _now(self) -> float:
        return time.perf_counter() - self._begin

    def _send(self, now: float) -> None:
        connection, due = self._free.popleft(), float(self._due[self._sent])
        connection.number, self.late[self._sent] = self._sent, now - max(due, self._free_since)
        self._sent += 1
        with contextlib.suppress(OSError):  # reading will tell
            connection.socket.sendall(self._message)

    def _read(self, connection: _Connection) -> None:
        try:
            if not connection.read():
                return
            self.latency[connection.number] = self._now() - self._due[connection.number]
        except OSError:
            del self.by_socket[connection.socket]
            connection.close()
            connection.open()
            self.by_socket[connection.socket] = connection
            if connection in self._free:
                return
        self._left -= 1
        if not self._free:
            self._free_since = self._now()
        self._free.append(connection)


@dataclass
class Server:
    """A server that runs.

    Attributes:
        port: Where it listens.
        pid: Its first process.
    """

    port: int
    pid: int

    @property
    def workers(self) -> list[int]:
        """The processes that listen, in no order."""
        pids = [self.pid, *children(self.pid)]
        return [pid for pid in pids if self.port in ports(pid, "0A")]

    def split(self) -> tuple[int, ...]:
        """How many open connections each worker has."""
        return tuple(ports(pid, "01").count(self.port) for pid in self.workers)

    def cpu_seconds(self) -> float:
        """CPU that its processes used so far."""
        total = 0
        for pid in {self.pid, *children(self.pid)}:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
            total += sum(map(int, fields[11:13]))
        return total / os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    """All that descend from a process."""
    found = [pid]
    for each in found:
        for task in Path(f"/proc/{each}/task").glob("*/children"):
            found += map(int, task.read_text().split())
    return found[1:]


def ports(pid: int, state: str) -> list[int]:
    """The local ports of a process's TCP sockets in a state, as ``/proc/net/tcp`` writes it."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            inodes.add(str(link.readlink()).removeprefix("socket:[").removesuffix("]"))
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [int(r[1].partition(":")[2], 16) for r in rows if r[3] == state and r[9] in inodes]


@contextlib.contextmanager
def serving(artifact: Path, workers: int, cores: set[int]) -> Iterator[Server]:
    """``lenet-deploy serve``, once it is ready; on these cores, before others where root may."""
    command = [sys.executable, "-m", "lenet_deploy", "serve", str(artifact), "--trust",
               "--http-port", "0", "--grpc-port", "off", "--drain-delay", "0",
               "--workers", str(workers)]  # fmt: skip
    prefix = ["chrt", "-f", str(_PRIORITY)] if os.geteuid() == 0 else []
    pinned = ["taskset", "-c", ",".join(map(str, sorted(cores))), *prefix, *command]
    with subprocess.Popen(pinned, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if found := re.search(r"ready: http://127\.0\.0\.1:(\d+)", line):
                    yield Server(int(found[1]), process.pid)
                    break
            else:
                raise RuntimeError("the server did not come up")
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """Run this process there, before others where root may."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    if os.geteuid() == 0:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_PRIORITY + 1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        os.sched_setaffinity(0, before)


def messages() -> dict[str, bytes]:
    """Whole requests: one digit as binary tensor, and 24 as JSON."""
    from lenet_runtime.images.digits import load_digits
    from lenet_runtime.images.preprocess import Preprocessing, to_batch

    digits = load_digits().images
    image = to_batch(digits[:1], Preprocessing())
    one = {"name": "images", "datatype": "FP32", "shape": image.shape,
           "parameters": {"binary_data_size": image.nbytes}}  # fmt: skip
    head = json.dumps({"inputs": [one], "parameters": {"binary_data_output": True}}).encode()
    many = np.resize(digits, (24, 28, 28))  # 43 KB, which fit in a socket's buffer
    inputs = [{"name": "pixels", "datatype": "UINT8", "shape": many.shape,
               "data": many.ravel().tolist()}]  # fmt: skip
    binary = f"Inference-Header-Content-Length: {len(head)}\r\n"
    return {
        "binary": _post(head + image.tobytes(), binary),
        "24 as JSON": _post(json.dumps({"inputs": inputs}, separators=(",", ":")).encode()),
    }


def _post(body: bytes, headers: str = "") -> bytes:
    lines = "POST /v2/models/lenet/infer HTTP/1.1\r\nHost: test\r\n"
    return f"{lines}{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body
