"""Small worker functions, for what a supervisor does with any."""

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

from lenet_serve.protocol.infer import Times
from lenet_serve.worker import listen
from lenet_serve.workers import reserve, supervise


def echo(worker, port, folder):
    """Answer each connection with our number, PID and how often we were reloaded, and count it."""
    metrics = worker.metrics()
    metrics.loaded("lenet", "1")
    reloads = []
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGHUP, lambda *_: reloads.append(1))
    listener = listen("127.0.0.1", port)
    listener.settimeout(0.05)
    worker.ready()
    while not stop.is_set():
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            continue
        with connection:
            metrics.record("lenet", "1", protocol="http", code=None, rows=1, times=Times())
            total = metrics.statistics("lenet", "1")["inference_count"]
            state = (worker.number, os.getpid(), len(reloads), total, metrics.text().decode())
            connection.sendall(repr(state).encode())
    time.sleep(0.1)
    (Path(folder) / f"drained-{worker.number}").touch()


def broken(worker, port, folder):
    """Fail as a worker whose artifact is broken: worker 0 at once, unless there is a file good."""
    if worker.number == 0 and (Path(folder) / "good").exists():
        return echo(worker, port, folder)
    print(f"worker {worker.number}: this artifact is broken", file=sys.stderr)
    return 4


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
        sys.exit(supervise(globals()[name], port, folder, workers=int(workers)))


def ask(port):
    """What the worker that the kernel chooses says of itself."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        return eval(b"".join(iter(lambda: connection.recv(65536), b"")))


if __name__ == "__main__":
    import logging

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    import serve_workers  # by the name under which a worker finds its function

    serve_workers.main()
