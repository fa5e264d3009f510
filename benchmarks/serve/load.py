"""Loads a server with wrk or h2load, and reads what its processes used from /proc."""

import json
import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.serve.bodies import Body

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
SCRIPT = Path(__file__).with_name("post.lua")


@dataclass(frozen=True)
class Window:
    """What a server did under load for a while.

    Attributes:
        answered: Requests that were answered.
        errors: Requests that were refused, or answered with an error.
        seconds: How long it took.
        cpu_s: Seconds of CPU that all of the server's processes used.
    """

    answered: int
    errors: int
    seconds: float
    cpu_s: float

    @property
    def cpu_us(self) -> float:
        """Microseconds of CPU for an answered request."""
        return self.cpu_s / max(self.answered, 1) * 1e6

    @property
    def rate(self) -> float:
        """Answered requests per second."""
        return self.answered / self.seconds


def closed_loop(
    pid: int, port: int, body: Body, connections: int, seconds: float, *, core: str
) -> Window:
    """Keep so many requests under way; the generator runs on `core`.

    Raises:
        RuntimeError: The generator failed: the server does not take connections.
        OSError: The server has ended.
    """
    with tempfile.NamedTemporaryFile() as file:
        file.write(body.data)
        file.flush()
        words = (h2load if body.grpc else wrk)(port, body, connections, seconds, file.name)
        before = cpu_seconds(pid)
        done = subprocess.run(
            ["taskset", "-c", core, *words], capture_output=True, text=True, check=False,
            env=os.environ | {"BODY": file.name, "HEADERS": header_lines(body)},
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{words[0]} under load: {(done.stdout + done.stderr)[-300:]}")
        cpu_s = cpu_seconds(pid) - before
    if body.grpc:
        answered, errors = h2load_counts(done.stdout)
        return Window(answered, errors, seconds, cpu_s)
    counts = json.loads(done.stdout.splitlines()[-1])
    answered = counts["answered"] - counts["errors"]
    return Window(answered, counts["errors"], counts["seconds"], cpu_s)


def wrk(port: int, body: Body, connections: int, seconds: float, file: str) -> list[str]:
    """The command; the body's file and the headers are in its environment."""
    return ["wrk", "-t1", f"-c{connections}", f"-d{max(round(seconds), 1)}s", "--timeout", "10s",
            "-s", str(SCRIPT), f"http://127.0.0.1:{port}{body.path}"]  # fmt: skip


def h2load(port: int, body: Body, connections: int, seconds: float, file: str) -> list[str]:
    """The command: up to four connections, and streams in them."""
    clients = min(connections, 4)
    protocol = [] if body.grpc else ["--h1"]
    headers = [word for item in body.headers.items() for word in ("-H", ": ".join(item))]
    return ["h2load", "-t1", f"-c{clients}", f"-m{connections // clients}", f"-D{seconds:g}",
            "-d", file, *protocol, *headers, f"http://127.0.0.1:{port}{body.path}"]  # fmt: skip


def h2load_counts(text: str) -> tuple[int, int]:
    """Requests answered and refused."""
    (line,) = re.findall(r"^requests: .*", text, re.MULTILINE)
    counts = {name: int(n) for n, name in re.findall(r"(\d+) (\w+)", line)}
    return counts["succeeded"], counts["failed"] + counts["errored"] + counts["timeout"]


def header_lines(body: Body) -> str:
    """Headers, one a line."""
    return "\n".join(": ".join(item) for item in body.headers.items())


def open_loop(
    port: int, body: Body, rate: float, seconds: float, core: str
) -> dict[str, float] | None:
    """Send at a steady rate over 8 connections; milliseconds of p50 and p99.

    Returns:
        None where not one request was answered.
    """
    clients = 8
    with tempfile.TemporaryDirectory() as scratch:
        data, log = Path(scratch) / "body", Path(scratch) / "log"
        data.write_bytes(body.data)
        words = h2load(port, body, clients, seconds, str(data))
        words[2:4] = [f"-c{clients}", "-m1"]
        words[-1:] = [f"--rps={rate / clients:.1f}", f"--log-file={log}", words[-1]]
        subprocess.run(["taskset", "-c", core, *words], capture_output=True, check=True)
        rows = [line.split() for line in log.read_text().splitlines()]
    took_us = [int(row[2]) for row in rows if row[1] == "200"]
    if not took_us:
        return None
    p50, p99 = np.percentile(took_us, [50, 99])
    return {"rate": len(took_us) / seconds, "p50_ms": float(p50) / 1e3, "p99_ms": float(p99) / 1e3}


def tree(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for each in found:
        for task in Path(f"/proc/{each}/task").glob("*/children"):
            found += map(int, task.read_text().split())
    return found


def cpu_seconds(pid: int) -> float:
    """Seconds of CPU that a process's tree used so far, those that ended in it included."""
    total = 0
    for each in tree(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(") ")[2].split()
        total += sum(map(int, fields[11:15]))
    return total * TICK_S


def memory_mb(pid: int) -> dict[str, float]:
    """Processes of a tree; their RSS, and their PSS, which counts shared pages once."""
    rss = pss = processes = 0
    for each in tree(pid):
        pages = int(Path(f"/proc/{each}/statm").read_text().split()[1])
        if pages:  # else it has ended, and nobody asked for its status yet
            rollup = Path(f"/proc/{each}/smaps_rollup").read_text()
            pss += int(rollup.partition("\nPss:")[2].split()[0])
            rss += pages * PAGE
            processes += 1
    return {"processes": processes, "rss_mb": rss / 2**20, "pss_mb": pss / 2**10}
