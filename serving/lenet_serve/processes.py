"""What processes use, from Linux's /proc, where there is one, and what ends them."""

import os
import signal
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Usage:
    """What one process uses.

    Attributes:
        cpu_s: Seconds of CPU, user and system.
        start_s: When it began, in seconds since 1970.
        resident_bytes: Memory that is resident.
        virtual_bytes: Memory that is mapped.
        open_fds: Open file descriptors; None where they may not be counted.
    """

    cpu_s: float
    start_s: float
    resident_bytes: int
    virtual_bytes: int
    open_fds: int | None


def usage(pid: int) -> Usage | None:
    """Measure a process; None where that cannot be had, say because it has ended."""
    folder = Path(f"/proc/{pid}")
    try:
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        boot = _boot_s()
    except (OSError, ValueError):
        return None
    try:
        open_fds = len(os.listdir(folder / "fd"))
    except OSError:
        open_fds = None
    tick = os.sysconf("SC_CLK_TCK")
    return Usage(
        cpu_s=(int(fields[11]) + int(fields[12])) / tick,
        start_s=boot + int(fields[19]) / tick,
        resident_bytes=int(fields[21]) * os.sysconf("SC_PAGE_SIZE"),
        virtual_bytes=int(fields[20]),
        open_fds=open_fds,
    )


def signal_name(number: int) -> str:
    """What a signal is called, such as ``SIGKILL``."""
    try:
        return signal.Signals(number).name
    except ValueError:  # one without a name, of those for real time
        return f"signal {number}"


@cache
def _boot_s() -> int:
    lines = Path("/proc/stat").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("btime "))
