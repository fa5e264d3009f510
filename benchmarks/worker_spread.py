"""How evenly keep-alive connections spread over workers: a socket each, or one for all.

    python benchmarks/worker_spread.py [TRIALS]

Each worker's loop is uvloop's, and works 60 us on a request. ``burst`` opens all connections at
once while the workers idle, as a pool does when it starts; ``load`` opens them one after another
while those before send request after request. Printed is the busiest worker's share of the
connections, the mean and the worst of all trials, and in how many trials a worker got none.
"""

import asyncio
import os
import selectors
import signal
import socket
import statistics
import sys
import time

import uvloop

WAYS = ("a socket each (SO_REUSEPORT)", "one shared socket")


class Answer(asyncio.Protocol):
    def __init__(self, number):
        self.number = bytes([number])

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        end = time.perf_counter() + 60e-6
        while time.perf_counter() < end:
            pass
        self.transport.write(self.number)


async def work(listener, number):
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Answer(number), sock=listener, backlog=2048)
    await server.serve_forever()


def start(way, workers):
    """The port and the processes' IDs of so many workers."""
    each = way == WAYS[0]
    listeners, port = [], 0
    for _ in range(workers if each else 1):
        listener = socket.socket()
        if each:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(2048)
        listener.setblocking(False)
        port = listener.getsockname()[1]
        listeners.append(listener)
    pids = []
    for number in range(workers):
        pid = os.fork()
        if not pid:
            uvloop.run(work(listeners[number % len(listeners)], number))
        pids.append(pid)
    for listener in listeners:
        listener.close()
    return port, pids


def connect(port, connections, load):
    """Which worker answers each of so many connections."""
    selector, workers = selectors.DefaultSelector(), {}

    def go_on(seconds):
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            for key, _ in selector.select(0.0005):
                workers[key.fileobj] = key.fileobj.recv(1)[0]
                if load:
                    key.fileobj.send(b"?")

    for _ in range(connections):
        client = socket.create_connection(("127.0.0.1", port))
        client.send(b"?")
        selector.register(client, selectors.EVENT_READ)
        go_on(0.003 if load else 0)
    go_on(0.15 if load else 0.05)
    assert len(workers) == connections, "a connection was not answered"
    for client in workers:
        client.close()
    return list(workers.values())


def main():
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    for workers in (2, 4):
        servers = {way: start(way, workers) for way in WAYS}
        time.sleep(1)
        for load in (False, True):
            for connections in (8, 16, 64):
                shares = {way: [] for way in WAYS}
                for _ in range(trials):
                    for way, (port, _) in servers.items():  # taking turns
                        spread = connect(port, connections, load)
                        counts = [spread.count(number) for number in range(workers)]
                        shares[way].append((max(counts) / connections, 0 in counts))
                kind = "load" if load else "burst"
                print(f"{workers} workers, {connections:2} connections, {kind}:")
                for way, found in shares.items():
                    busiest = [share for share, _ in found]
                    print(
                        f"  {way:29} {statistics.mean(busiest):4.0%}, worst {max(busiest):4.0%}; "
                        f"a worker without any in {sum(idle for _, idle in found)} of {trials}"
                    )
        for _, pids in servers.values():
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
