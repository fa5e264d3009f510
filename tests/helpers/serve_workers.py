"""Small worker functions, for what a supervisor does with any."""

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

from lenet_runtime.errors import BackendUnavailable
from lenet_serve.metrics import Metrics
from lenet_serve.protocol.infer import Times
from lenet_serve.workers import reserve, supervise


def echo(worker, port, folder):
    """Answer each connection with our number, PID and how often we were reloaded, and count it."""
    metrics = Metrics(worker.counters, worker.number)
    metrics.loaded("lenet", "1")
    reloads = []
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGHUP, lambda *_: reloads.append(1))
    told = []
    worker.on_told = told.append
    listener = listen(port)
    worker.ready()
    while not stop.is_set():
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            continue
        with connection:
            metrics.record("lenet", "1", protocol="http", code=None, rows=1, times=Times())
            total = metrics.statistics("lenet", "1")["inference_count"]
            if connection.recv(1) == b"t":
                worker.tell(f"from {worker.number}")
            state = (worker.number, os.getpid(), len(reloads), total, metrics.text().decode(), told)
            connection.sendall(repr(state).encode())
    time.sleep(0.1)
    (Path(folder) / f"drained-{worker.number}").touch()


def broken(worker, port, folder):
    """Fail as a worker whose artifact is broken: worker 0 at once, unless there is a file good."""
    if worker.number == 0 and (Path(folder) / "good").exists():
        return echo(worker, port, folder)
    raise BackendUnavailable(f"worker {worker.number}: this artifact is broken")


def breaks_later(worker, port, folder):
    """Serve once; fail at each later start."""
    started = Path(folder) / f"started-{worker.number}"
    if started.exists():
        with started.open("a") as file:
            file.write("x")
        return 3
    started.touch()
    return echo(worker, port, folder)


def stubborn(worker, port, folder):
    """Not end at SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    worker.ready()
    time.sleep(60)


def main():
    name, workers, folder = sys.argv[1:]
    with reserve("127.0.0.1", 0) as reserved:
        port = reserved.getsockname()[1]
        (Path(folder) / "port").write_text(str(port))
        ready = Path(folder) / "ready"
        try:
            code = supervise(
                globals()[name], port, folder, workers=int(workers), on_ready=ready.touch
            )
        except BackendUnavailable as error:
            print(f"error: {error}", file=sys.stderr)
            code = 4
        sys.exit(code)


def listen(port):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(100)
    listener.settimeout(0.05)
    return listener


def ask(port, what=b"?"):
    """What the worker that the kernel chooses says of itself."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(what)
        return eval(b"".join(iter(lambda: connection.recv(65536), b"")))


if __name__ == "__main__":
    import logging

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    import serve_workers  # by the name under which a worker finds its function

    serve_workers.main()
